//! The RSA key that signs a shop's webhooks. Its errors never repeat what was read.

use std::fmt;

use aws_lc_rs::digest::Digest;
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use leaves::secret::short_digest;
use spki::SubjectPublicKeyInfoRef;
use spki::der::asn1::UintRef;
use spki::der::{Decode as _, Reader as _, SliceReader};

/// The sizes that `RSA_PKCS1_2048_8192_SHA256` verifies.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;
const RSA_ENCRYPTION: spki::ObjectIdentifier =
    spki::ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// A shop's public key, which signs its webhooks.
#[derive(Clone)]
pub struct RsaPublicKey {
    bits: usize,
    /// Made once, since it takes long to make: `docs/adr/0011-signatures-of-webhooks-are-checked-by-aws-lc.md`.
    verifier: ParsedPublicKey,
}

impl PartialEq for RsaPublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.pkcs1_der() == other.pkcs1_der()
    }
}

impl Eq for RsaPublicKey {}

impl RsaPublicKey {
    /// Reads what the back office shows (base64 of a DER SubjectPublicKeyInfo, line
    /// breaks ignored) or PEM (`PUBLIC KEY` or `RSA PUBLIC KEY`).
    pub fn parse(text: &str) -> Result<Self, String> {
        // An environment variable often carries line breaks as backslash and n, which
        // base64 never contains.
        let text = text.replace("\\r", "").replace("\\n", "\n");
        let (body, is_pkcs1) = unarmour(&text)?;
        let body: String = body.chars().filter(|c| !c.is_whitespace()).collect();
        let der = STANDARD.decode(body).map_err(|_| {
            "expected an rsa public key, base64 on one line or pem: it is not base64".to_owned()
        })?;
        let pkcs1_der = if is_pkcs1 { der } else { unwrap_spki(&der)? };
        let bits = modulus_bits(&pkcs1_der)
            .map_err(|_| "expected an rsa public key: the key itself cannot be read".to_owned())?;
        if !RSA_BITS.contains(&bits) {
            let (min, max) = (RSA_BITS.start(), RSA_BITS.end());
            return Err(format!(
                "the rsa key has {bits} bits, {min} to {max} are allowed"
            ));
        }
        let verifier =
            ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &pkcs1_der).map_err(|_| {
                "expected an rsa public key: no signature can be checked with it".to_owned()
            })?;
        Ok(Self { bits, verifier })
    }

    /// Whether this is a signature (PKCS#1 v1.5, SHA-256) of what has this digest.
    pub fn verifies(&self, digest: &Digest, signature: &[u8]) -> bool {
        self.verifier.verify_digest_sig(digest, signature).is_ok()
    }

    /// The key as DER `RSAPublicKey` (PKCS#1).
    pub fn pkcs1_der(&self) -> &[u8] {
        self.verifier.as_ref()
    }

    /// The size of the modulus.
    pub fn bits(&self) -> usize {
        self.bits
    }
}

impl fmt::Debug for RsaPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for RsaPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "rsa {} bits, sha256 {}",
            self.bits,
            short_digest(self.pkcs1_der())
        )
    }
}

/// The base64 inside PEM armour, and whether the armour says PKCS#1.
fn unarmour(text: &str) -> Result<(&str, bool), String> {
    let text = text.trim();
    if !text.starts_with("-----BEGIN") {
        return Ok((text, false));
    }
    for (label, is_pkcs1) in [("PUBLIC KEY", false), ("RSA PUBLIC KEY", true)] {
        let begin = format!("-----BEGIN {label}-----");
        let end = format!("-----END {label}-----");
        let inside = text
            .strip_prefix(&begin)
            .and_then(|rest| rest.split_once(&end));
        match inside {
            Some((body, rest)) if rest.trim().is_empty() => return Ok((body, is_pkcs1)),
            Some(_) => return Err("expected one pem block, write a list for several keys".into()),
            None => {}
        }
    }
    Err("expected a pem block of type PUBLIC KEY or RSA PUBLIC KEY".to_owned())
}

fn unwrap_spki(der: &[u8]) -> Result<Vec<u8>, String> {
    let info = SubjectPublicKeyInfoRef::from_der(der)
        .map_err(|_| "expected an rsa public key: it is not a SubjectPublicKeyInfo".to_owned())?;
    if info.algorithm.oid != RSA_ENCRYPTION {
        return Err("expected an rsa public key: it is of another algorithm".to_owned());
    }
    info.subject_public_key
        .as_bytes()
        .map(<[u8]>::to_vec)
        .ok_or_else(|| "expected an rsa public key: the key has stray bits".to_owned())
}

/// `RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER }`
fn modulus_bits(pkcs1_der: &[u8]) -> spki::der::Result<usize> {
    let mut reader = SliceReader::new(pkcs1_der)?;
    let bits = reader.sequence(|inner| -> spki::der::Result<usize> {
        let modulus = UintRef::decode(inner)?;
        let _exponent = UintRef::decode(inner)?;
        let bytes = modulus.as_bytes();
        let unused = bytes
            .first()
            .map_or(0, |byte| byte.leading_zeros() as usize);
        Ok(bytes.len() * 8 - unused)
    })?;
    reader.finish()?;
    Ok(bits)
}
