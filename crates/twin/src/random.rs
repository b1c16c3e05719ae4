//! Reproducible randomness.
//!
//! Every value is drawn from the seed and from names (shop, tracking ID, attempt), never from the
//! order in which requests arrive. The same requests therefore get the same results.

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Returns a generator for one purpose.
pub fn generator(seed: u64, names: &[&str]) -> StdRng {
    let mut hash = Sha256::new();
    hash.update(seed.to_be_bytes());
    for name in names {
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name.as_bytes());
    }
    StdRng::from_seed(hash.finalize().into())
}

/// Returns a random (version 4) UUID as text.
pub fn uuid(random: &mut StdRng) -> String {
    let mut bytes = [0; 16];
    random.fill_bytes(&mut bytes);
    uuid::Builder::from_random_bytes(bytes)
        .into_uuid()
        .to_string()
}

/// Returns the UUID of the `n`th response.
pub fn answer_id(seed: u64, n: u64) -> String {
    Uuid::from_u64_pair(seed, n).to_string()
}

/// Returns the lower-case hex SHA-256 digest of a text.
pub fn hex_digest(text: &str) -> String {
    use std::fmt::Write;
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        // Writing to a `String` cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_names_give_the_same_values() {
        let draw = |seed, name| uuid(&mut generator(seed, &["1001", name]));
        assert_eq!(draw(7, "ok-1"), draw(7, "ok-1"));
        assert_ne!(draw(7, "ok-1"), draw(8, "ok-1"));
        assert_ne!(draw(7, "ok-1"), draw(7, "ok-2"));
    }
}
