//! Talking to the gateway for the probe: within the shop's budget, each answer with its HTTP status.
//!
//! What it deliberately cannot do: send anything by itself. Whoever repeats a request says so.

use super::report::Sent;
use crate::config::ShopConfig;
use crate::store::{Store, controls};
use domain::{RequestKey, ShopId, TaskId, TrackingId, TransactionType, Uid};
use gateway::{
    Answer, GatewayClient, Mode, Query, Read, Received, Submission, SubmitReading, TaskReading,
    TaskUrl, TrackingReading, UidReading, query_body, read_by_tracking_id, read_by_uid,
    read_submit, read_task,
};
use leaves::clock;
use serde_json::{Map, Value};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What was heard.
#[derive(Debug, Clone)]
pub(super) struct Heard<T> {
    /// The HTTP status.
    pub(super) status: u16,
    /// What it says.
    pub(super) reading: T,
}

/// Why nothing was heard.
pub(super) type Silence = String;

/// The probe's side of the wire.
pub(super) struct Talk {
    client: GatewayClient,
    store: Store,
    shop: ShopConfig,
    id: ShopId,
    /// The test transactions that were sent.
    pub(super) sent: Vec<Sent>,
    /// How many answers had `X-Request-Id`, and how many had none.
    pub(super) named_answers: (usize, usize),
}

/// The pause between two looks at the budget, and at a task.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The longest wait that an answer can ask of the probe.
const LONGEST_HOLD: Duration = Duration::from_secs(30);

impl Talk {
    pub(super) fn new(client: GatewayClient, store: Store, shop: ShopConfig, id: ShopId) -> Self {
        Self {
            client,
            store,
            shop,
            id,
            sent: Vec::new(),
            named_answers: (0, 0),
        }
    }

    /// Posts a transaction, under the key that its tracking id always has.
    pub(super) async fn submit(
        &mut self,
        kind: TransactionType,
        tracking_id: &str,
        fields: Map<String, Value>,
    ) -> Result<Heard<SubmitReading>, Silence> {
        let name = TrackingId::parse(tracking_id).map_err(|error| error.to_string())?;
        let key = RequestKey::of(&self.id, &name);
        self.within_budget().await?;
        self.note_sent(kind, tracking_id);
        let body = query_body(fields);
        let credentials = self.shop.credentials();
        let submission = self
            .client
            .submit(credentials, kind, body, key, || true)
            .await;
        let answer = match submission {
            Submission::Answered(answer) => answer,
            Submission::NotSent { reason } => return Err(format!("it was not sent: {reason}")),
            Submission::Unclear { reason, .. } => return Err(format!("no answer: {reason}")),
        };
        self.count(&answer);
        let reading = read_submit(&received(&answer), self.client.address());
        Ok(heard(&answer, reading))
    }

    fn note_sent(&mut self, kind: TransactionType, tracking_id: &str) {
        match self.sent.iter_mut().find(|s| s.tracking_id == tracking_id) {
            Some(known) => known.posts += 1,
            None => self.sent.push(Sent {
                tracking_id: tracking_id.to_owned(),
                kind: kind.as_str(),
                posts: 1,
            }),
        }
    }

    /// Reads one address of a task.
    pub(super) async fn task(
        &mut self,
        task: &TaskId,
        which: TaskUrl,
    ) -> Result<Heard<TaskReading>, Silence> {
        self.within_budget().await?;
        let credentials = self.shop.credentials();
        let read = match which {
            TaskUrl::Status => self.client.status(credentials, task).await,
            TaskUrl::Result => self.client.result(credentials, task).await,
        };
        let answer = self.answered(read)?;
        let reading = read_task(&received(&answer), which);
        Ok(heard(&answer, reading))
    }

    /// Reads one address of a task until it says something else than that the task runs.
    pub(super) async fn end_of(
        &mut self,
        task: &TaskId,
        which: TaskUrl,
        patience: Duration,
    ) -> Result<Heard<TaskReading>, Silence> {
        let (started, mut pause) = (Instant::now(), PAUSE);
        loop {
            let heard = self.task(task, which).await?;
            let hold = match (&heard.reading, which) {
                (TaskReading::Running, _) | (TaskReading::Completed, TaskUrl::Result) => None,
                (TaskReading::NotAboutTask { retry_after, .. }, _) => *retry_after,
                _ => return Ok(heard),
            };
            if started.elapsed() > patience {
                return Err(format!("task {task} has not ended in time"));
            }
            sleep(hold.unwrap_or(pause).min(LONGEST_HOLD)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Looks up by tracking id.
    pub(super) async fn by_tracking_id(
        &mut self,
        tracking_id: &str,
    ) -> Result<Heard<TrackingReading>, Silence> {
        self.within_budget().await?;
        let credentials = self.shop.credentials();
        let read = self.client.by_tracking_id(credentials, tracking_id).await;
        let answer = self.answered(read)?;
        let reading = read_by_tracking_id(&received(&answer));
        Ok(heard(&answer, reading))
    }

    /// Looks up by uid.
    pub(super) async fn by_uid(&mut self, uid: &Uid) -> Result<Heard<UidReading>, Silence> {
        self.within_budget().await?;
        let read = self.client.by_uid(self.shop.credentials(), uid).await;
        let answer = self.answered(read)?;
        let reading = read_by_uid(&received(&answer), uid);
        Ok(heard(&answer, reading))
    }

    /// Makes a query through the asynchronous mode; the answer as that to a submit.
    pub(super) async fn query(&mut self, query: &Query) -> Result<Heard<SubmitReading>, Silence> {
        self.within_budget().await?;
        let credentials = self.shop.credentials();
        let read = self.client.query(credentials, Mode::Async, query).await;
        let answer = self.answered(read)?;
        let reading = read_submit(&received(&answer), self.client.address());
        Ok(heard(&answer, reading))
    }

    fn answered(&mut self, read: Read) -> Result<Answer, Silence> {
        match read {
            Read::Answered(answer) => {
                self.count(&answer);
                Ok(answer)
            }
            Read::NotAsked { reason } => Err(format!("the gateway was not asked: {reason}")),
            Read::Interrupted { reason, .. } => Err(format!("no answer: {reason}")),
        }
    }

    fn count(&mut self, answer: &Answer) {
        match answer.request_id {
            Some(_) => self.named_answers.0 += 1,
            None => self.named_answers.1 += 1,
        }
    }

    /// Waits for one request of the shop's budget, which merchants' requests draw from as well.
    async fn within_budget(&self) -> Result<(), Silence> {
        let rate = f64::from(self.shop.max_requests_per_second);
        loop {
            let granted = controls::take_budget(&self.store, &self.id, rate, 1).await;
            match granted.map_err(|error| error.chain())? {
                0 => sleep(PAUSE).await,
                _ => return Ok(()),
            }
        }
    }
}

fn received(answer: &Answer) -> Received<'_> {
    answer.received(clock::now_utc().into())
}

fn heard<T>(answer: &Answer, reading: T) -> Heard<T> {
    Heard {
        status: answer.status,
        reading,
    }
}
