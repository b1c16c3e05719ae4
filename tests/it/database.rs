//! The danger: a schema that drifts from the program, and a database that goes away.

use crate::cli::reconciler_with;
use crate::world::{Database, SHOP, Setup, eventually, payment, private_cluster};
use domain::{Channel, DiscrepancyKind, Origin, State, TransactionType, Verdict};
use reconciler::store::{Store, migrate};
use serde_json::json;
use std::collections::BTreeSet;
use testkit::postgres::{PostgresCluster, StopMode};

fn with_database(test: impl AsyncFnOnce(&Database)) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let database = Database::fresh().await;
        test(&database).await;
        database.remove().await;
    });
}

#[test]
fn migrations_apply_to_an_empty_database_and_only_once() {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let database = Database::empty().await;
        let store = Store::connect_lazy(&database.url, 2).unwrap();
        assert!(
            migrate::check(&store).await.is_err(),
            "an empty database is behind"
        );
        assert!(migrate::migrate(&store).await.unwrap() > 0);
        assert_eq!(migrate::migrate(&store).await.unwrap(), 0);
        migrate::check(&store).await.unwrap();
        store.close().await;
        database.remove().await;
    });
}

/// What was there before uids had keys gets the same keys as what comes after.
#[test]
fn uids_are_found_by_the_same_key_in_sql_and_here() {
    const BEFORE: [&str; 4] = [
        include_str!("../../migrations/20261101000000_initial.sql"),
        include_str!("../../migrations/20261102000000_roles.sql"),
        include_str!("../../migrations/20261122000000_room_for_updates.sql"),
        include_str!("../../migrations/20261123000000_pacing.sql"),
    ];
    const SOME: &str = "INSERT INTO uids SELECT '1001', uid, gen_random_uuid() FROM (
        SELECT gen_random_uuid()::text FROM generate_series(1, 500)
        UNION ALL SELECT overlay(gen_random_uuid()::text PLACING to_hex(n) FROM 15)
            FROM generate_series(0, 15) n
        UNION ALL SELECT upper(gen_random_uuid()::text)
        UNION ALL SELECT replace(gen_random_uuid()::text, '-', '')
        UNION ALL SELECT gen_random_uuid()::text || E'\n'
        UNION ALL VALUES (''), ('4107-310b0da80b'), ('back\\slash'), ('дело'), ('{x}'),
            ('00000000-0000-0000-0000-000000000000')) AS every(uid)";
    const KEYS: &str = include_str!("../../migrations/20261128000000_keys_of_uids.sql");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let database = Database::empty().await;
        for migration in BEFORE {
            sqlx::raw_sql(migration)
                .execute(&database.pool)
                .await
                .unwrap();
        }
        database.execute(SOME).await;
        sqlx::raw_sql(KEYS).execute(&database.pool).await.unwrap();
        keys_are_right(&database).await;
        // And what a replica adds that knows nothing of keys.
        database.execute("DELETE FROM uids").await;
        database.execute(SOME).await;
        keys_are_right(&database).await;
        database.remove().await;
    });
}

async fn keys_are_right(database: &Database) {
    let found: Vec<(String, uuid::Uuid)> = sqlx::query_as("SELECT uid, key FROM uids")
        .fetch_all(&database.pool)
        .await
        .unwrap();
    assert_eq!(found.len(), 525);
    for (uid, key) in found {
        assert_eq!(key, reconciler::store::uids::key(&uid), "{uid}");
    }
}

#[test]
fn every_table_and_column_has_a_comment() {
    with_database(async |database| {
        let silent = database
            .all::<String>(
                "SELECT c.relname || coalesce('.' || a.attname, '') FROM pg_class c
                 LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
                   AND NOT c.relispartition AND c.relname <> '_sqlx_migrations'
                   AND (col_description(c.oid, a.attnum) IS NULL
                     OR obj_description(c.oid, 'pg_class') IS NULL)",
            )
            .await;
        assert!(silent.is_empty(), "no comment on {silent:?}");
    });
}

#[test]
fn every_key_begins_with_the_shop() {
    with_database(async |database| {
        let others = database
            .all::<String>(
                "SELECT i.indrelid::regclass::text FROM pg_index i
                 JOIN pg_class c ON c.oid = i.indrelid
                 JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
                 WHERE i.indisprimary AND c.relnamespace = 'public'::regnamespace
                   AND c.relname <> '_sqlx_migrations' AND a.attname <> 'shop_id'",
            )
            .await;
        // What is known of the server is about no shop.
        assert_eq!(others, ["database_histories"]);
        let without = database
            .all::<String>(
                "SELECT c.relname::text FROM pg_class c
                 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
                   AND c.relname <> '_sqlx_migrations' AND NOT EXISTS
                     (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)",
            )
            .await;
        assert!(without.is_empty(), "no primary key on {without:?}");
    });
}

#[test]
fn the_words_of_the_schema_are_those_of_the_program() {
    fn words<T: ToString>(all: &[T]) -> BTreeSet<String> {
        all.iter().map(ToString::to_string).collect()
    }
    let events = [
        "transaction.updated",
        "transaction.finalized",
        "transaction.corrected",
        "discrepancy.opened",
        "discrepancy.resolved",
    ];
    let finals: Vec<State> = State::ALL
        .iter()
        .copied()
        .filter(|s| s.is_final())
        .collect();
    let expected = [
        ("transactions_state_known", words(State::ALL)),
        ("transactions_final_has_time", words(&finals)),
        ("transactions_type_known", words(TransactionType::ALL)),
        ("transactions_origin_known", words(Origin::ALL)),
        ("evidence_channel_known", words(Channel::ALL)),
        ("evidence_verdict_known", words(Verdict::ALL)),
        ("discrepancies_kind_known", words(DiscrepancyKind::ALL)),
        ("discrepancies_status_known", words(&["open", "resolved"])),
        ("events_type_known", words(&events)),
    ];
    with_database(async |database| {
        for (constraint, words) in expected {
            let query = sqlx::query_scalar::<_, String>(
                "SELECT pg_get_constraintdef(oid) FROM pg_constraint
                 WHERE conname = $1 AND conparentid = 0",
            );
            let text: String = query
                .bind(constraint)
                .fetch_one(&database.pool)
                .await
                .unwrap();
            // Every other piece stands between quotes.
            let found: BTreeSet<String> = text
                .split('\'')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect();
            assert_eq!(found, words, "{constraint}: {text}");
        }
    });
}

/// A world on a server of its own, which the test may stop.
fn with_server(test: impl AsyncFnOnce(&crate::world::World, &mut PostgresCluster)) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut cluster, url) = runtime.block_on(private_cluster());
    Setup::default()
        .database(&url)
        .run(async |world| test(world, &mut cluster).await);
}

#[test]
fn a_database_restart_loses_and_duplicates_nothing() {
    with_server(async |world, cluster| {
        let slow = json!({"task_delay": {"fixed": {"seconds": 1.0}}});
        world.twin().switch(slow).await;
        let before: Vec<String> = (0..10).map(|n| format!("ok-restart-{n}")).collect();
        for name in &before {
            world.pay(name).await.expect(202);
        }
        let during: Vec<String> = (0..20).map(|n| format!("ok-during-{n}")).collect();
        let asking = futures_util::future::join_all(during.iter().map(|name| world.pay(name)));
        let crash = async { cluster.restart(StopMode::Immediate).unwrap() };
        let (answers, ()) = tokio::join!(asking, crash);
        for answer in answers {
            assert!([200, 202, 503].contains(&answer.status), "{}", answer.text);
        }
        world.until_ready().await;
        for name in &during {
            // A caller who was told 503 asks again, with the same body.
            let what = format!("{name} is taken");
            eventually(&what, async || {
                let answer = world.pay(name).await;
                [200, 202].contains(&answer.status).then_some(())
            })
            .await;
        }
        for name in before.iter().chain(&during) {
            let done = world.until_final(name).await;
            assert_eq!(done["state"], "successful", "{done}");
            assert_eq!(world.twin().posts(name).await, 1, "{name}");
        }
    });
}

#[test]
fn without_a_database_nothing_is_acknowledged() {
    with_server(async |world, cluster| {
        world.twin().switch(json!({"webhooks": false})).await;
        world.pay("never-known").await.expect(202);
        let made = json!({"uid": "away-1", "tracking_id": "never-known", "amount": 3245,
            "currency": "EUR", "test": true});
        world.twin().make(made).await;
        cluster.stop(StopMode::Fast).unwrap();

        let refused = world.pay("ok-away").await;
        assert!(refused.header("retry-after").is_some(), "{}", refused.text);
        refused.expect_problem(503, "unavailable");
        assert_eq!(world.twin().posts("ok-away").await, 0);
        world
            .get("transactions/never-known")
            .await
            .expect_problem(503, "unavailable");
        let webhook = json!({"url": world.hook_url(), "uid": "away-1"});
        assert_eq!(world.twin().send_webhook(webhook.clone()).await, [503]);
        assert_eq!(world.readiness().await, Some(503));
        world.ops("/livez").await.expect(200);

        cluster.resume().unwrap();
        world.until_ready().await;
        assert_eq!(world.twin().send_webhook(webhook).await, [200]);
        assert_eq!(
            world.until_final("never-known").await["state"],
            "successful"
        );
        world.pay("ok-away").await.expect(202);
        assert_eq!(world.until_final("ok-away").await["state"], "successful");
        assert_eq!(world.twin().posts("ok-away").await, 1);
    });
}

#[test]
fn gateway_responses_are_held_until_the_database_is_back() {
    with_server(async |world, cluster| {
        world.twin().switch(json!({"webhooks": false})).await;
        // The gateway answers late, when the database is gone; the answer comes only once.
        let script = json!({"submit": {"latency": 0.7}});
        world.twin().script("reject-held", "reject", script).await;
        let body = payment("reject-held");
        let asking = world.post("payments", body);
        let going = async {
            world.twin().until_posted("reject-held").await;
            cluster.stop(StopMode::Fast).unwrap();
        };
        let (answer, ()) = tokio::join!(asking, going);
        assert!([202, 503].contains(&answer.status), "{}", answer.text);
        cluster.resume().unwrap();
        world.until_ready().await;
        let done = world.until_final("reject-held").await;
        assert_eq!(done["state"], "rejected");
        let acks = world.evidence_by("reject-held", "ack").await;
        assert_eq!((acks.len(), &acks[0]["http_status"]), (1, &json!(422)));
    });
}

#[test]
fn a_connection_of_the_pool_that_is_cut_is_no_second_post() {
    Setup::default().run(async |world| {
        for round in 0..10 {
            world
                .database
                .execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE datname = current_database() AND application_name = 'reconciler'",
                )
                .await;
            let name = format!("ok-cut-{round}");
            eventually("it is taken", async || {
                [200, 202]
                    .contains(&world.pay(&name).await.status)
                    .then_some(())
            })
            .await;
            assert_eq!(world.until_final(&name).await["state"], "successful");
            assert_eq!(world.twin().posts(&name).await, 1);
        }
        assert_eq!(world.path(""), format!("/v1/shops/{SHOP}/"));
    });
}

#[test]
fn a_row_that_another_writer_holds_holds_up_nothing_but_itself() {
    const WAITING: &str = "SELECT min(xact_start)::text FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    Setup::default().quiet().run(async |world| {
        world.pay("never-held").await.expect(202);
        let mut held = world.database.pool.begin().await.unwrap();
        sqlx::query("SELECT FROM transactions WHERE tracking_id = 'never-held' FOR UPDATE")
            .execute(&mut *held)
            .await
            .unwrap();
        let beside = async {
            let since = eventually("the look-up waits for the row", async || {
                world.database.one::<Option<String>>(WAITING).await
            })
            .await;
            world.pay("ok-beside-held").await.expect(202);
            // It was taken while the first wait lasted, and not after that one was given up.
            let still = world.database.one::<Option<String>>(WAITING).await;
            assert_eq!(still, Some(since));
            held.rollback().await.unwrap();
        };
        let (answer, ()) = tokio::join!(world.check("never-held"), beside);
        answer.expect(202);
    });
}

#[test]
fn a_row_that_moved_is_written_at_its_new_location() {
    const WAITS: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    const KNOWN: &str = "SELECT evidence_count FROM transactions WHERE tracking_id = 'never-moved'";
    Setup::default().quiet().run(async |world| {
        world.pay("never-moved").await.expect(202);
        let known: i32 = world.database.one(KNOWN).await;
        let mut mover = world.database.pool.begin().await.unwrap();
        let moved =
            sqlx::query("UPDATE transactions SET state = state WHERE tracking_id = 'never-moved'");
        moved.execute(&mut *mover).await.unwrap();
        let let_go = async {
            eventually("the look-up waits for the row", async || {
                let waiting: i64 = world.database.one(WAITS).await;
                (waiting > 0).then_some(())
            })
            .await;
            mover.commit().await.unwrap();
        };
        let (answer, ()) = tokio::join!(world.check("never-moved"), let_go);
        answer.expect(202);
        let now: i32 = world.database.one(KNOWN).await;
        assert!(now > known, "{now} after {known}");
    });
}

#[test]
fn a_lease_that_was_given_while_a_batch_waited_is_seen_and_kept() {
    const WAITS: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    const GIVEN: &str =
        "INSERT INTO due_checks (shop_id, transaction_id, due_at, lease, state, since)
        SELECT shop_id, id, now() + interval '1 hour', gen_random_uuid(), state, state_since
        FROM transactions WHERE tracking_id = 'never-leased'";
    const KEPT: &str = "SELECT count(*) FROM due_checks WHERE lease IS NOT NULL AND again";
    Setup::default().quiet().run(async |world| {
        world.pay("never-leased").await.expect(202);
        world.database.execute("DELETE FROM due_checks").await;
        let mut giver = world.database.pool.begin().await.unwrap();
        let locked = "SELECT FROM transactions WHERE tracking_id = 'never-leased' FOR UPDATE";
        for statement in [locked, GIVEN] {
            sqlx::query(statement).execute(&mut *giver).await.unwrap();
        }
        let let_go = async {
            eventually("the look-up waits for the row", async || {
                let waiting: i64 = world.database.one(WAITS).await;
                (waiting > 0).then_some(())
            })
            .await;
            giver.commit().await.unwrap();
        };
        let (answer, ()) = tokio::join!(world.check("never-leased"), let_go);
        answer.expect(202);
        assert_eq!(world.database.one::<i64>(KEPT).await, 1);
    });
}

/// Months ahead that nobody has made: what is written then falls into the default partition.
#[test]
fn evidence_outside_of_its_month_is_moved_into_it() {
    const FALL: &str = "INSERT INTO evidence SELECT shop_id, uuid_v7_floor(now() + make_interval(months => n)), \
        gen_random_uuid(), position, channel, verdict, received_at, http_status, subject, signed, note, body, \
        body_sha256, chain FROM (SELECT * FROM evidence LIMIT 1) AS e, generate_series(5, 6) AS n";
    const MISPLACED: &str = "SELECT misplaced_evidence()";
    Setup::default().run(async |world| {
        world.pay_and_wait("ok-month").await.expect(200);
        // Its own sweep makes months as well.
        world.stop().await;
        let database = &world.database;
        assert_eq!(database.execute(FALL).await, 2);
        assert_eq!(database.one::<i64>(MISPLACED).await, 2);
        let all = "SELECT count(*) FROM evidence";
        let before = database.one::<i64>(all).await;
        // One month cannot be made, and keeps the other from nothing.
        let name = "SELECT 'evidence_' || to_char(now() + make_interval(months => 5), 'YYYY_MM')";
        let name = database.one::<String>(name).await;
        let run = async |sql: String| {
            let sql = sqlx::raw_sql(sqlx::AssertSqlSafe(sql));
            sql.execute(&database.pool).await.unwrap();
        };
        run(format!("CREATE DOMAIN {name} AS text")).await;
        let make = "SELECT ensure_evidence_partitions(3)";
        assert_eq!(database.one::<i32>(make).await, 1);
        assert_eq!(database.one::<i64>(MISPLACED).await, 1);
        run(format!("DROP DOMAIN {name}")).await;
        assert_eq!(database.one::<i32>(make).await, 1);
        assert_eq!(database.one::<i64>(MISPLACED).await, 0);
        assert_eq!(database.one::<i64>(all).await, before);
        assert_eq!(
            database
                .one::<i64>("SELECT count(*) FROM evidence_default")
                .await,
            0
        );
    });
}

#[test]
fn a_plan_of_migrations_names_locks_and_changes_nothing() {
    Setup::default().service_down().run(async |world| {
        let database = Database::empty().await;
        let plan = async || {
            let url = [("DATABASE_URL", database.url.as_str())];
            let asked = reconciler_with(world, &url, &["migrate", "--plan", "--json"]);
            asked.await.expect_success().json()
        };
        let empty = plan().await;
        assert!(empty["pending"].as_array().unwrap().len() > 10);
        let present = "SELECT to_regclass('transactions')::text";
        assert_eq!(database.one::<Option<String>>(present).await, None);
        let store = Store::connect_lazy(&database.url, 2).unwrap();
        migrate::migrate(&store).await.unwrap();
        store.close().await;
        assert_eq!(plan().await, json!({"pending": [], "statements": []}));
        let forget =
            "DELETE FROM _sqlx_migrations WHERE version IN (20261201010302, 20261201010402)";
        assert_eq!(database.execute(forget).await, 2);
        let left = plan().await;
        let left = left["statements"].as_array().unwrap().iter();
        let locks: Vec<_> = left.map(|one| (&one["lock"], &one["waits"])).collect();
        let online = (&json!("SHARE UPDATE EXCLUSIVE"), &json!("nobody"));
        assert_eq!(locks, [online; 4]);
        database.remove().await;
    });
}
