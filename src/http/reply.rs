//! Answers that are no problems.

use crate::http::prefer::{self, Prefer};
use crate::store::StoredTransaction;
use crate::view::TransactionView;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde::Serialize;

/// JSON under a status.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> HttpResponse {
    HttpResponse::build(status).json(body)
}

/// The tag of a transaction as it is now.
pub(crate) fn tag(stored: &StoredTransaction) -> String {
    format!("\"{}\"", stored.record.sequence)
}

/// The head of an answer about a transaction.
pub(crate) fn head(
    status: StatusCode,
    stored: &StoredTransaction,
    applied: Prefer,
) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response.insert_header((header::ETAG, tag(stored)));
    if let Some(applied) = applied.applied() {
        response.insert_header((prefer::APPLIED, applied));
    }
    response
}

/// A transaction.
pub(crate) fn transaction(
    status: StatusCode,
    stored: &StoredTransaction,
    applied: Prefer,
) -> HttpResponse {
    head(status, stored, applied).json(shown(stored))
}

/// What the outside sees of a transaction.
pub(crate) fn shown(stored: &StoredTransaction) -> TransactionView<'_> {
    stored.view()
}
