//! The course of the demo, from start-up to the final report.

use std::time::Duration;

use serde_json::{Value, json};

use super::assertions;
use super::client::HttpEndpoint;
use super::environment::{Endpoints, Environment};
use super::progress::ProgressRow;
use super::runner::ScenarioRun;
use super::scenarios::{PAID_TRACKING_ID, SCENARIOS};
use super::settings::SHOP;
use super::terminal::{Terminal, TextStyle};
use super::verify;
use super::{DemoArgs, DemoError};
use leaves::clock::{self, BootInstant};

/// Runs the demo and prints the report. Returns whether all assertions hold.
pub(super) async fn run_demo(
    args: &DemoArgs,
    stage: &mut Environment,
    screen: &mut Terminal,
) -> Result<bool, DemoError> {
    let places = stage.start(args, screen).await?;
    let api = HttpEndpoint::new(places.settings.api.as_str(), Some(&places.settings.bearer))?;
    let twin = HttpEndpoint::new(places.twin.as_str(), None)?;
    let suffix = suffix(args);
    screen.print_step("ready").map_err(DemoError::Print)?;
    let docs = if api.is_good("/docs").await {
        "/docs"
    } else {
        ""
    };
    print(screen, &addresses(&places, docs))?;
    print(screen, &[String::new()])?;
    let (began, started) = (clock::now_utc(), BootInstant::now());
    let show = ScenarioRun::new(&api, rows(&suffix));
    let rows = show.play(stage, screen).await?;
    let took = started.elapsed();
    let queries = queries(&api, &rows).await?;
    let outcomes = verify::outcomes(&api, &twin, &rows).await?;
    let findings = assertions::open_discrepancies(&api, began).await?;
    let mut claims = assertions::run_assertions(&twin, stage, &outcomes, took).await?;
    claims.push(places.neighbour.claim(&outcomes).await);
    claims.push(stage.audit(&places).await?);
    print(screen, &[String::new()])?;
    print(screen, &verify::table(&outcomes, screen))?;
    print(screen, &[queries, findings, vec![String::new()]].concat())?;
    for claim in &claims {
        let tone = if claim.holds {
            TextStyle::Good
        } else {
            TextStyle::Bad
        };
        let line = screen.styled(&claim.text, tone);
        print(screen, &[line])?;
    }
    let again = if args.keep {
        by_hand(&places, &suffix)
    } else {
        vec![
            "With --keep the demo keeps running, so that you can send requests of your own."
                .to_owned(),
        ]
    };
    print(screen, &again)?;
    Ok(claims.iter().all(|claim| claim.holds))
}

fn print(screen: &mut Terminal, lines: &[String]) -> Result<(), DemoError> {
    let mut lines = lines.iter();
    lines
        .try_for_each(|line| screen.print_line(line))
        .map_err(DemoError::Print)
}

/// Returns a suffix that makes tracking IDs unique if those of earlier runs are kept.
fn suffix(args: &DemoArgs) -> String {
    match &args.data {
        Some(_) => format!("-{:x}", clock::now_utc().unix_timestamp()),
        None => String::new(),
    }
}

fn rows(suffix: &str) -> Vec<ProgressRow> {
    let row = |scene: &super::scenarios::DemoScenario| {
        ProgressRow::new(*scene, format!("{}{suffix}", scene.name))
    };
    SCENARIOS.iter().map(row).collect()
}

/// Returns the addresses of the environment and an example request.
fn addresses(places: &Endpoints, docs: &str) -> Vec<String> {
    let settings = &places.settings;
    vec![
        format!("          REST API    {}{docs}", settings.api),
        format!(
            "          webhooks    {}/webhooks/{SHOP}",
            settings.webhooks
        ),
        format!("          metrics     {}/metrics", settings.ops),
        format!("          simulator    {}/_twin/transactions", places.twin),
        format!("          settings    {}", settings.file.display()),
        format!(
            "          curl -H 'Authorization: Bearer {}' {}/v1/shops/{SHOP}/transactions",
            settings.bearer, settings.api
        ),
    ]
}

/// Returns example requests to paste into another terminal.
fn by_hand(places: &Endpoints, suffix: &str) -> Vec<String> {
    let settings = &places.settings;
    let shop = format!("{}/v1/shops/{SHOP}", settings.api);
    let key = format!("-H 'Authorization: Bearer {}'", settings.bearer);
    let body = json!({
        "tracking_id": format!("lost-mine{suffix}"),
        "amount": 1_000,
        "currency": "EUR",
        "description": "example",
    });
    vec![
        String::new(),
        "Try it: create another payment, and ask for the reasons of a state.".to_owned(),
        String::new(),
        format!(
            "curl -s {key} -H 'Content-Type: application/json' -H 'Prefer: wait=10' \
             {shop}/payments -d '{body}'"
        ),
        String::new(),
        format!("curl -s {key} {shop}/transactions/crashnone-10{suffix}/explain"),
    ]
}

/// Sends the two requests that create no transaction.
async fn queries(api: &HttpEndpoint, rows: &[ProgressRow]) -> Result<Vec<String>, DemoError> {
    let ask = async |kind: &str, body: Value| {
        let started = BootInstant::now();
        let path = format!("/v1/shops/{SHOP}/queries/{kind}");
        let answer = api.post(&path, &body).await?;
        Ok::<_, DemoError>((answer.expect_ok(&path)?, started.elapsed()))
    };
    let paid = rows.iter().find(|row| row.scene.name == PAID_TRACKING_ID);
    let uid = paid.and_then(|row| row.text("uid")).unwrap_or_default();
    let (balance, status) = tokio::join!(
        ask("balance", json!({"currency": "EUR"})),
        ask("status", json!({"uid": uid})),
    );
    let ((balance, after), (status, status_after)) = (balance?, status?);
    let amount = &balance["result"]["result"]["amount"];
    let word = &status["result"]["transaction"]["status"];
    Ok(vec![
        String::new(),
        format!(
            "balance query: {amount} minor units ({})",
            told_after(after)
        ),
        format!(
            "status query of {PAID_TRACKING_ID}: {} ({})",
            word.as_str().unwrap_or("nothing"),
            told_after(status_after)
        ),
    ])
}

fn told_after(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
