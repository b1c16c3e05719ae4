//! Opens a transaction, or stamps its next attempt, and sends it.
//!
//! Callers run these functions in a task that outlives the caller: nothing may be cancelled between
//! the commit of a stamp and the hand-over to the sending task.
//!
//! Not responsible for: waiting for the gateway.

use crate::config::sealing::Sealed;
use crate::ledger::{
    LedgerError, OpenResult, OpenTransaction, ParentLimit, StampAttempt, StampResult,
};
use crate::store::StoredTransaction;
use crate::submit::{Dispatcher, SendResult};
use domain::Timestamp;
use domain::family::Unfit;
use gateway::SensitiveBody;
use tokio::task::JoinHandle;

/// A transaction, and the attempt that is in flight for this very request.
pub(crate) struct StartedAttempt {
    pub(crate) transaction: Box<StoredTransaction>,
    pub(crate) sending: Option<JoinHandle<SendResult>>,
}

/// Result of opening a transaction.
pub(crate) enum StartResult {
    Begun(StartedAttempt),
    Exists(Box<StoredTransaction>),
    Unfit(Unfit),
    Wait(Timestamp),
}

/// Result of starting the next attempt of a known transaction.
pub(crate) enum NextAttempt {
    Begun(StartedAttempt),
    Wait(Timestamp),
    Unfit(Unfit),
}

impl Dispatcher {
    /// Opens a transaction and, if that gave a lease, sends attempt 1.
    pub(crate) async fn open_and_send(
        self,
        open: OpenTransaction,
        body: Option<SensitiveBody>,
    ) -> Result<StartResult, LedgerError> {
        let (shop, id, stamped) = (open.opening.shop.clone(), open.id, open.send_now);
        let opened = self.0.ledger.open(open).await.inspect_err(|error| {
            if stamped && matches!(error, LedgerError::CommitUnknown) {
                self.record_never_sent(&shop, id);
            }
        })?;
        Ok(match opened {
            OpenResult::Ready(stamped) => {
                let transaction = Box::new(stamped.transaction().clone());
                let sending = body.map(|body| self.send(stamped, body, false));
                StartResult::Begun(StartedAttempt {
                    transaction,
                    sending,
                })
            }
            OpenResult::Created { transaction } => StartResult::Begun(StartedAttempt {
                transaction,
                sending: None,
            }),
            OpenResult::Exists { transaction } => StartResult::Exists(transaction),
            OpenResult::Unfit(unfit) => StartResult::Unfit(unfit),
            OpenResult::TooSoon(until) => StartResult::Wait(until),
        })
    }

    /// Stamps the next attempt of a transaction that was not sent, and sends it.
    pub(crate) async fn stamp_and_send(
        self,
        known: Box<StoredTransaction>,
        child: Option<ParentLimit>,
        body: SensitiveBody,
        sealed: Option<Sealed>,
    ) -> Result<NextAttempt, LedgerError> {
        let told_before = StampAttempt::told_before(&known);
        let shop = known.opening.shop;
        let stamp = StampAttempt {
            id: known.record.id,
            lease: None,
            replay: false,
            child,
            sealed,
            told_before,
        };
        let stamped = self.0.ledger.stamp(&shop, stamp).await?;
        Ok(match stamped {
            StampResult::Ready(stamped) => NextAttempt::Begun(StartedAttempt {
                transaction: Box::new(stamped.transaction().clone()),
                sending: Some(self.send(stamped, body, false)),
            }),
            // A concurrent request stamped first.
            StampResult::Denied { transaction } => NextAttempt::Begun(StartedAttempt {
                transaction,
                sending: None,
            }),
            StampResult::Wait { until, .. } => NextAttempt::Wait(until),
            StampResult::Unfit { unfit, .. } => NextAttempt::Unfit(unfit),
        })
    }
}
