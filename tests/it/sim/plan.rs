//! What one seed decides before its run begins: how bad the world is, and what merchants want.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use reconciler::config::Follow;
use reconciler::domain::TransactionType;
use std::time::Duration;

/// The tracking id, shop and sums of all runs.
pub const SHOP: &str = "1001";

/// One thing that a merchant wants.
#[derive(Debug, Clone)]
pub struct Order {
    pub name: String,
    pub kind: TransactionType,
    pub amount: i64,
    pub card_data: bool,
    pub respond_async: bool,
    /// Posted a second time at once, to whichever replica.
    pub twice: bool,
    pub begins: Duration,
    /// A refund or capture of another order.
    pub parent: Option<String>,
    /// Somebody else has, or will have, a transaction under the same name.
    pub foreign: Option<Foreign>,
}

/// Somebody else's transaction under our name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// It was there days before.
    Older,
    /// It was there a little before: by no more than a clock may be wrong.
    Nearly,
    /// Of another amount.
    Differs,
    /// Alike in everything: nobody can tell.
    Alike,
}

/// What one seed decides.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub replicas: u32,
    /// Chances at each place where a task waits.
    pub crash: f64,
    pub stall: f64,
    /// Chances of each exchange with the gateway.
    pub lost: f64,
    pub odd_answer: f64,
    /// Chance of each commit.
    pub commit_lost: f64,
    /// Chance of each delivery of a webhook.
    pub webhook_lost: f64,
    /// Chance of each transaction of the gateway.
    pub correction: f64,
    pub operator: f64,
    pub forgeries: bool,
    pub outages: Vec<(Duration, Duration)>,
    /// When evidence has become older than it is kept.
    pub retentions: Vec<Duration>,
    /// Chance of each webhook to be sent again much later.
    pub renotified: f64,
    pub trust: bool,
    pub honours: bool,
    pub follow: Follow,
    /// The gateway files children under their own name.
    pub own_children: bool,
    /// Look-ups by tracking id fail for more than a day.
    pub blind: bool,
    /// How far the gateway's clock is behind the database's.
    pub behind: Duration,
    /// How long a transaction cannot be looked up after it was made.
    pub lag: Duration,
    pub orders: Vec<Order>,
    pub faults_until: Duration,
    pub end: Duration,
}

const HOUR: u64 = 3600;

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let within = Duration::from_secs(rng.random_range(600..6 * HOUR));
        let blind = rng.random_bool(0.05);
        let faults_until = if blind {
            within + Duration::from_secs(26 * HOUR)
        } else {
            within
        };
        let often = |rng: &mut StdRng, most: f64| {
            if rng.random_bool(0.4) {
                0.0
            } else {
                rng.random_range(0.0..most)
            }
        };
        let trust = rng.random_bool(0.2);
        Self {
            seed,
            replicas: rng.random_range(1..=2),
            crash: often(&mut rng, 0.02),
            stall: often(&mut rng, 0.03),
            lost: often(&mut rng, 0.4),
            odd_answer: often(&mut rng, 0.4),
            commit_lost: often(&mut rng, 0.1),
            webhook_lost: *[0.0, 0.3, 1.0].choose(&mut rng).unwrap_or(&0.0),
            correction: often(&mut rng, 0.5),
            operator: often(&mut rng, 0.3),
            forgeries: rng.random_bool(0.2),
            outages: outages(&mut rng, within),
            retentions: retentions(&mut rng, faults_until),
            renotified: often(&mut rng, 0.5),
            trust,
            honours: trust || rng.random_bool(0.3),
            follow: if rng.random_bool(0.3) {
                Follow::Status
            } else {
                Follow::Result
            },
            own_children: rng.random_bool(0.5),
            blind,
            behind: behind(seed),
            lag: Duration::from_secs(*[0, 2, 120, 7200].choose(&mut rng).unwrap_or(&0)),
            orders: orders(&mut rng, within),
            faults_until,
            end: faults_until + Duration::from_secs(100 * HOUR),
        }
    }
}

/// From dice of its own: whatever else a seed decides, it decides with right clocks too.
fn behind(seed: u64) -> Duration {
    let mut rng = StdRng::seed_from_u64(!seed);
    let minutes = if rng.random_bool(0.1) {
        *[1, 10, 60].choose(&mut rng).unwrap_or(&0)
    } else {
        0
    };
    Duration::from_secs(60 * minutes)
}

fn retentions(rng: &mut StdRng, within: Duration) -> Vec<Duration> {
    let count = if rng.random_bool(0.4) {
        rng.random_range(1..4)
    } else {
        0
    };
    let latest = within.as_secs_f64() + 30.0 * 3600.0;
    (0..count)
        .map(|_| Duration::from_secs_f64(rng.random_range(0.0..latest)))
        .collect()
}

fn outages(rng: &mut StdRng, within: Duration) -> Vec<(Duration, Duration)> {
    let count = if rng.random_bool(0.3) {
        rng.random_range(1..3)
    } else {
        0
    };
    let mut one = || {
        let begins = Duration::from_secs_f64(rng.random_range(0.0..within.as_secs_f64()));
        (
            begins,
            begins + Duration::from_secs(rng.random_range(1..90)),
        )
    };
    (0..count).map(|_| one()).collect()
}

fn orders(rng: &mut StdRng, within: Duration) -> Vec<Order> {
    let mut orders: Vec<Order> = Vec::new();
    for number in 0..rng.random_range(1..=3) {
        let kinds = [
            TransactionType::Payment,
            TransactionType::Payment,
            TransactionType::Payout,
        ];
        let latest = within.as_secs_f64() / 2.0;
        let foreign = rng.random_bool(0.15).then(|| {
            let all = [
                Foreign::Older,
                Foreign::Nearly,
                Foreign::Differs,
                Foreign::Alike,
            ];
            *all.choose(rng).unwrap_or(&Foreign::Older)
        });
        let order = Order {
            name: format!("order-{number}"),
            kind: *kinds.choose(rng).unwrap_or(&TransactionType::Payment),
            amount: 1000 + number,
            card_data: rng.random_bool(0.3),
            respond_async: rng.random_bool(0.3),
            twice: rng.random_bool(0.3),
            begins: Duration::from_secs_f64(rng.random_range(0.0..latest.max(1.0))),
            parent: None,
            foreign,
        };
        let children = if order.kind == TransactionType::Payment && rng.random_bool(0.3) {
            rng.random_range(1..=2)
        } else {
            0
        };
        for child in 0..children {
            let after = Duration::from_secs(rng.random_range(15..60));
            orders.push(Order {
                name: format!("refund-{number}-{child}"),
                kind: TransactionType::Refund,
                amount: 400,
                card_data: false,
                begins: order.begins + after,
                parent: Some(order.name.clone()),
                foreign: None,
                ..order.clone()
            });
        }
        orders.push(order);
    }
    orders
}
