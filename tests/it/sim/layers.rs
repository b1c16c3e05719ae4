//! Layers of plans in which answers mislead: one odd answer in an otherwise honest run, so that every
//! pair of values of the grammar is met (covering arrays), and random ones ([`super::wide`]).

use super::covering;
use super::grammar::{Bytes, CardData, Channel, Database, FACTORS, Lasts, Row, Value, When};
use super::plan::{Course, Ends, Exchange, Fate, Notices, Order, Place, Plan};
use super::wide::may_be_taken;
use domain::TransactionType;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// One plan for each row of a covering array over pairs.
pub fn one_odd_answer() -> Vec<Plan> {
    let left_out = [CardData::FACTOR, Database::FACTOR];
    let factors: Vec<usize> = (0..FACTORS.len())
        .filter(|f| !left_out.contains(f))
        .collect();
    let rows = covering::rows(&factors, 2, 17);
    // What is as long as a mebibyte takes seconds to read: the one-step layer has it.
    let short = rows.into_iter().map(|row| match row.get() {
        Bytes::Long => row.with(Bytes::Whole),
        _ => row,
    });
    short.map(|row| Plan::with_row(&row)).collect()
}

impl Plan {
    /// An honest run of two payments and two refunds, in which one answer is odd.
    pub fn with_row(row: &Row) -> Self {
        let mut plan = Self {
            seed: 1,
            orders: orders(),
            notices: if row.is(Channel::Webhook) {
                Notices::Signed
            } else {
                Notices::None
            },
            ..Self::default()
        };
        let name = if row.is_child() { "child-0" } else { "order-0" };
        plan.bring_about(name, row.get());
        let task = format!("task-{name}-1");
        let uid = format!("uid-{name}-1");
        let (channel, about) = match row.get() {
            Channel::Ack => ("ack", name.to_owned()),
            Channel::TaskStatus => ("status", task),
            Channel::TaskResult => ("result", task),
            Channel::ByUid => ("uid", uid),
            Channel::Webhook => ("webhook", uid),
            Channel::ByName | Channel::Query => ("name", name.to_owned()),
        };
        if channel == "status" {
            plan.follow = reconciler::config::Follow::Status;
        }
        let lasts = row.is(Lasts::On) && channel != "ack";
        plan.exchanges.push(Exchange {
            channel: channel.to_owned(),
            about,
            first: 1,
            last: if lasts { u64::MAX } else { 1 },
            fate: Fate::Row(*row, may_be_taken(row)),
        });
        plan
    }

    /// Lets an order be in the state in which the answer is to come.
    fn bring_about(&mut self, name: &str, when: When) {
        let (mut ends, mut later) = (Ends::Successful, Duration::ZERO);
        let lost = |fate| Exchange {
            channel: "ack".to_owned(),
            about: name.to_owned(),
            first: 1,
            last: 1,
            fate,
        };
        match when {
            When::Pending => later = 300 * SECOND,
            When::Failed => ends = Ends::Failed,
            When::Expired => (ends, later) = (Ends::Expired, 60 * SECOND),
            When::InDoubt => self.exchanges.push(lost(Fate::AnswerLost)),
            When::DuplicateDoubt => self.exchanges.push(lost(Fate::Odd("duplicate".to_owned()))),
            When::NotSent => self.exchanges.push(lost(Fate::Refused)),
            When::WebhookMeanwhile => {
                self.notices = Notices::Signed;
                self.places.push(Place {
                    place: "read".to_owned(),
                    group: 1,
                    nth: 1,
                    stalls: Some(30 * SECOND),
                });
            }
            When::Submitting
            | When::Accepted
            | When::Processing
            | When::Successful
            | When::Rejected => {}
        }
        for order in &self.orders {
            let meant = order.name == name;
            self.courses.push(Course {
                name: order.name.clone(),
                nth: 1,
                takes: 3 * SECOND,
                ends: if meant { ends } else { Ends::Successful },
                later: if meant { later } else { Duration::ZERO },
                pending: false,
                corrected: None,
                again: None,
            });
        }
    }
}

fn orders() -> Vec<Order> {
    let one = |name: &str, amount, at: u32, parent: Option<&str>| Order {
        name: name.to_owned(),
        kind: match parent {
            None => TransactionType::Payment,
            Some(_) => TransactionType::Refund,
        },
        amount,
        card_data: false,
        respond_async: false,
        twice: false,
        begins: at * SECOND,
        parent: parent.map(str::to_owned),
        test: false,
    };
    vec![
        one("order-1", 900, 10, None),
        one("order-0", 1500, 20, None),
        one("child-1", 300, 60, Some("order-0")),
        one("child-0", 700, 100, Some("order-0")),
    ]
}
