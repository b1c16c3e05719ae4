//! The running twin: the world behind its lock, the clock that moves it, and
//! the one task that waits for what is due.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Client;
use tokio::sync::{Notify, Semaphore};
use tokio::time::sleep;

use super::clock::{Clock, Ms};
use super::random::answer_id;
use super::settings::Settings;
use super::sign::Signer;
use super::webhooks;
use super::world::World;

/// How many webhooks are on their way at once.
const SENDERS: usize = 128;

/// A running twin.
pub struct Twin {
    /// Time.
    pub clock: Clock,
    /// The webhooks' signatures.
    pub signer: Signer,
    /// The webhooks' client.
    pub client: Client,
    /// Limits the webhooks on their way.
    pub senders: Semaphore,
    /// Whether the control API answers to other machines too.
    pub control_from_anywhere: bool,
    settings: Settings,
    origin: String,
    answers: AtomicU64,
    world: Mutex<World>,
    wake: Notify,
}

impl Twin {
    /// A twin with nothing in it yet.
    pub fn new(settings: &Settings, origin: String) -> Result<Self, super::Error> {
        Ok(Self {
            clock: Clock::new(settings.time_scale),
            signer: Signer::new().map_err(|_| super::Error::Key)?,
            client: webhooks::client().map_err(super::Error::Client)?,
            senders: Semaphore::new(SENDERS),
            control_from_anywhere: settings.control_from_anywhere,
            settings: settings.clone(),
            origin: origin.clone(),
            answers: AtomicU64::new(0),
            world: Mutex::new(World::new(settings, origin)),
            wake: Notify::new(),
        })
    }

    /// Lets everything happen that is due, then does something with the world.
    pub fn with<R>(&self, act: impl FnOnce(&mut World) -> R) -> R {
        let (now, stamp) = (self.clock.now(), self.clock.stamp());
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let waited_for = world.next_due();
        world.settle(now, stamp);
        let result = act(&mut world);
        // What the act set for right now happens before anyone else looks.
        world.settle(now, stamp);
        let sooner = world.next_due() < waited_for || waited_for.is_none();
        let wake = !world.outbox.ready.is_empty() || (sooner && world.next_due().is_some());
        drop(world);
        if wake {
            self.wake.notify_one();
        }
        result
    }

    /// Forgets everything and starts again as it was started; the clock goes on.
    pub fn reset(&self) {
        self.with(|world| *world = World::new(&self.settings, self.origin.clone()));
    }

    /// A new `X-Request-Id`.
    pub fn next_answer_id(&self) -> String {
        answer_id(
            self.settings.seed,
            self.answers.fetch_add(1, Ordering::Relaxed),
        )
    }

    /// Jumps forward, and lets everything happen on the way.
    pub fn advance(&self, seconds: f64, stamps: bool) {
        self.clock.advance(seconds, stamps);
        self.with(|_| ());
        self.wake.notify_one();
    }

    /// Changes how fast virtual time runs.
    pub fn set_scale(&self, scale: f64) {
        self.clock.set_scale(scale);
        self.wake.notify_one();
    }

    /// Waits for what is due and sends webhooks, for ever.
    pub async fn run_timers(self: Arc<Self>) {
        loop {
            let (ready, next) =
                self.with(|world| (std::mem::take(&mut world.outbox.ready), world.next_due()));
            for parcel in ready {
                tokio::spawn(webhooks::deliver(self.clone(), parcel));
            }
            match next {
                None => self.wake.notified().await,
                Some(due) => self.wait_until(due).await,
            }
        }
    }

    async fn wait_until(&self, due: Ms) {
        // Far-off times are waited for in pieces: the clock may be advanced, and
        // a timer must not overflow.
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
