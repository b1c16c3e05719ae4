//! What may be sent: each request once, no more than a parent has, equal ones apart, nothing in a pause.

use super::super::books::{Arrival, Books, Transaction};
use super::super::world::State;
use super::{name_of, ours};
use domain::Timestamp;
use reconciler::store::StoredTransaction;
use std::time::Duration;

/// Equal children are sent 31 seconds apart, half a second of which may pass between stamp and send.
const APART: Duration = Duration::from_millis(30_500);

/// No arrival while an earlier one of that name was or may yet be processed.
pub fn once(state: &State, now: Timestamp) -> Option<String> {
    let (last, earlier) = state.books.arrivals.split_last()?;
    if last.at != now || last.doubled {
        return None;
    }
    let name = &last.post.name;
    let is_live =
        |a: &&Arrival| &a.post.name == name && a.not_processed_at.is_none_or(|at| at > now);
    let earlier = earlier.iter().find(is_live)?;
    Some(format!(
        "{name} arrives again, and has made {:?} or may yet",
        earlier.made
    ))
}

/// What our requests of some kinds, that name one of some parents, have taken or may yet take.
fn taken(books: &Books, now: Timestamp, kinds: &[&str], parents: &[&str]) -> i64 {
    let arrivals = books.arrivals.iter().filter(|arrival| {
        let post = &arrival.post;
        let names = post
            .parent
            .as_deref()
            .is_some_and(|parent| parents.contains(&parent));
        let failed = arrival
            .made
            .as_ref()
            .and_then(|uid| books.transactions.get(uid));
        let failed = failed.is_some_and(|t| matches!(t.status.as_str(), "failed" | "expired"));
        let gone = arrival.not_processed_at.is_some_and(|at| at <= now);
        names && kinds.contains(&post.kind.as_str()) && !failed && !gone && !arrival.doubled
    });
    arrivals.map(|arrival| arrival.post.amount).sum()
}

/// What a parent has. What was told of it without a time, or with one from before, is older than what was told
/// with a later time, whenever it came: that says nothing of what it has now.
fn has(state: &State, parent: &Transaction) -> i64 {
    let held = state.wire.held_as.get(&parent.uid);
    let held = held.map_or(&[][..], Vec::as_slice);
    let as_now = held.iter().filter(|held| held.amount == parent.amount);
    let as_now = as_now.map(|held| held.updated_at).max();
    let last = held.iter().max_by_key(|held| held.updated_at);
    let newer = last.filter(|last| as_now.is_some_and(|at| at < last.updated_at));
    newer.map_or(parent.amount, |newer| newer.amount)
}

/// Children never take more than their parent has.
pub fn children(state: &State, now: Timestamp) -> Option<String> {
    let last = state.books.arrivals.last().filter(|last| last.at == now)?;
    let parent = state.books.transactions.get(last.post.parent.as_ref()?)?;
    let books = &state.books;
    let root = match parent.kind.as_str() {
        "capture" => books.transactions.get(parent.parent.as_ref()?)?,
        _ => parent,
    };
    let uid = root.uid.as_str();
    let has = has(state, root);
    if root.kind != "authorization" {
        let back = taken(books, now, &["void", "refund", "chargeback"], &[uid]);
        let over = back > has;
        return over.then(|| format!("{back} of {has} goes back of {uid}"));
    }
    let held = taken(books, now, &["capture", "void"], &[uid]);
    if held > has {
        return Some(format!(
            "{held} is captured and voided of {uid}, which holds {has}"
        ));
    }
    let captures = books.transactions.values().filter(|t| {
        t.kind == "capture" && t.parent.as_deref() == Some(uid) && t.status == "successful"
    });
    let (uids, captured) = captures.fold((Vec::new(), 0), |(mut uids, sum), t| {
        uids.push(t.uid.as_str());
        (uids, sum + t.amount)
    });
    let voided = taken(books, now, &["void"], &uids);
    let all: Vec<&str> = uids.iter().copied().chain([uid]).collect();
    let back = taken(books, now, &["refund", "chargeback"], &all) + voided;
    let over = back > captured;
    over.then(|| format!("{back} goes back of {uid}, of which {captured} was captured"))
}

/// Equal children leave at least 31 seconds apart.
pub fn spacing(state: &mut State, stored: &StoredTransaction, now: Timestamp) -> Option<String> {
    let opening = &stored.opening;
    let parent = opening.parent_uid.as_ref()?;
    let key = format!("{parent} {} {:?}", opening.kind, opening.amount);
    let times = state.wire.left.entry(key).or_default();
    // The same one again is no equal of itself.
    let name = name_of(stored);
    let last = times.iter().filter(|(of, _)| of != name).map(|(_, at)| *at);
    let last = last.max();
    times.push((name.to_owned(), now));
    let apart = now.since(last?);
    (apart < APART && state.plan.is_calm())
        .then(|| format!("{} leaves {apart:.1?} after its equal", name_of(stored)))
}

/// No stamp after a pause was committed.
pub fn pause(state: &State, _: Timestamp) -> Option<String> {
    let paused = state.wire.paused_at?;
    ours(state).find_map(|row| {
        let stamps = row.summary.attempts.values().filter_map(|a| a.stamped_at);
        let last = stamps.max().filter(|at| *at > paused)?;
        Some(format!(
            "{} is stamped {:.1?} after the pause",
            name_of(row),
            last.since(paused)
        ))
    })
}
