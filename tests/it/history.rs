//! Risk: a database that was restored, or promoted without its last second, has forgotten what was sent, and a
//! caller's retry sends it a second time.

use crate::world::{Setup, World, eventually, private_cluster_with};
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::postgres::{ClusterOptions, PostgresCluster, StopMode};

/// A world on a server of its own.
fn with_server(setup: Setup, test: impl AsyncFnOnce(&World, &mut PostgresCluster)) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut cluster, url) = runtime.block_on(private_cluster_with(ClusterOptions::default()));
    setup
        .database(&url)
        .run(async |world| test(world, &mut cluster).await);
}

fn shell(script: &str, arguments: &[&Path]) {
    let done = Command::new("sh")
        .args(["-ec", script, "sh"])
        .args(arguments)
        .status();
    assert!(done.unwrap().success(), "{script}");
}

/// A copy of the stopped server's files, as a snapshot of its disk would be.
struct Backup {
    files: PathBuf,
    _directory: tempfile::TempDir,
}

impl Backup {
    fn take(cluster: &mut PostgresCluster) -> Self {
        cluster.stop(StopMode::Fast).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let files = directory.path().join("files");
        shell("cp -a \"$1\" \"$2\"", &[cluster.data_dir(), &files]);
        cluster.resume().unwrap();
        Self {
            files,
            _directory: directory,
        }
    }

    /// Puts it in the place of what the stopped server has.
    fn restore(&self, cluster: &PostgresCluster) {
        let script = "find \"$2\" -mindepth 1 -delete; cp -a \"$1\"/. \"$2\"";
        shell(script, &[&self.files, cluster.data_dir()]);
    }
}

/// The stopped server will begin a new timeline, as a promoted standby or a restored base backup does.
fn begin_timeline(cluster: &PostgresCluster) {
    let script = "cp -a \"$1/PG_VERSION\" \"$1/recovery.signal\"
        echo \"restore_command = 'false'\" >> \"$1/postgresql.auto.conf\"";
    shell(script, &[cluster.data_dir()]);
}

async fn until_taken(world: &World, tracking_id: &str) {
    eventually("it is taken", async || {
        let answer = world.pay(tracking_id).await;
        [200, 202].contains(&answer.status).then_some(())
    })
    .await;
}

async fn until_withheld(world: &World, withheld: f64) {
    eventually("submits are withheld, or not", async || {
        let metrics = world.metrics().await;
        (metrics.sum("reconciler_submits_withheld", &[]) == withheld).then_some(())
    })
    .await;
}

#[test]
fn a_failover_that_lost_nothing_is_accepted_without_a_word() {
    with_server(Setup::default(), async |world, cluster| {
        world.pay_and_wait("ok-before").await.expect(200);
        cluster.stop(StopMode::Fast).unwrap();
        begin_timeline(cluster);
        cluster.resume().unwrap();
        until_taken(world, "ok-after").await;
        assert_eq!(world.until_final("ok-after").await["state"], "successful");
        let accepted = "SELECT string_agg(timeline || ' ' || accepted_as, ', ' ORDER BY timeline) FROM database_histories";
        let accepted = world.database.one::<String>(accepted).await;
        assert_eq!(accepted, "1 first, 2 failover");
        // A process that starts later finds it accepted.
        let (_replica, merchant) = world.replica().await;
        merchant.pay("ok-replica").await.expect(202);
    });
}

#[test]
fn a_database_that_lacks_commits_submits_nothing_until_it_is_told() {
    with_server(Setup::default(), async |world, cluster| {
        world.pay_and_wait("ok-kept").await.expect(200);
        let backup = Backup::take(cluster);
        until_taken(world, "ok-lost").await;
        assert_eq!(world.until_final("ok-lost").await["state"], "successful");
        cluster.stop(StopMode::Fast).unwrap();
        backup.restore(cluster);
        cluster.resume().unwrap();
        until_withheld(world, 1.0).await;
        // The caller repeats what is lost, and has it sent by nobody.
        let refused = world.pay("ok-lost").await;
        let refused = refused.expect_problem(503, "unavailable");
        assert!(refused.text.contains("restore"), "{}", refused.text);
        world.until_ready().await;
        assert_eq!(world.state("ok-kept").await, "successful");
        assert_eq!(world.twin().posts("ok-lost").await, 1);
        // One replica is told; the other one goes on as well.
        let told = world.process_with(&["--after-restore"]).await;
        until_withheld(world, 0.0).await;
        until_taken(world, "ok-lost").await;
        assert_eq!(world.until_final("ok-lost").await["state"], "successful");
        assert_eq!(world.twin().posts("ok-lost").await, 1);
        let until = "reconciler_lookups_before_submits_until_timestamp_seconds";
        assert!(world.metrics().await.sum(until, &[]) > 1.7e9);
        drop(told);
    });
}

#[test]
fn a_process_that_finds_an_unknown_timeline_submits_nothing() {
    with_server(Setup::default(), async |world, cluster| {
        world.pay_and_wait("ok-before").await.expect(200);
        world.stop().await;
        cluster.stop(StopMode::Fast).unwrap();
        begin_timeline(cluster);
        cluster.resume().unwrap();
        world.start().await;
        until_withheld(world, 1.0).await;
        let refused = world.pay("ok-refused").await;
        refused.expect_problem(503, "unavailable");
        assert_eq!(world.twin().posts("ok-refused").await, 0);
        let told = world.process_with(&["--after-failover"]).await;
        until_taken(world, "ok-refused").await;
        until_withheld(world, 0.0).await;
        let metrics = world.metrics().await;
        let until = "reconciler_lookups_before_submits_until_timestamp_seconds";
        assert_eq!(metrics.sum(until, &[]).to_bits(), 0.0_f64.to_bits());
        drop(told);
    });
}
