//! Whether a webhook comes from the gateway.
//!
//! Two proofs travel with it: the shop's own secret by HTTP Basic, and an RSA signature over the
//! bytes of the body. Only the second cannot be taken by somebody who has seen one request, so
//! that without it a webhook is a hint at most. Everything doubtful is refused. What it
//! deliberately cannot do: tell a fresh webhook from a replayed one; there is nothing in it to
//! tell them by, and the order of snapshots makes replays harmless.

use crate::public_key::RsaPublicKey;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use leaves::secret::{Rotating, Secret};
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::{Choice, ConstantTimeEq};

/// What a shop's webhooks are checked against.
#[derive(Debug, Clone, Copy)]
pub struct WebhookKeys<'a> {
    /// The shop id: the user name of HTTP Basic.
    pub shop_id: &'a str,
    /// The secret keys: passwords, any of which is accepted while a secret is rotated.
    pub secrets: &'a Rotating<Secret>,
    /// The public keys, any of which is accepted while a key is rotated.
    pub public_keys: &'a [RsaPublicKey],
    /// Whether a webhook without a signature is refused.
    pub signature_required: bool,
}

/// Whether a webhook is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Authenticity {
    /// Credentials and signature are right: it is what the gateway says.
    Signed,
    /// The credentials are right, and there is no signature where none is required: a hint.
    BasicOnly,
    /// It is not believed, and nothing follows from it.
    Refused(RejectReason),
}

/// Why a webhook is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RejectReason {
    /// There are no credentials, or not by HTTP Basic.
    NoCredentials,
    /// The credentials are not this shop's.
    WrongCredentials,
    /// There is no signature, and the shop requires one.
    NoSignature,
    /// The signature does not fit the body under any of the shop's keys.
    WrongSignature,
    /// The body is about another shop.
    AnotherShop,
}

impl RejectReason {
    /// The word used in metrics and findings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCredentials => "no_credentials",
            Self::WrongCredentials => "wrong_credentials",
            Self::NoSignature => "no_signature",
            Self::WrongSignature => "wrong_signature",
            Self::AnotherShop => "another_shop",
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who knows the shop's secret: his body is read, and what it is worth is still to be seen.
#[derive(Debug, Clone, Copy)]
pub struct AuthenticatedSender<'a> {
    shop: WebhookKeys<'a>,
}

/// Checks the credentials of a webhook: the value of `Authorization`.
///
/// # Errors
/// The reason for which it is refused, whatever else it brings.
pub fn authenticate_basic<'a>(
    authorization: Option<&[u8]>,
    shop: WebhookKeys<'a>,
) -> Result<AuthenticatedSender<'a>, RejectReason> {
    let given = authorization.and_then(credentials);
    if is_known(&given.ok_or(RejectReason::NoCredentials)?, &shop) {
        Ok(AuthenticatedSender { shop })
    } else {
        Err(RejectReason::WrongCredentials)
    }
}

impl AuthenticatedSender<'_> {
    /// Checks each value of `Content-Signature`: one that holds is enough.
    pub fn verify_any<'s>(
        &self,
        signatures: impl Iterator<Item = &'s [u8]>,
        raw_body: &[u8],
    ) -> Authenticity {
        let mut refused = None;
        for signature in signatures.take(SIGNATURES) {
            match self.verify_signature(Some(signature), raw_body) {
                Authenticity::Refused(reason) => refused = Some(Authenticity::Refused(reason)),
                believed => return believed,
            }
        }
        refused.unwrap_or_else(|| self.verify_signature(None, raw_body))
    }

    /// Checks the value of `Content-Signature`, and the body as it was received.
    pub fn verify_signature(
        &self,
        content_signature: Option<&[u8]>,
        raw_body: &[u8],
    ) -> Authenticity {
        let shop = &self.shop;
        match content_signature {
            None if shop.signature_required => Authenticity::Refused(RejectReason::NoSignature),
            None => Authenticity::BasicOnly,
            // A shop without a key cannot tell right from wrong; `signature_required` says what then.
            Some(_) if shop.public_keys.is_empty() && !shop.signature_required => {
                Authenticity::BasicOnly
            }
            Some(signature) if is_signed(signature, raw_body, shop.public_keys) => {
                Authenticity::Signed
            }
            Some(_) => Authenticity::Refused(RejectReason::WrongSignature),
        }
    }
}

/// So many are looked at: each costs a verification.
const SIGNATURES: usize = 4;

/// Padding is not insisted on: what counts is whether the bytes verify.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    if !text.iter().any(u8::is_ascii_whitespace) {
        return BASE64.decode(text).ok();
    }
    // Some encoders fold long lines.
    let lean: Vec<u8> = text
        .iter()
        .copied()
        .filter(|b| !b.is_ascii_whitespace())
        .collect();
    BASE64.decode(lean).ok()
}

/// The hash of `user:password`.
fn credentials(header: &[u8]) -> Option<[u8; 32]> {
    let (scheme, rest) = header.trim_ascii_start().split_at_checked(5)?;
    let basic = scheme.eq_ignore_ascii_case(b"basic") && rest.starts_with(b" ");
    let given = decode(rest).filter(|_| basic)?;
    Some(Sha256::digest(given).into())
}

/// Hashes are compared, so that no length and no common beginning shows, and every secret is
/// tried, so that it does not show which one fits.
fn is_known(given: &[u8; 32], shop: &WebhookKeys<'_>) -> bool {
    let mut known = Choice::from(0);
    for secret in shop.secrets.iter() {
        let expected: [u8; 32] = Sha256::new()
            .chain_update(shop.shop_id)
            .chain_update(b":")
            .chain_update(secret.expose())
            .finalize()
            .into();
        known |= expected.ct_eq(given);
    }
    known.into()
}

fn is_signed(signature: &[u8], body: &[u8], keys: &[RsaPublicKey]) -> bool {
    decode(signature).is_some_and(|signature| {
        let digest = digest(&SHA256, body);
        keys.iter().any(|key| key.verifies(&digest, &signature))
    })
}

#[cfg(test)]
mod tests;
