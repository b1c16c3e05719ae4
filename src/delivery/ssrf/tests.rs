//! Addresses of each kind, in every notation.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
use super::*;
use std::str::FromStr;

const OPEN: AddressFilter = AddressFilter {
    allow_private: true,
};
const CLOSED: AddressFilter = AddressFilter {
    allow_private: false,
};

fn judge(guard: AddressFilter, text: &str) -> Result<(), ForbiddenAddress> {
    guard.judge(text.parse().unwrap())
}

#[test]
fn some_addresses_are_always_forbidden() {
    for text in [
        "169.254.169.254",
        "169.254.0.1",
        "0.0.0.0",
        "0.1.2.3",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "::",
        "fe80::1",
        "febf::1",
        "ff02::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "::ffff:169.254.169.254",
        "::169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
    ] {
        let address = text.parse().unwrap();
        assert_eq!(
            judge(OPEN, text),
            Err(ForbiddenAddress::Never(address)),
            "{text}"
        );
        assert_eq!(
            judge(CLOSED, text),
            Err(ForbiddenAddress::Never(address)),
            "{text}"
        );
    }
}

#[test]
fn private_addresses_need_allow_private() {
    for text in [
        "127.0.0.1",
        "127.255.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "198.18.0.1",
        "192.0.2.1",
        "::1",
        "fc00::1",
        "fd12:3456::1",
        "fec0::1",
        "2001:db8::1",
        "2001:0:1::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
    ] {
        let address = text.parse().unwrap();
        assert_eq!(judge(OPEN, text), Ok(()), "{text}");
        assert_eq!(
            judge(CLOSED, text),
            Err(ForbiddenAddress::Private(address)),
            "{text}"
        );
    }
}

#[test]
fn public_addresses_are_always_allowed() {
    for text in [
        "1.1.1.1",
        "172.32.0.1",
        "100.128.0.1",
        "198.20.0.1",
        "223.255.255.254",
        "2606:4700::1111",
        "64:ff9b::101:101",
        "2001:4860:4860::8888",
    ] {
        assert_eq!(judge(CLOSED, text), Ok(()), "{text}");
    }
}

#[test]
fn an_address_in_the_url_is_checked() {
    let literal = |text: &str| CLOSED.check_literal(&Url::parse(text).unwrap());
    assert!(literal("https://169.254.169.254/x").is_err());
    assert!(literal("https://[::ffff:127.0.0.1]/x").is_err());
    // The URL parser normalises other notations of an address.
    assert!(literal("https://2130706433/x").is_err());
    assert!(literal("https://0x7f.1/x").is_err());
    assert!(literal("https://1.1.1.1/x").is_ok());
    assert!(
        literal("https://localhost/x").is_ok(),
        "names are checked after resolution"
    );
}

#[test]
fn only_allowed_addresses_of_a_name_are_used() {
    let at = |text: &str| SocketAddr::new(IpAddr::from_str(text).unwrap(), 0);
    let mixed = [at("10.0.0.1"), at("1.1.1.1"), at("169.254.169.254")];
    assert_eq!(CLOSED.allowed(mixed.into_iter()).unwrap(), [at("1.1.1.1")]);
    let why = CLOSED.allowed([at("10.0.0.1")].into_iter()).unwrap_err();
    assert!(why.to_string().contains("allow_private"), "{why}");
    let why = OPEN.allowed(std::iter::empty()).unwrap_err();
    assert_eq!(why.to_string(), "name resolves to no address");
}

#[tokio::test]
async fn a_name_is_checked_by_its_addresses() {
    let resolved = |guard: AddressFilter| guard.resolve(Name::from_str("localhost").unwrap());
    assert!(resolved(CLOSED).await.is_err());
    assert!(resolved(OPEN).await.unwrap().next().is_some());
}
