//! Closed sets of words that the API, the database and the metrics share.

use crate::wording::api_words;
use serde::{Deserialize, Serialize};

api_words! {
    /// Transaction types of the gateway.
    TransactionType {
        /// Moves money at once.
        Payment = "payment",
        /// Holds money on the payer's account.
        Authorization = "authorization",
        /// Exchanges a card for a token; moves no money.
        Tokenization = "tokenization",
        /// Moves money that an authorization holds.
        Capture = "capture",
        /// Releases money that an authorization holds.
        Void = "void",
        /// Moves money of a payment or capture back to the payer.
        Refund = "refund",
        /// Moves money to a card.
        Payout = "payout",
        /// Money that the payer's bank took back after a dispute.
        Chargeback = "chargeback",
        /// Runs the risk rules only; moves no money.
        Checkup = "checkup",
    }
}

impl TransactionType {
    /// Returns whether a transaction of this type requires a parent.
    pub const fn is_child(self) -> bool {
        matches!(
            self,
            Self::Capture | Self::Void | Self::Refund | Self::Chargeback
        )
    }
}

api_words! {
    /// Where a transaction was created.
    Origin {
        /// Created through this API.
        Api = "api",
        /// Not created through this API; found at the gateway.
        Gateway = "gateway",
    }
}

api_words! {
    /// State of a transaction in this service. The gateway's own word is its `status`.
    State {
        /// Durable, not sent yet. Ends when an attempt is stamped.
        Accepted = "accepted",
        /// An attempt is stamped, and bytes may have been sent. Ends with the gateway's response,
        /// or without one.
        Submitting = "submitting",
        /// The gateway acknowledged the request with a task. Ends with the task's result, or when
        /// the task ends without one.
        Processing = "processing",
        /// A gateway transaction is bound, and its status is not final.
        Pending = "pending",
        /// It is unknown whether the gateway has the transaction. Ends by lookups, or by an
        /// operator's decision.
        InDoubt = "in_doubt",
        /// The gateway reports success.
        Successful = "successful",
        /// The gateway reports failure.
        Failed = "failed",
        /// The gateway reports that the time to pay expired.
        Expired = "expired",
        /// The gateway refused the request; presumed final.
        Rejected = "rejected",
        /// No byte of the request was sent; presumed final.
        NotSent = "not_sent",
        /// Absence at the gateway is proved; presumed final.
        NotFound = "not_found",
        /// Found at the gateway, and later identified as a transaction of this API. Counted there,
        /// and in no total here.
        Merged = "merged",
    }
}

impl State {
    /// Returns whether the state is final, presumed final included.
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Successful
                | Self::Failed
                | Self::Expired
                | Self::Rejected
                | Self::NotSent
                | Self::NotFound
                | Self::Merged
        )
    }

    /// Returns whether an operator may set another state: in doubt or final. `merged` is excluded,
    /// because it says which transaction the gateway's transaction belongs to.
    pub const fn can_be_decided(self) -> bool {
        matches!(self, Self::InDoubt) || (self.is_final() && !matches!(self, Self::Merged))
    }

    /// Returns whether the state is final without a snapshot, so that any snapshot overrides it.
    pub const fn is_presumed(self) -> bool {
        matches!(self, Self::Rejected | Self::NotSent | Self::NotFound)
    }
}

api_words! {
    /// Channel through which evidence was received.
    Channel {
        /// Response to a submit.
        Ack = "ack",
        /// Response of `status_url`.
        TaskStatus = "task_status",
        /// Response of `response_url`.
        TaskResult = "task_result",
        /// Webhook from the gateway.
        Webhook = "webhook",
        /// Lookup by uid or by tracking ID.
        Query = "query",
        /// Line of a report from the gateway.
        Report = "report",
        /// Action or decision of an operator.
        Operator = "operator",
        /// Action of this service.
        Local = "local",
    }
}

api_words! {
    /// Effect of a piece of evidence when it arrived. Verdicts depend on the order of arrival;
    /// states do not.
    Verdict {
        /// Changed the state, or added to its basis.
        Applied = "applied",
        /// Identical to evidence recorded before.
        Duplicate = "duplicate",
        /// Older than what was known about the same uid.
        Stale = "stale",
        /// Describes a transaction that does not match the request.
        Mismatch = "mismatch",
        /// Not sufficient by itself; made a lookup due.
        Hint = "hint",
        /// Understood, without new information.
        NothingNew = "nothing_new",
        /// Not used: a foreign address, or a read without information about the transaction.
        Refused = "refused",
        /// Changed a final state.
        Correction = "correction",
    }
}

api_words! {
    /// Kinds of discrepancy. The words are part of the API.
    DiscrepancyKind {
        /// A webhook describes an unknown transaction.
        OrphanWebhook = "orphan_webhook",
        /// The gateway answered 404 for a known uid.
        MissingAtGateway = "missing_at_gateway",
        /// The gateway has a transaction that was not created through this API.
        MissingHere = "missing_here",
        /// The gateway contradicts its own final status.
        StatusConflict = "status_conflict",
        /// The amount at the gateway differs from the request.
        AmountMismatch = "amount_mismatch",
        /// The currency at the gateway differs from the request.
        CurrencyMismatch = "currency_mismatch",
        /// The transaction type at the gateway differs from the request.
        TypeMismatch = "type_mismatch",
        /// More than one transaction with the same tracking ID succeeded.
        DuplicateSuccess = "duplicate_success",
        /// Several transactions match one tracking ID.
        AmbiguousTrackingId = "ambiguous_tracking_id",
        /// The transaction has had no final state for too long.
        PendingTooLong = "pending_too_long",
        /// The transaction succeeded after it was `rejected`, `not_sent` or `not_found`.
        LateSuccess = "late_success",
        /// The gateway changed a final status.
        ManualCorrection = "manual_correction",
        /// A chargeback with an unknown parent.
        ChargebackUnmatched = "chargeback_unmatched",
        /// Refund and chargeback together exceed the amount.
        RefundedAndChargedBack = "refunded_and_charged_back",
        /// A test transaction for a live request, or the reverse.
        TestLiveMix = "test_live_mix",
        /// A webhook had an invalid signature or invalid credentials.
        SignatureRejected = "signature_rejected",
        /// A gateway message could not be understood.
        UnknownBody = "unknown_body",
    }
}

api_words! {
    /// Whether a discrepancy still needs review.
    DiscrepancyStatus {
        /// Not resolved yet.
        Open = "open",
        /// Resolved by an operator, or by later evidence from the gateway.
        Resolved = "resolved",
    }
}

impl DiscrepancyKind {
    /// Returns whether the gateway's transaction differs from the request. An operator who resolves
    /// such a discrepancy accepts the difference, and each newer snapshot that shows it makes one
    /// check due.
    pub const fn is_mismatch(self) -> bool {
        matches!(
            self,
            Self::AmountMismatch | Self::CurrencyMismatch | Self::TypeMismatch | Self::TestLiveMix
        )
    }
}

/// A gateway transaction that a discrepancy names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Mention {
    /// Identifier of the transaction at the gateway.
    pub uid: String,
    /// Amount at the gateway, in minor units.
    pub amount: Option<i64>,
    /// Currency of the amount.
    pub currency: Option<String>,
    /// Status at the gateway, verbatim.
    pub status: Option<String>,
}
