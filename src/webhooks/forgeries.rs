//! Tells of webhooks that were refused: some lines in the log and one finding for each shop and reason, however many
//! come.
//!
//! All are counted by their metric. Of each shop and reason the first is told at once; those that follow are told
//! together, after a second, after ten more and then once a minute, until none has come for a minute.

use crate::ledger::{EvidenceTarget, Ledger, RecordEvidence};
use crate::observation::Observation;
use crate::store::{Store, discrepancies};
use domain::{Channel, DiscrepancyKind, ShopId, Timestamp, Verdict};
use gateway::webhook_auth::RejectReason;
use leaves::clock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// So long after one telling the next one may follow: the second, the third, and each later one.
const GAPS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];
const GAP: Duration = Duration::from_secs(60);

/// How often it is looked whether one may.
const LOOK: Duration = Duration::from_secs(1);

type ForgeryKind = (ShopId, RejectReason);

/// Those that are not told yet. There is a task for each kind in the map.
pub(crate) struct Forgeries {
    untold: Arc<Mutex<HashMap<ForgeryKind, u64>>>,
    store: Store,
    ledger: Ledger,
    tasks: Handle,
}

impl Forgeries {
    pub(crate) fn new(store: Store, ledger: Ledger, tasks: Handle) -> Self {
        Self {
            untold: Arc::default(),
            store,
            ledger,
            tasks,
        }
    }

    /// Notes one. Returns whether it is the first for a time.
    pub(crate) fn note(&self, shop: &ShopId, reason: RejectReason) -> bool {
        let kind = (shop.clone(), reason);
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(more) = untold.get_mut(&kind) {
            *more += 1;
            return false;
        }
        untold.insert(kind.clone(), 0);
        drop(untold);
        let (store, ledger) = (self.store.clone(), self.ledger.clone());
        let telling = Telling {
            kind,
            untold: Arc::clone(&self.untold),
            is_over: false,
        };
        self.tasks.spawn(tell(telling, store, ledger));
        true
    }
}

/// Of which kind a task tells. However the task ends, the next one of that kind is told anew.
struct Telling {
    kind: ForgeryKind,
    untold: Arc<Mutex<HashMap<ForgeryKind, u64>>>,
    is_over: bool,
}

impl Telling {
    /// Takes how many came since. Where none did and it `may_end`, it is over.
    fn take(&mut self, may_end: bool) -> u64 {
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        let more = untold.get_mut(&self.kind).map_or(0, std::mem::take);
        if more == 0 && may_end {
            untold.remove(&self.kind);
            self.is_over = true;
        }
        more
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        if !self.is_over {
            let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
            untold.remove(&self.kind);
        }
    }
}

/// Tells of one kind until none has come for a while.
async fn tell(mut telling: Telling, store: Store, ledger: Ledger) {
    let (shop, reason) = (telling.kind.0.clone(), telling.kind.1);
    let mut gaps = GAPS.into_iter();
    let mut count = 1;
    loop {
        tracing::warn!(shop = %shop, reason = reason.as_str(), count, "webhooks refused");
        record(&shop, reason, &store, &ledger).await;
        let (told_at, gap) = (Instant::now(), gaps.next().unwrap_or(GAP));
        count = loop {
            tokio::time::sleep(LOOK).await;
            if told_at.elapsed() < gap {
                continue;
            }
            let more = telling.take(told_at.elapsed() >= GAP);
            if more > 0 {
                break more;
            }
            if telling.is_over {
                return;
            }
        };
    }
}

/// Brings the finding up to date, or opens one where none is open.
async fn record(shop: &ShopId, reason: RejectReason, store: &Store, ledger: &Ledger) {
    let subject = reason.as_str();
    let now = Timestamp::from(clock::now_utc()).to_rfc3339();
    let text = rejection_text(reason);
    let detail = format!("{text}; the last one at {now}");
    let known = (DiscrepancyKind::SignatureRejected, subject, detail.as_str());
    let failed = match discrepancies::refresh(store, shop, known).await {
        Ok(true) => return,
        Ok(false) => {
            let recorded = ledger.record(shop, rejection_evidence(subject, text)).await;
            recorded.err().map(|error| error.to_string())
        }
        Err(error) => Some(error.to_string()),
    };
    if let Some(error) = failed {
        tracing::warn!(shop = %shop, error, "a refused webhook was counted and could not be listed");
    }
}

fn rejection_evidence(subject: &str, text: &str) -> RecordEvidence {
    let mut learned = Observation::from_gateway(
        Channel::Webhook,
        None,
        Some(subject.to_owned()),
        Vec::new(),
        [0; 32],
        Vec::new(),
    );
    learned.orphan_kind = "refused";
    learned.verdict = Some(Verdict::Refused);
    learned.note = Some(text.to_owned());
    RecordEvidence {
        target: EvidenceTarget::Snapshots,
        observation: learned,
        lease: None,
        next_check: None,
    }
}

const fn rejection_text(reason: RejectReason) -> &'static str {
    match reason {
        RejectReason::NoCredentials => "a webhook came without credentials",
        RejectReason::WrongCredentials => "a webhook came with wrong credentials",
        RejectReason::NoSignature => "a webhook came without a signature",
        RejectReason::WrongSignature => "a webhook came with a wrong signature",
        RejectReason::AnotherShop => "a webhook came whose body is about another shop",
    }
}
