//! The danger: the person on call has a terminal and no view; or what is done there goes past the
//! door.

use crate::world::{Addresses, Setup, World, payment};
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::process::Command;

/// What a command of the real binary said.
#[derive(Debug)]
pub struct CliOutput {
    pub worked: bool,
    pub out: String,
    pub err: String,
}

impl CliOutput {
    /// What it printed, as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails unless the command did.
    #[track_caller]
    pub fn expect_failure(self, text: &str) -> Self {
        assert!(!self.worked && self.err.contains(text), "{self:?}");
        self
    }

    /// Fails when the command did.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        assert!(self.worked, "{self:?}");
        self
    }
}

/// Runs the real binary on the configuration of a world.
pub async fn reconciler(world: &World, arguments: &[&str]) -> CliOutput {
    reconciler_with(world, &[], arguments).await
}

/// As [`reconciler`], with an environment laid over the configuration.
pub async fn reconciler_with(
    world: &World,
    environment: &[(&str, &str)],
    arguments: &[&str],
) -> CliOutput {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("config.toml");
    std::fs::write(&path, world.config_text(&Addresses::reserve())).expect("a file");
    let output = Command::new(env!("CARGO_BIN_EXE_reconciler"))
        .args(arguments)
        .arg("--config")
        .arg(&path)
        .env_clear()
        .env("USER", "ann")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .await
        .expect("the binary runs");
    CliOutput {
        worked: output.status.success(),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

#[test]
fn a_transaction_is_shown_with_everything_that_led_to_its_state() {
    Setup::default()
        .shop_set("currency_exponents", "{ EUR = 3 }")
        .run(async |world| {
            world.pay_and_wait("decline-shown").await;
            let shown = reconciler(world, &["show", "decline-shown"])
                .await
                .expect_success()
                .out;
            for part in [
                "failed (final)",
                "3.245 EUR (3245 minor units)",
                "F.0105",
                "was asked for",
            ] {
                assert!(shown.contains(part), "{part} is not in\n{shown}");
            }
            assert!(!shown.contains('\x1b'), "{shown}");
            let told = reconciler(world, &["show", "decline-shown", "--json"])
                .await
                .json();
            assert_eq!(told["transaction"], world.status("decline-shown").await);
            assert_eq!(
                told["explain"]["summary"],
                world.explain("decline-shown").await["summary"]
            );
            let over_http = world.evidence("decline-shown").await;
            assert_eq!(told["evidence"], json!(over_http));
            let id = format!("~{}", told["transaction"]["id"].as_str().unwrap());
            let again = reconciler(world, &["show", &id, "--shop", "1001", "--json"])
                .await
                .json();
            assert_eq!(again["transaction"], told["transaction"]);
            reconciler(world, &["show", "nobody"])
                .await
                .expect_failure("no transaction \"nobody\"");
        });
}

#[test]
fn lists_are_filtered_and_report_more_rows() {
    Setup::default().run(async |world| {
        for id in ["ok-one", "ok-two", "decline-three", "mismatch-four"] {
            world.pay_and_wait(id).await;
        }
        let list = async |more: &[&str]| {
            let arguments = [&["list", "--json"], more].concat();
            reconciler(world, &arguments).await.json()
        };
        let good = list(&["--state", "successful"]).await;
        assert_eq!(good["transactions"].as_array().unwrap().len(), 2, "{good}");
        let first = list(&["--limit", "1"]).await;
        assert_eq!(
            (
                &first["more"],
                first["transactions"].as_array().unwrap().len()
            ),
            (&json!(true), 1)
        );
        let table = reconciler(world, &["list"]).await.expect_success().out;
        assert!(
            table.contains("ok-one") && table.contains("32.45 EUR"),
            "{table}"
        );
        reconciler(world, &["list", "--state", "done"])
            .await
            .expect_failure("must be one of");
        let open = ["discrepancies", "--kind", "amount_mismatch", "--json"];
        let found = reconciler(world, &open).await.json();
        assert_eq!(
            found["discrepancies"][0]["tracking_id"], "mismatch-four",
            "{found}"
        );
        let other = [
            "discrepancies",
            "--kind",
            "late_success",
            "--status",
            "all",
            "--json",
        ];
        assert_eq!(
            reconciler(world, &other).await.json()["discrepancies"],
            json!([])
        );
    });
}

#[test]
fn a_check_requested_by_command_is_evidence() {
    Setup::default().quiet().run(async |world| {
        world.twin().switch(json!({"webhooks": false})).await;
        world.pay("ok-looked").await.expect(202);
        world.twin().uid("ok-looked").await;
        reconciler(world, &["check", "ok-looked"])
            .await
            .expect_success();
        assert_eq!(world.until_final("ok-looked").await["state"], "successful");
        let acts = world.evidence_by("ok-looked", "operator").await;
        assert_eq!(acts.len(), 1);
        assert!(
            acts[0]["note"].as_str().unwrap().contains("cli:ann"),
            "{acts:?}"
        );
        reconciler(world, &["check", "nobody"])
            .await
            .expect_failure("no transaction");
    });
}

#[test]
fn a_shop_is_stopped_and_started_from_a_terminal() {
    Setup::default()
        .with_shop("1002", "secret-of-1002")
        .run(async |world| {
            reconciler(world, &["pause"])
                .await
                .expect_failure("there are 1001, 1002");
            reconciler(world, &["pause", "--shop", "7"])
                .await
                .expect_failure("no shop \"7\"");
            reconciler(world, &["pause", "--shop", "1001"])
                .await
                .expect_success();
            world
                .post("payments", payment("ok-paused"))
                .await
                .expect_problem(503, "unavailable");
            assert_eq!(world.twin().posts("ok-paused").await, 0);
            reconciler(world, &["resume", "--shop", "1001"])
                .await
                .expect_success();
            crate::world::eventually("submits are taken again", async || {
                (world.pay("ok-paused").await.status == 202).then_some(())
            })
            .await;
        });
}

#[test]
fn conflicting_exponents_are_logged_once_per_shop() {
    let setup = Setup::default().shop_set("currency_exponents", "{ IDR = 0, UGX = 2 }");
    // No two shops may have one key.
    let key = json!(twin::SigningKey::Rotated.public()).to_string();
    setup
        .shop_set("public_key", &key)
        .with_shop("1002", "s")
        .service_down()
        .run(async |world| {
            let said = reconciler(world, &["check-config"])
                .await
                .expect_success()
                .out;
            let lines: Vec<&str> = said
                .lines()
                .filter(|line| line.contains("ISO 4217"))
                .collect();
            assert_eq!(lines.len(), 2, "{said}");
            assert!(
                lines[0].contains("shop 1001") && !lines[0].contains("IDR"),
                "{said}"
            );
            assert!(
                lines[1].contains("shop 1002") && lines[1].contains("IDR"),
                "{said}"
            );
        });
}
