//! The bytes of requests that a listener keeps in memory at one time.
//!
//! The last part of the budget is for small bodies, so that large ones never keep a webhook out. Taking from it is one
//! atomic operation. Not responsible for: how large a single body may be (`max_body`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Up to this a body is small.
pub(crate) const SMALL: usize = 16 * 1024;

/// This part of the budget is for small bodies.
const RESERVE: usize = 8;

/// The budget of one listener.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    total: usize,
    used: AtomicUsize,
}

impl MemoryBudget {
    pub(crate) fn new(total: usize) -> Self {
        Self {
            total,
            used: AtomicUsize::new(0),
        }
    }

    /// Takes room for so many bytes, which count as large from [`SMALL`] on.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Option<Held> {
        self.reserve(bytes, bytes).then(|| Held {
            budget: Arc::clone(self),
            bytes,
        })
    }

    /// Takes `more` bytes for something that has `whole` bytes then.
    fn reserve(&self, more: usize, whole: usize) -> bool {
        let limit = if whole > SMALL {
            self.total - self.total / RESERVE
        } else {
            self.total
        };
        let taken = |used: usize| used.checked_add(more).filter(|used| *used <= limit);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken)
            .is_ok()
    }
}

/// Room that was taken. Given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

impl Held {
    /// Takes what is missing to so many bytes. False when there is no room.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> bool {
        self.add(bytes.saturating_sub(self.bytes), bytes)
    }

    /// Takes room for what is made of a body of this `length`. It never takes more than a quarter of the budget, so that
    /// one that is alone is served however much that is. False when there is no room.
    pub(crate) fn grow_by(&mut self, more: usize, length: usize) -> bool {
        self.add(more.min(self.budget.total / 4), length)
    }

    fn add(&mut self, more: usize, length: usize) -> bool {
        let grown = self.budget.reserve(more, length);
        if grown {
            self.bytes += more;
        }
        grown
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn large_bodies_leave_room_for_small_ones() {
        let budget = Arc::new(MemoryBudget::new(8 * 100_000));
        let held: Vec<_> = (0..7).map(|_| budget.take(100_000).unwrap()).collect();
        assert!(budget.take(SMALL + 1).is_none());
        let small: Vec<_> = std::iter::from_fn(|| budget.take(SMALL)).collect();
        assert_eq!(small.len(), 100_000 / SMALL);
        drop((held, small));
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_parsed_body_counts_and_is_always_granted() {
        let budget = Arc::new(MemoryBudget::new(80_000));
        let mut held = budget.take(1_000).unwrap();
        assert!(held.grow_by(1_000_000, 1_000) && held.bytes == 21_000);
        let mut large = budget.take(40_000).unwrap();
        assert!(!large.grow_by(10_000, 40_000));
        drop(held);
        assert!(large.grow_by(10_000, 40_000));
    }

    #[test]
    fn a_growing_body_becomes_large() {
        let budget = Arc::new(MemoryBudget::new(80_000));
        let mut held = budget.take(1_000).unwrap();
        assert!(held.grow_to(500) && held.bytes == 1_000);
        assert!(held.grow_to(70_000));
        assert!(!held.grow_to(75_000) && held.bytes == 70_000);
        drop(held);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
