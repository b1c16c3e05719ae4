//! Composition root: builds the store, ledger, dispatcher, engine and listeners, starts them in
//! this order and stops them in the reverse order.
//!
//! Not responsible for: any logic of its own.

mod reload;
mod serve;

pub use reload::ConfigReloader;
pub use serve::{App, AppError, Listeners, Roles, ledger_settings};
