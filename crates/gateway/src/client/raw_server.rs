//! A server that is nothing but a socket: it sees what goes over the wire, and it can break off.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a server does with the requests of one connection, in turn.
#[derive(Clone)]
pub(super) enum ServerAction {
    /// Answers with these bytes and keeps the connection.
    Answer(Vec<u8>),
    /// Answers with these bytes and closes.
    AnswerAndClose(Vec<u8>),
    /// Reads the request and closes without a word.
    Close,
    /// Reads the request and says nothing.
    Silence,
}

#[derive(Clone, Default)]
pub(super) struct ReceivedRequest {
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
    pub(super) stray: Arc<Mutex<Vec<u8>>>,
}

impl ReceivedRequest {
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub(super) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

pub(super) fn plain(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

async fn request_on(socket: &mut TcpStream, stray: &Mutex<Vec<u8>>) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            });
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        let mut piece = [0; 4096];
        match socket.read(&mut piece).await {
            Ok(count) if count > 0 => bytes.extend_from_slice(&piece[..count]),
            _ => {
                stray.lock().unwrap().extend(bytes);
                return None;
            }
        }
    }
}

/// Each connection goes through the acts of its place; the last list serves all later ones.
pub(super) async fn serve(acts: Vec<Vec<ServerAction>>) -> (u16, ReceivedRequest) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = ReceivedRequest::default();
    let shared = seen.clone();
    tokio::spawn(async move {
        for number in 0.. {
            let (mut socket, _) = listener.accept().await.unwrap();
            *shared.connections.lock().unwrap() += 1;
            let acts = acts[number.min(acts.len() - 1)].clone();
            let shared = shared.clone();
            tokio::spawn(async move {
                for act in acts {
                    let Some(request) = request_on(&mut socket, &shared.stray).await else {
                        return;
                    };
                    shared.requests.lock().unwrap().push(request);
                    match act {
                        ServerAction::Answer(bytes) => socket.write_all(&bytes).await.unwrap(),
                        ServerAction::AnswerAndClose(bytes) => {
                            return socket.write_all(&bytes).await.unwrap();
                        }
                        ServerAction::Close => return,
                        ServerAction::Silence => std::future::pending().await,
                    }
                }
            });
        }
    });
    (port, seen)
}
