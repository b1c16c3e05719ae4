//! The demo from its first line to its last.

use std::time::Duration;

use serde_json::{Value, json};

use super::board::Row;
use super::client::Server;
use super::judge::{self, Outcome};
use super::scenes::{PAID, SCENES};
use super::screen::{Screen, Tone};
use super::settings::SHOP;
use super::show::Show;
use super::stage::{Places, Stage};
use super::{Args, Error};
use crate::clock::{self, Boottime};

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
    print(screen, &addresses(&places))?;
    print(screen, &[String::new()])?;
    let started = Boottime::now();
    let show = Show::new(&api, rows(&suffix));
    let rows = show.play(stage, screen).await?;
    let took = started.elapsed();
    let queries = queries(&api, &rows).await?;
    let outcomes = judge::outcomes(&api, &twin, &rows).await?;
    print(screen, &[String::new()])?;
    print(screen, &judge::table(&outcomes, screen))?;
    print(screen, &queries)?;
    let (conclusion, right) = conclusion(&twin, &outcomes, took).await?;
    let tone = if right { Tone::Good } else { Tone::Bad };
    let conclusion: Vec<String> = conclusion
        .iter()
        .map(|line| screen.tinted(line, tone))
        .collect();
    print(screen, &conclusion)?;
    let again = if args.keep {
        by_hand(&places, &suffix)
    } else {
        vec!["With --keep it goes on running, for requests of your own.".to_owned()]
    };
    print(screen, &again)?;
    Ok(right)
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

fn addresses(places: &Places) -> Vec<String> {
    let settings = &places.settings;
    vec![
        format!("          rest api    {}/docs", settings.api),
        format!(
            "          webhooks    {}/webhooks/{SHOP}",
            settings.webhooks
        ),
        format!("          metrics     {}/metrics", settings.ops),
        format!("          the twin    {}/_twin/transactions", places.twin),
        format!("          settings    {}", settings.file.display()),
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
        String::new(),
    ])
}

fn told_after(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// What it all comes to, and whether that is right.
async fn conclusion(
    twin: &Server,
    outcomes: &[Outcome],
    took: Duration,
) -> Result<(Vec<String>, bool), Error> {
    let counts = twin.get(&format!("/_twin/counts?shop={SHOP}")).await?;
    let twice = counts["over_one_unrefused"].as_array();
    let never_twice = twice.is_some_and(Vec::is_empty);
    let wrong: Vec<&Outcome> = outcomes.iter().filter(|it| it.wrong.is_some()).collect();
    let mut lines: Vec<String> = wrong
        .iter()
        .map(|it| format!("{}: {}", it.tracking_id, it.wrong.as_deref().unwrap_or("")))
        .collect();
    lines.push(if wrong.is_empty() {
        format!(
            "All {} ended as the gateway's own books say, in {:.0} s and {} requests.",
            outcomes.len(),
            took.as_secs_f64(),
            counts["requests"]
        )
    } else {
        format!(
            "{} of {} did not end as they should.",
            wrong.len(),
            outcomes.len()
        )
    });
    lines.push(if never_twice {
        "No transaction was sent a second time unless the gateway had refused the first.".to_owned()
    } else {
        format!("Sent more than once: {}", counts["over_one_unrefused"])
    });
    Ok((lines, wrong.is_empty() && never_twice))
}
