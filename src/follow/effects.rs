//! What a step can do to the world. In the service these are the store, the ledger, the dispatcher
//! and the gateway; in the simulation of `tests/it/sim`, models of them.

use crate::follow::step::RESCHEDULE_DELAY;
use crate::follow::{EngineContext, EngineSettings, ShopContext};
use crate::ledger::{
    LedgerError, RecordEvidence, RecordResult, StampAttempt, StampResult, StampedAttempt,
};
use crate::observation::submit::BeforeStamp;
use crate::store::{EvidenceRow, StoreError, StoredTransaction, checks, read, shop_controls};
use crate::submit::{BUDGET_TIMEOUT, NoBudget};
use domain::absence::Ability;
use domain::{Origin, ShopId, TaskId, Timestamp, Uid};
use gateway::{GatewayResponse, ReadExchange, SensitiveBody, ShopCredentials};
use leaves::clock::BootInstant;
use std::time::Duration;
use uuid::Uuid;

/// A question to the gateway.
#[derive(Debug, Clone, Copy)]
pub enum GatewayRead<'a> {
    /// How far a task is.
    TaskStatus(&'a TaskId),
    /// What came of a task.
    TaskResult(&'a TaskId),
    /// A transaction by uid.
    Uid(&'a Uid),
    /// Transactions by tracking id.
    TrackingId(&'a str),
}

/// What a step can do, at one shop.
pub trait StepEffects: Sync {
    /// A request that is ready to be sent.
    type Body: Send;

    /// At which shop.
    fn shop(&self) -> &ShopId;
    /// The engine's settings.
    fn settings(&self) -> &EngineSettings;
    /// Asks leave to ask the gateway; else for how long the check is to be put off.
    fn acquire_permission(&self) -> impl Future<Output = Result<(), Duration>> + Send;
    /// Whether new submits are stopped.
    fn is_paused(&self) -> impl Future<Output = bool> + Send;
    /// Puts a leased check off, and gives the lease back.
    fn postpone(
        &self,
        id: Uuid,
        lease: Uuid,
        until: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
    /// Records evidence, and does not let go of it while the database is away.
    fn record(
        &self,
        record: RecordEvidence,
    ) -> impl Future<Output = Result<RecordResult, LedgerError>> + Send;
    /// The last that is asked before a stamp: whether the gateway is to be sent anything with the shop's key.
    fn lets_key_go(&self) -> impl Future<Output = bool> + Send {
        async { true }
    }
    /// Stamps an attempt.
    fn stamp(
        &self,
        stamp: StampAttempt,
    ) -> impl Future<Output = Result<StampResult, LedgerError>> + Send;
    /// The body of a request that waits in the database.
    fn stored_body(
        &self,
        id: Uuid,
    ) -> impl Future<Output = Result<Option<Self::Body>, StoreError>> + Send;
    /// Whether the gateway looks for duplicates of a request.
    fn checks_duplicates(&self, body: &Self::Body) -> bool;
    /// Sends a stamped attempt and records what came of it.
    fn send(&self, stamped: StampedAttempt, body: Self::Body) -> impl Future<Output = ()> + Send;
    /// Asks the gateway. `None` when nothing of an answer came; one that broke off says so itself.
    fn read_gateway(
        &self,
        question: GatewayRead<'_>,
    ) -> impl Future<Output = Option<GatewayResponse>> + Send;
    /// A lease had ended before its work was done.
    fn lease_lost(&self);
    /// What speaks against stamping an attempt after a restore.
    fn before_stamp(
        &self,
        _transaction: &StoredTransaction,
    ) -> impl Future<Output = BeforeStamp> + Send {
        async { BeforeStamp::Clear }
    }
    /// All evidence of a transaction.
    fn evidence(
        &self,
        id: Uuid,
    ) -> impl Future<Output = Result<Vec<EvidenceRow>, StoreError>> + Send;
    /// A transaction known to exist whose tracking id has these signs: our id, its tracking id, its uid.
    fn known_transaction(
        &self,
        signs: &str,
    ) -> impl Future<Output = Result<Option<(Uuid, String, String)>, StoreError>> + Send;
    /// What this shop's gateway has been seen to do, and what taught it.
    fn abilities(&self) -> impl Future<Output = Result<Vec<Ability>, StoreError>> + Send;
    /// Notes what a piece of evidence of a transaction has taught.
    fn teach(
        &self,
        word: &str,
        transaction: Uuid,
        evidence: Uuid,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// To whom uids belong, and who made those transactions.
    fn owners(
        &self,
        uids: &[String],
    ) -> impl Future<Output = Result<Vec<(String, Uuid, Origin)>, StoreError>> + Send;
    /// Now, on the monotonic clock by which answers are dated; none where time is not the machine's.
    fn now(&self) -> Option<BootInstant> {
        None
    }
}

/// The service's own hands, at one shop.
pub(crate) struct LiveEffects<'a> {
    pub(crate) shared: &'a EngineContext,
    pub(crate) shop: &'a ShopContext,
    /// The last look at this transaction had no answer at all.
    pub(crate) tried: bool,
}

impl StepEffects for LiveEffects<'_> {
    type Body = SensitiveBody;

    fn shop(&self) -> &ShopId {
        &self.shop.id
    }

    fn settings(&self) -> &EngineSettings {
        &self.shared.settings
    }

    async fn acquire_permission(&self) -> Result<(), Duration> {
        let dispatch = &self.shared.dispatch;
        if dispatch.is_stopping() {
            return Err(Duration::ZERO);
        }
        if !dispatch.allows_request(&self.shop.id, self.tried) {
            return Err(RESCHEDULE_DELAY);
        }
        let taken = dispatch
            .acquire_budget_for_background(&self.shop.id, BUDGET_TIMEOUT)
            .await;
        taken.map_err(|none| {
            if matches!(none, NoBudget::UsedUp { .. }) {
                self.shared.ledger.note_budget_shortage(&self.shop.id);
            }
            RESCHEDULE_DELAY
        })
    }

    async fn is_paused(&self) -> bool {
        let dispatch = &self.shared.dispatch;
        let paused = async || shop_controls::is_paused(&self.shared.store, &self.shop.id).await;
        let refused = async || {
            !dispatch
                .admits_key(&self.shop.id, true)
                .await
                .unwrap_or(false)
        };
        let is_history_accepted = async || dispatch.accepts_history().await;
        self.shop.paused
            || paused().await.unwrap_or(true)
            || refused().await
            || !is_history_accepted().await
    }

    async fn postpone(&self, id: Uuid, lease: Uuid, until: Timestamp) -> Result<bool, StoreError> {
        let (store, shop) = (&self.shared.store, &self.shop.id);
        let done = checks::postpone(store, shop, id, lease, until).await?;
        if done {
            let after = until.since(self.shared.dispatch.database_time());
            self.shared.ledger.due(shop).notify_after(after);
        }
        Ok(done)
    }

    async fn record(&self, record: RecordEvidence) -> Result<RecordResult, LedgerError> {
        self.shared.dispatch.record(&self.shop.id, record).await
    }

    async fn lets_key_go(&self) -> bool {
        let dispatch = &self.shared.dispatch;
        dispatch.lets_key_go(&self.shop.id).await.unwrap_or(false)
    }

    async fn stamp(&self, stamp: StampAttempt) -> Result<StampResult, LedgerError> {
        self.shared.ledger.stamp(&self.shop.id, stamp).await
    }

    async fn stored_body(&self, id: Uuid) -> Result<Option<SensitiveBody>, StoreError> {
        let (shop, url) = (&self.shop.id, &self.shop.notification_url);
        self.shared.dispatch.stored_body(shop, id, url).await
    }

    fn checks_duplicates(&self, body: &SensitiveBody) -> bool {
        body.checks_duplicates()
    }

    async fn send(&self, stamped: StampedAttempt, body: SensitiveBody) {
        // The task runs by itself; that it can be waited for keeps the step's place.
        let dispatch = &self.shared.dispatch;
        let _ = dispatch.send(stamped, body, true).await;
    }

    async fn read_gateway(&self, question: GatewayRead<'_>) -> Option<GatewayResponse> {
        let entry = self.shared.dispatch.shop(&self.shop.id)?;
        let secret = entry.secret()?;
        let shop = ShopCredentials {
            shop_id: entry.id.as_str(),
            secret: secret.expose(),
        };
        let gateway = self.shared.dispatch.gateway();
        let dispatch = &self.shared.dispatch;
        let read = match question {
            GatewayRead::TaskStatus(task) => {
                let asked = gateway.status(shop, task);
                dispatch.observe_read(&entry, "task_status", asked).await
            }
            GatewayRead::TaskResult(task) => {
                let asked = gateway.result(shop, task);
                dispatch.observe_read(&entry, "task_result", asked).await
            }
            GatewayRead::Uid(uid) => {
                let asked = gateway.by_uid(shop, uid);
                dispatch.observe_read(&entry, "by_uid", asked).await
            }
            GatewayRead::TrackingId(name) => {
                let asked = gateway.by_tracking_id(shop, name);
                dispatch.observe_read(&entry, "by_tracking_id", asked).await
            }
        };
        match read {
            ReadExchange::Answered(answer) => Some(answer),
            // What had come of it is evidence: it may have been the only time that it is said.
            ReadExchange::Interrupted { partial, .. } => partial.map(|answer| *answer),
            ReadExchange::NotAsked { .. } => None,
        }
    }

    fn lease_lost(&self) {
        self.shared.metrics.lease_lost();
    }

    async fn before_stamp(&self, transaction: &StoredTransaction) -> BeforeStamp {
        self.shared.dispatch.before_stamp(transaction).await
    }

    async fn evidence(&self, id: Uuid) -> Result<Vec<EvidenceRow>, StoreError> {
        read::evidence(&self.shared.store, &self.shop.id, id).await
    }

    async fn known_transaction(
        &self,
        signs: &str,
    ) -> Result<Option<(Uuid, String, String)>, StoreError> {
        read::known_transaction(&self.shared.store, &self.shop.id, signs).await
    }

    async fn abilities(&self) -> Result<Vec<Ability>, StoreError> {
        shop_controls::abilities(&self.shared.store, &self.shop.id).await
    }

    async fn teach(&self, word: &str, transaction: Uuid, evidence: Uuid) -> Result<(), StoreError> {
        let (store, shop) = (&self.shared.store, &self.shop.id);
        let apart = self.shared.settings.between_controls();
        shop_controls::teach(store, shop, word, transaction, evidence, apart).await
    }

    async fn owners(&self, uids: &[String]) -> Result<Vec<(String, Uuid, Origin)>, StoreError> {
        read::owners(&self.shared.store, &self.shop.id, uids).await
    }

    fn now(&self) -> Option<BootInstant> {
        Some(BootInstant::now())
    }
}
