//! The danger: whatever the service stands on dies, under load, and takes money with it.
//!
//! Each test here is one way to die. It happens to the real binary, a real PostgreSQL and the twin
//! over real HTTP, while at least [`scale::IN_FLIGHT`] transactions are open. Afterwards nobody
//! helps: the service has to recover by itself, and then every transaction must have the end that it
//! has at the gateway, none may have been sent twice, nothing that a caller was told may be gone, and
//! `reconciler audit` must find nothing.
//!
//! The short form of each runs with the other tests; `make chaos` runs the long one and prints the
//! table of how long each recovery took.

mod books;
mod case;
mod clocks;
mod commits;
mod gateway;
mod load;
mod poison;
mod pooler;
mod postgres;
mod processes;
mod scale;
mod space;
mod stale;

pub use case::{Case, Plan};
