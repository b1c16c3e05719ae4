//! How the simulated gateway is asked, and how its answers come: late, cut off, changed by a proxy, or not at all.

use super::gateway::{Reply, page};
use super::hands::REQUEST_TIMEOUT;
use super::invariants;
use super::mutant::Mutant;
use super::world::World;
use reconciler::domain::Timestamp;
use reconciler::engine::hands::Question;
use reconciler::gateway::Answer;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// How an exchange with the gateway goes wrong.
pub enum Trouble {
    Lost,
    AnswerLost,
    Cut,
    Odd,
    None,
}

impl World {
    pub fn trouble(&self) -> Trouble {
        self.with(|state| {
            if state.faults().happens(|plan| plan.lost) {
                return match state.below(5) {
                    0 | 1 => Trouble::Lost,
                    2 | 3 => Trouble::AnswerLost,
                    _ => Trouble::Cut,
                };
            }
            if state.faults().happens(|plan| plan.odd_answer) {
                Trouble::Odd
            } else {
                Trouble::None
            }
        })
    }

    pub async fn travel(&self) {
        let takes = self.with(|s| s.between(Duration::from_millis(5), Duration::from_millis(400)));
        self.exec.sleep(takes).await;
    }

    /// One GET. `None` when no answer came.
    pub async fn get(&self, question: Question<'_>) -> Option<Answer> {
        let trouble = self.trouble();
        self.travel().await;
        if matches!(trouble, Trouble::Lost) {
            self.exec.sleep(REQUEST_TIMEOUT).await;
            return None;
        }
        let now = self.exec.now();
        let reply = self.with(|state| {
            let blind = state.faulty && state.plan.blind;
            if blind && matches!(question, Question::TrackingId(_)) {
                return page(503);
            }
            if matches!(trouble, Trouble::Odd) {
                let pages = [page(502), page(401), page(429), page(500), page(302)];
                let nth = usize::try_from(state.below(5)).unwrap_or(0);
                return pages[nth].clone();
            }
            match question {
                Question::TaskStatus(task) => state.gateway.task(task.as_str(), false, now),
                Question::TaskResult(task) => state.gateway.task(task.as_str(), true, now),
                Question::Uid(uid) => state.gateway.by_uid(uid.as_str()),
                Question::TrackingId(name) => state.gateway.by_name(name, now),
            }
        });
        self.travel().await;
        if matches!(trouble, Trouble::AnswerLost) {
            self.exec.sleep(REQUEST_TIMEOUT).await;
            return None;
        }
        let answer = answer_of(reply, matches!(trouble, Trouble::Cut));
        self.note(|| {
            let text = String::from_utf8_lossy(&answer.body);
            let begin: String = text.chars().take(90).collect();
            format!("{question:?} -> {} {begin}", answer.status)
        });
        if let Question::TrackingId(name) = question {
            let now = self.exec.now();
            self.with(|state| invariants::looked_up(state, name, &answer, now));
        }
        Some(self.tampered(question, answer))
    }

    /// What mutants make of an answer.
    fn tampered(&self, question: Question<'_>, mut answer: Answer) -> Answer {
        let failed = answer.status != 200 || answer.truncated;
        if self.is(Mutant::FailureIsEmpty) && failed && matches!(question, Question::TrackingId(_))
        {
            return answer_of(
                Reply::json(200, &serde_json::json!({"transactions": []})),
                false,
            );
        }
        answer.body = self.as_mutants_see(&answer.body).into();
        answer
    }

    /// A body without what a mutant does not look at.
    pub fn as_mutants_see(&self, body: &[u8]) -> Vec<u8> {
        let without = match self.mutant {
            Some(Mutant::AgeIsBelieved) => return self.without_older(body),
            Some(Mutant::UpdatedAtIgnored) => "\"updated_at\"",
            Some(Mutant::CreatedAtIgnored) => "\"created_at\"",
            _ => return body.to_vec(),
        };
        String::from_utf8_lossy(body)
            .replace(without, "\"x\"")
            .into_bytes()
    }

    /// A body without what seems to have been made before its order was posted.
    fn without_older(&self, body: &[u8]) -> Vec<u8> {
        let Ok(mut told) = serde_json::from_slice::<serde_json::Value>(body) else {
            return body.to_vec();
        };
        let is_older = |row: &serde_json::Value| {
            let order = self
                .plan
                .orders
                .iter()
                .find(|o| row["tracking_id"] == *o.name);
            let made = row["created_at"].as_str().and_then(Timestamp::parse);
            let first = order.map(|o| super::exec::beginning().plus(o.begins));
            matches!((made, first), (Some(made), Some(first))
                if made < first.minus(Duration::from_secs(120)))
        };
        if let Some(rows) = told["transactions"].as_array_mut() {
            rows.retain(|row| !is_older(row));
            return told.to_string().into_bytes();
        }
        if is_older(&told["transaction"]) {
            return b"{}".to_vec();
        }
        body.to_vec()
    }
}

pub fn answer_of(reply: Reply, cut: bool) -> Answer {
    let mut body = reply.body;
    if cut {
        body.truncate(body.len() / 2);
    }
    Answer {
        status: reply.status,
        retry_after: reply.retry_after,
        content_type: None,
        request_id: None,
        sha256: Sha256::digest(&body).into(),
        body: body.into(),
        truncated: cut,
    }
}
