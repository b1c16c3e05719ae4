//! Where looks are placed by what was learned.

use super::facts::cases;
use super::given::{acked, at, fold, payment, result, seen, silent, snapshot, stamped, summed};
use crate::forecast::{
    BUCKETS, CompletionSample, Forecast, LatencyHistory, gateway_duration, is_in_time,
    price_multiplier,
};
use crate::schedule::{Pace, check_interval, configured_next_check, needs_no_recheck, next_check};
use crate::schedule::{TASK_LIFETIME, task_owed};
use crate::{Channel, Fact, Snapshot, derive};
use proptest::prelude::*;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(600);

fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn asked(times: impl IntoIterator<Item = f64>) -> LatencyHistory {
    let mut experience = LatencyHistory::default();
    for time in times {
        experience.see(CompletionSample::ByAsking(Some(secs(time))), at(0));
    }
    experience
}

fn forecast(experience: &LatencyHistory) -> Forecast {
    Forecast::of(experience, 1.0).unwrap()
}

/// So many times, evenly spread between two.
fn spread(from: f64, to: f64, count: u32) -> impl Iterator<Item = f64> {
    (0..count).map(move |n| from + (to - from) * f64::from(n) / f64::from(count))
}

/// The ages of the first looks.
fn looks(forecast: &Forecast, count: usize) -> Vec<f64> {
    let mut age = Duration::ZERO;
    let mut ages = Vec::new();
    for _ in 0..count {
        age += forecast.next_interval(age, SECOND, LONGEST);
        ages.push(age.as_secs_f64());
    }
    ages
}

fn restored(counts: &[f32], told: f32, missed: f32) -> LatencyHistory {
    LatencyHistory::restore(counts, told, missed, at(0)).unwrap()
}

fn experiences() -> impl Strategy<Value = LatencyHistory> {
    let counts = proptest::collection::vec(0_f32..200.0, BUCKETS);
    (counts, 0_f32..300.0, 0_f32..300.0)
        .prop_map(|(counts, told, missed)| restored(&counts, told, missed))
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn the_settings_bound_every_forecast(
        experience in experiences(), dear in 1_f64..300.0, age in 0_f64..400_000.0,
        least in 0_f64..100.0, more in 0_f64..20_000.0
    ) {
        let (least, longest) = (secs(least), secs(least + more));
        if let Some(forecast) = Forecast::of(&experience, dear) {
            let pause = forecast.next_interval(secs(age), least, longest);
            prop_assert!(pause >= least && pause <= longest, "{pause:?}");
        }
    }

    #[test]
    fn a_lost_webhook_is_found_within_max_interval(
        known in proptest::option::of(experiences()), dear in 1_f64..300.0, age in 0_u64..400_000_000,
        before in 0_u64..100_000_000, random in any::<u64>(), pending in any::<bool>(),
        first in 1_u64..20_000, more in 0_u64..200_000
    ) {
        let pace = Pace {
            first_check: Duration::from_millis(first),
            max_interval: Duration::from_millis(first + more),
            ..pace()
        };
        let mut facts = vec![stamped(1, 0), acked(1, "t-1", 0)];
        if pending {
            facts.push(result("t-1", &snapshot(&payment(), "u-1", "incomplete", 1)));
        }
        let derived = fold(&payment(), &facts);
        let age = Duration::from_millis(age);
        let (since, sent) = (at(0), at(0).minus(Duration::from_millis(before)));
        let now = since.plus(age);
        let forecast = known.and_then(|known| Forecast::of(&known, dear));
        let due = next_check(&derived, since, Some(sent), now, &pace, forecast.as_ref(), random).unwrap();
        let pause = due.since(now);
        prop_assert!(pause >= pace.first_check, "{pause:?}");
        if age < Duration::from_secs(900) {
            prop_assert!(pause <= pace.max_interval, "{pause:?}");
        } else {
            prop_assert!(pause <= check_interval(age, &pace), "{pause:?} at {age:?}");
        }
    }

    #[test]
    fn replicas_that_merge_lose_nothing_of_each_other(
        one in proptest::collection::vec(0.1_f64..5_000.0, 0..60),
        two in proptest::collection::vec(0.1_f64..5_000.0, 0..60)
    ) {
        let (a, b) = (asked(one.iter().copied()), asked(two.iter().copied()));
        let stored = LatencyHistory::default();
        let (ab, ba) = (stored.merge(&a).merge(&b), stored.merge(&b).merge(&a));
        for other in [ba, asked(one.into_iter().chain(two))] {
            let near = |x: f32, y: f32| (x - y).abs() < 0.01;
            prop_assert!(ab.counts().iter().zip(other.counts()).all(|(x, y)| near(*x, *y)));
            prop_assert!(near(ab.webhook_hits_and_misses().1, other.webhook_hits_and_misses().1));
        }
    }

    #[test]
    fn lost_webhooks_make_checks_earlier(
        times in proptest::collection::vec(0.5_f64..500.0, 40..200), told in 0_f32..300.0, less in 0_f32..300.0
    ) {
        let counts = asked(times).counts().to_vec();
        let first = |told: f32| {
            let known = restored(&counts, told, 10.0);
            forecast(&known).next_interval(Duration::ZERO, SECOND, LONGEST)
        };
        prop_assert!(first((told - less).max(0.0)) <= first(told));
    }
}

#[test]
fn too_little_is_no_forecast() {
    assert!(Forecast::of(&asked(spread(1.0, 2.0, 29)), 1.0).is_none());
    assert!(Forecast::of(&asked(spread(1.0, 2.0, 31)), 1.0).is_some());
}

#[test]
fn checks_wait_for_the_common_time_to_final() {
    let ages = looks(&forecast(&asked(spread(20.0, 24.0, 200))), 1);
    assert!(ages[0] > 20.0 && ages[0] < 30.0, "{ages:?}");
}

#[test]
fn it_follows_a_distribution_that_has_moved() {
    let mut known = asked(spread(1.5, 2.0, 500));
    assert!(looks(&forecast(&known), 1)[0] < 3.0);
    for time in spread(30.0, 40.0, 500) {
        known.see(CompletionSample::ByAsking(Some(secs(time))), at(6 * 3_600));
    }
    assert!(looks(&forecast(&known), 1)[0] > 25.0);
}

#[test]
fn no_check_falls_between_two_modes() {
    let known = asked(spread(1.5, 2.0, 140).chain(spread(90.0, 120.0, 60)));
    let ages = looks(&forecast(&known), 4);
    assert!(ages[0] > 1.5 && ages[0] < 4.0, "{ages:?}");
    let useless = ages.iter().filter(|age| (5.0..90.0).contains(*age)).count();
    assert!(
        useless == 0 && ages.iter().any(|age| (90.0..140.0).contains(age)),
        "{ages:?}"
    );
}

#[test]
fn a_transaction_older_than_all_samples_is_still_checked() {
    let ages = looks(&forecast(&asked(spread(1.0, 2.0, 1_000))), 40);
    assert!(ages.windows(2).all(|pair| pair[1] - pair[0] < 600.1));
    assert!(ages[39] > 3_600.0, "{ages:?}");
}

#[test]
fn reliable_webhooks_make_checks_rare() {
    let mut known = LatencyHistory::default();
    for time in spread(1.0, 5.0, 300) {
        known.see(CompletionSample::ByWebhook(Some(secs(time))), at(0));
    }
    let before = looks(&forecast(&known), 1)[0];
    assert!(before > 5.0, "{before}");
    // They stop coming.
    for time in spread(1.0, 5.0, 300) {
        known.see(CompletionSample::ByAsking(Some(secs(time))), at(0));
    }
    assert!(looks(&forecast(&known), 1)[0] < before);
}

#[test]
fn one_missed_webhook_ends_the_longest_interval() {
    let longest = Duration::from_secs(60);
    let mut known = LatencyHistory::default();
    for time in spread(1.0, 5.0, 200) {
        known.see(CompletionSample::ByWebhook(Some(secs(time))), at(0));
    }
    let pause =
        |known: &LatencyHistory| forecast(known).next_interval(Duration::ZERO, SECOND, longest);
    assert_eq!(pause(&known), longest);
    known.see(CompletionSample::ByAsking(Some(SECOND)), at(0));
    assert!(pause(&known) < longest, "one was lost");
}

#[test]
fn a_webhook_that_came_after_all_was_not_lost() {
    let mut known = LatencyHistory::default();
    known.see(CompletionSample::ByAsking(Some(SECOND)), at(0));
    known.see(CompletionSample::WebhookAfterAll, at(1));
    assert_eq!(known.webhook_hits_and_misses(), (1.0, 0.0));
    assert!(
        (known.weight() - 1.0).abs() < 1e-6,
        "one end was seen, once"
    );
    // What is still to be merged may hold the second half alone.
    let (mut first, mut rest) = (LatencyHistory::default(), LatencyHistory::default());
    first.see(CompletionSample::ByAsking(Some(SECOND)), at(0));
    rest.see(CompletionSample::WebhookAfterAll, at(1));
    assert_eq!(first.merge(&rest).webhook_hits_and_misses(), (1.0, 0.0));
    // Whichever is stored first.
    let (told, missed) = rest.webhook_hits_and_misses();
    let stored = LatencyHistory::restore(rest.counts(), told, missed, rest.at()).unwrap();
    assert_eq!(stored.merge(&first).webhook_hits_and_misses(), (1.0, 0.0));
    assert!(is_in_time(secs(2.0)) && !is_in_time(secs(3_600.0)));
}

#[test]
fn short_requests_are_dear_and_bought_less() {
    assert_eq!(
        (price_multiplier(1.0, true), price_multiplier(2.0, false)),
        (2.0, 1.0)
    );
    assert_eq!(
        (price_multiplier(1.0, false), price_multiplier(1e9, true)),
        (1.0, 256.0)
    );
    let known = asked(spread(1.0, 60.0, 300));
    let within = |dear: f64| {
        let ages = looks(&Forecast::of(&known, dear).unwrap(), 60);
        ages.iter().filter(|age| **age < 60.0).count()
    };
    assert!(within(64.0) < within(1.0));
}

#[test]
fn old_samples_decay_and_are_kept_without_traffic() {
    let mut known = asked(spread(1.5, 2.0, 1_000));
    known.see(CompletionSample::ByAsking(Some(secs(40.0))), at(12 * 3_600));
    assert!(
        known.weight() > 50.0 && known.weight() < 70.0,
        "{}",
        known.weight()
    );
}

#[test]
fn a_stored_forecast_is_restored_and_nonsense_rejected() {
    let known = asked([1.0, 2.0, 90_000_000.0]);
    let (told, missed) = known.webhook_hits_and_misses();
    let again = LatencyHistory::restore(known.counts(), told, missed, known.at());
    assert_eq!(again, Some(known));
    let one = [1.0; BUCKETS];
    let with = |nonsense: f32| {
        let mut counts = one;
        counts[7] = nonsense;
        counts
    };
    for (counts, told, missed) in [
        (&one[1..], 0.0, 0.0),
        (&[], 0.0, 0.0),
        (&with(f32::NAN), 0.0, 0.0),
        (&with(-3.0), 0.0, 0.0),
        (&with(f32::INFINITY), 0.0, 0.0),
        (&one, -1.0, 0.0),
        (&one, f32::NAN, 0.0),
        (&one, 0.0, f32::INFINITY),
    ] {
        assert!(LatencyHistory::restore(counts, told, missed, at(0)).is_none());
    }
}

#[test]
fn the_gateways_own_time_counts_where_it_can_be_true() {
    let tolerance = secs(120.0);
    let of = |ended: Option<f64>, webhook| {
        let ended = ended.map(|s| at(0).plus(secs(1_000.0 + s)).minus(secs(1_000.0)));
        let took = gateway_duration(at(0), ended, at(60), webhook, tolerance);
        took.map(|took| took.as_secs_f64())
    };
    assert_eq!(of(Some(7.25), false), Some(7.25));
    assert_eq!(of(Some(7.0), false), Some(7.5), "a time in whole seconds");
    assert_eq!(of(Some(60.0), false), Some(60.0));
    assert_eq!(of(Some(75.5), false), Some(60.0), "a clock that is ahead");
    assert_eq!(of(Some(200.5), false), None, "a clock that is wrong");
    assert_eq!(of(None, false), None);
    assert_eq!(of(None, true), Some(60.0), "a webhook comes when it ends");
    let early = gateway_duration(at(10), Some(at(5)), at(60), false, tolerance);
    assert_eq!(early, None, "before it was sent");
}

fn pace() -> Pace {
    Pace {
        first_check: SECOND,
        max_interval: Duration::from_secs(60),
        max_interval_old: Duration::from_secs(6 * 3_600),
        recheck_after_final: vec![Duration::from_secs(3_600)],
    }
}

#[test]
fn a_forecast_schedules_only_checks_of_open_transactions() {
    let learned = forecast(&asked(spread(20.0, 24.0, 200)));
    let due = |facts: &[Fact], now| {
        let derived = fold(&payment(), facts);
        let look =
            |forecast| next_check(&derived, at(0), Some(at(0)), at(now), &pace(), forecast, 0);
        assert_eq!(
            look(None),
            configured_next_check(&derived, at(0), at(now), &pace())
        );
        (look(Some(&learned)), look(None))
    };
    let runs = [stamped(1, 0), acked(1, "t-1", 0)];
    let (learned_due, configured) = due(&runs, 0);
    assert_eq!(configured, Some(at(1)));
    assert!(
        learned_due > Some(at(20)) && learned_due < Some(at(30)),
        "{learned_due:?}"
    );
    let opened = snapshot(&payment(), "u-1", "incomplete", 1);
    let pending = [runs.to_vec(), vec![result("t-1", &opened)]].concat();
    assert_ne!(due(&pending, 0).0, Some(at(1)));
    let odd = Snapshot {
        amount: Some(900),
        ..snapshot(&payment(), "u-1", "successful", 5)
    };
    let paid = snapshot(&payment(), "u-1", "successful", 5);
    let failed = seen(&snapshot(&payment(), "u-1", "failed", 5));
    for others in [
        vec![stamped(1, 0)],
        // A webhook told of its end, and our own task has still to confirm it.
        [runs.to_vec(), vec![failed]].concat(),
        vec![stamped(1, 0), silent(1)],
        vec![stamped(1, 0), result("t-1", &odd)],
        vec![stamped(1, 0), result("t-1", &paid)],
    ] {
        let (learned_due, configured) = due(&others, 3);
        assert_eq!(learned_due, configured, "{others:?}");
    }
}

#[test]
fn two_agreeing_channels_skip_rechecks_of_a_success() {
    let settled = |status: &str, channels: &[Channel]| {
        let found = snapshot(&payment(), "u-1", status, 5);
        let facts = [stamped(1, 0), seen(&found), result("t-1", &found)];
        let mut summary = summed(&payment(), &facts);
        for channel in channels {
            summary.record_final_sources(&[&seen(&found)], *channel, Some(true));
        }
        needs_no_recheck(&summary, &derive(&payment(), &summary))
    };
    let both = [Channel::Webhook, Channel::TaskResult];
    assert!(settled("successful", &both));
    assert!(settled("successful", &[Channel::Query, Channel::Webhook]));
    assert!(
        !settled("failed", &both),
        "a late success must not be missed"
    );
    assert!(!settled("successful", &both[..1]));
    assert!(!settled(
        "successful",
        &[Channel::TaskResult, Channel::Query]
    ));
    assert!(!settled("incomplete", &both));
    let paid = snapshot(&payment(), "u-1", "successful", 5);
    let facts = [stamped(1, 0), result("t-1", &paid)];
    let of = |signed, facts: &[Fact]| {
        let mut summary = summed(&payment(), facts);
        summary.record_final_sources(&[&seen(&paid)], Channel::Webhook, signed);
        summary.record_final_sources(&[&seen(&paid)], Channel::TaskResult, None);
        needs_no_recheck(&summary, &derive(&payment(), &summary))
    };
    assert!(of(Some(true), &facts));
    assert!(!of(Some(false), &facts) && !of(None, &facts), "not signed");
    let opened = seen(&snapshot(&payment(), "u-1", "pending", 9));
    let contradicted = [facts.to_vec(), vec![opened]].concat();
    assert!(!of(Some(true), &contradicted));
}

#[test]
fn a_success_that_only_one_way_knows_of_is_not_agreed_on() {
    // We saw a failure when we asked; a webhook told of the correction.
    let (failed, paid) = (
        snapshot(&payment(), "u-1", "failed", 5),
        snapshot(&payment(), "u-1", "successful", 9),
    );
    let facts = [stamped(1, 0), result("t-1", &failed), seen(&paid)];
    let mut summary = summed(&payment(), &facts);
    summary.record_final_sources(&[&seen(&failed)], Channel::TaskResult, None);
    summary.record_final_sources(&[&seen(&paid)], Channel::Webhook, Some(true));
    assert!(!needs_no_recheck(&summary, &derive(&payment(), &summary)));
    summary.record_final_sources(&[&seen(&paid)], Channel::Query, None);
    assert!(needs_no_recheck(&summary, &derive(&payment(), &summary)));
}

#[test]
fn a_success_that_our_own_request_did_not_name_is_not_agreed_on() {
    let found = snapshot(&payment(), "u-y", "successful", 5);
    let agreed = |facts: &[Fact]| {
        let mut summary = summed(&payment(), facts);
        for channel in [Channel::Webhook, Channel::Query] {
            summary.record_final_sources(&[&seen(&found)], channel, Some(true));
        }
        needs_no_recheck(&summary, &derive(&payment(), &summary))
    };
    let runs = [stamped(1, 0), acked(1, "t-1", 1), seen(&found)];
    assert!(!agreed(&runs), "our own may end as another");
    assert!(!agreed(&[stamped(1, 0), silent(1), seen(&found)]));
    assert!(agreed(
        &[runs.to_vec(), vec![result("t-1", &found)]].concat()
    ));
}

#[test]
fn a_task_that_runs_beside_an_end_is_asked_before_it_is_forgotten() {
    let found = snapshot(&payment(), "u-y", "successful", 5);
    let facts = [stamped(1, 0), acked(1, "t-1", 1), seen(&found)];
    let pace = Pace {
        first_check: SECOND,
        max_interval: LONGEST,
        max_interval_old: LONGEST,
        recheck_after_final: Vec::new(),
    };
    let owed = |facts: &[Fact], since: i64, now: i64| {
        let summary = summed(&payment(), facts);
        let derived = derive(&payment(), &summary);
        task_owed(&summary, &derived, at(since), at(now), &pace)
    };
    let end = 1 + i64::try_from(TASK_LIFETIME.as_secs()).unwrap();
    assert_eq!(owed(&facts, 5, 10), Some(at(end - 300)));
    assert_eq!(owed(&facts, 5, end - 300), Some(at(end)));
    assert_eq!(owed(&facts, 5, end), None, "a look by its name came last");
    assert_eq!(
        owed(&facts, 0, 10),
        Some(at(15)),
        "known before it was sent"
    );
    assert_eq!(owed(&facts, 0, end), None);
    let named = [facts.to_vec(), vec![result("t-1", &found)]].concat();
    assert_eq!(owed(&named, 5, 10), None);
    assert_eq!(owed(&facts[..2], 5, 10), None, "it is not final");
}
