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
mod architecture;
mod at_most_once;
mod audit;
mod audit_tampering;
mod backpressure;
mod bodies;
mod card_data;
mod chaos;
mod child_transactions;
mod cli;
mod committer_connections;
mod contract;
mod corrections;
mod create;
mod database;
mod database_roles;
mod delivery_retries;
mod event_streams;
mod feed;
mod following;
mod forecast;
mod fuzz_seeds;
mod hints;
mod history;
mod idle;
mod in_doubt;
mod manners_of_the_edge;
mod metrics;
mod openapi;
mod operator_actions;
mod orphans;
mod outcomes;
mod owners;
mod poolers;
mod probe;
mod query_plans;
mod refusals;
mod refused_keys;
mod replicas;
mod resend;
mod restored;
mod rotation;
mod shutdown;
mod sim;
mod slow_clients;
mod sqlstates;
mod standby;
mod strangers;
mod subscribers;
mod takeover;
mod traces;
mod webhooks;
mod world;
