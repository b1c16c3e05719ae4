//! Tests that each scenario does what its description says.

use serde_json::{Value, json};

use super::super::request_log::RequestKind;
use super::super::response::{ResponseDelivery, SimResponse};
use super::super::scenario;
use super::super::scenario_table::all;
use super::super::script::Script;
use super::{Gateway, task};

/// Observable result of a scenario.
struct Seen {
    /// HTTP status of the POST, if there was a response.
    post: Option<u16>,
    /// Statuses of the transactions one minute later, oldest first.
    exist: Vec<String>,
    /// Statuses in the webhooks of that minute.
    told: Vec<String>,
}

/// Name, status of the POST, transactions, webhooks.
type Row = (
    &'static str,
    Option<u16>,
    &'static [&'static str],
    &'static [&'static str],
);

fn run(name: &str) -> Seen {
    let mut gateway = Gateway::new();
    let id = format!("{name}-1");
    let post = gateway.pay(&id).status_seen();
    let mut told = Vec::new();
    for _ in 0..120 {
        gateway.pass(0.5);
        told.extend(gateway.webhooks());
    }
    let found = gateway.found(&id);
    let status = |found: &Value| found["status"].as_str().unwrap_or_default().to_owned();
    Seen {
        post,
        exist: found.iter().rev().map(status).collect(),
        told,
    }
}

/// Expected result of each scenario.
const EXPECTED: &[Row] = &[
    ("ok", Some(200), &["successful"], &["successful"]),
    ("plain", Some(200), &["successful"], &["successful"]),
    ("decline", Some(200), &["failed"], &["failed"]),
    ("nohook", Some(200), &["successful"], &[]),
    ("late", Some(200), &["successful"], &[]),
    (
        "double",
        Some(200),
        &["successful"],
        &["successful", "successful", "successful"],
    ),
    (
        "forged",
        Some(200),
        &["successful"],
        &["successful", "successful"],
    ),
    (
        "reorder",
        Some(200),
        &["successful"],
        &["successful", "incomplete"],
    ),
    ("threeds", Some(200), &["successful"], &["successful"]),
    ("threedsfail", Some(200), &["failed"], &["failed"]),
    ("expire", Some(200), &["expired"], &["expired"]),
    ("stuck", Some(200), &["incomplete"], &[]),
    ("pending", Some(200), &["pending"], &[]),
    ("statusword", Some(200), &["quarantined"], &["quarantined"]),
    (
        "correct",
        Some(200),
        &["successful"],
        &["failed", "successful"],
    ),
    (
        "uncorrect",
        Some(200),
        &["failed"],
        &["successful", "failed"],
    ),
    (
        "twosuccess",
        Some(200),
        &["successful", "successful"],
        &["successful", "successful"],
    ),
    ("never", Some(200), &[], &[]),
    ("crash", Some(200), &["successful"], &["successful"]),
    ("crashnone", Some(200), &[], &[]),
    ("once422", Some(200), &[], &[]),
    ("unknown", Some(200), &["successful"], &["successful"]),
    ("unknownnone", Some(200), &[], &[]),
    ("garbage", Some(200), &["successful"], &["successful"]),
    ("reject", Some(422), &[], &[]),
    ("refuse401", Some(401), &[], &[]),
    ("dup", Some(422), &["successful"], &["successful"]),
    ("dupnone", Some(422), &[], &[]),
    ("hang", None, &["successful"], &["successful"]),
    ("hangnone", None, &[], &[]),
    ("reset", None, &["successful"], &["successful"]),
    ("resetnone", None, &[], &[]),
    ("e500", Some(500), &["successful"], &["successful"]),
    ("e502", Some(502), &["successful"], &["successful"]),
    ("e503none", Some(503), &[], &[]),
    ("429", Some(429), &[], &[]),
    ("threeds.nohook", Some(200), &["successful"], &[]),
    ("hang.decline", None, &["failed"], &["failed"]),
    ("timeout422", Some(200), &["successful"], &["successful"]),
    ("notunique", Some(422), &["successful"], &["successful"]),
    ("open429", Some(429), &["successful"], &["successful"]),
    ("retry0", Some(429), &[], &[]),
];

#[test]
fn scenarios_have_their_expected_results() {
    for (name, post, exist, told) in EXPECTED {
        let seen = run(name);
        assert_eq!(seen.post, *post, "{name}");
        assert_eq!(seen.exist, *exist, "{name}");
        assert_eq!(seen.told, *told, "{name}");
    }
}

#[test]
fn a_task_result_names_its_own_transaction() {
    let mut gateway = Gateway::new();
    let id = task(&gateway.pay("twotx-1"));
    gateway.pass(0.5);
    assert_eq!(gateway.found("twotx-1")[0]["status"], json!("failed"));
    gateway.pass(0.5);
    assert_eq!(
        gateway.result(&id).1["transaction"]["status"],
        json!("successful")
    );
    assert_eq!(gateway.found("twotx-1").len(), 2);
}

#[test]
fn results_are_delivered_by_the_scenario() {
    let mut gateway = Gateway::new();
    let names = [
        "crash", "once422", "unknown", "html", "cut", "v3", "mismatch", "currency",
    ];
    let ids: Vec<String> = names
        .iter()
        .map(|name| task(&gateway.pay(&format!("{name}-1"))))
        .collect();
    assert_eq!(gateway.result(&ids[2]).0, 404);
    gateway.pass(1.0);
    assert_eq!(
        gateway.result(&ids[0]),
        (
            500,
            json!({"message": "We're sorry, but something went wrong"})
        )
    );
    assert_eq!(gateway.result(&ids[0]).0, 404);
    assert_eq!(
        (gateway.result(&ids[1]).0, gateway.result(&ids[1]).0),
        (422, 404)
    );
    let html: Vec<u16> = (0..3).map(|_| gateway.result(&ids[3]).0).collect();
    assert_eq!(html, [502, 502, 200]);
    let cut = gateway
        .world
        .read_task(Gateway::call(RequestKind::TaskResult), &ids[4]);
    assert_eq!(cut.delivery, ResponseDelivery::Cut);
    assert_eq!(gateway.result(&ids[4]).0, 200);
    assert_eq!(gateway.result(&ids[5]).1["code"], json!("S.0000"));
    assert_eq!(
        gateway.result(&ids[6]).1["transaction"]["amount"],
        json!(3345)
    );
    assert_eq!(
        gateway.result(&ids[7]).1["transaction"]["currency"],
        json!("CHF")
    );
}

#[test]
fn an_early_transaction_and_its_3ds_page_share_a_uid() {
    let mut gateway = Gateway::new();
    let id = task(&gateway.pay("threeds-1"));
    gateway.pass(1.0);
    let (_, result) = gateway.result(&id);
    let uid = result["transaction"]["uid"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert_eq!(
        result["transaction"]["redirect_url"],
        json!(format!("http://twin/process/{uid}"))
    );
    assert!(result["transaction"]["message"].is_null());
    gateway.pass(5.0);
    // The task's result does not change; only a query shows the later status.
    assert_eq!(
        gateway.result(&id).1["transaction"]["status"],
        json!("incomplete")
    );
    assert_eq!(gateway.found("threeds-1")[0]["status"], json!("successful"));
}

#[test]
fn a_script_overrides_the_scenario() {
    let mut gateway = Gateway::new();
    let script = scenario::named("decline").unwrap_or_default();
    gateway.world.scripts.set_exact("ok-1".into(), script);
    gateway
        .world
        .scripts
        .set_prefix("or".into(), Script::default());
    gateway.world.scripts.set_prefix(
        "order".into(),
        scenario::named("reject").unwrap_or_default(),
    );
    assert_eq!(gateway.pay("order-7").answer.status, 422);
    assert_eq!(gateway.pay("or-7").answer.status, 200);
    gateway.pay("ok-1");
    gateway.pass(1.0);
    assert_eq!(gateway.found("ok-1")[0]["code"], json!("F.0105"));
}

#[test]
fn the_same_requests_get_the_same_ids() {
    let answers = || -> Vec<SimResponse> {
        let mut gateway = Gateway::new();
        let ids = ["ok-1", "ok-1", "threeds-1"];
        ids.iter().map(|id| gateway.pay(id).answer).collect()
    };
    assert_eq!(answers(), answers());
    assert_ne!(answers()[0], answers()[1]);
}

#[test]
fn the_manual_lists_every_scenario() {
    let manual = include_str!("../../../../docs/twin.md");
    for scenario in all() {
        let row = format!("| `{}` | {} |", scenario.name, scenario.about);
        assert!(manual.contains(&row), "docs/twin.md lacks: {row}");
    }
}
