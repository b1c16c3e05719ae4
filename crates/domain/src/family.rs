//! Money of parents and children: what is left for one more child, and how long it has to wait for an
//! equal one before it.
//!
//! By what the gateway has, and not by what was asked. What it deliberately cannot do: look anything up.
//! Whoever asks holds the family's lock, so that nobody takes from it meanwhile.

use crate::{
    Currency, Origin, State, Summary, Timestamp, TransactionRequest, TransactionType, Uid, derive,
};
use std::time::Duration;

/// The gateway takes an equal child within 30 seconds for a duplicate; one more for its clock.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(31);

/// One transaction of a family.
#[derive(Debug, Clone)]
pub struct Member {
    kind: TransactionType,
    parent: Option<Uid>,
    uid: Option<Uid>,
    state: State,
    /// What was asked for.
    asked: Option<i64>,
    /// What it takes, or holds: as the gateway has it, where that is known.
    amount: Option<i64>,
    /// When its last attempt left that may have been processed.
    sent: Sent,
}

/// When something left us last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// It never did.
    Never,
    /// No later than this.
    By(Timestamp),
    /// It is on its way.
    Now,
}

impl Member {
    /// Reads what counts of a transaction.
    pub fn of(opening: &TransactionRequest, summary: &Summary) -> Self {
        let derived = derive(opening, summary);
        let known = derived
            .uid
            .as_ref()
            .and_then(|uid| summary.candidates.get(uid)?.latest.as_deref());
        Self {
            kind: opening.kind,
            parent: opening.parent_uid.clone(),
            state: derived.state,
            asked: opening.amount,
            amount: known
                .and_then(|snapshot| snapshot.amount)
                .or(opening.amount),
            sent: sent(opening, summary),
            uid: derived.uid,
        }
    }

    /// Its state.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Whether it may have taken something, or may still.
    fn counts(&self) -> bool {
        !self.state.is_final() || self.state == State::Successful
    }

    fn takes(&self) -> i64 {
        self.amount.unwrap_or(0).max(0)
    }

    fn names(&self, parent: &Uid) -> bool {
        self.parent.as_ref() == Some(parent)
    }

    /// Whether it is a capture that goes by a uid.
    pub fn is_capture(&self) -> Option<&Uid> {
        self.uid
            .as_ref()
            .filter(|_| self.kind == TransactionType::Capture)
    }
}

fn sent(opening: &TransactionRequest, summary: &Summary) -> Sent {
    if opening.origin == Origin::Gateway {
        return Sent::Never;
    }
    if summary.unanswered_attempt().is_some() {
        return Sent::Now;
    }
    let stamps = summary
        .attempts
        .values()
        .filter(|attempt| attempt.not_sent.is_none())
        .filter_map(|attempt| attempt.stamped_at);
    // What was acknowledged left before that, and it may have waited after its stamp.
    let acks = summary.tasks.values().filter_map(|task| task.acked_at);
    stamps.chain(acks).max().map_or(Sent::Never, Sent::By)
}

/// A child that wants to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Child<'a> {
    /// Its kind.
    pub kind: TransactionType,
    /// Its amount, in minor units.
    pub amount: Option<i64>,
    /// Its parent.
    pub parent: &'a Uid,
}

/// What is left for a child, in minor units. `None` where nobody knows how much there was. `others`
/// are the children of its parent, of the parent's parent, and of that one's captures, without the
/// child itself.
pub fn remaining_amount(child: Child<'_>, parent: &Member, others: &[Member]) -> Option<i64> {
    let takes_hold = |kind| matches!(kind, TransactionType::Capture | TransactionType::Void);
    if parent.kind == TransactionType::Authorization && takes_hold(child.kind) {
        let holders = others.iter().filter(|m| m.names(child.parent));
        let taken = sum(holders.filter(|m| takes_hold(m.kind)));
        return Some(parent.amount?.saturating_sub(taken));
    }
    let given = sum(given_back(child.parent, parent, others).into_iter());
    Some(taken_amount(child.parent, parent, others)?.saturating_sub(given))
}

/// By how much more went back of a parent than there was, by a chargeback and something else, which may be
/// another chargeback.
pub fn back_twice(name: &Uid, parent: &Member, others: &[Member]) -> Option<i64> {
    let given = given_back(name, parent, others);
    let done = || given.iter().filter(|m| m.state == State::Successful);
    let charged = |m: &&Member| m.kind == TransactionType::Chargeback;
    let twice = done().count() > 1 && done().any(charged);
    let over = sum(done().copied()).saturating_sub(taken_amount(name, parent, others)?);
    (twice && over > 0).then_some(over)
}

/// The authorization of which everything that goes back is counted together.
fn root<'a>(name: &'a Uid, parent: &'a Member) -> Option<&'a Uid> {
    match parent.kind {
        TransactionType::Authorization => Some(name),
        TransactionType::Capture => parent.parent.as_ref(),
        _ => None,
    }
}

/// What was taken from the payer.
fn taken_amount(name: &Uid, parent: &Member, others: &[Member]) -> Option<i64> {
    match root(name, parent) {
        Some(root) => Some(captured(root, parent, others)),
        None => parent.amount,
    }
}

/// What goes back of it, or may.
fn given_back<'a>(name: &Uid, parent: &Member, others: &'a [Member]) -> Vec<&'a Member> {
    match root(name, parent) {
        Some(root) => returned(root, others).collect(),
        None => others.iter().filter(|m| m.names(name)).collect(),
    }
}

fn sum<'a>(members: impl Iterator<Item = &'a Member>) -> i64 {
    members
        .filter(|member| member.counts())
        .map(Member::takes)
        .fold(0, i64::saturating_add)
}

/// What was taken of an authorization, by captures that succeeded.
fn captured(root: &Uid, parent: &Member, others: &[Member]) -> i64 {
    let captures = |m: &&Member| {
        m.names(root) && m.kind == TransactionType::Capture && m.state == State::Successful
    };
    let known = others.iter().filter(captures);
    // The parent itself may be one of them, and is not among its own children.
    let is_listed = others
        .iter()
        .any(|m| m.uid.is_some() && m.uid == parent.uid);
    let itself = Some(parent).filter(|m| captures(m) && !is_listed);
    sum(known.chain(itself))
}

/// What goes back of it: to whom it was taken from, or by giving captures up.
fn returned<'a>(root: &Uid, others: &'a [Member]) -> impl Iterator<Item = &'a Member> {
    let of_capture = |m: &Member| {
        others.iter().any(|capture| {
            capture.names(root) && capture.is_capture().is_some_and(|uid| m.names(uid))
        })
    };
    others.iter().filter(move |m| match m.kind {
        TransactionType::Refund | TransactionType::Chargeback => m.names(root) || of_capture(m),
        TransactionType::Void => of_capture(m),
        _ => false,
    })
}

/// Until when a child waits for an equal one, counted from when that one was sent.
pub fn wait(
    child: Child<'_>,
    others: &[Member],
    window: Duration,
    now: Timestamp,
) -> Option<Timestamp> {
    let equal = others
        .iter()
        .filter(|m| m.names(child.parent) && m.asked == child.amount);
    let last = equal
        .filter_map(|m| match m.sent {
            Sent::Never => None,
            Sent::By(at) => Some(at),
            Sent::Now => Some(now),
        })
        .max()?;
    Some(last.plus(window)).filter(|until| *until > now)
}

/// Why a child is not to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// The parent has not that much left.
    Exceeds {
        /// What is left, in minor units.
        left: i64,
    },
    /// The parent has not succeeded.
    Parent {
        /// Its state.
        state: State,
    },
    /// Nothing is known here of the parent.
    UnknownParent,
    /// It is in another currency than its parent.
    Currency {
        /// The parent's.
        parent: Currency,
    },
}

impl Unfit {
    /// In plain words, about the child.
    pub fn reason(&self) -> String {
        match self {
            Self::Exceeds { left } => {
                let left = (*left).max(0);
                format!("it is more than the {left} that the parent has left")
            }
            Self::Parent { state } => format!("its parent is {state}, and not successful"),
            Self::UnknownParent => "nothing is known of its parent".to_owned(),
            Self::Currency { parent } => format!("its parent is in {parent}"),
        }
    }
}
