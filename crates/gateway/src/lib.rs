//! The gateway, as seen from here: its JSON, its addresses, its signatures, and the HTTP client.
//!
//! This is the only place that knows what the gateway's bodies look like. Everything that leaves
//! it is made of the words of [`domain`], with card data already taken out. It deliberately
//! cannot store, schedule or conclude anything, and it never sends a request twice by itself.

pub mod address;
pub mod authenticity;
pub mod card;
pub mod decode;
pub mod redact;

mod answer;
mod client;
mod fields;
mod gate;
mod json;
mod lookup;
mod numbers;
mod public_key;
mod raw;
mod reading;
mod refusals;
mod requests;
mod settings;
mod shops;
mod sparse;
mod transaction;
mod webhook;
mod wire;

pub use address::{Address, InvalidAddress, Mode};
pub use answer::{Answer, MAX_BODY};
pub use answer::{describe, retry_after};
pub use authenticity::{Authenticity, WebhookKeys};
pub use card::{SensitiveBody, query_body, zeroize_value};
pub use client::by_way_of;
pub use client::{ClientError, Credentials, GatewayClient, Query, Read, Submission};
pub use lookup::{FULL_LIST, TrackingReading, UidReading, read_by_tracking_id, read_by_uid};
pub use public_key::RsaPublicKey;
pub use raw::{as_read, forwarded, is_amount_lost, long_numbers};
pub use reading::{Received, SubmitReading, TaskReading, TaskUrl};
pub use reading::{read_submit, read_submit_of, read_task, read_task_of};
pub use redact::{Redacted, Secrets, carries_card_data, looks_like_card_number};
pub use redact::{redact, redact_text, redact_with};
pub use requests::{
    FieldProblem, HOLDS_THE_CARD, balance_query, check_request, plain_amount, status_query,
};
pub use requests::{balance_query_schema, request_schema, status_query_schema};
pub use settings::{ClientSettings, Proxy};
pub use shops::names_another_shop;
pub use sparse::{read_request, read_value};
pub use webhook::{WebhookReading, read_webhook, scanned_uid, take_webhook};
