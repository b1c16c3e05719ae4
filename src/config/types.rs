//! The typed configuration: one struct per section, one field per key.
//!
//! Values have been parsed and checked against each other; who holds a `Config` need not
//! check anything again. Who needs a key asks `Live` for the `Config` of the moment.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::keys::{FingerprintKey, KeyDigest};
use super::network::Network;
use super::string_enum::choices;
use gateway::{ClientSettings, Proxy, RsaPublicKey, ShopCredentials, WebhookKeys};
use leaves::secret::{Rotating, Secret};

/// Everything that can be configured.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[database]`
    pub database: DatabaseConfig,
    /// `[api]`
    pub api: ApiConfig,
    /// `[webhooks]`
    pub webhooks: WebhooksConfig,
    /// `[ops]`
    pub ops: OpsConfig,
    /// `[security]`
    pub security: SecurityConfig,
    /// `[gateway]`
    pub gateway: GatewayConfig,
    /// `[delivery]`
    pub delivery: DeliveryConfig,
    /// `[follow]`
    pub follow: FollowConfig,
    /// `[retention]`
    pub retention: RetentionConfig,
    /// `[serve]`
    pub serve: ServeConfig,
    /// `[telemetry]`
    pub telemetry: TelemetryConfig,
    /// `[[shops]]`, at least one, ids distinct
    pub shops: Vec<ShopConfig>,
    /// `[[clients]]`, names and keys distinct
    pub clients: Vec<ClientConfig>,
    /// `[[subscribers]]`, names distinct
    pub subscribers: Vec<SubscriberConfig>,
}

impl Config {
    /// The shop with this id.
    pub fn shop(&self, id: &str) -> Option<&ShopConfig> {
        self.shops.iter().find(|shop| shop.id == id)
    }

    /// The subscriber of this name.
    pub fn subscriber(&self, name: &str) -> Option<&SubscriberConfig> {
        self.subscribers.iter().find(|one| one.name == name)
    }
}

/// Where the state is kept.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// A `postgres://` URL, which may hold a password.
    pub url: Secret,
    /// The direct URL for migrations when `url` goes through a pooler.
    pub migrate_url: Option<Secret>,
    /// The size of the connection pool of this process.
    pub max_connections: u32,
}

impl DatabaseConfig {
    /// The URL that migrations use.
    pub fn migrate_url(&self) -> &Secret {
        self.migrate_url.as_ref().unwrap_or(&self.url)
    }
}

/// What a listener takes of others at most.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The most connections of one peer at one time.
    pub max_connections_per_peer: u32,
    /// Proxies: their connections are not counted, and they tell who their peer is.
    pub trusted_proxies: Vec<Network>,
    /// The most bytes of request bodies in memory at one time, in bytes.
    pub max_body_total: usize,
}

/// The listener of the internal REST API.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// For how long an idle connection is kept.
    pub keep_alive: Duration,
    /// The largest request body in bytes.
    pub max_body: usize,
    /// What it takes of others.
    pub limits: Limits,
}

/// The listener of the gateway's webhooks.
#[derive(Clone, Debug)]
pub struct WebhooksConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How the gateway reaches the listener, without `/webhooks/{shop}`.
    pub public_url: Url,
    /// Whether `public_url` may be plain http on an address that is not loopback.
    pub allow_http: bool,
    /// For how long an idle connection is kept.
    pub keep_alive: Duration,
    /// The largest webhook body in bytes.
    pub max_body: usize,
    /// What it takes of others.
    pub limits: Limits,
}

impl WebhooksConfig {
    /// The `notification_url` of a shop: `public_url` + `/webhooks/{shop}`.
    pub fn notification_url(&self, shop: &str) -> Url {
        let mut url = self.public_url.clone();
        // Refused only for URLs without a host, which the parser does not let through.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["webhooks", shop]);
        }
        url
    }
}

/// The listener of the operations endpoints.
#[derive(Clone, Debug)]
pub struct OpsConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// For how long an idle connection is kept.
    pub keep_alive: Duration,
}

/// Keys of our own.
#[derive(Clone, Debug)]
pub struct SecurityConfig {
    /// The keys of request fingerprints: new ones are made with the first.
    pub fingerprint_key: Rotating<FingerprintKey>,
}

choices! {
    /// What is asked first when a task is followed.
    pub enum FollowMode {
        /// `response_url`, which answers with the result once there is one.
        Result = "result",
        /// `status_url`, and `response_url` when the task is done.
        Status = "status",
    }
}

/// How the gateway is reached.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// The gateway's origin for requests and tasks.
    pub base_url: Url,
    /// The origin of its reports.
    pub reports_url: Url,
    /// What is asked first when a task is followed.
    pub follow: FollowMode,
    /// Whether a submit in doubt may be sent again under the same RequestID.
    pub trust_request_id: bool,
    /// The longest time to connect.
    pub connect_timeout: Duration,
    /// The longest time of a whole request.
    pub request_timeout: Duration,
    /// Whether the URLs may be plain http on addresses that are not loopback.
    pub allow_http: bool,
    /// After this a pooled connection is used no more, so that a name that moved is followed.
    pub max_connection_age: Duration,
    /// Through what all requests to the gateway go.
    pub proxy: Proxy,
    /// Certificate authorities that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
}

/// How subscribers are reached.
#[derive(Clone, Debug)]
pub struct DeliveryConfig {
    /// Through what messages go.
    pub proxy: Proxy,
}

impl GatewayConfig {
    /// What the gateway's client has to be told.
    pub fn client(&self) -> ClientSettings {
        ClientSettings {
            base_url: self.base_url.clone(),
            connect_timeout: self.connect_timeout,
            request_timeout: self.request_timeout,
            max_connection_age: self.max_connection_age,
            proxy: self.proxy.clone(),
            ca_file: self.ca_file.clone(),
        }
    }
}

impl ShopConfig {
    /// What requests of this shop are sent with: the secret that is used.
    pub fn credentials(&self) -> ShopCredentials<'_> {
        ShopCredentials {
            shop_id: &self.id,
            secret: self.secret_key.current().expose(),
        }
    }

    /// What webhooks of this shop are checked against.
    pub fn webhook_keys(&self) -> WebhookKeys<'_> {
        WebhookKeys {
            shop_id: &self.id,
            secrets: &self.secret_key,
            public_keys: &self.public_key,
            signature_required: self.webhook_signature == WebhookSignature::Required,
        }
    }
}

/// How transactions are followed until they are final.
#[derive(Clone, Debug)]
pub struct FollowConfig {
    /// The first check after a submit.
    pub first_check: Duration,
    /// The longest pause between checks in the first 15 minutes.
    pub max_interval: Duration,
    /// The longest pause between checks of old transactions.
    pub max_interval_old: Duration,
    /// How much earlier than our first stamp a gateway transaction of ours may say it was created.
    pub clock_tolerance: Duration,
    /// The least time between two look-ups that prove absence.
    pub absence_interval: Duration,
    /// How long after the lease a transaction may still turn up.
    pub in_doubt_horizon: Duration,
    /// After this a dead replica's work is taken over.
    pub lease: Duration,
    /// When final transactions are looked at again.
    pub recheck_after_final: Vec<Duration>,
}

/// How long things are kept.
#[derive(Clone, Debug)]
pub struct RetentionConfig {
    /// Evidence of closed transactions.
    pub evidence: Duration,
    /// The event feed.
    pub events: Duration,
}

/// How the process stops.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// The longest wait for submits in flight.
    pub drain_timeout: Duration,
    /// For how long requests are still taken after readiness has been withdrawn.
    pub shutdown_delay: Duration,
}

choices! {
    /// How log lines are written.
    pub enum LogFormat {
        /// For people on a terminal, JSON otherwise.
        Auto = "auto",
        /// One JSON object a line.
        Json = "json",
        /// For people.
        Pretty = "pretty",
    }
}

/// Logs and traces.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// The filter, such as `info` or `info,reconciler::follow=debug`.
    pub log: String,
    /// How lines are written.
    pub format: LogFormat,
    /// Where traces are sent, if anywhere.
    pub otlp_endpoint: Option<Url>,
    /// Whether the endpoint may be plain http on an address that is not loopback.
    pub allow_http: bool,
}

choices! {
    /// Whether new submits of a shop are sent.
    pub enum SubmitsMode {
        /// They are.
        On = "on",
        /// They are refused before anything is stamped; following goes on.
        Paused = "paused",
        /// The same for a shop that is to be taken out of the configuration: it is followed to its end.
        Off = "off",
    }
}

impl SubmitsMode {
    /// Whether no new submit is sent.
    pub fn is_stopped(self) -> bool {
        match self {
            Self::On => false,
            Self::Paused | Self::Off => true,
        }
    }
}

choices! {
    /// Whether a webhook must be signed.
    pub enum WebhookSignature {
        /// Without a signature that holds it is refused.
        Required = "required",
        /// Without a signature it is a hint.
        Optional = "optional",
    }
}

/// A merchant account at the gateway.
#[derive(Clone, Debug)]
pub struct ShopConfig {
    /// The shop id, `[A-Za-z0-9_-]{1,64}`.
    pub id: String,
    /// The keys for Basic authentication: the first is used, all are accepted.
    pub secret_key: Rotating<Secret>,
    /// Whether new submits are sent.
    pub submits: SubmitsMode,
    /// The keys that sign webhooks. Without one no signature holds, so that none is
    /// accepted while signatures are required.
    pub public_key: Vec<RsaPublicKey>,
    /// Whether a webhook must be signed.
    pub webhook_signature: WebhookSignature,
    /// Our own limit on requests to the gateway, over all replicas.
    pub max_requests_per_second: u32,
    /// The most requests to the gateway at one time, per process.
    pub max_in_flight: u32,
    /// Exponents that differ from the common table, by currency code.
    pub currency_exponents: BTreeMap<String, u8>,
}

/// The shops that a client or subscriber has to do with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShopSelection {
    /// `"*"`: every shop, also those added later.
    All,
    /// These.
    Only(BTreeSet<String>),
}

impl ShopSelection {
    /// Whether the shop is one of them.
    pub fn contains(&self, shop: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(shops) => shops.contains(shop),
        }
    }
}

choices! {
    /// What a client may do.
    pub enum Scope {
        /// Open transactions and run queries.
        Submit = "submit",
        /// Read everything.
        Read = "read",
        /// Check, resolve, pause.
        Operate = "operate",
    }
}

/// An internal service or person that calls the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Its name, which stands in evidence and logs.
    pub name: String,
    /// The SHA-256 of its bearer key.
    pub key_sha256: KeyDigest,
    /// The shops it may address.
    pub shops: ShopSelection,
    /// What it may do there; never empty.
    pub scopes: BTreeSet<Scope>,
    /// Its limit; none when absent.
    pub max_requests_per_second: Option<u32>,
}

choices! {
    /// An event that subscribers can be told.
    pub enum EventType {
        /// Anything about a transaction changed.
        TransactionUpdated = "transaction.updated",
        /// A transaction became final.
        TransactionFinalized = "transaction.finalized",
        /// A final transaction changed.
        TransactionCorrected = "transaction.corrected",
        /// A discrepancy was found.
        DiscrepancyOpened = "discrepancy.opened",
        /// A discrepancy was resolved.
        DiscrepancyResolved = "discrepancy.resolved",
    }
}

choices! {
    /// How much an outgoing message tells.
    pub enum PayloadStyle {
        /// The transaction or discrepancy.
        Full = "full",
        /// Only what it is about, to be read through the API.
        Thin = "thin",
    }
}

/// A receiver of Standard Webhooks.
#[derive(Clone, Debug)]
pub struct SubscriberConfig {
    /// Its name.
    pub name: String,
    /// Where messages go.
    pub url: Url,
    /// Whether `url` may be plain http on an address that is not loopback.
    pub allow_http: bool,
    /// Whether `url` may resolve to a private address.
    pub allow_private: bool,
    /// The signing keys, decoded.
    pub secret: Rotating<Secret<Vec<u8>>>,
    /// The shops it hears about.
    pub shops: ShopSelection,
    /// The events it hears about; never empty.
    pub events: BTreeSet<EventType>,
    /// How much a message tells.
    pub body: PayloadStyle,
}
