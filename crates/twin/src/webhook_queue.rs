//! Queue of webhooks: what is sent where, the documented retry schedule, and the receivers'
//! responses.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::clock::{VirtualMillis, text};
use super::request_log::LogFilter;
use super::script::{CredentialsMode, SignatureMode};

/// A webhook to deliver.
#[derive(Clone, Debug)]
pub struct QueuedWebhook {
    /// Shop whose credentials it carries.
    pub shop: Arc<str>,
    /// URL of the receiver.
    pub url: String,
    /// Uid of the transaction in the body.
    pub uid: String,
    /// Tracking ID of that transaction.
    pub tracking_id: Option<String>,
    /// Status in the body.
    pub status: String,
    /// Raw body; retries send the same bytes.
    pub body: Bytes,
    /// Content coding, if the body has one.
    pub encoding: Option<&'static str>,
    /// Signature to send.
    pub signature: SignatureMode,
    /// Credentials to send.
    pub credentials: CredentialsMode,
    /// Number of attempts so far.
    pub attempts: u32,
    /// Virtual time at which it is due.
    pub due: VirtualMillis,
}

struct WebhookAttempt {
    at: OffsetDateTime,
    parcel: u64,
    number: u32,
    url: String,
    uid: String,
    tracking_id: Option<String>,
    shop: Arc<str>,
    status: String,
    signature: SignatureMode,
    answer: Result<u16, String>,
    next_in_seconds: Option<f64>,
}

/// All queued webhooks and the log of deliveries.
pub struct WebhookQueue {
    parcels: HashMap<u64, QueuedWebhook>,
    next: u64,
    /// Webhooks that are due now.
    pub ready: Vec<u64>,
    attempts: VecDeque<WebhookAttempt>,
    limit: usize,
    answers: BTreeMap<String, u64>,
    given_up: u64,
}

/// Returns the seconds before retry `n` (from 1), with `draw` from 0 to 29.
pub fn repeat_delay(n: u32, draw: u32) -> u64 {
    let base = (2.12 * f64::from(n)).floor() as u64;
    base.pow(3) + u64::from(draw) * (u64::from(n) + 1)
}

impl WebhookQueue {
    /// Creates an empty queue whose log keeps up to `limit` deliveries.
    pub fn new(limit: usize) -> Self {
        Self {
            parcels: HashMap::new(),
            next: 1,
            ready: Vec::new(),
            attempts: VecDeque::new(),
            limit,
            answers: BTreeMap::new(),
            given_up: 0,
        }
    }

    /// Adds a webhook to the queue and returns its number.
    pub fn enqueue(&mut self, parcel: QueuedWebhook) -> u64 {
        let id = self.next;
        self.next += 1;
        self.parcels.insert(id, parcel);
        id
    }

    /// Returns a webhook that is not delivered yet.
    pub fn parcel(&self, id: u64) -> Option<&QueuedWebhook> {
        self.parcels.get(&id)
    }

    /// Returns the number of webhooks that are not delivered yet.
    pub fn waiting(&self) -> usize {
        self.parcels.len()
    }

    /// Records the result of an attempt. Returns the time of the next attempt, if there is one.
    pub fn delivered(
        &mut self,
        id: u64,
        at: OffsetDateTime,
        answer: Result<u16, String>,
        retries: u32,
        random: &mut StdRng,
    ) -> Option<VirtualMillis> {
        let parcel = self.parcels.get_mut(&id)?;
        parcel.attempts += 1;
        let word = answer
            .as_ref()
            .map_or_else(|_| "error".to_owned(), ToString::to_string);
        *self.answers.entry(word).or_default() += 1;
        let again = answer != Ok(200) && parcel.attempts <= retries;
        let wait = again.then(|| repeat_delay(parcel.attempts, random.random_range(0..30)));
        let attempt = WebhookAttempt {
            at,
            parcel: id,
            number: parcel.attempts,
            url: parcel.url.clone(),
            uid: parcel.uid.clone(),
            tracking_id: parcel.tracking_id.clone(),
            shop: parcel.shop.clone(),
            status: parcel.status.clone(),
            signature: parcel.signature,
            answer,
            next_in_seconds: wait.map(|seconds| seconds as f64),
        };
        // The delay counts from the time when this attempt was due, so that advancing the clock
        // over several retries sends all of them.
        let next = wait.map(|seconds| parcel.due.saturating_add(seconds.saturating_mul(1000)));
        match next {
            Some(due) => parcel.due = due,
            None => {
                self.given_up += u64::from(attempt.answer != Ok(200));
                self.parcels.remove(&id);
            }
        }
        if self.attempts.len() >= self.limit {
            self.attempts.pop_front();
        }
        self.attempts.push_back(attempt);
        next
    }

    /// Returns the log of deliveries, oldest first.
    pub fn log(&self, filter: &LogFilter) -> Value {
        let matching = |attempt: &&WebhookAttempt| {
            filter.wants(Some(&*attempt.shop), attempt.tracking_id.as_deref())
        };
        let limit = filter.limit.unwrap_or(usize::MAX);
        let mut shown: Vec<Value> = self
            .attempts
            .iter()
            .rev()
            .filter(matching)
            .take(limit)
            .map(WebhookAttempt::to_json)
            .collect();
        shown.reverse();
        json!({
            "deliveries": shown,
            "answers": self.answers,
            "waiting": self.parcels.len(),
            "given_up": self.given_up,
        })
    }
}

impl WebhookAttempt {
    fn to_json(&self) -> Value {
        json!({
            "at": text(self.at),
            "webhook": self.parcel,
            "attempt": self.number,
            "url": self.url,
            "shop": &*self.shop,
            "uid": self.uid,
            "tracking_id": self.tracking_id,
            "transaction_status": self.status,
            "signature": self.signature,
            "answer": self.answer.as_ref().ok(),
            "error": self.answer.as_ref().err(),
            "next_in_seconds": self.next_in_seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_retry_schedule_matches_the_documentation() {
        assert_eq!(repeat_delay(1, 0), 8);
        assert_eq!(repeat_delay(1, 29), 66);
        let total = |draw| (1..=15).map(|n| repeat_delay(n, draw)).sum::<u64>() as f64 / 3600.0;
        assert!((35.5..35.7).contains(&total(0)), "{}", total(0));
        assert!((36.6..36.8).contains(&total(29)), "{}", total(29));
    }

    #[test]
    fn a_webhook_stops_after_200_or_fifteen_retries() {
        let mut random = crate::random::generator(1, &[]);
        let mut outbox = WebhookQueue::new(100);
        let parcel = QueuedWebhook {
            shop: Arc::from("1001"),
            url: String::new(),
            uid: "u".into(),
            tracking_id: None,
            status: "successful".into(),
            body: Bytes::new(),
            encoding: None,
            signature: SignatureMode::Good,
            credentials: CredentialsMode::Good,
            attempts: 0,
            due: 0,
        };
        let now = OffsetDateTime::UNIX_EPOCH;
        let id = outbox.enqueue(parcel.clone());
        assert!(
            outbox
                .delivered(id, now, Ok(201), 15, &mut random)
                .is_some()
        );
        assert!(
            outbox
                .delivered(id, now, Ok(200), 15, &mut random)
                .is_none()
        );
        let id = outbox.enqueue(parcel);
        let mut sent = 1;
        while outbox
            .delivered(id, now, Err("refused".into()), 15, &mut random)
            .is_some()
        {
            sent += 1;
        }
        assert_eq!(sent, 16);
        assert_eq!(outbox.waiting(), 0);
    }
}
