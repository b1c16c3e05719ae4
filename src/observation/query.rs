//! What the answer to a status query tells about the transactions that it names.

use crate::observation::read::{read_list, read_uid};
use crate::observation::{Observation, of_answer, received};
use domain::evidence::FoundBy;
use domain::{Channel, Fact, Snapshot, Uid};
use gateway::{Answer, TrackingReading, UidReading, read_by_tracking_id, read_by_uid};

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

/// What the answer to a look-up by uid tells, where `owned` says whether somebody here has it: of a known
/// uid also that the gateway has it no more. `None` when it tells nothing.
pub(crate) fn observe_known(answer: &Answer, uid: &Uid, owned: bool) -> Option<Observation> {
    if owned {
        telling(read_uid(answer, uid))
    } else {
        observe_uid(answer, uid)
    }
}

/// The same for the answer to a look-up by the name of a transaction of ours; empty ones tell something.
pub(crate) fn observe_named(answer: &Answer, name: &str) -> Option<Observation> {
    telling(read_list(answer, name))
}

fn telling(mut observation: Observation) -> Option<Observation> {
    // Rows of others are there, whoever made them.
    observation.adopts = true;
    observation.orphan_kind = "queried";
    (!observation.facts.is_empty()).then_some(observation)
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
    // What the gateway itself has of this shop is there, whoever made it.
    observation.adopts = true;
    observation.orphan_kind = "queried";
    observation
}
