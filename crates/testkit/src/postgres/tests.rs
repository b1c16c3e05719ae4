//! Tests that the server starts for root and other users, and ends with this process.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};

use super::{ClusterOptions, PostgresCluster, StopMode};
use leaves::clock::BootInstant;

async fn count(url: &str, sql: &'static str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let count = sqlx::query_scalar(sql)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    count
}

/// Waits until a condition holds that another process changes.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = BootInstant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(
            !deadline.remaining().is_zero(),
            "timed out waiting for {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn server_pid(run_dir: &Path) -> String {
    std::fs::read_to_string(run_dir.join("pid.1"))
        .unwrap()
        .trim()
        .to_owned()
}

fn is_gone(pid: &str) -> bool {
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::test_kill_process(pid).is_err()
}

#[tokio::test]
async fn databases_are_created_copied_and_dropped() {
    let cluster = PostgresCluster::start(ClusterOptions {
        tcp: true,
        ..ClusterOptions::default()
    })
    .await
    .unwrap();
    assert!(cluster.major() >= 14);
    assert!(cluster.socket_dir().as_os_str().len() < 80);
    cluster.create_database("a \"b\"?%").await.unwrap();
    let url = cluster.url("a \"b\"?%");
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::query("CREATE TABLE t AS SELECT 1 AS n")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    cluster
        .create_from_template("a \"b\"?%", "copy")
        .await
        .unwrap();
    assert_eq!(
        count(&cluster.url("copy"), "SELECT count(*) FROM t").await,
        1
    );
    let tcp = cluster.tcp_url("copy").unwrap();
    assert!(tcp.starts_with("postgres://postgres@127.0.0.1:"), "{tcp}");
    assert_eq!(count(&tcp, "SELECT count(*) FROM t").await, 1);
    assert!(cluster.has_database("copy").await.unwrap());
    cluster.drop_database("copy").await.unwrap();
    cluster.drop_database("copy").await.unwrap();
    assert!(!cluster.has_database("copy").await.unwrap());
    assert_eq!(
        count(
            &cluster.url("postgres"),
            "SELECT setting::int8 FROM pg_settings WHERE name = 'max_connections'"
        )
        .await,
        200
    );
}

#[tokio::test]
async fn commits_survive_a_crash_of_the_server() {
    let mut cluster = PostgresCluster::start(ClusterOptions::default())
        .await
        .unwrap();
    let url = cluster.url("postgres");
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::query("CREATE TABLE t (n int)")
        .execute(&mut connection)
        .await
        .unwrap();
    for _ in 0..20 {
        sqlx::query("INSERT INTO t VALUES (1)")
            .execute(&mut connection)
            .await
            .unwrap();
    }
    cluster.stop(StopMode::Immediate).unwrap();
    assert!(PgConnection::connect(&url).await.is_err());
    cluster.resume().unwrap();
    assert_eq!(count(&url, "SELECT count(*) FROM t").await, 20);
    cluster.restart(StopMode::Fast).unwrap();
    assert_eq!(count(&url, "SELECT count(*) FROM t").await, 20);
}

#[test]
fn dropping_a_cluster_leaves_nothing() {
    let cluster = PostgresCluster::start_blocking(&ClusterOptions::default()).unwrap();
    let run_dir = cluster.socket_dir().to_owned();
    let pid = server_pid(&run_dir);
    assert!(!is_gone(&pid));
    drop(cluster);
    assert!(!run_dir.exists());
    assert!(is_gone(&pid));
}

#[test]
fn a_data_directory_is_kept() {
    // In a temporary directory that the server's user can enter.
    let parent = tempfile::Builder::new()
        .permissions(open_to_all())
        .tempdir_in("/tmp")
        .unwrap();
    let data_dir = parent.path().join("data");
    let options = ClusterOptions {
        data_dir: Some(data_dir.clone()),
        ..ClusterOptions::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let first = PostgresCluster::start_blocking(&options).unwrap();
    runtime.block_on(first.create_database("kept")).unwrap();
    let error = PostgresCluster::start_blocking(&options)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("postmaster.pid"),
        "a second server is refused: {error}"
    );
    let run_dir = first.socket_dir().to_owned();
    drop(first);
    assert!(!run_dir.exists() && !data_dir.join("postmaster.pid").exists());
    let second = PostgresCluster::start_blocking(&options).unwrap();
    assert!(runtime.block_on(second.has_database("kept")).unwrap());
}

fn open_to_all() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o755)
}

#[test]
fn a_failed_start_reports_the_log() {
    let settings = vec![("max_connections".to_owned(), "none".to_owned())];
    let error = PostgresCluster::start_blocking(&ClusterOptions {
        settings,
        ..ClusterOptions::default()
    })
    .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("postgres ended with 1"), "{text}");
    assert!(
        text.contains("invalid value for parameter \"max_connections\""),
        "{text}"
    );
}

const VICTIM: &str = "RECONCILER_TEST_VICTIM";

/// Not a test by itself: the process that the next test kills.
#[test]
fn victim() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let cluster = PostgresCluster::start_blocking(&ClusterOptions::default()).unwrap();
    println!("\nrun_dir={}", cluster.socket_dir().display());
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn killing_the_process_stops_the_server() {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "postgres::tests::victim", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let run_dir = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("run_dir=").map(PathBuf::from))
        .unwrap();
    let pid = server_pid(&run_dir);
    assert!(!is_gone(&pid));
    victim.kill().unwrap();
    victim.wait().unwrap();
    eventually("the end of the server", || is_gone(&pid));
    eventually("the removal of its directory", || !run_dir.exists());
}

/// If the shell is killed, this process cleans up.
#[test]
fn killing_the_shell_leaves_nothing() {
    let cluster = PostgresCluster::start_blocking(&ClusterOptions::default()).unwrap();
    let run_dir = cluster.socket_dir().to_owned();
    let pid = server_pid(&run_dir);
    let shell = cluster.supervisor.shell_id();
    let shell = rustix::process::Pid::from_raw(shell.try_into().unwrap()).unwrap();
    rustix::process::kill_process(shell, rustix::process::Signal::KILL).unwrap();
    drop(cluster);
    assert!(!run_dir.exists());
    eventually("the end of the server", || is_gone(&pid));
}
