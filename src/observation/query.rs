//! What the answer to a status query tells about the transactions that it names.

use crate::domain::evidence::FoundBy;
use crate::domain::{Channel, Fact, Snapshot, Uid};
use crate::gateway::{Answer, TrackingReading, UidReading, read_by_tracking_id, read_by_uid};
use crate::observation::{Observation, of_answer, received};

/// What the answer to a query by uid tells; `None` when it tells nothing of a transaction.
pub fn observe_uid(answer: &Answer, uid: &Uid) -> Option<Observation> {
    match read_by_uid(&received(answer), uid) {
        UidReading::Found(snapshot) => Some(seen(answer, uid.as_str(), vec![*snapshot])),
        UidReading::Missing | UidReading::NotAbout { .. } | UidReading::Unreadable { .. } => None,
    }
}

/// What the answer to a query by tracking id tells; `None` when it tells nothing of a transaction.
pub fn observe_tracking_id(answer: &Answer, name: &str) -> Option<Observation> {
    match read_by_tracking_id(&received(answer)) {
        TrackingReading::Found { snapshots, .. } => Some(seen(answer, name, snapshots)),
        TrackingReading::Empty
        | TrackingReading::NotAbout { .. }
        | TrackingReading::Unreadable { .. } => None,
    }
}

fn seen(answer: &Answer, subject: &str, snapshots: Vec<Snapshot>) -> Observation {
    let found_by = FoundBy::TrackingId;
    let facts = snapshots
        .into_iter()
        .map(|snapshot| Fact::Seen {
            snapshot: Box::new(snapshot),
            found_by,
        })
        .collect();
    let mut observation = of_answer(answer, Channel::Query, subject, facts);
    // A transaction that is none of ours was asked for by a person: that is no finding.
    observation.orphan_kind = "queried";
    observation
}
