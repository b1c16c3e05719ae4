//! Starts the simulator and the service as child processes that end with this process.
//!
//! A shell between this process and each child reads a pipe from this process. The kernel closes
//! the pipe when this process ends in any way, and the shell then ends the child. No child
//! survives, not even a `kill -9`.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

use super::DemoError;
use leaves::clock::BootInstant;

const SCRIPT: &str = include_str!("processes/die_with_parent.sh");
/// Time for a program to stop before it is killed.
const GRACE: Duration = Duration::from_secs(8);
/// Time for the shell to stop the program.
const STOP_TIMEOUT: Duration = Duration::from_secs(12);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Number of log lines that an error shows.
const SHOWN_LINES: usize = 20;

/// Destination of a program's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutputMode {
    /// This process, line by line.
    Piped,
    /// The program's log.
    Logged,
}

/// A running child process.
#[derive(Debug)]
pub(super) struct ChildProcess {
    name: &'static str,
    shell: Child,
    log: PathBuf,
}

impl ChildProcess {
    /// Starts a program from the directory of this one; its output goes to `log`.
    pub(super) fn start(
        (name, program): (&'static str, &str),
        arguments: &[&str],
        log: &Path,
        output: OutputMode,
    ) -> Result<Self, DemoError> {
        let this = std::env::current_exe().map_err(DemoError::io("find this program"))?;
        let binary = this.with_file_name(program);
        Self::spawn(name, (&binary, arguments), log, output, GRACE)
    }

    fn spawn(
        name: &'static str,
        (program, arguments): (&Path, &[&str]),
        log: &Path,
        output: OutputMode,
        grace: Duration,
    ) -> Result<Self, DemoError> {
        let file = open_log(log)?;
        let second = file.try_clone().map_err(DemoError::io("share a log"))?;
        let shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "die_with_parent.sh"])
            .arg((grace.as_millis() / 100).to_string())
            .arg(program)
            .args(arguments)
            // A DATABASE_URL or setting of the caller must not reach the demo's service.
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LC_ALL", "C")
            // Ctrl-C on a terminal is for this process, which then stops the child.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(match output {
                OutputMode::Piped => Stdio::piped(),
                OutputMode::Logged => Stdio::from(second),
            })
            .stderr(Stdio::from(file))
            .spawn()
            .map_err(DemoError::io("start the shell"))?;
        let log = log.to_owned();
        Ok(Self { name, shell, log })
    }

    /// Returns the first line of the program's output.
    pub(super) async fn first_line(&mut self, within: Duration) -> Result<String, DemoError> {
        let mut line = String::new();
        if let Some(output) = self.shell.stdout.take() {
            let mut output: BufReader<ChildStdout> = BufReader::new(output);
            match timeout(within, output.read_line(&mut line)).await {
                Ok(read) => read.map_err(DemoError::io(format!("read from the {}", self.name)))?,
                Err(_) => return Err(self.timeout_error()),
            };
        }
        if line.is_empty() {
            let status = self.shell.wait().await;
            return Err(self.ended(status.ok()));
        }
        Ok(line)
    }

    /// Waits until the program has ended with success.
    pub(super) async fn finish(mut self, within: Duration) -> Result<(), DemoError> {
        // Waiting would close the pipe, and so end the program.
        let leash = self.shell.stdin.take();
        let waited = timeout(within, self.shell.wait()).await;
        drop(leash);
        match waited {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(status) => Err(self.ended(status.ok())),
            Err(_) => Err(self.timeout_error()),
        }
    }

    /// Returns an error if the program has ended.
    pub(super) fn still_runs(&mut self) -> Result<(), DemoError> {
        match self.shell.try_wait() {
            Ok(None) => Ok(()),
            Ok(status) => Err(self.ended(status)),
            Err(source) => Err(DemoError::io(format!("watch the {}", self.name))(source)),
        }
    }

    /// Returns the path of the log.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// Returns the error of a program that did not become ready in time.
    pub(super) fn timeout_error(&self) -> DemoError {
        DemoError::TooSlow {
            name: self.name,
            log: tail(&self.log),
        }
    }

    fn ended(&self, status: Option<ExitStatus>) -> DemoError {
        DemoError::Ended {
            name: self.name,
            status: status.map_or_else(|| "unknown status".to_owned(), |it| it.to_string()),
            log: tail(&self.log),
        }
    }

    /// Stops the program and waits until it has ended.
    pub(super) async fn stop(mut self) {
        drop(self.shell.stdin.take());
        if timeout(STOP_TIMEOUT, self.shell.wait()).await.is_err() {
            self.kill();
        }
    }

    /// Kills all processes of a shell that hangs or was killed.
    fn kill(&mut self) {
        let group = self.shell.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = group.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for ChildProcess {
    /// Last resort after a panic; otherwise `stop` is called.
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let deadline = BootInstant::now() + STOP_TIMEOUT;
        while matches!(self.shell.try_wait(), Ok(None)) {
            if deadline.remaining().is_zero() {
                return self.kill();
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

/// Waits until `ready` returns true, while the program runs.
pub(super) async fn wait_until(
    process: &mut ChildProcess,
    within: Duration,
    mut ready: impl AsyncFnMut() -> bool,
) -> Result<(), DemoError> {
    let deadline = BootInstant::now() + within;
    while !ready().await {
        process.still_runs()?;
        if deadline.remaining().is_zero() {
            return Err(process.timeout_error());
        }
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

fn open_log(path: &Path) -> Result<File, DemoError> {
    let mut options = File::options();
    options.create(true).append(true).mode(0o600);
    options
        .open(path)
        .map_err(DemoError::io(format!("open {}", path.display())))
}

/// Returns the last lines of a log.
pub(super) fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a failed test may panic")]
mod tests {
    use super::*;
    use rustix::process::{Pid, test_kill_process};

    const SHELL: &str = "/bin/sh";
    const SHORT: Duration = Duration::from_millis(300);
    const LONG: Duration = Duration::from_secs(10);

    /// Starts a shell that runs a script, which first prints its process id.
    async fn script(text: &str, directory: &Path) -> (ChildProcess, Pid) {
        // The script's preparation precedes the line that reports readiness.
        let (prepare, go_on) = text.split_once(" | ").unwrap_or(("true", text));
        let text = format!("{prepare}; echo $$; {go_on}");
        let program: (&Path, &[&str]) = (Path::new(SHELL), &["-c", &text]);
        let log = directory.join("log");
        let started = ChildProcess::spawn("script", program, &log, OutputMode::Piped, SHORT);
        let mut process = started.expect("it starts");
        let line = process.first_line(LONG).await.expect("it prints");
        let pid = line.trim().parse().ok().and_then(Pid::from_raw);
        (process, pid.expect("that is a process id"))
    }

    async fn is_gone(pid: Pid) -> bool {
        let deadline = BootInstant::now() + LONG;
        while test_kill_process(pid).is_ok() && !deadline.remaining().is_zero() {
            sleep(POLL_INTERVAL).await;
        }
        test_kill_process(pid).is_err()
    }

    #[tokio::test]
    async fn a_stopped_program_can_clean_up() {
        let home = tempfile::tempdir().expect("a directory can be made");
        let text = "trap 'echo tidy >&2; exit' TERM | while :; do sleep 0.05; done";
        let (mut process, pid) = script(text, home.path()).await;
        process.still_runs().expect("it runs");
        process.stop().await;
        assert!(test_kill_process(pid).is_err());
        assert_eq!(tail(&home.path().join("log")), "tidy");
    }

    #[tokio::test]
    async fn a_program_that_ignores_the_stop_is_killed() {
        let home = tempfile::tempdir().expect("a directory can be made");
        let text = "trap '' TERM | while :; do sleep 0.05; done";
        let (process, pid) = script(text, home.path()).await;
        process.stop().await;
        assert!(is_gone(pid).await);
    }

    /// Does what the kernel does when this process is killed: only closes the pipe.
    #[tokio::test]
    async fn a_closed_pipe_stops_the_program() {
        let home = tempfile::tempdir().expect("a directory can be made");
        let (mut process, pid) = script("exec sleep 600", home.path()).await;
        drop(process.shell.stdin.take());
        assert!(is_gone(pid).await);
    }

    #[tokio::test]
    async fn a_killed_shell_stops_the_program() {
        let home = tempfile::tempdir().expect("a directory can be made");
        let (mut process, pid) = script("exec sleep 600", home.path()).await;
        // The program and the watcher of the pipe must both be running first.
        let shell = process.shell.id().expect("the shell runs");
        let children = format!("/proc/{shell}/task/{shell}/children");
        while std::fs::read_to_string(&children)
            .expect("linux")
            .split_whitespace()
            .count()
            < 2
        {
            sleep(POLL_INTERVAL).await;
        }
        process.shell.start_kill().expect("the shell runs");
        drop(process);
        assert!(is_gone(pid).await);
    }

    #[tokio::test]
    async fn a_failed_program_reports_its_log() {
        let home = tempfile::tempdir().expect("a directory can be made");
        let program: (&Path, &[&str]) = (Path::new(SHELL), &["-c", "echo no >&2; exit 3"]);
        let log = home.path().join("log");
        let process = ChildProcess::spawn("script", program, &log, OutputMode::Logged, SHORT);
        let error = process.expect("it starts").finish(LONG).await;
        let text = error.expect_err("it fails").to_string();
        assert!(
            text.contains("exit status: 3") && text.ends_with("\nno"),
            "{text}"
        );
    }
}
