//! Request bodies with card data in them: in memory, sent once, overwritten afterwards.
//!
//! What it deliberately cannot do: reach the copies below it. While a request is on its way, the
//! socket and TLS buffers hold parts of it, and a number inside a `serde_json::Value` may lie in
//! memory that the allocator has taken back.

use serde_json::{Map, Value};
use std::fmt;
use zeroize::{Zeroize, Zeroizing};

/// A body that may hold card data: overwritten when it is dropped, and never printed.
pub struct SensitiveBody(Zeroizing<Vec<u8>>);

impl SensitiveBody {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the one who sends or parses them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the gateway is to look for duplicates of it, which it does unless told otherwise.
    pub fn checks_duplicates(&self) -> bool {
        #[derive(serde::Deserialize)]
        struct Body {
            request: CardFields,
        }
        #[derive(serde::Deserialize)]
        struct CardFields {
            duplicate_check: Option<bool>,
        }
        let read = serde_json::from_slice::<Body>(&self.0).ok();
        read.and_then(|body| body.request.duplicate_check) != Some(false)
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl AsRef<[u8]> for SensitiveBody {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SensitiveBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The body of a query: `{"request": {…}}`. The fields are overwritten.
pub fn query_body(fields: Map<String, Value>) -> SensitiveBody {
    let mut request = Value::Object(Map::from_iter([(
        "request".to_owned(),
        Value::Object(fields),
    )]));
    let body = sensitive_json(&request);
    zeroize_value(&mut request);
    body
}

/// A value as JSON in one piece of memory: it is measured first, since a growing vector leaves
/// copies of its content behind.
pub fn sensitive_json(value: &Value) -> SensitiveBody {
    let mut length = Length(0);
    // Neither writer can fail, and a value has only text for keys.
    let _ = serde_json::to_writer(&mut length, value);
    let mut bytes = Vec::with_capacity(length.0);
    let _ = serde_json::to_writer(&mut bytes, value);
    SensitiveBody::new(bytes)
}

struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Overwrites every text in a value, keys included, and leaves null.
pub fn zeroize_value(value: &mut Value) {
    match std::mem::take(value) {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(mut text) => text.zeroize(),
        Value::Array(mut items) => items.iter_mut().for_each(zeroize_value),
        Value::Object(fields) => {
            for (mut name, mut value) in fields {
                name.zeroize();
                zeroize_value(&mut value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_query_is_wrapped_in_one_piece_of_memory() {
        let query = query_body(json!({"account": "a"}).as_object().unwrap().clone());
        assert_eq!(query.as_bytes(), br#"{"request":{"account":"a"}}"#);
        assert_eq!(query.0.capacity(), query.len());
    }

    #[test]
    fn nothing_prints_it() {
        let body = SensitiveBody::new(b"4200000000000000".to_vec());
        assert_eq!(format!("{body:?} {:?}", Some(&body)), "*** Some(***)");
    }

    #[test]
    fn values_are_emptied() {
        let mut value = json!({"a": ["b", {"c": "d"}], "e": 1});
        zeroize_value(&mut value);
        assert_eq!(value, Value::Null);
    }
}
