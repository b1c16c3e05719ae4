//! What tests and the demo run on: a private PostgreSQL. No part of the production binary.

pub mod postgres;
