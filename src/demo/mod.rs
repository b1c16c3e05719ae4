//! Everything that a machine needs to try the service out: so far its own PostgreSQL.

pub mod postgres;

/// Temporary.
#[derive(Debug, clap::Args)]
pub struct Args {}
/// Temporary.
pub async fn run(_args: Args) -> Result<bool, std::io::Error> {
    Ok(true)
}
