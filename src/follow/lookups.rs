//! The stored look-ups of one transaction by tracking id: which were empty, and what they amount to.

use crate::follow::effects::StepEffects;
use crate::observation::read::CUT_OFF;
use crate::store::{EvidenceRow, StoreError, StoredTransaction};
use domain::absence::{
    Ability, AbsenceRules, EmptyLookup, MADE_UP_AFTER, ProofStatus, REFUSAL_LOOKUPS,
    evaluate as weigh, evaluate_duplicate, is_duplicate_provable, is_provable, pair, signs,
};
use domain::evidence::{AbsenceProof, RefusalCheck};
use domain::fold::{Mismatch, StateBasis};
use domain::schedule::{check_interval, is_duplicate_doubt};
use domain::{Channel, Origin, Snapshot, TaskId, Timestamp, TransactionRequest};
use gateway::{ReceivedResponse, TaskEndpoint, TaskReading, TrackingIdReading};
use gateway::{read_by_tracking_id, read_task};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use uuid::Uuid;
use words::Mention;

/// For how long a failed look-up after an `E.1018` is made up a minute later.
const MADE_UP_FOR: Duration = Duration::from_secs(3600);

/// What look-ups amount to.
#[derive(Debug, Clone)]
pub(super) enum Verdict {
    /// Nothing yet. The next look is wanted then, or when the pace says.
    Wait(Option<Timestamp>),
    /// Absence is proved.
    Proved {
        proof: AbsenceProof,
        control: Option<Ability>,
        ability: Option<Ability>,
    },
    /// A task's refusal was looked after.
    Checked {
        task: TaskId,
        check: RefusalCheck,
        lookups: Vec<Uuid>,
        ability: Option<Ability>,
    },
    /// This transaction is to be looked up as a control: our id, its tracking id, its uid.
    Control(Uuid, String, String),
    /// It cannot be proved, and a person is to be told why.
    TooLong(String),
}

impl Verdict {
    pub(super) const fn is_act(&self) -> bool {
        matches!(self, Self::Proved { .. } | Self::Checked { .. })
    }
}

/// The names under which a transaction may be filed: its own, and for a child its parent's.
pub(super) fn names(opening: &TransactionRequest) -> Vec<String> {
    let own = opening.tracking_id.iter();
    let parents = opening.parent_tracking_id.iter();
    let parents = parents
        .filter(|name| opening.kind.is_child() && Some(*name) != opening.tracking_id.as_ref());
    own.chain(parents).map(ToString::to_string).collect()
}

/// What one look-up said.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    /// Nothing that could be ours is there.
    Empty,
    /// Something that could be ours, and that is counted for nobody yet.
    Unclear(Vec<Mention>),
    /// Ours is among them, or the list may be longer than it shows.
    Other,
    /// It was not answered with a list.
    Failed,
}

struct Looked {
    evidence: Uuid,
    at: Timestamp,
    name: String,
    said: Said,
}

/// All of them.
pub(super) struct Case<'a> {
    transaction: &'a StoredTransaction,
    lookups: Vec<Looked>,
    alive_at: Option<Timestamp>,
    now: Timestamp,
}

impl<'a> Case<'a> {
    /// Reads the evidence of a transaction. Asks whose the uids in it are.
    pub(super) async fn of<H: StepEffects>(
        hands: &H,
        transaction: &'a StoredTransaction,
        rows: Vec<EvidenceRow>,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let names = names(&transaction.opening);
        let asked = |row: &EvidenceRow| {
            let query = row.channel == Channel::Query;
            query && names.iter().any(|name| name == asked_for(row))
        };
        let readings: Vec<(&EvidenceRow, TrackingIdReading)> = rows
            .iter()
            .filter(|row| asked(row))
            .map(|row| (row, read_by_tracking_id(&as_received(row))))
            .collect();
        let mut uids: BTreeSet<String> = BTreeSet::new();
        for (_, reading) in &readings {
            if let TrackingIdReading::Found { snapshots, .. } = reading {
                uids.extend(snapshots.iter().map(|s| s.uid.to_string()));
            }
        }
        let mut owners = HashMap::new();
        if !uids.is_empty() {
            let uids: Vec<String> = uids.into_iter().collect();
            for (uid, id, origin) in hands.owners(&uids).await? {
                owners.insert(uid, (id, origin));
            }
        }
        let lookups = readings
            .into_iter()
            .map(|(row, reading)| Looked {
                evidence: row.id,
                at: row.received_at,
                name: asked_for(row).to_owned(),
                said: said(transaction, row, &reading, &owners),
            })
            .collect();
        Ok(Self {
            transaction,
            lookups,
            alive_at: rows
                .iter()
                .filter(|row| says_alive(row))
                .map(|r| r.received_at)
                .max(),
            now,
        })
    }

    /// What the last look-up showed that could be ours and is counted for nobody, in words and by uid.
    pub(super) fn unclear(&self) -> Option<(String, Vec<Mention>)> {
        let last = self.lookups.iter().max_by_key(|looked| looked.at)?;
        let Said::Unclear(uids) = &last.said else {
            return None;
        };
        let (opening, known) = (&self.transaction.opening, &self.transaction.summary);
        let told: Vec<String> = known
            .doubtful(opening)
            .chain(&known.contested)
            .map(ToString::to_string)
            .collect();
        let new = uids.iter().filter(|mention| !told.contains(&mention.uid));
        let new: Vec<Mention> = new.cloned().collect();
        let names: Vec<&str> = new.iter().map(|mention| mention.uid.as_str()).collect();
        let text = format!(
            "the gateway has {} under this tracking id: not what was asked for, and of nobody else as \
             far as is known; while it is there, absence is not proved",
            names.join(", ")
        );
        (!new.is_empty()).then_some((text, new))
    }

    /// What all of it amounts to.
    pub(super) async fn evaluate_absence<H: StepEffects>(
        &self,
        hands: &H,
    ) -> Result<Verdict, StoreError> {
        let known = &self.transaction.summary;
        if let Some((task, told_at, overdue)) = known.refusal_in_question() {
            return self.judge_refusal(hands, task, told_at, overdue).await;
        }
        let derived = self.transaction.derived();
        let opening = &self.transaction.opening;
        if derived.uid.is_some() || known.hinders_no_duplicate(opening) {
            return Ok(Verdict::Wait(None));
        }
        let abilities = hands.abilities().await?;
        if is_duplicate_doubt(&derived) {
            return self.judge_duplicate(hands, &abilities).await;
        }
        // Our own request was answered with something: look-ups go on, and a person sees whose it is.
        if known.hinders_absence(opening) {
            return Ok(Verdict::Wait(None));
        }
        self.judge_absence(hands, &abilities).await
    }

    fn empties(&self) -> Vec<EmptyLookup> {
        let names = names(&self.transaction.opening);
        let of = |name: Option<&String>| -> Vec<EmptyLookup> {
            let empty = |looked: &&Looked| looked.said == Said::Empty && Some(&looked.name) == name;
            let empty = self.lookups.iter().filter(empty);
            empty
                .map(|looked| EmptyLookup::single(looked.evidence, looked.at))
                .collect()
        };
        match names.as_slice() {
            [own, parent, ..] => pair(&of(Some(own)), &of(Some(parent))),
            names => of(names.first()),
        }
    }

    async fn judge_refusal<H: StepEffects>(
        &self,
        hands: &H,
        task: TaskId,
        told_at: Timestamp,
        overdue: bool,
    ) -> Result<Verdict, StoreError> {
        let verdict = |check, lookups, ability| Verdict::Checked {
            task: task.clone(),
            check,
            lookups,
            ability,
        };
        let empties = self.empties();
        let (opening, known) = (&self.transaction.opening, &self.transaction.summary);
        let found_nothing = empties
            .iter()
            .find(|empty| empty.first_at() >= told_at && !known.hinders_absence(opening));
        if let Some(empty) = found_nothing {
            let beside = empty.beside.map(|(evidence, _)| evidence);
            let lookups = [empty.evidence].into_iter().chain(beside).collect();
            let ability = self.shown_ability(&hands.abilities().await?);
            return Ok(verdict(RefusalCheck::FoundNothing, lookups, ability));
        }
        let until = told_at.plus(REFUSAL_LOOKUPS);
        if !overdue && self.now >= until {
            return Ok(verdict(RefusalCheck::Overdue, Vec::new(), None));
        }
        let horizon = told_at.plus(hands.settings().in_doubt_horizon);
        let after = |looked: &&Looked| looked.at >= told_at;
        let mut later = self.lookups.iter().filter(after);
        let failing = later.all(|looked| looked.said == Said::Failed);
        if overdue && self.now >= horizon && failing && self.has_code() {
            return Ok(verdict(RefusalCheck::LookupsFailed, Vec::new(), None));
        }
        let pause = check_interval(self.now.since(told_at), &hands.settings().pace);
        let next = self.now.plus(pause);
        let limit = if overdue { horizon } else { until };
        let next = if limit > self.now {
            next.min(limit)
        } else {
            next
        };
        Ok(Verdict::Wait(Some(next)))
    }

    /// Whether the refusal that the state rests on has a code of the table.
    fn has_code(&self) -> bool {
        matches!(self.transaction.derived().basis, StateBasis::Refusal(refusal) if refusal.code.is_some())
    }

    /// What taught that look-ups can show a transaction of this kind.
    fn shown_ability(&self, abilities: &[Ability]) -> Option<Ability> {
        let word = Ability::shows(self.transaction.opening.kind);
        let mut shown = abilities.iter().filter(|ability| ability.word == word);
        shown.next().cloned()
    }

    async fn judge_duplicate<H: StepEffects>(
        &self,
        hands: &H,
        abilities: &[Ability],
    ) -> Result<Verdict, StoreError> {
        let transaction = self.transaction;
        let since = transaction.summary.refused_at();
        let since = since.unwrap_or(transaction.state_since);
        let kind = transaction.opening.kind;
        let age = self.now.since(since);
        let (ids, last) = match evaluate_duplicate(&self.empties(), since) {
            ProofStatus::Complete(ids, _) => (ids, self.last_empty()),
            ProofStatus::LookUpAt(due) if due > self.now => return Ok(Verdict::Wait(Some(due))),
            ProofStatus::LookUpAt(_) | ProofStatus::ControlMissing => {
                let last = self.lookups.iter().max_by_key(|looked| looked.at);
                let failed = last.is_none_or(|looked| looked.said == Said::Failed);
                if failed && age > hands.settings().in_doubt_horizon {
                    return Ok(Verdict::TooLong(UNREADABLE.to_owned()));
                }
                let again = failed && age < MADE_UP_FOR;
                return Ok(Verdict::Wait(again.then(|| self.now.plus(MADE_UP_AFTER))));
            }
        };
        if !is_duplicate_provable(kind, abilities) {
            return Ok(Verdict::TooLong(unshown(kind.as_str())));
        }
        let signs = self.needed_signs();
        let mut controls = abilities
            .iter()
            .filter(|a| a.finds_all(&signs) && a.at >= since);
        let control = controls.next().cloned();
        if !signs.is_empty() && control.is_none() {
            return Ok(match hands.known_transaction(&signs).await? {
                Some((id, name, uid)) => Verdict::Control(id, name, uid),
                None => Verdict::TooLong(unnamed(&signs)),
            });
        }
        Ok(self.proved(ids, last, true, control, abilities))
    }

    async fn judge_absence<H: StepEffects>(
        &self,
        hands: &H,
        abilities: &[Ability],
    ) -> Result<Verdict, StoreError> {
        let settings = hands.settings();
        let horizon_at = self
            .last_sign_of_life(hands)
            .plus(settings.in_doubt_horizon);
        let latest = self.lookups.iter().max_by_key(|looked| looked.at);
        if self.now > horizon_at && latest.is_some_and(|looked| looked.said == Said::Failed) {
            return Ok(Verdict::TooLong(UNREADABLE.to_owned()));
        }
        let Some(last) = self.last_empty() else {
            return Ok(Verdict::Wait(None));
        };
        let kind = self.transaction.opening.kind;
        if !is_provable(kind, abilities) {
            let late = last > horizon_at;
            return Ok(if late {
                Verdict::TooLong(unshown(kind.as_str()))
            } else {
                Verdict::Wait(None)
            });
        }
        let signs = self.needed_signs();
        let control = hands.known_transaction(&signs).await?;
        let rules = AbsenceRules {
            interval: settings.absence_interval,
            horizon_at,
            control_needed: control.is_some() || !signs.is_empty(),
        };
        let controls: Vec<Ability> = abilities
            .iter()
            .filter(|ability| ability.finds_all(&signs))
            .cloned()
            .collect();
        Ok(match weigh(&self.empties(), &controls, rules) {
            ProofStatus::Complete(ids, control) => {
                self.proved(ids, Some(last), false, control, abilities)
            }
            // One that failed, or showed what could be ours, is made again at the pace and not before.
            ProofStatus::LookUpAt(_) if !self.is_last_empty() => Verdict::Wait(None),
            ProofStatus::LookUpAt(due) => {
                let age = self.now.since(self.transaction.state_since);
                let pause = check_interval(age, &settings.pace);
                let soonest = self.now.plus(settings.pace.first_check);
                Verdict::Wait(Some(self.now.plus(pause).min(due.max(soonest))))
            }
            ProofStatus::ControlMissing => match control {
                Some((id, name, uid)) => Verdict::Control(id, name, uid),
                None => Verdict::TooLong(unnamed(&signs)),
            },
        })
    }

    fn proved(
        &self,
        lookups: Vec<Uuid>,
        last: Option<Timestamp>,
        duplicate: bool,
        control: Option<Ability>,
        abilities: &[Ability],
    ) -> Verdict {
        let proof = AbsenceProof {
            at: last.unwrap_or(self.now),
            lookups,
            duplicate,
            attempts: Vec::new(),
        };
        Verdict::Proved {
            proof,
            control,
            ability: self.shown_ability(abilities),
        }
    }

    /// The signs that the name of a control look-up must have for this transaction.
    fn needed_signs(&self) -> String {
        signs(&names(&self.transaction.opening).concat())
    }

    fn is_last_empty(&self) -> bool {
        let last = self.lookups.iter().max_by_key(|looked| looked.at);
        last.is_some_and(|looked| looked.said == Said::Empty)
    }

    fn last_empty(&self) -> Option<Timestamp> {
        self.empties().iter().map(EmptyLookup::last_at).max()
    }

    /// The end of the last lease plus the request timeout, or the last answer that told that the task exists.
    fn last_sign_of_life<H: StepEffects>(&self, hands: &H) -> Timestamp {
        let settings = hands.settings();
        let summary = &self.transaction.summary;
        let sent = summary.sent_at();
        let sent = sent.unwrap_or(self.transaction.record.created_at);
        let expired = sent.plus(settings.lease).plus(settings.request_timeout);
        let acked = summary.tasks.values().filter_map(|task| task.acked_at);
        acked
            .chain(self.alive_at)
            .chain([expired])
            .max()
            .unwrap_or(expired)
    }
}

/// What a person is told when look-ups fail for longer than a proof of absence takes.
const UNREADABLE: &str = "look-ups by its tracking id fail: it cannot be told what became of it";

fn unshown(kind: &str) -> String {
    format!(
        "this shop's gateway has not been seen to answer a {kind} under its own tracking id, so that \
         its absence cannot be proved: a person has to see, and decide"
    )
}

fn unnamed(signs: &str) -> String {
    format!(
        "no transaction is known whose tracking id has the signs {signs:?} too, so that nothing shows \
         whether look-ups by such a name work: its absence cannot be proved, and a person has to see, \
         and decide"
    )
}

fn as_received(row: &EvidenceRow) -> ReceivedResponse<'_> {
    ReceivedResponse {
        http_status: row
            .http_status
            .and_then(|s| u16::try_from(s).ok())
            .unwrap_or(0),
        retry_after: None,
        body: &row.body,
        sha256: [0; 32],
        truncated: is_cut_off(row),
        at: row.received_at,
    }
}

/// The name that a look-up asked for.
fn asked_for(row: &EvidenceRow) -> &str {
    let subject = row.subject.as_deref().unwrap_or_default();
    subject.strip_suffix(CUT_OFF).unwrap_or(subject)
}

/// Whether what came of an answer is not all of it.
fn is_cut_off(row: &EvidenceRow) -> bool {
    let subject = row.subject.as_deref();
    subject.is_some_and(|subject| subject.ends_with(CUT_OFF))
}

/// Whether an answer told that the task exists: running, 425, or completed.
fn says_alive(row: &EvidenceRow) -> bool {
    let url = match row.channel {
        Channel::TaskStatus => TaskEndpoint::Status,
        Channel::TaskResult => TaskEndpoint::Result,
        _ => return false,
    };
    matches!(
        read_task(&as_received(row), url),
        TaskReading::Running | TaskReading::Completed
    )
}

/// An empty look-up: HTTP 200, a list of fewer than ten rows, all readable, and none that could be ours.
fn said(
    transaction: &StoredTransaction,
    row: &EvidenceRow,
    reading: &TrackingIdReading,
    owners: &HashMap<String, (Uuid, Origin)>,
) -> Said {
    match reading {
        // Of a list that broke off nobody knows what else it holds.
        _ if row.http_status != Some(200) || is_cut_off(row) => Said::Failed,
        TrackingIdReading::Empty => Said::Empty,
        TrackingIdReading::Found {
            snapshots,
            full,
            unread,
        } => {
            let possible: Vec<&Snapshot> = snapshots
                .iter()
                .filter(|snapshot| could_be_ours(transaction, snapshot, owners))
                .collect();
            let (opening, known) = (&transaction.opening, &transaction.summary);
            let ours = possible.iter().any(|snapshot| {
                let candidate = known.candidates.get(&snapshot.uid);
                // The look-up at hand is not joined yet: what it shows may become ours by it.
                let alike = Mismatch::between(opening, snapshot) == Mismatch::default();
                candidate.is_some_and(|c| known.is_eligible(opening, c))
                    || (alike && !known.predates_first_attempt(snapshot))
            });
            if ours || *full || *unread > 0 {
                return Said::Other;
            }
            if possible.is_empty() {
                return Said::Empty;
            }
            Said::Unclear(possible.iter().map(|s| Mention::from(*s)).collect())
        }
        TrackingIdReading::NotAbout { .. } | TrackingIdReading::Unreadable { .. } => Said::Failed,
    }
}

/// Whether a row of a list could be ours: unless it belongs to another transaction that was made through
/// us, is of another type, or was made more than a day before our first stamp.
fn could_be_ours(
    transaction: &StoredTransaction,
    snapshot: &Snapshot,
    owners: &HashMap<String, (Uuid, Origin)>,
) -> bool {
    let owner = owners.get(snapshot.uid.as_str());
    let anothers =
        owner.is_some_and(|(id, origin)| *id != transaction.record.id && *origin == Origin::Api);
    let kind = transaction.opening.kind.as_str();
    let unlike = snapshot
        .kind
        .as_deref()
        .is_some_and(|theirs| theirs != kind);
    !(anothers || unlike || transaction.summary.is_long_before(snapshot))
}
