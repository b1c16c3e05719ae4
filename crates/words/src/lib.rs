//! Vocabulary of the service: ids, money, times, channels, states.
//!
//! Not responsible for: rules, I/O.

pub mod ids;
pub mod kinds;
pub mod money;
#[cfg(feature = "openapi")]
pub mod openapi;
pub mod timestamp;
mod wording;

pub use ids::{GatewayIdempotencyKey, InvalidId, ShopId, TaskId, TrackingId, TransactionId, Uid};
pub use kinds::{
    Channel, DiscrepancyKind, DiscrepancyStatus, Mention, Origin, State, TransactionType, Verdict,
};
pub use money::Currency;
pub use timestamp::Timestamp;

#[cfg(test)]
mod tests;
