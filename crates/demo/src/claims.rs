//! What the service promises, tried on what has just happened: every end is true, nothing
//! was sent twice, and no card number became durable.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;
use tokio::process::Command;

use super::Error;
use super::client::Server;
use super::judge::{Outcome, moment};
use super::scenes::CARD;
use super::settings::SHOP;
use super::stage::Stage;

/// One promise, in a sentence.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) text: String,
    pub(super) holds: bool,
}

/// Tries all of them.
pub(super) async fn claims(
    twin: &Server,
    stage: &Stage,
    outcomes: &[Outcome],
    took: Duration,
) -> Result<Vec<Claim>, Error> {
    let counts = twin.get(&format!("/_twin/counts?shop={SHOP}")).await?;
    let mut claims = ends(outcomes, &counts["requests"], took);
    claims.push(never_twice(&counts));
    let Some(last) = outcomes.last() else {
        return Ok(claims);
    };
    claims.push(no_card(&stage.places(), &last.tracking_id).await?);
    Ok(claims)
}

fn ends(outcomes: &[Outcome], requests: &Value, took: Duration) -> Vec<Claim> {
    let wrong = outcomes.iter().filter_map(|it| {
        let text = format!("{}: {}", it.tracking_id, it.wrong.as_deref()?);
        Some(Claim { text, holds: false })
    });
    let mut claims: Vec<Claim> = wrong.collect();
    if claims.is_empty() {
        let (count, seconds) = (outcomes.len(), took.as_secs_f64());
        claims.push(Claim {
            text: format!(
                "All {count} ended as the gateway's own books say, in {seconds:.0} s and \
                 {requests} requests to it."
            ),
            holds: true,
        });
    }
    claims
}

fn never_twice(counts: &Value) -> Claim {
    let twice = &counts["over_one_unrefused"];
    let holds = twice.as_array().is_some_and(Vec::is_empty);
    let text = match holds {
        true => "None was sent again unless the gateway had refused it before.".to_owned(),
        false => format!("Sent again without a refusal: {twice}"),
    };
    Claim { text, holds }
}

/// Looks for the card number in all files. That the look works is shown by looking for a
/// tracking id, too, which must be there.
async fn no_card(places: &[&Path], tracking_id: &str) -> Result<Claim, Error> {
    let found = files_with(CARD, places).await?;
    let works = !files_with(tracking_id, places).await?.is_empty();
    let text = match (found.is_empty(), works) {
        (true, true) => "The card number is in no file of the database and in no log.".to_owned(),
        (true, false) => "The files of the database could not be searched.".to_owned(),
        (false, _) => format!("The card number is in {}", found.replace('\n', " ").trim()),
    };
    let holds = found.is_empty() && works;
    Ok(Claim { text, holds })
}

async fn files_with(text: &str, places: &[&Path]) -> Result<String, Error> {
    let search = Command::new("grep")
        // Files of the database come and go.
        .args(["-r", "-a", "-l", "-s", "-F", "-e", text])
        .args(places)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let found = search.await.map_err(Error::io("run grep"))?;
    Ok(String::from_utf8_lossy(&found.stdout).into_owned())
}

/// What is left for a person: the findings that were opened since the beginning.
pub(super) async fn findings(api: &Server, began: OffsetDateTime) -> Result<Vec<String>, Error> {
    let path = format!("/v1/shops/{SHOP}/discrepancies?status=open&limit=200");
    let open = api.get(&path).await?;
    let open = open["discrepancies"].as_array();
    let lines = open.into_iter().flatten().filter_map(|found| {
        moment(&found["opened_at"]).filter(|at| *at >= began)?;
        let kind = found["kind"].as_str()?;
        let detail = found["detail"].as_str()?;
        // A webhook that is not believed is about nothing.
        let about = found["tracking_id"].as_str().unwrap_or("-");
        Some(format!("open finding: {kind}, {about}: {detail}"))
    });
    Ok(lines.collect())
}
