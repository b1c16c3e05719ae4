//! The danger: the one way to see what became of a payment is blind, or hangs, or is asked without end,
//! and the others are not tried; or something is sent that nobody wants sent any more.

use crate::world::{
    FakeGateway, FakeReply, Request, Setup, ack, eventually, eventually_within, transaction,
    wrapped,
};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// The tracking id behind a task, or the one that is looked up.
fn about(request: &Request) -> String {
    request
        .path
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn is_list(request: &Request) -> bool {
    request.path.contains("/tracking_id/")
}

fn is_task(request: &Request) -> bool {
    request.path.starts_with("/async/")
}

/// Takes a submit as a task that is named as the transaction is.
fn taken(request: &Request) -> FakeReply {
    let name = request.json()["request"]["tracking_id"].clone();
    let task = name.as_str().unwrap_or_default();
    FakeReply::Json(200, ack("http://127.0.0.1:1", task))
}

fn page(status: &str, headers: &str, body: &str) -> FakeReply {
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html\r\n{headers}Connection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    FakeReply::Raw(text.into_bytes())
}

/// What answers to reads are that say nothing of the transaction.
fn blind(kind: &str) -> FakeReply {
    match kind {
        "redirect" => page("302 Found", "Location: https://elsewhere.example/\r\n", ""),
        "bad gateway" => page("502 Bad Gateway", "", "<html>502</html>"),
        "html" => page("200 OK", "", "<html>we are back soon</html>"),
        "empty object" => FakeReply::Json(200, json!({})),
        "too long" => {
            let mut body = json!({"transaction": {"uid": "x", "status": "successful"}});
            body["filler"] = json!("x".repeat(1_153_434));
            FakeReply::Json(200, body)
        }
        "no access" => FakeReply::Json(401, json!({"message": "Access denied"})),
        _ => FakeReply::Close,
    }
}

const BLIND: [&str; 7] = [
    "redirect",
    "bad gateway",
    "html",
    "empty object",
    "too long",
    "no access",
    "nothing",
];

#[test]
fn a_task_that_cannot_be_read_does_not_hide_the_transaction() {
    let fake = FakeGateway::start(async |request| {
        if request.is_submit() {
            taken(&request)
        } else if is_list(&request) {
            let name = about(&request);
            let paid = transaction(&format!("uid-{name}"), &name, "successful");
            FakeReply::Json(200, json!({"transactions": [paid]}))
        } else {
            let kind: usize = about(&request).rsplit('-').next().unwrap().parse().unwrap();
            blind(BLIND[kind])
        }
    });
    Setup::default().gateway(&fake).run(async |world| {
        for kind in 0..BLIND.len() {
            world.pay(&format!("blind-{kind}")).await.expect(202);
        }
        for (kind, what) in BLIND.iter().enumerate() {
            let name = format!("blind-{kind}");
            let done = world.until_final(&name).await;
            assert_eq!(done["state"], "successful", "{what}");
            let reads = |is: fn(&Request) -> bool| {
                let seen = fake.seen();
                seen.iter().filter(|r| is(r) && about(r) == name).count()
            };
            assert!(reads(is_list) >= 1 && reads(is_task) >= 3, "{what}");
        }
    });
}

#[test]
fn uninformative_reads_become_rare_despite_retry_after() {
    for wish in ["0", "Sun, 06 Nov 1994 08:49:37 GMT", "86400"] {
        let fake = FakeGateway::start(move |request: Request| async move {
            if request.is_submit() {
                return taken(&request);
            }
            let head = format!("Retry-After: {wish}\r\nDate: Sun, 06 Nov 2005 08:49:37 GMT\r\n");
            page("503 Service Unavailable", &head, "")
        });
        let setup = Setup::default()
            .set("follow", "first_check", "\"100ms\"")
            .set("follow", "max_interval", "\"2s\"")
            .set("follow", "max_interval_old", "\"2s\"");
        setup.gateway(&fake).run(async |world| {
            world.pay("knocked").await.expect(202);
            let started = Instant::now();
            let reads = || fake.seen().iter().filter(|r| r.method == "GET").count();
            // 0.1 s, and then 0.2, 0.4, 0.8, 1.6 and 2 s later; a day is no more than 2 s each.
            let few = if wish == "86400" { 2 } else { 4 };
            eventually("some reads", async || (reads() >= few).then_some(())).await;
            let took = started.elapsed();
            assert!(took >= Duration::from_millis(1_000), "{took:?}");
            tokio::time::sleep(Duration::from_secs(4).saturating_sub(took)).await;
            assert!(reads() <= 7, "{} reads in four seconds", reads());
            let sql =
                "SELECT extract(epoch FROM due_at - clock_timestamp())::float8 FROM due_checks";
            let next: f64 = world.database.one(sql).await;
            assert!(next <= 5.0, "the next look in {next} s");
        });
    }
}

#[test]
fn a_deferred_submit_is_abandoned_and_can_be_posted_again() {
    let fake = FakeGateway::start(async |request| {
        if request.is_submit() {
            page("429 Too Many Requests", "Retry-After: 0\r\n", "")
        } else {
            FakeReply::Json(200, json!({"transactions": []}))
        }
    });
    let setup = Setup::default()
        .set("follow", "first_check", "\"5ms\"")
        .set("follow", "max_interval", "\"40ms\"");
    setup.gateway(&fake).run(async |world| {
        let asked = world.pay("put-off").await.expect(202).json;
        assert_eq!(asked["state"], "accepted");
        // Twenty attempts are at least a second apart each.
        let ended = eventually_within(Duration::from_secs(90), async || {
            let seen = world.status("put-off").await;
            (seen["final"] == true).then_some(seen)
        });
        let ended = ended.await.expect("it ends");
        assert_eq!(ended["state"], "not_sent");
        assert!(
            ended["message"].as_str().unwrap().contains("20 times"),
            "{ended}"
        );
        assert_eq!(fake.submits().len(), 20);
        let found = world.until_found("pending_too_long").await;
        assert_eq!(found["tracking_id"], "put-off");
        // It is sent again when its caller wants it.
        let again = world.pay("put-off").await;
        assert!([200, 202].contains(&again.status), "{again:?}");
        assert_eq!(fake.submits().len(), 21);
    });
}

#[test]
fn attempts_of_one_request_come_ever_more_rarely() {
    let fake = FakeGateway::start(async |request| {
        if request.is_submit() {
            page("429 Too Many Requests", "Retry-After: 0\r\n", "")
        } else {
            FakeReply::Json(200, json!({"transactions": []}))
        }
    });
    let setup = Setup::default()
        .set("follow", "first_check", "\"200ms\"")
        .set("follow", "max_interval", "\"10s\"")
        .set("follow", "max_interval_old", "\"10s\"");
    setup.gateway(&fake).run(async |world| {
        world.pay("slower").await.expect(202);
        let started = Instant::now();
        // Even when a person asks for a look in between.
        while started.elapsed() < Duration::from_secs(3) {
            world.check("slower").await.expect(202);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // After 0.4, 0.8 and 1.6 s.
        assert!(
            (3..=4).contains(&fake.submits().len()),
            "{}",
            fake.submits().len()
        );
    });
}

/// A gateway that forgets the first answer: the request is in doubt, and nothing is found of it.
fn forgetful() -> FakeGateway {
    FakeGateway::start(async |request| {
        if request.is_submit() {
            FakeReply::Close
        } else {
            FakeReply::Json(200, json!({"transactions": []}))
        }
    })
}

#[test]
fn a_pause_stops_repeats_under_the_same_request_id_too() {
    let fake = forgetful();
    let setup = Setup::default().set("gateway", "trust_request_id", "true");
    setup.gateway(&fake).run(async |world| {
        world.pause_submits().await;
        world.resume_submits().await;
        world.pay("repeated").await;
        eventually("a repeat", async || {
            (fake.submits().len() >= 2).then_some(())
        })
        .await;
        world.pause_submits().await;
        let settled = || fake.seen().iter().filter(|r| is_list(r)).count();
        // One may have been on its way.
        let before = settled();
        eventually("a look-up", async || {
            (settled() >= before + 2).then_some(())
        })
        .await;
        let (sent, before) = (fake.submits().len(), settled());
        eventually("more look-ups", async || {
            (settled() >= before + 5).then_some(())
        })
        .await;
        assert_eq!(fake.submits().len(), sent);
        world.resume_submits().await;
        eventually("the next repeat", async || {
            (fake.submits().len() > sent).then_some(())
        })
        .await;
    });
}

#[test]
fn a_recheck_finds_a_second_success() {
    let rows: Arc<Mutex<usize>> = Arc::new(Mutex::new(1));
    let listed = Arc::clone(&rows);
    let fake = FakeGateway::start(move |request| {
        let listed = *listed.lock().unwrap();
        async move {
            if request.is_submit() {
                return taken(&request);
            }
            let row = |n: usize| transaction(&format!("uid-{n}"), "twice", "successful");
            if is_list(&request) {
                let rows: Vec<Value> = (1..=listed).map(row).collect();
                return FakeReply::Json(200, json!({"transactions": rows}));
            }
            FakeReply::Json(200, wrapped(&row(1)))
        }
    });
    let setup = Setup::default().set("follow", "recheck_after_final", "[\"1h\"]");
    setup.gateway(&fake).run(async |world| {
        world.pay_and_wait("twice").await.expect(200);
        let asked = |is: fn(&Request) -> bool| fake.seen().iter().filter(|r| is(r)).count();
        let by_uid = |r: &Request| r.path.starts_with("/transactions/");
        // One request each, as long as the list holds what we know.
        world.check("twice").await.expect(202);
        eventually("a look-up", async || (asked(is_list) == 1).then_some(())).await;
        *rows.lock().unwrap() = 2;
        world.check("twice").await.expect(202);
        world.until_found("duplicate_success").await;
        assert_eq!((asked(is_list), asked(by_uid)), (2, 0));
        // A list that does not hold it is no word about it: its uid is asked for as well.
        *rows.lock().unwrap() = 0;
        world.check("twice").await.expect(202);
        eventually("a look-up by uid", async || {
            (asked(by_uid) == 1).then_some(())
        })
        .await;
        assert_eq!(world.state("twice").await, "successful");
        // A full list may have left something out.
        *rows.lock().unwrap() = 10;
        world.check("twice").await.expect(202);
        eventually("another one", async || (asked(by_uid) == 2).then_some(())).await;
    });
}

#[test]
fn hanging_reads_do_not_block_other_checks() {
    let fake = FakeGateway::start(async |request| {
        let name = about(&request);
        if request.is_submit() {
            taken(&request)
        } else if name.starts_with("hangs") {
            FakeReply::Hang
        } else if is_list(&request) {
            FakeReply::Json(200, json!({"transactions": []}))
        } else {
            let paid = transaction(&format!("uid-{name}"), &name, "successful");
            FakeReply::Json(200, wrapped(&paid))
        }
    });
    let setup = Setup::default()
        .shop_set("max_in_flight", "8")
        .set("gateway", "request_timeout", "\"2s\"")
        .set("follow", "first_check", "\"50ms\"")
        .set("follow", "max_interval", "\"1s\"")
        .set("follow", "max_interval_old", "\"1s\"");
    setup.gateway(&fake).run(async |world| {
        for n in 0..40 {
            world.pay(&format!("hangs-{n}")).await.expect(202);
        }
        eventually("all places taken by what hangs", async || {
            let hanging = fake
                .seen()
                .iter()
                .filter(|r| is_task(r) && !r.is_submit())
                .count();
            (hanging >= 8).then_some(())
        })
        .await;
        let started = Instant::now();
        for n in 0..10 {
            world.pay(&format!("well-{n}")).await.expect(202);
        }
        for n in 0..10 {
            world.until_final(&format!("well-{n}")).await;
        }
        let took = started.elapsed();
        assert!(took < Duration::from_secs(6), "{took:?}");
        assert_eq!(world.state("hangs-0").await, "processing");
    });
}

#[test]
fn an_unanswered_recheck_is_retried_for_a_day() {
    let fake = FakeGateway::start(async |request| {
        if request.is_submit() {
            taken(&request)
        } else if is_task(&request) {
            let name = about(&request);
            FakeReply::Json(200, wrapped(&transaction("uid-1", &name, "failed")))
        } else {
            FakeReply::Close
        }
    });
    let setup = Setup::default().set("follow", "recheck_after_final", "[\"500ms\"]");
    setup.gateway(&fake).run(async |world| {
        world.pay_and_wait("unheard").await.expect(200);
        let looks = || fake.seen().iter().filter(|r| is_list(r)).count();
        eventually("looks without an answer", async || {
            (looks() >= 3).then_some(())
        })
        .await;
        // Once for each way that was tried, by name and by uid, however often that was.
        let kept = world.evidence_by("unheard", "query").await;
        let ways: HashSet<&str> = kept.iter().filter_map(|e| e["subject"].as_str()).collect();
        assert_eq!(kept.len(), ways.len(), "{kept:?}");
        assert!((1..=2).contains(&kept.len()), "{kept:?}");
        for one in &kept {
            assert_eq!(one["verdict"], "refused");
            assert_eq!(one["http_status"], Value::Null);
        }
        // Two days on nothing is owed any more.
        let sql = "UPDATE transactions SET state_since = state_since - interval '2 days'";
        world.database.execute(sql).await;
        eventually("no more looks", async || {
            let left = "SELECT count(*) FROM due_checks";
            (world.database.one::<i64>(left).await == 0).then_some(())
        })
        .await;
    });
}

#[test]
fn a_decline_is_final_once_its_task_confirms_it() {
    // By the pace alone the task would be asked in an hour.
    let setup = Setup::default()
        .set("follow", "first_check", "\"1h\"")
        .set("follow", "max_interval", "\"1h\"")
        .set("follow", "max_interval_old", "\"1h\"");
    setup.run(async |world| {
        world.pay("decline-told").await.expect(202);
        let ended = world.until_final("decline-told").await;
        assert_eq!(ended["state"], "failed");
        let reads = world.twin().requests("result", "decline-told").await;
        assert!((1..=2).contains(&reads.len()), "{reads:?}");
        let webhook = world.evidence_by("decline-told", "webhook").await;
        let asked = world.evidence_by("decline-told", "task_result").await;
        assert!(webhook[0]["position"].as_u64() < asked[0]["position"].as_u64());
    });
}
