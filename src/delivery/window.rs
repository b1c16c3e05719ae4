//! In-memory window over one shop's feed: events read, in flight, and delivered but not yet saved.
//!
//! Deliveries complete in any order. The cursor points to the first event that is not complete, so
//! that after a crash incomplete events are delivered again and none is skipped.
//!
//! Not responsible for: I/O.

use crate::delivery::deliver::DeliveryOutcome;
use crate::delivery::retry;
use crate::store::feed::EventRow;
use crate::store::subscribers::{CursorCheckpoint, FailedDelivery};
use std::collections::{BTreeSet, VecDeque};

/// An event that is being delivered to a subscriber.
#[derive(Debug, Clone)]
pub(super) struct PendingDelivery {
    pub(super) event: EventRow,
    /// Number of earlier delivery attempts.
    pub(super) tries: i32,
    /// Whether the event has a row of its own for retries; otherwise it comes from the feed.
    pub(super) has_row: bool,
}

/// What happens to an event after a delivery attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disposition {
    /// The subscriber accepted it.
    Taken,
    /// Another attempt is due later.
    TriedAgain,
    /// The last attempt failed; the event is abandoned.
    GivenUp,
}

/// The window over one shop's feed for one subscriber.
#[derive(Debug)]
pub(super) struct FeedWindow {
    /// Sequence number of the next event to read from the feed.
    next: i64,
    /// Events read from the feed that are not complete.
    open: BTreeSet<i64>,
    /// Events in `open` that are not sent yet.
    fresh: VecDeque<PendingDelivery>,
    /// Due retries that are not sent yet.
    due: VecDeque<PendingDelivery>,
    /// Retries in this window, sent or not.
    retrying: BTreeSet<i64>,
    /// Results that are not saved yet.
    unsaved: CursorCheckpoint,
    settled: i64,
}

impl FeedWindow {
    pub(super) fn new(next: i64) -> Self {
        Self {
            next,
            open: BTreeSet::new(),
            fresh: VecDeque::new(),
            due: VecDeque::new(),
            retrying: BTreeSet::new(),
            unsaved: CursorCheckpoint::default(),
            settled: next,
        }
    }

    /// Sequence number of the next event to read from the feed.
    pub(super) fn next(&self) -> i64 {
        self.next
    }

    /// Returns the number of events that are read and not sent.
    pub(super) fn queued(&self) -> usize {
        self.fresh.len() + self.due.len()
    }

    /// Returns the retries in this window, which must not be read from the database again.
    pub(super) fn retrying(&self) -> Vec<i64> {
        self.retrying.iter().copied().collect()
    }

    /// Adds events read from the feed. Skips those that `wanted` rejects.
    pub(super) fn push_events(&mut self, events: Vec<EventRow>, wanted: impl Fn(&str) -> bool) {
        for event in events {
            self.next = event.seq + 1;
            if wanted(&event.kind) {
                self.open.insert(event.seq);
                self.fresh.push_back(PendingDelivery {
                    event,
                    tries: 0,
                    has_row: false,
                });
            }
        }
    }

    /// Skips events that retention has removed.
    pub(super) fn skip_to(&mut self, next: i64) {
        self.next = self.next.max(next);
    }

    /// Adds a due retry.
    pub(super) fn push_retry(&mut self, event: EventRow, tries: i32) {
        if self.retrying.insert(event.seq) {
            self.due.push_back(PendingDelivery {
                event,
                tries,
                has_row: true,
            });
        }
    }

    /// Returns the next event to send. New events and retries alternate by the parity of `turn`.
    pub(super) fn pop(&mut self, turn: usize) -> Option<PendingDelivery> {
        if turn.is_multiple_of(2) {
            self.fresh.pop_front().or_else(|| self.due.pop_front())
        } else {
            self.due.pop_front().or_else(|| self.fresh.pop_front())
        }
    }

    /// Records the outcome of a delivery attempt. `chance`, from 0 to 1, varies the retry delay.
    pub(super) fn complete(
        &mut self,
        item: &PendingDelivery,
        outcome: &DeliveryOutcome,
        chance: f64,
    ) -> Disposition {
        let (reason, pause) = match outcome {
            DeliveryOutcome::Taken => {
                self.close(item);
                self.mark_done(item.event.seq);
                return Disposition::Taken;
            }
            // The event stays open, so that the cursor does not pass it.
            DeliveryOutcome::Gone => return Disposition::TriedAgain,
            DeliveryOutcome::Failed { reason, pause, .. } => (reason, *pause),
        };
        self.close(item);
        let seq = item.event.seq;
        let tries = item.tries.saturating_add(1);
        let Some(delay) = retry::retry_delay(tries, pause, chance) else {
            self.mark_done(seq);
            return Disposition::GivenUp;
        };
        // After a crash, an event may come both from the feed and from its row. One accepted
        // delivery is enough, and a checkpoint names the event once.
        if !self.unsaved.done.contains(&seq) {
            self.unsaved.failed.retain(|failed| failed.seq != seq);
            self.unsaved.failed.push(FailedDelivery {
                seq,
                tries,
                delay,
                error: reason.clone(),
            });
        }
        Disposition::TriedAgain
    }

    /// Records that an event needs no further attempt.
    pub(super) fn mark_done(&mut self, seq: i64) {
        self.unsaved.failed.retain(|failed| failed.seq != seq);
        self.unsaved.done.push(seq);
    }

    fn close(&mut self, item: &PendingDelivery) {
        if item.has_row {
            self.retrying.remove(&item.event.seq);
        } else {
            self.open.remove(&item.event.seq);
        }
    }

    /// Returns the number of results to save.
    pub(super) fn unsaved_count(&self) -> usize {
        let moved = usize::from(self.low() > self.settled);
        self.unsaved.failed.len() + self.unsaved.done.len() + moved
    }

    /// Returns the results to save. They are kept until [`Self::checkpoint_saved`] is called.
    pub(super) fn checkpoint(&mut self) -> &CursorCheckpoint {
        self.unsaved.next_seq = self.low();
        &self.unsaved
    }

    /// Discards the results of the last checkpoint, which is durable. No result may have been added
    /// since.
    pub(super) fn checkpoint_saved(&mut self) {
        self.settled = self.unsaved.next_seq;
        self.unsaved = CursorCheckpoint::default();
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

    fn failed() -> DeliveryOutcome {
        DeliveryOutcome::Failed {
            label: "5xx",
            reason: "HTTP status 500".to_owned(),
            pause: None,
        }
    }

    fn window(wanted: std::ops::RangeInclusive<i64>) -> (FeedWindow, Vec<PendingDelivery>) {
        let mut window = FeedWindow::new(*wanted.start());
        window.push_events(wanted.map(|seq| event(seq, "yes")).collect(), |_| true);
        let items = std::iter::from_fn(|| window.pop(0)).collect();
        (window, items)
    }

    #[test]
    fn the_cursor_points_to_the_first_open_event() {
        let (mut window, items) = window(5..=8);
        assert_eq!(window.unsaved_count(), 0);
        window.complete(&items[1], &DeliveryOutcome::Taken, 0.5);
        assert_eq!(window.checkpoint().next_seq, 5);
        window.complete(&items[0], &DeliveryOutcome::Taken, 0.5);
        assert_eq!(window.checkpoint().next_seq, 7);
        window.checkpoint_saved();
        assert_eq!(window.unsaved_count(), 0);
        window.complete(&items[2], &failed(), 0.5);
        window.complete(&items[3], &DeliveryOutcome::Gone, 0.5);
        let settled = window.checkpoint();
        assert_eq!((settled.next_seq, settled.failed.len()), (8, 1));
        assert_eq!((settled.failed[0].seq, settled.failed[0].tries), (7, 1));
    }

    #[test]
    fn unwanted_events_are_skipped() {
        let mut window = FeedWindow::new(1);
        let kinds = ["no", "yes", "no", "no"];
        let events = (1..).zip(kinds).map(|(seq, kind)| event(seq, kind));
        window.push_events(events.collect(), |kind| kind == "yes");
        assert_eq!((window.next(), window.queued()), (5, 1));
        assert_eq!(window.checkpoint().next_seq, 2);
        let item = window.pop(0).unwrap();
        window.complete(&item, &DeliveryOutcome::Taken, 0.5);
        assert_eq!(window.checkpoint().next_seq, 5);
        window.skip_to(9);
        assert_eq!(window.checkpoint().next_seq, 9);
    }

    #[test]
    fn a_message_is_abandoned_after_its_last_retry() {
        let mut window = FeedWindow::new(10);
        window.push_retry(event(3, "yes"), 9);
        window.push_retry(event(3, "yes"), 9);
        window.push_retry(event(4, "yes"), 10);
        assert_eq!(window.retrying(), [3, 4]);
        let (third, fourth) = (window.pop(1).unwrap(), window.pop(1).unwrap());
        assert!(window.pop(1).is_none());
        assert_eq!(
            window.complete(&third, &failed(), 0.5),
            Disposition::TriedAgain
        );
        assert_eq!(
            window.complete(&fourth, &failed(), 0.5),
            Disposition::GivenUp
        );
        assert!(window.retrying().is_empty());
        let settled = window.checkpoint();
        assert_eq!((settled.next_seq, settled.failed[0].tries), (10, 10));
        assert_eq!(settled.done, [4]);
    }

    #[test]
    fn retries_and_new_events_alternate() {
        let mut window = FeedWindow::new(7);
        window.push_events(vec![event(7, "yes"), event(8, "yes")], |_| true);
        window.push_retry(event(1, "yes"), 1);
        window.push_retry(event(2, "yes"), 1);
        let order: Vec<i64> = (0..4)
            .map(|turn| window.pop(turn).unwrap().event.seq)
            .collect();
        assert_eq!(order, [7, 1, 8, 2]);
    }

    #[test]
    fn a_checkpoint_names_an_event_once() {
        for outcomes in [
            [DeliveryOutcome::Taken, failed()],
            [failed(), DeliveryOutcome::Taken],
        ] {
            let (mut window, fresh) = window(5..=5);
            window.push_retry(event(5, "yes"), 1);
            let again = window.pop(0).unwrap();
            window.complete(&fresh[0], &outcomes[0], 0.5);
            window.complete(&again, &outcomes[1], 0.5);
            let settled = window.checkpoint();
            assert_eq!(
                (settled.failed.len(), settled.done.as_slice()),
                (0, &[5][..])
            );
        }
        let (mut window, fresh) = window(5..=5);
        window.push_retry(event(5, "yes"), 1);
        let again = window.pop(0).unwrap();
        window.complete(&fresh[0], &failed(), 0.5);
        window.complete(&again, &failed(), 0.5);
        assert_eq!(window.checkpoint().failed.len(), 1);
    }
}
