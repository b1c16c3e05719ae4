//! Tasks of the asynchronous mode: processing, completed, or unknown.
//!
//! A result other than 200 is returned once. A task is forgotten a day after the POST.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::clock::{VirtualMillis, ms};
use super::render;
use super::response::SimResponse;
use super::script::Script;
use super::settings::BehaviourSwitches;

/// A task of the asynchronous mode.
pub struct SimTask {
    /// Identifier in its URLs.
    pub id: String,
    /// Shop that may read it.
    pub shop: Arc<str>,
    /// Name of the operation that created it.
    pub operation: &'static str,
    /// Tracking ID in the request, if there is one.
    pub tracking_id: Option<String>,
    /// Creation time, in virtual time.
    pub created: VirtualMillis,
    /// Current state.
    pub state: TaskState,
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
pub enum TaskState {
    /// The task runs.
    Running,
    /// The task ended with this response.
    Ended(SimResponse),
    /// The task ended with an error, which was returned already.
    Burnt,
    /// The task reads as unknown from the start.
    Unknown,
}

impl SimTask {
    /// Returns the name of the state.
    pub fn word(&self) -> &'static str {
        match self.state {
            TaskState::Running => "running",
            TaskState::Ended(_) => "ended",
            TaskState::Burnt => "burnt",
            TaskState::Unknown => "unknown",
        }
    }

    /// Ends the task and wakes the requests that wait for it.
    pub fn end(&mut self, answer: SimResponse) {
        self.is_over = true;
        if matches!(self.state, TaskState::Running) {
            self.state = TaskState::Ended(answer);
        }
        for waiter in self.waiters.drain(..) {
            // Ignored: a client that disconnected no longer waits.
            let _ = waiter.send(());
        }
    }

    /// Returns the current response of `response_url`.
    pub fn read_result(&mut self, now: VirtualMillis, switches: &BehaviourSwitches) -> SimResponse {
        match &self.state {
            TaskState::Burnt | TaskState::Unknown => unknown(&self.id),
            _ if self.is_forgotten(now, switches) => unknown(&self.id),
            TaskState::Running => {
                let body = json!({"status": "processing", "request_id": self.id});
                SimResponse::json(switches.processing_status, &body)
            }
            TaskState::Ended(answer) => {
                let answer = answer.clone();
                if answer.status != 200 {
                    self.state = TaskState::Burnt;
                }
                answer
            }
        }
    }

    /// Returns the current response of `status_url`.
    pub fn read_status(
        &mut self,
        now: VirtualMillis,
        origin: &str,
        switches: &BehaviourSwitches,
    ) -> SimResponse {
        match &self.state {
            TaskState::Burnt | TaskState::Unknown => unknown(&self.id),
            _ if self.is_forgotten(now, switches) => unknown(&self.id),
            TaskState::Running => {
                SimResponse::json(200, &json!({"status": "processing", "request_id": self.id}))
            }
            TaskState::Ended(answer) if answer.status == 200 => {
                let body = json!({
                    "status": "completed",
                    "request_id": self.id,
                    "response_url": result_url(origin, &self.id),
                });
                SimResponse::json(200, &body)
            }
            TaskState::Ended(answer) => {
                let answer = answer.clone();
                if switches.status_read_burns {
                    self.state = TaskState::Burnt;
                }
                answer
            }
        }
    }

    fn is_forgotten(&self, now: VirtualMillis, switches: &BehaviourSwitches) -> bool {
        now >= self.created.saturating_add(ms(switches.result_retention))
    }
}

/// Returns the acknowledgement of a POST.
pub fn acknowledged(id: &str, origin: &str) -> SimResponse {
    let body: Value = json!({
        "status": "processing",
        "request_id": id,
        "status_url": format!("{origin}/async/status/{id}"),
        "response_url": result_url(origin, id),
    });
    SimResponse::json(200, &body)
}

fn result_url(origin: &str, id: &str) -> String {
    format!("{origin}/async/result/{id}")
}

/// Returns the response for a task that never existed, was forgotten, or whose result was returned
/// already.
pub fn unknown(id: &str) -> SimResponse {
    SimResponse::json(404, &json!({"status": "unknown", "request_id": id}))
}

/// Returns the result of a crashed task.
pub fn crashed(switches: &BehaviourSwitches) -> SimResponse {
    render::went_wrong(switches.crash_status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> SimTask {
        SimTask {
            id: "t".into(),
            shop: "1001".into(),
            operation: "payments",
            tracking_id: None,
            created: 0,
            state: TaskState::Running,
            script: Arc::default(),
            result_reads: 0,
            status_reads: 0,
            is_over: false,
            waiters: Vec::new(),
        }
    }

    #[test]
    fn a_result_other_than_200_is_returned_once() {
        let switches = BehaviourSwitches::default();
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
        let switches = BehaviourSwitches {
            status_read_burns: true,
            ..BehaviourSwitches::default()
        };
        let mut task = task();
        task.end(crashed(&switches));
        assert_eq!(task.read_status(2, "", &switches).status, 500);
        assert_eq!(task.read_result(3, &switches).status, 404);
    }

    #[test]
    fn a_200_result_is_kept_for_a_day_after_the_post() {
        let switches = BehaviourSwitches::default();
        let mut task = task();
        task.end(SimResponse::json(200, &json!({})));
        for now in [1, 2, 86_399_999] {
            assert_eq!(task.read_result(now, &switches).status, 200);
        }
        assert_eq!(task.read_result(86_400_000, &switches).status, 404);
    }
}
