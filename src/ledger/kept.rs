//! A webhook that was kept because it belonged to nothing, offered again.

use super::{Record, Target};
use crate::observation::webhook::observe_kept;
use crate::store::sweeps::OrphanRow;

/// The evidence that an orphan amounts to, now that it may have an owner.
pub fn evidence_of(orphan: &OrphanRow) -> Option<Record> {
    let sha256 = orphan.body_sha256.as_slice().try_into().ok()?;
    let learned = observe_kept(orphan.id, orphan.signed, &orphan.body, sha256)?;
    Some(Record {
        target: Target::Snapshots,
        learned,
        lease: None,
        next_check: None,
    })
}
