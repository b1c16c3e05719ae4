//! The course of the demo, from start-up to the final report.

use std::time::Duration;

use serde_json::{Value, json};

use super::board::Row;
use super::claims;
use super::client::Server;
use super::judge;
use super::scenes::{PAID, SCENES};
use super::screen::{Screen, Tone};
use super::settings::SHOP;
use super::show::Show;
use super::stage::{Places, Stage};
use super::{Args, Error};
use leaves::clock::{self, Boottime};

/// Runs the demo and prints the report. Returns whether all assertions hold.
pub(super) async fn tell(
    args: &Args,
    stage: &mut Stage,
    screen: &mut Screen,
) -> Result<bool, Error> {
    let places = stage.set(args, screen).await?;
    let api = Server::new(places.settings.api.as_str(), Some(&places.settings.bearer))?;
    let twin = Server::new(places.twin.as_str(), None)?;
    let suffix = suffix(args);
    screen.step("ready").map_err(Error::Print)?;
    let docs = if api.is_good("/docs").await {
        "/docs"
    } else {
        ""
    };
    print(screen, &addresses(&places, docs))?;
    print(screen, &[String::new()])?;
    let (began, started) = (clock::now_utc(), Boottime::now());
    let show = Show::new(&api, rows(&suffix));
    let rows = show.play(stage, screen).await?;
    let took = started.elapsed();
    let queries = queries(&api, &rows).await?;
    let outcomes = judge::outcomes(&api, &twin, &rows).await?;
    let findings = claims::findings(&api, began).await?;
    let mut claims = claims::claims(&twin, stage, &outcomes, took).await?;
    claims.push(places.neighbour.claim(&outcomes).await);
    claims.push(stage.audit(&places).await?);
    print(screen, &[String::new()])?;
    print(screen, &judge::table(&outcomes, screen))?;
    print(screen, &[queries, findings, vec![String::new()]].concat())?;
    for claim in &claims {
        let tone = if claim.holds { Tone::Good } else { Tone::Bad };
        let line = screen.tinted(&claim.text, tone);
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

fn print(screen: &mut Screen, lines: &[String]) -> Result<(), Error> {
    let mut lines = lines.iter();
    lines
        .try_for_each(|line| screen.line(line))
        .map_err(Error::Print)
}

/// Returns a suffix that makes tracking IDs unique if those of earlier runs are kept.
fn suffix(args: &Args) -> String {
    match &args.data {
        Some(_) => format!("-{:x}", clock::now_utc().unix_timestamp()),
        None => String::new(),
    }
}

fn rows(suffix: &str) -> Vec<Row> {
    let row = |scene: &super::scenes::Scene| Row::new(*scene, format!("{}{suffix}", scene.name));
    SCENES.iter().map(row).collect()
}

/// Returns the addresses of the environment and an example request.
fn addresses(places: &Places, docs: &str) -> Vec<String> {
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
fn by_hand(places: &Places, suffix: &str) -> Vec<String> {
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
async fn queries(api: &Server, rows: &[Row]) -> Result<Vec<String>, Error> {
    let ask = async |kind: &str, body: Value| {
        let started = Boottime::now();
        let path = format!("/v1/shops/{SHOP}/queries/{kind}");
        let answer = api.post(&path, &body).await?;
        Ok::<_, Error>((answer.good(&path)?, started.elapsed()))
    };
    let paid = rows.iter().find(|row| row.scene.name == PAID);
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
            "status query of {PAID}: {} ({})",
            word.as_str().unwrap_or("nothing"),
            told_after(status_after)
        ),
    ])
}

fn told_after(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
