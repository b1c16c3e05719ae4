//! What the twin is started with, and the switches that the control API can
//! turn while it runs. Many switches stand for a question that the gateway's
//! documents leave open: a client must be right under every answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::script::Delay;
use super::sign::KeyName;

/// What a twin is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Secret key by shop id.
    pub shops: BTreeMap<String, String>,
    /// Where randomness starts.
    pub seed: u64,
    /// How much faster than reality delays, retention and retries run.
    pub time_scale: f64,
    /// HTTP worker threads.
    pub workers: usize,
    /// The origin in `status_url` and the like; absent: the address listened on.
    pub public_url: Option<String>,
    /// Whether the control API answers to other machines too.
    pub control_from_anywhere: bool,
    /// How many requests and webhook deliveries are remembered.
    pub log_size: usize,
    /// The switches at the start.
    pub switches: Switches,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shops: BTreeMap::new(),
            seed: 1,
            time_scale: 1.0,
            workers: 2,
            public_url: None,
            control_from_anywhere: false,
            log_size: 20_000,
            switches: Switches::default(),
        }
    }
}

/// The switches; `POST /_twin/settings` changes those that it names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Switches {
    /// How long tasks run.
    pub task_delay: Delay,
    /// How long any answer takes.
    pub latency: Delay,
    /// Whether a transaction can be seen while its task runs.
    pub appears: Appears,
    /// Seconds after which a new transaction can be looked up.
    pub lookup_lag: f64,
    /// The order of a look-up by tracking id.
    pub lookup_order: LookupOrder,
    /// The shape of answers.
    pub body_shape: BodyShape,
    /// The shape of webhooks.
    pub webhook_shape: WebhookShape,
    /// The shape of refusals.
    pub error_shape: ErrorShape,
    /// Whether the version 2 shape shows `code` and `friendly_message`.
    pub v2_codes: bool,
    /// HTTP status of a result asked for too early.
    pub processing_status: u16,
    /// HTTP status of a crashed task.
    pub crash_status: u16,
    /// Whether asking `status_url` uses up a result that is handed out once.
    pub status_read_burns: bool,
    /// Seconds that a result is kept, from the POST on.
    pub result_retention: f64,
    /// Whether a refused request is refused at the POST, or by its task.
    pub refusals_at: RefusalsAt,
    /// Whether `RequestID` is honoured on `/async/...`.
    pub request_id_async: bool,
    /// Whether `RequestID` is honoured on the synchronous paths.
    pub request_id_sync: bool,
    /// Which requests the 30-second rule looks at.
    pub duplicate_check: DuplicateCheck,
    /// Seconds that it looks back.
    pub duplicate_window: f64,
    /// HTTP status of its refusal.
    pub duplicate_status: u16,
    /// The shape of its refusal.
    pub duplicate_shape: ErrorShape,
    /// Whether queries and balance exist under `/async/...`.
    pub async_queries: bool,
    /// Whether its refusal shows the transaction that the request equals.
    pub duplicate_shows_earlier: bool,
    /// Whether a parent's rest is enforced.
    pub parent_limits: bool,
    /// Whether the first POST of each tracking id is doubled on its way.
    pub double_posts: bool,
    /// Whether look-ups by tracking id find anything at all.
    pub lookups_work: bool,
    /// Whether they show captures, voids, refunds and chargebacks.
    pub children_in_lookups: bool,
    /// What the router makes of the tracking id in the path of a look-up.
    pub router: Router,
    /// Whether captures, voids, refunds and chargebacks keep their own tracking id.
    pub children_own_tracking_id: bool,
    /// Where their webhooks go.
    pub children_notify: ChildrenNotify,
    /// Whether a payment must name a card, a token or an encrypted card.
    pub require_card: bool,
    /// Whether webhooks are sent at all.
    pub webhooks: bool,
    /// Whether they are signed.
    pub sign_webhooks: bool,
    /// The key that signs them.
    pub signing_key: KeyName,
    /// How many times a webhook is sent again.
    pub webhook_retries: u32,
    /// Real seconds that the receiver of a webhook has to answer.
    pub webhook_timeout: f64,
    /// Seconds by which the times in bodies are ahead of the wall clock; behind it below zero.
    pub stamps_ahead: f64,
    /// Another origin for `status_url` and `response_url`.
    pub task_url_origin: Option<String>,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            task_delay: Delay::Fixed { seconds: 1.0 },
            latency: Delay::Fixed { seconds: 0.0 },
            appears: Appears::End,
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
            signing_key: KeyName::Default,
            webhook_retries: 15,
            webhook_timeout: 30.0,
            stamps_ahead: 0.0,
            task_url_origin: None,
        }
    }
}

/// When a transaction can first be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Appears {
    /// From the POST on, as `incomplete`, until the task ends.
    Start,
    /// When the task ends.
    End,
}

/// The order of a look-up by tracking id; the ten most recent are shown in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LookupOrder {
    /// Newest first.
    Newest,
    /// Oldest first.
    Oldest,
}

/// The shape of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyShape {
    /// Version 3 where the request's `X-API-Version` is 3, else version 2.
    Header,
    /// Always version 2.
    V2,
    /// Always version 3.
    V3,
}

/// The shape of webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookShape {
    /// That of the answer.
    Same,
    /// Always version 2.
    V2,
    /// Always version 3.
    V3,
}

/// The shape of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorShape {
    /// Version 3 where bodies are version 3, else version 2.
    Auto,
    /// `{"response": {"message", "errors"}}`.
    V2,
    /// `{"message", "errors"}`.
    Flat,
    /// `{"code", "friendly_message", "message", "errors"}`.
    V3,
}

/// Where a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalsAt {
    /// In the answer to the POST.
    Submit,
    /// In the result of its task, handed out once.
    Task,
}

/// What the 30-second rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DuplicateCheck {
    /// Nothing.
    Off,
    /// Equal parent and amount.
    Children,
    /// Equal parent and amount, and equal amount and card or token.
    All,
}

/// What a router makes of the tracking id in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Router {
    /// It takes every name.
    Plain,
    /// What follows a dot is taken for a format, and dropped.
    SplitsAtDot,
    /// Of an escaped name it takes the escapes for letters: only plain names are found.
    KeepsEscapes,
    /// It folds the letter case, and so finds names in lower case alone.
    FoldsCase,
}

impl Router {
    /// The name that is looked for; none when nothing can go by it.
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

/// Where the webhooks of children go.
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
