//! The gateway, as seen from here: its JSON, its addresses, its signatures, and the HTTP client.
//!
//! This is the only place that knows what the gateway's bodies look like. Everything that leaves
//! it is made of the words of [`domain`], with card data already taken out. It deliberately
//! cannot store, schedule or conclude anything, and it never sends a request twice by itself.

pub mod address;
pub mod decode;
pub mod redact;
pub mod sensitive_body;
pub mod webhook_auth;

mod body_shape;
mod borrowed_json;
mod client;
mod fields;
mod lookup;
mod numbers;
mod public_key;
mod raw;
mod reading;
mod refusals;
mod requests;
mod response;
mod send_gate;
mod settings;
mod shops;
mod transaction;
mod webhook;
mod webhook_json;

pub use address::{GatewayAddress, InvalidAddress, RequestMode};
pub use client::by_way_of;
pub use client::{
    ClientError, GatewayClient, QueryKind, ReadExchange, ShopCredentials, SubmitExchange,
};
pub use lookup::{
    LOOKUP_PAGE_ROWS, TrackingIdReading, UidReading, read_by_tracking_id, read_by_uid,
};
pub use public_key::RsaPublicKey;
pub use raw::{as_read, forwarded, is_amount_lost, long_numbers};
pub use reading::{ReceivedResponse, SubmitReading, TaskEndpoint, TaskReading};
pub use reading::{read_submit, read_submit_of, read_task, read_task_of};
pub use redact::{Redacted, Secrets, carries_card_data, looks_like_card_number};
pub use redact::{redact, redact_text, redact_with};
pub use requests::{
    FieldViolation, HOLDS_THE_CARD, balance_query, check_request, plain_amount, status_query,
};
pub use requests::{balance_query_schema, request_schema, status_query_schema};
pub use response::{GatewayResponse, MAX_RESPONSE_BYTES};
pub use response::{describe, retry_after};
pub use sensitive_body::{SensitiveBody, query_body, zeroize_value};
pub use settings::{ClientSettings, Proxy};
pub use shops::names_another_shop;
pub use webhook::{WebhookReading, read_webhook, scanned_uid, take_webhook};
pub use webhook_auth::{Authenticity, WebhookKeys};
pub use webhook_json::{read_request, read_value};
