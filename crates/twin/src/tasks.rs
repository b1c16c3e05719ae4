//! The asynchronous mode's tasks: processing, completed, or unknown. A result
//! that is not 200 is handed out once; everything is forgotten a day after the POST.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::answer::Answer;
use super::bodies;
use super::clock::{Ms, ms};
use super::script::Script;
use super::settings::Switches;

/// One task.
pub struct Task {
    /// The id in its URLs.
    pub id: String,
    /// The shop that may read it.
    pub shop: Arc<str>,
    /// What it was made for.
    pub operation: &'static str,
    /// The tracking id of the request, as far as it has one.
    pub tracking_id: Option<String>,
    /// When it was made, in virtual time.
    pub created: Ms,
    /// Where it stands.
    pub state: State,
    /// The script that it follows.
    pub script: Arc<Script>,
    /// Reads of the result, so far as the script bent them.
    pub result_reads: u32,
    /// Reads of the status, so far as the script bent them.
    pub status_reads: u32,
    /// Whether it has ended, known or not.
    pub is_over: bool,
    /// Synchronous requests that wait for its end.
    pub waiters: Vec<oneshot::Sender<()>>,
}

/// Where a task stands.
pub enum State {
    /// It runs.
    Running,
    /// It has ended in this answer.
    Ended(Answer),
    /// It has ended in an error that was handed out.
    Burnt,
    /// It was never known.
    Unknown,
}

impl Task {
    /// A word for where it stands.
    pub fn word(&self) -> &'static str {
        match self.state {
            State::Running => "running",
            State::Ended(_) => "ended",
            State::Burnt => "burnt",
            State::Unknown => "unknown",
        }
    }

    /// Ends it, and wakes who waits for that.
    pub fn end(&mut self, answer: Answer) {
        self.is_over = true;
        if matches!(self.state, State::Running) {
            self.state = State::Ended(answer);
        }
        for waiter in self.waiters.drain(..) {
            // A client that has gone away no longer listens.
            let _ = waiter.send(());
        }
    }

    /// What `response_url` answers now.
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

    /// What `status_url` answers now.
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

/// What is answered to the POST.
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

/// Never existed, forgotten, or handed out already: they look alike.
pub fn unknown(id: &str) -> Answer {
    Answer::json(404, &json!({"status": "unknown", "request_id": id}))
}

/// The end of a task that fell over.
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
    fn a_result_that_is_not_200_is_handed_out_once() {
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
    fn asking_for_the_status_can_burn_it() {
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
    fn a_good_result_is_kept_for_a_day_from_the_post() {
        let switches = Switches::default();
        let mut task = task();
        task.end(Answer::json(200, &json!({})));
        for now in [1, 2, 86_399_999] {
            assert_eq!(task.read_result(now, &switches).status, 200);
        }
        assert_eq!(task.read_result(86_400_000, &switches).status, 404);
    }
}
