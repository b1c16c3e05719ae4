//! The composition: one store, one ledger, one gate, the engine and the listeners, started in this
//! order and stopped in the other.
//!
//! What it deliberately cannot do: anything by itself. It wires.

mod reload;
mod serve;

pub use reload::Reload;
pub use serve::{App, AppError, Listeners, Roles, ledger_settings};
