//! The command line: what can be asked of the binary, and how each answer becomes an exit code.

mod config;
mod serve;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Brings every payment sent through UnonaPay's asynchronous mode to one durable, explained, final
/// state.
#[derive(Debug, Parser)]
#[command(name = "reconciler", version = crate::metrics::VERSION)]
pub struct Cli {
    /// The configuration file.
    #[arg(long, global = true, env = "RECONCILER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service.
    Serve(serve::ServeArgs),
    /// Bring the database's schema up to date.
    Migrate,
    /// Check the configuration, and tell every value and where it comes from.
    CheckConfig,
    /// Run the main job end to end on a private database and a simulated gateway.
    Demo(crate::demo::Args),
    /// Run the gateway simulator.
    Twin(crate::twin::Args),
}

/// Runs what was asked for.
pub fn run(cli: Cli) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    runtime.block_on(async {
        let path = cli.config.as_deref();
        match cli.command {
            Command::Serve(args) => outcome(Box::pin(serve::serve(path, args)).await),
            Command::Migrate => outcome(serve::migrate(path).await),
            Command::CheckConfig => outcome(config::check(path)),
            Command::Demo(args) => match Box::pin(crate::demo::run(args)).await {
                Ok(true) => ExitCode::SUCCESS,
                Ok(false) => ExitCode::FAILURE,
                Err(error) => failed(&error),
            },
            Command::Twin(args) => match crate::twin::run_cli(args).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(&error),
            },
        }
    })
}

fn outcome(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// An error with the chain of what caused it, in one line.
fn failed(error: &dyn std::error::Error) -> ExitCode {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    eprintln!("error: {text}");
    ExitCode::FAILURE
}
