//! Delivers one shop's events to one subscriber.
//!
//! The worker leases the subscriber's cursor, reads the feed, sends messages and saves the results.
//! Each worker is its own task, so a slow subscriber does not delay others. In-memory state may be
//! lost at any time: events whose result was not saved are delivered again.
//!
//! Not responsible for: ordering. Subscribers order by `sequence`.

use crate::delivery::DeliveryContext;
use crate::delivery::deliver::{DeliveryOutcome, MAX_IN_FLIGHT, SubscriberEndpoint};
use crate::delivery::message;
use crate::delivery::window::{Disposition, FeedWindow, PendingDelivery};
use crate::store::StoreError;
use crate::store::subscribers::{self, CursorLease};
use domain::ShopId;
use leaves::clock::BootInstant;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

/// Interval between polls of the feed without a local change. Another replica may have committed
/// events.
const FEED_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Minimum time between polls while changes keep arriving.
const WAKEUP_DELAY: Duration = Duration::from_millis(20);

/// Time without work after which the lease is released.
const IDLE_TIME: Duration = Duration::from_secs(5);

/// Maximum number of events per read of the feed.
const PAGE_ROWS: i64 = 200;

/// Maximum number of events that are read and not sent.
const MAX_QUEUED: usize = 64;

/// Time after which results are saved.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(50);

/// Number of unsaved results at which they are saved.
const CHECKPOINT_SIZE: usize = 64;

/// Maximum wait for messages in flight after a stop.
const STOP_RESPONSE_TIMEOUT: Duration = Duration::from_millis(800);

/// Maximum time to save the last results after a stop.
const STOP_SAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// Delivers one shop's events to one subscriber.
pub(super) struct DeliveryWorker {
    pub(super) shared: Arc<DeliveryContext>,
    pub(super) shop: ShopId,
    pub(super) receiver: Arc<SubscriberEndpoint>,
    /// Event types that the subscriber receives.
    pub(super) kinds: Arc<[String]>,
    /// Wakes when something is to be delivered and nobody serves the subscriber.
    pub(super) waiting: Arc<Notify>,
}

/// Reason why this replica stops serving a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SessionEnd {
    /// Nothing is left to do for now.
    Idle,
    /// The service stops.
    Stopping,
    /// The lease is lost, or the in-memory state cannot be trusted any more.
    Lost,
    /// The subscriber answered 410 Gone.
    Gone,
}

/// State while the lease is held.
struct LeaseSession {
    holder: CursorLease,
    window: FeedWindow,
    sending: JoinSet<(PendingDelivery, DeliveryOutcome)>,
    /// Time until which the lease is certainly held.
    until: BootInstant,
    /// Time of the oldest result that is not saved.
    unsaved_since: Option<Instant>,
    polled_at: Instant,
    next_poll: Instant,
    /// Time of the last work.
    busy_at: Instant,
    turn: usize,
    is_degraded: bool,
}

impl DeliveryWorker {
    /// Runs until the service stops.
    pub(super) async fn run(self) {
        let watch = self.shared.ledger.watch_shop(&self.shop);
        let mut is_refused = false;
        loop {
            tokio::select! {
                () = self.waiting.notified() => {}
                () = watch.changed(), if !is_refused => {}
                () = self.shared.dispatch.stopping() => return,
            }
            match self.serve_lease().await {
                // While another replica serves, local changes are not ours to deliver.
                Ok(served) => is_refused = !served,
                Err(error) => {
                    is_refused = true;
                    tracing::debug!(shop = %self.shop, subscriber = self.name(), error = error.chain(),
                        "failed to acquire subscriber lease");
                }
            }
        }
    }

    fn name(&self) -> &str {
        &self.receiver.name
    }

    /// Acquires the lease if it is free, serves while it is held, and releases it. Returns whether it was
    /// free.
    async fn serve_lease(&self) -> Result<bool, StoreError> {
        let holder = CursorLease {
            shop: self.shop.clone(),
            subscriber: self.name().to_owned(),
            token: Uuid::new_v4(),
            lease: self.shared.lease,
        };
        let store = &self.shared.store;
        // Measured before the lease is acquired, so that the local end of the lease is never too
        // late.
        let until = BootInstant::now() + holder.lease;
        let Some(next) = subscribers::lease(store, &holder).await? else {
            return Ok(false);
        };
        let mut serving = LeaseSession {
            window: FeedWindow::new(next),
            sending: JoinSet::new(),
            until,
            unsaved_since: None,
            polled_at: Instant::now(),
            next_poll: Instant::now(),
            busy_at: Instant::now(),
            turn: 0,
            is_degraded: false,
            holder,
        };
        let end = self.serve(&mut serving).await;
        self.end_session(serving, end).await?;
        Ok(true)
    }

    async fn serve(&self, serving: &mut LeaseSession) -> SessionEnd {
        let watch = self.shared.ledger.watch_shop(&self.shop);
        loop {
            let changed = watch.changed();
            if self.shared.dispatch.is_stopping() {
                return SessionEnd::Stopping;
            }
            match self.work(serving).await {
                Ok(Some(end)) => return end,
                Ok(None) => serving.is_degraded = false,
                Err(error) => {
                    // Logged once per outage. The results stay in memory and are saved later.
                    if !std::mem::replace(&mut serving.is_degraded, true) {
                        tracing::error!(shop = %self.shop, subscriber = self.name(),
                            error = error.chain(), "failed to save delivery results; retrying");
                    }
                    serving.next_poll = Instant::now() + FEED_POLL_INTERVAL;
                    serving.busy_at = Instant::now();
                }
            }
            // While the database is away, the lease cannot be released.
            if serving.is_idle() && !serving.is_degraded {
                return SessionEnd::Idle;
            }
            let rest = serving.rest();
            tokio::select! {
                Some(sent) = serving.sending.join_next() => match sent {
                    Ok((item, outcome)) => if self.record_outcome(serving, &item, &outcome) {
                        return SessionEnd::Gone;
                    },
                    // The sending task panicked; the cursor has not passed its event.
                    Err(_) => return SessionEnd::Lost,
                },
                () = changed, if !serving.is_degraded => serving.poll_soon(),
                () = sleep(rest) => {}
                () = self.shared.dispatch.stopping() => {}
            }
        }
    }

    /// Does what is possible without waiting: saves results, reads events, sends messages.
    async fn work(&self, serving: &mut LeaseSession) -> Result<Option<SessionEnd>, StoreError> {
        if serving.must_save() && !self.save_checkpoint(serving).await? {
            return Ok(Some(SessionEnd::Lost));
        }
        if serving.until.remaining().is_zero() {
            self.shared.metrics.lease_lost();
            return Ok(Some(SessionEnd::Lost));
        }
        let now = Instant::now();
        if now >= serving.next_poll && serving.window.queued() < MAX_QUEUED {
            let full = self.read_events(serving).await?;
            serving.polled_at = now;
            serving.next_poll = if full { now } else { now + FEED_POLL_INTERVAL };
        }
        self.send(serving);
        Ok(None)
    }

    async fn save_checkpoint(&self, serving: &mut LeaseSession) -> Result<bool, StoreError> {
        let until = BootInstant::now() + serving.holder.lease;
        let checkpoint = serving.window.checkpoint();
        let held =
            subscribers::save_checkpoint(&self.shared.store, &serving.holder, checkpoint).await?;
        if held {
            serving.window.checkpoint_saved();
            serving.until = until;
            serving.unsaved_since = None;
        } else {
            self.shared.metrics.lease_lost();
        }
        Ok(held)
    }

    /// Reads new events and due retries. Returns whether there may be more.
    async fn read_events(&self, serving: &mut LeaseSession) -> Result<bool, StoreError> {
        let store = &self.shared.store;
        let (last, due) = subscribers::poll(store, &serving.holder).await?;
        let window = &mut serving.window;
        let mut more = false;
        if last >= window.next() {
            let from = window.next();
            let rows =
                subscribers::events_from(store, &self.shop, from, &self.kinds, PAGE_ROWS).await?;
            let first = rows.first().map_or(last + 1, |row| row.seq);
            if first > from {
                tracing::error!(shop = %self.shop, subscriber = self.name(), from, to = first - 1,
                    "events expired before delivery");
                self.shared.metrics.delivery(self.name(), "forgotten");
            }
            more = rows.len() == usize::try_from(PAGE_ROWS).unwrap_or(usize::MAX);
            window.push_events(rows, |kind| self.kinds.iter().any(|wanted| wanted == kind));
            window.skip_to(first);
        }
        if due {
            let retrying = window.retrying();
            let limit = i64::try_from(MAX_QUEUED.saturating_sub(retrying.len())).unwrap_or(0);
            for row in subscribers::due_retries(store, &serving.holder, &retrying, limit).await? {
                match row.event {
                    Some(event) => window.push_retry(event, row.tries),
                    None => self.give_up(window, row.seq),
                }
            }
        }
        serving.note_unsaved();
        Ok(more)
    }

    fn give_up(&self, window: &mut FeedWindow, seq: i64) {
        tracing::error!(shop = %self.shop, subscriber = self.name(), seq,
            "event expired before a delivery retry succeeded");
        self.shared.metrics.delivery(self.name(), "given_up");
        window.mark_done(seq);
    }

    /// Sends as many messages as the limits allow.
    fn send(&self, serving: &mut LeaseSession) {
        while serving.sending.len() < MAX_IN_FLIGHT
            && serving.window.queued() > 0
            && self.receiver.breaker.may_send()
        {
            let Some(item) = serving.window.pop(serving.turn) else {
                return;
            };
            serving.turn = serving.turn.wrapping_add(1);
            let (receiver, shop) = (Arc::clone(&self.receiver), self.shop.clone());
            serving.sending.spawn(async move {
                let id = message::id(&shop, &item.event);
                let outcome = match message::body(&shop, &item.event, receiver.body) {
                    Ok(body) => receiver.deliver(&id, body).await,
                    Err(error) => DeliveryOutcome::Failed {
                        label: "unreadable",
                        reason: error.to_string(),
                        pause: None,
                    },
                };
                (item, outcome)
            });
        }
    }

    /// Records the outcome of a message. Returns `true` if the subscriber answered 410 Gone.
    fn record_outcome(
        &self,
        serving: &mut LeaseSession,
        item: &PendingDelivery,
        outcome: &DeliveryOutcome,
    ) -> bool {
        let (seq, shop, subscriber) = (item.event.seq, &self.shop, self.name());
        let breaker = &self.receiver.breaker;
        let verdict = serving.window.complete(item, outcome, rand::random());
        serving.note_unsaved();
        let label = match outcome {
            DeliveryOutcome::Taken => {
                breaker.record_success();
                "delivered"
            }
            DeliveryOutcome::Failed {
                label,
                reason,
                pause,
            } => {
                if let Some(pause) = *pause {
                    breaker.pause(pause);
                }
                if breaker.record_failure() {
                    tracing::warn!(%shop, subscriber, reason, "subscriber circuit breaker \
                         opened; sending one trial message at a time");
                }
                tracing::info!(%shop, subscriber, seq, reason, "delivery attempt failed");
                label
            }
            DeliveryOutcome::Gone => "gone",
        };
        self.shared.metrics.delivery(subscriber, label);
        if verdict == Disposition::GivenUp {
            self.shared.metrics.delivery(subscriber, "given_up");
            tracing::error!(%shop, subscriber, seq, tries = item.tries + 1,
                "delivery abandoned after the last retry; `reconciler replay` redelivers it");
        }
        *outcome == DeliveryOutcome::Gone
    }

    /// Saves the results and releases the lease.
    async fn end_session(
        &self,
        mut serving: LeaseSession,
        end: SessionEnd,
    ) -> Result<(), StoreError> {
        if end == SessionEnd::Lost {
            return Ok(());
        }
        // Waiting briefly for responses avoids duplicate deliveries.
        let patience = Instant::now() + STOP_RESPONSE_TIMEOUT;
        while let Ok(Some(Ok((item, outcome)))) =
            tokio::time::timeout_at(patience, serving.sending.join_next()).await
        {
            self.record_outcome(&mut serving, &item, &outcome);
        }
        let store = &self.shared.store;
        let written = async {
            if !self.save_checkpoint(&mut serving).await? {
                return Ok(());
            }
            if end == SessionEnd::Gone && subscribers::disable(store, &serving.holder).await? {
                tracing::error!(shop = %self.shop, subscriber = self.name(), "subscriber \
                     disabled after 410 Gone; `reconciler replay` re-enables it");
                return Ok(());
            }
            subscribers::release(store, &serving.holder).await
        };
        timeout(STOP_SAVE_TIMEOUT, written).await.unwrap_or(Ok(()))
    }
}

impl LeaseSession {
    fn poll_soon(&mut self) {
        self.next_poll = self.next_poll.min(self.polled_at + WAKEUP_DELAY);
    }

    fn note_unsaved(&mut self) {
        if self.window.unsaved_count() > 0 && self.unsaved_since.is_none() {
            self.unsaved_since = Some(Instant::now());
        }
    }

    /// Returns whether results must be saved or the lease renewed now.
    fn must_save(&self) -> bool {
        let ripe = self.unsaved_since.is_some_and(|since| {
            since.elapsed() >= CHECKPOINT_INTERVAL
                || self.window.unsaved_count() >= CHECKPOINT_SIZE
                || self.sending.is_empty()
        });
        ripe || self.until.remaining() < self.holder.lease * 2 / 3
    }

    /// Returns whether there has been nothing to do for a while.
    fn is_idle(&mut self) -> bool {
        if self.window.queued() > 0 || !self.sending.is_empty() || self.unsaved_since.is_some() {
            self.busy_at = Instant::now();
        }
        self.busy_at.elapsed() >= IDLE_TIME
    }

    /// Returns the time until the next scheduled work.
    fn rest(&self) -> Duration {
        let now = Instant::now();
        let mut until = self.next_poll;
        if let Some(since) = self.unsaved_since.filter(|_| !self.is_degraded) {
            until = until.min(since + CHECKPOINT_INTERVAL);
        }
        until.saturating_duration_since(now).min(FEED_POLL_INTERVAL)
    }
}
