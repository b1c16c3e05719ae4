//! Verification: compares the service's states with the true state at the gateway.

use crate::chaos::load::CallerView;
use crate::world::World;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Returns all errors, one sentence each.
pub async fn differences(world: &World, told: &CallerView) -> Vec<String> {
    let mut wrong = told.broken.clone();
    let truth = truth(world).await;
    let rows: Vec<String> = world
        .database
        .all("SELECT tracking_id || ' ' || state FROM transactions WHERE origin = 'api'")
        .await;
    let mut stored: BTreeMap<&str, &str> = BTreeMap::new();
    for row in &rows {
        let (name, state) = row.split_once(' ').expect("two words");
        stored.insert(name, state);
    }
    for name in &told.taken {
        if !stored.contains_key(&**name) {
            wrong.push(format!("{name} was accepted and is missing"));
        }
    }
    for (name, state) in stored {
        let real = truth.get(name).cloned().unwrap_or_default();
        let ends = ends(&real);
        if !ends.contains(&state) {
            wrong.push(format!("{name} is {state}, but {real:?} at the gateway"));
        }
        if told.ended.get(name).map(String::as_str) != Some(state) {
            let last = told.ended.get(name);
            wrong.push(format!("{name} is {state}, but the feed has {last:?}"));
        }
    }
    for name in truth.keys() {
        if !told.taken.contains(name) {
            wrong.push(format!("{name} was submitted, but no caller requested it"));
        }
    }
    wrong
}

/// Returns the true statuses at the gateway, by tracking ID.
async fn truth(world: &World) -> BTreeMap<String, BTreeSet<String>> {
    let all = world.twin().get("transactions?limit=1000000").await;
    let mut truth: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for transaction in all["transactions"].as_array().expect("a list") {
        let text = |key: &str| -> String {
            let value = transaction[key].as_str();
            value.unwrap_or_default().to_owned()
        };
        truth
            .entry(text("tracking_id"))
            .or_default()
            .insert(text("status"));
    }
    truth
}

/// Returns the states that agree with the statuses at the gateway.
fn ends(real: &BTreeSet<String>) -> Vec<&str> {
    if real.is_empty() {
        return vec!["rejected", "not_sent", "not_found"];
    }
    real.iter().map(String::as_str).collect()
}

/// Returns the differences that the real `reconciler audit` reports with the service's
/// configuration.
pub fn audited(world: &World) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("config.toml");
    std::fs::write(&path, world.direct_config_text()).expect("a file");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_reconciler"))
        .args(["audit", "--json", "--config"])
        .arg(&path)
        .env_clear()
        .output()
        .expect("the binary runs");
    if output.status.success() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value = serde_json::from_str(&text).unwrap_or_default();
    vec![format!(
        "audit ended with {}: {error} {:#}",
        output.status, report["differences"]
    )]
}
