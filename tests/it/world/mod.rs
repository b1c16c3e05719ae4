//! Test environment of one integration test: database, gateway, service, and clients.
//!
//! `Setup::default().run(async |world| …)` creates it, runs the test, checks the rules that hold in
//! every test, and stops the service. No test sleeps for a fixed time; tests wait for conditions
//! ([`eventually`]).

mod cluster;
mod document;
mod fake;
mod gateway_relay;
mod http;
mod merchant;
mod metrics;
mod pooler;
mod process;
mod prometheus;
mod proxy;
mod rules;
mod service;
mod setup;
mod twin;
mod wait;

pub use cluster::{Database, private_cluster, private_cluster_with};
pub use document::DOCUMENT;
pub use fake::{FakeGateway, FakeReply, Request, ack, transaction, wrapped};
pub use gateway_relay::Relay;
pub use http::{Answer, Http};
pub use merchant::Merchant;
pub use metrics::Metrics;
pub use pooler::Pooler;
pub use process::Process;
pub use prometheus::Prometheus;
pub use proxy::{COMMIT, Proxy, ProxyFault};
pub use service::{Addresses, Service};
pub use setup::{CANARY_CVC, CANARY_PAN, KEY, SECRET, SHOP, Setup, card_payment, payment};
pub use twin::Twin;
pub use wait::{eventually, eventually_within};

use std::cell::RefCell;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, resume_unwind};

use futures_util::FutureExt;

/// The test environment of one integration test.
pub struct World {
    /// Setup of the environment, also used for additional replicas.
    pub setup: Setup,
    /// Database of the test.
    pub database: Database,
    merchant: Merchant,
    twin: Twin,
    service: RefCell<Option<Service>>,
    addresses: Addresses,
}

/// Delegates to the merchant: `world.pay("ok-1")`.
impl Deref for World {
    type Target = Merchant;

    fn deref(&self) -> &Merchant {
        &self.merchant
    }
}

impl World {
    async fn build(setup: Setup) -> Self {
        let database = match setup.own_database() {
            Some(url) => Database::at(url),
            None => Database::fresh().await,
        };
        let twin = Twin::reserve().await;
        if setup.twin_is_up() {
            twin.up().await;
        }
        let addresses = Addresses::reserve();
        let merchant = Merchant::new(&addresses, KEY);
        let service = RefCell::new(None);
        let world = Self {
            setup,
            database,
            merchant,
            twin,
            service,
            addresses,
        };
        if world.setup.service_is_up() {
            world.start().await;
        }
        world
    }

    /// Returns the gateway simulator.
    pub fn twin(&self) -> &Twin {
        &self.twin
    }

    /// Returns the configuration of a service at these addresses. Webhooks always go to the first
    /// service.
    pub fn config_text(&self, addresses: &Addresses) -> String {
        self.setup.text(
            &self.database.url,
            &self.twin.base(),
            addresses,
            &self.addresses,
        )
    }

    /// Returns the configuration of a program that connects to the database directly.
    pub fn direct_config_text(&self) -> String {
        self.straight_config_text(&self.addresses)
    }

    /// Returns the configuration of a service at these addresses that connects to the database
    /// directly.
    pub fn straight_config_text(&self, at: &Addresses) -> String {
        let straight = self.setup.clone().straight();
        straight.text(&self.database.url, &self.twin.base(), at, &self.addresses)
    }

    /// Returns the addresses of the first service.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Returns the client of the first service.
    pub fn merchant(&self) -> Merchant {
        self.merchant.clone()
    }

    /// Starts the service in this process, at its fixed addresses.
    pub async fn start(&self) {
        let text = self.config_text(&self.addresses);
        let service = Service::start(&text, &self.addresses).await;
        assert!(
            self.service.replace(Some(service)).is_none(),
            "it runs already"
        );
        self.merchant.until_ready().await;
    }

    /// Stops the service in this process, like a SIGTERM.
    pub async fn stop(&self) {
        let service = self.service.take();
        service.expect("it does not run").stop().await;
    }

    /// Starts another replica in this process, at new addresses.
    pub async fn replica(&self) -> (Service, Merchant) {
        let addresses = Addresses::reserve();
        let service = Service::start(&self.config_text(&addresses), &addresses).await;
        let merchant = Merchant::new(&addresses, KEY);
        merchant.until_ready().await;
        (service, merchant)
    }

    /// Starts the real binary at the fixed addresses.
    pub async fn process(&self) -> Process {
        let process = Process::start(&self.config_text(&self.addresses), &self.addresses);
        self.merchant.until_ready().await;
        process
    }

    /// Starts the real binary as another replica.
    pub async fn another_process(&self) -> (Process, Merchant) {
        let addresses = Addresses::reserve();
        let process = Process::start(&self.config_text(&addresses), &addresses);
        let merchant = Merchant::new(&addresses, KEY);
        merchant.until_ready().await;
        (process, merchant)
    }

    /// Starts the real binary as another replica, with options of `serve`.
    pub async fn process_with(&self, options: &[&str]) -> Process {
        let addresses = Addresses::reserve();
        let process = Process::start_with_options(&self.config_text(&addresses), options);
        Merchant::new(&addresses, KEY).until_ready().await;
        process
    }

    /// Returns the current metrics of the first service.
    pub async fn metrics(&self) -> Metrics {
        self.merchant.metrics().await
    }

    /// Checks the rules that hold in every test, and stops everything.
    async fn finish(self, ended_well: bool) {
        let broken = rules::broken(&self).await;
        if !ended_well || !broken.is_empty() {
            rules::tell(&self).await;
        }
        if let Some(service) = self.service.take() {
            service.stop().await;
        }
        self.twin.down().await;
        self.database.remove().await;
        if ended_well {
            assert!(
                broken.is_empty(),
                "rules broken at the end:\n{}",
                broken.join("\n")
            );
        }
    }
}

impl Setup {
    /// Creates the environment, runs the test, and always finishes.
    pub fn run(self, test: impl AsyncFnOnce(&World)) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let world = World::build(self).await;
            let ended = AssertUnwindSafe(test(&world)).catch_unwind().await;
            world.finish(ended.is_ok()).await;
            if let Err(panic) = ended {
                resume_unwind(panic);
            }
        });
        runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    }
}
