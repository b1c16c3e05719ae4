//! Reads the names in a path, the query string and the conditions of a request.

use crate::http::problem::{FieldError, Problem};
pub(crate) use crate::http::request::{add_log_fields, segment};
use crate::store::read::TransactionRef;
use actix_web::HttpRequest;
use actix_web::http::header;
use gateway::redact::redact_text;
use url::form_urlencoded;
use uuid::Uuid;

/// Where the shop stands in `/v1/shops/{shop}/…`.
pub(crate) const SHOP_SEGMENT: usize = 3;
/// Where a transaction or a finding stands in `/v1/shops/{shop}/…/{name}`.
pub(crate) const TRACKING_ID_SEGMENT: usize = 5;

/// The transaction that the path names: by tracking id, or by our own id after `~`.
pub(crate) fn name(req: &HttpRequest) -> Result<TransactionRef, Problem> {
    let text = segment(req, TRACKING_ID_SEGMENT).ok_or_else(transaction_not_found)?;
    add_log_fields(req, |fields| {
        fields.tracking_id = Some(redact_text(&text).into_owned())
    });
    TransactionRef::parse(&text).ok_or_else(transaction_not_found)
}

/// The finding that the path names.
pub(crate) fn discrepancy_id(req: &HttpRequest) -> Result<Uuid, Problem> {
    segment(req, TRACKING_ID_SEGMENT)
        .and_then(|text| Uuid::parse_str(&text).ok())
        .ok_or_else(|| Problem::not_found("there is no such discrepancy"))
}

pub(crate) fn transaction_not_found() -> Problem {
    Problem::not_found("there is no such transaction")
}

/// Whether `If-None-Match` names this tag. `None` when there is no such header.
pub(crate) fn none_match(req: &HttpRequest, tag: &str) -> Option<bool> {
    let mut headers = req.headers().get_all(header::IF_NONE_MATCH).peekable();
    headers.peek()?;
    Some(
        headers
            .filter_map(|value| value.to_str().ok())
            .any(|value| names_tag(value, tag)),
    )
}

/// Weak comparison, as `If-None-Match` wants it. Our tags have no comma in them.
fn names_tag(header: &str, tag: &str) -> bool {
    header
        .split(',')
        .map(str::trim)
        .any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag)
}

/// The parameters of a query string. Those that are unknown, given twice or unreadable are errors.
pub(crate) struct QueryParams {
    given: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl QueryParams {
    /// Reads the query string; only `known` parameters may be in it.
    pub(crate) fn of(req: &HttpRequest, known: &[&str]) -> Self {
        Self::parse(req.query_string(), known)
    }

    fn parse(query: &str, known: &[&str]) -> Self {
        let mut params = Self {
            given: Vec::new(),
            errors: Vec::new(),
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if !known.contains(&name.as_ref()) {
                params.reject(&name, "is not a parameter of this resource");
            } else if params.given.iter().any(|(other, _)| *other == name) {
                params.reject(&name, "is given twice");
            } else {
                params.given.push((name.into_owned(), value.into_owned()));
            }
        }
        params
    }

    /// One parameter, read. `expected` ends the sentence "must be …".
    pub(crate) fn read<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self
            .given
            .iter()
            .find(|(given, _)| given == name)?
            .1
            .as_str();
        let value = Some(value)
            .filter(|value| !value.contains('\0'))
            .and_then(read);
        if value.is_none() {
            self.reject(name, format!("must be {expected}"));
        }
        value
    }

    /// Fails when anything was wrong.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(Problem::validation(self.errors))
        }
    }

    fn reject(&mut self, name: &str, message: impl Into<String>) {
        let name = name.replace('~', "~0").replace('/', "~1");
        self.errors
            .push(FieldError::new(format!("/query/{name}"), message));
    }
}

/// Reads a page size.
pub(crate) fn limit(params: &mut QueryParams, default: i64, most: i64) -> i64 {
    let expected = format!("a whole number from 1 to {most}");
    params
        .read("limit", &expected, |text| {
            text.parse().ok().filter(|n| (1..=most).contains(n))
        })
        .unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn named(path: &str) -> Option<TransactionRef> {
        let path = format!("/v1/shops/1001/transactions/{path}");
        name(&TestRequest::with_uri(&path).to_http_request()).ok()
    }

    fn by_tracking_id(text: &str) -> Option<TransactionRef> {
        Some(TransactionRef::TrackingId(text.to_owned()))
    }

    #[test]
    fn a_segment_is_decoded_once() {
        assert_eq!(named("order-1"), by_tracking_id("order-1"));
        assert_eq!(named("a%20b%3Ac:d+e"), by_tracking_id("a b:c:d+e"));
        assert_eq!(named("a%2Fb/evidence"), by_tracking_id("a/b"));
        assert_eq!(named("100%2525"), by_tracking_id("100%25"));
        assert_eq!(named("%2541"), by_tracking_id("%41"));
        assert_eq!(named("%D0%96"), by_tracking_id("Ж"));
        assert_eq!(named("%00"), None);
        assert_eq!(named("%FF"), None);
    }

    #[test]
    fn a_tilde_names_our_own_id() {
        let id = Uuid::now_v7();
        assert_eq!(named(&format!("~{id}")), Some(TransactionRef::Id(id)));
        assert_eq!(named(&format!("%7E{id}")), Some(TransactionRef::Id(id)));
        assert_eq!(named("~order-1"), None);
        assert_eq!(named("a~b"), by_tracking_id("a~b"));
    }

    #[test]
    fn tags_are_compared_weakly() {
        for header in ["\"3\"", "\"2\", \"3\"", "W/\"3\"", "*", " \"3\" "] {
            assert!(names_tag(header, "\"3\""), "{header}");
        }
        for header in ["", "\"33\"", "3", "\"2\""] {
            assert!(!names_tag(header, "\"3\""), "{header}");
        }
        let bare = TestRequest::default().to_http_request();
        assert_eq!(none_match(&bare, "\"3\""), None);
        let request = TestRequest::default().insert_header(("if-none-match", "\"2\""));
        assert_eq!(none_match(&request.to_http_request(), "\"3\""), Some(false));
    }

    #[test]
    fn parameters_are_known_single_and_readable() {
        let known = ["limit", "state"];
        let mut good = QueryParams::parse("limit=20&state=a%20b", &known);
        assert_eq!(limit(&mut good, 50, 200), 20);
        assert_eq!(
            good.read("state", "a word", |t| Some(t.to_owned()))
                .as_deref(),
            Some("a b")
        );
        assert!(good.finish().is_ok());
        for bad in [
            "limit=0",
            "limit=201",
            "limit=",
            "limit=x",
            "limit=1&limit=1",
            "lim~it=1",
        ] {
            let mut params = QueryParams::parse(bad, &known);
            assert_eq!(
                limit(&mut params, 50, 200).clamp(1, 50),
                limit_of(bad),
                "{bad}"
            );
            assert!(params.finish().is_err(), "{bad}");
        }
    }

    fn limit_of(query: &str) -> i64 {
        if query.starts_with("limit=1&") { 1 } else { 50 }
    }
}
