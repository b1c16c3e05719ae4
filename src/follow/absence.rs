//! Look-ups that may prove something: that a transaction in doubt does not exist, that an `E.1018` was no
//! duplicate of ours, or that there is nothing behind a refusal which a task told.
//!
//! What was proved is an act of its own. The ledger takes it only under the lease of whoever proved it, and
//! only for the attempts that it covers.

use crate::follow::effects::{GatewayRead, StepEffects};
use crate::follow::lookups::{Case, Verdict, names};
use crate::follow::step;
use crate::ledger::{EvidenceTarget, RecordEvidence};
use crate::observation::read::{observe_lookup, unanswered};
use crate::observation::{Observation, of_answer, received};
use crate::store::checks::LeasedCheck;
use crate::store::{StoreError, StoredTransaction};
use domain::absence::{Ability, is_duplicate_provable, is_provable};
use domain::evidence::{AbsenceProof, FoundBy, RefusalCheck};
use domain::fold::StateBasis;
use domain::{Channel, DiscrepancyKind, Fact, Snapshot, State, TaskId, Timestamp, schedule};
use gateway::{TrackingIdReading, read_by_tracking_id};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

/// Whether a look-up of this transaction by tracking id may prove something.
pub(super) fn concerns(transaction: &StoredTransaction) -> bool {
    let derived = transaction.derived();
    let refused = matches!(derived.basis, StateBasis::Refusal(_));
    let open = match derived.state {
        State::InDoubt => true,
        State::Processing => refused,
        _ => false,
    };
    open && derived.uid.is_none()
}

/// Looks it up under each name that it may be filed under, and records what that proves.
pub(super) async fn look<H: StepEffects>(
    hands: &H,
    leased: &LeasedCheck,
    is_ours: &(impl Fn() -> bool + Send + Sync),
) {
    let transaction = &leased.transaction;
    if let Some(act) = standing(hands, transaction).await {
        step::record(hands, leased, act, None).await;
        return;
    }
    let told = look_up(hands, leased, is_ours).await;
    let all = told.len() == names(&transaction.opening).len();
    let empty = |told: &Observation| matches!(told.facts.as_slice(), [Fact::LookupEmpty]);
    if all
        && told.iter().all(empty)
        && step::may_replay(hands, leased).await
        && let Some((last, others)) = told.split_last()
    {
        for other in others {
            keep(hands, transaction.record.id, other.clone()).await;
        }
        if step::replay(hands, leased, last).await {
            return;
        }
    }
    if let Err(error) = conclude(hands, leased, told).await {
        tracing::warn!(shop = %hands.shop(), error = error.chain(), "look-ups could not be judged");
    }
}

/// A refusal of a child that look-ups cannot show here stands at once: nothing could confirm it.
async fn standing<H: StepEffects>(
    hands: &H,
    transaction: &StoredTransaction,
) -> Option<Observation> {
    let kind = transaction.opening.kind;
    let (task, ..) = transaction.summary.refusal_in_question()?;
    if !kind.is_child() {
        return None;
    }
    let abilities = hands.abilities().await.ok()?;
    (!is_provable(kind, &abilities))
        .then(|| checked(&task, RefusalCheck::CannotBeShown, &[], Value::Null))
}

/// Asks under each name, until one fails.
async fn look_up<H: StepEffects>(
    hands: &H,
    leased: &LeasedCheck,
    is_ours: &(impl Fn() -> bool + Send + Sync),
) -> Vec<Observation> {
    let mut all: Vec<Observation> = Vec::new();
    for name in names(&leased.transaction.opening) {
        if !all.is_empty() && (hands.acquire_permission().await.is_err() || !is_ours()) {
            break;
        }
        let Some(answer) = hands.read_gateway(GatewayRead::TrackingId(&name)).await else {
            all.push(unanswered(Channel::Query, &name));
            break;
        };
        let mut told = observe_lookup(&answer, &name);
        told.answered = hands.now();
        let failed = told.facts.is_empty();
        all.push(told);
        if failed {
            break;
        }
    }
    all
}

/// Records what was told, and what follows from it.
async fn conclude<H: StepEffects>(
    hands: &H,
    leased: &LeasedCheck,
    mut told: Vec<Observation>,
) -> Result<(), StoreError> {
    let transaction = &leased.transaction;
    let foreseen = evaluate(hands, leased, transaction, &told).await;
    let (verdict, unclear) = match &foreseen {
        Ok((verdict, case)) => (verdict.clone(), case.unclear()),
        Err(_) => (Verdict::Wait(None), None),
    };
    if let (Some((text, mentions)), Some(last)) = (unclear, told.last_mut()) {
        last.mentions = mentions;
        last.finding = Some((DiscrepancyKind::AmbiguousTrackingId, text));
    }
    if verdict.is_act() {
        // The lease stays: the act needs it.
        for told in told {
            keep(hands, transaction.record.id, told).await;
        }
        return act(hands, leased).await;
    }
    let wish = match &verdict {
        Verdict::Wait(wish) => *wish,
        _ => None,
    };
    let Some(last) = told.pop() else {
        let until = wish.unwrap_or_else(|| paced(hands, leased));
        hands
            .postpone(transaction.record.id, leased.lease, until)
            .await?;
        return Ok(());
    };
    for other in told {
        let learned = other.clone();
        let after = keep(hands, transaction.record.id, other).await;
        if let Some(after) = after {
            record_lookup_success(hands, &after, &learned).await;
        }
    }
    let learned = last.clone();
    let after = step::record(hands, leased, last, wish).await;
    if let Some(after) = after.and_then(|recorded| recorded.transaction) {
        record_lookup_success(hands, &after, &learned).await;
    }
    foreseen?;
    match verdict {
        Verdict::Control(id, name, uid) => {
            control_lookup(hands, transaction, id, (&name, &uid)).await
        }
        Verdict::TooLong(text) => {
            too_long(hands, transaction, text).await;
            Ok(())
        }
        Verdict::Wait(_) | Verdict::Proved { .. } | Verdict::Checked { .. } => Ok(()),
    }
}

/// Judges once more by what is recorded, and records the act.
async fn act<H: StepEffects>(hands: &H, leased: &LeasedCheck) -> Result<(), StoreError> {
    let (verdict, _) = evaluate(hands, leased, &leased.transaction, &[]).await?;
    let attempts = leased.transaction.summary.stamped_attempts();
    let act = match verdict {
        Verdict::Proved {
            proof,
            control,
            ability,
        } => proved(
            AbsenceProof { attempts, ..proof },
            control.as_ref(),
            ability.as_ref(),
        ),
        Verdict::Checked {
            task,
            check,
            lookups,
            ability,
        } => checked(&task, check, &lookups, witness(ability.as_ref())),
        Verdict::Wait(_) | Verdict::Control(..) | Verdict::TooLong(_) => {
            let until = paced(hands, leased);
            hands
                .postpone(leased.transaction.record.id, leased.lease, until)
                .await?;
            return Ok(());
        }
    };
    step::record(hands, leased, act, None).await;
    Ok(())
}

/// What the look-ups so far amount to, those at hand included.
async fn evaluate<'a, H: StepEffects>(
    hands: &H,
    leased: &LeasedCheck,
    transaction: &'a StoredTransaction,
    told: &[Observation],
) -> Result<(Verdict, Case<'a>), StoreError> {
    let mut rows = hands.evidence(transaction.record.id).await?;
    for told in told {
        rows.push(told.as_row(leased.now));
    }
    let case = Case::of(hands, transaction, rows, leased.now).await?;
    let verdict = case.evaluate_absence(hands).await?;
    Ok((verdict, case))
}

/// Where the pace puts the next look.
fn paced<H: StepEffects>(hands: &H, leased: &LeasedCheck) -> Timestamp {
    let age = leased.now.since(leased.transaction.state_since);
    let pause = schedule::check_interval(age, &hands.settings().pace);
    leased.now.plus(pause.max(Duration::from_millis(100)))
}

fn witness(ability: Option<&Ability>) -> Value {
    ability.map_or(Value::Null, |ability| {
        json!({
            "ability": ability.word,
            "transaction": ability.transaction,
            "evidence": ability.evidence,
            "at": ability.at.to_rfc3339(),
        })
    })
}

fn proved(proof: AbsenceProof, control: Option<&Ability>, shown: Option<&Ability>) -> Observation {
    let act = json!({
        "at": proof.at.to_rfc3339(),
        "lookups": proof.lookups,
        "duplicate": proof.duplicate,
        "attempts": proof.attempts,
        "control": witness(control),
        "shown": witness(shown),
    });
    let fact = Fact::AbsenceProved(proof);
    anew(Observation::local(
        Channel::Local,
        "absence_proved",
        &act,
        vec![fact],
    ))
}

fn checked(task: &TaskId, check: RefusalCheck, lookups: &[Uuid], shown: Value) -> Observation {
    let act = json!({
        "task": task.as_str(),
        "check": check.as_str(),
        "lookups": lookups,
        "shown": shown,
    });
    let fact = Fact::RefusalChecked {
        task: task.clone(),
        check,
    };
    anew(Observation::local(
        Channel::Local,
        "refusal_checked",
        &act,
        vec![fact],
    ))
}

/// One that came too late says nothing against the next one in the same words.
fn anew(mut act: Observation) -> Observation {
    act.id = Uuid::now_v7();
    act
}

/// What cannot be proved stays in doubt, and a person is told.
async fn too_long<H: StepEffects>(hands: &H, transaction: &StoredTransaction, text: String) {
    let act = json!({ "reason": text });
    let mut learned = Observation::local(Channel::Local, "pending_too_long", &act, Vec::new());
    learned.note = Some(text.clone());
    learned.finding = Some((DiscrepancyKind::PendingTooLong, text));
    keep(hands, transaction.record.id, learned).await;
}

/// Records without giving the lease back.
async fn keep<H: StepEffects>(
    hands: &H,
    id: Uuid,
    learned: Observation,
) -> Option<StoredTransaction> {
    let record = RecordEvidence {
        target: EvidenceTarget::Transaction(id),
        observation: learned,
        lease: None,
        next_check: None,
    };
    match hands.record(record).await {
        Ok(recorded) => recorded.transaction.map(|transaction| *transaction),
        Err(error) => {
            tracing::warn!(shop = %hands.shop(), %id, %error, "a look-up was not recorded");
            None
        }
    }
}

/// Looks up a transaction that is known to exist. When it is found, look-ups by such names work.
async fn control_lookup<H: StepEffects>(
    hands: &H,
    transaction: &StoredTransaction,
    id: Uuid,
    (name, uid): (&str, &str),
) -> Result<(), StoreError> {
    if hands.acquire_permission().await.is_err() {
        return Ok(());
    }
    let Some(answer) = hands.read_gateway(GatewayRead::TrackingId(name)).await else {
        return Ok(());
    };
    let answered = hands.now();
    let reading = read_by_tracking_id(&received(&answer));
    let hides = match &reading {
        TrackingIdReading::Empty => true,
        TrackingIdReading::Found {
            snapshots, full, ..
        } => !full && snapshots.iter().all(|s| s.uid.as_str() != uid),
        TrackingIdReading::NotAbout { .. } | TrackingIdReading::Unreadable { .. } => false,
    };
    if hides {
        let text = format!(
            "look-ups by tracking id cannot be relied on: one of {name} does not show {uid}, which exists; \
             its absence cannot be proved"
        );
        too_long(hands, transaction, text).await;
    }
    if let TrackingIdReading::Found { snapshots, .. } = reading
        && (snapshots.iter()).any(|s| s.uid.as_str() == uid && is_filed_under(s, name))
    {
        let facts = snapshots
            .into_iter()
            .map(|s| Fact::Seen {
                snapshot: Box::new(s),
                found_by: FoundBy::TrackingId,
            })
            .collect();
        let mut learned = of_answer(&answer, Channel::Query, name, facts);
        learned.id = Uuid::now_v7();
        learned.answered = answered;
        learned.note = Some("a control look-up found it, so that look-ups work".to_owned());
        let evidence = learned.id;
        if keep(hands, id, learned).await.is_some() {
            hands.teach(&Ability::finds(name), id, evidence).await?;
        }
    }
    Ok(())
}

/// Whether a row bears this name, letter by letter.
fn is_filed_under(row: &Snapshot, name: &str) -> bool {
    let tracking_id = row.tracking_id.as_ref();
    tracking_id.is_some_and(|tracking_id| tracking_id.as_str() == name)
}

/// What a look-up by tracking id teaches of the shop. Only an answer that itself holds the transaction's uid
/// under the name that was asked teaches anything, whatever else became known of it meanwhile: that look-ups by
/// such a name find what is there, and, where that name is its own, that this gateway shows transactions of
/// its kind so.
pub(super) async fn record_lookup_success<H: StepEffects>(
    hands: &H,
    transaction: &StoredTransaction,
    learned: &Observation,
) {
    let (opening, id) = (&transaction.opening, transaction.record.id);
    let (Some(uid), Some(asked)) = (transaction.derived().uid, learned.subject.as_deref()) else {
        return;
    };
    let Some(held) = learned.snapshots().find(|snapshot| snapshot.uid == uid) else {
        return;
    };
    if !is_filed_under(held, asked) {
        return;
    }
    let mut words = vec![Ability::finds(asked)];
    let own = opening.tracking_id.as_ref().map(|name| name.as_str());
    let is_of_kind = held.kind.as_deref() == Some(opening.kind.as_str());
    // Of payments nobody asks it, and they are looked up most.
    let is_asked_for = !is_duplicate_provable(opening.kind, &[]);
    if is_asked_for && own == Some(asked) && is_of_kind {
        words.push(Ability::shows(opening.kind));
    }
    for word in words {
        if let Err(error) = hands.teach(&word, id, learned.id).await {
            tracing::warn!(shop = %hands.shop(), error = error.chain(), "a working look-up was not noted");
        }
    }
}
