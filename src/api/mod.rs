//! The REST API, for the merchant's own services and for operators.
//!
//! Handlers parse, authorise, pass on, and read.
//!
//! Not responsible for: changing a transaction. Every change goes through the ledger as evidence,
//! and every submit goes through the dispatcher.

mod auth;
mod context;
mod create;
pub mod cursor;
mod deadline;
mod discrepancies;
mod events;
pub mod idempotency;
pub mod openapi;
mod operator;
mod parents;
mod prefer;
mod queries;
mod request;
mod respond;
mod routes;
mod single_flight;
mod stream;
mod submission;
mod transactions;
mod wait;

pub use context::ApiContext;
pub use routes::configure;
