//! `probe`: lists what it will send, asks for confirmation, and prints the results.

use crate::cli::context::{CommandContext, ShopArg};
use crate::cli::output;
use crate::probe::{self, ProbeOptions, ProbeReport, TestCard};
use anyhow::{Context, bail};
use domain::Currency;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;
use url::{Host, Url};

/// Options of `probe`.
#[derive(Debug, clap::Args)]
pub(super) struct ProbeArgs {
    #[command(flatten)]
    shop: ShopArg,
    /// Token of a test card to pay with
    #[arg(long, value_name = "TOKEN", conflicts_with = "test_card")]
    test_card_token: Option<String>,
    /// Token of a test card that is declined
    #[arg(long, value_name = "TOKEN", requires = "test_card_token")]
    declined_card_token: Option<String>,
    /// Pay with the gateway's documented test card numbers
    #[arg(long)]
    test_card: bool,
    /// Send test transactions to the live gateway without asking
    #[arg(long)]
    yes_live: bool,
    /// Currency of the test transactions
    #[arg(long, default_value = "EUR", value_parser = currency)]
    currency: Currency,
    /// Approximate amount of each test transaction, in minor units
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=100_000))]
    amount: i64,
    /// Maximum wait for one task, in seconds
    #[arg(long, alias = "patience", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    timeout: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn currency(text: &str) -> Result<Currency, String> {
    let known = Currency::parse(text).filter(|currency| words::money::is_known(*currency));
    known.ok_or_else(|| "must be an ISO 4217 currency code".to_owned())
}

/// Probes the shop with test transactions and prints the report.
pub(super) async fn probe(path: Option<&Path>, args: ProbeArgs) -> anyhow::Result<()> {
    let options = ProbeOptions {
        card: card(&args)?,
        currency: args.currency,
        amount: args.amount,
        patience: Duration::from_secs(args.timeout),
    };
    let desk = CommandContext::open(path, &args.shop)?;
    let gateway = &desk.config.gateway.base_url;
    // This output is for the operator and goes to stderr; the report goes to stdout.
    eprintln!(
        "Test transactions to send to {gateway} as shop {}:",
        desk.id
    );
    for line in probe::plan(&options) {
        eprintln!("  - {line}");
    }
    eprintln!(
        "Each transaction has \"test\": true and an amount of about {}.",
        describe_options(&desk, &options)
    );
    if !args.yes_live && !is_here(gateway) {
        agree()?;
    }
    let run = probe::run(&desk.config, &desk.shop, &desk.id, &desk.store, options);
    let report = Box::pin(run).await?;
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print(&describe_report(&report))?;
    }
    match report.stopped {
        Some(why) => bail!(why),
        None => Ok(()),
    }
}

fn card(args: &ProbeArgs) -> anyhow::Result<TestCard> {
    match (&args.test_card_token, args.test_card) {
        (Some(good), _) => Ok(TestCard::Token {
            good: good.clone(),
            declined: args.declined_card_token.clone(),
        }),
        (None, true) => Ok(TestCard::Documented),
        (None, false) => bail!(
            "nothing was sent: give --test-card-token TOKEN to pay with a token, or --test-card to pay \
                 with the gateway's documented test card numbers"
        ),
    }
}

fn describe_options(desk: &CommandContext, options: &ProbeOptions) -> String {
    let overrides = &desk.shop.currency_exponents;
    let currency = options.currency.to_string();
    let amount = output::DisplayAmount::of(Some(options.amount), Some(&currency), overrides);
    amount
        .map(|amount| amount.to_long_string())
        .unwrap_or_default()
}

/// Returns whether the gateway is a simulator on this machine.
fn is_here(gateway: &Url) -> bool {
    match gateway.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Asks the operator for confirmation. Without a terminal, the answer is no.
fn agree() -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        bail!("nothing was sent: the gateway is not a local simulator; confirm with --yes-live");
    }
    eprint!("The gateway is not a local simulator. Send them? [y/N] ");
    std::io::stderr()
        .flush()
        .context("failed to prompt for confirmation")?;
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .context("failed to prompt for confirmation")?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => bail!("nothing was sent"),
    }
}

fn describe_report(report: &ProbeReport) -> String {
    let findings = report.findings.iter().map(|finding| {
        let answer = finding.answer.as_deref().unwrap_or("open");
        vec![
            finding.asks.to_owned(),
            answer.to_owned(),
            finding.detail.clone(),
        ]
    });
    let sent = report.transactions.iter().map(|sent| {
        vec![
            sent.tracking_id.clone(),
            sent.kind.to_owned(),
            sent.posts.to_string(),
        ]
    });
    let words = if report.capabilities.is_empty() {
        "No capabilities recorded for the shop.".to_owned()
    } else {
        format!(
            "Capabilities recorded for the shop: {}",
            report.capabilities.join(", ")
        )
    };
    [
        output::table(&["question", "answer", "observed"], findings.collect()),
        output::table(&["test transaction", "type", "posts"], sent.collect()),
        words,
    ]
    .join("\n\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn only_a_local_simulator_needs_no_confirmation() {
        let here = |url| is_here(&Url::parse(url).unwrap());
        assert!(
            here("http://127.0.0.1:8090") && here("http://[::1]:1") && here("http://localhost")
        );
        assert!(!here("https://gateway.unonapay.com") && !here("https://127.0.0.1.example.com"));
        assert!(!here("http://10.0.0.1") && !here("http://localhost.example.com"));
    }
}
