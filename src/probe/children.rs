//! Checks whether child transactions are found under their own tracking IDs. The proof of absence
//! of child transactions relies on this.

use super::payments::{classify_submit, classify_task};
use super::session::NoResponse;
use super::{Probe, TestPayment, name};
use domain::{Snapshot, StatusClass, TransactionType, Uid};
use gateway::{SubmitReading, TaskEndpoint, TaskReading, TrackingIdReading};
use serde_json::{Map, Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Maximum time until a child transaction must be found. The poll interval follows.
const LOOKUP_LAG: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(250);

impl Probe {
    /// Sends a partial refund of the first payment and looks it up.
    pub(super) async fn refund(&mut self, paid: &TestPayment) {
        let question = "own_tracking_id:refund";
        let outcome = if paid.snapshot.class == StatusClass::Successful {
            self.child(TransactionType::Refund, paid, 1, question).await
        } else {
            Err(format!("the first payment is {}", paid.snapshot.status))
        };
        if let Err(silence) = outcome {
            self.notes.open(question, silence);
        }
    }

    /// Captures or voids an authorization made for this purpose, and looks the result up.
    pub(super) async fn of_authorization(&mut self, kind: TransactionType) {
        let question = match kind {
            TransactionType::Capture => "own_tracking_id:capture",
            _ => "own_tracking_id:void",
        };
        let outcome = match self.authorize().await {
            Ok(authorized) => {
                let amount = authorized.snapshot.amount.unwrap_or(1);
                self.child(kind, &authorized, amount, question).await
            }
            Err(silence) => Err(silence),
        };
        if let Err(silence) = outcome {
            self.notes.open(question, silence);
        }
    }

    async fn authorize(&mut self) -> Result<TestPayment, NoResponse> {
        let tracking_id = name();
        let fields = self.payment(&tracking_id, false);
        let kind = TransactionType::Authorization;
        let snapshot = self.sent_and_ended(kind, &tracking_id, fields).await?;
        if snapshot.class != StatusClass::Successful {
            return Err(format!("the test authorization is {}", snapshot.status));
        }
        Ok(TestPayment {
            tracking_id,
            snapshot,
        })
    }

    /// Sends a transaction and follows its task to the result.
    async fn sent_and_ended(
        &mut self,
        kind: TransactionType,
        tracking_id: &str,
        fields: Map<String, Value>,
    ) -> Result<Snapshot, NoResponse> {
        let heard = self.talk.submit(kind, tracking_id, fields).await?;
        let SubmitReading::Ack { task, .. } = &heard.reading else {
            return Err(classify_submit(&heard));
        };
        let patience = self.options.patience;
        let ended = self
            .talk
            .wait_for_task(task, TaskEndpoint::Result, patience)
            .await?;
        match ended.reading {
            TaskReading::Transaction(snapshot) => Ok(*snapshot),
            _ => Err(classify_task(&ended)),
        }
    }

    async fn child(
        &mut self,
        kind: TransactionType,
        parent: &TestPayment,
        amount: i64,
        question: &'static str,
    ) -> Result<(), NoResponse> {
        let tracking_id = name();
        let mut fields = self.fields(&tracking_id);
        fields.insert("parent_uid".to_owned(), json!(parent.snapshot.uid));
        fields.insert("amount".to_owned(), json!(amount));
        fields.insert("reason".to_owned(), json!("reconciler probe"));
        let child = self.sent_and_ended(kind, &tracking_id, fields).await?;
        let started = Instant::now();
        loop {
            let own = self.found_under(&tracking_id, &child.uid).await?;
            if own.is_some_and(|name| name == tracking_id) {
                let detail = format!("{kind} {} found under its own tracking id", child.uid);
                self.notes.answer(question, "yes", detail);
                return Ok(());
            }
            if self
                .found_under(&parent.tracking_id, &child.uid)
                .await?
                .is_some()
            {
                let detail = format!(
                    "{kind} {} found under its parent's tracking id only",
                    child.uid
                );
                self.notes.answer(question, "no", detail);
                return Ok(());
            }
            if started.elapsed() > LOOKUP_LAG {
                let detail = format!(
                    "{kind} {} found neither under its own nor under its parent's tracking id",
                    child.uid
                );
                self.notes.answer(question, "no", detail);
                return Ok(());
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Returns the tracking ID that the transaction `uid` reports when it is looked up under
    /// `name`.
    async fn found_under(&mut self, name: &str, uid: &Uid) -> Result<Option<String>, NoResponse> {
        let heard = self.talk.by_tracking_id(name).await?;
        let TrackingIdReading::Found { snapshots, .. } = heard.reading else {
            return Ok(None);
        };
        let found = snapshots.into_iter().find(|found| found.uid == *uid);
        Ok(found.map(|found| {
            found
                .tracking_id
                .map_or_else(String::new, |id| id.to_string())
        }))
    }
}
