//! What is not a state: rule 1 of design.md §2 (at most once on the wire), what a proof of absence
//! names, and what was opened.
//!
//! Here the order of arrival counts: a stamp is right or wrong by what had been recorded before it.

use crate::audit::body::Told;
use crate::audit::case::{Asked, Case};
use crate::audit::reading::{Piece, Saying};
use crate::audit::rules::hinders_proof;
use crate::domain::Origin;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What is known of the wire at one point of the order of arrival.
#[derive(Default)]
struct Wire {
    stamped: BTreeSet<u32>,
    not_processed: BTreeSet<u32>,
    answered: BTreeSet<u32>,
    tasks: BTreeMap<String, u32>,
}

impl Wire {
    /// An attempt before this one that may have been processed.
    fn live(&self) -> Option<u32> {
        let clear = |n: &u32| self.not_processed.contains(n) && !self.answered.contains(n);
        self.stamped.iter().copied().find(|attempt| !clear(attempt))
    }
}

/// Attempts that were stamped although an earlier one might have been processed, and answers to what
/// was never stamped. Also gives how many stamps were replays under the same `RequestID`.
pub(super) fn sent_twice(pieces: &[Piece]) -> (Vec<String>, u64) {
    let mut wire = Wire::default();
    let mut faults = Vec::new();
    let mut replays = 0;
    for piece in pieces {
        let position = piece.position;
        for saying in &piece.says {
            let about = match saying {
                Saying::Stamped {
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
                    if !wire.stamped.insert(*attempt) {
                        faults.push(format!("attempt {attempt} was stamped twice"));
                    }
                    *attempt
                }
                Saying::NotSent(attempt) | Saying::Deferred(attempt) => {
                    wire.not_processed.insert(*attempt);
                    *attempt
                }
                Saying::Refused(attempt, _) => {
                    wire.answered.insert(*attempt);
                    *attempt
                }
                Saying::Acked(attempt, task) => {
                    wire.answered.insert(*attempt);
                    wire.tasks.insert(task.to_string(), *attempt);
                    *attempt
                }
                Saying::Silent(attempt) => *attempt,
                _ => continue,
            };
            if !wire.stamped.contains(&about) {
                let text = format!("position {position} tells of attempt {about}, never stamped");
                faults.push(text);
            }
        }
    }
    (faults, replays)
}

/// Proofs that name look-ups which are not there, or were not empty, or came later.
pub(super) fn hollow(
    asked: &Asked,
    case: &Case,
    pieces: &[Piece],
    owners: &BTreeMap<String, Uuid>,
) -> Vec<String> {
    let mut faults = Vec::new();
    for piece in pieces {
        for saying in &piece.says {
            let Saying::Proved {
                at,
                lookups,
                duplicate,
            } = saying
            else {
                continue;
            };
            let named: BTreeSet<&Uuid> = lookups.iter().collect();
            let needed = if *duplicate { 4 } else { 3 };
            if named.len() < needed {
                faults.push(format!("a proof of absence names {} look-ups", named.len()));
            }
            for id in named {
                let lookup = pieces
                    .iter()
                    .find(|p| p.id == *id && p.position < piece.position);
                match lookup {
                    None => faults.push(format!("a proof names look-up {id}, which is not there")),
                    Some(found) if found.at > *at => {
                        faults.push(format!("a proof names look-up {id}, which came after it"));
                    }
                    Some(found) if !is_empty(asked, case, found, owners) => {
                        faults.push(format!("a proof names look-up {id}, which was not empty"));
                    }
                    Some(_) => {}
                }
            }
        }
    }
    faults
}

/// HTTP 200, a list of fewer than ten rows asked for by our name, all readable, none of them ours.
fn is_empty(asked: &Asked, case: &Case, piece: &Piece, owners: &BTreeMap<String, Uuid>) -> bool {
    let Some((name, rows)) = &piece.list else {
        return false;
    };
    let ours = |told: &Told| {
        let seen = case.seen.get(told.uid.as_str()).into_iter().flatten();
        let mut same = seen.filter(|seen| seen.sha256 == piece.sha256 && seen.told.uid == told.uid);
        let owner = owners.get(told.uid.as_str());
        owner.is_none_or(|owner| *owner == asked.id)
            && same.any(|seen| !seen.accepted && hinders_proof(asked, case, seen))
    };
    Some(name) == asked.tracking_id.as_ref()
        && rows.len() < 10
        && rows
            .iter()
            .all(|row| row.as_ref().is_some_and(|told| !ours(told)))
}

/// Whether the row still tells what was asked for when it was opened.
pub(super) fn opened_otherwise(asked: &Asked, pieces: &[Piece]) -> Vec<String> {
    let request = pieces
        .iter()
        .flat_map(|piece| &piece.says)
        .find_map(|saying| match saying {
            Saying::Opened(request) => Some(request),
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
