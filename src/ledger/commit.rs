//! The committer of one shop: takes what waits, commits it as one batch, and only then answers.
//!
//! A batch that met another writer is tried again. On a data error each job is tried alone, so that
//! one poison item never stops the others. When the fate of a COMMIT is unknown the same batch is
//! run again: every job is written so that a second run finds what the first one left.

use crate::domain::{ShopId, Verdict};
use crate::ledger::batch::{self, Answer};
use crate::ledger::{Job, LedgerError, Opened, Recorded, Shared, Target};
use crate::store::{OrphanWrite, StoreError, batch as rows};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How often a batch is tried again after it met another writer.
const CONFLICTS: u32 = 10;

/// For how long a batch is tried again while the database is away, before its callers are told.
const PATIENCE: Duration = Duration::from_secs(3);

/// For how long the fate of a COMMIT is sought.
const SEEK_FATE: Duration = Duration::from_secs(20);

/// Why a batch did not come through.
pub(crate) struct Failure {
    pub(crate) error: StoreError,
    /// The COMMIT had been sent: it may have taken place.
    pub(crate) committing: bool,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self {
            error,
            committing: false,
        }
    }
}

/// Runs until the last handle of the ledger is gone.
pub(crate) async fn run(shared: Arc<Shared>, shop: ShopId, mut jobs: mpsc::Receiver<Job>) {
    let mut waiting = Vec::new();
    while jobs
        .recv_many(&mut waiting, shared.settings.max_batch)
        .await
        > 0
    {
        let batch = std::mem::take(&mut waiting);
        // A panic is a fault of ours in one batch. Its callers are told that the fate is unknown, and
        // the shop's other work goes on.
        let committed = AssertUnwindSafe(Box::pin(commit(&shared, &shop, batch))).catch_unwind();
        if committed.await.is_err() {
            tracing::error!(shop = %shop, "a batch was given up after a panic");
        }
    }
}

async fn commit(shared: &Shared, shop: &ShopId, jobs: Vec<Job>) {
    match attempt(shared, shop, &jobs).await {
        Ok(answers) => {
            for (job, answer) in jobs.into_iter().zip(answers) {
                answer_job(job, Ok(answer));
            }
        }
        Err(Failure { error, committing }) if is_data(&error) && !committing => {
            for job in jobs {
                alone(shared, shop, job).await;
            }
        }
        Err(failure) => {
            tracing::error!(shop = %shop, jobs = jobs.len(), error = failure.error.chain(),
                committing = failure.committing, "a batch could not be committed");
            for job in jobs {
                answer_job(job, Err(failure.told()));
            }
        }
    }
}

impl Failure {
    fn told(&self) -> LedgerError {
        if self.committing {
            LedgerError::FateUnknown
        } else {
            LedgerError::from(&self.error)
        }
    }
}

fn is_data(error: &StoreError) -> bool {
    match error {
        StoreError::Data(_) | StoreError::Inconsistent { .. } | StoreError::Broken(_) => true,
        StoreError::Unavailable(_) | StoreError::Conflict(_) => false,
    }
}

/// Runs a batch, again as often as that can help.
async fn attempt(shared: &Shared, shop: &ShopId, jobs: &[Job]) -> Result<Vec<Answer>, Failure> {
    let started = tokio::time::Instant::now();
    let mut conflicts = 0;
    let mut committing = false;
    loop {
        let failure = match batch::run(shared, shop, jobs).await {
            Ok(answers) => return Ok(answers),
            Err(failure) => failure,
        };
        committing |= failure.committing;
        let patience = if committing { SEEK_FATE } else { PATIENCE };
        let again = match &failure.error {
            StoreError::Conflict(_) => {
                conflicts += 1;
                conflicts <= CONFLICTS
            }
            StoreError::Unavailable(_) => started.elapsed() < patience,
            StoreError::Data(_) | StoreError::Inconsistent { .. } | StoreError::Broken(_) => false,
        };
        if !again {
            return Err(Failure {
                error: failure.error,
                committing,
            });
        }
        tracing::warn!(shop = %shop, error = failure.error.chain(), committing,
            "a batch is tried again");
        let pause = Duration::from_millis(5 + rand::random_range(0..20) * u64::from(conflicts + 1));
        tokio::time::sleep(pause).await;
    }
}

/// Runs one job by itself; one that fails by itself is kept aside.
async fn alone(shared: &Shared, shop: &ShopId, job: Job) {
    let failure = match attempt(shared, shop, std::slice::from_ref(&job)).await {
        Ok(mut answers) => {
            if let Some(answer) = answers.pop() {
                answer_job(job, Ok(answer));
            }
            return;
        }
        Err(failure) => failure,
    };
    tracing::error!(shop = %shop, error = failure.error.chain(), "one item was refused by itself");
    let told = match &job {
        Job::Record(record, _) if record.target == Target::Snapshots => {
            match quarantine(shared, shop, &job).await {
                Ok(()) => Ok(Answer::Recorded(Recorded {
                    verdict: Verdict::Refused,
                    transaction: None,
                })),
                Err(error) => Err(LedgerError::from(&error)),
            }
        }
        _ => Err(failure.told()),
    };
    answer_job(job, told);
}

/// Keeps a webhook that cannot be recorded, with nothing of it interpreted.
async fn quarantine(shared: &Shared, shop: &ShopId, job: &Job) -> Result<(), StoreError> {
    let Job::Record(record, _) = job else {
        return Ok(());
    };
    shared.metrics.quarantined();
    let learned = &record.learned;
    let orphan = OrphanWrite {
        id: learned.id,
        kind: "quarantine",
        uid: None,
        tracking_id: None,
        parent_uid: None,
        signed: learned.signed.unwrap_or(false),
        note: "it could not be recorded as evidence".to_owned(),
        body: learned.body.clone(),
        body_sha256: learned.body_sha256,
    };
    let mut tx = shared.store.begin().await?;
    let at = rows::begin_batch(&mut tx).await?;
    rows::put_orphans(&mut tx, shop, at, std::slice::from_ref(&orphan)).await?;
    let finding = super::findings::about_shop(
        crate::domain::DiscrepancyKind::UnknownBody,
        &orphan.id.to_string(),
        "a webhook could not be recorded as evidence and was kept aside",
        at,
    );
    rows::open_discrepancies(&mut tx, shop, std::slice::from_ref(&finding)).await?;
    tx.commit().await?;
    Ok(())
}

/// Answers a caller. One who has gone away needs no answer.
fn answer_job(job: Job, answer: Result<Answer, LedgerError>) {
    let mixed = || LedgerError::Refused;
    match (job, answer) {
        (Job::Open(_, to), answer) => {
            let _ = to.send(answer.and_then(|answer| match answer {
                Answer::Opened(opened) => Ok(opened),
                _ => Err(mixed()),
            }));
        }
        (Job::Record(_, to), answer) => {
            let _ = to.send(answer.and_then(|answer| match answer {
                Answer::Recorded(recorded) => Ok(recorded),
                Answer::NotFound => Err(LedgerError::NotFound),
                _ => Err(mixed()),
            }));
        }
        (Job::Stamp(_, to, _), answer) => {
            let _ = to.send(answer.and_then(|answer| match answer {
                Answer::Stamped(stamped) => Ok(stamped),
                Answer::NotFound => Err(LedgerError::NotFound),
                _ => Err(mixed()),
            }));
        }
        (Job::Close(_, to), answer) => {
            let _ = to.send(answer.and_then(|answer| match answer {
                Answer::Closed(row) => Ok(*row),
                Answer::NotFound => Err(LedgerError::NotFound),
                _ => Err(mixed()),
            }));
        }
    }
}

/// An answer that has to be read after the commit, because another writer was first.
pub(crate) async fn existing(
    shared: &Shared,
    shop: &ShopId,
    tracking_id: &str,
) -> Result<Option<Opened>, StoreError> {
    let name = crate::store::read::Name::TrackingId(tracking_id.to_owned());
    let found = crate::store::read::find(&shared.store, shop, &name).await?;
    Ok(found.map(|transaction| Opened::Exists {
        transaction: Box::new(transaction),
    }))
}
