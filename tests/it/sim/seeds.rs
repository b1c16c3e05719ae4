//! How a seed becomes a plan: how bad the world is, and what merchants want.

use super::dice::Dice;
use super::plan::{Act, Exchange, HOUR, MessageFate, Order, Plan, Stranger, What};
use domain::TransactionType;
use reconciler::config::FollowMode;
use std::time::Duration;

impl Plan {
    /// The plan of a seed: schedules, deaths and losses, with answers that are honest or missing.
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::of(seed, "plan", "narrow");
        let within = dice.between(Duration::from_secs(600), 6 * HOUR);
        let blind = dice.chance(0.05);
        let faults_until = if blind { within + 26 * HOUR } else { within };
        let trust = dice.chance(0.2);
        let minutes = if dice.chance(0.1) {
            dice.one_of(&[1, 10, 60])
        } else {
            0
        };
        let mut plan = Self {
            seed,
            replicas: if dice.chance(0.5) { 1 } else { 2 },
            crash: often(&mut dice, 0.02),
            stall: often(&mut dice, 0.03),
            lost: often(&mut dice, 0.4),
            odd_answer: often(&mut dice, 0.4),
            commit_lost: often(&mut dice, 0.1),
            webhook_lost: dice.one_of(&[0.0, 0.3, 1.0]),
            correction: often(&mut dice, 0.5),
            renotified: often(&mut dice, 0.5),
            trust,
            honours: trust || dice.chance(0.3),
            follow: if dice.chance(0.3) {
                FollowMode::Status
            } else {
                FollowMode::Result
            },
            own_children: dice.chance(0.5),
            blind,
            behind: Duration::from_secs(60 * minutes),
            lag: Duration::from_secs(dice.one_of(&[0, 2, 120, 7200])),
            faults_until,
            end: faults_until + 100 * HOUR,
            ..Self::default()
        };
        plan.orders(&mut dice, within);
        plan.acts_of_others(&mut dice, within);
        plan
    }

    fn orders(&mut self, dice: &mut Dice, within: Duration) {
        let kinds = [
            TransactionType::Payment,
            TransactionType::Payment,
            TransactionType::Payout,
        ];
        for number in 0..=dice.below(3) {
            let order = Order {
                name: format!("order-{number}"),
                kind: dice.one_of(&kinds),
                amount: 1000 + i64::try_from(number).unwrap_or(0),
                card_data: dice.chance(0.3),
                respond_async: dice.chance(0.3),
                twice: dice.chance(0.3),
                begins: dice.between(Duration::ZERO, within / 2),
                parent: None,
                test: dice.chance(0.1),
            };
            if dice.chance(0.15) {
                self.strangers.push(stranger(dice, &order));
                if dice.chance(0.4) {
                    // Then there is nothing of ours under that name.
                    self.exchanges.push(Exchange {
                        channel: "ack".to_owned(),
                        about: order.name.clone(),
                        first: 1,
                        last: 1,
                        fate: MessageFate::Lost,
                    });
                }
            }
            if order.kind == TransactionType::Payment && dice.chance(0.3) {
                for child in 0..=dice.below(2) {
                    let after = dice.between(Duration::from_secs(15), Duration::from_secs(60));
                    self.orders.push(Order {
                        name: format!("refund-{number}-{child}"),
                        kind: TransactionType::Refund,
                        amount: 400,
                        card_data: false,
                        begins: order.begins + after,
                        parent: Some(order.name.clone()),
                        ..order.clone()
                    });
                }
            }
            self.orders.push(order);
        }
    }

    /// People, forgers, and what happens to the database.
    fn acts_of_others(&mut self, dice: &mut Dice, within: Duration) {
        let operator = often(dice, 0.3);
        let forged = dice.chance(0.2);
        let decisions = [
            What::Failed,
            What::NotFound,
            What::NotSent,
            What::InDoubt,
            What::Check,
            What::Check,
        ];
        for order in &self.orders {
            let name = order.name.clone();
            if forged {
                let (at, what) = (order.begins + Duration::from_secs(5), What::Forge);
                self.acts.push(Act {
                    name: name.clone(),
                    at,
                    what,
                });
            }
            if dice.chance(operator) {
                let at = order.begins + dice.between(Duration::from_secs(60), 30 * HOUR);
                let what = dice.one_of(&decisions);
                self.acts.push(Act { name, at, what });
            }
        }
        if dice.chance(0.3) {
            for _ in 0..=dice.below(2) {
                let begins = dice.between(Duration::ZERO, within);
                let lasts = dice.between(Duration::from_secs(1), Duration::from_secs(90));
                self.outages.push((begins, begins + lasts));
            }
        }
        if dice.chance(0.4) {
            for _ in 0..=dice.below(3) {
                let latest = self.faults_until + 30 * HOUR;
                self.retentions.push(dice.between(Duration::ZERO, latest));
            }
        }
    }
}

fn often(dice: &mut Dice, most: f64) -> f64 {
    if dice.chance(0.4) {
        return 0.0;
    }
    (dice.part() * most * 1000.0).round() / 1000.0
}

/// Somebody else's transaction under our name: there for days, or for as little as a clock may be
/// wrong; of another amount; or alike in everything.
fn stranger(dice: &mut Dice, order: &Order) -> Stranger {
    let seconds = Duration::from_secs;
    let (at, age, more) = match dice.below(4) {
        0 => (order.begins.saturating_sub(seconds(200)), 25 * HOUR, 0),
        1 => (
            order.begins,
            seconds(150) + dice.between(seconds(10), seconds(60)),
            0,
        ),
        2 => (order.begins + seconds(30), Duration::ZERO, 1),
        _ => (order.begins + seconds(30), Duration::ZERO, 0),
    };
    Stranger {
        uid: format!("uid-stranger-{}", order.name),
        name: order.name.clone(),
        kind: order.kind,
        amount: order.amount + more,
        status: dice.one_of(&["successful", "failed"]).to_owned(),
        parent: None,
        test: order.test,
        at,
        age,
        told: false,
    }
}
