//! Growth: the same load beside little history and beside much of it, in turn, so that a machine that is
//! slower for a while is so for both.

use crate::ground::{self, Running};
use crate::load::{self, Loop, Outcome};
use crate::report::{Report, in_pairs, median};
use crate::{NO_CHECKS, Size, bodies, costs, execute, follow, quick};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use testkit::postgres::Cluster;

/// How many transactions the larger history has, and how many the smaller.
pub struct Histories {
    /// The smaller.
    pub little: usize,
    /// The larger.
    pub much: usize,
}

/// Rounds of each side: short ones, so that what is compared lies close together.
const ROUNDS: usize = 8;

/// What a server at work holds in memory: of all keys only those of the gateway come in no order.
const WARM: &str = "CREATE EXTENSION IF NOT EXISTS pg_prewarm; SELECT pg_prewarm('uids_pkey')";

/// Webhooks that come before anything is measured, for each that is measured. By then most pages of that
/// index have been met by each server process and written since the last checkpoint, as at a server that takes
/// hundreds of webhooks a second; beside fewer a change of a page more often writes all of it.
pub const WARMING: usize = 4;

/// How many transactions are followed.
const OPEN: usize = 10_000;

/// Loads a database with little and one with much history, in turn.
pub async fn run(
    cluster: &Cluster,
    gateway: SocketAddr,
    size: &Size,
    histories: &Histories,
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
    // Each side's server processes live as long as its service does: what they have in their maps of the
    // shared memory is part of a long history.
    let mut services = Vec::new();
    for (name, _) in sides {
        services.push(warmed_service(&cluster.url(name), gateway, &hooks, size).await);
    }
    for round in 0..ROUNDS {
        for (side, (name, _)) in sides.iter().enumerate() {
            let running = &services[side];
            let hooks_of = part(size.payments, round);
            let items = hooks_of.len();
            costs::begin(&cluster.url(name)).await;
            webhooks[side].push(wave(running, &hooks, hooks_of, size.connections).await);
            if round + 1 == ROUNDS {
                costs.push(costs::end(&cluster.url(name), items).await);
            }
            let submits_of = part(submits.len(), round);
            submitted[side].push(
                load::run(
                    running.at.api,
                    Arc::clone(&submits),
                    submits_of,
                    64,
                    Loop::Closed,
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

/// Makes a database with payments that wait for their webhook, and so many that are history.
async fn with_history(cluster: &Cluster, name: &str, rows: usize) {
    cluster
        .create_from_template("open", name)
        .await
        .expect("a copy");
    make(&cluster.url(name), rows).await;
    execute(&cluster.url(name), WARM).await;
}

/// A service that has taken the webhooks that come before what is measured.
async fn warmed_service(
    database: &str,
    gateway: SocketAddr,
    hooks: &Arc<Vec<Vec<u8>>>,
    size: &Size,
) -> Running {
    let running = ground::service(database, gateway, NO_CHECKS).await;
    let before = size.payments..hooks.len();
    let taken = wave(&running, hooks, before, size.connections).await;
    assert!(taken.unexpected.is_empty(), "{:?}", taken.unexpected);
    running
}

fn told(
    histories: &Histories,
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
    // Other names than those that wait for their webhooks.
    bodies::submit(50_000_000 + n)
}

fn part(all: usize, round: usize) -> Range<usize> {
    all * round / ROUNDS..all * (round + 1) / ROUNDS
}

/// A tenth warms up what a new process has cold.
async fn wave(
    running: &Running,
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
        Loop::Closed,
        200,
    )
    .await;
    load::run(
        at,
        Arc::clone(all),
        warm..part.end,
        connections,
        Loop::Closed,
        200,
    )
    .await
}

/// Final transactions of the last thirty days, each with a uid, a piece of evidence and an event. The
/// bodies are short: what is old is found by its keys or not at all. Each table is filled in the order of
/// its key, two at a time.
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
    // All tables mean the same moments.
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
