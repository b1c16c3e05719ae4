//! What all connections of one listener share: how many each peer may have, whom to take for the peer, and the budget
//! of bytes.
//!
//! Locks are taken when a connection is opened or closed and not for each request.
//! Not responsible for: what a connection does while it is open ([`super::connection`]).

use crate::config::{Limits, Network};
use crate::http::budget::{Held, MemoryBudget};
use crate::http::limits::Throttle;
use crate::http::slowed::Slowed;
use crate::metrics::Metrics;
use actix_web::http::header::HeaderMap;
use leaves::clock::BootInstant;
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// So many locks share the peers of a listener.
const SHARDS: usize = 16;

/// For this part of what bodies may take, long heads may be half sent.
const HEADS: usize = 8;

/// On this part of a peer's connections, answers may wait because it has shown wrong credentials.
const SLOWED: u32 = 8;

/// How often it is logged that a peer has too many connections.
const LOGGED: Duration = Duration::from_secs(60);

/// Why a connection was closed before its peer closed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// Nothing came for too long.
    Idle,
    /// A head did not come in time.
    SlowHead,
    /// A head was too long.
    LargeHead,
    /// There was no room for more of a head.
    Memory,
    /// An answer was not read.
    SlowRead,
    /// Its peer has as many as it may.
    PeerLimit,
}

impl CloseReason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::SlowHead => "slow_head",
            Self::LargeHead => "large_head",
            Self::Memory => "memory",
            Self::SlowRead => "slow_read",
            Self::PeerLimit => "peer_limit",
        }
    }
}

/// One listener.
pub(crate) struct Listener {
    name: &'static str,
    /// For how long an idle connection is kept.
    pub(crate) keep_alive: Duration,
    /// The most connections of one peer.
    per_peer: u32,
    trusted: Vec<Network>,
    /// Above this, answers end their connection.
    crowd: usize,
    open: AtomicUsize,
    peers: [Mutex<HashMap<IpAddr, u32>>; SHARDS],
    hasher: RandomState,
    budget: Arc<MemoryBudget>,
    /// Of heads that are not complete: apart, since everybody may begin one.
    heads: Arc<MemoryBudget>,
    slowed: Slowed,
    metrics: Arc<Metrics>,
    logged: Throttle<()>,
}

impl Listener {
    /// A listener that takes so many `connections` at most.
    pub(crate) fn new(
        name: &'static str,
        connections: usize,
        keep_alive: Duration,
        limits: &Limits,
        metrics: Arc<Metrics>,
    ) -> Self {
        let crowd = (connections / 4 * 3).max(1);
        // However few connections there may be, one peer does not have them all.
        let per_peer = u32::try_from(crowd).unwrap_or(u32::MAX);
        let per_peer = limits.max_connections_per_peer.min(per_peer);
        let slowed = usize::try_from(per_peer / SLOWED).unwrap_or(usize::MAX);
        Self {
            name,
            keep_alive,
            per_peer,
            trusted: limits.trusted_proxies.clone(),
            crowd,
            open: AtomicUsize::new(0),
            peers: Default::default(),
            hasher: RandomState::new(),
            budget: Arc::new(MemoryBudget::new(limits.max_body_total)),
            heads: Arc::new(MemoryBudget::new(limits.max_body_total / HEADS)),
            slowed: Slowed::new(connections / 4, slowed.max(1)),
            metrics,
            logged: Throttle::new(LOGGED),
        }
    }

    /// The budget of bytes that are kept of bodies.
    pub(crate) fn budget(&self) -> &Arc<MemoryBudget> {
        &self.budget
    }

    /// Who is answered slowly.
    pub(crate) fn slowed(&self) -> &Slowed {
        &self.slowed
    }

    /// A place for a connection from this address, unless its peer has as many as it may.
    pub(crate) fn enter(self: &Arc<Self>, from: SocketAddr) -> Option<ConnectionPermit> {
        let address = from.ip().to_canonical();
        let is_proxy = self.trusts(address);
        let peer = key(address);
        if !is_proxy && !self.count_in(peer) {
            self.record_close(CloseReason::PeerLimit);
            if self.logged.allows((), BootInstant::now()) {
                tracing::warn!(
                    listener = self.name,
                    peer = %peer,
                    limit = self.per_peer,
                    "connection refused; this peer has max_connections_per_peer connections"
                );
            }
            return None;
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        Some(ConnectionPermit {
            listener: Arc::clone(self),
            peer,
            is_proxy,
            held: RefCell::new(None),
        })
    }

    /// Whether so many connections are open that none is kept beyond its answer.
    pub(crate) fn is_crowded(&self) -> bool {
        self.open.load(Ordering::Relaxed) > self.crowd
    }

    /// Counts a connection that was closed from this side.
    pub(crate) fn record_close(&self, why: CloseReason) {
        self.metrics.connection_closed(self.name, why.as_str());
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    fn shard(&self, peer: IpAddr) -> &Mutex<HashMap<IpAddr, u32>> {
        let hash = self.hasher.hash_one(peer) % SHARDS as u64;
        &self.peers[usize::try_from(hash).unwrap_or(0)]
    }

    fn count_in(&self, peer: IpAddr) -> bool {
        let mut peers = self
            .shard(peer)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = peers.entry(peer).or_default();
        if *count >= self.per_peer {
            return false;
        }
        *count += 1;
        true
    }

    fn count_out(&self, peer: IpAddr) {
        let mut peers = self
            .shard(peer)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = peers.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                peers.remove(&peer);
            }
        }
    }
}

/// The network that counts as one peer: an IPv4 address, or the 64 bits of an IPv6 address that one host has whole.
fn key(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// The place of one open connection. Given back when it is dropped.
pub(crate) struct ConnectionPermit {
    listener: Arc<Listener>,
    peer: IpAddr,
    is_proxy: bool,
    /// What is kept of a head that is not complete.
    held: RefCell<Option<Held>>,
}

impl ConnectionPermit {
    /// Keeps so many bytes of a head, instead of those before. False when there is no room.
    pub(super) fn hold(&self, bytes: usize) -> bool {
        let mut held = self.held.borrow_mut();
        if bytes == 0 {
            *held = None;
            return true;
        }
        match &mut *held {
            Some(held) => held.grow_to(bytes),
            None => {
                *held = self.listener.heads.take(bytes);
                held.is_some()
            }
        }
    }

    /// Who has made a request: the other end of the connection or, behind trusted proxies, the last address in
    /// `X-Forwarded-For` that is none of them. `Forwarded` is not read: a proxy that writes the one header passes on
    /// whatever a stranger has put into the other.
    pub(crate) fn peer(&self, headers: &HeaderMap) -> IpAddr {
        if !self.is_proxy {
            return self.peer;
        }
        let lines: Vec<_> = headers.get_all("x-forwarded-for").collect();
        for line in lines.into_iter().rev() {
            let Ok(line) = line.to_str() else {
                return self.peer;
            };
            for hop in line.rsplit(',') {
                // What a trusted proxy did not write so was not written by it.
                let Some(hop) = address(hop.trim()) else {
                    return self.peer;
                };
                if !self.listener.trusts(hop) {
                    return key(hop);
                }
            }
        }
        self.peer
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.listener.open.fetch_sub(1, Ordering::Relaxed);
        if !self.is_proxy {
            self.listener.count_out(self.peer);
        }
    }
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let address = bare.unwrap_or(text).parse::<IpAddr>();
    let address = address.or_else(|_| text.parse::<SocketAddr>().map(|with_port| with_port.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    fn listener(per_peer: u32, trusted: &[&str]) -> Arc<Listener> {
        let trusted = trusted.iter().map(|text| Network::parse(text).unwrap());
        let limits = Limits {
            max_connections_per_peer: per_peer,
            trusted_proxies: trusted.collect(),
            max_body_total: 1_048_576,
        };
        let (metrics, kept) = (Arc::new(Metrics::new()), Duration::from_secs(75));
        Arc::new(Listener::new("api", 100, kept, &limits, metrics))
    }

    fn from(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), 1_000)
    }

    #[test]
    fn connections_of_each_peer_are_limited() {
        let listener = listener(2, &["192.0.2.1"]);
        let enter = |address| listener.enter(from(address));
        let held = [enter("203.0.113.1"), enter("::ffff:203.0.113.1")];
        assert!(held.iter().all(Option::is_some) && enter("203.0.113.1").is_none());
        assert!(enter("203.0.113.2").is_some());
        drop(held);
        assert!(enter("203.0.113.1").is_some());
        let host = [enter("2001:db8::1"), enter("2001:db8::2:3")];
        assert!(enter("2001:db8::ffff:ffff:ffff:ffff").is_none());
        assert!(enter("2001:db8:0:1::1").is_some());
        let proxied: Vec<_> = (0..50).map(|_| enter("192.0.2.1")).collect();
        assert!(proxied.iter().all(Option::is_some));
        drop((host, proxied));
        assert_eq!(listener.open.load(Ordering::Relaxed), 0);
        let known = |shard: &Mutex<HashMap<IpAddr, u32>>| shard.lock().unwrap().len();
        assert_eq!(listener.peers.iter().map(known).sum::<usize>(), 0);
    }

    #[test]
    fn one_peer_never_gets_all_connections() {
        let listener = listener(1_000, &[]);
        let held: Vec<_> = (0..100)
            .map_while(|_| listener.enter(from("203.0.113.1")))
            .collect();
        assert_eq!(held.len(), 75);
        assert!(!listener.is_crowded());
        let more = listener.enter(from("203.0.113.2"));
        assert!(more.is_some() && listener.is_crowded());
    }

    #[test]
    fn behind_a_trusted_proxy_the_last_hop_that_is_none_is_the_peer() {
        let listener = listener(2, &["192.0.2.0/24", "2001:db8::1"]);
        let peer = |address: &str, lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                let name = HeaderName::from_static("x-forwarded-for");
                headers.append(name, HeaderValue::from_static(line));
            }
            let place = listener.enter(from(address)).unwrap();
            place.peer(&headers).to_string()
        };
        let proxy = "192.0.2.1";
        assert_eq!(peer(proxy, &["203.0.113.7"]), "203.0.113.7");
        assert_eq!(peer(proxy, &["198.51.100.1, 203.0.113.7"]), "203.0.113.7");
        assert_eq!(
            peer(proxy, &["198.51.100.1", "203.0.113.7, 192.0.2.9"]),
            "203.0.113.7"
        );
        assert_eq!(peer("2001:db8::1", &["203.0.113.7:443"]), "203.0.113.7");
        assert_eq!(peer(proxy, &["[2001:db8:1::5]:443"]), "2001:db8:1::");
        // What a stranger puts before does not count, and nothing is guessed.
        for unclear in [
            &[][..],
            &[""],
            &["unknown"],
            &["203.0.113.7, x"],
            &["192.0.2.3"],
        ] {
            assert_eq!(peer(proxy, unclear), proxy, "{unclear:?}");
        }
        assert_eq!(peer("203.0.113.9", &["203.0.113.7"]), "203.0.113.9");
    }
}
