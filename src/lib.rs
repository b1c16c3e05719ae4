//! Brings every payment sent through UnonaPay's asynchronous mode to one durable, explained, final
//! state. `ARCHITECTURE.md` has the map.

pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod delivery;
pub mod follow;
pub mod http;
pub mod ledger;
pub mod metrics;
pub mod observation;
pub mod ops;
pub mod probe;
pub mod store;
pub mod submit;
pub mod view;
pub mod webhooks;
