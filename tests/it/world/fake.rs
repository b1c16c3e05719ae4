//! A scripted gateway with control over every byte: for behaviour that the simulator does not have,
//! and for tests that inspect bytes or act while the gateway holds a request.

use serde_json::{Value, json};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// A received request.
#[derive(Debug, Clone)]
pub struct Request {
    /// Method, `POST` or `GET`.
    pub method: String,
    /// Path.
    pub path: String,
    /// Raw head.
    pub head: String,
    /// Raw body.
    pub body: Vec<u8>,
    /// Index of its connection, and of the request on it, both from 0.
    pub place: (usize, usize),
    /// Number of submits before it.
    pub posts_before: usize,
}

impl Request {
    /// Returns the value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// Returns the body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Returns whether it is a submit.
    pub fn is_submit(&self) -> bool {
        self.method == "POST" && self.path.starts_with("/async/transactions/")
    }
}

/// Response of the gateway to a request.
#[derive(Debug, Clone)]
pub enum FakeReply {
    /// Sends JSON and keeps the connection open.
    Json(u16, Value),
    /// Sends these bytes and closes the connection.
    Raw(Vec<u8>),
    /// Closes the connection without a response.
    Close,
    /// Never responds.
    Hang,
}

type Held = Pin<Box<dyn Future<Output = FakeReply> + Send>>;
type Script = Arc<dyn Fn(Request) -> Held + Send + Sync>;

/// The scripted gateway.
pub struct FakeGateway {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    runtime: Option<Runtime>,
}

impl Drop for FakeGateway {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl FakeGateway {
    /// Starts the gateway in its own runtime, so that it can start before the test environment.
    pub fn start<F>(script: impl Fn(Request) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = FakeReply> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a port");
        let address = listener.local_addr().expect("its address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let script: Script = Arc::new(move |request| Box::pin(script(request)));
        let log = Arc::clone(&seen);
        runtime.spawn(async move {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                tokio::spawn(converse(
                    stream,
                    number,
                    Arc::clone(&script),
                    Arc::clone(&log),
                ));
            }
        });
        Self {
            address,
            seen,
            runtime: Some(runtime),
        }
    }

    /// Returns its origin.
    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns all requests so far.
    pub fn seen(&self) -> Vec<Request> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns all submits so far.
    pub fn submits(&self) -> Vec<Request> {
        self.seen().into_iter().filter(Request::is_submit).collect()
    }
}

async fn converse(
    mut stream: TcpStream,
    connection: usize,
    script: Script,
    seen: Arc<Mutex<Vec<Request>>>,
) {
    let mut buffer = Vec::new();
    for number in 0.. {
        let Some(mut request) = receive(&mut stream, &mut buffer).await else {
            return;
        };
        request.place = (connection, number);
        {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            request.posts_before = seen.iter().filter(|r: &&Request| r.is_submit()).count();
            seen.push(request.clone());
        }
        let bytes = match script(request).await {
            FakeReply::Json(status, body) => {
                let body = body.to_string();
                let length = body.len();
                format!(
                    "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n\
                     Content-Length: {length}\r\n\r\n{body}"
                )
                .into_bytes()
            }
            FakeReply::Raw(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            FakeReply::Close => return,
            FakeReply::Hang => std::future::pending().await,
        };
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Reads one request. Returns `None` if the connection is closed.
async fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Request> {
    let end = loop {
        if let Some(at) = find(buffer, b"\r\n\r\n") {
            break at;
        }
        more(stream, buffer).await?;
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end + 4);
    let mut first = head.lines().next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let mut request = Request {
        method,
        path,
        head,
        body: Vec::new(),
        place: (0, 0),
        posts_before: 0,
    };
    let chunked = request.header("transfer-encoding").is_some();
    assert!(
        !chunked,
        "the gateway is promised a length:\n{}",
        request.head
    );
    let length = request
        .header("content-length")
        .map_or(0, |text| text.parse().expect("a length"));
    while buffer.len() < length {
        more(stream, buffer).await?;
    }
    request.body = buffer.drain(..length).collect();
    Some(request)
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let read = stream.read_buf(buffer).await.ok()?;
    (read > 0).then_some(())
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

/// Returns the acknowledgement of a submit, with task URLs on this origin.
pub fn ack(origin: &str, task: &str) -> Value {
    json!({
        "status": "processing", "request_id": task,
        "status_url": format!("{origin}/async/status/{task}"),
        "response_url": format!("{origin}/async/result/{task}"),
    })
}

/// Returns a payment in the gateway's format.
pub fn transaction(uid: &str, tracking_id: &str, status: &str) -> Value {
    let now = leaves::clock::now_utc();
    let at = now
        .format(&time::format_description::well_known::Rfc3339)
        .expect("a time");
    json!({
        "uid": uid, "id": uid, "status": status, "type": "payment", "amount": 3245,
        "currency": "EUR", "tracking_id": tracking_id, "test": true, "message": "of the test",
        "created_at": at, "updated_at": at,
    })
}

/// Returns a transaction in its envelope.
pub fn wrapped(transaction: &Value) -> Value {
    json!({"transaction": transaction})
}
