//! The load: prepared HTTP/1.1 requests over kept connections, closed loop or open loop. It parses no
//! more of an answer than it must, so that it takes little of the processors that are measured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What came of a load.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// From the first request to the last answer.
    pub took: Duration,
    /// How long each request took, sorted; in an open loop from the moment at which it was due.
    pub latencies: Vec<Duration>,
    /// Answers other than the expected one, by status; 0 is no answer.
    pub unexpected: Vec<u16>,
}

impl Outcome {
    /// Expected answers per second.
    pub fn per_second(&self) -> f64 {
        (self.latencies.len() - self.unexpected.len()) as f64 / self.took.as_secs_f64()
    }

    /// A latency in milliseconds; `share` from 0 to 1.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.latencies
            .get(at)
            .map_or(0.0, |l| l.as_secs_f64() * 1e3)
    }
}

/// When requests are sent.
#[derive(Debug, Clone, Copy)]
pub enum Loop {
    /// Each connection sends its next request when the last one is answered.
    Closed,
    /// So many per second, whether or not the last ones are answered.
    Open(f64),
}

/// Sends all requests over so many connections, and waits for all answers.
pub async fn run(
    to: SocketAddr,
    requests: Arc<Vec<Vec<u8>>>,
    range: std::ops::Range<usize>,
    connections: usize,
    pace: Loop,
    expected: u16,
) -> Outcome {
    let next = Arc::new(AtomicUsize::new(range.start));
    let first = range.start;
    let began = Instant::now();
    let mut senders = Vec::new();
    for _ in 0..connections.min(range.len()) {
        let (requests, next, end) = (Arc::clone(&requests), Arc::clone(&next), range.end);
        senders.push(tokio::spawn(async move {
            let mut stream = None;
            let mut seen = Vec::new();
            let mut buffer = Vec::with_capacity(4096);
            loop {
                let mine = next.fetch_add(1, Ordering::Relaxed);
                if mine >= end {
                    return seen;
                }
                let due = match pace {
                    Loop::Closed => Instant::now(),
                    Loop::Open(rate) => {
                        let due = began + Duration::from_secs_f64((mine - first) as f64 / rate);
                        tokio::time::sleep_until(due.into()).await;
                        due
                    }
                };
                let status = exchange(&mut stream, to, &requests[mine], &mut buffer).await;
                seen.push((due.elapsed(), status));
            }
        }));
    }
    let mut outcome = Outcome::default();
    for sender in senders {
        for (took, status) in sender.await.expect("a sender") {
            outcome.latencies.push(took);
            if status != expected {
                outcome.unexpected.push(status);
            }
        }
    }
    outcome.took = began.elapsed();
    outcome.latencies.sort_unstable();
    outcome
}

/// The status of a GET; 0 when there is no answer.
pub async fn get(to: SocketAddr, path: &str) -> u16 {
    let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n");
    exchange(&mut None, to, request.as_bytes(), &mut Vec::new()).await
}

/// The whole answer to a GET.
pub async fn text(to: SocketAddr, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n");
    let mut buffer = Vec::new();
    exchange(&mut None, to, request.as_bytes(), &mut buffer).await;
    String::from_utf8_lossy(&buffer).into_owned()
}

/// One request and its answer; 0 when there is none. A broken connection is made anew.
async fn exchange(
    stream: &mut Option<TcpStream>,
    to: SocketAddr,
    request: &[u8],
    buffer: &mut Vec<u8>,
) -> u16 {
    if stream.is_none() {
        let Ok(made) = TcpStream::connect(to).await else {
            return 0;
        };
        let _ = made.set_nodelay(true);
        *stream = Some(made);
    }
    let Some(open) = stream.as_mut() else {
        return 0;
    };
    buffer.clear();
    match talk(open, request, buffer).await {
        Some(status) => status,
        None => {
            *stream = None;
            0
        }
    }
}

async fn talk(stream: &mut TcpStream, request: &[u8], buffer: &mut Vec<u8>) -> Option<u16> {
    stream.write_all(request).await.ok()?;
    loop {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = std::str::from_utf8(&buffer[..end]).ok()?;
            let status = head.get(9..12)?.parse().ok()?;
            let length: usize = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .and_then(|(_, value)| value.trim().parse().ok())
                .unwrap_or(0);
            while buffer.len() < end + 4 + length {
                if stream.read_buf(buffer).await.ok()? == 0 {
                    return None;
                }
            }
            return Some(status);
        }
    }
}
