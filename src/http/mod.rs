//! The REST API, the webhook listener and the operations listener.
//!
//! Handlers parse, allow, hand on, and read. What this deliberately cannot do: change a
//! transaction. Whatever moves one goes through the ledger as evidence; whatever is sent to the
//! gateway is sent by the dispatcher; and no text of an inner error is shown outside.

mod attempts;
mod auth;
mod body;
mod budget;
mod connection;
mod context;
mod create;
pub mod cursor;
mod deadline;
mod discrepancies;
mod events;
mod forgeries;
pub mod idempotency;
mod in_hand;
mod limits;
mod listener;
mod observe;
pub mod openapi;
mod operate;
mod ops;
mod parents;
mod prefer;
mod problem;
mod queries;
mod reply;
mod request;
mod routes;
mod server;
mod slowed;
mod stream;
mod submission;
mod transactions;
mod turns;
mod wait;
pub mod webhooks;

pub use context::{Context, Parts};
pub use routes::{configure_api, configure_ops, configure_webhooks};
pub use server::{Servers, Sockets, Workers, start};
