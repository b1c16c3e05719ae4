//! `replay`: makes events due for redelivery to a subscriber.
//!
//! Messages keep their ids, so that a subscriber that accepted one recognises it.
//!
//! Not responsible for: sending. A running service finds the due messages and sends them.

use crate::cli::context::{CommandContext, ShopArg};
use crate::cli::output;
use crate::config::SubscriberConfig;
use crate::store::subscribers::{self, ReplaySelection};
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
    /// Subscriber name, as configured
    #[arg(long, value_name = "NAME")]
    subscriber: String,
    /// Redeliver events with a higher sequence number; 0 for all retained events
    #[arg(long, value_name = "SEQ", group = "which", value_parser = clap::value_parser!(i64).range(0..))]
    after: Option<i64>,
    /// Redeliver events since a time (RFC 3339) or within a duration (for example 2h)
    #[arg(long, value_name = "TIME", group = "which", value_parser = since)]
    since: Option<Timestamp>,
    /// Redeliver the events of one transaction (tracking ID, or `~` followed by its ID)
    #[arg(long, value_name = "TX", group = "which")]
    id: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn since(text: &str) -> Result<Timestamp, String> {
    let now = Timestamp::from(clock::now_utc());
    Timestamp::parse(text)
        .or_else(|| Some(now.minus(humantime::parse_duration(text).ok()?)))
        .ok_or_else(|| {
            "must be a time such as 2026-01-31T10:00:00Z, or a duration such as 2h".into()
        })
}

/// Makes the selected messages due for redelivery.
pub(super) async fn replay(path: Option<&Path>, args: ReplayArgs) -> anyhow::Result<()> {
    let desk = CommandContext::open(path, &args.shop)?;
    let subscriber = covering(&desk, &args.subscriber)?;
    let again = which(&desk, &args).await?;
    let kinds: Vec<String> = subscriber
        .events
        .iter()
        .map(|name| name.as_str().to_owned())
        .collect();
    let (store, shop, name) = (&desk.store, &desk.id, &subscriber.name);
    let covered = subscribers::Covered::one(shop, name);
    subscribers::ensure_rows(store, &covered).await?;
    let was_disabled = subscribers::backlog(store, &covered)
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
        return output::print_json(&json!({
            "shop_id": shop.as_str(), "subscriber": name, "messages": count,
            "first_seq": first, "last_seq": last, "enabled_again": was_disabled,
        }));
    }
    let number = |seq: Option<i64>| seq.map(|seq| seq.to_string());
    output::print(&output::key_value_table(vec![
        ("shop", Some(shop.to_string())),
        ("subscriber", Some(name.clone())),
        ("messages due now", Some(count.to_string())),
        ("first event", number(first)),
        ("last event", number(last)),
        (
            "note",
            was_disabled.then(|| "re-enabled; it was disabled by 410 Gone".to_owned()),
        ),
    ]))
}

/// Returns the subscriber if it covers the shop.
fn covering<'a>(desk: &'a CommandContext, name: &str) -> anyhow::Result<&'a SubscriberConfig> {
    let subscribers = &desk.config.subscribers;
    let Some(found) = subscribers.iter().find(|s| s.name == name) else {
        let names: Vec<&str> = subscribers.iter().map(|s| s.name.as_str()).collect();
        bail!(
            "no subscriber {name:?} is configured; there are {}",
            names.join(", ")
        );
    };
    if !found.shops.contains(desk.id.as_str()) {
        bail!("subscriber {name:?} does not cover shop {}", desk.id);
    }
    Ok(found)
}

async fn which(desk: &CommandContext, args: &ReplayArgs) -> anyhow::Result<ReplaySelection> {
    let after = args.after.map(ReplaySelection::After);
    if let Some(again) = after.or(args.since.map(ReplaySelection::Since)) {
        return Ok(again);
    }
    let name = args
        .id
        .as_deref()
        .context("one of --after, --since or --id is required")?;
    Ok(ReplaySelection::About(desk.find(name).await?.record.id))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn since_accepts_a_time_or_a_duration() {
        let at = since("2026-01-31T10:00:00Z").unwrap();
        assert_eq!(at.to_rfc3339(), "2026-01-31T10:00:00Z");
        let hour = std::time::Duration::from_secs(3600);
        let then = since("1h").unwrap();
        let ago = Timestamp::from(clock::now_utc()).since(then);
        assert!(ago >= hour && ago < hour * 2);
        assert!(since("yesterday").is_err());
    }
}
