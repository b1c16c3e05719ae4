//! Tasks of the asynchronous mode: processing, completed, or unknown.
//!
//! A result other than 200 is returned once. A task is forgotten a day after the POST.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::answer::Answer;
use super::bodies;
use super::clock::{Ms, ms};
use super::script::Script;
use super::settings::Switches;

/// A task of the asynchronous mode.
pub struct Task {
    /// Identifier in its URLs.
    pub id: String,
    /// Shop that may read it.
    pub shop: Arc<str>,
    /// Name of the operation that created it.
    pub operation: &'static str,
    /// Tracking ID in the request, if there is one.
    pub tracking_id: Option<String>,
    /// Creation time, in virtual time.
    pub created: Ms,
    /// Current state.
    pub state: State,
    /// Script that it follows.
    pub script: Arc<Script>,
    /// Number of reads of the result that the script changed.
    pub result_reads: u32,
    /// Number of reads of the status that the script changed.
    pub status_reads: u32,
    /// Whether it has ended, even if it reads as unknown.
    pub is_over: bool,
    /// Wakes the synchronous requests that wait for its end.
    pub waiters: Vec<oneshot::Sender<()>>,
}

/// State of a task.
pub enum State {
    /// The task runs.
    Running,
    /// The task ended with this response.
    Ended(Answer),
    /// The task ended with an error, which was returned already.
    Burnt,
    /// The task reads as unknown from the start.
    Unknown,
}

impl Task {
    /// Returns the name of the state.
    pub fn word(&self) -> &'static str {
        match self.state {
            State::Running => "running",
            State::Ended(_) => "ended",
            State::Burnt => "burnt",
            State::Unknown => "unknown",
        }
    }

    /// Ends the task and wakes the requests that wait for it.
    pub fn end(&mut self, answer: Answer) {
        self.is_over = true;
        if matches!(self.state, State::Running) {
            self.state = State::Ended(answer);
        }
        for waiter in self.waiters.drain(..) {
            // Ignored: a client that disconnected no longer waits.
            let _ = waiter.send(());
        }
    }

    /// Returns the current response of `response_url`.
    pub fn read_result(&mut self, now: Ms, switches: &Switches) -> Answer {
        match &self.state {
            State::Burnt | State::Unknown => unknown(&self.id),
            _ if self.is_forgotten(now, switches) => unknown(&self.id),
            State::Running => {
                let body = json!({"status": "processing", "request_id": self.id});
                Answer::json(switches.processing_status, &body)
            }
            State::Ended(answer) => {
                let answer = answer.clone();
                if answer.status != 200 {
                    self.state = State::Burnt;
                }
                answer
            }
        }
    }

    /// Returns the current response of `status_url`.
    pub fn read_status(&mut self, now: Ms, origin: &str, switches: &Switches) -> Answer {
        match &self.state {
            State::Burnt | State::Unknown => unknown(&self.id),
            _ if self.is_forgotten(now, switches) => unknown(&self.id),
            State::Running => {
                Answer::json(200, &json!({"status": "processing", "request_id": self.id}))
            }
            State::Ended(answer) if answer.status == 200 => {
                let body = json!({
                    "status": "completed",
                    "request_id": self.id,
                    "response_url": result_url(origin, &self.id),
                });
                Answer::json(200, &body)
            }
            State::Ended(answer) => {
                let answer = answer.clone();
                if switches.status_read_burns {
                    self.state = State::Burnt;
                }
                answer
            }
        }
    }

    fn is_forgotten(&self, now: Ms, switches: &Switches) -> bool {
        now >= self.created.saturating_add(ms(switches.result_retention))
    }
}

/// Returns the acknowledgement of a POST.
pub fn acknowledged(id: &str, origin: &str) -> Answer {
    let body: Value = json!({
        "status": "processing",
        "request_id": id,
        "status_url": format!("{origin}/async/status/{id}"),
        "response_url": result_url(origin, id),
    });
    Answer::json(200, &body)
}

fn result_url(origin: &str, id: &str) -> String {
    format!("{origin}/async/result/{id}")
}

/// Returns the response for a task that never existed, was forgotten, or whose result was returned
/// already.
pub fn unknown(id: &str) -> Answer {
    Answer::json(404, &json!({"status": "unknown", "request_id": id}))
}

/// Returns the result of a crashed task.
pub fn crashed(switches: &Switches) -> Answer {
    bodies::went_wrong(switches.crash_status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> Task {
        Task {
            id: "t".into(),
            shop: "1001".into(),
            operation: "payments",
            tracking_id: None,
            created: 0,
            state: State::Running,
            script: Arc::default(),
            result_reads: 0,
            status_reads: 0,
            is_over: false,
            waiters: Vec::new(),
        }
    }

    #[test]
    fn a_result_other_than_200_is_returned_once() {
        let switches = Switches::default();
        let mut task = task();
        assert_eq!(task.read_result(1, &switches).status, 425);
        task.end(crashed(&switches));
        assert_eq!(task.read_status(2, "", &switches).status, 500);
        assert_eq!(task.read_result(3, &switches).status, 500);
        assert_eq!(task.read_result(4, &switches).status, 404);
        assert_eq!(task.read_status(5, "", &switches).status, 404);
    }

    #[test]
    fn a_status_read_can_consume_the_result() {
        let switches = Switches {
            status_read_burns: true,
            ..Switches::default()
        };
        let mut task = task();
        task.end(crashed(&switches));
        assert_eq!(task.read_status(2, "", &switches).status, 500);
        assert_eq!(task.read_result(3, &switches).status, 404);
    }

    #[test]
    fn a_200_result_is_kept_for_a_day_after_the_post() {
        let switches = Switches::default();
        let mut task = task();
        task.end(Answer::json(200, &json!({})));
        for now in [1, 2, 86_399_999] {
            assert_eq!(task.read_result(now, &switches).status, 200);
        }
        assert_eq!(task.read_result(86_400_000, &switches).status, 404);
    }
}
