//! Two readers of one body must agree. The service's own is asked here and nowhere else in the audit.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use crate::audit::body::Ending;
use crate::audit::reading::{Saying, read};
use crate::audit::refusal::Refusal;
use crate::domain::{RefusalKind, Snapshot, StatusClass, Timestamp};
use crate::gateway::{Address, Received, SubmitReading, TaskReading, TaskUrl, redact};
use crate::gateway::{read_submit, read_task};
use crate::store::audit::AuditedEvidence;
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

const STATUSES: [u16; 20] = [
    200, 201, 204, 301, 400, 401, 403, 404, 408, 409, 415, 422, 425, 429, 500, 501, 502, 503, 504,
    520,
];

fn bodies() -> Vec<Value> {
    let mut all = plain();
    all.extend(coded());
    all.extend(garbled());
    all
}

/// Bodies of every shape.
fn plain() -> Vec<Value> {
    vec![
        json!(null),
        json!([]),
        json!({}),
        json!({"transactions": []}),
        json!({"status": "completed", "result": {"available": 1}}),
        json!({"status": "processing", "request_id": "t-1"}),
        json!({"status": "completed", "request_id": "t-1"}),
        json!({"status": "unknown", "request_id": "t-1"}),
        json!({"request_id": "t-1"}),
        json!({"status": "odd", "status_url": "https://gw.example/async/status/t-2"}),
        json!({"response_url": "https://gw.example/async/result/t-3", "request_id": 5}),
        json!({"response_url": "https://elsewhere.example/async/result/t-3"}),
        json!({"status_url": "https://gw.example/async/status/t-2", "errors": {"a": ["b"]}}),
        json!({"request_id": "a/b", "status": "processing"}),
        json!({"message": "Access denied"}),
        json!({"message": "Transaction is pending"}),
        json!({"response": {"message": "x", "errors": {"base": ["Уже обрабатывается"]}}}),
        json!({"response": {"status": "error"}}),
        json!({"errors": {}}),
        json!({"errors": {"amount": ["can't be blank"], "deep": {"er": [" ", "wrong"]}}}),
        json!({"errors": {"credit_card": {"number": ["is already in use"]}}}),
        json!({"errors": {"number": "pending"}}),
        json!({"errors": {"number": 5, "holder": [], "exp_month": null}}),
        json!({"errors": {"encrypted_pending": "x"}}),
        json!({"errors": {"base": ["card 4200000000000000 is duplicated"]}}),
        json!({"errors": "just a text"}),
        json!({"error_code": " e.1002 "}),
        json!({"code": "X.1", "response": {"code": "E.1018"}}),
        json!({"code": "nothing", "message": "déjà payé"}),
    ]
}

/// Every code and status word.
fn coded() -> Vec<Value> {
    let mut all = Vec::new();
    for code in [
        "E.1000", "E.1002", "E.1018", "E.1019", "E.1021", "E.1022", "E.1024", "E.1035", "E.1036",
        "E.1099", "E.10990", "E.2000", "F.0105", "P.0001", "S.0000",
    ] {
        all.push(json!({"code": code, "message": "x"}));
        all.push(json!({"response": {"code": code, "errors": {"a": ["is wrong"]}}}));
        all.push(json!({"uid": "u-1", "status": "error", "code": code}));
        all.push(json!({"transaction": {"uid": "u-1", "status": "deleted", "code": code}}));
    }
    for word in [
        "successful",
        "failed",
        "expired",
        "incomplete",
        "pending",
        "initial",
        "permanent",
        "odd",
        "",
    ] {
        all.push(json!({"uid": "u-1", "status": word, "transaction": {"acquirer": 1}}));
    }
    all
}

/// Every field of a transaction in odd clothes.
fn garbled() -> Vec<Value> {
    let mut all = Vec::new();
    let base = json!({"uid": "u-1", "status": "successful", "type": "payment", "amount": 3245,
        "currency": "EUR", "tracking_id": "ord-1", "parent_uid": "p-1",
        "created_at": "2026-02-03T10:15:30.120Z", "updated_at": "2026-02-03T10:15:31Z"});
    let odd = [
        json!(null),
        json!(""),
        json!("32.45"),
        json!("3245"),
        json!(3245.0),
        json!(32.45),
        json!(true),
        json!([]),
        json!({}),
        json!("eur"),
        json!(" EUR "),
        json!(12),
        json!("2026-02-03 10:15:30 UTC"),
        json!("2026-02-03T13:15:30.120+0300"),
        json!("приблизительно полдень +0300"),
        json!("\u{0}"),
    ];
    for name in [
        "uid",
        "status",
        "type",
        "amount",
        "currency",
        "tracking_id",
        "parent_uid",
        "created_at",
        "updated_at",
    ] {
        for value in &odd {
            let mut body = base.clone();
            body[name] = value.clone();
            all.push(json!({"transaction": body.clone()}));
            all.push(body);
        }
    }
    all
}

fn row(channel: &str, subject: &str, status: u16, body: &[u8]) -> AuditedEvidence {
    AuditedEvidence {
        id: Uuid::nil(),
        position: 1,
        channel: channel.to_owned(),
        verdict: "applied".to_owned(),
        received_at: Timestamp::from_micros(0),
        http_status: Some(i32::from(status)),
        subject: Some(subject.to_owned()),
        signed: None,
        note: String::new(),
        body: redact(body).bytes,
        body_sha256: vec![0; 32],
        chain: vec![0; 32],
    }
}

fn refusal(kind: RefusalKind) -> Refusal {
    match kind {
        RefusalKind::Doubt => Refusal::Doubt,
        RefusalKind::Duplicate => Refusal::Duplicate,
        RefusalKind::Rejected => Refusal::Rejected,
    }
}

/// What a state hangs on, of a snapshot.
fn of_snapshot(s: &Snapshot) -> String {
    let ending = match s.class {
        StatusClass::Successful => Ending::Successful,
        StatusClass::Failed => Ending::Failed,
        StatusClass::Expired => Ending::Expired,
        StatusClass::Pending | StatusClass::Other => Ending::Open,
    };
    format!(
        "{} {ending:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        s.uid,
        s.kind,
        s.amount,
        s.currency,
        s.tracking_id,
        s.parent_uid,
        s.created_at,
        s.updated_at
    )
}

fn of_saying(saying: &Saying) -> String {
    match saying {
        Saying::Named(t) | Saying::TaskResult(_, t) => format!(
            "{} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            t.uid,
            t.ending,
            t.kind,
            t.amount,
            t.currency,
            t.tracking_id,
            t.parent_uid,
            t.created_at,
            t.updated_at
        ),
        other => format!("{other:?}"),
    }
}

#[test]
fn answers_to_submits_are_read_alike() {
    let origin = Url::parse("https://gw.example").unwrap();
    let ours = Address::new(&origin).unwrap();
    for body in bodies() {
        let bytes = body.to_string().into_bytes();
        for http_status in STATUSES {
            let received = Received {
                http_status,
                retry_after: None,
                body: &bytes,
                sha256: [0; 32],
                truncated: false,
                at: Timestamp::END,
            };
            let expected = match read_submit(&received, &ours) {
                SubmitReading::Ack { task, .. } => format!("{:?}", Saying::Acked(1, task)),
                SubmitReading::Transaction(snapshot) => of_snapshot(&snapshot),
                SubmitReading::Refused(r) => format!("{:?}", Saying::Refused(1, refusal(r.kind))),
                SubmitReading::Deferred { .. } => format!("{:?}", Saying::Deferred(1)),
                SubmitReading::Unclear { .. } => format!("{:?}", Saying::Silent(1)),
            };
            let piece = read(&row("ack", "attempt 1", http_status, &bytes), Some(&origin)).unwrap();
            assert_eq!(of_saying(&piece.says[0]), expected, "{http_status} {body}");
        }
    }
}

#[test]
fn answers_about_tasks_are_read_alike() {
    for body in bodies() {
        let bytes = body.to_string().into_bytes();
        for http_status in STATUSES {
            let received = Received {
                http_status,
                retry_after: None,
                body: &bytes,
                sha256: [0; 32],
                truncated: false,
                at: Timestamp::END,
            };
            let piece = read(&row("task_result", "t-1", http_status, &bytes), None).unwrap();
            let said = piece.says.first();
            let expected = match read_task(&received, TaskUrl::Result) {
                TaskReading::Transaction(snapshot) => Some(of_snapshot(&snapshot)),
                TaskReading::Unknown => Some("TaskUnknown(TaskId(\"t-1\"))".to_owned()),
                TaskReading::Refused(r) => Some(format!(
                    "TaskRefused(TaskId(\"t-1\"), {:?})",
                    refusal(r.kind)
                )),
                TaskReading::Running
                | TaskReading::Completed
                | TaskReading::Other(_)
                | TaskReading::NotAboutTask { .. }
                | TaskReading::Unreadable { .. } => None,
            };
            assert_eq!(said.map(of_saying), expected, "{http_status} {body}");
        }
    }
}

#[test]
fn a_body_that_is_no_text_says_nothing() {
    for bytes in [
        &b""[..],
        b"<html>",
        b"\xff\xfe",
        b"{\"uid\":",
        b"\xEF\xBB\xBF{}",
    ] {
        let piece = read(&row("task_result", "t-1", 200, bytes), None).unwrap();
        assert!(piece.says.is_empty());
    }
}
