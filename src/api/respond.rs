//! Responses that show a transaction.

use crate::api::prefer::{self, Preference};
pub(crate) use crate::http::respond::json;
use crate::store::StoredTransaction;
use crate::view::TransactionView;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, HttpResponseBuilder};

/// The tag of a transaction as it is now.
pub(crate) fn etag(stored: &StoredTransaction) -> String {
    format!("\"{}\"", stored.record.sequence)
}

/// The head of an answer about a transaction.
pub(crate) fn transaction_response(
    status: StatusCode,
    stored: &StoredTransaction,
    applied: Preference,
) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response.insert_header((header::ETAG, etag(stored)));
    if let Some(applied) = applied.applied() {
        response.insert_header((prefer::PREFERENCE_APPLIED, applied));
    }
    response
}

/// A transaction.
pub(crate) fn transaction(
    status: StatusCode,
    stored: &StoredTransaction,
    applied: Preference,
) -> HttpResponse {
    transaction_response(status, stored, applied).json(transaction_view(stored))
}

/// What the outside sees of a transaction.
pub(crate) fn transaction_view(stored: &StoredTransaction) -> TransactionView<'_> {
    stored.view()
}
