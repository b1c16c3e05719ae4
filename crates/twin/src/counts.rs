//! Counts of requests per tracking ID, by result. Counts are never dropped.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::request_log::{LogResult, RequestHead, RequestKind};

/// Counts of one tracking ID.
#[derive(Clone, Debug, Default)]
pub struct SubmitCounts {
    requests: u64,
    posts: u64,
    refused: u64,
    replayed: u64,
    accepted: u64,
    statuses: BTreeMap<String, u64>,
    /// `RequestID` of the first POST.
    request_id: Option<String>,
    /// Whether every POST had the same `RequestID`.
    one_request_id: bool,
}

impl SubmitCounts {
    /// Counts a request.
    pub fn add(&mut self, call: &RequestHead, note: &LogResult) {
        self.requests += 1;
        if !matches!(call.operation, RequestKind::Submit(_)) {
            return;
        }
        self.posts += 1;
        if self.posts == 1 {
            self.request_id.clone_from(&call.idempotency_key);
            self.one_request_id = self.request_id.is_some();
        }
        self.one_request_id &= self.request_id == call.idempotency_key;
        self.replayed += u64::from(note.replayed);
        self.accepted += u64::from(note.accepted);
        let whole = matches!(note.fate, "answered" | "trickle");
        let refused = whole
            && note
                .status
                .is_some_and(|status| (400..500).contains(&status));
        self.refused += u64::from(refused);
        let status = note
            .status
            .map_or_else(|| "none".to_owned(), |status| status.to_string());
        *self.statuses.entry(status).or_default() += 1;
    }

    /// Replaces a 200 that was counted before the response was known.
    pub fn replace_status(&mut self, status: u16) {
        if let Some(wrong) = self.statuses.get_mut("200") {
            *wrong = wrong.saturating_sub(1);
        }
        self.statuses.retain(|_, times| *times > 0);
        *self.statuses.entry(status.to_string()).or_default() += 1;
        self.refused += u64::from((400..500).contains(&status));
    }

    /// Returns the number of POSTs that arrived and were not refused.
    pub fn accepted_count(&self) -> u64 {
        self.posts - self.refused
    }

    /// Returns the counts as the control API shows them.
    pub fn to_json(&self, shop: &str, tracking_id: &str) -> Value {
        json!({
            "shop": shop,
            "tracking_id": tracking_id,
            "requests": self.requests,
            "posts": self.posts,
            "refused": self.refused,
            "unrefused": self.accepted_count(),
            "replayed": self.replayed,
            "accepted": self.accepted,
            "one_request_id": self.one_request_id,
            "statuses": self.statuses,
        })
    }
}
