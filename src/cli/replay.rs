//! `replay`: tells a subscriber once more what it has been told, or has missed.
//!
//! The messages keep their ids, so that a receiver that took one knows it again. What this
//! deliberately cannot do: send by itself. A running service finds the messages due and sends them.

use crate::cli::desk::{Desk, ShopArg};
use crate::cli::sheet;
use crate::config::SubscriberConfig;
use crate::store::subscribers::{self, Again};
use anyhow::{Context, bail};
use domain::Timestamp;
use leaves::clock;
use serde_json::json;
use std::path::Path;

/// Options of `replay`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("which").required(true)))]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    shop: ShopArg,
    /// The subscriber, by its name in the configuration.
    #[arg(long, value_name = "NAME")]
    subscriber: String,
    /// The events after this number of the shop's feed; 0 for all that are kept.
    #[arg(long, value_name = "SEQ", group = "which", value_parser = clap::value_parser!(i64).range(0..))]
    after: Option<i64>,
    /// The events since a time (RFC 3339), or of the last while (such as 2h).
    #[arg(long, value_name = "TIME", group = "which", value_parser = since)]
    since: Option<Timestamp>,
    /// The events of one transaction: its tracking id, or `~` and its id.
    #[arg(long, value_name = "TX", group = "which")]
    id: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn since(text: &str) -> Result<Timestamp, String> {
    let now = Timestamp::from(clock::now_utc());
    Timestamp::parse(text)
        .or_else(|| Some(now.minus(humantime::parse_duration(text).ok()?)))
        .ok_or_else(|| "must be a time such as 2026-01-31T10:00:00Z, or a while such as 2h".into())
}

/// Makes messages due once more.
pub(super) async fn replay(path: Option<&Path>, args: ReplayArgs) -> anyhow::Result<()> {
    let desk = Desk::open(path, &args.shop)?;
    let subscriber = covering(&desk, &args.subscriber)?;
    let again = which(&desk, &args).await?;
    let kinds: Vec<String> = subscriber
        .events
        .iter()
        .map(|name| name.as_str().to_owned())
        .collect();
    let (store, shop, name) = (&desk.store, &desk.id, &subscriber.name);
    subscribers::ensure(store, shop, std::slice::from_ref(name)).await?;
    let was_disabled = subscribers::backlog(store, shop, std::slice::from_ref(name))
        .await?
        .iter()
        .any(|row| row.disabled);
    let (mut count, mut first, mut last) = (0, None, None);
    loop {
        let from = last.map_or(0, |seq: i64| seq + 1);
        let seqs = subscribers::replay(store, shop, name, &kinds, again, from).await?;
        let Some(end) = seqs.last() else { break };
        count += seqs.len();
        first = first.or(seqs.first().copied());
        last = Some(*end);
    }
    if args.json {
        return sheet::print_json(&json!({
            "shop_id": shop.as_str(), "subscriber": name, "messages": count,
            "first_seq": first, "last_seq": last, "enabled_again": was_disabled,
        }));
    }
    let number = |seq: Option<i64>| seq.map(|seq| seq.to_string());
    sheet::print(&sheet::pairs(vec![
        ("shop", Some(shop.to_string())),
        ("subscriber", Some(name.clone())),
        ("messages due now", Some(count.to_string())),
        ("first event", number(first)),
        ("last event", number(last)),
        (
            "note",
            was_disabled.then(|| "it had answered 410 Gone, and is told again".to_owned()),
        ),
    ]))
}

/// The subscriber, when it hears about the shop.
fn covering<'a>(desk: &'a Desk, name: &str) -> anyhow::Result<&'a SubscriberConfig> {
    let subscribers = &desk.config.subscribers;
    let Some(found) = subscribers.iter().find(|s| s.name == name) else {
        let names: Vec<&str> = subscribers.iter().map(|s| s.name.as_str()).collect();
        bail!(
            "no subscriber {name:?} is configured; there are {}",
            names.join(", ")
        );
    };
    if !found.shops.contains(desk.id.as_str()) {
        bail!("subscriber {name:?} does not hear about shop {}", desk.id);
    }
    Ok(found)
}

async fn which(desk: &Desk, args: &ReplayArgs) -> anyhow::Result<Again> {
    let after = args.after.map(Again::After);
    if let Some(again) = after.or(args.since.map(Again::Since)) {
        return Ok(again);
    }
    let name = args.id.as_deref().context("say what to tell again")?;
    Ok(Again::About(desk.find(name).await?.record.id))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn a_time_is_a_moment_or_a_while_ago() {
        let at = since("2026-01-31T10:00:00Z").unwrap();
        assert_eq!(at.to_rfc3339(), "2026-01-31T10:00:00Z");
        let hour = std::time::Duration::from_secs(3600);
        let then = since("1h").unwrap();
        let ago = Timestamp::from(clock::now_utc()).since(then);
        assert!(ago >= hour && ago < hour * 2);
        assert!(since("yesterday").is_err());
    }
}
