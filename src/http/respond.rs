//! Responses that are not problems.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde::Serialize;

/// Returns a JSON response.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> HttpResponse {
    HttpResponse::build(status).json(body)
}
