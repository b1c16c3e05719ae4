//! The gateway's description of one of its transactions at one moment, and the one total order
//! that says which of two descriptions of the same uid counts.

use crate::{Currency, Timestamp, TrackingId, Uid};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How far the gateway's `updated_at` may lie ahead of our receipt and still be believed.
pub const MAX_CLOCK_AHEAD: Duration = Duration::from_secs(600);

/// What a status word amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StatusClass {
    /// A word that we do not know; not final.
    #[serde(rename = "o")]
    Other,
    /// Known and not final.
    #[serde(rename = "p")]
    Pending,
    /// Final: time ran out.
    #[serde(rename = "x")]
    Expired,
    /// Final: it failed.
    #[serde(rename = "f")]
    Failed,
    /// Final: it succeeded.
    #[serde(rename = "s")]
    Successful,
}

/// Codes that say "ask again" even under a status that sounds final.
const DOUBT_CODES: [&str; 4] = ["E.1000", "E.1018", "E.1035", "E.1036"];

impl StatusClass {
    /// Reads a status word of a body that has a uid, together with its code.
    pub fn of(status: &str, code: Option<&str>) -> Self {
        let undecided = code.is_some_and(|c| c.starts_with("P.") || DOUBT_CODES.contains(&c));
        match status {
            "successful" => Self::Successful,
            "failed" => Self::Failed,
            "expired" => Self::Expired,
            "error" | "deleted" | "permanent" if undecided => Self::Pending,
            "error" | "deleted" | "permanent" => Self::Failed,
            "incomplete" | "pending" | "initial" => Self::Pending,
            _ => Self::Other,
        }
    }

    /// Whether the gateway means this to be the end.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Successful | Self::Failed | Self::Expired)
    }

    /// The place in the order of snapshots; everything that is not final is equal.
    const fn rank(self) -> u8 {
        match self {
            Self::Successful => 3,
            Self::Failed => 2,
            Self::Expired => 1,
            Self::Pending | Self::Other => 0,
        }
    }
}

/// The card behind a transaction, as far as it may be kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Card {
    /// `visa`, `master`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brand: Option<String>,
    /// The last four digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_4: Option<String>,
    /// The first digit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_1: Option<String>,
    /// The first six or eight digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bin: Option<String>,
    /// The gateway's token for later use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The gateway's fingerprint of the card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<String>,
    /// Country of the issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_country: Option<String>,
    /// Name of the issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_name: Option<String>,
    /// The card's product name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
}

/// One description. Card data has been taken out before it comes to be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Snapshot {
    /// Whose description.
    #[serde(rename = "u")]
    pub uid: Uid,
    /// The gateway's word, verbatim.
    #[serde(rename = "s")]
    pub status: String,
    /// What the word amounts to.
    #[serde(rename = "c")]
    pub class: StatusClass,
    /// The gateway's type word, verbatim.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The processing code.
    #[serde(rename = "co", default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The gateway's message.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The gateway's message for the payer.
    #[serde(rename = "fm", default, skip_serializing_if = "Option::is_none")]
    pub friendly_message: Option<String>,
    /// Minor units.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<i64>,
    /// The amount as it was written, where it was written with a decimal point.
    #[serde(rename = "aw", default, skip_serializing_if = "Option::is_none")]
    pub amount_written: Option<String>,
    /// Its currency.
    #[serde(rename = "cu", default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
    /// The name it is filed under.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub tracking_id: Option<TrackingId>,
    /// The parent of a child.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub parent_uid: Option<Uid>,
    /// What was bought, as the gateway has it.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When the gateway made it.
    #[serde(rename = "ca", default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// When the gateway last changed it; `None` also when it cannot be believed.
    #[serde(rename = "ua", default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
    /// When it was paid.
    #[serde(rename = "pa", default, skip_serializing_if = "Option::is_none")]
    pub paid_at: Option<Timestamp>,
    /// When a person at the gateway corrected it.
    #[serde(rename = "mc", default, skip_serializing_if = "Option::is_none")]
    pub manually_corrected_at: Option<Timestamp>,
    /// Where the payer must go.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub redirect_url: Option<String>,
    /// The card, as far as it may be kept.
    #[serde(rename = "cc", default, skip_serializing_if = "Option::is_none")]
    pub card: Option<Card>,
    /// The `test` flag.
    #[serde(rename = "te", default, skip_serializing_if = "Option::is_none")]
    pub test: Option<bool>,
    /// What is there of amount, currency, type and names and could not be read, in words. Such a
    /// snapshot agrees with nothing that was asked, and ends nothing.
    #[serde(rename = "ur", default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<String>,
    /// SHA-256 of the body that it came in, as it was received.
    #[serde(rename = "h", with = "hex_bytes")]
    pub body_sha256: [u8; 32],
}

/// The place of a snapshot in the one total order of its uid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SnapshotKey {
    /// Final ones come after all others.
    #[serde(rename = "f")]
    pub is_final: bool,
    /// `None` sorts first: minus infinity.
    #[serde(rename = "u")]
    pub updated_at: Option<Timestamp>,
    /// `successful` > `failed` > `expired` > the rest.
    #[serde(rename = "r")]
    pub rank: u8,
    /// Breaks the last ties, so that the order is total.
    #[serde(rename = "h", with = "hex_bytes")]
    pub sha256: [u8; 32],
}

impl SnapshotKey {
    /// What it says of the transaction, without the hash, which only breaks ties: the same thing said in
    /// another body, a list in place of a single answer for example, is no news.
    pub const fn says(self) -> (bool, Option<Timestamp>, u8) {
        (self.is_final, self.updated_at, self.rank)
    }
}

impl Snapshot {
    /// The place in the order.
    pub fn key(&self) -> SnapshotKey {
        SnapshotKey {
            is_final: self.class.is_final(),
            updated_at: self.updated_at,
            rank: self.class.rank(),
            sha256: self.body_sha256,
        }
    }

    /// Whether this one counts rather than the other, of the same uid. Two bodies of one key can
    /// still differ (one body may describe a uid twice), so that the whole content breaks the tie.
    pub fn outranks(&self, other: &Self) -> bool {
        (self.key(), self) > (other.key(), other)
    }

    /// Drops an `updated_at` that lies too far ahead of the receipt to be believed.
    pub fn received(mut self, at: Timestamp) -> Self {
        self.drop_future_timestamp(at);
        self
    }

    /// The same in place.
    pub fn drop_future_timestamp(&mut self, at: Timestamp) {
        if self.is_from_future(at) {
            self.updated_at = None;
        }
    }

    /// Whether its `updated_at` lies too far ahead of the receipt to be believed.
    pub fn is_from_future(&self, at: Timestamp) -> bool {
        self.updated_at
            .is_some_and(|u| u > at.plus(MAX_CLOCK_AHEAD))
    }
}

/// SHA-256 as 64 hexadecimal digits in stored summaries.
pub(crate) mod hex_bytes {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8; 32], s: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0_u8; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        s.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(d)?;
        let mut out = [0_u8; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(D::Error::custom("not 64 hexadecimal digits"));
        }
        for (i, byte) in out.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(D::Error::custom)?;
        }
        Ok(out)
    }
}
