//! Environment of the demo: PostgreSQL, the simulator and the service, started in this order and
//! stopped in reverse.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::assertions::Assertion;
use super::client::HttpEndpoint;
use super::processes::{ChildProcess, OutputMode, tail, wait_until};
use super::settings::{DemoSettings, GatewayAccount, SHOP, random_hex};
use super::subscriber::DemoSubscriber;
use super::terminal::Terminal;
use super::{DemoArgs, DemoError};
use testkit::postgres::{ClusterOptions, PostgresCluster};

const DATABASE: &str = "reconciler";
/// Names of the programs, which are in the directory of this one.
const SERVICE: &str = "reconciler";
const TWIN: &str = "unonapay-twin";
const START_TIMEOUT: Duration = Duration::from_secs(60);
const WATCH: Duration = Duration::from_millis(50);
/// Maximum time until the end of a program is noticed.
const REAPED: Duration = Duration::from_millis(500);

/// All resources that must be stopped at the end.
#[derive(Debug)]
pub(super) struct Environment {
    data: Option<PathBuf>,
    cluster: Option<PostgresCluster>,
    twin: Option<ChildProcess>,
    service: Option<ChildProcess>,
}

/// Addresses and settings of the running environment.
#[derive(Debug)]
pub(super) struct Endpoints {
    /// Settings of the service.
    pub(super) settings: DemoSettings,
    /// Origin of the simulator.
    pub(super) twin: String,
    /// Subscriber of the service.
    pub(super) neighbour: DemoSubscriber,
}

impl Environment {
    pub(super) fn new(data: Option<PathBuf>) -> Self {
        Self {
            data,
            cluster: None,
            twin: None,
            service: None,
        }
    }

    /// Starts everything and waits until it is ready.
    pub(super) async fn start(
        &mut self,
        args: &DemoArgs,
        screen: &mut Terminal,
    ) -> Result<Endpoints, DemoError> {
        let mut step = |text: &str| screen.print_step(text).map_err(DemoError::Print);
        step("starting a private postgresql")?;
        let home = self.start_cluster().await?;
        let database = self.database().await?;
        step("starting the gateway simulator")?;
        let account = self.start_twin(args.seed, &home).await?;
        let neighbour = DemoSubscriber::start()?;
        let told = (neighbour.url.as_str(), neighbour.secret.as_str());
        let settings = DemoSettings::write(&home, &database, &account, told)?;
        step("applying migrations")?;
        let file = settings.file.display().to_string();
        let log = home.join("service.log");
        let arguments = ["migrate", "--config", &file];
        let migration =
            ChildProcess::start(("migration", SERVICE), &arguments, &log, OutputMode::Logged)?;
        migration.finish(START_TIMEOUT).await?;
        step("starting the service")?;
        let arguments = ["serve", "--config", &file];
        let service =
            ChildProcess::start(("service", SERVICE), &arguments, &log, OutputMode::Logged)?;
        let service = self.service.insert(service);
        let ops = HttpEndpoint::new(settings.ops.as_str(), None)?;
        wait_until(service, START_TIMEOUT, async || {
            ops.is_good("/readyz").await
        })
        .await?;
        let twin = account.gateway;
        Ok(Endpoints {
            settings,
            twin,
            neighbour,
        })
    }

    /// Starts PostgreSQL and returns the directory for all other files. It is removed at the end
    /// unless the data is kept.
    async fn start_cluster(&mut self) -> Result<PathBuf, DemoError> {
        let data_dir = match &self.data {
            None => None,
            Some(data) => {
                let name = data.display();
                std::fs::create_dir_all(data).map_err(DemoError::io(format!("create {name}")))?;
                let found = data.canonicalize();
                let data = found.map_err(DemoError::io(format!("find {name}")))?;
                self.data = Some(data.clone());
                Some(data.join("postgresql"))
            }
        };
        let options = ClusterOptions {
            durable: data_dir.is_some(),
            data_dir,
            ..ClusterOptions::default()
        };
        let cluster = self.cluster.insert(PostgresCluster::start(options).await?);
        let home = self.data.as_deref().unwrap_or(cluster.socket_dir());
        Ok(home.to_owned())
    }

    async fn database(&self) -> Result<String, DemoError> {
        let Some(cluster) = &self.cluster else {
            return Ok(String::new());
        };
        if !cluster.has_database(DATABASE).await? {
            cluster.create_database(DATABASE).await?;
        }
        Ok(cluster.url(DATABASE))
    }

    async fn start_twin(&mut self, seed: u64, home: &Path) -> Result<GatewayAccount, DemoError> {
        let secret = random_hex();
        let (shop, seed) = (format!("{SHOP}:{secret}"), seed.to_string());
        let arguments = ["--listen", "127.0.0.1:0", "--shop", &shop, "--seed", &seed];
        let log = home.join("twin.log");
        let twin = ChildProcess::start(("twin", TWIN), &arguments, &log, OutputMode::Piped)?;
        let line = self.twin.insert(twin).first_line(START_TIMEOUT).await?;
        let told: Value = serde_json::from_str(&line).unwrap_or_default();
        let text = |field: &str| told[field].as_str().unwrap_or_default().to_owned();
        Ok(GatewayAccount {
            gateway: text("public_url"),
            secret,
            public_key: text("public_key"),
        })
    }

    /// Runs `reconciler audit` on all transactions.
    pub(super) async fn audit(&self, places: &Endpoints) -> Result<Assertion, DemoError> {
        let file = places.settings.file.display().to_string();
        let log = places.settings.file.with_file_name("audit.log");
        let audit = ChildProcess::start(
            ("audit", SERVICE),
            &["audit", "--config", &file],
            &log,
            OutputMode::Logged,
        )?;
        let holds = match audit.finish(START_TIMEOUT).await {
            Ok(()) => true,
            Err(DemoError::Ended { .. }) => false,
            Err(error) => return Err(error),
        };
        let text = if holds {
            "An independent audit recomputed every state and found no difference."
        } else {
            "The audit found differences; `reconciler audit` lists them."
        };
        Ok(Assertion {
            text: text.to_owned(),
            holds,
        })
    }

    /// Returns all directories with files of the database or of the service.
    pub(super) fn data_directories(&self) -> Vec<&Path> {
        let cluster = self.cluster.as_ref();
        let of_cluster = cluster.map(|it| [it.data_dir(), it.socket_dir()]);
        let places = of_cluster.into_iter().flatten();
        places.chain(self.data.as_deref()).collect()
    }

    /// Returns an error if a program has ended.
    pub(super) fn still_runs(&mut self) -> Result<(), DemoError> {
        let mut running = self.twin.iter_mut().chain(&mut self.service);
        running.try_for_each(ChildProcess::still_runs)
    }

    /// Waits until a program ends unexpectedly.
    pub(super) async fn wait_for_exit(&mut self) -> Result<(), DemoError> {
        loop {
            self.still_runs()?;
            sleep(WATCH).await;
        }
    }

    /// Returns the reason of a failed request: the end of a program, if one has ended.
    pub(super) async fn exit_reason(&mut self, error: DemoError) -> DemoError {
        let ended = timeout(REAPED, self.wait_for_exit()).await;
        match ended {
            Ok(Err(ended)) => ended,
            Ok(Ok(())) | Err(_) => error,
        }
    }

    /// Prints the end of the service's log.
    pub(super) fn show_log(&self, screen: &mut Terminal) {
        let Some(service) = &self.service else { return };
        let end = tail(service.log());
        // Ignored: if the output is closed, nobody reads this either.
        let _ = screen.print_line(&format!("\nend of the service's log:\n{end}"));
    }

    /// Keeps the service's log after the end of the demo, and prints its path.
    pub(super) fn keep_log(&self, screen: &mut Terminal) {
        let Some(service) = &self.service else { return };
        let kept = match &self.data {
            Some(_) => Ok(service.log().to_owned()),
            None => keep_copy(service.log()),
        };
        let place = kept.map_or_else(
            |error| format!("failed to keep the service's log: {error}"),
            |path| format!("log of the service: {}", path.display()),
        );
        // Ignored: if the output is closed, nobody reads this either.
        let _ = screen.print_line(&place);
    }

    /// Stops everything and waits until it has ended.
    pub(super) async fn tear_down(self) {
        if let Some(service) = self.service {
            service.stop().await;
        }
        if let Some(twin) = self.twin {
            twin.stop().await;
        }
        let cluster = self.cluster;
        // Dropping the cluster waits until the server has ended.
        let _ = tokio::task::spawn_blocking(move || drop(cluster)).await;
    }
}

/// Copies a log to a file that is not removed at the end.
fn keep_copy(log: &Path) -> std::io::Result<PathBuf> {
    let mut file = tempfile::Builder::new()
        .prefix("reconciler-demo-")
        .suffix(".log")
        .tempfile()?;
    std::io::copy(&mut std::fs::File::open(log)?, &mut file)?;
    let (_, path) = file.keep()?;
    Ok(path)
}
