//! Interface to the shell that supervises the server.
//!
//! The shell reads a pipe from this process. The kernel closes the pipe when this process ends in
//! any way, and the shell then stops the server. A thread or a `Drop` could not do that, and a
//! signal at the parent's death would require `unsafe`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::ClusterError;
use super::binaries::ServerUser;
use leaves::clock::BootInstant;

const SCRIPT: &str = include_str!("supervise.sh");
/// Maximum length of a socket path. Linux allows 107 bytes, some systems a little less.
const MAX_SOCKET_PATH: usize = 100;
/// Length that is added to the base directory: `/rpg.`, six letters, and `/.s.PGSQL.65535`.
const ADDED: usize = 26;

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(10);

/// Signal to the server.
#[derive(Clone, Copy, Debug)]
pub(super) enum ServerSignal {
    /// Fast shutdown.
    Int,
    /// Immediate shutdown.
    Quit,
}

impl ServerSignal {
    fn word(self) -> &'static str {
        match self {
            Self::Int => "INT",
            Self::Quit => "QUIT",
        }
    }
}

#[derive(Debug)]
pub(super) struct Supervisor {
    shell: Child,
    run_dir: PathBuf,
    data_dir: PathBuf,
    keeps_data: bool,
    runs: u32,
}

impl Supervisor {
    /// Starts the shell, which creates the working directory. Does not start the server.
    pub(super) fn spawn(
        binaries: &Path,
        data_dir: Option<PathBuf>,
        arguments: &[String],
        user: Option<ServerUser>,
    ) -> Result<Self, ClusterError> {
        let mut tried = Vec::new();
        for base in bases() {
            let data = data_dir.as_deref().unwrap_or(Path::new(""));
            let mut command = command(binaries, &base, data, arguments, user);
            let mut shell = command
                .spawn()
                .map_err(ClusterError::io("start the shell"))?;
            let mut line = String::new();
            if let Some(output) = shell.stdout.take() {
                // No line means that the directory could not be created there.
                BufReader::new(output)
                    .read_line(&mut line)
                    .map_err(ClusterError::io("read from the shell"))?;
            }
            let run_dir = PathBuf::from(line.trim_end());
            if run_dir.is_absolute() {
                let keeps_data = data_dir.is_some();
                let data_dir = data_dir.unwrap_or_else(|| run_dir.join("data"));
                return Ok(Self {
                    shell,
                    run_dir,
                    data_dir,
                    keeps_data,
                    runs: 0,
                });
            }
            let _failed = shell.wait();
            tried.push(base);
        }
        Err(ClusterError::NoDirectory { tried })
    }

    pub(super) fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    pub(super) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Starts the server and waits until it is ready.
    pub(super) fn start(&mut self) -> Result<(), ClusterError> {
        // Each run has its own files, so that the end of one run is not mistaken for the end of the
        // next.
        self.runs += 1;
        self.send(&format!("start {}", self.runs))?;
        let deadline = BootInstant::now() + START_LIMIT;
        while !self.is_ready() {
            if let Some(status) = self.status() {
                return Err(ClusterError::NotStarted {
                    status,
                    log: self.log_end(),
                });
            }
            if deadline.remaining().is_zero() {
                return Err(ClusterError::TooSlow {
                    action: "start",
                    log: self.log_end(),
                });
            }
            std::thread::sleep(STEP);
        }
        Ok(())
    }

    /// Stops the server and waits until it has ended.
    pub(super) fn stop(&mut self, signal: ServerSignal) -> Result<(), ClusterError> {
        self.send(signal.word())?;
        let deadline = BootInstant::now() + STOP_LIMIT;
        while self.status().is_none() {
            if deadline.remaining().is_zero() {
                return Err(ClusterError::TooSlow {
                    action: "stop",
                    log: self.log_end(),
                });
            }
            std::thread::sleep(STEP);
        }
        Ok(())
    }

    fn send(&mut self, word: &str) -> Result<(), ClusterError> {
        let sent = match &mut self.shell.stdin {
            Some(pipe) => writeln!(pipe, "{word}"),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        };
        sent.map_err(ClusterError::io("write to the shell that runs postgresql"))
    }

    #[cfg(test)]
    pub(super) fn shell_id(&self) -> u32 {
        self.shell.id()
    }

    /// Returns whether the server of this run accepts connections.
    fn is_ready(&self) -> bool {
        let Some(pid) = self.pid() else { return false };
        let text = std::fs::read_to_string(self.data_dir.join("postmaster.pid"));
        let text = text.unwrap_or_default();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        // Line 1 is its process id, line 8 its state.
        lines.first() == Some(&pid.as_str()) && lines.get(7) == Some(&"ready")
    }

    fn pid(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.run_dir.join(format!("pid.{}", self.runs))).ok()?;
        Some(text.trim().to_owned()).filter(|pid| !pid.is_empty())
    }

    /// Returns how the server ended, if it has.
    fn status(&self) -> Option<String> {
        let text =
            std::fs::read_to_string(self.run_dir.join(format!("status.{}", self.runs))).ok()?;
        text.ends_with('\n').then(|| text.trim().to_owned())
    }

    fn log_end(&self) -> String {
        let log = std::fs::read(self.run_dir.join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Waits for the shell, which was asked to end.
    fn wait_for_shell(&mut self) -> bool {
        let deadline = BootInstant::now() + STOP_LIMIT;
        while !deadline.remaining().is_zero() {
            match self.shell.try_wait() {
                Ok(None) => std::thread::sleep(STEP),
                Ok(Some(_)) | Err(_) => return true,
            }
        }
        false
    }

    /// Cleans up if the shell was killed or hangs.
    fn clean_up_without_shell(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
        let pid = self.pid().and_then(|pid| pid.parse().ok());
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw)
            && self.is_ready()
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
            let deadline = BootInstant::now() + STOP_LIMIT;
            while !deadline.remaining().is_zero() && rustix::process::test_kill_process(pid).is_ok()
            {
                std::thread::sleep(STEP);
            }
            // A surviving part of the shell may still record the end in the directory.
            std::thread::sleep(10 * STEP);
        }
        let _ = std::fs::remove_dir_all(&self.run_dir);
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if self.keeps_data && self.status().is_none() {
            // Persistent data is shut down cleanly, so that the next start needs no recovery.
            let _ = self.stop(ServerSignal::Int);
        }
        drop(self.shell.stdin.take());
        if !self.wait_for_shell() || self.run_dir.exists() {
            self.clean_up_without_shell();
        }
    }
}

/// Returns the candidate base directories of the working directory, best first.
fn bases() -> Vec<PathBuf> {
    let mut bases: Vec<PathBuf> = Vec::new();
    let usual = ["/tmp", "/var/tmp", "/dev/shm"].map(PathBuf::from);
    for base in std::iter::once(std::env::temp_dir()).chain(usual) {
        // The server parses its socket directory as a list with quotes and commas.
        let plain = base.to_str().is_some_and(|path| {
            path.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte))
        });
        let short = base.as_os_str().len() + ADDED <= MAX_SOCKET_PATH;
        if plain && short && base.is_absolute() && !bases.contains(&base) {
            bases.push(base);
        }
    }
    bases
}

fn command(
    binaries: &Path,
    base: &Path,
    data: &Path,
    arguments: &[String],
    user: Option<ServerUser>,
) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", SCRIPT, "supervise.sh"])
        .args([binaries, base, data])
        .args(arguments)
        // Variables such as PGPORT or a locale must not reach the server. Its user may also be
        // unable to enter the current directory.
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("LC_ALL", "C")
        .current_dir("/")
        // Ctrl-C on a terminal is for this process, which then stops the server.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if let Some(user) = user {
        // Also drops the supplementary groups.
        command.uid(user.uid).gid(user.gid);
    }
    command
}
