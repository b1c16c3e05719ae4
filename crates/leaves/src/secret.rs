//! A value that is never printed and does not outlive its use.
//!
//! It deliberately has no `Deref`, no serialization and no `Display` of its content:
//! the only way to the content is `expose`, which is easy to search for in a review.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// A secret text, or secret bytes as `Secret<Vec<u8>>`. Wiped from memory when dropped,
/// printed as `***`, compared in constant time.
#[derive(Clone)]
pub struct Secret<T: Zeroize = String>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Takes over a value; the caller keeps no other copy.
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The content, for the one call that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<T: Zeroize> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<T: Zeroize + AsRef<[u8]>> PartialEq for Secret<T> {
    /// Takes a time that depends on the lengths alone.
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref().ct_eq(other.0.as_ref()).into()
    }
}

impl<T: Zeroize + AsRef<[u8]>> Eq for Secret<T> {}

/// One or more values of which the first is used and all are accepted, so that a key
/// can be changed on both sides without a moment at which nothing works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotating<T> {
    current: T,
    others: Vec<T>,
}

impl<T> Rotating<T> {
    /// The values in order of preference; `None` when there are none.
    pub fn from_values(values: Vec<T>) -> Option<Self> {
        let mut values = values.into_iter();
        let current = values.next()?;
        Some(Self {
            current,
            others: values.collect(),
        })
    }

    /// The one that is used.
    pub fn current(&self) -> &T {
        &self.current
    }

    /// All that are accepted, the one that is used first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.current).chain(&self.others)
    }
}

/// Names a value without telling it: the first 16 hex digits of its SHA-256.
pub fn short_digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(
            format!("{secret} {secret:?} {:?}", Some(&secret)),
            "*** *** Some(***)"
        );
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn secrets_compare_by_content() {
        let secret = |text: &str| Secret::new(text.to_owned());
        assert_eq!(secret("a"), secret("a"));
        assert_ne!(secret("a"), secret("b"));
        assert_ne!(secret("a"), secret("aa"));
    }

    #[test]
    fn the_first_of_rotating_values_is_used_and_all_are_accepted() {
        assert!(Rotating::<u8>::from_values(Vec::new()).is_none());
        let keys = Rotating::from_values(vec![2, 1]);
        assert_eq!(keys.as_ref().map(Rotating::current), Some(&2));
        assert_eq!(
            keys.map(|keys| keys.iter().copied().collect()),
            Some(vec![2, 1])
        );
    }
}
