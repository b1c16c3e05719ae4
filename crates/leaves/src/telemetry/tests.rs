//! Tests of what is logged and what is not.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::io::Write;
use std::process::Command;
use std::sync::{Arc, Mutex};

use super::*;

/// Collects the log output.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Output {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn written(filter: &str, log: impl FnOnce()) -> String {
    let output = Output::default();
    let writer = output.clone();
    let filter = EnvFilter::try_new(filter).unwrap();
    tracing::subscriber::with_default(json(filter, move || writer.clone()), log);
    output.text()
}

#[test]
fn a_line_is_one_json_object_with_flat_fields() {
    let text = written("info", || {
        tracing::info!(
            transaction.state = "pending",
            wait.ms = 5,
            "checked\na transaction"
        );
    });
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["message"], "checked\na transaction");
    assert_eq!(line["transaction.state"], "pending");
    assert_eq!(line["wait.ms"], 5);
    assert_eq!(line["target"], "reconciler_leaves::telemetry::tests");
    assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn other_crates_never_log_below_info() {
    let text = written("trace", || {
        tracing::trace!("ours in detail");
        tracing::debug!(target: "hyper::proto", "a body");
        tracing::trace!(target: "reconciler_impostor", "a body");
        tracing::info!(target: "hyper::proto", "theirs");
        tracing::error!(target: "actix_http::h1::dispatcher", "no http");
    });
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].contains("ours in detail") && lines[1].contains("theirs"));
}

#[test]
fn the_filter_applies() {
    let text = written("warn,reconciler_leaves::telemetry::tests=debug", || {
        tracing::debug!("seen");
        tracing::info!(target: "reconciler::follow", "not seen");
    });
    assert!(
        text.contains("seen") && !text.contains("not seen"),
        "{text}"
    );
    assert!(init("reconciler=loud", LogFormat::Json).is_err());
}

#[test]
fn formats_are_parsed_from_words() {
    assert_eq!(LogFormat::from_word("auto"), Some(LogFormat::Auto));
    assert_eq!(LogFormat::from_word("json"), Some(LogFormat::Json));
    assert_eq!(LogFormat::from_word("pretty"), Some(LogFormat::Pretty));
    assert_eq!(LogFormat::from_word("xml"), None);
    assert!(LogFormat::Json.is_json() && !LogFormat::Pretty.is_json());
}

/// An error that contains its input, as many errors do.
fn refused(text: &str) -> Result<(), String> {
    Err(text.to_owned())
}

const CHILD: &str = "RECONCILER_TEST_PANICS";

/// Not a test by itself: a child process that panics and logs its limits.
#[test]
fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    forbid_core_dumps().unwrap();
    init("info", LogFormat::Auto).unwrap();
    assert!(matches!(
        init("info", LogFormat::Auto),
        Err(TelemetryError::Twice)
    ));
    let _ = std::thread::spawn(|| panic!("a fixed text")).join();
    let number = "4200000000000000";
    let _ = std::thread::spawn(move || panic!("card {number}")).join();
    let _ = std::thread::spawn(move || refused(number).unwrap()).join();
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core"))
        .unwrap_or_default();
    tracing::info!(core, "the limits");
    #[cfg(target_os = "linux")]
    tracing::info!(dumpable = ?rustix::process::dumpable_behavior(), "dumps");
}

#[test]
fn panics_are_logged_without_data_and_core_dumps_are_off() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "telemetry::tests::child", "--nocapture"])
        .env(CHILD, "1")
        .env("RUST_BACKTRACE", "full")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("4200000000000000"), "{text}");
    assert!(!text.contains("stack backtrace"), "{text}");
    let lines: Vec<serde_json::Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    assert_eq!(
        lines.len(),
        text.lines().count(),
        "something else was printed: {text}"
    );
    assert_eq!(lines[0]["panic.text"], "a fixed text");
    for line in &lines[1..3] {
        assert_eq!(line["panic.text"], "omitted: may contain sensitive data");
        assert_eq!(line["level"], "ERROR");
        assert!(
            line["panic.location"]
                .as_str()
                .unwrap()
                .starts_with("crates/leaves/src/telemetry/tests.rs:")
        );
    }
    #[cfg(target_os = "linux")]
    {
        let words = |value: &serde_json::Value| value.as_str().unwrap().split_whitespace().count();
        assert_eq!(words(&lines[3]["core"]), 7, "{}", lines[3]);
        assert!(lines[3]["core"].as_str().unwrap().contains(" 0 "));
        assert_eq!(lines[4]["dumpable"], "Ok(NotDumpable)");
    }
}
