//! Failures of the gateway, or of the network to it.

use crate::chaos::CaseParameters;
use crate::world::Relay;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Runs a case in which this fault affects every request to the gateway.
fn struck(name: &'static str, act: Value, effect: bool) {
    CaseParameters::new(name).run(async |case| {
        let fault = json!({"operation": "*", "act": act, "effect": effect});
        case.world.twin().fault(fault).await;
        case.outage().await;
        case.still_ready().await;
        case.world.twin().no_faults().await;
    });
}

fn answering(status: u16, after: Option<&str>) -> Value {
    let headers = after.map_or(json!({}), |after| json!({"Retry-After": after}));
    json!({"answer": {"status": status, "headers": headers, "body": "<h1>no</h1>"}})
}

#[test]
fn gateway_processes_and_never_responds() {
    struck(
        "the gateway accepts and processes requests and never responds",
        json!("hang"),
        true,
    );
}

#[test]
fn gateway_never_responds_without_effect() {
    struck(
        "the gateway accepts requests and does nothing",
        json!("hang"),
        false,
    );
}

#[test]
fn gateway_responds_slowly() {
    let drops = json!({"trickle": {"seconds": 3.0}});
    struck(
        "the gateway sends its responses slowly, in small pieces",
        drops,
        true,
    );
}

#[test]
fn gateway_resets_connections() {
    struck(
        "the gateway processes requests and resets the connection",
        json!("reset"),
        true,
    );
}

#[test]
fn gateway_responses_are_cut() {
    struck(
        "the gateway's responses are cut in the middle",
        json!("cut"),
        true,
    );
}

#[test]
fn gateway_answers_429() {
    let act = answering(429, Some("1"));
    struck("the gateway answers 429 to everything", act, false);
}

#[test]
fn gateway_processes_and_answers_500() {
    let act = answering(500, None);
    struck(
        "the gateway processes requests and answers 500 to everything",
        act,
        true,
    );
}

#[test]
fn gateway_unreachable_behind_a_proxy() {
    let act = answering(503, None);
    struck("a proxy answers 503 to everything", act, false);
}

#[test]
fn gateway_refuses_connections() {
    let relay = Relay::reserve();
    let mut plan = CaseParameters::new("the gateway refuses connections");
    plan.setup = plan.setup.gateway_by_way_of(&relay.base("127.0.0.1"));
    plan.run_after(
        async |world| relay.open(&world.twin().base()).await,
        async |case| {
            relay.shut().await;
            case.outage().await;
            case.still_ready().await;
            relay.open(&case.world.twin().base()).await;
        },
    );
}

/// Builds a resolver that fails on request, as a library to be loaded before the C library.
fn resolver(directory: &Path) -> PathBuf {
    let library = directory.join("resolver.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/chaos/resolver.c");
    let built = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", source, "-ldl", "-o"])
        .arg(&library)
        .status();
    assert!(built.is_ok_and(|status| status.success()), "cc failed");
    library
}

#[test]
fn gateway_name_does_not_resolve() {
    let relay = Relay::reserve();
    let directory = tempfile::tempdir().unwrap();
    let found = directory.path().join("found");
    std::fs::write(&found, "").unwrap();
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut plan = CaseParameters::new("the gateway's name does not resolve");
    plan.environment = vec![
        ("LD_PRELOAD".to_owned(), text(&resolver(directory.path()))),
        ("NAMES_FOUND".to_owned(), text(&found)),
    ];
    plan.setup = plan
        .setup
        .gateway_by_way_of(&relay.base("gateway.test"))
        .set("gateway", "allow_http", "true");
    plan.run_after(
        async |world| relay.open(&world.twin().base()).await,
        async |case| {
            std::fs::remove_file(&found).unwrap();
            // Existing connections need no name, so they are closed.
            relay.shut().await;
            relay.open(&case.world.twin().base()).await;
            // Connections that were resolved before may still arrive.
            let mut before = relay.carried();
            loop {
                tokio::time::sleep(Duration::from_millis(400)).await;
                let now = relay.carried();
                if now == before {
                    break;
                }
                before = now;
            }
            case.outage().await;
            case.still_ready().await;
            assert_eq!(relay.carried(), before, "a name was resolved");
            std::fs::write(&found, "").unwrap();
        },
    );
}
