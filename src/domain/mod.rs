//! The words of the service and the rules that hold between them, as pure functions.
//!
//! What it deliberately cannot do: no I/O, no clock, no randomness, no JSON and no SQL. Time comes
//! in as an argument, so that the same evidence always gives the same answer.

pub mod absence;
pub mod candidate;
pub mod discrepancy;
pub mod earlier;
pub mod evidence;
pub mod explain;
pub mod family;
pub mod fold;
pub mod ids;
pub mod money;
pub mod pacing;
pub mod schedule;
pub mod snapshot;
pub mod summary;
pub mod timestamp;
pub mod transaction;
pub mod verdict;
pub mod view;

pub use discrepancy::{DiscrepancyKind, Finding};
pub use evidence::{Channel, Fact, Refusal, RefusalKind, Verdict};
pub use fold::{Derived, derive};
pub use ids::{InvalidId, RequestKey, ShopId, TaskId, TrackingId, TransactionId, Uid};
pub use money::Currency;
pub use snapshot::{Snapshot, SnapshotKey, StatusClass};
pub use summary::Summary;
pub use timestamp::Timestamp;
pub use transaction::{Opening, Origin, State, TransactionType};

#[cfg(test)]
mod tests;
