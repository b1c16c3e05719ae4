//! Rules that hold at the end of every integration test.

use crate::world::World;
use domain::{ShopId, derive};
use reconciler::store::Store;
use reconciler::store::read::{TransactionQuery, list};

/// Returns the broken rules, one sentence each.
pub async fn broken(world: &World) -> Vec<String> {
    let mut broken = Vec::new();
    if world.twin().is_up() {
        for tracking_id in world.twin().sent_too_often().await {
            // A shop that trusts `RequestID` may resend under the same `RequestID` only.
            let counts = world.twin().counts(&tracking_id).await;
            if !world.setup.trusts_request_id() || counts["one_request_id"] != true {
                broken.push(format!(
                    "submitted more than once without a refusal: {counts}"
                ));
            }
        }
    }
    for (rule, sql) in RULES {
        let rows: Vec<String> = world.database.all(sql).await;
        broken.extend(rows.into_iter().map(|row| format!("{rule}: {row}")));
    }
    broken.extend(states(world).await);
    broken.extend(second_opinion(world).await);
    broken
}

/// Rules as SQL. Each statement lists the violations of its rule. It reads all compared values at
/// once, because the service is still running.
const RULES: [(&str, &str); 9] = [
    (
        "an open transaction has no due check",
        "SELECT t.id || ' is ' || t.state FROM transactions t
         WHERE t.finalized_at IS NULL AND NOT EXISTS (SELECT FROM due_checks d
            WHERE d.shop_id = t.shop_id AND d.transaction_id = t.id)",
    ),
    (
        "a due check has another state",
        "SELECT t.id || ' is ' || t.state || ', not ' || d.state FROM transactions t
         JOIN due_checks d ON d.shop_id = t.shop_id AND d.transaction_id = t.id
         WHERE d.state <> t.state OR d.since <> t.state_since",
    ),
    (
        "the positions of evidence have a gap",
        "SELECT t.id || ' has ' || count(e.id) || ' of ' || t.evidence_count FROM transactions t
         LEFT JOIN evidence e ON e.shop_id = t.shop_id AND e.transaction_id = t.id
         GROUP BY t.shop_id, t.id
         HAVING count(e.id) <> t.evidence_count OR min(e.position) <> 1
            OR max(e.position) <> t.evidence_count OR count(DISTINCT e.position) <> count(e.id)",
    ),
    (
        "the chain of evidence does not end in its head",
        "SELECT t.id::text FROM transactions t
         JOIN evidence e ON e.shop_id = t.shop_id AND e.transaction_id = t.id
            AND e.position = t.evidence_count
         WHERE e.chain <> t.evidence_head",
    ),
    (
        "the feed has a gap",
        "SELECT f.shop_id || ': ' || count(e.seq) || ' events up to ' || f.last_seq FROM shop_feeds f
         LEFT JOIN events e ON e.shop_id = f.shop_id
         GROUP BY f.shop_id, f.last_seq, f.first_seq
         HAVING count(e.seq) <> f.last_seq - f.first_seq + 1 OR max(e.seq) <> f.last_seq
            OR min(e.seq) <> f.first_seq",
    ),
    (
        "an event belongs to no feed",
        "SELECT shop_id || ' ' || seq FROM events e
         WHERE NOT EXISTS (SELECT FROM shop_feeds f WHERE f.shop_id = e.shop_id)",
    ),
    (
        "a final state has no event",
        "SELECT t.id || ' is ' || t.state FROM transactions t WHERE t.finalized_at IS NOT NULL
         AND NOT EXISTS (SELECT FROM events e WHERE e.shop_id = t.shop_id
            AND e.transaction_id = t.id AND e.type <> 'discrepancy.opened'
            AND e.payload::json->>'state' = t.state)
         AND NOT EXISTS (SELECT FROM shop_feeds f WHERE f.shop_id = t.shop_id AND f.first_seq > 1)",
    ),
    (
        "an adopted uid belongs to another transaction",
        // What an earlier release has adopted stays so, and is told by the audit.
        "SELECT t.uid FROM transactions t WHERE t.uid IS NOT NULL AND t.summary NOT LIKE '%\"eb\":{%' AND NOT EXISTS (
            SELECT FROM uids u WHERE u.shop_id = t.shop_id AND u.uid = t.uid
            AND coalesce((SELECT m.into_id FROM merges m WHERE m.shop_id = u.shop_id
                AND m.transaction_id = u.transaction_id), u.transaction_id) = t.id)",
    ),
    (
        "evidence is in the default partition",
        "SELECT transaction_id::text FROM evidence_default",
    ),
];

/// Returns the transactions whose stored state differs from the fold.
async fn states(world: &World) -> Vec<String> {
    let store = Store::connect_lazy(&world.database.url, 1).expect("a url");
    let mut broken = Vec::new();
    for shop in world
        .database
        .all::<String>("SELECT DISTINCT shop_id FROM transactions")
        .await
    {
        let shop = ShopId::parse(&shop).expect("a shop");
        let rows = list(&store, &shop, &TransactionQuery::default(), 100_000)
            .await
            .expect("rows");
        for row in rows {
            let derived = derive(&row.opening, &row.summary);
            if derived.state != row.state {
                let (id, state) = (row.record.id, row.state);
                broken.push(format!(
                    "{id} is stored as {state}, its evidence gives {derived:?}"
                ));
            }
        }
    }
    store.close().await;
    broken
}

/// Returns the differences that the audit reports.
async fn second_opinion(world: &World) -> Vec<String> {
    let store = Store::connect_lazy(&world.database.url, 1).expect("a url");
    let report = audit::run(store.unbounded_pool(), &audit::AuditScope::default()).await;
    store.close().await;
    let differences = report.expect("an audit").differences;
    differences
        .into_iter()
        .map(|d| format!("audit: {} {}", d.kind, d.detail))
        .collect()
}

/// Prints the evidence, discrepancies and requests of a failed test.
pub async fn tell(world: &World) {
    let rows: Vec<String> = world
        .database
        .all(
            "SELECT t.tracking_id || ' [' || t.state || '] ' || e.position || ' ' || e.received_at
                || ' ' || e.channel || ' ' || e.verdict || ' ' || coalesce(e.http_status::text, '-')
                || ' ' || left(e.note, 200)
             FROM transactions t JOIN evidence e ON e.shop_id = t.shop_id AND e.transaction_id = t.id
             ORDER BY t.created_at, e.position LIMIT 80",
        )
        .await;
    eprintln!("--- evidence\n{}", rows.join("\n"));
    let rows: Vec<String> = world
        .database
        .all(
            "SELECT kind || ' ' || status || ' ' || coalesce(tracking_id, '-') || ' ' || detail
             FROM discrepancies ORDER BY id LIMIT 50",
        )
        .await;
    eprintln!("--- discrepancies\n{}", rows.join("\n"));
    if world.twin().is_up() {
        let log = world.twin().get("log?limit=30").await;
        for request in log["requests"].as_array().into_iter().flatten() {
            eprintln!(
                "twin: {} {} {} {} {}",
                request["at"],
                request["method"],
                request["path"],
                request["status"],
                request["fate"]
            );
        }
        eprintln!("twin: {}", world.twin().get("webhooks?limit=5").await);
    }
}

/// Breaks each rule once: each violation is reported, and nothing else is.
#[test]
fn each_broken_rule_is_reported() {
    let accidents = [
        (
            "UPDATE due_checks SET shop_id = 'x' || shop_id",
            "UPDATE due_checks SET shop_id = substr(shop_id, 2)",
            "no due check",
        ),
        (
            "UPDATE transactions SET evidence_count = evidence_count + 1",
            "UPDATE transactions SET evidence_count = evidence_count - 1",
            "have a gap",
        ),
        (
            "UPDATE transactions SET evidence_head = set_byte(evidence_head, 0, \
             255 - get_byte(evidence_head, 0))",
            "UPDATE transactions SET evidence_head = set_byte(evidence_head, 0, \
             255 - get_byte(evidence_head, 0))",
            "does not end in its head",
        ),
        (
            "UPDATE events SET seq = seq + 1000 WHERE seq = 1",
            "UPDATE events SET seq = 1 WHERE seq = 1001",
            "the feed has a gap",
        ),
        (
            "UPDATE transactions SET state = 'in_doubt' WHERE state = 'processing'",
            "UPDATE transactions SET state = 'processing' WHERE state = 'in_doubt'",
            "is stored as in_doubt",
        ),
        (
            "UPDATE uids SET transaction_id = uuid_v7_floor(now())",
            "UPDATE uids u SET transaction_id = t.id FROM transactions t WHERE t.uid = u.uid",
            "belongs to another",
        ),
    ];
    crate::world::Setup::default().quiet().run(async |world| {
        world.pay_and_wait("ok-rule").await.expect(200);
        world.pay("never-rule").await.expect(202);
        assert_eq!(broken(world).await, [""; 0]);
        for (accident, repair, told) in accidents {
            assert!(world.database.execute(accident).await > 0, "{accident}");
            let broken = broken(world).await;
            assert!(
                broken.iter().any(|line| line.contains(told)),
                "{told}: {broken:?}"
            );
            world.database.execute(repair).await;
        }
        let body = serde_json::json!({"request": crate::world::payment("ok-again")});
        let path = "/async/transactions/payments";
        world
            .twin()
            .switch(serde_json::json!({"duplicate_check": "off"}))
            .await;
        for _ in 0..2 {
            world
                .twin()
                .as_shop(reqwest::Method::POST, path, body.clone())
                .await
                .expect(200);
        }
        let broken = broken(world).await;
        assert!(broken[0].contains("more than once"), "{broken:?}");
        world.twin().post("reset", serde_json::json!({})).await;
    });
}
