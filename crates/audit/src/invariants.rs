//! What is not a state: rule 1 of design.md §2 (at most once on the wire), what a proof of absence
//! names, and what was opened.
//!
//! Here the order of arrival counts: a stamp is right or wrong by what had been recorded before it.

use crate::evidence_reader::{EvidenceItem, Statement};
use crate::gateway_body::ReportedTransaction;
use crate::history::{AuditedRequest, TransactionHistory};
use crate::rules::blocks_absence_proof;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;
use words::{Origin, State, Timestamp};

/// What is known of the wire at one point of the order of arrival.
#[derive(Default)]
struct WireState {
    stamped: BTreeSet<u32>,
    not_processed: BTreeSet<u32>,
    answered: BTreeSet<u32>,
    tasks: BTreeMap<String, u32>,
    /// When it was held back after a restore, and when a person let it go.
    held: Option<Timestamp>,
    released: Option<Timestamp>,
}

impl WireState {
    /// What holds it back, and what lets it go.
    fn hear(&mut self, saying: &Statement) {
        match saying {
            Statement::Held(at) => self.held = self.held.max(Some(*at)),
            Statement::Released(at) => self.released = self.released.max(Some(*at)),
            Statement::Decided(decision) if decision.state == State::NotSent => {
                self.released = self.released.max(Some(decision.at));
            }
            _ => {}
        }
    }

    /// An attempt before this one that may have been processed.
    fn live(&self) -> Option<u32> {
        let clear = |n: &u32| self.not_processed.contains(n) && !self.answered.contains(n);
        self.stamped.iter().copied().find(|attempt| !clear(attempt))
    }
}

/// Attempts that were stamped although an earlier one might have been processed, and answers to what
/// was never stamped. Also gives how many stamps were replays under the same `RequestID`.
pub(super) fn duplicate_submits(pieces: &[EvidenceItem]) -> (Vec<String>, u64) {
    let mut wire = WireState::default();
    let mut faults = Vec::new();
    let mut replays = 0;
    for piece in pieces {
        let position = piece.position;
        for saying in &piece.says {
            let about = match saying {
                Statement::Stamped {
                    attempt, replay, ..
                } => {
                    replays += u64::from(*replay);
                    match wire.live() {
                        Some(live) if !replay => faults.push(format!(
                            "attempt {attempt} was stamped at position {position}, when attempt \
                             {live} might have been processed"
                        )),
                        _ => {}
                    }
                    if wire.released < wire.held {
                        faults.push(format!(
                            "attempt {attempt} was stamped while it was held back"
                        ));
                    }
                    if !wire.stamped.insert(*attempt) {
                        faults.push(format!("attempt {attempt} was stamped twice"));
                    }
                    *attempt
                }
                Statement::NotSent(attempt) | Statement::Deferred(attempt) => {
                    wire.not_processed.insert(*attempt);
                    *attempt
                }
                Statement::Refused(attempt, _) => {
                    wire.answered.insert(*attempt);
                    *attempt
                }
                Statement::Acked(attempt, task) => {
                    wire.answered.insert(*attempt);
                    wire.tasks.insert(task.to_string(), *attempt);
                    *attempt
                }
                Statement::Silent(attempt) => *attempt,
                saying => {
                    wire.hear(saying);
                    continue;
                }
            };
            if !wire.stamped.contains(&about) {
                let text = format!("position {position} tells of attempt {about}, never stamped");
                faults.push(text);
            }
        }
    }
    (faults, replays)
}

/// One conclusion that rests on look-ups.
struct Rests<'a> {
    what: &'static str,
    at: Option<Timestamp>,
    lookups: &'a [Uuid],
    /// How many look-ups under each name it takes.
    needed: usize,
    /// By the rules of earlier releases.
    older: bool,
}

impl<'a> Rests<'a> {
    fn of(saying: &'a Statement) -> Option<Self> {
        match saying {
            Statement::Proved {
                at,
                lookups,
                duplicate,
                attempts,
            } => Some(Self {
                what: "a proof of absence",
                at: Some(*at),
                lookups,
                needed: if *duplicate { 4 } else { 3 },
                older: attempts.is_empty(),
            }),
            Statement::RefusalChecked(_, check, lookups) if check == "found_nothing" => {
                Some(Self {
                    what: "a confirmed refusal",
                    at: None,
                    lookups,
                    needed: 1,
                    older: false,
                })
            }
            _ => None,
        }
    }
}

/// Proofs that name look-ups which are not there, or were not empty, or came later, or that do not cover
/// what had been stamped.
pub(super) fn invalid_absence_proofs(
    asked: &AuditedRequest,
    case: &TransactionHistory,
    pieces: &[EvidenceItem],
    owners: &BTreeMap<String, Uuid>,
    made_here: &BTreeSet<String>,
) -> Vec<String> {
    let mut faults = Vec::new();
    let mut stamped: BTreeSet<u32> = BTreeSet::new();
    for piece in pieces {
        for saying in &piece.says {
            if let Statement::Stamped { attempt, .. } = saying {
                stamped.insert(*attempt);
            }
            if let Statement::Proved { attempts, .. } = saying
                && !attempts.is_empty()
                && !stamped.iter().all(|number| attempts.contains(number))
            {
                faults.push("a proof of absence does not cover what was stamped".to_owned());
            }
            let Some(rests) = Rests::of(saying) else {
                continue;
            };
            let is_empty = |found: &EvidenceItem| match rests.older {
                true => was_empty(asked, case, found, owners),
                false => is_empty(asked, case, found, made_here),
            };
            let before = pieces.iter().filter(|p| p.position < piece.position);
            faults.extend(rests.proof_errors(asked, before.collect(), is_empty));
        }
    }
    faults
}

impl Rests<'_> {
    /// What is wrong with the look-ups that it names, among what was recorded before it.
    fn proof_errors(
        &self,
        asked: &AuditedRequest,
        before: Vec<&EvidenceItem>,
        is_empty: impl Fn(&EvidenceItem) -> bool,
    ) -> Vec<String> {
        let what = self.what;
        let mut faults = Vec::new();
        let named: BTreeSet<&Uuid> = self.lookups.iter().collect();
        let found: Vec<&EvidenceItem> = before
            .into_iter()
            .filter(|p| named.contains(&p.id))
            .collect();
        for id in named {
            match found.iter().find(|lookup| lookup.id == *id) {
                None => faults.push(format!("{what} names look-up {id}, which is not there")),
                Some(found) if self.at.is_some_and(|at| found.at > at) => {
                    faults.push(format!("{what} names look-up {id}, which came after it"));
                }
                Some(found) if !is_empty(found) => {
                    faults.push(format!("{what} names look-up {id}, which was not empty"));
                }
                Some(_) => {}
            }
        }
        let own = asked.tracking_id.as_deref();
        for name in names(asked)
            .into_iter()
            .filter(|name| !self.older || Some(*name) == own)
        {
            let is_under =
                |p: &&&EvidenceItem| p.list.as_ref().is_some_and(|(asked, _)| asked == name);
            let count = found.iter().filter(is_under).count();
            if count < self.needed {
                faults.push(format!("{what} names {count} empty look-ups under {name}"));
            }
        }
        faults
    }
}

/// The names under which it may be filed: a child also under its parent's.
fn names(asked: &AuditedRequest) -> BTreeSet<&str> {
    let parents = asked.parent_tracking_id.as_deref();
    let parents = parents.filter(|_| asked.kind.is_child());
    asked
        .tracking_id
        .as_deref()
        .into_iter()
        .chain(parents)
        .collect()
}

/// HTTP 200, a list of fewer than ten rows asked for by a name of ours, all readable, and none that could be
/// ours: each belongs to another that was made through us, is of another type, or was made more than a day
/// before our first stamp.
fn is_empty(
    asked: &AuditedRequest,
    case: &TransactionHistory,
    piece: &EvidenceItem,
    made_here: &BTreeSet<String>,
) -> bool {
    let Some((name, rows)) = &piece.list else {
        return false;
    };
    let day = Duration::from_secs(86_400);
    let first = case.first_stamp();
    let excused = |told: &ReportedTransaction| {
        let kind = told.kind.as_deref();
        made_here.contains(told.uid.as_str())
            || kind.is_some_and(|kind| kind != asked.kind.as_str())
            || matches!((first, told.created_at), (Some(first), Some(made)) if made < first.minus(day))
    };
    names(asked).contains(name.as_str())
        && rows.len() < 10
        && rows.iter().all(|row| row.as_ref().is_some_and(excused))
}

/// By the rule of earlier releases: none of the rows is ours, or would be if the clocks were wrong.
fn was_empty(
    asked: &AuditedRequest,
    case: &TransactionHistory,
    piece: &EvidenceItem,
    owners: &BTreeMap<String, Uuid>,
) -> bool {
    let Some((name, rows)) = &piece.list else {
        return false;
    };
    let ours = |told: &ReportedTransaction| {
        let seen = case.seen.get(told.uid.as_str()).into_iter().flatten();
        let mut same = seen.filter(|seen| seen.sha256 == piece.sha256 && seen.told.uid == told.uid);
        let owner = owners.get(told.uid.as_str());
        owner.is_none_or(|owner| *owner == asked.id)
            && same.any(|seen| !seen.accepted && blocks_absence_proof(asked, case, seen))
    };
    Some(name) == asked.tracking_id.as_ref()
        && rows.len() < 10
        && rows
            .iter()
            .all(|row| row.as_ref().is_some_and(|told| !ours(told)))
}

/// Whether the row still tells what was asked for when it was opened.
pub(super) fn request_mismatches(asked: &AuditedRequest, pieces: &[EvidenceItem]) -> Vec<String> {
    let request = pieces
        .iter()
        .flat_map(|piece| &piece.says)
        .find_map(|saying| match saying {
            Statement::Opened(request) => Some(request),
            _ => None,
        });
    let Some(request) = request else {
        let by_us = asked.origin == Origin::Api && !pieces.is_empty();
        return by_us
            .then(|| "nothing tells how it was opened".to_owned())
            .into_iter()
            .collect();
    };
    let text = |name: &str| request[name].as_str().map(str::to_owned);
    let currency = asked.currency.map(|currency| currency.to_string());
    [
        (
            "amount",
            request["amount"].as_i64().map(|n| n.to_string()),
            asked.amount.map(|n| n.to_string()),
        ),
        (
            "currency",
            text("currency").map(|code| code.to_ascii_uppercase()),
            currency,
        ),
        (
            "tracking_id",
            text("tracking_id"),
            asked.tracking_id.clone(),
        ),
        ("parent_uid", text("parent_uid"), asked.parent_uid.clone()),
    ]
    .into_iter()
    .filter(|(_, asked_for, _)| asked_for.is_some())
    .filter(|(_, asked_for, stored)| asked_for != stored)
    .map(|(name, _, _)| format!("the row tells another {name} than the request"))
    .collect()
}
