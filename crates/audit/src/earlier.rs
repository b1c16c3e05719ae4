//! Ends that an earlier release has decided (docs/adr/0016): they stay until something outranks them. What they
//! are is read from the act that keeps them, and of what nobody has touched since from the row as it is.
//!
//! What it deliberately cannot do: excuse a row that this release has written. What is excused is told, each in
//! one line.

use crate::evidence_reader::{EvidenceItem, SnapshotOrderKey, Statement};
use crate::gateway_body::FinalityRank;
use crate::history::{AuditedSnapshot, TransactionHistory};
use crate::rules::{AuditedCandidate, AuditedState, Standing};
use crate::sql::{AuditedEvidence, AuditedTransaction};
use serde_json::Value;
use std::collections::BTreeMap;
use uuid::Uuid;
use words::{State, Timestamp};

/// An end as an earlier release left it. Of two the later one counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kept {
    pub(super) attempt: u32,
    pub(super) basis: Option<SnapshotOrderKey>,
    pub(super) state: State,
    pub(super) uid: Option<String>,
    pub(super) decision: Option<Uuid>,
    /// What the rules of the release that took it over made of it.
    pub(super) ruled: (State, Option<String>),
}

/// What an earlier release has to do with a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Earlier {
    /// Nothing that is known.
    No,
    /// Something open was taken over.
    TakenOver,
    /// It was final, and the act that keeps it is there.
    Kept(Kept),
    /// It was written before the schema of now, and by nobody since.
    Untouched,
}

/// What an earlier release has to do with it. `schema`: when the schema of now was made.
pub(super) fn of(
    row: &AuditedTransaction,
    evidence: &[AuditedEvidence],
    pieces: &[EvidenceItem],
    schema: Option<Timestamp>,
) -> Earlier {
    let says = || pieces.iter().flat_map(|piece| &piece.says);
    let kept = says().filter_map(|saying| match saying {
        Statement::DecidedBefore(kept) => Some(kept),
        _ => None,
    });
    if let Some(kept) = kept.max() {
        return Earlier::Kept((**kept).clone());
    }
    let summary: Value = serde_json::from_str(&row.summary).unwrap_or(Value::Null);
    let last = evidence.iter().map(|piece| piece.received_at).max();
    if summary["wr"].is_null() && last.is_some() && schema.is_some() && last < schema {
        return Earlier::Untouched;
    }
    if says().any(|saying| matches!(saying, Statement::TakenOver)) {
        return Earlier::TakenOver;
    }
    Earlier::No
}

impl Earlier {
    /// What is to be stored where the rules of now say this.
    pub(super) fn stand(
        &self,
        row: &AuditedTransaction,
        case: &TransactionHistory,
        candidates: &[AuditedCandidate<'_>],
        ruled: &AuditedState,
    ) -> AuditedState {
        match self {
            Self::No => ruled.clone(),
            Self::Kept(kept) => kept.stand(case, candidates, ruled),
            // What this release has ended since is judged by its own rules.
            Self::TakenOver if ruled.standing != Standing::Open => ruled.clone(),
            Self::TakenOver | Self::Untouched => AuditedState {
                state: State::parse(&row.state).unwrap_or(ruled.state),
                uid: row.uid.clone(),
                standing: ruled.standing,
            },
        }
    }
}

impl Kept {
    fn stand(
        &self,
        case: &TransactionHistory,
        candidates: &[AuditedCandidate<'_>],
        ruled: &AuditedState,
    ) -> AuditedState {
        let now = (ruled.state, ruled.uid.clone());
        let told = |key: Option<SnapshotOrderKey>| key.map(|key| (key.0, key.1, key.2));
        let greatest = candidates
            .iter()
            .filter_map(|c| c.greatest.map(AuditedSnapshot::key));
        let decision = case.decision().map(|decision| decision.id);
        let presumed = matches!(
            self.state,
            State::Rejected | State::NotSent | State::NotFound
        );
        let reopened = presumed
            && (told(greatest.max()) > told(self.basis)
                || case.attempts.keys().any(|number| *number > self.attempt)
                || (self.state == State::NotSent && !case.tasks.is_empty()));
        let counts = match ruled.standing {
            Standing::Merged => true,
            Standing::Decided if decision != self.decision => true,
            Standing::Ended => now != self.ruled,
            Standing::Decided | Standing::Open => reopened,
        };
        if counts {
            return ruled.clone();
        }
        let last = self.uid.as_ref().and_then(|uid| case.greatest_of(uid));
        let newer = last.filter(|seen| !presumed && told(Some(seen.key())) > told(self.basis));
        AuditedState {
            state: match newer.map(|seen| seen.told.ending) {
                Some(FinalityRank::Successful) => State::Successful,
                Some(FinalityRank::Failed) => State::Failed,
                Some(FinalityRank::Expired) => State::Expired,
                Some(FinalityRank::Open) | None => self.state,
            },
            uid: self.uid.clone(),
            standing: ruled.standing,
        }
    }
}

/// Reads the act. `key` reads a snapshot's place in the order.
pub(super) fn read(json: &Value, key: impl Fn(&Value) -> Option<SnapshotOrderKey>) -> Option<Kept> {
    let state = |name: &str| json[name].as_str().and_then(State::parse);
    let text = |name: &str| json[name].as_str().map(ToOwned::to_owned);
    let basis = &json["basis"];
    Some(Kept {
        attempt: u32::try_from(json["attempt"].as_u64()?).ok()?,
        basis: match basis {
            Value::Null => None,
            basis => Some(key(basis)?),
        },
        state: state("state")?,
        uid: text("uid"),
        decision: text("decision").and_then(|id| Uuid::parse_str(&id).ok()),
        ruled: (state("ruled")?, text("ruled_uid")),
    })
}

/// What a person is told of it; `None` where the rules of now say the same.
pub(super) fn line(
    row: &AuditedTransaction,
    ruled: &AuditedState,
    owners: &BTreeMap<String, Uuid>,
    otherwise: &[String],
) -> Option<String> {
    let owner = row.uid.as_ref().and_then(|uid| owners.get(uid));
    let mut parts = Vec::new();
    if row.state != ruled.state.as_str() {
        parts.push(format!("by the rules of now it would be {}", ruled.state));
    } else if row.uid != ruled.uid {
        parts.push("by the rules of now it would rest on another transaction".to_owned());
    }
    if let Some(owner) = owner.filter(|owner| **owner != row.id) {
        parts.push(format!("its uid belongs to {owner}"));
    }
    parts.extend(otherwise.iter().cloned());
    let state = &row.state;
    (!parts.is_empty()).then(|| format!("{state} by an earlier release: {}", parts.join("; ")))
}
