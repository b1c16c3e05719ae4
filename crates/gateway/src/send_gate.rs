//! The gate in front of a request body: the last moment at which a submit can still be called off.
//!
//! The HTTP client asks for the body when the head of the request lies in its buffer and before
//! anything is flushed. So as long as the body has not been handed over, no byte has left, and
//! once the gate is closed none ever will: that is what makes *not sent* a fact. What it
//! deliberately cannot do: say anything about a request whose body was handed over.

use super::SensitiveBody;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const OPEN: u8 = 0;
const HANDED_OVER: u8 = 1;
const CLOSED: u8 = 2;

/// One side of the gate: held by the sender, to learn which way it went.
#[derive(Debug, Clone, Default)]
pub(super) struct SendGate(Arc<AtomicU8>);

/// The body is withheld; ends the request before anything of it has left.
#[derive(Debug, thiserror::Error)]
#[error("the body was withheld")]
pub(super) struct BodyWithheld;

impl SendGate {
    /// Closes the gate. Whether the body stayed inside.
    pub(super) fn close(&self) -> bool {
        match self.pass(CLOSED) {
            Ok(_) => true,
            Err(found) => found == CLOSED,
        }
    }

    fn hand_over(&self) -> bool {
        self.pass(HANDED_OVER).is_ok()
    }

    fn pass(&self, into: u8) -> Result<u8, u8> {
        self.0
            .compare_exchange(OPEN, into, Ordering::AcqRel, Ordering::Acquire)
    }

    /// The body as a stream of one piece, which asks `may_send` in the moment it is polled.
    pub(super) fn body<F>(
        &self,
        body: SensitiveBody,
        may_send: F,
    ) -> impl Stream<Item = Result<Bytes, BodyWithheld>> + Send + 'static
    where
        F: Fn() -> bool + Send + 'static,
    {
        let gate = self.clone();
        stream::once(async move {
            if !may_send() {
                gate.close();
                return Err(BodyWithheld);
            }
            if gate.hand_over() {
                Ok(Bytes::from_owner(body))
            } else {
                Err(BodyWithheld)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;

    fn body() -> SensitiveBody {
        SensitiveBody::new(b"x".to_vec())
    }

    #[tokio::test]
    async fn a_body_is_handed_over_once_or_never() {
        let gate = SendGate::default();
        let mut stream = Box::pin(gate.body(body(), || true));
        assert!(matches!(stream.next().await, Some(Ok(piece)) if piece == "x"));
        assert!(stream.next().await.is_none());
        assert!(!gate.close());

        let gate = SendGate::default();
        let mut stream = Box::pin(gate.body(body(), || false));
        assert!(matches!(stream.next().await, Some(Err(BodyWithheld))));
        assert!(gate.close());
    }

    #[tokio::test]
    async fn a_closed_send_gate_stays_closed() {
        let gate = SendGate::default();
        let mut stream = Box::pin(gate.body(body(), || true));
        assert!(gate.close() && gate.close());
        assert!(matches!(stream.next().await, Some(Err(BodyWithheld))));
    }
}
