//! The chain of evidence, by the book: `docs/security.md` tells what is hashed in which order.
//!
//! What it deliberately cannot do: notice somebody who rewrites everything up to the head, head
//! included. Who can do that is a matter of permissions, and of heads that were noted elsewhere.

use crate::sql::{AuditedEvidence, AuditedTransaction};
use sha2::{Digest, Sha256};

/// What is wrong with the chain of one transaction, each in a sentence.
pub(super) fn chain_errors(row: &AuditedTransaction, evidence: &[AuditedEvidence]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut previous = vec![0_u8; 32];
    for (at, piece) in (1_i32..).zip(evidence) {
        if piece.position != at {
            faults.push(format!(
                "position {} stands where {at} should",
                piece.position
            ));
        }
        if link(&previous, piece) != piece.chain {
            let (id, at) = (piece.id, piece.position);
            faults.push(format!(
                "evidence {id} at position {at} was changed, or one before it"
            ));
        }
        previous.clone_from(&piece.chain);
    }
    let count = i32::try_from(evidence.len()).unwrap_or(i32::MAX);
    if count != row.evidence_count {
        faults.push(format!(
            "{count} pieces of evidence, where {} were counted",
            row.evidence_count
        ));
    }
    if previous != row.evidence_head {
        faults.push("the last piece is not the head that the transaction names".to_owned());
    }
    faults
}

/// SHA-256 over the previous hash and everything that is stored of this piece.
fn link(previous: &[u8], piece: &AuditedEvidence) -> Vec<u8> {
    let mut bytes = previous.to_vec();
    bytes.extend(piece.id.as_bytes());
    bytes.extend(piece.position.to_be_bytes());
    bytes.extend(piece.received_at.micros().to_be_bytes());
    let subject = piece.subject.as_deref().unwrap_or_default();
    for text in [&piece.channel, &piece.verdict, subject, &piece.note] {
        bytes.extend((text.len() as u64).to_be_bytes());
        bytes.extend(text.as_bytes());
    }
    let status = u16::try_from(piece.http_status.unwrap_or(0)).unwrap_or(u16::MAX);
    bytes.extend(status.to_be_bytes());
    bytes.push(piece.signed.map_or(0, |held| 1 + u8::from(held)));
    bytes.extend(&piece.body_sha256);
    bytes.extend(Sha256::digest(&piece.body));
    Sha256::digest(&bytes).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;
    use words::Timestamp;

    fn piece(position: i32, previous: &[u8]) -> AuditedEvidence {
        let mut piece = AuditedEvidence {
            id: Uuid::from_u128(position as u128),
            position,
            channel: "query".to_owned(),
            verdict: "applied".to_owned(),
            received_at: Timestamp::from_micros(1_700_000_000_000_000),
            http_status: Some(200),
            subject: Some("ord-1".to_owned()),
            signed: None,
            note: "found".to_owned(),
            body: b"{}".to_vec(),
            body_sha256: vec![7; 32],
            chain: Vec::new(),
        };
        piece.chain = link(previous, &piece);
        piece
    }

    fn row(count: i32, head: &[u8]) -> AuditedTransaction {
        AuditedTransaction {
            id: Uuid::nil(),
            tracking_id: None,
            kind: "payment".to_owned(),
            origin: "api".to_owned(),
            amount: None,
            currency: None,
            parent_uid: None,
            parent_tracking_id: None,
            card_data: false,
            test: None,
            state: "accepted".to_owned(),
            uid: None,
            summary: "{}".to_owned(),
            finalized: false,
            evidence_count: count,
            evidence_head: head.to_vec(),
            check_state: None,
        }
    }

    #[test]
    fn every_change_is_noticed() {
        let first = piece(1, &[0; 32]);
        let whole = vec![first.clone(), piece(2, &first.chain)];
        let row = row(2, &whole[1].chain);
        assert!(chain_errors(&row, &whole).is_empty());
        let changes: [fn(&mut AuditedEvidence); 9] = [
            |p| p.id = Uuid::max(),
            |p| p.channel.push('x'),
            |p| p.verdict.push('x'),
            |p| p.received_at = Timestamp::from_micros(0),
            |p| p.http_status = None,
            |p| p.subject = None,
            |p| p.signed = Some(false),
            |p| p.note.push('x'),
            |p| p.body.push(b' '),
        ];
        for change in changes {
            let mut tampered = whole.clone();
            change(&mut tampered[0]);
            assert_eq!(chain_errors(&row, &tampered).len(), 1);
        }
        // One is gone, or two have changed places.
        assert!(chain_errors(&row, &whole[1..]).len() > 1);
        assert!(chain_errors(&row, &[whole[1].clone(), whole[0].clone()]).len() > 1);
        let mut forged = row.clone();
        forged.evidence_head = vec![1; 32];
        assert_eq!(chain_errors(&forged, &whole).len(), 1);
    }
}
