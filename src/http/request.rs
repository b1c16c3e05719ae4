//! Reads path segments, and collects what the access log shows about a request.
//!
//! Path segments are taken from the path as it was sent and decoded once. The router decodes some
//! escapes before it matches a route; decoding its result would decode some of them twice.

use actix_web::{HttpMessage, HttpRequest};
use domain::ShopId;
use percent_encoding::percent_decode_str;

/// Fields of the access log beside the route.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestLogFields {
    pub(crate) request_id: String,
    pub(crate) shop: Option<ShopId>,
    pub(crate) client: Option<String>,
    pub(crate) tracking_id: Option<String>,
    /// Set if the request is also reported elsewhere, at a limited rate.
    pub(crate) is_quiet: bool,
    /// Set if the sender has shown a valid key.
    pub(crate) is_known: bool,
    /// Set if the body was read to the end.
    pub(crate) is_read: bool,
}

/// Adds fields to the access log of a request.
pub(crate) fn add_log_fields(req: &HttpRequest, add: impl FnOnce(&mut RequestLogFields)) {
    if let Some(fields) = req.extensions_mut().get_mut::<RequestLogFields>() {
        add(fields);
    }
}

/// Returns one segment of the path, decoded; `None` if it is missing or is not UTF-8.
pub(crate) fn segment(req: &HttpRequest, index: usize) -> Option<String> {
    let raw = req.uri().path().split('/').nth(index)?;
    let text = percent_decode_str(raw).decode_utf8().ok()?;
    // PostgreSQL stores no zero byte in a text, so nothing has such a name.
    (!text.contains('\0')).then(|| text.into_owned())
}
