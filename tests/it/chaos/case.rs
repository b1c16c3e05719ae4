//! A chaos case: load, fault, unassisted recovery, and verification.

use crate::chaos::load::Load;
use crate::chaos::reconcile;
use crate::chaos::scale::{ChaosScale, IN_FLIGHT};
use crate::world::{Addresses, KEY, Merchant, Process, Setup, World, eventually_within};
use rustix::process::Signal;
use serde_json::json;
use std::io::Write as _;
use std::time::Duration;
use tokio::time::Instant;

/// Parameters of a case.
pub struct CaseParameters {
    /// Name of the case in the results table.
    pub name: &'static str,
    /// Test environment; its service is the real binary.
    pub setup: Setup,
    /// Number of replicas.
    pub replicas: usize,
    /// Environment variables of each replica.
    pub environment: Vec<(String, String)>,
}

impl CaseParameters {
    /// Creates a case with one replica.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            setup: setup(),
            replicas: 1,
            environment: Vec::new(),
        }
    }

    /// Runs the case. The fault is over when `fault` returns.
    pub fn run(self, fault: impl AsyncFnOnce(&mut Case<'_>)) {
        self.run_after(async |_| {}, fault);
    }

    /// Like [`Self::run`], with an action before the services start.
    pub fn run_after(
        self,
        before: impl AsyncFnOnce(&World),
        fault: impl AsyncFnOnce(&mut Case<'_>),
    ) {
        let setup = self.setup.clone();
        setup.run(async |world| {
            before(world).await;
            let mut case = Case::begin(&self, world).await;
            let began = Instant::now();
            fault(&mut case).await;
            case.end(self.name, began.elapsed()).await;
        });
    }
}

/// Uses short times that still allow hundreds of open transactions.
fn setup() -> Setup {
    Setup::default()
        .service_down()
        .set("database", "max_connections", "12")
        // All callers are at one address.
        .set("api", "max_connections_per_peer", "10000")
        .set("gateway", "request_timeout", "\"1s\"")
        .set("follow", "lease", "\"2500ms\"")
        .set("follow", "first_check", "\"500ms\"")
        .set("follow", "max_interval", "\"1s\"")
        .set("follow", "max_interval_old", "\"1s\"")
        .set("follow", "absence_interval", "\"200ms\"")
        .set("follow", "in_doubt_horizon", "\"500ms\"")
        .shop_set("max_in_flight", "500")
}

/// A running case.
pub struct Case<'w> {
    /// Test environment.
    pub world: &'w World,
    /// Size of the case.
    pub scale: ChaosScale,
    /// Processes of the replicas.
    pub processes: Vec<Process>,
    addresses: Vec<Addresses>,
    /// A client for each replica.
    pub merchants: Vec<Merchant>,
    environment: Vec<(String, String)>,
    load: Load,
}

impl<'w> Case<'w> {
    async fn begin(plan: &CaseParameters, world: &'w World) -> Self {
        let scale = ChaosScale::chosen();
        // Keeps many transactions open at once; the slow ones are still open after the fault.
        let tasks = json!({"bimodal": {"fast": 1.0, "slow": 2.5, "slow_share": 0.5}});
        let switches = json!({"task_delay": tasks, "duplicate_check": "off"});
        world.twin().switch(switches).await;
        let mut case = Self {
            world,
            scale,
            processes: Vec::new(),
            addresses: Vec::new(),
            merchants: Vec::new(),
            environment: plan.environment.clone(),
            load: Load::start(0, &[world.merchant()]),
        };
        for n in 0..plan.replicas {
            let addresses = match n {
                0 => world.addresses(),
                _ => Addresses::reserve(),
            };
            case.addresses.push(addresses);
            case.merchants.push(Merchant::new(&addresses, KEY));
            let process = case.spawn(n);
            case.processes.push(process);
        }
        case.until_ready().await;
        case.load = Load::start(scale.callers, &case.merchants);
        case.until_many_are_open().await;
        case
    }

    fn spawn(&self, n: usize) -> Process {
        let text = self.world.config_text(&self.addresses[n]);
        Process::start_in(&text, &self.environment)
    }

    /// Restarts a service that has ended, at its old addresses.
    pub fn start_again(&mut self, n: usize) {
        self.processes[n] = self.spawn(n);
    }

    async fn until_ready(&self) {
        for merchant in &self.merchants {
            let ready = async || (merchant.readiness().await == Some(200)).then_some(());
            eventually_within(self.scale.patience, ready)
                .await
                .expect("every service is ready again");
        }
    }

    /// Waits until enough transactions are open.
    pub async fn until_many_are_open(&self) {
        let sql = "SELECT count(*) FROM transactions WHERE finalized_at IS NULL";
        let many = async || {
            let open: i64 = self.world.database.one(sql).await;
            (open >= IN_FLIGHT).then_some(())
        };
        eventually_within(self.scale.patience, many)
            .await
            .expect("many transactions are open");
    }

    /// Returns the number of accepted payments so far.
    pub fn taken(&self) -> usize {
        self.load.taken()
    }

    /// Waits for the duration of an outage.
    pub async fn outage(&self) {
        tokio::time::sleep(self.scale.outage).await;
    }

    /// Returns whether PostgreSQL rejects writes.
    pub async fn cannot_write(&self) -> bool {
        let sql = "CREATE TABLE room AS SELECT repeat('x', 1000) FROM generate_series(1, 200)";
        let pool = &self.world.database.pool;
        let wrote = sqlx::query(sql).execute(pool).await.is_ok();
        let _ = sqlx::query("DROP TABLE IF EXISTS room").execute(pool).await;
        !wrote
    }

    /// Asserts that all services are ready.
    pub async fn still_ready(&self) {
        for merchant in &self.merchants {
            assert_eq!(merchant.readiness().await, Some(200));
        }
    }

    async fn end(mut self, name: &str, fault: Duration) {
        let over = Instant::now();
        self.until_ready().await;
        let ready = over.elapsed();
        let told = self.load.finish(self.scale.patience).await;
        let ended = over.elapsed();
        let mut wrong = reconcile::differences(self.world, &told).await;
        wrong.extend(reconcile::audited(self.world));
        for process in &mut self.processes {
            process.signal(Signal::TERM);
            let status = process.ended().await;
            if !status.success() {
                wrong.push(format!("a service ended with {status}:\n{}", process.log()));
            }
        }
        let some = &wrong[..wrong.len().min(30)];
        assert!(
            wrong.is_empty(),
            "{name}: {} errors:\n{}",
            wrong.len(),
            some.join("\n")
        );
        tell(name, told.taken.len(), fault, ready, ended);
    }
}

/// Prints one line of the results table, and appends it to the file in `RECONCILER_CHAOS_TABLE`.
fn tell(name: &str, taken: usize, fault: Duration, ready: Duration, ended: Duration) {
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    let line = format!(
        "| {name} | {taken} | {} | {} | {} |",
        seconds(fault),
        seconds(ready),
        seconds(ended)
    );
    println!("{line}");
    if let Some(path) = std::env::var_os("RECONCILER_CHAOS_TABLE") {
        let file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(path);
        writeln!(file.expect("the table"), "{line}").expect("the table");
    }
}
