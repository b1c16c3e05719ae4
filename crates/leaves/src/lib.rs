//! Clock and telemetry, for use by every crate.
//!
//! This crate knows nothing of payments and depends on no other crate of the workspace.

pub mod clock;
pub mod secret;
pub mod telemetry;
