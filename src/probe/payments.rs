//! Tests with payments: how a payment is followed and looked up, what a repeated request returns,
//! and how the duplicate check treats two equal payments.

use super::session::{NoResponse, ProbeResponse};
use super::{Probe, ProbeError, TestPayment, name};
use domain::{Snapshot, TaskId, TransactionType};
use gateway::{SubmitReading, TaskEndpoint, TaskReading, TrackingIdReading, UidReading};
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Maximum time between a task's result and the first successful lookup.
const LOOKUP_LAG: Duration = Duration::from_secs(10);

/// Poll interval for the first payment. Short, because its timing is measured.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

impl Probe {
    /// Sends the first payment and verifies that the gateway marks it as a test.
    pub(super) async fn first_payment(&mut self) -> Result<TestPayment, ProbeError> {
        let tracking_id = name();
        let fields = self.payment(&tracking_id, false);
        let sent = self
            .talk
            .submit(TransactionType::Payment, &tracking_id, fields)
            .await;
        let snapshot = match sent.map_err(ProbeError::NoPayment)? {
            ProbeResponse {
                reading: SubmitReading::Ack { task, .. },
                ..
            } => self.follow_closely(&tracking_id, &task).await?,
            ProbeResponse {
                reading: SubmitReading::Transaction(snapshot),
                ..
            } => *snapshot,
            heard => return Err(ProbeError::NoPayment(classify_submit(&heard))),
        };
        if snapshot.test != Some(true) {
            return Err(ProbeError::NotATest {
                uid: snapshot.uid.to_string(),
            });
        }
        let paid = TestPayment {
            tracking_id,
            snapshot,
        };
        self.look_ups(&paid).await;
        Ok(paid)
    }

    /// Follows the first payment and measures when lookups find it.
    async fn follow_closely(
        &mut self,
        tracking_id: &str,
        task: &TaskId,
    ) -> Result<Snapshot, ProbeError> {
        let (started, mut seen_after) = (Instant::now(), None);
        let ended = loop {
            let heard = self.talk.task(task, TaskEndpoint::Result).await;
            let heard = heard.map_err(ProbeError::NoPayment)?;
            if !runs(&heard.reading) {
                break heard;
            }
            self.early(&heard);
            match seen_after {
                Some(after) => self.notes.answer(
                    "visible_while_running",
                    "yes",
                    format!("found {} after the acknowledgement", seconds(after)),
                ),
                None if self.is_found(tracking_id).await => seen_after = Some(started.elapsed()),
                None => {}
            }
            if started.elapsed() > self.options.patience {
                return Err(ProbeError::NoPayment(format!(
                    "task {task} did not end in time"
                )));
            }
            sleep(POLL_INTERVAL).await;
        };
        let why = "the task ended before it was first read";
        self.notes.open("early_result", why);
        let TaskReading::Transaction(snapshot) = &ended.reading else {
            return Err(ProbeError::NoPayment(classify_task(&ended)));
        };
        match seen_after {
            None => self.seen_late(tracking_id).await,
            Some(_) => self.notes.open(
                "visible_while_running",
                "first found when the task may already have ended",
            ),
        }
        self.read_again(task).await;
        Ok((**snapshot).clone())
    }

    fn early(&mut self, heard: &ProbeResponse<TaskReading>) {
        if matches!(heard.reading, TaskReading::Running) {
            let detail = "the result of the running task reported processing";
            self.notes
                .answer("early_result", heard.status.to_string(), detail);
        }
    }

    async fn is_found(&mut self, tracking_id: &str) -> bool {
        let heard = self.talk.by_tracking_id(tracking_id).await;
        heard.is_ok_and(|heard| matches!(heard.reading, TrackingIdReading::Found { .. }))
    }

    /// Measures how long after the task's result a lookup finds the transaction.
    async fn seen_late(&mut self, tracking_id: &str) {
        let ended = Instant::now();
        while ended.elapsed() < LOOKUP_LAG {
            if self.is_found(tracking_id).await {
                let after = seconds(ended.elapsed());
                let detail = format!("found {after} after the result was available");
                self.notes.answer("visible_while_running", "no", detail);
                return;
            }
            sleep(POLL_INTERVAL).await;
        }
        let detail = format!(
            "not found {} after the result was available",
            seconds(LOOKUP_LAG)
        );
        self.notes.answer("visible_while_running", "no", detail);
    }

    async fn read_again(&mut self, task: &TaskId) {
        match self.talk.task(task, TaskEndpoint::Result).await {
            Ok(heard) if matches!(heard.reading, TaskReading::Transaction(_)) => {
                self.notes.answer(
                    "result_again",
                    "yes",
                    "the second read returned the same result",
                );
            }
            Ok(heard) => self
                .notes
                .answer("result_again", "no", classify_task(&heard)),
            Err(silence) => self.notes.open("result_again", silence),
        }
    }

    /// Records whether both kinds of lookup find the test transaction.
    async fn look_ups(&mut self, paid: &TestPayment) {
        let by_uid = self.talk.by_uid(&paid.snapshot.uid).await;
        let by_uid = by_uid.map(|heard| matches!(heard.reading, UidReading::Found(_)));
        let by_name = self.is_found(&paid.tracking_id).await;
        match by_uid {
            Ok(by_uid) => {
                let answer = if by_uid && by_name { "yes" } else { "no" };
                let found = |found| if found { "found" } else { "not found" };
                let detail = format!(
                    "by uid {}, by tracking id {}",
                    found(by_uid),
                    found(by_name)
                );
                self.notes.answer("test_lookup", answer, detail);
            }
            Err(silence) => self.notes.open("test_lookup", silence),
        }
    }

    /// Sends the same POST three times: twice at once, and once after the task has ended.
    pub(super) async fn repeats(&mut self) {
        if let Err(silence) = self.try_repeats().await {
            for question in ["request_id", "repeat_running", "repeat_ended"] {
                self.notes.open(question, silence.clone());
            }
        }
    }

    async fn try_repeats(&mut self) -> Result<(), NoResponse> {
        let tracking_id = name();
        let mut fields = self.payment(&tracking_id, false);
        // Disabled, because the 30-second rule could be mistaken for the response to a repeated
        // request.
        fields.insert("duplicate_check".to_owned(), Value::Bool(false));
        let kind = TransactionType::Payment;
        let first = self.talk.submit(kind, &tracking_id, fields.clone()).await?;
        let SubmitReading::Ack { task, .. } = &first.reading else {
            return Err(classify_submit(&first));
        };
        let second = self.talk.submit(kind, &tracking_id, fields.clone()).await?;
        let still_runs = runs(&self.talk.task(task, TaskEndpoint::Result).await?.reading);
        let (word, told) = compared(task, &second)?;
        if still_runs {
            self.notes.answer("repeat_running", word, told.clone());
        } else {
            let why = "the task ended before the response to the repeated request";
            self.notes.open("repeat_running", why);
        }
        let honoured = match word {
            "same_task" | "transaction" => "honoured",
            "new_task" => "ignored",
            _ => "refused",
        };
        self.notes.answer("request_id", honoured, told);
        let patience = self.options.patience;
        self.talk
            .wait_for_task(task, TaskEndpoint::Result, patience)
            .await?;
        let third = self.talk.submit(kind, &tracking_id, fields).await?;
        let (word, told) = compared(task, &third)?;
        self.notes.answer("repeat_ended", word, told);
        Ok(())
    }

    /// Sends two payments with the same amount and card in quick succession.
    pub(super) async fn duplicates(&mut self) {
        if let Err(silence) = self.try_duplicates().await {
            self.notes.open("duplicate", silence);
        }
    }

    async fn try_duplicates(&mut self) -> Result<(), NoResponse> {
        let (kind, first, second) = (TransactionType::Payment, name(), name());
        let mut fields = self.payment(&first, false);
        let heard = self.talk.submit(kind, &first, fields.clone()).await?;
        if !matches!(heard.reading, SubmitReading::Ack { .. }) {
            return Err(classify_submit(&heard));
        }
        fields.insert("tracking_id".to_owned(), Value::String(second.clone()));
        let heard = self.talk.submit(kind, &second, fields).await?;
        let SubmitReading::Ack { task, .. } = &heard.reading else {
            self.notes
                .answer("duplicate", "submit", classify_submit(&heard));
            return Ok(());
        };
        let patience = self.options.patience;
        let ended = self
            .talk
            .wait_for_task(task, TaskEndpoint::Result, patience)
            .await?;
        let answer = match &ended.reading {
            TaskReading::Transaction(snapshot) if snapshot.code.as_deref() == Some("F.0108") => {
                "transaction"
            }
            TaskReading::Transaction(_) => "none",
            TaskReading::Refused(_) => "task",
            _ => return Err(classify_task(&ended)),
        };
        self.notes
            .answer("duplicate", answer, classify_task(&ended));
        Ok(())
    }
}

/// Returns whether a task has no result yet.
fn runs(reading: &TaskReading) -> bool {
    matches!(
        reading,
        TaskReading::Running | TaskReading::Completed | TaskReading::NotAboutTask { .. }
    )
}

/// Returns the result of a repeated request compared with the task of the first.
fn compared(
    first: &TaskId,
    repeat: &ProbeResponse<SubmitReading>,
) -> Result<(&'static str, String), NoResponse> {
    let told = classify_submit(repeat);
    match &repeat.reading {
        SubmitReading::Ack { task, .. } if task == first => Ok(("same_task", told)),
        SubmitReading::Ack { .. } => Ok(("new_task", told)),
        SubmitReading::Transaction(_) => Ok(("transaction", told)),
        SubmitReading::Refused(_) => Ok(("refused", told)),
        SubmitReading::Deferred { .. } | SubmitReading::Unclear { .. } => Err(told),
    }
}

/// Describes the response to a submit in one line.
pub(super) fn classify_submit(heard: &ProbeResponse<SubmitReading>) -> String {
    let told = match &heard.reading {
        SubmitReading::Ack { task, .. } => format!("task {task}"),
        SubmitReading::Transaction(snapshot) => of_snapshot(snapshot),
        SubmitReading::Refused(refusal) => of_refusal(refusal),
        SubmitReading::Deferred { .. } => "rate limited".to_owned(),
        SubmitReading::Unclear { reason } => reason.clone(),
    };
    format!("http {}: {told}", heard.status)
}

/// Describes the response to a task read in one line.
pub(super) fn classify_task(heard: &ProbeResponse<TaskReading>) -> String {
    let told = match &heard.reading {
        TaskReading::Running => "processing".to_owned(),
        TaskReading::Completed => "completed".to_owned(),
        TaskReading::Transaction(snapshot) => of_snapshot(snapshot),
        TaskReading::Other(_) => "a response that is not a transaction".to_owned(),
        TaskReading::Unknown => "task unknown".to_owned(),
        TaskReading::Refused(refusal) => of_refusal(refusal),
        TaskReading::NotAboutTask { reason, .. } | TaskReading::Unreadable { reason } => {
            reason.clone()
        }
    };
    format!("http {}: {told}", heard.status)
}

fn of_snapshot(snapshot: &Snapshot) -> String {
    let code = snapshot.code.as_deref().unwrap_or("no code");
    format!("transaction {}, {} {code}", snapshot.uid, snapshot.status)
}

fn of_refusal(refusal: &domain::Refusal) -> String {
    let code = refusal.code.as_deref().unwrap_or("no code");
    match &refusal.message {
        Some(message) => format!("{code}, {message:?}"),
        None => code.to_owned(),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
