//! Our own acts and those of people, read back from the JSON in which they are stored.
//!
//! What it deliberately cannot do: fill in what is missing. An act that lacks something is told.

use crate::earlier;
use crate::evidence_reader::{AuditedDecision, SnapshotOrderKey, Statement};
use crate::gateway_body::{FinalityRank, ReportedTransaction};
use crate::sql::AuditedEvidence;
use serde_json::Value;
use uuid::Uuid;
use words::{Currency, State, TaskId, Timestamp, TrackingId, Uid};

/// Our own acts, and those of people: JSON that we wrote.
pub(super) fn read(row: &AuditedEvidence) -> Result<Vec<Statement>, &'static str> {
    let json: Value = serde_json::from_slice(&row.body).unwrap_or(Value::Null);
    let attempt = || number(&json["attempt"]).ok_or("its attempt");
    let when = |name: &'static str| time(&json[name]).ok_or(name);
    let task = || json["task"].as_str().and_then(TaskId::from_gateway);
    let act = row.subject.as_deref().unwrap_or_default();
    // What was held back after its stamp names the attempt behind the act.
    let act = act.split(", attempt ").next().unwrap_or_default();
    Ok(vec![match act {
        "opened" => Statement::Opened(json),
        "stamped" => Statement::Stamped {
            attempt: attempt()?,
            at: when("at")?,
            not_before: when("not_before")?,
            replay: json["replay"].as_bool().ok_or("whether it is a replay")?,
        },
        "not_sent" if json["final"] == Value::Bool(true) => Statement::GivenUp(attempt()?),
        "not_sent" => Statement::NotSent(attempt()?),
        "held" if act_attempt(row).is_some() => {
            let attempt = act_attempt(row).unwrap_or(0);
            return Ok(vec![
                Statement::NotSent(attempt),
                Statement::Held(when("at")?),
            ]);
        }
        "held" => Statement::Held(when("at")?),
        "released" => Statement::Released(when("at")?),
        "went_silent" => match task() {
            Some(task) => Statement::TaskOutlived(task),
            None => Statement::Silent(attempt()?),
        },
        "absence_proved" => Statement::Proved {
            at: when("at")?,
            lookups: ids(&json["lookups"]).ok_or("its look-ups")?,
            duplicate: json["duplicate"].as_bool().ok_or("what it proves")?,
            attempts: match &json["attempts"] {
                Value::Null => Vec::new(),
                list => numbers(list).ok_or("the attempts that it covers")?,
            },
        },
        "refusal_checked" => Statement::RefusalChecked(
            task().ok_or("its task")?,
            json["check"].as_str().ok_or("what it came to")?.to_owned(),
            ids(&json["lookups"]).ok_or("its look-ups")?,
        ),
        "decided" => Statement::Decided(decision(&json)?),
        "decided_before" => {
            let kept = earlier::read(&json, key).ok_or("what it keeps")?;
            Statement::DecidedBefore(Box::new(kept))
        }
        "taken_over" => Statement::TakenOver,
        "looked_over" => Statement::LookedOver,
        "anothers" | "beside" => whose(act, &json)?,
        "offered" => {
            let (told, sha256) = accepted(&json["snapshot"]).ok_or("what was offered")?;
            Statement::Offered(told, sha256)
        }
        "merged" if json.get("into").is_some() => Statement::MergedInto,
        "merged" => {
            let (told, sha256) = accepted(&json["snapshot"]).ok_or("what was known of it")?;
            Statement::Merged(told, sha256)
        }
        "mismatch_accepted" => {
            let (told, sha256) = accepted(&json["snapshot"]).ok_or("what was accepted")?;
            Statement::Accepted(told, sha256)
        }
        // `check`, `discrepancy_resolved`, `pending_too_long`: noted, and without consequence.
        _ => return Ok(Vec::new()),
    }])
}

/// Of another of ours, or found beside what our own request had named, or what had still to end.
fn whose(act: &str, json: &Value) -> Result<Statement, &'static str> {
    let uid = json["uid"].as_str().and_then(Uid::from_gateway);
    let uid = uid.ok_or("its uid")?;
    Ok(match act {
        "beside" => {
            let open = json["open"].as_array().into_iter().flatten();
            let open = open.map(|uid| uid.as_str().map(str::to_owned));
            Statement::Beside(uid, open.collect::<Option<_>>().ok_or("what was open")?)
        }
        _ => Statement::Anothers(uid),
    })
}

fn act_attempt(row: &AuditedEvidence) -> Option<u32> {
    let subject = row.subject.as_deref()?;
    subject.rsplit_once(", attempt ")?.1.parse().ok()
}

fn number(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok()
}

/// RFC 3339, or microseconds since 1970.
fn time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => Timestamp::parse(text),
        value => value.as_i64().map(Timestamp::from_micros),
    }
}

fn numbers(value: &Value) -> Option<Vec<u32>> {
    value.as_array()?.iter().map(number).collect()
}

fn ids(value: &Value) -> Option<Vec<Uuid>> {
    value
        .as_array()?
        .iter()
        .map(|id| Uuid::parse_str(id.as_str()?).ok())
        .collect()
}

fn decision(json: &Value) -> Result<AuditedDecision, &'static str> {
    let basis = &json["basis"];
    Ok(AuditedDecision {
        at: time(&json["at"]).ok_or("at")?,
        id: json["id"]
            .as_str()
            .and_then(|id| Uuid::parse_str(id).ok())
            .ok_or("its id")?,
        state: json["state"]
            .as_str()
            .and_then(State::parse)
            .ok_or("its state")?,
        basis: match basis {
            Value::Null => None,
            basis => Some(key(basis).ok_or("its basis")?),
        },
        uid: json["uid"].as_str().and_then(Uid::from_gateway),
    })
}

fn key(basis: &Value) -> Option<SnapshotOrderKey> {
    let ending = match basis["r"].as_u64()? {
        0 => FinalityRank::Open,
        1 => FinalityRank::Expired,
        2 => FinalityRank::Failed,
        3 => FinalityRank::Successful,
        _ => return None,
    };
    Some((
        basis["f"].as_bool()?,
        time(&basis["u"]),
        ending,
        hash(&basis["h"])?,
    ))
}

pub(super) fn hash(value: &Value) -> Option<[u8; 32]> {
    let text = value
        .as_str()
        .filter(|text| text.len() == 64 && text.is_ascii())?;
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// The description that a person accepted, in the short names in which it is stored.
fn accepted(snapshot: &Value) -> Option<(ReportedTransaction, [u8; 32])> {
    let text = |name: &str| snapshot[name].as_str();
    let status = text("s")?;
    let told = ReportedTransaction {
        uid: Uid::from_gateway(text("u")?)?,
        ending: FinalityRank::of(status, text("co").unwrap_or_default()),
        status: status.to_owned(),
        code: text("co").unwrap_or_default().to_owned(),
        kind: text("k").map(ToOwned::to_owned),
        amount: snapshot["a"].as_i64(),
        currency: text("cu").and_then(Currency::parse),
        tracking_id: text("t").and_then(TrackingId::from_gateway),
        parent_uid: text("p").and_then(Uid::from_gateway),
        test: snapshot["te"].as_bool(),
        created_at: time(&snapshot["ca"]),
        updated_at: time(&snapshot["ua"]),
        garbled: snapshot["ur"].is_string(),
    };
    Some((told, hash(&snapshot["h"])?))
}
