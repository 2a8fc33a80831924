use std::{io, num::NonZeroUsize};

use libp2p_core::{
    Endpoint,
    transport::{PortUse, TransportError},
};
use libp2p_swarm::{ConnectionDenied, dial_opts::PeerCondition};
use multiaddr::multihash::Multihash;
use proptest::prelude::*;

use super::{
    candidates::{FIRST_DELAY, GRACE, JITTER, MAX_ATTEMPTS, MAX_DELAY, SPREAD},
    dial::STEADY,
    *,
};
use crate::{
    deadline,
    discovery::{
        KnownPeer,
        message::{Announcement, Stamp},
        peers::{Heard, Lifetimes, Source},
    },
};

const TTL: Duration = Duration::from_secs(3600);
/// This node.
const LOCAL: u16 = u16::MAX - 1;
const TOPIC: &str = "any";
const LIFETIMES: Lifetimes = Lifetimes {
    unknown: TTL,
    shortest: Duration::ZERO,
    longest: TTL,
};

fn peer(seed: u16) -> PeerId {
    let digest = [seed.to_be_bytes(); 16].concat();
    PeerId::from_multihash(Multihash::wrap(0, &digest).unwrap()).unwrap()
}

fn id(number: usize) -> ConnectionId {
    ConnectionId::new_unchecked(number)
}

fn address(port: u16) -> Multiaddr {
    format!("/ip4/127.0.0.1/tcp/{port}/ws").parse().unwrap()
}

fn unreachable(ports: &[u16]) -> DialError {
    let refused = || TransportError::Other(io::ErrorKind::ConnectionRefused.into());
    DialError::Transport(ports.iter().map(|at| (address(*at), refused())).collect())
}

fn unsupported(ports: &[u16]) -> DialError {
    let errors = ports.iter().map(|at| {
        let address = address(*at);
        (
            address.clone(),
            TransportError::MultiaddrNotSupported(address),
        )
    });
    DialError::Transport(errors.collect())
}

fn denied() -> DialError {
    let cause = ConnectionDenied::new(io::Error::other("no more"));
    DialError::Denied { cause }
}

fn wrong_peer(port: u16) -> DialError {
    DialError::WrongPeerId {
        obtained: peer(u16::MAX),
        address: address(port),
    }
}

/// Of a connection that this node has dialled.
pub(super) fn endpoint() -> ConnectedPoint {
    ConnectedPoint::Dialer {
        address: address(1),
        role_override: Endpoint::Dialer,
        port_use: PortUse::Reuse,
    }
}

fn dialer(target: usize, seed: u64, now: Instant) -> Dialer {
    dialer_with(target, seed, now, vec![])
}

fn dialer_with(target: usize, seed: u64, now: Instant, saved: Vec<SavedPeer>) -> Dialer {
    let settings = Settings {
        target,
        hubs: vec![],
        max_hub_delay: Duration::from_secs(60),
        heartbeat: Duration::from_secs(1),
        saved,
    };
    Dialer::new(peer(LOCAL), settings, seed, now).unwrap()
}

/// Plays the swarm and the pubsub.
struct Node {
    now: Instant,
    peers: Peers,
    dialer: Dialer,
    ids: usize,
}

impl Node {
    fn new(target: usize, seed: u64) -> Self {
        let now = deadline::now();
        Self {
            now,
            peers: Peers::new(NonZeroUsize::new(20_000).unwrap(), LIFETIMES),
            dialer: dialer(target, seed, now),
            ids: 0,
        }
    }

    fn announce(&mut self, seed: u16, ports: &[u16]) {
        let announcement = Announcement {
            peer: peer(seed),
            addresses: ports.iter().map(|port| address(*port)).collect(),
            dropped: 0,
            stamp: Stamp {
                promise: Some(TTL / 3),
                ..Stamp::default()
            },
        };
        let source = Source::Forwarder {
            neighbour: peer(u16::MAX),
            is_limited: false,
        };
        let heard = self.peers.on_announcement(self.now, announcement, source);
        if matches!(heard, Heard::Discovered | Heard::Updated) {
            self.dialer.on_candidate(self.now, &peer(seed));
        }
    }

    /// One that has other connections is to blame for a failure itself.
    fn connect_somebody_else(&mut self) {
        self.connect(u16::MAX);
    }

    fn connect(&mut self, seed: u16) {
        self.ids += 1;
        self.establish((peer(seed), id(self.ids)), &[]);
    }

    fn establish(&mut self, (dialled, id): (PeerId, ConnectionId), failed: &[Multiaddr]) {
        let (now, peers) = (self.now, &mut self.peers);
        self.dialer
            .on_connected(now, dialled, id, &endpoint(), failed, peers);
    }

    /// It has dialled this node, at this address.
    fn accept(&mut self, seed: u16, local_addr: Multiaddr) -> ConnectionId {
        self.ids += 1;
        let endpoint = ConnectedPoint::Listener {
            local_addr,
            send_back_addr: address(8),
        };
        let (now, peers) = (self.now, &mut self.peers);
        self.dialer
            .on_connected(now, peer(seed), id(self.ids), &endpoint, &[], peers);
        id(self.ids)
    }

    fn disconnect(&mut self, seed: u16) {
        self.dialer
            .on_disconnected(self.now, &peer(seed), &self.peers);
    }

    fn fail(&mut self, (dialled, id): (PeerId, ConnectionId), error: &DialError) {
        self.dialer
            .on_dial_failed(self.now, Some(&dialled), id, error, &mut self.peers);
    }

    fn next_dial(&mut self) -> Option<(PeerId, ConnectionId)> {
        let dial = self.dialer.next_dial(self.now, &self.peers)?;
        let peer = dial.peer.unwrap();
        assert_eq!(dial.addresses, self.peers.get(&peer).unwrap().addresses());
        self.ids += 1;
        self.dialer.on_dialling(self.now, &dial, id(self.ids));
        Some((peer, id(self.ids)))
    }

    /// All dials that are due now.
    fn dials(&mut self) -> Vec<(PeerId, ConnectionId)> {
        while let Some((peer, id)) = self.dialer.next_close(self.now) {
            self.dialer.on_closed(&peer, id);
        }
        let dials = std::iter::from_fn(|| self.next_dial()).collect();
        assert!(self.dialer.next_timeout().is_none_or(|at| at > self.now));
        dials
    }

    /// Those within a time from now, at the moments that the core asks for.
    fn dials_within(&mut self, time: Duration) -> Vec<(PeerId, ConnectionId)> {
        let end = self.now + time;
        let mut dials = self.dials();
        while let Some(at) = self.dialer.next_timeout()
            && at <= end
        {
            self.now = at;
            dials.append(&mut self.dials());
        }
        self.now = end;
        dials
    }
}

fn saved(seed: u16, ports: &[u16], seconds: u64) -> SavedPeer {
    let addresses = ports.iter().map(|port| address(*port)).collect();
    SavedPeer::new(peer(seed), addresses, Duration::from_secs(seconds))
}

fn node_with_saved(target: usize, saved: Vec<SavedPeer>) -> Node {
    let mut node = Node::new(target, 7);
    node.dialer = dialer_with(target, 7, node.now, saved);
    node
}

/// Those in the table come first. The dial is not checked against the table, where it has no row.
fn dialled_next(node: &mut Node) -> (PeerId, ConnectionId) {
    let dial = loop {
        node.now = node.dialer.next_timeout().unwrap();
        if let Some(dial) = node.dialer.next_dial(node.now, &node.peers) {
            break dial;
        }
    };
    node.ids += 1;
    node.dialer.on_dialling(node.now, &dial, id(node.ids));
    (dial.peer.unwrap(), id(node.ids))
}

#[test]
fn saved_peers_are_dialled_when_no_known_one_is_left() {
    let mut node = node_with_saved(2, vec![saved(1, &[1], 5), saved(LOCAL, &[1], 5)]);
    node.connect_somebody_else();
    node.announce(2, &[2]);
    assert_eq!(dialled_next(&mut node).0, peer(2));
    let dial = dialled_next(&mut node);
    assert_eq!(dial.0, peer(1));
    // It is tried again like others, and kept however often it fails.
    node.fail(dial, &unreachable(&[1]));
    let earliest = node.now + FIRST_DELAY.mul_f64(1.0 - JITTER);
    assert_eq!(dialled_next(&mut node).0, peer(1));
    assert!(node.now >= earliest);
    let kept = node.dialer.to_save(node.now, &node.peers);
    assert!(kept.iter().any(|kept| kept.peer_id == peer(1)));
}

#[test]
fn saved_peers_are_kept_until_they_announce_themselves() {
    let mut node = node_with_saved(
        0,
        vec![saved(1, &[1], 5), saved(2, &[2], 9), saved(3, &[], 1)],
    );
    assert_eq!(node.dialer.next_timeout(), None, "nobody is to be dialled");
    node.now += Duration::from_secs(10);
    let expected = [saved(1, &[1], 15), saved(2, &[2], 19)];
    assert_eq!(node.dialer.to_save(node.now, &node.peers), expected);
    node.announce(2, &[7]);
    node.announce(4, &[]);
    let expected = [saved(2, &[7], 0), saved(1, &[1], 15)];
    assert_eq!(node.dialer.to_save(node.now, &node.peers), expected);
    node.connect(1);
    let expected = [saved(1, &[1], 15), saved(2, &[7], 0)];
    assert_eq!(node.dialer.to_save(node.now, &node.peers), expected);
}

#[test]
fn no_more_than_a_thousand_are_saved() {
    let count = u16::try_from(MAX_SAVED).unwrap();
    let mut node = node_with_saved(
        1,
        (0..count + 100).map(|seed| saved(seed, &[1], 5)).collect(),
    );
    assert_eq!(node.dialer.to_save(node.now, &node.peers).len(), MAX_SAVED);
    node.announce(count + 200, &[1]);
    let to_save = node.dialer.to_save(node.now, &node.peers);
    assert_eq!(to_save.len(), MAX_SAVED);
    assert_eq!(to_save[0].peer_id, peer(count + 200));
}

#[test]
fn an_address_of_a_saved_peer_that_leads_to_another_is_dropped() {
    let mut node = node_with_saved(1, vec![saved(1, &[1, 2], 5)]);
    let dial = dialled_next(&mut node);
    node.fail(dial, &wrong_peer(1));
    assert_eq!(
        node.dialer.to_save(node.now, &node.peers)[0].addresses,
        [address(2)]
    );
    let dial = dialled_next(&mut node);
    node.fail(dial, &wrong_peer(2));
    assert_eq!(node.dialer.to_save(node.now, &node.peers), []);
    assert_eq!(node.dials_within(TTL), []);
}

#[test]
fn switched_off_it_dials_nobody_and_blames_nobody() {
    let mut node = Node::new(0, 7);
    node.announce(1, &[1, 2]);
    node.connect(2);
    node.dialer.on_subscribed(&peer(2), TOPIC);
    node.fail((peer(1), id(9)), &unreachable(&[1]));
    node.establish((peer(1), id(10)), &[address(1)]);
    node.disconnect(1);
    node.disconnect(2);
    assert_eq!(node.dials_within(TTL), []);
    assert!(node.dialer.candidates.backoffs.is_empty());
    let known = node.peers.get(&peer(1)).unwrap();
    assert_eq!(known.addresses(), [address(1), address(2)]);
    assert_eq!(
        known.expires_at(),
        node.now,
        "the time to live, and no sooner"
    );
}

#[test]
fn dials_as_many_as_are_missing_each_once() {
    let mut node = Node::new(3, 7);
    for seed in 0..9 {
        node.announce(seed, &[seed]);
    }
    node.connect_somebody_else();
    node.dialer.on_subscribed(&peer(u16::MAX), TOPIC);
    let dials = node.dials_within(TTL);
    assert_eq!(dials.len(), 2);
    assert_ne!(dials[0].0, dials[1].0);
}

#[test]
fn waits_a_little_for_more_candidates() {
    let mut node = Node::new(1, 7);
    assert_eq!(node.dialer.next_timeout(), None, "nobody is known");
    node.announce(1, &[1]);
    let at = node.dialer.next_timeout().unwrap();
    assert!(at > node.now && at <= node.now + SPREAD);
    node.announce(2, &[2]);
    assert_eq!(node.dialer.next_timeout(), Some(at), "and no longer");
    assert_eq!(node.dials_within(SPREAD).len(), 1);
}

/// Otherwise all who lose the same peer would dial the same other one.
#[test]
fn waits_a_little_again_when_a_subscriber_is_lost() {
    let mut node = Node::new(1, 7);
    node.announce(1, &[1]);
    let dial = node.dials_within(SPREAD)[0];
    node.establish(dial, &[]);
    node.dialer.on_subscribed(&peer(1), TOPIC);
    node.announce(2, &[1]);
    node.now += STEADY;
    node.disconnect(1);
    let at = node.dialer.next_timeout().unwrap();
    assert!(at > node.now && at <= node.now + SPREAD);
}

#[test]
fn all_candidates_are_equally_likely() {
    // One table, so that the order of its rows is the same each time.
    let mut node = Node::new(1, 0);
    for candidate in 0..10 {
        node.announce(candidate, &[1]);
    }
    let mut chosen = HashMap::<_, u32>::new();
    for seed in 0..1000 {
        node.dialer = dialer(1, seed, node.now);
        node.dialer.on_candidate(node.now, &peer(0));
        *chosen.entry(node.dials_within(SPREAD)[0].0).or_default() += 1;
    }
    // 100 each; beyond five standard deviations of 9.5 something is wrong.
    assert_eq!(chosen.len(), 10);
    assert!(
        chosen.values().all(|count| (52..=148).contains(count)),
        "{chosen:?}"
    );
}

#[test]
fn no_more_than_the_cap_are_under_way() {
    let mut node = Node::new(100, 7);
    for seed in 0..100 {
        node.announce(seed, &[1]);
    }
    let dials = node.dials_within(TTL);
    assert_eq!(dials.len(), MAX_ATTEMPTS);
    node.fail(dials[0], &unreachable(&[1]));
    assert_eq!(node.dials_within(TTL).len(), 1);
}

#[test]
fn a_table_of_dead_addresses_is_dialled_slowly() {
    let mut node = Node::new(5, 7);
    for seed in 0..1000 {
        node.announce(seed, &[1]);
    }
    let start = node.now;
    let mut attempts = 0;
    while node.now < start + Duration::from_secs(100) {
        for dial in node.dials() {
            node.fail(dial, &unreachable(&[1]));
            attempts += 1;
        }
        node.now = node.dialer.next_timeout().unwrap();
    }
    assert!((190..=210).contains(&attempts), "{attempts}");
}

#[test]
fn a_dialled_peer_counts_until_it_has_had_time_to_subscribe() {
    let mut node = Node::new(1, 7);
    node.announce(1, &[1]);
    let [(first, id)] = node.dials_within(SPREAD)[..] else {
        panic!("one dial");
    };
    node.establish((first, id), &[]);
    node.announce(2, &[1]);
    assert_eq!(node.dials_within(GRACE - Duration::from_nanos(1)), []);
    let [(second, id)] = node.dials_within(SPREAD + SPREAD)[..] else {
        panic!("one dial");
    };
    assert_eq!(second, peer(2));
    node.establish((second, id), &[]);
    node.dialer.on_subscribed(&second, TOPIC);
    node.announce(3, &[1]);
    assert_eq!(node.dials_within(TTL), []);
}

#[test]
fn a_subscriber_counts_until_it_has_left_its_last_topic_or_disconnected() {
    let mut node = Node::new(1, 7);
    node.announce(1, &[1]);
    node.connect(2);
    // As gossipsub may tell it more than once.
    for topic in ["a", "b", "a"] {
        node.dialer.on_subscribed(&peer(2), topic);
    }
    assert_eq!(node.dials_within(GRACE), []);
    for topic in ["a", "a", "c"] {
        node.dialer.on_unsubscribed(node.now, &peer(2), topic);
    }
    assert_eq!(node.dials_within(GRACE), []);
    node.dialer.on_unsubscribed(node.now, &peer(2), "b");
    let [dial] = node.dials_within(GRACE)[..] else {
        panic!("one dial");
    };
    node.fail(dial, &unreachable(&[1]));
    node.dialer.on_subscribed(&peer(2), "b");
    assert_eq!(node.dials_within(TTL), []);
    node.disconnect(2);
    node.dialer.on_subscribed(&peer(2), "b");
    assert_eq!(node.dials_within(GRACE).len(), 1);
}

#[test]
fn who_is_connected_or_lists_no_addresses_is_not_dialled() {
    let mut node = Node::new(3, 7);
    node.announce(1, &[]);
    node.announce(2, &[1]);
    node.connect(2);
    assert_eq!(node.dials_within(TTL), []);
    node.disconnect(2);
    node.announce(2, &[1]);
    assert_eq!(node.dials_within(SPREAD).len(), 1);
}

#[test]
fn each_failure_is_followed_by_a_longer_pause() {
    let mut node = Node::new(1, 7);
    node.announce(1, &[1]);
    let mut delay = FIRST_DELAY;
    let mut dial = node.dials_within(SPREAD)[0];
    for _ in 0..10 {
        node.fail(dial, &unreachable(&[1]));
        node.announce(1, &[1]);
        assert_eq!(node.dials_within(delay.mul_f64(1.0 - JITTER)), []);
        dial = node.dials_within(delay.mul_f64(JITTER) + SPREAD)[0];
        delay = (delay * 2).min(MAX_DELAY);
    }
    assert_eq!(delay, MAX_DELAY);
}

#[test]
fn what_fails_here_is_not_held_against_the_peer() {
    let mut node = Node::new(1, 7);
    node.connect_somebody_else();
    node.announce(1, &[1]);
    let expires_at = node.peers.get(&peer(1)).unwrap().expires_at();
    let errors = [
        denied(),
        DialError::Aborted,
        DialError::DialPeerConditionFalse(PeerCondition::DisconnectedAndNotDialing),
    ];
    for error in errors {
        let dial = node.dials_within(FIRST_DELAY + SPREAD)[0];
        node.fail(dial, &error);
        assert_eq!(node.dials(), [], "at once it would fail again");
    }
    assert_eq!(node.dialer.candidates.backoffs[&peer(1)].failures, 0);
    let known = node.peers.get(&peer(1)).unwrap();
    assert_eq!(known.expires_at(), expires_at);
    assert_eq!(known.addresses(), [address(1)]);
}

#[test]
fn what_fails_here_does_not_lengthen_the_pause() {
    let mut node = Node::new(1, 7);
    node.announce(1, &[1]);
    let mut dial = node.dials_within(SPREAD)[0];
    for _ in 0..4 {
        node.fail(dial, &unreachable(&[1]));
        dial = node.dials_within(MAX_DELAY)[0];
    }
    node.fail(dial, &denied());
    assert_eq!(node.dials_within(FIRST_DELAY + SPREAD).len(), 1);
}

#[test]
fn what_fails_here_for_somebody_else_delays_nothing() {
    let mut node = Node::new(1, 7);
    node.announce(1, &[1]);
    node.fail((peer(1), id(99)), &denied());
    assert_eq!(node.dials_within(SPREAD).len(), 1);
}

#[test]
fn a_known_peer_that_is_a_hub_is_dialled_when_its_hub_is_due_and_at_no_other_time() {
    let mut node = Node::new(1, 7);
    node.announce(1, &[1]);
    let hub = multiaddr::Protocol::P2p(peer(1)).into();
    assert!(node.dialer.add_hub(node.now, hub).unwrap());
    let mut dial = node.dials()[0];
    for seconds in [1, 2, 4, 8, 16] {
        let longest = Duration::from_secs(seconds);
        // A candidate could be dialled at once.
        node.fail(dial, &denied());
        assert_eq!(node.dials_within(longest.mul_f64(1.0 - JITTER)), []);
        dial = node.dials_within(longest.mul_f64(JITTER))[0];
    }
}

#[test]
fn a_peer_whose_addresses_all_fail_is_forgotten_sooner() {
    let mut node = Node::new(1, 7);
    node.connect_somebody_else();
    node.announce(1, &[1, 2]);
    let announced = node.now;
    let expires_at = |node: &Node| node.peers.get(&peer(1)).unwrap().expires_at();
    let dial = node.dials_within(SPREAD)[0];
    node.fail(dial, &unreachable(&[1]));
    assert_eq!(expires_at(&node), announced + TTL, "one has not been tried");
    let known = node.peers.get(&peer(1)).unwrap();
    assert_eq!(known.addresses(), [address(2), address(1)]);

    let dial = node.dials_within(FIRST_DELAY + SPREAD)[0];
    node.fail(dial, &unreachable(&[1, 2]));
    assert_eq!(expires_at(&node), announced + TTL / 2);

    node.announce(1, &[1, 2]);
    assert_eq!(expires_at(&node), node.now + TTL);
    let known = node.peers.get(&peer(1)).unwrap();
    assert_eq!(known.addresses(), [address(1), address(2)]);
}

#[test]
fn what_failed_before_another_address_worked_is_tried_last() {
    let mut node = Node::new(1, 7);
    node.announce(1, &[1, 2, 3]);
    let announced = node.now;
    let dial = node.dials_within(SPREAD)[0];
    node.establish(dial, &[address(1), address(2)]);
    let known = node.peers.get(&peer(1)).unwrap();
    assert_eq!(known.addresses(), [address(3), address(1), address(2)]);
    // The application has found another way.
    node.establish(dial, &[address(1), address(2), address(3)]);
    let known = node.peers.get(&peer(1)).unwrap();
    assert_eq!(known.expires_at(), announced + TTL);
}

#[test]
fn a_peer_that_only_dials_is_not_forgotten_for_having_no_addresses() {
    let mut node = Node::new(1, 7);
    node.connect_somebody_else();
    node.announce(1, &[]);
    for error in [DialError::NoAddresses, unreachable(&[9])] {
        node.fail((peer(1), id(99)), &error);
    }
    let expires_at = node.peers.get(&peer(1)).unwrap().expires_at();
    assert_eq!(expires_at, node.now + TTL);
}

#[test]
fn subscribers_of_a_topic_that_is_removed_no_longer_count() {
    let mut node = Node::new(2, 7);
    for (seed, topics) in [(1, &["a"][..]), (2, &["a", "b"])] {
        node.connect(seed);
        for topic in topics {
            node.dialer.on_subscribed(&peer(seed), topic);
        }
    }
    for seed in 3..9 {
        node.announce(seed, &[1]);
    }
    assert_eq!(node.dials_within(GRACE), []);
    node.dialer.on_topic_removed(node.now, "a", true);
    let [dial] = node.dials_within(GRACE)[..] else {
        panic!("one dial");
    };
    node.dialer.on_topic_removed(node.now, "b", false);
    node.fail(dial, &denied());
    node.announce(9, &[1]);
    assert_eq!(node.dials_within(TTL / 2), [], "nobody can be subscribed");
    node.dialer.on_topic_added(node.now);
    assert_eq!(node.dials_within(SPREAD).len(), 2);
}

#[test]
fn without_any_connection_nobody_is_forgotten_for_a_failure() {
    let mut node = Node::new(1, 7);
    node.announce(1, &[1]);
    let announced = node.now;
    let dial = node.dials_within(SPREAD)[0];
    node.fail(dial, &unreachable(&[1]));
    let expires_at = node.peers.get(&peer(1)).unwrap().expires_at();
    assert_eq!(expires_at, announced + TTL);
    assert_eq!(
        node.dials_within(FIRST_DELAY - FIRST_DELAY.mul_f64(JITTER)),
        []
    );
}

#[test]
fn a_peer_that_no_transport_here_can_dial_is_not_tried_again_until_its_addresses_change() {
    for (ports, error) in [
        (&[1, 2][..], unsupported(&[1, 2])),
        (&[1], DialError::NoAddresses),
    ] {
        let mut node = Node::new(1, 7);
        node.connect_somebody_else();
        node.announce(1, ports);
        let announced = node.now;
        let [dial] = node.dials_within(SPREAD)[..] else {
            panic!("one dial");
        };
        node.fail(dial, &error);
        let expires_at = node.peers.get(&peer(1)).unwrap().expires_at();
        assert_eq!(expires_at, announced + TTL, "it may well be there");
        node.announce(1, ports);
        assert_eq!(node.dials_within(TTL / 2), []);

        node.announce(1, &[3]);
        let [dial] = node.dials_within(SPREAD)[..] else {
            panic!("one dial");
        };
        node.fail(dial, &unsupported(&[3]));
        node.announce(1, &[4]);
        let pause = (2 * FIRST_DELAY).mul_f64(1.0 - JITTER);
        assert_eq!(
            node.dials_within(pause),
            [],
            "other ones cannot end the pause"
        );
        assert_eq!(node.dials_within(2 * FIRST_DELAY).len(), 1);
    }
}

#[test]
fn a_table_of_peers_that_cannot_be_dialled_keeps_nobody_from_being_dialled() {
    let mut node = Node::new(MAX_ATTEMPTS, 7);
    node.connect_somebody_else();
    for seed in 0..100 {
        node.announce(seed, &[1]);
    }
    let mut dialled = BTreeSet::new();
    while dialled.len() < 100 {
        for dial in node.dials_within(SPREAD) {
            assert!(dialled.insert(dial.0), "twice");
            node.fail(dial, &unsupported(&[1]));
        }
    }
    assert_eq!(node.dials_within(TTL / 2), []);
    assert_eq!(node.dialer.next_timeout(), None, "nothing to look for");
    node.announce(100, &[2]);
    let [(dialled, _)] = node.dials_within(SPREAD)[..] else {
        panic!("one dial");
    };
    assert_eq!(dialled, peer(100));
}

#[test]
fn a_peer_is_tried_again_while_some_of_its_addresses_are_supported() {
    let mut node = Node::new(1, 7);
    node.connect_somebody_else();
    node.announce(1, &[1, 2]);
    let unsupported_and_refused = |ports: [u16; 2]| {
        let [
            DialError::Transport(mut errors),
            DialError::Transport(refused),
        ] = [unsupported(&ports[..1]), unreachable(&ports[1..])]
        else {
            panic!("both are errors of transports");
        };
        errors.extend(refused);
        DialError::Transport(errors)
    };
    let dial = node.dials_within(SPREAD)[0];
    node.fail(dial, &unsupported_and_refused([1, 2]));
    let dial = node.dials_within(FIRST_DELAY + SPREAD)[0];
    // It has been heard again meanwhile.
    node.announce(1, &[2, 3]);
    node.fail(dial, &unsupported(&[1, 2]));
    assert_eq!(node.dials_within(2 * FIRST_DELAY + SPREAD).len(), 1);
}

#[test]
fn what_the_application_dials_in_vain_elsewhere_does_not_end_the_attempts() {
    let mut node = Node::new(1, 7);
    node.announce(1, &[1]);
    node.fail((peer(1), id(99)), &unsupported(&[9]));
    node.fail((peer(1), id(99)), &DialError::NoAddresses);
    assert_eq!(node.dials_within(2 * FIRST_DELAY + SPREAD).len(), 1);
}

#[test]
fn an_address_of_somebody_else_is_dropped() {
    let mut node = Node::new(1, 7);
    node.announce(1, &[1, 2]);
    for (port, left) in [(1, vec![address(2)]), (2, vec![])] {
        let dial = node.dials_within(2 * FIRST_DELAY + SPREAD)[0];
        node.fail(dial, &wrong_peer(port));
        assert_eq!(node.peers.get(&peer(1)).unwrap().addresses(), left);
    }
    assert_eq!(node.dials_within(TTL / 2), [], "nothing is left to dial");
    node.announce(1, &[3]);
    assert_eq!(node.dials_within(MAX_DELAY).len(), 1);
}

#[test]
fn a_connection_that_ends_soon_is_no_better_than_none() {
    let mut node = Node::new(1, 7);
    node.announce(1, &[1]);
    let (dialled, id) = node.dials_within(SPREAD)[0];
    node.establish((dialled, id), &[]);
    node.now += STEADY - Duration::from_nanos(1);
    node.disconnect(1);
    assert_eq!(node.dials_within(FIRST_DELAY.mul_f64(1.0 - JITTER)), []);

    let (dialled, id) = node.dials_within(FIRST_DELAY)[0];
    node.establish((dialled, id), &[]);
    node.now += STEADY;
    node.disconnect(1);
    assert_eq!(node.dials_within(SPREAD).len(), 1);
}

#[test]
fn an_attempt_ends_with_its_own_outcome_alone() {
    let mut node = Node::new(1, 7);
    node.announce(1, &[1]);
    let (dialled, own) = node.dials_within(SPREAD)[0];
    // The peer has dialled as well, and goes again.
    node.connect(1);
    node.disconnect(1);
    assert_eq!(node.dials_within(TTL / 2), [], "it is still being dialled");
    let other = id(99);
    node.fail((dialled, other), &DialError::Aborted);
    assert_eq!(node.dials_within(TTL / 4), []);
    node.fail((dialled, own), &DialError::Aborted);
    assert_eq!(node.dials_within(FIRST_DELAY + SPREAD).len(), 1);
}

#[test]
fn who_is_dialled_and_subscribes_from_the_other_side_counts_once() {
    let mut node = Node::new(2, 7);
    node.announce(1, &[1]);
    let dial = node.dials_within(SPREAD)[0];
    node.connect(1);
    node.dialer.on_subscribed(&peer(1), TOPIC);
    node.announce(2, &[1]);
    node.establish(dial, &[]);
    let [(second, _)] = node.dials_within(SPREAD)[..] else {
        panic!("one dial");
    };
    assert_eq!(second, peer(2));
}

#[test]
fn a_dial_of_the_application_teaches_as_well() {
    let mut node = Node::new(1, 7);
    node.announce(1, &[1]);
    node.fail((peer(1), id(99)), &unreachable(&[1]));
    node.fail((peer(2), id(98)), &unreachable(&[1]));
    assert_eq!(node.dials_within(FIRST_DELAY.mul_f64(1.0 - JITTER)), []);
    assert_eq!(
        node.dialer.candidates.backoffs.len(),
        1,
        "only of known peers"
    );
    assert_eq!(node.dials_within(FIRST_DELAY).len(), 1);
}

/// A peer that was dialled and has dialled as well.
fn twice_connected(seed: u16) -> (Node, ConnectionId, ConnectionId) {
    let mut node = Node::new(1, 7);
    node.announce(seed, &[1]);
    let dial = node.dials_within(SPREAD)[0];
    node.establish(dial, &[]);
    let accepted = node.accept(seed, address(7));
    (node, dial.1, accepted)
}

#[test]
fn of_two_connections_the_side_with_the_larger_id_closes_its_own_sooner() {
    for (seed, seconds) in [(1, 7), (u16::MAX, 30)] {
        let (mut node, own, _) = twice_connected(seed);
        let at = node.now + Duration::from_secs(seconds);
        let before = at - Duration::from_nanos(1);
        assert_eq!(node.dialer.next_close(before), None, "{seed}");
        let closed = node.dialer.next_close(at);
        assert_eq!(closed, Some((peer(seed), own)), "{seed}");
    }
}

#[test]
fn where_one_connection_is_left_none_is_closed() {
    for is_own in [true, false] {
        let (mut node, own, accepted) = twice_connected(1);
        let ended = if is_own { own } else { accepted };
        node.dialer.on_closed(&peer(1), ended);
        assert_eq!(node.dialer.next_close(node.now + TTL), None);
    }
}

#[test]
fn what_the_application_dialled_or_a_relay_leads_to_is_not_closed() {
    let mut node = Node::new(1, 7);
    for _ in 0..2 {
        node.connect(1);
    }
    assert_eq!(node.dialer.next_close(node.now + TTL), None);
    node.announce(2, &[1]);
    let dial = node.dials_within(SPREAD)[0];
    node.establish(dial, &[]);
    let relay = address(7).with_p2p(peer(3)).unwrap();
    node.accept(2, relay.with(multiaddr::Protocol::P2pCircuit));
    assert_eq!(node.dialer.next_close(node.now + TTL), None);
}

/// A peer that was dialled and has dialled as well, at the moment at which one of the connections is closed.
fn closing() -> (Node, ConnectionId) {
    let mut node = Node::new(1, 7);
    node.announce(1, &[1]);
    let dial = node.dials_within(SPREAD)[0];
    node.establish(dial, &[]);
    // As those of a hub and of a candidate may be.
    node.ids += 1;
    node.dialer.on_dialling(
        node.now,
        &Dial {
            peer: Some(peer(1)),
            addresses: vec![],
        },
        id(node.ids),
    );
    node.establish((peer(1), id(node.ids)), &[]);
    let second = id(node.ids);
    let closed = loop {
        node.now = node.dialer.next_timeout().unwrap();
        if let Some(closed) = node.dialer.next_close(node.now) {
            break closed;
        }
    };
    assert_eq!(closed, (peer(1), second));
    (node, second)
}

#[test]
fn a_subscription_counts_that_comes_while_a_connection_is_closed() {
    for is_closed_first in [true, false] {
        let (mut node, closed) = closing();
        node.announce(2, &[2]);
        if is_closed_first {
            node.dialer.on_closed(&peer(1), closed);
        }
        node.dialer.on_subscribed(&peer(1), TOPIC);
        node.dialer.on_closed(&peer(1), closed);
        assert_eq!(node.dials_within(TTL / 2), [], "nobody is missing");
        node.disconnect(1);
        assert_eq!(node.dials_within(SPREAD).len(), 1);
    }
}

#[test]
fn who_unsubscribes_or_goes_while_a_connection_is_closed_is_missed_at_once() {
    let (mut node, closed) = closing();
    node.dialer.on_subscribed(&peer(1), TOPIC);
    node.announce(2, &[2]);
    node.dialer.on_unsubscribed(node.now, &peer(1), TOPIC);
    assert_eq!(node.dialer.next_close(node.now), None, "the last one stays");
    node.dialer.on_closed(&peer(1), closed);
    assert_eq!(node.dials_within(SPREAD).len(), 1);
    // The other one ends first, so that this was the last.
    let (mut node, _) = closing();
    node.dialer.on_subscribed(&peer(1), TOPIC);
    node.dialer.on_closed(&peer(1), id(1));
    node.announce(2, &[2]);
    node.disconnect(1);
    assert_eq!(node.dials_within(SPREAD).len(), 1);
    assert!(node.dialer.closing.is_empty());
}

#[derive(Debug, Clone)]
enum Operation {
    Announce { seed: u16, ports: Vec<u16> },
    Connect(u16),
    Disconnect(u16),
    Subscribe(u16, bool),
    Unsubscribe(u16, bool),
    Succeed(usize),
    Fail(usize, u8),
    Wait(Duration),
}

const SEEDS: u16 = 14;

fn operation() -> impl Strategy<Value = Operation> {
    let seed = || 0..SEEDS;
    let ports = prop::sample::subsequence(vec![1, 2], 0..=2);
    let wait = prop_oneof![0..2_000_u64, 0..60_000_u64, 0..4_000_000_u64];
    prop_oneof![
        6 => (seed(), ports).prop_map(|(seed, ports)| Operation::Announce { seed, ports }),
        1 => seed().prop_map(Operation::Connect),
        2 => seed().prop_map(Operation::Disconnect),
        2 => (seed(), any::<bool>()).prop_map(|(seed, topic)| Operation::Subscribe(seed, topic)),
        1 => (seed(), any::<bool>()).prop_map(|(seed, topic)| Operation::Unsubscribe(seed, topic)),
        3 => (0..MAX_ATTEMPTS).prop_map(Operation::Succeed),
        4 => (0..MAX_ATTEMPTS, 0..5_u8).prop_map(|(nth, kind)| Operation::Fail(nth, kind)),
        6 => wait.prop_map(|millis| Operation::Wait(Duration::from_millis(millis))),
    ]
}

/// The invariants, computed again without regard to cost.
#[derive(Default)]
struct Model {
    /// Since when, whether it was dialled, and the topics.
    connected: HashMap<PeerId, (Instant, bool, BTreeSet<bool>)>,
    /// When an attempt has led to a connection last.
    dialled: HashMap<PeerId, Instant>,
    dialling: Vec<(PeerId, ConnectionId)>,
    /// How many failures, and before when not to dial again.
    failed: HashMap<PeerId, (u32, Instant)>,
    /// The addresses that cannot be dialled from here.
    unsupported: HashMap<PeerId, BTreeSet<Multiaddr>>,
}

impl Model {
    fn subscribers(&self) -> usize {
        let topics = self.connected.values().map(|(_, _, topics)| topics);
        topics.filter(|topics| !topics.is_empty()).count()
    }

    fn fail(&mut self, now: Instant, peers: &Peers, peer: PeerId, failures: u32) {
        if peers.get(&peer).is_none() {
            return;
        }
        let (before, not_before) = self.failed.entry(peer).or_insert((0, now));
        *before += failures;
        let doublings = if failures == 0 { 0 } else { *before - 1 };
        let delay = FIRST_DELAY * 2_u32.pow(doublings.min(20));
        let delay = delay.min(MAX_DELAY).mul_f64(1.0 - JITTER);
        *not_before = (*not_before).max(now + delay);
    }

    fn is_futile(&self, known: KnownPeer<'_>) -> bool {
        let unsupported = self.unsupported.get(&known.peer_id());
        unsupported.is_some_and(|unsupported| {
            known.addresses().len() == unsupported.len()
                && known.addresses().iter().all(|at| unsupported.contains(at))
        })
    }

    /// How many may be under way beside those that are dialled: connected by an attempt, and not subscribed.
    fn waiting(&self, now: Instant) -> usize {
        let is_new = |peer| self.dialled.get(peer).is_some_and(|at| *at + GRACE > now);
        let silent = self.connected.iter().filter(|(_, link)| link.2.is_empty());
        silent.filter(|(peer, _)| is_new(peer)).count()
    }
}

proptest! {
    #[test]
    fn dials_whom_it_may_and_nobody_else(
        target in 0..14_usize,
        seed: u64,
        operations in prop::collection::vec(operation(), 0..200),
    ) {
        let mut node = Node::new(target, seed);
        let mut model = Model::default();
        let topic = |topic| if topic { "a" } else { "b" };
        for operation in operations {
            match operation {
                Operation::Announce { seed, ports } => {
                    node.announce(seed, &ports);
                    let known = node.peers.get(&peer(seed));
                    if known.is_none_or(|known| !model.is_futile(known)) {
                        model.unsupported.remove(&peer(seed));
                    }
                }
                Operation::Connect(seed) => {
                    node.connect(seed);
                    let link = (node.now, false, BTreeSet::new());
                    model.connected.entry(peer(seed)).or_insert(link);
                }
                Operation::Disconnect(seed) => {
                    node.disconnect(seed);
                    if let Some((since, is_dialled, _)) = model.connected.remove(&peer(seed)) {
                        if since + STEADY <= node.now {
                            model.failed.remove(&peer(seed));
                            model.unsupported.remove(&peer(seed));
                        } else if is_dialled {
                            model.fail(node.now, &node.peers, peer(seed), 1);
                        }
                    }
                }
                Operation::Subscribe(seed, which) => {
                    node.dialer.on_subscribed(&peer(seed), topic(which));
                    if let Some((_, _, topics)) = model.connected.get_mut(&peer(seed)) {
                        topics.insert(which);
                    }
                }
                Operation::Unsubscribe(seed, which) => {
                    node.dialer.on_unsubscribed(node.now, &peer(seed), topic(which));
                    if let Some((_, _, topics)) = model.connected.get_mut(&peer(seed)) {
                        topics.remove(&which);
                    }
                }
                Operation::Succeed(nth) if nth < model.dialling.len() => {
                    let (dialled, id) = model.dialling.swap_remove(nth);
                    node.establish((dialled, id), &[]);
                    let link = (node.now, true, BTreeSet::new());
                    model.connected.entry(dialled).or_insert(link).1 = true;
                    model.dialled.insert(dialled, node.now);
                }
                Operation::Fail(nth, kind) if nth < model.dialling.len() => {
                    let dial = model.dialling.swap_remove(nth);
                    let error = match kind {
                        0 => denied(),
                        1 => wrong_peer(1),
                        2 => unreachable(&[1]),
                        3 => unreachable(&[1, 2]),
                        _ => unsupported(&[1, 2]),
                    };
                    if let (4, Some(known)) = (kind, node.peers.get(&dial.0)) {
                        let addresses = known.addresses().iter().cloned().collect();
                        model.unsupported.insert(dial.0, addresses);
                    }
                    node.fail(dial, &error);
                    model.fail(node.now, &node.peers, dial.0, u32::from(kind > 0));
                }
                Operation::Succeed(_) | Operation::Fail(..) => {}
                Operation::Wait(time) => node.now += time,
            }
            while let Some(expired) = node.peers.pop_expired(node.now) {
                node.dialer.on_expired(&expired);
                model.failed.remove(&expired);
                model.unsupported.remove(&expired);
            }
            while let Some((dialled, id)) = node.next_dial() {
                prop_assert!(model.subscribers() + model.dialling.len() < target);
                prop_assert!(model.dialling.len() < MAX_ATTEMPTS);
                prop_assert!(model.dialling.iter().all(|(peer, _)| *peer != dialled));
                prop_assert!(!model.connected.contains_key(&dialled));
                let known = node.peers.get(&dialled).unwrap();
                prop_assert!(!known.addresses().is_empty());
                prop_assert!(!model.is_futile(known));
                let failed = model.failed.get(&dialled);
                prop_assert!(failed.is_none_or(|(_, not_before)| *not_before <= node.now));
                model.dialling.push((dialled, id));
            }
            while let Some((peer, id)) = node.dialer.next_close(node.now) {
                node.dialer.on_closed(&peer, id);
            }
            let next = node.dialer.next_timeout();
            prop_assert!(next.is_none_or(|at| at > node.now), "it would be asked again at once");
            let under_way = model.dialling.len() + model.waiting(node.now);
            let is_candidate = |known: KnownPeer<'_>| {
                !known.addresses().is_empty()
                    && !model.connected.contains_key(&known.peer_id())
                    && !model.failed.contains_key(&known.peer_id())
                    && model.dialling.iter().all(|(peer, _)| *peer != known.peer_id())
            };
            if model.subscribers() + under_way < target
                && under_way < MAX_ATTEMPTS
                && node.peers.iter().any(is_candidate)
            {
                prop_assert!(next.is_some_and(|at| at <= node.now + SPREAD));
            }
        }
        for dial in std::mem::take(&mut model.dialling) {
            node.fail(dial, &unreachable(&[1]));
        }
        for seed in 0..SEEDS {
            node.disconnect(seed);
        }
        node.now += 2 * TTL;
        while let Some(expired) = node.peers.pop_expired(node.now) {
            node.dialer.on_expired(&expired);
        }
        prop_assert!(node.next_dial().is_none());
        let left = &node.dialer;
        prop_assert_eq!(left.candidates.subscribers, 0);
        prop_assert!(left.links.is_empty() && left.candidates.attempts.is_empty());
        prop_assert!(left.candidates.backoffs.is_empty());
        prop_assert_eq!(left.next_timeout(), None);
    }
}
