//! What the service may say of an order: no false no, no false yes, and one owner for each uid.

use super::super::books::Transaction;
use super::super::world::State;
use super::{is_honest, is_told, is_told_in_full, name_of, ours};
use domain::fold::StateBasis;
use domain::{Currency, State as Ours, Timestamp};
use reconciler::store::StoredTransaction;
use std::collections::BTreeMap;
use std::time::Duration;

/// For how long a refusal may be believed that contradicts the books.
const BELIEVED: Duration = Duration::from_secs(3600 + 900);

/// By how much a transaction may seem older than our request.
const TOLERANCE: Duration = Duration::from_secs(120);

/// From which lag on an `E.1018` and four empty look-ups mislead by design.
const SEEN_LATE: Duration = Duration::from_secs(15 * 60);

/// Never `not_found`, `rejected` or `not_sent` while an arrival of that name has, or may yet have, a
/// transaction. A person may decide so, and a documented refusal that contradicts the books may be
/// believed until the first look.
pub fn no_false_no(state: &State, now: Timestamp) -> Option<String> {
    ours(state).find_map(|row| {
        let is_no = matches!(row.state, Ours::NotFound | Ours::Rejected | Ours::NotSent);
        let derived = is_no.then(|| row.derived())?;
        if derived.basis == StateBasis::Operator {
            return None;
        }
        let name = name_of(row);
        let live = state.books.live(name, now).next();
        let travels = state.wire.travelling.get(name).is_some_and(|n| *n > 0);
        if live.is_none() && !travels || is_by_design(state, row, derived.state) {
            return None;
        }
        let made = live.and_then(|arrival| arrival.made.as_ref());
        let contradicted = state.wire.contradicted.get(name);
        let found = made.and_then(|uid| state.books.transactions.get(uid));
        let unseen = found.is_some_and(|found| is_unseen(state, row, found));
        if unseen || contradicted.is_some_and(|since| now.since(*since) < BELIEVED) {
            return None;
        }
        Some(format!(
            "{name} is {}, and the gateway has {made:?} or may yet have it",
            derived.state
        ))
    })
}

/// Whether a documented refusal contradicts a transaction that no look can show, and that nobody has told of. Such
/// a refusal stands: it may be believed until the first look that shows what it contradicts.
pub fn is_unseen(state: &State, row: &StoredTransaction, found: &Transaction) -> bool {
    state.wire.contradicted.contains_key(name_of(row))
        && !state.wire.told.contains_key(&found.uid)
        && !can_be_shown(state, row, found)
}

/// Whether look-ups by a name of this row can show a transaction: its own, and its parent's.
fn can_be_shown(state: &State, row: &StoredTransaction, found: &Transaction) -> bool {
    let plan = &state.plan;
    let parents = row.opening.parent_tracking_id.iter();
    let parents = parents.map(|name| name.as_str());
    let shows =
        |asked: &str| plan.router.shows(asked, &found.name) && is_honest(plan, "name", asked);
    let mut names = std::iter::once(name_of(row)).chain(parents);
    let visible = plan.children_shown || found.parent.is_none();
    !plan.empty && visible && names.any(shows)
}

/// Whether some order is shown as not made, though the gateway has it, because the design itself allows it.
pub fn is_false_by_design(state: &State, now: Timestamp) -> bool {
    ours(state).any(|row| {
        let is_no = matches!(row.state, Ours::NotFound | Ours::Rejected);
        let derived = is_no.then(|| row.derived());
        let shown = derived.filter(|derived| derived.basis != StateBasis::Operator);
        shown.is_some_and(|derived| {
            let live = state.books.live(name_of(row), now).next().is_some();
            live && is_by_design(state, row, derived.state)
        })
    })
}

/// Where the design itself allows a false no; such runs are counted apart.
pub fn is_by_design(state: &State, row: &StoredTransaction, shown: Ours) -> bool {
    let plan = &state.plan;
    let duplicate = row.summary.no_duplicate.is_some();
    match shown {
        Ours::Rejected => duplicate && (plan.lag > SEEN_LATE || plan.empty),
        Ours::NotFound => {
            let renamed = || {
                let mut made = state.books.made(name_of(row)).peekable();
                made.peek().is_some() && made.all(|t| is_hidden(state, row, t))
            };
            plan.lag > Duration::from_secs(23 * 3600) || plan.empty || renamed()
        }
        _ => false,
    }
}

/// Whether what we asked for is filed under a name that is not ours, or is of another type by now, and our own
/// task has never told so: a row of another type makes a look-up empty, by design.
pub fn is_hidden(state: &State, row: &StoredTransaction, found: &Transaction) -> bool {
    let parents = row.opening.parent_tracking_id.as_ref();
    let named = found.name == name_of(row) || parents.is_some_and(|p| p.as_str() == found.name);
    let is_other = found.kind != row.opening.kind.as_str();
    (!named || is_other) && !state.wire.named_by_task.contains(&found.uid)
}

/// Whether a transaction of the books is what a row asked for.
pub fn is_alike(row: &StoredTransaction, found: &Transaction) -> bool {
    let opening = &row.opening;
    let parent = opening.parent_uid.as_ref().map(ToString::to_string);
    let currency = opening.currency.as_ref().map(Currency::as_str);
    found.kind == opening.kind.as_str()
        && opening.amount.is_none_or(|amount| amount == found.amount)
        && currency.is_none_or(|currency| currency == found.currency)
        && (parent.is_none() || found.parent.is_none() || parent == found.parent)
        && opening.test.unwrap_or(false) == found.test
}

/// Whether a POST of ours made it, for this row.
pub fn is_own(row: &StoredTransaction, found: &Transaction) -> bool {
    found.ours() && found.asked == name_of(row)
}

/// An end rests on what this row's request made, or on the only one alike under its name, or, for a
/// success, on one that is told.
pub fn no_false_yes(state: &State, _: Timestamp) -> Option<String> {
    ours(state).find_map(|row| false_yes(state, row))
}

fn false_yes(state: &State, row: &StoredTransaction) -> Option<String> {
    let is_yes = matches!(row.state, Ours::Successful | Ours::Failed | Ours::Expired);
    let derived = is_yes.then(|| row.derived())?;
    if derived.basis == StateBasis::Operator {
        return None;
    }
    let (name, shown) = (name_of(row), derived.state.as_str());
    let uid = derived.uid.as_ref().map(ToString::to_string);
    let uid = uid.unwrap_or_default();
    let Some(found) = state.books.transactions.get(&uid) else {
        return Some(format!("{name} is {shown} by {uid:?}, which is in no book"));
    };
    if !found.had(shown) {
        return Some(format!("{name} is {shown}, and {uid} never was"));
    }
    let decided = state.seen.decided.contains(name);
    let parents = row.opening.parent_tracking_id.as_ref();
    let parents = parents.map(|name| name.as_str());
    let bears = |t: &Transaction| t.name == name || Some(t.name.as_str()) == parents;
    // A transaction may become other than it was. What it was told as before, a state may rest on.
    let held = state.wire.held_as.get(&uid).map_or(&[][..], Vec::as_slice);
    let all = || held.iter().chain([found]);
    if !decided && !all().any(|t| is_alike(row, t)) {
        return Some(format!(
            "{name} is {shown} by {uid}, which is not what was asked for"
        ));
    }
    if !decided && has_become_another(state, row, &uid, held) && !is_told(state, &[&uid]) {
        return Some(format!(
            "{name} is {shown} by {uid}, which has become another, and no finding says so"
        ));
    }
    let is_ours = all().any(|t| is_alike(row, t) && bears(t));
    if is_own(row, found) && (is_ours || decided) {
        return None;
    }
    let is_only = is_ours && others_are_told(state, row, &uid);
    // Whether such a success is told is a rule of its own.
    let told = derived.state == Ours::Successful && is_ours;
    (!is_only && !told).then(|| {
        format!(
            "{name} is {shown} by {uid}, which somebody else made as {}",
            found.asked
        )
    })
}

/// Whether the last that was told of it is unlike the row, and newer than what agreed. What has the same time
/// as before says nothing newer.
fn has_become_another(
    state: &State,
    row: &StoredTransaction,
    uid: &str,
    held: &[Transaction],
) -> bool {
    let agreed = held.iter().filter(|t| is_alike(row, t));
    let agreed = agreed.map(|t| t.updated_at).max();
    let newer = |t: &Transaction| agreed.is_none_or(|at| t.updated_at > at);
    let told = state.wire.versions(uid);
    told.last()
        .is_some_and(|last| !is_alike(row, last) && newer(last))
}

/// Whether all others under the row's name that are alike stand in a finding with it. What came later takes
/// nothing from an end, and what is older than our request is not ours.
fn others_are_told(state: &State, row: &StoredTransaction, uid: &str) -> bool {
    let stamps = row.summary.attempts.values().filter_map(|a| a.stamped_at);
    let first = stamps.min().unwrap_or(row.record.created_at);
    let oldest = first.minus(TOLERANCE);
    let mut others = state.books.of(name_of(row)).filter(|t| {
        let is_candidate = t.created_at >= oldest && t.created_at <= row.state_since;
        // What look-ups showed only later could not be known of, by design. Of what somebody else makes "the only
        // candidate" (design, binding) is the only one that was told: a webhook tells of one alone, and whatever
        // else bears the name the re-checks find. What our own request has made must be seen all the same.
        let told = state.wire.told.get(&t.uid);
        let told = told.is_some_and(|at| *at <= row.state_since);
        let is_shown = told || is_own(row, t) && t.visible_at <= row.state_since;
        t.uid != uid && is_candidate && is_shown && is_alike(row, t)
    });
    // An end stays one, whatever else appears: then both stand in a finding. What our own task has named only a
    // success outranks.
    others.all(|t| {
        !state.wire.named_by_task.contains(&t.uid) && is_told_in_full(state, &[uid, &t.uid])
    })
}

/// No uid is shown twice, and what is shown is claimed.
pub fn one_owner(state: &State, _: Timestamp) -> Option<String> {
    let mut owners = BTreeMap::new();
    state.db.transactions.values().find_map(|row| {
        if row.state == Ours::Merged {
            return None;
        }
        let uid = row.derived().uid?.to_string();
        let name = name_of(row).to_owned();
        let claimed = state.db.owner_of_uid(&uid) == Some(row.record.id);
        match owners.insert(uid.clone(), name.clone()) {
            Some(other) => Some(format!("{uid} belongs to {other} and to {name}")),
            None => (!claimed).then(|| format!("{name} shows {uid} and has not claimed it")),
        }
    })
}

/// A state that rests on another uid than the one our task named is told with both.
pub fn told(state: &State, _: Timestamp) -> Option<String> {
    ours(state).find_map(|row| {
        let name = name_of(row);
        // Most orders have made one thing.
        let several = state.books.of(name).nth(1).is_some() || state.plan.flat;
        let derived = (several && row.state.is_final()).then(|| row.derived())?;
        let uid = derived.uid.as_ref().map(ToString::to_string)?;
        let named = state
            .books
            .made(name)
            .find(|t| t.uid != uid && state.wire.named_by_task.contains(&t.uid))?;
        let rests = derived.state.is_final() && derived.basis != StateBasis::Operator;
        (rests && !is_told_in_full(state, &[&uid, &named.uid])).then(|| {
            let shown = derived.state;
            format!(
                "{name} is {shown} by {uid}, our task named {}, and no finding says so",
                named.uid
            )
        })
    })
}
