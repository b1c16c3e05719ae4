//! What a request meets, written down: how its POST is answered, how its task
//! runs and ends, which transactions come of it and how they change, and which
//! webhooks tell of them. Every field has a default, so a script posted to the
//! control API names only what differs from a plain success.

use rand::Rng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::behaviour::{Behaviour, Canned, Refusal};
use super::form::Form;

/// The whole fate of one request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// How the POST is answered.
    pub submit: Behaviour,
    /// How the task runs and ends.
    pub task: TaskScript,
    /// The transactions that come of it; the task's result names one of them.
    pub transactions: Vec<Course>,
    /// How they are told of by webhook.
    pub webhook: WebhookScript,
    /// How look-ups of this tracking id, and by uid of its transactions, are answered.
    pub lookup: Behaviour,
    /// Bodies in the flat shape of API version 3.
    pub v3: bool,
    /// How bodies about its transactions are written.
    pub form: Form,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            submit: Behaviour::default(),
            task: TaskScript::default(),
            transactions: vec![Course::default()],
            webhook: WebhookScript::default(),
            lookup: Behaviour::default(),
            v3: false,
            form: Form::default(),
        }
    }
}

/// How an asynchronous task runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TaskScript {
    /// How long it runs; absent: the twin's setting.
    pub delay: Option<Delay>,
    /// What it leaves behind.
    pub end: End,
    /// How reads of `response_url` are answered, once the task has ended.
    pub result: Behaviour,
    /// How reads of `status_url` are answered.
    pub status: Behaviour,
}

/// A length of time in seconds, drawn anew each time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Delay {
    /// Always the same.
    Fixed {
        /// That long.
        seconds: f64,
    },
    /// Mostly short, now and then long.
    Exponential {
        /// The average.
        mean: f64,
    },
    /// One of two lengths.
    Bimodal {
        /// The usual one.
        fast: f64,
        /// The other one.
        slow: f64,
        /// The share of the other one, from 0 to 1.
        slow_share: f64,
    },
    /// It never comes.
    Never,
}

/// Far enough away to be never, small enough to be added to.
const NEVER_SECONDS: f64 = 3.2e9;

impl Delay {
    /// Draws one, in seconds.
    pub fn draw(self, random: &mut StdRng) -> f64 {
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

/// What a task leaves behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum End {
    /// The standard answer about one of the script's transactions.
    Transaction {
        /// Which one, counted from 0.
        index: usize,
    },
    /// The task fell over; a message is all there is.
    Crash,
    /// An error, handed out once.
    Refuse(Refusal),
    /// The task is never known, not even while it runs.
    Unknown,
    /// These bytes.
    Answer(Canned),
}

impl Default for End {
    fn default() -> Self {
        Self::Transaction { index: 0 }
    }
}

/// One transaction's life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Course {
    /// Seconds after the POST at which it comes into being; absent: when the task ends.
    pub at: Option<f64>,
    /// Its first status.
    pub status: String,
    /// Its code; absent: the usual one for the status.
    pub code: Option<String>,
    /// Its message; absent: the usual one for the status.
    pub message: Option<String>,
    /// An amount other than the one asked for.
    pub amount: Option<i64>,
    /// What is added to the amount.
    pub amount_delta: i64,
    /// A currency other than the one asked for.
    pub currency: Option<String>,
    /// Whether a webhook tells of the first status although it is not final.
    pub notify: bool,
    /// What becomes of it later.
    pub changes: Vec<Change>,
}

impl Default for Course {
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

/// One later change of a transaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    /// Seconds after the transaction came into being.
    pub after: f64,
    /// The new status.
    pub status: String,
    /// Its code; absent: the usual one for the status.
    pub code: Option<String>,
    /// Its message; absent: the usual one for the status.
    pub message: Option<String>,
    /// A new amount.
    pub amount: Option<i64>,
    /// A change by hand, which sets `manually_corrected_at`.
    pub corrected: bool,
    /// Whether a webhook tells of it.
    pub notify: bool,
}

impl Default for Change {
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

/// How webhooks are sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookScript {
    /// Whether they are sent at all.
    pub send: bool,
    /// Seconds after the change.
    pub delay: f64,
    /// How many times each is sent, even though it was answered with 200.
    pub copies: u32,
    /// Seconds between copies, and between what is sent out of order.
    pub gap: f64,
    /// One with a wrong signature goes first.
    pub forged_first: bool,
    /// The webhook of the first status is held back until the final one has gone.
    pub reorder: bool,
    /// How they are signed.
    pub signature: Signature,
    /// Whether the Basic credentials are right.
    pub credentials: Credentials,
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
            signature: Signature::Good,
            credentials: Credentials::Good,
        }
    }
}

/// The `Content-Signature` of a webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signature {
    /// By the key in force.
    #[default]
    Good,
    /// By the key that is not in force.
    OtherKey,
    /// Over another body.
    Bad,
    /// None.
    Missing,
}

/// The Basic credentials of a webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credentials {
    /// The shop's.
    #[default]
    Good,
    /// A wrong secret.
    Bad,
    /// None.
    Missing,
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use crate::behaviour::Act;
    use crate::random::generator;

    #[test]
    fn a_script_names_only_what_differs() {
        let script: Script =
            serde_json::from_str(r#"{"submit":{"act":"hang","times":1},"task":{"end":"crash"}}"#)
                .expect("a partial script is a script");
        assert_eq!(script.submit.act, Act::Hang);
        assert_eq!(script.task.end, End::Crash);
        assert_eq!(script.transactions.len(), 1);
        assert!(serde_json::from_str::<Script>(r#"{"sumbit":{}}"#).is_err());
    }

    #[test]
    fn delays_follow_their_distribution() {
        let mut random = generator(1, &["delay"]);
        let draws = |delay: Delay, random: &mut StdRng| -> f64 {
            (0..4000).map(|_| delay.draw(random)).sum::<f64>() / 4000.0
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
