//! `probe`: says what it will send, asks, and prints what the gateway answered.

use crate::cli::desk::{Desk, ShopArg};
use crate::cli::sheet;
use crate::probe::{self, Card, Options, Report};
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
    /// Pay with this token of a test card.
    #[arg(long, value_name = "TOKEN", conflicts_with = "test_card")]
    test_card_token: Option<String>,
    /// Token of a test card that is declined, for the question about declines.
    #[arg(long, value_name = "TOKEN", requires = "test_card_token")]
    declined_card_token: Option<String>,
    /// Pay with the test card numbers of the gateway's documents.
    #[arg(long)]
    test_card: bool,
    /// Yes, send test transactions to the live gateway: do not ask.
    #[arg(long)]
    yes_live: bool,
    /// The currency of the test transactions.
    #[arg(long, default_value = "EUR", value_parser = currency)]
    currency: Currency,
    /// About how much each is about, in minor units.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=100_000))]
    amount: i64,
    /// The longest wait for one task, in seconds.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    patience: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn currency(text: &str) -> Result<Currency, String> {
    let known = Currency::parse(text).filter(|currency| words::money::is_known(*currency));
    known.ok_or_else(|| "must be a currency code of ISO 4217".to_owned())
}

/// Asks the shop what the documents leave open.
pub(super) async fn probe(path: Option<&Path>, args: ProbeArgs) -> anyhow::Result<()> {
    let options = Options {
        card: card(&args)?,
        currency: args.currency,
        amount: args.amount,
        patience: Duration::from_secs(args.patience),
    };
    let desk = Desk::open(path, &args.shop)?;
    let gateway = &desk.config.gateway.base_url;
    // What is printed here is for a person, and never part of the report.
    eprintln!("This will send to {gateway} as shop {}:", desk.id);
    for line in probe::plan(&options) {
        eprintln!("  - {line}");
    }
    eprintln!(
        "Each transaction says \"test\": true and is about {}.",
        shown(&desk, &options)
    );
    if !args.yes_live && !is_here(gateway) {
        agree()?;
    }
    let run = probe::run(&desk.config, &desk.shop, &desk.id, &desk.store, options);
    let report = Box::pin(run).await?;
    if args.json {
        sheet::print_json(&report)?;
    } else {
        sheet::print(&told(&report))?;
    }
    match report.stopped {
        Some(why) => bail!(why),
        None => Ok(()),
    }
}

fn card(args: &ProbeArgs) -> anyhow::Result<Card> {
    match (&args.test_card_token, args.test_card) {
        (Some(good), _) => Ok(Card::Token {
            good: good.clone(),
            declined: args.declined_card_token.clone(),
        }),
        (None, true) => Ok(Card::Documented),
        (None, false) => bail!(
            "nothing was sent: give --test-card-token TOKEN, a token of a test card, or --test-card \
             for the card numbers of the gateway's documents"
        ),
    }
}

fn shown(desk: &Desk, options: &Options) -> String {
    let overrides = &desk.shop.currency_exponents;
    let currency = options.currency.to_string();
    let amount = sheet::Amount::of(Some(options.amount), Some(&currency), overrides);
    amount.map(|amount| amount.long()).unwrap_or_default()
}

/// Whether the gateway is a simulator on this machine.
fn is_here(gateway: &Url) -> bool {
    match gateway.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Asks the person at the terminal; without one the answer is no.
fn agree() -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        bail!("nothing was sent: this is no simulator; --yes-live says that it is meant");
    }
    eprint!("This is no simulator. Send them? [y/N] ");
    std::io::stderr().flush().context("cannot ask")?;
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .context("cannot ask")?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => bail!("nothing was sent"),
    }
}

fn told(report: &Report) -> String {
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
        "Nothing was noted for the shop.".to_owned()
    } else {
        format!("Noted for the shop: {}", report.capabilities.join(", "))
    };
    [
        sheet::table(&["question", "answer", "what was seen"], findings.collect()),
        sheet::table(&["test transaction", "type", "posts"], sent.collect()),
        words,
    ]
    .join("\n\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn only_a_simulator_on_this_machine_is_not_asked_about() {
        let here = |url| is_here(&Url::parse(url).unwrap());
        assert!(
            here("http://127.0.0.1:8090") && here("http://[::1]:1") && here("http://localhost")
        );
        assert!(!here("https://gateway.unonapay.com") && !here("https://127.0.0.1.example.com"));
        assert!(!here("http://10.0.0.1") && !here("http://localhost.example.com"));
    }
}
