//! What we asked for, fixed when the transaction was opened.

use crate::{Currency, Origin, ShopId, Timestamp, TrackingId, TransactionType, Uid};

/// What was asked, fixed when the transaction was opened. The fold reads it and never changes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionRequest {
    /// The shop that it belongs to.
    pub shop: ShopId,
    /// Under which name; `None` only for a transaction that the gateway told without one.
    pub tracking_id: Option<TrackingId>,
    /// The kind.
    pub kind: TransactionType,
    /// Who made it.
    pub origin: Origin,
    /// Minor units; absent where the request kind has none.
    pub amount: Option<i64>,
    /// The amount's currency; children have none of their own.
    pub currency: Option<Currency>,
    /// The parent of a child.
    pub parent_uid: Option<Uid>,
    /// The parent's own tracking id, where we know the parent: children may be filed under it.
    pub parent_tracking_id: Option<TrackingId>,
    /// Whether the request carries card data: it is sent while the caller waits, or not at all.
    pub card_data: bool,
    /// The `test` flag of the request.
    pub test: Option<bool>,
    /// When it was opened.
    pub opened_at: Timestamp,
}
