//! Risk: a component fails under load, and money is lost or moved twice.
//!
//! Each test injects one fault into the real binary, a real PostgreSQL and the simulator over real
//! HTTP, while at least [`scale::IN_FLIGHT`] transactions are open. After the fault the service
//! must recover unassisted. Then every transaction must have the state that it has at the gateway,
//! none may have been submitted twice, nothing that a caller received may be missing, and
//! `reconciler audit` must report no difference.
//!
//! The short size of each case runs with the other tests. `make chaos` runs the long size and
//! prints a table of recovery times.

mod case;
mod clocks;
mod commits;
mod disk_full;
mod gateway;
mod load;
mod pooler;
mod postgres;
mod processes;
mod quarantine;
mod reconcile;
mod scale;
mod stale_leases;

pub use case::{Case, CaseParameters};
