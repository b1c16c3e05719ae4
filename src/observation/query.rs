//! What the answer to a status query tells about the transactions that it names.

use crate::observation::read::{observe_lookup, observe_uid_lookup};
use crate::observation::{Observation, of_answer, received};
use domain::evidence::FoundBy;
use domain::{Channel, Fact, Snapshot, Uid};
use gateway::{GatewayResponse, TrackingIdReading, UidReading, read_by_tracking_id, read_by_uid};

/// What a status query asked for.
#[derive(Debug, Clone, Copy)]
pub enum Asked<'a> {
    /// A transaction by its uid.
    Uid(&'a Uid),
    /// Transactions by tracking id.
    TrackingId(&'a str),
}

/// What the answer to a query, or to a look-up that nothing had planned, tells. Where what was asked for is
/// `known` here, it is evidence like the answer to any look-up, whatever it says; else `None` when it tells of
/// no transaction.
pub fn observe(answer: &GatewayResponse, asked: Asked<'_>, known: bool) -> Option<Observation> {
    let (mut observation, is_needed) = match asked {
        Asked::Uid(uid) => (observe_uid_lookup(answer, uid), known || shows(answer, uid)),
        Asked::TrackingId(name) if known => (observe_lookup(answer, name), true),
        Asked::TrackingId(name) => return found_by_name(answer, name),
    };
    // What the gateway itself has of this shop is there, whoever made it.
    observation.adopts = true;
    observation.orphan_kind = "queried";
    is_needed.then_some(observation)
}

fn shows(answer: &GatewayResponse, uid: &Uid) -> bool {
    match read_by_uid(&received(answer), uid) {
        UidReading::Found(_) | UidReading::Another(_) => true,
        UidReading::Missing | UidReading::NotAbout { .. } | UidReading::Unreadable { .. } => false,
    }
}

fn found_by_name(answer: &GatewayResponse, name: &str) -> Option<Observation> {
    match read_by_tracking_id(&received(answer)) {
        TrackingIdReading::Found { snapshots, .. } => Some(seen(answer, name, snapshots)),
        TrackingIdReading::Empty
        | TrackingIdReading::NotAbout { .. }
        | TrackingIdReading::Unreadable { .. } => None,
    }
}

fn seen(answer: &GatewayResponse, subject: &str, snapshots: Vec<Snapshot>) -> Observation {
    let found_by = FoundBy::TrackingId;
    let facts = snapshots
        .into_iter()
        .map(|snapshot| Fact::Seen {
            snapshot: Box::new(snapshot),
            found_by,
        })
        .collect();
    let mut observation = of_answer(answer, Channel::Query, subject, facts);
    // What the gateway itself has of this shop is there, whoever made it.
    observation.adopts = true;
    observation.orphan_kind = "queried";
    observation
}
