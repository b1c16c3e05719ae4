//! Keys as they are written in a configuration: the key of request fingerprints, the digest of a
//! client's key, a subscriber's signing secret. The errors here never repeat what was read.

use std::fmt;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use leaves::secret::{Secret, short_digest};

const MIN_FINGERPRINT_KEY: usize = 32;
/// The bounds of the Standard Webhooks specification.
const SUBSCRIBER_SECRET: std::ops::RangeInclusive<usize> = 24..=64;

/// A key of request fingerprints, with the id that is stored beside each fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FingerprintKey {
    id: String,
    key: Secret<Vec<u8>>,
}

impl FingerprintKey {
    /// Takes the bytes as they are written; nothing is decoded.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let length = bytes.len();
        if length < MIN_FINGERPRINT_KEY {
            return Err(format!(
                "the key has {length} bytes, at least {MIN_FINGERPRINT_KEY} are needed"
            ));
        }
        let id = short_digest(&[b"reconciler fingerprint key id\0", bytes].concat());
        Ok(Self {
            id,
            key: Secret::new(bytes.to_vec()),
        })
    }

    /// Names the key without telling it; the same key always has the same id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key.
    pub fn key(&self) -> &Secret<Vec<u8>> {
        &self.key
    }
}

/// The SHA-256 of a client's bearer key; the key itself is not known here.
#[derive(Clone, Copy)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// The digest of a key that a client presented.
    pub fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// Reads 64 hex digits.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = || {
            let count = text.chars().count();
            format!(
                "expected the hex sha-256 of the key, 64 hex digits, got {count} characters{}",
                if count == 64 {
                    " of which some are no hex digits"
                } else {
                    ""
                }
            )
        };
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut digest = [0; 32];
        for (index, byte) in digest.iter_mut().enumerate() {
            let digits = text.get(index * 2..index * 2 + 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Self(digest))
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for KeyDigest {
    /// Takes the same time wherever the difference is.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyDigest {}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for KeyDigest {
    /// The beginning, enough to tell two keys apart.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", hex(&self.0[..4]))
    }
}

/// Reads a Standard Webhooks secret, `whsec_` and base64, into the bytes to sign with.
pub(super) fn subscriber_secret(text: &str) -> Result<Secret<Vec<u8>>, String> {
    const EXPECTED: &str = "expected whsec_ followed by base64 of 24 to 64 bytes";
    // Senders and receivers disagree about padding, and it carries nothing.
    let lenient = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let encoded = text
        .trim()
        .strip_prefix("whsec_")
        .ok_or_else(|| format!("{EXPECTED}: the prefix is missing"))?;
    let bytes = lenient
        .decode(encoded)
        .map_err(|_| format!("{EXPECTED}: it is not base64"))?;
    if !SUBSCRIBER_SECRET.contains(&bytes.len()) {
        return Err(format!("{EXPECTED}: it has {} bytes", bytes.len()));
    }
    Ok(Secret::new(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
