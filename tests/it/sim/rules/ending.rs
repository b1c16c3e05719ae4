//! What holds four quiet days later.

use super::super::world::State;
use super::notices::unknown;
use super::truth::is_alike;
use super::{name_of, ours};
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
        let shown = state.plan.router.shows(name, &found.name) || is_parents(row, &found.name);
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
