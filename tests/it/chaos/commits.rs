//! What the service says to PostgreSQL arrives, and the answer does not; or nothing arrives at all.

use crate::chaos::{Case, Plan};
use crate::world::{Proxy, Trick, private_cluster_with};
use testkit::postgres::Options;

/// A case whose service reaches PostgreSQL over a wire that the test has in hand.
fn over_a_wire(name: &'static str, fault: impl AsyncFnOnce(&mut Case<'_>, &Proxy)) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (proxy, url, _cluster) = runtime.block_on(async {
        let (cluster, url) = private_cluster_with(Options::default()).await;
        (Proxy::before(cluster.socket_dir()).await, url, cluster)
    });
    let mut plan = Plan::new(name);
    let way = proxy.url("own");
    plan.setup = plan.setup.database(&url).database_by_way_of(&way);
    plan.run(async |case| fault(case, &proxy).await);
}

fn tricked(name: &'static str, every: u32, trick: Trick) {
    over_a_wire(name, async |case, proxy| {
        let before = case.taken();
        proxy.strike(every, &[trick]);
        case.outage().await;
        let struck = proxy.spare();
        assert!(struck > 0, "no COMMIT came: {before} to {}", case.taken());
    });
}

#[test]
fn the_answer_to_commit_is_lost() {
    let name = "every 2nd COMMIT takes place, and the connection is cut before its answer";
    tricked(name, 2, Trick::AnswerLost);
}

#[test]
fn commit_is_lost() {
    let name = "every 2nd COMMIT is cut off before it arrives";
    tricked(name, 2, Trick::CommitLost);
}

#[test]
fn the_answer_to_commit_never_comes() {
    let name = "every 5th COMMIT takes place, and its answer never comes; the connection stays";
    tricked(name, 5, Trick::AnswerSwallowed);
}

#[test]
fn the_network_to_postgresql_falls_silent() {
    let name =
        "the network to PostgreSQL swallows everything for a time; old connections stay dead";
    over_a_wire(name, async |case, proxy| {
        proxy.fall_silent();
        case.outage().await;
        assert_eq!(case.merchants[0].readiness().await, Some(503));
        proxy.speak();
    });
}
