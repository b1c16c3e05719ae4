//! The integration tests: the whole service, a real PostgreSQL, and a gateway over real HTTP.
//!
//! Files are named after what could hurt, tests after what is promised. Every test gets a world of
//! its own ([`world::Setup`]): a fresh database, a gateway twin, the service. When the test is done
//! the world checks the rules that always hold, whatever the test was about.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]
#![allow(
    unreachable_pub,
    dead_code,
    reason = "one binary; helpers stand ready for its tests"
)]

mod absence;
mod audit;
mod bodies;
mod card_data;
mod chaos;
mod children;
mod contract;
mod corpus;
mod corrections;
mod creating;
mod database;
mod doubt;
mod feed;
mod following;
mod hints;
mod history;
mod hostile;
mod idle;
mod manners;
mod manners_of_the_edge;
mod metrics;
mod openapi;
mod operators;
mod orphans;
mod outcomes;
mod owners;
mod pacing;
mod plans;
mod poolers;
mod probe;
mod refusals;
mod refused_keys;
mod repeats;
mod replicas;
mod restored;
mod roles;
mod rotation;
mod sessions;
mod sim;
mod sqlstates;
mod standby;
mod stopping;
mod strangers;
mod streams;
mod subscribers;
mod takeover;
mod tampering;
mod terminal;
mod tidy;
mod traces;
mod undelivered;
mod webhooks;
mod wire;
mod world;
