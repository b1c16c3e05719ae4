//! What the service has been told stays known: bound, adopted, or named by a finding; and a person is
//! told of what nobody but a person can settle.

use super::super::books::Transaction;
use super::super::wire::{Owed, Read};
use super::super::world::State;
use super::truth::{is_alike, is_own};
use super::{is_told, is_told_in_full, name, name_of, ours};
use domain::{Channel, DiscrepancyKind, Timestamp};
use std::time::Duration;

/// How late a look may be that a webhook without a signature asks for.
const OWED_WITHIN: Duration = Duration::from_secs(150);

/// How long a webhook waits for its answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);

/// Within which time an older transaction may be ours after all.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What has come with these bytes by this channel. Another channel may bring the same bytes, and what it brings
/// is recorded by itself.
fn reads(state: &State, (sha256, channel): &([u8; 32], Channel)) -> Vec<Read> {
    let comes_by = |read: &&Read| match channel {
        Channel::Ack => read.channel == "ack",
        Channel::TaskStatus => read.channel == "status",
        Channel::TaskResult => read.channel == "result",
        Channel::Webhook => read.channel == "webhook",
        Channel::Query => matches!(read.channel.as_str(), "name" | "uid"),
        _ => true,
    };
    let all = state.wire.of(sha256).iter();
    all.filter(comes_by).cloned().collect()
}

/// A recorded piece shows transactions: from now on they are known.
pub fn recorded(state: &mut State, recorded: &([u8; 32], Channel), now: Timestamp) {
    for read in reads(state, recorded) {
        for told in &read.told {
            state.wire.is_told(told, now);
            if read.channel != "webhook" && told.is_final() {
                let end = (told.uid.clone(), told.status.clone());
                state.wire.ends_told.insert(end);
            }
            if read.channel == "result" {
                state.wire.named_by_task.insert(told.uid.clone());
            }
        }
        for held in &read.holds {
            state.wire.is_held(held);
        }
    }
}

/// What a recorded piece has shown is known from then on.
pub fn shown(state: &mut State, recorded: &([u8; 32], Channel)) {
    for read in reads(state, recorded) {
        let wrong = read.told.iter().find_map(|told| unknown(state, &told.uid));
        if let Some(wrong) = wrong {
            state.breaks(name::KNOWN, format!("{wrong}, told by {}", read.channel));
        }
    }
}

/// Why a transaction that was told is not known.
pub fn unknown(state: &State, uid: &str) -> Option<String> {
    let found = state.books.transactions.get(uid)?;
    let below = found
        .parent
        .as_ref()
        .is_some_and(|parent| state.db.uids.contains_key(parent));
    let row = ours(state).find(|row| name_of(row) == found.name || name_of(row) == found.asked);
    if row.is_none() && !below {
        return None;
    }
    let shown = || {
        let mut rows = state.db.transactions.values();
        rows.any(|row| row.derived().uid.is_some_and(|shown| shown.as_str() == uid))
    };
    let owned = state.db.uids.contains_key(uid) || shown();
    if !owned && !is_told(state, &[uid]) {
        return Some(format!(
            "{uid} under {} is in no row and in no finding",
            found.name
        ));
    }
    // What a request of ours has made is that request's, under whatever name the gateway files it: children
    // under their parent's too. It is bound there, or told as doubtful, and never one of origin `gateway`.
    if ours(state).any(|row| is_own(row, found)) {
        return None;
    }
    let row = row?;
    let stamps = row.summary.attempts.values().filter_map(|a| a.stamped_at);
    let first = stamps.min()?;
    let is_others = !is_alike(row, found) || found.created_at < first.minus(DAY);
    // A child of a parent that is not known yet waits for it, under a finding.
    let parent = found.parent.as_ref();
    let has_place = parent.is_none_or(|parent| state.db.uids.contains_key(parent));
    let is_plain = found.name == name_of(row) && state.plan.behind.is_zero() && has_place;
    (is_others && is_plain && !owned)
        .then(|| format!("{uid} under {} is not ours, and is not listed", found.name))
}

/// A webhook was answered 200: a look of what it names is owed when nobody signed it, and one of our
/// task when it contradicts what we have. `names`: the uid can be read in it; by a uid that stands nowhere
/// nobody can look, and of whom a failure is told that names nobody, nobody knows.
pub fn acknowledged(state: &mut State, uid: &str, (signed, names): (bool, bool), now: Timestamp) {
    let Some(found) = state.books.transactions.get(uid).cloned() else {
        return;
    };
    if !names {
        return;
    }
    if !signed {
        state.wire.owed.push(Owed {
            uid: uid.to_owned(),
            name: found.name,
            until: now.plus(OWED_WITHIN),
        });
        return;
    }
    let end = (uid.to_owned(), found.status.clone());
    if !state.wire.ends_told.insert(end) {
        return;
    }
    if let Some(wrong) = late_task(state, &found, now) {
        state.breaks(name::DUE, wrong);
    }
}

/// A signed failure of ours makes a look due at once while our own task still runs.
fn late_task(state: &State, found: &Transaction, now: Timestamp) -> Option<String> {
    let row = ours(state).find(|row| is_own(row, found) && is_alike(row, found))?;
    // What seems to be older than our request is left for a person.
    if !state.plan.behind.is_zero() {
        return None;
    }
    let fails = matches!(found.status.as_str(), "failed" | "expired");
    let task = state
        .books
        .tasks
        .values()
        .find(|task| Some(task.arrival) == found.arrival)?;
    let runs = now.since(task.created_at) < DAY && row.summary.running_task().is_some();
    if row.derived().state.is_final() || !fails || !runs {
        return None;
    }
    let check = state.db.checks.get(&row.record.id)?;
    let wait = check.due_at.since(now);
    let late = wait > Duration::from_secs(61) && !check.again && check.due_at > now;
    late.then(|| {
        let name = name_of(row);
        format!(
            "{name}: a webhook tells of {}, and the next look is in {wait:.0?}",
            found.status
        )
    })
}

/// The looks that webhooks without a signature ask for have been made.
pub fn owed(state: &State, now: Timestamp) -> Option<String> {
    if !state.plan.is_calm() {
        return None;
    }
    state.wire.owed.iter().find_map(|owed| {
        if now < owed.until {
            return None;
        }
        // It may be looked up before its webhook is answered.
        let since = owed.until.minus(OWED_WITHIN + ANSWERED_WITHIN);
        let asked = state.wire.asked.get(&("uid".to_owned(), owed.uid.clone()));
        let was_asked = asked.is_some_and(|times| times.iter().any(|at| *at >= since));
        let shown = state
            .wire
            .sent
            .iter()
            .any(|s| s.at >= since && s.shows.contains(&owed.uid));
        (!was_asked && !shown).then(|| {
            format!(
                "{} under {}: a webhook was answered 200, and nobody looked",
                owed.uid, owed.name
            )
        })
    })
}

/// All successes that were told under a name of ours are named together.
pub fn several(state: &State, _: Timestamp) -> Option<String> {
    ours(state).find_map(|row| {
        let stamps = row.summary.attempts.values().filter_map(|a| a.stamped_at);
        let first = stamps.min()?.minus(Duration::from_secs(120));
        let of = state.books.of(name_of(row)).filter(|t| {
            let shown = t.created_at.minus(state.plan.behind);
            let told = state.wire.was_told_as(&t.uid, "successful") && shown >= first;
            told && t.name == name_of(row) && is_alike(row, t)
        });
        let uids: Vec<&str> = of.map(|t| t.uid.as_str()).collect();
        let untold = uids.len() > 1 && !is_told_in_full(state, &uids);
        untold.then(|| {
            format!(
                "{} has the successes {uids:?}, and no finding names all",
                name_of(row)
            )
        })
    })
}

/// A payment whose money goes back more than once is told.
pub fn money_back_twice(state: &State, _: Timestamp) -> Option<String> {
    let told =
        |t: &&Transaction| t.status == "successful" && state.wire.was_told_as(&t.uid, "successful");
    state
        .books
        .transactions
        .values()
        .filter(told)
        .find_map(|charged| {
            let parent = charged
                .parent
                .as_deref()
                .filter(|_| charged.kind == "chargeback")?;
            let of = state.books.transactions.get(parent)?;
            let known = state.db.uids.contains_key(parent);
            let all = state.books.transactions.values().filter(told);
            let back: Vec<&Transaction> = all
                .filter(|t| {
                    t.parent.as_deref() == Some(parent)
                        && matches!(t.kind.as_str(), "refund" | "chargeback")
                })
                .collect();
            let twice = back.len() > 1;
            let back: i64 = back.iter().map(|t| t.amount).sum();
            let untold = known && twice && back > of.amount && !is_told(state, &[&charged.uid]);
            untold.then(|| {
                format!(
                    "{back} of {} has gone back of {parent}, and nobody is told",
                    of.amount
                )
            })
        })
}

/// What our own task has settled is no open question.
pub fn healed(state: &State, now: Timestamp) -> Option<String> {
    let open = state.db.findings.iter().filter(|row| row.is_open);
    let mut ambiguous = open.filter(|row| row.kind == DiscrepancyKind::AmbiguousTrackingId);
    ambiguous.find_map(|finding| {
        let uid = finding.uid.as_deref()?;
        let found = state.books.transactions.get(uid)?;
        // To another of ours that was answered with it, it is still doubtful.
        let about = finding.transaction_id;
        let row = ours(state)
            .filter(|row| about.is_none_or(|id| id == row.record.id))
            .find(|row| is_own(row, found))?;
        let derived = row.derived();
        let settled = derived.uid.is_some_and(|own| own.as_str() == uid)
            && derived.state.is_final()
            && state.wire.named_by_task.contains(uid)
            && now.since(row.state_since) > Duration::from_secs(60);
        settled.then(|| {
            format!(
                "{uid} is ours, and is still told as doubtful of {}",
                name_of(row)
            )
        })
    })
}
