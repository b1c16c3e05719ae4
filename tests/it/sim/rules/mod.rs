//! The rules that read the gateway's books: functions over the books, what the service shows, and what
//! has travelled. They run after every commit, at every arrival, and once in each minute.

mod absence;
mod ending;
mod money;
mod notices;
mod pace;
mod truth;
#[cfg(test)]
mod violated;

pub use notices::acknowledged;
pub use pace::is_honest;
pub use truth::{is_alike, is_by_design, is_false_by_design, is_hidden, is_unseen};

use super::invariants;
use super::world::State;
use domain::{Channel, Origin, Timestamp};
use reconciler::ledger::LedgerCommand;
use reconciler::store::{DiscrepancyRow, StoredTransaction};

/// The names of the rules.
pub mod name {
    pub const ONCE: &str = "once";
    pub const CHILDREN: &str = "children";
    pub const SPACING: &str = "spacing";
    pub const POLL_INTERVAL: &str = "pause";
    pub const NO_FALSE_NO: &str = "no false no";
    pub const NO_FALSE_YES: &str = "no false yes";
    pub const ONE_OWNER: &str = super::invariants::rule::OWNER;
    pub const TOLD: &str = "told";
    pub const KNOWN: &str = "known";
    pub const ACKNOWLEDGED: &str = "acknowledged";
    pub const DUE: &str = "due";
    pub const LIVELY: &str = "lively";
    pub const BOUNDED: &str = "bounded";
    pub const PROOFS: &str = "proofs";
    pub const NOTES: &str = "notes";
    pub const FINDINGS: &str = "findings";
    pub const FINALITY: &str = super::invariants::rule::FINAL;
    pub const TRUTH: &str = super::invariants::rule::TRUTH;
    pub const END: &str = "end";
}

/// A rule: what is wrong, in words.
type Rule = fn(&State, Timestamp) -> Option<String>;

/// What holds after every commit.
const AFTER_COMMITS: [(&str, Rule); 9] = [
    (name::ONE_OWNER, truth::one_owner),
    (name::NO_FALSE_NO, truth::no_false_no),
    (name::NO_FALSE_YES, truth::no_false_yes),
    (name::TOLD, truth::told),
    (name::FINDINGS, notices::several),
    (name::FINDINGS, notices::money_back_twice),
    (name::DUE, pace::due),
    (name::PROOFS, absence::proved),
    (name::POLL_INTERVAL, money::pause),
];

/// What holds whenever time passes.
const IN_TIME: [(&str, Rule); 4] = [
    (name::NO_FALSE_NO, truth::no_false_no),
    (name::FINDINGS, notices::healed),
    (name::ACKNOWLEDGED, notices::owed),
    (name::LIVELY, pace::lively),
];

/// What counts requests.
const EACH_HOUR: [(&str, Rule); 2] = [
    (name::BOUNDED, pace::bounded),
    (name::BOUNDED, pace::silent),
];

/// What holds when all has been quiet for days.
const AT_THE_END: [(&str, Rule); 2] = [
    (name::KNOWN, ending::known),
    (name::END, ending::as_the_books),
];

fn look(state: &mut State, rules: &[(&str, Rule)], now: Timestamp) {
    for (name, rule) in rules {
        if let Some(wrong) = rule(state, now) {
            state.breaks(name, wrong);
        }
    }
}

/// A commit has taken place.
pub fn committed(state: &mut State, works: &[LedgerCommand], now: Timestamp) {
    let records = works.iter().filter_map(|work| match work {
        LedgerCommand::Record(record) => {
            Some((record.observation.body_sha256, record.observation.channel))
        }
        _ => None,
    });
    let read: Vec<([u8; 32], Channel)> = records.collect();
    read.iter()
        .for_each(|recorded| notices::recorded(state, recorded, now));
    look(state, &AFTER_COMMITS, now);
    read.iter()
        .for_each(|recorded| notices::shown(state, recorded));
}

/// A POST has arrived.
pub fn arrived(state: &mut State, now: Timestamp) {
    let rules: [(&str, Rule); 2] = [(name::ONCE, money::once), (name::CHILDREN, money::children)];
    look(state, &rules, now);
}

/// A minute has passed: all is looked at often while it is young, and more seldom later.
pub fn minute(state: &mut State, now: Timestamp) {
    let minutes = now.since(super::exec::beginning()).as_secs() / 60;
    if minutes < 60 || minutes.is_multiple_of(10) {
        look(state, &IN_TIME, now);
    }
    if minutes < 30 || minutes.is_multiple_of(60) {
        look(state, &EACH_HOUR, now);
    }
}

/// The run is over.
pub fn end(state: &mut State, now: Timestamp) {
    look(state, &AT_THE_END, now);
}

/// The service notes what look-ups of a shop can show.
pub fn noted(state: &mut State, word: &str) {
    if let Some(wrong) = absence::noted(state, word) {
        state.breaks(name::NOTES, wrong);
    }
}

/// Bytes of a child are about to leave.
pub fn leaves(state: &mut State, stored: &StoredTransaction, now: Timestamp) {
    if let Some(wrong) = money::spacing(state, stored, now) {
        state.breaks(name::SPACING, wrong);
    }
}

/// The name that an order goes by.
fn name_of(row: &StoredTransaction) -> &str {
    row.opening
        .tracking_id
        .as_ref()
        .map_or("", |name| name.as_str())
}

/// What was made through the API.
fn ours(state: &State) -> impl Iterator<Item = &StoredTransaction> {
    let all = state.db.transactions.values();
    all.filter(|row| row.opening.origin == Origin::Api)
}

/// Whether an open finding names all of these uids.
fn is_told(state: &State, uids: &[&str]) -> bool {
    let mut open = state.db.findings.iter().filter(|row| row.is_open);
    open.any(|row| {
        let text = format!("{row:?}");
        uids.iter().all(|uid| names(&text, uid))
    })
}

/// Whether an open finding names all of these with their amounts.
fn is_told_in_full(state: &State, uids: &[&str]) -> bool {
    let mut open = state.db.findings.iter().filter(|row| row.is_open);
    open.any(|row| {
        let bare = DiscrepancyRow {
            amount: None,
            ..row.clone()
        };
        let text = format!("{bare:?}");
        uids.iter().all(|uid| {
            let amount = state
                .books
                .transactions
                .get(*uid)
                .map(|t| t.amount.to_string());
            let mut places = text.match_indices(uid).filter(|_| names(&text, uid));
            places.any(|(at, _)| {
                let rest: String = text.chars().skip(at).take(160).collect();
                amount
                    .as_ref()
                    .is_some_and(|amount| rest.contains(amount.as_str()))
            })
        })
    })
}

/// Whether a text holds a uid that is not the beginning of a longer one.
pub fn names(text: &str, uid: &str) -> bool {
    text.match_indices(uid).any(|(at, _)| {
        let next = text
            .get(at + uid.len()..)
            .and_then(|rest| rest.chars().next());
        next.is_none_or(|next| !next.is_ascii_alphanumeric() && next != '-')
    })
}
