//! The danger: a caller who is answered with something that no document promises.

use crate::world::{KEY, SHOP, Setup, eventually, payment};
use reqwest::Method;
use serde_json::{Value, json};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

#[test]
fn a_body_that_is_no_json_is_malformed() {
    Setup::default().run(async |world| {
        let path = world.path("payments");
        for body in ["", "{", "{\"a\":1}}", "nonsense", "{\"a\":NaN}"] {
            let answer = world.raw(Method::POST, &path, &JSON, body).await;
            answer.expect_problem(400, "malformed");
        }
    });
}

#[test]
fn a_caller_without_a_good_key_is_unauthorized() {
    Setup::default().run(async |world| {
        let wrong = [
            world.with_key("wrong"),
            world.with_key(""),
            world.with_key(&KEY[1..]),
        ];
        for merchant in &wrong {
            let answer = merchant.pay("ok-1").await;
            assert!(answer.header("www-authenticate").is_some());
            answer.expect_problem(401, "unauthorized");
            merchant
                .get("transactions")
                .await
                .expect_problem(401, "unauthorized");
        }
        assert_eq!(
            world
                .database
                .one::<i64>("SELECT count(*) FROM transactions")
                .await,
            0
        );
    });
}

#[test]
fn a_key_opens_only_its_shops_and_scopes() {
    Setup::default()
        .with_shop("1002", "secret-of-1002")
        .client("reader", "key-of-reader", "[\"1001\"]", "[\"read\"]")
        .client("payer", "key-of-payer", "[\"1001\"]", "[\"submit\"]")
        .client("operator", "key-of-operator", "[\"1001\"]", "[\"operate\"]")
        .run(async |world| {
            world.pay_and_wait("ok-scope").await.expect(200);
            let [reader, payer, operator] =
                ["key-of-reader", "key-of-payer", "key-of-operator"].map(|key| world.with_key(key));
            let reads = [
                "transactions",
                "transactions/ok-scope",
                "transactions/ok-scope/evidence",
                "transactions/ok-scope/explain",
                "events",
                "discrepancies",
            ];
            for path in reads {
                reader.get(path).await.expect(200);
                payer.get(path).await.expect_problem(403, "forbidden");
                operator.get(path).await.expect_problem(403, "forbidden");
            }
            let query = json!({"tracking_id": "ok-scope"});
            payer.pay("ok-scope").await.expect(200);
            payer
                .post("queries/status", query.clone())
                .await
                .expect(200);
            for merchant in [&reader, &operator] {
                merchant
                    .pay("ok-scope")
                    .await
                    .expect_problem(403, "forbidden");
                let asked = merchant.post("queries/status", query.clone()).await;
                asked.expect_problem(403, "forbidden");
            }
            for merchant in [&reader, &payer] {
                merchant
                    .check("ok-scope")
                    .await
                    .expect_problem(403, "forbidden");
                let decided = merchant.resolve("ok-scope", "failed", "x").await;
                decided.expect_problem(403, "forbidden");
                merchant
                    .post("pause", json!({}))
                    .await
                    .expect_problem(403, "forbidden");
                let nil = format!("discrepancies/{}/resolve", uuid::Uuid::nil());
                let closed = merchant.post(&nil, json!({"reason": "x"})).await;
                closed.expect_problem(403, "forbidden");
            }
            operator.check("ok-scope").await.expect(202);
            // A shop that is not the key's own is no different from one that does not exist.
            for shop in ["1002", "9999"] {
                reader
                    .at_shop(shop)
                    .get("transactions")
                    .await
                    .expect_problem(403, "forbidden");
            }
            world
                .at_shop("9999")
                .get("transactions")
                .await
                .expect_problem(404, "not-found");
            assert_eq!(world.state("ok-scope").await, "successful");
        });
}

#[test]
fn an_unknown_resource_is_404() {
    Setup::default().run(async |world| {
        let nil = uuid::Uuid::nil();
        for path in [
            "transactions/nobody",
            "transactions/nobody/evidence",
            "transactions/nobody/explain",
            &format!("transactions/~{nil}"),
            "transactions/~x",
            "nothing",
        ] {
            world.get(path).await.expect_problem(404, "not-found");
        }
        world
            .raw(Method::GET, "/", &[], "")
            .await
            .expect_problem(404, "not-found");
        let wrong = world
            .raw(Method::DELETE, &world.path("transactions"), &[], "")
            .await;
        assert_eq!((wrong.status, wrong.header("allow")), (405, Some("GET")));
    });
}

#[test]
fn a_body_that_is_too_large_or_of_another_kind_is_refused() {
    Setup::default().run(async |world| {
        let path = world.path("payments");
        let large = format!("{{\"description\":\"{}\"}}", "x".repeat(1024 * 1024));
        let answer = world.raw(Method::POST, &path, &JSON, large).await;
        answer.expect_problem(413, "payload-too-large");
        let body = payment("ok-1").to_string();
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonp",
        ] {
            let headers = [("content-type", kind)];
            let answer = world.raw(Method::POST, &path, &headers, body.clone()).await;
            answer.expect_problem(415, "unsupported-media-type");
        }
        let answer = world.raw(Method::POST, &path, &[], body).await;
        answer.expect_problem(415, "unsupported-media-type");
    });
}

#[test]
fn a_validation_error_has_a_json_pointer() {
    Setup::default().run(async |world| {
        let cases: [(Value, &str); 12] = [
            (json!({"tracking_id": null}), "/tracking_id"),
            (json!({"tracking_id": 7}), "/tracking_id"),
            (json!({"tracking_id": "a b"}), "/tracking_id"),
            (json!({"tracking_id": "a/b"}), "/tracking_id"),
            (json!({"tracking_id": "~a"}), "/tracking_id"),
            (json!({"tracking_id": ".."}), "/tracking_id"),
            (json!({"tracking_id": "x".repeat(256)}), "/tracking_id"),
            (
                json!({"tracking_id": "4200000000000000",
                    "credit_card": {"number": "4200 0000 0000 0000"}}),
                "/tracking_id",
            ),
            (json!({"amount": -1}), "/amount"),
            (json!({"amount": "10"}), "/amount"),
            (json!({"currency": "EURO"}), "/currency"),
            (json!({"currency": "eur"}), "/currency"),
        ];
        for (change, pointer) in cases {
            let mut body = payment("ok-valid");
            for (name, value) in change.as_object().unwrap() {
                body[name] = value.clone();
            }
            let problem = world
                .post("payments", body)
                .await
                .expect_problem(422, "validation");
            let errors = problem.json["errors"].as_array().unwrap();
            assert!(
                errors.iter().any(|e| e["pointer"] == pointer),
                "{change}: {errors:?}"
            );
            assert!(errors.iter().all(|e| e["message"].is_string()));
        }
        world
            .post("payments", json!([1]))
            .await
            .expect_problem(422, "validation");
        assert_eq!(
            world
                .database
                .one::<i64>("SELECT count(*) FROM transactions")
                .await,
            0
        );
    });
}

#[test]
fn an_etag_answers_304_until_the_transaction_changes() {
    Setup::default().run(async |world| {
        let path = world.path("transactions/threeds-tag");
        let asked = world.pay_and_wait("threeds-tag").await.expect(202);
        let tag = asked.header("etag").expect("a tag").to_owned();
        let known = [("if-none-match", &*tag)];
        let same = world.raw(Method::GET, &path, &known, "").await.expect(304);
        assert_eq!((same.header("etag"), &*same.text), (Some(&*tag), ""));
        let other = world
            .raw(Method::GET, &path, &[("if-none-match", "\"other\"")], "")
            .await;
        assert_eq!(other.expect(200).header("etag"), Some(&*tag));

        let short = [("if-none-match", &*tag), ("prefer", "wait=1")];
        let timed_out = world.raw(Method::GET, &path, &short, "").await.expect(304);
        assert_eq!(timed_out.header("preference-applied"), Some("wait=1"));
        let long = [("if-none-match", &*tag), ("prefer", "wait=30")];
        let waiting = world.raw(Method::GET, &path, &long, "");
        let (woken, ()) = tokio::join!(waiting, world.twin().advance(5.0));
        let woken = woken.expect(200);
        assert_ne!(woken.header("etag"), Some(&*tag));
        assert_eq!(woken.json["state"], "successful");
    });
}

#[test]
fn the_operations_listener_reports_health() {
    Setup::default().run(async |world| {
        world.ops("/livez").await.expect(200);
        assert_eq!(
            world.ops("/readyz").await.expect(200).json["status"],
            "ready"
        );
        let version = world.ops("/version").await.expect(200).json;
        assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
        world.pay_and_wait("ok-measured").await.expect(200);
        eventually("the webhook is counted", async || {
            let hooks = world
                .metrics()
                .await
                .sum("reconciler_webhooks_total", &[("shop", SHOP)]);
            (hooks == 1.0).then_some(())
        })
        .await;
        let metrics = world.metrics().await;
        for name in [
            "webhooks_total",
            "webhook_commit_seconds",
            "evidence_total",
            "gateway_requests_total",
            "gateway_request_seconds",
            "transactions_open",
            "oldest_open_seconds",
            "money_in_doubt_minor",
            "time_to_final_seconds",
            "checks_due",
            "check_lag_seconds",
            "discrepancies_open",
            "outbox_pending",
            "http_request_seconds",
            "ledger_batch_size",
            "build_info",
        ] {
            let head = format!("# TYPE reconciler_{name} ");
            assert!(metrics.text.contains(&head), "{name} is missing");
        }
        let sum = |name: &str, labels: &[(&str, &str)]| metrics.sum(name, labels);
        assert_eq!(
            sum(
                "reconciler_gateway_requests_total",
                &[("operation", "submit")]
            ),
            1.0
        );
        assert_eq!(
            sum(
                "reconciler_time_to_final_seconds_count",
                &[("type", "payment")]
            ),
            1.0
        );
        assert!(sum("reconciler_evidence_total", &[("channel", "webhook")]) >= 1.0);
        // Our own acts are evidence as well: opened and stamped.
        let ours = [("channel", "local"), ("verdict", "applied")];
        assert!(sum("reconciler_evidence_total", &ours) >= 2.0);
        let route = [("route", "/v1/shops/{shop}/payments"), ("status", "200")];
        assert_eq!(sum("reconciler_http_request_seconds_count", &route), 1.0);
        // No id of anything is a label.
        for id in ["ok-measured", &world.twin().uid("ok-measured").await] {
            assert!(!metrics.text.contains(id), "{id} is in the metrics");
        }
    });
}

#[test]
fn every_answer_names_its_request() {
    Setup::default().run(async |world| {
        let own = [("x-request-id", "order-77")];
        let path = world.path("transactions");
        let answer = world.raw(Method::GET, &path, &own, "").await.expect(200);
        assert_eq!(answer.header("x-request-id"), Some("order-77"));
        let problem = world.get("transactions/nobody").await;
        assert_eq!(
            problem.header("x-request-id"),
            problem.json["request_id"].as_str()
        );
    });
}

#[test]
fn every_kind_of_transaction_has_its_collection() {
    Setup::default().run(async |world| {
        for (collection, kind) in [
            ("payments", "payment"),
            ("authorizations", "authorization"),
            ("tokenizations", "tokenization"),
            ("payouts", "payout"),
            ("checkups", "checkup"),
        ] {
            let mut body = payment(&format!("ok-{kind}"));
            if kind == "payout" {
                body["recipient_credit_card"] = body["credit_card"].take();
            }
            let taken = world.post(collection, body).await;
            assert!([200, 202].contains(&taken.status), "{kind}: {}", taken.text);
            assert_eq!(taken.json["type"], kind);
            let done = world.until_final(&format!("ok-{kind}")).await;
            assert_eq!(done["state"], "successful", "{kind}: {done}");
        }
        let parent = world.status("ok-payment").await["uid"].clone();
        let refund = json!({"tracking_id": "ok-refund", "parent_uid": parent, "amount": 245,
            "reason": "returned"});
        world.post("refunds", refund).await.expect(202);
        let done = world.until_final("ok-refund").await;
        assert_eq!(
            (&done["state"], &done["parent_uid"]),
            (&json!("successful"), &parent)
        );
        let more = json!({"tracking_id": "ok-refund-2", "parent_uid": parent, "amount": 3001,
            "reason": "returned"});
        let refused = world
            .post("refunds", more)
            .await
            .expect_problem(422, "validation");
        assert_eq!(refused.json["errors"][0]["pointer"], "/amount");
        eventually("the children are listed", async || {
            let query = format!("transactions?parent_uid={}", parent.as_str().unwrap());
            let list = world.get(&query).await.expect(200).json;
            (list["transactions"].as_array().unwrap().len() == 1).then_some(())
        })
        .await;
        assert_eq!(world.path("x"), format!("/v1/shops/{SHOP}/x"));
    });
}

#[test]
fn no_line_of_the_log_is_lost_however_much_is_held_back() {
    // What other crates say below `info` is held back; it must not take our own lines with it.
    for filter in ["\"info\"", "\"info,reconciler::follow=debug\"", "\"trace\""] {
        Setup::default()
            .set("telemetry", "log", filter)
            .service_down()
            .run(async |world| {
                let process = world.process().await;
                for n in 0..20 {
                    world.pay(&format!("never-log-{n}")).await.expect(202);
                }
                eventually("a line for each submit and each answer", async || {
                    let log = process.log();
                    let count = |text: &str| log.lines().filter(|line| line.contains(text)).count();
                    let answers = count("POST /v1/shops/{shop}/payments was answered with 202");
                    (answers == 20 && count("\"submit answered\"") == 20).then_some(())
                })
                .await;
                for line in process.log().lines() {
                    let read: Value = serde_json::from_str(line).expect("one JSON object a line");
                    assert!(
                        read["timestamp"].is_string() && read["level"].is_string(),
                        "{line}"
                    );
                }
            });
    }
}
