//! Transactions of the simulated gateway: the request that created one, and its current status.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::clock::VirtualMillis;
use super::form::Form;
use super::script::WebhookScript;

/// Transaction types that can be requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransactionKind {
    /// Moves money at once.
    Payment,
    /// Holds money.
    Authorization,
    /// Exchanges a card for a token.
    Tokenization,
    /// Moves held money.
    Capture,
    /// Releases held money.
    Void,
    /// Moves money back to the payer.
    Refund,
    /// Moves money to a card.
    Payout,
    /// Reverses a disputed payment.
    Chargeback,
    /// Runs the risk rules only.
    Checkup,
}

impl TransactionKind {
    /// All types.
    pub const ALL: [Self; 9] = [
        Self::Payment,
        Self::Authorization,
        Self::Tokenization,
        Self::Capture,
        Self::Void,
        Self::Refund,
        Self::Payout,
        Self::Chargeback,
        Self::Checkup,
    ];

    /// Returns the gateway's name of the type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Payment => "payment",
            Self::Authorization => "authorization",
            Self::Tokenization => "tokenization",
            Self::Capture => "capture",
            Self::Void => "void",
            Self::Refund => "refund",
            Self::Payout => "payout",
            Self::Chargeback => "chargeback",
            Self::Checkup => "checkup",
        }
    }

    /// Returns the last segment of the path that it is posted to.
    pub fn collection(self) -> &'static str {
        match self {
            Self::Payment => "payments",
            Self::Authorization => "authorizations",
            Self::Tokenization => "tokenizations",
            Self::Capture => "captures",
            Self::Void => "voids",
            Self::Refund => "refunds",
            Self::Payout => "payouts",
            Self::Chargeback => "chargebacks",
            Self::Checkup => "checkups",
        }
    }

    /// Returns whether the type requires a parent.
    pub fn is_child(self) -> bool {
        matches!(
            self,
            Self::Capture | Self::Void | Self::Refund | Self::Chargeback
        )
    }
}

/// The part of a transaction that its request fixes. Contains no card number: `card` is the masked
/// card that bodies show.
#[derive(Clone, Debug, Default)]
pub struct RequestDetails {
    /// Description of the purchase.
    pub description: Option<String>,
    /// Reason of a refund or chargeback.
    pub reason: Option<String>,
    /// Language of the payment page.
    pub language: Option<String>,
    /// Whether it is a test transaction.
    pub test: bool,
    /// Masked card, as bodies show it.
    pub card: Option<Value>,
    /// Customer, as the request gave it.
    pub customer: Value,
    /// Billing address, as the request gave it.
    pub billing_address: Value,
    /// Recipient, as the request gave it.
    pub recipient: Value,
    /// Additional data, as the request gave it.
    pub additional_data: Value,
    /// Deadline of the payment, as the request gave it.
    pub expired_at: Value,
    /// Webhook URL.
    pub notification_url: Option<String>,
    /// URL that the customer returns to after 3-D Secure.
    pub return_url: Option<String>,
}

/// A transaction of the simulated gateway.
#[derive(Clone, Debug)]
pub struct SimTransaction {
    /// Identifier of the transaction at the gateway.
    pub uid: String,
    /// Shop that the transaction belongs to.
    pub shop: Arc<str>,
    /// Transaction type.
    pub kind: TransactionKind,
    /// Tracking ID that bodies show.
    pub tracking_id: Option<String>,
    /// Uid of the parent, for a child transaction.
    pub parent_uid: Option<String>,
    /// Current status.
    pub status: String,
    /// Result code.
    pub code: Option<String>,
    /// Message to the current status.
    pub message: Option<String>,
    /// Amount in minor units.
    pub amount: i64,
    /// Currency code.
    pub currency: String,
    /// Fields that the request fixes.
    pub details: Arc<RequestDetails>,
    /// Creation time, as bodies show it.
    pub created_at: OffsetDateTime,
    /// Time of the last change, as bodies show it.
    pub updated_at: OffsetDateTime,
    /// Time at which it became successful.
    pub paid_at: Option<OffsetDateTime>,
    /// Time of the last correction in the back office.
    pub corrected_at: Option<OffsetDateTime>,
    /// Creation time, in virtual time.
    pub appeared: VirtualMillis,
    /// Whether bodies have the shape of API version 3.
    pub v3: bool,
    /// Format of bodies about it.
    pub form: Form,
    /// Delivery of its webhooks.
    pub webhook: WebhookScript,
    /// Body and content coding of a webhook that is delayed until after a later one.
    pub held: Option<(Bytes, Option<&'static str>)>,
    /// Whether lookups omit it.
    pub hidden: bool,
    /// Fields that the control API sets in the body.
    pub overlay: Map<String, Value>,
}

impl SimTransaction {
    /// Returns whether its status is final.
    pub fn is_final(&self) -> bool {
        is_final(&self.status)
    }

    /// Changes the status. Fields that the change does not set get the usual value for the status.
    pub fn turn(&mut self, turn: StatusTransition<'_>, stamp: OffsetDateTime) {
        self.updated_at = stamp.max(self.updated_at + time::Duration::MILLISECOND);
        self.status = turn.status.to_owned();
        self.code = turn
            .code
            .map_or_else(|| usual_code(turn.status), |code| Some(code.into()));
        self.message = turn
            .message
            .map_or_else(|| usual_message(turn.status), |text| Some(text.into()));
        self.amount = turn.amount.unwrap_or(self.amount);
        self.paid_at = (turn.status == "successful").then_some(self.updated_at);
        if turn.corrected {
            self.corrected_at = Some(self.updated_at);
        }
    }
}

/// A change of status.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatusTransition<'a> {
    /// New status.
    pub status: &'a str,
    /// Code, if not the usual one for the status.
    pub code: Option<&'a str>,
    /// Message, if not the usual one for the status.
    pub message: Option<&'a str>,
    /// New amount in minor units.
    pub amount: Option<i64>,
    /// Whether it is a correction in the back office.
    pub corrected: bool,
}

/// Returns whether a status is final.
pub fn is_final(status: &str) -> bool {
    matches!(
        status,
        "successful" | "failed" | "expired" | "error" | "deleted" | "permanent"
    )
}

/// Returns the usual code for a status.
pub fn usual_code(status: &str) -> Option<String> {
    let code = match status {
        "successful" => "S.0000",
        "failed" => "F.0105",
        "incomplete" => "P.9998",
        "pending" => "P.0001",
        "expired" => "F.0109",
        _ => return None,
    };
    Some(code.to_owned())
}

/// Returns the usual message for a status.
pub fn usual_message(status: &str) -> Option<String> {
    let message = match status {
        "successful" => "Successfully processed",
        "failed" => "Payment was declined",
        "expired" => "Order has expired",
        "pending" => "Transaction is being processed",
        _ => return None,
    };
    Some(message.to_owned())
}
