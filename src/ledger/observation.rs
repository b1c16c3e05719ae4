//! The chain of evidence: each piece's hash covers the one before it.

use crate::observation::Observation;
use domain::{Timestamp, Verdict};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The hash of a chain after one more piece.
pub(crate) struct ChainLink<'a> {
    pub(crate) previous: &'a [u8; 32],
    pub(crate) id: Uuid,
    pub(crate) position: i32,
    pub(crate) verdict: Verdict,
    pub(crate) at: Timestamp,
    pub(crate) note: &'a str,
}

impl ChainLink<'_> {
    pub(crate) fn hash(&self, learned: &Observation) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(self.previous);
        hasher.update(self.id.as_bytes());
        hasher.update(self.position.to_be_bytes());
        hasher.update(self.at.micros().to_be_bytes());
        for text in [
            learned.channel.as_str(),
            self.verdict.as_str(),
            learned.subject.as_deref().unwrap_or(""),
            self.note,
        ] {
            hasher.update((text.len() as u64).to_be_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.update(learned.http_status.unwrap_or(0).to_be_bytes());
        hasher.update([match learned.signed {
            None => 0_u8,
            Some(false) => 1,
            Some(true) => 2,
        }]);
        hasher.update(learned.body_sha256);
        hasher.update(Sha256::digest(&learned.body));
        hasher.finalize().into()
    }
}
