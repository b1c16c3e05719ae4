//! The parent of a capture, void, refund or chargeback, as far as it is known.
//!
//! One that we have never heard of is looked up at the gateway first, and recorded: it may be older than
//! this service. What is still left of a parent is not judged here but under its lock, by the ledger.

use crate::api::auth::AuthorizedCaller;
use crate::api::context::ApiContext;
use crate::api::submission::TransactionSubmission;
use crate::http::problem::{OVER_BUDGET, Problem};
use crate::ledger::ParentLimit;
use crate::store::{StoredTransaction, read};
use crate::submit::ParentLookup;
use domain::family::DUPLICATE_WINDOW;
use domain::{State, Uid};
use std::time::Duration;

/// In a service with more shops than this, a parent is not sought among the others.
const MAX_PARENT_CANDIDATES: usize = 32;

/// What a caller should wait when the parent could not be looked up.
const AGAIN: Duration = Duration::from_secs(5);

/// Finds the parent of a request, and gives what may be taken from it. `None` for what is no child.
/// `budget`: how long it may wait for the shop's budget, should the gateway have to be asked.
pub(crate) async fn find(
    context: &ApiContext,
    caller: &AuthorizedCaller,
    submission: &TransactionSubmission,
    force: bool,
    budget: Duration,
) -> Result<Option<ParentLimit>, Problem> {
    let Some(uid) = submission
        .parent_uid
        .as_ref()
        .filter(|_| submission.kind.is_child())
    else {
        return Ok(None);
    };
    let known = match find_known(context, caller, uid).await? {
        Some(known) => Some(known),
        None => {
            elsewhere(context, caller, uid).await?;
            match look_up(context, caller, uid, budget).await {
                Ok(()) => find_known(context, caller, uid).await?,
                Err(_) if force => None,
                Err(problem) => return Err(problem),
            }
        }
    };
    match known {
        Some(parent) => is_successful(&parent)?,
        None if force => {}
        None => {
            return Err(unread(
                "the gateway's answer about the parent is not understood",
            ));
        }
    }
    Ok(Some(ParentLimit {
        parent: uid.clone(),
        force,
        duplicate_window: submission.duplicate_check.then_some(DUPLICATE_WINDOW),
    }))
}

async fn find_known(
    context: &ApiContext,
    caller: &AuthorizedCaller,
    uid: &Uid,
) -> Result<Option<StoredTransaction>, Problem> {
    let shop = &caller.shop.id;
    Ok(
        match read::owner_of(&context.store, shop, uid.as_str()).await? {
            Some(id) => read::by_id(&context.store, shop, id).await?,
            None => None,
        },
    )
}

fn is_successful(parent: &StoredTransaction) -> Result<(), Problem> {
    let state = parent.derived().state;
    if state == State::Successful {
        return Ok(());
    }
    let message = format!("this transaction is {state}, and not successful");
    Err(Problem::invalid("/parent_uid", message))
}

/// Asks the gateway for a parent, which is recorded as everything that it tells.
async fn look_up(
    context: &ApiContext,
    caller: &AuthorizedCaller,
    uid: &Uid,
    budget: Duration,
) -> Result<(), Problem> {
    let (dispatch, shop) = (&context.dispatch, &caller.shop.id);
    let taken = dispatch.acquire_budget(shop, budget).await;
    taken.map_err(|none| Problem::no_budget(none, OVER_BUDGET))?;
    match dispatch.look_up_parent(shop, uid).await {
        ParentLookup::Recorded => Ok(()),
        ParentLookup::Missing => {
            let message = "the gateway has no such transaction";
            Err(Problem::invalid("/parent_uid", message))
        }
        ParentLookup::Failed => Err(unread("the parent could not be looked up at the gateway")),
    }
}

fn unread(detail: &'static str) -> Problem {
    Problem::unavailable(detail).retry_after(AGAIN)
}

/// Fails when the parent is known to belong to another shop.
async fn elsewhere(
    context: &ApiContext,
    caller: &AuthorizedCaller,
    uid: &Uid,
) -> Result<(), Problem> {
    if context.shops().len() > MAX_PARENT_CANDIDATES {
        return Ok(());
    }
    for other in context.shops().filter(|other| other.id != caller.shop.id) {
        if read::owner_of(&context.store, &other.id, uid.as_str())
            .await?
            .is_some()
        {
            let message = "this transaction does not belong to the shop";
            return Err(Problem::invalid("/parent_uid", message));
        }
    }
    Ok(())
}
