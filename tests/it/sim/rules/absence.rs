//! Proofs of absence, recomputed from the answers as the books sent them, and what the service notes
//! of the abilities of look-ups.

use super::super::plan::plain;
use super::super::wire::Sent;
use super::super::world::State;
use super::{name_of, ours};
use domain::fold::StateBasis;
use domain::{State as Ours, Timestamp};
use reconciler::store::StoredTransaction;
use serde_json::Value;
use std::time::Duration;

const APART: Duration = Duration::from_secs(600 - 1);
const HORIZON: Duration = Duration::from_secs(86_400 - 1);

/// An absence rests on three look-ups that were empty when they were sent, far enough apart, the last
/// one after the horizon of the last sign of life, under a name that look-ups can be seen to find.
pub fn proved(state: &State, _: Timestamp) -> Option<String> {
    ours(state).find_map(|row| {
        let derived = (row.state == Ours::NotFound).then(|| row.derived())?;
        if derived.basis != StateBasis::Absence {
            return None;
        }
        let name = name_of(row);
        let empties: Vec<Timestamp> = state
            .wire
            .answers("name", name)
            .filter(|sent| is_empty(sent) && !may_be_ours(state, row, sent))
            .map(|sent| sent.at)
            .collect();
        let counted = empties
            .iter()
            .fold(Vec::new(), |mut counted: Vec<Timestamp>, at| {
                if counted.last().is_none_or(|last| at.since(*last) >= APART) {
                    counted.push(*at);
                }
                counted
            });
        let last = empties
            .iter()
            .max()
            .copied()
            .unwrap_or(Timestamp::from_micros(0));
        let alive = last_sign(state, row);
        if counted.len() < 3 {
            return Some(format!(
                "{name}: {} look-ups were empty and apart",
                counted.len()
            ));
        }
        if last.since(alive) < HORIZON {
            let early = last.since(alive);
            return Some(format!(
                "{name}: the last look-up came {early:.0?} after a sign of life"
            ));
        }
        let signs: Vec<char> = name.chars().filter(|c| !is_plain_sign(*c)).collect();
        let seen = state.wire.sent.iter().any(|sent| {
            sent.channel == "name"
                && !sent.shows.is_empty()
                && signs.iter().all(|sign| sent.about.contains(*sign))
        });
        let hopeless = !signs.is_empty() && !seen;
        hopeless.then(|| format!("{name}: no look-up of a name with its signs has found anything"))
    })
}

const fn is_plain_sign(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

fn is_empty(sent: &Sent) -> bool {
    let body: Value = serde_json::from_slice(&sent.body).unwrap_or_default();
    let rows = body["transactions"].as_array();
    let errors = body.get("errors").is_some() || body.get("message").is_some();
    sent.status == 200 && !errors && rows.is_some_and(|rows| rows.len() < 10)
}

/// Whether a list shows what could be ours: of its kind, nobody else's here, and not a day older.
fn may_be_ours(state: &State, row: &StoredTransaction, sent: &Sent) -> bool {
    let stamps = row.summary.attempts.values().filter_map(|a| a.stamped_at);
    let first = stamps.min().unwrap_or(row.record.created_at);
    let oldest = first.minus(Duration::from_secs(24 * 3600 + 60));
    sent.shows.iter().any(|uid| {
        let found = state.books.transactions.get(uid);
        found.is_some_and(|t| {
            let others = t.ours() && t.asked != name_of(row);
            // As the gateway's clock shows it.
            let shown = t.created_at.minus(state.plan.behind);
            t.kind == row.opening.kind.as_str() && !others && shown > oldest
        })
    })
}

/// When the task was last heard of, or may last have been.
fn last_sign(state: &State, row: &StoredTransaction) -> Timestamp {
    let stamps = row.summary.attempts.values().filter_map(|a| a.stamped_at);
    let stamped = stamps.max().unwrap_or(row.record.created_at);
    let ours = format!("task-{}-", plain(name_of(row)));
    let alive = state.wire.sent.iter().filter(|sent| {
        let asks = matches!(sent.channel.as_str(), "status" | "result");
        let of = sent
            .about
            .strip_prefix(&ours)
            .is_some_and(|nth| nth.parse::<u64>().is_ok());
        let body: Value = serde_json::from_slice(&sent.body).unwrap_or_default();
        asks && of && matches!(body["status"].as_str(), Some("processing" | "completed"))
    });
    alive
        .map(|sent| sent.at)
        .max()
        .unwrap_or(stamped)
        .max(stamped)
}

/// An ability is noted only where an answer has shown it.
pub fn noted(state: &State, word: &str) -> Option<String> {
    let mut shown = state.wire.sent.iter().filter(|sent| sent.channel == "name");
    let kind = word.strip_prefix("shows:");
    let held = shown.any(|sent| {
        let mut held = sent.holds.iter().filter(|t| t.name == sent.about);
        held.any(|t| kind.is_none_or(|kind| t.kind == kind && t.asked == t.name))
    });
    (!held).then(|| format!("{word} is noted, and no look-up has shown one"))
}
