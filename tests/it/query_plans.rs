//! The danger: a statement that reads a whole table is quick in every test and slow in the third year.
//!
//! What PostgreSQL counts under load is looked at: no table of the hot path is read whole, and of what is
//! open nothing is read that is not due. And what it plans while there is next to nothing, since such plans
//! are kept.

use crate::world::{Database, SHOP, Setup, eventually};
use domain::ShopId;
use futures_util::future::join_all;
use reconciler::store::{Store, batch, maintenance};
use sqlx::{Connection, PgConnection};
use std::time::Duration;
use uuid::Uuid;

/// The tables of the hot path that were read whole.
const READ_WHOLE: &str =
    "SELECT relname || ' ' || seq_scan FROM pg_stat_user_tables WHERE seq_scan > 0
    AND (relname IN ('transactions', 'due_checks', 'uids', 'events', 'discrepancies', 'orphans')
        OR relname LIKE 'evidence%')";

#[test]
fn nothing_on_the_hot_path_reads_a_whole_table() {
    Setup::default().run(async |world| {
        // Plans are made, and kept, while there is next to nothing.
        for n in 0..8 {
            world
                .pay_and_wait(&format!("ok-plan-{n}"))
                .await
                .expect(200);
        }
        world.database.execute("ANALYZE").await;
        let _: Vec<String> = world.database.all("SELECT pg_stat_reset()::text").await;
        let names: Vec<String> = (0..60)
            .map(|n| match n % 3 {
                0 => format!("ok-hot-{n}"),
                1 => format!("nohook-hot-{n}"),
                _ => format!("hang-hot-{n}"),
            })
            .collect();
        for answer in join_all(names.iter().map(|name| world.pay(name))).await {
            assert!(matches!(answer.status, 200 | 202), "{}", answer.text);
        }
        for name in &names {
            assert_eq!(world.until_final(name).await["state"], "successful");
        }
        // What the backends have counted arrives with some delay.
        eventually("the counts", async || {
            let sql = "SELECT coalesce(sum(n_tup_ins), 0)::bigint FROM pg_stat_user_tables
                WHERE relname = 'transactions'";
            let seen: i64 = world.database.one(sql).await;
            (seen >= 60).then_some(())
        })
        .await;
        let read_whole: Vec<String> = world.database.all(READ_WHOLE).await;
        assert!(read_whole.is_empty(), "{read_whole:?}");
        let sql = "SELECT coalesce(sum(idx_scan), 0)::bigint FROM pg_stat_user_tables
            WHERE relname = 'transactions'";
        let by_index: i64 = world.database.one(sql).await;
        assert!(by_index > 60, "{by_index}");
    });
}

/// The statements of a group commit, and the indexes that have all of each key.
const BY_KEY: [(&str, &[&str]); 6] = [
    (
        "look_up",
        &[
            "using uids_pkey",
            "using transactions_tracking_id",
            "using transactions_parent",
        ],
    ),
    ("families", &["using uids_pkey", "using transactions_pkey"]),
    ("children_of_parents", &["using transactions_parent"]),
    ("lock_transactions", &["using transactions_pkey"]),
    ("lock_checks", &["using due_checks_pkey"]),
    (
        "write",
        &["Tid Scan on transactions", "Tid Scan on due_checks"],
    ),
];

/// All indexes begin with the shop, so that with next to no rows any of them looks as good as any other.
#[test]
fn each_key_uses_its_own_index() {
    Setup::default().run(async |world| {
        world.database.execute("VACUUM ANALYZE").await;
        let mut tx = PgConnection::connect(&world.database.url).await.unwrap();
        let generic = "SET plan_cache_mode = force_generic_plan";
        sqlx::query(generic).execute(&mut tx).await.unwrap();
        sqlx::query("BEGIN").execute(&mut tx).await.unwrap();
        let (shop, ids) = (ShopId::parse(SHOP).unwrap(), [Uuid::now_v7()]);
        batch::begin_batch(&mut tx).await.unwrap();
        let names = batch::LookupKeys {
            uids: vec!["u"],
            tracking_ids: vec!["a"],
            parents: vec!["p"],
        };
        batch::look_up(&mut tx, &shop, &names).await.unwrap();
        batch::lock_families(&mut tx, &shop, &["p"]).await.unwrap();
        batch::children_of(&mut tx, &shop, &["p"]).await.unwrap();
        batch::lock_transactions(&mut tx, &shop, &ids).await.unwrap();
        batch::lock_checks(&mut tx, &shop, &ids).await.unwrap();
        let nothing = batch::BatchWrites::default();
        batch::write(&mut tx, &shop, &nothing).await.unwrap();
        for (name, indexes) in BY_KEY {
            let sql = format!(
                "SELECT name || '(' || (SELECT string_agg(CASE WHEN t::text = 'text' THEN '''p'''
                    WHEN t::text LIKE '%[]' THEN '''{{}}''' ELSE 'NULL' END, ', ') FROM unnest(parameter_types) t)
                    || ')' FROM pg_prepared_statements WHERE statement LIKE '-- {name}\n%'"
            );
            let call: String = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
                .fetch_one(&mut tx)
                .await
                .unwrap();
            let plan: Vec<String> =
                sqlx::query_scalar(sqlx::AssertSqlSafe(format!("EXPLAIN EXECUTE {call}")))
                    .fetch_all(&mut tx)
                    .await
                    .unwrap();
            let plan = plan.join("\n");
            assert!(!plan.contains("Seq Scan"), "{name}: {plan}");
            for index in indexes {
                assert!(plan.contains(index), "{name}: {plan}");
            }
        }
    });
}

/// A feed of years is kept whole; what is too old in it stands at its beginning.
#[test]
fn forgetting_reads_the_beginning_of_the_feed_and_no_more() {
    const FEED: &str = "INSERT INTO events (shop_id, seq, type, at, payload)
        SELECT '1001', n, 'transaction.updated', now() - interval '1 hour' * (50 - n / 1000.0), '{}'
        FROM generate_series(1, 50000) n";
    const READ: &str =
        "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'events_pkey'";
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let database = Database::fresh().await;
        database.execute(FEED).await;
        database.execute("VACUUM ANALYZE events").await;
        let shop = ShopId::parse(SHOP).unwrap();
        for (kept, gone) in [(60, 0), (49, 1000)] {
            let before: i64 = database.one(READ).await;
            let store = Store::connect_lazy(&database.url, 1).unwrap();
            let keep = Duration::from_secs(kept * 3600);
            let forgotten = maintenance::drop_old_events(&store, &shop, keep)
                .await
                .unwrap();
            // Within the seconds that the test takes.
            assert!((gone..gone + 1000).contains(&forgotten), "{forgotten}");
            // A backend tells what it has counted when it ends.
            store.close().await;
            let read = eventually("what was read", async || {
                let now: i64 = database.one(READ).await;
                (now > before).then_some(now - before)
            })
            .await;
            assert!(read < 15_000, "{read} were read");
        }
        database.remove().await;
    });
}
