//! The danger: a request on the wire of which the database knows nothing, or more than one.

use crate::world::{
    FakeGateway, FakeReply, Request, SECRET, SHOP, Setup, ack, eventually, payment, transaction,
    wrapped,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::{GatewayIdempotencyKey, ShopId, TrackingId};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row};
use std::sync::{Arc, Mutex, OnceLock};

const ORIGIN: &str = "http://127.0.0.1:1";

fn running() -> FakeReply {
    FakeReply::Json(425, json!({"status": "processing", "request_id": "task-1"}))
}

/// A gateway that takes each submit as a task that never ends.
fn taking() -> FakeGateway {
    FakeGateway::start(async |request| {
        if request.is_submit() {
            taken()
        } else {
            running()
        }
    })
}

fn taken() -> FakeReply {
    FakeReply::Json(200, ack(ORIGIN, "task-1"))
}

#[derive(Debug, Clone)]
struct Committed {
    state: String,
    leased: bool,
    acts: Vec<String>,
}

async fn committed(url: &str) -> Committed {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let row = sqlx::query(
        "SELECT t.state, d.lease IS NOT NULL AND d.due_at > clock_timestamp() AS leased,
            (SELECT array_agg(e.subject ORDER BY e.position) FROM evidence e
             WHERE e.transaction_id = t.id) AS acts
         FROM transactions t JOIN due_checks d ON d.transaction_id = t.id",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    Committed {
        state: row.get("state"),
        leased: row.get("leased"),
        acts: row.get("acts"),
    }
}

#[test]
fn the_stamp_and_the_lease_are_committed_before_a_byte_leaves() {
    for header in [None, Some(("prefer", "respond-async"))] {
        let url = Arc::new(OnceLock::<String>::new());
        let seen = Arc::new(Mutex::new(None::<Committed>));
        let (at, note) = (Arc::clone(&url), Arc::clone(&seen));
        // The gateway reads our database while it holds the POST.
        let fake = FakeGateway::start(move |request| {
            let (at, note) = (Arc::clone(&at), Arc::clone(&note));
            async move {
                if !request.is_submit() {
                    return running();
                }
                let found = committed(at.get().unwrap()).await;
                *note.lock().unwrap() = Some(found);
                taken()
            }
        });
        Setup::default().gateway(&fake).run(async |world| {
            url.set(world.database.url.clone()).unwrap();
            let headers: Vec<_> = header.into_iter().collect();
            world
                .post_with("payments", &headers, payment("ok-1"))
                .await
                .expect(202);
            world.until_state("ok-1", "processing").await;
            let committed = seen.lock().unwrap().clone().expect("a POST");
            assert_eq!(committed.state, "submitting", "{committed:?}");
            assert!(committed.leased, "{committed:?}");
            assert_eq!(committed.acts, ["opened", "stamped"]);
        });
    }
}

#[test]
fn a_submit_matches_the_gateways_documentation() {
    let fake = taking();
    Setup::default().gateway(&fake).run(async |world| {
        let mut body = payment("wire-1");
        body["notification_url"] = json!("https://evil.example/");
        body["some_new_field"] = json!({"nested": [1, 2.50, null]});
        world.post("payments", body).await.expect(202);
        let submits = fake.submits();
        let [submit] = submits.as_slice() else {
            panic!("{submits:?}")
        };
        assert_eq!(submit.path, "/async/transactions/payments");
        let basic = format!("Basic {}", STANDARD.encode(format!("{SHOP}:{SECRET}")));
        assert_eq!(submit.header("authorization"), Some(&*basic));
        assert_eq!(submit.header("content-type"), Some("application/json"));
        let key = GatewayIdempotencyKey::of(
            &ShopId::parse(SHOP).unwrap(),
            &TrackingId::parse("wire-1").unwrap(),
        );
        assert_eq!(submit.header("requestid"), Some(&*key.0.to_string()));
        assert_eq!(key.0.get_version_num(), 5);
        let sent = submit.json();
        let request = &sent["request"];
        assert_eq!(request["tracking_id"], "wire-1");
        assert_eq!(request["amount"], 3245);
        assert_eq!(request["notification_url"], world.hook_url());
        assert_eq!(
            request["some_new_field"],
            json!({"nested": [1, 2.50, null]})
        );
        assert_eq!(sent.as_object().unwrap().len(), 1);
    });
}

#[test]
fn the_request_id_of_a_tracking_id_never_changes() {
    // A value of the contract: two programs and two years apart must agree.
    let key = GatewayIdempotencyKey::of(
        &ShopId::parse("1001").unwrap(),
        &TrackingId::parse("a").unwrap(),
    );
    let again = GatewayIdempotencyKey::of(
        &ShopId::parse("1001").unwrap(),
        &TrackingId::parse("a").unwrap(),
    );
    assert_eq!(key, again);
    let other = GatewayIdempotencyKey::of(
        &ShopId::parse("1002").unwrap(),
        &TrackingId::parse("a").unwrap(),
    );
    assert_ne!(key, other);
    let fake = FakeGateway::start(async |request| match request.posts_before {
        _ if !request.is_submit() => running(),
        0 => FakeReply::Json(429, json!({"message": "slow down"})),
        _ => taken(),
    });
    Setup::default().gateway(&fake).run(async |world| {
        world.pay("wire-2").await.expect(202);
        world.until_state("wire-2", "processing").await;
        let keys: Vec<String> = fake
            .submits()
            .iter()
            .map(|submit| submit.header("requestid").unwrap().to_owned())
            .collect();
        assert_eq!(keys.len(), 2);
        assert_eq!(keys[0], keys[1]);
    });
}

/// Cuts connections at every point of a POST, and counts. A pooled connection is left behind by
/// reads, and by a submit that was answered.
#[test]
fn a_cut_connection_is_never_a_second_post() {
    let cuts: [fn() -> FakeReply; 4] = [
        || FakeReply::Close,
        || FakeReply::Raw(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()),
        || FakeReply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"stat".to_vec()),
        || FakeReply::Raw(b"nonsense\r\n\r\n".to_vec()),
    ];
    for cut in cuts {
        let fake = FakeGateway::start(move |request: Request| async move {
            let list = json!({"transactions": []});
            match (request.is_submit(), request.posts_before) {
                (true, 0) => taken(),
                (true, _) => cut(),
                (false, _) if request.path.contains("tracking_id") => FakeReply::Json(200, list),
                (false, _) => running(),
            }
        });
        Setup::default().gateway(&fake).run(async |world| {
            world.pay("warm-1").await.expect(202);
            eventually("a read on a pooled connection", async || {
                fake.seen().iter().any(|r| r.place.1 > 0).then_some(())
            })
            .await;
            world.pay("cut-1").await.expect(202);
            world.until_state("cut-1", "in_doubt").await;
            eventually("look-ups", async || {
                let lookups = fake
                    .seen()
                    .into_iter()
                    .filter(|r| r.path.ends_with("cut-1"));
                (lookups.count() >= 2).then_some(())
            })
            .await;
            assert_eq!(posts_of(&fake, "cut-1"), 1);
            assert_eq!(posts_of(&fake, "warm-1"), 1);
        });
    }
}

#[test]
fn a_submit_never_reuses_a_connection() {
    // A connection that has been used may be dead in a way that shows after the POST is written.
    let fake = taking();
    Setup::default().gateway(&fake).run(async |world| {
        for name in ["fresh-1", "fresh-2", "fresh-3"] {
            world.pay(name).await.expect(202);
            world.until_state(name, "processing").await;
        }
        let places: Vec<_> = fake.submits().iter().map(|submit| submit.place).collect();
        assert!(places.iter().all(|(_, number)| *number == 0), "{places:?}");
    });
}

#[test]
fn a_redirect_is_not_followed() {
    let other = taking();
    let target = other.base();
    let fake = FakeGateway::start(move |request| {
        let location = format!("{target}{}", request.path);
        async move {
            if request.path.contains("tracking_id") {
                return FakeReply::Json(200, json!({"transactions": []}));
            }
            let head =
                format!("HTTP/1.1 307 X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
            FakeReply::Raw(head.into_bytes())
        }
    });
    Setup::default().gateway(&fake).run(async |world| {
        world.pay("redirected-1").await.expect(202);
        world.until_state("redirected-1", "in_doubt").await;
        assert!(
            other.seen().is_empty(),
            "the secret went to {:?}",
            other.seen()
        );
        assert_eq!(posts_of(&fake, "redirected-1"), 1);
    });
}

#[test]
fn an_address_of_another_origin_is_refused_and_kept() {
    let thief = taking();
    let origin = thief.base();
    let fake = FakeGateway::start(move |request| {
        let ack = ack(&origin, "task-9");
        async move {
            if request.is_submit() {
                return FakeReply::Json(200, ack);
            }
            assert!(request.path.ends_with("/task-9"), "{}", request.path);
            FakeReply::Json(
                200,
                wrapped(&transaction("uid-9", "foreign-1", "successful")),
            )
        }
    });
    Setup::default().gateway(&fake).run(async |world| {
        let done = world
            .post_with("payments", &[("prefer", "wait=20")], payment("foreign-1"))
            .await
            .expect(200);
        // It is followed on our own origin.
        assert_eq!(done.json["state"], "successful");
        assert!(
            thief.seen().is_empty(),
            "the secret went to {:?}",
            thief.seen()
        );
        let acks = world.evidence_by("foreign-1", "ack").await;
        let note = acks[0]["note"].as_str().unwrap();
        assert!(note.contains("origin"), "{note}");
        let told = world.explain("foreign-1").await["because"].to_string();
        assert!(told.contains("origin"), "{told}");
    });
}

#[test]
fn a_disconnected_caller_cancels_nothing() {
    let fake = FakeGateway::start(async |request| {
        if request.is_submit() {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            return taken();
        }
        running()
    });
    Setup::default().gateway(&fake).run(async |world| {
        let gone =
            tokio::time::timeout(std::time::Duration::from_millis(200), world.pay("gone-1")).await;
        assert!(gone.is_err(), "the caller was to go away");
        world.until_state("gone-1", "processing").await;
        assert_eq!(posts_of(&fake, "gone-1"), 1);
    });
}

fn posts_of(fake: &FakeGateway, tracking_id: &str) -> usize {
    let named = |submit: &&Request| submit.json()["request"]["tracking_id"] == *tracking_id;
    fake.submits().iter().filter(named).count()
}

#[test]
fn a_number_is_sent_on_as_it_came() {
    let fake = taking();
    Setup::default().gateway(&fake).run(async |world| {
        let body = r#"{"amount":3245,"currency":"EUR","description":"o","tracking_id":"num-1",
            "additional_data":{"rate":1.10,"big":12345678901234567890,"e":1e2}}"#;
        let headers = [("content-type", "application/json")];
        let path = world.path("payments");
        world
            .raw(reqwest::Method::POST, &path, &headers, body)
            .await
            .expect(202);
        let sent = fake.submits()[0].json()["request"]["additional_data"].clone();
        let expected: Value =
            serde_json::from_str(r#"{"rate":1.10,"big":12345678901234567890,"e":1e2}"#).unwrap();
        assert_eq!(sent, expected);
    });
}
