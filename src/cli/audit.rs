//! `audit`: recomputes states from evidence, reports differences, and sets the exit code.

use crate::cli::check_config::load;
use crate::store::Store;
use anyhow::Context;
use audit::{AuditReport, AuditScope};
use domain::{ShopId, Timestamp};
use leaves::clock;
use std::path::Path;
use std::process::ExitCode;

/// Options of `audit`.
#[derive(Debug, clap::Args)]
pub(super) struct AuditArgs {
    /// Audit one shop only
    #[arg(long, value_name = "SHOP")]
    shop: Option<String>,
    /// Audit transactions opened since a time (RFC 3339) or within a duration (36h, 30d)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Print the report as JSON
    #[arg(long, conflicts_with = "metrics")]
    json: bool,
    /// Print the counts in the Prometheus text format
    #[arg(long)]
    metrics: bool,
    /// Database URL for the auditor's role [default: database.url]
    #[arg(
        long,
        env = "RECONCILER_AUDIT_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    database_url: Option<String>,
}

/// Exit code: differences were found.
const EXIT_DIFFERENCES: u8 = 1;
/// Exit code: the audit failed.
const EXIT_ERROR: u8 = 2;

/// Audits, prints the report, and returns the exit code: 0 no differences, 1 differences, 2 error.
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
                EXIT_DIFFERENCES.into()
            }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            EXIT_ERROR.into()
        }
    }
}

async fn report(path: Option<&Path>, args: &AuditArgs) -> anyhow::Result<AuditReport> {
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
    // An auditor that has a database URL and no shop secrets needs no configuration.
    let config = match (&args.database_url, path) {
        (Some(_), None) => None,
        (_, path) => Some(load(path)?),
    };
    let url = match (&args.database_url, &config) {
        (Some(url), _) => url.as_str(),
        (None, Some(config)) => config.database.url.expose(),
        (None, None) => anyhow::bail!("one of --database-url and --config is required"),
    };
    let gateway = config
        .as_ref()
        .map(|config| config.gateway.base_url.clone());
    let store = Store::for_a_person(url, 1)?;
    let report = audit::run(
        store.unbounded_pool(),
        &AuditScope {
            shop,
            since,
            gateway,
        },
    )
    .await;
    store.close().await;
    Ok(report?)
}

fn since(text: &str) -> anyhow::Result<Timestamp> {
    if let Some(at) = Timestamp::parse(text) {
        return Ok(at);
    }
    let ago = humantime::parse_duration(text).map_err(|_| {
        anyhow::anyhow!("must be an RFC 3339 time or a duration such as 36h, got {text:?}")
    })?;
    Ok(Timestamp::from(clock::now_utc()).minus(ago))
}
