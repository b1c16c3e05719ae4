//! Networks of addresses, such as those of trusted proxies.

use std::fmt;
use std::net::IpAddr;

use super::value::{FromSetting, SettingValue};

/// All addresses that begin with the same bits. A single address is a network as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads `10.0.0.0/8`, `2001:db8::/32` or a single address. `None` when bits behind the prefix are set.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let prefix = prefix.unwrap_or(width(address));
        // Those that are written as IPv6 are compared as IPv4.
        let (address, prefix) = match address.to_canonical() {
            four @ IpAddr::V4(_) if address.is_ipv6() => (four, prefix.checked_sub(96)?),
            canonical => (canonical, prefix),
        };
        let bits = width(address);
        let network = Self { address, prefix };
        (prefix <= bits && network.first_bits(address) == number(address)).then_some(network)
    }

    /// Whether it holds this address. An IPv4 address that is written as IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        width(address) == width(self.address) && self.first_bits(address) == number(self.address)
    }

    /// Whether it holds every address.
    pub(super) fn is_everything(&self) -> bool {
        self.prefix == 0
    }

    fn first_bits(&self, address: IpAddr) -> u128 {
        let rest = u32::from(width(address) - self.prefix);
        let number = number(address);
        number.checked_shr(rest).map_or(0, |first| first << rest)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == width(self.address) {
            return write!(f, "{}", self.address);
        }
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromSetting for Network {
    fn expected() -> String {
        "an ip address or a network such as 10.0.0.0/8 or 2001:db8::/32, with no bit set behind the prefix"
            .to_owned()
    }

    fn from_raw(raw: &SettingValue) -> Option<Self> {
        Self::parse(raw.text()?.trim())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn holds(network: &str, address: &str) -> bool {
        Network::parse(network)
            .unwrap()
            .contains(address.parse().unwrap())
    }

    #[test]
    fn a_network_contains_addresses_with_its_prefix() {
        assert!(holds("10.0.0.0/8", "10.255.1.2"));
        assert!(!holds("10.0.0.0/8", "11.0.0.0"));
        assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.8"));
        assert!(holds("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(holds("::ffff:10.0.0.0/104", "10.1.2.3") && holds("::ffff:10.0.0.1", "10.0.0.1"));
        assert!(holds("2001:db8::/32", "2001:db8:1::2"));
        assert!(!holds("2001:db8::/32", "2001:db9::") && !holds("::/0", "10.0.0.1"));
        assert!(holds("0.0.0.0/0", "203.0.113.9") && holds("::/0", "2001:db8::1"));
    }

    #[test]
    fn an_invalid_network_is_rejected() {
        for text in [
            "",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0",
            "::1/129",
            "10.0.0.0/8/8",
            "host",
        ] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
        for text in ["10.0.0.0/8", "::1", "2001:db8::/32", "127.0.0.1"] {
            assert_eq!(Network::parse(text).unwrap().to_string(), text);
        }
    }
}
