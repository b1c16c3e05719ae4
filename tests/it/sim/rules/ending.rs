//! What holds four quiet days later.

use super::super::world::State;
use super::notices::unknown;
use super::pace::is_honest;
use super::truth::{is_alike, is_own};
use super::{is_told, name_of, ours};
use domain::schedule::needs_no_recheck;
use domain::{State as Ours, Timestamp};
use reconciler::store::StoredTransaction;

/// Every success under a name of ours is known, unless look-ups cannot show it.
pub fn known(state: &State, _: Timestamp) -> Option<String> {
    let plan = &state.plan;
    if plan.empty {
        return None;
    }
    ours(state).find_map(|row| {
        let name = name_of(row);
        let crowd = state
            .books
            .transactions
            .values()
            .filter(|t| t.name == name)
            .count()
            > 9;
        let of = state.books.of(name).filter(|t| {
            let told = state.wire.told.contains_key(&t.uid);
            let shown = plan.router.shows(name, &t.name) && !crowd;
            t.status == "successful" && t.name == name && (told || shown && t.parent.is_none())
        });
        let sent = row.summary.sent_at().is_some();
        // A list that never tells the truth tells nothing.
        let honest = is_honest(plan, "name", name);
        let of = of.filter(|t| honest || state.wire.told.contains_key(&t.uid));
        // Of a success of our own that was told and asked for the gateway tells more by itself: by design what
        // somebody else makes under its name, and nobody tells of, is left to the gateway's reports.
        let derived = row.derived();
        let uid = derived.uid.as_ref().map(ToString::to_string);
        let rests_on = uid.and_then(|uid| state.books.transactions.get(&uid));
        let is_own = rests_on.is_some_and(|found| is_own(row, found));
        let settled = is_own && needs_no_recheck(&row.summary, &derived);
        // Of what was not sent nobody looks for anything.
        let rests = settled || row.state == Ours::NotSent;
        let of = of.filter(|t| !rests || state.wire.told.contains_key(&t.uid));
        of.filter(|_| sent)
            .find_map(|t| unknown(state, &t.uid))
            .map(|w| format!("at the end {w}"))
    })
}

/// What look-ups show is not in doubt.
pub fn as_the_books(state: &State, _: Timestamp) -> Option<String> {
    ours(state).find_map(|row| {
        let name = name_of(row);
        if row.derived().state != Ours::InDoubt || state.seen.decided.contains(name) {
            return None;
        }
        let found = state
            .books
            .made(name)
            .find(|t| is_alike(row, t) && t.is_final())?;
        // Two equal ones that could both be it wait for a person.
        let equal = |other: &StoredTransaction| {
            let is_other = other.record.id != row.record.id;
            is_other && is_alike(other, found) && other.derived().uid.is_none()
        };
        if ours(state).any(equal) && is_told(state, &[&found.uid]) {
            return None;
        }
        // Under the parent's name a look-up by that name shows it, where the router lets it.
        let router = state.plan.router;
        let is_readable =
            |asked: &str| router.shows(asked, &found.name) && is_honest(&state.plan, "name", asked);
        let by_parents = is_parents(row, &found.name) && is_readable(&found.name);
        let shown = is_readable(name) || by_parents;
        let single = state.books.of(name).count() == 1;
        let clocks = state.plan.behind.is_zero() && state.plan.ahead.is_zero();
        let visible = shown && !state.plan.empty && state.plan.children_shown && clocks && single;
        visible.then(|| format!("{name} is in doubt, and look-ups show {}", found.uid))
    })
}

fn is_parents(row: &StoredTransaction, name: &str) -> bool {
    row.opening
        .parent_tracking_id
        .as_ref()
        .is_some_and(|parent| parent.as_str() == name)
}
