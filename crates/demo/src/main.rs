//! The demo: the service at work against a twin of the gateway, on a private
//! PostgreSQL, as real processes on this machine.
//!
//! It talks to the service and the twin as any outsider would, by HTTP, and in the end
//! compares what the service says with what the twin knows to be true. It deliberately
//! cannot reach anything else: the settings and the environment of whoever starts it are
//! not passed on. Nothing is left running, however it ends.

mod board;
mod claims;
mod client;
mod judge;
mod neighbour;
mod processes;
mod scenes;
mod screen;
mod settings;
mod show;
mod stage;
mod story;

use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use screen::Screen;
use stage::Stage;

/// Show the service at work, on a private database and against a simulated gateway.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "demo", version)]
pub struct Args {
    /// Leave everything running at the end, until Ctrl-C.
    #[arg(long)]
    pub keep: bool,
    /// Keep the database in this directory; without it the database goes in the end.
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "./.data")]
    pub data: Option<PathBuf>,
    /// Where the simulator's randomness starts.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Why the demo could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no database.
    #[error("there is no private postgresql")]
    Cluster(#[from] testkit::postgres::ClusterError),
    /// A file or process could not be handled.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The service's settings could not be written as TOML.
    #[error("the settings cannot be written")]
    Settings(#[source] toml::ser::Error),
    /// A program ended that was to go on.
    #[error("the {name} has ended ({status}); its log ends in:\n{log}")]
    Ended {
        /// Which one.
        name: &'static str,
        /// How.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// A program did not become ready.
    #[error("the {name} takes too long to get ready; its log ends in:\n{log}")]
    TooSlow {
        /// Which one.
        name: &'static str,
        /// The end of its log.
        log: String,
    },
    /// The HTTP client could not be made.
    #[error("the http client cannot be set up")]
    Client(#[source] reqwest::Error),
    /// A request was not answered.
    #[error("no answer to {path}")]
    Call {
        /// What was asked.
        path: String,
        /// What happened.
        source: reqwest::Error,
    },
    /// An answer was not what it should be.
    #[error("{path} was answered with {status}: {body}")]
    Answer {
        /// What was asked.
        path: String,
        /// The HTTP status.
        status: u16,
        /// What was said.
        body: String,
    },
    /// Nobody reads what is printed.
    #[error("cannot print")]
    Print(#[source] std::io::Error),
    /// Ctrl-C or SIGTERM.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    fn io(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}

fn main() -> ExitCode {
    let args = <Args as clap::Parser>::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(Box::pin(run(args))),
        Err(error) => Err(Error::io("start the threads")(error)),
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

/// An error with the chain of what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

/// Runs the demo. True if everything ended as the twin says that it did.
async fn run(args: Args) -> Result<bool, Error> {
    let mut stop = Stop::listen()?;
    let mut screen = Screen::new();
    let mut stage = Stage::new(args.data.clone());
    let told = tokio::select! {
        told = Box::pin(story::tell(&args, &mut stage, &mut screen)) => told,
        () = stop.asked() => Err(Error::Interrupted),
    };
    let told = match told {
        Err(error @ Error::Call { .. }) => Err(stage.why(error).await),
        told => told,
    };
    let kept = match &told {
        Ok(_) if args.keep => keep(&mut stage, &mut stop, &mut screen).await,
        _ => Ok(()),
    };
    let told = told.and_then(|right| kept.map(|()| right));
    match &told {
        Ok(true) | Err(Error::Interrupted | Error::Print(_)) => {}
        // These show the end of a log themselves.
        Err(Error::Ended { .. } | Error::TooSlow { .. }) => stage.keep_log(&mut screen),
        Ok(false) | Err(_) => {
            stage.show_log(&mut screen);
            stage.keep_log(&mut screen);
        }
    }
    // Whoever is gone does not read this either.
    let _ = screen.step("stopping");
    stage.strike().await;
    told
}

/// Leaves everything as it is until somebody asks for the end, or something ends by itself.
async fn keep(stage: &mut Stage, stop: &mut Stop, screen: &mut Screen) -> Result<(), Error> {
    let printed = screen.line("\nEverything goes on running until Ctrl-C.");
    printed.map_err(Error::Print)?;
    tokio::select! {
        ended = stage.watch() => ended,
        () = stop.asked() => screen.line("").map_err(Error::Print),
    }
}

/// The signals that ask for the end.
struct Stop {
    signals: [Signal; 3],
}

impl Stop {
    fn listen() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(Error::io("listen for signals"));
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
