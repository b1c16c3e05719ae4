//! Finds the scenario that the prefix of a tracking ID names.
//!
//! Each scenario modifies a script, so scenarios can be joined with a dot: the tracking ID
//! `threeds.nohook-42` is a 3-D Secure payment without a webhook.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::behaviour::{CannedResponse, ErrorResponse};
use super::scenario_table::all;
use super::script::Script;

/// Returns the script of a name such as `decline` or `threeds.nohook`.
pub fn named(names: &str) -> Option<Script> {
    let mut script = Script::default();
    for name in names.split('.') {
        let scenario = all().find(|scenario| scenario.name == name)?;
        (scenario.bend)(&mut script);
    }
    Some(script)
}

/// Returns the part of a tracking ID that can name a scenario.
pub fn prefix(tracking_id: &str) -> Option<&str> {
    tracking_id.split_once('-').map(|(prefix, _)| prefix)
}

/// Returns the scenario of a documented test card, for requests that name no scenario.
pub fn of_card(number: &str) -> Option<&'static str> {
    match number {
        "4005550000000019" => Some("decline"),
        "4012000000003010" | "4012000000001097" | "5204240000015029" => Some("threeds"),
        "4012000000001022" | "5204240000015045" | "4012000000001030" | "5204240000015052"
        | "4012000000001014" | "5204240000015060" => Some("decline3ds"),
        _ => None,
    }
}

/// Returns the refusal of the 30-second rule.
pub fn duplicate() -> ErrorResponse {
    ErrorResponse {
        status: 422,
        code: "E.1018".into(),
        message: "Duplicate transaction".into(),
        errors: json!({}),
        earlier: None,
    }
}

/// Returns an error page as a proxy in front of the gateway would send it.
pub fn page(status: u16) -> CannedResponse {
    let text = match status {
        500 => "500 Internal Server Error".to_owned(),
        502 => "502 Bad Gateway".to_owned(),
        503 => "503 Service Temporarily Unavailable".to_owned(),
        504 => "504 Gateway Time-out".to_owned(),
        other => other.to_string(),
    };
    let html =
        format!("<html><head><title>{text}</title></head><body><h1>{text}</h1></body></html>");
    CannedResponse {
        status,
        body: Value::String(html),
        ..CannedResponse::default()
    }
}

/// Returns a 429 response.
pub fn too_many(retry_after_seconds: u32) -> CannedResponse {
    let headers = BTreeMap::from([("Retry-After".to_owned(), retry_after_seconds.to_string())]);
    let body = json!({"response": {"message": "Too many requests"}});
    CannedResponse {
        status: 429,
        headers,
        body,
        content_type: None,
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn names_are_case_sensitive_and_can_be_joined() {
        let script = named("threeds.nohook").expect("both exist");
        assert_eq!(script.transactions[0].status, "incomplete");
        assert!(!script.webhook.send);
        assert!(named("Decline").is_none());
        assert!(named("decline.nonsense").is_none());
        assert_eq!(prefix("ok-order-1"), Some("ok"));
        assert_eq!(prefix("ok"), None);
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = all().map(|scenario| scenario.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
