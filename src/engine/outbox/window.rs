//! In-memory window over one shop's feed: events read, in flight, and delivered but not yet saved.
//!
//! Deliveries complete in any order. The cursor points to the first event that is not complete, so
//! that after a crash incomplete events are delivered again and none is skipped.
//!
//! Not responsible for: I/O.

use crate::engine::outbox::deliver::Outcome;
use crate::engine::outbox::retry;
use crate::store::feed::EventRow;
use crate::store::subscribers::{Failed, Settlement};
use std::collections::{BTreeSet, VecDeque};

/// An event that is being delivered to a subscriber.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) event: EventRow,
    /// Number of earlier delivery attempts.
    pub(super) tries: i32,
    /// Whether the event has a row of its own for retries; otherwise it comes from the feed.
    pub(super) has_row: bool,
}

/// What happens to an event after a delivery attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The subscriber accepted it.
    Taken,
    /// Another attempt is due later.
    TriedAgain,
    /// The last attempt failed; the event is abandoned.
    GivenUp,
}

/// The window over one shop's feed for one subscriber.
#[derive(Debug)]
pub(super) struct Window {
    /// Sequence number of the next event to read from the feed.
    next: i64,
    /// Events read from the feed that are not complete.
    open: BTreeSet<i64>,
    /// Events in `open` that are not sent yet.
    fresh: VecDeque<Item>,
    /// Due retries that are not sent yet.
    due: VecDeque<Item>,
    /// Retries in this window, sent or not.
    in_hand: BTreeSet<i64>,
    /// Results that are not saved yet.
    unsettled: Settlement,
    settled: i64,
}

impl Window {
    pub(super) fn new(next: i64) -> Self {
        Self {
            next,
            open: BTreeSet::new(),
            fresh: VecDeque::new(),
            due: VecDeque::new(),
            in_hand: BTreeSet::new(),
            unsettled: Settlement::default(),
            settled: next,
        }
    }

    /// Sequence number of the next event to read from the feed.
    pub(super) fn next(&self) -> i64 {
        self.next
    }

    /// Returns the number of events that are read and not sent.
    pub(super) fn waiting(&self) -> usize {
        self.fresh.len() + self.due.len()
    }

    /// Returns the retries in this window, which must not be read from the database again.
    pub(super) fn in_hand(&self) -> Vec<i64> {
        self.in_hand.iter().copied().collect()
    }

    /// Adds events read from the feed. Skips those that `wanted` rejects.
    pub(super) fn take_up(&mut self, events: Vec<EventRow>, wanted: impl Fn(&str) -> bool) {
        for event in events {
            self.next = event.seq + 1;
            if wanted(&event.kind) {
                self.open.insert(event.seq);
                self.fresh.push_back(Item {
                    event,
                    tries: 0,
                    has_row: false,
                });
            }
        }
    }

    /// Skips events that retention has removed.
    pub(super) fn pass_to(&mut self, next: i64) {
        self.next = self.next.max(next);
    }

    /// Adds a due retry.
    pub(super) fn take_up_again(&mut self, event: EventRow, tries: i32) {
        if self.in_hand.insert(event.seq) {
            self.due.push_back(Item {
                event,
                tries,
                has_row: true,
            });
        }
    }

    /// Returns the next event to send. New events and retries alternate by the parity of `turn`.
    pub(super) fn pop(&mut self, turn: usize) -> Option<Item> {
        if turn.is_multiple_of(2) {
            self.fresh.pop_front().or_else(|| self.due.pop_front())
        } else {
            self.due.pop_front().or_else(|| self.fresh.pop_front())
        }
    }

    /// Records the outcome of a delivery attempt. `chance`, from 0 to 1, varies the retry delay.
    pub(super) fn answered(&mut self, item: &Item, outcome: &Outcome, chance: f64) -> Verdict {
        let (reason, pause) = match outcome {
            Outcome::Taken => {
                self.close(item);
                self.done(item.event.seq);
                return Verdict::Taken;
            }
            // The event stays open, so that the cursor does not pass it.
            Outcome::Gone => return Verdict::TriedAgain,
            Outcome::Failed { reason, pause, .. } => (reason, *pause),
        };
        self.close(item);
        let seq = item.event.seq;
        let tries = item.tries.saturating_add(1);
        let Some(delay) = retry::pause(tries, pause, chance) else {
            self.done(seq);
            return Verdict::GivenUp;
        };
        // After a crash, an event may come both from the feed and from its row. One accepted
        // delivery is enough, and a checkpoint names the event once.
        if !self.unsettled.done.contains(&seq) {
            self.unsettled.failed.retain(|failed| failed.seq != seq);
            self.unsettled.failed.push(Failed {
                seq,
                tries,
                delay,
                error: reason.clone(),
            });
        }
        Verdict::TriedAgain
    }

    /// Records that an event needs no further attempt.
    pub(super) fn done(&mut self, seq: i64) {
        self.unsettled.failed.retain(|failed| failed.seq != seq);
        self.unsettled.done.push(seq);
    }

    fn close(&mut self, item: &Item) {
        if item.has_row {
            self.in_hand.remove(&item.event.seq);
        } else {
            self.open.remove(&item.event.seq);
        }
    }

    /// Returns the number of results to save.
    pub(super) fn weight(&self) -> usize {
        let moved = usize::from(self.low() > self.settled);
        self.unsettled.failed.len() + self.unsettled.done.len() + moved
    }

    /// Returns the results to save. They are kept until [`Self::settled`] is called.
    pub(super) fn settlement(&mut self) -> &Settlement {
        self.unsettled.next_seq = self.low();
        &self.unsettled
    }

    /// Discards the results of the last checkpoint, which is durable. No result may have been added
    /// since.
    pub(super) fn settled(&mut self) {
        self.settled = self.unsettled.next_seq;
        self.unsettled = Settlement::default();
    }

    fn low(&self) -> i64 {
        self.open.first().copied().unwrap_or(self.next)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use domain::Timestamp;

    fn event(seq: i64, kind: &str) -> EventRow {
        EventRow {
            seq,
            kind: kind.to_owned(),
            at: Timestamp::from_micros(0),
            transaction_id: None,
            payload: "{}".to_owned(),
        }
    }

    fn failed() -> Outcome {
        Outcome::Failed {
            label: "5xx",
            reason: "HTTP status 500".to_owned(),
            pause: None,
        }
    }

    fn window(wanted: std::ops::RangeInclusive<i64>) -> (Window, Vec<Item>) {
        let mut window = Window::new(*wanted.start());
        window.take_up(wanted.map(|seq| event(seq, "yes")).collect(), |_| true);
        let items = std::iter::from_fn(|| window.pop(0)).collect();
        (window, items)
    }

    #[test]
    fn the_cursor_points_to_the_first_open_event() {
        let (mut window, items) = window(5..=8);
        assert_eq!(window.weight(), 0);
        window.answered(&items[1], &Outcome::Taken, 0.5);
        assert_eq!(window.settlement().next_seq, 5);
        window.answered(&items[0], &Outcome::Taken, 0.5);
        assert_eq!(window.settlement().next_seq, 7);
        window.settled();
        assert_eq!(window.weight(), 0);
        window.answered(&items[2], &failed(), 0.5);
        window.answered(&items[3], &Outcome::Gone, 0.5);
        let settled = window.settlement();
        assert_eq!((settled.next_seq, settled.failed.len()), (8, 1));
        assert_eq!((settled.failed[0].seq, settled.failed[0].tries), (7, 1));
    }

    #[test]
    fn unwanted_events_are_skipped() {
        let mut window = Window::new(1);
        let kinds = ["no", "yes", "no", "no"];
        let events = (1..).zip(kinds).map(|(seq, kind)| event(seq, kind));
        window.take_up(events.collect(), |kind| kind == "yes");
        assert_eq!((window.next(), window.waiting()), (5, 1));
        assert_eq!(window.settlement().next_seq, 2);
        let item = window.pop(0).unwrap();
        window.answered(&item, &Outcome::Taken, 0.5);
        assert_eq!(window.settlement().next_seq, 5);
        window.pass_to(9);
        assert_eq!(window.settlement().next_seq, 9);
    }

    #[test]
    fn a_message_is_abandoned_after_its_last_retry() {
        let mut window = Window::new(10);
        window.take_up_again(event(3, "yes"), 9);
        window.take_up_again(event(3, "yes"), 9);
        window.take_up_again(event(4, "yes"), 10);
        assert_eq!(window.in_hand(), [3, 4]);
        let (third, fourth) = (window.pop(1).unwrap(), window.pop(1).unwrap());
        assert!(window.pop(1).is_none());
        assert_eq!(window.answered(&third, &failed(), 0.5), Verdict::TriedAgain);
        assert_eq!(window.answered(&fourth, &failed(), 0.5), Verdict::GivenUp);
        assert!(window.in_hand().is_empty());
        let settled = window.settlement();
        assert_eq!((settled.next_seq, settled.failed[0].tries), (10, 10));
        assert_eq!(settled.done, [4]);
    }

    #[test]
    fn retries_and_new_events_alternate() {
        let mut window = Window::new(7);
        window.take_up(vec![event(7, "yes"), event(8, "yes")], |_| true);
        window.take_up_again(event(1, "yes"), 1);
        window.take_up_again(event(2, "yes"), 1);
        let order: Vec<i64> = (0..4)
            .map(|turn| window.pop(turn).unwrap().event.seq)
            .collect();
        assert_eq!(order, [7, 1, 8, 2]);
    }

    #[test]
    fn a_checkpoint_names_an_event_once() {
        for outcomes in [[Outcome::Taken, failed()], [failed(), Outcome::Taken]] {
            let (mut window, fresh) = window(5..=5);
            window.take_up_again(event(5, "yes"), 1);
            let again = window.pop(0).unwrap();
            window.answered(&fresh[0], &outcomes[0], 0.5);
            window.answered(&again, &outcomes[1], 0.5);
            let settled = window.settlement();
            assert_eq!(
                (settled.failed.len(), settled.done.as_slice()),
                (0, &[5][..])
            );
        }
        let (mut window, fresh) = window(5..=5);
        window.take_up_again(event(5, "yes"), 1);
        let again = window.pop(0).unwrap();
        window.answered(&fresh[0], &failed(), 0.5);
        window.answered(&again, &failed(), 0.5);
        assert_eq!(window.settlement().failed.len(), 1);
    }
}
