//! The danger: a statement that reads a whole table is quick in every test and slow in the third year.
//!
//! What PostgreSQL counts is looked at, and not what it would plan: no table of the hot path is read
//! whole, and of what is open nothing is read that is not due.

use crate::world::{Setup, eventually};
use futures_util::future::join_all;

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
