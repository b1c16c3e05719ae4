//! The danger: what the gateway does is guessed; or finding out costs money, or is taken for a
//! merchant's transaction.

use crate::cli::{CliOutput, reconciler, reconciler_with};
use crate::world::{FakeGateway, FakeReply, Setup, World, ack, transaction, wrapped};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const PROBE: [&str; 5] = ["probe", "--test-card", "--timeout", "10", "--json"];

/// The answers of a report, by question; an open question is null.
fn answers(said: &CliOutput) -> BTreeMap<String, Value> {
    let report = said.json();
    let findings = report["findings"].as_array().expect("findings");
    let pair = |f: &Value| {
        (
            f["question"].as_str().unwrap().to_owned(),
            f["answer"].clone(),
        )
    };
    findings.iter().map(pair).collect()
}

#[track_caller]
fn assert_answers(said: &CliOutput, expected: &[(&str, &str)]) {
    let answers = answers(said);
    for (question, answer) in expected {
        assert_eq!(answers[*question], *answer, "{question}: {said:?}");
    }
}

async fn words(world: &World) -> Vec<String> {
    let all: Vec<String> = world
        .database
        .all("SELECT UNNEST(string_to_array(capabilities, ',')) FROM shop_controls")
        .await;
    all.into_iter().filter(|word| !word.is_empty()).collect()
}

/// Tasks run long enough for what is asked while they do.
async fn slow_tasks(world: &World, more: Value) {
    let mut switches = json!({"task_delay": {"fixed": {"seconds": 0.6}}});
    for (name, value) in more.as_object().expect("switches") {
        switches[name] = value.clone();
    }
    world.twin().switch(switches).await;
}

/// Only the probe's own transactions were repeated, all are tests, and the service has none of them.
async fn assert_harmless(world: &World) {
    let truth = world.twin().get("transactions?limit=1000").await;
    let truth = truth["transactions"].as_array().expect("a list").clone();
    assert!(!truth.is_empty());
    for made in truth {
        let body = made.to_string();
        assert!(
            body.contains("probe-") && body.contains("\"test\":true"),
            "{body}"
        );
    }
    for repeated in world.twin().sent_too_often().await {
        assert!(repeated.to_string().contains("probe-"), "{repeated}");
    }
    assert_eq!(
        world
            .database
            .one::<i64>("SELECT count(*) FROM transactions")
            .await,
        0
    );
    // The rule that nothing is sent twice is about merchants' transactions.
    world.twin().down().await;
}

#[test]
fn a_gateway_with_all_capabilities_is_recognised() {
    Setup::default().service_down().run(async |world| {
        slow_tasks(world, json!({})).await;
        let said = reconciler(world, &PROBE).await.expect_success();
        assert!(
            said.err.contains("Test transactions to send to")
                && said.err.contains("(100 minor units)")
        );
        assert_answers(
            &said,
            &[
                ("request_id", "honoured"),
                ("repeat_running", "same_task"),
                ("repeat_ended", "same_task"),
                ("early_result", "425"),
                ("visible_while_running", "no"),
                ("result_again", "yes"),
                ("decline_result", "200"),
                ("refusal", "submit"),
                ("duplicate", "submit"),
                ("own_tracking_id:refund", "yes"),
                ("own_tracking_id:capture", "yes"),
                ("own_tracking_id:void", "yes"),
                ("test_lookup", "yes"),
                ("async_status_uid", "yes"),
                ("async_status_tracking_id", "yes"),
                ("async_balance", "yes"),
                ("x_request_id", "yes"),
            ],
        );
        // Nothing ended in an error that could have been used up.
        assert_eq!(answers(&said)["status_read"], Value::Null);
        assert_eq!(answers(&said)["error_result"], Value::Null);
        let mut kept: Vec<String> =
            serde_json::from_value(said.json()["capabilities"].clone()).unwrap();
        let mut stored = words(world).await;
        kept.sort();
        stored.sort();
        assert_eq!(stored, kept);
        assert!(
            kept.contains(&"own_tracking_id:refund".to_owned()),
            "{kept:?}"
        );
        assert_harmless(world).await;
    });
}

#[test]
fn lost_capabilities_are_removed() {
    Setup::default().service_down().run(async |world| {
        let before = "INSERT INTO shop_controls (shop_id, capabilities) VALUES
            ('1001', 'own_tracking_id:refund,request_id:honoured,something_else')
            ON CONFLICT (shop_id) DO UPDATE SET capabilities = excluded.capabilities";
        world.database.execute(before).await;
        let switches = json!({
            "request_id_async": false, "processing_status": 200, "status_read_burns": true,
            "refusals_at": "task", "children_own_tracking_id": false, "async_queries": false,
            "appears": "start", "duplicate_check": "off",
        });
        slow_tasks(world, switches).await;
        let said = reconciler(world, &PROBE).await.expect_success();
        assert_answers(
            &said,
            &[
                ("request_id", "ignored"),
                ("repeat_running", "new_task"),
                ("repeat_ended", "new_task"),
                ("early_result", "200"),
                ("visible_while_running", "yes"),
                ("refusal", "task"),
                ("status_read", "burns"),
                ("duplicate", "none"),
                ("own_tracking_id:refund", "no"),
                ("own_tracking_id:capture", "no"),
                ("own_tracking_id:void", "no"),
                ("async_status_uid", "no"),
                ("async_status_tracking_id", "no"),
                ("async_balance", "no"),
            ],
        );
        let stored = words(world).await;
        assert!(stored.contains(&"something_else".to_owned()), "{stored:?}");
        assert!(
            stored.contains(&"request_id:ignored".to_owned()),
            "{stored:?}"
        );
        let gone = |word: &str| !stored.iter().any(|kept| kept == word);
        assert!(
            gone("own_tracking_id:refund") && gone("request_id:honoured"),
            "{stored:?}"
        );
        assert_harmless(world).await;
    });
}

#[test]
fn the_result_returns_an_error_once_the_status_does_not() {
    Setup::default().service_down().run(async |world| {
        slow_tasks(world, json!({"refusals_at": "task"})).await;
        let token = [
            "probe",
            "--test-card-token",
            "t-1",
            "--timeout",
            "10",
            "--json",
        ];
        let said = reconciler(world, &token).await.expect_success();
        assert_answers(
            &said,
            &[
                ("refusal", "task"),
                ("status_read", "keeps"),
                ("error_result", "once"),
                ("duplicate", "task"),
            ],
        );
        // Without a card that is declined nobody knows.
        assert_eq!(answers(&said)["decline_result"], Value::Null);
        assert_harmless(world).await;
    });
}

#[test]
fn nothing_is_sent_without_a_card_to_a_paused_shop_or_unasked() {
    Setup::default().service_down().run(async |world| {
        let bare = reconciler(world, &["probe"]).await;
        bare.expect_failure("nothing was sent: give --test-card-token");
        reconciler(world, &["pause"]).await.expect_success();
        reconciler(world, &PROBE)
            .await
            .expect_failure("submits of this shop are paused");
        let log = world.twin().get("log?limit=10").await;
        assert_eq!(log["requests"], json!([]), "{log}");
    });
}

#[test]
fn a_gateway_on_another_machine_is_not_probed_unasked() {
    Setup::default()
        .gateway_down()
        .service_down()
        .run(async |world| {
            let elsewhere = [("RECONCILER__GATEWAY__BASE_URL", "https://gateway.invalid")];
            let unasked = reconciler_with(world, &elsewhere, &PROBE).await;
            unasked.expect_failure("confirm with --yes-live");
            let asked = [&PROBE[..], &["--yes-live"]].concat();
            let said = reconciler_with(world, &elsewhere, &asked).await;
            let said = said.expect_failure("the first test payment failed: not sent");
            assert_eq!(answers(&said)["request_id"], Value::Null);
        });
}

#[test]
fn a_gateway_that_does_not_call_it_a_test_is_sent_nothing_more() {
    let gateway = FakeGateway::start(async |request| {
        if request.is_submit() {
            return FakeReply::Json(200, ack("http://127.0.0.1", "task-1"));
        }
        let mut paid = transaction("uid-1", "probe-1", "successful");
        paid["test"] = json!(false);
        FakeReply::Json(200, wrapped(&paid))
    });
    Setup::default()
        .gateway(&gateway)
        .service_down()
        .run(async |world| {
            let said = reconciler(world, &PROBE).await;
            let said = said.expect_failure("does not mark transaction uid-1 as a test");
            assert_eq!(gateway.submits().len(), 1);
            assert!(said.json()["stopped"].is_string());
            assert_eq!(words(world).await, Vec::<String>::new());
        });
}
