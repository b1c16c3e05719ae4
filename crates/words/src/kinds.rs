//! The closed sets of words that the API, the database and the metrics share.

use crate::wording::api_words;
use serde::{Deserialize, Serialize};

api_words! {
    /// The kinds of transaction that the gateway knows.
    TransactionType {
        /// Money is taken at once.
        Payment = "payment",
        /// Money is held.
        Authorization = "authorization",
        /// A card becomes a token; no money moves.
        Tokenization = "tokenization",
        /// A held sum is taken.
        Capture = "capture",
        /// A hold is given up.
        Void = "void",
        /// A taken sum goes back.
        Refund = "refund",
        /// Money goes out to a card.
        Payout = "payout",
        /// The payer's bank took money back.
        Chargeback = "chargeback",
        /// Risk rules only; no money moves.
        Checkup = "checkup",
    }
}

impl TransactionType {
    /// Whether a transaction of this type names a parent.
    pub const fn is_child(self) -> bool {
        matches!(
            self,
            Self::Capture | Self::Void | Self::Refund | Self::Chargeback
        )
    }
}

api_words! {
    /// Who made a transaction.
    Origin {
        /// It was made through our API.
        Api = "api",
        /// We learned of it from the gateway.
        Gateway = "gateway",
    }
}

api_words! {
    /// Our own state of a transaction (the gateway's word is its *status*).
    State {
        /// Durable, not sent. Left by a stamp.
        Accepted = "accepted",
        /// Stamped; bytes may have left. Left by the gateway's answer, or by silence.
        Submitting = "submitting",
        /// The gateway has given us a task. Left by the task's result, or by its end without one.
        Processing = "processing",
        /// A transaction of the gateway is bound, and it is not final.
        Pending = "pending",
        /// We do not know whether the gateway has it. Only look-ups lead out, or a person.
        InDoubt = "in_doubt",
        /// The gateway says it succeeded.
        Successful = "successful",
        /// The gateway says it failed.
        Failed = "failed",
        /// The gateway says its time ran out.
        Expired = "expired",
        /// The gateway refused the request; presumed final.
        Rejected = "rejected",
        /// No byte of the request left us; presumed final.
        NotSent = "not_sent",
        /// Proved absent at the gateway; presumed final.
        NotFound = "not_found",
        /// Learned of from the gateway, and then found to be one of ours: it counts there, and in no sum
        /// here.
        Merged = "merged",
    }
}

impl State {
    /// Whether nothing more is expected to happen.
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

    /// Whether a person may decide it: an end, or doubt. Whose a transaction is nobody decides by a state.
    pub const fn can_be_decided(self) -> bool {
        matches!(self, Self::InDoubt) || (self.is_final() && !matches!(self, Self::Merged))
    }

    /// Final without a snapshot behind it, so that any snapshot outranks it.
    pub const fn is_presumed(self) -> bool {
        matches!(self, Self::Rejected | Self::NotSent | Self::NotFound)
    }
}

api_words! {
    /// By which way a thing was learned.
    Channel {
        /// The answer to a submit.
        Ack = "ack",
        /// An answer of `status_url`.
        TaskStatus = "task_status",
        /// An answer of `response_url`.
        TaskResult = "task_result",
        /// The gateway told us by itself.
        Webhook = "webhook",
        /// A look-up by uid or by tracking id.
        Query = "query",
        /// A line of the gateway's report.
        Report = "report",
        /// A person decided.
        Operator = "operator",
        /// Our own act.
        Local = "local",
    }
}

api_words! {
    /// What an arrival changed. Verdicts depend on the order of arrival; states do not.
    Verdict {
        /// It moved the state, or added to what the state rests on.
        Applied = "applied",
        /// The same thing had been recorded before.
        Duplicate = "duplicate",
        /// Something greater about the same uid was known already.
        Stale = "stale",
        /// It tells of a transaction that does not match ours.
        Mismatch = "mismatch",
        /// Not believed by itself; it made a look-up due.
        Hint = "hint",
        /// Understood, and nothing new.
        NothingNew = "nothing_new",
        /// Not taken: a foreign address, or a read that says nothing of the transaction.
        Refused = "refused",
        /// It changed a final state.
        Correction = "correction",
    }
}

api_words! {
    /// The kinds of finding. The words are part of the API.
    DiscrepancyKind {
        /// A webhook tells of a transaction that we know nothing of.
        OrphanWebhook = "orphan_webhook",
        /// A uid that we know was answered 404.
        MissingAtGateway = "missing_at_gateway",
        /// The gateway has a transaction that was not made through us.
        MissingHere = "missing_here",
        /// The gateway contradicts a final status of its own.
        StatusConflict = "status_conflict",
        /// The gateway has another amount.
        AmountMismatch = "amount_mismatch",
        /// The gateway has another currency.
        CurrencyMismatch = "currency_mismatch",
        /// The gateway has another kind of transaction.
        TypeMismatch = "type_mismatch",
        /// More than one transaction succeeded under one tracking id.
        DuplicateSuccess = "duplicate_success",
        /// It cannot be told which transaction a tracking id means.
        AmbiguousTrackingId = "ambiguous_tracking_id",
        /// It has not ended for too long.
        PendingTooLong = "pending_too_long",
        /// It succeeded after it had been told to have ended otherwise.
        LateSuccess = "late_success",
        /// The gateway changed a final status.
        ManualCorrection = "manual_correction",
        /// A chargeback whose parent is not known.
        ChargebackUnmatched = "chargeback_unmatched",
        /// More went back than there was: it was refunded, and charged back as well.
        RefundedAndChargedBack = "refunded_and_charged_back",
        /// A test transaction for a live request, or the other way round.
        TestLiveMix = "test_live_mix",
        /// Somebody sent a webhook with a wrong signature or wrong credentials.
        SignatureRejected = "signature_rejected",
        /// The gateway said something that could not be understood.
        UnknownBody = "unknown_body",
    }
}

api_words! {
    /// Whether a finding still needs a person.
    DiscrepancyStatus {
        /// Nobody has closed it, and it has not healed.
        Open = "open",
        /// A person closed it, or the gateway corrected itself.
        Resolved = "resolved",
    }
}

impl DiscrepancyKind {
    /// Whether what the gateway has is not what was asked for: a person who closes it accepts that, and
    /// each newer snapshot that shows it makes one look due.
    pub const fn is_mismatch(self) -> bool {
        matches!(
            self,
            Self::AmountMismatch | Self::CurrencyMismatch | Self::TypeMismatch | Self::TestLiveMix
        )
    }
}

/// One of the gateway's transactions that a finding is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Mention {
    /// Which one.
    pub uid: String,
    /// Its amount at the gateway, in minor units.
    pub amount: Option<i64>,
    /// The amount's currency.
    pub currency: Option<String>,
    /// The gateway's word for its status.
    pub status: Option<String>,
}
