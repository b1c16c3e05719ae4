//! What the answers to look-ups say: by uid, and by tracking id.
//!
//! A look-up that finds nothing is the only road to "it does not exist", so that an answer counts
//! as empty only when nothing else can be read into it. What it deliberately cannot do: choose
//! between several transactions; candidates are weighed by the fold.

use super::body_shape::{self, Shape};
use super::reading::{ReceivedResponse, reason};
use super::refusals;
use super::transaction;
use domain::{Snapshot, Uid};
use std::time::Duration;

/// A list that is this long may have left older transactions out.
pub const LOOKUP_PAGE_ROWS: usize = 10;

/// What the answer to a look-up by uid says.
#[derive(Debug, Clone, PartialEq)]
pub enum UidReading {
    /// The transaction.
    Found(Box<Snapshot>),
    /// Another transaction than the one that was asked for. It says nothing of that one.
    Another(Box<Snapshot>),
    /// The gateway has no such uid.
    Missing,
    /// The answer is about the read: ask again.
    NotAbout {
        /// What came.
        reason: String,
        /// How long the gateway asks us to wait.
        retry_after: Option<Duration>,
    },
    /// The answer should say something and cannot be understood.
    Unreadable {
        /// What is wrong with it.
        reason: String,
    },
}

/// What the answer to a look-up by tracking id says.
#[derive(Debug, Clone, PartialEq)]
pub enum TrackingIdReading {
    /// At least one transaction.
    Found {
        /// Those that could be read, in the order of the answer.
        snapshots: Vec<Snapshot>,
        /// Others may be missing: the list is as long as lists get, broke off, or came with an error.
        full: bool,
        /// So many more rows could not be read. While there are any, nothing is proved absent.
        unread: usize,
    },
    /// HTTP 200 and an empty list: the one answer that counts towards a proof of absence.
    Empty,
    /// The answer is about the read: ask again.
    NotAbout {
        /// What came.
        reason: String,
        /// How long the gateway asks us to wait.
        retry_after: Option<Duration>,
    },
    /// The answer should say something and cannot be understood.
    Unreadable {
        /// What is wrong with it.
        reason: String,
    },
}

/// Reads the answer to a look-up of `asked`.
pub fn read_by_uid(received: &ReceivedResponse<'_>, asked: &Uid) -> UidReading {
    let not_about = |what| UidReading::NotAbout {
        reason: reason(received, what),
        retry_after: received.retry_after,
    };
    let unreadable = |what: &str| UidReading::Unreadable {
        reason: reason(received, what),
    };
    if received.is_about_the_read() {
        return not_about("a status that describes the read");
    }
    match received.shape() {
        Shape::Transaction(fields) if received.is_success() => {
            match transaction::snapshot(&fields, received.source()) {
                Ok(snapshot) if snapshot.uid == *asked => UidReading::Found(Box::new(snapshot)),
                Ok(snapshot) => UidReading::Another(Box::new(snapshot)),
                Err(malformed) => unreadable(&format!("a transaction whose {malformed}")),
            }
        }
        Shape::Error(error)
            if received.http_status == 404 && !refusals::is_about_the_read(&error) =>
        {
            UidReading::Missing
        }
        other => match no_answer(received, &other) {
            Ok(what) => not_about(what),
            Err(what) => unreadable(what),
        },
    }
}

/// Reads the answer to a look-up by tracking id.
pub fn read_by_tracking_id(received: &ReceivedResponse<'_>) -> TrackingIdReading {
    let not_about = |what| TrackingIdReading::NotAbout {
        reason: reason(received, what),
        retry_after: received.retry_after,
    };
    let unreadable = |what| TrackingIdReading::Unreadable {
        reason: reason(received, what),
    };
    if received.is_about_the_read() {
        return not_about("a status that describes the read");
    }
    match received.shape() {
        Shape::List {
            rows,
            troubled: true,
        } if rows.is_empty() => not_about("a list that came with an error, or is not whole"),
        Shape::List { rows, .. } if rows.is_empty() && received.truncated => {
            not_about("an empty list that broke off")
        }
        Shape::List { rows, .. } if rows.is_empty() && received.http_status == 200 => {
            TrackingIdReading::Empty
        }
        Shape::List { rows, troubled } if received.is_success() && !rows.is_empty() => {
            let full = rows.len() >= LOOKUP_PAGE_ROWS || troubled || received.truncated;
            let read = |row| {
                body_shape::row(row)
                    .and_then(|row| transaction::snapshot(row, received.source()).ok())
            };
            let snapshots: Vec<Snapshot> = rows.iter().filter_map(read).collect();
            let unread = rows.len() - snapshots.len();
            if snapshots.is_empty() {
                return unreadable("a list of which no row can be read");
            }
            TrackingIdReading::Found {
                snapshots,
                full,
                unread,
            }
        }
        // An older path of the gateway answers with one transaction.
        Shape::Transaction(fields) if received.is_success() => {
            match transaction::snapshot(&fields, received.source()) {
                Ok(snapshot) => TrackingIdReading::Found {
                    snapshots: vec![snapshot],
                    full: false,
                    unread: 0,
                },
                Err(_) => unreadable("a transaction that cannot be read"),
            }
        }
        other => match no_answer(received, &other) {
            Ok(what) => not_about(what),
            Err(what) => unreadable(what),
        },
    }
}

/// What a body is that answers no lookup: `Ok` if it is about the read, `Err` if it cannot be understood.
fn no_answer(
    received: &ReceivedResponse<'_>,
    shape: &Shape<'_>,
) -> Result<&'static str, &'static str> {
    match shape {
        Shape::Error(error) if refusals::is_about_the_read(error) => {
            Ok("an error that describes the read")
        }
        Shape::Error(_) if !received.is_success() => Ok("an error"),
        Shape::NotJson if received.http_status != 200 => Ok("no readable json"),
        Shape::NotJson => Err("no readable json"),
        _ => Err("something that is no answer to a look-up"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]
    use super::*;
    use domain::Timestamp;
    use serde_json::{Value, json};

    const UID: &str = "6a0f5f1c-2f0e-4d2a-9f6e-0b1d7c9a1001";

    fn received(http_status: u16, body: &[u8]) -> ReceivedResponse<'_> {
        ReceivedResponse {
            http_status,
            retry_after: Some(Duration::from_secs(3)),
            body,
            sha256: [7; 32],
            truncated: false,
            at: Timestamp::from_micros(0),
        }
    }

    fn by_uid(http_status: u16, body: &Value) -> UidReading {
        let body = body.to_string();
        read_by_uid(
            &received(http_status, body.as_bytes()),
            &Uid::from_gateway(UID).unwrap(),
        )
    }

    fn by_tracking_id(http_status: u16, body: &Value) -> TrackingIdReading {
        read_by_tracking_id(&received(http_status, body.to_string().as_bytes()))
    }

    fn transaction(uid: &str) -> Value {
        json!({"uid": uid, "status": "successful", "amount": 100, "currency": "EUR"})
    }

    #[test]
    fn a_lookup_by_uid_accepts_only_that_uid() {
        let found = |reading| matches!(reading, UidReading::Found(s) if s.uid.as_str() == UID);
        assert!(found(by_uid(
            200,
            &json!({"transaction": transaction(UID)})
        )));
        assert!(found(by_uid(200, &transaction(UID))));
        let another =
            |reading| matches!(reading, UidReading::Another(s) if s.uid.as_str() == "other");
        assert!(another(by_uid(
            200,
            &json!({"transaction": transaction("other")})
        )));
        let unreadable = |reading| matches!(reading, UidReading::Unreadable { .. });
        assert!(unreadable(by_uid(422, &transaction(UID))));
        assert!(unreadable(by_uid(200, &json!({"transactions": []}))));
        assert!(unreadable(by_uid(200, &json!({}))));
    }

    #[test]
    fn a_uid_is_missing_only_if_the_gateway_reports_it() {
        let gone = json!({"response": {"message": "Record not found"}});
        assert_eq!(by_uid(404, &gone), UidReading::Missing);
        assert_eq!(
            by_uid(404, &json!({"message": "Record not found"})),
            UidReading::Missing
        );
        let not_about = |reading| matches!(reading, UidReading::NotAbout { .. });
        assert!(not_about(by_uid(
            404,
            &json!({"code": "E.1021", "message": "x"})
        )));
        let page = b"<html>404 Not Found</html>";
        let uid = Uid::from_gateway(UID).unwrap();
        assert!(not_about(read_by_uid(&received(404, page), &uid)));
        assert!(not_about(read_by_uid(&received(404, b""), &uid)));
        for status in [401, 403, 429, 302, 502, 503, 504] {
            assert!(not_about(by_uid(status, &gone)), "{status}");
        }
        let task = json!({"status": "unknown", "request_id": "1"});
        assert!(matches!(by_uid(404, &task), UidReading::Unreadable { .. }));
        assert!(matches!(
            by_uid(404, &json!({})),
            UidReading::Unreadable { .. }
        ));
    }

    #[test]
    fn only_a_plain_empty_list_is_empty() {
        assert_eq!(
            by_tracking_id(200, &json!({"transactions": []})),
            TrackingIdReading::Empty
        );
        for (status, body) in [
            (201, json!({"transactions": []})),
            (404, json!({"transactions": []})),
            (200, json!({"transactions": null})),
            (200, json!({"transactions": {}})),
            (200, json!([])),
            (200, json!({"response": {"message": "Record not found"}})),
        ] {
            let reading = by_tracking_id(status, &body);
            assert!(
                matches!(reading, TrackingIdReading::Unreadable { .. }),
                "{status} {body}"
            );
        }
        for status in [401, 403, 429, 302, 502, 503, 504] {
            let reading = by_tracking_id(status, &json!({"transactions": []}));
            assert!(
                matches!(reading, TrackingIdReading::NotAbout { .. }),
                "{status}"
            );
        }
        let cut = |body| ReceivedResponse {
            truncated: true,
            ..received(200, body)
        };
        assert!(matches!(
            read_by_tracking_id(&cut(br#"{"transactions":["#)),
            TrackingIdReading::Unreadable { .. }
        ));
        assert!(matches!(
            read_by_tracking_id(&cut(br#"{"transactions":[]}"#)),
            TrackingIdReading::NotAbout { .. }
        ));
        let gone = json!({"response": {"message": "Record not found"}});
        assert!(matches!(
            by_tracking_id(404, &gone),
            TrackingIdReading::NotAbout { .. }
        ));
    }

    #[test]
    fn a_list_with_an_error_beside_it_is_never_empty() {
        for (name, said) in [
            ("errors", json!({"base": ["try later"]})),
            ("errors", json!({})),
            ("message", json!("")),
            ("message", json!("Shard 2 is away")),
            ("friendly_message", json!("sorry")),
            ("error", json!("x")),
            ("response", json!({"message": "x"})),
            ("code", json!("E.1000")),
            ("error_code", json!("P.0001")),
            ("status", json!("error")),
        ] {
            let quiet = said == json!("");
            let body = json!({"transactions": [], name: said});
            let reading = by_tracking_id(200, &body);
            let empty = reading == TrackingIdReading::Empty;
            assert_eq!(empty, quiet, "{body} {reading:?}");
            let mut body = body;
            body["transactions"] = json!([transaction("a")]);
            let reading = by_tracking_id(200, &body);
            assert!(
                matches!(&reading, TrackingIdReading::Found { snapshots, full, .. }
                    if snapshots.len() == 1 && *full != quiet),
                "{body} {reading:?}"
            );
        }
        let nothing = json!({"transactions": [], "errors": null, "message": null});
        assert_eq!(by_tracking_id(200, &nothing), TrackingIdReading::Empty);
    }

    #[test]
    fn a_damaged_row_hides_no_other() {
        let body = b"{\"transactions\":[{\"uid\":\"a\xff\"},{\"uid\":\"b\",\"message\":\"\\ud83d\"},{\"uid\":\"c\",\"status\":\"failed\"}]}";
        let reading = read_by_tracking_id(&received(200, body));
        let TrackingIdReading::Found {
            snapshots, unread, ..
        } = reading
        else {
            panic!("{reading:?}")
        };
        let uids: Vec<&str> = snapshots.iter().map(|s| s.uid.as_str()).collect();
        assert_eq!((uids, unread), (vec!["b", "c"], 1));
    }

    #[test]
    fn rows_in_every_clothing() {
        let rows = json!({"transactions": [
            transaction("a"), {"transaction": transaction("b")},
            {"uid": "c", "status": "failed", "transaction": {"status": "failed"}},
            {"status": "failed", "amount": 5, "transaction": {"uid": "acquirer"}},
            {"no": "uid"}, 5, {"uid": {}, "transaction": {"uid": "acquirer"}},
            {"amount": 1500, "transaction": {"uid": "acquirer"}},
            {"uid": "d", "status": "successful", "amount": "1,5", "transaction": {"uid": "acquirer"}},
        ]});
        let TrackingIdReading::Found {
            snapshots,
            full,
            unread,
        } = by_tracking_id(200, &rows)
        else {
            panic!("nothing found")
        };
        let uids: Vec<&str> = snapshots.iter().map(|s| s.uid.as_str()).collect();
        assert_eq!((uids, full, unread), (vec!["a", "b", "c", "d"], false, 5));
        assert_eq!(
            snapshots[3].unread.as_deref(),
            Some("amount \"1,5\""),
            "it is seen, and not believed"
        );

        let ten = json!({"transactions": vec![transaction("x"); 10]});
        assert!(matches!(
            by_tracking_id(200, &ten),
            TrackingIdReading::Found { full: true, .. }
        ));
        let junk = json!({"transactions": [1, 2]});
        assert!(matches!(
            by_tracking_id(200, &junk),
            TrackingIdReading::Unreadable { .. }
        ));
        let one = json!({"transaction": transaction("x")});
        assert!(matches!(
            by_tracking_id(200, &one),
            TrackingIdReading::Found { unread: 0, .. }
        ));
    }

    #[test]
    fn a_list_that_is_not_all_there_is_is_not_empty() {
        for (name, said) in [
            ("has_more", json!(true)),
            ("has_more", json!("true")),
            ("total", json!(3)),
            ("count", json!("1")),
            ("total_count", json!(1)),
            ("next_page", json!("https://gw.example/?page=2")),
            ("meta", json!({"total": 3})),
            ("pagination", json!({"has_next": 1})),
        ] {
            let none = by_tracking_id(200, &json!({"transactions": [], name: said}));
            assert!(
                matches!(none, TrackingIdReading::NotAbout { .. }),
                "{name} {said}"
            );
        }
        let one = transaction(UID);
        let some = json!({"transactions": [one], "total": 2});
        assert!(matches!(
            by_tracking_id(200, &some),
            TrackingIdReading::Found { full: true, .. }
        ));
        let all = json!({"transactions": [one], "total": 1, "has_more": false, "next": null});
        assert!(matches!(
            by_tracking_id(200, &all),
            TrackingIdReading::Found { full: false, .. }
        ));
        let none = json!({"transactions": [], "total": 0, "count": 0, "has_more": false,
            "next_page": false, "meta": {"total": "0"}, "total_pages": 1});
        assert_eq!(by_tracking_id(200, &none), TrackingIdReading::Empty);
    }
}
