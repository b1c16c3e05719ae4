//! The parent of a capture, void, refund or chargeback, as far as we know it.
//!
//! A parent that we have never heard of is let through: it may be older than this service, and the
//! gateway refuses what does not exist. What is still left of a known parent is not judged here but
//! under its lock, by the ledger.

use crate::domain::{State, TrackingId, Uid};
use crate::http::auth::Caller;
use crate::http::context::Context;
use crate::http::problem::Problem;
use crate::http::submission::Submission;
use crate::ledger::ParentLimit;
use crate::store::read;
use std::time::Duration;

/// The gateway takes an equal child within 30 seconds for a duplicate; one more for its clock.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(31);

/// In a service with more shops than this, a parent is not sought among the others.
const SOUGHT_AMONG: usize = 32;

/// A parent of ours, and what may be taken from it.
pub(crate) struct Parent {
    pub(crate) limit: ParentLimit,
    pub(crate) tracking_id: Option<TrackingId>,
}

/// Finds the parent of a request. `None` when it has none, or one that we do not know.
pub(crate) async fn find(
    context: &Context,
    caller: &Caller,
    submission: &Submission,
    force: bool,
) -> Result<Option<Parent>, Problem> {
    let Some(uid) = submission
        .parent_uid
        .as_ref()
        .filter(|_| submission.kind.is_child())
    else {
        return Ok(None);
    };
    let shop = &caller.shop.id;
    let Some(id) = read::owner_of(&context.store, shop, uid.as_str()).await? else {
        return elsewhere(context, caller, uid).await.map(|()| None);
    };
    let Some(parent) = read::by_id(&context.store, shop, id).await? else {
        return Ok(None);
    };
    if parent.derived().state != State::Successful {
        let message = format!(
            "this transaction is {}, and not successful",
            parent.derived().state
        );
        return Err(Problem::invalid("/parent_uid", message));
    }
    let duplicate_window = submission.duplicate_check.then_some(DUPLICATE_WINDOW);
    let limit = ParentLimit {
        parent: id,
        force,
        duplicate_window,
    };
    Ok(Some(Parent {
        limit,
        tracking_id: parent.opening.tracking_id,
    }))
}

/// Fails when the parent is known to belong to another shop.
async fn elsewhere(context: &Context, caller: &Caller, uid: &Uid) -> Result<(), Problem> {
    if context.shops().len() > SOUGHT_AMONG {
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
