//! Configuration of the demo's service: written for this run, with random keys and intervals so
//! short that even a proof of absence takes seconds.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rand::Rng as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::DemoError;

/// Shop ID.
pub(super) const SHOP: &str = "1001";
/// File of the fingerprint key. It is kept with the data, so that requests of an earlier run are
/// recognised.
const FINGERPRINT_KEY: &str = "fingerprint-key";

/// Addresses and keys of the service.
#[derive(Clone, Debug)]
pub(super) struct DemoSettings {
    /// Path of the configuration file.
    pub(super) file: PathBuf,
    /// Origin of the REST API.
    pub(super) api: String,
    /// Origin of the webhook listener.
    pub(super) webhooks: String,
    /// Origin of the operations listener.
    pub(super) ops: String,
    /// Client key for the API.
    pub(super) bearer: String,
}

/// The merchant's account at the gateway.
#[derive(Clone, Debug)]
pub(super) struct GatewayAccount {
    /// Origin of the gateway.
    pub(super) gateway: String,
    /// Secret key of the shop.
    pub(super) secret: String,
    /// Public key that verifies webhooks.
    pub(super) public_key: String,
}

impl DemoSettings {
    /// Chooses free ports and random keys, and writes the configuration into `home`. `neighbour` is
    /// the URL and the secret of the subscriber.
    pub(super) fn write(
        home: &Path,
        database: &str,
        account: &GatewayAccount,
        neighbour: (&str, &str),
    ) -> Result<Self, DemoError> {
        let [api, webhooks, ops] = free_addresses().map_err(DemoError::io("find free ports"))?;
        let bearer = format!("demo-{}", &random_hex()[..32]);
        let fingerprint_key = home.join(FINGERPRINT_KEY);
        if !fingerprint_key.exists() {
            write_secret(&fingerprint_key, &random_hex())?;
        }
        let mut document = document(database, [api, webhooks, ops], &bearer, account);
        let (url, secret) = neighbour;
        document["subscribers"] = json!([{
            "name": "neighbour",
            "url": url,
            "secret": secret,
            "shops": [SHOP],
            "events": ["transaction.updated", "transaction.finalized", "transaction.corrected"],
        }]);
        let text = toml::to_string(&document).map_err(DemoError::Settings)?;
        let file = home.join("config.toml");
        write_secret(&file, &text)?;
        let origin = |address: SocketAddr| format!("http://{address}");
        Ok(Self {
            file,
            api: origin(api),
            webhooks: origin(webhooks),
            ops: origin(ops),
            bearer,
        })
    }
}

/// Absence is proved after lease, request timeout and horizon: 13 s in total.
fn document(
    database: &str,
    [api, webhooks, ops]: [SocketAddr; 3],
    bearer: &str,
    account: &GatewayAccount,
) -> Value {
    json!({
        "database": {"url": database},
        "api": {"listen": api.to_string()},
        "webhooks": {
            "listen": webhooks.to_string(),
            "public_url": format!("http://{webhooks}"),
        },
        "ops": {"listen": ops.to_string()},
        "security": {"fingerprint_key_file": FINGERPRINT_KEY},
        "gateway": {
            "base_url": account.gateway,
            "reports_url": account.gateway,
            "connect_timeout": "2s",
            "request_timeout": "4s",
        },
        "follow": {
            "first_check": "300ms",
            "max_interval": "2s",
            "absence_interval": "1s",
            "in_doubt_horizon": "3s",
            "lease": "6s",
        },
        "serve": {"drain_timeout": "5s", "shutdown_delay": "0s"},
        "telemetry": {"format": "json"},
        "shops": [{
            "id": SHOP,
            "secret_key": account.secret,
            "public_key": account.public_key,
            "max_requests_per_second": 100,
        }],
        "clients": [{
            "name": "demo",
            "key_sha256": hex(&Sha256::digest(bearer)),
            "shops": [SHOP],
            "scopes": ["submit", "read", "operate"],
        }],
    })
}

/// Returns three different free loopback addresses.
fn free_addresses() -> std::io::Result<[SocketAddr; 3]> {
    let bind = || TcpListener::bind(("127.0.0.1", 0));
    let held = [bind()?, bind()?, bind()?];
    let [first, second, third] = &held;
    Ok([
        first.local_addr()?,
        second.local_addr()?,
        third.local_addr()?,
    ])
}

/// Writes a file that only its owner can read. Replaces an existing file.
fn write_secret(path: &Path, text: &str) -> Result<(), DemoError> {
    let failed = || DemoError::io(format!("write {}", path.display()));
    let mut options = std::fs::File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path).map_err(failed())?;
    file.write_all(text.as_bytes()).map_err(failed())
}

/// Returns 64 random hexadecimal digits.
pub(super) fn random_hex() -> String {
    hex(&rand::rng().random::<[u8; 32]>())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    /// The service must accept this configuration, whatever the caller's environment contains.
    #[test]
    fn the_service_accepts_these_settings() {
        let home = tempfile::tempdir().expect("a directory can be made");
        let account = GatewayAccount {
            gateway: "http://127.0.0.1:8090".to_owned(),
            secret: "secret".to_owned(),
            public_key: include_str!("../../../config.example.toml")
                .lines()
                .find_map(|line| line.strip_prefix("public_key = "))
                .expect("the example has a key")
                .trim_matches('"')
                .to_owned(),
        };
        let database = "postgres://postgres@localhost:5432/demo?host=/tmp/rpg.x";
        let neighbour = (
            "http://127.0.0.1:1/hooks",
            "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        );
        let settings =
            DemoSettings::write(home.path(), database, &account, neighbour).expect("it is written");
        let config = reconciler::config::load(Some(&settings.file), std::iter::empty())
            .unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.shops.len(), 1);
        assert_ne!(settings.api, settings.webhooks);
    }
}
