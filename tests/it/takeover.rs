//! The danger: a release whose rules are stricter opens what was closed, sends it again, or hides that it differs.
//!
//! `tests/data/takeover/old.sql.gz` is a database as the last release left it; `make.py` beside it made it.

use crate::audit::audit;
use crate::world::{Database, Setup, World, eventually_within};
use audit::AuditReport;
use flate2::read::GzDecoder;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgPool, PgPoolCopyExt};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::process::Command;
use std::time::Duration;
use tokio::time::Instant;

const DUMP: &[u8] = include_bytes!("../data/takeover/old.sql.gz");

/// The last migration of that release.
const LAST: i64 = 20_261_128_000_000;

/// What ended by rules that are others now, three of each.
const ODD: [&str; 9] = [
    "anothers", "misnamed", "mode", "read404", "late422", "unique", "unlike", "troubled", "put429",
];

/// The month in which the dump was made: where its evidence lies.
const MONTH: &str = "CREATE TABLE IF NOT EXISTS evidence_2026_12 PARTITION OF evidence
    FOR VALUES FROM (uuid_v7_floor('2026-12-01Z')) TO (uuid_v7_floor('2027-01-01Z'))";

/// Makes the schema of that release, and puts its rows in.
async fn load(pool: &PgPool) {
    let mut old = sqlx::migrate!("./migrations");
    let known = old.migrations.iter().filter(|m| m.version <= LAST);
    old = Migrator {
        migrations: known.cloned().collect::<Vec<_>>().into(),
        ..old
    };
    old.run(pool).await.unwrap();
    sqlx::raw_sql(MONTH).execute(pool).await.unwrap();
    let mut text = String::new();
    GzDecoder::new(DUMP).read_to_string(&mut text).unwrap();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(copy) = line.strip_suffix(" FROM stdin;") else {
            continue;
        };
        let rows: Vec<&str> = lines
            .by_ref()
            .take_while(|row| *row != "\\.")
            .filter(|row| !row.is_empty())
            .collect();
        if rows.is_empty() {
            continue;
        }
        let mut into = pool
            .copy_in_raw(&format!("{copy} FROM STDIN"))
            .await
            .unwrap();
        into.send((rows.join("\n") + "\n").into_bytes())
            .await
            .unwrap();
        into.finish().await.unwrap();
    }
}

/// How each stands: name, shop, state and uid of what is final.
async fn ends(database: &Database) -> BTreeMap<String, String> {
    let rows = database.all::<String>(
        "SELECT id || '=' || state || ' ' || coalesce(uid, '-') FROM transactions WHERE finalized_at IS NOT NULL",
    );
    let rows = rows.await.into_iter();
    rows.map(|row| {
        let (id, end) = row.split_once('=').unwrap();
        (id.to_owned(), end.to_owned())
    })
    .collect()
}

/// Writes beside the migrations, as replicas do, and tells the longest wait.
async fn write_beside(pool: PgPool, stop: tokio::sync::oneshot::Receiver<()>) -> Duration {
    let mut longest = Duration::ZERO;
    let mut stop = std::pin::pin!(stop);
    loop {
        let began = Instant::now();
        for write in [
            "UPDATE transactions SET updated_at = updated_at WHERE id IN (SELECT id FROM transactions LIMIT 20)",
            "UPDATE due_checks SET due_at = due_at WHERE transaction_id IN (SELECT transaction_id FROM due_checks LIMIT 20)",
            "UPDATE shop_controls SET tokens = tokens",
            "UPDATE discrepancies SET reason = reason",
        ] {
            sqlx::raw_sql(write).execute(&pool).await.unwrap();
        }
        longest = longest.max(began.elapsed());
        tokio::select! {
            _ = &mut stop => return longest,
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
        }
    }
}

/// Migrates by the real binary, under load. Gives the longest time for which a writer waited.
async fn migrate(world: &World) -> Duration {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.toml");
    std::fs::write(&path, world.direct_config_text()).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let beside = tokio::spawn(write_beside(world.database.pool.clone(), stopped));
    // Two at once, as pods that migrate when they start.
    let one = || {
        let path = path.clone();
        tokio::task::spawn_blocking(move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_reconciler"));
            command
                .args(["migrate", "--config"])
                .arg(&path)
                .output()
                .unwrap()
        })
    };
    let (first, second) = (one(), one());
    for migrated in [first.await.unwrap(), second.await.unwrap()] {
        assert!(migrated.status.success(), "{migrated:?}");
    }
    stop.send(()).unwrap();
    beside.await.unwrap()
}

/// Which of the odd ones the audit names, by their kinds and numbers.
fn named(report: &AuditReport) -> BTreeSet<String> {
    let names = report.decided.iter().filter_map(|d| d.tracking_id.clone());
    names
        .filter(|name| ODD.iter().any(|odd| name.starts_with(odd)))
        .collect()
}

fn all_odd() -> BTreeSet<String> {
    let each = ODD
        .iter()
        .flat_map(|odd| (0..3).map(move |n| format!("{odd}-{n}")));
    each.collect()
}

/// Fails unless the audit tells all odd ones apart, and nothing else is wrong.
async fn is_told_apart(world: &World) {
    let report = audit(world).await;
    assert_eq!(named(&report), all_odd(), "{}", report.table());
    let of_ours = |name: &Option<String>| name.as_deref().is_some_and(|n| n.starts_with("load"));
    assert!(!report.decided.iter().any(|d| of_ours(&d.tracking_id)));
    assert!(report.is_clean(), "{}", report.table());
    assert_eq!(report.decided_before() as usize, report.decided.len());
    let table = report.table();
    for name in all_odd() {
        let lines = table
            .lines()
            .filter(|line| line.contains(&format!(" {name} ")));
        assert_eq!(lines.count(), 1, "{name} in {table}");
    }
}

/// The abilities that nothing taught are forgotten.
async fn forgets(database: &Database) {
    let known = "SELECT count(*) FROM shop_abilities";
    assert_eq!(database.one::<i64>(known).await, 0);
    let words = "SELECT count(*) FROM shop_controls WHERE capabilities LIKE '%own_tracking_id%'
        OR lookup_worked_at IS NOT NULL";
    assert_eq!(database.one::<i64>(words).await, 0);
}

/// What a program of the release before would write is refused where this one has written, or waits sealed: it
/// would be sent as it was redacted, or opened.
async fn older_programs_are_refused(database: &Database) {
    const ENDED: &str =
        "UPDATE transactions SET state = 'in_doubt', finalized_at = NULL, summary = '{}'
        WHERE tracking_id = 'unlike-0' AND origin = 'api'";
    const STAMPED: &str = "UPDATE transactions SET state = 'submitting', summary = '{}' WHERE tracking_id = 'waits-0'";
    const SEALED: &str =
        "INSERT INTO waiting_requests SELECT shop_id, id, 'key', 'x' FROM transactions
        WHERE tracking_id = 'waits-0' AND summary NOT LIKE '{\"wr\":%'";
    let tried = async |before: &'static str, write: &'static str| {
        let mut tx = database.pool.begin().await.unwrap();
        if !before.is_empty() {
            sqlx::query(before).execute(&mut *tx).await.unwrap();
        }
        let done = sqlx::query(write).execute(&mut *tx).await;
        done.map(|done| done.rows_affected())
            .map_err(|error| error.to_string())
    };
    let refused = |done: Result<u64, String>| {
        done.is_err_and(|error| error.contains("an earlier release may not"))
    };
    assert!(refused(tried("", ENDED).await));
    assert!(refused(tried(SEALED, STAMPED).await));
}

/// Each odd one is kept, told, and looked up once it is taken over.
async fn are_looked_up(world: &World) {
    const OPEN: &str = "SELECT t.tracking_id FROM transactions t
        WHERE t.tracking_id ~ '^(anothers|misnamed|mode|read404|late422|unique|unlike|troubled|put429)-'
        AND t.origin = 'api' AND NOT EXISTS (SELECT FROM evidence a JOIN evidence q
            ON q.shop_id = a.shop_id AND q.transaction_id = a.transaction_id AND q.position > a.position
            WHERE a.shop_id = t.shop_id AND a.transaction_id = t.id AND a.subject = 'decided_before'
            AND q.channel IN ('query', 'task_result', 'task_status'))";
    const TOLD: &str = "SELECT count(*) FROM discrepancies d JOIN transactions t
        ON t.shop_id = d.shop_id AND t.id = d.transaction_id
        WHERE d.kind = 'status_conflict' AND d.detail LIKE 'an earlier release ended it as%'
        AND t.tracking_id ~ '^(anothers|misnamed|mode|read404|late422|unique|unlike|troubled|put429)-'";
    // The sweep looks at a shop for half a second every five.
    let looked_up = eventually_within(Duration::from_secs(180), async || {
        let left = world.database.all::<String>(OPEN).await;
        left.is_empty().then_some(())
    });
    let left = match looked_up.await {
        Some(()) => Vec::new(),
        None => world.database.all::<String>(OPEN).await,
    };
    assert!(left.is_empty(), "not looked up: {left:?}");
    let told = eventually_within(Duration::from_secs(60), async || {
        (world.database.one::<i64>(TOLD).await == 27).then_some(())
    });
    let told = (told.await.is_some(), world.database.one::<i64>(TOLD).await);
    assert_eq!(told, (true, 27));
}

/// No request of before is on the wire once more: what was put off for an hour is the only one that may be.
async fn nothing_is_sent(world: &World) {
    let counts = world.twin().get("counts").await;
    for row in counts["tracking_ids"].as_array().unwrap() {
        let name = row["tracking_id"].as_str().unwrap();
        if row["posts"] == 0 {
            continue;
        }
        assert!(
            name.starts_with("load") || name.starts_with("waits"),
            "{row}"
        );
    }
}

#[test]
fn a_database_of_the_last_release_is_upgraded_under_load() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(async {
        let database = Database::empty().await;
        load(&database.pool).await;
        database
    });
    let setup = Setup::default()
        .impatient()
        .with_shop("1002", "secret-of-1002")
        .database(&database.url)
        .service_down();
    setup.run(async |world| {
        let before = ends(&world.database).await;
        let count = "SELECT count(*) FROM transactions";
        assert!(before.len() > 900 && world.database.one::<i64>(count).await >= 1000);
        let longest = migrate(world).await;
        assert!(
            longest < Duration::from_secs(1),
            "writers waited for {longest:?}"
        );
        forgets(&world.database).await;
        is_told_apart(world).await;
        let process = world.process().await;
        for n in 0..100 {
            world.pay_async(&format!("load-{n}")).await.expect(202);
        }
        are_looked_up(world).await;
        for n in 0..100 {
            world.until_state(&format!("load-{n}"), "successful").await;
        }
        let after = ends(&world.database).await;
        let changed: Vec<_> = before
            .iter()
            .filter(|(id, end)| after.get(*id) != Some(*end))
            .collect();
        assert!(changed.is_empty(), "{changed:?}");
        nothing_is_sent(world).await;
        older_programs_are_refused(&world.database).await;
        is_told_apart(world).await;
        drop(process);
    });
    runtime.block_on(database.remove());
}

/// The statements of a migration, without its comments.
fn statements(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("--"));
    let code = lines.collect::<Vec<_>>().join("\n");
    code.split(';').map(str::to_owned).collect()
}

#[test]
fn migrations_hold_no_lock_while_they_read() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
    let mut read = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with(".sql") || name.as_str() < "20261201" {
            continue;
        }
        read += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let is_new = |table: &str| text.contains(&format!("CREATE TABLE {table} "));
        for statement in statements(&text) {
            let words: Vec<&str> = statement.split_whitespace().collect();
            let after = |word: &str| {
                words
                    .iter()
                    .position(|w| *w == word)
                    .map(|at| words[at + 1])
            };
            if statement.contains("ADD CONSTRAINT") {
                let added = statement.matches("ADD CONSTRAINT").count();
                assert_eq!(
                    added,
                    statement.matches("NOT VALID").count(),
                    "{name}: {statement}"
                );
            }
            if statement.contains("CREATE INDEX") || statement.contains("CREATE UNIQUE INDEX") {
                let table = after("ON").unwrap();
                let online =
                    statement.contains("CONCURRENTLY") && text.starts_with("-- no-transaction");
                assert!(is_new(table) || online, "{name}: {statement}");
            }
            assert!(!statement.contains("SET NOT NULL"), "{name}: {statement}");
        }
        let both = text.contains("ADD CONSTRAINT") && text.contains("VALIDATE CONSTRAINT");
        assert!(!both, "{name} adds and validates in one transaction");
    }
    assert!(read > 10);
}
