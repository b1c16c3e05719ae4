//! Names of things, each parsed once at the edge and never again.

use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// Why a text is not the id that it was taken for.
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
            /// The text as it was given.
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
    /// The merchant's own name for a transaction, and our idempotency key.
    TrackingId
}
text_id! {
    /// The gateway's name for one of its transactions; opaque.
    Uid
}
text_id! {
    /// The gateway's name for an asynchronous task (`request_id`); opaque.
    TaskId
}

/// The longest text that the gateway may use as one of its ids, in characters; longer is no id.
const MAX_GATEWAY_ID: usize = 128;

/// The characters of one of the gateway's ids, as the document of the API tells them.
pub const GATEWAY_ID_PATTERN: &str = r"^[^\u0000-\u001f\u007f-\u009f]+$";

impl ShopId {
    /// Parses a shop id: 1 to 64 of `A-Z a-z 0-9 _ -`.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let fits = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        fits.then(|| Self(text.to_owned()))
            .ok_or_else(|| InvalidId("a shop id is 1 to 64 letters, digits, '_' or '-'".to_owned()))
    }
}

impl TrackingId {
    /// The rule of [`Self::parse`] as a regular expression; `.` and `..` are the exceptions.
    pub const PATTERN: &str = r##"^[!"$&-.0-:<->@-\[\]-}][!"$&-.0-:<->@-\[\]-~]{0,254}$"##;

    /// Parses a tracking id of our own API: 1 to 255 printable ASCII characters without space and
    /// `; / \ ? # %`, not `.` or `..`, no `~` in front.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if !(1..=255).contains(&text.len()) {
            return Err(InvalidId("must have 1 to 255 characters".to_owned()));
        }
        if let Some(bad) = text
            .chars()
            .find(|c| !c.is_ascii_graphic() || r";/\?#%".contains(*c))
        {
            return Err(InvalidId(format!(
                "must be printable ascii without space and ; / \\ ? # %, but has {:?}",
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

    /// A tracking id that the gateway told: somebody else may have made it, so that any text that
    /// fits its own limit is taken as it is.
    pub fn from_gateway(text: &str) -> Option<Self> {
        (!text.is_empty() && text.len() <= 1024 && !text.contains('\0'))
            .then(|| Self(text.to_owned()))
    }
}

impl Uid {
    /// Takes a uid from the gateway. `None` when the text cannot be one (empty, over 128
    /// characters, control characters).
    pub fn from_gateway(text: &str) -> Option<Self> {
        is_gateway_id(text).then(|| Self(text.to_owned()))
    }
}

impl TaskId {
    /// Takes a `request_id` from the gateway. It becomes part of a path, so that only what needs
    /// no escaping there is an id.
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

/// Our own name for a transaction: a UUIDv7, so that ids sort by the time of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TransactionId(pub Uuid);

impl TransactionId {
    /// Parses the usual text form of a UUID.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        Uuid::parse_str(text)
            .map(Self)
            .map_err(|_| InvalidId("is not a transaction id (a uuid)".to_owned()))
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The `RequestID` header: UUIDv5 of shop and tracking id, so that even a lost row cannot lose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestKey(pub Uuid);

impl RequestKey {
    /// The one key of this shop's tracking id. A tracking id names one transaction whatever its
    /// collection, so that the collection takes no part.
    pub fn of(shop: &ShopId, tracking_id: &TrackingId) -> Self {
        let name = format!("reconciler:{shop}:{tracking_id}");
        Self(Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()))
    }
}
