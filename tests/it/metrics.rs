//! The danger: a dashboard and alerts that ask for what the service does not tell.

use crate::subscribers::{entry, receiver};
use crate::world::{Prometheus, SHOP, Setup, World, eventually, eventually_within, payment};
use serde_json::{Value, json};
use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

fn dashboard() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("helm/dashboards/reconciler.json");
    serde_json::from_slice(&std::fs::read(path).expect("the dashboard")).expect("JSON")
}

/// Each panel's title and query, as Grafana would ask when everything is chosen.
fn questions() -> Vec<(String, String)> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| {
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.into_iter().map(move |target| {
            let asked = target["expr"].as_str().unwrap().to_owned();
            (panel["title"].as_str().unwrap().to_owned(), asked)
        })
    });
    let filled = |asked: String| {
        ["$namespace", "$shop"]
            .iter()
            .fold(asked, |asked, name| asked.replace(name, ".*"))
            .replace("$__rate_interval", "1m")
    };
    targets
        .map(|(title, asked)| (title, filled(asked)))
        .collect()
}

/// A little of everything that is counted.
async fn life(world: &World, round: u32) {
    let pay = async |name: &str| world.pay(&format!("{name}-{round}")).await;
    pay("ok").await;
    pay("e500").await;
    let paused = world.at_shop("1002");
    let refused = paused
        .post("payments", payment(&format!("ok-paused-{round}")))
        .await;
    refused.expect_problem(503, "unavailable");
    world.until_final(&format!("ok-{round}")).await;
}

#[test]
fn every_panel_shows_something_and_every_alert_can_be_evaluated() {
    let told = receiver(|_| 200);
    Setup::default()
        .set("follow", "in_doubt_horizon", "\"1h\"")
        .with_shop("1002", "secret-of-1002")
        .subscriber(&entry("orders", &told, ""))
        .run(async |world| {
            world
                .at_shop("1002")
                .post("pause", Value::Null)
                .await
                .expect(200);
            world.pay("crashnone-doubt").await;
            world.pay("mismatch-found").await;
            world.until_state("crashnone-doubt", "in_doubt").await;
            let prometheus = Prometheus::start(world);
            let questions = questions();
            assert!(questions.len() > 30, "{questions:?}");
            let round = Cell::new(0);
            let mut silent = questions.clone();
            let shown = eventually_within(Duration::from_secs(240), async || {
                round.set(round.get() + 1);
                life(world, round.get()).await;
                let mut still = Vec::new();
                for (title, asked) in &silent {
                    let series = prometheus.series(asked).await;
                    if !series.iter().any(|(_, value)| value.is_finite()) {
                        still.push((title.clone(), asked.clone()));
                    }
                }
                silent = still;
                silent.is_empty().then_some(())
            })
            .await;
            assert!(shown.is_some(), "nothing is shown by {silent:#?}");

            let rules = eventually("every rule was evaluated", async || {
                let rules = prometheus.rules().await;
                let done =
                    !rules.is_empty() && rules.iter().all(|rule| rule["health"] != "unknown");
                done.then_some(rules)
            })
            .await;
            assert!(rules.len() > 15);
            for rule in rules {
                assert_eq!(rule["health"], "ok", "{rule}");
            }
            // What is chosen from above the panels.
            for (label, metric, value) in [
                ("namespace", "reconciler_build_info", "pay"),
                ("shop", "reconciler_transactions_open", "1001"),
            ] {
                let values = prometheus.label_values(label, metric).await;
                assert!(values.contains(&value.into()), "{label}: {values:?}");
            }
        });
}

#[test]
fn the_difference_of_clocks_is_measured() {
    Setup::default().run(async |world| {
        world.pay_and_wait("ok-clock").await.expect(200);
        let ahead = json!({"uid": "ahead-1", "tracking_id": "ahead-1", "amount": 100,
            "currency": "EUR", "created_offset_seconds": 80, "test": true});
        world.twin().make(ahead).await;
        let skew = async |source: &str| {
            let metrics = world.metrics().await;
            metrics.sum(
                "reconciler_gateway_clock_skew_seconds",
                &[("source", source)],
            )
        };
        assert!(skew("header").await.abs() < 5.0);
        assert!(skew("body").await.abs() < 5.0);
        let webhook = json!({"url": world.hook_url(), "shop": SHOP, "uid": "ahead-1"});
        world.twin().send_webhook(webhook).await;
        assert!((70.0..=80.0).contains(&skew("body").await));
        let tolerance = world
            .metrics()
            .await
            .sum("reconciler_clock_tolerance_seconds", &[]);
        assert!(tolerance > 0.0);
    });
}
