//! The danger: somebody changes the books, and the second opinion does not notice.

use crate::audit::{agrees, audit, sql};
use crate::world::{Setup, World};
use std::collections::BTreeSet;

/// Tables that a tampering touches.
const TABLES: [&str; 6] = [
    "transactions",
    "evidence",
    "uids",
    "due_checks",
    "shop_feeds",
    "events",
];

/// Does something to the database, gives the kinds of differences found, and undoes it.
async fn found_after(world: &World, tampering: &str) -> BTreeSet<&'static str> {
    sql(world, tampering.to_owned()).await;
    let report = audit(world).await;
    for table in TABLES {
        sql(
            world,
            format!("TRUNCATE {table}; INSERT INTO {table} TABLE saved_{table}"),
        )
        .await;
    }
    report
        .counts
        .keys()
        .map(|(_, kind)| kind.as_str())
        .collect()
}

/// What is done, and which kind of difference it must be found as.
type Case = (String, &'static str);

fn is(name: &str) -> String {
    format!("WHERE tracking_id = '{name}'")
}

fn of(name: &str) -> String {
    format!(
        "WHERE transaction_id = (SELECT id FROM transactions {})",
        is(name)
    )
}

/// Rows of transactions.
fn of_transactions() -> Vec<Case> {
    vec![
        (
            format!("UPDATE transactions SET state = 'failed' {}", is("ok-t")),
            "state",
        ),
        (
            format!(
                "UPDATE transactions SET state = 'pending', finalized_at = NULL {}",
                is("ok-t")
            ),
            "finality",
        ),
        (
            format!("UPDATE transactions SET uid = 'other' {}", is("ok-t")),
            "uid",
        ),
        (
            format!("UPDATE transactions SET summary = '{{}}' {}", is("ok-t")),
            "summary",
        ),
        (
            format!(
                "UPDATE transactions SET summary = replace(summary, 'successful', 'failed') {}",
                is("ok-t")
            ),
            "summary",
        ),
        (
            format!("UPDATE transactions SET amount = 1 {}", is("ok-t")),
            "opening",
        ),
        (
            format!(
                "UPDATE transactions SET evidence_head = sha256('x') {}",
                is("ok-t")
            ),
            "chain",
        ),
    ]
}

/// Evidence of a transaction, with something else in its bodies.
fn said_otherwise(name: &str, before: &str, after: &str) -> String {
    format!(
        "UPDATE evidence SET body = convert_to(replace(convert_from(body, 'UTF8'), '{before}', \
         '{after}'), 'UTF8') {}",
        of(name)
    )
}

/// Evidence that was changed, removed, moved or added.
fn of_evidence() -> Vec<Case> {
    let of = of("ok-t");
    let failed = said_otherwise("ok-t", "\"successful\"", "\"failed\"");
    vec![
        (failed.clone(), "chain"),
        (failed, "state"),
        (
            format!("DELETE FROM evidence {of} AND position = 3"),
            "chain",
        ),
        (format!("DELETE FROM evidence {of}"), "chain"),
        (
            format!("UPDATE evidence SET position = 5 - position {of} AND position IN (2, 3)"),
            "chain",
        ),
        (
            format!(
                "INSERT INTO evidence SELECT shop_id, transaction_id, gen_random_uuid(), 99, channel, \
                 verdict, received_at, http_status, subject, signed, note, body, body_sha256, chain \
                 FROM evidence {of} AND position = 1"
            ),
            "chain",
        ),
        (
            format!("UPDATE evidence SET body = '{{}}' {of} AND subject = 'stamped'"),
            "unreadable",
        ),
        (
            format!(
                "INSERT INTO evidence SELECT shop_id, transaction_id, gen_random_uuid(), \
                 (SELECT max(position) + 1 FROM evidence {of}), channel, verdict, received_at, \
                 http_status, subject, signed, note, convert_to(replace(convert_from(body, 'UTF8'), \
                 '\"attempt\":1', '\"attempt\":2'), 'UTF8'), body_sha256, chain \
                 FROM evidence {of} AND subject = 'stamped'"
            ),
            "sent_twice",
        ),
    ]
}

/// Proofs of absence, and what they name.
fn of_proofs() -> Vec<Case> {
    let nothing = "\"lookups\":[\"00000000-0000-4000-8000-000000000000\",\"";
    let one = "[{\"uid\":\"x\",\"status\":\"failed\",\"amount\":3245}]";
    vec![
        (
            said_otherwise("crashnone-t", "\"lookups\":[\"", nothing)
                + " AND subject = 'absence_proved'",
            "proof",
        ),
        (
            said_otherwise("crashnone-t", "[]", one) + " AND channel = 'query'",
            "proof",
        ),
    ]
}

/// Due checks, uids, the feed.
fn of_the_rest() -> Vec<Case> {
    vec![
        (
            format!("DELETE FROM due_checks {}", of("never-t")),
            "due_check",
        ),
        (
            format!("UPDATE due_checks SET state = 'pending' {}", of("never-t")),
            "due_check",
        ),
        ("DELETE FROM events WHERE seq = 2".to_owned(), "feed"),
        (
            "UPDATE shop_feeds SET last_seq = last_seq + 1".to_owned(),
            "feed",
        ),
        (
            "UPDATE events SET payload = regexp_replace(payload, '\"sequence\":[0-9]+', \
             '\"sequence\":1')"
                .to_owned(),
            "feed",
        ),
        (
            format!(
                "UPDATE transactions SET sequence = sequence + 1 {}",
                is("ok-t")
            ),
            "feed",
        ),
        (
            format!(
                "UPDATE uids SET transaction_id = gen_random_uuid() {}",
                of("lost-t")
            ),
            "owner",
        ),
        ("DELETE FROM uids".to_owned(), "owner"),
        (
            "INSERT INTO uids SELECT shop_id, uid, transaction_id, gen_random_uuid() FROM uids LIMIT 1"
                .to_owned(),
            "owner",
        ),
        (
            "INSERT INTO uids SELECT shop_id, 'stray', gen_random_uuid(), uid_key('stray') FROM transactions LIMIT 1"
                .to_owned(),
            "owner",
        ),
    ]
}

#[test]
fn tampering_is_found() {
    Setup::default().impatient().run(async |world| {
        for name in ["ok-t", "lost-t", "never-t", "crashnone-t"] {
            world.pay_async(name).await.expect(202);
        }
        for name in ["ok-t", "lost-t", "crashnone-t"] {
            world.until_final(name).await;
        }
        world.until_state("never-t", "processing").await;
        world.stop().await;
        agrees(world).await;
        for table in TABLES {
            sql(
                world,
                format!("CREATE TABLE saved_{table} AS TABLE {table}"),
            )
            .await;
        }
        let cases = [of_transactions(), of_evidence(), of_proofs(), of_the_rest()];
        for (tampering, kind) in cases.concat() {
            let found = found_after(world, &tampering).await;
            assert!(
                found.contains(kind),
                "{tampering}\nfound {found:?}, and not {kind}"
            );
        }
        agrees(world).await;
    });
}
