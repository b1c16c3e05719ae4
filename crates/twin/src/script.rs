//! Scripts: how the POST of a request is answered, how its task runs and ends, which transactions
//! it creates and how they change, and which webhooks are sent.
//!
//! Every field has a default, so a script for the control API names only what differs from a plain
//! success.

use rand::Rng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::behaviour::{Behaviour, CannedResponse, ErrorResponse};
use super::form::Form;

/// Everything that happens to one request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// Response to the POST.
    pub submit: Behaviour,
    /// Course of the task.
    pub task: TaskScript,
    /// Transactions that the request creates; the task's result names one of them.
    pub transactions: Vec<TransactionScript>,
    /// Webhooks about the transactions.
    pub webhook: WebhookScript,
    /// Response to lookups by this tracking ID, and by uid of its transactions.
    pub lookup: Behaviour,
    /// Whether bodies have the flat shape of API version 3.
    pub v3: bool,
    /// Format of bodies about its transactions.
    pub form: Form,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            submit: Behaviour::default(),
            task: TaskScript::default(),
            transactions: vec![TransactionScript::default()],
            webhook: WebhookScript::default(),
            lookup: Behaviour::default(),
            v3: false,
            form: Form::default(),
        }
    }
}

/// Course of an asynchronous task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TaskScript {
    /// Duration; absent: the simulator's `task_delay`.
    pub delay: Option<Delay>,
    /// Result of the task.
    pub end: TaskEnd,
    /// Response to reads of `response_url` after the task has ended.
    pub result: Behaviour,
    /// Response to reads of `status_url`.
    pub status: Behaviour,
}

/// A duration in seconds, drawn for each use.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Delay {
    /// Constant.
    Fixed {
        /// Duration.
        seconds: f64,
    },
    /// Exponentially distributed.
    Exponential {
        /// Mean duration.
        mean: f64,
    },
    /// One of two durations.
    Bimodal {
        /// Usual duration.
        fast: f64,
        /// Long duration.
        slow: f64,
        /// Probability of the long duration, from 0 to 1.
        slow_share: f64,
    },
    /// Infinite.
    Never,
}

/// Stands for an infinite duration; small enough that sums do not overflow.
const NEVER_SECONDS: f64 = 3.2e9;

impl Delay {
    /// Draws a duration, in seconds.
    pub fn sample(self, random: &mut StdRng) -> f64 {
        match self {
            Self::Fixed { seconds } => seconds,
            Self::Exponential { mean } => -mean * (1.0 - random.random::<f64>()).ln(),
            Self::Bimodal {
                fast,
                slow,
                slow_share,
            } => {
                if random.random::<f64>() < slow_share {
                    slow
                } else {
                    fast
                }
            }
            Self::Never => NEVER_SECONDS,
        }
    }
}

/// Result of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TaskEnd {
    /// Normal response about one of the script's transactions.
    Transaction {
        /// Index of the transaction, from 0.
        index: usize,
    },
    /// The task crashed; its result is a message only.
    Crash,
    /// An error, which is returned once.
    Refuse(ErrorResponse),
    /// The task reads as unknown, even while it runs.
    Unknown,
    /// A fixed response.
    Answer(CannedResponse),
}

impl Default for TaskEnd {
    fn default() -> Self {
        Self::Transaction { index: 0 }
    }
}

/// Course of one transaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransactionScript {
    /// Creation time in seconds after the POST; absent: when the task ends.
    pub at: Option<f64>,
    /// First status.
    pub status: String,
    /// Result code; absent: the usual one for the status.
    pub code: Option<String>,
    /// Message; absent: the usual one for the status.
    pub message: Option<String>,
    /// Amount, if it differs from the requested one.
    pub amount: Option<i64>,
    /// Difference to the requested amount.
    pub amount_delta: i64,
    /// Currency, if it differs from the requested one.
    pub currency: Option<String>,
    /// Whether a webhook is sent for the first status if it is not final.
    pub notify: bool,
    /// Later changes of status.
    pub changes: Vec<StatusChange>,
}

impl Default for TransactionScript {
    fn default() -> Self {
        Self {
            at: None,
            status: "successful".into(),
            code: None,
            message: None,
            amount: None,
            amount_delta: 0,
            currency: None,
            notify: false,
            changes: Vec::new(),
        }
    }
}

/// A later change of a transaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StatusChange {
    /// Seconds after the transaction is created.
    pub after: f64,
    /// New status.
    pub status: String,
    /// Result code; absent: the usual one for the status.
    pub code: Option<String>,
    /// Message; absent: the usual one for the status.
    pub message: Option<String>,
    /// New amount in minor units.
    pub amount: Option<i64>,
    /// Whether it is a correction in the back office, which sets `manually_corrected_at`.
    pub corrected: bool,
    /// Whether a webhook is sent.
    pub notify: bool,
}

impl Default for StatusChange {
    fn default() -> Self {
        Self {
            after: 5.0,
            status: "successful".into(),
            code: None,
            message: None,
            amount: None,
            corrected: false,
            notify: true,
        }
    }
}

/// Delivery of webhooks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookScript {
    /// Whether webhooks are sent.
    pub send: bool,
    /// Delay after the change, in seconds.
    pub delay: f64,
    /// Number of times that each webhook is sent, regardless of the response.
    pub copies: u32,
    /// Seconds between copies, and between reordered webhooks.
    pub gap: f64,
    /// Whether a copy with an invalid signature is sent first.
    pub forged_first: bool,
    /// Whether the webhook of the first status is sent after that of the final one.
    pub reorder: bool,
    /// Signature of the webhooks.
    pub signature: SignatureMode,
    /// Basic credentials of the webhooks.
    pub credentials: CredentialsMode,
}

impl Default for WebhookScript {
    fn default() -> Self {
        Self {
            send: true,
            delay: 0.0,
            copies: 1,
            gap: 1.0,
            forged_first: false,
            reorder: false,
            signature: SignatureMode::Good,
            credentials: CredentialsMode::Good,
        }
    }
}

/// The `Content-Signature` of a webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignatureMode {
    /// Valid: by the key in force.
    #[default]
    Good,
    /// By the key that is not in force.
    OtherKey,
    /// Over another body.
    Bad,
    /// Absent.
    Missing,
}

/// The Basic credentials of a webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialsMode {
    /// The shop's credentials.
    #[default]
    Good,
    /// A wrong secret.
    Bad,
    /// Absent.
    Missing,
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a failed test may panic")]
mod tests {
    use super::*;
    use crate::behaviour::ResponseAction;
    use crate::random::generator;

    #[test]
    fn omitted_script_fields_have_defaults() {
        let script: Script =
            serde_json::from_str(r#"{"submit":{"act":"hang","times":1},"task":{"end":"crash"}}"#)
                .expect("a partial script is valid");
        assert_eq!(script.submit.act, ResponseAction::Hang);
        assert_eq!(script.task.end, TaskEnd::Crash);
        assert_eq!(script.transactions.len(), 1);
        assert!(serde_json::from_str::<Script>(r#"{"sumbit":{}}"#).is_err());
    }

    #[test]
    fn delays_follow_their_distribution() {
        let mut random = generator(1, &["delay"]);
        let draws = |delay: Delay, random: &mut StdRng| -> f64 {
            (0..4000).map(|_| delay.sample(random)).sum::<f64>() / 4000.0
        };
        let mean = draws(Delay::Exponential { mean: 2.0 }, &mut random);
        assert!((1.8..2.2).contains(&mean), "{mean}");
        let mean = draws(
            Delay::Bimodal {
                fast: 1.0,
                slow: 11.0,
                slow_share: 0.1,
            },
            &mut random,
        );
        assert!((1.8..2.2).contains(&mean), "{mean}");
    }
}
