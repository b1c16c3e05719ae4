//! Assertions about the run: every final state is correct, nothing was submitted twice, and no card
//! number was stored.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;
use tokio::process::Command;

use super::DemoError;
use super::client::HttpEndpoint;
use super::environment::Environment;
use super::scenarios::CARD;
use super::settings::SHOP;
use super::verify::{VerifiedOutcome, parse_time};

/// An assertion in one sentence, and whether it holds.
#[derive(Clone, Debug)]
pub(super) struct Assertion {
    pub(super) text: String,
    pub(super) holds: bool,
}

/// Evaluates all assertions.
pub(super) async fn run_assertions(
    twin: &HttpEndpoint,
    stage: &Environment,
    outcomes: &[VerifiedOutcome],
    took: Duration,
) -> Result<Vec<Assertion>, DemoError> {
    let counts = twin.get(&format!("/_twin/counts?shop={SHOP}")).await?;
    let mut claims = ends(outcomes, &counts["requests"], took);
    claims.push(never_twice(&counts));
    let Some(last) = outcomes.last() else {
        return Ok(claims);
    };
    claims.push(no_card(&stage.data_directories(), &last.tracking_id).await?);
    Ok(claims)
}

fn ends(outcomes: &[VerifiedOutcome], requests: &Value, took: Duration) -> Vec<Assertion> {
    let wrong = outcomes.iter().filter_map(|it| {
        let text = format!("{}: {}", it.tracking_id, it.wrong.as_deref()?);
        Some(Assertion { text, holds: false })
    });
    let mut claims: Vec<Assertion> = wrong.collect();
    if claims.is_empty() {
        let (count, seconds) = (outcomes.len(), took.as_secs_f64());
        claims.push(Assertion {
            text: format!(
                "All {count} states agree with the gateway, after {seconds:.0} s and {requests} \
                     requests to it."
            ),
            holds: true,
        });
    }
    claims
}

fn never_twice(counts: &Value) -> Assertion {
    let twice = &counts["over_one_unrefused"];
    let holds = twice.as_array().is_some_and(Vec::is_empty);
    let text = match holds {
        true => "No request was resent unless the gateway had refused it.".to_owned(),
        false => format!("Resent without a refusal: {twice}"),
    };
    Assertion { text, holds }
}

/// Searches all files for the card number. Also searches for a tracking ID, which must be found, to
/// show that the search works.
async fn no_card(places: &[&Path], tracking_id: &str) -> Result<Assertion, DemoError> {
    let found = files_with(CARD, places).await?;
    let works = !files_with(tracking_id, places).await?.is_empty();
    let text = match (found.is_empty(), works) {
        (true, true) => "No database file and no log contains the card number.".to_owned(),
        (true, false) => "The search of the database files failed.".to_owned(),
        (false, _) => format!(
            "These files contain the card number: {}",
            found.replace('\n', " ").trim()
        ),
    };
    let holds = found.is_empty() && works;
    Ok(Assertion { text, holds })
}

async fn files_with(text: &str, places: &[&Path]) -> Result<String, DemoError> {
    let search = Command::new("grep")
        // Database files can disappear during the search.
        .args(["-r", "-a", "-l", "-s", "-F", "-e", text])
        .args(places)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let found = search.await.map_err(DemoError::io("run grep"))?;
    Ok(String::from_utf8_lossy(&found.stdout).into_owned())
}

/// Returns the open discrepancies of this run, for review by an operator.
pub(super) async fn open_discrepancies(
    api: &HttpEndpoint,
    began: OffsetDateTime,
) -> Result<Vec<String>, DemoError> {
    let path = format!("/v1/shops/{SHOP}/discrepancies?status=open&limit=200");
    let open = api.get(&path).await?;
    let open = open["discrepancies"].as_array();
    let lines = open.into_iter().flatten().filter_map(|found| {
        parse_time(&found["opened_at"]).filter(|at| *at >= began)?;
        let kind = found["kind"].as_str()?;
        let detail = found["detail"].as_str()?;
        // A rejected webhook belongs to no transaction.
        let about = found["tracking_id"].as_str().unwrap_or("-");
        Some(format!("open discrepancy: {kind}, {about}: {detail}"))
    });
    Ok(lines.collect())
}
