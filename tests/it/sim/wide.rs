//! Plans in which answers mislead: mostly quiet worlds, in which a few things are odd at once.

use super::dice::Dice;
use super::grammar::{
    Bytes, CardData, Channel, Code, Database, Envelope, Errors, FACTORS, Http, Lasts, Row, Value,
    When, is_documented_refusal,
};
use super::plan::{
    Act, Exchange, HOUR, MessageFate, Notices, Order, Plan, Router, Stranger, Thirty, What, plain,
};
use domain::TransactionType;
use reconciler::config::FollowMode;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

impl Plan {
    /// The plan of a seed in which answers mislead.
    pub fn wide(seed: u64) -> Self {
        let mut dice = Dice::of(seed, "plan", "wide");
        let hours = dice.one_of(&[1, 3, 30]);
        let mut plan = Self {
            seed,
            faults_until: hours * HOUR,
            end: (hours + 100) * HOUR,
            follow: dice.one_of(&[FollowMode::Result, FollowMode::Result, FollowMode::Status]),
            ..Self::default()
        };
        plan.switches(&mut dice);
        plan.people(&mut dice);
        for _ in 0..dice.below(4) {
            plan.odd_exchange(&mut dice);
        }
        plan
    }

    fn switches(&mut self, dice: &mut Dice) {
        let seldom = 0.12;
        self.own_children = !dice.chance(0.3);
        self.children_shown = !dice.chance(seldom);
        self.enforced = dice.chance(seldom);
        self.newest_first = !dice.chance(seldom);
        self.flat = dice.chance(seldom);
        self.section_uid = dice.chance(0.5);
        self.status_once = dice.chance(seldom);
        self.blind = dice.chance(0.05);
        self.empty = dice.chance(0.02);
        self.correction = if dice.chance(0.2) { 0.5 } else { 0.0 };
        if dice.chance(0.2) {
            self.thirty = dice.one_of(&[Thirty::Children, Thirty::All]);
            self.names_earlier = dice.chance(0.5);
        }
        if dice.chance(0.5) {
            self.notices = dice.one_of(&[Notices::Unsigned, Notices::None, Notices::None]);
        }
        if dice.chance(seldom) {
            self.lag = SECOND * dice.one_of(&[2, 120, 600]);
        }
        if dice.chance(0.08) {
            self.behind = SECOND * dice.one_of(&[60, 180, 3600]);
        }
        if dice.chance(0.1) {
            (self.trust, self.honours) = (true, true);
        }
        if dice.chance(0.1) {
            self.router = dice.one_of(&[Router::Dot, Router::Colon, Router::Case]);
        }
        if dice.chance(0.15) {
            self.lost = 0.2;
        }
        if dice.chance(0.1) {
            let begins = dice.between(Duration::ZERO, HOUR);
            self.outages.push((begins, begins + 80 * SECOND));
        }
    }

    fn people(&mut self, dice: &mut Dice) {
        let kinds = [
            TransactionType::Payment,
            TransactionType::Payment,
            TransactionType::Payout,
            TransactionType::Authorization,
        ];
        for number in 0..=dice.below(2) {
            let sign = dice.one_of(&["-", "-", "-", "-", ".", ":"]);
            let order = Order {
                name: format!("order{sign}{number}"),
                kind: dice.one_of(&kinds),
                amount: dice.one_of(&[1500, 1500, 900]),
                card_data: dice.chance(0.15),
                respond_async: dice.chance(0.15),
                twice: dice.chance(0.1),
                begins: SECOND * u32::try_from(10 + dice.below(60)).unwrap_or(10),
                parent: None,
                test: dice.chance(0.1),
            };
            for _ in 0..dice.below(4).saturating_sub(1) {
                self.strangers
                    .push(stranger(dice, &order, self.strangers.len()));
            }
            self.orders.push(order.clone());
            if order.kind != TransactionType::Payout && dice.chance(0.5) {
                self.children(dice, &order);
            }
            self.acts(dice, &order);
        }
    }

    fn children(&mut self, dice: &mut Dice, parent: &Order) {
        let kinds: &[TransactionType] = match parent.kind {
            TransactionType::Authorization => &[
                TransactionType::Capture,
                TransactionType::Capture,
                TransactionType::Void,
                TransactionType::Refund,
            ],
            _ => &[
                TransactionType::Refund,
                TransactionType::Refund,
                TransactionType::Void,
            ],
        };
        let mut begins = parent.begins + 15 * SECOND;
        for nth in 0..=dice.below(3) {
            let amount = parent.amount;
            let amount = dice.one_of(&[amount / 2, amount, amount, amount - 1, 400]);
            begins += SECOND * dice.one_of(&[2, 20, 40, 400]);
            let order = Order {
                name: format!("child{}-{nth}", parent.name.trim_start_matches("order")),
                kind: dice.one_of(kinds),
                amount,
                card_data: dice.chance(0.15),
                begins,
                parent: Some(parent.name.clone()),
                ..parent.clone()
            };
            self.acts(dice, &order);
            self.orders.push(order);
        }
    }

    fn acts(&mut self, dice: &mut Dice, order: &Order) {
        let name = order.name.clone();
        let at = order.begins + dice.between(SECOND, 900 * SECOND);
        if dice.chance(0.15) {
            let what = dice.one_of(&[What::Post, What::Check]);
            self.acts.push(Act { name, at, what });
        } else if dice.chance(0.05) {
            self.acts.push(Act {
                name,
                at,
                what: What::Pause,
            });
        }
    }

    /// One thing that goes otherwise than it should.
    fn odd_exchange(&mut self, dice: &mut Dice) {
        let nth = usize::try_from(dice.below(u64::try_from(self.orders.len()).unwrap_or(1)));
        let name = self.orders[nth.unwrap_or(0)].name.clone();
        let (channel, of, about) = dice.one_of(&[
            ("ack", Channel::Ack, ""),
            ("ack", Channel::Ack, ""),
            ("status", Channel::TaskStatus, "task-"),
            ("result", Channel::TaskResult, "task-"),
            ("result", Channel::TaskResult, "task-"),
            ("uid", Channel::ByUid, "uid-"),
            ("name", Channel::ByName, ""),
            ("webhook", Channel::Webhook, "uid-"),
        ]);
        let about = match about {
            "" => name,
            prefix => format!("{prefix}{}-1", plain(&name)),
        };
        let first = 1 + dice.below(3) * dice.below(2);
        let last = if dice.chance(0.4) { u64::MAX } else { first };
        let fate = if dice.chance(0.2) {
            self.lossy(dice, channel)
        } else {
            let row = odd_row(dice, of);
            MessageFate::Row(row, may_be_taken(&row) && dice.chance(0.5))
        };
        let (channel, last) = (
            channel.to_owned(),
            if channel == "ack" { first } else { last },
        );
        self.exchanges.push(Exchange {
            channel,
            about,
            first,
            last,
            fate,
        });
    }

    fn lossy(&self, dice: &mut Dice, channel: &str) -> MessageFate {
        match (channel, dice.below(6)) {
            ("ack", 0) => MessageFate::Refused,
            ("ack", 1) => MessageFate::Late(dice.between(31 * SECOND, 300 * SECOND)),
            ("ack", 2) => MessageFate::Odd("busy".to_owned()),
            ("ack", 3) => MessageFate::Odd("duplicate".to_owned()),
            ("ack", 4) => MessageFate::AnswerLost,
            ("webhook", _) | (_, 0 | 1) => MessageFate::Lost,
            (_, 2 | 3) => MessageFate::AnswerLost,
            (_, 4) => MessageFate::Cut,
            _ => MessageFate::Odd("502".to_owned()),
        }
    }
}

/// A row with one to four odd values, and no two that exclude each other.
fn odd_row(dice: &mut Dice, channel: Channel) -> Row {
    let fixed = [
        Channel::FACTOR,
        When::FACTOR,
        Lasts::FACTOR,
        CardData::FACTOR,
        Database::FACTOR,
    ];
    let mut row = Row::honest(channel, When::Processing);
    for _ in 0..20 {
        // Errors are told in more ways than one factor has.
        if row.odd().count() <= 2 && dice.chance(0.25) {
            let shapes = [
                Envelope::ErrorResponse,
                Envelope::ErrorErrors,
                Envelope::ErrorCode,
                Envelope::ErrorMessage,
            ];
            let error = row
                .with(dice.one_of(&shapes))
                .with(dice.one_of(Http::ALL))
                .with(dice.one_of(Errors::ALL))
                .with(dice.one_of(Code::ALL));
            row = if error.is_possible() { error } else { row };
        }
        let factor = usize::try_from(dice.below(22)).unwrap_or(0);
        if fixed.contains(&factor) {
            continue;
        }
        let count = u64::try_from(FACTORS[factor].words.len()).unwrap_or(1);
        let value = u8::try_from(dice.below(count)).unwrap_or(0);
        let next = row.with_at(factor, value);
        let exotic = next.is(Bytes::Long) && dice.chance(0.8);
        if next.is_possible() && !exotic {
            row = next;
        }
        if row.odd().count() > 2 && dice.chance(0.4) {
            break;
        }
    }
    row
}

/// Whether a gateway may answer so to a POST that it has taken.
pub fn may_be_taken(row: &Row) -> bool {
    let open_code = matches!(
        row.get(),
        Code::E1000 | Code::E1018 | Code::E1035 | Code::E1036
    );
    // A code of the table counts whatever the text says, and an error by its code has one.
    let open_text = row.is(Code::True)
        && !row.is(Envelope::ErrorCode)
        && matches!(
            row.get(),
            Errors::TimeOut | Errors::InProgress | Errors::Already | Errors::NotUnique
        );
    // The one refusal that the threat model lets contradict the books, under the statuses that refuse.
    let documented = is_documented_refusal(row);
    let refuses = matches!(
        row.get(),
        Http::S400 | Http::S401 | Http::S403 | Http::S422 | Http::S429
    );
    let shape = matches!(
        row.envelope(),
        Envelope::ErrorResponse
            | Envelope::ErrorErrors
            | Envelope::ErrorCode
            | Envelope::ErrorMessage
    );
    !(refuses || shape) || open_code || open_text || documented
}

/// Somebody else's transaction: under our name, of our kind or not, or below ours.
fn stranger(dice: &mut Dice, order: &Order, nth: usize) -> Stranger {
    let below = dice.chance(0.25);
    let back = [TransactionType::Chargeback, TransactionType::Refund];
    let (late, age) = (dice.one_of(&[30, 120, 4000]), dice.one_of(&[0, 0, 25, 60]));
    Stranger {
        uid: format!("uid-stranger-{nth}"),
        name: order.name.clone(),
        kind: if below {
            dice.one_of(&back)
        } else {
            order.kind
        },
        amount: order.amount + dice.one_of(&[0, 0, 0, 1]),
        status: dice
            .one_of(&["successful", "successful", "failed"])
            .to_owned(),
        parent: below.then(|| format!("uid-{}-1", plain(&order.name))),
        test: order.test != dice.chance(0.1),
        at: order.begins + late * SECOND,
        age: if below { Duration::ZERO } else { age * HOUR },
        told: dice.chance(0.7),
    }
}
