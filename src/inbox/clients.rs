//! Who is connected, and how much they sent lately: so that one stranger does not take what all
//! share.
//!
//! Counted by IPv4 address, and by /64 for IPv6, where every client has as many addresses as it
//! likes. Nothing is kept of a client that left and may send as much again as anybody.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Clients that are remembered after they left. Beyond that all of them are forgotten at once: a
/// crowd of so many is not held up by a limit for each.
const MOST_REMEMBERED: usize = 16 * 1024;

/// An hour's letters are counted over this time.
const HOUR: Duration = Duration::from_secs(60 * 60);

/// All clients. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Clients(Arc<Mutex<HashMap<IpAddr, Client>>>);

#[derive(Debug, Default)]
struct Client {
    connections: usize,
    /// When it has sent nothing, as far as its share is concerned: each letter puts it off by a
    /// letter's part of an hour.
    rested: Option<Instant>,
}

impl Client {
    fn is_rested(&self, now: Instant) -> bool {
        self.connections == 0 && self.rested.is_none_or(|rested| rested <= now)
    }
}

/// A client's connection, counted until it is dropped.
#[derive(Debug)]
pub struct Present {
    clients: Clients,
    key: IpAddr,
}

/// How many letters a client may still send.
#[derive(Clone, Debug)]
pub struct Ration {
    clients: Clients,
    key: IpAddr,
    per_hour: u32,
}

impl Clients {
    /// One more connection of this client; none if it has `most` already.
    #[must_use]
    pub fn enter(&self, address: IpAddr, most: usize) -> Option<Present> {
        let key = key(address);
        let mut clients = self.lock();
        let client = clients.entry(key).or_default();
        if client.connections >= most {
            return None;
        }
        client.connections += 1;
        Some(Present { clients: self.clone(), key })
    }

    /// What this client may send in an hour.
    #[must_use]
    pub fn ration(&self, address: IpAddr, per_hour: u32) -> Ration {
        Ration { clients: self.clone(), key: key(address), per_hour: per_hour.max(1) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Client>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut clients = self.clients.lock();
        if let Some(client) = clients.get_mut(&self.key) {
            client.connections = client.connections.saturating_sub(1);
            if client.is_rested(Instant::now()) {
                clients.remove(&self.key);
            }
        }
    }
}

impl Ration {
    /// Takes one letter's share; `false` if all of it is used up for now.
    #[must_use]
    pub fn take(&self) -> bool {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> bool {
        let part = HOUR / self.per_hour;
        let mut clients = self.clients.lock();
        if clients.len() >= MOST_REMEMBERED {
            clients.retain(|_, client| !client.is_rested(now));
            if clients.len() >= MOST_REMEMBERED {
                clients.retain(|_, client| client.connections > 0);
            }
        }
        let client = clients.entry(self.key).or_default();
        let rested = client.rested.map_or(now, |rested| rested.max(now)) + part;
        let fits = rested <= now + HOUR;
        if fits {
            client.rested = Some(rested);
        }
        fits
    }
}

/// What clients are told apart by.
#[must_use]
pub fn key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_client_has_so_many_places_and_its_whole_network_no_more() {
        let clients = Clients::default();
        for (one, same, other) in [
            ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
            ("2001:db8::1", "2001:db8::ffff:1:2:3", "2001:db8:0:1::1"),
        ] {
            let first = clients.enter(address(one), 2).expect("a place");
            let second = clients.enter(address(same), 2).expect("a place");
            assert!(clients.enter(address(one), 2).is_none());
            assert!(clients.enter(address(other), 2).is_some());
            drop(first);
            assert!(clients.enter(address(one), 2).is_some());
            drop(second);
        }
        assert!(clients.lock().is_empty(), "nobody is remembered who only came by");
    }

    #[test]
    fn a_client_sends_its_hours_share_and_then_waits_for_more() {
        let clients = Clients::default();
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        let start = Instant::now();
        let taken = |ration: &Ration, now| (0..100).filter(|_| ration.take_at(now)).count();
        assert_eq!(taken(&clients.ration(one, 60), start), 60);
        assert!(clients.ration(other, 60).take_at(start), "another has a share of its own");
        let again = clients.ration(one, 60);
        assert!(!again.take_at(start), "a new connection is the same client");
        assert_eq!(taken(&again, start + Duration::from_secs(61)), 1);
        assert_eq!(taken(&again, start + 3 * HOUR), 60);
    }

    #[test]
    fn no_crowd_makes_the_memory_of_clients_grow_without_end() {
        let clients = Clients::default();
        let here = clients.enter(address("192.0.2.1"), 1).expect("a place");
        let now = Instant::now();
        for n in 0..3 * u32::try_from(MOST_REMEMBERED).expect("small") {
            let client = IpAddr::V4(std::net::Ipv4Addr::from_bits(n));
            assert!(clients.ration(client, 1).take_at(now));
            assert!(clients.lock().len() <= MOST_REMEMBERED + 1);
        }
        assert!(clients.enter(address("192.0.2.1"), 1).is_none(), "who is here is not forgotten");
        drop(here);
    }
}
