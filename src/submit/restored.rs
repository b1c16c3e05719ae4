//! After a restore from a backup: what the gateway may have and our database has lost is looked up before
//! each stamp.

use crate::observation::Observation;
use crate::observation::submit::{self as outcome, BeforeStamp};
use crate::store::history::{History, NOT_ACCEPTED};
use crate::store::{StoreError, StoredTransaction, read, shop_controls};
use crate::submit::Dispatcher;
use domain::absence::is_provable;
use domain::{Fact, Origin, ShopId, Timestamp, TransactionRequest};
use gateway::ShopCredentials;

impl Dispatcher {
    /// Whether each stamp waits for a look-up now.
    pub(crate) fn is_restored(&self) -> bool {
        self.restored_at().is_some()
    }

    /// When the operator said that the database was restored, for as long as that counts.
    fn restored_at(&self) -> Option<Timestamp> {
        match self.0.store.history_now()? {
            History::Restored { at, until } if until > self.database_time() => Some(at),
            _ => None,
        }
    }

    /// Whether submits may leave, as far as the database's history goes.
    pub(crate) async fn accepts_history(&self) -> bool {
        self.0.store.history().await.is_accepted()
    }

    /// What speaks against stamping an attempt; nothing except for a time after a restore.
    pub(crate) async fn before_stamp(&self, transaction: &StoredTransaction) -> BeforeStamp {
        let Some(restored_at) = self.restored_at() else {
            return BeforeStamp::Clear;
        };
        let opening = &transaction.opening;
        let released = transaction.summary.released_at().is_some();
        if opening.kind.is_child() && !released {
            match self.unseen_child(opening, restored_at).await {
                Ok(None) => {}
                Ok(Some(reason)) => {
                    let now = self.database_time();
                    return BeforeStamp::Known(Box::new(outcome::hold_back(&reason, now)));
                }
                Err(_) => return BeforeStamp::Failed,
            }
        }
        let parents = opening.parent_tracking_id.iter();
        let parents = parents.filter(|_| opening.kind.is_child());
        for name in opening.tracking_id.iter().chain(parents) {
            let said = self
                .look_before(&opening.shop, opening, name.as_str(), released)
                .await;
            if !matches!(said, BeforeStamp::Clear) {
                return said;
            }
        }
        BeforeStamp::Clear
    }

    async fn look_before(
        &self,
        shop: &ShopId,
        opening: &TransactionRequest,
        name: &str,
        released: bool,
    ) -> BeforeStamp {
        let Some(shop) = self.shop(shop) else {
            return BeforeStamp::Failed;
        };
        let Some(secret) = shop.secret() else {
            return BeforeStamp::Failed;
        };
        let credentials = ShopCredentials {
            shop_id: shop.id.as_str(),
            secret: secret.expose(),
        };
        let asked = self.0.gateway.by_tracking_id(credentials, name);
        let known = self.observe_read(&shop, "by_tracking_id", asked).await;
        outcome::before_stamp(&known, opening, name, released)
    }

    /// Why no list can tell whether the gateway has this child.
    async fn unseen_child(
        &self,
        opening: &TransactionRequest,
        restored_at: Timestamp,
    ) -> Result<Option<String>, StoreError> {
        let (store, shop, kind) = (&self.0.store, &opening.shop, opening.kind);
        let abilities = shop_controls::abilities(store, shop).await?;
        if !is_provable(kind, &abilities) {
            return Ok(Some(format!(
                "after a restore, and this shop's gateway has not been seen to answer a {kind} under its own \
                 tracking id: no look-up tells whether it is there already"
            )));
        }
        let parent = opening.parent_uid.iter().map(ToString::to_string);
        let parent: Vec<String> = parent.collect();
        let owners = read::owners(store, shop, &parent).await?;
        let parent = match owners.first() {
            Some((_, id, _)) => read::by_id(store, shop, *id).await?,
            None => None,
        };
        let is_young = parent.is_some_and(|parent| {
            // One that was only learned of since may be as old as anything.
            parent.opening.origin == Origin::Api && parent.record.created_at > restored_at
        });
        Ok((!is_young).then(|| {
            format!(
                "after a restore, and its parent is older: a {kind} of it may have been sent and forgotten"
            )
        }))
    }

    /// What keeps a stamped attempt of a caller from being sent after a restore.
    pub(super) async fn withheld(
        &self,
        transaction: &StoredTransaction,
        attempt: u32,
        looked: bool,
    ) -> Option<Observation> {
        if !self.accepts_history().await {
            return Some(outcome::not_sent(attempt, NOT_ACCEPTED));
        }
        if looked {
            return None;
        }
        match self.before_stamp(transaction).await {
            BeforeStamp::Clear => None,
            BeforeStamp::Failed => Some(outcome::not_sent(
                attempt,
                "after a restore, the look-up before the submit failed",
            )),
            BeforeStamp::Known(known) => {
                let mut known = *known;
                let reason = known.facts.iter().find_map(|fact| match fact {
                    Fact::Held { reason, .. } => Some(reason.clone()),
                    _ => None,
                });
                let reason = reason.unwrap_or_default();
                known.facts.insert(0, Fact::NotSent { attempt, reason });
                known.withhold(attempt);
                Some(known)
            }
        }
    }
}
