//! The gateway, or the way to it, is away in one manner or another.

use crate::chaos::Plan;
use crate::world::Relay;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A case in which every request to the gateway meets this.
fn struck(name: &'static str, act: Value, effect: bool) {
    Plan::new(name).run(async |case| {
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
fn hanging() {
    struck(
        "the gateway takes requests, acts and never answers",
        json!("hang"),
        true,
    );
}

#[test]
fn hanging_without_effect() {
    struck(
        "the gateway takes requests and does nothing",
        json!("hang"),
        false,
    );
}

#[test]
fn trickling() {
    let drops = json!({"trickle": {"seconds": 3.0}});
    struck("the gateway answers in drops", drops, true);
}

#[test]
fn resetting() {
    struck(
        "the gateway acts and resets the connection",
        json!("reset"),
        true,
    );
}

#[test]
fn cutting() {
    struck(
        "the gateway's answers are cut in the middle",
        json!("cut"),
        true,
    );
}

#[test]
fn too_many_requests() {
    let act = answering(429, Some("1"));
    struck("the gateway answers 429 to everything", act, false);
}

#[test]
fn failing() {
    let act = answering(500, None);
    struck("the gateway acts and answers 500 to everything", act, true);
}

#[test]
fn behind_a_proxy_that_has_lost_it() {
    let act = answering(503, None);
    struck("a proxy answers 503 to everything", act, false);
}

#[test]
fn refusing() {
    let relay = Relay::reserve();
    let mut plan = Plan::new("the gateway refuses connections");
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

/// A resolver that fails when it is told to, as a library to be loaded before the C library.
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
fn without_a_name() {
    let relay = Relay::reserve();
    let directory = tempfile::tempdir().unwrap();
    let found = directory.path().join("found");
    std::fs::write(&found, "").unwrap();
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut plan = Plan::new("the gateway's name does not resolve");
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
            // Connections that there are need no name: they are cut.
            relay.shut().await;
            relay.open(&case.world.twin().base()).await;
            // Those that had found the name by now may still come.
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
            assert_eq!(relay.carried(), before, "a name was found");
            std::fs::write(&found, "").unwrap();
        },
    );
}
