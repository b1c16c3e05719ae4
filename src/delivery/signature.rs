//! Signs messages per Standard Webhooks 1.0: HMAC-SHA256 over `id.timestamp.body`.
//!
//! While a secret is being rotated, a message carries one signature per secret, so that the
//! subscriber can switch at any time.
//!
//! Not responsible for: verification, which the subscriber does.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use leaves::secret::{Rotating, Secret};
use sha2::Sha256;

/// Returns the value of the `webhook-signature` header.
pub(super) fn signatures(
    secrets: &Rotating<Secret<Vec<u8>>>,
    id: &str,
    timestamp: i64,
    body: &[u8],
) -> String {
    let each: Vec<String> = secrets
        .iter()
        .filter_map(|secret| sign(secret.expose(), id, timestamp, body))
        .collect();
    each.join(" ")
}

/// Returns one signature. HMAC accepts keys of any length, so this is never `None`.
fn sign(key: &[u8], id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Some(format!(
        "v1,{}",
        STANDARD.encode(mac.finalize().into_bytes())
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use standardwebhooks::Webhook;

    const SECRET: &str = "C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
    const BODY: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;

    fn secrets(texts: &[&str]) -> Rotating<Secret<Vec<u8>>> {
        let decoded = texts
            .iter()
            .map(|text| Secret::new(STANDARD.decode(text).unwrap()));
        Rotating::from_values(decoded.collect()).unwrap()
    }

    #[test]
    fn the_signature_matches_the_reference_library() {
        assert_eq!(
            signatures(&secrets(&[SECRET]), ID, 1_649_367_553, BODY),
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="
        );
    }

    #[test]
    fn each_rotating_secret_adds_a_signature() {
        let other = STANDARD.encode([7; 32]);
        let both = signatures(&secrets(&[&other, SECRET]), ID, 1_649_367_553, BODY);
        let theirs = |secret: &str| Webhook::new(secret).unwrap().sign(ID, 1_649_367_553, BODY);
        let expected = format!("{} {}", theirs(&other).unwrap(), theirs(SECRET).unwrap());
        assert_eq!(both, expected);
    }
}
