//! Signs webhooks as the gateway does: RSA PKCS#1 v1.5 over the SHA-256 of the raw body.
//!
//! Both keys are test keys that sign nothing else. The second key exists to test a key rotation.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use serde::{Deserialize, Serialize};

/// Name of a signing key of the simulator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SigningKey {
    /// Initial key of a shop.
    #[default]
    Default,
    /// Key that replaces the initial one in a rotation.
    Rotated,
}

impl SigningKey {
    /// Returns the other key.
    pub fn other(self) -> Self {
        match self {
            Self::Default => Self::Rotated,
            Self::Rotated => Self::Default,
        }
    }

    /// Returns the public key as the back office shows it: base64 of the DER SubjectPublicKeyInfo
    /// on one line.
    pub fn public(self) -> &'static str {
        match self {
            Self::Default => include_str!("keys/default.pub").trim_ascii(),
            Self::Rotated => include_str!("keys/rotated.pub").trim_ascii(),
        }
    }

    /// Returns the public key in PEM format.
    pub fn public_pem(self) -> String {
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        let mut rest = self.public();
        while !rest.is_empty() {
            let (line, next) = rest.split_at(rest.len().min(64));
            pem.push_str(line);
            pem.push('\n');
            rest = next;
        }
        pem.push_str("-----END PUBLIC KEY-----\n");
        pem
    }
}

/// Signs with both private keys.
pub struct Signer {
    default: RsaKeyPair,
    rotated: RsaKeyPair,
    random: SystemRandom,
}

impl Signer {
    /// Parses the embedded keys.
    pub fn new() -> Result<Self, ring::error::KeyRejected> {
        Ok(Self {
            default: RsaKeyPair::from_pkcs8(include_bytes!("keys/default.pk8"))?,
            rotated: RsaKeyPair::from_pkcs8(include_bytes!("keys/rotated.pk8"))?,
            random: SystemRandom::new(),
        })
    }

    /// Returns the `Content-Signature` of a body.
    pub fn sign(&self, key: SigningKey, body: &[u8]) -> Result<String, ring::error::Unspecified> {
        let pair = match key {
            SigningKey::Default => &self.default,
            SigningKey::Rotated => &self.rotated,
        };
        let mut signature = vec![0; pair.public_key().modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &self.random, body, &mut signature)?;
        Ok(STANDARD.encode(signature))
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a failed test may panic")]
mod tests {
    use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    /// Returns the PKCS#1 key, which starts after 24 bytes of a 2048-bit SubjectPublicKeyInfo.
    fn pkcs1(name: SigningKey) -> Vec<u8> {
        let der = STANDARD
            .decode(name.public())
            .expect("the public key is base64");
        der[24..].to_vec()
    }

    #[test]
    fn each_key_verifies_its_own_signatures_only() {
        let signer = Signer::new().expect("the embedded keys are valid");
        for name in [SigningKey::Default, SigningKey::Rotated] {
            let text = signer.sign(name, b"{}").expect("signing works");
            let signature = STANDARD.decode(text).expect("base64");
            let verify = |key: SigningKey, body: &[u8]| {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pkcs1(key))
                    .verify(body, &signature)
                    .is_ok()
            };
            assert!(verify(name, b"{}"));
            assert!(!verify(name, b"{} "));
            assert!(!verify(name.other(), b"{}"));
        }
    }

    #[test]
    fn the_public_key_is_shown_on_one_line_and_as_pem() {
        assert!(SigningKey::Default.public().starts_with("MIIBIjANBgkqhki"));
        assert!(!SigningKey::Default.public().contains('\n'));
        assert!(
            SigningKey::Rotated
                .public_pem()
                .ends_with("-----END PUBLIC KEY-----\n")
        );
    }
}
