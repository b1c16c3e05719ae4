//! The demo from its first line to its last.

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

/// Tells it all. True if everything ended as the twin says that it did.
pub(super) async fn tell(
    args: &Args,
    stage: &mut Stage,
    screen: &mut Screen,
) -> Result<bool, Error> {
    let places = stage.set(args, screen).await?;
    let api = Server::new(places.settings.api.as_str(), Some(&places.settings.bearer))?;
    let twin = Server::new(places.twin.as_str(), None)?;
    let suffix = suffix(args);
    screen.step("everything is ready").map_err(Error::Print)?;
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
        vec!["With --keep it goes on running, for requests of your own.".to_owned()]
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

/// What makes the tracking ids of this run new where those of earlier ones are kept.
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

/// Where to look while it runs, and a request to begin with.
fn addresses(places: &Places, docs: &str) -> Vec<String> {
    let settings = &places.settings;
    vec![
        format!("          rest api    {}{docs}", settings.api),
        format!(
            "          webhooks    {}/webhooks/{SHOP}",
            settings.webhooks
        ),
        format!("          metrics     {}/metrics", settings.ops),
        format!("          the twin    {}/_twin/transactions", places.twin),
        format!("          settings    {}", settings.file.display()),
        format!(
            "          curl -H 'Authorization: Bearer {}' {}/v1/shops/{SHOP}/transactions",
            settings.bearer, settings.api
        ),
    ]
}

/// Requests to paste into another terminal.
fn by_hand(places: &Places, suffix: &str) -> Vec<String> {
    let settings = &places.settings;
    let shop = format!("{}/v1/shops/{SHOP}", settings.api);
    let key = format!("-H 'Authorization: Bearer {}'", settings.bearer);
    let body = json!({
        "tracking_id": format!("lost-mine{suffix}"),
        "amount": 1_000,
        "currency": "EUR",
        "description": "by hand",
    });
    vec![
        String::new(),
        "Try it: pay once more, and ask why something is as it is.".to_owned(),
        String::new(),
        format!(
            "curl -s {key} -H 'Content-Type: application/json' -H 'Prefer: wait=10' \
             {shop}/payments -d '{body}'"
        ),
        String::new(),
        format!("curl -s {key} {shop}/transactions/crashnone-10{suffix}/explain"),
    ]
}

/// The two requests that make no transaction.
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
