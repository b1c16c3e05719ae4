//! The questions, what was answered, and the words that are kept of it.

use super::Stop;
use crate::config::{Config, ShopConfig};
use domain::Timestamp;
use leaves::clock;
use serde::Serialize;
use std::collections::BTreeMap;

/// One thing that the documents leave open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Its short name; the word that is kept is `name:answer`.
    pub name: &'static str,
    /// The question.
    pub asks: &'static str,
}

const fn ask(name: &'static str, asks: &'static str) -> Question {
    Question { name, asks }
}

/// Every question, in the order of the report.
pub const QUESTIONS: &[Question] = &[
    ask(
        "request_id",
        "is RequestID honoured in the asynchronous mode?",
    ),
    ask(
        "repeat_running",
        "what comes on a repeat while the task runs?",
    ),
    ask(
        "repeat_ended",
        "what comes on a repeat after the task has ended?",
    ),
    ask(
        "early_result",
        "which HTTP status has a result that is asked for too early?",
    ),
    ask(
        "visible_while_running",
        "can a transaction be looked up while its task runs?",
    ),
    ask("result_again", "can a result with HTTP 200 be read again?"),
    ask(
        "decline_result",
        "which HTTP status has the result of a decline?",
    ),
    ask("refusal", "where does a refused request show?"),
    ask(
        "error_result",
        "how often can a result that is not 200 be read?",
    ),
    ask(
        "status_read",
        "does reading status_url use up such a result?",
    ),
    ask("duplicate", "where does the 30-second rule show?"),
    ask(
        "own_tracking_id:refund",
        "is a refund found under its own tracking id?",
    ),
    ask(
        "own_tracking_id:capture",
        "is a capture found under its own tracking id?",
    ),
    ask(
        "own_tracking_id:void",
        "is a void found under its own tracking id?",
    ),
    ask("test_lookup", "do look-ups find test transactions?"),
    ask(
        "async_status_uid",
        "is there an asynchronous status query by uid?",
    ),
    ask(
        "async_status_tracking_id",
        "is there an asynchronous status query by tracking id?",
    ),
    ask("async_balance", "is there an asynchronous balance query?"),
    ask("x_request_id", "do answers carry X-Request-Id?"),
];

/// One question with what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The question's short name.
    pub question: &'static str,
    /// The question.
    pub asks: &'static str,
    /// The answer in a word; none while the question stays open.
    pub answer: Option<String>,
    /// What was seen, or why there is no answer.
    pub detail: String,
}

/// A test transaction that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// Its tracking id.
    pub tracking_id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// How many times it was posted.
    pub posts: u32,
}

/// What the probe found out.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Which shop.
    pub shop_id: String,
    /// The gateway's address.
    pub gateway: String,
    /// When, in RFC 3339.
    pub at: String,
    /// Every question.
    pub findings: Vec<Finding>,
    /// The words that were kept.
    pub capabilities: Vec<String>,
    /// The test transactions.
    pub transactions: Vec<Sent>,
    /// Why the probe stopped before its end.
    pub stopped: Option<String>,
}

/// What has been found out so far.
#[derive(Debug, Default)]
pub(super) struct Notes(BTreeMap<&'static str, (Option<String>, String)>);

impl Notes {
    /// Notes an answer; the first one stays.
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

    /// Notes why there is no answer.
    pub(super) fn open(&mut self, question: &'static str, why: impl Into<String>) {
        let noted = self.0.entry(question).or_default();
        if noted.0.is_none() {
            noted.1 = why.into();
        }
    }
}

impl Report {
    pub(super) fn of(
        shop: &ShopConfig,
        config: &Config,
        mut notes: Notes,
        transactions: Vec<Sent>,
        stopped: Option<&Stop>,
    ) -> Self {
        let findings = QUESTIONS.iter().map(|question| {
            let noted = notes.0.remove(question.name);
            let (answer, detail) = noted.unwrap_or((None, "it was not asked".to_owned()));
            Finding {
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
        if !matches!(stopped, Some(Stop::NotATest { .. })) {
            report.capabilities = report.words().1;
        }
        report
    }

    /// The words to be forgotten and those to be kept. Only what was answered changes anything. What
    /// a child does is kept as the word that the proof of absence reads, and only when it is yes.
    pub(super) fn words(&self) -> (Vec<String>, Vec<String>) {
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

    fn report(noted: &[(&'static str, Option<&str>)]) -> Report {
        let findings = noted.iter().map(|(question, answer)| Finding {
            question,
            asks: "",
            answer: answer.map(ToOwned::to_owned),
            detail: String::new(),
        });
        Report {
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
    fn only_what_was_answered_changes_what_is_known() {
        let report = report(&[
            ("request_id", Some("honoured")),
            ("duplicate", None),
            ("own_tracking_id:refund", Some("yes")),
            ("own_tracking_id:void", Some("no")),
        ]);
        let (dropped, kept) = report.words();
        let asked = [
            "request_id",
            "own_tracking_id:refund",
            "own_tracking_id:void",
        ];
        assert_eq!(dropped, asked);
        assert_eq!(kept, ["request_id:honoured", "own_tracking_id:refund"]);
    }

    #[test]
    fn the_first_answer_stays() {
        let mut notes = Notes::default();
        notes.open("duplicate", "no time");
        notes.answer("duplicate", "submit", "http 422");
        notes.answer("duplicate", "none", "later");
        notes.open("duplicate", "later still");
        let kept = (Some("submit".to_owned()), "http 422".to_owned());
        assert_eq!(notes.0["duplicate"], kept);
    }

    #[test]
    fn questions_have_distinct_names_that_make_words() {
        let mut names: Vec<&str> = QUESTIONS.iter().map(|question| question.name).collect();
        assert!(names.iter().all(|name| !name.contains(',')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), QUESTIONS.len());
    }

    #[test]
    fn the_documents_name_every_question() {
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
