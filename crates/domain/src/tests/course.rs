//! How looks and attempts go on that come to nothing: by another way, more rarely, and not for ever.

use super::facts::cases;
use super::given::{
    acked, at, deferred, given_up, not_sent, payment, stamped, summed, task_id, uid,
};
use crate::schedule::{
    MOST_PUT_OFFS, Pace, Step, floor, misses_after, plan, read_again, resubmit_at, tells, turn,
};
use crate::{Fact, Origin, Timestamp, TransactionRequest, derive};
use proptest::option;
use proptest::prelude::*;
use std::time::Duration;

const DAY: i64 = 24 * 3_600;

fn pace() -> Pace {
    Pace {
        first_check: Duration::from_secs(1),
        max_interval: Duration::from_secs(60),
        max_interval_old: Duration::from_secs(6 * 3_600),
        recheck_after_final: Vec::new(),
    }
}

/// So many attempts, each put off for so many seconds and made again when that has passed.
fn put_off(count: u32, seconds: i64) -> Vec<Fact> {
    let each = (0..count).flat_map(|n| {
        let sent = i64::from(n) * seconds;
        [stamped(n + 1, sent), deferred(n + 1, sent + seconds)]
    });
    each.collect()
}

fn step(opening: &TransactionRequest, facts: &[Fact]) -> Step {
    let summary = summed(opening, facts);
    plan(opening, &summary, &derive(opening, &summary), at(DAY))
}

#[test]
fn three_uninformative_reads_start_alternating_lookups() {
    let (opening, task) = (payment(), Step::AskTask(task_id("t-1")));
    let at_turn = |misses| turn(task.clone(), &opening, misses);
    let (ask, name) = (task.clone(), Step::LookUpTrackingId);
    let turns = [&ask, &ask, &ask, &name, &ask, &name, &ask];
    for (misses, expected) in (0..).zip(turns) {
        assert_eq!(at_turn(misses), *expected, "{misses}");
    }
    let by_uid = Step::LookUpUid(uid("u-1"));
    assert_eq!(turn(by_uid.clone(), &opening, 3), name);
    // A transaction that was not made here has no name of ours.
    let theirs = TransactionRequest {
        origin: Origin::Gateway,
        ..payment()
    };
    assert_eq!(turn(by_uid.clone(), &theirs, 3), by_uid);
    let takes = Step::TakeOver { attempt: 1 };
    assert_eq!(turn(takes.clone(), &opening, 3), takes);
}

#[test]
fn lookups_alternate_while_the_task_is_uninformative() {
    let (opening, mut misses) = (payment(), 0);
    let mut named = 0;
    for _ in 0..30_000 {
        let step = turn(Step::AskTask(task_id("t-1")), &opening, misses);
        let by_name = step == Step::LookUpTrackingId;
        // The look-up is answered, and finds nothing; the task is not.
        misses = misses_after(misses, by_name, !by_name);
        named += i32::from(by_name);
    }
    assert!((14_990..=15_000).contains(&named), "{named}");
    assert_eq!(misses_after(misses, true, true), 0);
    assert_eq!(misses_after(2, true, false), 2);
}

#[test]
fn a_running_task_is_informative_in_its_first_minute() {
    let runs = [Fact::TaskAlive {
        task: task_id("t-1"),
    }];
    let told = |facts: &[Fact], now| tells(facts, Some(at(0)), at(now));
    assert!(told(&runs, 59) && !told(&runs, 60));
    assert!(told(&[Fact::LookupEmpty], 60));
    assert!(!told(&[], 0) && !told(&[Fact::Nothing], 0));
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn retry_after_of_a_read_is_capped_at_max_interval(
        planned in 1_u64..70, wish in option::of(0_u64..200_000), misses in option::of(1_u16..40)
    ) {
        let summary = summed(&payment(), &[stamped(1, 0), acked(1, "t-1", 0)]);
        let now = at(30);
        let after = |seconds| now.plus(Duration::from_secs(seconds));
        let (wish, planned) = (wish.map(after), after(planned));
        let due = read_again(&summary, planned, now, wish, misses, &pace());
        prop_assert!(due >= planned);
        prop_assert!(due <= planned.max(after(60)));
        let wanted = wish.map_or(now, |wish| wish.min(after(60)));
        prop_assert!(due >= wanted);
        if let Some(misses) = misses {
            let doubled = 1_u64.checked_shl(misses.into()).unwrap_or(u64::MAX).min(60);
            prop_assert_eq!(floor(misses, &pace()), Duration::from_secs(doubled));
            prop_assert!(due >= after(doubled));
        }
    }

    #[test]
    fn a_running_task_is_read_before_it_expires(
        age in 0_i64..DAY, pause in 1_u64..100_000
    ) {
        let summary = summed(&payment(), &[stamped(1, 0), acked(1, "t-1", 0)]);
        let now = at(age);
        let planned = now.plus(Duration::from_secs(pause));
        let due = read_again(&summary, planned, now, None, None, &pace());
        prop_assert!(due > now && due <= planned && due <= at(DAY));
        prop_assert!(due == planned || age >= DAY - 300 || due == at(DAY - 300));
    }

    #[test]
    fn a_request_that_is_put_off_comes_again_ever_more_rarely(
        count in 1_u32..20, asked in 0_i64..3_600
    ) {
        let summary = summed(&payment(), &put_off(count, asked));
        let sent = i64::from(count - 1) * asked;
        let again = resubmit_at(&summary, &pace()).unwrap();
        prop_assert!(again >= at(sent + asked), "what the gateway asked for");
        let doubled = 2_i64.pow(count).min(60);
        prop_assert!(again >= at(sent + doubled));
        prop_assert!(again == at(sent + asked) || again == at(sent + doubled));
    }
}

#[test]
fn a_submit_is_abandoned_after_twenty_deferrals() {
    let opening = payment();
    let most = u32::try_from(MOST_PUT_OFFS).unwrap();
    assert_eq!(step(&opening, &put_off(most - 1, 60)), Step::Submit);
    let often = put_off(most, 60);
    let Step::GiveUp { attempt, reason } = step(&opening, &often) else {
        panic!("it goes on for ever")
    };
    assert_eq!(attempt, most);
    assert!(reason.contains("20 times"), "{reason}");
    assert_eq!(resubmit_at(&summed(&opening, &often), &pace()), None);
    // The same request posted again begins anew.
    let anew = [often, vec![given_up(most), stamped(most + 1, 9_000)]].concat();
    let again = [anew.clone(), vec![deferred(most + 1, 9_005)]].concat();
    assert_eq!(step(&opening, &again), Step::Submit);
    let due = resubmit_at(&summed(&opening, &again), &pace());
    assert_eq!(due, Some(at(9_005)));
}

#[test]
fn unsent_attempts_do_not_count_and_become_rare() {
    let opening = payment();
    let unsent = |count: u32| -> Vec<Fact> {
        let each = (1..=count).flat_map(|n| [stamped(n, i64::from(n) * 60), not_sent(n)]);
        each.collect()
    };
    assert_eq!(step(&opening, &unsent(500)), Step::Submit);
    let pause = |count: u32| -> Duration {
        let due = resubmit_at(&summed(&opening, &unsent(count)), &pace()).unwrap();
        due.since(at(i64::from(count) * 60))
    };
    let pauses = [1, 2, 6, 30, 31].map(|count| pause(count).as_secs());
    assert_eq!(pauses, [2, 4, 60, 60, 300]);
}

#[test]
fn a_submit_deferred_for_a_day_is_abandoned() {
    let opening = payment();
    // From an earlier release, which took a pause of half a day as it came.
    let half = DAY / 2;
    let twice = put_off(2, half);
    assert!(matches!(step(&opening, &twice), Step::GiveUp { .. }));
    // The shop was paused for a day between two attempts.
    let paused = [
        vec![stamped(1, 0), deferred(1, 60)],
        vec![stamped(2, DAY), deferred(2, DAY + 60)],
    ];
    assert_eq!(step(&opening, &paused.concat()), Step::Submit);
}

#[test]
fn a_first_attempt_does_not_wait() {
    let summary = summed(&payment(), &[]);
    assert_eq!(resubmit_at(&summary, &pace()), None::<Timestamp>);
}
