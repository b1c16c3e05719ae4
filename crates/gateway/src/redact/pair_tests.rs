//! Names and values that stand apart, what an error says of a card field, and what lies too deep.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use serde_json::json;

fn text_of(json: &str) -> String {
    String::from_utf8(redact(json.as_bytes()).bytes).unwrap()
}

#[test]
fn a_redacted_error_keeps_whether_it_is_in_progress() {
    let kept = |texts: Value| {
        let body = json!({"errors": {"credit_card": {"number": texts, "brand": "x"}}});
        let kept: Value = serde_json::from_str(&text_of(&body.to_string())).unwrap();
        assert!(!redact(kept.to_string().as_bytes()).changed);
        kept["errors"]["credit_card"]["number"].clone()
    };
    assert_eq!(kept(json!(["4200 is already used"])), OPEN_MARK);
    assert_eq!(kept(json!({"deep": [[], "Связь потеряна"]})), OPEN_MARK);
    assert_eq!(kept(json!(["4200 is invalid"])), REDACTION_MARK);
    assert_eq!(kept(json!({"already": "is invalid"})), REDACTION_MARK);
    let outside = r#"{"errors":{},"number":"is already used"}"#;
    assert_eq!(text_of(outside), r#"{"errors":{},"number":"[redacted]"}"#);
}

#[test]
fn names_and_values_are_known_as_pairs_in_every_kind_of_body() {
    let json = [
        r#"{"credit_card[holder]":"JANE ROE"}"#,
        r#"{"request[credit_card][holder]":"JANE ROE"}"#,
        r#"{"fields[holder][]":"JANE ROE"}"#,
        r#"{"embossed_name":"JANE ROE"}"#,
        r#"{"account_number":"JANE ROE"}"#,
        r#"{"expires":"JANE ROE"}"#,
        "{\"hol\u{200b}der\":\"JANE ROE\"}",
        r#"{"hol\u200bder":"JANE ROE"}"#,
        r#"{"name":"holder","value":"JANE ROE"}"#,
        r#"{"value":"JANE ROE","x":1,"name":"Card-Holder"}"#,
        r#"[{"key":"h\u006flder","value":["JANE ROE"]}]"#,
        r#"{"k":"holder","v":"JANE ROE"}"#,
        r#"{"a":["holder","JANE ROE"]}"#,
        r#"[["x",1],["holder","JANE ROE"]]"#,
        r#"["x",1,"holder",["JANE ROE"]]"#,
    ];
    let text = [
        r#"<input value="JANE ROE" name="holder">"#,
        "<input value='JANE ROE' type=text name=holder>",
        r#"<input name=holder value="JANE ROE">"#,
        "<tr><td>Holder</td><td>JANE ROE</td></tr>",
        "<tr>\n<th>Card holder:</th>\n <td class=\"x\"><b>JANE ROE</b></td></tr>",
        "<dt>Name on card</dt><dd>JANE ROE</dd>",
        "<key>holder</key><string>JANE ROE</string>",
        "holder\tJANE ROE\ncvc\t1",
        "a\t1\tcard holder\tJANE ROE",
        r#"a:1:{s:6:"holder";s:8:"JANE ROE";}"#,
        r#"a:1:{s:3:"cvc";i:JANE ROE;}"#,
        "hol\u{200b}der: JANE ROE",
        "credit_card[holder]=JANE ROE",
        "paid by card of holder: JANE ROE, by phone",
    ];
    for body in json.iter().chain(&text) {
        let as_text = json!({"message": body}).to_string();
        let repeated = json!({"a": body, "m": "of jane+roe"}).to_string();
        for body in [*body, &as_text, &repeated] {
            let kept = redact(body.as_bytes());
            let text = String::from_utf8(kept.bytes.clone()).unwrap();
            let has_name = text.contains("JANE") || text.contains("jane");
            // What is known as no holder cannot be known again.
            let is_holder = body.to_lowercase().contains("hol") || body.contains("embossed");
            assert!(
                !has_name || (!is_holder && text.contains("jane")),
                "{body}: {text}"
            );
            assert!(!redact(&kept.bytes).changed, "{body}: {text} is not stable");
        }
    }
    for body in json {
        let together = format!(r#"{{"a":{body},"m":"of Jane+Roe"}}"#);
        let kept = text_of(&together);
        let is_holder = body.contains("older") || body.contains("embossed") || body.contains("hol");
        assert!(
            !kept.contains("JANE") && (!is_holder || !kept.contains("Roe")),
            "{kept}"
        );
        serde_json::from_str::<Value>(&kept).unwrap();
    }
}

#[test]
fn a_secret_is_redacted_and_its_sentence_kept() {
    for (text, kept) in [
        (
            "card of holder: Jane M. Roe, by phone",
            "card of holder: [redacted], by phone",
        ),
        ("with the cvc: 917 and", "with the cvc: [redacted] and"),
        (
            "by holder: Анна Мейер звонила",
            "by holder: [redacted] звонила",
        ),
        ("of expiry: 11/29.", "of expiry: [redacted]."),
    ] {
        assert_eq!(redact_text(text), kept);
        assert_eq!(redact_text(kept), kept);
    }
    for text in [
        "the holder: is invalid",
        "the cvc: is blank",
        "see holder: ",
        "Invoice number: 15",
    ] {
        assert_eq!(redact_text(text), text);
    }
}

#[test]
fn a_value_that_is_too_deep_is_dropped() {
    let deep = format!(
        "{}{{\"holder\":\"JANE ROE\"}}{}",
        "[".repeat(200),
        "]".repeat(200)
    );
    let kept = text_of(&format!(
        "{{\"uid\":\"u\",\"x\":{deep},\"message\":\"of Jane Roe\"}}}}"
    ));
    assert!(
        kept.ends_with(r#",\"message\":\"of [redacted]\"}"#.replace('\\', "").as_str()),
        "{kept}"
    );
    assert!(!kept.contains("JANE"), "{kept}");
}

#[test]
fn pairs_of_other_things_stay() {
    for body in [
        r#"{"name":"Jane","value":"5"}"#,
        r#"{"required":["number","holder","cvc"]}"#,
        r#"{"type":"number","value":100}"#,
        r#"{"name":"order_number","value":"A-1"}"#,
        r#"["number"]"#,
        r#"["x","number","y"]"#,
        r#"{"uid":"u","tracking_id":"t","status":"successful","code":"S.0000","name":"holder"}"#,
        "<td>Number</td><td>Holder</td>",
        "<p><b>Number</b> is invalid</p>",
        "<td>Order</td><td>A-1</td>",
        "number\tholder\tcvc",
        "a\tb",
        r#"s:2:"id";s:1:"5";"#,
    ] {
        assert_eq!(text_of(body), body);
    }
}
