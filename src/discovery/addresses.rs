//! CORE: the addresses that the swarm listens on, and which of them are announced.

use std::collections::{BTreeSet, HashMap};

use libp2p_core::transport::ListenerId;
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use super::{
    SkipReason,
    filter::{Filter, Offered},
    schedule::Listening,
};
use crate::scope::Reach;

/// The addresses of each listener, kept exactly as `Swarm::listeners()` keeps them.
///
/// `libp2p_swarm::ListenAddresses` is a set: when two listeners report the same address, it forgets the address
/// as soon as one of them goes. Here it goes with the last.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    /// Every registered listener that has not closed.
    by_listener: HashMap<ListenerId, Vec<Multiaddr>>,
    /// How many listeners report an address. Invariant: the multiset of all lists in `by_listener`.
    count: HashMap<Multiaddr, usize>,
    /// How many of the addresses in `count` are public.
    public: usize,
}

impl Addresses {
    /// A new listener, without addresses so far.
    pub(crate) fn on_registered(&mut self, listener: ListenerId) {
        self.by_listener.entry(listener).or_default();
    }

    /// A listener reports an address. Returns whether the set of addresses has changed.
    pub(crate) fn on_new(&mut self, listener: ListenerId, address: &Multiaddr) -> bool {
        let addresses = self.by_listener.entry(listener).or_default();
        if addresses.contains(address) {
            return false;
        }
        addresses.push(address.clone());
        let count = self.count.entry(address.clone()).or_insert(0);
        *count += 1;
        let is_first = *count == 1;
        if is_first && is_public(address) {
            self.public += 1;
        }
        is_first
    }

    /// An address of a listener has expired. Returns whether the set of addresses has changed.
    pub(crate) fn on_expired(&mut self, listener: ListenerId, address: &Multiaddr) -> bool {
        let Some(addresses) = self.by_listener.get_mut(&listener) else {
            return false;
        };
        let Some(at) = addresses.iter().position(|known| known == address) else {
            return false;
        };
        addresses.swap_remove(at);
        self.forget(address)
    }

    /// A listener has closed, and its remaining addresses have expired. Returns whether the set has changed.
    pub(crate) fn on_closed(&mut self, listener: ListenerId) -> bool {
        let addresses = self.by_listener.remove(&listener).unwrap_or_default();
        addresses
            .iter()
            .fold(false, |changed, address| self.forget(address) | changed)
    }

    fn forget(&mut self, address: &Multiaddr) -> bool {
        match self.count.get_mut(address) {
            Some(count) if *count > 1 => {
                *count -= 1;
                false
            }
            _ => {
                let is_known = self.count.remove(address).is_some();
                if is_known && is_public(address) {
                    self.public -= 1;
                }
                is_known
            }
        }
    }

    /// The addresses of all listeners, once for each listener that reports them: `Swarm::listeners()`.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Multiaddr> {
        self.by_listener.values().flatten()
    }

    /// Whether the node can be dialled, by its listeners and its external addresses.
    pub(crate) fn listening<'a>(
        &self,
        mut external: impl Iterator<Item = &'a Multiaddr>,
    ) -> Listening {
        match (self.by_listener.is_empty(), self.count.is_empty()) {
            (_, false) => Listening::Ready,
            _ if external.next().is_some() => Listening::Ready,
            (false, true) => Listening::Waiting,
            (true, true) => Listening::Nothing,
        }
    }

    /// Whether one of these or of the `external` addresses can be dialled from the internet without a relay.
    pub(crate) fn are_public<'a>(&self, mut external: impl Iterator<Item = &'a Multiaddr>) -> bool {
        self.public > 0 || external.any(is_public)
    }
}

fn is_public(address: &Multiaddr) -> bool {
    Reach::of(address).is_some_and(Reach::is_public)
}

/// The addresses to announce, selected from `external` and `listening`, or the reason why there are none.
///
/// Each address ends in `/p2p/<local>`. External addresses come first, because a peer has confirmed them, and within
/// each group the useful ones. The rest is sorted, so that the same set makes the same announcement whatever order the swarm
/// lists it in.
pub(crate) fn announceable<'a>(
    local: PeerId,
    external: impl Iterator<Item = &'a Multiaddr>,
    listening: impl Iterator<Item = &'a Multiaddr>,
    filter: &Filter,
    max: usize,
) -> Result<Vec<Multiaddr>, SkipReason> {
    let external = external.map(|address| (address, true));
    let listening = listening.collect::<BTreeSet<_>>().into_iter();
    let all = external.chain(listening.map(|address| (address, false)));
    let all = all.collect::<Vec<_>>();
    let any_public = all.iter().any(|(address, _)| is_public(address));
    let offered = all.iter().filter_map(|&(address, is_confirmed)| {
        Some(Offered {
            address: address.clone(),
            full: address.clone().with_p2p(local).ok()?,
            is_confirmed,
        })
    });
    let announced = filter.select(any_public, max, offered);
    match (announced.is_empty(), all.is_empty()) {
        (false, _) => Ok(announced),
        (true, false) => Err(SkipReason::NothingLeft),
        (true, true) => Err(SkipReason::NoListeners),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/127.0.0.1/tcp/{port}/ws").parse().unwrap()
    }

    #[test]
    fn an_address_of_two_listeners_goes_with_the_last() {
        let (first, second) = (ListenerId::next(), ListenerId::next());
        let mut addresses = Addresses::default();
        assert!(addresses.on_new(first, &address(1)));
        assert!(!addresses.on_new(second, &address(1)));
        assert_eq!(addresses.iter().count(), 2);
        assert!(!addresses.on_expired(first, &address(1)));
        assert_eq!(addresses.iter().collect::<Vec<_>>(), [&address(1)]);
        assert!(addresses.on_closed(second));
        assert_eq!(addresses.iter().count(), 0);
    }

    #[test]
    fn what_is_not_known_changes_nothing() {
        let id = ListenerId::next();
        let mut addresses = Addresses::default();
        assert!(!addresses.on_expired(id, &address(1)));
        assert!(!addresses.on_closed(id));
        assert!(addresses.on_new(id, &address(1)));
        assert!(!addresses.on_new(id, &address(1)));
        assert!(!addresses.on_expired(id, &address(2)));
    }

    #[test]
    fn external_addresses_come_first_and_nothing_comes_twice() {
        let local = PeerId::random();
        let with_p2p = |port| address(port).with_p2p(local).unwrap();
        let (external, listening) = (
            [address(9), with_p2p(3)],
            [address(3), address(2), address(2)],
        );
        let announce = |max| {
            let filter = Filter::ByReach;
            announceable(local, external.iter(), listening.iter(), &filter, max)
        };
        assert_eq!(
            announce(16),
            Ok(vec![with_p2p(9), with_p2p(3), with_p2p(2)])
        );
        let two = announce(2);
        assert_eq!(two, Ok(vec![with_p2p(9), with_p2p(3)]));
    }

    #[test]
    fn says_why_there_is_nothing() {
        let local = PeerId::random();
        let unspecified: Multiaddr = "/ip6/::/tcp/1/ws".parse().unwrap();
        let of_another = address(1).with_p2p(PeerId::random()).unwrap();
        let announce = |listening: &[Multiaddr]| {
            announceable(local, [].iter(), listening.iter(), &Filter::ByReach, 16)
        };
        assert_eq!(announce(&[]), Err(SkipReason::NoListeners));
        assert_eq!(
            announce(&[unspecified, of_another]),
            Err(SkipReason::NothingLeft)
        );
    }

    const PUBLIC: &str = "/ip4/1.2.3.4/tcp/1/ws";
    const PRIVATE: &str = "/ip4/192.168.1.2/tcp/1/ws";
    const LOOPBACK: &str = "/ip4/127.0.0.1/tcp/1/ws";

    /// The announced addresses as text, without the suffix.
    fn announced(external: &[&str], listening: &[&str], filter: &Filter) -> Vec<String> {
        let local = PeerId::random();
        let parse = |texts: &[&str]| -> Vec<Multiaddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let (external, listening) = (parse(external), parse(listening));
        let announced = announceable(local, external.iter(), listening.iter(), filter, 16);
        let bare = |address: &Multiaddr| {
            let text = address.to_string();
            text.strip_suffix(&format!("/p2p/{local}"))
                .unwrap()
                .to_owned()
        };
        announced.unwrap_or_default().iter().map(bare).collect()
    }

    #[test]
    fn announces_what_others_can_use() {
        let default = Filter::ByReach;
        let relay = "/p2p/12D3KooWHLNZaMLS6fWam6vRHABeE489zpABExqJ8tTqm8jKbtf4/p2p-circuit";
        let home = [LOOPBACK, PRIVATE, "/ip6/fe80::1/tcp/1/ws"];
        assert_eq!(announced(&[], &[LOOPBACK], &default), [LOOPBACK]);
        assert_eq!(announced(&[], &home, &default), [PRIVATE]);
        assert_eq!(announced(&[relay], &home, &default), [relay, PRIVATE]);
        assert_eq!(announced(&[PUBLIC], &home, &default), [PUBLIC]);
        let name = "/dns4/example.org/tcp/1/wss";
        assert_eq!(announced(&[], &[LOOPBACK, name, PRIVATE], &default), [name]);
        // Confirmed or not, a public node has no use for it.
        assert_eq!(announced(&[PRIVATE], &[PUBLIC], &default), [PUBLIC]);
    }

    #[test]
    fn a_closure_is_asked_of_addresses_as_they_are_listened_on() {
        let filter = Filter::custom(|address| address.to_string() == LOOPBACK);
        assert_eq!(
            announced(&[PUBLIC], &[LOOPBACK, PRIVATE], &filter),
            [LOOPBACK]
        );
    }

    #[test]
    fn a_node_is_public_while_anybody_can_dial_it() {
        let (first, second) = (ListenerId::next(), ListenerId::next());
        let [public, private] = [PUBLIC, PRIVATE].map(|text| text.parse::<Multiaddr>().unwrap());
        let relayed = public.clone().with_p2p(PeerId::random()).unwrap();
        let relayed = relayed.with(multiaddr::Protocol::P2pCircuit);
        let mut addresses = Addresses::default();
        addresses.on_new(first, &private);
        assert!(!addresses.are_public([&private, &relayed].into_iter()));
        assert!(addresses.are_public([&relayed, &public].into_iter()));
        addresses.on_new(first, &public);
        addresses.on_new(second, &public);
        assert!(addresses.are_public([].into_iter()));
        addresses.on_expired(first, &public);
        assert!(addresses.are_public([].into_iter()));
        addresses.on_closed(second);
        assert!(!addresses.are_public([].into_iter()));
    }

    #[test]
    fn a_node_listens_from_its_first_address_to_its_last_and_waits_while_there_is_a_listener() {
        let (first, second) = (ListenerId::next(), ListenerId::next());
        let mut addresses = Addresses::default();
        let none = || [].into_iter();
        assert_eq!(addresses.listening(none()), Listening::Nothing);
        let external = address(9);
        assert_eq!(
            addresses.listening([&external].into_iter()),
            Listening::Ready
        );
        addresses.on_registered(first);
        addresses.on_registered(second);
        assert_eq!(addresses.listening(none()), Listening::Waiting);
        assert_eq!(
            addresses.listening([&external].into_iter()),
            Listening::Ready
        );
        addresses.on_new(first, &address(1));
        assert_eq!(addresses.listening(none()), Listening::Ready);
        addresses.on_expired(first, &address(1));
        assert_eq!(addresses.listening(none()), Listening::Waiting);
        addresses.on_new(first, &address(1));
        addresses.on_closed(first);
        assert_eq!(addresses.listening(none()), Listening::Waiting);
        addresses.on_closed(second);
        assert_eq!(addresses.listening(none()), Listening::Nothing);
    }

    #[derive(Debug, Clone)]
    enum Operation {
        Registered(usize),
        New(usize, u16),
        Expired(usize, u16),
        Closed(usize),
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            1 => (0..4usize).prop_map(Operation::Registered),
            3 => (0..4usize, 0..4u16).prop_map(|(id, port)| Operation::New(id, port)),
            2 => (0..4usize, 0..4u16).prop_map(|(id, port)| Operation::Expired(id, port)),
            1 => (0..4usize).prop_map(Operation::Closed),
        ]
    }

    proptest! {
        /// The model is the code of `Swarm::handle_transport_event`, event by event.
        #[test]
        fn agrees_with_the_swarm(operations in prop::collection::vec(operation(), 0..200)) {
            let ids: [ListenerId; 4] = std::array::from_fn(|_| ListenerId::next());
            let mut model: HashMap<ListenerId, Vec<Multiaddr>> = HashMap::new();
            let mut addresses = Addresses::default();
            let mut registered = BTreeSet::new();
            let set = |model: &HashMap<ListenerId, Vec<Multiaddr>>| {
                model.values().flatten().cloned().collect::<BTreeSet<_>>()
            };
            for operation in operations {
                let before = set(&model);
                let changed = match operation {
                    Operation::Registered(id) => {
                        registered.insert(id);
                        addresses.on_registered(ids[id]);
                        false
                    }
                    Operation::New(id, port) => {
                        registered.insert(id);
                        let known = model.entry(ids[id]).or_default();
                        if !known.contains(&address(port)) {
                            known.push(address(port));
                        }
                        addresses.on_new(ids[id], &address(port))
                    }
                    Operation::Expired(id, port) => {
                        if let Some(known) = model.get_mut(&ids[id]) {
                            known.retain(|known| *known != address(port));
                        }
                        addresses.on_expired(ids[id], &address(port))
                    }
                    Operation::Closed(id) => {
                        registered.remove(&id);
                        model.remove(&ids[id]);
                        addresses.on_closed(ids[id])
                    }
                };
                prop_assert_eq!(changed, before != set(&model));
                let mut expected = model.values().flatten().cloned().collect::<Vec<_>>();
                let mut found = addresses.iter().cloned().collect::<Vec<_>>();
                expected.sort();
                found.sort();
                prop_assert_eq!(found, expected);
                prop_assert_eq!(addresses.count.len(), set(&model).len());
                let listening = match (registered.is_empty(), set(&model).is_empty()) {
                    (true, _) => Listening::Nothing,
                    (false, true) => Listening::Waiting,
                    (false, false) => Listening::Ready,
                };
                prop_assert_eq!(addresses.listening([].into_iter()), listening);
            }
        }
    }
}
