//! Private PostgreSQL server for tests and the demo. Not part of the production binary.

pub mod postgres;
