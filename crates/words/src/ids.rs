//! Ids, each parsed once at the boundary.

use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// Reason why a text is not a valid id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidId(pub String);

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Returns the text of the id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// A merchant account at the gateway.
    ShopId
}
text_id! {
    /// The caller's idempotency key for a transaction.
    TrackingId
}
text_id! {
    /// The gateway's identifier of a transaction; opaque.
    Uid
}
text_id! {
    /// The gateway's identifier of an asynchronous task (`request_id`); opaque.
    TaskId
}

/// Maximum length of a gateway id, in characters.
const MAX_GATEWAY_ID: usize = 128;

/// Regular expression of the gateway's ids, for the API description.
pub const GATEWAY_ID_PATTERN: &str = r"^[^\u0000-\u001f\u007f-\u009f]+$";

impl ShopId {
    /// Parses a shop ID: 1 to 64 characters of `A-Z a-z 0-9 _ -`.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let fits = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        fits.then(|| Self(text.to_owned()))
            .ok_or_else(|| InvalidId("must be 1 to 64 letters, digits, '_' or '-'".to_owned()))
    }
}

impl TrackingId {
    /// The rule of [`Self::parse`] as a regular expression, except that it also matches `.` and
    /// `..`.
    pub const PATTERN: &str = r##"^[!"$&-.0-:<->@-\[\]-}][!"$&-.0-:<->@-\[\]-~]{0,254}$"##;

    /// Parses a tracking ID of this API: 1 to 255 printable ASCII characters except space and `; /
    /// \ ? # %`, not `.` or `..`, and without a leading `~`.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if !(1..=255).contains(&text.len()) {
            return Err(InvalidId("must have 1 to 255 characters".to_owned()));
        }
        if let Some(bad) = text
            .chars()
            .find(|c| !c.is_ascii_graphic() || r";/\?#%".contains(*c))
        {
            return Err(InvalidId(format!(
                "must be printable ASCII without space and ; / \\ ? # %, got {:?}",
                bad
            )));
        }
        if text == "." || text == ".." {
            return Err(InvalidId("must not be '.' or '..'".to_owned()));
        }
        if text.starts_with('~') {
            return Err(InvalidId("must not begin with '~'".to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// Accepts a tracking ID from the gateway. Others may have chosen it, so any text within the
    /// gateway's own limit is valid.
    pub fn from_gateway(text: &str) -> Option<Self> {
        (!text.is_empty() && text.len() <= 1024 && !text.contains('\0'))
            .then(|| Self(text.to_owned()))
    }
}

impl Uid {
    /// Accepts a uid from the gateway. Returns `None` for an empty text, more than 128 characters,
    /// or control characters.
    pub fn from_gateway(text: &str) -> Option<Self> {
        is_gateway_id(text).then(|| Self(text.to_owned()))
    }
}

impl TaskId {
    /// Accepts a `request_id` from the gateway. It becomes part of a path, so only text that needs
    /// no escaping there is valid.
    pub fn from_gateway(text: &str) -> Option<Self> {
        let plain = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        (is_gateway_id(text) && plain && text != "." && text != "..").then(|| Self(text.to_owned()))
    }
}

fn is_gateway_id(text: &str) -> bool {
    !text.is_empty()
        && text.chars().count() <= MAX_GATEWAY_ID
        && text.chars().all(|c| !c.is_control())
}

/// The service's identifier of a transaction: a UUIDv7, so that ids sort by creation time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TransactionId(pub Uuid);

impl TransactionId {
    /// Parses the text form of a UUID.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        Uuid::parse_str(text)
            .map(Self)
            .map_err(|_| InvalidId("must be a transaction ID (UUID)".to_owned()))
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The `RequestID` header: a UUIDv5 of shop and tracking ID, so that it survives the loss of the
/// row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatewayIdempotencyKey(pub Uuid);

impl GatewayIdempotencyKey {
    /// Returns the key of a shop's tracking ID. It does not depend on the transaction type, because
    /// a tracking ID names one transaction whatever its type.
    pub fn of(shop: &ShopId, tracking_id: &TrackingId) -> Self {
        let name = format!("reconciler:{shop}:{tracking_id}");
        Self(Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()))
    }
}
