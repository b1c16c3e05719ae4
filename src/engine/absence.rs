//! Proofs of absence: which look-ups were empty, and whether they suffice.

use crate::domain::absence::{
    ControlLookup, EmptyLookup, Proof, ProofRules, is_provable, judge as weigh, judge_duplicate,
};
use crate::domain::evidence::{AbsenceProof, FoundBy};
use crate::domain::schedule::is_duplicate_doubt;
use crate::domain::{Channel, DiscrepancyKind, Fact, Timestamp};
use crate::engine::hands::{Hands, Question};
use crate::gateway::Received;
use crate::gateway::{TrackingReading, read_by_tracking_id};
use crate::ledger::{Record, Target};
use crate::observation::{Observation, of_answer, received};
use crate::store::{EvidenceRow, StoreError, StoredTransaction};
use serde_json::json;

/// Judges the look-ups of a transaction in doubt, and records the proof when it is complete.
pub(crate) async fn judge<H: Hands>(hands: &H, transaction: &StoredTransaction) {
    let doubtful = transaction.summary.doubtful(&transaction.opening);
    if transaction.derived().uid.is_some() || doubtful.count() > 0 {
        return;
    }
    if let Err(error) = try_judge(hands, transaction).await {
        tracing::warn!(shop = %hands.shop(), error = error.chain(), "look-ups could not be judged");
    }
}

async fn try_judge<H: Hands>(hands: &H, transaction: &StoredTransaction) -> Result<(), StoreError> {
    let rows = hands.evidence(transaction.record.id).await?;
    let empty: Vec<EmptyLookup> = rows
        .iter()
        .filter(|row| is_empty(transaction, row))
        .map(|row| EmptyLookup {
            evidence: row.id,
            at: row.received_at,
        })
        .collect();
    let Some(last) = empty.iter().map(|lookup| lookup.at).max() else {
        return Ok(());
    };
    let derived = transaction.derived();
    if is_duplicate_doubt(&derived) {
        if let Proof::Complete(ids) = judge_duplicate(&empty, transaction.state_since) {
            prove(hands, transaction, ids, true, last).await;
        }
        return Ok(());
    }
    let kind = transaction.opening.kind;
    let abilities = hands.capabilities().await?;
    let own = abilities
        .iter()
        .any(|a| a == &format!("own_tracking_id:{kind}"));
    let horizon_at = horizon(hands, transaction);
    if !is_provable(kind, own) {
        if last > horizon_at {
            too_long(hands, transaction).await;
        }
        return Ok(());
    }
    let control = hands.control().await?;
    let worked_at = hands.last_lookup_worked().await?;
    let rules = ProofRules {
        interval: hands.settings().absence_interval,
        horizon_at,
        control_needed: control.is_some(),
    };
    let controls: Vec<ControlLookup> = worked_at
        .map(|at| ControlLookup { evidence: None, at })
        .into_iter()
        .collect();
    match weigh(&empty, &controls, rules) {
        Proof::Complete(ids) => prove(hands, transaction, ids, false, last).await,
        Proof::LookUpAt(_) => {}
        Proof::ControlMissing => {
            if let Some((id, name, uid)) = control {
                control_lookup(hands, id, &name, &uid).await?;
            }
        }
    }
    Ok(())
}

/// The last lease's end, plus the request timeout, plus the horizon.
fn horizon<H: Hands>(hands: &H, transaction: &StoredTransaction) -> Timestamp {
    let stamped = transaction
        .summary
        .attempts
        .values()
        .filter_map(|a| a.stamped_at)
        .max();
    stamped
        .unwrap_or(transaction.record.created_at)
        .plus(hands.settings().lease)
        .plus(hands.settings().request_timeout)
        .plus(hands.settings().in_doubt_horizon)
}

/// An empty look-up: HTTP 200, a list of fewer than ten rows, all readable, and no candidate in it.
fn is_empty(transaction: &StoredTransaction, row: &EvidenceRow) -> bool {
    let name = transaction.opening.tracking_id.as_ref().map(|t| t.as_str());
    if row.channel != Channel::Query
        || row.http_status != Some(200)
        || row.subject.as_deref() != name
    {
        return false;
    }
    let received = Received {
        http_status: 200,
        retry_after: None,
        body: &row.body,
        sha256: [0; 32],
        truncated: false,
        at: row.received_at,
    };
    match read_by_tracking_id(&received) {
        TrackingReading::Empty => true,
        TrackingReading::Found {
            snapshots,
            full,
            unread,
        } => {
            let ours = snapshots.iter().any(|s| {
                let candidate = transaction.summary.candidates.get(&s.uid);
                candidate.is_some_and(|c| transaction.summary.is_eligible(&transaction.opening, c))
                    || transaction.summary.contested.contains(&s.uid)
            });
            !full && unread == 0 && !ours
        }
        TrackingReading::NotAbout { .. } | TrackingReading::Unreadable { .. } => false,
    }
}

async fn prove<H: Hands>(
    hands: &H,
    transaction: &StoredTransaction,
    lookups: Vec<uuid::Uuid>,
    duplicate: bool,
    at: Timestamp,
) {
    let act = json!({ "at": at.to_rfc3339(), "lookups": lookups, "duplicate": duplicate });
    let fact = Fact::AbsenceProved(AbsenceProof {
        at,
        lookups,
        duplicate,
    });
    let learned = Observation::local(Channel::Local, "absence_proved", &act, vec![fact]);
    send(hands, transaction.record.id, learned).await;
}

/// A child whose absence cannot be proved at this shop stays in doubt, and a person is told.
async fn too_long<H: Hands>(hands: &H, transaction: &StoredTransaction) {
    let kind = transaction.opening.kind;
    let text = format!(
        "in doubt past the horizon; this shop's gateway has not been seen to answer a {kind} under \
         its own tracking id, so that its absence cannot be proved"
    );
    let act = json!({ "reason": text });
    let mut learned = Observation::local(Channel::Local, "pending_too_long", &act, Vec::new());
    learned.note = Some(text.clone());
    learned.finding = Some((DiscrepancyKind::PendingTooLong, text));
    send(hands, transaction.record.id, learned).await;
}

async fn send<H: Hands>(hands: &H, id: uuid::Uuid, learned: Observation) {
    let record = Record {
        target: Target::Transaction(id),
        learned,
        lease: None,
        next_check: None,
    };
    if let Err(error) = hands.record(record).await {
        tracing::warn!(shop = %hands.shop(), %id, %error, "a proof was not recorded");
    }
}

/// Looks up a transaction that is known to exist. When it is found, look-ups work.
async fn control_lookup<H: Hands>(
    hands: &H,
    id: uuid::Uuid,
    name: &str,
    uid: &str,
) -> Result<(), StoreError> {
    if hands.admit().await.is_err() {
        return Ok(());
    }
    let Some(answer) = hands.ask(Question::TrackingId(name)).await else {
        return Ok(());
    };
    let received = received(&answer);
    if let TrackingReading::Found { snapshots, .. } = read_by_tracking_id(&received)
        && snapshots.iter().any(|s| s.uid.as_str() == uid)
    {
        let facts = snapshots
            .into_iter()
            .map(|s| Fact::Seen {
                snapshot: Box::new(s),
                found_by: FoundBy::TrackingId,
            })
            .collect();
        let mut learned = of_answer(&answer, Channel::Query, name, facts);
        learned.note = Some("a control look-up found it, so that look-ups work".to_owned());
        send(hands, id, learned).await;
        hands.lookup_worked().await?;
    }
    Ok(())
}

/// A look-up by tracking id has found what we know: look-ups work, and for a child, this shop's
/// gateway answers children under their own tracking ids.
pub(crate) async fn note_working<H: Hands>(hands: &H, transaction: &StoredTransaction) {
    let noted = hands.lookup_worked().await;
    let kind = transaction.opening.kind;
    let own = transaction
        .derived()
        .uid
        .and_then(|uid| transaction.summary.candidates.get(&uid).cloned())
        .and_then(|candidate| candidate.latest)
        .is_some_and(|s| s.tracking_id == transaction.opening.tracking_id);
    let learned = if kind.is_child() && own {
        hands
            .add_capability(&format!("own_tracking_id:{kind}"))
            .await
    } else {
        Ok(())
    };
    if let Err(error) = noted.and(learned) {
        tracing::warn!(shop = %hands.shop(), error = error.chain(), "a working look-up was not noted");
    }
}
