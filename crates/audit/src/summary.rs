//! The stored summary, held against the lists of a case. It is read by its documented names; what no
//! state hangs on (texts, cards) is not compared.
//!
//! What it deliberately cannot do: judge by it. The audit's own verdict never reads the summary.

use crate::history::TransactionHistory;
use crate::local_facts::hash;
use crate::refusal_table::AuditedRefusal;
use crate::rules::AuditedCandidate;
use serde_json::Value;
use std::collections::BTreeSet;
use uuid::Uuid;

/// What the stored summary tells otherwise than the evidence.
pub(super) fn summary_errors(
    case: &TransactionHistory,
    candidates: &[AuditedCandidate<'_>],
    summary: &str,
) -> Vec<String> {
    let Ok(Value::Object(_)) = serde_json::from_str::<Value>(summary) else {
        return vec!["the summary cannot be read".to_owned()];
    };
    let summary: Value = serde_json::from_str(summary).unwrap_or(Value::Null);
    let mut faults = Vec::new();
    let mut expect = |what: String, fits: bool| {
        if !fits {
            faults.push(format!("the summary tells otherwise of {what}"));
        }
    };
    expect(
        "the attempts".to_owned(),
        attempts_fit(case, &summary["at"]),
    );
    expect("the tasks".to_owned(), tasks_fit(case, &summary["ta"]));
    let given_up = summary["gu"][0].as_u64();
    expect(
        "what was given up".to_owned(),
        given_up == case.given_up.map(u64::from),
    );
    for candidate in candidates {
        let stored = &summary["ca"][candidate.uid];
        let latest = &stored["l"];
        let greatest = candidate.greatest;
        let fits = hash(&latest["h"]) == greatest.map(|seen| seen.sha256)
            && latest["s"].as_str() == greatest.map(|seen| seen.told.status.as_str())
            && latest["a"].as_i64() == greatest.and_then(|seen| seen.told.amount)
            && stored["b"].as_bool().unwrap_or(false) == candidate.bound
            && stored["g"].is_null() == candidate.agreed.is_none();
        expect(format!("uid {}", candidate.uid), fits);
    }
    for (uid, stored) in summary["ca"].as_object().into_iter().flatten() {
        let stored = hash(&stored["l"]["h"]);
        let seen = case.seen.get(uid).into_iter().flatten();
        let known = seen
            .map(|seen| seen.sha256)
            .any(|sha256| Some(sha256) == stored);
        // What became another's afterwards is not looked at any more.
        let told = stored.is_some() && case.seen.contains_key(uid);
        expect(format!("uid {uid}"), known || !told);
    }
    let decision = summary["de"]["id"]
        .as_str()
        .and_then(|id| Uuid::parse_str(id).ok());
    expect(
        "a decision".to_owned(),
        decision == case.decision().map(|decision| decision.id),
    );
    for (name, duplicate) in [("ab", false), ("du", true)] {
        let proof = case.proof(duplicate).map(|proof| proof.at.micros());
        expect(
            "a proof of absence".to_owned(),
            summary[name]["at"].as_i64() == proof,
        );
    }
    faults
}

fn attempts_fit(case: &TransactionHistory, stored: &Value) -> bool {
    let empty = serde_json::Map::new();
    let stored = stored.as_object().unwrap_or(&empty);
    let numbers: BTreeSet<String> = case.attempts.keys().map(ToString::to_string).collect();
    stored.keys().cloned().collect::<BTreeSet<_>>() == numbers
        && case.attempts.iter().all(|(number, attempt)| {
            let stored = &stored[&number.to_string()];
            let stamp = attempt.stamps.iter().min().map(|at| at.micros());
            stored["s"].as_i64() == stamp
                && stored["rp"].as_bool().unwrap_or(false) == attempt.replay
                && stored["ns"].is_null() != attempt.not_sent
                && stored["df"].is_null() != attempt.deferred
                && stored["si"].is_null() != attempt.silent
                && refusal_fits(&stored["re"], attempt.refusals.iter().max())
        })
}

fn tasks_fit(case: &TransactionHistory, stored: &Value) -> bool {
    let empty = serde_json::Map::new();
    let stored = stored.as_object().unwrap_or(&empty);
    stored.keys().eq(case.tasks.keys())
        && case.tasks.iter().all(|(id, task)| {
            let stored = &stored[id];
            let flag = |name: &str| stored[name].as_bool().unwrap_or(false);
            stored["a"].as_u64() == Some(u64::from(task.attempt))
                && stored["at"].is_null() != task.acked
                && flag("un") == task.unknown
                && flag("ol") == task.outlived
                && stored["u"].as_str() == task.results.last().map(String::as_str)
                && refusal_fits(&stored["re"], task.refusals.iter().max())
                && checks_fit(&stored["rc"], &task.checks)
        })
}

fn checks_fit(stored: &Value, checks: &BTreeSet<String>) -> bool {
    let stored = stored.as_array().into_iter().flatten();
    let stored: BTreeSet<&str> = stored.filter_map(Value::as_str).collect();
    stored == checks.iter().map(String::as_str).collect()
}

/// The tasks whose refusal an earlier release has read: it noted no time, and that was the end. Nothing else
/// that is stored tells so. What a task's word about another transaction amounts to has no time either: that is
/// doubt, or a duplicate, and no end by the rules of any release.
pub(super) fn refused_before(summary: &str) -> Vec<String> {
    let summary: Value = serde_json::from_str(summary).unwrap_or(Value::Null);
    let tasks = summary["ta"].as_object().into_iter().flatten();
    let old = tasks.filter(|(_, task)| task["re"]["kind"] == "rejected" && task["ra"].is_null());
    old.map(|(id, _)| id.clone()).collect()
}

fn refusal_fits(stored: &Value, refusal: Option<&AuditedRefusal>) -> bool {
    let word = refusal.map(|refusal| match refusal {
        AuditedRefusal::Doubt => "doubt",
        AuditedRefusal::Duplicate => "duplicate",
        AuditedRefusal::Rejected => "rejected",
    });
    stored["kind"].as_str() == word
}
