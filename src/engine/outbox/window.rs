//! What has been taken up from the feed and what became of it, between two settlements.
//!
//! Events are answered in any order. The cursor follows the first one that is still open, so that
//! a crash repeats what was not answered, and leaves out nothing. What this deliberately cannot do:
//! I/O.

use crate::engine::outbox::deliver::Outcome;
use crate::engine::outbox::retry;
use crate::store::feed::EventRow;
use crate::store::subscribers::{Failed, Settlement};
use std::collections::{BTreeSet, VecDeque};

/// An event on its way to a subscriber.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) event: EventRow,
    /// How often it was tried before.
    pub(super) tries: i32,
    /// It has a row of its own; else it comes from the feed.
    pub(super) has_row: bool,
}

/// What became of an item in the long run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Taken.
    Taken,
    /// It has a next try.
    TriedAgain,
    /// It has had its last.
    GivenUp,
}

/// The window over one shop's feed for one subscriber.
#[derive(Debug)]
pub(super) struct Window {
    /// The next event to be read from the feed.
    next: i64,
    /// The events of the feed that are read and not answered yet.
    open: BTreeSet<i64>,
    /// Those among them that are not sent yet.
    fresh: VecDeque<Item>,
    /// Failed ones that are due and not sent yet.
    due: VecDeque<Item>,
    /// Failed ones in hand, sent or not.
    in_hand: BTreeSet<i64>,
    /// What has not been written down.
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

    /// The next event to be read from the feed.
    pub(super) fn next(&self) -> i64 {
        self.next
    }

    /// How many events are read and not sent.
    pub(super) fn waiting(&self) -> usize {
        self.fresh.len() + self.due.len()
    }

    /// The failed deliveries that must not be read again.
    pub(super) fn in_hand(&self) -> Vec<i64> {
        self.in_hand.iter().copied().collect()
    }

    /// Takes up what was read from the feed, and passes over what is not wanted.
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

    /// Passes over what is no longer kept.
    pub(super) fn pass_to(&mut self, next: i64) {
        self.next = self.next.max(next);
    }

    /// Takes up a failed delivery that is due.
    pub(super) fn take_up_again(&mut self, event: EventRow, tries: i32) {
        if self.in_hand.insert(event.seq) {
            self.due.push_back(Item {
                event,
                tries,
                has_row: true,
            });
        }
    }

    /// The next one to be sent. Old ones and new ones take turns, `turn` tells whose it is.
    pub(super) fn pop(&mut self, turn: usize) -> Option<Item> {
        if turn.is_multiple_of(2) {
            self.fresh.pop_front().or_else(|| self.due.pop_front())
        } else {
            self.due.pop_front().or_else(|| self.fresh.pop_front())
        }
    }

    /// Notes what became of an item. `chance` varies the pause.
    pub(super) fn answered(&mut self, item: &Item, outcome: &Outcome, chance: f64) -> Verdict {
        let (reason, pause) = match outcome {
            Outcome::Taken => {
                self.close(item);
                self.done(item.event.seq);
                return Verdict::Taken;
            }
            // The event stays open, so that the cursor stays before it.
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
        // After a crash one event may come from the feed and have a row: taken once is taken, and a
        // settlement names it once.
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

    /// Notes that an event need not be tried any more.
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

    /// How much there is to be written down.
    pub(super) fn weight(&self) -> usize {
        let moved = usize::from(self.low() > self.settled);
        self.unsettled.failed.len() + self.unsettled.done.len() + moved
    }

    /// What is to be written down. It is kept until [`Self::settled`] is told.
    pub(super) fn settlement(&mut self) -> &Settlement {
        self.unsettled.next_seq = self.low();
        &self.unsettled
    }

    /// The last settlement is durable; nothing has come in between.
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
            reason: "answered 500".to_owned(),
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
    fn the_cursor_follows_the_first_event_that_is_open() {
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
    fn what_is_not_wanted_is_passed_over() {
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
    fn a_message_has_its_tries_and_then_its_end() {
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
    fn old_and_new_take_turns() {
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
    fn a_settlement_names_an_event_once() {
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
