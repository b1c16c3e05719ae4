//! A webhook that was kept because it belonged to nothing, offered again.

use super::{EvidenceTarget, RecordEvidence};
use crate::observation::webhook::observe_kept;
use crate::store::maintenance::OrphanRow;

/// The evidence that an orphan amounts to, now that it may have an owner.
pub fn observation_from_orphan(orphan: &OrphanRow) -> Option<RecordEvidence> {
    let sha256 = orphan.body_sha256.as_slice().try_into().ok()?;
    let learned = observe_kept(orphan.id, orphan.signed, &orphan.body, sha256)?;
    Some(RecordEvidence {
        target: EvidenceTarget::Snapshots,
        observation: learned,
        lease: None,
        next_check: None,
    })
}
