//! Two readers of one body must agree. The service's own is asked here and nowhere else in the audit.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use crate::evidence_reader::{Statement, read};
use crate::gateway_body::FinalityRank;
use crate::refusal_table::AuditedRefusal;
use crate::sql::AuditedEvidence;
use domain::{RefusalKind, Snapshot, StatusClass, Timestamp, TransactionType};
use gateway::{
    GatewayAddress, ReceivedResponse, SubmitReading, TaskEndpoint, TaskReading, TrackingIdReading,
};
use gateway::{read_by_tracking_id, read_submit_of, read_task_of, redact};
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

const STATUSES: [u16; 20] = [
    200, 201, 204, 301, 400, 401, 403, 404, 408, 409, 415, 422, 425, 429, 500, 501, 502, 503, 504,
    520,
];

/// Bodies, each with the kinds of requests that it is read for.
fn cases() -> Vec<(Value, Option<TransactionType>)> {
    let mut all = plain();
    all.extend(coded());
    all.extend(garbled());
    let all = all.into_iter();
    let of_each_kind = all.flat_map(|body| KINDS.map(|kind| (body.clone(), kind)));
    // What a text says does not hang on the kind.
    let worded = worded().into_iter().map(|body| (body, None));
    of_each_kind.chain(worded).collect()
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
        json!({"errors": ["is wrong"]}),
        json!({"errors": {"upstream": ["is away"], "amount": ["is wrong"]}}),
        json!({"errors": {"upstream": ["is away"]}}),
        json!({"errors": {".base": ["is wrong"], "request.amount": ["x"], " base ": ["y"]}}),
        json!({"errors": {"duplicate_check": ["must be a boolean"]}}),
        json!({"errors": {"parent_uid": ["Parent transaction is not found"]}}),
        json!({"errors": {"recipient_credit_card.token": ["does not exist"]}}),
        json!({"errors": {"billing_address": {"state": ["State is unknown"]}}}),
        json!({"errors": {"expired_at": ["time out of range", "time zone is invalid"]}}),
        json!({"message": "Acquirer timeout", "errors": {"base": ["Не получен ответ"]}}),
        json!({"message": "x", "friendly_message": "Try again later", "errors": {"base": ["x"]}}),
        json!({"transaction": {"status": "successful"}, "errors": {"amount": ["x"]}}),
        json!({"transaction": {}, "code": "E.1025"}),
        json!({"response": {"transaction": 1, "code": "E.1018"}}),
        json!({"request_id": "r-1", "errors": {"amount": ["x"]}}),
        json!({"request_id": "r-1", "message": "x"}),
        json!({"status_url": "x", "errors": {"amount": ["x"]}}),
        json!({"uid": "", "status": "successful", "errors": {"amount": ["x"]}}),
        json!({"uid": null, "status": "Error", "errors": {"amount": ["x"]}}),
        json!({"uid": "", "errors": {"amount": ["x"]}}),
        json!({"transaction": {"status": "successful"}}),
        json!({"status": "Unprocessable_Entity", "errors": {"amount": ["x"]}}),
        json!({"status": "not_found"}),
        json!({"status": "accepted"}),
        json!({"status": "422", "errors": {"amount": ["x"]}}),
        json!({"status": 5, "errors": {"amount": ["x"]}}),
        json!({"status": "pending", "errors": {"amount": ["x"]}}),
        json!({"friendly_message": "Результат неизвестен", "errors": {"amount": ["x"]}}),
    ]
}

/// Texts under `base`, under a field, and as messages.
fn worded() -> Vec<Value> {
    let texts = [
        "is not unique",
        "exists",
        "does not exist",
        "doesn\u{2019}t exist, or exists",
        "must exist",
        "no longer exists",
        "время ожидания истекло",
        "не существует",
        "Time out",
        "time outside",
        "Request has expired",
        "Request date has expired",
        "status is unknown",
        "result is not known",
        "Неизвестная валюта",
        "still processing",
        "in time",
        "Try later",
        "Connection reset",
        "Карта истекла",
    ];
    let of = |text: &str| {
        [
            json!({"errors": {"base": [text]}}),
            json!({"errors": {"amount": [text]}}),
            json!({"errors": {"credit_card": {"number": [text]}}}),
            json!({"message": text, "errors": {"amount": ["x"]}}),
            json!({"friendly_message": text, "errors": {"amount": ["x"]}}),
        ]
    };
    let about = ABOUT_FIELDS
        .lines()
        .filter_map(|line| line.split_once(": "));
    let more = WORDED.lines().chain(OPEN.lines()).map(str::trim);
    let more = more.chain(about.map(|(_, text)| text));
    let more = more.filter(|text| !text.is_empty());
    texts.into_iter().chain(more).flat_map(of).collect()
}

/// Texts that leave the outcome open; the gateway's reader is tested with the same.
const OPEN: &str = include_str!("../../../../tests/data/refusals/open.txt");

/// Texts about the request's own fields, with their names.
const ABOUT_FIELDS: &str = include_str!("../../../../tests/data/refusals/about-fields.txt");

/// Others that hold the words of the tables in other companies.
const WORDED: &str = "
    Must be sent no earlier
    Has never been sent
    Was not just sent
    got recently paid
    Запрос не отправлен
    не успешно
    успешно не проведён
    or later, or earlier
    Ответственный не ответил
    ответ: ответственный, нет
    Email not confirmed
    if the bank is unclear
    service temporarily away
    connection reset
    request dropped
    card dropped
    still pending";

/// Every code and status word.
fn coded() -> Vec<Value> {
    let mut all = Vec::new();
    for code in [
        "E.1000", "E.1002", "E.1017", "E.1018", "E.1019", "E.1021", "E.1022", "E.1023", "E.1024",
        "E.1026", "E.1035", "E.1036", "E.1065", "E.1066", "E.1099", "E.106a", "E.10990", "E.2000",
        "F.0105", "P.0001", "S.0000",
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
        let section = json!({"uid": "ACQ-1", "status": word});
        all.push(json!({"request_id": "t-1", "transaction": section}));
        for own in ["amount", "currency", "type", "tracking_id"] {
            all.push(json!({"status": word, own: "x", "transaction": section}));
        }
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
        json!("3245.00"),
        json!("3245."),
        json!(".0"),
        json!("a\u{fffd}"),
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

fn refusal(kind: RefusalKind) -> AuditedRefusal {
    match kind {
        RefusalKind::Doubt => AuditedRefusal::Doubt,
        RefusalKind::Duplicate => AuditedRefusal::Duplicate,
        RefusalKind::Rejected => AuditedRefusal::Rejected,
    }
}

/// What a state hangs on, of a snapshot.
fn of_snapshot(s: &Snapshot) -> String {
    let ending = match s.class {
        StatusClass::Successful => FinalityRank::Successful,
        StatusClass::Failed => FinalityRank::Failed,
        StatusClass::Expired => FinalityRank::Expired,
        StatusClass::Pending | StatusClass::Other => FinalityRank::Open,
    };
    format!(
        "{} {ending:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {}",
        s.uid,
        s.kind,
        s.amount,
        s.currency,
        s.tracking_id,
        s.parent_uid,
        s.created_at,
        s.updated_at,
        s.unread.is_some()
    )
}

fn of_saying(saying: &Statement) -> String {
    match saying {
        Statement::Named(_, t) | Statement::TaskResult(_, t) => format!(
            "{} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {}",
            t.uid,
            t.ending,
            t.kind,
            t.amount,
            t.currency,
            t.tracking_id,
            t.parent_uid,
            t.created_at,
            t.updated_at,
            t.garbled
        ),
        other => format!("{other:?}"),
    }
}

/// Requests of kinds that have different fields.
const KINDS: [Option<TransactionType>; 4] = [
    None,
    Some(TransactionType::Payment),
    Some(TransactionType::Refund),
    Some(TransactionType::Payout),
];

fn received(http_status: u16, body: &[u8], truncated: bool) -> ReceivedResponse<'_> {
    ReceivedResponse {
        http_status,
        retry_after: None,
        body,
        sha256: [0; 32],
        truncated,
        at: Timestamp::END,
    }
}

#[test]
fn answers_to_submits_are_read_alike() {
    let origin = Url::parse("https://gw.example").unwrap();
    let ours = GatewayAddress::new(&origin).unwrap();
    for (body, kind) in cases() {
        let bytes = body.to_string().into_bytes();
        // The end of an object is its last byte.
        let cut = &bytes[..bytes.len() - 1];
        for (http_status, truncated) in STATUSES.iter().flat_map(|s| [(*s, false), (*s, true)]) {
            let bytes = if truncated { cut } else { &bytes };
            let received = received(http_status, bytes, truncated);
            let expected = match read_submit_of(kind, &received, &ours) {
                SubmitReading::Ack { task, .. } => format!("{:?}", Statement::Acked(1, task)),
                SubmitReading::Transaction(snapshot) => of_snapshot(&snapshot),
                SubmitReading::Refused(r) => {
                    format!("{:?}", Statement::Refused(1, refusal(r.kind)))
                }
                SubmitReading::Deferred { .. } => format!("{:?}", Statement::Deferred(1)),
                SubmitReading::Unclear { .. } => format!("{:?}", Statement::Silent(1)),
            };
            let subject = if truncated {
                "attempt 1, cut off"
            } else {
                "attempt 1"
            };
            let row = row("ack", subject, http_status, bytes);
            let piece = read(&row, Some(&origin), kind).unwrap();
            assert_eq!(of_saying(&piece.says[0]), expected, "{http_status} {body}");
        }
    }
}

#[test]
fn answers_about_tasks_are_read_alike() {
    for (body, kind) in cases() {
        let bytes = body.to_string().into_bytes();
        for http_status in STATUSES {
            let received = received(http_status, &bytes, false);
            let piece = read(&row("task_result", "t-1", http_status, &bytes), None, kind).unwrap();
            let said = piece.says.first();
            let expected = match read_task_of(kind, &received, TaskEndpoint::Result) {
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
fn long_numbers_are_read_alike() {
    for number in [
        "1500.0000000000000000001",
        "1500.0000000000000000000",
        "1499.99999999999999999",
        "12345678901234567890123",
        "-12345678901234567890123",
        "9007199254740993",
        "9007199254740992",
        "18446744073709551615",
        "0.0000000000000000000000001",
        "1500000000000000000000e-18",
        "15000000000000000000001e-19",
        "1e-400",
        "0.00000000000000000",
        "-0.0",
        "1e22",
    ] {
        for name in ["amount", "uid", "tracking_id", "currency", "type"] {
            let mut fields = vec![("uid", "\"u-1\""), ("status", "\"successful\"")];
            fields.retain(|field| field.0 != name);
            fields.push((name, number));
            let fields = fields
                .iter()
                .map(|(name, value)| format!("\"{name}\":{value}"));
            let body = format!("{{{}}}", fields.collect::<Vec<_>>().join(","));
            let received = received(200, body.as_bytes(), false);
            let TaskReading::Transaction(snapshot) =
                read_task_of(None, &received, TaskEndpoint::Result)
            else {
                panic!("{body}")
            };
            let row = row("task_result", "t-1", 200, body.as_bytes());
            let piece = read(&row, None, None).unwrap();
            assert_eq!(of_saying(&piece.says[0]), of_snapshot(&snapshot), "{body}");
            if name == "uid" && number.len() == 23 {
                assert_eq!(snapshot.uid.as_str(), number);
            }
            if name == "amount" && number.ends_with("0000001") {
                assert!(snapshot.unread.is_some(), "{number}");
            }
        }
    }
}

#[test]
fn lists_are_read_alike() {
    let row_of = |uid: Value| json!({"uid": uid, "status": "successful", "amount": 5});
    let mut bodies = vec![
        json!({"transactions": []}),
        json!({"transactions": [], "errors": null, "message": ""}),
        json!({"transactions": [row_of(json!("a")), row_of(json!({})), 5]}),
        json!({"transactions": [{"uid": "a", "transaction": {"uid": "acq"}}, {"transaction": {"uid": "b"}}]}),
    ];
    for (name, said) in [
        ("errors", json!({})),
        ("message", json!("x")),
        ("friendly_message", json!("x")),
        ("error", json!({"code": 1})),
        ("response", json!({})),
        ("code", json!("E.1000")),
        ("error_code", json!("P.1")),
        ("code", json!(200)),
        ("status", json!("error")),
        ("status", json!("successful")),
        ("has_more", json!(true)),
        ("has_more", json!(false)),
        ("total", json!(3)),
        ("total", json!("1")),
        ("count", json!(0)),
        ("count", json!([])),
        ("next", json!("x")),
        ("next_page", json!(false)),
        ("meta", json!({"paging": {"total": 2}})),
        ("page", json!(2)),
    ] {
        bodies.push(json!({"transactions": [], name: said}));
        bodies.push(json!({"transactions": [row_of(json!("a"))], name: said}));
    }
    for body in bodies {
        let bytes = body.to_string().into_bytes();
        let reading = read_by_tracking_id(&received(200, &bytes, false));
        let piece = read(&row("query", "ord-1", 200, &bytes), None, None).unwrap();
        let listed = piece.list.map(|(_, rows)| rows);
        match reading {
            TrackingIdReading::Empty => assert_eq!(listed, Some(Vec::new()), "{body}"),
            TrackingIdReading::Found {
                snapshots,
                full,
                unread,
            } => {
                assert_eq!(piece.says.len(), snapshots.len(), "{body}");
                assert_eq!(listed.is_none(), full, "{body}");
                let lost =
                    listed.map_or(unread, |rows| rows.iter().filter(|r| r.is_none()).count());
                assert_eq!(lost, unread, "{body}");
            }
            other => assert_eq!(listed, None, "{body} {other:?}"),
        }
    }
}

#[test]
fn a_body_that_is_not_text_has_no_statement() {
    for bytes in [
        &b""[..],
        b"<html>",
        b"\xff\xfe",
        b"{\"uid\":",
        b"\xEF\xBB\xBF{}",
        b"\x01\xff{}",
    ] {
        let piece = read(&row("task_result", "t-1", 200, bytes), None, None).unwrap();
        assert!(piece.says.is_empty());
    }
}
