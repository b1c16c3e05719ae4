//! Ceilings: pgbench with the plain handler's statements, with one transaction per webhook and with
//! one per hundred webhooks.

use std::path::PathBuf;
use std::process::Command;
use testkit::postgres::PostgresCluster;

const ONE: &str = r"
\set n random(1, :rows)
BEGIN;
INSERT INTO plain_webhooks (sha256, tracking_id, body)
    VALUES (uuid_send(gen_random_uuid()), 'bench-order-' || lpad(:n::text, 8, '0'), repeat('x', :size)) ON CONFLICT DO NOTHING;
UPDATE plain_transactions SET state = 'successful', uid = gen_random_uuid()::text, updated_at = now()
    WHERE tracking_id = 'bench-order-' || lpad(:n::text, 8, '0') RETURNING id;
INSERT INTO plain_events (transaction_id, type, payload)
    VALUES (gen_random_uuid(), 'transaction.updated', repeat('x', :size));
COMMIT;
";

const HUNDRED: &str = r"
\set n random(1, :rows - 100)
BEGIN;
INSERT INTO plain_webhooks (sha256, tracking_id, body)
    SELECT uuid_send(gen_random_uuid()), 'bench-order-' || lpad(k::text, 8, '0'), repeat('x', :size)
    FROM generate_series(:n, :n + 99) k ON CONFLICT DO NOTHING;
UPDATE plain_transactions SET state = 'successful', uid = gen_random_uuid()::text, updated_at = now()
    WHERE tracking_id = ANY (SELECT 'bench-order-' || lpad(k::text, 8, '0') FROM generate_series(:n, :n + 99) k);
INSERT INTO plain_events (transaction_id, type, payload)
    SELECT gen_random_uuid(), 'transaction.updated', repeat('x', :size) FROM generate_series(:n, :n + 99) k;
COMMIT;
";

/// Measures webhooks per second with one transaction each.
pub fn one(cluster: &PostgresCluster, database: &str, rows: usize, seconds: u32) -> f64 {
    run(cluster, database, ONE, rows, 64, seconds)
}

/// Measures webhooks per second with one hundred per transaction.
pub fn hundred(cluster: &PostgresCluster, database: &str, rows: usize, seconds: u32) -> f64 {
    // More clients would only wait for each other's rows.
    run(cluster, database, HUNDRED, rows, 2, seconds) * 100.0
}

fn run(
    cluster: &PostgresCluster,
    database: &str,
    script: &str,
    rows: usize,
    clients: u32,
    seconds: u32,
) -> f64 {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), script).expect("a script");
    let output = Command::new(pgbench())
        .args(["-n", "-M", "prepared", "-U", "postgres", "-h"])
        .arg(cluster.socket_dir())
        .args(["-D", &format!("rows={rows}"), "-D", "size=1500"])
        .args([
            "-c",
            &clients.to_string(),
            "-j",
            "1",
            "-T",
            &seconds.to_string(),
        ])
        .arg("-f")
        .arg(file.path())
        .arg(database)
        .output()
        .expect("pgbench runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("tps = "));
    line.and_then(|line| line.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("pgbench: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// Returns the path of pgbench: Debian's, or the one on the `PATH`.
fn pgbench() -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin/pgbench")))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from("pgbench"))
}
