//! Requests of the probe to the gateway, within the shop's request budget.
//!
//! Not responsible for: retries. A caller that repeats a request does so explicitly.

use super::report::SentTransaction;
use crate::config::ShopConfig;
use crate::store::{Store, shop_controls};
use domain::{GatewayIdempotencyKey, ShopId, TaskId, TrackingId, TransactionType, Uid};
use gateway::{
    GatewayClient, GatewayResponse, QueryKind, ReadExchange, ReceivedResponse, RequestMode,
    SubmitExchange, SubmitReading, TaskEndpoint, TaskReading, TrackingIdReading, UidReading,
    query_body, read_by_tracking_id, read_by_uid, read_submit, read_task,
};
use leaves::clock;
use serde_json::{Map, Value};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A response of the gateway.
#[derive(Debug, Clone)]
pub(super) struct ProbeResponse<T> {
    /// HTTP status code.
    pub(super) status: u16,
    /// Content of the response, as read by `gateway`.
    pub(super) reading: T,
}

/// Reason why there is no response.
pub(super) type NoResponse = String;

/// Sends the probe's requests and counts them.
pub(super) struct ProbeSession {
    client: GatewayClient,
    store: Store,
    shop: ShopConfig,
    id: ShopId,
    /// Test transactions sent so far.
    pub(super) sent: Vec<SentTransaction>,
    /// Number of responses with `X-Request-Id`, and number without.
    pub(super) named_answers: (usize, usize),
}

/// Poll interval for the request budget, and initial poll interval for a task. The maximum for a
/// task follows.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Maximum pause that a response can request.
const MAX_RATE_LIMIT_PAUSE: Duration = Duration::from_secs(30);

impl ProbeSession {
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

    /// Posts a transaction. The idempotency key depends on its tracking ID only.
    pub(super) async fn submit(
        &mut self,
        kind: TransactionType,
        tracking_id: &str,
        fields: Map<String, Value>,
    ) -> Result<ProbeResponse<SubmitReading>, NoResponse> {
        let name = TrackingId::parse(tracking_id).map_err(|error| error.to_string())?;
        let key = GatewayIdempotencyKey::of(&self.id, &name);
        self.within_budget().await?;
        self.note_sent(kind, tracking_id);
        let body = query_body(fields);
        let credentials = self.shop.credentials();
        let submission = self
            .client
            .submit(credentials, kind, body, key, || true)
            .await;
        let answer = match submission {
            SubmitExchange::Answered(answer) => answer,
            SubmitExchange::NotSent { reason } => return Err(format!("not sent: {reason}")),
            SubmitExchange::Unclear { reason, .. } => return Err(format!("no response: {reason}")),
        };
        self.count(&answer);
        let reading = read_submit(&received(&answer), self.client.address());
        Ok(to_probe_response(&answer, reading))
    }

    fn note_sent(&mut self, kind: TransactionType, tracking_id: &str) {
        match self.sent.iter_mut().find(|s| s.tracking_id == tracking_id) {
            Some(known) => known.posts += 1,
            None => self.sent.push(SentTransaction {
                tracking_id: tracking_id.to_owned(),
                kind: kind.as_str(),
                posts: 1,
            }),
        }
    }

    /// Reads the status or the result of a task.
    pub(super) async fn task(
        &mut self,
        task: &TaskId,
        which: TaskEndpoint,
    ) -> Result<ProbeResponse<TaskReading>, NoResponse> {
        self.within_budget().await?;
        let credentials = self.shop.credentials();
        let read = match which {
            TaskEndpoint::Status => self.client.status(credentials, task).await,
            TaskEndpoint::Result => self.client.result(credentials, task).await,
        };
        let answer = self.require_response(read)?;
        let reading = read_task(&received(&answer), which);
        Ok(to_probe_response(&answer, reading))
    }

    /// Reads the status or the result of a task until the task has ended.
    pub(super) async fn wait_for_task(
        &mut self,
        task: &TaskId,
        which: TaskEndpoint,
        patience: Duration,
    ) -> Result<ProbeResponse<TaskReading>, NoResponse> {
        let (started, mut pause) = (Instant::now(), POLL_INTERVAL);
        loop {
            let heard = self.task(task, which).await?;
            let hold = match (&heard.reading, which) {
                (TaskReading::Running, _) | (TaskReading::Completed, TaskEndpoint::Result) => None,
                (TaskReading::NotAboutTask { retry_after, .. }, _) => *retry_after,
                _ => return Ok(heard),
            };
            if started.elapsed() > patience {
                return Err(format!("task {task} did not end in time"));
            }
            sleep(hold.unwrap_or(pause).min(MAX_RATE_LIMIT_PAUSE)).await;
            pause = (pause * 2).min(MAX_POLL_INTERVAL);
        }
    }

    /// Looks transactions up by tracking ID.
    pub(super) async fn by_tracking_id(
        &mut self,
        tracking_id: &str,
    ) -> Result<ProbeResponse<TrackingIdReading>, NoResponse> {
        self.within_budget().await?;
        let credentials = self.shop.credentials();
        let read = self.client.by_tracking_id(credentials, tracking_id).await;
        let answer = self.require_response(read)?;
        let reading = read_by_tracking_id(&received(&answer));
        Ok(to_probe_response(&answer, reading))
    }

    /// Looks a transaction up by uid.
    pub(super) async fn by_uid(
        &mut self,
        uid: &Uid,
    ) -> Result<ProbeResponse<UidReading>, NoResponse> {
        self.within_budget().await?;
        let read = self.client.by_uid(self.shop.credentials(), uid).await;
        let answer = self.require_response(read)?;
        let reading = read_by_uid(&received(&answer), uid);
        Ok(to_probe_response(&answer, reading))
    }

    /// Sends a query in the asynchronous mode. Its response reads like the response to a submit.
    pub(super) async fn query(
        &mut self,
        query: &QueryKind,
    ) -> Result<ProbeResponse<SubmitReading>, NoResponse> {
        self.within_budget().await?;
        let credentials = self.shop.credentials();
        let read = self
            .client
            .query(credentials, RequestMode::Async, query)
            .await;
        let answer = self.require_response(read)?;
        let reading = read_submit(&received(&answer), self.client.address());
        Ok(to_probe_response(&answer, reading))
    }

    fn require_response(&mut self, read: ReadExchange) -> Result<GatewayResponse, NoResponse> {
        match read {
            ReadExchange::Answered(answer) => {
                self.count(&answer);
                Ok(answer)
            }
            ReadExchange::NotAsked { reason } => Err(format!("not sent: {reason}")),
            ReadExchange::Interrupted { reason, .. } => Err(format!("no response: {reason}")),
        }
    }

    fn count(&mut self, answer: &GatewayResponse) {
        match answer.request_id {
            Some(_) => self.named_answers.0 += 1,
            None => self.named_answers.1 += 1,
        }
    }

    /// Waits for one request of the shop's request budget, which merchants' requests use as well.
    async fn within_budget(&self) -> Result<(), NoResponse> {
        let rate = f64::from(self.shop.max_requests_per_second);
        loop {
            let granted = shop_controls::take_budget(&self.store, &self.id, rate, 1).await;
            match granted.map_err(|error| error.chain())? {
                0 => sleep(POLL_INTERVAL).await,
                _ => return Ok(()),
            }
        }
    }
}

fn received(answer: &GatewayResponse) -> ReceivedResponse<'_> {
    answer.received(clock::now_utc().into())
}

fn to_probe_response<T>(answer: &GatewayResponse, reading: T) -> ProbeResponse<T> {
    ProbeResponse {
        status: answer.status,
        reading,
    }
}
