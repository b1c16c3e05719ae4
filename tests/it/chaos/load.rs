//! Correct callers: each requests a payment with the same body until it is accepted, waits for its
//! final state, and requests the next one. All responses are remembered and compared with the
//! service's state.

use crate::world::{Merchant, card_payment, payment};
use reqwest::Method;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Prefixes of tracking IDs, which select the simulator's scenario. Every tenth payment has full
/// card data.
const SORTS: [&str; 20] = [
    "ok", "decline", "ok", "nohook", "ok", "double", "reset", "ok", "crash", "ok", "card", "ok",
    "once422", "ok", "e500none", "ok", "reject", "ok", "hang", "ok",
];

/// Pause of a caller after no response or a request to retry.
const CALLER_RETRY_INTERVAL: Duration = Duration::from_millis(150);

#[derive(Default)]
struct Shared {
    /// Tracking IDs that the service accepted.
    taken: Mutex<BTreeSet<String>>,
    /// Final state of each, from the feed.
    ended: Mutex<BTreeMap<String, String>>,
    /// Violations of the API's rules.
    broken: Mutex<Vec<String>>,
    news: Notify,
    next: AtomicUsize,
    is_over: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The callers of one case.
pub struct Load {
    shared: Arc<Shared>,
    callers: JoinSet<()>,
    reader: tokio::task::JoinHandle<()>,
}

impl Load {
    /// Starts callers, spread over these services.
    pub fn start(callers: usize, at: &[Merchant]) -> Self {
        let shared = Arc::new(Shared::default());
        let mut set = JoinSet::new();
        for n in 0..callers {
            // Each caller prefers one service and uses the others if that one does not respond.
            let mut at = at.to_vec();
            let first = n % at.len();
            at.rotate_left(first);
            set.spawn(call(Arc::clone(&shared), at));
        }
        let reader = tokio::spawn(read_feed(Arc::clone(&shared), at.to_vec()));
        Self {
            shared,
            callers: set,
            reader,
        }
    }

    /// Returns the number of accepted payments.
    pub fn taken(&self) -> usize {
        locked(&self.shared.taken).len()
    }

    /// Stops new requests and waits until each caller knows the final state of its payment.
    pub async fn finish(mut self, patience: Duration) -> CallerView {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let all = async { while self.callers.join_next().await.is_some() {} };
        let in_time = tokio::time::timeout(patience, all).await.is_ok();
        self.reader.abort();
        let taken = std::mem::take(&mut *locked(&self.shared.taken));
        let ended = std::mem::take(&mut *locked(&self.shared.ended));
        let mut broken = std::mem::take(&mut *locked(&self.shared.broken));
        if !in_time {
            let open: Vec<&String> = taken.iter().filter(|t| !ended.contains_key(*t)).collect();
            let some = &open[..open.len().min(10)];
            broken.push(format!(
                "{} not final within {patience:?}, such as {some:?}",
                open.len()
            ));
        }
        CallerView {
            taken,
            ended,
            broken,
        }
    }
}

/// What the callers received.
pub struct CallerView {
    /// Accepted payments.
    pub taken: BTreeSet<String>,
    /// Final states.
    pub ended: BTreeMap<String, String>,
    /// Violations of the API's rules.
    pub broken: Vec<String>,
}

async fn call(shared: Arc<Shared>, at: Vec<Merchant>) {
    while !shared.is_over.load(Ordering::Relaxed) {
        let n = shared.next.fetch_add(1, Ordering::Relaxed);
        let sort = SORTS[n % SORTS.len()];
        let name = match sort {
            "card" => format!("ok-card-{n}"),
            sort => format!("{sort}-{n}"),
        };
        let body = match sort {
            "card" => card_payment(&name),
            _ => payment(&name),
        };
        // Half of the payments that may be queued are queued.
        let later = sort != "card" && n % 4 < 2;
        ask_until_taken(&shared, &at, &body, later).await;
        locked(&shared.taken).insert(name.clone());
        until_ended(&shared, &name).await;
    }
}

async fn ask_until_taken(shared: &Shared, at: &[Merchant], body: &Value, later: bool) {
    let text = body.to_string();
    let mut headers = vec![("content-type", "application/json")];
    if later {
        headers.push(("prefer", "respond-async"));
    }
    for merchant in at.iter().cycle() {
        let path = merchant.path("payments");
        let answer = merchant
            .try_raw(Method::POST, &path, &headers, text.clone())
            .await;
        match answer.as_ref().map(|answer| answer.status) {
            Some(200 | 202) => return,
            None | Some(429 | 502 | 503 | 504) => {}
            Some(_) => {
                let text = answer.map(|answer| answer.text).unwrap_or_default();
                locked(&shared.broken).push(format!("unexpected response to a payment: {text}"));
            }
        }
        tokio::time::sleep(CALLER_RETRY_INTERVAL).await;
    }
}

async fn until_ended(shared: &Shared, name: &str) {
    loop {
        let news = shared.news.notified();
        tokio::pin!(news);
        news.as_mut().enable();
        if locked(&shared.ended).contains_key(name) {
            return;
        }
        news.await;
    }
}

/// Reads the feed for all callers from any service, and checks that it has no gap.
async fn read_feed(shared: Arc<Shared>, at: Vec<Merchant>) {
    let mut after = 0;
    for merchant in at.iter().cycle() {
        loop {
            let path = merchant.path(&format!("events?after={after}"));
            let headers = [("prefer", "wait=1")];
            let page = merchant.try_raw(Method::GET, &path, &headers, "").await;
            let Some(page) = page.filter(|page| page.status == 200) else {
                break;
            };
            for event in page.json["events"].as_array().into_iter().flatten() {
                after += 1;
                note(&shared, event, after);
            }
            shared.news.notify_waiters();
        }
        tokio::time::sleep(CALLER_RETRY_INTERVAL).await;
    }
}

fn note(shared: &Shared, event: &Value, expected: i64) {
    if event["seq"] != expected {
        let text = format!("feed has {}, expected {expected}", event["seq"]);
        locked(&shared.broken).push(text);
    }
    let transaction = &event["transaction"];
    let Some(name) = transaction["tracking_id"].as_str() else {
        return;
    };
    let mut ended = locked(&shared.ended);
    if transaction["final"] == true {
        let state = transaction["state"].as_str().unwrap_or_default();
        ended.insert(name.to_owned(), state.to_owned());
    } else {
        ended.remove(name);
    }
}
