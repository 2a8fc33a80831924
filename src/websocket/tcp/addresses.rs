use std::{
    collections::{HashSet, VecDeque},
    net::{IpAddr, SocketAddr},
};

use crate::websocket::interfaces::{Change, Network};

/// Maximum number of networks of the host for one wildcard listener. Further addresses are not reported.
const MAX_NETWORKS: usize = 4096;

/// Decides which addresses a listener has: the bound one, or those of the host's interfaces.
#[derive(Debug)]
pub(super) struct Addresses {
    bound: SocketAddr,
    /// The addresses of the interfaces, for a wildcard.
    networks: HashSet<Network>,
    /// At most one for each change since the last one was taken, or one for each network.
    events: VecDeque<AddressEvent>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddressEvent {
    New(SocketAddr),
    Expired(SocketAddr),
}

impl Addresses {
    pub(super) fn new(bound: SocketAddr) -> Self {
        let mut events = VecDeque::new();
        if !bound.ip().is_unspecified() {
            events.push_back(AddressEvent::New(bound));
        }
        Self {
            bound,
            networks: HashSet::new(),
            events,
        }
    }

    pub(super) fn bound(&self) -> SocketAddr {
        self.bound
    }

    /// Whether it depends on the interfaces.
    pub(super) fn is_wildcard(&self) -> bool {
        self.bound.ip().is_unspecified()
    }

    pub(super) fn on_change(&mut self, change: Change) {
        let (Change::Up(network) | Change::Down(network)) = change;
        if !self.is_wildcard() || network.0.is_ipv4() != self.bound.is_ipv4() {
            return;
        }
        match change {
            Change::Up(network) => {
                // Two interfaces may have the same address with different prefix lengths.
                let is_new = !self.has(network.0);
                if self.networks.len() < MAX_NETWORKS && self.networks.insert(network) && is_new {
                    self.events.push_back(AddressEvent::New(self.at(network.0)));
                }
            }
            Change::Down(network) => {
                if self.networks.remove(&network) && !self.has(network.0) {
                    self.events
                        .push_back(AddressEvent::Expired(self.at(network.0)));
                }
            }
        }
    }

    /// The watcher has ended. The next one begins with all current addresses, and does not report those that have left in
    /// between.
    pub(super) fn on_unwatched(&mut self) {
        let ips: HashSet<_> = self.networks.drain().map(|network| network.0).collect();
        let expired = ips.into_iter().map(|ip| self.at(ip));
        let expired: Vec<_> = expired.map(AddressEvent::Expired).collect();
        self.events.extend(expired);
    }

    /// The next change to report.
    pub(super) fn poll_event(&mut self) -> Option<AddressEvent> {
        self.events.pop_front()
    }

    fn has(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.0 == ip)
    }

    fn at(&self, ip: IpAddr) -> SocketAddr {
        SocketAddr::new(ip, self.bound.port())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn network(text: &str, prefix: u8) -> Network {
        (text.parse().unwrap(), prefix)
    }

    fn events(addresses: &mut Addresses) -> Vec<AddressEvent> {
        std::iter::from_fn(|| addresses.poll_event()).collect()
    }

    #[test]
    fn a_specific_listener_has_the_address_it_is_bound_to() {
        let mut addresses = Addresses::new(at("192.0.2.1:1"));
        assert!(!addresses.is_wildcard());
        addresses.on_change(Change::Up(network("192.0.2.2", 24)));
        addresses.on_change(Change::Down(network("192.0.2.1", 24)));
        addresses.on_unwatched();
        assert_eq!(
            events(&mut addresses),
            [AddressEvent::New(at("192.0.2.1:1"))]
        );
    }

    #[test]
    fn a_wildcard_listener_has_those_of_its_family() {
        for (any, own, other) in [
            ("0.0.0.0:7", "192.0.2.1", "2001:db8::1"),
            ("[::]:7", "2001:db8::1", "192.0.2.1"),
        ] {
            let mut addresses = Addresses::new(at(any));
            assert_eq!(events(&mut addresses), []);
            let own_at = SocketAddr::new(own.parse().unwrap(), 7);
            addresses.on_change(Change::Up(network(other, 24)));
            addresses.on_change(Change::Up(network(own, 24)));
            addresses.on_change(Change::Up(network(own, 24)));
            assert_eq!(events(&mut addresses), [AddressEvent::New(own_at)]);
            addresses.on_change(Change::Down(network(other, 24)));
            addresses.on_change(Change::Down(network(own, 16)));
            assert_eq!(events(&mut addresses), []);
            addresses.on_change(Change::Down(network(own, 24)));
            assert_eq!(events(&mut addresses), [AddressEvent::Expired(own_at)]);
        }
    }

    #[test]
    fn without_a_watcher_nothing_is_known() {
        let mut addresses = Addresses::new(at("0.0.0.0:7"));
        let here = network("192.0.2.1", 24);
        addresses.on_change(Change::Up(here));
        addresses.on_unwatched();
        addresses.on_change(Change::Up(here));
        let here = at("192.0.2.1:7");
        assert_eq!(
            events(&mut addresses),
            [
                AddressEvent::New(here),
                AddressEvent::Expired(here),
                AddressEvent::New(here)
            ]
        );
    }

    #[test]
    fn what_is_known_is_bounded() {
        let mut addresses = Addresses::new(at("0.0.0.0:7"));
        for n in 0..5000 {
            let ip = std::net::Ipv4Addr::from_bits(n).into();
            addresses.on_change(Change::Up((ip, 8)));
        }
        assert_eq!(events(&mut addresses).len(), MAX_NETWORKS);
    }

    proptest! {
        #[test]
        fn each_address_is_new_and_expired_in_turn(
            changes in prop::collection::vec((0u8..4, 20u8..24, 0u8..8), 0..64),
        ) {
            let mut addresses = Addresses::new(at("0.0.0.0:7"));
            let mut shown = HashSet::new();
            let mut networks = HashSet::new();
            for (host, prefix, kind) in changes {
                let network = network(&format!("192.0.2.{host}"), prefix);
                match kind {
                    0 => {
                        networks.clear();
                        addresses.on_unwatched();
                    }
                    1..4 => {
                        networks.remove(&network);
                        addresses.on_change(Change::Down(network));
                    }
                    _ => {
                        networks.insert(network);
                        addresses.on_change(Change::Up(network));
                    }
                }
                for event in events(&mut addresses) {
                    match event {
                        AddressEvent::New(at) => prop_assert!(shown.insert(at.ip())),
                        AddressEvent::Expired(at) => prop_assert!(shown.remove(&at.ip())),
                    }
                }
                let there: HashSet<_> = networks.iter().map(|network| network.0).collect();
                prop_assert_eq!(&shown, &there);
            }
        }
    }
}
