//! A scheduler on a clock of its own: one thread, discrete events, nothing left to chance.
//!
//! A task runs until it waits; what it waits for is a time, or a wake-up by another task. Equal
//! times are taken in the order in which they were asked for, so that one seed gives one run.

use domain::Timestamp;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The number of a task.
pub type TaskId = u64;

/// Tasks that live and die together: 0 is the outside world, each other one an incarnation of a
/// replica.
pub type Group = u32;

/// When every run begins.
pub fn beginning() -> Timestamp {
    Timestamp::from_micros(BEGINNING)
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// In a time that the real clock has not reached: the ids that the service takes from that clock
/// sort before all others, whenever a seed is run.
const BEGINNING: i64 = 4_102_444_800_000_000;

#[derive(Default)]
struct Inner {
    now: u64,
    counter: u64,
    turns: u64,
    events: BinaryHeap<Reverse<(u64, u64, TaskId)>>,
    tasks: BTreeMap<TaskId, (Group, Option<Work>)>,
    current: (TaskId, Group),
    doomed: Vec<Group>,
}

/// The scheduler. Cheap to clone.
#[derive(Clone, Default)]
pub struct Exec(Arc<Mutex<Inner>>);

impl Exec {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time, in microseconds since the beginning.
    pub fn micros(&self) -> u64 {
        self.inner().now
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_micros(BEGINNING).plus(Duration::from_micros(self.micros()))
    }

    /// Begins a task.
    pub fn spawn(&self, group: Group, work: impl Future<Output = ()> + Send + 'static) -> TaskId {
        let mut inner = self.inner();
        inner.counter += 1;
        let id = inner.counter;
        inner.tasks.insert(id, (group, Some(Box::pin(work))));
        let now = inner.now;
        inner.push(now, id);
        id
    }

    /// The task that runs now, and its group.
    pub fn current(&self) -> (TaskId, Group) {
        self.inner().current
    }

    /// Wakes a task at a time, or at once when that has passed.
    pub fn wake_at(&self, task: TaskId, at: Timestamp) {
        let since = at.micros().saturating_sub(BEGINNING);
        let mut inner = self.inner();
        let at = u64::try_from(since).unwrap_or(0).max(inner.now);
        inner.push(at, task);
    }

    /// Wakes a task now.
    pub fn wake(&self, task: TaskId) {
        let mut inner = self.inner();
        let now = inner.now;
        inner.push(now, task);
    }

    /// Waits until that much time has passed.
    pub fn sleep(&self, by: Duration) -> Sleep {
        let by = u64::try_from(by.as_micros()).unwrap_or(u64::MAX / 4);
        let until = self.inner().now.saturating_add(by);
        Sleep {
            exec: self.clone(),
            until,
            asked: false,
        }
    }

    /// Waits for the next wake-up, whatever it is for.
    pub fn park(&self) -> ParkedTask {
        ParkedTask { asked: false }
    }

    /// Ends all tasks of a group, wherever they are, once the running one waits.
    pub fn kill(&self, group: Group) {
        self.inner().doomed.push(group);
    }

    /// How often tasks have run so far.
    pub fn turns(&self) -> u64 {
        self.inner().turns
    }

    /// Runs what is due until the clock has come to `until`, or tasks have run `most` times in all.
    pub fn run_until(&self, until: Duration, most: u64) {
        let until = u64::try_from(until.as_micros()).unwrap_or(u64::MAX / 4);
        loop {
            let next = {
                let mut inner = self.inner();
                if inner.turns >= most {
                    return;
                }
                inner.turns += 1;
                match inner.events.peek() {
                    Some(Reverse((at, ..))) if *at <= until => inner.take(),
                    _ => {
                        inner.now = inner.now.max(until);
                        return;
                    }
                }
            };
            if let Some((id, mut work)) = next {
                let done = work
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_ready();
                let dropped = self.put_back(id, work, done);
                // Outside the lock: what is dropped may give locks back.
                drop(dropped);
            }
        }
    }

    fn put_back(&self, id: TaskId, work: Work, done: bool) -> Vec<Work> {
        let mut inner = self.inner();
        let mut dropped = Vec::new();
        if done {
            inner.tasks.remove(&id);
            dropped.push(work);
        } else if let Some((_, place)) = inner.tasks.get_mut(&id) {
            *place = Some(work);
        }
        for group in std::mem::take(&mut inner.doomed) {
            let ids: Vec<TaskId> = inner
                .tasks
                .iter()
                .filter(|(_, t)| t.0 == group)
                .map(|(id, _)| *id)
                .collect();
            dropped.extend(ids.iter().filter_map(|id| inner.tasks.remove(id)?.1));
        }
        dropped
    }

    /// Ends everything.
    pub fn clear(&self) {
        let tasks = std::mem::take(&mut self.inner().tasks);
        drop(tasks);
    }
}

impl Inner {
    fn push(&mut self, at: u64, task: TaskId) {
        self.counter += 1;
        let number = self.counter;
        self.events.push(Reverse((at, number, task)));
    }

    fn take(&mut self) -> Option<(TaskId, Work)> {
        let Reverse((at, _, id)) = self.events.pop()?;
        self.now = self.now.max(at);
        let (group, work) = self.tasks.get_mut(&id)?;
        self.current = (id, *group);
        Some((id, work.take()?))
    }
}

/// See [`Exec::sleep`].
pub struct Sleep {
    exec: Exec,
    until: u64,
    asked: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.exec.inner();
        if inner.now >= self.until && self.asked {
            return Poll::Ready(());
        }
        if !self.asked {
            let task = inner.current.0;
            inner.push(self.until, task);
            drop(inner);
            self.asked = true;
        }
        Poll::Pending
    }
}

/// See [`Exec::park`].
pub struct ParkedTask {
    asked: bool,
}

impl Future for ParkedTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.asked, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}
