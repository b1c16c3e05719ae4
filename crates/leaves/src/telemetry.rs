//! Logging and process hardening.
//!
//! Logs go to standard error: one JSON object per line, or readable text on a terminal.
//!
//! - Only the service's own crates can log below `info`. Other crates may log requests, bodies or
//!   statements there, which may contain card data, so no filter can enable it.
//! - A panic is logged with its place. Its text is omitted if it was formatted at run time.
//! - Core dumps are disabled.
//!
//! Not responsible for: the choice of what is logged.

pub mod traces;

use std::any::Any;
use std::io::IsTerminal as _;
use std::panic::PanicHookInfo;

use rustix::process::{Resource, Rlimit};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt};

/// The crates of the service. All other crates cannot log below `info`.
const OUR_CRATES: [&str; 6] = [
    "reconciler",
    "reconciler_audit",
    "reconciler_domain",
    "reconciler_gateway",
    "reconciler_leaves",
    "reconciler_words",
];

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Readable text on a terminal, JSON otherwise.
    Auto,
    /// One JSON object per line.
    Json,
    /// Readable text.
    Pretty,
}

impl LogFormat {
    /// Returns the format that a configuration word names.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "auto" => Some(Self::Auto),
            "json" => Some(Self::Json),
            "pretty" => Some(Self::Pretty),
            _ => None,
        }
    }

    fn is_json(self) -> bool {
        match self {
            Self::Json => true,
            Self::Pretty => false,
            Self::Auto => !std::io::stderr().is_terminal(),
        }
    }
}

/// An error that prevents logging or hardening.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter could not be parsed.
    #[error("invalid log filter")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Logging was already initialised.
    #[error("logging is already initialised")]
    Twice,
    /// The operating system did not allow core dumps to be disabled.
    #[error("failed to disable core dumps")]
    CoreDumps(#[source] std::io::Error),
}

/// Initialises logging for the whole process, panics included.
///
/// `filter` is a filter such as `info` or `info,reconciler::follow=debug`.
///
/// # Errors
///
/// Returns an error if the filter is invalid or logging is already initialised.
pub fn init(filter: &str, format: LogFormat) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(filter)?;
    // This also captures records of the `log` crate.
    let set = if format.is_json() {
        json(filter, std::io::stderr).try_init()
    } else {
        pretty(filter, std::io::stderr).try_init()
    };
    set.map_err(|_| TelemetryError::Twice)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

fn json<W>(filter: EnvFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // A closed standard error must not cause a panic.
    let layer = fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true);
    let layer = layer
        .with_span_list(false)
        .log_internal_errors(false)
        .with_writer(writer);
    Registry::default()
        .with(filter)
        .with(filter_fn(may_log))
        .with(layer)
}

fn pretty<W>(filter: EnvFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let layer = fmt::layer()
        .with_ansi(colours)
        .log_internal_errors(false)
        .with_writer(writer);
    Registry::default()
        .with(filter)
        .with(filter_fn(may_log))
        .with(layer)
}

/// The crate of the HTTP library, which logs an error for every connection that sends no HTTP: whoever can open
/// connections could fill the log. What comes of a request, and which connections were closed, is told otherwise.
const OF_CONNECTIONS: &str = "actix_http";

/// Returns whether a record may be logged: below `info` only records of the service's own crates.
///
/// This check and the filter are applied before the output, not in it: there, a suppressed record
/// of the `log` crate would also suppress the next line of the same thread.
fn may_log(metadata: &Metadata<'_>) -> bool {
    let crate_name = metadata.target().split("::").next();
    let ours = crate_name.is_some_and(|name| OUR_CRATES.contains(&name));
    ours || (crate_name != Some(OF_CONNECTIONS) && *metadata.level() <= Level::INFO)
}

/// Logs the place of a panic, and its text only if it is a literal in the source. Logs no
/// backtrace, regardless of `RUST_BACKTRACE`.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    let thread = std::thread::current();
    tracing::error!(
        panic.location = place,
        panic.text = fixed_text(panic.payload()),
        thread.name = thread.name().unwrap_or("unnamed"),
        "panicked at {place}",
    );
}

/// Returns the text of a panic if it was fixed at compile time. A formatted text is a `String` and
/// may contain data: `unwrap` on an error prints the whole error.
fn fixed_text(payload: &(dyn Any + Send)) -> &'static str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .unwrap_or("omitted: may contain sensitive data")
}

/// Prevents memory, which holds card data, from being written to a core dump or read by a debugger
/// of the same user. Call it before any secret is read.
pub fn forbid_core_dumps() -> Result<(), TelemetryError> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let refused = |error: rustix::io::Errno| TelemetryError::CoreDumps(error.into());
    rustix::process::setrlimit(Resource::Core, none).map_err(refused)?;
    // The limit alone does not apply to core dumps that are piped to a program.
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(refused)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
