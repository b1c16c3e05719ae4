//! Questions of the probe, their results, and the capability words recorded from them.

use super::ProbeError;
use crate::config::{Config, ShopConfig};
use domain::Timestamp;
use leaves::clock;
use serde::Serialize;
use std::collections::BTreeMap;

/// A question that the gateway's documentation leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Short name. The recorded capability word is `name:answer`.
    pub name: &'static str,
    /// Text of the question.
    pub asks: &'static str,
}

const fn ask(name: &'static str, asks: &'static str) -> Question {
    Question { name, asks }
}

/// All questions, in the order of the report.
pub const QUESTIONS: &[Question] = &[
    ask(
        "request_id",
        "Is RequestID honoured in the asynchronous mode?",
    ),
    ask(
        "repeat_running",
        "What does a repeated request return while the task runs?",
    ),
    ask(
        "repeat_ended",
        "What does a repeated request return after the task has ended?",
    ),
    ask(
        "early_result",
        "Which HTTP status does a result have before the task has ended?",
    ),
    ask(
        "visible_while_running",
        "Can a transaction be looked up while its task runs?",
    ),
    ask("result_again", "Can a result with HTTP 200 be read again?"),
    ask(
        "decline_result",
        "Which HTTP status does the result of a decline have?",
    ),
    ask("refusal", "Where is a refusal reported?"),
    ask(
        "error_result",
        "How often can a result other than HTTP 200 be read?",
    ),
    ask(
        "status_read",
        "Does reading status_url consume such a result?",
    ),
    ask("duplicate", "Where is the 30-second rule reported?"),
    ask(
        "own_tracking_id:refund",
        "Is a refund found under its own tracking id?",
    ),
    ask(
        "own_tracking_id:capture",
        "Is a capture found under its own tracking id?",
    ),
    ask(
        "own_tracking_id:void",
        "Is a void found under its own tracking id?",
    ),
    ask("test_lookup", "Do lookups find test transactions?"),
    ask(
        "async_status_uid",
        "Is there an asynchronous status query by uid?",
    ),
    ask(
        "async_status_tracking_id",
        "Is there an asynchronous status query by tracking id?",
    ),
    ask("async_balance", "Is there an asynchronous balance query?"),
    ask("x_request_id", "Do responses carry X-Request-Id?"),
];

/// A question and its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProbeResult {
    /// Short name of the question.
    pub question: &'static str,
    /// Text of the question.
    pub asks: &'static str,
    /// Answer in one word; `None` while the question is open.
    pub answer: Option<String>,
    /// What was observed, or why the question is open.
    pub detail: String,
}

/// A test transaction that the probe sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SentTransaction {
    /// Tracking ID of the transaction.
    pub tracking_id: String,
    /// Transaction type.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Number of POSTs sent for it.
    pub posts: u32,
}

/// Report of a probe run.
#[derive(Debug, Clone, Serialize)]
pub struct ProbeReport {
    /// Shop that was probed.
    pub shop_id: String,
    /// Base URL of the gateway.
    pub gateway: String,
    /// Time of the report (RFC 3339).
    pub at: String,
    /// All questions with their results.
    pub findings: Vec<ProbeResult>,
    /// Capability words recorded for the shop.
    pub capabilities: Vec<String>,
    /// Test transactions that were sent.
    pub transactions: Vec<SentTransaction>,
    /// Reason why the probe stopped early; `None` if it completed.
    pub stopped: Option<String>,
}

/// Results so far, by the short name of the question.
#[derive(Debug, Default)]
pub(super) struct ProbeNotes(BTreeMap<&'static str, (Option<String>, String)>);

impl ProbeNotes {
    /// Records an answer. An earlier answer is kept.
    pub(super) fn answer(
        &mut self,
        question: &'static str,
        answer: impl Into<String>,
        detail: impl Into<String>,
    ) {
        let noted = self.0.entry(question).or_default();
        if noted.0.is_none() {
            *noted = (Some(answer.into()), detail.into());
        }
    }

    /// Records why a question is open.
    pub(super) fn open(&mut self, question: &'static str, why: impl Into<String>) {
        let noted = self.0.entry(question).or_default();
        if noted.0.is_none() {
            noted.1 = why.into();
        }
    }
}

impl ProbeReport {
    pub(super) fn of(
        shop: &ShopConfig,
        config: &Config,
        mut notes: ProbeNotes,
        transactions: Vec<SentTransaction>,
        stopped: Option<&ProbeError>,
    ) -> Self {
        let findings = QUESTIONS.iter().map(|question| {
            let noted = notes.0.remove(question.name);
            let (answer, detail) = noted.unwrap_or((None, "not tested".to_owned()));
            ProbeResult {
                question: question.name,
                asks: question.asks,
                answer,
                detail,
            }
        });
        let mut report = Self {
            shop_id: shop.id.clone(),
            gateway: config.gateway.base_url.to_string(),
            at: Timestamp::from(clock::now_utc()).to_rfc3339(),
            findings: findings.collect(),
            capabilities: Vec::new(),
            transactions,
            stopped: stopped.map(ToString::to_string),
        };
        if !matches!(stopped, Some(ProbeError::NotATest { .. })) {
            report.capabilities = report.capability_changes().1;
        }
        report
    }

    /// Returns the capability words to remove and those to add.
    ///
    /// Only answered questions change anything. The behaviour of child transactions is recorded as
    /// the word that the proof of absence reads, and only if the answer is yes.
    pub(super) fn capability_changes(&self) -> (Vec<String>, Vec<String>) {
        let answered = self
            .findings
            .iter()
            .filter_map(|finding| Some((finding.question, finding.answer.as_deref()?)));
        let (mut dropped, mut kept) = (Vec::new(), Vec::new());
        for (question, answer) in answered {
            dropped.push(question.to_owned());
            match question.starts_with("own_tracking_id:") {
                true if answer == "yes" => kept.push(question.to_owned()),
                true => {}
                false => kept.push(format!("{question}:{answer}")),
            }
        }
        (dropped, kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(noted: &[(&'static str, Option<&str>)]) -> ProbeReport {
        let findings = noted.iter().map(|(question, answer)| ProbeResult {
            question,
            asks: "",
            answer: answer.map(ToOwned::to_owned),
            detail: String::new(),
        });
        ProbeReport {
            shop_id: String::new(),
            gateway: String::new(),
            at: String::new(),
            findings: findings.collect(),
            capabilities: Vec::new(),
            transactions: Vec::new(),
            stopped: None,
        }
    }

    #[test]
    fn only_answered_questions_change_capabilities() {
        let report = report(&[
            ("request_id", Some("honoured")),
            ("duplicate", None),
            ("own_tracking_id:refund", Some("yes")),
            ("own_tracking_id:void", Some("no")),
        ]);
        let (dropped, kept) = report.capability_changes();
        let asked = [
            "request_id",
            "own_tracking_id:refund",
            "own_tracking_id:void",
        ];
        assert_eq!(dropped, asked);
        assert_eq!(kept, ["request_id:honoured", "own_tracking_id:refund"]);
    }

    #[test]
    fn the_first_answer_is_kept() {
        let mut notes = ProbeNotes::default();
        notes.open("duplicate", "no time");
        notes.answer("duplicate", "submit", "http 422");
        notes.answer("duplicate", "none", "later");
        notes.open("duplicate", "later still");
        let kept = (Some("submit".to_owned()), "http 422".to_owned());
        assert_eq!(notes.0["duplicate"], kept);
    }

    #[test]
    fn question_names_are_distinct_capability_words() {
        let mut names: Vec<&str> = QUESTIONS.iter().map(|question| question.name).collect();
        assert!(names.iter().all(|name| !name.contains(',')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), QUESTIONS.len());
    }

    #[test]
    fn the_documentation_lists_every_question() {
        let text = include_str!("../../docs/probe.md");
        for question in QUESTIONS {
            assert!(
                text.contains(&format!("`{}`", question.name)),
                "{}",
                question.name
            );
        }
    }
}
