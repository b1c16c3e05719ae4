//! PgBouncer in front of a private server.

use crate::world::service::free;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A running PgBouncer.
pub struct Pooler {
    child: Child,
    address: SocketAddr,
    directory: TempDir,
    user: (u32, u32),
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the path of PgBouncer: the one that `scripts/setup.sh` unpacked, or the system's.
fn program() -> PathBuf {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let home = variable("HOME").unwrap_or_default().join(".cache");
    let cache = match rustix::process::geteuid().is_root() {
        true => PathBuf::from("/var/cache"),
        false => variable("XDG_CACHE_HOME").unwrap_or(home),
    };
    let unpacked = cache.join("reconciler/pgbouncer/pgbouncer");
    match unpacked.is_file() {
        true => unpacked,
        false => PathBuf::from("/usr/sbin/pgbouncer"),
    }
}

fn run(directory: &Path, (uid, gid): (u32, u32)) -> Child {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(directory.join("log"))
        .expect("a file");
    let mut command = Command::new(program());
    command
        .arg(directory.join("pgbouncer.ini"))
        .current_dir("/");
    if rustix::process::geteuid().is_root() {
        command.uid(uid).gid(gid);
    }
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a file"))
        .stderr(log)
        .spawn()
        .expect("PgBouncer: scripts/setup.sh installs it")
}

impl Pooler {
    /// Starts it in transaction mode, with few server connections for many clients.
    pub fn before(socket_dir: &Path) -> Self {
        Self::in_mode(socket_dir, "transaction", 200)
    }

    /// Starts it in a pool mode. With 0 prepared statements it behaves like versions before 1.21.
    pub fn in_mode(socket_dir: &Path, mode: &str, prepared_statements: u32) -> Self {
        // In session mode each client keeps a server connection, so the pool must be larger.
        let size = if mode == "session" { 40 } else { 5 };
        let address = free().local_addr().expect("its address");
        let directory = tempfile::tempdir().expect("a directory");
        let config = format!(
            "[databases]\n* = host={} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = {mode}\n\
             max_prepared_statements = {prepared_statements}\ndefault_pool_size = {size}\nmax_client_conn = 200\n\
             server_idle_timeout = 5\nserver_lifetime = 5\n",
            socket_dir.display(),
            address.port()
        );
        let path = directory.path().join("pgbouncer.ini");
        std::fs::write(&path, config).expect("a file");
        // PgBouncer refuses to run as root, and must be able to open the server's socket.
        let owner = std::fs::metadata(socket_dir).expect("the server's directory");
        let (uid, gid) = {
            use std::os::unix::fs::MetadataExt;
            (owner.uid(), owner.gid())
        };
        for path in [directory.path(), &path] {
            std::os::unix::fs::chown(path, Some(uid), Some(gid)).expect("its own file");
        }
        let child = run(directory.path(), (uid, gid));
        Self {
            child,
            address,
            directory,
            user: (uid, gid),
        }
    }

    /// Returns the URL of a database through the pooler.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://postgres@{}/{database}?sslmode=disable",
            self.address
        )
    }

    /// Kills the process.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Kills the process and starts it again at the same address.
    pub fn restart(&mut self) {
        self.kill();
        self.child = run(self.directory.path(), self.user);
    }

    /// Returns the log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}
