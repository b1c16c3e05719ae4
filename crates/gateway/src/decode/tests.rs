//! Damage of every kind, and what is left of a body after it.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::io::Write;

fn value(bytes: &[u8]) -> Option<Value> {
    serde_json::from_slice(&readable(bytes)).ok()
}

fn in_utf16(text: &str, big: bool) -> Vec<u8> {
    let bytes = |unit: u16| {
        if big {
            unit.to_be_bytes()
        } else {
            unit.to_le_bytes()
        }
    };
    text.encode_utf16().flat_map(bytes).collect()
}

#[test]
fn valid_json_is_not_changed() {
    for text in ["{}", " [1, 2.0]\n", "{\"a\":\"\\ud83d\\ude00 ж\"}", "\"x\""] {
        assert!(
            matches!(readable(text.as_bytes()), Cow::Borrowed(_)),
            "{text}"
        );
    }
}

#[test]
fn damage_in_a_text_is_one_lost_letter() {
    for (bytes, expected) in [
        (&b"{\"a\":\"\xff\",\"b\":1}"[..], "\u{fffd}"),
        (
            b"{\"a\":\"\xcf\xf0\xe8\",\"b\":1}",
            "\u{fffd}\u{fffd}\u{fffd}",
        ),
        (b"{\"a\":\"\xe2\x82\",\"b\":1}", "\u{fffd}"),
        (b"{\"a\":\"\\ud83d\",\"b\":1}", "\u{fffd}"),
        (b"{\"a\":\"\\ude00!\",\"b\":1}", "\u{fffd}!"),
        (b"{\"a\":\"\\ud83d\\u0041\",\"b\":1}", "\u{fffd}A"),
        (
            b"{\"a\":\"\\ud83d\\ud83d\\ude00\",\"b\":1}",
            "\u{fffd}\u{1f600}",
        ),
        (b"{\"a\":\"\x01\x00\",\"b\":1}", "\u{fffd}\u{fffd}"),
        (b"{\"a\":\"one\ntwo\",\"b\":1}", "one\ntwo"),
        (b"{\"a\":\"\\x\\u12\",\"b\":1}", "\u{fffd}x\u{fffd}12"),
        (b"{\"a\":\"\\\\ud83d\\ud83d\",\"b\":1}", "\\ud83d\u{fffd}"),
    ] {
        let read = value(bytes);
        assert_eq!(read, Some(json!({"a": expected, "b": 1})), "{bytes:?}");
    }
}

#[test]
fn damaged_json_is_repaired() {
    let read = value(b"\xff{\"a\":\x00 1e999,\xc2\xa0\"b\": [-1E400, 2]}\x00\x00");
    assert_eq!(read, Some(json!({"a": "1e999", "b": ["-1E400", 2]})));
    for lost in [
        &b"{\"a\":1\xff2}"[..],
        b"{\"a\":\"\xff",
        b"{\"a\xff\":",
        b"",
    ] {
        assert_eq!(value(lost), None);
    }
}

#[test]
fn utf_16_and_marks_of_byte_order() {
    let text = "{\"a\":\"жизнь \u{1f600}\"}";
    let expected: Value = serde_json::from_str(text).unwrap();
    for big in [false, true] {
        let plain = in_utf16(text, big);
        let marked = in_utf16(&format!("\u{feff}{text}"), big);
        assert_eq!(value(&plain).as_ref(), Some(&expected), "{big}");
        assert_eq!(value(&marked).as_ref(), Some(&expected), "{big}");
        // Cut in the middle of a letter it does not decode, and says nothing.
        let cut = value(&plain[..plain.len() - 1]);
        assert!(cut.is_none_or(|cut| cut.get("a").is_none()));
    }
    let marks = format!("\u{feff}\u{feff}{text}");
    assert_eq!(value(marks.as_bytes()), Some(expected));
    assert_eq!(&*super::text(b"a\0b\0\0\0"), "a\0b\0\0\0");
}

fn packed(pack: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    pack(&mut bytes);
    bytes
}

#[test]
fn codings_are_undone_within_the_limit() {
    let body = b"{\"a\":1}".repeat(10);
    let best = Compression::best();
    let gzip = packed(|out| GzEncoder::new(out, best).write_all(&body).unwrap());
    let zlib = packed(|out| ZlibEncoder::new(out, best).write_all(&body).unwrap());
    let bare = packed(|out| DeflateEncoder::new(out, best).write_all(&body).unwrap());
    for (coding, bytes) in [
        ("gzip", &gzip),
        (" X-GZIP", &gzip),
        ("identity, gzip", &gzip),
        ("deflate", &zlib),
        ("Deflate", &bare),
    ] {
        let plain = undo(Some(coding), bytes, body.len()).unwrap().unwrap();
        assert_eq!(*plain, body, "{coding}");
        let most = body.len() - 1;
        assert_eq!(undo(Some(coding), bytes, most), Err(CodingError::TooLong));
        let cut = &bytes[..bytes.len() - 9];
        assert_eq!(undo(Some(coding), cut, 1000), Err(CodingError::Broken));
    }
    for coding in ["br", "zstd", "gzip, gzip", "gzip,deflate", "x"] {
        assert_eq!(undo(Some(coding), &gzip, 1000), Err(CodingError::Unknown));
    }
    for none in [None, Some(""), Some("identity")] {
        assert_eq!(undo(none, b"{}", 1000), Ok(None));
        // A proxy may take the header away.
        assert_eq!(*undo(none, &gzip, 1000).unwrap().unwrap(), body);
        assert_eq!(undo(none, &gzip[..gzip.len() - 9], 1000), Ok(None));
    }
    assert_eq!(undo(Some("gzip"), b"{}", 1000), Err(CodingError::Broken));
}

proptest! {
    #[test]
    fn any_bytes_are_made_readable_once(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let once = readable(&bytes).into_owned();
        prop_assert!(std::str::from_utf8(&once).is_ok() || webhook_json::is_json(&once));
        undo(Some("gzip"), &bytes, 100).ok();
    }

    /// One bad byte in a text that nobody reads takes nothing else away.
    #[test]
    fn one_bad_byte_damages_nothing_else(at in 0..12_usize, byte in prop_oneof![0..32_u8, 128..=255_u8]) {
        let mut bytes = br#"{"x":"abcdefghijkl","uid":"u","n":[1,{"amount":5}]}"#.to_vec();
        bytes[6 + at] = byte;
        let read = value(&bytes).unwrap();
        prop_assert_eq!(&read["uid"], "u");
        prop_assert_eq!(&read["n"][1]["amount"], 5);
    }
}
