//! Formats of transaction bodies: field values and byte encodings.
//!
//! No format changes the meaning of a transaction. Formats exist to test readers.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Format of the bodies about a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Form {
    /// Format of the amount.
    pub amount: AmountForm,
    /// Format of the `test` flag.
    pub test: TestForm,
    /// Format of `created_at` and `updated_at`.
    pub times: TimesForm,
    /// Format of the tracking ID.
    pub tracking_id: NameForm,
    /// Whether the acquirer's section has a `uid` of its own.
    pub acquirer_uid: bool,
    /// Encoding of the bytes.
    pub bytes: BytesForm,
}

/// Format of an amount of 1500 minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AmountForm {
    /// `1500`.
    #[default]
    Integer,
    /// `"1500"`.
    Text,
    /// `"1500.00"`.
    Decimal,
    /// `"15.00"`: in major units.
    Major,
    /// `1500.4`.
    Fraction,
    /// `null`.
    Null,
    /// Absent.
    Absent,
}

/// Format of the `test` flag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestForm {
    /// The value in the request.
    #[default]
    Asked,
    /// The opposite value.
    Inverted,
    /// Absent.
    Absent,
}

/// Format of the times in a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimesForm {
    /// RFC 3339 with a time zone.
    #[default]
    Right,
    /// Without a time zone.
    NoZone,
    /// Absent.
    Absent,
}

/// Format of the tracking ID in a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameForm {
    /// The transaction's tracking ID.
    #[default]
    Own,
    /// In the opposite letter case.
    OtherCase,
    /// The first 20 characters.
    Cut,
    /// The tracking ID of another transaction.
    Foreign,
    /// Absent.
    Absent,
}

/// Encoding of the bytes of a body. In a list, only encodings that affect single rows are applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BytesForm {
    /// Unchanged.
    #[default]
    Whole,
    /// With a byte order mark.
    Bom,
    /// With one byte that is not UTF-8 in an unimportant text.
    BadByte,
    /// With half of a surrogate pair in an unimportant text.
    HalfSurrogate,
    /// With an unimportant text in Windows-1251.
    Cp1251,
    /// With a duplicate field.
    DuplicateKey,
    /// UTF-16 little-endian with a byte order mark.
    Utf16,
    /// Compressed, with `Content-Encoding: gzip`.
    Gzip,
}

/// Placeholder for the bytes of a damaged text.
const HOLE: &str = "@hole@";

impl Form {
    /// Replaces the fields of a transaction's body by this format.
    pub fn lay_over(self, body: &mut Map<String, Value>) {
        if self == Self::default() {
            return;
        }
        let amount = body.get("amount").and_then(Value::as_i64).unwrap_or(0);
        put(
            body,
            "amount",
            match self.amount {
                AmountForm::Integer => Some(json!(amount)),
                AmountForm::Text => Some(json!(amount.to_string())),
                AmountForm::Decimal => Some(json!(format!("{amount}.00"))),
                AmountForm::Major => Some(json!(format!("{}.{:02}", amount / 100, amount % 100))),
                AmountForm::Fraction => Some(json!(amount as f64 + 0.4)),
                AmountForm::Null => Some(Value::Null),
                AmountForm::Absent => None,
            },
        );
        let test = body.get("test").and_then(Value::as_bool).unwrap_or(false);
        put(
            body,
            "test",
            match self.test {
                TestForm::Asked => Some(json!(test)),
                TestForm::Inverted => Some(json!(!test)),
                TestForm::Absent => None,
            },
        );
        for name in ["created_at", "updated_at"] {
            let time = body.get(name).cloned();
            let zoneless =
                |time: &Value| json!(time.as_str().unwrap_or_default().trim_end_matches('Z'));
            let written = match self.times {
                TimesForm::Right => time,
                TimesForm::NoZone => time.as_ref().map(zoneless),
                TimesForm::Absent => None,
            };
            put(body, name, written);
        }
        let name = body
            .get("tracking_id")
            .and_then(Value::as_str)
            .map(str::to_owned);
        put(body, "tracking_id", self.name(name));
        if self.acquirer_uid
            && let Some(Value::Object(section)) = body.get_mut("transaction")
        {
            section.insert("uid".into(), json!("ACQ-778899"));
        }
        if self.has_hole() {
            body.insert("operator_note".into(), json!(HOLE));
        }
    }

    fn name(self, name: Option<String>) -> Option<Value> {
        let swapped = |c: char| {
            if c.is_ascii_lowercase() {
                c.to_ascii_uppercase()
            } else {
                c.to_ascii_lowercase()
            }
        };
        Some(match (self.tracking_id, name) {
            (NameForm::Absent, _) => return None,
            (_, None) => Value::Null,
            (NameForm::Own, Some(name)) => json!(name),
            (NameForm::OtherCase, Some(name)) => {
                json!(name.chars().map(swapped).collect::<String>())
            }
            (NameForm::Cut, Some(name)) => json!(name.chars().take(20).collect::<String>()),
            (NameForm::Foreign, Some(name)) => json!(format!("{name}-of-another")),
        })
    }

    const fn has_hole(self) -> bool {
        matches!(
            self.bytes,
            BytesForm::BadByte | BytesForm::HalfSurrogate | BytesForm::Cp1251
        )
    }

    /// Encodes one row of a list, or a body before the encodings of the whole body are applied.
    pub fn row(self, value: &Value) -> Vec<u8> {
        let text = value.to_string();
        match self.bytes {
            BytesForm::BadByte => filled(&text, b"caf\xe9"),
            BytesForm::HalfSurrogate => filled(&text, b"\\ud83d"),
            BytesForm::Cp1251 => filled(&text, b"\xce\xef\xeb\xe0\xf2\xe0"),
            // The first of the two values is wrong; the last one counts.
            BytesForm::DuplicateKey => text
                .replacen("\"status\":", "\"status\":\"pending\",\"status\":", 1)
                .into_bytes(),
            BytesForm::Whole | BytesForm::Bom | BytesForm::Utf16 | BytesForm::Gzip => {
                text.into_bytes()
            }
        }
    }

    /// Encodes a whole body and returns it with its content coding.
    pub fn whole(self, value: &Value) -> (Bytes, Option<&'static str>) {
        let row = self.row(value);
        match self.bytes {
            BytesForm::Bom => ([b"\xef\xbb\xbf", row.as_slice()].concat().into(), None),
            BytesForm::Utf16 => {
                let text = String::from_utf8_lossy(&row);
                let units = std::iter::once(0xfeff).chain(text.encode_utf16());
                (units.flat_map(u16::to_le_bytes).collect(), None)
            }
            BytesForm::Gzip => (gzip(&row).into(), Some("gzip")),
            _ => (row.into(), None),
        }
    }
}

fn put(body: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    match value {
        Some(value) => body.insert(name.to_owned(), value),
        None => body.remove(name),
    };
}

fn filled(text: &str, with: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut parts = text.split(HOLE);
    out.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        out.extend_from_slice(with);
        out.extend_from_slice(part.as_bytes());
    }
    out
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a failed test may panic")]
mod tests {
    use super::*;
    use std::io::Read;

    fn body() -> Map<String, Value> {
        let body = json!({"uid": "u", "status": "successful", "amount": 1500, "test": false,
            "tracking_id": "Order-1", "created_at": "2026-02-03T10:00:00.000Z",
            "updated_at": "2026-02-03T10:00:01.000Z", "transaction": {"status": "successful"}});
        body.as_object().cloned().unwrap_or_default()
    }

    fn laid(form: Form) -> Value {
        let mut body = body();
        form.lay_over(&mut body);
        Value::Object(body)
    }

    #[test]
    fn the_default_format_changes_nothing() {
        assert_eq!(laid(Form::default()), Value::Object(body()));
        let (bytes, coding) = Form::default().whole(&laid(Form::default()));
        assert_eq!(
            (bytes, coding),
            (laid(Form::default()).to_string().into(), None)
        );
    }

    #[test]
    fn fields_have_the_requested_format() {
        let amount = |amount| {
            laid(Form {
                amount,
                ..Form::default()
            })["amount"]
                .clone()
        };
        assert_eq!(amount(AmountForm::Decimal), "1500.00");
        assert_eq!(amount(AmountForm::Major), "15.00");
        assert_eq!(amount(AmountForm::Fraction), json!(1500.4));
        let name = |tracking_id| {
            laid(Form {
                tracking_id,
                ..Form::default()
            })["tracking_id"]
                .clone()
        };
        assert_eq!(name(NameForm::OtherCase), "oRDER-1");
        assert_eq!(name(NameForm::Absent), Value::Null);
        let other = laid(Form {
            test: TestForm::Inverted,
            times: TimesForm::NoZone,
            acquirer_uid: true,
            ..Form::default()
        });
        assert_eq!(other["test"], true);
        assert_eq!(other["updated_at"], "2026-02-03T10:00:01.000");
        assert_eq!(other["transaction"]["uid"], "ACQ-778899");
    }

    #[test]
    fn bytes_are_damaged_in_unimportant_texts() {
        let written = |bytes| {
            let form = Form {
                bytes,
                ..Form::default()
            };
            form.whole(&laid(form))
        };
        assert!(std::str::from_utf8(&written(BytesForm::BadByte).0).is_err());
        assert!(std::str::from_utf8(&written(BytesForm::Cp1251).0).is_err());
        assert!(serde_json::from_slice::<Value>(&written(BytesForm::HalfSurrogate).0).is_err());
        assert!(written(BytesForm::Bom).0.starts_with(b"\xef\xbb\xbf{"));
        assert!(written(BytesForm::Utf16).0.starts_with(b"\xff\xfe{\0"));
        let twice: Value =
            serde_json::from_slice(&written(BytesForm::DuplicateKey).0).expect("it is JSON");
        assert_eq!(twice["status"], "successful");
        let (packed, coding) = written(BytesForm::Gzip);
        let mut plain = String::new();
        flate2::read::GzDecoder::new(&*packed)
            .read_to_string(&mut plain)
            .expect("it is gzip");
        assert_eq!(
            (plain, coding),
            (laid(Form::default()).to_string(), Some("gzip"))
        );
    }
}
