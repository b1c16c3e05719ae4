//! Settings of the simulator, and the behaviour switches that the control API changes at runtime.
//!
//! Many switches select one of the possible answers to a question that the gateway's documentation
//! leaves open. A client must be correct with every value.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::script::Delay;
use super::sign::SigningKey;

/// Settings at start-up.
#[derive(Clone, Debug)]
pub struct TwinSettings {
    /// Secret key by shop ID.
    pub shops: BTreeMap<String, String>,
    /// Random seed.
    pub seed: u64,
    /// Speed factor for delays, retention and retries.
    pub time_scale: f64,
    /// Number of HTTP worker threads.
    pub workers: usize,
    /// Origin in `status_url` and similar URLs; absent: the listen address.
    pub public_url: Option<String>,
    /// Whether the control API accepts requests from other machines.
    pub control_from_anywhere: bool,
    /// Number of requests and of webhook deliveries that the logs keep.
    pub log_size: usize,
    /// Initial switches.
    pub switches: BehaviourSwitches,
}

impl Default for TwinSettings {
    fn default() -> Self {
        Self {
            shops: BTreeMap::new(),
            seed: 1,
            time_scale: 1.0,
            workers: 2,
            public_url: None,
            control_from_anywhere: false,
            log_size: 20_000,
            switches: BehaviourSwitches::default(),
        }
    }
}

/// Behaviour switches. `POST /_twin/settings` changes those that it names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BehaviourSwitches {
    /// Duration of tasks.
    pub task_delay: Delay,
    /// Latency of all responses.
    pub latency: Delay,
    /// When a transaction becomes visible.
    pub appears: VisibleFrom,
    /// Seconds until lookups find a new transaction.
    pub lookup_lag: f64,
    /// Order of the result of a lookup by tracking ID.
    pub lookup_order: LookupOrder,
    /// Shape of response bodies.
    pub body_shape: BodyShape,
    /// Shape of webhook bodies.
    pub webhook_shape: WebhookShape,
    /// Shape of refusals.
    pub error_shape: ErrorShape,
    /// Whether the version 2 shape has `code` and `friendly_message`.
    pub v2_codes: bool,
    /// HTTP status of a result that is requested before the task has ended.
    pub processing_status: u16,
    /// HTTP status of a crashed task's result.
    pub crash_status: u16,
    /// Whether a read of `status_url` consumes a result that is returned once.
    pub status_read_burns: bool,
    /// Seconds that a result is kept, counted from the POST.
    pub result_retention: f64,
    /// Where a refusal is reported: in the response to the POST, or in the task's result.
    pub refusals_at: RefusalsAt,
    /// Whether `RequestID` is honoured on `/async/...`.
    pub request_id_async: bool,
    /// Whether `RequestID` is honoured on the synchronous paths.
    pub request_id_sync: bool,
    /// Which requests the 30-second rule compares.
    pub duplicate_check: DuplicateCheck,
    /// Length of the 30-second rule's window, in seconds.
    pub duplicate_window: f64,
    /// HTTP status of the 30-second rule's refusal.
    pub duplicate_status: u16,
    /// Shape of the 30-second rule's refusal.
    pub duplicate_shape: ErrorShape,
    /// Whether queries and balance exist under `/async/...`.
    pub async_queries: bool,
    /// Whether the 30-second rule's refusal shows the earlier transaction.
    pub duplicate_shows_earlier: bool,
    /// Whether the remaining amount of a parent limits its children.
    pub parent_limits: bool,
    /// Whether the first POST of each tracking ID is processed twice.
    pub double_posts: bool,
    /// Whether lookups by tracking ID find anything.
    pub lookups_work: bool,
    /// Whether lookups show captures, voids, refunds and chargebacks.
    pub children_in_lookups: bool,
    /// How the router treats the tracking ID in the path of a lookup.
    pub router: Router,
    /// Whether captures, voids, refunds and chargebacks keep their own tracking ID.
    pub children_own_tracking_id: bool,
    /// Where the webhooks of child transactions are sent.
    pub children_notify: ChildrenNotify,
    /// Whether a payment requires a card, a token or an encrypted card.
    pub require_card: bool,
    /// Whether webhooks are sent.
    pub webhooks: bool,
    /// Whether webhooks are signed.
    pub sign_webhooks: bool,
    /// Key that signs webhooks.
    pub signing_key: SigningKey,
    /// Number of retries of a webhook.
    pub webhook_retries: u32,
    /// Time limit for the receiver of a webhook, in real seconds.
    pub webhook_timeout: f64,
    /// Seconds by which the times in bodies are ahead of the wall clock; negative if behind.
    pub stamps_ahead: f64,
    /// Origin in `status_url` and `response_url`, if it differs from the simulator's.
    pub task_url_origin: Option<String>,
}

impl Default for BehaviourSwitches {
    fn default() -> Self {
        Self {
            task_delay: Delay::Fixed { seconds: 1.0 },
            latency: Delay::Fixed { seconds: 0.0 },
            appears: VisibleFrom::End,
            lookup_lag: 0.0,
            lookup_order: LookupOrder::Newest,
            body_shape: BodyShape::Header,
            webhook_shape: WebhookShape::Same,
            error_shape: ErrorShape::Auto,
            v2_codes: true,
            processing_status: 425,
            crash_status: 500,
            status_read_burns: false,
            result_retention: 86_400.0,
            refusals_at: RefusalsAt::Submit,
            request_id_async: true,
            request_id_sync: true,
            duplicate_check: DuplicateCheck::All,
            duplicate_window: 30.0,
            duplicate_status: 422,
            duplicate_shape: ErrorShape::V3,
            async_queries: true,
            duplicate_shows_earlier: false,
            parent_limits: true,
            double_posts: false,
            lookups_work: true,
            children_in_lookups: true,
            router: Router::Plain,
            children_own_tracking_id: true,
            children_notify: ChildrenNotify::Never,
            require_card: false,
            webhooks: true,
            sign_webhooks: true,
            signing_key: SigningKey::Default,
            webhook_retries: 15,
            webhook_timeout: 30.0,
            stamps_ahead: 0.0,
            task_url_origin: None,
        }
    }
}

/// When a transaction becomes visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VisibleFrom {
    /// From the POST, as `incomplete`, until the task ends.
    Start,
    /// When the task ends.
    End,
}

/// Order of the result of a lookup by tracking ID. The ten most recent transactions are returned in
/// either order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LookupOrder {
    /// Newest first.
    Newest,
    /// Oldest first.
    Oldest,
}

/// Shape of response bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyShape {
    /// Version 3 if the request's `X-API-Version` is 3, otherwise version 2.
    Header,
    /// Always version 2.
    V2,
    /// Always version 3.
    V3,
}

/// Shape of webhook bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookShape {
    /// The shape of the response.
    Same,
    /// Always version 2.
    V2,
    /// Always version 3.
    V3,
}

/// Shape of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorShape {
    /// Version 3 if bodies are version 3, otherwise version 2.
    Auto,
    /// `{"response": {"message", "errors"}}`.
    V2,
    /// `{"message", "errors"}`.
    Flat,
    /// `{"code", "friendly_message", "message", "errors"}`.
    V3,
}

/// Where a refusal is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalsAt {
    /// In the response to the POST.
    Submit,
    /// In the result of its task, which is returned once.
    Task,
}

/// Requests that the 30-second rule compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DuplicateCheck {
    /// None.
    Off,
    /// Requests with the same parent and amount.
    Children,
    /// Requests with the same parent and amount, or the same amount and card or token.
    All,
}

/// How a router treats the tracking ID in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Router {
    /// Accepts every tracking ID.
    Plain,
    /// Treats the part after a dot as a format and drops it.
    SplitsAtDot,
    /// Does not decode escapes, so that only tracking IDs without escapes are found.
    KeepsEscapes,
    /// Converts to lower case, so that only lower-case tracking IDs are found.
    FoldsCase,
}

impl Router {
    /// Returns the tracking ID that is looked up, or `None` if it cannot match any.
    pub fn reads(self, name: &str) -> Option<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.~".contains(c);
        match self {
            Self::Plain => Some(name.to_owned()),
            Self::SplitsAtDot => name.split('.').next().map(str::to_owned),
            Self::KeepsEscapes => name.chars().all(plain).then(|| name.to_owned()),
            Self::FoldsCase => Some(name.to_ascii_lowercase()),
        }
    }
}

/// Where the webhooks of child transactions are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildrenNotify {
    /// Nowhere.
    Never,
    /// To the `notification_url` of their own request.
    OwnUrl,
    /// To the `notification_url` of their parent.
    ParentUrl,
}
