//! The lists that the evidence of one transaction amounts to: attempts, tasks, and descriptions of the
//! gateway's transactions. Nothing is joined and nothing is dropped.
//!
//! What it deliberately cannot do: choose. Which of several counts is for [`crate::rules`].

use crate::evidence_reader::{AuditedDecision, EvidenceItem, SnapshotOrderKey, Statement};
use crate::gateway_body::ReportedTransaction;
use crate::refusal_table::AuditedRefusal;
use crate::sql::AuditedTransaction;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;
use words::{Currency, Origin, TaskId, Timestamp, TransactionType};

/// What was asked, as far as a state hangs on it.
#[derive(Debug)]
pub(super) struct AuditedRequest {
    pub(super) id: Uuid,
    pub(super) kind: TransactionType,
    pub(super) origin: Origin,
    pub(super) amount: Option<i64>,
    pub(super) currency: Option<Currency>,
    pub(super) tracking_id: Option<String>,
    pub(super) parent_uid: Option<String>,
    pub(super) parent_tracking_id: Option<String>,
    pub(super) card_data: bool,
    /// In which mode it was asked for; `None` where either will do.
    pub(super) test: Option<bool>,
}

impl AuditedRequest {
    /// Reads the fixed columns of a row; what cannot be read is named.
    pub(super) fn of(row: &AuditedTransaction) -> Result<Self, &'static str> {
        let kind = TransactionType::parse(&row.kind).ok_or("type")?;
        let origin = Origin::parse(&row.origin).ok_or("origin")?;
        // A request that does not say is a live one; a child's goes with its parent.
        let by_itself = origin == Origin::Api && !kind.is_child();
        Ok(Self {
            id: row.id,
            kind,
            origin,
            amount: row.amount,
            currency: match &row.currency {
                None => None,
                Some(code) => Some(Currency::parse(code).ok_or("currency")?),
            },
            tracking_id: row.tracking_id.clone(),
            parent_uid: row.parent_uid.clone(),
            parent_tracking_id: row.parent_tracking_id.clone(),
            card_data: row.card_data,
            test: row.test.or(by_itself.then_some(false)),
        })
    }

    /// Whether a description tells of what was asked: type, amount, currency, mode and parent. A value
    /// that is absent on either side does not differ.
    pub(super) fn matches_request(&self, told: &ReportedTransaction) -> bool {
        let same = |ours: &Option<String>, theirs: Option<&str>| match (ours, theirs) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        };
        !told.garbled
            && told
                .kind
                .as_deref()
                .is_none_or(|kind| kind == self.kind.as_str())
            && (self.amount.is_none() || told.amount.is_none() || self.amount == told.amount)
            && (self.currency.is_none()
                || told.currency.is_none()
                || self.currency == told.currency)
            && (self.test.is_none() || told.test.is_none() || self.test == told.test)
            && same(
                &self.parent_uid,
                told.parent_uid.as_ref().map(|uid| uid.as_str()),
            )
    }

    /// Whether it is filed under our name; a child also under its parent's.
    pub(super) fn has_our_tracking_id(&self, told: &ReportedTransaction) -> bool {
        let Some(name) = told.tracking_id.as_ref().map(|name| name.as_str()) else {
            return true;
        };
        let ours = self.tracking_id.as_deref().is_none_or(|ours| ours == name);
        ours || (self.kind.is_child() && self.parent_tracking_id.as_deref() == Some(name))
    }
}

/// One attempt to send.
#[derive(Debug, Default)]
pub(super) struct AuditedAttempt {
    /// When it was stamped.
    pub(super) stamps: Vec<Timestamp>,
    /// What was made before this is not ours.
    pub(super) not_before: Option<Timestamp>,
    pub(super) replay: bool,
    pub(super) not_sent: bool,
    pub(super) deferred: bool,
    pub(super) silent: bool,
    pub(super) refusals: Vec<AuditedRefusal>,
}

impl AuditedAttempt {
    fn stamp(&mut self, at: Timestamp, not_before: Timestamp, replay: bool) {
        self.stamps.push(at);
        let known = self.not_before.unwrap_or(not_before);
        self.not_before = Some(known.min(not_before));
        self.replay |= replay;
    }
}

/// One task.
#[derive(Debug, Default)]
pub(super) struct AuditedTask {
    /// The attempt that it answered; 0 while that is not known.
    pub(super) attempt: u32,
    pub(super) acked: bool,
    pub(super) unknown: bool,
    pub(super) outlived: bool,
    pub(super) refusals: Vec<AuditedRefusal>,
    /// What look-ups after a refusal came to, in the words of that act.
    pub(super) checks: BTreeSet<String>,
    /// An earlier release has read the refusal, for which it was the end.
    pub(super) refused_before: bool,
    pub(super) results: BTreeSet<String>,
}

impl AuditedTask {
    /// Acknowledged, and nothing heard of its end.
    pub(super) fn is_running(&self) -> bool {
        let ended = self.unknown || self.outlived;
        self.acked && !ended && self.refusals.is_empty() && self.results.is_empty()
    }

    /// It answered an attempt.
    fn ack(&mut self, attempt: u32) {
        self.attempt = self.attempt.max(attempt);
        self.acked = true;
    }
}

/// One description of one of the gateway's transactions.
#[derive(Debug, Clone)]
pub(super) struct AuditedSnapshot {
    pub(super) told: ReportedTransaction,
    pub(super) sha256: [u8; 32],
    /// Our own task, or the answer to our own submit, named it; or it was taken over as it is.
    pub(super) named: bool,
    /// A person takes it as it is.
    pub(super) accepted: bool,
}

/// How far the gateway's clock may be ahead of our receipt and still be believed.
const MAX_CLOCK_AHEAD: Duration = Duration::from_secs(600);

impl AuditedSnapshot {
    /// The place in the order of design.md §5.
    pub(super) fn key(&self) -> SnapshotOrderKey {
        let ending = self.told.ending;
        (ending.is_final(), self.told.updated_at, ending, self.sha256)
    }
}

/// A proof of absence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AuditedProof {
    pub(super) at: Timestamp,
    pub(super) lookups: Vec<Uuid>,
    pub(super) duplicate: bool,
    pub(super) attempts: Vec<u32>,
}

/// Everything that is known of one transaction.
#[derive(Debug, Default)]
pub(super) struct TransactionHistory {
    pub(super) attempts: BTreeMap<u32, AuditedAttempt>,
    /// After which attempt it was given up.
    pub(super) given_up: Option<u32>,
    pub(super) tasks: BTreeMap<String, AuditedTask>,
    /// The gateway's transactions by uid.
    pub(super) seen: BTreeMap<String, Vec<AuditedSnapshot>>,
    pub(super) decisions: Vec<AuditedDecision>,
    pub(super) proofs: Vec<AuditedProof>,
    /// What a person named as this one, and what is its own.
    pub(super) named_by_person: BTreeSet<String>,
    /// It turned out to be another.
    pub(super) is_merged: bool,
    /// What was named as ours and belongs to another of ours: such a word binds nothing.
    anothers: BTreeSet<String>,
    /// Failures found beside these, which had not ended, or (none) beside what our own request had named.
    beside: Vec<(String, BTreeSet<String>)>,
    /// An answer to our own request named what is not ours.
    pub(super) answered_amiss: bool,
}

/// Every uid that the evidence names.
pub(super) fn uids(pieces: &[EvidenceItem]) -> BTreeSet<String> {
    let says = pieces.iter().flat_map(|piece| &piece.says);
    says.filter_map(|saying| match saying {
        Statement::TaskResult(_, told)
        | Statement::Named(_, told)
        | Statement::Known(told)
        | Statement::Found(told, _)
        | Statement::Merged(told, _)
        | Statement::Offered(told, _)
        | Statement::Accepted(told, _) => Some(told.uid.to_string()),
        Statement::Decided(decision) => decision.uid.as_ref().map(ToString::to_string),
        _ => None,
    })
    .collect()
}

/// What stands behind the uid that was asked for when another was told.
const ANOTHER: &str = ", another";

impl TransactionHistory {
    /// Collects what was said. `owners`: to whom the uids belong.
    pub(super) fn collect(
        asked: &AuditedRequest,
        pieces: &[EvidenceItem],
        owners: &BTreeMap<String, Uuid>,
    ) -> Self {
        let mut case = Self::default();
        let known = uids(pieces);
        let says = pieces.iter().flat_map(|piece| &piece.says);
        case.anothers = says
            .filter_map(|saying| match saying {
                Statement::Anothers(uid) => Some(uid.to_string()),
                _ => None,
            })
            .collect();
        let says = pieces.iter().flat_map(|piece| &piece.says);
        case.beside = says
            .filter_map(|saying| match saying {
                Statement::Beside(uid, open) => Some((uid.to_string(), open.clone())),
                _ => None,
            })
            .collect();
        for decision in pieces.iter().flat_map(|piece| &piece.says) {
            let Statement::Decided(decision) = decision else {
                continue;
            };
            let uid = decision.uid.as_ref().map(ToString::to_string);
            let own = uid.filter(|uid| owners.get(uid) == Some(&asked.id));
            if let Some(uid) = own.filter(|_| decision.state.can_be_decided()) {
                case.seen.entry(uid.clone()).or_default();
                case.named_by_person.insert(uid);
            }
        }
        for piece in pieces {
            for saying in &piece.says {
                case.hear(asked, saying);
                if case.is_void(saying) {
                    continue;
                }
                if let Some(seen) = see(asked, piece, saying, owners, &known) {
                    case.seen
                        .entry(seen.told.uid.to_string())
                        .or_default()
                        .push(seen);
                }
            }
        }
        case
    }

    /// Whether a word that would bind names what belongs to another of ours.
    fn is_void(&self, saying: &Statement) -> bool {
        match saying {
            Statement::TaskResult(_, told)
            | Statement::Named(_, told)
            | Statement::Known(told)
            | Statement::Accepted(told, _) => self.anothers.contains(told.uid.as_str()),
            _ => false,
        }
    }

    /// Whether an answer to our own request names what is ours.
    fn names_ours(&self, asked: &AuditedRequest, told: &ReportedTransaction) -> bool {
        asked.has_our_tracking_id(told) && !self.anothers.contains(told.uid.as_str())
    }

    /// Whether the failure of one says nothing of ours: it was found beside what our request had named, or beside
    /// what has not ended. What is another's is none that had to end.
    pub(super) fn is_beside(
        &self,
        uid: &str,
        has_ended: impl Fn(&[AuditedSnapshot]) -> bool,
    ) -> bool {
        let ended = |other: &String| {
            let seen = self.seen.get(other).map_or(&[][..], Vec::as_slice);
            self.anothers.contains(other) || has_ended(seen)
        };
        let mut found = self.beside.iter().filter(|(beside, _)| beside == uid);
        found.any(|(_, open)| open.is_empty() || !open.iter().all(ended))
    }

    fn hear(&mut self, asked: &AuditedRequest, saying: &Statement) {
        match saying {
            Statement::Stamped {
                attempt,
                at,
                not_before,
                replay,
            } => self.attempt(*attempt).stamp(*at, *not_before, *replay),
            Statement::NotSent(attempt) => self.attempt(*attempt).not_sent = true,
            // Nothing of a state hangs on it: it is accepted before and after.
            Statement::Held(_) | Statement::Released(_) => {}
            Statement::GivenUp(attempt) => self.given_up = self.given_up.max(Some(*attempt)),
            Statement::Deferred(attempt) => self.attempt(*attempt).deferred = true,
            Statement::Silent(attempt) => self.attempt(*attempt).silent = true,
            Statement::Refused(attempt, refusal) => self.attempt(*attempt).refusals.push(*refusal),
            Statement::Acked(attempt, id) => self.task(id).ack(*attempt),
            Statement::TaskUnknown(id) => self.task(id).unknown = true,
            Statement::TaskOutlived(id) => self.task(id).outlived = true,
            Statement::TaskRefused(id, refusal) => self.task(id).refusals.push(*refusal),
            // It answered the request of another, from which this one was learned of.
            Statement::TaskResult(..) if asked.origin == Origin::Gateway => {}
            Statement::TaskResult(id, told) if self.names_ours(asked, told) => {
                self.task(id).results.insert(told.uid.to_string());
            }
            // An answer to our own request that tells of another's transaction is doubt.
            Statement::TaskResult(id, told) => {
                self.answered_amiss = true;
                self.task(id).refusals.push(word_about_another(told));
            }
            Statement::Named(attempt, told) if !self.names_ours(asked, told) => {
                self.answered_amiss = true;
                (self.attempt(*attempt).refusals).push(word_about_another(told));
            }
            Statement::Proved {
                at,
                lookups,
                duplicate,
                attempts,
            } => self.proofs.push(AuditedProof {
                at: *at,
                lookups: lookups.clone(),
                duplicate: *duplicate,
                attempts: attempts.clone(),
            }),
            Statement::RefusalChecked(id, check, _) => {
                self.task(id).checks.insert(check.clone());
            }
            // What is no end and no doubt cannot be decided.
            Statement::Decided(decision) if decision.state.can_be_decided() => {
                self.decisions.push(decision.clone());
            }
            Statement::MergedInto => self.is_merged = true,
            Statement::Decided(_)
            | Statement::DecidedBefore(_)
            | Statement::TakenOver
            | Statement::LookedOver
            | Statement::Anothers(_)
            | Statement::Beside(..)
            | Statement::Merged(..)
            | Statement::Offered(..)
            | Statement::Opened(_)
            | Statement::Named(..)
            | Statement::Known(_)
            | Statement::Found(..)
            | Statement::Accepted(..) => {}
        }
    }

    fn attempt(&mut self, number: u32) -> &mut AuditedAttempt {
        self.attempts.entry(number).or_default()
    }

    fn task(&mut self, id: &TaskId) -> &mut AuditedTask {
        self.tasks.entry(id.to_string()).or_default()
    }

    /// When the first attempt was stamped, less the tolerance between the clocks.
    pub(super) fn first_not_before(&self) -> Option<Timestamp> {
        self.attempts
            .values()
            .filter_map(|attempt| attempt.not_before)
            .min()
    }

    /// When the first attempt was stamped.
    pub(super) fn first_stamp(&self) -> Option<Timestamp> {
        let stamps = self.attempts.values().flat_map(|attempt| &attempt.stamps);
        stamps.min().copied()
    }

    /// Whether a proof covers all that was stamped. One that names no attempts covers what came before it.
    pub(super) fn is_covered_by(&self, proof: &AuditedProof) -> bool {
        if proof.attempts.is_empty() {
            return self.last_stamp().is_none_or(|stamp| proof.at > stamp);
        }
        let mut stamped = self.attempts.iter().filter(|(_, a)| !a.stamps.is_empty());
        stamped.all(|(number, _)| proof.attempts.contains(number))
    }

    /// When the last attempt was stamped.
    pub(super) fn last_stamp(&self) -> Option<Timestamp> {
        self.attempts
            .values()
            .filter_map(|a| a.stamps.iter().min().copied())
            .max()
    }

    /// The greatest description of one of the gateway's transactions.
    pub(super) fn greatest_of(&self, uid: &str) -> Option<&AuditedSnapshot> {
        crate::rules::greatest(self.seen.get(uid)?.iter())
    }

    /// The decision that was taken last.
    pub(super) fn decision(&self) -> Option<&AuditedDecision> {
        self.decisions.iter().max()
    }

    /// The latest proof of absence, full or of the short kind.
    pub(super) fn proof(&self, duplicate: bool) -> Option<&AuditedProof> {
        let of_kind = self
            .proofs
            .iter()
            .filter(|proof| proof.duplicate == duplicate);
        of_kind.max_by(|a, b| (a.at, &a.lookups, &a.attempts).cmp(&(b.at, &b.lookups, &b.attempts)))
    }
}

/// What an answer to our own request amounts to when the transaction in it is not ours.
fn word_about_another(told: &ReportedTransaction) -> AuditedRefusal {
    if told.code == "E.1018" {
        AuditedRefusal::Duplicate
    } else {
        AuditedRefusal::Doubt
    }
}

/// The description in a saying, unless it is another's or was not what was asked for.
fn see(
    asked: &AuditedRequest,
    piece: &EvidenceItem,
    saying: &Statement,
    owners: &BTreeMap<String, Uuid>,
    known: &BTreeSet<String>,
) -> Option<AuditedSnapshot> {
    let seen = |told: &ReportedTransaction, named| {
        let mut told = told.clone();
        told.updated_at = told
            .updated_at
            .filter(|at| *at <= piece.at.plus(MAX_CLOCK_AHEAD));
        AuditedSnapshot {
            told,
            sha256: piece.sha256,
            named,
            accepted: false,
        }
    };
    match saying {
        Statement::TaskResult(_, told) | Statement::Named(_, told) => {
            Some(seen(told, asked.has_our_tracking_id(told)))
        }
        Statement::Known(told) => {
            let ours = asked.matches_request(told) && asked.has_our_tracking_id(told);
            ours.then(|| seen(told, true))
        }
        // It was found by its name, as in a look-up: what is another's says nothing here.
        Statement::Offered(told, _)
            if owners
                .get(told.uid.as_str())
                .is_some_and(|owner| *owner != asked.id) =>
        {
            None
        }
        Statement::Merged(told, sha256) | Statement::Offered(told, sha256) => {
            Some(AuditedSnapshot {
                told: told.clone(),
                sha256: *sha256,
                named: false,
                accepted: false,
            })
        }
        Statement::Accepted(told, sha256) => Some(AuditedSnapshot {
            told: told.clone(),
            sha256: *sha256,
            named: false,
            accepted: true,
        }),
        Statement::Found(told, subject) => {
            let owner = owners.get(told.uid.as_str());
            let anothers = owner.is_some_and(|owner| *owner != asked.id);
            // A look-up of one uid that was answered with another says nothing.
            let subject = subject.as_deref();
            let crossed = subject
                .is_some_and(|subject| subject != told.uid.as_str() && known.contains(subject));
            // Where that is said, it goes by the name that it bears.
            let strays = subject.is_some_and(|subject| subject.ends_with(ANOTHER));
            let is_nobodys = strays && owner.is_none() && told.tracking_id.is_none();
            let taken_over =
                asked.origin == Origin::Gateway && piece.position == 1 && owner == Some(&asked.id);
            (!anothers && !crossed && !is_nobodys).then(|| seen(told, taken_over))
        }
        _ => None,
    }
}
