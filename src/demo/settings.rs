//! The configuration of the demo's service: made for this run, with keys of its own and a
//! pace at which even a proof of absence takes seconds.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rand::Rng as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Error;

/// The merchant account.
pub(super) const SHOP: &str = "1001";
/// The file of the key under which request bodies are remembered. It stays with the data,
/// so that a request of an earlier run is still recognised.
const FINGERPRINT_KEY: &str = "fingerprint-key";

/// Where everything listens, and with which keys.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The file.
    pub(super) file: PathBuf,
    /// The REST API's origin.
    pub(super) api: String,
    /// The webhook listener's origin.
    pub(super) webhooks: String,
    /// The operations listener's origin.
    pub(super) ops: String,
    /// The key that the API takes.
    pub(super) bearer: String,
}

/// What the gateway gave the merchant.
#[derive(Clone, Debug)]
pub(super) struct Account {
    /// The gateway's origin.
    pub(super) gateway: String,
    /// The shop's secret key.
    pub(super) secret: String,
    /// The key that signs webhooks.
    pub(super) public_key: String,
}

impl Settings {
    /// Chooses free ports and keys, and writes the file into `home`. `neighbour` is the address and
    /// the secret of a subscriber.
    pub(super) fn write(
        home: &Path,
        database: &str,
        account: &Account,
        neighbour: (&str, &str),
    ) -> Result<Self, Error> {
        let [api, webhooks, ops] = free_addresses().map_err(Error::io("find free ports"))?;
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
        let text = toml::to_string(&document).map_err(Error::Settings)?;
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

/// Absence is proved after lease, request timeout and horizon: 13 s in all.
fn document(
    database: &str,
    [api, webhooks, ops]: [SocketAddr; 3],
    bearer: &str,
    account: &Account,
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

/// Three loopback addresses that are free now; held together, so that they differ.
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

/// A file that nobody else can read, in place of one that may be there.
fn write_secret(path: &Path, text: &str) -> Result<(), Error> {
    let failed = || Error::io(format!("write {}", path.display()));
    let mut options = std::fs::File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path).map_err(failed())?;
    file.write_all(text.as_bytes()).map_err(failed())
}

/// 64 hexadecimal digits that nobody can guess.
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
#[expect(clippy::expect_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    /// The service must take what is written here, whatever the caller's environment says.
    #[test]
    fn the_service_takes_these_settings() {
        let home = tempfile::tempdir().expect("a directory can be made");
        let account = Account {
            gateway: "http://127.0.0.1:8090".to_owned(),
            secret: "secret".to_owned(),
            public_key: include_str!("../../config.example.toml")
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
            Settings::write(home.path(), database, &account, neighbour).expect("it is written");
        let config = crate::config::load(Some(&settings.file), std::iter::empty())
            .unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.shops.len(), 1);
        assert_ne!(settings.api, settings.webhooks);
    }
}
