//! Final report: the state of each transaction, its proof, its cost, and whether the simulator
//! agrees.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::DemoError;
use super::client::HttpEndpoint;
use super::progress::{ProgressRow, seconds};
use super::settings::SHOP;
use super::terminal::{Terminal, TextStyle, column};

/// Verified result of one transaction.
#[derive(Clone, Debug)]
pub(super) struct VerifiedOutcome {
    pub(super) tracking_id: String,
    pub(super) state: String,
    /// Kind of evidence that the state is based on.
    pub(super) proof: String,
    /// Time to the final state.
    pub(super) took: String,
    /// Number of requests to the gateway.
    pub(super) requests: u64,
    /// Statuses at the simulator.
    pub(super) truth: String,
    /// Description of the error, if the state is wrong.
    pub(super) wrong: Option<String>,
}

/// Reads the results from the service and the simulator.
pub(super) async fn outcomes(
    api: &HttpEndpoint,
    twin: &HttpEndpoint,
    rows: &[ProgressRow],
) -> Result<Vec<VerifiedOutcome>, DemoError> {
    let mut outcomes = Vec::new();
    for row in rows {
        outcomes.push(outcome(api, twin, row).await?);
    }
    Ok(outcomes)
}

async fn outcome(
    api: &HttpEndpoint,
    twin: &HttpEndpoint,
    row: &ProgressRow,
) -> Result<VerifiedOutcome, DemoError> {
    let name = utf8_percent_encode(&row.tracking_id, NON_ALPHANUMERIC);
    let truth = twin
        .get(&format!(
            "/_twin/transactions?shop={SHOP}&tracking_id={name}"
        ))
        .await?;
    let counts = twin
        .get(&format!("/_twin/counts?shop={SHOP}&tracking_id={name}"))
        .await?;
    let truth = list(&truth["transactions"]);
    let path = format!("/v1/shops/{SHOP}/transactions/{name}");
    let (transaction, evidence) = match &row.problem {
        Some(_) => (Value::Null, Value::Null),
        None => (
            api.get(&path).await?,
            api.get(&format!("{path}/evidence")).await?,
        ),
    };
    let mut wrong = wrong(row, &transaction, truth);
    if let (Some(text), None) = (&mut wrong, &row.problem) {
        let told = api.get(&format!("{path}/explain")).await?;
        text.push_str(&format!(" ({})", told["summary"].as_str().unwrap_or("?")));
    }
    let state = transaction["state"].as_str().unwrap_or("refused");
    Ok(VerifiedOutcome {
        tracking_id: row.tracking_id.clone(),
        state: state.to_owned(),
        proof: proof(&transaction, list(&evidence["evidence"])),
        took: time_to_final(&transaction).unwrap_or_default(),
        requests: counts["tracking_ids"][0]["requests"].as_u64().unwrap_or(0),
        truth: told(truth),
        wrong,
    })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Formats the statuses at the simulator.
fn told(truth: &[Value]) -> String {
    let words: Vec<&str> = truth
        .iter()
        .filter_map(|it| it["status"].as_str())
        .collect();
    match words.is_empty() {
        true => "none".to_owned(),
        false => words.join(", "),
    }
}

/// Returns an error if the state does not agree with the simulator.
fn wrong(row: &ProgressRow, transaction: &Value, truth: &[Value]) -> Option<String> {
    if let Some(problem) = &row.problem {
        return Some(format!("rejected by the service: {problem}"));
    }
    let state = transaction["state"].as_str().unwrap_or_default();
    if state != row.scene.end {
        return Some(format!("{state} instead of {}", row.scene.end));
    }
    let uid = transaction["uid"].as_str();
    let ours = truth.iter().find(|it| it["uid"].as_str() == uid);
    let paid = truth.iter().any(|it| it["status"] == "successful");
    match (ours, uid) {
        (None, Some(uid)) => Some(format!("gateway has no transaction {uid}")),
        (None, None) if truth.is_empty() => None,
        (None, None) => Some(format!("{state}, but the gateway has the transaction")),
        (Some(ours), _) => {
            let differs = ours["amount"] != transaction["amount"];
            // Only an operator may decide this case.
            let waits = state == "pending" && differs;
            let agrees = ours["status"].as_str() == Some(state) && !differs;
            let missed = paid && state != "successful";
            let is_wrong = !waits && (!agrees || missed);
            is_wrong.then(|| format!("{state}, but the gateway has {}", told(truth)))
        }
    }
}

/// Returns the kind of evidence that last changed the state before it became final.
fn proof(transaction: &Value, evidence: &[Value]) -> String {
    let final_at = parse_time(&transaction["finalized_at"]);
    let is_in_time = |piece: &&Value| {
        let received = parse_time(&piece["received_at"]);
        final_at.is_none_or(|at| received.is_some_and(|received| received <= at))
    };
    let of = |verdict: &str| {
        let has_moved = |it: &&Value| it["verdict"] == verdict && is_in_time(it);
        evidence.iter().rfind(has_moved)
    };
    let Some(piece) = of("correction").or_else(|| of("applied")) else {
        return String::new();
    };
    if transaction["state"] == "pending" {
        return "needs review".to_owned();
    }
    let is_refusal = transaction["state"] == "rejected";
    let word = match piece["channel"].as_str().unwrap_or_default() {
        "ack" if is_refusal => "refusal of the POST",
        "ack" => "response to the POST",
        "task_result" if is_refusal => "refusal by the task",
        "task_result" => "task result",
        "task_status" => "task status",
        "webhook" => "webhook",
        "query" => "lookup",
        "local" if transaction["state"] == "not_found" => "proof of absence",
        "operator" => "operator",
        other => other,
    };
    match piece["verdict"] == "correction" {
        true => format!("{word}, corrected"),
        false => word.to_owned(),
    }
}

fn time_to_final(transaction: &Value) -> Option<String> {
    let created = parse_time(&transaction["created_at"])?;
    let finalized = parse_time(&transaction["finalized_at"])?;
    (finalized - created).try_into().ok().map(seconds)
}

/// Parses a time in JSON.
pub(super) fn parse_time(value: &Value) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(value.as_str()?, &Rfc3339).ok()
}

/// Formats the report, one line per transaction.
pub(super) fn table(outcomes: &[VerifiedOutcome], screen: &Terminal) -> Vec<String> {
    let widest = |of: fn(&VerifiedOutcome) -> &str, least: usize| {
        let widths = outcomes.iter().map(|it| of(it).chars().count());
        widths.max().unwrap_or(0).max(least)
    };
    let name = widest(|it| &it.tracking_id, 11);
    let proof = widest(|it| &it.proof, 9);
    let head = format!(
        "{}  {}  {}  {}  {}  {}",
        column("tracking_id", name),
        column("state", 10),
        column("proof", proof),
        "  time",
        "requests",
        "at the gateway"
    );
    let mut lines = vec![screen.styled(&head, TextStyle::Faint)];
    lines.extend(outcomes.iter().map(|it| {
        let tone = match (&it.wrong, it.state.as_str()) {
            (Some(_), _) => TextStyle::Bad,
            (None, "pending") => TextStyle::Open,
            (None, _) => TextStyle::Good,
        };
        let note = if it.wrong.is_some() { "  WRONG" } else { "" };
        format!(
            "{}  {}  {}  {:>6}  {:>8}  {}{note}",
            column(&it.tracking_id, name),
            screen.styled(&column(&it.state, 10), tone),
            column(&it.proof, proof),
            it.took,
            it.requests,
            it.truth
        )
    }));
    lines
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a failed test may panic")]
mod tests {
    use super::*;
    use crate::scenarios::SCENARIOS;
    use serde_json::json;

    fn row(name: &str) -> ProgressRow {
        let scene = SCENARIOS.iter().find(|scene| scene.name == name);
        ProgressRow::new(*scene.expect("there is such a scene"), name.to_owned())
    }

    #[test]
    fn a_state_must_agree_with_the_simulator() {
        let paid = json!({"state": "successful", "uid": "u", "amount": 5});
        let truth = |status: &str| vec![json!({"uid": "u", "status": status, "amount": 5})];
        assert_eq!(wrong(&row("ok-1"), &paid, &truth("successful")), None);
        assert!(wrong(&row("ok-1"), &paid, &truth("failed")).is_some());
        assert!(wrong(&row("ok-1"), &paid, &[]).is_some());
        let absent = json!({"state": "not_found", "uid": null});
        assert_eq!(wrong(&row("crashnone-10"), &absent, &[]), None);
        assert!(wrong(&row("crashnone-10"), &absent, &truth("successful")).is_some());
        assert!(wrong(&row("ok-1"), &absent, &[]).is_some());
    }

    #[test]
    fn another_amount_needs_review() {
        let truth = vec![json!({"uid": "u", "status": "successful", "amount": 6})];
        let waits = json!({"state": "pending", "uid": "u", "amount": 5});
        assert_eq!(wrong(&row("mismatch-13"), &waits, &truth), None);
        let taken = json!({"state": "successful", "uid": "u", "amount": 5});
        assert!(wrong(&row("ok-1"), &taken, &truth).is_some());
    }

    #[test]
    fn the_proof_is_the_last_change_before_the_final_state() {
        let at = |second: u8| format!("2026-11-22T10:00:0{second}Z");
        let piece = |channel: &str, verdict: &str, second: u8| json!({"channel": channel, "verdict": verdict, "received_at": at(second)});
        let transaction = json!({"state": "successful", "finalized_at": at(3)});
        let evidence = [
            piece("ack", "applied", 1),
            piece("webhook", "applied", 2),
            piece("task_result", "applied", 4),
        ];
        assert_eq!(proof(&transaction, &evidence), "webhook");
        let corrected = [
            piece("task_result", "applied", 1),
            piece("webhook", "correction", 2),
        ];
        assert_eq!(proof(&transaction, &corrected), "webhook, corrected");
    }
}
