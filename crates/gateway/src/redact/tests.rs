//! What the redactor promises, and attacks on it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn text_of(json: &str) -> String {
    String::from_utf8(redact(json.as_bytes()).bytes).unwrap()
}

#[test]
fn bodies_without_card_data_come_back_byte_for_byte() {
    for body in [
        r#"{ "b": 1.50, "a": 12345678901234567890, "a": {"x": [ ] } }"#,
        r#"{"status":"processing","request_id":"0f6d2a54-3c1e-4b7e-9a55-6a3f3f0b9c11"}"#,
        "<html><body>502 Bad Gateway</body></html>",
        "",
    ] {
        let redacted = redact(body.as_bytes());
        assert!(!redacted.changed, "{body}");
        assert_eq!(redacted.bytes, body.as_bytes());
    }
}

#[test]
fn named_values_go_at_any_depth_and_the_rest_keeps_its_bytes() {
    let body = r#"{"a": [{"number": "x", "exp_month":5,"b":1.50}], "encrypted_credit_card": {"number":"y"}, "holder" : null}"#;
    let clean = r#"{"a": [{"number": "[redacted]", "exp_month":"[redacted]","b":1.50}], "encrypted_credit_card": "[redacted]", "holder" : null}"#;
    assert_eq!(text_of(body), clean);
    assert_eq!(
        text_of(r#"{"n\u0075mber":"123"}"#),
        r#"{"n\u0075mber":"[redacted]"}"#
    );
    assert_eq!(
        text_of(r#"{"number":1,"number":null}"#),
        r#"{"number":"[redacted]","number":null}"#
    );
    assert_eq!(text_of(r#"{"verificationValue":[1,"}"],"z":2}"#), {
        r#"{"verificationValue":"[redacted]","z":2}"#
    });
}

#[test]
fn card_numbers_go_wherever_they_hide() {
    for body in [
        r#"{"message":"card 4200000000000000 declined"}"#,
        r#"{"message":"card 4200 0000 0000 0000 declined"}"#,
        r#"{"message":"\u0034200000000000000"}"#,
        r#"{"x":4200000000000000}"#,
        r#"{"x":4200000000000000.0}"#,
        r#"{"x":4.2e15}"#,
        r#"{"x":-4200000000000000}"#,
        r#"{"4200000000000000":1}"#,
        r#"{"x":["4200-0000-0000-0000"]}"#,
        r#"{"url":"https://x.example/?pan=4200000000000000&y=1"}"#,
        r#"{"url":"https://x.example/?pan=%34200000000000000"}"#,
        r#"{"url":"https://x.example/?pan=%2534200000000000000"}"#,
        r#"{"raw":"{\"pan\":\"4200000000000000\"}"}"#,
        r#"{"raw":"{\"pan\":4200000000000000"}"#,
        r#"{"token":"4200000000000000"}"#,
        r#"{"uid":{"x":"4200000000000000"}}"#,
        r#"[{"uid":null},4200000000000000]"#,
        r#"{"paid_at":"4200000000000000"}"#,
        r#"{"amount":"4200 0000 0000 0000"}"#,
        r#"{"id":"4200000000000000"}"#,
        r#"{"id":"4200-000000000000"}"#,
        r#"{"cut":"4200000000000000"#,
        "4\x002\x000\x000\x000\x000\x000\x000\x000\x000\x000\x000\x000\x000\x000\x000\x00",
        "\u{feff}{\"x\":\"4200000000000000\"}",
    ] {
        let redacted = redact(body.as_bytes());
        assert!(redacted.changed, "{body}");
        if redacted.bytes.starts_with(b"{\"length\"") {
            continue;
        }
        let left: String = String::from_utf8_lossy(&redacted.bytes)
            .chars()
            .filter(char::is_ascii_digit)
            .collect();
        assert!(left.len() < 13, "{body} left {left}");
        assert!(!redact(&redacted.bytes).changed, "{body} is not stable");
    }
}

#[test]
fn ids_times_and_amounts_stay() {
    let body = r#"{"uid":"4200000000000000","parent_uid":"4200000000000000","tracking_id":"4200 0000 0000 0000","request_id":4200000000000000,"amount":4200000000000000,"created_at":"2026-02-03T10:15:33.480123456-0300","id":"6a0f5f1c-2f0e-4d2a-9f60-400000000009","brand":"visa","bin":"420000","first_1":"4","last_4":"0000","token":"a42000000000000000bbbbbbbbbbbbbbbb","stamp":"a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"}"#;
    assert_eq!(text_of(body), body);
}

#[test]
fn texts_for_people() {
    assert_eq!(
        redact_text("card 4200000000000000 is bad"),
        "card [redacted] is bad"
    );
    assert!(matches!(redact_text("Number is invalid"), Cow::Borrowed(_)));
    assert!(!looks_like_card_number("order4200000000000000"));
    assert!(looks_like_card_number("order-4200000000000000"));
    assert!(looks_like_card_number("4200-0000-0000-0000"));
    assert!(!looks_like_card_number("ord-1001-1"));
    assert!(!looks_like_card_number("ord-20261122-180908"));
}

#[test]
fn requests_with_card_data_are_recognised() {
    let token = json!({"amount": 3245, "currency": "EUR", "description": "Order number: 1001",
        "credit_card": {"token": "5b1f0c2e-7d54-4a0b-8f1a-93b0c2d4e611"}});
    assert!(!carries_card_data(&token));
    for part in [
        json!({"credit_card": {"number": "x"}}),
        json!({"encrypted_credit_card": {"number": "$begatewaycse_x"}}),
        json!({"recipient_credit_card": {"exp_year": 2031}}),
        json!({"a": [{"cardHolder": "x"}]}),
    ] {
        assert!(carries_card_data(&part), "{part}");
    }
    let text = json!({"description": "4200 0000 0000 0000", "x": 4_200_000_000_000_000_u64});
    assert!(!carries_card_data(&text));
}

/// Digits that pass the check, of a network's beginning and length.
fn card_number() -> impl Strategy<Value = String> {
    let networks = vec![
        ("4", 16),
        ("4", 13),
        ("4", 19),
        ("51", 16),
        ("2221", 16),
        ("37", 15),
        ("2200", 17),
        ("6011", 16),
        ("62", 19),
        ("3528", 16),
        ("36", 14),
        ("5018", 12),
        ("67", 18),
    ];
    let digits = prop::collection::vec(0..=9_u8, 18);
    (prop::sample::select(networks), digits).prop_map(|((first, length), rest)| {
        let mut digits: Vec<u8> = first.bytes().map(|b| b - b'0').collect();
        digits.extend(rest);
        digits.truncate(length - 1);
        let weight = |(place, digit): (usize, &u8)| {
            let doubled = u32::from(*digit) * if place % 2 == 0 { 2 } else { 1 };
            doubled / 10 + doubled % 10
        };
        let sum: u32 = digits.iter().rev().enumerate().map(weight).sum();
        digits.push(u8::try_from((10 - sum % 10) % 10).unwrap());
        digits
            .iter()
            .map(|digit| char::from(b'0' + digit))
            .collect()
    })
}

fn any_json() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        "[a-z_]{1,8}",
        Just("number".to_owned()),
        Just("uid".to_owned()),
        Just("token".to_owned()),
        Just("paid_at".to_owned()),
        Just("amount".to_owned()),
        Just("encrypted_x".to_owned()),
        card_number(),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,24}".prop_map(Value::from),
        card_number().prop_map(Value::from),
        ("[ -~]{0,9}", card_number(), "[ -~]{0,9}").prop_map(|(a, b, c)| json!(a + &b + &c)),
        (card_number(), "[ %&=\"{}\\\\:x0-9.-]{0,30}").prop_map(|(a, b)| json!(b + &a)),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner.clone()), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            inner.prop_map(|value| Value::String(value.to_string())),
        ]
    })
}

/// Fails when a card number is left where nothing exempts it.
fn assert_clean(value: &Value, class: FieldSensitivity, nested: bool) {
    match value {
        Value::String(text) if class == FieldSensitivity::Plain => {
            match serde_json::from_str::<Value>(text) {
                Ok(Value::Null | Value::Bool(_) | Value::Number(_)) | Err(_) => {
                    assert!(scan::first_hit(text.as_bytes(), 0).is_none(), "{text}");
                }
                Ok(document) => assert_clean(&document, FieldSensitivity::Plain, true),
            }
        }
        Value::Number(number) if class == FieldSensitivity::Plain => {
            assert!(
                !scan::has_any_unbroken_hit(number.to_string().as_bytes()),
                "{number}"
            );
        }
        Value::Array(items) => {
            items
                .iter()
                .for_each(|item| assert_clean(item, FieldSensitivity::Plain, nested));
        }
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            assert!(scan::first_hit(name.as_bytes(), 0).is_none(), "{name}");
            let class = if nested {
                FieldSensitivity::Plain
            } else {
                keys::classify(name.as_bytes())
            };
            assert_clean(value, class, nested);
        }),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Number(_) => {}
    }
}

proptest! {
    #[test]
    fn json_keeps_no_card_number_and_is_stable(value in any_json()) {
        let body = serde_json::to_vec(&value).unwrap();
        let redacted = redact(&body);
        let back: Value = serde_json::from_slice(&redacted.bytes).unwrap();
        assert_clean(&back, FieldSensitivity::Plain, false);
        prop_assert!(!carries_card_data(&back), "{} from {}", back, value);
        prop_assert!(redacted.changed || !carries_card_data(&value));
        prop_assert!(!redact(&redacted.bytes).changed);
        if !redacted.changed {
            prop_assert_eq!(redacted.bytes, body);
        }
    }

    #[test]
    fn any_bytes_are_answered_and_stable(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let redacted = redact(&bytes);
        prop_assert!(!redact(&redacted.bytes).changed);
    }

    #[test]
    fn broken_json_keeps_no_card_number_and_is_stable(value in any_json(), cut in 0.0..1.0_f64) {
        let body = serde_json::to_string(&value).unwrap();
        let mut end = (body.len() as f64 * cut) as usize;
        while !body.is_char_boundary(end) { end -= 1; }
        let redacted = redact(&body.as_bytes()[..end]);
        let again = redact(&redacted.bytes);
        prop_assert!(!again.changed, "{:?} {:?}", redacted, again);
    }

    #[test]
    fn a_card_number_in_any_text_is_redacted(before in "[^0-9]{0,12}", pan in card_number(), after in "[^0-9]{0,12}") {
        let text = format!("{before} {pan} {after}");
        let clean = redact_text(&text).into_owned();
        prop_assert!(!clean.contains(&pan), "{}", clean);
        prop_assert_eq!(redact_text(&clean).into_owned(), clean);
    }

    #[test]
    fn exempt_fields_keep_every_text(uid in card_number(), at in "[0-9T:. -]{0,30}") {
        let body = json!({"uid": uid, "tracking_id": uid, "parent_uid": uid, "request_id": uid,
            "amount": uid.parse::<u64>().unwrap_or(0)}).to_string();
        prop_assert_eq!(text_of(&body), body);
        let times = json!({"created_at": format!("2026-02-03T10:15:33.480{at}Z")}).to_string();
        prop_assert!(!redact(times.as_bytes()).changed || scan::has_unbroken_hit(at.as_bytes()));
    }
}

#[test]
fn a_holder_is_redacted_in_the_messages_of_its_body() {
    let body = json!({"transaction": {
        "uid": "u", "message": "the card of ANNA \"A\" MEIER was charged",
        "credit_card": {"holder": "ANNA \"A\" MEIER", "last_4": "4444"},
    }});
    let redacted = redact(body.to_string().as_bytes());
    let text = String::from_utf8(redacted.bytes).unwrap();
    assert!(!text.contains("MEIER") && text.contains("4444"), "{text}");
    serde_json::from_str::<Value>(&text).unwrap();
}

#[test]
fn under_the_name_of_a_time_only_a_time_is_left_alone() {
    for time in [
        "2026-11-29T01:05:43.443603Z",
        "2026-11-29 01:05:43 UTC",
        "2026-11-29T01:05:43+0300",
    ] {
        let body = json!({"paid_at": time}).to_string();
        assert!(!redact(body.as_bytes()).changed, "{time}");
    }
    for other in ["4200 0000 0000 0000", "$begatewaycse_1", r#"{"cvc":"123"}"#] {
        let body = json!({"note_at": other}).to_string();
        assert!(redact(body.as_bytes()).changed, "{other}");
    }
}

#[test]
fn a_holder_is_found_however_the_body_spells_the_name() {
    for escapes in [
        r"\u0418\u0432\u0430\u043d \u042f",
        r"\u0418\u0432\u0430\u043D \u042F",
    ] {
        let body = format!(r#"{{"holder":"{escapes}","message":"declined: {escapes}"}}"#);
        let kept = String::from_utf8(redact(body.as_bytes()).bytes).unwrap();
        assert_eq!(
            kept,
            r#"{"holder":"[redacted]","message":"declined: [redacted]"}"#
        );
    }
}

#[test]
fn many_holders_are_all_redacted() {
    let names: Vec<String> = (0..100).map(|n| format!("Jane Roe {n}")).collect();
    let message = names.join(", ");
    let holders: Vec<Value> = names.iter().map(|name| json!({"holder": name})).collect();
    let body = json!({"a": holders, "message": message}).to_string();
    let kept: Value = serde_json::from_slice(&redact(body.as_bytes()).bytes).unwrap();
    assert_eq!(kept["message"], vec!["[redacted]"; 100].join(", "));
}

#[test]
fn a_one_word_holder_does_not_redact_protocol_words() {
    let body = json!({"status": "successful", "message": "Successful!",
        "credit_card": {"holder": "successful"}});
    let redacted = redact(body.to_string().as_bytes());
    let value: Value = serde_json::from_slice(&redacted.bytes).unwrap();
    assert_eq!(value["status"], "successful");
    assert_eq!(value["credit_card"]["holder"], "[redacted]");
    assert_eq!(value["message"], "[redacted]!");
}

/// A body with everything that must go, and what it must not leave behind.
fn canary() -> String {
    let pan = "5555555555554444";
    json!({"uid": "u-1", "message": format!("карта {pan} of Canary holdername, cvc 9173"),
        "description": "5555 5555 5555 4444 / CANARY HOLDERNAME", "status": "failed",
        "credit_card": {"number": pan, "holder": "CANARY HOLDERNAME", "verification_value": "9173",
            "exp_month": "11", "last_4": "4444", "brand": "master", "token": "5b1f0c2e7d54"}})
    .to_string()
}

#[track_caller]
fn assert_no_canary(body: &[u8], what: &str) {
    let kept = String::from_utf8(redact(body).bytes).unwrap();
    // No text: a hash may hold any digits.
    if kept.starts_with("{\"length\"") {
        return;
    }
    let small = kept.to_lowercase();
    let digits: String = kept.chars().filter(char::is_ascii_digit).collect();
    for secret in ["holdername", "9173"] {
        assert!(!small.contains(secret), "{what}: {secret} in {kept}");
    }
    assert!(!digits.contains("5555555555554444"), "{what}: {kept}");
    assert!(
        !redact(kept.as_bytes()).changed,
        "{what} is not stable: {kept}"
    );
}

#[test]
fn a_damaged_body_keeps_no_card_data() {
    let body = canary();
    let wide = |text: &str, unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
        text.encode_utf16().flat_map(unit).collect()
    };
    let marked = format!("\u{feff}{body}");
    assert_no_canary(body.as_bytes(), "whole");
    assert_no_canary(marked.as_bytes(), "with a mark");
    for unit in [u16::to_le_bytes as fn(u16) -> [u8; 2], u16::to_be_bytes] {
        assert_no_canary(&wide(&body, unit), "utf-16");
        assert_no_canary(&wide(&marked, unit), "utf-16 with a mark");
        let wide = wide(&body, unit);
        for cut in 0..wide.len() {
            assert_no_canary(&wide[..cut], "utf-16, cut");
        }
    }
    // The fields of the card stand before the texts that repeat them.
    for cut in 0..body.len() {
        assert_no_canary(&body.as_bytes()[..cut], "cut");
    }
    let mut broken = body.clone().into_bytes();
    broken.insert(1, 0xFF);
    assert_no_canary(&broken, "with a bad byte");
    let ascii = body.replace("карта", "\\u043a\\ud83d");
    assert_no_canary(ascii.as_bytes(), "with half a letter");
    let escaped = body.replace("Canary hold", "\\u0043an\\u0061ry hold");
    assert_no_canary(escaped.as_bytes(), "with escapes");
}

#[test]
fn every_spelling_of_a_field_is_known_in_every_kind_of_body() {
    for name in "number card_number cardNumber pan holder cardholder holder_name card_holder \
        cardholder_name Card-Holder verification_value security_code cvc cvv cvn cid cvc2 expiry \
        expiration exp_date exp_month exp_year expiry_month expirationYear encrypted_card"
        .split_whitespace()
    {
        for spelled in [name.to_owned(), name.to_uppercase(), name.to_lowercase()] {
            for body in [
                json!({"a": {&spelled: "S3CRET"}}).to_string(),
                format!("{{\"a\":{{\"{spelled}\":\"S3CRET"),
                format!("{{'{spelled}':'S3CRET'"),
                format!("{{{spelled}: S3CRET, b: 1"),
                format!("a=1&{spelled}=S3CRET&b=2"),
                format!("card[{spelled}]=S3CRET"),
                format!("<a><{spelled}>S3CRET</{spelled}></a>"),
                format!("<a {spelled}=\"S3CRET\"/>"),
                format!("<input name=\"{spelled}\" value=\"S3CRET\">"),
            ] {
                let kept = String::from_utf8(redact(body.as_bytes()).bytes).unwrap();
                assert!(!kept.contains("S3CRET"), "{body} became {kept}");
            }
        }
    }
}

#[test]
fn both_of_two_fields_are_redacted_elsewhere() {
    let body =
        r#"{"card":{"holder":"ANNA MEIER","holder":"OTTO KLEIN"},"m":"Anna Meier, otto klein"}"#;
    let kept = text_of(body);
    assert!(!kept.contains("Meier") && !kept.contains("klein"), "{kept}");
}

#[test]
fn a_code_is_redacted_only_between_word_bounds() {
    let body = json!({"cvc": "100", "message": "code 100, not 1000, 1.100 or A100", "amount": 100,
        "code": "100", "rrn": "100", "auth_code": "100", "last_4": "100"});
    let kept: Value = serde_json::from_str(&text_of(&body.to_string())).unwrap();
    assert_eq!(kept["message"], "code [redacted], not 1000, 1.100 or A100");
    for name in ["code", "rrn", "auth_code", "last_4", "amount"] {
        assert_eq!(kept[name], body[name], "{name}");
    }
}

#[test]
fn an_address_is_whole_or_null() {
    let address = |url: &str| {
        let body = json!({"redirect_url": url, "credit_card": {"number": "4200000000000000"}});
        let kept: Value = serde_json::from_str(&text_of(&body.to_string())).unwrap();
        kept["redirect_url"].clone()
    };
    let long = format!("https://x/?{}", "a".repeat(8 * 1024 - 11));
    for whole in [
        "https://x/?orderid=4111111111111111",
        "https://x/?n=JANE",
        &long,
    ] {
        assert_eq!(address(whole), whole);
    }
    for gone in [
        "https://x/?pan=4200000000000000",
        "https://x/?pan=4200-0000-0000-0000",
        "https://x/?pan=%34200000000000000",
        "https://x/?pan=%2534200000000000000",
        &format!("{long}a"),
    ] {
        assert_eq!(address(gone), Value::Null, "{gone}");
    }
}

#[test]
fn the_requests_card_is_redacted_in_the_response() {
    let request = br#"{"request":{"credit_card":{"number":"9111222233334444","holder":"Jane Roe","cvc":"917"}}}"#;
    let answer =
        br#"{"uid":"9111222233334444","message":"9111 2222 3333 4444 of JANE  ROE (917)"}"#;
    let kept = redact_with(answer, &Secrets::of(request));
    assert_eq!(
        String::from_utf8(kept.bytes).unwrap(),
        r#"{"uid":"9111222233334444","message":"[redacted] of [redacted] ([redacted])"}"#
    );
}

#[test]
fn binary_is_replaced_by_length_and_hash() {
    let kept = redact(b"PNG\x00\x01\xFF 4200000000000000");
    let told: Value = serde_json::from_slice(&kept.bytes).unwrap();
    assert_eq!(told["length"], 23);
    assert_eq!(told["sha256"].as_str().map(str::len), Some(64));
    assert!(kept.changed && !redact(&kept.bytes).changed);
    assert!(!redact("line\r\n\ttext".as_bytes()).changed);
}

#[test]
fn hostile_bodies_are_redacted_quickly() {
    let started = leaves::clock::BootInstant::now();
    for piece in [
        "<holder>x",
        "\"uid\":\"",
        "acs_url=",
        "number:[",
        "holder: ",
        "{\"number\":\"4111111111\"}",
        "<status>x",
        "\\u0041",
        "4 ",
        "name=\"cvc\" ",
        "&#52;",
        "%34",
        "<td>holder</td>",
        "<td>holder<b>",
        "value=\"1\" name=\"cvc\" ",
        "<x name=cvc ",
        "holder\t",
        "s:3:\"cvc\";s:1:\"",
        "[\"holder\",",
        "{\"name\":\"holder\",\"value\":",
        "\u{200b}",
        "holder[",
    ] {
        let began = leaves::clock::BootInstant::now();
        let _ = redact(piece.repeat(60_000 / piece.len()).as_bytes());
        assert!(
            began.elapsed().as_secs() < 10,
            "{piece}: {:?}",
            began.elapsed()
        );
    }
    let many: Vec<Value> = (0..5_000)
        .map(|n| json!({"number": format!("9{n:015}")}))
        .collect();
    let body = json!({"a": many, "m": "9000 0000 0000 4999 ".repeat(5_000)});
    assert!(!text_of(&body.to_string()).contains("4999"));
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
