//! Runs a command with `DATABASE_URL` set to a private, empty PostgreSQL, which is removed
//! afterwards.

use reconciler_testkit::postgres::{ClusterError, ClusterOptions, PostgresCluster};
use std::process::{Command, ExitCode};

const DATABASE: &str = "reconciler";

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(program) = words.next() else {
        eprintln!("usage: with-postgres COMMAND [ARGUMENT]...");
        return ExitCode::from(2);
    };
    let cluster = match start() {
        Ok(cluster) => cluster,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = Command::new(&program)
        .args(words)
        .env("DATABASE_URL", cluster.url(DATABASE))
        .status();
    match done {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: failed to run {}: {error}", program.display());
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<PostgresCluster, ClusterError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| ClusterError::Io {
            action: "start a runtime".to_owned(),
            source,
        })?;
    runtime.block_on(async {
        let cluster = PostgresCluster::start(ClusterOptions::default()).await?;
        cluster.create_database(DATABASE).await?;
        Ok(cluster)
    })
}
