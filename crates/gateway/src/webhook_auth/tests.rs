//! The gateway's own webhook, and everything that only resembles one.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use base64::engine::general_purpose::STANDARD;

struct Sample {
    authorization: String,
    signature: String,
    body: Vec<u8>,
    keys: Vec<RsaPublicKey>,
}

fn sample() -> Sample {
    let all: serde_json::Value =
        serde_json::from_str(include_str!("../../../../tests/data/samples.json")).unwrap();
    let hook = &all["samples"]["webhook_payment_successful"];
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let shown = text(&hook["shop_public_key_as_shown_in_back_office"]);
    let key = RsaPublicKey::parse(&shown).unwrap();
    Sample {
        authorization: text(&hook["headers"]["Authorization"]),
        signature: text(&hook["headers"]["Content-Signature"]),
        body: text(&hook["raw_body_utf8"]).into_bytes(),
        keys: vec![stranger(&key), key],
    }
}

/// A well-formed key of somebody else.
fn stranger(key: &RsaPublicKey) -> RsaPublicKey {
    let mut der = key.pkcs1_der().to_vec();
    der[100] ^= 1;
    let body = STANDARD.encode(der);
    let pem = format!("-----BEGIN RSA PUBLIC KEY-----\n{body}\n-----END RSA PUBLIC KEY-----");
    RsaPublicKey::parse(&pem).unwrap()
}

fn secrets(texts: &[&str]) -> Rotating<Secret> {
    let all = texts
        .iter()
        .map(|text| Secret::new((*text).to_owned()))
        .collect();
    Rotating::from_values(all).unwrap()
}

impl Sample {
    fn verify(
        &self,
        authorization: Option<&str>,
        signature: Option<&str>,
        signature_required: bool,
    ) -> Authenticity {
        let secrets = secrets(&["retired", "synthetic-secret"]);
        let keys = WebhookKeys {
            shop_id: "1001",
            secrets: &secrets,
            public_keys: &self.keys,
            signature_required,
        };
        let signature = signature.map(str::as_bytes);
        match authenticate_basic(authorization.map(str::as_bytes), keys) {
            Ok(admitted) => admitted.verify_signature(signature, &self.body),
            Err(reason) => Authenticity::Refused(reason),
        }
    }
}

fn basic(text: &str) -> String {
    format!("Basic {}", STANDARD.encode(text))
}

#[test]
fn the_gateways_own_webhook_is_signed() {
    let sample = sample();
    let (auth, sign) = (sample.authorization.as_str(), sample.signature.as_str());
    assert_eq!(
        sample.verify(Some(auth), Some(sign), true),
        Authenticity::Signed
    );
    assert_eq!(
        sample.verify(Some(auth), Some(sign), false),
        Authenticity::Signed
    );
    let (front, back) = sign.split_at(60);
    let folded = format!(" {front}\r\n\t{back} ");
    assert_eq!(
        sample.verify(Some(auth), Some(&folded), true),
        Authenticity::Signed
    );
    let unpadded = sign.trim_end_matches('=');
    assert_eq!(
        sample.verify(Some(auth), Some(unpadded), true),
        Authenticity::Signed
    );
    let retired = basic("1001:retired").replace("Basic", "bAsIc");
    assert_eq!(
        sample.verify(Some(&retired), Some(sign), true),
        Authenticity::Signed
    );
}

#[test]
fn the_signature_covers_every_byte() {
    let mut sample = sample();
    let last = sample.body.len() - 1;
    for at in [0, last / 2, last] {
        sample.body[at] ^= 1;
        let (auth, sign) = (sample.authorization.as_str(), sample.signature.as_str());
        let refused = Authenticity::Refused(RejectReason::WrongSignature);
        assert_eq!(sample.verify(Some(auth), Some(sign), true), refused);
        assert_eq!(sample.verify(Some(auth), Some(sign), false), refused);
        sample.body[at] ^= 1;
    }
    sample.body.push(b'\n');
    let (auth, sign) = (sample.authorization.as_str(), sample.signature.as_str());
    let refused = Authenticity::Refused(RejectReason::WrongSignature);
    assert_eq!(sample.verify(Some(auth), Some(sign), true), refused);
}

#[test]
fn a_signature_may_be_missing_but_never_wrong() {
    let sample = sample();
    let auth = Some(sample.authorization.as_str());
    let refused = Authenticity::Refused(RejectReason::WrongSignature);
    for wrong in ["", "%%%", "AAAA", &STANDARD.encode([0; 256])] {
        assert_eq!(sample.verify(auth, Some(wrong), true), refused, "{wrong}");
        assert_eq!(sample.verify(auth, Some(wrong), false), refused, "{wrong}");
    }
    assert_eq!(
        sample.verify(auth, None, true),
        Authenticity::Refused(RejectReason::NoSignature)
    );
    assert_eq!(sample.verify(auth, None, false), Authenticity::BasicOnly);
}

#[test]
fn credentials_are_always_needed() {
    let sample = sample();
    let sign = Some(sample.signature.as_str());
    let missing = Authenticity::Refused(RejectReason::NoCredentials);
    for auth in [
        None,
        Some(""),
        Some("Basic"),
        Some("Bearer eA=="),
        Some("Basic %%"),
        Some("Basicx"),
    ] {
        assert_eq!(sample.verify(auth, sign, false), missing, "{auth:?}");
    }
    let wrong = Authenticity::Refused(RejectReason::WrongCredentials);
    for text in [
        "1001:",
        "1001:synthetic-secre",
        "1001:synthetic-secret ",
        "1002:retired",
        ":",
        "",
    ] {
        assert_eq!(
            sample.verify(Some(&basic(text)), sign, true),
            wrong,
            "{text}"
        );
    }
}

#[test]
fn a_shop_without_a_key_never_calls_anything_signed() {
    let sample = sample();
    let secrets = secrets(&["synthetic-secret"]);
    let keys = |signature_required| WebhookKeys {
        shop_id: "1001",
        secrets: &secrets,
        public_keys: &[],
        signature_required,
    };
    let verify = |required| {
        let sign = Some(sample.signature.as_bytes());
        let authorization = Some(sample.authorization.as_bytes());
        authenticate_basic(authorization, keys(required))
            .map(|admitted| admitted.verify_signature(sign, &sample.body))
    };
    assert_eq!(verify(false), Ok(Authenticity::BasicOnly));
    let refused = Authenticity::Refused(RejectReason::WrongSignature);
    assert_eq!(verify(true), Ok(refused));
}

#[test]
fn nothing_prints_a_secret() {
    let secrets = secrets(&["hush"]);
    let keys = WebhookKeys {
        shop_id: "1001",
        secrets: &secrets,
        public_keys: &[],
        signature_required: true,
    };
    assert!(!format!("{keys:?}").contains("hush"));
}

#[test]
fn of_several_signatures_one_that_holds_is_enough() {
    let sample = sample();
    let secrets = secrets(&["synthetic-secret"]);
    let keys = WebhookKeys {
        shop_id: "1001",
        secrets: &secrets,
        public_keys: &sample.keys,
        signature_required: true,
    };
    let admitted = authenticate_basic(Some(sample.authorization.as_bytes()), keys).unwrap();
    let good = sample.signature.as_bytes();
    let of = |given: &[&[u8]]| admitted.verify_any(given.iter().copied(), &sample.body);
    assert_eq!(of(&[b"AAAA", good]), Authenticity::Signed);
    assert_eq!(of(&[good, b"AAAA"]), Authenticity::Signed);
    let refused = Authenticity::Refused(RejectReason::WrongSignature);
    assert_eq!(of(&[b"AAAA", b"BBBB"]), refused);
    assert_eq!(of(&[]), Authenticity::Refused(RejectReason::NoSignature));
}
