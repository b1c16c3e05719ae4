//! Setup of a test environment: the configuration as text for the real loader.

use crate::world::{Addresses, FakeGateway};
use reconciler::config::KeyDigest;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use twin::SigningKey;

/// Shop ID of most tests.
pub const SHOP: &str = "1001";
/// Secret key of the shop.
pub const SECRET: &str = "secret-of-1001";
/// Key of the client with all scopes at every shop.
pub const KEY: &str = "key-of-orders";
/// A test card number that no other test data contains.
pub const CANARY_PAN: &str = "5555555555554444";
/// A verification value that occurs nowhere else.
pub const CANARY_CVC: &str = "7391846205";

/// Returns the body of a payment. Each has its own card token, because the gateway treats equal
/// amounts with one token as duplicates.
pub fn payment(tracking_id: &str) -> Value {
    let token = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, tracking_id.as_bytes());
    json!({
        "amount": 3245, "currency": "EUR", "description": "Order 7", "tracking_id": tracking_id,
        "test": true, "credit_card": {"token": token},
    })
}

/// Returns the body of a payment with full card data.
pub fn card_payment(tracking_id: &str) -> Value {
    let mut body = payment(tracking_id);
    body["credit_card"] = json!({
        "number": CANARY_PAN, "verification_value": CANARY_CVC, "holder": "CANARY HOLDERNAME",
        "exp_month": "11", "exp_year": "2037",
    });
    body
}

/// Builder of a test environment.
#[derive(Debug, Clone)]
pub struct Setup {
    values: BTreeMap<&'static str, BTreeMap<&'static str, String>>,
    shops: Vec<BTreeMap<&'static str, String>>,
    clients: Vec<String>,
    gateway: Option<String>,
    database: Option<String>,
    way: Option<String>,
    way_to_gateway: Option<String>,
    twin_is_up: bool,
    service_is_up: bool,
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn shop(id: &str, secret: &str) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("id", quoted(id)),
        ("secret_key", quoted(secret)),
        ("public_key", quoted(SigningKey::Default.public())),
        ("max_requests_per_second", "10000".to_owned()),
    ])
}

impl Default for Setup {
    /// The service and the simulator run, with short intervals and timeouts.
    fn default() -> Self {
        let setup = Self {
            values: BTreeMap::new(),
            shops: vec![shop(SHOP, SECRET)],
            clients: Vec::new(),
            gateway: None,
            database: None,
            way: None,
            way_to_gateway: None,
            twin_is_up: true,
            service_is_up: true,
        };
        setup
            .set("database", "max_connections", "6")
            .set("security", "fingerprint_key", &quoted(&"f".repeat(32)))
            .set("gateway", "connect_timeout", "\"1s\"")
            .set("gateway", "request_timeout", "\"2s\"")
            .set("follow", "first_check", "\"50ms\"")
            .set("follow", "max_interval", "\"300ms\"")
            .set("follow", "max_interval_old", "\"300ms\"")
            .set("follow", "absence_interval", "\"100ms\"")
            .set("follow", "in_doubt_horizon", "\"200ms\"")
            .set("follow", "lease", "\"5s\"")
            .set("serve", "drain_timeout", "\"10s\"")
            .set("serve", "shutdown_delay", "\"0s\"")
            .client(
                "orders",
                KEY,
                "[\"*\"]",
                "[\"submit\", \"read\", \"operate\"]",
            )
    }
}

impl Setup {
    /// Sets one setting; `literal` is TOML.
    pub fn set(mut self, section: &'static str, key: &'static str, literal: &str) -> Self {
        self.values
            .entry(section)
            .or_default()
            .insert(key, literal.to_owned());
        self
    }

    /// Sets one setting of the first shop; `literal` is TOML.
    pub fn shop_set(mut self, key: &'static str, literal: &str) -> Self {
        self.shops[0].insert(key, literal.to_owned());
        self
    }

    /// Uses short timeouts and leases.
    pub fn impatient(self) -> Self {
        self.set("gateway", "request_timeout", "\"700ms\"")
            .set("follow", "lease", "\"1500ms\"")
    }

    /// Allows resending in doubt under the same `RequestID`.
    pub fn trusting(self) -> Self {
        self.set("gateway", "trust_request_id", "true")
    }

    pub(super) fn trusts_request_id(&self) -> bool {
        let gateway = self.values.get("gateway");
        gateway.is_some_and(|values| values.contains_key("trust_request_id"))
    }

    /// Disables scheduled checks for an hour; only requested checks run.
    pub fn quiet(self) -> Self {
        self.set("follow", "first_check", "\"1h\"")
            .set("follow", "max_interval", "\"1h\"")
            .set("follow", "max_interval_old", "\"1h\"")
    }

    /// Accepts unsigned webhooks as hints.
    pub fn signature_optional(self) -> Self {
        self.shop_set("webhook_signature", "\"optional\"")
    }

    /// Adds a shop.
    pub fn with_shop(mut self, id: &str, secret: &str) -> Self {
        self.shops.push(shop(id, secret));
        self
    }

    /// Adds an API client; shops and scopes are TOML.
    pub fn client(self, name: &str, key: &str, shops: &str, scopes: &str) -> Self {
        self.limited_client(name, key, shops, scopes, "")
    }

    /// Adds an API client with additional lines of TOML.
    pub fn limited_client(
        mut self,
        name: &str,
        key: &str,
        shops: &str,
        scopes: &str,
        more: &str,
    ) -> Self {
        let hash: String = KeyDigest::of(key.as_bytes())
            .as_bytes()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        self.clients.push(format!(
            "[[clients]]\nname = {}\nkey_sha256 = \"{hash}\"\nshops = {shops}\nscopes = {scopes}\n{more}\n",
            quoted(name)
        ));
        self
    }

    /// Adds a subscriber; `lines` is TOML.
    pub fn subscriber(mut self, lines: &str) -> Self {
        self.clients.push(format!("[[subscribers]]\n{lines}\n"));
        self
    }

    /// Uses a scripted gateway instead of the simulator.
    pub fn gateway(mut self, fake: &FakeGateway) -> Self {
        self.gateway = Some(fake.base());
        self
    }

    /// Uses a database that the test provides.
    pub fn database(mut self, url: &str) -> Self {
        self.database = Some(url.to_owned());
        self
    }

    /// Connects the service to the database by this URL; the test connects directly.
    pub fn database_by_way_of(mut self, url: &str) -> Self {
        self.way = Some(url.to_owned());
        self
    }

    /// Connects the service to the simulator by this origin.
    pub fn gateway_by_way_of(mut self, origin: &str) -> Self {
        self.way_to_gateway = Some(origin.to_owned());
        self
    }

    /// Connects the service directly.
    pub(super) fn straight(mut self) -> Self {
        self.way = None;
        self
    }

    /// Does not start the simulator until `world.twin().up()`.
    pub fn gateway_down(mut self) -> Self {
        self.twin_is_up = false;
        self
    }

    /// Does not start the service; the test starts it, or the real binary.
    pub fn service_down(mut self) -> Self {
        self.service_is_up = false;
        self
    }

    pub(super) fn twin_is_up(&self) -> bool {
        self.twin_is_up && self.gateway.is_none()
    }

    pub(super) fn has_twin(&self) -> bool {
        self.gateway.is_none()
    }

    pub(super) fn service_is_up(&self) -> bool {
        self.service_is_up
    }

    pub(super) fn own_database(&self) -> Option<String> {
        self.database.clone()
    }

    pub(super) fn text(
        &self,
        database: &str,
        twin: &str,
        addresses: &Addresses,
        hooks: &Addresses,
    ) -> String {
        let twin = self.way_to_gateway.as_deref().unwrap_or(twin);
        let gateway = self.gateway.as_deref().unwrap_or(twin);
        let database = self.way.as_deref().unwrap_or(database);
        let setup = self
            .clone()
            .set("database", "url", &quoted(database))
            .set("gateway", "base_url", &quoted(gateway))
            .set("api", "listen", &quoted(&addresses.api.to_string()))
            .set(
                "webhooks",
                "listen",
                &quoted(&addresses.webhooks.to_string()),
            )
            .set(
                "webhooks",
                "public_url",
                &quoted(&format!("http://{}", hooks.webhooks)),
            )
            .set("ops", "listen", &quoted(&addresses.ops.to_string()))
            .set("telemetry", "format", "\"json\"");
        let lines = |table: &BTreeMap<&str, String>| -> String {
            table
                .iter()
                .map(|(key, value)| format!("{key} = {value}\n"))
                .collect()
        };
        let sections: String = setup
            .values
            .iter()
            .map(|(name, table)| format!("[{name}]\n{}", lines(table)))
            .collect();
        let shops: String = setup
            .shops
            .iter()
            .map(|table| format!("[[shops]]\n{}", lines(table)))
            .collect();
        format!("{sections}{shops}{}", setup.clients.concat())
    }
}
