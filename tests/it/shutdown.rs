//! The danger: a process that ends, and takes with it what was on the wire.

use crate::world::{
    FakeGateway, FakeReply, Setup, ack, eventually, eventually_within, payment, transaction,
    wrapped,
};
use rustix::process::Signal;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// An idle service takes no longer than this to stop.
const IDLE_STOP: Duration = Duration::from_secs(2);

#[test]
fn an_idle_service_stops_at_once() {
    Setup::default().service_down().run(async |world| {
        for signal in [Signal::TERM, Signal::INT] {
            let mut process = world.process().await;
            world
                .pay_and_wait(&format!("ok-idle-{signal:?}"))
                .await
                .expect(200);
            let started = Instant::now();
            process.signal(signal);
            assert!(process.ended().await.success(), "{}", process.log());
            assert!(started.elapsed() < IDLE_STOP, "{:?}", started.elapsed());
        }
    });
}

/// A gateway that holds each POST until it is told to go on.
fn holding(held: &Arc<Notify>) -> FakeGateway {
    let held = Arc::clone(held);
    FakeGateway::start(move |request| {
        let held = Arc::clone(&held);
        async move {
            if request.is_submit() {
                held.notified().await;
                return FakeReply::Json(200, ack("http://127.0.0.1:1", "task-1"));
            }
            FakeReply::Json(425, json!({"status": "processing", "request_id": "task-1"}))
        }
    })
}

#[test]
fn a_stop_waits_for_the_submit_that_is_on_the_wire() {
    // Whether a caller waits for it too, or nobody does.
    for headers in [&[][..], &[("prefer", "respond-async")]] {
        let held = Arc::new(Notify::new());
        let fake = holding(&held);
        let setup = Setup::default().set("gateway", "request_timeout", "\"8s\"");
        let setup = setup
            .set("follow", "lease", "\"12s\"")
            .gateway(&fake)
            .service_down();
        setup.run(async |world| {
            let mut process = world.process().await;
            let asking = world.post_with("payments", headers, payment("ok-wire"));
            let stopping = async {
                eventually("the POST", async || {
                    (!fake.submits().is_empty()).then_some(())
                })
                .await;
                process.signal(Signal::TERM);
                eventually("readiness is off", async || {
                    (world.readiness().await != Some(200)).then_some(())
                })
                .await;
                // As long as a service takes to stop that waits for nothing.
                let ended = eventually_within(IDLE_STOP, async || process.has_ended()).await;
                assert!(ended.is_none(), "it did not wait:\n{}", process.log());
                held.notify_one();
            };
            let (answer, ()) = tokio::join!(asking, stopping);
            answer.expect(202);
            assert!(process.ended().await.success(), "{}", process.log());
            let state = world
                .database
                .one::<String>("SELECT state FROM transactions")
                .await;
            assert_eq!(state, "processing");
            assert_eq!(fake.submits().len(), 1);
        });
    }
}

#[test]
fn a_stop_answers_waiting_requests() {
    Setup::default().service_down().run(async |world| {
        let mut process = world.process().await;
        let headers = [("prefer", "wait=60")];
        let waiting = world.post_with("payments", &headers, payment("never-wait"));
        let stopping = async {
            world.twin().until_posted("never-wait").await;
            world.until_state_if_there("never-wait", "processing").await;
            process.signal(Signal::TERM);
            process.ended().await
        };
        let (answer, status) = tokio::join!(waiting, stopping);
        assert_eq!(answer.expect(202).json["state"], "processing");
        assert!(status.success(), "{}", process.log());
    });
}

#[test]
fn an_expired_drain_leaves_doubt_and_no_second_post() {
    let held = Arc::new(Notify::new());
    let fake = holding(&held);
    let setup = Setup::default()
        .set("gateway", "request_timeout", "\"3s\"")
        .set("follow", "lease", "\"3500ms\"")
        .set("serve", "drain_timeout", "\"300ms\"")
        .gateway(&fake)
        .service_down();
    setup.run(async |world| {
        let mut process = world.process().await;
        let path = world.path("payments");
        let body = payment("ok-drained").to_string();
        let headers = [
            ("content-type", "application/json"),
            ("prefer", "respond-async"),
        ];
        world
            .raw(reqwest::Method::POST, &path, &headers, body)
            .await
            .expect(202);
        eventually("the POST", async || {
            (!fake.submits().is_empty()).then_some(())
        })
        .await;
        process.signal(Signal::TERM);
        assert!(process.ended().await.success(), "{}", process.log());
        let mut next = world.process().await;
        world.until_state("ok-drained", "in_doubt").await;
        assert_eq!(fake.submits().len(), 1);
        next.signal(Signal::TERM);
        next.ended().await;
    });
}

#[test]
fn a_kill_leaves_doubt_that_another_replica_resolves() {
    let held = Arc::new(Notify::new());
    let waiting = Arc::clone(&held);
    // The gateway takes the POST, and nobody is left to hear that.
    let fake = FakeGateway::start(move |request| {
        let waiting = Arc::clone(&waiting);
        async move {
            if request.is_submit() {
                waiting.notified().await;
                return FakeReply::Close;
            }
            let found = transaction("uid-killed", "ok-killed", "successful");
            if request.path.contains("/tracking_id/") {
                return FakeReply::Json(200, json!({"transactions": [found]}));
            }
            FakeReply::Json(200, wrapped(&found))
        }
    });
    // Long enough for a slow machine to see the POST and to kill in time.
    Setup::default()
        .set("gateway", "request_timeout", "\"3s\"")
        .set("follow", "lease", "\"4s\"")
        .gateway(&fake)
        .service_down()
        .run(async |world| {
            let mut process = world.process().await;
            let body = payment("ok-killed");
            let headers = [("prefer", "respond-async")];
            world
                .post_with("payments", &headers, body.clone())
                .await
                .expect(202);
            eventually("the POST", async || {
                (!fake.submits().is_empty()).then_some(())
            })
            .await;
            process.signal(Signal::KILL);
            assert!(!process.ended().await.success());
            let state = world
                .database
                .one::<String>("SELECT state FROM transactions")
                .await;
            assert_eq!(state, "submitting");

            let mut second = world.process().await;
            // Asked again at once, it is not sent again.
            let again = world.post("payments", body).await.expect(200);
            assert_eq!(again.json["final"], false);
            let done = world.until_final("ok-killed").await;
            assert_eq!(
                (&done["state"], &done["uid"]),
                (&json!("successful"), &json!("uid-killed"))
            );
            let story = world.story("ok-killed").await;
            assert!(
                story.iter().any(|(_, state)| state == "in_doubt"),
                "{story:?}"
            );
            let acts = world.evidence_by("ok-killed", "local").await;
            assert!(
                acts.iter().any(|e| e["subject"] == "went_silent"),
                "{acts:?}"
            );
            assert_eq!(fake.submits().len(), 1);
            held.notify_one();
            second.signal(Signal::TERM);
            assert!(second.ended().await.success(), "{}", second.log());
        });
}

#[test]
fn many_payments_survive_processes_that_are_killed() {
    Setup::default()
        .impatient()
        .service_down()
        .run(async |world| {
            world
                .twin()
                .switch(json!({"task_delay": {"fixed": {"seconds": 0.5}}}))
                .await;
            let (mut survivor, other) = world.another_process().await;
            let names: Vec<String> = (0..30).map(|n| format!("ok-kill-{n}")).collect();
            for part in names.chunks(10) {
                let mut process = world.process().await;
                let pays = part.iter().map(|name| world.pay_async(name));
                for answer in futures_util::future::join_all(pays).await {
                    answer.expect(202);
                }
                process.signal(Signal::KILL);
                process.ended().await;
            }
            let mut sent = 0;
            for name in &names {
                let done = other.until_final(name).await;
                // A process may be killed between its stamp and the first byte. Nobody sends such a payment
                // again, and its absence is proved.
                let posts = world.twin().posts(name).await;
                let end = match posts {
                    0 => "not_found",
                    _ => "successful",
                };
                assert_eq!((&done["state"], posts < 2), (&json!(end), true), "{done}");
                sent += posts;
            }
            assert!(sent > 15, "{sent}");
            survivor.signal(Signal::TERM);
            assert!(survivor.ended().await.success(), "{}", survivor.log());
        });
}
