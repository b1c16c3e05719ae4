//! Opening a transaction, or stamping its next attempt, and handing it to the dispatcher.
//!
//! These run to their end whatever becomes of the caller ([`Context::to_the_end`]): between the
//! commit of a stamp and the hand-over nothing may break off. What they deliberately cannot do: wait
//! for the gateway.

use crate::config::sealing::Sealed;
use crate::dispatch::Sent;
use crate::http::context::Context;
use crate::http::problem::Problem;
use crate::ledger::{LedgerError, Open, Opened, ParentLimit, Stamp, Stamped};
use crate::store::StoredTransaction;
use actix_web::web::Data;
use domain::Timestamp;
use domain::family::Unfit;
use gateway::SensitiveBody;
use tokio::task::JoinHandle;

/// A transaction to answer with, and the attempt that is under way for this very request.
pub(crate) struct Begun {
    pub(crate) transaction: Box<StoredTransaction>,
    pub(crate) sending: Option<JoinHandle<Sent>>,
}

/// What came of opening.
pub(crate) enum Beginning {
    Begun(Begun),
    Exists(Box<StoredTransaction>),
    Unfit(Unfit),
    Wait(Timestamp),
}

/// What came of a next attempt.
pub(crate) enum Next {
    Begun(Begun),
    Wait(Timestamp),
    Unfit(Unfit),
}

/// Opens a transaction and, where that gave a lease, hands attempt 1 to the dispatcher.
pub(crate) async fn open_and_send(
    context: Data<Context>,
    open: Open,
    body: Option<SensitiveBody>,
) -> Result<Beginning, Problem> {
    let (shop, id, stamped) = (open.opening.shop.clone(), open.id, open.send_now);
    let opened = context.ledger.open(open).await.inspect_err(|error| {
        if stamped && matches!(error, LedgerError::FateUnknown) {
            context.dispatch.disown(&shop, id);
        }
    })?;
    Ok(match opened {
        Opened::Ready(stamped) => {
            let transaction = Box::new(stamped.transaction().clone());
            let sending = body.map(|body| context.dispatch.send(stamped, body, false));
            Beginning::Begun(Begun {
                transaction,
                sending,
            })
        }
        Opened::Created { transaction } => Beginning::Begun(Begun {
            transaction,
            sending: None,
        }),
        Opened::Exists { transaction } => Beginning::Exists(transaction),
        Opened::Unfit(unfit) => Beginning::Unfit(unfit),
        Opened::TooSoon(until) => Beginning::Wait(until),
    })
}

/// Stamps the next attempt of what was not sent, and hands it to the dispatcher.
pub(crate) async fn stamp_and_send(
    context: Data<Context>,
    known: Box<StoredTransaction>,
    child: Option<ParentLimit>,
    body: SensitiveBody,
    sealed: Option<Sealed>,
) -> Result<Next, Problem> {
    let told_before = Stamp::told_before(&known);
    let shop = known.opening.shop;
    let stamp = Stamp {
        id: known.record.id,
        lease: None,
        replay: false,
        child,
        sealed,
        told_before,
    };
    let stamped = context.ledger.stamp(&shop, stamp).await?;
    Ok(match stamped {
        Stamped::Ready(stamped) => Next::Begun(Begun {
            transaction: Box::new(stamped.transaction().clone()),
            sending: Some(context.dispatch.send(stamped, body, false)),
        }),
        // Somebody else was first.
        Stamped::No { transaction } => Next::Begun(Begun {
            transaction,
            sending: None,
        }),
        Stamped::Wait { until, .. } => Next::Wait(until),
        Stamped::Unfit { unfit, .. } => Next::Unfit(unfit),
    })
}
