//! Command line: parses the subcommands, runs them, and sets the exit code.

mod audit;
mod check_config;
mod context;
mod operate;
mod output;
mod probe;
mod replay;
mod serve;
mod show;

use clap::{Parser, Subcommand};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Reconcile UnonaPay payments to one durable, explained, final state
#[derive(Debug, Parser)]
#[command(name = "reconciler", version = crate::metrics::VERSION)]
pub struct Cli {
    /// Configuration file (TOML)
    #[arg(long, global = true, env = "RECONCILER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service
    Serve(serve::ServeArgs),
    /// Apply pending database migrations
    Migrate(serve::MigrateArgs),
    /// Validate the configuration and print every setting with its source
    CheckConfig,
    /// Print the OpenAPI 3.1 description of the REST API
    Openapi,
    /// Show a transaction, the reasons for its state, and its evidence
    Show(show::ShowArgs),
    /// List transactions, newest first
    List(show::ListArgs),
    /// List discrepancies, newest first
    Discrepancies(show::DiscrepanciesArgs),
    /// Check a transaction against the gateway now
    Check(operate::CheckArgs),
    /// Pause new submits of a shop; open transactions are still followed
    Pause(operate::PauseArgs),
    /// Resume submits of a shop
    Resume(operate::PauseArgs),
    /// Redeliver events to a subscriber; re-enables one disabled by 410 Gone
    Replay(replay::ReplayArgs),
    /// Probe undocumented gateway behaviour of a shop with test transactions
    Probe(probe::ProbeArgs),
    /// Recompute every state from evidence with an independent implementation and report
    /// differences
    ///
    /// Exit codes: 0 no differences, 1 differences, 2 error
    Audit(audit::AuditArgs),
}

/// Runs the parsed command and returns its exit code.
pub fn run(cli: Cli) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return outcome(Err(error.into())),
    };
    runtime.block_on(async {
        let path = cli.config.as_deref();
        match cli.command {
            Command::Serve(args) => outcome(Box::pin(serve::serve(path, args)).await),
            Command::Migrate(args) => outcome(serve::migrate(path, args).await),
            Command::CheckConfig => outcome(check_config::check(path)),
            Command::Openapi => outcome(print(&crate::api::openapi::text())),
            Command::Show(args) => outcome(show::show_transaction(path, args).await),
            Command::List(args) => outcome(show::list_transactions(path, args).await),
            Command::Discrepancies(args) => outcome(show::list_discrepancies(path, args).await),
            Command::Check(args) => outcome(operate::check(path, args).await),
            Command::Pause(args) => outcome(operate::set_paused(path, args, true).await),
            Command::Resume(args) => outcome(operate::set_paused(path, args, false).await),
            Command::Replay(args) => outcome(replay::replay(path, args).await),
            Command::Probe(args) => outcome(Box::pin(probe::probe(path, args)).await),
            Command::Audit(args) => audit::audit(path, args).await,
        }
    })
}

/// Prints a text. A closed pipe is not an error.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
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
