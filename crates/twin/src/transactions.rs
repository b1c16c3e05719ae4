//! The gateway's transactions: what a request asked for, and what became of it.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::clock::Ms;
use super::form::Form;
use super::script::WebhookScript;

/// The kinds of transactions that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Money moves at once.
    Payment,
    /// Money is held.
    Authorization,
    /// A card becomes a token.
    Tokenization,
    /// Held money moves.
    Capture,
    /// A hold is let go.
    Void,
    /// Money goes back.
    Refund,
    /// Money goes out to a card.
    Payout,
    /// A payment is disputed.
    Chargeback,
    /// Risk rules alone.
    Checkup,
}

impl Kind {
    /// All of them.
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

    /// The gateway's name of the type.
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

    /// The last part of the path that it is posted to.
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

    /// Whether it names a parent.
    pub fn is_child(self) -> bool {
        matches!(
            self,
            Self::Capture | Self::Void | Self::Refund | Self::Chargeback
        )
    }
}

/// The part of a transaction that its request fixed. Card numbers never get
/// here: `card` is what the gateway shows of a card.
#[derive(Clone, Debug, Default)]
pub struct Details {
    /// Description.
    pub description: Option<String>,
    /// Reason of a refund or chargeback.
    pub reason: Option<String>,
    /// Language.
    pub language: Option<String>,
    /// Test mode.
    pub test: bool,
    /// The masked card.
    pub card: Option<Value>,
    /// Customer as sent.
    pub customer: Value,
    /// Billing address as sent.
    pub billing_address: Value,
    /// Recipient as sent.
    pub recipient: Value,
    /// Additional data as sent.
    pub additional_data: Value,
    /// Deadline as sent.
    pub expired_at: Value,
    /// Where webhooks go.
    pub notification_url: Option<String>,
    /// Where the customer goes after 3-DS.
    pub return_url: Option<String>,
}

/// One transaction of the gateway.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// The gateway's id.
    pub uid: String,
    /// The shop that it belongs to.
    pub shop: Arc<str>,
    /// Its type.
    pub kind: Kind,
    /// The tracking id that it shows.
    pub tracking_id: Option<String>,
    /// The parent of a child.
    pub parent_uid: Option<String>,
    /// Status.
    pub status: String,
    /// Code.
    pub code: Option<String>,
    /// Message.
    pub message: Option<String>,
    /// Amount in minor units.
    pub amount: i64,
    /// Currency.
    pub currency: String,
    /// What the request fixed.
    pub details: Arc<Details>,
    /// When it came into being, as bodies show it.
    pub created_at: OffsetDateTime,
    /// When it last changed, as bodies show it.
    pub updated_at: OffsetDateTime,
    /// When it became successful.
    pub paid_at: Option<OffsetDateTime>,
    /// When it was last changed by hand.
    pub corrected_at: Option<OffsetDateTime>,
    /// When it came into being, in virtual time.
    pub appeared: Ms,
    /// Whether it is shown in the shape of API version 3.
    pub v3: bool,
    /// How bodies about it are written.
    pub form: Form,
    /// How its webhooks are sent.
    pub webhook: WebhookScript,
    /// A webhook that is held back so that it arrives too late.
    pub held: Option<(Bytes, Option<&'static str>)>,
    /// Left out of every look-up.
    pub hidden: bool,
    /// Fields that the control API lays over the body.
    pub overlay: Map<String, Value>,
}

impl Transaction {
    /// Whether nothing more is expected to happen to it.
    pub fn is_final(&self) -> bool {
        is_final(&self.status)
    }

    /// Gives it a new status; what the change does not name becomes usual for it.
    pub fn turn(&mut self, turn: Turn<'_>, stamp: OffsetDateTime) {
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
pub struct Turn<'a> {
    /// The new status.
    pub status: &'a str,
    /// Its code, if not the usual one.
    pub code: Option<&'a str>,
    /// Its message, if not the usual one.
    pub message: Option<&'a str>,
    /// A new amount.
    pub amount: Option<i64>,
    /// Made by hand.
    pub corrected: bool,
}

/// Whether a status is one that ends a transaction.
pub fn is_final(status: &str) -> bool {
    matches!(
        status,
        "successful" | "failed" | "expired" | "error" | "deleted" | "permanent"
    )
}

/// The code that usually goes with a status.
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

/// The message that usually goes with a status.
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
