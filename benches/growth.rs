//! Growth: the same load with a small and with a large history, alternately, so that a temporary
//! slowdown of the machine affects both.

use crate::environment::{self, BenchEnvironment};
use crate::load::{self, LoadMode, Outcome};
use crate::report::{Report, in_pairs, median};
use crate::{NO_CHECKS, RunSize, bodies, database_costs, execute, follow, quick};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use testkit::postgres::PostgresCluster;

/// Numbers of final transactions in the two databases.
pub struct HistorySizes {
    /// Small history.
    pub little: usize,
    /// Large history.
    pub much: usize,
}

/// Rounds per side: short ones, so that compared rounds are close in time.
const ROUNDS: usize = 8;

/// Loads what a busy server has in memory. Only the gateway's keys arrive in random order.
const WARM: &str = "CREATE EXTENSION IF NOT EXISTS pg_prewarm; SELECT pg_prewarm('uids_pkey')";

/// Number of warm-up webhooks per measured webhook.
///
/// After the warm-up, each server process has touched most pages of that index, and most pages were
/// written since the last checkpoint, as on a server that receives hundreds of webhooks per second.
/// With fewer webhooks, a change of a page would more often write a full page image.
pub const WARMING: usize = 4;

/// Number of followed transactions.
const OPEN: usize = 10_000;

/// Applies the load to a database with a small and one with a large history, alternately.
pub async fn run(
    cluster: &PostgresCluster,
    gateway: SocketAddr,
    size: &RunSize,
    histories: &HistorySizes,
    report: &mut Report,
) {
    let sides = [("little", histories.little), ("much", histories.much)];
    for (name, rows) in sides {
        with_history(cluster, name, rows).await;
    }
    execute(&cluster.url("postgres"), "CHECKPOINT").await;
    let hooks = Arc::new(bodies::webhooks(size.payments * (1 + WARMING)));
    let submits = Arc::new((0..size.submits * ROUNDS).map(submit).collect::<Vec<_>>());
    let mut webhooks = [Vec::new(), Vec::new()];
    let mut submitted = [Vec::new(), Vec::new()];
    let mut costs = Vec::new();
    // The server processes of each side live as long as its service: their page mappings of the
    // shared memory are part of a large history.
    let mut services = Vec::new();
    for (name, _) in sides {
        services.push(warmed_service(&cluster.url(name), gateway, &hooks, size).await);
    }
    for round in 0..ROUNDS {
        for (side, (name, _)) in sides.iter().enumerate() {
            let running = &services[side];
            let hooks_of = part(size.payments, round);
            let items = hooks_of.len();
            database_costs::begin(&cluster.url(name)).await;
            webhooks[side].push(wave(running, &hooks, hooks_of, size.connections).await);
            if round + 1 == ROUNDS {
                costs.push(database_costs::end(&cluster.url(name), items).await);
            }
            let submits_of = part(submits.len(), round);
            submitted[side].push(
                load::run(
                    running.at.api,
                    Arc::clone(&submits),
                    submits_of,
                    64,
                    LoadMode::Closed,
                    202,
                )
                .await,
            );
        }
    }
    drop(services);
    let mut followed = Vec::new();
    for (name, _) in sides {
        let time = Duration::from_secs(if quick(size) { 10 } else { 30 });
        followed.push(follow::one(&cluster.url(name), gateway, OPEN, time).await);
    }
    report.section(
        "growth",
        told(
            histories,
            &webhooks,
            &submitted,
            &costs,
            &followed,
            size.payments * WARMING,
        ),
    );
    for (name, _) in sides {
        cluster.drop_database(name).await.expect("no database");
    }
}

/// Creates a database with payments that wait for their webhook, and with `rows` final
/// transactions.
async fn with_history(cluster: &PostgresCluster, name: &str, rows: usize) {
    cluster
        .create_from_template("open", name)
        .await
        .expect("a copy");
    make(&cluster.url(name), rows).await;
    execute(&cluster.url(name), WARM).await;
}

/// Starts a service and sends it the warm-up webhooks.
async fn warmed_service(
    database: &str,
    gateway: SocketAddr,
    hooks: &Arc<Vec<Vec<u8>>>,
    size: &RunSize,
) -> BenchEnvironment {
    let running = environment::service(database, gateway, NO_CHECKS).await;
    let before = size.payments..hooks.len();
    let taken = wave(&running, hooks, before, size.connections).await;
    assert!(taken.unexpected.is_empty(), "{:?}", taken.unexpected);
    running
}

fn told(
    histories: &HistorySizes,
    webhooks: &[Vec<Outcome>; 2],
    submitted: &[Vec<Outcome>; 2],
    costs: &[Value],
    followed: &[Value],
    warming: usize,
) -> Value {
    let rates = |side: &[Outcome]| {
        side.iter()
            .map(|o| o.per_second().round())
            .collect::<Vec<_>>()
    };
    let compared = |[little, much]: &[Vec<Outcome>; 2]| {
        let middle = |side: &[Outcome]| median(side.iter().map(Outcome::per_second));
        let unexpected = little.iter().chain(much).map(|o| o.unexpected.len());
        json!({
            "little_per_s": middle(little).round(), "much_per_s": middle(much).round(),
            "much_to_little": in_pairs(much, little),
            "little_rounds": rates(little), "much_rounds": rates(much),
            "unexpected": unexpected.sum::<usize>(),
        })
    };
    json!({
        "little_transactions": histories.little, "much_transactions": histories.much,
        "webhooks_before": warming,
        "webhook": compared(webhooks), "submit": compared(submitted),
        "webhook_cost_little": costs[0], "webhook_cost_much": costs[1],
        "follow_little": followed[0], "follow_much": followed[1],
    })
}

fn submit(n: usize) -> Vec<u8> {
    // Uses tracking IDs other than those of the measured payments.
    bodies::submit(50_000_000 + n)
}

fn part(all: usize, round: usize) -> Range<usize> {
    all * round / ROUNDS..all * (round + 1) / ROUNDS
}

/// The first tenth is warm-up for the new process.
async fn wave(
    running: &BenchEnvironment,
    all: &Arc<Vec<Vec<u8>>>,
    part: Range<usize>,
    connections: usize,
) -> Outcome {
    let warm = part.start + part.len() / 10;
    let at = running.at.hooks;
    load::run(
        at,
        Arc::clone(all),
        part.start..warm,
        connections,
        LoadMode::Closed,
        200,
    )
    .await;
    load::run(
        at,
        Arc::clone(all),
        warm..part.end,
        connections,
        LoadMode::Closed,
        200,
    )
    .await
}

/// Creates final transactions of the last 30 days, each with a uid, a piece of evidence and an
/// event.
///
/// Bodies are short, because old transactions are found by key only. Each table is filled in the
/// order of its key, two tables at a time.
async fn make(database: &str, rows: usize) {
    let [transactions, evidence, events, uids] = tables(rows);
    tokio::join!(execute(database, &transactions), async {
        execute(database, &evidence).await;
        execute(database, &events).await;
        execute(database, &uids).await;
    });
    execute(database, "VACUUM ANALYZE").await;
}

fn tables(rows: usize) -> [String; 4] {
    let shop = bodies::SHOP;
    // All tables use the same times.
    let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    let old = format!(
        "(SELECT n, at, overlay(md5(n::text) PLACING '4' FROM 13 FOR 1)::uuid::text AS uid, (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0')
                || '7' || left(md5(n::text), 3) || '8' || right(md5(n::text), 15))::uuid AS id
            FROM (SELECT n, to_timestamp({now}) - interval '30 days' * (1 - n / {rows}::float8) AS at
                FROM generate_series(1, {rows}) n) times) old"
    );
    [
        format!(
            "INSERT INTO transactions (shop_id, id, tracking_id, type, origin, amount, currency, card_data,
                fingerprint, fingerprint_key, created_at, state, state_since, uid, summary, sequence,
                updated_at, finalized_at, evidence_count, evidence_head)
            SELECT '{shop}', id, 'old-order-' || n, 'payment', 'api', 3245, 'EUR', false, sha256('a'), 'k', at,
                'successful', at, uid, '{{}}', 3, at, at, 1, sha256('b') FROM {old}"
        ),
        format!(
            "INSERT INTO evidence (shop_id, transaction_id, id, position, channel, verdict, received_at, note,
                body, body_sha256, chain)
            SELECT '{shop}', id, id, 1, 'webhook', 'applied', at, 'successful', 'x', sha256('c'), sha256('d')
            FROM {old}"
        ),
        format!(
            "INSERT INTO events (shop_id, seq, type, at, transaction_id, payload)
            SELECT '{shop}', n - {rows} - 1, 'transaction.finalized', at, id, '{{}}' FROM {old}"
        ),
        format!("INSERT INTO uids SELECT '{shop}', uid, id, uid::uuid FROM {old} ORDER BY old.uid"),
    ]
}
