//! The danger: a description of the API that says what is not so, or does not say what is.

use crate::cli::reconciler;
use crate::subscribers::{entry, receiver, until_settled};
use crate::world::{DOCUMENT, SHOP, Setup, World};
use reqwest::Method;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_kept_description_is_the_one_that_the_code_makes() {
    let kept = std::fs::read_to_string(root().join("docs/openapi.json")).unwrap_or_default();
    assert!(
        kept == reconciler::api::openapi::text(),
        "the API changed: cargo run -- openapi > docs/openapi.json, and look at what differs"
    );
}

#[test]
fn it_is_printed_and_served_to_anybody() {
    Setup::default().run(async |world| {
        let printed = reconciler(world, &["openapi"]).await.expect_success();
        let nobody = world.with_key("wrong");
        let served = nobody
            .raw(Method::GET, "/openapi.json", &[], "")
            .await
            .expect(200);
        assert_eq!(served.header("content-type"), Some("application/json"));
        assert!(printed.out == served.text && served.json["openapi"] == "3.1.0");
    });
}

#[test]
fn the_page_loads_nothing_from_elsewhere() {
    Setup::default().run(async |world| {
        let get = async |path: &str| {
            world
                .with_key("wrong")
                .raw(Method::GET, path, &[], "")
                .await
        };
        let page = get("/docs").await.expect(200);
        assert!(
            page.header("content-type")
                .unwrap()
                .starts_with("text/html")
        );
        let policy = page.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'"),
            "{policy}"
        );
        assert!(page.text.contains("<base href=\"/docs/\">"));
        let named = ["src=\"", "href=\""].map(|mark| page.text.split(mark).skip(1));
        let mut files = 0;
        for name in named
            .into_iter()
            .flatten()
            .filter_map(|rest| rest.split('"').next())
        {
            assert!(!name.contains("//"), "{name}");
            let Some(file) = name
                .strip_prefix("./")
                .or(Some(name))
                .filter(|n| *n != "/docs/")
            else {
                continue;
            };
            let answer = get(&format!("/docs/{file}")).await.expect(200);
            if file == "swagger-initializer.js" {
                assert!(answer.text.contains("\"/openapi.json\""), "{}", answer.text);
                assert!(
                    answer.text.contains("\"validatorUrl\": \"none\""),
                    "{}",
                    answer.text
                );
            }
            files += 1;
        }
        assert!(files >= 5, "{}", page.text);
        get("/docs/nothing.js")
            .await
            .expect_problem(404, "not-found");
    });
}

#[test]
fn messages_are_as_they_are_described() {
    let [full, thin] = [receiver(|_| 200), receiver(|_| 200)];
    let all = "events = [\"transaction.updated\", \"transaction.finalized\", \
        \"transaction.corrected\", \"discrepancy.opened\", \"discrepancy.resolved\"]";
    Setup::default()
        .subscriber(&entry("whole", &full, all))
        .subscriber(&entry("short", &thin, &format!("{all}\nbody = \"thin\"")))
        .run(async |world| {
            world.pay_and_wait("ok-described").await.expect(200);
            world.pay_and_wait("mismatch-described").await;
            let found = world.until_found("amount_mismatch").await;
            let path = format!("discrepancies/{}/resolve", found["id"].as_str().unwrap());
            world
                .post(&path, serde_json::json!({"reason": "agreed"}))
                .await
                .expect(200);
            until_settled(world).await;
            for told in [&full, &thin] {
                let seen = told.seen();
                assert!(seen.len() > 4);
                for message in seen {
                    let fault = DOCUMENT.message_fault(&message.json());
                    assert_eq!(fault, None, "{}", message.json());
                }
            }
        });
}

/// The configuration of the property tester: everything is tried at the shop that has transactions,
/// but the switch, since nothing could be submitted after it.
fn tester(cursors: &[String; 2]) -> String {
    format!(
        r#"continue-on-failure = true
generation = {{ deterministic = true, database = "none" }}
[parameters]
"path.shop" = "{SHOP}"
"path.tracking_id" = "ok-described"
[phases.stateful]
enabled = false
# A decision that is well put can still be against what the gateway says: that is 422 too.
[[operations]]
include-path = "/v1/shops/{{shop}}/transactions/{{tracking_id}}/resolve"
checks = {{ positive_data_acceptance = {{ enabled = false }} }}
# A parent that is well named can still be one that the gateway does not have: that is 422 too.
[[operations]]
include-path-regex = "/(captures|voids|refunds|chargebacks)$"
checks = {{ positive_data_acceptance = {{ enabled = false }} }}
[[operations]]
include-path = "/v1/shops/{{shop}}/pause"
parameters = {{ "path.shop" = "1002" }}
[[operations]]
include-path = "/v1/shops/{{shop}}/transactions"
parameters = {{ "query.cursor" = "{}" }}
[[operations]]
include-path = "/v1/shops/{{shop}}/discrepancies"
parameters = {{ "query.cursor" = "{}" }}
"#,
        cursors[0], cursors[1]
    )
}

/// Somewhere to go on in each list, since nobody can make a cursor up.
async fn cursors(world: &World) -> [String; 2] {
    let cursor = async |path: &str| -> String {
        let page: Value = world.get(path).await.expect(200).json;
        page["next_cursor"]
            .as_str()
            .expect("another page")
            .to_owned()
    };
    [
        cursor("transactions?limit=1").await,
        cursor("discrepancies?limit=1").await,
    ]
}

#[test]
fn a_property_tester_finds_nothing() {
    let setup = Setup::default().with_shop("1002", "secret-of-1002");
    setup.run(async |world| {
        world.pay_and_wait("ok-described").await.expect(200);
        for name in ["mismatch-described", "currency-described"] {
            world.pay_and_wait(name).await;
        }
        world.until_found("currency_mismatch").await;
        world.until_found("amount_mismatch").await;
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(
            directory.path().join("schemathesis.toml"),
            tester(&cursors(world).await),
        )
        .unwrap();
        let program = installed().await;
        let output = Command::new(program)
            .args(["run", &world.url("/openapi.json"), "--max-examples", "12"])
            .args(["--request-timeout", "20", "--max-time", "20"])
            // What the other listeners serve is not here.
            .args([
                "--exclude-path-regex",
                "^/(webhooks/|livez|readyz|metrics|version)",
            ])
            .args([
                "-H",
                &format!("Authorization: Bearer {}", crate::world::KEY),
            ])
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .output()
            .await
            .expect("it runs");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let erred = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}\n{erred}");
    });
}

/// The property tester, installed when it is not there yet.
async fn installed() -> PathBuf {
    let output = Command::new(root().join("scripts/test-tools.sh"))
        .stdin(Stdio::null())
        .output()
        .await
        .expect("the script runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "the property tester is missing:\n{told}"
    );
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}
