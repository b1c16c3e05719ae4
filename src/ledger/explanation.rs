//! What is told about one transaction: why it is where it is, and everything that was said.
//!
//! The API and the terminal tell the same. What it deliberately cannot do: look anything up, at the
//! gateway or in the store. It puts into words what it is given.

use crate::store::{EvidenceRow, StoredTransaction};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::schedule::{Step, plan};
use domain::{Channel, State, Timestamp, Verdict, explain};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// How much of a long history an explanation tells.
const MAX_REASONS: usize = 100;

/// Why a transaction is in its state, what happens next, and what would change it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Explanation {
    /// The state.
    #[schema(value_type = State)]
    pub state: &'static str,
    /// What it means and what it rests on.
    pub summary: String,
    /// What was learned, in order of arrival.
    pub because: Vec<ExplanationReason>,
    /// What happens next, if anything does.
    pub next: Option<NextAction>,
    /// What would change the state.
    #[schema(value_type = Vec<String>)]
    pub would_change: Vec<&'static str>,
}

/// One thing that was learned.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Because)]
pub struct ExplanationReason {
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// By which channel.
    #[schema(value_type = Channel)]
    pub channel: &'static str,
    /// What, in a sentence.
    pub text: String,
}

/// What happens next.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Next)]
pub struct NextAction {
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// What.
    pub what: String,
}

/// One piece of evidence.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Evidence)]
pub struct EvidenceView {
    /// Its id.
    pub id: Uuid,
    /// By which channel it came.
    #[schema(value_type = Channel)]
    pub channel: &'static str,
    /// What it changed.
    #[schema(value_type = Verdict)]
    pub verdict: &'static str,
    /// When.
    #[schema(format = DateTime)]
    pub received_at: String,
    /// The HTTP status of an answer.
    pub http_status: Option<i32>,
    /// What was said, redacted.
    pub body: EvidenceBody,
    /// Its place in the order of arrival.
    pub position: i32,
    /// What was asked.
    pub subject: Option<String>,
    /// Whether the signature of a webhook held.
    pub signed: Option<bool>,
    /// What it says, in a sentence.
    pub note: String,
}

/// A body: text, or base64 where it is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = EvidenceBody)]
pub enum EvidenceBody {
    /// UTF-8.
    Text(String),
    /// Anything else.
    Raw {
        /// The bytes.
        base64: String,
    },
}

impl Explanation {
    /// Explains a transaction from its evidence, as of `now`.
    pub fn explain(stored: &StoredTransaction, rows: &[EvidenceRow], now: Timestamp) -> Self {
        let (opening, known, derived) = (&stored.opening, &stored.summary, stored.derived());
        let step = plan(opening, known, &derived, now);
        let due = stored.record.next_check_at.filter(|_| step != Step::Idle);
        Self {
            state: derived.state.as_str(),
            summary: explain::describe_state(opening, known, &derived),
            because: because(rows),
            next: due.map(|at| NextAction {
                at: at.to_rfc3339(),
                what: explain::describe_step(&step),
            }),
            would_change: explain::would_change(opening, known, derived.state),
        }
    }
}

impl From<EvidenceRow> for EvidenceView {
    fn from(row: EvidenceRow) -> Self {
        let body = String::from_utf8(row.body).map_or_else(
            |raw| EvidenceBody::Raw {
                base64: STANDARD.encode(raw.as_bytes()),
            },
            EvidenceBody::Text,
        );
        Self {
            id: row.id,
            channel: row.channel.as_str(),
            verdict: row.verdict.as_str(),
            received_at: row.received_at.to_rfc3339(),
            http_status: row.http_status,
            body,
            position: row.position,
            subject: row.subject,
            signed: row.signed,
            note: row.note,
        }
    }
}

/// What has been learned, without what only repeats it; of looks that told nothing new, the last.
fn because(rows: &[EvidenceRow]) -> Vec<ExplanationReason> {
    let last_quiet = rows
        .iter()
        .rposition(|row| row.verdict == Verdict::NothingNew);
    let told = rows
        .iter()
        .enumerate()
        .filter(|(at, row)| match row.verdict {
            Verdict::Duplicate => false,
            Verdict::NothingNew => Some(*at) == last_quiet,
            Verdict::Applied
            | Verdict::Stale
            | Verdict::Mismatch
            | Verdict::Hint
            | Verdict::Refused
            | Verdict::Correction => true,
        });
    let told: Vec<&EvidenceRow> = told.map(|(_, row)| row).collect();
    told[told.len().saturating_sub(MAX_REASONS)..]
        .iter()
        .map(|row| ExplanationReason {
            at: row.received_at.to_rfc3339(),
            channel: row.channel.as_str(),
            text: row.note.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use domain::Channel;
    use serde_json::{json, to_value};

    fn row(position: i32, verdict: Verdict, body: &[u8]) -> EvidenceRow {
        EvidenceRow {
            id: Uuid::nil(),
            position,
            channel: Channel::Query,
            verdict,
            received_at: Timestamp::from_micros(0),
            http_status: Some(200),
            subject: None,
            signed: None,
            note: format!("note {position}"),
            body: body.to_vec(),
        }
    }

    #[test]
    fn bodies_are_text_or_base64() {
        let piece =
            |body: &[u8]| to_value(EvidenceView::from(row(1, Verdict::Applied, body))).unwrap();
        let text = piece("{\"a\":\"ж\"}".as_bytes());
        assert_eq!(text["body"], "{\"a\":\"ж\"}");
        assert_eq!(text["subject"], json!(null));
        assert_eq!(piece(&[0xff, 0])["body"], json!({"base64": "/wA="}));
    }

    #[test]
    fn an_explanation_omits_repetitions() {
        let rows = [
            row(1, Verdict::Applied, b""),
            row(2, Verdict::NothingNew, b""),
            row(3, Verdict::Duplicate, b""),
            row(4, Verdict::NothingNew, b""),
            row(5, Verdict::Mismatch, b""),
        ];
        let notes: Vec<String> = because(&rows).into_iter().map(|told| told.text).collect();
        assert_eq!(notes, ["note 1", "note 4", "note 5"]);
    }
}
