//! The command line: what can be asked of the binary, and how each answer becomes an exit code.

mod audit;
mod config;
mod desk;
mod operate;
mod probe;
mod replay;
mod serve;
mod sheet;
mod show;

use clap::{Parser, Subcommand};
use std::io::Write as _;
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
    /// Print the description of the REST API, OpenAPI 3.1.
    Openapi,
    /// Show a transaction: how it stands, why, and everything that was said about it.
    Show(show::ShowArgs),
    /// List transactions, the newest first.
    List(show::ListArgs),
    /// List what does not fit together.
    Discrepancies(show::FindingsArgs),
    /// Have a transaction looked at, at the gateway, now.
    Check(operate::CheckArgs),
    /// Stop new submits of a shop; what was sent is followed on.
    Pause(operate::PauseArgs),
    /// Allow new submits of a shop again.
    Resume(operate::PauseArgs),
    /// Tell a subscriber events once more; one that answered 410 Gone is told again from here on.
    Replay(replay::ReplayArgs),
    /// Ask a shop, with test transactions, what the gateway's documents leave open.
    Probe(probe::ProbeArgs),
    /// Derive every state again from the evidence, by a second path, and tell what differs. Exit code 0:
    /// nothing differs, 1: something does, 2: it could not be told.
    Audit(audit::AuditArgs),
}

/// Runs what was asked for.
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
            Command::Migrate => outcome(serve::migrate(path).await),
            Command::CheckConfig => outcome(config::check(path)),
            Command::Openapi => outcome(print(&crate::http::openapi::text())),
            Command::Show(args) => outcome(show::show(path, args).await),
            Command::List(args) => outcome(show::list(path, args).await),
            Command::Discrepancies(args) => outcome(show::findings(path, args).await),
            Command::Check(args) => outcome(operate::check(path, args).await),
            Command::Pause(args) => outcome(operate::set_paused(path, args, true).await),
            Command::Resume(args) => outcome(operate::set_paused(path, args, false).await),
            Command::Replay(args) => outcome(replay::replay(path, args).await),
            Command::Probe(args) => outcome(Box::pin(probe::probe(path, args)).await),
            Command::Audit(args) => audit::audit(path, args).await,
        }
    })
}

/// Prints a text. Somebody who has read enough of it is no failure.
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
