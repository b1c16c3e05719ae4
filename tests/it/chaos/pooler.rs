//! PgBouncer in transaction mode between the service and PostgreSQL. Each transaction may use
//! another server connection, and prepared statements must still work.

use crate::chaos::{Case, CaseParameters};
use crate::world::{Pooler, private_cluster_with};
use testkit::postgres::{ClusterOptions, PostgresCluster, StopMode};

fn pooled(
    name: &'static str,
    fault: impl AsyncFnOnce(&mut Case<'_>, &mut Pooler, &mut PostgresCluster),
) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut cluster, url) = runtime.block_on(private_cluster_with(ClusterOptions::default()));
    let mut pooler = Pooler::before(cluster.socket_dir());
    let mut plan = CaseParameters::new(name);
    plan.replicas = 2;
    let way = pooler.url("own");
    plan.setup = plan.setup.database(&url).database_by_way_of(&way);
    plan.run(async |case| {
        fault(case, &mut pooler, &mut cluster).await;
        for process in &case.processes {
            let log = process.log();
            assert!(!log.contains("prepared statement"), "{log}");
        }
    });
}

#[test]
fn pooler_shares_five_connections() {
    let name = "PgBouncer in transaction mode in between, five connections for two replicas";
    pooled(name, async |case, _, _| case.outage().await);
}

#[test]
fn pooler_is_killed_repeatedly() {
    let name = "PgBouncer is killed repeatedly, and PostgreSQL behind it once";
    pooled(name, async |case, pooler, cluster| {
        for _ in 0..case.scale.rounds.div_ceil(2) {
            pooler.restart();
            tokio::time::sleep(case.scale.outage / 4).await;
        }
        cluster.restart(StopMode::Immediate).unwrap();
    });
}
