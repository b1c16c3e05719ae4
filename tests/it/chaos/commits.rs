//! Requests to PostgreSQL arrive and the responses do not, or nothing arrives.

use crate::chaos::{Case, CaseParameters};
use crate::world::{Proxy, ProxyFault, private_cluster_with};
use testkit::postgres::ClusterOptions;

/// Runs a case whose service connects to PostgreSQL through a fault-injecting proxy.
fn over_a_wire(name: &'static str, fault: impl AsyncFnOnce(&mut Case<'_>, &Proxy)) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (proxy, url, _cluster) = runtime.block_on(async {
        let (cluster, url) = private_cluster_with(ClusterOptions::default()).await;
        (Proxy::before(cluster.socket_dir()).await, url, cluster)
    });
    let mut plan = CaseParameters::new(name);
    let way = proxy.url("own");
    plan.setup = plan.setup.database(&url).database_by_way_of(&way);
    plan.run(async |case| fault(case, &proxy).await);
}

fn tricked(name: &'static str, every: u32, trick: ProxyFault) {
    over_a_wire(name, async |case, proxy| {
        let before = case.taken();
        proxy.strike(every, &[trick]);
        case.outage().await;
        let struck = proxy.spare();
        assert!(
            struck > 0,
            "no COMMIT was affected: {before} to {}",
            case.taken()
        );
    });
}

#[test]
fn the_response_to_commit_is_lost() {
    let name = "every 2nd COMMIT takes place, and the connection is cut before its response";
    tricked(name, 2, ProxyFault::AnswerLost);
}

#[test]
fn commit_is_lost() {
    let name = "every 2nd COMMIT is cut off before it arrives";
    tricked(name, 2, ProxyFault::CommitLost);
}

#[test]
fn the_response_to_commit_never_arrives() {
    let name =
        "every 5th COMMIT takes place, and its response never arrives; the connection stays open";
    tricked(name, 5, ProxyFault::AnswerSwallowed);
}

#[test]
fn the_network_to_postgresql_drops_everything() {
    let name = "the network to PostgreSQL drops everything for a time; old connections stay dead";
    over_a_wire(name, async |case, proxy| {
        proxy.fall_silent();
        case.outage().await;
        assert_eq!(case.merchants[0].readiness().await, Some(503));
        proxy.speak();
    });
}
