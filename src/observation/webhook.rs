//! What a webhook that is not refused amounts to.

use crate::observation::Observation;
use domain::evidence::FoundBy;
use domain::{Channel, Fact, Snapshot, Timestamp, Verdict};
use gateway::decode::{self, CodingError};
use gateway::{WebhookReading, read_webhook, take_webhook};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The body of a webhook, whose content coding is undone.
pub struct Opened {
    plain: Option<Zeroizing<Vec<u8>>>,
}

impl Opened {
    /// Undoes a content coding.
    ///
    /// # Errors
    ///
    /// Returns why the body cannot be read: such a webhook is not taken.
    pub fn of(coding: Option<&str>, raw: &[u8], limit: usize) -> Result<Self, CodingError> {
        let plain = decode::undo(coding, raw, limit)?;
        Ok(Self { plain })
    }

    /// How many bytes it takes beside the body as it came.
    pub fn decoded(&self) -> usize {
        self.plain.as_ref().map_or(0, |plain| plain.len())
    }

    /// The body as it can be read. `raw`: as it came.
    pub fn bytes<'b>(&'b self, raw: &'b [u8]) -> &'b [u8] {
        self.plain.as_ref().map_or(raw, |plain| &plain[..])
    }

    /// What it amounts to; see [`observe`].
    pub fn observe(&self, raw: &[u8], signed: bool, now: Timestamp) -> Observation {
        let sha256 = Sha256::digest(raw).into();
        observe_decoded(sha256, self.bytes(raw), signed, now)
    }
}

/// What a webhook that is not refused amounts to. Without a signature it is a hint.
pub fn observe(raw: &[u8], signed: bool, now: Timestamp) -> Observation {
    observe_decoded(Sha256::digest(raw).into(), raw, signed, now)
}

/// The same of a body whose content coding is undone. `sha256` is that of the bytes as they were signed.
fn observe_decoded(sha256: [u8; 32], body: &[u8], signed: bool, now: Timestamp) -> Observation {
    let (kept, reading) = take_webhook(body, sha256, now);
    let mut learned =
        Observation::from_gateway(Channel::Webhook, None, None, kept.bytes, sha256, Vec::new())
            .with_signature(signed);
    match reading {
        WebhookReading::Transaction { snapshot, parent } => {
            let snapshot = Box::new(snapshot.received(now));
            learned.facts = vec![Fact::Seen {
                snapshot,
                found_by: FoundBy::TrackingId,
            }];
            learned.parent = parent.map(|parent| Box::new(parent.received(now)));
            // What it names is looked up by its uid; see [`hinted`].
            if !signed {
                learned.verdict = Some(Verdict::Hint);
            }
        }
        WebhookReading::Subscription => learned.orphan_kind = "subscription",
        WebhookReading::ExpiredToken => learned.orphan_kind = "expired_token",
        WebhookReading::Unknown { reason } => {
            learned.orphan_kind = "unknown";
            learned.note = Some(format!("a webhook that is {reason}"));
            learned.unknown = Some(reason);
        }
    }
    learned
}

/// What is to be looked up because of a webhook that cannot be believed by itself.
pub fn hinted(learned: &Observation) -> Option<&Snapshot> {
    let is_hint = learned.verdict == Some(Verdict::Hint);
    learned.snapshots().next().filter(|_| is_hint)
}

/// A webhook that was kept because it had no owner, read again.
pub fn observe_kept(
    id: uuid::Uuid,
    signed: bool,
    body: &[u8],
    sha256: [u8; 32],
) -> Option<Observation> {
    let reading = read_webhook(body, sha256, Timestamp::END);
    let WebhookReading::Transaction { snapshot, .. } = reading else {
        return None;
    };
    let fact = Fact::Seen {
        snapshot,
        found_by: FoundBy::TrackingId,
    };
    let mut observation = Observation::from_gateway(
        Channel::Webhook,
        None,
        None,
        body.to_vec(),
        sha256,
        vec![fact],
    );
    observation.id = id;
    observation.signed = Some(signed);
    observation.kept = true;
    Some(observation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn now() -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000)
    }

    #[test]
    fn a_signed_transaction_is_seen_and_an_unsigned_one_is_a_hint() {
        let body = json!({"transaction": {"uid": "u", "status": "successful", "tracking_id": "a"}});
        let raw = body.to_string().into_bytes();
        let signed = observe(&raw, true, now());
        assert!(matches!(signed.facts.as_slice(), [Fact::Seen { .. }]));
        assert_eq!(
            (signed.signed, signed.verdict, signed.recheck_now),
            (Some(true), None, false)
        );
        assert_eq!(signed.body, raw);
        assert!(hinted(&signed).is_none());
        let hint = observe(&raw, false, now());
        assert_eq!(hint.verdict, Some(Verdict::Hint));
        assert_eq!((hint.signed, hint.recheck_now), (Some(false), false));
        assert_eq!(hinted(&hint).map(|s| s.uid.as_str()), Some("u"));
    }

    #[test]
    fn card_data_is_redacted_and_the_original_hashed() {
        let raw =
            br#"{"transaction":{"uid":"u","status":"failed","credit_card":{"holder":"A B"}}}"#;
        let learned = observe(raw, true, now());
        assert!(!String::from_utf8_lossy(&learned.body).contains("A B"));
        assert_eq!(learned.body_sha256, <[u8; 32]>::from(Sha256::digest(raw)));
    }

    #[test]
    fn other_bodies_are_kept_under_their_name() {
        let token = json!({"token": "t", "expired": true}).to_string();
        assert_eq!(
            observe(token.as_bytes(), true, now()).orphan_kind,
            "expired_token"
        );
        let unknown = observe(b"<html>", true, now());
        assert_eq!(unknown.orphan_kind, "unknown");
        assert!(unknown.unknown.is_some() && unknown.facts.is_empty());
    }

    #[test]
    fn an_updated_at_from_the_future_is_not_believed() {
        let raw =
            br#"{"transaction":{"uid":"u","status":"failed","updated_at":"2099-01-01T00:00:00Z"}}"#;
        let learned = observe(raw, true, now());
        let seen = learned.snapshots().next().and_then(|s| s.updated_at);
        assert_eq!(seen, None);
    }
}
