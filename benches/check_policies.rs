//! Compares check policies: delay until the final state is known against requests per transaction.
//!
//! The forecast-based policy and fixed schedules are replayed in virtual time over drawn times to
//! final. The forecast-based policy is the function that the ledger calls, and it learns during the
//! measurement. `check_policies_live` confirms the results with the real service.

use domain::fold::{DerivedState, StateBasis};
use domain::forecast::{self, CompletionSample, ForecastModel};
use domain::schedule::{Pace, next_check};
use domain::{State, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Map, Value, json};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Number of measured draws per cell, and of warm-up draws.
const DRAWS: usize = 20_000;
const WARM_UP: usize = 2_000;

/// Interval between payments.
const ARRIVAL_INTERVAL: Duration = Duration::from_millis(500);

/// Delay of a webhook after the final state, in seconds.
const WEBHOOK: f64 = 0.15;

/// Tolerance of "no worse": this share, or this number of seconds or requests.
const SLACK: f64 = 0.01;

/// Distributions of the time to final.
pub const DISTRIBUTIONS: [(&str, &str); 5] = [
    ("fast", "lognormal, median 1.5 s, sigma 0.35"),
    ("slow", "lognormal, median 25 s, sigma 0.35"),
    (
        "bimodal",
        "70 % as fast; 30 % lognormal, median 45 s, sigma 0.5 (3-D Secure)",
    ),
    ("heavy", "Pareto, from 1 s, exponent 1.1, at most 80,000 s"),
    (
        "exponential",
        "exponential, mean 1.5 s (as in the simulator)",
    ),
];

fn draw(distribution: &str, random: &mut StdRng) -> f64 {
    let mut lognormal = |median: f64, sigma: f64| {
        let (a, b): (f64, f64) = (1.0 - random.random::<f64>(), random.random());
        median * (sigma * (-2.0 * a.ln()).sqrt() * (b * std::f64::consts::TAU).cos()).exp()
    };
    match distribution {
        "fast" => lognormal(1.5, 0.35),
        "slow" => lognormal(25.0, 0.35),
        "bimodal" => {
            let (fast, slow) = (lognormal(1.5, 0.35), lognormal(45.0, 0.5));
            if random.random::<f64>() < 0.3 {
                slow
            } else {
                fast
            }
        }
        "heavy" => (1.0 - random.random::<f64>())
            .powf(-1.0 / 1.1)
            .min(80_000.0),
        _ => -1.5 * (1.0 - random.random::<f64>()).ln(),
    }
}

/// A check policy.
#[derive(Clone, Copy, PartialEq)]
enum Policy {
    /// The ledger's policy, with a multiple of the price of a request.
    Learned(f64),
    /// The ledger's policy without a forecast: the configured pace.
    Configured,
    /// Every 60 s during the first 15 minutes, then every 300 s.
    Fixed,
    /// After 1 s, then with doubled intervals.
    Doubling,
}

/// Cost and result of a policy.
#[derive(Clone, Copy)]
pub struct Outcome {
    /// Requests per transaction until its final state is known, without the POST.
    pub requests: f64,
    /// Median delay after the gateway's final state, in seconds.
    pub p50: f64,
    /// 99th percentile of the delay, in seconds.
    pub p99: f64,
}

impl Outcome {
    /// Computes an outcome from the total number of requests and the delays.
    pub fn of(requests: f64, mut delays: Vec<f64>) -> Self {
        delays.sort_by(f64::total_cmp);
        let at = |share: f64| delays[(delays.len() as f64 * share) as usize];
        Self {
            requests: requests / delays.len() as f64,
            p50: at(0.5),
            p99: at(0.99),
        }
    }

    fn values(&self) -> [f64; 3] {
        [self.requests, self.p50, self.p99]
    }

    /// Returns whether it is no worse in any value, and better in at least one.
    fn dominates(&self, other: &Self) -> bool {
        let no_worse = |a: f64, b: f64| a <= b * (1.0 + SLACK) || a <= b + SLACK;
        let better = |a: f64, b: f64| !no_worse(b, a);
        let pairs = || self.values().into_iter().zip(other.values());
        pairs().all(|(a, b)| no_worse(a, b)) && pairs().any(|(a, b)| better(a, b))
    }

    /// Returns the result for the JSON file.
    pub fn json(&self) -> Value {
        let round = |value: f64| (value * 1_000.0).round() / 1_000.0;
        json!({"requests": round(self.requests), "p50_s": round(self.p50), "p99_s": round(self.p99)})
    }
}

/// Returns the default pace.
fn pace() -> Pace {
    Pace {
        first_check: Duration::from_secs(1),
        max_interval: Duration::from_secs(60),
        max_interval_old: Duration::from_secs(6 * 3_600),
        recheck_after_final: Vec::new(),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Sent,
    Webhook,
    Look,
}

struct Payment {
    sent: Timestamp,
    took: f64,
    lost: bool,
    known: Option<f64>,
    looks: u32,
    pause: f64,
}

struct Replay {
    policy: Policy,
    payments: Vec<Payment>,
    queue: BinaryHeap<Reverse<(i64, usize, Event)>>,
    learner: ForecastModel,
    random: StdRng,
}

fn replay(distribution: &str, loss: f64, policy: Policy) -> Outcome {
    // All policies get the same draws.
    let mut random = StdRng::seed_from_u64(7);
    let payments: Vec<Payment> = (0..WARM_UP + DRAWS)
        .map(|n| Payment {
            sent: Timestamp::from_micros(0).plus(ARRIVAL_INTERVAL * u32::try_from(n).unwrap()),
            took: draw(distribution, &mut random),
            lost: random.random::<f64>() < loss,
            known: None,
            looks: 0,
            pause: 0.0,
        })
        .collect();
    let sent = payments.iter().enumerate();
    let queue = sent
        .map(|(n, p)| Reverse((p.sent.micros(), n, Event::Sent)))
        .collect();
    let mut replay = Replay {
        policy,
        payments,
        queue,
        learner: ForecastModel::default(),
        random: StdRng::seed_from_u64(8),
    };
    while let Some(Reverse((at, n, event))) = replay.queue.pop() {
        replay.step(Timestamp::from_micros(at), n, event);
    }
    let counted = &replay.payments[WARM_UP..];
    let requests = counted.iter().map(|p| f64::from(p.looks)).sum();
    let delays = counted.iter().map(|p| p.known.unwrap() - p.took);
    Outcome::of(requests, delays.collect())
}

impl Replay {
    fn step(&mut self, now: Timestamp, n: usize, event: Event) {
        let payment = &mut self.payments[n];
        let age = now.since(payment.sent).as_secs_f64();
        let by_webhook = event == Event::Webhook;
        match event {
            Event::Sent => {
                if !payment.lost {
                    let at = payment
                        .sent
                        .plus(Duration::from_secs_f64(payment.took + WEBHOOK));
                    self.queue.push(Reverse((at.micros(), n, Event::Webhook)));
                }
                return self.plan(now, n);
            }
            Event::Webhook if payment.known.is_some() => {
                return self.see(CompletionSample::WebhookAfterAll, now);
            }
            Event::Look if payment.known.is_some() => return,
            Event::Look => {
                payment.looks += 1;
                if payment.took > age {
                    return self.plan(now, n);
                }
            }
            Event::Webhook => {}
        }
        payment.known = Some(age);
        let ended = payment.sent.plus(Duration::from_secs_f64(payment.took));
        let took =
            forecast::gateway_duration(payment.sent, Some(ended), now, by_webhook, Duration::ZERO);
        self.see(
            if by_webhook {
                CompletionSample::ByWebhook(took)
            } else {
                CompletionSample::ByAsking(took)
            },
            now,
        );
    }

    fn see(&mut self, seen: CompletionSample, now: Timestamp) {
        if let Policy::Learned(thrift) = self.policy {
            self.learner.see(seen, now, thrift);
        }
    }

    fn plan(&mut self, now: Timestamp, n: usize) {
        let payment = &mut self.payments[n];
        let due = match self.policy {
            Policy::Fixed => {
                let young = now.since(payment.sent) < Duration::from_secs(900);
                now.plus(Duration::from_secs(if young { 60 } else { 300 }))
            }
            Policy::Doubling => {
                payment.pause = (payment.pause * 2.0).max(1.0);
                now.plus(Duration::from_secs_f64(payment.pause))
            }
            Policy::Learned(_) | Policy::Configured => {
                let running = DerivedState {
                    state: State::Processing,
                    basis: StateBasis::Attempts,
                    uid: None,
                };
                let forecast = self.learner.forecast().map(AsRef::as_ref);
                let sent = payment.sent;
                let random = self.random.random();
                next_check(&running, sent, Some(sent), now, &pace(), forecast, random).unwrap()
            }
        };
        self.queue.push(Reverse((due.micros(), n, Event::Look)));
    }
}

/// Price multipliers at which the ledger's policy is compared with a schedule that sends fewer
/// requests.
const PRICES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Measures one distribution with one share of lost webhooks.
fn cell(distribution: &str, loss: f64) -> Value {
    let learned = PRICES.map(|price| (price, replay(distribution, loss, Policy::Learned(price))));
    let ours = learned[0].1;
    let others = [
        ("configured", replay(distribution, loss, Policy::Configured)),
        ("fixed", replay(distribution, loss, Policy::Fixed)),
        ("doubling", replay(distribution, loss, Policy::Doubling)),
    ];
    let mut cell = Map::new();
    cell.insert("learned".to_owned(), ours.json());
    let line = |name: &str, o: &Outcome, verdict: &str| {
        println!(
            "{distribution:11} {:>4} %  {name:14} {:7.3} requests  p50 {:7.2} s  p99 {:7.2} s  {verdict}",
            loss * 100.0,
            o.requests,
            o.p50,
            o.p99
        );
    };
    line("learned", &ours, "");
    for (name, other) in &others {
        let at = learned.iter().find(|(_, ours)| ours.dominates(other));
        let verdict = match at {
            Some((price, _)) if *price == 1.0 => "dominated by learned".to_owned(),
            Some((price, _)) => format!("dominated by learned at {price} times the price"),
            None if other.dominates(&ours) => "DOMINATES learned".to_owned(),
            None => "on the front with learned".to_owned(),
        };
        line(name, other, &verdict);
        if let Some((price, ours)) = at.filter(|(price, _)| *price > 1.0) {
            line(&format!("learned x{price}"), ours, "");
            cell.insert(format!("learned_x{price}"), ours.json());
        }
        let mut told = other.json();
        told["verdict"] = json!(verdict);
        cell.insert((*name).to_owned(), told);
    }
    Value::Object(cell)
}

/// Runs all replays.
pub fn replays() -> Value {
    let mut all = Map::new();
    for (name, what) in DISTRIBUTIONS {
        println!("\n{name}: {what}");
        let mut cells = Map::new();
        for loss in [0.0, 0.1, 1.0] {
            let lost = format!("webhooks_lost_{:.0}_percent", loss * 100.0);
            cells.insert(lost, cell(name, loss));
        }
        all.insert(name.to_owned(), Value::Object(cells));
    }
    Value::Object(all)
}
