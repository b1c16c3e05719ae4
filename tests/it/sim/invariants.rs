//! The rules, looked at from outside: after each commit, whenever bytes leave, whenever a webhook is
//! taken, and at the end. They know the gateway's own truth, and nothing of how the service works.

use super::books::Transaction;
use super::db::{Check, Db};
use super::mutant::Mutant;
use super::world::State as World;
use domain::fold::{DerivedState, StateBasis};
use domain::{Origin, State, Timestamp};
use gateway::GatewayResponse;
use reconciler::ledger::LedgerCommand;
use reconciler::store::StoredTransaction;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;
use uuid::Uuid;

/// The names of the rules.
pub mod rule {
    pub const ONCE: &str = "at most once";
    pub const LOST: &str = "nothing is lost";
    pub const FINAL: &str = "finality";
    pub const EVIDENCE: &str = "positive evidence";
    pub const OWNER: &str = "one owner";
    pub const LEVEL: &str = "level-triggered";
    pub const FENCE: &str = "fencing";
    pub const CHAIN: &str = "one chain";
    pub const TRUTH: &str = "the gateway's truth";
    pub const REST: &str = "a run comes to rest";
    pub const WORKS: &str = "the ledger works";
}

/// A POST of ours whose bytes have left.
#[derive(Debug)]
struct Left {
    attempt: u32,
    /// The gateway has said, and we have heard, that it was not processed.
    released: bool,
}

/// What the outside has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// When the lease of a token ends, as its holder believes.
    pub leases: HashMap<Uuid, u64>,
    /// Orders that a person has decided.
    pub decided: BTreeSet<String>,
    posts: BTreeMap<String, Vec<Left>>,
    empties: BTreeMap<String, Vec<Timestamp>>,
    /// Bodies that were kept and then fell to retention.
    forgotten: HashSet<[u8; 32]>,
    /// How many of each thing happened, for the summary.
    pub counts: BTreeMap<&'static str, u64>,
}

impl Seen {
    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }
}

/// An answer to a look-up by tracking id has come. It counts when it is a list without ours.
pub fn looked_up(world: &mut World, name: &str, answer: &GatewayResponse, now: Timestamp) {
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let Some(rows) = body["transactions"].as_array() else {
        return;
    };
    let made = ours(world, name).map(|t| t.uid.clone()).unwrap_or_default();
    if answer.status == 200 && !answer.truncated && rows.iter().all(|row| row["uid"] != made) {
        world
            .seen
            .empties
            .entry(name.to_owned())
            .or_default()
            .push(now);
    }
}

/// What a transaction was before a commit.
pub type Before = BTreeMap<Uuid, (DerivedState, Option<Check>)>;

pub fn before(db: &Db) -> Before {
    let of = |row: &StoredTransaction| {
        (
            row.record.id,
            (row.derived(), db.checks.get(&row.record.id).cloned()),
        )
    };
    db.transactions.values().map(of).collect()
}

/// The name that an order goes by.
fn name_of(row: &StoredTransaction) -> String {
    row.opening
        .tracking_id
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// Bytes of an attempt are about to leave.
pub fn bytes_leave(
    world: &mut World,
    stored: &StoredTransaction,
    attempt: u32,
    lease: Uuid,
    now: Timestamp,
) {
    super::rules::leaves(world, stored, now);
    let name = name_of(stored);
    let row = world.db.transactions.get(&stored.record.id);
    let known = row.and_then(|row| row.summary.attempts.get(&attempt).cloned());
    let Some(stamped) = known.and_then(|attempt| attempt.stamped_at) else {
        world.breaks(
            rule::ONCE,
            format!("{name}: attempt {attempt} leaves without a stamp"),
        );
        return;
    };
    // The lease, less the time that the request may take.
    let latest = stamped.plus(Duration::from_secs(45 - 30));
    if now > latest {
        let late = now.since(latest);
        let text = format!("{name}: attempt {attempt} leaves {late:.1?} too late, lease {lease}");
        world.breaks(rule::FENCE, text);
    }
    let trust = world.plan.trust;
    let posts = world.seen.posts.entry(name.clone()).or_default();
    let unanswered = posts
        .iter()
        .find(|left| !left.released)
        .map(|left| left.attempt);
    posts.push(Left {
        attempt,
        released: false,
    });
    world.seen.count("posts");
    if let Some(earlier) = unanswered.filter(|_| !trust) {
        let text = format!("{name}: attempt {attempt} leaves while {earlier} may have arrived");
        world.breaks(rule::ONCE, text);
    }
}

/// The answer to a POST has been read.
pub fn answered(world: &mut World, stored: &StoredTransaction, attempt: u32, status: u16) {
    let posts = world.seen.posts.entry(name_of(stored)).or_default();
    for left in posts.iter_mut().filter(|left| left.attempt == attempt) {
        left.released |= status == 429;
    }
}

/// A webhook has been answered 200.
pub fn acknowledged(world: &mut World, sha256: [u8; 32]) {
    let evidence = world
        .db
        .evidence
        .values()
        .flatten()
        .any(|e| e.body_sha256 == sha256);
    let orphan = world
        .db
        .orphans
        .values()
        .any(|o| o.row.body_sha256 == sha256);
    world.seen.count("webhooks taken");
    if !evidence && !orphan && !world.seen.forgotten.contains(&sha256) {
        world.breaks(rule::LOST, "a webhook was answered 200 and is not stored");
    }
}

/// Somebody was told that what was read is recorded, under whatever lease.
pub fn recorded(world: &mut World, id: Option<Uuid>, sha256: [u8; 32]) {
    let Some(id) = id else { return };
    let rows = world.db.evidence.get(&id);
    let is_there = rows.is_some_and(|rows| rows.iter().any(|e| e.body_sha256 == sha256));
    if !is_there && !world.seen.forgotten.contains(&sha256) {
        let row = world.db.transactions.get(&id).map(name_of);
        let text = format!("what was read of {row:?} is not stored");
        world.breaks(rule::LOST, text);
    }
}

/// A commit has taken place. Gives a line for each transaction that moved.
pub fn committed(
    world: &mut World,
    before: &Before,
    works: &[LedgerCommand],
    (began, now): (Timestamp, Timestamp),
) -> Vec<String> {
    let rows: Vec<StoredTransaction> = world.db.transactions.values().cloned().collect();
    let mut lines = Vec::new();
    let mut owners = BTreeMap::new();
    world.seen.count("commits");
    for row in &rows {
        let derived = row.derived();
        let name = name_of(row);
        if let Some(uid) = &derived.uid
            && let Some(other) = owners.insert(uid.clone(), name.clone())
        {
            world.breaks(
                rule::OWNER,
                format!("{uid} belongs to {other} and to {name}"),
            );
        }
        let (was, held) = match before.get(&row.record.id) {
            Some((was, held)) => (Some(was), held.as_ref()),
            None => (None, None),
        };
        if !row.state.is_final() && !world.db.checks.contains_key(&row.record.id) {
            world.breaks(
                rule::LEVEL,
                format!("{name} is {} without a check", row.state),
            );
        }
        fencing(world, row, held, works, now);
        let moved = was.is_none_or(|was| was.state != derived.state);
        stale(world, row, held, (works, moved), began);
        if was.map(|was| was.state) == Some(derived.state) {
            continue;
        }
        lines.push(format!(
            "{name}: {} -> {}",
            was.map_or("new", |w| w.state.as_str()),
            derived.state
        ));
        if let Some(was) = was
            && matches!(was.basis, StateBasis::Snapshot(_))
            && was.state.is_final()
            && !derived.state.is_final()
        {
            world.breaks(
                rule::FINAL,
                format!("{name} was {} and is {}", was.state, derived.state),
            );
        }
        let reopened = matches!(
            derived.state,
            State::Accepted | State::Submitting | State::NotSent | State::InDoubt
        );
        if let Some(was) = was
            && was.basis == StateBasis::Absence
            && derived.basis != StateBasis::Operator
            && reopened
        {
            let text = format!("{name} was told as not_found and is {}", derived.state);
            world.breaks(rule::FINAL, text);
        }
        if derived.basis != StateBasis::Operator {
            justified(world, row, &derived);
        }
    }
    lines
}

/// Only the holder of a live lease may plan, unless the transaction has ended.
fn fencing(
    world: &mut World,
    row: &StoredTransaction,
    held: Option<&Check>,
    works: &[LedgerCommand],
    now: Timestamp,
) {
    let id = row.record.id;
    let Some((held, token)) = held.and_then(|h| Some((h, h.lease.filter(|_| h.due_at > now)?)))
    else {
        return;
    };
    let is_holder = works.iter().any(|work| match work {
        LedgerCommand::Record(record) => record.lease == Some(token),
        LedgerCommand::Stamp(stamp, own) => {
            (stamp.id == id && stamp.lease == Some(token)) || *own == token
        }
        LedgerCommand::Open(open) => open.id == token,
        LedgerCommand::Close(_) => false,
    });
    let is_kept = world
        .db
        .checks
        .get(&id)
        .is_some_and(|check| check.lease == Some(token) && check.due_at == held.due_at);
    // What has ended waits for nobody: a caller may begin its next attempt.
    let had_ended = State::parse(&held.state).is_some_and(State::is_final);
    if !is_holder && !is_kept && !had_ended && !row.state.is_final() {
        let now_is = world.db.checks.get(&id).cloned();
        let acts: Vec<String> = works.iter().map(act_of).collect();
        let text = format!("{}: {held:?} became {now_is:?} by {acts:?}", name_of(row));
        world.breaks(rule::FENCE, text);
    }
}

/// Who held a lease that had run out when the batch began may stamp nothing and plan nothing. What it
/// read counts: it may move the state, and make a look due at once.
fn stale(
    world: &mut World,
    row: &StoredTransaction,
    held: Option<&Check>,
    (works, moved): (&[LedgerCommand], bool),
    began: Timestamp,
) {
    let id = row.record.id;
    let (Some(held), [work]) = (held, works) else {
        return;
    };
    let Some(token) = held.lease.filter(|_| held.due_at <= began) else {
        return;
    };
    let names = match work {
        LedgerCommand::Record(record) => record.lease == Some(token),
        LedgerCommand::Stamp(stamp, _) => stamp.lease == Some(token),
        LedgerCommand::Open(_) | LedgerCommand::Close(_) => false,
    };
    if names {
        world.seen.count("stale workers");
    }
    let check = world.db.checks.get(&id);
    let wrong = match work {
        LedgerCommand::Record(record) if record.lease == Some(token) && !moved => {
            check.is_none_or(|check| {
                let is_due = check.lease.is_none() && check.due_at <= began;
                !is_due && (check.due_at, check.lease) != (held.due_at, held.lease)
            })
        }
        LedgerCommand::Stamp(stamp, own) if stamp.id == id && stamp.lease == Some(token) => {
            check.is_some_and(|check| check.lease == Some(*own) && *own != token)
        }
        _ => false,
    };
    if wrong {
        let text = format!(
            "{}: {} after the lease ran out at {}",
            name_of(row),
            act_of(work),
            held.due_at.to_rfc3339()
        );
        world.breaks(rule::FENCE, text);
    }
}

/// A check has been put off, or not.
pub fn postponed(world: &mut World, held: Option<&Check>, lease: Uuid, done: bool, now: Timestamp) {
    let is_holder = held.is_some_and(|held| held.lease == Some(lease) && held.due_at > now);
    if done && !is_holder {
        let text = format!("{held:?} was put off under {lease}");
        world.breaks(rule::FENCE, text);
    }
}

/// Retention passes. What is still looked at keeps all its evidence.
pub fn retention(world: &mut World, mutant: Option<Mutant>) -> usize {
    let all = world.db.evidence.values().flatten();
    let before: HashSet<[u8; 32]> = all.map(|e| e.body_sha256).collect();
    let gone = if mutant == Some(Mutant::RetentionTooEager) {
        std::mem::take(&mut world.db.evidence).len()
    } else {
        world.db.forget()
    };
    world.seen.forgotten.extend(before);
    let rows: Vec<StoredTransaction> = world.db.transactions.values().cloned().collect();
    for row in rows {
        let id = row.record.id;
        let kept = world.db.evidence.contains_key(&id);
        if world.db.checks.contains_key(&id) && !kept {
            let text = format!("{} is {} and has no evidence", name_of(&row), row.state);
            world.breaks(rule::LOST, text);
        }
    }
    world.seen.count("retentions");
    gone
}

/// The evidence of each transaction is one chain that ends where the row says, and nothing is in it
/// twice.
pub fn chained(world: &mut World) {
    let rows: Vec<StoredTransaction> = world.db.transactions.values().cloned().collect();
    for row in rows {
        let Some(evidence) = world.db.evidence.get(&row.record.id) else {
            continue;
        };
        let ids: HashSet<Uuid> = evidence.iter().map(|e| e.row.id).collect();
        let ordered = evidence
            .windows(2)
            .all(|two| two[0].row.position + 1 == two[1].row.position);
        let last = evidence.last().map(|e| (e.row.position, e.chain));
        let whole = last.is_none_or(|last| last == (row.evidence_count, row.evidence_head));
        if ids.len() != evidence.len() || !ordered || !whole {
            let text = format!(
                "{}: {} pieces, {} different, ordered {ordered}, ends at {:?} of {}",
                name_of(&row),
                evidence.len(),
                ids.len(),
                last.map(|last| last.0),
                row.evidence_count
            );
            world.breaks(rule::CHAIN, text);
        }
    }
}

fn act_of(work: &LedgerCommand) -> String {
    match work {
        LedgerCommand::Open(open) => format!("open {}", open.id),
        LedgerCommand::Record(record) => {
            let (learned, lease) = (&record.observation, record.lease);
            format!("{} {:?} under {lease:?}", learned.channel, learned.facts)
        }
        LedgerCommand::Stamp(stamp, token) => format!("stamp {token} under {:?}", stamp.lease),
        LedgerCommand::Close(close) => format!("close {}", close.id),
    }
}

/// Whether the world gives reason for a state.
fn justified(world: &mut World, row: &StoredTransaction, derived: &DerivedState) {
    let name = name_of(row);
    let posts = world.seen.posts.get(&name);
    let may_have_arrived = posts.is_some_and(|posts| posts.iter().any(|left| !left.released));
    let made = ours(world, &name).is_some();
    let refused = world
        .books
        .arrivals
        .iter()
        .any(|a| a.post.name == name && a.not_processed_at.is_some());
    let wrong = match derived.state {
        State::Successful | State::Failed | State::Expired => {
            let uid = derived
                .uid
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            let found = world.books.transactions.get(&uid);
            found.is_none_or(|t| !t.had(derived.state.as_str()))
        }
        // What was refused against the books is judged by the rule of a false no.
        State::Rejected => (made || !refused) && !world.wire.contradicted.contains_key(&name),
        // Look-ups that show what is hidden are empty by the design, though their lists are not: the rule of
        // proofs counts those.
        State::NotFound if made => !is_hidden(world, &name, row),
        State::NotFound => !is_proved(world, row),
        State::NotSent => may_have_arrived,
        State::Accepted => may_have_arrived,
        State::Submitting | State::Processing | State::Pending | State::InDoubt | State::Merged => {
            false
        }
    };
    if wrong && row.opening.origin == Origin::Api {
        let text = format!(
            "{name} is {}: made {made}, refused {refused}",
            derived.state
        );
        world.breaks(rule::EVIDENCE, text);
    }
}

/// Whether no look-up can show it, by design: look-ups are broken altogether, or all that we asked for goes by
/// names that are not ours, of which our own task has told nothing.
fn is_hidden(world: &World, name: &str, row: &StoredTransaction) -> bool {
    let mut made = world.books.made(name);
    world.plan.empty || made.all(|t| super::rules::is_hidden(world, row, t))
}

/// At least three empty look-ups, far apart, the last one late. Answers may wait for a while before
/// they are recorded, so that their own times are compared with some leave.
fn is_proved(world: &World, row: &StoredTransaction) -> bool {
    let leave = Duration::from_secs(900);
    let stamped = row
        .summary
        .attempts
        .values()
        .filter_map(|a| a.stamped_at)
        .max();
    let (Some(stamped), Some(empties)) = (stamped, world.seen.empties.get(&name_of(row))) else {
        return false;
    };
    let after: Vec<&Timestamp> = empties.iter().filter(|at| **at > stamped).collect();
    let (Some(first), Some(last)) = (after.first(), after.last()) else {
        return false;
    };
    after.len() >= 3
        && last.since(**first).saturating_add(leave) >= Duration::from_secs(1200)
        && **last > stamped.plus(Duration::from_secs(86_400)).minus(leave)
}

/// The gateway's transaction that a POST of ours has made.
pub fn ours<'a>(world: &'a World, name: &str) -> Option<&'a Transaction> {
    world
        .books
        .transactions
        .values()
        .find(|t| t.ours() && t.asked == name)
}
