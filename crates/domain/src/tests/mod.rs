//! The rules of the domain, as properties over lists of facts and as one sentence per test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot set up its case should stop right there"
)]

mod arrivals;
mod binding;
mod candidates;
mod children;
mod course;
mod decisions;
mod earlier;
mod facts;
mod finality;
mod garbled;
mod given;
mod order;
mod ownership;
mod pace;
mod pacing;
mod proof;
mod refusals;
mod texts;
