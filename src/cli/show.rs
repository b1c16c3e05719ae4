//! `show`, `list` and `discrepancies`: print stored transactions and discrepancies.

use crate::cli::context::{CommandContext, ShopArg};
use crate::cli::output::{self, DisplayAmount, format_time};
use crate::ledger::{EvidenceView, Explanation, discrepancy_view};
use crate::store::read::{self, TransactionQuery};
use crate::store::{StoredTransaction, discrepancies};
use crate::view::TransactionView;
use domain::{DiscrepancyKind, State, TransactionType};
use leaves::clock;
use serde_json::json;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use words::Mention;

/// Options of `show`.
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// Tracking ID, or `~` followed by the transaction ID
    tracking_id: String,
    #[command(flatten)]
    shop: ShopArg,
    /// Print JSON, including the explanation and all evidence bodies
    #[arg(long)]
    json: bool,
}

/// Options of `list`.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Filter by state
    #[arg(long, value_parser = word(State::parse, State::ALL))]
    state: Option<State>,
    /// Filter by transaction type
    #[arg(long = "type", value_name = "TYPE", value_parser = word(TransactionType::parse, TransactionType::ALL))]
    kind: Option<TransactionType>,
    #[command(flatten)]
    shop: ShopArg,
    /// Maximum number of rows
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Options of `discrepancies`.
#[derive(Debug, clap::Args)]
pub(super) struct DiscrepanciesArgs {
    /// Filter by kind
    #[arg(long, value_parser = word(DiscrepancyKind::parse, DiscrepancyKind::ALL))]
    kind: Option<DiscrepancyKind>,
    /// Filter by status
    #[arg(long, value_enum, default_value_t = Status::Open)]
    status: Status,
    #[command(flatten)]
    shop: ShopArg,
    /// Maximum number of rows
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Status {
    Open,
    Resolved,
    All,
}

/// Returns a parser of one word from a list. Its error names all valid words.
fn word<T: ToString + Sync + 'static>(
    parse: fn(&str) -> Option<T>,
    all: &'static [T],
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync {
    move |text| {
        let words = || all.iter().map(ToString::to_string).collect::<Vec<_>>();
        parse(text).ok_or_else(|| format!("must be one of {}", words().join(", ")))
    }
}

/// Prints one transaction, the reasons for its state, and its evidence.
pub(super) async fn show_transaction(path: Option<&Path>, args: ShowArgs) -> anyhow::Result<()> {
    let desk = CommandContext::open(path, &args.shop)?;
    let stored = desk.find(&args.tracking_id).await?;
    let rows = read::evidence(&desk.store, &desk.id, stored.record.id).await?;
    let explanation = Explanation::explain(&stored, &rows, clock::now_utc().into());
    let evidence: Vec<EvidenceView> = rows.into_iter().map(EvidenceView::from).collect();
    let view = stored.view();
    let amount = amount(&desk, &view);
    if args.json {
        return output::print_json(&json!({
            "transaction": view,
            "amount": amount,
            "explain": explanation,
            "evidence": evidence,
        }));
    }
    let parts = [
        facts(&desk, &view, amount),
        describe_explanation(&explanation),
        everything(&evidence),
    ];
    output::print(&parts.join("\n\n"))
}

/// Returns the requested amount. The currency of a child transaction is that of its parent, which
/// the gateway reports.
fn amount(desk: &CommandContext, view: &TransactionView<'_>) -> Option<DisplayAmount> {
    let overrides = &desk.shop.currency_exponents;
    let currency = view
        .currency
        .as_deref()
        .or(view.gateway_currency.as_deref());
    DisplayAmount::of(view.amount, currency, overrides)
}

/// Formats the fields of a transaction. Absent values are left out.
fn facts(
    desk: &CommandContext,
    view: &TransactionView<'_>,
    amount: Option<DisplayAmount>,
) -> String {
    let overrides = &desk.shop.currency_exponents;
    let at_gateway = DisplayAmount::of(
        view.gateway_amount,
        view.gateway_currency.as_deref(),
        overrides,
    );
    let differs = at_gateway.filter(|theirs| amount.as_ref() != Some(theirs));
    let state = if view.is_final {
        format!("{} (final)", view.state)
    } else {
        view.state.to_owned()
    };
    let code = [view.code.as_deref(), view.message.as_deref()];
    let code: Vec<&str> = code.into_iter().flatten().collect();
    let card = view.card.as_ref().map(|card| {
        let parts = [card.brand.as_deref(), card.last_4.as_deref()];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" …")
    });
    output::key_value_table(vec![
        ("transaction", owned(&view.tracking_id)),
        ("id", Some(view.id.to_string())),
        ("shop", Some(view.shop_id.to_owned())),
        ("type", Some(view.kind.to_owned())),
        ("created by", Some(view.origin.to_owned())),
        ("state", Some(state)),
        ("amount", amount.map(|amount| amount.to_long_string())),
        (
            "amount at the gateway",
            differs.map(|amount| amount.to_long_string()),
        ),
        ("description", owned(&view.description)),
        ("uid", owned(&view.uid)),
        ("parent uid", owned(&view.parent_uid)),
        ("task", owned(&view.request_id)),
        ("status at the gateway", owned(&view.status)),
        (
            "code and message",
            Some(code.join(" ")).filter(|text| !text.is_empty()),
        ),
        ("redirect url", owned(&view.redirect_url)),
        ("card", card.filter(|text| !text.is_empty())),
        ("test", view.test.then(|| "yes".to_owned())),
        ("created", Some(format_time(view.created_at))),
        ("updated", Some(format_time(view.updated_at))),
        ("final at", view.finalized_at.map(format_time)),
        ("paid", view.paid_at.map(format_time)),
        ("next check", view.next_check_at.map(format_time)),
    ])
}

fn owned(text: &Option<Cow<'_, str>>) -> Option<String> {
    text.as_deref().map(str::to_owned)
}

fn describe_explanation(explanation: &Explanation) -> String {
    let mut lines = vec![output::strip_control_chars(&explanation.summary)];
    if let Some(next) = &explanation.next {
        lines.push(format!(
            "Next, at {}: {}.",
            next.at,
            output::strip_control_chars(&next.what)
        ));
    }
    lines.push("What would change it:".to_owned());
    let reasons = explanation.would_change.iter();
    lines.extend(reasons.map(|what| format!("  - {what}")));
    lines.join("\n")
}

fn everything(evidence: &[EvidenceView]) -> String {
    let rows = evidence.iter().map(|piece| {
        vec![
            piece.position.to_string(),
            piece.received_at.clone(),
            piece.channel.to_owned(),
            piece.http_status.map(|s| s.to_string()).unwrap_or_default(),
            piece.verdict.to_owned(),
            piece.note.clone(),
        ]
    });
    let names = ["#", "received", "channel", "http", "verdict", "note"];
    output::table(&names, rows.collect())
}

/// Prints a list of transactions, newest first.
pub(super) async fn list_transactions(path: Option<&Path>, args: ListArgs) -> anyhow::Result<()> {
    let desk = CommandContext::open(path, &args.shop)?;
    let filter = TransactionQuery {
        state: args.state,
        kind: args.kind,
        ..TransactionQuery::default()
    };
    let mut page = read::list(&desk.store, &desk.id, &filter, args.limit + 1).await?;
    let more = cut(&mut page, args.limit);
    let views: Vec<TransactionView<'_>> = page.iter().map(StoredTransaction::view).collect();
    if args.json {
        return output::print_json(&json!({"transactions": views, "more": more}));
    }
    let rows = views.iter().map(|view| {
        vec![
            owned(&view.tracking_id).unwrap_or_else(|| format!("~{}", view.id)),
            view.kind.to_owned(),
            view.state.to_owned(),
            amount(&desk, view)
                .map(|amount| amount.to_short_string())
                .unwrap_or_default(),
            owned(&view.uid).unwrap_or_default(),
            format_time(view.created_at),
            view.next_check_at.map(format_time).unwrap_or_default(),
        ]
    });
    let names = [
        "transaction",
        "type",
        "state",
        "amount",
        "uid",
        "created",
        "next check",
    ];
    output::print(&output::table(&names, rows.collect()))?;
    tell_of_more(more)
}

/// Prints a list of discrepancies, newest first.
pub(super) async fn list_discrepancies(
    path: Option<&Path>,
    args: DiscrepanciesArgs,
) -> anyhow::Result<()> {
    let desk = CommandContext::open(path, &args.shop)?;
    let open = match args.status {
        Status::Open => Some(true),
        Status::Resolved => Some(false),
        Status::All => None,
    };
    let limit = args.limit + 1;
    let mut page = discrepancies::list(&desk.store, &desk.id, open, args.kind, None, limit).await?;
    let more = cut(&mut page, args.limit);
    let views: Vec<_> = page.iter().map(discrepancy_view).collect();
    if args.json {
        return output::print_json(&json!({"discrepancies": views, "more": more}));
    }
    let overrides = &desk.shop.currency_exponents;
    let rows = views.iter().map(|view| {
        let amount = DisplayAmount::of(view.amount, view.currency.as_deref(), overrides);
        let name = view.tracking_id.clone().or_else(|| view.uid.clone());
        vec![
            view.id.to_string(),
            view.kind.to_owned(),
            view.status.to_owned(),
            name.unwrap_or_default(),
            amount
                .map(|amount| amount.to_short_string())
                .unwrap_or_default(),
            format_time(view.opened_at),
            mentioned(&view.uids, overrides),
            view.detail.clone(),
        ]
    });
    let names = [
        "id", "kind", "status", "about", "amount", "opened", "uids", "detail",
    ];
    output::print(&output::table(&names, rows.collect()))?;
    tell_of_more(more)
}

/// Formats the gateway transactions that a discrepancy names, each with amount and status.
fn mentioned(uids: &[Mention], overrides: &BTreeMap<String, u8>) -> String {
    let one = |mention: &Mention| {
        let amount = DisplayAmount::of(mention.amount, mention.currency.as_deref(), overrides);
        let amount = amount.map(|amount| amount.to_short_string());
        let words = [Some(mention.uid.clone()), amount, mention.status.clone()];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    };
    uids.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Truncates a page to `limit` and returns whether rows were removed.
fn cut<T>(page: &mut Vec<T>, limit: i64) -> bool {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = page.len() > limit;
    page.truncate(limit);
    more
}

fn tell_of_more(more: bool) -> anyhow::Result<()> {
    if more {
        output::print("More rows exist; raise --limit to show them.")?;
    }
    Ok(())
}
