//! How the database stands: whether it can be reached, takes writes, and confirms its commits; and the one
//! reserved session that looks at it and cancels what nobody waits for any more.
//!
//! A change is logged once, however many requests meet it. While the database does not stand well, one at a
//! time looks at it and all others are told at once what the last look found.

use super::history::KnownHistory;
use super::timed_pool::{PING_TIMEOUT, failure, within};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool};
use sqlx::{ConnectOptions, Connection, Error, Executor, Row};
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex as Plain, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// What a read-only database is told of.
pub const READ_ONLY: &str = "the database is read-only";

/// What is told of while the fate of a commit is unknown.
pub const UNCONFIRMED: &str = "the database does not confirm its commits";

/// How often a database that does not stand well is looked at, at most.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The name that every session bears.
pub(super) const NAME: &str = "reconciler";

/// Who a session is, and whether it takes writes.
const WHO: &str = "-- who
    SELECT pg_backend_pid(), current_setting('transaction_read_only') = 'on',
        (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint";

/// The smallest write that waits for the disk and the standby as any commit does. It leaves no row.
const PROOF: &str = "-- proof\nSELECT pg_logical_emit_message(true, 'reconciler', '')";

/// Cancels what a session does, or ends it. No row when it is gone.
const CANCEL: &str = "-- cancel
    SELECT CASE WHEN $2 THEN pg_terminate_backend(pid) ELSE pg_cancel_backend(pid) END
    FROM pg_stat_activity
    WHERE pid = $1 AND application_name = 'reconciler' AND datname = current_database()
      AND (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint = $3";

/// A session at its server. The number alone may be another one's at another server, or after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    /// When its server began, in microseconds.
    pub(super) server: i64,
}

/// How it stood when it was last told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Writable,
    ReadOnly,
    Away,
}

/// What the last look, or the last proof, found.
#[derive(Default)]
struct Looks {
    failed: Option<(Instant, Error)>,
}

/// How one database stands.
pub(super) struct Standing {
    /// The hosts of the address, in its order.
    hosts: Vec<PgConnectOptions>,
    /// A session that takes no writes is good enough: a person reads.
    reads: bool,
    /// Whether a pooler shares the server's connections: nothing may be set on them then, and none is ours to
    /// be cancelled.
    pub(super) shared: AtomicBool,
    told: Plain<Told>,
    /// Whether it stood well when it was last looked at, and nothing has spoken against it since.
    trusted: AtomicBool,
    looks: Mutex<Looks>,
    reserve: Mutex<Option<PgConnection>>,
    /// One at a time asks through the reserved session.
    asking: Mutex<()>,
    /// How many commits were of unknown fate, and how many of those a later commit has covered.
    doubts: AtomicU64,
    proven: AtomicU64,
    given_up: AtomicU64,
    /// Told at which server sessions are.
    pub(super) history: Arc<KnownHistory>,
}

impl Standing {
    pub(super) fn new(hosts: Vec<PgConnectOptions>, reads: bool) -> Self {
        Self {
            hosts,
            reads,
            shared: AtomicBool::new(false),
            told: Plain::new(Told::Nothing),
            trusted: AtomicBool::new(false),
            looks: Mutex::default(),
            reserve: Mutex::new(None),
            asking: Mutex::new(()),
            doubts: AtomicU64::new(0),
            proven: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            history: Arc::default(),
        }
    }

    /// What the pool connects with until it is known which host is the right one.
    pub(super) fn first(&self) -> PgConnectOptions {
        self.hosts.first().cloned().unwrap_or_default()
    }

    /// Makes sure that the database stands well, as far as is known.
    pub(super) async fn refresh(&self, pool: &PgPool) -> Result<(), Error> {
        if self.trusted.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut looks = self.looks.lock().await;
        if self.trusted.load(Ordering::Acquire) {
            return Ok(());
        }
        looks.recently()?;
        // The old one may be at a server that is no longer the right one.
        let mut reserve = self.reserve.lock().await;
        drop(reserve.take());
        let mut found = (Told::Away, failure(ErrorKind::NotFound, "there is no host"));
        for host in &self.hosts {
            match within(PING_TIMEOUT, connected(host)).await {
                Ok((session, read_only)) if !read_only || self.reads => {
                    *reserve = Some(session);
                    looks.failed = None;
                    pool.set_connect_options(host.clone());
                    self.trusted.store(true, Ordering::Release);
                    self.tell(Told::Writable, None);
                    return Ok(());
                }
                Ok((session, _)) => {
                    drop(session);
                    found = (Told::ReadOnly, read_only());
                }
                Err(error) if found.0 != Told::ReadOnly => {
                    let text = format!("{}: {error}", address(host));
                    found = (Told::Away, failure(ErrorKind::NotConnected, text));
                }
                Err(_) => {}
            }
        }
        let (standing, error) = found;
        self.tell(standing, Some(&error));
        Err(looks.fail(error))
    }

    /// Asks a session who it is. One that takes no writes is not to be used.
    pub(super) async fn who(&self, session: &mut PgConnection) -> Result<Process, Error> {
        let (process, is_read_only) = within(PING_TIMEOUT, who(session)).await?;
        if is_read_only && !self.reads {
            return Err(read_only());
        }
        self.history.at_server(process.server);
        Ok(process)
    }

    /// What a session met speaks against the database: it is looked at before the next one is used.
    pub(super) fn distrust(&self, is_read_only: bool) {
        self.trusted.store(false, Ordering::Release);
        if is_read_only {
            self.tell(Told::ReadOnly, None);
        }
    }

    /// Whether it took writes when it was last looked at, and nothing has spoken against it since.
    pub(super) fn is_trusted(&self) -> bool {
        self.trusted.load(Ordering::Acquire)
    }

    /// One line for each change.
    fn tell(&self, now: Told, why: Option<&Error>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told == now {
            return;
        }
        let before = std::mem::replace(&mut *told, now);
        drop(told);
        let why = why.map(tracing::field::display);
        match now {
            Told::Writable if before == Told::Nothing => {}
            Told::Writable => tracing::warn!("the database takes writes again"),
            Told::ReadOnly => tracing::warn!("{READ_ONLY}; nothing is taken until it is not"),
            Told::Away | Told::Nothing => tracing::warn!(why, "the database cannot be reached"),
        }
    }

    /// A number that changes with each commit of unknown fate.
    pub(super) fn doubts(&self) -> u64 {
        self.doubts.load(Ordering::Acquire)
    }

    /// A commit may stand on this server alone. Nothing is read until a later one has been confirmed.
    pub(super) fn doubt(&self) {
        let before = self.doubts.fetch_add(1, Ordering::AcqRel);
        if self.proven.load(Ordering::Acquire) >= before && !self.reads {
            tracing::warn!(
                "it is not known whether a commit took place, here and on the standby; nothing is read \
                 until a later one is confirmed"
            );
        }
    }

    /// Where a commit is of unknown fate, makes one that covers it. Waits for no longer than a moment.
    pub(super) async fn prove(&self, session: &mut PgConnection) -> Result<(), Error> {
        if self.proven.load(Ordering::Acquire) >= self.doubts() || self.reads {
            return Ok(());
        }
        let mut looks = self.looks.lock().await;
        let doubts = self.doubts();
        if self.proven.load(Ordering::Acquire) >= doubts {
            return Ok(());
        }
        looks.recently()?;
        match write(session).await {
            Ok(()) => {
                self.proven.fetch_max(doubts, Ordering::AcqRel);
                tracing::warn!("the database confirms its commits again");
                looks.failed = None;
                Ok(())
            }
            Err(_) => Err(looks.fail(failure(ErrorKind::Other, UNCONFIRMED))),
        }
    }

    /// How many waits were given up and cancelled at the server.
    pub(super) fn given_up(&self) -> u64 {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Whether there are commits of unknown fate that no later one covers.
    pub(super) fn is_unconfirmed(&self) -> bool {
        self.proven.load(Ordering::Acquire) < self.doubts()
    }

    /// Cancels at the server what a session does, for as long as that one is there; `false` when it is gone.
    /// `ends`: ends it.
    pub(super) async fn cancel(
        &self,
        pool: &PgPool,
        process: Process,
        ends: bool,
    ) -> Result<bool, Error> {
        // A commit that waits for its standby takes place by that, here and nowhere else.
        self.doubt();
        let asking = self.asking.lock().await;
        let mut session = self.reserved(pool).await?;
        let asked = sqlx::query(CANCEL).bind(process.pid).bind(ends);
        let asked = asked.bind(process.server);
        let found = within(PING_TIMEOUT, asked.fetch_optional(&mut session)).await?;
        *self.reserve.lock().await = Some(session);
        drop(asking);
        Ok(found.is_some())
    }

    /// Makes a commit that covers those of unknown fate, by the reserved session: who holds another one need
    /// not wait for a third.
    pub(super) async fn prove_apart(&self, pool: &PgPool) -> Result<(), Error> {
        let asking = self.asking.lock().await;
        let mut session = self.reserved(pool).await?;
        self.prove(&mut session).await?;
        *self.reserve.lock().await = Some(session);
        drop(asking);
        Ok(())
    }

    /// The reserved session, or a new one. Connecting holds up nobody who looks at the database.
    async fn reserved(&self, pool: &PgPool) -> Result<PgConnection, Error> {
        let held = self.reserve.lock().await.take();
        match held {
            Some(session) => Ok(session),
            None => within(PING_TIMEOUT, pool.connect_options().connect()).await,
        }
    }

    /// A wait is given up.
    pub(super) fn give_up(&self) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives the reserved session back.
    pub(super) async fn close(&self) {
        if let Some(session) = self.reserve.lock().await.take() {
            let _ = within(PING_TIMEOUT, session.close()).await;
        }
    }
}

impl Looks {
    /// Fails as the last look did, unless that is a while ago.
    fn recently(&self) -> Result<(), Error> {
        match &self.failed {
            Some((at, error)) if at.elapsed() < LOOK_AGAIN => Err(copy(error)),
            _ => Ok(()),
        }
    }

    fn fail(&mut self, error: Error) -> Error {
        let told = copy(&error);
        self.failed = Some((Instant::now(), error));
        told
    }
}

/// The same to be told to another one who waits.
fn copy(error: &Error) -> Error {
    let kind = match error {
        Error::Io(io) => io.kind(),
        _ => ErrorKind::Other,
    };
    let text = match error {
        Error::Io(io) => io.to_string(),
        other => other.to_string(),
    };
    failure(kind, text)
}

/// A session that takes no writes.
fn read_only() -> Error {
    failure(ErrorKind::ReadOnlyFilesystem, READ_ONLY)
}

/// Whether this is what [`Standing::who`] says of a session that takes no writes, or what a server says of a
/// write that it does not take.
pub(super) fn is_read_only(error: &Error) -> bool {
    match error {
        Error::Io(io) => io.kind() == ErrorKind::ReadOnlyFilesystem,
        Error::Database(told) => told.code().as_deref() == Some("25006"),
        _ => false,
    }
}

async fn connected(host: &PgConnectOptions) -> Result<(PgConnection, bool), Error> {
    let mut session = host.connect().await?;
    let (_, is_read_only) = who(&mut session).await?;
    Ok((session, is_read_only))
}

async fn who(session: &mut PgConnection) -> Result<(Process, bool), Error> {
    let row = session.fetch_one(sqlx::raw_sql(WHO)).await?;
    let process = Process {
        pid: row.try_get(0)?,
        server: row.try_get(2)?,
    };
    Ok((process, row.try_get(1)?))
}

/// A write that is confirmed as every commit is.
pub(super) async fn write(session: &mut PgConnection) -> Result<(), Error> {
    let written = super::attentive::attentive(session.execute(sqlx::raw_sql(PROOF)));
    let (_, warned) = within(PING_TIMEOUT, written).await?;
    if warned {
        return Err(failure(ErrorKind::Other, UNCONFIRMED));
    }
    Ok(())
}

/// Where it is: host and port, or the directory of its socket.
fn address(host: &PgConnectOptions) -> String {
    match host.get_socket() {
        Some(directory) => format!("{}:{}", directory.display(), host.get_port()),
        None => format!("{}:{}", host.get_host(), host.get_port()),
    }
}
