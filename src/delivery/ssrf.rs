//! Address filter for deliveries (SSRF protection).
//!
//! A name is resolved right before a connection is made, each of its addresses is checked, and the
//! connection goes to a checked address only. A later change of the name therefore has no effect.
//!
//! Not responsible for: filtering by name. Only addresses are checked.

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use url::{Host, Url};

/// An address that deliveries may not connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ForbiddenAddress {
    /// Forbidden in every configuration: metadata services, link-local, unspecified, multicast,
    /// reserved.
    #[error("{0} is a forbidden delivery address")]
    Never(IpAddr),
    /// Private or loopback, and `allow_private` is false.
    #[error("{0} is a private address; allow_private is false")]
    Private(IpAddr),
}

/// Checks addresses for one subscriber. Cheap to clone.
#[derive(Debug, Clone, Copy)]
pub(super) struct AddressFilter {
    /// Whether private and loopback addresses are allowed.
    pub(super) allow_private: bool,
}

impl AddressFilter {
    /// Checks an address that is part of the URL itself, which is not resolved.
    ///
    /// # Errors
    ///
    /// Returns the reason if the address is forbidden.
    pub(super) fn check_literal(self, url: &Url) -> Result<(), ForbiddenAddress> {
        match url.host() {
            Some(Host::Ipv4(ip)) => self.judge(ip.into()),
            Some(Host::Ipv6(ip)) => self.judge(ip.into()),
            Some(Host::Domain(_)) | None => Ok(()),
        }
    }

    fn judge(self, address: IpAddr) -> Result<(), ForbiddenAddress> {
        let real = unwrapped(address);
        if is_never(real) || is_never(address) {
            return Err(ForbiddenAddress::Never(address));
        }
        if is_private(real) && !self.allow_private {
            return Err(ForbiddenAddress::Private(address));
        }
        Ok(())
    }

    /// Returns the allowed addresses, or an error if there is none.
    fn allowed(
        self,
        found: impl Iterator<Item = SocketAddr>,
    ) -> Result<Vec<SocketAddr>, Box<dyn Error + Send + Sync>> {
        let mut refused = None;
        let mut allowed = Vec::new();
        for address in found {
            match self.judge(address.ip()) {
                Ok(()) => allowed.push(address),
                Err(why) => refused = Some(why),
            }
        }
        match (allowed.is_empty(), refused) {
            (false, _) => Ok(allowed),
            (true, Some(why)) => Err(Box::new(why)),
            (true, None) => Err("name resolves to no address".into()),
        }
    }
}

impl Resolve for AddressFilter {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = *self;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let addresses: Addrs = Box::new(guard.allowed(found)?.into_iter());
            Ok(addresses)
        })
    }
}

/// Returns the filter as a DNS resolver for reqwest.
pub(super) fn resolver(guard: AddressFilter) -> Arc<AddressFilter> {
    Arc::new(guard)
}

/// Returns the IPv4 address that an IPv6 address leads to: mapped, NAT64 or 6to4. Returns other
/// addresses unchanged.
fn unwrapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 =
        |high: u16, low: u16| IpAddr::from(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match (a, b) {
        (0, 0) if (c, d, e, f) == (0, 0, 0, 0xffff) => v4(g, h),
        // IPv4-compatible, which has no legitimate use. `::` and `::1` are excluded.
        (0, 0) if (c, d, e, f) == (0, 0, 0, 0) && (g, h) > (0, 1) => v4(g, h),
        (0x64, 0xff9b) => v4(g, h),
        (0x2002, _) => v4(b, c),
        _ => address,
    }
}

/// Metadata services outside the link-local range: Alibaba, Oracle, Azure.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];

/// IPv6 addresses of metadata services: Amazon, Google.
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

fn is_never(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            ip.is_link_local()
                || ip.is_multicast()
                || METADATA_V4.contains(&ip)
                // "This network", and reserved ranges, broadcast included.
                || ip.octets()[0] == 0
                || ip.octets()[0] >= 240
        }
        IpAddr::V6(ip) => {
            ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unicast_link_local()
                || METADATA_V6.contains(&ip)
        }
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private()
                || ip.is_loopback()
                || ip.is_documentation()
                // Carrier-grade NAT, protocol assignments, benchmarks.
                || (a == 100 && (64..128).contains(&b))
                || ip.octets()[..3] == [192, 0, 0]
                || (a == 198 && (18..20).contains(&b))
        }
        IpAddr::V6(ip) => {
            let first = ip.segments()[0];
            ip.is_loopback()
                || ip.is_unique_local()
                // Deprecated site-local, documentation, Teredo.
                || first & 0xffc0 == 0xfec0
                || (first == 0x2001 && matches!(ip.segments()[1], 0 | 0xdb8))
        }
    }
}

#[cfg(test)]
mod tests;
