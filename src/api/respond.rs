//! Responses that show a transaction.

use crate::api::prefer::{self, Prefer};
pub(crate) use crate::http::respond::json;
use crate::store::StoredTransaction;
use crate::view::TransactionView;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, HttpResponseBuilder};

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
