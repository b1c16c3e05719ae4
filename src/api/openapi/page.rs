//! `GET /openapi.json` and `GET /docs`: the document, and a page that shows it.
//!
//! The page is Swagger UI, whose files are part of the binary: it loads nothing from elsewhere, and
//! the browser is told to let it load nothing from elsewhere. Neither needs a key, since they say
//! nothing of any shop.

use crate::api::openapi;
use crate::api::request;
use crate::http::problem::Problem;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use std::sync::{Arc, LazyLock};
use utoipa_swagger_ui::Config;

/// Where a file of the page stands in `/docs/{file}`.
const FILE_SEGMENT: usize = 2;

/// Scripts, styles and data from here alone; Swagger UI writes styles into its elements.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                      img-src 'self' data:; connect-src 'self'; base-uri 'self'; \
                      frame-ancestors 'none'";

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(openapi::text()));

/// The validator that Swagger UI knows of is somebody else's, and would be sent the address.
static CONFIG: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::from("/openapi.json").validator_url("none")));

/// Read this document
///
/// OpenAPI 3.1. It is the same for every caller.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "About",
    operation_id = "readDocument",
    security(()),
    responses((status = 200, description = "This document.", body = Object))
)]
pub(crate) async fn served() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body(DOCUMENT.clone())
}

/// Read this document as a page
///
/// It loads nothing from elsewhere.
#[utoipa::path(
    get,
    path = "/docs",
    tag = "About",
    operation_id = "readPage",
    security(()),
    responses((status = 200, description = "The page.", body = String, content_type = "text/html"))
)]
pub(crate) async fn page() -> Result<HttpResponse, Problem> {
    file("index.html")
}

/// `GET /docs/{file}`: what the page is made of.
pub(crate) async fn asset(req: HttpRequest) -> Result<HttpResponse, Problem> {
    file(&request::segment(&req, FILE_SEGMENT).unwrap_or_default())
}

fn file(name: &str) -> Result<HttpResponse, Problem> {
    let found = utoipa_swagger_ui::serve(name, Arc::clone(&CONFIG))
        .map_err(|error| Problem::internal(error.to_string()))?;
    let found = found.ok_or_else(|| Problem::not_found("there is nothing under this path"))?;
    let mut bytes = found.bytes.into_owned();
    if name == "index.html" {
        // The page names its files beside itself, and they are one level below.
        let page = String::from_utf8_lossy(&bytes);
        bytes = page
            .replacen("<head>", "<head><base href=\"/docs/\">", 1)
            .into_bytes();
    }
    Ok(HttpResponse::Ok()
        .content_type(found.content_type)
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(bytes))
}
