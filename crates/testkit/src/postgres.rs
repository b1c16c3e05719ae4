//! A PostgreSQL server of our own: for the demo, for tests and for benchmarks.
//!
//! It needs nothing but installed server programs, works for root (who may not run the
//! server) and for everybody else, and listens on a unix socket that only its user can
//! reach. It leaves nothing behind: a supervising shell stops the server and removes its
//! directory when we ask, when we are dropped, and when this process is killed.
//!
//! It deliberately cannot be used for real money: the superuser needs no password, and
//! with `durable` off a power cut destroys the data.

mod binaries;
mod supervisor;

use std::path::{Path, PathBuf};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use supervisor::{Signal, Supervisor};

const USER: &str = "postgres";
/// The port also names the socket; in a directory of its own it never collides.
const SOCKET_PORT: u16 = 5_432;

/// What kind of server to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether commits survive a power cut. Off for tests: commits still survive a
    /// crash of the server, which is all that a test can cause.
    pub durable: bool,
    /// The most connections at one time.
    pub max_connections: u32,
    /// Whether to listen on a loopback TCP port as well. Everybody on the machine can
    /// then connect as superuser.
    pub tcp: bool,
    /// Where the data stays; without it the data goes with the server.
    pub data_dir: Option<PathBuf>,
    /// Further settings of the server, such as `("log_statement", "all")`.
    pub settings: Vec<(String, String)>,
}

impl Default for Options {
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

/// How the server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Connections are ended and everything is written.
    Fast,
    /// As if the server had crashed.
    Immediate,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// None is installed.
    #[error(
        "no postgresql server {oldest} found: install one (debian: apt-get install postgresql), \
         or name the directory of initdb and postgres in RECONCILER_PG_BIN"
    )]
    NoBinaries {
        /// The oldest version that would do.
        oldest: u32,
    },
    /// The one that was named will not do.
    #[error("RECONCILER_PG_BIN={} has no initdb and postgres {oldest}", directory.display())]
    NamedBinaries {
        /// What was named.
        directory: PathBuf,
        /// The oldest version that would do.
        oldest: u32,
    },
    /// A file or process could not be handled.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// No directory for the socket is short enough and open to the server's user.
    #[error("no directory to work in among {tried:?}: set TMPDIR to a short path open to all")]
    NoDirectory {
        /// Those that were tried.
        tried: Vec<PathBuf>,
    },
    /// The server ended instead of starting.
    #[error("postgresql did not start: {status}; its log ends in:\n{log}")]
    NotStarted {
        /// What ended, and how.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// The server was neither ready nor ended after a long time.
    #[error("postgresql takes too long to {action}; its log ends in:\n{log}")]
    TooSlow {
        /// What it was to do.
        action: &'static str,
        /// The end of its log.
        log: String,
    },
    /// A statement failed.
    #[error("the private postgresql server refused a statement")]
    Sql(#[from] sqlx::Error),
}

impl ClusterError {
    fn io(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}

/// A running server; dropping it stops the server and, unless the data was to stay,
/// removes everything.
#[derive(Debug)]
pub struct Cluster {
    supervisor: Supervisor,
    port: u16,
    tcp: bool,
    major: u32,
}

impl Cluster {
    /// Makes the data directory where it is missing, starts the server and waits until
    /// it takes connections.
    pub async fn start(options: Options) -> Result<Self, ClusterError> {
        let started = tokio::task::spawn_blocking(move || Self::start_blocking(&options));
        started.await.unwrap_or_else(|error| {
            let source = std::io::Error::other(error);
            Err(ClusterError::Io {
                action: "wait for the start".to_owned(),
                source,
            })
        })
    }

    /// As `start`, for callers outside of a runtime. Takes about a second.
    pub fn start_blocking(options: &Options) -> Result<Self, ClusterError> {
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

    /// The URL of a database, by socket.
    pub fn url(&self, database: &str) -> String {
        let database = utf8_percent_encode(database, NON_ALPHANUMERIC);
        // The socket's directory was chosen so that its path needs no encoding.
        let directory = self.socket_dir().display();
        format!(
            "postgres://{USER}@localhost:{}/{database}?host={directory}",
            self.port
        )
    }

    /// The URL of a database by loopback TCP, if the server listens there.
    pub fn tcp_url(&self, database: &str) -> Option<String> {
        let database = utf8_percent_encode(database, NON_ALPHANUMERIC);
        self.tcp
            .then(|| format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port))
    }

    /// The directory of the socket; its path is short.
    pub fn socket_dir(&self) -> &Path {
        self.supervisor.run_dir()
    }

    /// The directory of the data.
    pub fn data_dir(&self) -> &Path {
        self.supervisor.data_dir()
    }

    /// The server's major version.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// Makes an empty database.
    pub async fn create_database(&self, name: &str) -> Result<(), ClusterError> {
        self.execute(format!("CREATE DATABASE {}", quoted(name)))
            .await
    }

    /// Makes a copy of a database to which nobody is connected.
    pub async fn create_from_template(
        &self,
        template: &str,
        name: &str,
    ) -> Result<(), ClusterError> {
        let (name, template) = (quoted(name), quoted(template));
        self.execute(format!("CREATE DATABASE {name} TEMPLATE {template}"))
            .await
    }

    /// Removes a database and ends the connections to it; nothing if there is none.
    pub async fn drop_database(&self, name: &str) -> Result<(), ClusterError> {
        self.execute(format!(
            "DROP DATABASE IF EXISTS {} WITH (FORCE)",
            quoted(name)
        ))
        .await
    }

    /// Whether there is a database of that name.
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
        // The statement is one of the above, with the names quoted.
        connection.execute(AssertSqlSafe(statement)).await?;
        connection.close().await?;
        Ok(())
    }

    /// Stops the server and waits until it has ended; `resume` starts it again.
    pub fn stop(&mut self, mode: StopMode) -> Result<(), ClusterError> {
        self.supervisor.stop(match mode {
            StopMode::Fast => Signal::Int,
            StopMode::Immediate => Signal::Quit,
        })
    }

    /// Starts the server after `stop`, on the same data and under the same URL.
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

fn server_arguments(options: &Options, port: u16) -> Vec<String> {
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
        // Not `synchronous_commit`: without it a crash of the server alone would lose
        // commits that were answered, and crash tests would test nothing.
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

/// A loopback port that is free now.
fn free_port() -> Result<u16, ClusterError> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0));
    let address = listener.and_then(|listener| listener.local_addr());
    Ok(address
        .map_err(ClusterError::io("find a free port"))?
        .port())
}

/// Makes a data directory that stays and that the server's user owns.
fn prepare_data_dir(
    directory: &Path,
    user: Option<binaries::User>,
) -> Result<PathBuf, ClusterError> {
    let name = directory.display();
    std::fs::create_dir_all(directory).map_err(ClusterError::io(format!("make {name}")))?;
    let directory = directory
        .canonicalize()
        .map_err(ClusterError::io(format!("find {name}")))?;
    if let Some(user) = user {
        std::os::unix::fs::chown(&directory, Some(user.uid), Some(user.gid)).map_err(
            ClusterError::io(format!("give {name} to the server's user")),
        )?;
    }
    Ok(directory)
}

/// The version that a data directory belongs to, if it has been used.
fn data_version(directory: &Path) -> Option<u32> {
    std::fs::read_to_string(directory.join("PG_VERSION"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests;
