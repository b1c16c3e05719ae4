//! A wire to PostgreSQL that can be tampered with: it loses answers, falls silent, and holds a
//! statement's answer while the test does something else.
//!
//! It reads just enough of the protocol to tell a COMMIT and a statement by its name, which each
//! statement of the service has in its first comment.

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

/// What is done to a COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trick {
    /// It takes place, and the connection is cut before the answer.
    AnswerLost,
    /// The connection is cut before it arrives: it does not take place.
    CommitLost,
    /// It takes place, and no answer ever comes; the connection stays.
    AnswerSwallowed,
}

/// What happens to the bytes that come from the server, on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    /// They pass.
    Open,
    /// They wait.
    Shut,
    /// The next ones cut the connection.
    Cut,
    /// They vanish, and so does what the client says.
    Silent,
}

#[derive(Default)]
struct Plan {
    tricks: Vec<Trick>,
    every: u32,
    /// Statements whose answer is held, the next time each is run; the empty name is COMMIT.
    hold: Vec<&'static str>,
    held: HashMap<&'static str, watch::Sender<Gate>>,
    silent: bool,
    gates: Vec<watch::Sender<Gate>>,
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

    /// What to do with a COMMIT that comes now.
    fn trick(&self) -> Option<Trick> {
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

    /// Whether the answer to this statement is to be held, from now on.
    fn holds(&self, statement: &str, gate: &watch::Sender<Gate>) {
        let mut plan = self.plan();
        let wanted = plan.hold.iter().position(|name| match *name {
            "" => statement == "COMMIT",
            name => statement.contains(name),
        });
        if let Some(at) = wanted {
            let name = plan.hold.remove(at);
            plan.held.insert(name, gate.clone());
            gate.send_replace(Gate::Shut);
        }
    }
}

/// The name by which COMMIT is held.
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
    /// Listens before the server that has its socket in this directory.
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

    /// The URL of a database through it.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://postgres@{}/{database}?sslmode=disable",
            self.address
        )
    }

    /// From now on each so-many-th COMMIT meets one of these, in turn.
    pub fn strike(&self, every: u32, tricks: &[Trick]) {
        let mut plan = self.shared.plan();
        plan.every = every;
        plan.tricks = tricks.to_vec();
    }

    /// From now on nothing is done to COMMITs. Gives how many were struck.
    pub fn spare(&self) -> u32 {
        self.shared.plan().tricks.clear();
        self.shared.struck.load(Ordering::Relaxed)
    }

    /// Nothing passes any more, on old connections and on new ones, and nobody is told.
    pub fn fall_silent(&self) {
        let mut plan = self.shared.plan();
        plan.silent = true;
        for gate in &plan.gates {
            gate.send_replace(Gate::Silent);
        }
    }

    /// New connections work again. Those that fell silent never speak again.
    pub fn speak(&self) {
        self.shared.plan().silent = false;
    }

    /// The next answer to this statement is held until [`Proxy::release`].
    pub fn hold(&self, statement: &'static str) {
        self.shared.plan().hold.push(statement);
    }

    /// Waits until the server has answered a held statement, so that it has taken place.
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

    /// Lets a held answer go.
    pub fn release(&self, statement: &'static str) {
        self.shared.answered.send_replace(0);
        let gate = self.shared.plan().held.remove(statement);
        gate.expect("it is held").send_replace(Gate::Open);
    }
}

async fn carry(shared: Arc<Shared>, client: TcpStream) {
    let Ok(server) = UnixStream::connect(&shared.upstream).await else {
        return;
    };
    let _ = client.set_nodelay(true);
    let gate = watch::Sender::new(Gate::Open);
    {
        let mut plan = shared.plan();
        plan.gates.retain(|gate| gate.receiver_count() > 0);
        plan.gates.push(gate.clone());
        if plan.silent {
            gate.send_replace(Gate::Silent);
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

/// What the client says, message by message.
async fn forth(
    shared: &Shared,
    gate: &watch::Sender<Gate>,
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
                        Some(Trick::CommitLost) => return,
                        Some(Trick::AnswerLost) => {
                            gate.send_replace(Gate::Cut);
                        }
                        Some(Trick::AnswerSwallowed) => {
                            let _ = to.write_all(&bytes).await;
                            gate.send_replace(Gate::Silent);
                        }
                        None => {}
                    }
                }
                shared.holds(&statement, gate);
            }
            started = true;
            let silent = *gate.borrow() == Gate::Silent;
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

/// What the server says.
async fn back(
    shared: &Shared,
    mut gate: watch::Receiver<Gate>,
    mut from: unix::OwnedReadHalf,
    mut to: OwnedWriteHalf,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else {
            // Silence stays silent, even when the server has hung up.
            if *gate.borrow() == Gate::Silent {
                std::future::pending::<()>().await;
            }
            return;
        };
        let now = *gate.borrow();
        if now == Gate::Shut {
            shared.answered.send_modify(|count| *count += 1);
            let _ = gate.wait_for(|gate| *gate != Gate::Shut).await;
        }
        let now = *gate.borrow();
        match now {
            Gate::Cut => return,
            Gate::Silent => {}
            Gate::Open | Gate::Shut => {
                if to.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The length of the first message, once it is whole. The very first one has no letter.
fn message(buffer: &[u8], started: bool) -> Option<usize> {
    let letter = usize::from(started);
    let length = buffer.get(letter..letter + 4)?;
    let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize + letter;
    (buffer.len() >= length).then_some(length)
}

/// The statement that a message runs, if it runs one.
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
