//! What is to be done next for a transaction, and when. Level-triggered: it reads the state and
//! nothing else, so that timer, webhook, operator and start-up all end in the same step.

use crate::absence::DUPLICATE_LOOKUPS;
use crate::fold::{Candidate, DerivedState, StateBasis, Summary};
use crate::forecast::Forecast;
use crate::{Fact, Origin, Refusal, RefusalKind, State, StatusClass, TransactionRequest};
use crate::{TaskId, Timestamp, Uid};
use std::time::Duration;

/// How long the gateway keeps a task, counted from its creation.
pub const TASK_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The age up to which `max_interval` applies.
const YOUNG_AGE_LIMIT: Duration = Duration::from_secs(15 * 60);

/// For how long a request may be repeated under its `RequestID`, counted from its first stamp; the
/// gateway keeps the key for 24 hours, so that a late packet still meets it.
const RESEND_WINDOW: Duration = Duration::from_secs(20 * 3600);

/// For how long a look after a final state is owed that told nothing.
const RECHECK_RETRY_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// How often one request may be sent at all.
const MAX_ATTEMPTS: u32 = 8;

/// So many looks in a row told nothing: from here on look-ups by tracking id take turns with them.
const BLIND: u16 = 3;

/// For so long "it runs" tells something of a task. After that it says no more than that the task is kept.
const FRESH: Duration = Duration::from_secs(60);

/// So long before the gateway forgets a task it is asked once more.
const LAST_CALL: Duration = Duration::from_secs(5 * 60);

/// So often the gateway may put one request off; then it ends as not sent.
pub const MOST_PUT_OFFS: usize = 20;

/// The longest for which the gateway may put one request off in all.
const PUT_OFF_FOR: Duration = Duration::from_secs(24 * 3600);

/// After so many attempts of which no byte left the next ones come more rarely still.
const MANY_ATTEMPTS: usize = 30;

/// The settings of the pace (`[follow]`).
#[derive(Debug, Clone)]
pub struct Pace {
    /// The time from a state's beginning to its first check.
    pub first_check: Duration,
    /// The longest interval in the first 15 minutes.
    pub max_interval: Duration,
    /// The longest interval after that.
    pub max_interval_old: Duration,
    /// Looks after a final state, each counted from its beginning.
    pub recheck_after_final: Vec<Duration>,
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Stamp it and send it.
    Submit,
    /// The gateway has put it off for too long: it ends as not sent.
    GiveUp {
        /// The last attempt.
        attempt: u32,
        /// Why, in words.
        reason: String,
    },
    /// The worker that stamped it is gone: record that it went silent.
    TakeOver {
        /// Which attempt.
        attempt: u32,
    },
    /// Ask the task.
    AskTask(TaskId),
    /// Record that the task is older than the gateway keeps it.
    ExpireTask(TaskId),
    /// Look the bound transaction up.
    LookUpUid(Uid),
    /// Look it up by tracking id.
    LookUpTrackingId,
    /// Look it up by tracking id, and this uid by itself where that does not show it. So a second
    /// transaction under its name comes to light, and nothing of ours is missed.
    LookUpBoth(Uid),
    /// Nothing: it is final and has been looked at again.
    Idle,
}

/// What is known of the way of one transaction's looks, beside its state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Course {
    /// Looks in a row that told nothing by the way that the state asks for, and those in between.
    pub misses: u16,
    /// Looks in a row to which there was no answer at all.
    pub unanswered: u16,
    /// What the next look is for, beside what the state asks for.
    pub wishes: Wishes,
}

/// What a look is to do beside what the state asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Look it up by tracking id: a person asked for it.
    pub by_name: bool,
    /// Look this transaction of the gateway up: it was contradicted or corrected.
    pub at: Option<Uid>,
}

impl Wishes {
    /// Adds what else is wished for.
    pub fn join(&mut self, more: &Self) {
        self.by_name |= more.by_name;
        if more.at.is_some() {
            self.at.clone_from(&more.at);
        }
    }
}

/// Plans the next step from what is known.
pub fn plan(
    opening: &TransactionRequest,
    summary: &Summary,
    derived: &DerivedState,
    now: Timestamp,
) -> Step {
    match derived.state {
        State::Accepted if summary.held_back().is_some() => Step::Idle,
        State::Accepted => match gives_up(summary) {
            Some(reason) => Step::GiveUp {
                attempt: summary.last_attempt(),
                reason,
            },
            None => Step::Submit,
        },
        // What the rules of now might not call so is looked up when that is wished for.
        State::NotSent if summary.earlier.is_some() => look_up(opening, summary, derived, now),
        State::NotSent | State::Merged => Step::Idle,
        State::Submitting
        | State::Processing
        | State::Pending
        | State::InDoubt
        | State::Successful
        | State::Failed
        | State::Expired
        | State::Rejected
        | State::NotFound => first_hand(summary, derived, now)
            .unwrap_or_else(|| look_up(opening, summary, derived, now)),
    }
}

/// Whether what may have been sent may be sent once more under the same `RequestID`, for a shop that
/// trusts that key: never with card data, which is not kept, and well within the key's life.
pub fn can_resend(opening: &TransactionRequest, summary: &Summary, now: Timestamp) -> bool {
    let first = summary.attempts.values().filter_map(|a| a.stamped_at).min();
    !opening.card_data
        && !summary.has_proof()
        && summary.last_attempt() < MAX_ATTEMPTS
        && first.is_some_and(|first| now.since(first) < RESEND_WINDOW)
}

/// Whether the pause before one more attempt under the same `RequestID` has passed. It grows from attempt to
/// attempt, and what the gateway calls a duplicate is looked up and not repeated.
pub fn may_repeat_now(
    summary: &Summary,
    derived: &DerivedState,
    now: Timestamp,
    pace: &Pace,
) -> bool {
    let row = u16::try_from(summary.attempts.len()).unwrap_or(u16::MAX);
    let paused = (summary.sent_at()).is_none_or(|sent| now.since(sent) >= floor(row, pace));
    paused && !is_duplicate_doubt(derived)
}

/// Whether a request may still have to be sent out of the database: while it waits, while the gateway may put
/// it off, and in doubt as long as it may be repeated.
pub fn may_be_sent(
    opening: &TransactionRequest,
    summary: &Summary,
    state: State,
    now: Timestamp,
) -> bool {
    !opening.card_data
        && opening.origin == Origin::Api
        && match state {
            State::Accepted | State::Submitting => true,
            State::InDoubt => can_resend(opening, summary, now),
            _ => false,
        }
}

/// What our own attempts have still to tell. A transaction that was found by its tracking id alone
/// does not answer that: until the attempts have ended, its failure may not be ours.
fn first_hand(summary: &Summary, derived: &DerivedState, now: Timestamp) -> Option<Step> {
    if adopted(summary, derived).is_some_and(|candidate| candidate.bound) {
        return None;
    }
    if let Some((task, known)) = summary.running_task() {
        let age = known.acked_at.map_or(TASK_LIFETIME, |at| now.since(at));
        if age < TASK_LIFETIME {
            return Some(Step::AskTask(task.clone()));
        }
        // Of what is final only the transaction itself is of interest by now.
        return (!derived.state.is_final()).then(|| Step::ExpireTask(task.clone()));
    }
    let attempt = summary
        .unanswered_attempt()
        .filter(|_| !derived.state.is_final());
    attempt.map(|attempt| Step::TakeOver { attempt })
}

/// A task that told what leaves everything open, and not that it had ended otherwise: in doubt it is asked once
/// more beside the look-ups, in every other minute and as long as the gateway keeps it. What it told may have been said by whatever stands
/// before it.
pub fn doubtful_task<'a>(
    summary: &'a Summary,
    derived: &DerivedState,
    now: Timestamp,
) -> Option<&'a TaskId> {
    let doubted = summary.tasks.iter().filter(|(_, task)| {
        let open = |refusal: &Refusal| refusal.kind == RefusalKind::Doubt;
        let kept = |at: Timestamp| now.since(at) < TASK_LIFETIME;
        let has_turn = |at: Timestamp| !(now.since(at).as_secs() / 60).is_multiple_of(2);
        task.refused.as_ref().is_some_and(open)
            && task.refused_at.or(task.acked_at).is_some_and(has_turn)
            && task.acked_at.is_some_and(kept)
            && !(task.unknown || task.outlived || task.uid.is_some())
    });
    let in_doubt = derived.state == State::InDoubt && derived.uid.is_none();
    let last = doubted.max_by_key(|(id, task)| (task.attempt, *id));
    last.map(|(id, _)| id).filter(|_| in_doubt)
}

/// What is done at this look. Where the way that the state asks for has told nothing for a while, look-ups
/// by tracking id take turns with it: a task is one channel of several. `misses`: see [`misses_after`].
pub fn turn(step: Step, opening: &TransactionRequest, misses: u16) -> Step {
    match step {
        Step::AskTask(_) | Step::LookUpUid(_)
            if misses >= BLIND && (misses - BLIND).is_multiple_of(2) && is_named(opening) =>
        {
            Step::LookUpTrackingId
        }
        // Where the name has told nothing, the uid has its turn.
        Step::LookUpBoth(uid) if !misses.is_multiple_of(2) => Step::LookUpUid(uid),
        step => step,
    }
}

/// Whether look-ups by its tracking id are about it: it was made through the API under that name.
pub fn is_named(opening: &TransactionRequest) -> bool {
    opening.origin == Origin::Api && opening.tracking_id.is_some()
}

/// Whether an answer told anything of the transaction. That a task runs does so in its first minute;
/// `sent`: when the last attempt was stamped.
pub fn tells<'a>(
    facts: impl IntoIterator<Item = &'a Fact>,
    sent: Option<Timestamp>,
    now: Timestamp,
) -> bool {
    facts.into_iter().any(|fact| match fact {
        Fact::Nothing => false,
        Fact::TaskAlive { .. } => sent.is_none_or(|sent| now.since(sent) < FRESH),
        _ => true,
    })
}

/// How many looks in a row have told nothing by the way that the state asks for, after one more. A look
/// in between by another way (`is_own_way` is false) ends the row by no answer of its own.
pub fn misses_after(misses: u16, told: bool, is_own_way: bool) -> u16 {
    match (told, is_own_way) {
        (true, true) => 0,
        (true, false) if misses < BLIND => misses,
        (true, false) | (false, _) if misses >= MOST_MISSES => MOST_MISSES - 1,
        (true, false) | (false, _) => misses + 1,
    }
}

/// More misses than these say nothing more; the last two take turns.
const MOST_MISSES: u16 = 10_000;

/// The shortest pause after so many looks, or attempts, in a row that came to nothing: twice as long each
/// time, from `first_check` up to `max_interval`, whatever the gateway asks for.
pub fn floor(row: u16, pace: &Pace) -> Duration {
    let grown = pace.first_check.saturating_mul(1 << row.min(20));
    grown.min(pace.max_interval.max(pace.first_check))
}

/// When the next look is due where the pace says `planned` and the gateway asked for a pause until `wish`:
/// no sooner than either, but the wish counts for `max_interval` at most; after an answer that told nothing
/// (`misses` in a row, this one included) no sooner than [`floor`]. A task that runs is asked once more before
/// the gateway forgets it.
pub fn read_again(
    summary: &Summary,
    planned: Timestamp,
    now: Timestamp,
    wish: Option<Timestamp>,
    misses: Option<u16>,
    pace: &Pace,
) -> Timestamp {
    let longest = now.plus(pace.max_interval.max(pace.first_check));
    let wish = wish.map(|wish| wish.min(longest));
    let grown = misses.map(|misses| now.plus(floor(misses, pace)));
    let due = planned.max(wish.unwrap_or(planned));
    before_it_is_forgotten(summary, due.max(grown.unwrap_or(planned)), now)
}

/// The last moment to ask a task that runs, where a look would come later than it lives.
pub fn before_it_is_forgotten(summary: &Summary, due: Timestamp, now: Timestamp) -> Timestamp {
    let Some(acked) = summary.running_task().and_then(|(_, task)| task.acked_at) else {
        return due;
    };
    let end = acked.plus(TASK_LIFETIME);
    let times = [end.minus(LAST_CALL), end];
    times
        .into_iter()
        .find(|time| now < *time)
        .map_or(due, |last| due.min(last))
}

/// Before this a request that was put off, or did not leave, is not sent again: the gateway's wish, and a
/// pause that grows from attempt to attempt. `None`: it has not been tried, or is to be given up now.
pub fn resubmit_at(summary: &Summary, pace: &Pace) -> Option<Timestamp> {
    if gives_up(summary).is_some() {
        return None;
    }
    let (count, last) = (summary.tries().count(), summary.tries().last()?);
    let row = u16::try_from(count).unwrap_or(u16::MAX);
    let pause = match count {
        ..=MANY_ATTEMPTS => floor(row, pace),
        _ => floor(row, pace).saturating_mul(5),
    };
    let at = last.stamped_at?.plus(pause);
    Some(last.deferred.map_or(at, |until| until.max(at)))
}

/// Why a request that waits is not tried any more: the gateway has put it off so often, or for so long. Of
/// the time only what the gateway asked for counts, and not a pause of the shop, an open circuit, or a
/// gateway that cannot be reached.
fn gives_up(summary: &Summary) -> Option<String> {
    let tries: Vec<_> = summary.tries().collect();
    let put_off = tries.iter().filter(|attempt| attempt.deferred.is_some());
    let count = put_off.count();
    if count >= MOST_PUT_OFFS {
        return Some(format!("the gateway put it off {count} times"));
    }
    let mut waited = Duration::ZERO;
    for (at, attempt) in tries.iter().enumerate() {
        if let (Some(sent), Some(until)) = (attempt.stamped_at, attempt.deferred) {
            let next = tries.get(at + 1).and_then(|next| next.stamped_at);
            waited += next.map_or(until, |next| next.min(until)).since(sent);
        }
    }
    (waited >= PUT_OFF_FOR).then(|| "the gateway put it off for a day".to_owned())
}

/// What is final, and what has been pending for long, is looked up by its name: the same request shows whatever
/// else goes by it. While it is young its uid alone is asked for.
fn look_up(
    opening: &TransactionRequest,
    summary: &Summary,
    derived: &DerivedState,
    now: Timestamp,
) -> Step {
    let young = summary
        .sent_at()
        .is_none_or(|sent| now.since(sent) < YOUNG_AGE_LIMIT);
    match (unsettled(opening, summary, derived), &opening.tracking_id) {
        (Some(uid), Some(_)) if (derived.state.is_final() || !young) && is_named(opening) => {
            Step::LookUpBoth(uid.clone())
        }
        (Some(uid), _) => Step::LookUpUid(uid.clone()),
        (None, Some(_)) => Step::LookUpTrackingId,
        (None, None) => Step::Idle,
    }
}

/// The adopted transaction, unless it has failed while another that may be ours has not ended.
fn unsettled<'a>(
    opening: &TransactionRequest,
    summary: &'a Summary,
    derived: &'a DerivedState,
) -> Option<&'a Uid> {
    let failed = matches!(derived.state, State::Failed | State::Expired);
    let open = summary.candidates.iter().filter(|(_, candidate)| {
        failed && !candidate.class().is_final() && summary.is_eligible(opening, candidate)
    });
    open.max_by_key(|(_, candidate)| candidate.bound)
        .map(|(uid, _)| uid)
        .or(derived.uid.as_ref())
}

/// When the next check is due, for a state that began at `since`. `None`: no more checks. The
/// caller sees to what binds `accepted` beside it: [`resubmit_at`], and a child's wait for its equal
/// before it.
pub fn configured_next_check(
    derived: &DerivedState,
    since: Timestamp,
    now: Timestamp,
    pace: &Pace,
) -> Option<Timestamp> {
    if matches!(derived.state, State::NotSent | State::Merged) {
        return None;
    }
    if derived.state.is_final() {
        return pace
            .recheck_after_final
            .iter()
            .map(|after| since.plus(*after))
            .filter(|at| *at > now)
            .min();
    }
    if is_duplicate_doubt(derived) {
        // The first is due at once: at the very moment in which the doubt begins.
        let times = DUPLICATE_LOOKUPS.iter().map(|after| since.plus(*after));
        if let Some(at) = times.filter(|at| *at > now || now == since).min() {
            return Some(at);
        }
    }
    let age = now.since(since);
    let pause = check_interval(age, pace);
    Some(now.plus(match derived.basis {
        StateBasis::Differs(_) => slow(age, pace).max(pause),
        _ => pause,
    }))
}

/// When the next look at something open is due, by what was learned of its kind. `sent` is when its
/// last attempt was stamped. What was learned places the looks at what runs; every other state, and
/// all while nothing was learned, is seen to by [`configured_next_check`]. Spread like [`jitter`] does, and less
/// where it was learned: there every tenth of the way is paid for. Whatever runs is looked at no
/// later than [`Pace::longest`] allows, the spread included. `random` is any number.
pub fn next_check(
    derived: &DerivedState,
    since: Timestamp,
    sent: Option<Timestamp>,
    now: Timestamp,
    pace: &Pace,
    forecast: Option<&Forecast>,
    random: u64,
) -> Option<Timestamp> {
    let runs = match (derived.state, &derived.basis) {
        (State::Processing, basis) => !matches!(basis, StateBasis::Refusal(_)),
        // What the gateway calls final has ended, and waits for our own task to say so.
        (State::Pending, StateBasis::Snapshot(key)) => !key.is_final,
        _ => false,
    };
    if !runs {
        return configured_next_check(derived, since, now, pace)
            .map(|due| jitter(now, due, random));
    }
    let age = now.since(since);
    let longest = pace.longest(age);
    let (pause, part) = match (forecast, sent) {
        (Some(forecast), Some(sent)) => {
            let age = now.since(sent);
            (forecast.next_interval(age, pace.first_check, longest), 40)
        }
        _ => (check_interval(age, pace), 10),
    };
    // What is due as late as can be is spread to the other side.
    let latest = longest.saturating_sub(longest / part);
    let pause = pause.min(latest).max(pace.first_check);
    let due = spread(now, now.plus(pause), random, part);
    Some(due.min(now.plus(longest)))
}

/// When our own task is asked next after an end that another's word has told: such an end says nothing of what
/// our own attempt came to. An end that was known before anything was sent leaves all of the way to the task. Else
/// it is asked by the re-checks, and once more before the gateway forgets it; when that has come, a look by name
/// shows what it made. `None`: nothing runs, or the end is our own request's word.
pub fn task_owed(
    summary: &Summary,
    derived: &DerivedState,
    since: Timestamp,
    now: Timestamp,
    pace: &Pace,
) -> Option<Timestamp> {
    let rests = adopted(summary, derived).filter(|_| derived.state.is_final())?;
    let (_, task) = summary.running_task().filter(|_| !rests.bound)?;
    let end = task.acked_at?.plus(TASK_LIFETIME);
    let last = [end.minus(LAST_CALL), end];
    let last = last.into_iter().find(|at| now < *at)?;
    let by_pace = now.plus(check_interval(now.since(since), pace));
    Some(match summary.sent_at() >= Some(since) {
        true => by_pace.min(last),
        false => last,
    })
}

/// The gateway's transaction that the state rests on.
fn adopted<'a>(summary: &'a Summary, derived: &DerivedState) -> Option<&'a Candidate> {
    let uid = derived.uid.as_ref();
    uid.and_then(|uid| summary.candidates.get(uid))
}

/// When a look after a final state is taken again that told nothing: the gateway was in trouble, or refused
/// the read, at that very moment. It is still owed, and tried ever more rarely, for a day. `None`: none was
/// owed, or not any more.
pub fn retry_missed_check(
    derived: &DerivedState,
    since: Timestamp,
    now: Timestamp,
    pace: &Pace,
) -> Option<Timestamp> {
    if !derived.state.is_final() || matches!(derived.state, State::NotSent | State::Merged) {
        return None;
    }
    let times = pace.recheck_after_final.iter();
    let due = times
        .map(|after| since.plus(*after))
        .filter(|at| *at <= now);
    let late = now.since(due.max()?);
    (late < RECHECK_RETRY_WINDOW).then(|| now.plus((late / 2).max(pace.max_interval)))
}

/// Whether a success needs no more looks: our own request named it, a signed webhook told of it, and we saw it
/// when we asked. What becomes of it after that a webhook will tell as well. A failure is looked at again all the
/// same: some failures are temporary, and a late success is what must not be missed. So is what the gateway has
/// contradicted since, and a success that goes by our name alone: what our own request made may be another.
pub fn needs_no_recheck(summary: &Summary, derived: &DerivedState) -> bool {
    let success = Some(StatusClass::Successful);
    derived.state == State::Successful
        && matches!(derived.basis, StateBasis::Snapshot(_))
        && adopted(summary, derived).is_some_and(|c| {
            c.bound
                && c.final_via_webhook == success
                && c.final_via_query == success
                && c.contradicted_at.is_none()
        })
}

/// Doubt that rests on `E.1018`: the look-ups have a schedule of their own.
pub fn is_duplicate_doubt(derived: &DerivedState) -> bool {
    derived.state == State::InDoubt
        && matches!(&derived.basis, StateBasis::Refusal(r) if r.kind == RefusalKind::Duplicate)
}

/// The interval at an age: half of it, at least `first_check`; at most `max_interval` while young,
/// `max_interval_old` later.
pub fn check_interval(age: Duration, pace: &Pace) -> Duration {
    let longest = if age < YOUNG_AGE_LIMIT {
        pace.max_interval
    } else {
        pace.max_interval_old
    };
    (age / 2)
        .max(pace.first_check)
        .min(longest.max(pace.first_check))
}

impl Pace {
    /// The longest pause at an age, whatever was learned: `max_interval` while it is young, and what
    /// the pace itself would wait later.
    pub fn longest(&self, age: Duration) -> Duration {
        if age < YOUNG_AGE_LIMIT {
            self.max_interval.max(self.first_check)
        } else {
            check_interval(age, self)
        }
    }
}

/// The pace of what waits for a person: that of an old transaction from the beginning.
pub fn slow(age: Duration, pace: &Pace) -> Duration {
    (age / 2).max(pace.max_interval).min(pace.max_interval_old)
}

/// Spreads a time by up to a tenth of the way to it, so that what began together does not stay
/// together. `random` is any number.
pub fn jitter(now: Timestamp, due: Timestamp, random: u64) -> Timestamp {
    spread(now, due, random, 10)
}

/// Puts a time off by up to such a part of the way to it.
fn spread(now: Timestamp, due: Timestamp, random: u64, part: u32) -> Timestamp {
    let most = due.since(now) / part;
    let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX).max(1);
    due.plus(Duration::from_micros(random % micros))
}
