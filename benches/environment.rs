//! Environment of a benchmark: a private durable PostgreSQL, the release binary, the plain handler,
//! and a gateway that accepts everything at once.

use crate::bodies::{KEY, SECRET, SHOP, free_address};
use reconciler::config::KeyDigest;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use testkit::postgres::{ClusterOptions, PostgresCluster};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use twin::SigningKey;

/// Starts a durable server: `fsync`, `synchronous_commit` and `full_page_writes` are on.
pub async fn postgres() -> PostgresCluster {
    let settings = [
        ("shared_buffers", "2GB"),
        ("max_wal_size", "8GB"),
        ("synchronous_commit", "on"),
        ("fsync", "on"),
        ("shared_preload_libraries", "pg_stat_statements"),
    ];
    let options = ClusterOptions {
        durable: true,
        settings: settings.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        ..ClusterOptions::default()
    };
    PostgresCluster::start(options)
        .await
        .expect("PostgreSQL starts")
}

/// A process that is killed when its handle is dropped.
pub struct BenchEnvironment {
    child: Child,
    /// Addresses of its listeners.
    pub at: Addresses,
    _directory: tempfile::TempDir,
}

/// Listen addresses of a process.
#[derive(Clone, Copy)]
pub struct Addresses {
    /// Listener for submits.
    pub api: SocketAddr,
    /// Listener for webhooks.
    pub hooks: SocketAddr,
    /// Listener for metrics.
    pub ops: SocketAddr,
}

impl BenchEnvironment {
    /// Returns its current memory, in MiB.
    pub fn memory_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
        kib.unwrap_or(0.0) / 1024.0
    }

    /// Returns the CPU time that it has used, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.unwrap_or_default();
        let after = stat.rsplit(')').next().unwrap_or_default();
        let ticks = after.split_whitespace().skip(11).take(2);
        let ticks: f64 = ticks.filter_map(|t| t.parse::<f64>().ok()).sum();
        // The kernel counts 100 ticks per second on every current Linux.
        ticks / 100.0
    }
}

/// Returns the CPU time that a server and all its processes have used, in seconds.
pub fn server_cpu_seconds(cluster: &PostgresCluster) -> f64 {
    let file = std::fs::read_to_string(cluster.data_dir().join("postmaster.pid"));
    let file = file.expect("the server runs");
    let server = file.lines().next().unwrap_or_default().to_owned();
    let stats = std::fs::read_dir("/proc").expect("processes").flatten();
    let ticks = stats.filter_map(|process| {
        let stat = std::fs::read_to_string(process.path().join("stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<f64>().ok();
        let own = number(11)? + number(12)?;
        // What has ended counts with its parent.
        match process.file_name().to_str()? == server {
            true => Some(own + number(13)? + number(14)?),
            false => (*fields.get(1)? == server).then_some(own),
        }
    });
    ticks.sum::<f64>() / 100.0
}

/// The program that is measured: this one, or that which `BENCH_PROGRAM` names.
fn program() -> PathBuf {
    let other = std::env::var_os("BENCH_PROGRAM");
    other.map_or_else(|| env!("CARGO_BIN_EXE_reconciler").into(), PathBuf::from)
}

impl Drop for BenchEnvironment {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the service on a database, with additional lines in `[follow]`.
pub async fn service(database: &str, gateway: SocketAddr, follow: &str) -> BenchEnvironment {
    with_shops(database, gateway, follow, &[]).await
}

/// Like [`service`], with additional shops.
pub async fn with_shops(
    database: &str,
    gateway: SocketAddr,
    follow: &str,
    shops: &[String],
) -> BenchEnvironment {
    let at = Addresses {
        api: free_address(),
        hooks: free_address(),
        ops: free_address(),
    };
    let digest = KeyDigest::of(KEY.as_bytes());
    let hash: String = digest
        .as_bytes()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let (api, hooks, ops, key) = (at.api, at.hooks, at.ops, SigningKey::Default.public());
    let further: String = shops
        .iter()
        .map(|id| {
            format!(
                "[[shops]]\nid = \"{id}\"\nsecret_key = \"{SECRET}\"\npublic_key = \"{key}\"\n\
                 max_requests_per_second = 100000\nmax_in_flight = 1024\n"
            )
        })
        .collect();
    let config = format!(
        "[database]\nurl = \"{database}\"\n[api]\nlisten = \"{api}\"\nmax_connections_per_peer = 100000\n\
         [webhooks]\nmax_connections_per_peer = 100000\nlisten = \"{hooks}\"\npublic_url = \"http://{hooks}\"\n[ops]\nlisten = \"{ops}\"\n\
         [security]\nfingerprint_key = \"{}\"\n[gateway]\nbase_url = \"http://{gateway}\"\n\
         [follow]\n{follow}\n[telemetry]\nlog = \"warn\"\n\
         [[shops]]\nid = \"{SHOP}\"\nsecret_key = \"{SECRET}\"\npublic_key = \"{key}\"\n\
         max_requests_per_second = 100000\nmax_in_flight = 1024\n\
         [[clients]]\nname = \"bench\"\nkey_sha256 = \"{hash}\"\nshops = [\"*\"]\n\
         scopes = [\"submit\", \"read\", \"operate\"]\nmax_requests_per_second = 100000\n{further}",
        "f".repeat(32)
    );
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("config.toml");
    std::fs::write(&path, config).expect("a file");
    let child = Command::new(program())
        .args(["serve", "--config"])
        .arg(&path)
        .env_remove("DATABASE_URL")
        .stdin(Stdio::null())
        .spawn()
        .expect("the service starts");
    until_open(at.api).await;
    until_open(at.hooks).await;
    BenchEnvironment {
        child,
        at,
        _directory: directory,
    }
}

/// Starts the plain handler on a database.
pub async fn plain(database: &str, gateway: SocketAddr) -> BenchEnvironment {
    let address = free_address();
    let child = Command::new(std::env::current_exe().expect("a path"))
        .args(["plain", &address.to_string(), database])
        .args([&format!("http://{gateway}"), SigningKey::Default.public()])
        .stdin(Stdio::null())
        .spawn()
        .expect("the plain handler starts");
    until_open(address).await;
    BenchEnvironment {
        child,
        at: Addresses {
            api: address,
            hooks: address,
            ops: address,
        },
        _directory: tempfile::tempdir().expect("a directory"),
    }
}

async fn until_open(address: SocketAddr) {
    let began = Instant::now();
    while TcpStream::connect(address).await.is_err() {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{address} is not listening"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Applies the service's migrations to a database.
pub fn migrate(database: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let path: PathBuf = directory.path().join("config.toml");
    let config = format!(
        "[database]\nurl = \"{database}\"\n[webhooks]\npublic_url = \"http://127.0.0.1:1\"\n\
         [security]\nfingerprint_key = \"{}\"\n[[shops]]\nid = \"{SHOP}\"\nsecret_key = \"{SECRET}\"\n\
         public_key = \"{}\"\n",
        "f".repeat(32),
        SigningKey::Default.public()
    );
    std::fs::write(&path, config).expect("a file");
    let status = Command::new(program())
        .args(["migrate", "--config"])
        .arg(&path)
        .env_remove("DATABASE_URL")
        .stdout(Stdio::null())
        .status()
        .expect("the migration runs");
    assert!(status.success(), "the migration failed");
}

/// Starts a gateway that acknowledges every submit at once. Its tasks never end, and its lookups
/// find nothing.
pub async fn gateway() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(converse(stream, address));
        }
    });
    address
}

async fn converse(mut stream: TcpStream, address: SocketAddr) -> Option<()> {
    let mut buffer = Vec::with_capacity(8192);
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut buffer).await.ok()? == 0 {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(0);
        while buffer.len() < end + length {
            if stream.read_buf(&mut buffer).await.ok()? == 0 {
                return None;
            }
        }
        buffer.drain(..end + length);
        let (status, body) = if head.starts_with("post ") {
            let task = uuid::Uuid::new_v4();
            let ack = format!(
                "{{\"status\":\"processing\",\"request_id\":\"{task}\",\
                 \"status_url\":\"http://{address}/async/status/{task}\",\
                 \"response_url\":\"http://{address}/async/result/{task}\"}}"
            );
            (200, ack)
        } else {
            (425, "{\"status\":\"processing\"}".to_owned())
        };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}
