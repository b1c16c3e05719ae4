//! Provokes errors: a decline, and a refund of a transaction that does not exist.

use super::payments::{classify_submit, classify_task};
use super::session::NoResponse;
use super::{Probe, TestCard, name};
use domain::{TaskId, TransactionType};
use gateway::{SubmitReading, TaskEndpoint, TaskReading};
use serde_json::{Map, Value, json};
use uuid::Uuid;

impl Probe {
    /// Sends a payment with a card that is declined.
    pub(super) async fn decline(&mut self) {
        if matches!(&self.options.card, TestCard::Token { declined: None, .. }) {
            let why = "no --declined-card-token given";
            self.notes.open("decline_result", why);
            return;
        }
        let tracking_id = name();
        let fields = self.payment(&tracking_id, true);
        let kind = TransactionType::Payment;
        if let Err(silence) = self
            .fail(kind, &tracking_id, fields, "decline_result")
            .await
        {
            self.notes.open("decline_result", silence);
        }
    }

    /// Sends a refund of a parent that does not exist. The gateway refuses it in its response or in
    /// its task.
    pub(super) async fn refusal(&mut self) {
        let tracking_id = name();
        let mut fields = self.fields(&tracking_id);
        fields.insert("parent_uid".to_owned(), json!(Uuid::new_v4()));
        fields.insert("reason".to_owned(), json!("reconciler probe"));
        let kind = TransactionType::Refund;
        if let Err(silence) = self.fail(kind, &tracking_id, fields, "refusal").await {
            self.notes.open("refusal", silence);
        }
        for question in ["error_result", "status_read"] {
            let why = "every task result had HTTP status 200";
            self.notes.open(question, why);
        }
    }

    /// Sends a request that must fail, and reads its task until it is clear which reads consume the
    /// result.
    async fn fail(
        &mut self,
        kind: TransactionType,
        tracking_id: &str,
        fields: Map<String, Value>,
        question: &'static str,
    ) -> Result<(), NoResponse> {
        let heard = self.talk.submit(kind, tracking_id, fields).await?;
        match (&heard.reading, question) {
            (SubmitReading::Ack { task, .. }, _) => self.end_in_error(task, question).await,
            (SubmitReading::Refused(_), "refusal") => {
                self.notes
                    .answer(question, "submit", classify_submit(&heard));
                Ok(())
            }
            _ => Err(classify_submit(&heard)),
        }
    }

    async fn end_in_error(
        &mut self,
        task: &TaskId,
        question: &'static str,
    ) -> Result<(), NoResponse> {
        let patience = self.options.patience;
        // The status is read until the task has ended, so that at least one status read follows the
        // end.
        let status = self
            .talk
            .wait_for_task(task, TaskEndpoint::Status, patience)
            .await?;
        if matches!(status.reading, TaskReading::Unknown) {
            return Err(format!("status_url, {}", classify_task(&status)));
        }
        let first = self
            .talk
            .wait_for_task(task, TaskEndpoint::Result, patience)
            .await?;
        let told = format!(
            "status_url, {}; then response_url, {}",
            classify_task(&status),
            classify_task(&first)
        );
        if matches!(first.reading, TaskReading::Unknown) {
            self.notes.answer("status_read", "burns", told.clone());
            // The body of the status read was the result.
            return self.answered(question, status.status, &status.reading, told);
        }
        self.answered(question, first.status, &first.reading, told.clone())?;
        if first.status == 200 {
            return Ok(());
        }
        self.notes.answer("status_read", "keeps", told);
        let second = self.talk.task(task, TaskEndpoint::Result).await?;
        let answer = match second.reading {
            TaskReading::Unknown => "once",
            _ => "again",
        };
        let told = format!("{}; then {}", classify_task(&first), classify_task(&second));
        self.notes.answer("error_result", answer, told);
        Ok(())
    }

    fn answered(
        &mut self,
        question: &'static str,
        status: u16,
        reading: &TaskReading,
        told: String,
    ) -> Result<(), NoResponse> {
        match (question, reading) {
            ("refusal", TaskReading::Refused(_)) => self.notes.answer(question, "task", told),
            ("decline_result", TaskReading::Transaction(_) | TaskReading::Refused(_)) => {
                self.notes.answer(question, status.to_string(), told);
            }
            _ => return Err(told),
        }
        Ok(())
    }
}
