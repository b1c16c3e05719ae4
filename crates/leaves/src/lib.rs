//! What every room may use: the clock, and telemetry.
//!
//! Nothing of the business is known here, and nothing of ours is imported.

pub mod clock;
pub mod secret;
pub mod telemetry;
