//! The danger: a committer that keeps a connection from others, or goes on with one that it cannot trust.

use crate::world::{Database, Proxy, eventually, private_cluster};
use reconciler::store::{PinnedConnection, Store};

/// How BEGIN is told from other statements.
const BEGIN: &str = "BEGIN";

/// Which process of the server does the next transaction.
async fn process(session: &mut PinnedConnection) -> i32 {
    let mut tx = session.begin().await.unwrap();
    let pid = sqlx::query_scalar("SELECT pg_backend_pid()");
    let pid = pid.fetch_one(&mut *tx).await.unwrap();
    tx.rollback().await.unwrap();
    pid
}

async fn until_idle(store: &Store, connections: usize) {
    eventually("connections rest", async || {
        (store.unbounded_pool().num_idle() == connections).then_some(())
    })
    .await;
}

fn with_store(connections: u32, test: impl AsyncFnOnce(&Store)) {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let database = Database::fresh().await;
        let store = Store::connect_lazy(&database.url, connections).unwrap();
        test(&store).await;
        store.close().await;
        database.remove().await;
    });
}

#[test]
fn a_busy_committer_keeps_its_connection() {
    // One more is reserved.
    with_store(4, async |store| {
        let mut all = [(); 3].map(|()| PinnedConnection::new(store.clone()));
        let mut seen = Vec::new();
        for session in &mut all {
            seen.push(process(session).await);
        }
        let [mut kept, others @ ..] = all;
        drop(others);
        until_idle(store, 2).await;
        for _ in 0..4 {
            // There are others at rest, which have rested longer.
            kept.release_if_contended();
            assert_eq!(process(&mut kept).await, seen[0]);
        }
    });
}

#[test]
fn a_committer_gives_the_last_connection_to_others() {
    with_store(1, async |store| {
        let mut session = PinnedConnection::new(store.clone());
        process(&mut session).await;
        session.release_if_contended();
        store.ping().await.unwrap();
    });
}

#[test]
fn a_connection_that_did_not_answer_to_begin_is_not_used_again() {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let (cluster, url) = private_cluster().await;
        let database = Database::at(url);
        let proxy = Proxy::before(cluster.socket_dir()).await;
        let store = Store::connect_lazy(&proxy.url("own"), 1).unwrap();
        let mut session = PinnedConnection::new(store.clone());
        let first = process(&mut session).await;
        proxy.hold(BEGIN);
        session
            .begin()
            .await
            .expect_err("it is not answered in time");
        session.release();
        // The answer comes after all, when nobody waits for it any more.
        proxy.release(BEGIN);
        assert_ne!(process(&mut session).await, first);
        eventually("the server has let go of the first one", async || {
            let open: i64 = database
                .one(
                    "SELECT count(*) FROM pg_stat_activity
                     WHERE application_name = 'reconciler' AND state LIKE 'idle in%'",
                )
                .await;
            (open == 0).then_some(())
        })
        .await;
        drop(session);
        store.close().await;
        database.pool.close().await;
    });
}
