//! Bodies of the gateway, and what the redactor makes of any.

use super::{first_line, pan_oracle};
use domain::{RefusalKind, Snapshot, Timestamp, Uid};
use gateway::{
    GatewayAddress, ReceivedResponse, SubmitReading, TaskEndpoint, TaskReading, TrackingIdReading,
    UidReading, carries_card_data, decode, read_by_tracking_id, read_by_uid, read_submit,
    read_task, read_webhook, redact, redact_text, take_webhook,
};
use serde_json::Value;
use url::Url;

/// An HTTP status, in digits, and after the first line the body that came with it; a `+` after the
/// status says that the body was cut off.
pub fn gateway(data: &[u8]) {
    let (head, body) = first_line(data);
    let head = String::from_utf8_lossy(head);
    let received = ReceivedResponse {
        http_status: head.trim_end_matches('+').trim().parse().unwrap_or(200),
        retry_after: None,
        body,
        sha256: [7; 32],
        truncated: head.ends_with('+'),
        at: Timestamp::from_micros(1_790_000_000_000_000),
    };
    submitted(&received);
    asked(&received);
    looked_up(&received);
    let (kept, reading) = take_webhook(body, received.sha256, received.at);
    assert_eq!(reading, read_webhook(body, received.sha256, received.at));
    assert_eq!(kept, redact(body));
}

fn submitted(received: &ReceivedResponse<'_>) {
    let ours = Url::parse("https://gateway.example").expect("an address");
    let ours = GatewayAddress::new(&ours).expect("an address");
    let status = received.http_status;
    match read_submit(received, &ours) {
        SubmitReading::Ack { task, .. } => {
            assert!((200..300).contains(&status), "a task under {status}");
            assert!(ours.task_result(&task).is_some());
        }
        SubmitReading::Transaction(snapshot) => assert_clean(&snapshot),
        SubmitReading::Refused(refusal) => {
            let sure = refusal.kind == RefusalKind::Rejected;
            assert!(
                !sure || (400..500).contains(&status),
                "rejected under {status}"
            );
            assert_texts([&refusal.code, &refusal.message, &refusal.friendly_message]);
        }
        SubmitReading::Deferred { .. } => assert_eq!(status, 429),
        SubmitReading::Unclear { .. } => {}
    }
}

fn asked(received: &ReceivedResponse<'_>) {
    let about_the_read = matches!(received.http_status, 300..=399 | 401 | 403 | 429 | 502..=504);
    for which in [TaskEndpoint::Status, TaskEndpoint::Result] {
        match read_task(received, which) {
            TaskReading::NotAboutTask { .. } => {}
            reading => {
                assert!(!about_the_read, "{reading:?}");
                match reading {
                    TaskReading::Transaction(snapshot) => assert_clean(&snapshot),
                    TaskReading::Refused(refusal) => {
                        let texts = [&refusal.code, &refusal.message, &refusal.friendly_message];
                        assert_texts(texts);
                    }
                    TaskReading::Other(value) => {
                        pan_oracle::assert_none_in_body(value.to_string().as_bytes());
                    }
                    _ => {}
                }
            }
        }
    }
}

fn looked_up(received: &ReceivedResponse<'_>) {
    let uid = Uid::from_gateway("6a0f5f1c-2f0e-4d2a-9f6e-0b1d7c9a1001").expect("a uid");
    match read_by_uid(received, &uid) {
        UidReading::Found(snapshot) => {
            assert_eq!(snapshot.uid, uid);
            assert_clean(&snapshot);
        }
        UidReading::Another(snapshot) => {
            assert_ne!(snapshot.uid, uid);
            assert_clean(&snapshot);
        }
        UidReading::Missing => assert_eq!(received.http_status, 404),
        UidReading::NotAbout { .. } | UidReading::Unreadable { .. } => {}
    }
    match read_by_tracking_id(received) {
        TrackingIdReading::Found { snapshots, .. } => snapshots.iter().for_each(assert_clean),
        TrackingIdReading::Empty => {
            // The one answer on which "it does not exist" can rest.
            assert_eq!(received.http_status, 200);
            assert!(!received.truncated);
            let body = decode::readable(received.body);
            let body: Value = serde_json::from_slice(&body).expect("json");
            assert_eq!(body["transactions"], Value::Array(Vec::new()));
        }
        TrackingIdReading::NotAbout { .. } | TrackingIdReading::Unreadable { .. } => {}
    }
}

/// Card data is out of a snapshot before it comes to be.
fn assert_clean(snapshot: &Snapshot) {
    pan_oracle::assert_none(snapshot.status.as_bytes());
    assert_texts([&snapshot.kind, &snapshot.code, &snapshot.message]);
    assert_texts([
        &snapshot.friendly_message,
        &snapshot.description,
        &snapshot.unread,
    ]);
    // An address is whole or not there.
    let url = snapshot.redirect_url.as_deref().unwrap_or_default();
    assert!(url.len() <= 8192 && !url.contains('\0'), "{url:?}");
}

fn assert_texts(texts: [&Option<String>; 3]) {
    for text in texts.into_iter().flatten() {
        pan_oracle::assert_none(text.as_bytes());
        assert!(!text.contains('\0'), "{text:?}");
    }
}

/// Any bytes at all.
pub fn redactor(data: &[u8]) {
    let once = redact(data);
    assert!(once.changed || once.bytes == data, "changed in secret");
    let again = redact(&once.bytes);
    assert!(
        !again.changed,
        "not stable: {:?}",
        String::from_utf8_lossy(&again.bytes)
    );
    pan_oracle::assert_none_in_body(&once.bytes);
    if let Ok(text) = std::str::from_utf8(data) {
        let once = redact_text(text);
        assert_eq!(redact_text(&once), once, "not stable");
    }
    if let Ok(value) = serde_json::from_slice::<Value>(data) {
        // A name that is given twice is once in the value.
        let plain = serde_json::to_vec(&value).expect("json");
        assert!(redact(&plain).changed || !carries_card_data(&value));
    }
}
