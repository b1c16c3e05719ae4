//! The words of the service and the rules that hold between them, as pure functions.
//!
//! What it deliberately cannot do: no I/O, no clock, no randomness, no JSON and no SQL. Time comes
//! in as an argument, so that the same evidence always gives the same answer.

pub mod absence;
mod beside;
pub mod candidate;
pub mod discrepancy;
pub mod earlier;
pub mod evidence;
pub mod explain;
pub mod family;
pub mod fold;
pub mod forecast;
pub mod schedule;
pub mod snapshot;
pub mod summary;
pub mod transaction;
pub mod verdict;

pub use discrepancy::Discrepancy;
pub use evidence::{Fact, Refusal, RefusalKind};
pub use fold::{DerivedState, derive};
pub use snapshot::{Snapshot, SnapshotKey, StatusClass};
pub use summary::Summary;
pub use transaction::TransactionRequest;
pub use words::{
    Channel, Currency, DiscrepancyKind, DiscrepancyStatus, GatewayIdempotencyKey, InvalidId,
    Mention, Origin, ShopId, State, TaskId, Timestamp, TrackingId, TransactionId, TransactionType,
    Uid, Verdict,
};

#[cfg(test)]
mod tests;
