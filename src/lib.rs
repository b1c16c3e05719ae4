//! Brings every payment sent through UnonaPay's asynchronous mode to one durable, explained, final
//! state. `ARCHITECTURE.md` has the map.

pub mod app;
pub mod cli;
pub mod config;
pub mod dispatch;
pub mod engine;
pub mod http;
pub mod ledger;
pub mod metrics;
pub mod observation;
pub mod probe;
pub mod store;
pub mod view;
