//! What all listeners share: sockets, connections, limits, bodies, problems and the access log.
//!
//! The listeners themselves are `api`, `webhooks` and `ops`. Handlers parse, authorise, pass on, and
//! read. No text of an inner error is shown outside.
//!
//! Not responsible for: changing a transaction. Every change goes through the ledger as evidence,
//! and every submit goes through the dispatcher.

pub(crate) mod access_log;
pub(crate) mod body;
mod budget;
pub(crate) mod connection;
mod context;
mod in_hand;
pub(crate) mod limits;
mod listener;
pub(crate) mod problem;
pub(crate) mod request;
pub(crate) mod respond;
pub(crate) mod routes;
mod server;
mod slowed;

pub use context::HttpContext;
pub use server::{Configure, ListenerSockets, Routes, RunningServers, WorkerCounts, start};
