//! What happens to an answer on its way: it is replaced, held back, cut, or
//! comes in drops.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What happens to an answer on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// What is done instead of answering.
    pub act: Act,
    /// Whether the request takes effect all the same.
    pub effect: bool,
    /// Only the first so many requests are treated so; absent: all.
    pub times: Option<u32>,
    /// Seconds of delay before the answer.
    pub latency: f64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            act: Act::Normal,
            effect: true,
            times: None,
            latency: 0.0,
        }
    }
}

impl Behaviour {
    /// Does this to the first request only.
    pub fn once(act: Act, effect: bool) -> Self {
        Self {
            act,
            effect,
            times: Some(1),
            latency: 0.0,
        }
    }

    /// Whether the request number `nth`, counted from 0, is treated so.
    pub fn applies(&self, nth: u32) -> bool {
        self.times.is_none_or(|times| nth < times)
    }
}

/// What is done instead of answering plainly.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Act {
    /// The answer as it is.
    #[default]
    Normal,
    /// The request is read and never answered.
    Hang,
    /// The connection is cut without a byte of answer.
    Reset,
    /// The connection is cut in the middle of the answer's body.
    Cut,
    /// The connection is cut when all of the body's JSON has come, and before its announced end.
    CutAfter,
    /// The answer's body comes in drops, over so many seconds.
    Trickle {
        /// How long the whole body takes.
        seconds: f64,
    },
    /// This answer, whatever the right one would be.
    Answer(Canned),
    /// A refusal, in the error shape that is in force.
    Refuse(Refusal),
}

/// An answer given as it is written here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Canned {
    /// HTTP status.
    pub status: u16,
    /// More headers, such as `Retry-After`.
    pub headers: BTreeMap<String, String>,
    /// A JSON body, or a string that is sent as it is.
    pub body: Value,
    /// Defaults to JSON for a JSON body, and to HTML for a string.
    pub content_type: Option<String>,
}

impl Default for Canned {
    fn default() -> Self {
        Self {
            status: 200,
            headers: BTreeMap::new(),
            body: Value::Null,
            content_type: None,
        }
    }
}

/// The gateway's no. Its shape on the wire depends on the settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The code, shown in the version 3 shape only.
    pub code: String,
    /// What is wrong, in one line.
    pub message: String,
    /// What is wrong, by field.
    pub errors: Value,
    /// The uid of the transaction that the request equals, where that is shown.
    #[serde(skip)]
    pub earlier: Option<String>,
}

impl Default for Refusal {
    fn default() -> Self {
        Self {
            status: 422,
            code: "E.1025".into(),
            message: "Currency is not supported.".into(),
            errors: serde_json::json!({"currency": ["is not supported"]}),
            earlier: None,
        }
    }
}
