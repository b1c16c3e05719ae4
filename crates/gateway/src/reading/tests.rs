//! Every row of what submits and tasks may answer.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use super::*;
use domain::{StatusClass, Uid};
use serde_json::json;

pub(super) const SAMPLES: &str = include_str!("../../../../tests/data/samples.json");

pub(super) fn ours() -> GatewayAddress {
    GatewayAddress::new(&url::Url::parse("https://gateway.unonapay.com").unwrap()).unwrap()
}

pub(super) fn received(http_status: u16, body: &[u8]) -> ReceivedResponse<'_> {
    ReceivedResponse {
        http_status,
        retry_after: Some(Duration::from_secs(7)),
        body,
        sha256: [9; 32],
        truncated: false,
        at: Timestamp::parse("2026-02-03T10:16:00Z").unwrap(),
    }
}

fn submit(http_status: u16, body: &Value) -> SubmitReading {
    read_submit(&received(http_status, body.to_string().as_bytes()), &ours())
}

fn result(http_status: u16, body: &Value) -> TaskReading {
    read_task(
        &received(http_status, body.to_string().as_bytes()),
        TaskEndpoint::Result,
    )
}

fn sample(name: &str) -> Value {
    let all: Value = serde_json::from_str(SAMPLES).unwrap();
    all["samples"][name]["body"].clone()
}

#[test]
fn an_acknowledgement_needs_success_and_an_id() {
    let ack = sample("async_ack");
    let id = "0f6d2a54-3c1e-4b7e-9a55-6a3f3f0b9c11";
    let acked = |reading: SubmitReading| match reading {
        SubmitReading::Ack { task, foreign_url } => (task.to_string(), foreign_url),
        other => panic!("{other:?}"),
    };
    assert_eq!(acked(submit(200, &ack)), (id.to_owned(), None));
    assert_eq!(
        acked(submit(
            202,
            &json!({"status": "completed", "request_id": 10203})
        ))
        .0,
        "10203"
    );
    let url = format!("https://gateway.unonapay.com/async/result/{id}");
    let no_id = json!({"status": "processing", "response_url": url});
    assert_eq!(acked(submit(200, &no_id)), (id.to_owned(), None));
    let foreign = json!({"status": "processing", "request_id": "a",
        "status_url": "https://evil.example/async/status/a", "response_url": url});
    let told = acked(submit(200, &foreign));
    assert_eq!(
        told,
        (
            "a".to_owned(),
            Some("https://evil.example/async/status/a".to_owned())
        )
    );

    for (status, body) in [
        (500, ack.clone()),
        (404, ack.clone()),
        (429, ack),
        (200, json!({"status": "unknown", "request_id": "a"})),
        (200, json!({"status": "processing"})),
        (200, json!({"status": "processing", "request_id": "../x"})),
        (
            200,
            json!({"status": "processing", "response_url": "https://evil.example/async/result/a"}),
        ),
        (200, json!({"transactions": []})),
        (200, json!({})),
    ] {
        let reading = submit(status, &body);
        assert!(
            matches!(reading, SubmitReading::Unclear { .. }),
            "{status} {body} {reading:?}"
        );
    }
}

#[test]
fn a_submit_may_be_answered_at_once_refused_or_put_off() {
    let reading = submit(200, &sample("payment_successful"));
    assert!(matches!(reading, SubmitReading::Transaction(s) if s.class == StatusClass::Successful));
    let kind = |status, body: &Value| match submit(status, body) {
        SubmitReading::Refused(refusal) => Some(refusal.kind),
        SubmitReading::Deferred { retry_after } => {
            assert_eq!(retry_after, Some(Duration::from_secs(7)));
            None
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(
        kind(422, &sample("error_validation_422_v2")),
        Some(RefusalKind::Rejected)
    );
    assert_eq!(
        kind(422, &sample("error_validation_v3")),
        Some(RefusalKind::Rejected)
    );
    assert_eq!(
        kind(400, &sample("error_parent_not_found")),
        Some(RefusalKind::Rejected)
    );
    assert_eq!(
        kind(422, &sample("error_duplicate_v3")),
        Some(RefusalKind::Duplicate)
    );
    assert_eq!(
        kind(401, &sample("error_access_denied")),
        Some(RefusalKind::Rejected)
    );
    assert_eq!(
        kind(500, &sample("async_status_failed_task")),
        Some(RefusalKind::Doubt)
    );
    assert_eq!(
        kind(503, &sample("error_validation_v3")),
        Some(RefusalKind::Doubt)
    );
    assert_eq!(
        kind(200, &sample("error_validation_v3")),
        Some(RefusalKind::Doubt)
    );
    assert_eq!(kind(429, &json!({"message": "Too many requests"})), None);
    assert_eq!(
        kind(429, &json!({"code": "E.1018", "message": "x"})),
        Some(RefusalKind::Duplicate)
    );
    assert_eq!(
        kind(429, &json!({"code": "P.1019", "message": "x"})),
        Some(RefusalKind::Doubt)
    );
    assert_eq!(kind(401, &json!({})), Some(RefusalKind::Rejected));
}

#[test]
fn pages_that_answer_a_submit() {
    let page = |status| read_submit(&received(status, b"<html>sorry</html>"), &ours());
    assert!(matches!(page(403), SubmitReading::Refused(r) if r.kind == RefusalKind::Rejected));
    assert!(matches!(page(429), SubmitReading::Deferred { .. }));
    for status in [200, 204, 302, 400, 404, 408, 500, 502, 504] {
        assert!(
            matches!(page(status), SubmitReading::Unclear { .. }),
            "{status}"
        );
    }
}

#[test]
fn a_running_task_is_read_under_any_http_status() {
    for status in [200, 202, 404, 425, 500] {
        let body = sample("async_result_processing");
        assert_eq!(result(status, &body), TaskReading::Running, "{status}");
    }
    assert_eq!(
        result(200, &sample("async_status_completed")),
        TaskReading::Completed
    );
    assert_eq!(result(404, &sample("async_unknown")), TaskReading::Unknown);
    assert_eq!(result(200, &sample("async_unknown")), TaskReading::Unknown);
    assert!(matches!(
        result(500, &sample("async_unknown")),
        TaskReading::NotAboutTask { .. }
    ));
}

#[test]
fn a_task_result_is_classified() {
    let kind = |status, body: &Value| match result(status, body) {
        TaskReading::Refused(refusal) => refusal.kind,
        other => panic!("{other:?}"),
    };
    assert!(
        matches!(result(200, &sample("payment_failed")), TaskReading::Transaction(s)
        if s.class == StatusClass::Failed && s.code.as_deref() == Some("F.0105"))
    );
    assert!(matches!(
        result(422, &sample("payment_failed")),
        TaskReading::Transaction(_)
    ));
    assert_eq!(
        kind(422, &sample("error_validation_v3")),
        RefusalKind::Rejected
    );
    assert_eq!(
        kind(400, &sample("error_validation_flat")),
        RefusalKind::Rejected
    );
    assert_eq!(kind(422, &sample("error_base")), RefusalKind::Rejected);
    let timeout = json!({"message": "Acquirer timeout",
        "errors": {"base": ["The acquirer did not answer in time, the result is not known"]}});
    assert_eq!(kind(422, &timeout), RefusalKind::Doubt);
    assert!(matches!(
        result(200, &sample("balance_v2")),
        TaskReading::Other(_)
    ));
    assert!(matches!(
        result(200, &sample("query_by_tracking_id_none")),
        TaskReading::Other(_)
    ));
}

#[test]
fn reads_that_say_nothing_of_the_task() {
    let not_about = |reading| {
        matches!(reading, TaskReading::NotAboutTask { retry_after: Some(wait), .. }
            if wait == Duration::from_secs(7))
    };
    for status in [302, 401, 403, 429, 502, 503, 504] {
        for name in [
            "async_unknown",
            "error_validation_v3",
            "async_status_failed_task",
        ] {
            assert!(not_about(result(status, &sample(name))), "{status} {name}");
        }
    }
    // What lies between may answer like this; the task did not.
    let missing =
        json!({"response": {"message": "Record not found", "errors": {"base": ["none"]}}});
    for status in [200, 404, 405, 406, 408, 411, 417, 426, 431, 500] {
        assert!(not_about(result(status, &missing)), "{status}");
        let fields = sample("error_validation_v3");
        assert!(not_about(result(status, &fields)), "{status}");
    }
    for status in [200, 400, 404, 422, 500] {
        let crashed = sample("async_status_failed_task");
        assert!(not_about(result(status, &crashed)), "{status}");
    }
    for code in ["E.1017", "E.1021", "E.1022", "E.1023", "E.1024", "E.1026"] {
        let body = json!({"code": code, "message": "x", "errors": {"base": ["x"]}});
        assert!(
            not_about(result(200, &body)) && not_about(result(422, &body)),
            "{code}"
        );
    }
    for status in [400, 404, 500] {
        let page = read_task(&received(status, b"<html>"), TaskEndpoint::Status);
        assert!(not_about(page), "{status}");
    }
    let cut = ReceivedResponse {
        truncated: true,
        ..received(200, br#"{"uid":"a","status":"failed""#)
    };
    assert!(matches!(
        read_task(&cut, TaskEndpoint::Result),
        TaskReading::Unreadable { .. }
    ));
    assert!(matches!(
        result(200, &json!({"x": 1})),
        TaskReading::Unreadable { .. }
    ));
    assert!(matches!(
        result(422, &json!({"x": 1})),
        TaskReading::Unreadable { .. }
    ));
    let page = read_task(&received(200, b"<html>"), TaskEndpoint::Result);
    assert!(matches!(page, TaskReading::Unreadable { .. }));
}

#[test]
fn of_an_answer_that_broke_off_a_complete_object_counts() {
    let cut = |http_status, body: &'static str| ReceivedResponse {
        truncated: true,
        ..received(http_status, body.as_bytes())
    };
    let ack = cut(200, r#"{"status":"processing","request_id":"t-1"}"#);
    assert!(matches!(
        read_submit(&ack, &ours()),
        SubmitReading::Ack { .. }
    ));
    let failed = cut(422, r#"{"code":"E.1025","message":"x"}  "#);
    assert!(matches!(
        read_task(&failed, TaskEndpoint::Result),
        TaskReading::Refused(r) if r.kind == RefusalKind::Rejected
    ));
    let seen = cut(200, r#"{"uid":"a","status":"failed"}"#);
    assert!(matches!(
        read_task(&seen, TaskEndpoint::Result),
        TaskReading::Transaction(_)
    ));
    // What is missing of these might have said that the outcome is open.
    for (http_status, body) in [
        (429, ""),
        (429, r#"{"code":"E.1018","#),
        (403, ""),
        (401, "Acc"),
        (200, "7"),
        (422, "[]"),
    ] {
        let reading = read_submit(&cut(http_status, body), &ours());
        assert!(
            matches!(reading, SubmitReading::Unclear { .. }),
            "{http_status} {body} {reading:?}"
        );
    }
}

#[test]
fn with_a_uid_on_both_levels_the_outer_one_counts() {
    let three = json!({"uid": "X", "status": "successful", "amount": 1500, "currency": "EUR",
        "transaction": {"uid": "ACQ-778899", "status": "successful", "amount": 1}});
    let TaskReading::Transaction(snapshot) = result(200, &three) else {
        panic!("unread")
    };
    assert_eq!((snapshot.uid.as_str(), snapshot.amount), ("X", Some(1500)));
    let mut garbled = three.clone();
    garbled["uid"] = json!({});
    assert!(matches!(
        result(200, &garbled),
        TaskReading::Unreadable { .. }
    ));
    // Without a uid of its own what describes a transaction is none; its section is the acquirer's.
    for uid in [Value::Null, json!("")] {
        let mut bare = three.clone();
        bare["uid"] = uid;
        let read = result(200, &bare);
        assert!(matches!(read, TaskReading::Unreadable { .. }), "{read:?}");
    }
}

#[test]
fn an_acquirer_section_without_a_uid_is_no_transaction() {
    let section = json!({"uid": "ACQ-778899", "status": "successful", "amount": 1});
    for own in ["amount", "currency", "type", "tracking_id"] {
        let flat = json!({"uid": null, "status": "successful", own: "x", "transaction": section});
        assert!(
            !matches!(result(200, &flat), TaskReading::Transaction(_)),
            "{own}"
        );
    }
    // What stands around an envelope does not make it a section.
    let envelope = json!({"request_id": "t-1", "message": "done", "transaction": section});
    assert!(matches!(result(200, &envelope), TaskReading::Transaction(s)
        if s.uid.as_str() == "ACQ-778899"));
}

#[test]
fn both_versions_give_the_same_snapshot() {
    let read = |name: &str| match result(200, &sample(name)) {
        TaskReading::Transaction(snapshot) => *snapshot,
        other => panic!("{other:?}"),
    };
    let two = read("payment_successful");
    let three = read("payment_successful_api_v3");
    assert_eq!(two.card, three.card);
    assert_eq!(two.card.clone().unwrap().last_4.as_deref(), Some("0000"));
    assert_eq!((two.amount, two.currency), (three.amount, three.currency));
    assert_eq!(
        (two.class, two.updated_at, two.test),
        (three.class, three.updated_at, Some(true))
    );
    assert_eq!(three.code.as_deref(), Some("S.0000"));
    assert_eq!(two.tracking_id.unwrap().as_str(), "ord-1001-1");
    assert_eq!(two.body_sha256, [9; 32]);
    let payout = read("payout_successful");
    assert_eq!(payout.card.unwrap().last_4.as_deref(), Some("1111"));
    assert_eq!(read("payment_incomplete_3ds").class, StatusClass::Pending);
    assert_eq!(
        read("void_successful").parent_uid,
        Uid::from_gateway("6a0f5f1c-2f0e-4d2a-9f6e-0b1d7c9a1005")
    );
}

#[test]
fn odd_transactions() {
    let read = |body: &[u8]| read_task(&received(200, body), TaskEndpoint::Result);
    // A key twice: the last one counts.
    let twice = br#"{"uid":"a","status":"failed","status":"successful","amount":"12"}"#;
    assert!(matches!(read(twice), TaskReading::Transaction(s)
        if s.class == StatusClass::Successful && s.amount == Some(12)));
    // An unknown word is kept and is not final; a word is no sentence.
    let word = json!({"uid": 5, "status": "s".repeat(100)}).to_string();
    assert!(matches!(read(word.as_bytes()), TaskReading::Transaction(s)
        if s.class == StatusClass::Other && s.status.len() == 64 && s.uid.as_str() == "5"));
    assert!(
        matches!(read(br#"{"uid":"a"}"#), TaskReading::Transaction(s)
        if s.class == StatusClass::Other)
    );
    // From the future beyond belief.
    let ahead = br#"{"uid":"a","status":"failed","updated_at":"2026-02-03T11:00:00Z"}"#;
    assert!(matches!(read(ahead), TaskReading::Transaction(s) if s.updated_at.is_none()));
    // What decides a binding and cannot be read is told, and the rest is there.
    for (garbled, told) in [
        (json!({"uid": "a", "amount": 1500.4}), "amount 1500.4"),
        (json!({"uid": "a", "amount": "15,00"}), "amount \"15,00\""),
        (json!({"uid": "a", "currency": "??"}), "currency \"??\""),
        (json!({"uid": "a", "type": true}), "type true"),
        (
            json!({"uid": "a", "tracking_id": {}}),
            "tracking_id (an object)",
        ),
        (json!({"uid": "a", "parent_uid": []}), "parent_uid (a list)"),
    ] {
        assert!(
            matches!(result(200, &garbled), TaskReading::Transaction(s)
                if s.unread.as_deref() == Some(told)),
            "{garbled} {:?}",
            result(200, &garbled)
        );
    }
    for nameless in [json!({"uid": "a".repeat(200)}), json!({"uid": "a\u{fffd}"})] {
        assert!(
            matches!(result(200, &nameless), TaskReading::Unreadable { .. }),
            "{nameless}"
        );
    }
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    assert!(matches!(read(&deep), TaskReading::Unreadable { .. }));
}

#[test]
fn card_data_never_reaches_a_snapshot() {
    let body = json!({"uid": "a", "status": "failed 4200000000000000", "code": "4200000000000000",
        "type": "4200000000000000", "message": "card 4200 0000 0000 0000",
        "description": "4200000000000000", "redirect_url": "https://x/4200000000000000",
        "credit_card": {"token": "4200000000000000", "brand": "4200000000000000",
            "number": "4200000000000000", "holder": "JOHN"}});
    let TaskReading::Transaction(snapshot) = result(200, &body) else {
        panic!("unread")
    };
    let told = format!("{snapshot:?}");
    assert!(!told.contains("4200") && !told.contains("JOHN"), "{told}");
}
