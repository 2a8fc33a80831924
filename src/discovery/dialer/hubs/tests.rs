use std::{collections::HashMap, io, slice};

use libp2p_core::{ConnectedPoint, transport::TransportError};
use libp2p_swarm::{ConnectionDenied, dial_opts::PeerCondition};
use multiaddr::multihash::Multihash;
use proptest::prelude::*;
use rand::SeedableRng as _;

use super::*;
use crate::{
    deadline,
    discovery::{
        Config,
        dialer::{Dialer, Settings, tests::endpoint},
        inbox::{Inbox, Incoming},
        message::{Stamp, encode},
    },
};

const SECOND: Duration = Duration::from_secs(1);
const MAX_DELAY: Duration = Duration::from_secs(60);
const LOCAL: u16 = u16::MAX;

fn peer(seed: u16) -> PeerId {
    let digest = [seed.to_be_bytes(); 16].concat();
    PeerId::from_multihash(Multihash::wrap(0, &digest).unwrap()).unwrap()
}

fn address(port: u16) -> Multiaddr {
    format!("/ip4/127.0.0.1/tcp/{port}/ws").parse().unwrap()
}

/// The address of a peer that is named with it.
fn named(seed: u16, port: u16) -> Multiaddr {
    address(port).with_p2p(peer(seed)).unwrap()
}

fn refused(addresses: &[Multiaddr]) -> DialError {
    let refused = || TransportError::Other(io::ErrorKind::ConnectionRefused.into());
    DialError::Transport(addresses.iter().map(|at| (at.clone(), refused())).collect())
}

fn unsupported(address: &Multiaddr) -> DialError {
    let error = TransportError::MultiaddrNotSupported(address.clone());
    DialError::Transport(vec![(address.clone(), error)])
}

fn wrong_peer(found: u16, address: &Multiaddr) -> DialError {
    DialError::WrongPeerId {
        obtained: peer(found),
        address: address.clone(),
    }
}

/// Plays the swarm for a dialer that dials hubs alone.
struct Node {
    now: Instant,
    dialer: Dialer,
    inbox: Inbox,
    ids: usize,
    links: HashMap<PeerId, usize>,
}

impl Node {
    fn new(hubs: &[Multiaddr]) -> Self {
        Self::with_seed(hubs, 7)
    }

    fn with_seed(hubs: &[Multiaddr], seed: u64) -> Self {
        let now = deadline::now();
        let settings = Settings {
            target: 0,
            hubs: hubs.to_vec(),
            max_hub_delay: MAX_DELAY,
            heartbeat: SECOND,
            saved: vec![],
        };
        Self {
            now,
            dialer: Dialer::new(peer(LOCAL), settings, seed, now).unwrap(),
            inbox: Inbox::new(peer(LOCAL), Config::default().inbox()),
            ids: 0,
            links: HashMap::new(),
        }
    }

    /// All dials that are due now.
    fn dials(&mut self) -> Vec<(Dial, ConnectionId)> {
        while let Some((peer, id)) = self.dialer.next_close(self.now) {
            self.dialer.on_closed(&peer, id);
        }
        let mut dials = vec![];
        while let Some(dial) = self.dialer.next_dial(self.now, self.inbox.peers()) {
            self.ids += 1;
            let id = ConnectionId::new_unchecked(self.ids);
            self.dialer.on_dialling(self.now, &dial, id);
            dials.push((dial, id));
        }
        assert!(self.dialer.next_timeout().is_none_or(|at| at > self.now));
        dials
    }

    /// The next dial, whenever it comes, and after which time.
    fn next(&mut self) -> (Duration, Dial, ConnectionId) {
        let before = self.now;
        if let Some(at) = self.dialer.next_timeout() {
            self.now = self.now.max(at);
        }
        let mut dials = self.dials();
        assert_eq!(dials.len(), 1);
        let (dial, id) = dials.remove(0);
        (self.now - before, dial, id)
    }

    /// Returns whether the connection is wanted.
    fn reach(&mut self, id: ConnectionId, seed: u16) -> bool {
        let is_wanted = self.dialer.on_reached(id, peer(seed));
        match is_wanted {
            true => self.establish(id, seed),
            false => {
                let cause = ConnectionDenied::new(io::Error::other("already"));
                self.fail(id, &DialError::Denied { cause });
            }
        }
        is_wanted
    }

    fn establish(&mut self, id: ConnectionId, seed: u16) {
        self.establish_at(id, seed, &endpoint());
    }

    fn establish_at(&mut self, id: ConnectionId, seed: u16, endpoint: &ConnectedPoint) {
        *self.links.entry(peer(seed)).or_default() += 1;
        self.dialer.on_connected(
            self.now,
            peer(seed),
            id,
            endpoint,
            &[],
            self.inbox.peers_mut(),
        );
    }

    /// It has dialled this node.
    fn accept(&mut self, seed: u16) {
        self.ids += 1;
        let endpoint = ConnectedPoint::Listener {
            local_addr: address(7),
            send_back_addr: address(8),
        };
        self.establish_at(ConnectionId::new_unchecked(self.ids), seed, &endpoint);
    }

    fn fail(&mut self, id: ConnectionId, error: &DialError) {
        self.dialer
            .on_dial_failed(self.now, None, id, error, self.inbox.peers_mut());
    }

    fn lose(&mut self, seed: u16) {
        self.links.remove(&peer(seed));
        self.dialer
            .on_disconnected(self.now, &peer(seed), self.inbox.peers());
    }

    fn event(&mut self) -> HubEvent {
        self.dialer.pop_hub_event().expect("there is one")
    }

    fn is_told_nothing(&mut self) {
        assert_eq!(self.dialer.pop_hub_event(), None);
    }

    /// The error of an event that tells of a failure, and when it is dialled again.
    fn failure(&mut self) -> (HubError, u32, Option<Duration>) {
        match self.event() {
            HubEvent::Unreachable {
                error,
                attempt,
                retry_in,
                ..
            } => (*error, attempt, retry_in),
            other => panic!("{other:?}"),
        }
    }
}

fn assert_within(delay: Duration, longest: Duration) {
    assert!(delay <= longest, "{delay:?} of {longest:?}");
    assert!(delay >= longest.mul_f64(1.0 - JITTER), "{delay:?}");
}

#[test]
fn a_hub_is_dialled_at_once_and_again_when_it_is_lost() {
    let hub = named(1, 1);
    let mut node = Node::new(slice::from_ref(&hub));
    let (after, dial, id) = node.next();
    assert_eq!(after, Duration::ZERO);
    assert_eq!(dial.peer, Some(peer(1)));
    assert_eq!(dial.addresses, slice::from_ref(&hub));
    assert!(node.reach(id, 1));
    let peer_id = peer(1);
    let connected = HubEvent::Connected {
        hub: hub.clone(),
        peer_id,
    };
    assert_eq!(node.event(), connected);
    assert_eq!(node.dialer.next_timeout(), None);

    node.now += STEADY;
    node.lose(1);
    let HubEvent::Lost {
        hub: lost,
        peer_id: who,
        retry_in,
    } = node.event()
    else {
        panic!("it is lost");
    };
    assert_eq!((lost, who), (hub, peer_id));
    let (after, dial, _) = node.next();
    assert_eq!(after, retry_in);
    assert_eq!(dial.peer, Some(peer_id));
    node.is_told_nothing();
}

/// Of a thousand leaves that lose their hub in the same moment, about a third come back in each of three seconds.
#[test]
fn those_who_lose_a_hub_together_come_back_one_after_the_other() {
    let mut seconds = [0; 3];
    for seed in 0..1000 {
        let mut node = Node::with_seed(&[named(1, 1)], seed);
        let (_, _, id) = node.next();
        node.reach(id, 1);
        node.now += STEADY;
        node.lose(1);
        let (after, ..) = node.next();
        seconds[usize::try_from(after.as_secs()).unwrap()] += 1;
    }
    assert!(
        seconds.iter().all(|count| (260..410).contains(count)),
        "{seconds:?}"
    );
}

#[test]
fn the_delay_doubles_up_to_the_longest_and_goes_on_for_ever() {
    let hub = named(1, 1);
    let mut node = Node::new(slice::from_ref(&hub));
    let (_, _, mut id) = node.next();
    let mut longest = FIRST_DELAY;
    for number in 1..200 {
        node.fail(id, &refused(slice::from_ref(&hub)));
        let (error, attempt, retry_in) = node.failure();
        assert!(error.to_string().starts_with(&hub.to_string()), "{error}");
        assert_eq!(attempt, number);
        let (after, _, next) = node.next();
        assert_eq!(retry_in, Some(after));
        assert_within(after, longest);
        longest = (longest * 2).min(MAX_DELAY);
        id = next;
    }
    for lasted in [STEADY, STEADY + SECOND] {
        node.reach(id, 1);
        node.event();
        node.now += lasted;
        node.lose(1);
        node.event();
        (_, _, id) = node.next();
        node.fail(id, &refused(slice::from_ref(&hub)));
        assert_eq!(node.failure().1, 1, "counted from the last connection");
        (_, _, id) = node.next();
    }
    let counters = node.dialer.count_hubs(Counters::default());
    assert_eq!(counters.hub_failures, 201, "and here from the start");
}

/// A hub that is full accepts and closes.
#[test]
fn a_short_connection_is_a_failed_try() {
    let mut node = Node::new(&[named(1, 1)]);
    let mut longest = FIRST_DELAY;
    for _ in 0..10 {
        let (_, _, id) = node.next();
        node.reach(id, 1);
        node.event();
        node.now += STEADY - SECOND;
        node.lose(1);
        let HubEvent::Lost { retry_in, .. } = node.event() else {
            panic!("it is lost");
        };
        assert!(retry_in >= longest.mul_f64(1.0 - JITTER) && retry_in <= longest.max(SPREAD));
        longest = (longest * 2).min(MAX_DELAY);
    }
    let counters = node.dialer.count_hubs(Counters::default());
    assert_eq!(counters.hub_failures, 10);
}

#[test]
fn an_address_of_somebody_else_is_left_out_until_it_is_the_last() {
    let (first, second) = (named(1, 1), named(1, 2));
    let mut node = Node::new(&[first.clone(), second.clone()]);
    let (_, dial, id) = node.next();
    assert_eq!(
        dial.addresses,
        [first.clone(), second.clone()],
        "one attempt"
    );
    node.fail(id, &wrong_peer(9, &first));
    node.is_told_nothing();
    let (after, dial, id) = node.next();
    assert_within(after, FIRST_DELAY);
    assert_eq!(dial.addresses, slice::from_ref(&second));
    node.fail(
        id,
        &DialError::LocalPeerId {
            address: second.clone(),
        },
    );
    let (error, _, retry_in) = node.failure();
    let found = peer(LOCAL);
    let expected = HubError::WrongPeer {
        expected: peer(1),
        found,
        address: second.clone(),
    };
    assert_eq!(error, expected);
    assert_within(retry_in.unwrap(), MAX_DELAY);
    let (_, dial, id) = node.next();
    assert_eq!(dial.addresses, [first.clone(), second.clone()], "anew");
    node.fail(id, &wrong_peer(9, &second));
    let (_, dial, id) = node.next();
    assert_eq!(dial.addresses, slice::from_ref(&first));
    node.reach(id, 1);
    node.lose(1);
    let (_, dial, _) = node.next();
    assert_eq!(
        dial.addresses,
        [first, second],
        "what was wrong may be right"
    );
}

#[test]
fn what_a_named_peer_announces_is_tried_as_well() {
    let key = libp2p_identity::Keypair::generate_ed25519().public();
    let hub = key.to_peer_id();
    let announced = address(5).with_p2p(hub).unwrap();
    let mut node = Node::new(&[Multiaddr::from(Protocol::P2p(hub))]);
    assert_eq!(node.dials(), []);
    assert_eq!(node.failure(), (HubError::NoAddresses, 0, None));
    node.dialer.on_candidate(node.now, &hub);
    assert_eq!(node.dials(), []);
    assert_eq!(node.failure().0, HubError::NoAddresses);

    let payload = encode(&key, [announced.clone()], Stamp::default());
    let incoming = Incoming {
        neighbour: peer(3),
        author: Some(hub),
        payload: &payload,
    };
    node.inbox.on_neighbour(peer(3));
    node.inbox.on_message(node.now, incoming);
    node.dialer.on_candidate(node.now, &hub);
    let (after, dial, _) = node.next();
    assert_eq!(after, Duration::ZERO);
    assert_eq!(dial.addresses, [announced]);
}

#[test]
fn an_announcement_hurries_the_hub_that_has_nothing_to_dial_and_no_other() {
    let hub = named(1, 1);
    let mut node = Node::new(slice::from_ref(&hub));
    for _ in 0..4 {
        let (_, _, id) = node.next();
        node.fail(id, &refused(slice::from_ref(&hub)));
        node.event();
    }
    let nowhere = Protocol::P2p(peer(2)).into();
    assert!(node.dialer.add_hub(node.now, nowhere).unwrap());
    assert_eq!(node.dials(), []);
    assert_eq!(node.failure().0, HubError::NoAddresses);
    let next = node.dialer.next_timeout();
    for seed in [1, 3] {
        node.dialer.on_candidate(node.now, &peer(seed));
        assert_eq!(node.dialer.next_timeout(), next);
    }
    assert_eq!(node.dials(), []);
    node.is_told_nothing();
}

#[test]
fn without_an_id_whoever_answers_is_the_hub() {
    let hub = address(1);
    let mut node = Node::new(slice::from_ref(&hub));
    let (_, dial, id) = node.next();
    assert_eq!(
        (dial.peer, &dial.addresses[..]),
        (None, slice::from_ref(&hub))
    );
    assert!(node.reach(id, 1));
    let connected = |seed| HubEvent::Connected {
        hub: hub.clone(),
        peer_id: peer(seed),
    };
    assert_eq!(node.event(), connected(1));
    node.now += STEADY;
    node.lose(1);
    node.event();
    // The key has changed.
    let (_, _, id) = node.next();
    node.accept(1);
    assert_eq!(
        node.event(),
        connected(1),
        "the old one has come back by itself"
    );
    assert!(node.reach(id, 2), "this is another peer");
    node.is_told_nothing();
    node.lose(2);
    node.is_told_nothing();
    node.lose(1);
    assert!(matches!(node.event(), HubEvent::Lost { .. }));
}

#[test]
fn a_hub_without_an_id_that_is_connected_already_is_not_connected_twice() {
    let hub = address(1);
    let mut node = Node::new(slice::from_ref(&hub));
    let (_, _, id) = node.next();
    node.accept(1);
    node.is_told_nothing();
    assert!(!node.reach(id, 1));
    let connected = HubEvent::Connected {
        hub,
        peer_id: peer(1),
    };
    assert_eq!(node.event(), connected);
    assert_eq!(node.dialer.next_timeout(), None);
    node.lose(1);
    assert!(matches!(node.event(), HubEvent::Lost { .. }));
    assert!(node.dialer.next_timeout().is_some());
}

#[test]
fn one_that_is_denied_elsewhere_is_not_connected() {
    let mut node = Node::new(&[address(1)]);
    let (_, _, id) = node.next();
    assert!(node.dialer.on_reached(id, peer(1)));
    let cause = ConnectionDenied::new(io::Error::other("no more"));
    node.fail(id, &DialError::Denied { cause });
    let (error, ..) = node.failure();
    assert!(error.to_string().contains("no more"), "{error}");
}

#[test]
fn this_node_itself_is_told_once_and_dialled_no_more() {
    let mut node = Node::new(&[named(LOCAL, 1), address(2), address(3)]);
    assert_eq!(node.failure(), (HubError::OwnAddress, 0, None));
    let dials = node.dials();
    assert_eq!(dials.len(), 2);
    let address = dials[0].0.addresses[0].clone();
    node.fail(dials[0].1, &DialError::LocalPeerId { address });
    assert_eq!(node.failure(), (HubError::OwnAddress, 1, None));
    node.fail(dials[1].1, &DialError::NoAddresses);
    assert_eq!(node.failure(), (HubError::OwnAddress, 1, None));
    assert_eq!(node.dialer.next_timeout(), None);
    node.now += SECOND;
    node.dialer.on_network_changed(node.now);
    assert_eq!(node.dials().len(), 2, "not what is its own by its id");
}

#[test]
fn this_node_itself_is_not_dialled_at_a_second_address_either() {
    let mut node = Node::new(&[named(LOCAL, 1), named(LOCAL, 2)]);
    assert_eq!(node.failure(), (HubError::OwnAddress, 0, None));
    assert_eq!(node.dials(), []);
    assert_eq!(node.dialer.next_timeout(), None);
}

#[test]
fn what_no_transport_supports_is_told_once() {
    let hub = address(1);
    let mut node = Node::new(slice::from_ref(&hub));
    let (_, _, id) = node.next();
    node.fail(id, &unsupported(&hub));
    assert_eq!(node.failure(), (HubError::Unsupported, 1, None));
    assert_eq!(node.dialer.next_timeout(), None);
}

#[test]
fn a_change_of_the_network_hurries_but_not_below_a_second() {
    let hub = address(1);
    let mut node = Node::new(slice::from_ref(&hub));
    for _ in 0..6 {
        let (_, _, id) = node.next();
        node.fail(id, &refused(slice::from_ref(&hub)));
    }
    let (_, _, id) = node.next();
    node.fail(id, &refused(&[hub]));
    node.dialer.on_network_changed(node.now);
    assert_eq!(node.dials(), []);
    let (after, ..) = node.next();
    assert_eq!(after, HURRIED);
    node.dialer.on_network_changed(node.now);
    assert_eq!(node.dials(), [], "it is under way");
}

#[test]
fn one_that_somebody_else_is_dialling_has_not_failed() {
    let mut node = Node::new(&[named(1, 1)]);
    let (_, _, id) = node.next();
    let condition = PeerCondition::DisconnectedAndNotDialing;
    node.fail(id, &DialError::DialPeerConditionFalse(condition));
    node.is_told_nothing();
    node.accept(1);
    assert!(matches!(node.event(), HubEvent::Connected { .. }));
    assert_eq!(node.dialer.next_timeout(), None);
}

/// This node has the larger id, so that it is the one that closes.
#[test]
fn of_two_connections_to_a_hub_that_dialled_as_well_one_is_closed() {
    let mut node = Node::new(&[named(1, 1)]);
    let (_, _, id) = node.next();
    node.accept(1);
    assert!(node.reach(id, 1), "the swarm has them both already");
    node.event();
    assert_eq!(node.dialer.next_close(node.now), None);
    let at = node.dialer.next_timeout().unwrap();
    node.now = at;
    assert_eq!(node.dialer.next_close(at), Some((peer(1), id)));
    assert_eq!(node.dialer.next_close(at), None);
    node.dialer.on_closed(&peer(1), id);
    assert_eq!(node.dialer.next_timeout(), None);
    node.is_told_nothing();
}

#[test]
fn hubs_come_and_go_while_it_runs() {
    let add = |node: &mut Node, hub| node.dialer.add_hub(node.now, hub).unwrap();
    let mut node = Node::new(&[]);
    node.accept(1);
    assert!(add(&mut node, named(1, 1)));
    assert!(matches!(node.event(), HubEvent::Connected { .. }));
    assert!(!add(&mut node, named(1, 1)), "a second time");
    assert!(add(&mut node, named(2, 2)));
    let hubs: Vec<_> = node.dialer.hubs().cloned().collect();
    assert_eq!(hubs, [named(1, 1), named(2, 2)]);
    let (_, _, id) = node.next();
    assert!(node.dialer.remove_hub(&named(2, 2)));
    assert!(!node.dialer.remove_hub(&named(2, 2)));
    node.fail(id, &refused(&[]));
    assert!(node.dialer.remove_hub(&named(1, 1)));
    node.lose(1);
    node.is_told_nothing();
    assert_eq!(node.dialer.next_timeout(), None);
    for port in 0..64 {
        assert!(add(&mut node, address(port)));
    }
    assert!(!add(&mut node, address(0)), "named already");
    let refused = node.dialer.add_hub(node.now, address(64)).unwrap_err();
    assert_eq!(refused.to_string(), "65 hubs, at most 64 are possible");
    assert_eq!(node.dials().len(), MAX_HUBS);
}

#[test]
fn a_hub_that_answers_after_it_was_removed_is_connected_and_no_hub() {
    for hub in [named(1, 1), address(1)] {
        let mut node = Node::new(slice::from_ref(&hub));
        let (_, _, id) = node.next();
        assert!(node.dialer.remove_hub(&hub));
        assert!(node.reach(id, 1));
        assert_eq!(node.dialer.next_timeout(), None);
        // It is still discovery that has dialled it.
        node.accept(1);
        node.now = node.dialer.next_timeout().unwrap();
        assert_eq!(node.dialer.next_close(node.now), Some((peer(1), id)));
        node.dialer.on_closed(&peer(1), id);
        node.lose(1);
        node.is_told_nothing();
        assert_eq!(node.dialer.next_timeout(), None);
    }
}

#[test]
fn a_hub_that_is_removed_and_named_again_before_it_answers_is_connected_once() {
    for hub in [named(1, 1), address(1)] {
        let mut node = Node::new(slice::from_ref(&hub));
        let (_, _, first) = node.next();
        assert!(node.dialer.remove_hub(&hub));
        assert!(node.dialer.add_hub(node.now, hub.clone()).unwrap());
        let (_, dial, second) = node.next();
        assert!(node.reach(first, 1));
        match dial.peer {
            Some(_) => node.fail(
                second,
                &DialError::DialPeerConditionFalse(PeerCondition::DisconnectedAndNotDialing),
            ),
            None => assert!(!node.reach(second, 1)),
        }
        let connected = HubEvent::Connected {
            hub,
            peer_id: peer(1),
        };
        assert_eq!(node.event(), connected);
        node.is_told_nothing();
        assert_eq!(node.dialer.next_timeout(), None);
    }
}

#[derive(Debug, Clone)]
enum Operation {
    Pass(u16),
    Dial,
    Reach { dial: usize, seed: u16 },
    Fail { dial: usize, kind: u8 },
    Accept(u16),
    Lose(u16),
    Change,
    Add(u16),
    Remove(u16),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        (0..2000_u16).prop_map(Operation::Pass),
        Just(Operation::Dial),
        Just(Operation::Dial),
        (any::<usize>(), 0..4_u16).prop_map(|(dial, seed)| Operation::Reach { dial, seed }),
        (any::<usize>(), 0..6_u8).prop_map(|(dial, kind)| Operation::Fail { dial, kind }),
        (0..4_u16).prop_map(Operation::Accept),
        (0..4_u16).prop_map(Operation::Lose),
        Just(Operation::Change),
        (0..8_u16).prop_map(Operation::Add),
        (0..8_u16).prop_map(Operation::Remove),
    ]
}

/// Half of them with an id.
fn some_hub(number: u16) -> Multiaddr {
    match number % 2 {
        0 => named(number / 2, number),
        _ => address(number),
    }
}

proptest! {
    /// Whatever happens: a hub is told as connected and lost in turns, and only while its peer is connected; and one that is
    /// not connected is under way, has its time, or was said to have none.
    #[test]
    fn a_hub_is_never_forgotten(operations in prop::collection::vec(operation(), 0..200), seed: u64) {
        let mut node = Node::with_seed(&[], seed);
        let mut dials: Vec<(Dial, ConnectionId)> = vec![];
        let mut connected = HashMap::<Multiaddr, PeerId>::new();
        let mut rng = SmallRng::seed_from_u64(seed);
        for operation in operations {
            match operation {
                Operation::Pass(ms) => node.now += Duration::from_millis(ms.into()),
                Operation::Dial => dials.extend(node.dials()),
                Operation::Reach { dial, seed } if !dials.is_empty() => {
                    let (dial, id) = dials.swap_remove(dial % dials.len());
                    match dial.peer {
                        Some(wanted) if wanted != peer(seed) => {
                            node.fail(id, &wrong_peer(seed, &dial.addresses[0]));
                        }
                        _ => { node.reach(id, seed); }
                    }
                }
                Operation::Fail { dial, kind } if !dials.is_empty() => {
                    let (dial, id) = dials.swap_remove(dial % dials.len());
                    let at = dial.addresses[rng.random_range(0..dial.addresses.len())].clone();
                    node.fail(id, &match kind {
                        0 => refused(&dial.addresses),
                        1 => unsupported(&at),
                        2 => DialError::Aborted,
                        3 => DialError::NoAddresses,
                        4 => DialError::LocalPeerId { address: at },
                        _ => DialError::DialPeerConditionFalse(PeerCondition::Always),
                    });
                }
                Operation::Reach { .. } | Operation::Fail { .. } => {}
                Operation::Accept(seed) => node.accept(seed),
                Operation::Lose(seed) => node.lose(seed),
                Operation::Change => node.dialer.on_network_changed(node.now),
                Operation::Add(number) => { node.dialer.add_hub(node.now, some_hub(number)).unwrap(); }
                Operation::Remove(number) => {
                    node.dialer.remove_hub(&some_hub(number));
                    connected.remove(&some_hub(number));
                }
            }
            while let Some(event) = node.dialer.pop_hub_event() {
                match event {
                    HubEvent::Connected { hub, peer_id } => {
                        prop_assert!(node.links.contains_key(&peer_id));
                        prop_assert_eq!(connected.insert(hub, peer_id), None);
                    }
                    HubEvent::Lost { hub, peer_id, .. } => {
                        prop_assert!(!node.links.contains_key(&peer_id));
                        prop_assert_eq!(connected.remove(&hub), Some(peer_id));
                    }
                    HubEvent::Unreachable { hub, .. } => {
                        prop_assert!(!connected.contains_key(&hub));
                    }
                }
            }
            let rows = &node.dialer.hubs.rows;
            for hub in rows {
                let is_connected = match hub.state {
                    State::Connected { peer, .. } => node.links.contains_key(&peer),
                    State::Dialling => dials.iter().any(|(_, id)| hub.dial == Some(*id)),
                    State::Waiting { until } => until <= after(node.now, MAX_DELAY),
                    State::Futile => true,
                };
                prop_assert!(is_connected, "{:?}", hub);
                prop_assert_eq!(connected.contains_key(hub.hub()), matches!(hub.state, State::Connected { .. }));
            }
        }
    }
}
