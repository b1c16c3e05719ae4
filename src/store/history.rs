//! The history of the database: whether it still has every commit that was confirmed.
//!
//! A restored backup, or a promoted standby that lacks the last second, has forgotten transactions that were
//! sent. A caller's retry would send them a second time. Therefore a server that this process has not seen
//! before is compared with what was seen committed, and its system identifier and timeline with those that
//! somebody has accepted. Until that is done nothing is submitted.
//!
//! Not responsible for: refusing the submits; `dispatch` and the API ask [`Store::history`].

use super::{Store, StoreError};
use domain::{ShopId, Timestamp};
use sqlx::types::time::OffsetDateTime;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// For how long submits are looked up first after a restore: longer than the gateway's webhooks and its keys
/// live.
const AFTER_RESTORE: Duration = Duration::from_secs(36 * 3600);

/// How long a submit waits for a history that is being read.
const READ_TIMEOUT: Duration = Duration::from_secs(3);

/// The pause between two reads of a history that is not accepted, or could not be read.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// The pause between two reads of one that is: an operator may have decided otherwise at another replica.
const READ_INTERVAL: Duration = Duration::from_secs(10);

/// What the operator says of a database with a new history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// It has every commit that was confirmed.
    Failover,
    /// It may lack some: each transaction is looked up before it is submitted, for 36 h.
    Restore,
}

impl Acceptance {
    fn word(self) -> &'static str {
        match self {
            Self::Failover => "failover",
            Self::Restore => "restore",
        }
    }
}

/// Whether the database has every commit that was confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// It has, as far as anybody knows.
    Whole,
    /// It may lack some, and the operator knows.
    Restored {
        /// When the operator said so.
        at: Timestamp,
        /// Until when each transaction is looked up before it is submitted.
        until: Timestamp,
    },
    /// Nobody has said where this system identifier or timeline comes from.
    Unknown,
    /// It lacks a commit that a process of the service has seen confirmed.
    Behind,
}

impl History {
    /// Whether submits may leave.
    pub fn is_accepted(self) -> bool {
        matches!(self, Self::Whole | Self::Restored { .. })
    }
}

/// Why nothing is submitted while the history is not accepted, for callers.
pub const NOT_ACCEPTED: &str = "the database may lack transactions that were sent, after a restore or a failover; \
    nothing is submitted until an operator has accepted it";

/// What one process knows of the history of its database.
pub(super) struct KnownHistory {
    /// When the server that sessions are at began, in microseconds; 0 before the first session.
    server: AtomicI64,
    /// The server of which the history was read, and what it said.
    read: RwLock<(i64, History)>,
    /// The last event of each shop that this process has seen committed.
    heads: Mutex<HashMap<String, i64>>,
    /// Whether a history was accepted since the process began, so that what was seen is a measure.
    has_measure: AtomicBool,
    changed: Notify,
}

impl Default for KnownHistory {
    fn default() -> Self {
        Self {
            server: AtomicI64::new(0),
            read: RwLock::new((0, History::Unknown)),
            heads: Mutex::default(),
            has_measure: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }
}

impl KnownHistory {
    /// A session is at the server that began at this time.
    pub(super) fn at_server(&self, server: i64) {
        if self.server.swap(server, Ordering::AcqRel) != server {
            self.changed.notify_waiters();
        }
    }

    fn server(&self) -> i64 {
        self.server.load(Ordering::Acquire)
    }

    /// What was read of the server that sessions are at now.
    fn known(&self) -> Option<History> {
        let (server, history) = *self.read.read().unwrap_or_else(PoisonError::into_inner);
        (server != 0 && server == self.server()).then_some(history)
    }

    /// Stores what was read, and tells whether it is news.
    fn learn(&self, server: i64, history: History) -> bool {
        let mut read = self.read.write().unwrap_or_else(PoisonError::into_inner);
        let is_news = *read != (server, history);
        *read = (server, history);
        drop(read);
        if is_news {
            self.changed.notify_waiters();
        }
        is_news
    }

    fn heads(&self) -> MutexGuard<'_, HashMap<String, i64>> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn raise_head(&self, shop: &str, last_seq: i64) {
        let mut heads = self.heads();
        match heads.get_mut(shop) {
            Some(head) => *head = last_seq.max(*head),
            None => drop(heads.insert(shop.to_owned(), last_seq)),
        }
    }

    /// What was seen of a time that is lost is no measure any more.
    fn forget(&self) {
        self.heads().clear();
        self.has_measure.store(false, Ordering::Release);
    }

    /// Whether an operator has accepted a restore that this process has not heard of.
    fn is_new_restore(&self, history: History) -> bool {
        let (_, last) = *self.read.read().unwrap_or_else(PoisonError::into_inner);
        matches!(history, History::Restored { .. }) && last != history
    }
}

/// The server's identity, and what was accepted of it.
struct Found {
    system_id: i64,
    timeline: i32,
    accepted: Option<String>,
    accepted_at: Option<OffsetDateTime>,
    lookups_until: Option<OffsetDateTime>,
    /// Some history was accepted: the table is not new.
    is_begun: bool,
}

impl Store {
    /// What is known of the database's history. Waits a moment where it is being read.
    pub async fn history(&self) -> History {
        let known = async {
            loop {
                let changed = self.known_history.changed.notified();
                match self.known_history.known() {
                    Some(history) => break history,
                    None => changed.await,
                }
            }
        };
        let known = timeout(READ_TIMEOUT, known).await;
        known.unwrap_or(History::Unknown)
    }

    /// The same for a gauge; `None` while it has not been read.
    pub fn history_now(&self) -> Option<History> {
        self.known_history.known()
    }

    /// The events of a shop up to this number were seen committed.
    pub fn saw_committed(&self, shop: &ShopId, last_seq: i64) {
        self.known_history.raise_head(shop.as_str(), last_seq);
    }

    /// Reads the history again and again, as often as it may have changed. Never completes.
    pub async fn follow_history(&self, shops: &[String]) {
        let known = &self.known_history;
        loop {
            let changed = known.changed.notified();
            let pause = match self.read_history(shops, None).await {
                Ok(history) if history.is_accepted() => READ_INTERVAL,
                Ok(_) | Err(_) => RETRY_INTERVAL,
            };
            if known.known().is_some() {
                let _ = timeout(pause, changed).await;
            } else {
                tokio::time::sleep(RETRY_INTERVAL / 10).await;
            }
        }
    }

    /// Reads the history of the server that sessions are at, and accepts it where that can be told.
    /// `told`: what the operator says of it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn read_history(
        &self,
        shops: &[String],
        told: Option<Acceptance>,
    ) -> Result<History, StoreError> {
        let known = &self.known_history;
        let found = match found(self).await {
            Ok(found) => found,
            Err(error) if error.is_not_provided() => return Ok(self.cannot_follow(&error)),
            Err(error) => return Err(error),
        };
        // The session that has just answered was asked at which server it is.
        let server = known.server();
        if told.is_some() || known.is_new_restore(found.history()) {
            known.forget();
        }
        let is_new = known.known().is_none() || !known.has_measure.load(Ordering::Acquire);
        let history = self.judge(&found, told).await?;
        if known.learn(server, history) {
            log(&found, history);
        }
        if history.is_accepted() && is_new {
            for (shop, seq) in heads(self, shops).await? {
                known.raise_head(&shop, seq);
            }
            known.has_measure.store(true, Ordering::Release);
        }
        Ok(history)
    }

    async fn judge(&self, found: &Found, told: Option<Acceptance>) -> Result<History, StoreError> {
        if let Some(told) = told {
            return accept(self, found, told.word(), true).await;
        }
        if is_behind(self).await? {
            return accept(self, found, "behind", true).await;
        }
        match &found.accepted {
            Some(_) => Ok(found.history()),
            None if !found.is_begun => accept(self, found, "first", false).await,
            None if self.known_history.has_measure.load(Ordering::Acquire) => {
                accept(self, found, "failover", false).await
            }
            // A process that has seen nothing cannot tell.
            None => Ok(History::Unknown),
        }
    }

    /// Some managed servers do not show their timeline. Everything else works there.
    fn cannot_follow(&self, error: &StoreError) -> History {
        let known = &self.known_history;
        if known.learn(known.server(), History::Whole) {
            tracing::warn!(
                error = error.chain(),
                "database does not show its timeline; after a restore start with --after-restore"
            );
        }
        History::Whole
    }
}

/// One line for each change.
fn log(found: &Found, history: History) {
    let (system_id, timeline) = (found.system_id, found.timeline);
    match history {
        History::Whole => tracing::info!(system_id, timeline, "database history accepted"),
        History::Restored { until, .. } => tracing::warn!(
            system_id,
            timeline,
            until = until.to_rfc3339(),
            "database was restored; each transaction is looked up before it is submitted"
        ),
        History::Unknown => tracing::error!(
            system_id,
            timeline,
            "database has an unknown system identifier or timeline; nothing is submitted until serve is \
             started with --after-restore or --after-failover"
        ),
        History::Behind => tracing::error!(
            system_id,
            timeline,
            "database lacks commits that were confirmed; nothing is submitted until serve is started with \
             --after-restore"
        ),
    }
}

impl Found {
    fn history(&self) -> History {
        match (
            self.accepted.as_deref(),
            self.accepted_at,
            self.lookups_until,
        ) {
            (Some("restore"), Some(at), Some(until)) => match until > leaves::clock::now_utc() {
                true => History::Restored {
                    at: at.into(),
                    until: until.into(),
                },
                false => History::Whole,
            },
            (Some("first" | "failover"), _, _) => History::Whole,
            (Some(_), _, _) => History::Behind,
            (None, _, _) => History::Unknown,
        }
    }
}

async fn found(store: &Store) -> Result<Found, StoreError> {
    Ok(sqlx::query_as!(
        Found,
        r#"-- history
        SELECT s.system_identifier AS "system_id!", w.timeline AS "timeline!", h.accepted_as AS "accepted?",
            h.accepted_at AS "accepted_at?", h.lookups_until AS "lookups_until?",
            EXISTS (SELECT FROM database_histories) AS "is_begun!"
        FROM pg_control_system() s
        CROSS JOIN LATERAL (
            SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer AS timeline
        ) w
        LEFT JOIN database_histories h ON h.system_id = s.system_identifier AND h.timeline = w.timeline"#
    )
    .fetch_one(store.pool())
    .await?)
}

/// Writes down how a history is accepted. `decides`: whatever stands there already. The look-ups of a restore
/// end when they were first to end, however many replicas start meanwhile.
async fn accept(
    store: &Store,
    found: &Found,
    word: &str,
    decides: bool,
) -> Result<History, StoreError> {
    let row = sqlx::query!(
        "-- accept_history
        INSERT INTO database_histories AS h (system_id, timeline, accepted_as, lookups_until)
        VALUES ($1, $2, $3, CASE WHEN $3 = 'restore' THEN clock_timestamp() + make_interval(secs => $4) END)
        ON CONFLICT (system_id, timeline) DO UPDATE SET (accepted_as, accepted_at, lookups_until) = (
            SELECT e.accepted_as, e.accepted_at, e.lookups_until FROM (VALUES
                (true, excluded.accepted_as, excluded.accepted_at, excluded.lookups_until),
                (false, h.accepted_as, h.accepted_at, h.lookups_until)
            ) AS e(is_new, accepted_as, accepted_at, lookups_until)
            WHERE e.is_new = ($5 AND NOT (excluded.accepted_as = 'restore' AND h.accepted_as = 'restore'
                AND h.lookups_until > clock_timestamp())))
        RETURNING accepted_as, accepted_at, lookups_until",
        found.system_id,
        found.timeline,
        word,
        AFTER_RESTORE.as_secs_f64(),
        decides
    )
    .fetch_one(store.pool())
    .await?;
    let now = Found {
        accepted: Some(row.accepted_as),
        accepted_at: Some(row.accepted_at),
        lookups_until: row.lookups_until,
        ..*found
    };
    Ok(now.history())
}

/// Whether the feed of a shop is shorter than it was seen committed.
async fn is_behind(store: &Store) -> Result<bool, StoreError> {
    let heads = store.known_history.heads().clone();
    if heads.is_empty() {
        return Ok(false);
    }
    let (shops, heads): (Vec<String>, Vec<i64>) = heads.into_iter().unzip();
    let is_behind = sqlx::query_scalar!(
        r#"-- is_behind
        SELECT EXISTS (
            SELECT FROM UNNEST($1::text[], $2::bigint[]) AS seen(shop_id, seq)
            LEFT JOIN shop_feeds f ON f.shop_id = seen.shop_id
            WHERE coalesce(f.last_seq, 0) < seen.seq
        ) AS "is_behind!""#,
        &shops,
        &heads
    );
    Ok(is_behind.fetch_one(store.pool()).await?)
}

async fn heads(store: &Store, shops: &[String]) -> Result<Vec<(String, i64)>, StoreError> {
    let rows = sqlx::query!(
        "-- feed_heads
        SELECT shop_id, last_seq FROM shop_feeds WHERE shop_id = ANY($1)",
        shops
    )
    .fetch_all(store.pool())
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.shop_id, row.last_seq))
        .collect())
}
