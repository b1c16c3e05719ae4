//! What came of a submit, as evidence. Every fate has a name: not sent, refused, deferred, taken, or
//! silent; silent may only be looked up.

use crate::observation::read::CUT_OFF;
use crate::observation::{Observation, listed, of_answer, received};
use domain::evidence::FoundBy;
use domain::fold::Mismatch;
use domain::{
    Channel, DiscrepancyKind, Fact, RefusalKind, Snapshot, Timestamp, TransactionRequest,
    TransactionType,
};
use gateway::{
    GatewayAddress, GatewayResponse, ReadExchange, SubmitExchange, SubmitReading,
    TrackingIdReading, read_by_tracking_id, read_submit_of,
};
use serde_json::json;
use std::time::Duration;
use uuid::Uuid;

/// Evidence of what came of a submit.
pub struct Outcome {
    /// What was learned.
    pub observation: Observation,
    /// When the gateway wants to be asked again.
    pub retry_after: Option<Duration>,
    /// The word for metrics and logs.
    pub label: &'static str,
}

/// How long to wait after a 429 that does not say.
const DEFAULT_RESUBMIT_DELAY: Duration = Duration::from_secs(5);

/// The shortest wait after a 429 to a submit, counted from its answer, however long that took.
const SHORTEST_RETRY: Duration = Duration::from_secs(1);

/// The longest wait that is taken from a 429 to a submit.
const LONGEST_RETRY: Duration = Duration::from_secs(3600);

/// The word for an answer that refuses the shop's key.
pub(crate) const UNAUTHORIZED: &str = "unauthorized";

/// What such an answer may say whatever its status.
const NOT_AUTHORIZED: &str = "E.1021";

/// The word for an answered read in metrics.
pub(crate) fn status_class(status: u16) -> &'static str {
    match status {
        200..=299 => "2xx",
        300..=399 => "3xx",
        401 => UNAUTHORIZED,
        404 => "404",
        425 => "425",
        429 => "429",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

/// Whether the gateway could be reached and gave no whole answer.
pub(crate) const fn hangs(submission: &SubmitExchange) -> bool {
    matches!(submission, SubmitExchange::Unclear { .. })
}

/// Reads what came of a submit of this kind. `now` is the time from which a pause is counted.
pub fn from_exchange(
    submission: &SubmitExchange,
    attempt: u32,
    asked: TransactionType,
    ours: &GatewayAddress,
    now: Timestamp,
) -> Outcome {
    match submission {
        SubmitExchange::Answered(answer) => answered(answer, attempt, asked, ours, now),
        SubmitExchange::Unclear {
            reason,
            partial: Some(partial),
        } => broken_off(
            answered(partial, attempt, asked, ours, now),
            attempt,
            reason,
        ),
        SubmitExchange::NotSent { reason } => Outcome {
            observation: not_sent(attempt, reason),
            retry_after: None,
            label: "not_sent",
        },
        SubmitExchange::Unclear { reason, .. } => Outcome {
            observation: went_silent(attempt, reason),
            retry_after: None,
            label: "silent",
        },
    }
}

/// What had come of an answer that broke off is evidence as it is. Its subject says that there was more,
/// since what is missing might have said that the outcome is open.
fn broken_off(mut outcome: Outcome, attempt: u32, reason: &str) -> Outcome {
    let learned = &mut outcome.observation;
    learned.subject = Some(format!("attempt {attempt}{CUT_OFF}"));
    learned.note = Some(format!(
        "{}; the answer is not whole: {reason}",
        learned.sentence()
    ));
    outcome
}

fn answered(
    answer: &GatewayResponse,
    attempt: u32,
    asked: TransactionType,
    ours: &GatewayAddress,
    now: Timestamp,
) -> Outcome {
    let mut retry = None;
    let mut note = None;
    let (fact, mut label) = match read_submit_of(Some(asked), &received(answer), ours) {
        SubmitReading::Ack { task, foreign_url } => {
            note = foreign_url.map(|url| {
                format!(
                    "the gateway took attempt {attempt} as task {task}; it named an address of another \
                     origin, which is refused and never followed: {url}"
                )
            });
            // The ledger puts the time of receipt.
            (
                Fact::Acknowledged {
                    attempt,
                    task,
                    at: Timestamp::END,
                },
                "acknowledged",
            )
        }
        SubmitReading::Transaction(snapshot) => {
            (Fact::Answered { attempt, snapshot }, "transaction")
        }
        SubmitReading::Refused(refusal) => {
            let label = match refusal.kind {
                _ if refusal.code.as_deref() == Some(NOT_AUTHORIZED) => UNAUTHORIZED,
                RefusalKind::Rejected => "rejected",
                RefusalKind::Duplicate => "duplicate",
                RefusalKind::Doubt => "error",
            };
            let fact = Fact::Refused {
                attempt,
                refusal,
                at: Timestamp::END,
            };
            (fact, label)
        }
        SubmitReading::Deferred { retry_after } => {
            let wait = retry_after.unwrap_or(DEFAULT_RESUBMIT_DELAY);
            let wait = wait.clamp(SHORTEST_RETRY, LONGEST_RETRY);
            retry = Some(wait);
            let until = now.plus(wait);
            (Fact::Deferred { attempt, until }, "deferred")
        }
        SubmitReading::Unclear { reason } => (Fact::WentSilent { attempt, reason }, "unclear"),
    };
    if answer.status == 401 {
        label = UNAUTHORIZED;
    }
    let subject = format!("attempt {attempt}");
    let mut learned = of_answer(answer, Channel::Ack, &subject, vec![fact]);
    learned.note = note;
    if label == "unclear" {
        learned.unknown = listed(answer).map(|what| format!("the submit was answered with {what}"));
    }
    Outcome {
        observation: learned,
        retry_after: retry,
        label,
    }
}

/// What speaks against stamping an attempt after a restore: the gateway may have what our database has lost.
#[derive(Debug)]
pub enum BeforeStamp {
    /// Nothing.
    Clear,
    /// It is there already, or it cannot be told: this is recorded, and nothing is sent.
    Known(Box<Observation>),
    /// A look-up failed: later.
    Failed,
}

/// Reads a look-up by `name` before a stamp. Any row that could be ours keeps it from being sent, whatever its
/// age and whoever owns it here: alike in everything it is adopted. `released`: a person has looked, so that
/// only what is alike counts.
pub fn before_stamp(
    known: &ReadExchange,
    opening: &TransactionRequest,
    name: &str,
    released: bool,
) -> BeforeStamp {
    let ReadExchange::Answered(answer) = known else {
        return BeforeStamp::Failed;
    };
    let (snapshots, full, unread) = match read_by_tracking_id(&received(answer)) {
        TrackingIdReading::Empty => return BeforeStamp::Clear,
        TrackingIdReading::Found {
            snapshots,
            full,
            unread,
        } => (snapshots, full, unread),
        TrackingIdReading::NotAbout { .. } | TrackingIdReading::Unreadable { .. } => {
            return BeforeStamp::Failed;
        }
    };
    let kind = opening.kind.as_str();
    let could_be_ours = |s: &Snapshot| s.kind.as_deref().is_none_or(|theirs| theirs == kind);
    let alike = |s: &Snapshot| Mismatch::between(opening, s) == Mismatch::default();
    let (ours, others): (Vec<Snapshot>, Vec<Snapshot>) =
        snapshots.into_iter().filter(could_be_ours).partition(alike);
    let reason = if let Some(first) = ours.first() {
        format!("after a restore, the gateway has it already: {}", first.uid)
    } else if released {
        return BeforeStamp::Clear;
    } else if let Some(first) = others.first() {
        format!(
            "after a restore, the gateway has another under its name: {}",
            first.uid
        )
    } else if full || unread > 0 {
        "after a restore, the look-up by its name shows ten others or what cannot be read, and may hide it"
            .to_owned()
    } else {
        return BeforeStamp::Clear;
    };
    let mut facts = vec![Fact::Held {
        at: Timestamp::END,
        reason: reason.clone(),
    }];
    facts.extend(ours.into_iter().map(|s| Fact::Seen {
        snapshot: Box::new(s),
        found_by: FoundBy::OwnTask,
    }));
    // The act is in the subject: an auditor reads what is stored, and not the note.
    let mut learned = of_answer(
        answer,
        Channel::Query,
        &format!("after restore: {name}"),
        facts,
    );
    // Each look is kept: what was held back once and released may be found again.
    learned.id = Uuid::now_v7();
    learned.finding = Some((DiscrepancyKind::AmbiguousTrackingId, reason));
    BeforeStamp::Known(Box::new(learned))
}

/// Our own word that it is held back after a restore, without a look.
pub fn hold_back(reason: &str, at: Timestamp) -> Observation {
    let act = json!({ "at": at.to_rfc3339(), "reason": reason });
    let fact = Fact::Held {
        at,
        reason: reason.to_owned(),
    };
    let mut learned = Observation::local(Channel::Local, "held", &act, vec![fact]);
    learned.finding = Some((DiscrepancyKind::AmbiguousTrackingId, reason.to_owned()));
    learned
}

/// A person releases what was held back.
pub fn released(by: &str, at: Timestamp) -> Observation {
    let act = json!({ "at": at.to_rfc3339(), "by": by });
    let fact = Fact::Released { at };
    let mut learned = Observation::local(Channel::Operator, "released", &act, vec![fact]);
    learned.recheck_now = true;
    learned
}

/// Our own word that no byte of an attempt left.
pub fn not_sent(attempt: u32, reason: &str) -> Observation {
    let act = json!({ "attempt": attempt, "reason": reason });
    let fact = Fact::NotSent {
        attempt,
        reason: reason.to_owned(),
    };
    Observation::local(Channel::Local, "not_sent", &act, vec![fact])
}

/// Our own word that nothing is sent any more, after so many attempts of which none was processed.
pub fn given_up(attempt: u32, reason: &str) -> Observation {
    let act = json!({ "attempt": attempt, "reason": reason, "final": true });
    let fact = Fact::GivenUp {
        attempt,
        reason: reason.to_owned(),
    };
    Observation::local(Channel::Local, "not_sent", &act, vec![fact])
}

/// Our own word that an attempt may have arrived and was not answered.
pub(crate) fn went_silent(attempt: u32, reason: &str) -> Observation {
    let act = json!({ "attempt": attempt, "reason": reason });
    let fact = Fact::WentSilent {
        attempt,
        reason: reason.to_owned(),
    };
    Observation::local(Channel::Local, "went_silent", &act, vec![fact])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use bytes::Bytes;

    #[test]
    fn retry_after_is_respected_up_to_an_hour() {
        let ours = GatewayAddress::new(&"http://127.0.0.1:1".parse().unwrap()).unwrap();
        let (now, kind) = (
            Timestamp::from_micros(1_800_000_000_000_000),
            TransactionType::Payment,
        );
        let put_off = |after: Option<u64>| {
            let answer = GatewayResponse {
                status: 429,
                retry_after: after.map(Duration::from_secs),
                content_type: None,
                request_id: None,
                date: None,
                body: Bytes::new(),
                sha256: [0; 32],
                truncated: false,
            };
            match from_exchange(&SubmitExchange::Answered(answer), 1, kind, &ours, now)
                .observation
                .facts
                .as_slice()
            {
                [Fact::Deferred { until, .. }] => until.since(now).as_secs(),
                other => unreachable!("{other:?}"),
            }
        };
        assert_eq!([None, Some(0), Some(7)].map(put_off), [5, 1, 7]);
        assert_eq!(put_off(Some(86_400)), 3_600);
    }
}
