//! A fault-injecting proxy in front of PostgreSQL: it loses responses, goes silent, and holds the
//! response to a statement.
//!
//! It parses only as much of the protocol as it needs to recognise COMMIT and statements by the
//! name in their first comment.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::unix;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A fault of a COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyFault {
    /// The COMMIT is executed, and the connection is closed before the response.
    AnswerLost,
    /// The connection is closed before the COMMIT arrives; it is not executed.
    CommitLost,
    /// The COMMIT is executed, and the response never arrives; the connection stays open.
    AnswerSwallowed,
}

/// State of the bytes from the server, per connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StatementGate {
    /// They are forwarded.
    Open,
    /// They are held.
    Shut,
    /// The next bytes close the connection.
    Cut,
    /// They are dropped, and so are the bytes from the client.
    Silent,
}

#[derive(Default)]
struct Plan {
    tricks: Vec<ProxyFault>,
    every: u32,
    /// Statements whose next response is held; the empty name is COMMIT.
    hold: Vec<&'static str>,
    held: HashMap<&'static str, watch::Sender<StatementGate>>,
    silent: bool,
    gates: Vec<watch::Sender<StatementGate>>,
}

struct Shared {
    upstream: PathBuf,
    plan: Mutex<Plan>,
    commits: AtomicU32,
    struck: AtomicU32,
    answered: watch::Sender<u32>,
}

impl Shared {
    fn plan(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the fault of the current COMMIT.
    fn trick(&self) -> Option<ProxyFault> {
        let plan = self.plan();
        if plan.tricks.is_empty() {
            return None;
        }
        let number = self.commits.fetch_add(1, Ordering::Relaxed) + 1;
        if !number.is_multiple_of(plan.every) {
            return None;
        }
        let struck = self.struck.fetch_add(1, Ordering::Relaxed) as usize;
        Some(plan.tricks[struck % plan.tricks.len()])
    }

    /// Returns whether the response to this statement is held from now on.
    fn holds(&self, statement: &str, gate: &watch::Sender<StatementGate>) {
        let mut plan = self.plan();
        let wanted = plan.hold.iter().position(|name| match *name {
            "" => statement == "COMMIT",
            name => statement.contains(name),
        });
        if let Some(at) = wanted {
            let name = plan.hold.remove(at);
            plan.held.insert(name, gate.clone());
            gate.send_replace(StatementGate::Shut);
        }
    }
}

/// Name of COMMIT in [`Proxy::hold`].
pub const COMMIT: &str = "";

/// The proxy.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Proxy {
    /// Starts a proxy in front of the server with its socket in this directory.
    pub async fn before(socket_dir: &std::path::Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            upstream: socket_dir.join(".s.PGSQL.5432"),
            plan: Mutex::default(),
            commits: AtomicU32::new(0),
            struck: AtomicU32::new(0),
            answered: watch::Sender::new(0),
        });
        let connections = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(Arc::clone(&connections), client));
            }
        });
        Self {
            address,
            shared,
            accepting,
        }
    }

    /// Returns the URL of a database through the proxy.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://postgres@{}/{database}?sslmode=disable",
            self.address
        )
    }

    /// Applies the faults in turn to every n-th COMMIT.
    pub fn strike(&self, every: u32, tricks: &[ProxyFault]) {
        let mut plan = self.shared.plan();
        plan.every = every;
        plan.tricks = tricks.to_vec();
    }

    /// Stops the faults. Returns the number of affected COMMITs.
    pub fn spare(&self) -> u32 {
        self.shared.plan().tricks.clear();
        self.shared.struck.load(Ordering::Relaxed)
    }

    /// Drops all bytes, on old and new connections, without closing them.
    pub fn fall_silent(&self) {
        let mut plan = self.shared.plan();
        plan.silent = true;
        for gate in &plan.gates {
            gate.send_replace(StatementGate::Silent);
        }
    }

    /// Forwards new connections again. Connections that went silent stay silent.
    pub fn speak(&self) {
        self.shared.plan().silent = false;
    }

    /// Holds the next response to this statement until [`Proxy::release`].
    pub fn hold(&self, statement: &'static str) {
        self.shared.plan().hold.push(statement);
    }

    /// Waits until the server has responded to a held statement, so that it has been executed.
    pub async fn until_held(&self, statement: &'static str) {
        let mut answered = self.shared.answered.subscribe();
        super::eventually("a statement is held", async || {
            self.shared
                .plan()
                .held
                .contains_key(statement)
                .then_some(())
        })
        .await;
        answered
            .wait_for(|count| *count > 0)
            .await
            .expect("the proxy runs");
    }

    /// Forwards a held response.
    pub fn release(&self, statement: &'static str) {
        self.shared.answered.send_replace(0);
        let gate = self.shared.plan().held.remove(statement);
        gate.expect("it is held").send_replace(StatementGate::Open);
    }
}

async fn carry(shared: Arc<Shared>, client: TcpStream) {
    let Ok(server) = UnixStream::connect(&shared.upstream).await else {
        return;
    };
    let _ = client.set_nodelay(true);
    let gate = watch::Sender::new(StatementGate::Open);
    {
        let mut plan = shared.plan();
        plan.gates.retain(|gate| gate.receiver_count() > 0);
        plan.gates.push(gate.clone());
        if plan.silent {
            gate.send_replace(StatementGate::Silent);
        }
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let seen = gate.subscribe();
    tokio::select! {
        () = forth(&shared, &gate, from_client, to_server) => {}
        () = back(&shared, seen, from_server, to_client) => {}
    }
}

/// Forwards the client's bytes, message by message.
async fn forth(
    shared: &Shared,
    gate: &watch::Sender<StatementGate>,
    mut from: OwnedReadHalf,
    mut to: unix::OwnedWriteHalf,
) {
    let mut buffer = Vec::new();
    let mut statements: HashMap<Vec<u8>, String> = HashMap::new();
    let mut started = false;
    loop {
        while let Some(length) = message(&buffer, started) {
            let bytes: Vec<u8> = buffer.drain(..length).collect();
            if started && let Some(statement) = runs(&bytes, &mut statements) {
                if statement == "COMMIT" {
                    match shared.trick() {
                        Some(ProxyFault::CommitLost) => return,
                        Some(ProxyFault::AnswerLost) => {
                            gate.send_replace(StatementGate::Cut);
                        }
                        Some(ProxyFault::AnswerSwallowed) => {
                            let _ = to.write_all(&bytes).await;
                            gate.send_replace(StatementGate::Silent);
                        }
                        None => {}
                    }
                }
                shared.holds(&statement, gate);
            }
            started = true;
            let silent = *gate.borrow() == StatementGate::Silent;
            if !silent && to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        match from.read_buf(&mut buffer).await {
            Ok(read) if read > 0 => {}
            _ => return,
        }
    }
}

/// Forwards the server's bytes.
async fn back(
    shared: &Shared,
    mut gate: watch::Receiver<StatementGate>,
    mut from: unix::OwnedReadHalf,
    mut to: OwnedWriteHalf,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else {
            // A silent connection stays silent, even if the server closes it.
            if *gate.borrow() == StatementGate::Silent {
                std::future::pending::<()>().await;
            }
            return;
        };
        let now = *gate.borrow();
        if now == StatementGate::Shut {
            shared.answered.send_modify(|count| *count += 1);
            let _ = gate.wait_for(|gate| *gate != StatementGate::Shut).await;
        }
        let now = *gate.borrow();
        match now {
            StatementGate::Cut => return,
            StatementGate::Silent => {}
            StatementGate::Open | StatementGate::Shut => {
                if to.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Returns the length of the first message once it is complete. The start-up message has no type
/// byte.
fn message(buffer: &[u8], started: bool) -> Option<usize> {
    let letter = usize::from(started);
    let length = buffer.get(letter..letter + 4)?;
    let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize + letter;
    (buffer.len() >= length).then_some(length)
}

/// Returns the statement that a message executes, if it executes one.
fn runs(bytes: &[u8], statements: &mut HashMap<Vec<u8>, String>) -> Option<String> {
    let mut words = bytes.get(5..)?.split(|byte| *byte == 0);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match bytes[0] {
        b'Q' => Some(text(words.next()?)),
        b'P' => {
            let name = words.next()?.to_vec();
            statements.insert(name, text(words.next()?));
            None
        }
        b'B' => {
            let _portal = words.next()?;
            statements.get(words.next()?).cloned()
        }
        _ => None,
    }
}
