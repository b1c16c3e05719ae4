//! Demo: runs the service against a gateway simulator, on a private PostgreSQL, as real processes
//! on this machine.
//!
//! The demo uses the service and the simulator over HTTP, as any caller would, and compares the
//! service's states with the simulator's at the end.
//!
//! Isolation: settings and environment of the caller are not passed on. Nothing is left running,
//! however the demo ends.

mod assertions;
mod client;
mod environment;
mod processes;
mod progress;
mod runner;
mod scenarios;
mod settings;
mod story;
mod subscriber;
mod terminal;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use environment::Environment;
use terminal::Terminal;

/// Run a demo on a private PostgreSQL and a simulated gateway
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "demo", version)]
pub struct DemoArgs {
    /// Keep everything running until Ctrl-C
    #[arg(long)]
    pub keep: bool,
    /// Directory that keeps the database; without it the database is deleted at the end
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "./.data")]
    pub data: Option<PathBuf>,
    /// Random seed of the simulator
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// An error that ends the demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The private PostgreSQL could not be started.
    #[error("private postgresql not available")]
    Cluster(#[from] testkit::postgres::ClusterError),
    /// An operation on a file or process failed.
    #[error("failed to {action}")]
    Io {
        /// The operation.
        action: String,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The service's settings could not be serialised as TOML.
    #[error("failed to serialise the settings")]
    Settings(#[source] toml::ser::Error),
    /// A program ended unexpectedly.
    #[error("{name} ended unexpectedly ({status}); end of its log:\n{log}")]
    Ended {
        /// Name of the program.
        name: &'static str,
        /// Exit status.
        status: String,
        /// End of its log.
        log: String,
    },
    /// A program did not become ready in time.
    #[error("timed out waiting for {name} to become ready; end of its log:\n{log}")]
    TooSlow {
        /// Name of the program.
        name: &'static str,
        /// End of its log.
        log: String,
    },
    /// The HTTP client could not be created.
    #[error("failed to create the HTTP client")]
    Client(#[source] reqwest::Error),
    /// A request got no response.
    #[error("no response to {path}")]
    Call {
        /// Path of the request.
        path: String,
        /// Error of the HTTP client.
        source: reqwest::Error,
    },
    /// A response had an unexpected status.
    #[error("unexpected response to {path}: {status} {body}")]
    Answer {
        /// Path of the request.
        path: String,
        /// HTTP status code.
        status: u16,
        /// Body of the response.
        body: String,
    },
    /// The output is closed.
    #[error("failed to print")]
    Print(#[source] std::io::Error),
    /// Interrupted by Ctrl-C or SIGTERM.
    #[error("interrupted")]
    Interrupted,
}

impl DemoError {
    fn io(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}

fn main() -> ExitCode {
    let args = <DemoArgs as clap::Parser>::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(Box::pin(run(args))),
        Err(error) => Err(DemoError::io("start the runtime")(error)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Formats an error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

/// Runs the demo. Returns whether all assertions hold.
async fn run(args: DemoArgs) -> Result<bool, DemoError> {
    let mut stop = StopSignals::listen()?;
    let mut screen = Terminal::new();
    let mut stage = Environment::new(args.data.clone());
    let told = tokio::select! {
        told = Box::pin(story::run_demo(&args, &mut stage, &mut screen)) => told,
        () = stop.asked() => Err(DemoError::Interrupted),
    };
    let told = match told {
        Err(error @ DemoError::Call { .. }) => Err(stage.exit_reason(error).await),
        told => told,
    };
    let kept = match &told {
        Ok(_) if args.keep => keep(&mut stage, &mut stop, &mut screen).await,
        _ => Ok(()),
    };
    let told = told.and_then(|right| kept.map(|()| right));
    match &told {
        Ok(true) | Err(DemoError::Interrupted | DemoError::Print(_)) => {}
        // These errors contain the end of a log already.
        Err(DemoError::Ended { .. } | DemoError::TooSlow { .. }) => stage.keep_log(&mut screen),
        Ok(false) | Err(_) => {
            stage.show_log(&mut screen);
            stage.keep_log(&mut screen);
        }
    }
    // Ignored: if the output is closed, nobody reads this either.
    let _ = screen.print_step("stopping");
    stage.tear_down().await;
    told
}

/// Keeps everything running until a stop signal, or until a program ends.
async fn keep(
    stage: &mut Environment,
    stop: &mut StopSignals,
    screen: &mut Terminal,
) -> Result<(), DemoError> {
    let printed = screen.print_line("\nEverything keeps running until Ctrl-C.");
    printed.map_err(DemoError::Print)?;
    tokio::select! {
        ended = stage.wait_for_exit() => ended,
        () = stop.asked() => screen.print_line("").map_err(DemoError::Print),
    }
}

/// The signals that stop the demo.
struct StopSignals {
    signals: [Signal; 3],
}

impl StopSignals {
    fn listen() -> Result<Self, DemoError> {
        let listen = |kind| signal(kind).map_err(DemoError::io("listen for signals"));
        let signals = [
            listen(SignalKind::terminate())?,
            listen(SignalKind::interrupt())?,
            listen(SignalKind::hangup())?,
        ];
        Ok(Self { signals })
    }

    async fn asked(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.signals;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
