//! The stream around the socket of each connection: a deadline for every head and every write, a bound on what is
//! buffered of a head, and an end for connections that are answered for the last time.
//!
//! The HTTP library times only the first head of a connection. [`Connection`] is what the stream and the requests on it
//! share: the stream sees bytes, the requests say where one begins and where its answer ends ([`super::access_log`]).
//! In the usual course of a request no timer is touched: one that fires early is set again.
//!
//! Not responsible for: the time of a body ([`super::body`]) and of an answer (`api::deadline`).

use crate::http::listener::{CloseReason, ConnectionPermit, Listener};
use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// The longest time that the head of a request may take, and that a new connection may be without one.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest head.
const MAX_HEAD: usize = 32 * 1024;
/// So much of a head is given on before the library looks whether the head is complete. So much each connection has
/// room for anyway.
const SLICE: usize = 8 * 1024;
/// For how long the rest of what nobody reads is taken, so that the answer to it arrives.
pub(super) const LINGER_TIMEOUT: Duration = Duration::from_secs(3);
/// In each of these, a reader that is not done takes [`READ`] bytes at least.
const WRITE: Duration = Duration::from_secs(10);
const READ: usize = 64 * 1024;
/// What may come behind the request that is in hand.
const AHEAD: usize = 16 * 1024;
/// So often what is not wanted is read in one turn.
const DISCARDS: usize = 16;

const SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const LARGE: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 2\r\nconnection: close\r\n\r\n";

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing has come since it was opened or answered.
    Idle,
    /// A part of a head has come.
    Head,
    /// A request is in hand.
    Busy,
    /// The last answer is given. What comes now is not read.
    Closing,
}

/// What the stream of a connection and the requests on it share.
pub(crate) struct Connection {
    listener: Arc<Listener>,
    place: ConnectionPermit,
    phase: Cell<Phase>,
    /// When the phase ends the connection; not looked at while a request is in hand.
    deadline: Cell<Instant>,
    /// How many bytes of the head, or of the request in hand, the library was given.
    given: Cell<usize>,
    /// How many bytes of the request in hand may come.
    wanted: Cell<usize>,
    /// The library waits for bytes that it does not get before they are wanted.
    held: Cell<Option<Waker>>,
}

impl Connection {
    /// The listener that it came to.
    pub(crate) fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }

    /// Who is at its other end.
    pub(crate) fn place(&self) -> &ConnectionPermit {
        &self.place
    }

    /// A request begins, of whose body not much may come yet. False when the last answer of the connection is given
    /// already.
    pub(crate) fn begin(&self) -> bool {
        if self.phase.get() == Phase::Closing {
            return false;
        }
        self.phase.set(Phase::Busy);
        self.place.hold(0);
        self.given.set(0);
        self.wanted.set(AHEAD);
        self.wake_held();
        true
    }

    /// The body of the request in hand is wanted. `length`: `None` when it is not known.
    pub(crate) fn want(&self, length: Option<usize>) {
        let wanted = length.map_or(usize::MAX, |length| length.saturating_add(AHEAD));
        self.wanted.set(wanted);
        self.wake_held();
    }

    /// Lets the library read on.
    fn wake_held(&self) {
        if let Some(waker) = self.held.take() {
            waker.wake();
        }
    }

    /// The answer is given, and is the `last` one.
    pub(crate) fn end(&self, last: bool) {
        // What came behind the body is the beginning of the next head.
        let body = self.wanted.get().saturating_sub(AHEAD);
        let ahead = self.given.get().saturating_sub(body);
        let (phase, stays) = match (last, ahead) {
            (true, _) => (Phase::Closing, LINGER_TIMEOUT),
            (false, 0) => (Phase::Idle, self.listener.keep_alive),
            (false, _) => (Phase::Head, HEADER_TIMEOUT),
        };
        self.phase.set(phase);
        self.given.set(if last { 0 } else { ahead });
        self.deadline.set(Instant::now() + stays);
        self.wake_held();
    }

    /// Bytes came that belong to no request in hand.
    fn came(&self, bytes: usize) {
        if self.phase.get() == Phase::Idle {
            self.phase.set(Phase::Head);
            let deadline = self.deadline.get().min(Instant::now() + HEADER_TIMEOUT);
            self.deadline.set(deadline);
        }
        self.given.set(self.given.get() + bytes);
    }
}

/// The bytes of a connection.
pub(crate) struct Stream<T> {
    io: T,
    connection: Rc<Connection>,
    timer: Pin<Box<Sleep>>,
    /// Since when a write waits, and how much of it was taken since.
    blocked: Option<(Pin<Box<Sleep>>, usize)>,
    /// What was given since the library has looked at it.
    slice: usize,
    /// The library was told that nothing more comes.
    is_over: bool,
}

impl<T> Stream<T> {
    pub(super) fn new(io: T, listener: Arc<Listener>, place: ConnectionPermit) -> Self {
        let deadline = Instant::now() + HEADER_TIMEOUT;
        let connection = Connection {
            listener,
            place,
            phase: Cell::new(Phase::Idle),
            deadline: Cell::new(deadline),
            given: Cell::new(0),
            wanted: Cell::new(0),
            held: Cell::new(None),
        };
        Self {
            io,
            connection: Rc::new(connection),
            timer: Box::pin(sleep_until(deadline)),
            blocked: None,
            slice: 0,
            is_over: false,
        }
    }

    pub(super) fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    /// Whether the time of the phase is over. If not, it is woken when it is.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let deadline = self.connection.deadline.get();
        // A write that waits has a deadline of its own.
        if self.timer.as_mut().poll(cx).is_pending() || self.blocked.is_some() {
            return false;
        }
        if deadline <= Instant::now() {
            return true;
        }
        self.timer.as_mut().reset(deadline);
        self.timer.as_mut().poll(cx).is_ready()
    }

    /// Sees to it that the end of the phase wakes the connection.
    fn watch(&mut self, cx: &mut Context<'_>) {
        let deadline = self.connection.deadline.get();
        let is_early = self.timer.deadline() <= deadline && !self.timer.is_elapsed();
        if !is_early {
            self.timer.as_mut().reset(deadline);
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream<T> {
    /// Ends the connection: the library is told that nothing more comes.
    fn close(&mut self, cx: &mut Context<'_>, why: CloseReason) -> Poll<io::Result<()>> {
        let told = match why {
            CloseReason::SlowHead => SLOW,
            CloseReason::LargeHead => LARGE,
            CloseReason::Memory => FULL,
            CloseReason::Idle | CloseReason::SlowRead | CloseReason::PeerLimit => &[],
        };
        self.connection.listener.record_close(why);
        if self.blocked.is_none() && !told.is_empty() {
            // Whoever does not take it is not owed it.
            let _ = Pin::new(&mut self.io).poll_write(cx, told);
        }
        self.connection.end(true);
        self.is_over = true;
        Poll::Ready(Ok(()))
    }

    /// Reads what is not wanted.
    fn discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0; 4_096];
        for _ in 0..DISCARDS {
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads a head, or what is between two requests.
    fn read_head(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.slice >= SLICE {
            // First the library looks at what it has: it may be a whole head with a body behind it.
            self.slice = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let given = self.connection.given.get();
        if given > MAX_HEAD {
            return self.close(cx, CloseReason::LargeHead);
        }
        if self.slice == 0 && given >= SLICE && !self.connection.place.hold(given) {
            return self.close(cx, CloseReason::Memory);
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        let bytes = buffer.filled().len() - before;
        self.slice = if bytes == 0 { 0 } else { self.slice + bytes };
        if bytes > 0 {
            self.connection.came(bytes);
        }
        // What has come in time is read first, however late this is looked at.
        if read.is_pending() && self.is_late(cx) {
            let why = match self.connection.phase.get() {
                Phase::Head => CloseReason::SlowHead,
                Phase::Idle | Phase::Busy | Phase::Closing => CloseReason::Idle,
            };
            return self.close(cx, why);
        }
        read
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.is_over {
            return Poll::Ready(Ok(()));
        }
        match this.connection.phase.get() {
            Phase::Idle | Phase::Head => this.read_head(cx, buffer),
            Phase::Busy => {
                this.slice = 0;
                let given = this.connection.given.get();
                if given > this.connection.wanted.get() {
                    this.connection.held.set(Some(cx.waker().clone()));
                    return Poll::Pending;
                }
                let before = buffer.filled().len();
                let read = Pin::new(&mut this.io).poll_read(cx, buffer);
                let bytes = buffer.filled().len() - before;
                this.connection.given.set(given.saturating_add(bytes));
                read
            }
            Phase::Closing if this.is_late(cx) => {
                this.is_over = true;
                Poll::Ready(Ok(()))
            }
            Phase::Closing => this.discard(cx),
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        match Pin::new(&mut this.io).poll_write(cx, bytes) {
            Poll::Ready(written) => {
                if let (Some((_, taken)), Ok(written)) = (&mut this.blocked, &written) {
                    *taken += written;
                }
                Poll::Ready(written)
            }
            Poll::Pending => {
                let waits = || (Box::pin(sleep(WRITE)), 0);
                let (timer, taken) = this.blocked.get_or_insert_with(waits);
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                if *taken < READ {
                    this.connection.listener.record_close(CloseReason::SlowRead);
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                *taken = 0;
                timer.as_mut().reset(Instant::now() + WRITE);
                if timer.as_mut().poll(cx).is_ready() {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
        }
    }

    /// All that there was to write is written: the library does this at the end of each turn.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.blocked = None;
        if this.connection.phase.get() != Phase::Busy {
            this.watch(cx);
        }
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
        // A socket that is closed with something unread takes back the answer.
        drop(this.discard(cx));
        Poll::Ready(Ok(()))
    }
}
