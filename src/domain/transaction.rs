//! What a transaction is before anything is known of it: its kind, its states, and what we asked.

use crate::domain::{Currency, ShopId, Timestamp, TrackingId, Uid};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{Object, Schema, Type};

macro_rules! words {
    (
        $(#[doc = $doc:literal])*
        $name:ident { $($(#[doc = $vdoc:literal])* $variant:ident = $word:literal),+ $(,)? }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[doc = $vdoc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// Every one, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word used in the API, the database and metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// What it means.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($vdoc),*)),+ }
            }

            /// Reads the word back.
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        // The words are part of the API, and are described there as they are here.
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                let words = Self::ALL.iter().map(|one| (one.as_str(), one.meaning()));
                crate::domain::transaction::described(concat!($($doc),*), words)
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}
pub(crate) use words;

/// The schema of a closed set of words, with what each of them means.
pub(crate) fn described(
    what: &str,
    words: impl Iterator<Item = (&'static str, &'static str)>,
) -> RefOr<Schema> {
    let (mut all, mut text) = (Vec::new(), format!("{}\n", what.trim()));
    for (word, meaning) in words {
        all.push(word);
        text.push_str(&format!("\n- `{word}`: {}", meaning.trim()));
    }
    Object::builder()
        .schema_type(Type::String)
        .enum_values(Some(all))
        .description(Some(text))
        .into()
}

words! {
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

words! {
    /// Who made a transaction.
    Origin {
        /// It was made through our API.
        Api = "api",
        /// We learned of it from the gateway.
        Gateway = "gateway",
    }
}

words! {
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

/// What was asked, fixed when the transaction was opened. The fold reads it and never changes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
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
