//! A request that is in hand, as its connection sees it: from its head to the last byte of its answer.
//!
//! Not responsible for: what the request is about ([`super::access_log`]).

use crate::http::connection::Connection;
use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::ServiceRequest;
use actix_web::http::ConnectionType;
use actix_web::http::header::{self, HeaderMap};
use bytes::Bytes;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// A request in hand. However it ends, its connection learns of it.
pub(crate) struct InHand {
    /// `None` in tests without a connection.
    connection: Option<Rc<Connection>>,
    has_body: bool,
    is_last: bool,
}

impl InHand {
    /// Takes a request in hand. `None` when the last answer of its connection is given already.
    pub(crate) fn begin(req: &ServiceRequest) -> Option<Self> {
        let connection = req.conn_data::<Rc<Connection>>().cloned();
        let length = length(req.headers());
        if let Some(connection) = &connection
            && !connection.begin()
        {
            return None;
        }
        Some(Self {
            connection,
            has_body: length != Some(0),
            is_last: true,
        })
    }

    /// Its answer goes out. The connection is kept for whoever is `known` and has been read to the end, unless its
    /// listener is crowded.
    pub(crate) fn answer(
        mut self,
        mut response: HttpResponse,
        is_known: bool,
        is_read: bool,
    ) -> HttpResponse {
        let is_crowded = |connection: &Rc<Connection>| connection.listener().is_crowded();
        let is_unread = self.has_body && !is_read;
        self.is_last = !is_known || is_unread || self.connection.as_ref().is_some_and(is_crowded);
        if self.is_last {
            let head = response.head_mut();
            head.set_connection_type(ConnectionType::Close);
        }
        // What is written piece by piece is a part of the request.
        if self.connection.is_some() && response.body().size() == BodySize::Stream {
            let pieces = |_: &mut _, inner| {
                BoxBody::new(Pieces {
                    inner,
                    _whole: self,
                })
            };
            return response.map_body(pieces);
        }
        response
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.end(self.is_last);
        }
    }
}

/// The length of a body; `None` when it does not say how long it is.
pub(super) fn length(headers: &HeaderMap) -> Option<usize> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return None;
    }
    let told = headers.get(header::CONTENT_LENGTH);
    let told = told.and_then(|length| length.to_str().ok()?.parse().ok());
    Some(told.unwrap_or(0))
}

/// An answer that is written piece by piece.
struct Pieces {
    inner: BoxBody,
    _whole: InHand,
}

impl MessageBody for Pieces {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.inner.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.inner).poll_next(cx)
    }
}
