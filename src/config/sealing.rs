//! Requests that wait in the database are sealed there, so that what is sent later is what came, and nobody
//! who reads the database reads it.
//!
//! ChaCha20-Poly1305 under a key that is derived from a fingerprint key by HKDF-SHA256, bound to the shop and
//! the transaction: put beside another transaction it cannot be opened. What this deliberately cannot do:
//! open anything under a key that is no longer configured.

use super::keys::FingerprintKey;
use leaves::secret::Rotating;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use std::fmt;
use zeroize::{Zeroize, Zeroizing};

/// What the derived keys are for, and how what they seal is written.
const PURPOSE: &[u8] = b"reconciler waiting request 1";

/// A request that nobody can read without the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The id of the key.
    pub key_id: String,
    /// A nonce, and what was sealed under it.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes under {}", self.bytes.len(), self.key_id)
    }
}

/// Why something sealed is not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The key is not configured here.
    #[error("its key is not configured here")]
    UnknownKey,
    /// It was changed, or belongs to another transaction.
    #[error("it is not what was sealed for this transaction")]
    Spoiled,
}

/// Seals a request under the first key. `None` when the system has no random numbers.
pub fn seal(
    keys: &Rotating<FingerprintKey>,
    shop: &str,
    transaction: &[u8; 16],
    request: &[u8],
) -> Option<Sealed> {
    let key = keys.current();
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new().fill(&mut nonce).ok()?;
    let mut text = Zeroizing::new(Vec::with_capacity(
        request.len() + CHACHA20_POLY1305.tag_len(),
    ));
    text.extend_from_slice(request);
    let bound = Aad::from(bound(shop, transaction));
    derived(key)?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound, &mut *text)
        .ok()?;
    let bytes = [&nonce[..], &text].concat();
    Some(Sealed {
        key_id: key.id().to_owned(),
        bytes,
    })
}

/// Opens what was sealed under any of the keys.
///
/// # Errors
/// When the key is not among them, or something else was sealed.
pub fn open(
    keys: &Rotating<FingerprintKey>,
    shop: &str,
    transaction: &[u8; 16],
    sealed: &Sealed,
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let key = keys
        .iter()
        .find(|key| key.id() == sealed.key_id)
        .ok_or(OpenError::UnknownKey)?;
    let (nonce, rest) = sealed
        .bytes
        .split_first_chunk::<NONCE_LEN>()
        .ok_or(OpenError::Spoiled)?;
    let mut text = Zeroizing::new(rest.to_vec());
    let bound = Aad::from(bound(shop, transaction));
    let length = derived(key)
        .and_then(|key| {
            let nonce = Nonce::assume_unique_for_key(*nonce);
            Some(key.open_in_place(nonce, bound, &mut text).ok()?.len())
        })
        .ok_or(OpenError::Spoiled)?;
    text[length..].zeroize();
    text.truncate(length);
    Ok(text)
}

fn derived(key: &FingerprintKey) -> Option<LessSafeKey> {
    let extracted = Salt::new(HKDF_SHA256, b"").extract(key.key().expose());
    let expanded = extracted.expand(&[PURPOSE], &CHACHA20_POLY1305).ok()?;
    Some(LessSafeKey::new(UnboundKey::from(expanded)))
}

/// No shop's id has a zero byte in it.
fn bound(shop: &str, transaction: &[u8; 16]) -> Vec<u8> {
    [shop.as_bytes(), b"\0", transaction].concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn keys(texts: &[&str]) -> Rotating<FingerprintKey> {
        let keys = texts
            .iter()
            .map(|text| FingerprintKey::parse(text.repeat(32).as_bytes()).unwrap());
        Rotating::from_values(keys.collect()).unwrap()
    }

    const REQUEST: &[u8] = br#"{"amount":1.2345678901234567890123}"#;

    #[test]
    fn a_sealed_body_opens_under_any_listed_key() {
        let sealed = seal(&keys(&["a"]), "1001", &[1; 16], REQUEST).unwrap();
        assert!(!sealed.bytes.windows(6).any(|window| window == b"amount"));
        for listed in [keys(&["a"]), keys(&["b", "a"])] {
            let opened = open(&listed, "1001", &[1; 16], &sealed).unwrap();
            assert_eq!(opened.as_slice(), REQUEST);
        }
        let again = seal(&keys(&["a"]), "1001", &[1; 16], REQUEST).unwrap();
        assert_ne!(again.bytes, sealed.bytes);
        let other = open(&keys(&["b"]), "1001", &[1; 16], &sealed);
        assert_eq!(other, Err(OpenError::UnknownKey));
    }

    #[test]
    fn a_sealed_body_is_bound_to_its_transaction() {
        let listed = keys(&["a"]);
        let sealed = seal(&listed, "1001", &[1; 16], REQUEST).unwrap();
        let spoiled = Err(OpenError::Spoiled);
        assert_eq!(open(&listed, "1002", &[1; 16], &sealed), spoiled);
        assert_eq!(open(&listed, "1001", &[2; 16], &sealed), spoiled);
        for place in [0, 12, sealed.bytes.len() - 1] {
            let mut changed = sealed.clone();
            changed.bytes[place] ^= 1;
            assert_eq!(open(&listed, "1001", &[1; 16], &changed), spoiled);
        }
        let cut = Sealed {
            bytes: sealed.bytes[..5].to_vec(),
            ..sealed
        };
        assert_eq!(open(&listed, "1001", &[1; 16], &cut), spoiled);
    }
}
