//! Load generator: prepared HTTP/1.1 requests over persistent connections, in a closed or an open
//! loop. It parses as little of a response as possible, to leave the CPUs to the measured process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Result of a load.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Time from the first request to the last response.
    pub took: Duration,
    /// Latencies, sorted; in an open loop measured from the scheduled time.
    pub latencies: Vec<Duration>,
    /// Statuses of unexpected responses; 0 is no response.
    pub unexpected: Vec<u16>,
}

impl Outcome {
    /// Returns the number of expected responses per second.
    pub fn per_second(&self) -> f64 {
        (self.latencies.len() - self.unexpected.len()) as f64 / self.took.as_secs_f64()
    }

    /// Returns a quantile of the latency in milliseconds; `share` is from 0 to 1.
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
pub enum LoadMode {
    /// Each connection sends its next request after the previous response.
    Closed,
    /// At a fixed rate per second, regardless of responses.
    Open(f64),
}

/// Sends all requests over the given number of connections and waits for all responses.
pub async fn run(
    to: SocketAddr,
    requests: Arc<Vec<Vec<u8>>>,
    range: std::ops::Range<usize>,
    connections: usize,
    pace: LoadMode,
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
                    LoadMode::Closed => Instant::now(),
                    LoadMode::Open(rate) => {
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

/// Returns the status of a GET, or 0 without a response.
pub async fn get(to: SocketAddr, path: &str) -> u16 {
    let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n");
    exchange(&mut None, to, request.as_bytes(), &mut Vec::new()).await
}

/// Returns the whole response to a GET.
pub async fn text(to: SocketAddr, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n");
    let mut buffer = Vec::new();
    exchange(&mut None, to, request.as_bytes(), &mut buffer).await;
    String::from_utf8_lossy(&buffer).into_owned()
}

/// Sends one request and returns its status, or 0 without a response. Reopens a broken connection.
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
