//! What came of a submit, as evidence. Every fate has a name: not sent, refused, deferred, taken, or
//! silent; silent may only be looked up.

use crate::domain::evidence::FoundBy;
use crate::domain::fold::Differences;
use crate::domain::{Channel, Fact, Opening, RefusalKind, Snapshot, Timestamp, TransactionType};
use crate::gateway::{
    Address, Answer, Read, Submission, SubmitReading, TrackingReading, read_by_tracking_id,
    read_submit_of,
};
use crate::observation::{Observation, of_answer, received};
use serde_json::json;
use std::time::Duration;

/// Evidence of what came of a submit.
pub struct Outcome {
    /// What was learned.
    pub learned: Observation,
    /// When the gateway wants to be asked again.
    pub retry_after: Option<Duration>,
    /// The word for metrics and logs.
    pub label: &'static str,
}

/// How long to wait after a 429 that does not say.
const DEFAULT_RETRY: Duration = Duration::from_secs(5);

/// The word for an answered read in metrics.
pub(crate) fn status_class(status: u16) -> &'static str {
    match status {
        200..=299 => "2xx",
        300..=399 => "3xx",
        404 => "404",
        425 => "425",
        429 => "429",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

/// Reads what came of a submit of this kind. `now` is the time from which a pause is counted.
pub fn of(
    submission: &Submission,
    attempt: u32,
    asked: TransactionType,
    ours: &Address,
    now: Timestamp,
) -> Outcome {
    match submission {
        Submission::Answered(answer) => answered(answer, attempt, asked, ours, now),
        Submission::Unclear {
            reason,
            partial: Some(partial),
        } => broken_off(
            answered(partial, attempt, asked, ours, now),
            attempt,
            reason,
        ),
        Submission::NotSent { reason } => Outcome {
            learned: not_sent(attempt, reason),
            retry_after: None,
            label: "not_sent",
        },
        Submission::Unclear { reason, .. } => Outcome {
            learned: went_silent(attempt, reason),
            retry_after: None,
            label: "silent",
        },
    }
}

/// What had come of an answer that broke off is evidence as it is. Its subject says that there was more,
/// since what is missing might have said that the outcome is open.
fn broken_off(mut outcome: Outcome, attempt: u32, reason: &str) -> Outcome {
    let learned = &mut outcome.learned;
    learned.subject = Some(format!("attempt {attempt}, cut off"));
    learned.note = Some(format!(
        "{}; the answer is not whole: {reason}",
        learned.sentence()
    ));
    outcome
}

fn answered(
    answer: &Answer,
    attempt: u32,
    asked: TransactionType,
    ours: &Address,
    now: Timestamp,
) -> Outcome {
    let mut retry = None;
    let mut note = None;
    let (fact, label) = match read_submit_of(Some(asked), &received(answer), ours) {
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
                RefusalKind::Rejected => "rejected",
                RefusalKind::Duplicate => "duplicate",
                RefusalKind::Doubt => "error",
            };
            let at = Timestamp::END;
            (
                Fact::Refused {
                    attempt,
                    refusal,
                    at,
                },
                label,
            )
        }
        SubmitReading::Deferred { retry_after } => {
            let wait = retry_after.unwrap_or(DEFAULT_RETRY);
            retry = Some(wait);
            let until = now.plus(wait);
            (Fact::Deferred { attempt, until }, "deferred")
        }
        SubmitReading::Unclear { reason } => (Fact::WentSilent { attempt, reason }, "unclear"),
    };
    let subject = format!("attempt {attempt}");
    let mut learned = of_answer(answer, Channel::Ack, &subject, vec![fact]);
    learned.note = note;
    Outcome {
        learned,
        retry_after: retry,
        label,
    }
}

/// After a restore the gateway may have a transaction that our database has lost. The submit is
/// dropped when a look-up finds it, and when the look-up fails: `None` means "not there, send it".
pub(crate) fn known_before(known: &Read, opening: &Opening, attempt: u32) -> Option<Observation> {
    let Read::Answered(answer) = known else {
        return Some(not_sent(
            attempt,
            "after a restore, the look-up before the submit failed",
        ));
    };
    match read_by_tracking_id(&received(answer)) {
        TrackingReading::Empty => None,
        TrackingReading::Found {
            snapshots,
            unread: 0,
            ..
        } => {
            let same = |s: &Snapshot| Differences::between(opening, s) == Differences::default();
            let ours: Vec<Fact> = snapshots
                .into_iter()
                .filter(|s| same(s))
                .map(|s| Fact::Seen {
                    snapshot: Box::new(s),
                    found_by: FoundBy::OwnTask,
                })
                .collect();
            if ours.is_empty() {
                return None;
            }
            let reason = "after a restore, the gateway has it already".to_owned();
            let mut facts = vec![Fact::NotSent { attempt, reason }];
            facts.extend(ours);
            // The attempt is in the subject: an auditor reads what is stored, and not the note.
            let subject = format!("after restore, attempt {attempt}");
            Some(of_answer(answer, Channel::Query, &subject, facts))
        }
        TrackingReading::Found { .. }
        | TrackingReading::NotAbout { .. }
        | TrackingReading::Unreadable { .. } => Some(not_sent(
            attempt,
            "after a restore, the look-up before the submit failed",
        )),
    }
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
