//! The running simulator: its state behind a lock, its clock, and the task that runs due events.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Client;
use tokio::sync::{Notify, Semaphore};
use tokio::time::sleep;

use super::clock::{VirtualClock, VirtualMillis};
use super::random::answer_id;
use super::settings::TwinSettings;
use super::sign::Signer;
use super::state::SimulatorState;
use super::webhook_sender;

/// Maximum number of webhooks in flight.
const SENDERS: usize = 128;

/// A running simulator.
pub struct Twin {
    /// Virtual and wall clock.
    pub clock: VirtualClock,
    /// Signs webhooks.
    pub signer: Signer,
    /// HTTP client for webhooks.
    pub client: Client,
    /// Limits the webhooks in flight.
    pub senders: Semaphore,
    /// Whether the control API accepts requests from other machines.
    pub control_from_anywhere: bool,
    settings: TwinSettings,
    origin: String,
    answers: AtomicU64,
    world: Mutex<SimulatorState>,
    wake: Notify,
}

impl Twin {
    /// Creates a simulator in its initial state.
    pub fn new(settings: &TwinSettings, origin: String) -> Result<Self, super::TwinError> {
        Ok(Self {
            clock: VirtualClock::new(settings.time_scale),
            signer: Signer::new().map_err(|_| super::TwinError::Key)?,
            client: webhook_sender::client().map_err(super::TwinError::Client)?,
            senders: Semaphore::new(SENDERS),
            control_from_anywhere: settings.control_from_anywhere,
            settings: settings.clone(),
            origin: origin.clone(),
            answers: AtomicU64::new(0),
            world: Mutex::new(SimulatorState::new(settings, origin)),
            wake: Notify::new(),
        })
    }

    /// Runs all events that are due, then calls `act` with the state.
    pub fn with<R>(&self, act: impl FnOnce(&mut SimulatorState) -> R) -> R {
        let (now, stamp) = (self.clock.now(), self.clock.stamp());
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let waited_for = world.next_due();
        world.run_due(now, stamp);
        let result = act(&mut world);
        // Events that `act` scheduled for now run before the state is visible to others.
        world.run_due(now, stamp);
        let sooner = world.next_due() < waited_for || waited_for.is_none();
        let wake = !world.outbox.ready.is_empty() || (sooner && world.next_due().is_some());
        drop(world);
        if wake {
            self.wake.notify_one();
        }
        result
    }

    /// Restores the initial state. The clock is not reset.
    pub fn reset(&self) {
        self.with(|world| *world = SimulatorState::new(&self.settings, self.origin.clone()));
    }

    /// Returns a new `X-Request-Id`.
    pub fn next_answer_id(&self) -> String {
        answer_id(
            self.settings.seed,
            self.answers.fetch_add(1, Ordering::Relaxed),
        )
    }

    /// Advances virtual time and runs all events on the way.
    pub fn advance(&self, seconds: f64, stamps: bool) {
        self.clock.advance(seconds, stamps);
        self.with(|_| ());
        self.wake.notify_one();
    }

    /// Changes the speed of virtual time.
    pub fn set_scale(&self, scale: f64) {
        self.clock.set_scale(scale);
        self.wake.notify_one();
    }

    /// Runs due events and sends webhooks; never returns.
    pub async fn run_timers(self: Arc<Self>) {
        loop {
            let (ready, next) =
                self.with(|world| (std::mem::take(&mut world.outbox.ready), world.next_due()));
            for parcel in ready {
                tokio::spawn(webhook_sender::deliver(self.clone(), parcel));
            }
            match next {
                None => self.wake.notified().await,
                Some(due) => self.wait_until(due).await,
            }
        }
    }

    async fn wait_until(&self, due: VirtualMillis) {
        // Long waits are split: the clock may be advanced, and a timer must not overflow.
        let stretch = due.saturating_sub(self.clock.now()).min(3_600_000);
        let real = self
            .clock
            .real(stretch)
            .max(std::time::Duration::from_millis(1));
        tokio::select! {
            () = sleep(real) => {}
            () = self.wake.notified() => {}
        }
    }
}
