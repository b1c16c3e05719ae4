//! What is told to a caller when something does not work: problem documents (RFC 9457) with stable
//! types, and the one map from inner errors to them.
//!
//! What it deliberately cannot do: show the inside. The cause of a failure is kept for the log, and
//! a detail is written here or redacted before it comes here.

mod kind;

pub(crate) use kind::ProblemKind;

use crate::ledger::LedgerError;
use crate::store::StoreError;
use crate::submit::NoBudget;
use crate::view::TransactionView;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use gateway::FieldViolation;
use gateway::redact::redact_text;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;
use utoipa::ToSchema;

/// What every type of problem begins with.
pub(crate) const TYPE_PREFIX: &str = "urn:reconciler:problem:";

/// What a caller is told whose request the shop's limit has stopped.
pub(crate) const OVER_BUDGET: &str =
    "the shop's limit of requests to the gateway is reached; nothing was sent";

/// One field that is not valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FieldError {
    /// A JSON pointer into the body, or `/query/<name>` for a parameter of the query string.
    pub(crate) pointer: String,
    /// What is wrong with it.
    pub(crate) message: String,
}

impl FieldError {
    pub(crate) fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            message: message.into(),
        }
    }
}

impl From<FieldViolation> for FieldError {
    fn from(problem: FieldViolation) -> Self {
        Self::new(problem.pointer, problem.message)
    }
}

/// A problem, on its way to the caller.
#[derive(Debug)]
pub(crate) struct Problem(Box<ProblemParts>);

#[derive(Debug)]
struct ProblemParts {
    kind: ProblemKind,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    headers: Vec<(header::HeaderName, Cow<'static, str>)>,
    members: Map<String, Value>,
    cause: Option<String>,
}

/// When a caller should try again, where nothing better is known.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(2);

impl Problem {
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        let headers = Vec::new();
        let (errors, members) = (Vec::new(), Map::new());
        Self(Box::new(ProblemParts {
            kind,
            detail: detail.into(),
            errors,
            headers,
            members,
            cause: None,
        }))
    }

    /// Fields that are not valid.
    pub(crate) fn validation(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] => format!("{} is not valid", place(&only.pointer)),
            several => format!("{} fields are not valid", several.len()),
        };
        let mut problem = Self::new(ProblemKind::Validation, detail);
        problem.0.errors = errors;
        problem
    }

    /// One field that is not valid.
    pub(crate) fn invalid(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self::validation(vec![FieldError::new(pointer, message)])
    }

    pub(crate) fn not_found(detail: &'static str) -> Self {
        Self::new(ProblemKind::NotFound, detail)
    }

    /// It may work later.
    pub(crate) fn unavailable(detail: &'static str) -> Self {
        Self::new(ProblemKind::Unavailable, detail).retry_after(DEFAULT_RETRY_AFTER)
    }

    /// A failure that is nobody's business outside; `cause` goes to the log.
    pub(crate) fn internal(cause: impl Into<String>) -> Self {
        Self::new(
            ProblemKind::Internal,
            "the failure has been logged under the request id",
        )
        .with_cause(cause)
    }

    /// The shop's budget of requests is used up, or nobody knows what is left of it.
    pub(crate) fn no_budget(none: NoBudget, used_up: &'static str) -> Self {
        match none {
            NoBudget::UsedUp { retry_after } => {
                Self::new(ProblemKind::TooManyRequests, used_up).retry_after(retry_after)
            }
            NoBudget::Unavailable(error) => {
                Self::unavailable(error.outside()).with_cause(error.chain())
            }
        }
    }

    /// The transaction was not sent.
    pub(crate) fn not_sent(transaction: &TransactionView<'_>) -> Self {
        let mut problem = Self::new(
            ProblemKind::GatewayUnreachable,
            "the request was not sent, or the gateway did not process it; the same request may be \
             posted again",
        );
        // The view is made of plain fields, so that it always becomes a value.
        let transaction = serde_json::to_value(transaction).unwrap_or(Value::Null);
        problem
            .0
            .members
            .insert("transaction".to_owned(), transaction);
        problem
    }

    /// Whole seconds, rounded up, since `Retry-After` knows no others.
    pub(crate) fn retry_after(self, after: Duration) -> Self {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        self.header(header::RETRY_AFTER, seconds.max(1).to_string())
    }

    pub(crate) fn header(
        mut self,
        name: header::HeaderName,
        value: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.0.headers.push((name, value.into()));
        self
    }

    pub(crate) fn member(mut self, name: &'static str, value: Value) -> Self {
        self.0.members.insert(name.to_owned(), value);
        self
    }

    pub(crate) fn with_cause(mut self, cause: impl Into<String>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// What is behind it, for the log.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// The answer. `request_id` names the request in our log.
    pub(crate) fn response(&self, request_id: Option<&str>) -> HttpResponse {
        let (status, suffix, title) = self.0.kind.parts();
        let mut body = json!({
            "type": format!("{TYPE_PREFIX}{suffix}"),
            "title": title,
            "status": status.as_u16(),
            "detail": redact_text(&self.0.detail),
            "instance": request_id.map(|id| format!("urn:reconciler:request:{id}")),
            "request_id": request_id,
        });
        if let Value::Object(members) = &mut body {
            if self.0.kind == ProblemKind::Validation {
                members.insert("errors".to_owned(), errors(&self.0.errors));
            }
            members.extend(self.0.members.clone());
        }
        let mut response = HttpResponse::build(status);
        for (name, value) in &self.0.headers {
            response.insert_header((name.clone(), value.as_ref()));
        }
        response
            .content_type("application/problem+json")
            .body(body.to_string())
    }
}

fn errors(errors: &[FieldError]) -> Value {
    errors
        .iter()
        .map(|e| json!({"pointer": redact_text(&e.pointer), "message": redact_text(&e.message)}))
        .collect()
}

fn place(pointer: &str) -> &str {
    if pointer.is_empty() {
        "the body"
    } else {
        pointer
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.kind.parts().2)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.0.kind.parts().0
    }

    fn error_response(&self) -> HttpResponse {
        self.response(None)
    }
}

/// The problem for an answer that was refused before any handler of ours had a say.
pub(crate) fn for_status(status: StatusCode) -> Problem {
    Problem::new(ProblemKind::of(status), "the request could not be read")
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Conflict(_) => {
                Self::unavailable(error.outside()).with_cause(error.chain())
            }
            StoreError::Data(_)
            | StoreError::Inconsistent { .. }
            | StoreError::SchemaMismatch(_) => Self::internal(error.chain()),
        }
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        let detail = match &error {
            LedgerError::Unavailable => "the database cannot be reached",
            LedgerError::CommitUnknown => {
                "it is not known whether this was stored; the same request may be made again"
            }
            LedgerError::Overloaded => "too much is waiting to be stored",
            LedgerError::DataRejected => return Self::internal(error.to_string()),
            LedgerError::NotFound => return Self::not_found("there is no such transaction"),
        };
        Self::unavailable(detail).with_cause(error.to_string())
    }
}

#[cfg(test)]
mod tests;
