//! A private PostgreSQL server for the demo, tests and benchmarks.
//!
//! It needs installed server programs only. It works for root, who may not run the server, and for
//! other users. It listens on a unix socket that only its user can reach.
//!
//! It leaves nothing behind: a supervising shell stops the server and removes its directory on
//! request, on drop, and if this process is killed.
//!
//! Not responsible for: production use. The superuser needs no password, and with `durable` off a
//! power failure destroys the data.

mod binaries;
mod supervisor;

use std::path::{Path, PathBuf};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use supervisor::{ServerSignal, Supervisor};

const USER: &str = "postgres";
/// Port, which is also part of the socket's name. It cannot collide in a private directory.
const SOCKET_PORT: u16 = 5_432;

/// Options of a server.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Whether commits survive a power failure. Off for tests: commits still survive a crash of the
    /// server, the only failure that a test can cause.
    pub durable: bool,
    /// Maximum number of connections.
    pub max_connections: u32,
    /// Whether to listen on a loopback TCP port as well. Every local user can then connect as
    /// superuser.
    pub tcp: bool,
    /// Directory that keeps the data; if `None`, the data is deleted with the server.
    pub data_dir: Option<PathBuf>,
    /// Additional server settings, such as `("log_statement", "all")`.
    pub settings: Vec<(String, String)>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            durable: false,
            max_connections: 200,
            tcp: false,
            data_dir: None,
            settings: Vec::new(),
        }
    }
}

/// How to stop the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Ends the connections and writes all data.
    Fast,
    /// Stops like a crash.
    Immediate,
}

/// An error of the private server.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No server is installed.
    #[error(
        "no postgresql server {oldest} or newer found; install one (debian: apt-get install \
             postgresql), or set RECONCILER_PG_BIN to the directory of initdb and postgres"
    )]
    NoBinaries {
        /// Oldest supported version.
        oldest: u32,
    },
    /// `RECONCILER_PG_BIN` names a directory without suitable programs.
    #[error("RECONCILER_PG_BIN={} has no initdb and postgres {oldest}", directory.display())]
    NamedBinaries {
        /// Directory in the variable.
        directory: PathBuf,
        /// Oldest supported version.
        oldest: u32,
    },
    /// An operation on a file or process failed.
    #[error("failed to {action}")]
    Io {
        /// The operation.
        action: String,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// No directory has a short enough path and is accessible to the server's user.
    #[error(
        "none of {tried:?} is a suitable working directory; set TMPDIR to a short path that all users can access"
    )]
    NoDirectory {
        /// Directories that were tried.
        tried: Vec<PathBuf>,
    },
    /// The server ended instead of starting.
    #[error("postgresql failed to start: {status}; end of its log:\n{log}")]
    NotStarted {
        /// What ended, and how.
        status: String,
        /// End of the server's log.
        log: String,
    },
    /// The server was neither ready nor ended before the timeout.
    #[error("timed out waiting for postgresql to {action}; end of its log:\n{log}")]
    TooSlow {
        /// The operation.
        action: &'static str,
        /// End of the server's log.
        log: String,
    },
    /// A statement failed.
    #[error("statement failed on the private postgresql server")]
    Sql(#[from] sqlx::Error),
}

impl ClusterError {
    fn io(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}

/// A running server. Dropping it stops the server and, unless a data directory was given, removes
/// all files.
#[derive(Debug)]
pub struct PostgresCluster {
    supervisor: Supervisor,
    port: u16,
    tcp: bool,
    major: u32,
}

impl PostgresCluster {
    /// Creates the data directory if it is missing, starts the server and waits until it accepts
    /// connections.
    pub async fn start(options: ClusterOptions) -> Result<Self, ClusterError> {
        let started = tokio::task::spawn_blocking(move || Self::start_blocking(&options));
        started.await.unwrap_or_else(|error| {
            let source = std::io::Error::other(error);
            Err(ClusterError::Io {
                action: "wait for the start".to_owned(),
                source,
            })
        })
    }

    /// Like [`Self::start`], for callers outside of a runtime. Takes about 1 s.
    pub fn start_blocking(options: &ClusterOptions) -> Result<Self, ClusterError> {
        let user = binaries::unprivileged_user();
        let data_dir = match &options.data_dir {
            Some(directory) => Some(prepare_data_dir(directory, user)?),
            None => None,
        };
        let found = binaries::find(data_dir.as_deref().and_then(data_version))?;
        let port = if options.tcp {
            free_port()?
        } else {
            SOCKET_PORT
        };
        let arguments = server_arguments(options, port);
        let supervisor = Supervisor::spawn(&found.directory, data_dir, &arguments, user)?;
        let mut cluster = Self {
            supervisor,
            port,
            tcp: options.tcp,
            major: found.major,
        };
        cluster.supervisor.start()?;
        Ok(cluster)
    }

    /// Returns the URL of a database, by socket.
    pub fn url(&self, database: &str) -> String {
        let database = utf8_percent_encode(database, NON_ALPHANUMERIC);
        // The path of the socket's directory needs no encoding.
        let directory = self.socket_dir().display();
        format!(
            "postgres://{USER}@localhost:{}/{database}?host={directory}",
            self.port
        )
    }

    /// Returns the URL of a database by loopback TCP, if the server listens there.
    pub fn tcp_url(&self, database: &str) -> Option<String> {
        let database = utf8_percent_encode(database, NON_ALPHANUMERIC);
        self.tcp
            .then(|| format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port))
    }

    /// Returns the directory of the socket; its path is short.
    pub fn socket_dir(&self) -> &Path {
        self.supervisor.run_dir()
    }

    /// Returns the data directory.
    pub fn data_dir(&self) -> &Path {
        self.supervisor.data_dir()
    }

    /// Returns the server's major version.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// Creates an empty database.
    pub async fn create_database(&self, name: &str) -> Result<(), ClusterError> {
        self.execute(format!("CREATE DATABASE {}", quoted(name)))
            .await
    }

    /// Creates a copy of a database that has no connections.
    pub async fn create_from_template(
        &self,
        template: &str,
        name: &str,
    ) -> Result<(), ClusterError> {
        let (name, template) = (quoted(name), quoted(template));
        self.execute(format!("CREATE DATABASE {name} TEMPLATE {template}"))
            .await
    }

    /// Drops a database and ends the connections to it. Does nothing if it does not exist.
    pub async fn drop_database(&self, name: &str) -> Result<(), ClusterError> {
        self.execute(format!(
            "DROP DATABASE IF EXISTS {} WITH (FORCE)",
            quoted(name)
        ))
        .await
    }

    /// Returns whether a database exists.
    pub async fn has_database(&self, name: &str) -> Result<bool, ClusterError> {
        let mut connection = PgConnection::connect(&self.url(USER)).await?;
        let found: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
                .bind(name)
                .fetch_one(&mut connection)
                .await?;
        connection.close().await?;
        Ok(found)
    }

    async fn execute(&self, statement: String) -> Result<(), ClusterError> {
        let mut connection = PgConnection::connect(&self.url(USER)).await?;
        // The statement is one of the above, with quoted names.
        connection.execute(AssertSqlSafe(statement)).await?;
        connection.close().await?;
        Ok(())
    }

    /// Stops the server and waits until it has ended. [`Self::resume`] starts it again.
    pub fn stop(&mut self, mode: StopMode) -> Result<(), ClusterError> {
        self.supervisor.stop(match mode {
            StopMode::Fast => ServerSignal::Int,
            StopMode::Immediate => ServerSignal::Quit,
        })
    }

    /// Starts a stopped server, with the same data and URL.
    pub fn resume(&mut self) -> Result<(), ClusterError> {
        self.supervisor.start()
    }

    /// Stops the server and starts it again.
    pub fn restart(&mut self, mode: StopMode) -> Result<(), ClusterError> {
        self.stop(mode)?;
        self.resume()
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn server_arguments(options: &ClusterOptions, port: u16) -> Vec<String> {
    let mut settings = vec![
        ("port".to_owned(), port.to_string()),
        (
            "max_connections".to_owned(),
            options.max_connections.to_string(),
        ),
        (
            "listen_addresses".to_owned(),
            if options.tcp { "127.0.0.1" } else { "" }.to_owned(),
        ),
    ];
    if !options.durable {
        // `synchronous_commit` stays on: without it, a crash of the server alone would lose
        // acknowledged commits, and crash tests would test nothing.
        for setting in ["fsync", "full_page_writes"] {
            settings.push((setting.to_owned(), "off".to_owned()));
        }
    }
    settings.extend(options.settings.iter().cloned());
    settings
        .iter()
        .flat_map(|(key, value)| ["-c".to_owned(), format!("{key}={value}")])
        .collect()
}

/// Returns a free loopback port.
fn free_port() -> Result<u16, ClusterError> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0));
    let address = listener.and_then(|listener| listener.local_addr());
    Ok(address
        .map_err(ClusterError::io("find a free port"))?
        .port())
}

/// Creates a persistent data directory that the server's user owns.
fn prepare_data_dir(
    directory: &Path,
    user: Option<binaries::ServerUser>,
) -> Result<PathBuf, ClusterError> {
    let name = directory.display();
    std::fs::create_dir_all(directory).map_err(ClusterError::io(format!("create {name}")))?;
    let directory = directory
        .canonicalize()
        .map_err(ClusterError::io(format!("find {name}")))?;
    if let Some(user) = user {
        std::os::unix::fs::chown(&directory, Some(user.uid), Some(user.gid))
            .map_err(ClusterError::io(format!("change the owner of {name}")))?;
    }
    Ok(directory)
}

/// Returns the version of a data directory, if it has been used.
fn data_version(directory: &Path) -> Option<u32> {
    std::fs::read_to_string(directory.join("PG_VERSION"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests;
