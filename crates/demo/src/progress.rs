//! Progress table: one row per transaction.

use std::time::Duration;

use serde_json::Value;

use super::scenarios::DemoScenario;
use super::terminal::{Terminal, TerminalSize, TextStyle, column};
use leaves::clock::BootInstant;

/// Column widths of tracking IDs, states and times.
const NAME: usize = 15;
const STATE: usize = 10;
const TIME: usize = 6;
/// Total width of the gaps between columns.
const GAPS: usize = 6;
const WIDEST_ABOUT: usize = 44;
const NARROWEST_ABOUT: usize = 10;

/// A transaction and its progress.
#[derive(Debug)]
pub(super) struct ProgressRow {
    pub(super) scene: DemoScenario,
    pub(super) tracking_id: String,
    /// Time of the POST.
    pub(super) sent: Option<BootInstant>,
    /// Time from the POST to the expected state; `None` until then.
    pub(super) took: Option<Duration>,
    /// Last transaction object from the service.
    pub(super) transaction: Value,
    /// Error response, if the service rejected the request.
    pub(super) problem: Option<String>,
}

impl ProgressRow {
    pub(super) fn new(scene: DemoScenario, tracking_id: String) -> Self {
        Self {
            scene,
            tracking_id,
            sent: None,
            took: None,
            transaction: Value::Null,
            problem: None,
        }
    }

    /// Returns a text field of the transaction.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.transaction[field].as_str()
    }

    /// Returns the state, or a placeholder before there is one.
    pub(super) fn state(&self) -> &str {
        match (&self.problem, self.sent) {
            (Some(_), _) => "refused",
            (None, None) => "",
            (None, Some(_)) => self.text("state").unwrap_or("sending"),
        }
    }

    /// Returns whether the transaction is finished.
    pub(super) fn is_finished(&self) -> bool {
        self.took.is_some()
    }

    /// Updates the row from a transaction object. Returns whether the state changed.
    pub(super) fn update(&mut self, transaction: &Value) -> bool {
        let sequence = |of: &Value| of["sequence"].as_i64().unwrap_or(0);
        if sequence(transaction) <= sequence(&self.transaction) {
            return false;
        }
        let before = self.state().to_owned();
        self.transaction = transaction.clone();
        let is_there = self.state() == self.scene.end;
        // `pending` is the expected end only if an operator must review the transaction.
        let waits = self.scene.end != "pending" || self.is_mismatch();
        if is_there && waits && self.took.is_none() {
            self.took = self.sent.map(BootInstant::elapsed);
        }
        before != self.state()
    }

    /// Marks the request as rejected by the service.
    pub(super) fn mark_refused(&mut self, problem: String) {
        self.problem = Some(problem);
        self.took = Some(Duration::ZERO);
    }

    /// Returns whether the amount at the gateway differs from the request.
    pub(super) fn is_mismatch(&self) -> bool {
        let moved = &self.transaction["gateway_amount"];
        !moved.is_null() && *moved != self.transaction["amount"]
    }

    fn tone(&self) -> TextStyle {
        match (self.state(), self.is_finished()) {
            ("refused", _) => TextStyle::Bad,
            ("", _) => TextStyle::Faint,
            ("pending", true) => TextStyle::Open,
            (_, true) => TextStyle::Good,
            (_, false) => TextStyle::Open,
        }
    }

    fn time(&self) -> String {
        let time = self.took.or_else(|| self.sent.map(BootInstant::elapsed));
        time.map_or_else(String::new, seconds)
    }
}

/// Formats a duration in seconds, as wide as its column.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:4.1} s", time.as_secs_f64())
}

/// Formats the table. If the terminal has too few lines, finished rows are left out.
pub(super) fn lines(rows: &[ProgressRow], screen: &Terminal, size: TerminalSize) -> Vec<String> {
    let fixed = NAME + STATE + TIME + GAPS;
    let about = size.columns.saturating_sub(fixed + 1);
    let about = about.clamp(NARROWEST_ABOUT, WIDEST_ABOUT);
    // Reserved: the header, the last line, and the line of the cursor.
    let room = size.lines.saturating_sub(3).max(1);
    let mut too_many = rows.len().saturating_sub(room);
    let mut leaves = |row: &ProgressRow| {
        let leaves = too_many > 0 && row.is_finished();
        too_many -= usize::from(leaves);
        leaves
    };
    let stay = rows.iter().filter(|row| !leaves(row));
    let shown: Vec<&ProgressRow> = stay.take(room).collect();
    let head = format!(
        "{}  {}  {}  {}",
        column("tracking_id", NAME),
        column("gateway behaviour", about),
        column("state", STATE),
        "  time"
    );
    let mut lines = vec![screen.styled(&head, TextStyle::Faint)];
    lines.extend(shown.iter().map(|row| {
        format!(
            "{}  {}  {}  {}",
            column(&row.tracking_id, NAME),
            column(row.scene.about, about),
            screen.styled(&column(row.state(), STATE), row.tone()),
            row.time()
        )
    }));
    let done = rows.iter().filter(|row| row.is_finished()).count();
    let count = format!("{done} of {} finished", rows.len());
    lines.push(screen.styled(&count, TextStyle::Faint));
    lines
}

/// Formats a row as a single line, for output that cannot be redrawn.
pub(super) fn line(row: &ProgressRow) -> String {
    format!(
        "{}  {}  {}",
        column(&row.tracking_id, NAME),
        column(row.state(), STATE),
        row.scene.about
    )
}
