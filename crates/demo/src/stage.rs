//! Environment of the demo: PostgreSQL, the simulator and the service, started in this order and
//! stopped in reverse.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::claims::Claim;
use super::client::Server;
use super::neighbour::Neighbour;
use super::processes::{Output, Process, tail, wait_until};
use super::screen::Screen;
use super::settings::{Account, SHOP, Settings, random_hex};
use super::{Args, Error};
use testkit::postgres::{Cluster, Options};

const DATABASE: &str = "reconciler";
/// Names of the programs, which are in the directory of this one.
const SERVICE: &str = "reconciler";
const TWIN: &str = "unonapay-twin";
const START_LIMIT: Duration = Duration::from_secs(60);
const WATCH: Duration = Duration::from_millis(50);
/// Maximum time until the end of a program is noticed.
const REAPED: Duration = Duration::from_millis(500);

/// All resources that must be stopped at the end.
#[derive(Debug)]
pub(super) struct Stage {
    data: Option<PathBuf>,
    cluster: Option<Cluster>,
    twin: Option<Process>,
    service: Option<Process>,
}

/// Addresses and settings of the running environment.
#[derive(Debug)]
pub(super) struct Places {
    /// Settings of the service.
    pub(super) settings: Settings,
    /// Origin of the simulator.
    pub(super) twin: String,
    /// Subscriber of the service.
    pub(super) neighbour: Neighbour,
}

impl Stage {
    pub(super) fn new(data: Option<PathBuf>) -> Self {
        Self {
            data,
            cluster: None,
            twin: None,
            service: None,
        }
    }

    /// Starts everything and waits until it is ready.
    pub(super) async fn set(&mut self, args: &Args, screen: &mut Screen) -> Result<Places, Error> {
        let mut step = |text: &str| screen.step(text).map_err(Error::Print);
        step("starting a private postgresql")?;
        let home = self.start_cluster().await?;
        let database = self.database().await?;
        step("starting the gateway simulator")?;
        let account = self.start_twin(args.seed, &home).await?;
        let neighbour = Neighbour::start()?;
        let told = (neighbour.url.as_str(), neighbour.secret.as_str());
        let settings = Settings::write(&home, &database, &account, told)?;
        step("applying migrations")?;
        let file = settings.file.display().to_string();
        let log = home.join("service.log");
        let arguments = ["migrate", "--config", &file];
        let migration = Process::start(("migration", SERVICE), &arguments, &log, Output::Logged)?;
        migration.finish(START_LIMIT).await?;
        step("starting the service")?;
        let arguments = ["serve", "--config", &file];
        let service = Process::start(("service", SERVICE), &arguments, &log, Output::Logged)?;
        let service = self.service.insert(service);
        let ops = Server::new(settings.ops.as_str(), None)?;
        wait_until(service, START_LIMIT, async || ops.is_good("/readyz").await).await?;
        let twin = account.gateway;
        Ok(Places {
            settings,
            twin,
            neighbour,
        })
    }

    /// Starts PostgreSQL and returns the directory for all other files. It is removed at the end
    /// unless the data is kept.
    async fn start_cluster(&mut self) -> Result<PathBuf, Error> {
        let data_dir = match &self.data {
            None => None,
            Some(data) => {
                let name = data.display();
                std::fs::create_dir_all(data).map_err(Error::io(format!("create {name}")))?;
                let found = data.canonicalize();
                let data = found.map_err(Error::io(format!("find {name}")))?;
                self.data = Some(data.clone());
                Some(data.join("postgresql"))
            }
        };
        let options = Options {
            durable: data_dir.is_some(),
            data_dir,
            ..Options::default()
        };
        let cluster = self.cluster.insert(Cluster::start(options).await?);
        let home = self.data.as_deref().unwrap_or(cluster.socket_dir());
        Ok(home.to_owned())
    }

    async fn database(&self) -> Result<String, Error> {
        let Some(cluster) = &self.cluster else {
            return Ok(String::new());
        };
        if !cluster.has_database(DATABASE).await? {
            cluster.create_database(DATABASE).await?;
        }
        Ok(cluster.url(DATABASE))
    }

    async fn start_twin(&mut self, seed: u64, home: &Path) -> Result<Account, Error> {
        let secret = random_hex();
        let (shop, seed) = (format!("{SHOP}:{secret}"), seed.to_string());
        let arguments = ["--listen", "127.0.0.1:0", "--shop", &shop, "--seed", &seed];
        let log = home.join("twin.log");
        let twin = Process::start(("twin", TWIN), &arguments, &log, Output::Piped)?;
        let line = self.twin.insert(twin).first_line(START_LIMIT).await?;
        let told: Value = serde_json::from_str(&line).unwrap_or_default();
        let text = |field: &str| told[field].as_str().unwrap_or_default().to_owned();
        Ok(Account {
            gateway: text("public_url"),
            secret,
            public_key: text("public_key"),
        })
    }

    /// Runs `reconciler audit` on all transactions.
    pub(super) async fn audit(&self, places: &Places) -> Result<Claim, Error> {
        let file = places.settings.file.display().to_string();
        let log = places.settings.file.with_file_name("audit.log");
        let audit = Process::start(
            ("audit", SERVICE),
            &["audit", "--config", &file],
            &log,
            Output::Logged,
        )?;
        let holds = match audit.finish(START_LIMIT).await {
            Ok(()) => true,
            Err(Error::Ended { .. }) => false,
            Err(error) => return Err(error),
        };
        let text = if holds {
            "An independent audit recomputed every state and found no difference."
        } else {
            "The audit found differences; `reconciler audit` lists them."
        };
        Ok(Claim {
            text: text.to_owned(),
            holds,
        })
    }

    /// Returns all directories with files of the database or of the service.
    pub(super) fn places(&self) -> Vec<&Path> {
        let cluster = self.cluster.as_ref();
        let of_cluster = cluster.map(|it| [it.data_dir(), it.socket_dir()]);
        let places = of_cluster.into_iter().flatten();
        places.chain(self.data.as_deref()).collect()
    }

    /// Returns an error if a program has ended.
    pub(super) fn still_runs(&mut self) -> Result<(), Error> {
        let mut running = self.twin.iter_mut().chain(&mut self.service);
        running.try_for_each(Process::still_runs)
    }

    /// Waits until a program ends unexpectedly.
    pub(super) async fn watch(&mut self) -> Result<(), Error> {
        loop {
            self.still_runs()?;
            sleep(WATCH).await;
        }
    }

    /// Returns the reason of a failed request: the end of a program, if one has ended.
    pub(super) async fn why(&mut self, error: Error) -> Error {
        let ended = timeout(REAPED, self.watch()).await;
        match ended {
            Ok(Err(ended)) => ended,
            Ok(Ok(())) | Err(_) => error,
        }
    }

    /// Prints the end of the service's log.
    pub(super) fn show_log(&self, screen: &mut Screen) {
        let Some(service) = &self.service else { return };
        let end = tail(service.log());
        // Ignored: if the output is closed, nobody reads this either.
        let _ = screen.line(&format!("\nend of the service's log:\n{end}"));
    }

    /// Keeps the service's log after the end of the demo, and prints its path.
    pub(super) fn keep_log(&self, screen: &mut Screen) {
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
        let _ = screen.line(&place);
    }

    /// Stops everything and waits until it has ended.
    pub(super) async fn strike(self) {
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
