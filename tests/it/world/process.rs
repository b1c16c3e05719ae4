//! The real binary, for tests of process start and end.

use crate::world::{Addresses, eventually};
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Child, Command, ExitStatus, Stdio};
use tempfile::TempDir;

/// A running `reconciler serve`.
pub struct Process {
    child: Child,
    directory: TempDir,
}

impl Process {
    /// Starts the service. Its log is kept in a file.
    pub fn start(config: &str, _addresses: &Addresses) -> Self {
        Self::start_in(config, &[])
    }

    /// Starts the service with a limit of open files.
    pub fn start_with_files(config: &str, files: u32) -> Self {
        let mut command = Command::new("prlimit");
        command
            .arg(format!("--nofile={files}:{files}"))
            .arg(env!("CARGO_BIN_EXE_reconciler"));
        Self::begin(command, config, &[])
    }

    /// Starts the service with environment variables.
    pub fn start_in(config: &str, environment: &[(String, String)]) -> Self {
        let command = Command::new(env!("CARGO_BIN_EXE_reconciler"));
        Self::begin(command, config, environment)
    }

    /// Starts the service with options of `serve`.
    pub fn start_with_options(config: &str, options: &[&str]) -> Self {
        let command = Command::new(env!("CARGO_BIN_EXE_reconciler"));
        Self::begin_with(command, config, &[], options)
    }

    fn begin(command: Command, config: &str, environment: &[(String, String)]) -> Self {
        Self::begin_with(command, config, environment, &[])
    }

    fn begin_with(
        mut command: Command,
        config: &str,
        environment: &[(String, String)],
        options: &[&str],
    ) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config.toml");
        std::fs::write(&path, config).expect("a file");
        let log = std::fs::File::create(directory.path().join("log")).expect("a file");
        let child = command
            .arg("serve")
            .args(options)
            .arg("--config")
            .arg(&path)
            .env_clear()
            .envs(environment.iter().map(|(key, value)| (key, value)))
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        Self { child, directory }
    }

    /// Replaces the configuration file.
    pub fn rewrite(&self, config: &str) {
        std::fs::write(self.directory.path().join("config.toml"), config).expect("a file");
    }

    /// Replaces the configuration file, sends SIGHUP and waits for the reload.
    pub async fn reload(&self, config: &str) {
        let readings = || self.log().matches("SIGHUP").count();
        let before = readings();
        self.rewrite(config);
        self.signal(Signal::HUP);
        eventually("the configuration is reloaded", async || {
            (readings() > before).then_some(())
        })
        .await;
    }

    /// Returns the log.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.directory.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("an id");
        kill_process(Pid::from_raw(id).expect("an id"), signal).expect("it runs");
    }

    /// Returns its current memory, in KiB.
    pub fn memory_kib(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number.and_then(|n| n.parse().ok()).expect("a number")
    }

    /// Returns the number of its open files.
    pub fn open_files(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        files.map_or(0, Iterator::count)
    }

    /// Returns its exit status, if it has ended.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        eventually("the process ends", async || {
            self.child.try_wait().expect("a child")
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the process printed:\n{}", self.log());
        }
    }
}
