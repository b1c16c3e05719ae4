//! Looks over what earlier releases have ended. What the rules of now would leave open stays as it is, and is
//! looked up at the gateway.

use crate::follow::EngineContext;
use crate::ledger::{
    EvidenceTarget, LedgerError, RecordEvidence, look_it_up, looked_over, take_over,
};
use crate::observation::again::{is_hollow, is_refused, reread};
use crate::store::{StoreError, StoredTransaction, earlier, read};
use domain::candidate::{Mismatch, is_misnamed};
use domain::{Origin, ShopId, State, derive};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// A round of a shop begins so long after the last one ended: programs of the earlier release may have gone on
/// beside this one.
pub(super) const APART: Duration = Duration::from_secs(86_400);

/// How many transactions are looked at together.
const PAGE: i64 = 500;

/// For how long the rounds of all shops together go on at once. The other sweeps wait for them.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Goes on with the round of one of so many shops, if one is due.
pub(super) async fn look_over(
    shared: &EngineContext,
    shop: &ShopId,
    shops: usize,
) -> Result<(), StoreError> {
    let part = u32::try_from(shops.max(1)).unwrap_or(u32::MAX);
    let until = Instant::now() + AT_ONCE / part;
    while Instant::now() < until && !shared.dispatch.is_stopping() {
        let Some(after) = earlier::place(&shared.store, shop, APART).await? else {
            return Ok(());
        };
        let page = earlier::page(&shared.store, shop, after, PAGE).await?;
        let mut last = None;
        let mut failed = Ok(());
        for (id, is_old) in page {
            if is_old {
                failed = look_at(shared, shop, id).await;
            }
            if failed.is_err() {
                break;
            }
            last = Some(id);
            // The other sweeps wait.
            if is_old && (Instant::now() >= until || shared.dispatch.is_stopping()) {
                break;
            }
        }
        // A page without an end that could be judged is taken again, and ends no round.
        if last.is_some() || failed.is_ok() {
            earlier::passed(&shared.store, shop, last).await?;
        }
        failed?;
    }
    Ok(())
}

/// Judges one. What cannot be read is told of and passed over; what a database that is away keeps from being
/// judged is an error, and judged again.
async fn look_at(shared: &EngineContext, shop: &ShopId, id: Uuid) -> Result<(), StoreError> {
    let judged = async {
        match read::by_id(&shared.store, shop, id).await? {
            Some(stored) => reevaluate(shared, stored).await,
            None => Ok(()),
        }
    };
    match judged.await {
        Err(error @ (StoreError::Unavailable(_) | StoreError::Conflict(_))) => Err(error),
        Err(error) => {
            tracing::error!(%shop, %id, error = error.chain(), "an end of an earlier release cannot be looked over");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Takes one over, if the rules of now would not end it.
async fn reevaluate(shared: &EngineContext, stored: StoredTransaction) -> Result<(), StoreError> {
    let Some(ruled) = otherwise(shared, &stored).await? else {
        return Ok(());
    };
    // A recheck may have taken it over already, and knows nothing of the rules.
    let mut learned = take_over(&stored).unwrap_or_else(|| looked_over(&stored));
    look_it_up(&mut learned, stored.state, ruled);
    let (shop, id) = (stored.opening.shop.clone(), stored.record.id);
    let record = RecordEvidence {
        target: EvidenceTarget::Transaction(id),
        observation: learned,
        lease: None,
        next_check: None,
    };
    match shared.ledger.record(&shop, record).await {
        Ok(_) => Ok(()),
        Err(error @ (LedgerError::DataRejected | LedgerError::NotFound)) => {
            tracing::error!(%shop, %id, %error, "an end of an earlier release was not taken over");
            Ok(())
        }
        Err(_) => Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)),
    }
}

/// What the rules of now would make of it, where that is no end.
async fn otherwise(
    shared: &EngineContext,
    stored: &StoredTransaction,
) -> Result<Option<State>, StoreError> {
    let (opening, known, shop) = (&stored.opening, &stored.summary, &stored.opening.shop);
    let Some(end) = &known.earlier else {
        return Ok(None);
    };
    if !end.ruled.is_final() {
        return Ok(Some(end.ruled));
    }
    if let Some(uid) = &end.uid {
        let owner = read::owner_of(&shared.store, shop, uid.as_str()).await?;
        let anothers = owner.is_some_and(|owner| owner != stored.record.id);
        let told = known.candidates.get(uid).and_then(|c| c.latest.as_deref());
        let misnamed = told.is_some_and(|snapshot| is_misnamed(opening, snapshot));
        // What counts since as a difference was taken to agree.
        let differs = told.map(|snapshot| Mismatch::between(opening, snapshot));
        let differs = differs.is_some_and(|differs| differs.test || differs.unread);
        let ruled = match (anothers || misnamed, differs) {
            (true, _) => Some(State::InDoubt),
            (false, true) => Some(State::Pending),
            (false, false) => None,
        };
        let is_ours = opening.origin == Origin::Api && known.decision.is_none();
        return Ok(ruled.filter(|_| is_ours));
    }
    let rests = is_refused(known) || known.absence.is_some();
    if !end.state.is_presumed() || known.decision.is_some() || !rests {
        return Ok(None);
    }
    let answers = earlier::answers(&shared.store, shop, stored.record.id).await?;
    // Retention has taken what could be read again.
    if answers.is_empty() {
        return Ok(None);
    }
    let proof = (known.absence.as_ref()).filter(|_| end.state == State::NotFound);
    if proof.is_some_and(|proof| is_hollow(proof, &answers)) {
        return Ok(Some(State::InDoubt));
    }
    let ours = shared.dispatch.gateway().address();
    let mut again = reread(opening, known, &answers, ours);
    again.earlier = None;
    let ruled = derive(opening, &again).state;
    Ok((!ruled.is_final()).then_some(ruled))
}
