//! Behaviours: how a response is replaced, delayed, cut off, or sent slowly.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How a response is delivered or replaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// Action instead of a normal response.
    pub act: ResponseAction,
    /// Whether the request still takes effect.
    pub effect: bool,
    /// Number of requests, from the first, that it applies to; absent: all.
    pub times: Option<u32>,
    /// Delay before the response, in seconds.
    pub latency: f64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            act: ResponseAction::Normal,
            effect: true,
            times: None,
            latency: 0.0,
        }
    }
}

impl Behaviour {
    /// Creates a behaviour for the first request only.
    pub fn once(act: ResponseAction, effect: bool) -> Self {
        Self {
            act,
            effect,
            times: Some(1),
            latency: 0.0,
        }
    }

    /// Returns whether it applies to request number `nth`, counted from 0.
    pub fn applies(&self, nth: u32) -> bool {
        self.times.is_none_or(|times| nth < times)
    }
}

/// An action instead of a normal response.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ResponseAction {
    /// Respond normally.
    #[default]
    Normal,
    /// Read the request and never respond.
    Hang,
    /// Close the connection before the first byte of the response.
    Reset,
    /// Close the connection in the middle of the response body.
    Cut,
    /// Close the connection after the last byte of the JSON, but before the announced end of the
    /// body.
    CutAfter,
    /// Send the response body in small pieces.
    Trickle {
        /// Duration of the whole body, in seconds.
        seconds: f64,
    },
    /// Send this response.
    Answer(CannedResponse),
    /// Refuse the request, in the error shape in force.
    Refuse(ErrorResponse),
}

/// A response with fixed content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CannedResponse {
    /// HTTP status code.
    pub status: u16,
    /// Additional headers, such as `Retry-After`.
    pub headers: BTreeMap<String, String>,
    /// A JSON body, or a string that is sent verbatim.
    pub body: Value,
    /// Content type; defaults to JSON for a JSON body, and to HTML for a string.
    pub content_type: Option<String>,
}

impl Default for CannedResponse {
    fn default() -> Self {
        Self {
            status: 200,
            headers: BTreeMap::new(),
            body: Value::Null,
            content_type: None,
        }
    }
}

/// A refusal of the gateway. Its shape depends on the settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ErrorResponse {
    /// HTTP status code.
    pub status: u16,
    /// Error code, shown in the version 3 shape only.
    pub code: String,
    /// Error message in one line.
    pub message: String,
    /// Errors by field.
    pub errors: Value,
    /// Uid of the earlier transaction that the request equals, if it is shown.
    #[serde(skip)]
    pub earlier: Option<String>,
}

impl Default for ErrorResponse {
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
