//! What the process says about itself, and what it must never let slip while doing so.
//!
//! Logs go to standard error, one JSON object a line, or readable text on a terminal.
//! Only our own code can log below `info`: what other crates print there (requests,
//! bodies, statements) may be card data, so no filter can turn it on. A panic is logged
//! by its place; its text is left out when it was put together at run time. Core dumps
//! are off. Nothing here decides what is logged; that is with whoever logs.

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

/// The crates of the service; all others cannot log below `info`.
const OUR_CRATES: [&str; 6] = [
    "reconciler",
    "reconciler_audit",
    "reconciler_domain",
    "reconciler_gateway",
    "reconciler_leaves",
    "reconciler_words",
];

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people on a terminal, JSON otherwise.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

impl Format {
    /// The format that a word of the configuration means.
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

/// Why the process cannot log or protect itself.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("the log filter is not valid")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Logging was set up before.
    #[error("logging is set up already")]
    Twice,
    /// The system does not let us switch core dumps off.
    #[error("core dumps cannot be switched off")]
    CoreDumps(#[source] std::io::Error),
}

/// Sets logging up for the whole process and logs panics. `filter` is one such as `info`
/// or `info,reconciler::engine=debug`.
pub fn init(filter: &str, format: Format) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(filter)?;
    // This also catches what other crates log through `log`.
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
    // A closed standard error must not turn a log line into a panic.
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

/// Below `info` only our own code may log: of that we know what it prints.
///
/// This and the filter stand in front of the one output and not on it: there, a record of the `log`
/// crate that is held back would take the next line of the same thread with it.
fn may_log(metadata: &Metadata<'_>) -> bool {
    let crate_name = metadata.target().split("::").next();
    let ours = crate_name.is_some_and(|name| OUR_CRATES.contains(&name));
    ours || *metadata.level() <= Level::INFO
}

/// Logs where a panic happened, and its text only when that stands in the source. There
/// is no backtrace, whatever `RUST_BACKTRACE` says.
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

/// The text of a panic that was fixed at compile time. A text that was put together is a
/// `String` and may hold data: `unwrap` on an error prints the whole error.
fn fixed_text(payload: &(dyn Any + Send)) -> &'static str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .unwrap_or("left out, it may hold data")
}

/// Makes sure that memory, which holds card data, is written to no core dump and read by
/// no debugger of the same user. To be called before any secret is read.
pub fn forbid_core_dumps() -> Result<(), TelemetryError> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let refused = |error: rustix::io::Errno| TelemetryError::CoreDumps(error.into());
    rustix::process::setrlimit(Resource::Core, none).map_err(refused)?;
    // The limit alone does not hold for dumps that are piped to a program.
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(refused)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
