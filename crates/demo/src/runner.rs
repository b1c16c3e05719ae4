//! Runs all scenarios: sends requests at their times, reads the event feed, and updates the table
//! until all transactions are finished.

use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::DemoError;
use super::client::{HttpEndpoint, HttpResponse};
use super::environment::Environment;
use super::progress::{self, ProgressRow};
use super::settings::SHOP;
use super::terminal::Terminal;
use leaves::clock::BootInstant;

/// Maximum duration; unfinished transactions are then reported as they are.
const RUN_TIMEOUT: Duration = Duration::from_secs(75);
const TICK: Duration = Duration::from_millis(100);

/// An update for the table.
enum ProgressUpdate {
    /// A transaction changed, according to the feed.
    Changed(Value),
    /// Response to a POST.
    Answered(usize, HttpResponse),
}

/// A run of all scenarios.
pub(super) struct ScenarioRun<'a> {
    api: &'a HttpEndpoint,
    rows: Vec<ProgressRow>,
    calls: JoinSet<Result<ProgressUpdate, DemoError>>,
    started: BootInstant,
}

impl<'a> ScenarioRun<'a> {
    pub(super) fn new(api: &'a HttpEndpoint, rows: Vec<ProgressRow>) -> Self {
        Self {
            api,
            rows,
            calls: JoinSet::new(),
            started: BootInstant::now(),
        }
    }

    /// Runs all scenarios and returns the rows.
    pub(super) async fn play(
        mut self,
        stage: &mut Environment,
        screen: &mut Terminal,
    ) -> Result<Vec<ProgressRow>, DemoError> {
        let mut feed = FeedReader::follow(self.api.clone()).await?;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.started = BootInstant::now();
        loop {
            self.send_what_is_due();
            if screen.is_live() {
                let lines = progress::lines(&self.rows, screen, screen.size());
                screen.draw(&lines).map_err(DemoError::Print)?;
            }
            let all_rest = self.rows.iter().all(ProgressRow::is_finished);
            if (all_rest && self.calls.is_empty()) || self.started.elapsed() > RUN_TIMEOUT {
                return Ok(self.rows);
            }
            tokio::select! {
                _ = ticks.tick() => stage.still_runs()?,
                news = feed.next() => self.take_in(news?, screen)?,
                Some(call) = self.calls.join_next() => {
                    // A call is never cancelled; a panicked call has no result.
                    if let Ok(news) = call {
                        self.take_in(news?, screen)?;
                    }
                }
            }
        }
    }

    fn send_what_is_due(&mut self) {
        for index in 0..self.rows.len() {
            let scene = self.rows[index].scene;
            let is_due = self.started.elapsed() >= scene.delay();
            if self.rows[index].sent.is_some() || !is_due {
                continue;
            }
            let parent = scene.parent.map(|name| self.uid_of(name));
            if parent == Some(None) {
                continue;
            }
            let row = &mut self.rows[index];
            row.sent = Some(BootInstant::now());
            let request = scene.request(&row.tracking_id, parent.flatten().as_deref());
            let path = format!("/v1/shops/{SHOP}/{}", scene.collection());
            let api = self.api.clone();
            self.calls.spawn(async move {
                let answer = api.post(&path, &request).await?;
                Ok(ProgressUpdate::Answered(index, answer))
            });
        }
    }

    /// Returns the uid of a scenario's transaction once it is successful.
    fn uid_of(&self, scene: &str) -> Option<String> {
        let parent = self.rows.iter().find(|row| row.scene.name == scene)?;
        let is_good = parent.state() == "successful";
        parent.text("uid").filter(|_| is_good).map(str::to_owned)
    }

    fn take_in(&mut self, news: ProgressUpdate, screen: &mut Terminal) -> Result<(), DemoError> {
        let index = match &news {
            ProgressUpdate::Answered(index, _) => Some(*index),
            ProgressUpdate::Changed(transaction) => {
                let told = transaction["tracking_id"].as_str();
                let ours = |row: &ProgressRow| Some(row.tracking_id.as_str()) == told;
                self.rows.iter().position(ours)
            }
        };
        let Some(row) = index.and_then(|index| self.rows.get_mut(index)) else {
            return Ok(());
        };
        let has_changed = match news {
            ProgressUpdate::Changed(transaction) => row.update(&transaction),
            ProgressUpdate::Answered(_, answer) if answer.status < 300 => row.update(&answer.body),
            ProgressUpdate::Answered(_, answer) => {
                row.mark_refused(format!("{} {}", answer.status, answer.body));
                true
            }
        };
        if has_changed && !screen.is_live() {
            screen
                .print_step(&progress::line(row))
                .map_err(DemoError::Print)?;
        }
        Ok(())
    }
}

/// Reader of the shop's event feed, from its current end.
struct FeedReader {
    events: mpsc::Receiver<Result<Value, DemoError>>,
    /// Ends the reader task when the feed is dropped.
    _reader: JoinSet<()>,
}

impl FeedReader {
    async fn follow(api: HttpEndpoint) -> Result<Self, DemoError> {
        let mut after = 0;
        loop {
            let (events, next) = page(&api, after, 0).await?;
            after = next;
            if events.is_empty() {
                break;
            }
        }
        let (sender, events) = mpsc::channel(64);
        let mut reader = JoinSet::new();
        reader.spawn(read(api, after, sender));
        Ok(Self {
            events,
            _reader: reader,
        })
    }

    async fn next(&mut self) -> Result<ProgressUpdate, DemoError> {
        loop {
            match self.events.recv().await {
                Some(Ok(mut event)) if event["transaction"].is_object() => {
                    return Ok(ProgressUpdate::Changed(event["transaction"].take()));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                // The reader ends after an error only, which was returned already.
                None => std::future::pending().await,
            }
        }
    }
}

async fn read(api: HttpEndpoint, mut after: i64, events: mpsc::Sender<Result<Value, DemoError>>) {
    loop {
        let told = match page(&api, after, 5).await {
            Ok((told, next)) => {
                after = next;
                told.into_iter().map(Ok).collect()
            }
            Err(error) => vec![Err(error)],
        };
        for event in told {
            let is_last = event.is_err();
            if events.send(event).await.is_err() || is_last {
                return;
            }
        }
    }
}

/// Returns a page of the feed and the position of the next one. Waits up to `wait` seconds for the
/// first event.
async fn page(api: &HttpEndpoint, after: i64, wait: u32) -> Result<(Vec<Value>, i64), DemoError> {
    let path = format!("/v1/shops/{SHOP}/events?after={after}&limit=500");
    let answer = api.get_waiting(&path, wait).await?;
    // The beginning of an old feed has expired; the response names the first available position.
    if let (410, Some(first)) = (answer.status, answer.body["first_after"].as_i64()) {
        return Ok((vec![Value::Null], first));
    }
    let mut body = answer.expect_ok(&path)?;
    let next = body["next_after"].as_i64().unwrap_or(after);
    let events = match body["events"].take() {
        Value::Array(events) => events,
        _ => Vec::new(),
    };
    Ok((events, next))
}
