//! `audit`: the second opinion, and its exit code.

use crate::audit::{self, Plan, Report};
use crate::cli::config::load;
use crate::clock;
use crate::domain::{ShopId, Timestamp};
use crate::store::Store;
use anyhow::Context;
use std::path::Path;
use std::process::ExitCode;

/// Options of `audit`.
#[derive(Debug, clap::Args)]
pub(super) struct AuditArgs {
    /// One shop alone.
    #[arg(long, value_name = "SHOP")]
    shop: Option<String>,
    /// Transactions opened since then: RFC 3339, or how long ago (`36h`, `30d`).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Tell it as JSON.
    #[arg(long, conflicts_with = "metrics")]
    json: bool,
    /// Tell the counts as Prometheus text.
    #[arg(long)]
    metrics: bool,
    /// The database, where the auditor has a role of its own; else `database.url`.
    #[arg(
        long,
        env = "RECONCILER_AUDIT_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    database_url: Option<String>,
}

/// Something was found.
const FOUND: u8 = 1;
/// The audit could not be made.
const NOT_RUN: u8 = 2;

/// Audits, tells, and gives the exit code: 0 nothing found, 1 differences, 2 it could not run.
pub(super) async fn audit(path: Option<&Path>, args: AuditArgs) -> ExitCode {
    match report(path, &args).await {
        Ok(report) => {
            if args.json {
                println!("{:#}", report.json());
            } else if args.metrics {
                print!("{}", report.metrics(clock::now_utc().unix_timestamp()));
            } else {
                print!("{}", report.table());
            }
            if report.is_clean() {
                ExitCode::SUCCESS
            } else {
                FOUND.into()
            }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            NOT_RUN.into()
        }
    }
}

async fn report(path: Option<&Path>, args: &AuditArgs) -> anyhow::Result<Report> {
    let shop = args
        .shop
        .as_deref()
        .map(ShopId::parse)
        .transpose()
        .context("--shop")?;
    let since = args
        .since
        .as_deref()
        .map(since)
        .transpose()
        .context("--since")?;
    // An auditor with a database and no secrets of the shops needs no configuration.
    let config = match (&args.database_url, path) {
        (Some(_), None) => None,
        (_, path) => Some(load(path)?),
    };
    let url = match (&args.database_url, &config) {
        (Some(url), _) => url.as_str(),
        (None, Some(config)) => config.database.url.expose(),
        (None, None) => anyhow::bail!("there is neither --database-url nor a configuration"),
    };
    let gateway = config
        .as_ref()
        .map(|config| config.gateway.base_url.clone());
    let store = Store::for_a_person(url, 1)?;
    let report = audit::run(
        &store,
        &Plan {
            shop,
            since,
            gateway,
        },
    )
    .await;
    store.close().await;
    report.map_err(|error| anyhow::anyhow!(error.chain()))
}

fn since(text: &str) -> anyhow::Result<Timestamp> {
    if let Some(at) = Timestamp::parse(text) {
        return Ok(at);
    }
    let ago = humantime::parse_duration(text)
        .map_err(|_| anyhow::anyhow!("{text:?} is neither a time nor a duration"))?;
    Ok(Timestamp::from(clock::now_utc()).minus(ago))
}
