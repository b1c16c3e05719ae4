//! When looks are due, that they lead somewhere, and that there are not too many of them.

use super::super::books::Transaction;
use super::super::exec;
use super::super::plan::{Notices, Plan, What, plain};
use super::super::world::State;
use super::truth::{is_alike, is_own};
use super::{name_of, ours};
use domain::fold::StateBasis;
use domain::schedule::is_duplicate_doubt;
use domain::{Origin, State as Ours, Timestamp};
use reconciler::store::StoredTransaction;
use std::collections::BTreeSet;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const YOUNG: Duration = Duration::from_secs(15 * 60);

/// The longest pause between looks at an age, as the settings of all runs have it.
fn longest(age: Duration) -> Duration {
    if age < YOUNG {
        MINUTE
    } else {
        (age / 2).min(Duration::from_secs(6 * 3600))
    }
}

/// What is open is due by the pace of its age, and never later for any header or error.
pub fn due(state: &State, now: Timestamp) -> Option<String> {
    ours(state).find_map(|row| {
        let check = state.db.checks.get(&row.record.id)?;
        let derived = (!row.state.is_final()).then(|| row.derived())?;
        // Of what was refused the looks are counted from the refusal.
        let refused = matches!(derived.basis, StateBasis::Refusal(_));
        let refused = refused.then(|| row.summary.refused_at()).flatten();
        let since = refused.map_or(row.state_since, |at| at.min(row.state_since));
        let most = if derived.state == Ours::Accepted {
            Duration::from_secs(3600)
        } else if is_duplicate_doubt(&derived) {
            longest(now.since(since)).max(YOUNG)
        } else if matches!(derived.basis, StateBasis::Differs(_)) {
            // It waits for a person, at the pace of what is old.
            longest(now.since(row.state_since)).max(now.since(row.state_since) / 2)
        } else {
            longest(now.since(since))
        };
        let most = most + most / 8 + Duration::from_secs(1);
        let wait = check.due_at.since(now);
        (check.due_at > now && wait > most).then(|| {
            format!(
                "{} is {}, and the next look is in {wait:.0?}",
                name_of(row),
                derived.state
            )
        })
    })
}

/// Whether all exchanges of a channel about a subject are as the books have them, from some time on.
pub fn is_honest(plan: &Plan, channel: &str, about: &str) -> bool {
    let mut planned = plan.exchanges.iter();
    !planned.any(|one| one.channel == channel && one.about == about && one.last == u64::MAX)
}

/// When an exchange that the plan has spoilt last took place, of those that end.
fn spoilt(state: &State, channel: &str, about: &str) -> Option<Timestamp> {
    let asked = state
        .wire
        .asked
        .get(&(channel.to_owned(), about.to_owned()))?;
    let planned = state
        .plan
        .exchanges
        .iter()
        .filter(|one| one.channel == channel && one.about == about && one.last != u64::MAX);
    let nth = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let had = planned.filter(|one| nth(one.first) <= asked.len());
    had.filter_map(|one| asked.get(asked.len().min(nth(one.last)).checked_sub(1)?))
        .max()
        .copied()
}

/// Since when a channel that can decide the row tells the truth about it, if one does. One of which single
/// answers are spoilt is honest from the last of these on.
fn decidable_since(
    state: &State,
    row: &StoredTransaction,
    found: &Transaction,
) -> Option<Timestamp> {
    let plan = &state.plan;
    let task = found.uid.replacen("uid-", "task-", 1);
    let asked = is_honest(plan, "result", &task) && is_honest(plan, "status", &task);
    let by_task = state
        .books
        .tasks
        .get(&task)
        .is_some_and(|task| match &task.end {
            super::super::books::TaskEnd::Transaction(_) => true,
            super::super::books::TaskEnd::Error(..) => false,
        });
    let mut acks = state.wire.answers("ack", name_of(row));
    let acked = acks.any(|sent| {
        sent.status == 200 && String::from_utf8_lossy(&sent.body).contains(&format!("{task}\""))
    });
    let single = state.books.of(name_of(row)).count() == 1;
    let by_name = is_honest(plan, "name", name_of(row))
        && !plan.blind
        && !plan.empty
        && found.name == name_of(row)
        && plan.router.shows(name_of(row), &found.name)
        && (plan.children_shown || found.parent.is_none())
        && single
        && found.status == "successful";
    // What a task has shown before its transaction ended, only a look by its uid can show as it is.
    let ended = found.history.last().map(|(at, _)| *at);
    let in_time = (state.books.tasks.get(&task)).is_some_and(|task| ended <= Some(task.done_at));
    let shown = in_time || is_honest(plan, "uid", &found.uid);
    let changes = found.history.last().map_or(found.created_at, |(at, _)| *at);
    let since = changes.max(found.visible_at);
    let name = by_name.then(|| spoilt(state, "name", name_of(row)));
    let task = (asked && by_task && acked && shown).then(|| {
        let uid = spoilt(state, "uid", &found.uid).filter(|_| !in_time);
        let task = spoilt(state, "result", &task).max(spoilt(state, "status", &task));
        task.max(uid)
    });
    let honest = name.into_iter().chain(task);
    honest
        .map(|spoilt| spoilt.unwrap_or(since).max(since))
        .min()
}

/// While one channel that can decide a row is honest, the row is right in time.
pub fn lively(state: &State, now: Timestamp) -> Option<String> {
    let plan = &state.plan;
    let clocks = plan.behind.is_zero() && plan.ahead.is_zero();
    if !plan.is_calm() || !clocks {
        return None;
    }
    ours(state).find_map(|row| {
        let name = name_of(row);
        let is_open = !row.state.is_final() && !state.seen.decided.contains(name);
        let derived = is_open.then(|| row.derived())?;
        let found = state
            .books
            .made(name)
            .find(|t| is_own(row, t) && is_alike(row, t))?;
        // What our own task names under a strange name is left for a person.
        let parents = row.opening.parent_tracking_id.as_ref();
        let is_named = found.name == name || parents.is_some_and(|p| p.as_str() == found.name);
        let since = (found.is_final() && is_named)
            .then(|| decidable_since(state, row, found))
            .flatten()?;
        let age = since.since(row.record.created_at);
        let most = longest(age) * 3 + 2 * MINUTE;
        let waits = matches!(derived.basis, StateBasis::Differs(_));
        (now.since(since) > most && !waits).then(|| {
            let late = now.since(since);
            format!(
                "{name} is {}, and has been {} for {late:.0?}",
                derived.state, found.status
            )
        })
    })
}

/// After the k-th read in a row without an answer at all nobody asks again for 2^k seconds, or a
/// minute. Where webhooks or people may ask for a look, nothing is said.
pub fn silent(state: &State, _: Timestamp) -> Option<String> {
    let asked_for = state.plan.notices != Notices::None || !state.plan.acts.is_empty();
    if !state.plan.is_calm() || asked_for {
        return None;
    }
    let silent = &state.wire.silent;
    silent
        .iter()
        .enumerate()
        .find_map(|(nth, (channel, about, at))| {
            let answered = state.wire.answers(channel, about).map(|sent| sent.at);
            let last = answered.filter(|sent| sent < at).max();
            let in_a_row = silent[..=nth].iter().filter(|(other, of, when)| {
                other == channel && of == about && last.is_none_or(|last| *when > last)
            });
            let count = u32::try_from(in_a_row.count()).unwrap_or(1);
            let least = Duration::from_secs(2_u64.pow(count.min(6))).min(MINUTE);
            let all = state.wire.asked.get(&(channel.clone(), about.clone()))?;
            // A name is asked by its own row and by those of its children, each at its own pace.
            let below = state.plan.orders.iter();
            let below = below.filter(|order| order.parent.as_ref() == Some(about));
            let others = if channel == "name" { below.count() } else { 0 };
            let next = all.iter().filter(|asked| *asked >= at).nth(others)?;
            let gap = next.since(*at);
            (gap < least.mul_f64(0.8)).then(|| {
                format!("{about}: asked again {gap:.1?} after {count} reads without an answer")
            })
        })
}

/// The uids that rows of origin `gateway` stand for: what is asked by them is asked for those rows.
fn uids_apart(state: &State) -> BTreeSet<String> {
    let rows = state.db.transactions.values();
    let apart = rows.filter(|row| row.opening.origin == Origin::Gateway);
    apart
        .filter_map(|row| row.derived().uid.map(|uid| uid.to_string()))
        .collect()
}

/// Whether more requests than these lie in a time.
fn holds_more(times: &[Timestamp], count: usize, time: Duration) -> bool {
    times
        .windows(count + 1)
        .any(|within| within[count].since(within[0]) < time)
}

/// What is wrong with the times of the requests for one row.
fn too_often(name: &str, times: &mut [Timestamp]) -> Option<String> {
    times.sort();
    if holds_more(times, 10, Duration::from_secs(10)) {
        return Some(format!("{name}: more than 10 requests in 10 s"));
    }
    holds_more(times, 60, YOUNG).then(|| format!("{name}: more than 60 requests in 15 min"))
}

/// Never more than 10 requests in 10 seconds for one row, nor 60 in 15 minutes.
pub fn bounded(state: &State, _: Timestamp) -> Option<String> {
    if !state.plan.is_calm() {
        return None;
    }
    let apart = uids_apart(state);
    let is_apart = |channel: &str, about: &String| channel == "uid" && apart.contains(about);
    let asked = &state.wire.asked;
    let mut others = asked
        .iter()
        .filter(|((channel, about), _)| is_apart(channel, about));
    if let Some(wrong) = others.find_map(|((_, uid), times)| too_often(uid, &mut times.clone())) {
        return Some(wrong);
    }
    state.plan.orders.iter().find_map(|order| {
        let (name, plain) = (&order.name, plain(&order.name));
        let of = |about: &str| {
            let bare = about.trim_start_matches("task-").trim_start_matches("uid-");
            bare == name || bare.rsplit_once('-').is_some_and(|(bare, _)| bare == plain)
        };
        let all = asked
            .iter()
            .filter(|((channel, about), _)| of(about) && !is_apart(channel, about));
        let mut times: Vec<Timestamp> = all.flat_map(|(_, times)| times.clone()).collect();
        let posts = state.books.arrivals.iter().filter(|a| &a.post.name == name);
        times.extend(posts.map(|arrival| arrival.at));
        times.sort();
        // What a person asks for comes on top: by uid and by name.
        let checks = state.plan.acts.iter();
        for act in checks.filter(|act| &act.name == name && act.what == What::Check) {
            let at = exec::beginning().plus(act.at);
            let first = times.partition_point(|time| *time < at);
            times.drain(first..(first + 2).min(times.len()));
        }
        too_often(name, &mut times)
    })
}
