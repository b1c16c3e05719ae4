//! Each rule of a request, and above all what is not refused.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use super::*;
use serde_json::json;

fn fields(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn check(kind: TransactionType, value: &Value) -> Vec<(String, String)> {
    check_request(kind, &fields(value))
        .into_iter()
        .map(|p| (p.pointer, p.message))
        .collect()
}

fn pointers(kind: TransactionType, value: &Value) -> Vec<String> {
    check(kind, value)
        .into_iter()
        .map(|(pointer, _)| pointer)
        .collect()
}

fn payment() -> Value {
    json!({"amount": 3245, "currency": "EUR", "description": "Order 1001", "tracking_id": "ord-1"})
}

fn with(name: &str, value: Value) -> Value {
    let mut fields = payment();
    fields[name] = value;
    fields
}

#[test]
fn the_least_of_each_kind() {
    let child = json!({"parent_uid": "6a0f5f1c-2f0e-4d2a-9f6e-0b1d7c9a1005", "amount": 1});
    let nothing = json!({});
    for kind in TransactionType::ALL.iter().copied() {
        let (least, missing): (Value, &[&str]) = match kind {
            TransactionType::Payment
            | TransactionType::Authorization
            | TransactionType::Tokenization => {
                (payment(), &["/amount", "/currency", "/description"])
            }
            TransactionType::Payout => (
                with("recipient_credit_card", json!({"token": "x"})),
                &[
                    "/amount",
                    "/currency",
                    "/description",
                    "/recipient_credit_card",
                ],
            ),
            TransactionType::Checkup => (
                with("credit_card", json!({"token": "x"})),
                &["/amount", "/currency", "/description", "/credit_card"],
            ),
            TransactionType::Capture | TransactionType::Void | TransactionType::Chargeback => {
                (child.clone(), &["/amount", "/parent_uid"])
            }
            TransactionType::Refund => {
                let mut refund = child.clone();
                refund["reason"] = json!("customer request");
                (refund, &["/amount", "/parent_uid", "/reason"])
            }
        };
        assert_eq!(check(kind, &least), [], "{kind}");
        assert_eq!(pointers(kind, &nothing), missing, "{kind}");
    }
}

#[test]
fn amounts() {
    for (value, message) in [
        (
            json!("3245"),
            "must be an integer in minor units, not a string",
        ),
        (
            json!(32.45),
            "must be an integer in minor units, without a fraction",
        ),
        (json!(0), "must be greater than 0"),
        (json!(-5), "must be greater than 0"),
        (json!(u64::MAX), "is too large"),
        (json!(MAX_AMOUNT + 1), "is too large"),
        (json!(1e300), "is too large"),
        (json!(true), "must be an integer in minor units"),
        (json!(null), "is required"),
    ] {
        let found = check(TransactionType::Payment, &with("amount", value));
        assert_eq!(found, [("/amount".to_owned(), message.to_owned())]);
    }
    for amount in [json!(MAX_AMOUNT), json!(3245.0), json!(1e2)] {
        assert_eq!(check(TransactionType::Payment, &with("amount", amount)), []);
    }
    for (given, plain) in [
        ("3245.0", "3245"),
        ("1e2", "100"),
        ("32.45", "32.45"),
        ("7", "7"),
    ] {
        let mut body: Value = serde_json::from_str(&format!("{{\"amount\":{given}}}")).unwrap();
        assert_eq!(plain_amount(&mut body), given != plain);
        assert_eq!(body.to_string(), format!("{{\"amount\":{plain}}}"));
    }
}

#[test]
fn currencies() {
    for known in ["EUR", "BYN", "BYR", "STD", "CLF", "MOP", "XAF", "RUB"] {
        assert_eq!(
            check(TransactionType::Payment, &with("currency", json!(known))),
            [],
            "{known}"
        );
    }
    for unknown in [
        json!("EURO"),
        json!("eur"),
        json!("Eur"),
        json!("E1R"),
        json!(978),
        json!("QQQ"),
        json!(""),
    ] {
        let found = pointers(TransactionType::Payment, &with("currency", unknown.clone()));
        assert_eq!(found, ["/currency"], "{unknown}");
    }
}

#[test]
fn texts_and_limits() {
    let long = |n| json!("ж".repeat(n));
    let one = |name, value| pointers(TransactionType::Payment, &with(name, value));
    assert_eq!(one("description", long(255)), [""; 0]);
    assert_eq!(one("description", long(256)), ["/description"]);
    assert_eq!(one("description", json!("  ")), ["/description"]);
    assert_eq!(one("description", json!(5)), ["/description"]);
    assert_eq!(one("test", json!("yes")), ["/test"]);
    assert_eq!(one("test", json!(null)), [""; 0]);
    assert_eq!(one("customer", json!([])), ["/customer"]);
    assert_eq!(
        one("credit_card", json!({"number": "4".repeat(20)})),
        ["/credit_card/number"]
    );
    assert_eq!(
        one(
            "credit_card",
            json!({"number": "4".repeat(19), "holder": "A"})
        ),
        [""; 0]
    );
    assert_eq!(
        one(
            "credit_card",
            json!({"number": "$begatewaycse_1_0_0$abcdefgh"})
        ),
        [""; 0]
    );
    assert_eq!(
        one("credit_card", json!({"exp_month": "05", "exp_year": 2031})),
        [""; 0]
    );
    assert_eq!(
        one("billing_address", json!({"city": "x".repeat(61)})),
        ["/billing_address/city"]
    );
    assert_eq!(one("some_new_field", json!({"any": ["thing"]})), [""; 0]);
    assert_eq!(
        pointers(TransactionType::Payment, &json!({"request": payment()})),
        ["/request"]
    );
}

#[test]
fn no_message_repeats_a_value() {
    let body = json!({"amount": "4200000000000000", "currency": "4200000000000000",
        "description": 4_200_000_000_000_000_u64, "parent_uid": "4200000000000000",
        "credit_card": {"number": "4200 0000 0000 0000", "holder": "JOHN ".repeat(9)},
        "extra": [{"u/id": 1, "uid": "4200 0000 0000 0000"}]});
    let found = check(TransactionType::Refund, &body);
    let told = format!("{found:?}");
    assert!(!told.contains("42000") && !told.contains("JOHN"), "{told}");
    assert!(pointers(TransactionType::Refund, &body).contains(&"/extra/0/uid".to_owned()));
    assert!(pointers(TransactionType::Refund, &body).contains(&"/parent_uid".to_owned()));
}

#[test]
fn encrypted_cards_count_as_cards() {
    let encrypted = with(
        "encrypted_credit_card",
        json!({"number": "$begatewaycse_x"}),
    );
    assert_eq!(check(TransactionType::Checkup, &encrypted), []);
    assert_eq!(check(TransactionType::Payout, &encrypted), []);
}

#[test]
fn queries() {
    let status = |value: &Value| status_query(&fields(value));
    assert!(matches!(
        status(&json!({"uid": "a"})),
        Ok(QueryKind::ByUid(_))
    ));
    assert!(matches!(
        status(&json!({"tracking_id": "a b"})),
        Ok(QueryKind::ByTrackingId(_))
    ));
    for bad in [
        json!({}),
        json!({"uid": "a", "tracking_id": "b"}),
        json!({"uid": 5}),
        json!({"tracking_id": ".."}),
    ] {
        assert!(status(&bad).is_err(), "{bad}");
    }
    for any in ["4200000000000000", "20261121053296"] {
        assert!(status(&json!({"tracking_id": any})).is_ok(), "{any}");
        assert!(status(&json!({"uid": any})).is_ok(), "{any}");
    }
    let balance = |value: &Value| balance_query(&fields(value));
    for good in [
        json!({"account": "a"}),
        json!({"currency": "EUR"}),
        json!({"gateway_id": 5}),
    ] {
        assert!(
            matches!(balance(&good), Ok(QueryKind::Balance(_))),
            "{good}"
        );
    }
    for bad in [
        json!({}),
        json!({"account": 5}),
        json!({"currency": "x"}),
        json!({"x": 1}),
    ] {
        assert!(balance(&bad).is_err(), "{bad}");
    }
}

/// Values of every sort, some of them at a limit.
fn all_sorts() -> Vec<Value> {
    let long = |n: usize| Value::from("a".repeat(n));
    vec![
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(1.5),
        json!("1"),
        json!(""),
        json!(" "),
        json!("EUR"),
        json!("XXQ"),
        json!("BYR"),
        json!("a"),
        json!({}),
        json!([]),
        json!({"token": "x"}),
        json!(u64::MAX),
        json!(i64::MAX),
        json!(MAX_AMOUNT),
        json!(-MAX_AMOUNT),
        json!(2.0),
        json!(1e300),
        long(128),
        long(129),
        long(255),
        long(256),
        json!("a\u{1}"),
        json!({"number": 5}),
        json!({"number": null}),
        json!({"number": "1".repeat(20)}),
        json!({"number": format!("${}", "a".repeat(40))}),
        json!({"holder": "a".repeat(33)}),
        json!({"city": "a".repeat(61)}),
    ]
}

/// What the document says of a request must be what is checked: neither stricter nor laxer.
#[test]
fn the_schema_and_the_check_agree() {
    let values = all_sorts();
    let mut compared = (0, 0);
    for kind in TransactionType::ALL.iter().copied() {
        let schema = jsonschema::validator_for(&request_schema(kind)).unwrap();
        let mut names: Vec<&str> = BOOLEANS.into_iter().chain(STRINGS).chain(OBJECTS).collect();
        names.extend([
            "amount",
            "currency",
            "parent_uid",
            "description",
            "reason",
            "request",
        ]);
        names.extend(["encrypted_number", "anything"]);
        let whole = json!({"amount": 1, "currency": "EUR", "description": "d", "reason": "r",
            "parent_uid": "u", "credit_card": {"token": "t"}, "recipient_credit_card": {"token": "t"}});
        for base in [whole, json!({})] {
            for name in &names {
                for value in &values {
                    let mut body = base.clone();
                    body[*name] = value.clone();
                    let taken = check(kind, &body).is_empty() && !body["request"].is_object();
                    assert_eq!(schema.is_valid(&body), taken, "{kind} {body}");
                    *(if taken {
                        &mut compared.0
                    } else {
                        &mut compared.1
                    }) += 1;
                }
                let mut body = base.clone();
                body.as_object_mut().unwrap().remove(*name);
                assert_eq!(
                    schema.is_valid(&body),
                    check(kind, &body).is_empty(),
                    "{kind} {body}"
                );
            }
        }
    }
    assert!(compared.0 > 1_000 && compared.1 > 1_000, "{compared:?}");
}

#[test]
fn the_schemas_of_queries_and_their_checks_agree() {
    let status = jsonschema::validator_for(&status_query_schema()).unwrap();
    let balance = jsonschema::validator_for(&balance_query_schema()).unwrap();
    let values = [
        json!(null),
        json!(1),
        json!(1.5),
        json!(""),
        json!("."),
        json!(".."),
        json!("a b"),
        json!("EUR"),
        json!("XXQ"),
        json!("\0"),
        json!("a".repeat(128)),
        json!("a".repeat(129)),
        json!("ж".repeat(128)),
        json!("a".repeat(255)),
        json!("a".repeat(256)),
        json!([]),
    ];
    for value in &values {
        for body in [
            json!({"uid": value}),
            json!({"tracking_id": value}),
            json!({"uid": value, "tracking_id": null}),
            json!({"uid": value, "tracking_id": "a"}),
        ] {
            assert_eq!(
                status.is_valid(&body),
                status_query(&fields(&body)).is_ok(),
                "{body}"
            );
        }
        for name in ["account", "currency", "gateway_id"] {
            for body in [json!({name: value}), json!({name: value, "account": "a"})] {
                assert_eq!(
                    balance.is_valid(&body),
                    balance_query(&fields(&body)).is_ok(),
                    "{body}"
                );
            }
        }
    }
}

#[test]
fn long_names_and_many_violations_are_bounded() {
    let item = json!({"uid": "4200000000000000"});
    let mut body = with("credit_card", json!({"number": "4200 0000 0000 0000"}));
    body["k".repeat(100_000)] = json!(vec![item; 1_000]);
    let found: Vec<FieldViolation> = check_request(TransactionType::Payment, &fields(&body))
        .into_iter()
        .filter(|problem| problem.message == HOLDS_THE_CARD)
        .collect();
    assert_eq!(found.len(), MAX_VIOLATIONS);
    let long = found.iter().map(|problem| problem.pointer.len()).max();
    assert!(long <= Some(MAX_POINTER_LEN), "{long:?}");
}
