//! By what the gateway's uids are found.

use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

/// The version of UUIDs that are hashes here. What the gateway says is never taken for one of them.
const HASHED: usize = 8;

/// The key of a uid in `uids`: the uid itself where it is a UUID as the gateway writes them, else the
/// beginning of its SHA-256. The same as `uid_key` in SQL.
pub fn key(uid: &str) -> Uuid {
    let mut spelled = Uuid::encode_buffer();
    Uuid::try_parse(uid)
        .ok()
        .filter(|known| known.get_version_num() != HASHED)
        .filter(|known| *known.hyphenated().encode_lower(&mut spelled) == *uid)
        .unwrap_or_else(|| hashed(uid))
}

fn hashed(uid: &str) -> Uuid {
    let digest: [u8; 32] = Sha256::digest(uid).into();
    let mut beginning = [0; 16];
    beginning.copy_from_slice(&digest[..16]);
    // Only the version is set, and not the variant, so that as many bits as possible are the hash's.
    beginning[6] = (beginning[6] & 0x0f) | 0x80;
    Builder::from_bytes(beginning).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_its_own_key_and_everything_else_is_hashed() {
        let uuid = "6a0f5f1c-2f0e-4d2a-9f6e-0b1d7c9a1001";
        assert_eq!(key(uuid).to_string(), uuid);
        for other in [
            "",
            "4107-310b0da80b",
            "6A0F5F1C-2F0E-4D2A-9F6E-0B1D7C9A1001",
            "6a0f5f1c2f0e4d2a9f6e0b1d7c9a1001",
            "{6a0f5f1c-2f0e-4d2a-9f6e-0b1d7c9a1001}",
            "6a0f5f1c-2f0e-8d2a-9f6e-0b1d7c9a1001",
        ] {
            assert_eq!(key(other).get_version_num(), HASHED, "{other}");
            assert_ne!(key(other).to_string(), other);
        }
    }

    #[test]
    fn no_uid_has_the_key_of_another_by_naming_it() {
        let named = key("4107-310b0da80b").to_string();
        assert_ne!(key(&named), key("4107-310b0da80b"));
    }
}
