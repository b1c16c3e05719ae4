//! Answers of the grammar in a whole run: a row is rendered from the books of that run, and what it
//! shows of others is in the books as well.

use super::books::Transaction;
use super::bytes::BytesEnd;
use super::grammar::{
    Amount, Bytes, Channel, Envelope, Errors, Http, List, Named, Row, Status, Truth, Updated,
    Whose, holds_transaction, is_allowed, is_documented_refusal,
};
use super::one_step::may_reject;
use super::plan::{MessageFate, Plan, plain};
use super::render::{Card, Entry, Names, Scene, beside, render, told};
use super::replies::{ORIGIN, Reply};
use super::world::State;
use domain::Timestamp;
use std::time::Duration;

fn entry(t: &Transaction) -> Entry {
    Entry {
        uid: t.uid.clone(),
        name: Some(t.name.clone()),
        kind: t.kind.clone(),
        amount: t.amount,
        currency: t.currency.clone(),
        parent: t.parent.clone(),
        test: t.test,
        status: t.status.clone(),
        code: t.code.clone(),
        message: None,
        created_at: t.created_at,
        updated_at: t.updated_at,
        card: Card {
            number: "4200000000000000".to_owned(),
            holder: "Jane Roe".to_owned(),
            cvc: "123".to_owned(),
            expiry: (1, 2031),
        },
    }
}

/// The name of the order that a task, a uid or a name is about.
fn order_of(plan: &Plan, channel: &str, about: &str) -> String {
    let bare = match channel {
        "status" | "result" => about.strip_prefix("task-"),
        "uid" | "webhook" => about.strip_prefix("uid-"),
        _ => return about.to_owned(),
    };
    let bare = bare.unwrap_or(about);
    let bare = bare.rsplit_once('-').map_or(bare, |(name, _)| name);
    let mut orders = plan.orders.iter();
    let order = orders.find(|order| plain(&order.name) == bare);
    order.map_or(bare, |order| &order.name).to_owned()
}

impl State {
    /// The answer that a row makes; `None` where this world has nothing to make it from, or where the
    /// gateway would not say it.
    pub fn row(&mut self, row: &Row, channel: &str, about: &str, now: Timestamp) -> Option<Reply> {
        let name = order_of(&self.plan, channel, about);
        let own = self.own(channel, about, &name).cloned();
        let shown = match row.get() {
            Whose::Own | Whose::None => own.clone(),
            Whose::Anothers => self.first(|t| t.asked != name && t.ours() && t.parent.is_none()),
            Whose::Parents => {
                let parent = own.as_ref().and_then(|own| own.parent.clone());
                parent.and_then(|uid| self.books.transactions.get(&uid).cloned())
            }
            Whose::Siblings => {
                let parent = own.as_ref().and_then(|own| own.parent.clone());
                self.first(|t| t.asked != name && t.parent.is_some() && t.parent == parent)
            }
            Whose::Foreign => self.first(|t| t.name == name && !t.ours()),
            Whose::New => self.first(|t| t.name != name && !t.ours()),
        };
        let holds = holds_transaction(row.envelope());
        let nothing = || self.first(|_| true);
        let about_it = match (shown, holds) {
            (Some(shown), _) => shown,
            (None, true) => return None,
            (None, false) => nothing().unwrap_or_else(|| blank(&name, now)),
        };
        let truth = Truth {
            is_made: own.is_some(),
            had: about_it
                .history
                .iter()
                .map(|(_, had)| had.clone())
                .collect(),
        };
        if !is_allowed(row, &truth) {
            return None;
        }
        // No task refuses what is still under way. What was made, a documented refusal may contradict.
        let live = || self.books.live(&name, now).next().is_some();
        let asks_task = matches!(row.get(), Channel::TaskStatus | Channel::TaskResult);
        let refuses = asks_task && may_reject(row, false);
        let refuses = refuses && !(own.is_some() && is_documented_refusal(row));
        if refuses && live() {
            return None;
        }
        Some(self.render(row, (&name, about), own.as_ref(), &about_it, now))
    }

    fn first(&self, is_meant: impl Fn(&Transaction) -> bool) -> Option<Transaction> {
        self.books
            .transactions
            .values()
            .find(|t| is_meant(t))
            .cloned()
    }

    fn own(&self, channel: &str, about: &str, name: &str) -> Option<&Transaction> {
        match channel {
            "uid" | "webhook" => self.books.transactions.get(about),
            "status" | "result" => {
                let uid = about.replacen("task-", "uid-", 1);
                self.books.transactions.get(&uid)
            }
            _ => {
                let mut all = self.books.transactions.values();
                all.find(|t| t.ours() && t.asked == name)
            }
        }
    }

    fn render(
        &mut self,
        row: &Row,
        (name, about): (&str, &str),
        own: Option<&Transaction>,
        shown: &Transaction,
        now: Timestamp,
    ) -> Reply {
        let others = self.plan.orders.iter().find(|order| order.name != name);
        let parent = own.and_then(|own| self.books.transactions.get(own.parent.as_ref()?));
        let names = Names {
            own: name.to_owned(),
            anothers: others
                .map_or("somebody-elses", |order| &order.name)
                .to_owned(),
            parents: parent
                .map_or(name, |parent| parent.name.as_str())
                .to_owned(),
        };
        let plain = entry(shown);
        let rows = beside(row.get(), &plain);
        let scene = Scene {
            about: plain.clone(),
            beside: rows.clone(),
            names: names.clone(),
            task: own.map_or_else(
                || about.to_owned(),
                |own| own.uid.replacen("uid-", "task-", 1),
            ),
            origin: ORIGIN.to_owned(),
            before: shown.updated_at,
        };
        let holds = holds_transaction(row.envelope());
        let said = told(row, &plain, &names);
        if holds && !row.is(List::Empty) {
            // What is said is so, from now on.
            self.becomes(&shown.uid, &said, row);
            for other in &rows {
                self.is_beside(other);
            }
        }
        let rendered = render(row, &scene);
        self.answered_with(row, &rendered.body);
        let mut standing = Vec::new();
        if holds && !row.is(List::Empty) && !row.is(Whose::None) {
            let of = |uid: &str| self.books.transactions.get(uid).cloned();
            standing.extend(of(&shown.uid).map(|found| Transaction {
                name: said.name.clone().unwrap_or_default(),
                status: said.status.clone(),
                updated_at: said_when(row, found.updated_at),
                ..found
            }));
            if row.envelope() == Envelope::List {
                standing.extend(rows.iter().filter_map(|other| of(&other.uid)));
            }
        }
        let told = if is_readable(row) {
            standing.clone()
        } else {
            Vec::new()
        };
        if !is_text(row) {
            standing.clear();
        }
        let refused = !holds && is_documented_refusal(row);
        // What a task refuses is looked up first, and a look-up that lags finds nothing; what the answer to a
        // POST refuses is looked up later.
        let hides =
            |fate: &MessageFate| matches!(fate, MessageFate::Row(row, _) if row.is(List::Empty));
        let is_hidden = self.plan.fates().any(hides);
        let lags = !self.plan.lag.is_zero() || self.plan.empty;
        let unshown = own.is_some_and(|own| own.parent.is_some() && !self.plan.children_shown);
        let unseen = row.is(Channel::Ack) || lags || is_hidden || unshown;
        if refused && own.is_some() && unseen {
            self.wire.contradicted.entry(name.to_owned()).or_insert(now);
        }
        Reply {
            status: rendered.status,
            retry_after: rendered.retry_after,
            told,
            holds: standing,
            cut: rendered.end == BytesEnd::Broken,
            body: rendered.body,
        }
    }

    /// The books have a transaction as it was said, but for its status, which only its course moves.
    fn becomes(&mut self, uid: &str, said: &Entry, row: &Row) {
        let Some(found) = self.books.transactions.get_mut(uid) else {
            return;
        };
        found.amount = said.amount;
        found.currency.clone_from(&said.currency);
        found.kind.clone_from(&said.kind);
        found.test = said.test;
        found.parent.clone_from(&said.parent);
        if let (Some(name), false) = (&said.name, row.is(Named::True)) {
            found.name.clone_from(name);
        }
    }

    fn is_beside(&mut self, other: &Entry) {
        let made = Transaction {
            uid: other.uid.clone(),
            name: other.name.clone().unwrap_or_default(),
            asked: String::new(),
            kind: other.kind.clone(),
            amount: other.amount,
            currency: other.currency.clone(),
            parent: other.parent.clone(),
            test: other.test,
            status: other.status.clone(),
            code: other.code.clone(),
            created_at: other.created_at,
            updated_at: other.updated_at,
            visible_at: other.created_at,
            arrival: None,
            history: vec![(other.created_at, other.status.clone())],
        };
        let all = &mut self.books.transactions;
        all.entry(other.uid.clone()).or_insert(made);
    }
}

/// The time of a change as a row tells it: what has no readable time, or one too far ahead, is older than all.
fn said_when(row: &Row, at: Timestamp) -> Timestamp {
    let behind = match row.get() {
        Updated::Right | Updated::Before => 0,
        Updated::Behind3Min => 180,
        Updated::Behind1H => 3600,
        Updated::Behind25H => 25 * 3600,
        Updated::Absent | Updated::NoZone | Updated::Ahead => return Timestamp::from_micros(0),
    };
    at.minus(Duration::from_secs(behind))
}

/// Something to make an answer from that shows no transaction.
fn blank(name: &str, now: Timestamp) -> Transaction {
    Transaction {
        uid: "uid-of-nothing".to_owned(),
        name: name.to_owned(),
        asked: String::new(),
        kind: "payment".to_owned(),
        amount: 1000,
        currency: "EUR".to_owned(),
        parent: None,
        test: false,
        status: "failed".to_owned(),
        code: None,
        created_at: now,
        updated_at: now,
        visible_at: now,
        arrival: None,
        history: Vec::new(),
    }
}

/// Whether it comes as it was written, and under a status under which such a thing is told.
pub fn is_text(row: &Row) -> bool {
    let broken = [Bytes::CutWithin, Bytes::Html, Bytes::Empty];
    matches!(row.get(), Http::Right | Http::S200 | Http::S201) && !broken.contains(&row.get())
}

/// Whether whoever reads with care sees the transaction in it.
fn is_readable(row: &Row) -> bool {
    holds_transaction(row.envelope())
        && matches!(row.get(), Http::Right | Http::S200 | Http::S201)
        && row.is(Bytes::Whole)
        && row.is(Errors::None)
        && !row.is(Whose::None)
        && !matches!(row.get(), Status::Absent | Status::Unknown)
        && matches!(row.get(), Amount::Equal | Amount::Other | Amount::Text)
        && !matches!(row.get(), List::Empty | List::SiblingUnreadable)
}
