//! Slows the answers to wrong credentials, for each peer by itself.
//!
//! Whoever shows the right credentials is never slowed, and of the connections that one peer may have only some wait,
//! so that a stranger behind the same address as the gateway does not take them all by that. Nothing here is touched
//! by a request that is let through.

use leaves::clock::BootInstant;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// So many wrong ones of a peer are answered at once.
const FREE: f64 = 20.0;
/// After those, so many per second.
const PER_SECOND: f64 = 10.0;
/// The longest delay of one answer.
const LONGEST: Duration = Duration::from_millis(500);
/// So many peers are remembered; beyond, those that are not share one allowance.
const PEERS: usize = 4_096;

/// Who has shown wrong credentials, and how many answers wait.
#[derive(Debug)]
pub(crate) struct Slowed {
    peers: Mutex<HashMap<Option<IpAddr>, (f64, BootInstant)>>,
    /// How many answers of each peer wait, and how many of all.
    waiting: Mutex<(HashMap<IpAddr, usize>, usize)>,
    /// So many answers wait at one time: each has a connection.
    most: usize,
    /// So many of one peer.
    of_one: usize,
}

impl Slowed {
    pub(crate) fn new(most: usize, of_one: usize) -> Self {
        Self {
            peers: Mutex::default(),
            waiting: Mutex::default(),
            most,
            of_one,
        }
    }

    /// Waits as long as this peer has to.
    pub(crate) async fn wait(&self, peer: IpAddr) {
        let delay = self.delay(peer, BootInstant::now());
        if delay.is_zero() {
            return;
        }
        if let Some(waits) = self.begin(peer) {
            tokio::time::sleep(delay).await;
            drop(waits);
        }
    }

    /// One more that waits; `None` when too many do.
    fn begin(&self, peer: IpAddr) -> Option<Waits<'_>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (peers, all) = &mut *waiting;
        let of_peer = peers.get(&peer).copied().unwrap_or_default();
        if *all >= self.most || of_peer >= self.of_one {
            return None;
        }
        *all += 1;
        peers.insert(peer, of_peer + 1);
        Some(Waits { slowed: self, peer })
    }

    fn delay(&self, peer: IpAddr, now: BootInstant) -> Duration {
        let left = |(wrong, at): (f64, BootInstant)| {
            (wrong - now.duration_since(at).as_secs_f64() * PER_SECOND).max(0.0)
        };
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut peer = Some(peer);
        if peers.len() >= PEERS && !peers.contains_key(&peer) {
            peers.retain(|_, one| left(*one) > 0.0);
            if peers.len() >= PEERS {
                peer = None;
            }
        }
        let wrong = peers.get(&peer).map_or(0.0, |one| left(*one)) + 1.0;
        let over = ((wrong - FREE) / PER_SECOND).clamp(0.0, LONGEST.as_secs_f64());
        // Those that come all at once are not paid for later by others.
        let most = FREE + PER_SECOND * LONGEST.as_secs_f64();
        peers.insert(peer, (wrong.min(most), now));
        Duration::from_secs_f64(over)
    }
}

/// One that waits, also when its peer goes away meanwhile.
#[derive(Debug)]
struct Waits<'a> {
    slowed: &'a Slowed,
    peer: IpAddr,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let waiting = self.slowed.waiting.lock();
        let (peers, all) = &mut *waiting.unwrap_or_else(PoisonError::into_inner);
        *all -= 1;
        if let Some(of_peer) = peers.get_mut(&self.peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                peers.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn peer(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(n))
    }

    #[test]
    fn of_one_peer_only_some_wait() {
        let slowed = Slowed::new(5, 2);
        let waits = [1, 1, 1, 2, 2, 3, 4].map(|n| slowed.begin(peer(n)));
        let who: Vec<bool> = waits.iter().map(Option::is_some).collect();
        assert_eq!(who, [true, true, false, true, true, true, false]);
        drop(waits);
        assert!(slowed.begin(peer(1)).is_some());
        let known = slowed.waiting.lock().map_or(1, |waiting| waiting.0.len());
        assert_eq!(known, 0);
    }

    #[test]
    fn a_peer_is_slowed_by_its_own_wrong_ones() {
        let (slowed, now) = (Slowed::new(10, 5), BootInstant::now());
        for _ in 0..20 {
            assert!(slowed.delay(peer(1), now).is_zero());
        }
        assert_eq!(slowed.delay(peer(1), now), Duration::from_millis(100));
        assert_eq!(slowed.delay(peer(1), now), Duration::from_millis(200));
        assert!(slowed.delay(peer(2), now).is_zero());
        for _ in 0..1_000 {
            assert!(slowed.delay(peer(1), now) <= LONGEST);
        }
        let later = now + Duration::from_secs(3);
        assert!(slowed.delay(peer(1), later).is_zero());
    }

    #[test]
    fn the_table_of_slowed_peers_is_bounded() {
        let (slowed, now) = (Slowed::new(10, 5), BootInstant::now());
        for n in 0..10_000 {
            slowed.delay(peer(n), now);
        }
        let known = |slowed: &Slowed| slowed.peers.lock().map_or(0, |peers| peers.len());
        assert!(known(&slowed) <= PEERS + 1);
        let later = now + Duration::from_secs(60);
        assert!(slowed.delay(peer(20_000), later).is_zero());
        assert_eq!(known(&slowed), 1);
    }
}
