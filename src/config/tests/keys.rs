//! Keys in all the ways in which people write them.

use aws_lc_rs::digest::{SHA256, digest};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::KeyDigest;
use super::{PUBLIC_KEY, minimal, only_error, parse};
use gateway::RsaPublicKey;

/// The same key as DER `RSAPublicKey`.
const PKCS1: &str = "MIIBCgKCAQEAs8X6XDT/PediaeyvD8BYAFsgwc09CF5IgSMiU5nax5CUhU0iDYfMZWEcgKspsnu5ktJhIpFvGRxDgUKWHyVv5R8aHTzYp8/S2/ZmqorpaFvhXoqpJsGpFZEigStdfOnaqDPh0NMTpW+38fA5/D02Tiq0YINAUPhTJTar6h/UCV3TagnRI6MC7frDboDrgqtYsFEXeSo+7C6LoU6FIYaik/OpkQiG9EwM12x6kTgWt9h2L43v6jnOokbQMyfQRuU1eu/CJpOCWXXbGFpXfY7zjm1oYhTNwf53PbL9yXezJhL71ukkQoVdEl8YXyBR60CNQfmKkfKGQUWgKAmi5gOUQQIDAQAB";
/// "hello", signed with the private key that belongs to it.
const SIGNATURE: &str = "rk12tqKeXF9DSMXeWOdo25P9VZ5JhqIQKkEQRp22zir92B8nRJErs4s4Ns9qxNQM+p6n8tUcknQUCkYJyIMayKn72xsvSQdVd/sfqHLpLJ/tB8wXWFUiYkWwFNz+/oXuAgMJinnYOxJ3xNizgTNF7nT//hRG82mQ9Wi2cii33Ht7RBy52hqIQINHNwLz8ljGCjlJnZ1p1GArNqExnaM75Sa5Qn7DPrnYk99IVg053FTMG3JJELa6PiW1D5YaBkkqla87X1dKQjqs21iORLNqR9NZW/nUYI6Q50fnDR8yG3kDi+WlVGn+oAPtQdBYlQyTAvnsBOYH3n1/4h7x/C5BCQ==";
const RSA_1024: &str = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDRJKtGf5gbqTazlhiauc8YmE82wplceZQppiZBKeV2oLGK94+qBUNcSpV/B7+O3k8Igx7UYEkGhZBXxNYU5uS6kDKoXxfUertEY2t23g9MgE9A+sRCxjtLvrj44TwQVGm1UWkzEzTVGg3FySo4HymFBDIQOZKJ3R6GrNTs2F3nHQIDAQAB";
const ELLIPTIC: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAElkHNafMsTxCeXNWL6+tVCYAG2V208Jds/EDg35wqu06V77thz8wrgmcVuOGM+Jr+SI+0Rk9TDQSneeYZIXwIGg==";

fn pem(label: &str, body: &str) -> String {
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

#[test]
fn every_way_to_write_a_public_key_gives_the_key_that_checks() {
    let signature = STANDARD.decode(SIGNATURE).unwrap();
    let spki_pem = pem("PUBLIC KEY", PUBLIC_KEY);
    for text in [
        PUBLIC_KEY.to_owned(),
        format!("\r\n {}\r\n{} \n", &PUBLIC_KEY[..64], &PUBLIC_KEY[64..]),
        spki_pem.clone(),
        spki_pem.replace('\n', "\r\n"),
        spki_pem.replace('\n', "\\n"),
        pem("RSA PUBLIC KEY", PKCS1),
    ] {
        let key = RsaPublicKey::parse(&text).unwrap();
        assert_eq!(key.bits(), 2048);
        assert_eq!(key.pkcs1_der(), STANDARD.decode(PKCS1).unwrap());
        assert!(key.verifies(&digest(&SHA256, b"hello"), &signature));
        assert!(!key.verifies(&digest(&SHA256, b"hellO"), &signature));
        // As somebody else sees it.
        let verifier = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.pkcs1_der());
        verifier.verify(b"hello", &signature).unwrap();
    }
}

#[test]
fn an_unusable_rsa_key_is_rejected() {
    let cut = &PUBLIC_KEY[..PUBLIC_KEY.len() - 40];
    let longer = |text: &str| {
        let mut der = STANDARD.decode(text).unwrap();
        der.push(0);
        STANDARD.encode(der)
    };
    // An even modulus is no product of two primes that anybody would take.
    let mut even = STANDARD.decode(PKCS1).unwrap();
    let last_of_modulus = even.len() - 6;
    even[last_of_modulus] ^= 1;
    let even = pem("RSA PUBLIC KEY", &STANDARD.encode(even));
    for (text, expected) in [
        (even.as_str(), "no signature can be checked with it"),
        ("not a key!", "it is not base64"),
        ("", "it is not a SubjectPublicKeyInfo"),
        (PKCS1, "it is not a SubjectPublicKeyInfo"),
        (cut, "it is not a SubjectPublicKeyInfo"),
        (&longer(PUBLIC_KEY), "it is not a SubjectPublicKeyInfo"),
        (ELLIPTIC, "it is of another algorithm"),
        (
            RSA_1024,
            "the rsa key has 1024 bits, 2048 to 8192 are allowed",
        ),
        (
            &pem("RSA PUBLIC KEY", PUBLIC_KEY),
            "the key itself cannot be read",
        ),
        (
            &pem("RSA PUBLIC KEY", &longer(PKCS1)),
            "the key itself cannot be read",
        ),
        (
            &pem("PRIVATE KEY", PUBLIC_KEY),
            "of type PUBLIC KEY or RSA PUBLIC KEY",
        ),
        (
            &pem("PUBLIC KEY", PUBLIC_KEY).repeat(2),
            "expected one pem block",
        ),
    ] {
        let problem = RsaPublicKey::parse(text).unwrap_err();
        assert!(problem.contains(expected), "{text}: {problem}");
    }
}

#[test]
fn public_keys_are_lists_while_they_are_rotated() {
    let (before, _) = {
        let text = minimal();
        let (before, after) = text.split_once("public_key = ").unwrap();
        (before.to_owned(), after.to_owned())
    };
    let text = format!(
        "{before}public_key = ['{PUBLIC_KEY}', '''{}''']\n",
        pem("PUBLIC KEY", PUBLIC_KEY)
    );
    assert_eq!(parse(&text).shops[0].public_key.len(), 2);
    let text = format!("{before}public_key = ['{PUBLIC_KEY}', 'x']\n");
    assert!(
        only_error(&text).starts_with("shops[0].public_key: item 2: expected an rsa public key")
    );
}

#[test]
fn digests_are_64_hex_digits() {
    let digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    assert_eq!(KeyDigest::parse(digest).unwrap(), KeyDigest::of(b"secret"));
    assert_eq!(
        KeyDigest::parse(&digest.to_uppercase()).unwrap(),
        KeyDigest::of(b"secret")
    );
    assert_ne!(KeyDigest::of(b"secret"), KeyDigest::of(b"secreT"));
    assert_eq!(format!("{:?}", KeyDigest::of(b"secret")), "2bb80d53…");
    for text in [
        "",
        &digest[1..],
        &format!("{digest}0"),
        &digest.replace('2', "g"),
        &"é".repeat(32),
    ] {
        let problem = KeyDigest::parse(text).unwrap_err();
        assert!(problem.starts_with("expected the hex sha-256 of the key, 64 hex digits, got "));
    }
}

#[test]
fn subscriber_secrets_are_those_of_standard_webhooks() {
    use super::super::keys::subscriber_secret;
    let encoded = |length: usize| format!("whsec_{}", STANDARD.encode(vec![7; length]));
    for length in [24, 32, 64] {
        let secret = encoded(length);
        assert_eq!(
            subscriber_secret(&secret).unwrap().expose(),
            &vec![7; length]
        );
        assert_eq!(
            subscriber_secret(secret.trim_end_matches('='))
                .unwrap()
                .expose()
                .len(),
            length
        );
    }
    for (text, expected) in [
        (encoded(23), "it has 23 bytes"),
        (encoded(65), "it has 65 bytes"),
        (encoded(24).replace("whsec_", ""), "the prefix is missing"),
        (
            encoded(24).replace("whsec_", "whsk_"),
            "the prefix is missing",
        ),
        ("whsec_!".to_owned(), "it is not base64"),
    ] {
        let problem = subscriber_secret(&text).unwrap_err();
        assert!(problem.ends_with(expected), "{problem}");
    }
}
