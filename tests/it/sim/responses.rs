//! How the simulated gateway is asked, and how its answers come: late, cut off, changed by a proxy,
//! as the grammar has it, or not at all.

use super::dice::Dice;
use super::effects::REQUEST_TIMEOUT;
use super::invariants;
use super::mutant::Mutant;
use super::plan::MessageFate;
use super::replies::{Reply, odd, page};
use super::world::{SimState, State};
use domain::Timestamp;
use gateway::GatewayResponse;
use reconciler::follow::effects::GatewayRead;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

/// The channel of a question and what it is about, as plans name them.
pub fn named<'a>(question: &'a GatewayRead<'_>) -> (&'static str, &'a str) {
    match question {
        GatewayRead::TaskStatus(task) => ("status", task.as_str()),
        GatewayRead::TaskResult(task) => ("result", task.as_str()),
        GatewayRead::Uid(uid) => ("uid", uid.as_str()),
        GatewayRead::TrackingId(name) => ("name", name),
    }
}

/// What goes wrong with a GET by chance.
fn by_chance(state: &State, dice: &mut Dice) -> Option<MessageFate> {
    if state.goes_wrong(dice, state.plan.lost) {
        let fates = [
            MessageFate::Lost,
            MessageFate::Lost,
            MessageFate::AnswerLost,
            MessageFate::AnswerLost,
            MessageFate::Cut,
        ];
        let nth = usize::try_from(dice.below(5)).unwrap_or(0);
        return fates.get(nth).cloned();
    }
    let pages = ["502", "401", "429", "500", "302"];
    state
        .goes_wrong(dice, state.plan.odd_answer)
        .then(|| MessageFate::Odd(dice.one_of(&pages).to_owned()))
}

impl SimState {
    pub async fn travel(&self, channel: &str, about: &str) {
        let mut dice = self.with(|state| state.dice(channel, about));
        let takes = dice.between(Duration::from_millis(5), Duration::from_millis(400));
        self.exec.sleep(takes).await;
    }

    /// One GET. `None` when no answer came.
    pub async fn get(self: &Arc<Self>, question: GatewayRead<'_>) -> Option<GatewayResponse> {
        let (channel, about) = named(&question);
        let now = self.exec.now();
        let fate = self.with(|state| {
            state.wire.asked(channel, about, now);
            state.exchange_fate(channel, about, by_chance)
        });
        self.travel(channel, about).await;
        if fate == Some(MessageFate::Lost) {
            return self.silence(channel, about).await;
        }
        let now = self.exec.now();
        let mut reply = self.with(|state| {
            let reply = state.reply(channel, about, fate.as_ref(), now);
            if fate != Some(MessageFate::AnswerLost) {
                state.wire.sent(channel, about, &reply, now);
            }
            reply
        });
        self.travel(channel, about).await;
        if fate == Some(MessageFate::AnswerLost) {
            return self.silence(channel, about).await;
        }
        if fate == Some(MessageFate::Cut) {
            reply.body.truncate(reply.body.len() / 2);
            reply.told.clear();
            reply.holds.clear();
            reply.cut = true;
        }
        let answer = answer_of(&reply);
        self.note(|| {
            let text = String::from_utf8_lossy(&answer.body);
            let begin: String = text.chars().take(90).collect();
            format!("{question:?} -> {} {begin}", answer.status)
        });
        if let Some(MessageFate::Row(row, _)) = &fate {
            self.takes_down(row);
        }
        let now = self.exec.now();
        self.with(|state| {
            state.wire.read(
                answer.sha256,
                channel,
                about,
                (&reply.told, &reply.holds),
                now,
            );
            if let GatewayRead::TrackingId(name) = question {
                invariants::looked_up(state, name, &answer, now);
            }
        });
        Some(self.tampered(question, answer))
    }

    /// Nothing comes until nobody waits any more.
    async fn silence(&self, channel: &str, about: &str) -> Option<GatewayResponse> {
        self.exec.sleep(REQUEST_TIMEOUT).await;
        let now = self.exec.now();
        let silent = (channel.to_owned(), about.to_owned(), now);
        self.with(|state| state.wire.silent.push(silent));
        None
    }

    /// What mutants make of an answer.
    fn tampered(&self, question: GatewayRead<'_>, mut answer: GatewayResponse) -> GatewayResponse {
        let failed = answer.status != 200 || answer.truncated;
        if self.is(Mutant::FailureIsEmpty)
            && failed
            && matches!(question, GatewayRead::TrackingId(_))
        {
            let empty = serde_json::json!({"transactions": []});
            return answer_of(&Reply::json(200, &empty));
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

impl State {
    /// What the gateway answers to a GET.
    fn reply(
        &mut self,
        channel: &str,
        about: &str,
        fate: Option<&MessageFate>,
        now: Timestamp,
    ) -> Reply {
        let plan = Arc::clone(&self.plan);
        if self.faulty && plan.blind && channel == "name" {
            return page(503);
        }
        match fate {
            Some(MessageFate::Odd(word)) => return odd(word),
            Some(MessageFate::Row(row, _)) => {
                if let Some(reply) = self.row(row, channel, about, now) {
                    return reply;
                }
            }
            _ => {}
        }
        match channel {
            "status" => self.books.task(about, false, now, &plan),
            "result" => self.books.task(about, true, now, &plan),
            "uid" => self.books.by_uid(about, &plan),
            _ => self.books.by_name(about, now, &plan),
        }
    }
}

pub fn answer_of(reply: &Reply) -> GatewayResponse {
    GatewayResponse {
        status: reply.status,
        retry_after: reply.retry_after,
        content_type: None,
        request_id: None,
        date: None,
        sha256: Sha256::digest(&reply.body).into(),
        body: reply.body.clone().into(),
        truncated: reply.cut,
    }
}
