//! The table of what is under way: one row for each transaction.

use std::time::Duration;

use serde_json::Value;

use super::scenes::Scene;
use super::screen::{Screen, Size, Tone, column};
use leaves::clock::Boottime;

/// The widths of tracking ids, states and times.
const NAME: usize = 15;
const STATE: usize = 10;
const TIME: usize = 6;
/// Two blanks between columns.
const GAPS: usize = 6;
const WIDEST_ABOUT: usize = 44;
const NARROWEST_ABOUT: usize = 10;

/// One transaction, as far as the demo knows it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) scene: Scene,
    pub(super) tracking_id: String,
    /// When it was posted.
    pub(super) sent: Option<Boottime>,
    /// How long it took to come to rest.
    pub(super) took: Option<Duration>,
    /// The transaction as the service told it last.
    pub(super) transaction: Value,
    /// Why the service did not take it.
    pub(super) problem: Option<String>,
}

impl Row {
    pub(super) fn new(scene: Scene, tracking_id: String) -> Self {
        Self {
            scene,
            tracking_id,
            sent: None,
            took: None,
            transaction: Value::Null,
            problem: None,
        }
    }

    /// A text of the transaction.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.transaction[field].as_str()
    }

    /// The state, or what stands for it before there is one.
    pub(super) fn state(&self) -> &str {
        match (&self.problem, self.sent) {
            (Some(_), _) => "refused",
            (None, None) => "",
            (None, Some(_)) => self.text("state").unwrap_or("sending"),
        }
    }

    /// Whether nothing more is expected to happen to it.
    pub(super) fn is_at_rest(&self) -> bool {
        self.took.is_some()
    }

    /// Takes in what the service says of it; whether the state has changed.
    pub(super) fn learn(&mut self, transaction: &Value) -> bool {
        let sequence = |of: &Value| of["sequence"].as_i64().unwrap_or(0);
        if sequence(transaction) <= sequence(&self.transaction) {
            return false;
        }
        let before = self.state().to_owned();
        self.transaction = transaction.clone();
        let is_there = self.state() == self.scene.end;
        // `pending` is a rest only when a person has to look.
        let waits = self.scene.end != "pending" || self.is_mismatch();
        if is_there && waits && self.took.is_none() {
            self.took = self.sent.map(Boottime::elapsed);
        }
        before != self.state()
    }

    /// The service refused it.
    pub(super) fn refuse(&mut self, problem: String) {
        self.problem = Some(problem);
        self.took = Some(Duration::ZERO);
    }

    /// The gateway moved another amount than was asked for.
    pub(super) fn is_mismatch(&self) -> bool {
        let moved = &self.transaction["gateway_amount"];
        !moved.is_null() && *moved != self.transaction["amount"]
    }

    fn tone(&self) -> Tone {
        match (self.state(), self.is_at_rest()) {
            ("refused", _) => Tone::Bad,
            ("", _) => Tone::Faint,
            ("pending", true) => Tone::Open,
            (_, true) => Tone::Good,
            (_, false) => Tone::Open,
        }
    }

    fn time(&self) -> String {
        let time = self.took.or_else(|| self.sent.map(Boottime::elapsed));
        time.map_or_else(String::new, seconds)
    }
}

/// A length of time in seconds, as wide as its column.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:4.1} s", time.as_secs_f64())
}

/// The table as lines. Where the terminal is too low for all, rows that rest make room.
pub(super) fn lines(rows: &[Row], screen: &Screen, size: Size) -> Vec<String> {
    let fixed = NAME + STATE + TIME + GAPS;
    let about = size.columns.saturating_sub(fixed + 1);
    let about = about.clamp(NARROWEST_ABOUT, WIDEST_ABOUT);
    // The head, the last line, and the one on which the cursor stands.
    let room = size.lines.saturating_sub(3).max(1);
    let mut too_many = rows.len().saturating_sub(room);
    let mut leaves = |row: &Row| {
        let leaves = too_many > 0 && row.is_at_rest();
        too_many -= usize::from(leaves);
        leaves
    };
    let stay = rows.iter().filter(|row| !leaves(row));
    let shown: Vec<&Row> = stay.take(room).collect();
    let head = format!(
        "{}  {}  {}  {}",
        column("tracking_id", NAME),
        column("what the gateway does", about),
        column("state", STATE),
        "  time"
    );
    let mut lines = vec![screen.tinted(&head, Tone::Faint)];
    lines.extend(shown.iter().map(|row| {
        format!(
            "{}  {}  {}  {}",
            column(&row.tracking_id, NAME),
            column(row.scene.about, about),
            screen.tinted(&column(row.state(), STATE), row.tone()),
            row.time()
        )
    }));
    let done = rows.iter().filter(|row| row.is_at_rest()).count();
    let count = format!("{done} of {} have come to rest", rows.len());
    lines.push(screen.tinted(&count, Tone::Faint));
    lines
}

/// A row as a line by itself, for where nothing can be drawn again.
pub(super) fn line(row: &Row) -> String {
    format!(
        "{}  {}  {}",
        column(&row.tracking_id, NAME),
        column(row.state(), STATE),
        row.scene.about
    )
}
