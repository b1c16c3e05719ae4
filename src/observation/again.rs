//! What an earlier release has read, read once more by the rules of now. Nothing of it is recorded: it says
//! whether what was decided then is to be looked up.

use crate::observation::{read, submit};
use crate::store::earlier::KeptAnswer;
use bytes::Bytes;
use domain::evidence::AbsenceProof;
use domain::{Fact, Summary, TaskId, Timestamp, TransactionType};
use domain::{Refusal, TransactionRequest};
use gateway::{GatewayAddress, GatewayResponse, SubmitExchange, TaskEndpoint};

/// What is known, with the refusals among these answers as they are read now.
pub fn reread(
    opening: &TransactionRequest,
    known: &Summary,
    answers: &[KeptAnswer],
    ours: &GatewayAddress,
) -> Summary {
    let mut summary = known.clone();
    for attempt in summary.attempts.values_mut() {
        (attempt.refused, attempt.deferred) = (None, None);
    }
    for task in summary.tasks.values_mut() {
        task.refused = None;
    }
    for answer in answers {
        for fact in facts(opening.kind, answer, ours) {
            summary.join(opening, &fact);
        }
    }
    // That a look-up has to follow is no doubt about what was read.
    for task in summary.tasks.values_mut() {
        task.refused_at = None;
    }
    summary
}

/// Whether a look-up that a proof of absence names was none.
pub fn is_hollow(proof: &AbsenceProof, answers: &[KeptAnswer]) -> bool {
    let named = answers
        .iter()
        .filter(|kept| kept.channel == "query" && proof.lookups.contains(&kept.id));
    let mut told = named.filter_map(|kept| answer(kept, false));
    told.any(|answer| read::observe_lookup(&answer, "").facts.is_empty())
}

fn answer(kept: &KeptAnswer, truncated: bool) -> Option<GatewayResponse> {
    Some(GatewayResponse {
        status: u16::try_from(kept.http_status?).ok()?,
        retry_after: None,
        content_type: None,
        request_id: None,
        date: None,
        body: Bytes::copy_from_slice(&kept.body),
        sha256: [0; 32],
        truncated,
    })
}

fn facts(kind: TransactionType, kept: &KeptAnswer, ours: &GatewayAddress) -> Vec<Fact> {
    let subject = kept.subject.as_deref().unwrap_or_default();
    let (number, truncated) = match subject.strip_suffix(read::CUT_OFF) {
        Some(number) => (number, true),
        None => (subject, false),
    };
    let Some(answer) = answer(kept, truncated) else {
        return Vec::new();
    };
    let learned = match kept.channel.as_str() {
        "ack" => {
            let number = number.rsplit(' ').next().and_then(|n| n.parse().ok());
            let Some(attempt) = number else {
                return Vec::new();
            };
            let said = SubmitExchange::Answered(answer);
            submit::from_exchange(&said, attempt, kind, ours, Timestamp::END).observation
        }
        "task_result" => match TaskId::from_gateway(subject) {
            Some(task) => read::observe_task_read(&answer, TaskEndpoint::Result, &task, kind),
            None => return Vec::new(),
        },
        _ => return Vec::new(),
    };
    let mut facts = learned.facts;
    facts.retain(|fact| {
        matches!(
            fact,
            Fact::Refused { .. }
                | Fact::Deferred { .. }
                | Fact::WentSilent { .. }
                | Fact::TaskRefused { .. }
        )
    });
    facts
}

/// Whether a refusal is all that an end may rest on.
pub fn is_refused(summary: &Summary) -> bool {
    let by_submit = summary.attempts.values().filter_map(|a| a.refused.as_ref());
    let by_task = summary.tasks.values().filter_map(|t| t.refused.as_ref());
    let refusals: Vec<&Refusal> = by_submit.chain(by_task).collect();
    let put_off = summary.attempts.values().any(|a| a.deferred.is_some());
    !refusals.is_empty() || put_off
}
