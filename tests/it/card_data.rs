//! The danger: a card number that stays somewhere.

use crate::world::{CANARY_CVC, CANARY_PAN, FakeGateway, FakeReply, SHOP, Setup, World, ack};
use crate::world::{card_payment, eventually, payment};
use serde_json::{Value, json};
use std::path::Path;

#[test]
fn an_unsent_card_request_fails_at_once_and_can_be_retried() {
    Setup::default().gateway_down().run(async |world| {
        let told = world.post("payments", card_payment("ok-card")).await;
        let problem = told.expect_problem(502, "gateway-unreachable").json;
        assert_eq!(problem["transaction"]["state"], "not_sent");
        assert_eq!(world.state("ok-card").await, "not_sent");
        let mut other = card_payment("ok-card");
        other["credit_card"]["number"] = json!("4111111111111111");
        let conflict = world.post("payments", other).await;
        conflict.expect_problem(409, "tracking-id-conflict");

        world.twin().up().await;
        let again = world
            .post("payments", card_payment("ok-card"))
            .await
            .expect(200);
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(again.json["id"], problem["transaction"]["id"]);
        assert_eq!(world.until_final("ok-card").await["state"], "successful");
        assert_eq!(world.twin().posts("ok-card").await, 1);
        let stamps = world.evidence_by("ok-card", "local").await;
        assert_eq!(
            stamps.iter().filter(|e| e["subject"] == "stamped").count(),
            2
        );
    });
}

#[test]
fn a_card_that_the_gateway_puts_off_is_not_kept_for_later() {
    Setup::default().run(async |world| {
        let told = world.post("payments", card_payment("429-card")).await;
        told.expect_problem(502, "gateway-unreachable");
        let seen = world.status("429-card").await;
        assert_eq!(
            (&seen["state"], &seen["next_check_at"]),
            (&json!("not_sent"), &Value::Null)
        );
        world
            .post("payments", card_payment("429-card"))
            .await
            .expect(200);
        assert_eq!(world.until_final("429-card").await["state"], "successful");
        assert_eq!(world.twin().posts("429-card").await, 2);
    });
}

#[test]
fn a_card_request_is_never_queued() {
    Setup::default().run(async |world| {
        let headers = [("prefer", "respond-async")];
        let taken = world
            .post_with("payments", &headers, card_payment("ok-now"))
            .await
            .expect(202);
        assert_eq!(taken.json["state"], "processing");
        assert_eq!(world.twin().posts("ok-now").await, 1);
    });
}

#[test]
fn a_request_with_digits_in_a_text_is_queued_unchanged() {
    Setup::default().gateway_down().run(async |world| {
        let headers = [("prefer", "respond-async")];
        let mut order = payment("ok-digits");
        order["description"] = json!(format!("Order {CANARY_PAN}"));
        order["additional_data"] = json!({"note": format!("{CANARY_PAN}!")});
        let taken = world
            .post_with("payments", &headers, order)
            .await
            .expect(202);
        assert_eq!(taken.json["state"], "accepted");
        assert_eq!(taken.json["description"], "Order [redacted]");
        let waiting = "SELECT count(*)::text FROM waiting_requests";
        assert_eq!(world.database.one::<String>(waiting).await, "1");
        clean("the tables", everything(world).await.as_bytes());
        world.twin().up().await;
        assert_eq!(world.until_final("ok-digits").await["state"], "successful");
        assert_eq!(world.twin().posts("ok-digits").await, 1);
        assert_eq!(world.database.one::<String>(waiting).await, "0");
    });
}

#[test]
fn a_request_that_waited_is_forwarded_to_the_digit() {
    let gateway = FakeGateway::start(|request| async move {
        let origin = format!("http://{}", request.header("host").unwrap());
        match request.method.as_str() {
            "POST" => FakeReply::Json(200, ack(&origin, "task-1")),
            _ => FakeReply::Json(200, json!({"status": "processing"})),
        }
    });
    Setup::default().gateway(&gateway).run(async |world| {
        let body = r#"{"amount":100,"currency":"EUR","description":"d","tracking_id":"long-1",
            "additional_data":{"rate":1.2345678901234567890123456789,"n":123456789012345678901234567890}}"#;
        let headers = [("content-type", "application/json"), ("prefer", "respond-async")];
        let path = world.path("payments");
        world
            .raw(reqwest::Method::POST, &path, &headers, body.to_owned())
            .await
            .expect(202);
        let sent = eventually("the submit", async || {
            gateway.submits().into_iter().next()
        })
        .await;
        let sent = String::from_utf8_lossy(&sent.body).into_owned();
        assert!(sent.contains("1.2345678901234567890123456789"), "{sent}");
        assert!(sent.contains(":123456789012345678901234567890"), "{sent}");
    });
}

#[test]
fn the_card_data_counts_when_requests_are_compared() {
    Setup::default().run(async |world| {
        world
            .post("payments", card_payment("ok-same"))
            .await
            .expect(202);
        world
            .post("payments", card_payment("ok-same"))
            .await
            .expect(200);
        for (name, value) in [("verification_value", "000"), ("exp_year", "2038")] {
            let mut other = card_payment("ok-same");
            other["credit_card"][name] = json!(value);
            let refused = world.post("payments", other).await;
            refused.expect_problem(409, "tracking-id-conflict");
        }
    });
}

/// Everything that the scenes below leave behind must be free of these.
const SECRETS: [&str; 4] = [
    CANARY_PAN,
    CANARY_CVC,
    "CANARY HOLDERNAME",
    "5555 5555 5555 4444",
];

#[test]
fn no_card_number_reaches_database_logs_or_metrics() {
    Setup::default()
        .set("telemetry", "log", "\"trace\"")
        .service_down()
        .run(async |world| {
            let process = world.process().await;
            scenes(world).await;
            let metrics = world.metrics().await.text;
            let log = process.log();
            // The looks below find what is there.
            assert!(log.contains("ok-canary"), "{log}");
            clean("the log", log.as_bytes());
            clean("the metrics", metrics.as_bytes());
            let rows = everything(world).await;
            assert!(
                rows.contains("ok-canary") && rows.contains("\"last_4\":\"4444\""),
                "{rows}"
            );
            clean("the tables", rows.as_bytes());
            world.database.execute("CHECKPOINT").await;
            let oid = world.database.one::<String>(
                "SELECT oid::text FROM pg_database WHERE datname = current_database()",
            );
            let (oid, data) = (oid.await, world.database.data_directory().await);
            let mut found = false;
            for directory in [data.join("base").join(oid), data.join("pg_wal")] {
                found |= search(&directory);
            }
            assert!(found, "the files of the database were not looked at");
        });
}

/// Brings card data to every place where it could stick.
async fn scenes(world: &World) {
    world.twin().switch(json!({"duplicate_check": "off"})).await;
    // A success; one whose texts repeat the card; refusals that repeat it; a body that is no JSON.
    let echo = format!("card {CANARY_PAN} was charged");
    let echoing = json!({"transactions": [{"status": "failed", "message": echo}]});
    world.twin().script("echo-canary", "decline", echoing).await;
    let errors = json!({"message": format!("{CANARY_PAN} is invalid"),
        "errors": {"credit_card": {"number": [format!("{CANARY_PAN} is invalid")],
            "verification_value": [format!("{CANARY_CVC} is wrong")]}}});
    let refuse = json!({"submit": {"act": {"answer": {"status": 422, "body": errors}}}});
    world.twin().script("refuse-canary", "reject", refuse).await;
    let page = format!("<html>bad gateway {CANARY_PAN} 5555 5555 5555 4444</html>");
    let broken = json!({"submit": {"act": {"answer": {"status": 502, "body": page}}}});
    world.twin().script("page-canary", "e502", broken).await;
    for name in ["ok-canary", "echo-canary", "refuse-canary", "page-canary"] {
        world.post("payments", card_payment(name)).await;
    }
    for name in ["ok-canary", "echo-canary", "refuse-canary", "page-canary"] {
        world.until_final(name).await;
    }

    // Requests that are refused here, with a card in the wrong place.
    let path = world.path("payments");
    let json_type = [("content-type", "application/json")];
    let cut = format!("{{\"credit_card\":{{\"number\":\"{CANARY_PAN}\"");
    world
        .raw(reqwest::Method::POST, &path, &json_type, cut)
        .await
        .expect(400);
    let mut wrong = card_payment("x-canary");
    wrong["tracking_id"] = json!(CANARY_PAN);
    wrong[CANARY_PAN] = json!(CANARY_PAN);
    world.post("payments", wrong).await.expect(422);
    world.get(&format!("transactions/{CANARY_PAN}")).await;
    world.get(&format!("transactions?state={CANARY_PAN}")).await;
    let reason = format!("the payer read {CANARY_PAN} to me");
    world
        .resolve("page-canary", "failed", &reason)
        .await
        .expect(200);

    // Webhooks, good and forged, that carry more than they should.
    let mut told = json!({"transaction": {"uid": "hook-canary", "status": "successful",
        "type": "payment", "tracking_id": "hook-canary", "amount": 1, "currency": "EUR",
        "message": echo, "credit_card": {"number": CANARY_PAN, "holder": "CANARY HOLDERNAME",
            "verification_value": CANARY_CVC, "last_4": "4444"}}});
    for signature in ["good", "bad"] {
        let webhook = json!({"url": world.hook_url(), "shop": SHOP, "body": told,
            "signature": signature});
        world.twin().send_webhook(webhook).await;
        told["transaction"]["extra"] = json!(CANARY_PAN);
    }
    let garbage = format!("number={CANARY_PAN}&uid=1");
    let webhook = json!({"url": world.hook_url(), "shop": SHOP, "body": garbage});
    world.twin().send_webhook(webhook).await;
    eventually("both findings", async || {
        (world.discrepancies().await.len() >= 2).then_some(())
    })
    .await;
}

/// Every row of every table, with the bytes in it as text.
async fn everything(world: &World) -> String {
    let statements: Vec<String> = world
        .database
        .all(
            "SELECT format('SELECT concat_ws('' '', %s) FROM %I', string_agg(
                CASE data_type WHEN 'bytea' THEN format('encode(%I, ''escape'')', column_name)
                ELSE format('%I::text', column_name) END, ', '), table_name)
             FROM information_schema.columns WHERE table_schema = 'public' GROUP BY table_name",
        )
        .await;
    let mut all = String::new();
    for statement in statements {
        let query = sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(statement));
        all.push_str(
            &query
                .fetch_all(&world.database.pool)
                .await
                .unwrap()
                .join("\n"),
        );
    }
    all
}

#[track_caller]
fn clean(place: &str, bytes: &[u8]) {
    for secret in SECRETS {
        let found = bytes
            .windows(secret.len())
            .position(|window| window == secret.as_bytes());
        if let Some(at) = found {
            let around = &bytes[at.saturating_sub(200)..(at + 60).min(bytes.len())];
            panic!(
                "{secret} is in {place}: …{}…",
                String::from_utf8_lossy(around)
            );
        }
    }
}

/// Looks into every file; whether there was something of ours in any.
fn search(directory: &Path) -> bool {
    let mut found = false;
    for entry in std::fs::read_dir(directory).expect("the server's files can be read") {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap_or_default();
            clean(&path.display().to_string(), &bytes);
            let ours = b"ok-canary";
            found |= bytes.windows(ours.len()).any(|window| window == ours);
        }
    }
    found
}
