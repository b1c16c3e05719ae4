//! What is done next, and when.

use super::facts::{cases, histories};
use super::given::{
    acked, at, card_payment, decided, fold, not_sent, payment, refused, replayed, result, seen,
    silent, snapshot, stamped, summed, task_id, task_refused, task_unknown, uid,
};
use crate::schedule::{
    Pace, Step, can_resend, check_interval, configured_next_check, doubtful_task, jitter,
    may_repeat_now, plan, retry_missed_check, turn,
};
use crate::{Fact, RefusalKind, Snapshot, State, Timestamp, TransactionRequest, derive};
use proptest::prelude::*;
use std::time::Duration;

const DAY: i64 = 24 * 3_600;

fn pace() -> Pace {
    Pace {
        first_check: Duration::from_secs(1),
        max_interval: Duration::from_secs(60),
        max_interval_old: Duration::from_secs(6 * 3_600),
        recheck_after_final: vec![Duration::from_secs(3_600), Duration::from_secs(86_400)],
    }
}

fn step(opening: &TransactionRequest, facts: &[Fact], now: i64) -> Step {
    let summary = summed(opening, facts);
    plan(opening, &summary, &derive(opening, &summary), at(now))
}

fn due(facts: &[Fact], since: i64, now: i64) -> Option<Timestamp> {
    configured_next_check(&fold(&payment(), facts), at(since), at(now), &pace())
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn every_open_transaction_has_a_next_check_and_a_step(
        (opening, facts) in histories(), age in 0_i64..200_000
    ) {
        let summary = summed(&opening, &facts);
        let derived = derive(&opening, &summary);
        let now = at(30).plus(Duration::from_secs(age.unsigned_abs()));
        let next = configured_next_check(&derived, at(30), now, &pace());
        let step = plan(&opening, &summary, &derived, now);
        if !derived.state.is_final() {
            prop_assert!(next.is_some_and(|next| next > now || (age == 0 && next == now)));
            prop_assert!(step != Step::Idle);
        }
        // Sent is only what is accepted, and never what may have been processed already.
        let sends = matches!(step, Step::Submit | Step::GiveUp { .. });
        prop_assert_eq!(sends, derived.state == State::Accepted);
        prop_assert!(step != Step::Submit || summary.can_send());
    }

    #[test]
    fn the_interval_grows_with_age_within_its_bounds(
        young in 0_u64..100_000, more in 0_u64..100_000
    ) {
        let (one, two) = (Duration::from_secs(young), Duration::from_secs(young + more));
        prop_assert!(check_interval(one, &pace()) <= check_interval(two, &pace()));
        prop_assert!(check_interval(one, &pace()) >= pace().first_check);
        prop_assert!(check_interval(two, &pace()) <= pace().max_interval_old);
    }

    #[test]
    fn jitter_puts_off_by_less_than_a_tenth(wait in 0_i64..100_000, random in any::<u64>()) {
        let spread = jitter(at(0), at(wait), random);
        prop_assert!(spread >= at(wait));
        prop_assert!(spread.since(at(wait)) <= at(wait).since(at(0)) / 10);
    }

    #[test]
    fn a_step_completes_its_transaction(
        hour in 0_i64..48, failed in any::<bool>(), ack in any::<bool>()
    ) {
        // Found by name alone while our own request was open: no history stays pending for ever.
        let opening = payment();
        let mut facts = vec![stamped(1, 0)];
        facts.extend(ack.then(|| acked(1, "t-1", 1)));
        let status = if failed { "failed" } else { "expired" };
        facts.push(seen(&snapshot(&opening, "u-1", status, 5)));
        prop_assert_eq!(fold(&opening, &facts).state, State::Pending);
        match step(&opening, &facts, hour * 3_600 + 1) {
            Step::AskTask(task) => {
                prop_assert!(hour < 24);
                facts.push(Fact::TaskUnknown { task });
            }
            Step::ExpireTask(task) => {
                prop_assert!(hour >= 24);
                facts.push(Fact::TaskOutlived { task });
            }
            Step::TakeOver { attempt } => {
                prop_assert!(!ack);
                facts.push(silent(attempt));
            }
            other => prop_assert!(false, "{other:?}"),
        }
        prop_assert!(fold(&opening, &facts).state.is_final());
    }
}

#[test]
fn each_state_has_its_step() {
    let opening = payment();
    let of = |facts: &[Fact]| step(&opening, facts, 100);
    let sent = [stamped(1, 0)];
    let task = [stamped(1, 0), acked(1, "t-1", 1)];
    let doubt = [stamped(1, 0), silent(1)];
    let ours = |status| {
        let found = snapshot(&opening, "u-1", status, 5);
        [task.to_vec(), vec![result("t-1", &found)]].concat()
    };
    assert_eq!(of(&[]), Step::Submit);
    assert_eq!(of(&sent), Step::TakeOver { attempt: 1 });
    assert_eq!(of(&task), Step::AskTask(task_id("t-1")));
    assert_eq!(
        step(&opening, &task, DAY + 1),
        Step::ExpireTask(task_id("t-1"))
    );
    assert_eq!(of(&doubt), Step::LookUpTrackingId);
    assert_eq!(of(&ours("incomplete")), Step::LookUpUid(uid("u-1")));
    // What has ended is looked up by its name, so that another success under it comes to light.
    for status in ["successful", "failed"] {
        assert_eq!(of(&ours(status)), Step::LookUpBoth(uid("u-1")));
    }
    let unsent = [stamped(1, 0), not_sent(1)];
    assert_eq!(step(&card_payment(), &unsent, 100), Step::Idle);
}

#[test]
fn a_long_pending_transaction_is_looked_up_by_tracking_id() {
    let opening = payment();
    let open = result("t-1", &snapshot(&opening, "u-1", "incomplete", 5));
    let pending = [stamped(1, 0), acked(1, "t-1", 1), open];
    let both = Step::LookUpBoth(uid("u-1"));
    assert_eq!(step(&opening, &pending, 899), Step::LookUpUid(uid("u-1")));
    assert_eq!(step(&opening, &pending, 900), both);
    // The uid has its turn where the name tells nothing.
    assert_eq!(turn(both.clone(), &opening, 0), both);
    assert_eq!(turn(both.clone(), &opening, 1), Step::LookUpUid(uid("u-1")));
    // So it is where an attempt has ended in doubt: a strange failure under the name ends nothing then.
    let doubtful = [pending.to_vec(), vec![stamped(2, 9), silent(2)]].concat();
    assert_eq!(step(&opening, &doubtful, 2_000), both);
}

#[test]
fn a_task_that_told_what_leaves_all_open_is_asked_once_more() {
    let opening = payment();
    let asked = |kind, now| {
        let facts = [stamped(1, 0), acked(1, "t-1", 1), task_refused("t-1", kind)];
        let summary = summed(&opening, &facts);
        let derived = derive(&opening, &summary);
        doubtful_task(&summary, &derived, at(now)).cloned()
    };
    let doubt = RefusalKind::Doubt;
    assert_eq!(asked(doubt, 200), Some(task_id("t-1")));
    assert_eq!(
        asked(doubt, 260),
        None,
        "the look-ups have their turn alone"
    );
    assert_eq!(asked(doubt, 30), None, "it has just told that");
    assert_eq!(asked(doubt, DAY + 2), None, "the gateway has forgotten it");
    assert_eq!(asked(RefusalKind::Duplicate, 200), None);
    // What the gateway does not know is asked no more.
    let unknown = [
        stamped(1, 0),
        acked(1, "t-1", 1),
        task_refused("t-1", doubt),
        task_unknown("t-1"),
    ];
    let summary = summed(&opening, &unknown);
    let derived = derive(&opening, &summary);
    assert_eq!(doubtful_task(&summary, &derived, at(200)), None);
}

#[test]
fn a_replay_comes_after_a_pause_and_never_for_a_duplicate() {
    let opening = payment();
    let may = |facts: &[Fact], now| {
        let summary = summed(&opening, facts);
        may_repeat_now(&summary, &derive(&opening, &summary), at(now), &pace())
    };
    let silence = [stamped(1, 0), silent(1)];
    assert_eq!([1, 2].map(|now| may(&silence, now)), [false, true]);
    let twice = [stamped(1, 0), silent(1), stamped(2, 30), silent(2)];
    assert_eq!([33, 34].map(|now| may(&twice, now)), [false, true]);
    let duplicate = [stamped(1, 0), refused(1, RefusalKind::Duplicate)];
    assert!(!may(&duplicate, 600));
}

#[test]
fn an_unsent_attempt_does_not_hide_an_unanswered_one() {
    let facts = [stamped(1, 0), stamped(2, 9), not_sent(2)];
    assert_eq!(step(&payment(), &facts, 100), Step::TakeOver { attempt: 1 });
}

#[test]
fn decided_doubt_still_reads_a_running_task() {
    let facts = [
        stamped(1, 0),
        acked(1, "t-1", 1),
        decided(5, State::InDoubt, None),
    ];
    assert_eq!(step(&payment(), &facts, 100), Step::AskTask(task_id("t-1")));
}

#[test]
fn a_final_by_tracking_id_is_checked_against_our_task() {
    let opening = payment();
    let found = |status| seen(&snapshot(&opening, "u-2", status, 5));
    let running = [stamped(1, 0), acked(1, "t-1", 1)];
    let paid = [running.to_vec(), vec![found("successful")]].concat();
    assert_eq!(step(&opening, &paid, 100), Step::AskTask(task_id("t-1")));
    assert_eq!(step(&opening, &paid, DAY + 1), Step::LookUpBoth(uid("u-2")));
    let open = result("t-1", &snapshot(&opening, "u-1", "incomplete", 5));
    let failed = [running.to_vec(), vec![silent(1), found("failed"), open]].concat();
    assert_eq!(fold(&opening, &failed).state, State::Failed);
    assert_eq!(step(&opening, &failed, 100), Step::LookUpBoth(uid("u-1")));
}

#[test]
fn checks_grow_from_the_first_to_the_longest_interval() {
    let facts = [stamped(1, 0), acked(1, "t-1", 1)];
    assert_eq!(due(&facts, 0, 0), Some(at(1)));
    assert_eq!(due(&facts, 0, 40), Some(at(60)));
    assert_eq!(due(&facts, 0, 800), Some(at(860)));
    assert_eq!(due(&facts, 0, 3_600), Some(at(3_600 + 1_800)));
    assert_eq!(due(&facts, 0, 10 * DAY), Some(at(10 * DAY + 6 * 3_600)));
}

#[test]
fn a_final_state_is_rechecked_as_configured() {
    let paid = snapshot(&payment(), "u-1", "successful", 5);
    let facts = [stamped(1, 0), result("t-1", &paid)];
    assert_eq!(due(&facts, 0, 0), Some(at(3_600)));
    assert_eq!(due(&facts, 0, 3_600), Some(at(DAY)));
    assert_eq!(due(&facts, 0, DAY), None);
    let unsent = fold(&card_payment(), &[stamped(1, 0), not_sent(1)]);
    assert_eq!(configured_next_check(&unsent, at(0), at(0), &pace()), None);
}

#[test]
fn a_failed_recheck_is_retried_for_a_day() {
    let paid = snapshot(&payment(), "u-1", "successful", 5);
    let facts = [stamped(1, 0), result("t-1", &paid)];
    let ended = fold(&payment(), &facts);
    let owed = |now| retry_missed_check(&ended, at(0), at(now), &pace());
    assert_eq!(owed(3_599), None, "none was due yet");
    assert_eq!(owed(3_600), Some(at(3_660)));
    assert_eq!(owed(4_600), Some(at(4_600 + 500)));
    assert_eq!(owed(DAY - 2), Some(at(DAY - 2 + 41_399)));
    assert_eq!(owed(DAY), Some(at(DAY + 60)));
    assert!(owed(2 * DAY - 1).is_some());
    assert_eq!(owed(2 * DAY), None);
    let running = fold(&payment(), &[stamped(1, 0), acked(1, "t-1", 1)]);
    assert_eq!(retry_missed_check(&running, at(0), at(DAY), &pace()), None);
    let unsent = fold(&card_payment(), &[stamped(1, 0), not_sent(1)]);
    assert_eq!(retry_missed_check(&unsent, at(0), at(DAY), &pace()), None);
}

#[test]
fn a_duplicate_is_looked_up_after_0_1_5_and_15_minutes() {
    let facts = [stamped(1, 0), refused(1, RefusalKind::Duplicate)];
    assert_eq!(due(&facts, 0, 0), Some(at(0)));
    assert_eq!(due(&facts, 0, 1), Some(at(60)));
    assert_eq!(due(&facts, 0, 61), Some(at(300)));
    assert_eq!(due(&facts, 0, 301), Some(at(900)));
    assert!(due(&facts, 0, 901).is_some_and(|next| next > at(901)));
    let other = [stamped(1, 0), refused(1, RefusalKind::Doubt)];
    assert_eq!(due(&other, 0, 0), Some(at(1)));
}

#[test]
fn a_mismatch_waits_for_a_person_at_the_slow_pace() {
    let odd = Snapshot {
        amount: Some(900),
        ..snapshot(&payment(), "u-1", "successful", 5)
    };
    let facts = [stamped(1, 0), result("t-1", &odd)];
    assert_eq!(due(&facts, 0, 0), Some(at(60)));
    assert_eq!(due(&facts, 0, 600), Some(at(900)));
    assert_eq!(due(&facts, 0, 10 * DAY), Some(at(10 * DAY + 6 * 3_600)));
}

#[test]
fn a_request_is_resent_for_twenty_hours() {
    let opening = payment();
    let may = |facts: &[Fact], now| can_resend(&opening, &summed(&opening, facts), at(now));
    let once = [stamped(1, 0), silent(1)];
    assert!(may(&once, 20 * 3_600 - 1));
    assert!(!may(&once, 20 * 3_600), "the key may be forgotten soon");
    let twice = [stamped(1, 0), silent(1), replayed(2, 10 * 3_600), silent(2)];
    assert!(
        !may(&twice, 20 * 3_600),
        "a repeat does not begin the time anew"
    );
    let often: Vec<Fact> = (1..=8).flat_map(|n| [replayed(n, 10), silent(n)]).collect();
    assert!(may(&often[..14], 20) && !may(&often, 20));
    assert!(!may(&[], 0), "what was never sent is not repeated");
}

#[test]
fn card_data_is_never_repeated() {
    let opening = card_payment();
    let facts = [stamped(1, 0), silent(1)];
    assert!(!can_resend(&opening, &summed(&opening, &facts), at(1)));
}
