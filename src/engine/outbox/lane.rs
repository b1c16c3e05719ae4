//! Delivers one shop's events to one subscriber.
//!
//! The worker leases the subscriber's cursor, reads the feed, sends messages and saves the results.
//! Each worker is its own task, so a slow subscriber does not delay others. In-memory state may be
//! lost at any time: events whose result was not saved are delivered again.
//!
//! Not responsible for: ordering. Subscribers order by `sequence`.

use crate::engine::Shared;
use crate::engine::outbox::deliver::{Outcome, PLACES, Receiver};
use crate::engine::outbox::message;
use crate::engine::outbox::window::{Item, Verdict, Window};
use crate::store::StoreError;
use crate::store::subscribers::{self, Holder};
use domain::ShopId;
use leaves::clock::Boottime;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

/// Interval between polls of the feed without a local change. Another replica may have committed
/// events.
const LOOK: Duration = Duration::from_secs(1);

/// Minimum time between polls while changes keep arriving.
const SOON: Duration = Duration::from_millis(20);

/// Maximum interval between attempts to acquire the lease.
const STANDBY: Duration = Duration::from_secs(5);

/// Maximum number of events per read, and of events that are read and not sent.
const PAGE: (i64, usize) = (200, 64);

/// Results are saved after this time, or when this number is unsaved.
const SETTLE: (Duration, usize) = (Duration::from_millis(50), 64);

/// After a stop: maximum wait for messages in flight, and maximum time to save the last results.
const STOP: (Duration, Duration) = (Duration::from_millis(800), Duration::from_secs(1));

/// Delivers one shop's events to one subscriber.
pub(super) struct Lane {
    pub(super) shared: Arc<Shared>,
    pub(super) shop: ShopId,
    pub(super) receiver: Arc<Receiver>,
    /// Event types that the subscriber receives.
    pub(super) kinds: Arc<[String]>,
}

/// Reason why this replica stops serving a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The service stops.
    Stopping,
    /// The lease is lost, or the in-memory state cannot be trusted any more.
    Lost,
    /// The subscriber answered 410 Gone.
    Gone,
}

/// State while the lease is held.
struct Serving {
    holder: Holder,
    window: Window,
    sending: JoinSet<(Item, Outcome)>,
    /// Time until which the lease is certainly held.
    until: Boottime,
    /// Time of the oldest result that is not saved.
    unsettled_since: Option<Instant>,
    looked_at: Instant,
    look_at: Instant,
    turn: usize,
    in_trouble: bool,
}

impl Lane {
    /// Runs until the service stops.
    pub(super) async fn run(self) {
        while !self.shared.dispatch.is_stopping() {
            if let Err(error) = self.hold().await {
                tracing::debug!(shop = %self.shop, subscriber = self.name(), error = error.chain(),
                    "failed to acquire subscriber lease");
            }
            let standby = STANDBY.min(self.shared.settings.lease / 3);
            tokio::select! {
                () = sleep(standby) => {}
                () = self.shared.dispatch.stopping() => {}
            }
        }
    }

    fn name(&self) -> &str {
        &self.receiver.name
    }

    /// Acquires the lease if it is free, serves while it is held, and releases it.
    async fn hold(&self) -> Result<(), StoreError> {
        let holder = Holder {
            shop: self.shop.clone(),
            subscriber: self.name().to_owned(),
            token: Uuid::new_v4(),
            lease: self.shared.settings.lease,
        };
        let store = &self.shared.store;
        let name = std::slice::from_ref(&holder.subscriber);
        subscribers::ensure(store, &self.shop, name).await?;
        // Measured before the lease is acquired, so that the local end of the lease is never too
        // late.
        let until = Boottime::now() + holder.lease;
        let Some(next) = subscribers::lease(store, &holder).await? else {
            return Ok(());
        };
        let mut serving = Serving {
            window: Window::new(next),
            sending: JoinSet::new(),
            until,
            unsettled_since: None,
            looked_at: Instant::now(),
            look_at: Instant::now(),
            turn: 0,
            in_trouble: false,
            holder,
        };
        let end = self.serve(&mut serving).await;
        self.leave(serving, end).await
    }

    async fn serve(&self, serving: &mut Serving) -> End {
        let watch = self.shared.ledger.watch_shop(&self.shop);
        loop {
            let changed = watch.changed();
            if self.shared.dispatch.is_stopping() {
                return End::Stopping;
            }
            match self.work(serving).await {
                Ok(Some(end)) => return end,
                Ok(None) => serving.in_trouble = false,
                Err(error) => {
                    // Logged once per outage. The results stay in memory and are saved later.
                    if !std::mem::replace(&mut serving.in_trouble, true) {
                        tracing::error!(shop = %self.shop, subscriber = self.name(),
                            error = error.chain(), "failed to save delivery results; retrying");
                    }
                    serving.look_at = Instant::now() + LOOK;
                }
            }
            let rest = serving.rest();
            tokio::select! {
                Some(sent) = serving.sending.join_next() => match sent {
                    Ok((item, outcome)) => if self.note(serving, &item, &outcome) {
                        return End::Gone;
                    },
                    // The sending task panicked; the cursor has not passed its event.
                    Err(_) => return End::Lost,
                },
                () = changed, if !serving.in_trouble => serving.look_soon(),
                () = sleep(rest) => {}
                () = self.shared.dispatch.stopping() => {}
            }
        }
    }

    /// Does what is possible without waiting: saves results, reads events, sends messages.
    async fn work(&self, serving: &mut Serving) -> Result<Option<End>, StoreError> {
        if serving.must_settle() && !self.settle(serving).await? {
            return Ok(Some(End::Lost));
        }
        if serving.until.remaining().is_zero() {
            self.shared.metrics.lease_lost();
            return Ok(Some(End::Lost));
        }
        let now = Instant::now();
        if now >= serving.look_at && serving.window.waiting() < PAGE.1 {
            let full = self.take_up(serving).await?;
            serving.looked_at = now;
            serving.look_at = if full { now } else { now + LOOK };
        }
        self.send(serving);
        Ok(None)
    }

    async fn settle(&self, serving: &mut Serving) -> Result<bool, StoreError> {
        let until = Boottime::now() + serving.holder.lease;
        let settlement = serving.window.settlement();
        let held = subscribers::settle(&self.shared.store, &serving.holder, settlement).await?;
        if held {
            serving.window.settled();
            serving.until = until;
            serving.unsettled_since = None;
        } else {
            self.shared.metrics.lease_lost();
        }
        Ok(held)
    }

    /// Reads new events and due retries. Returns whether there may be more.
    async fn take_up(&self, serving: &mut Serving) -> Result<bool, StoreError> {
        let store = &self.shared.store;
        let (last, due) = subscribers::look(store, &serving.holder).await?;
        let window = &mut serving.window;
        let mut more = false;
        if last >= window.next() {
            let from = window.next();
            let rows = subscribers::from(store, &self.shop, from, &self.kinds, PAGE.0).await?;
            let first = rows.first().map_or(last + 1, |row| row.seq);
            if first > from {
                tracing::error!(shop = %self.shop, subscriber = self.name(), from, to = first - 1,
                    "events expired before delivery");
                self.shared.metrics.delivery(self.name(), "forgotten");
            }
            more = rows.len() == usize::try_from(PAGE.0).unwrap_or(usize::MAX);
            window.take_up(rows, |kind| self.kinds.iter().any(|wanted| wanted == kind));
            window.pass_to(first);
        }
        if due {
            let in_hand = window.in_hand();
            let limit = i64::try_from(PAGE.1.saturating_sub(in_hand.len())).unwrap_or(0);
            for row in subscribers::due(store, &serving.holder, &in_hand, limit).await? {
                match row.event {
                    Some(event) => window.take_up_again(event, row.tries),
                    None => self.give_up(window, row.seq),
                }
            }
        }
        serving.note_unsettled();
        Ok(more)
    }

    fn give_up(&self, window: &mut Window, seq: i64) {
        tracing::error!(shop = %self.shop, subscriber = self.name(), seq,
            "event expired before a delivery retry succeeded");
        self.shared.metrics.delivery(self.name(), "given_up");
        window.done(seq);
    }

    /// Sends as many messages as the limits allow.
    fn send(&self, serving: &mut Serving) {
        while serving.sending.len() < PLACES
            && serving.window.waiting() > 0
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
                    Err(error) => Outcome::Failed {
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
    fn note(&self, serving: &mut Serving, item: &Item, outcome: &Outcome) -> bool {
        let (seq, shop, subscriber) = (item.event.seq, &self.shop, self.name());
        let breaker = &self.receiver.breaker;
        let verdict = serving.window.answered(item, outcome, rand::random());
        serving.note_unsettled();
        let label = match outcome {
            Outcome::Taken => {
                breaker.taken();
                "delivered"
            }
            Outcome::Failed {
                label,
                reason,
                pause,
            } => {
                if let Some(pause) = *pause {
                    breaker.hold(pause);
                }
                if breaker.failed() {
                    tracing::warn!(%shop, subscriber, reason, "subscriber circuit breaker \
                         opened; sending one trial message at a time");
                }
                tracing::info!(%shop, subscriber, seq, reason, "delivery attempt failed");
                label
            }
            Outcome::Gone => "gone",
        };
        self.shared.metrics.delivery(subscriber, label);
        if verdict == Verdict::GivenUp {
            self.shared.metrics.delivery(subscriber, "given_up");
            tracing::error!(%shop, subscriber, seq, tries = item.tries + 1,
                "delivery abandoned after the last retry; `reconciler replay` redelivers it");
        }
        *outcome == Outcome::Gone
    }

    /// Saves the results and releases the lease.
    async fn leave(&self, mut serving: Serving, end: End) -> Result<(), StoreError> {
        if end == End::Lost {
            return Ok(());
        }
        // Waiting briefly for responses avoids duplicate deliveries.
        let patience = Instant::now() + STOP.0;
        while let Ok(Some(Ok((item, outcome)))) =
            tokio::time::timeout_at(patience, serving.sending.join_next()).await
        {
            self.note(&mut serving, &item, &outcome);
        }
        let store = &self.shared.store;
        let written = async {
            if !self.settle(&mut serving).await? {
                return Ok(());
            }
            if end == End::Gone && subscribers::disable(store, &serving.holder).await? {
                tracing::error!(shop = %self.shop, subscriber = self.name(), "subscriber \
                     disabled after 410 Gone; `reconciler replay` re-enables it");
                return Ok(());
            }
            subscribers::release(store, &serving.holder).await
        };
        timeout(STOP.1, written).await.unwrap_or(Ok(()))
    }
}

impl Serving {
    fn look_soon(&mut self) {
        self.look_at = self.look_at.min(self.looked_at + SOON);
    }

    fn note_unsettled(&mut self) {
        if self.window.weight() > 0 && self.unsettled_since.is_none() {
            self.unsettled_since = Some(Instant::now());
        }
    }

    /// Returns whether results must be saved or the lease renewed now.
    fn must_settle(&self) -> bool {
        let ripe = self.unsettled_since.is_some_and(|since| {
            since.elapsed() >= SETTLE.0
                || self.window.weight() >= SETTLE.1
                || self.sending.is_empty()
        });
        ripe || self.until.remaining() < self.holder.lease * 2 / 3
    }

    /// Returns the time until the next scheduled work.
    fn rest(&self) -> Duration {
        let now = Instant::now();
        let mut until = self.look_at;
        if let Some(since) = self.unsettled_since.filter(|_| !self.in_trouble) {
            until = until.min(since + SETTLE.0);
        }
        until.saturating_duration_since(now).min(LOOK)
    }
}
