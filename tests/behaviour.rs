//! The behaviour poll by poll, over a pubsub and a transport that say what the test tells them to.

#[path = "common/bus.rs"]
mod bus;
#[path = "common/scripted.rs"]
mod scripted;

use std::{
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bus::{Bus, Node, Told};
use futures::{
    StreamExt as _,
    future::{self, Either},
    task::noop_waker,
};
use libp2p::{
    Multiaddr, PeerId, Swarm, Transport as _,
    core::{
        ConnectedPoint, Endpoint,
        transport::{ListenerId, TransportEvent},
    },
    identity::Keypair,
    swarm::{
        ConnectionId, FromSwarm, NetworkBehaviour as _, SwarmEvent, ToSwarm,
        behaviour::{
            ConnectionClosed, ConnectionEstablished, ExpiredListenAddr, ExternalAddrConfirmed,
            ExternalAddrExpired, ListenerClosed, NewListenAddr, NewListener,
        },
    },
};
use libp2p_lazy_websocket::discovery::{
    self, AnnounceOutcome, Behaviour, ConfigError, DEFAULT_TOPIC, Event, MessageAcceptance,
    PubSub as _, SkipReason,
};
use proptest::prelude::*;
use scripted::Scripted;
use tokio_test::task;

const NEVER: Duration = Duration::from_secs(3600);

/// No waiting anywhere but for the interval, which is never reached.
fn config() -> discovery::Config {
    discovery::Config::default()
        .with_interval(NEVER)
        .with_minimum_gap(Duration::ZERO)
        .with_coalescing(Duration::ZERO)
}

fn address(port: u16) -> Multiaddr {
    format!("/ip4/127.0.0.1/tcp/{port}/ws").parse().unwrap()
}

fn id(keypair: &Keypair) -> PeerId {
    keypair.public().to_peer_id()
}

fn listen(behaviour: &mut Behaviour<Node>, listener_id: ListenerId, addr: &Multiaddr) {
    behaviour.on_swarm_event(FromSwarm::NewListenAddr(NewListenAddr {
        listener_id,
        addr,
    }));
}

/// Lets it have a listener that waits, so that it neither announces anything nor counts as one that only dials.
fn register(behaviour: &mut Behaviour<Node>) -> ListenerId {
    let listener_id = ListenerId::next();
    behaviour.on_swarm_event(FromSwarm::NewListener(NewListener { listener_id }));
    listener_id
}

fn expire(behaviour: &mut Behaviour<Node>, listener_id: ListenerId, addr: &Multiaddr) {
    behaviour.on_swarm_event(FromSwarm::ExpiredListenAddr(ExpiredListenAddr {
        listener_id,
        addr,
    }));
}

fn close(behaviour: &mut Behaviour<Node>, listener_id: ListenerId) {
    behaviour.on_swarm_event(FromSwarm::ListenerClosed(ListenerClosed {
        listener_id,
        reason: Ok(()),
    }));
}

/// What the behaviour tells, in the words of the tests, until it has nothing more to tell.
fn told(behaviour: &mut Behaviour<Node>) -> Vec<String> {
    let waker = noop_waker();
    let cx = &mut Context::from_waker(&waker);
    let mut told = Vec::new();
    while let Poll::Ready(output) = behaviour.poll(cx) {
        told.push(describe(output));
    }
    told
}

/// The next thing that the behaviour tells, which something has to wake it for.
fn wait(behaviour: &mut Behaviour<Node>) -> String {
    let limit = futures_timer::Delay::new(Duration::from_secs(60));
    let next = std::future::poll_fn(|cx| behaviour.poll(cx));
    match futures::executor::block_on(future::select(next, limit)) {
        Either::Left((output, _)) => describe(output),
        Either::Right(_) => panic!("nothing has woken it within a minute"),
    }
}

fn describe<T>(output: ToSwarm<Event<bus::Event>, T>) -> String {
    match output {
        ToSwarm::GenerateEvent(event) => match event {
            Event::Discovered { addresses, .. } => format!("discovered {}", ports(&addresses)),
            Event::Updated { addresses, .. } => format!("updated {}", ports(&addresses)),
            Event::Expired { .. } => "expired".to_owned(),
            Event::Announced {
                topics, addresses, ..
            } => {
                format!("announced {} {}", topics.join("+"), ports(&addresses))
            }
            Event::Skipped { reason, .. } => format!("skipped {reason:?}"),
            Event::PublishFailed { topic, .. } => format!("failed {topic}"),
            Event::PubSub(event) => format!("pubsub {event:?}"),
            Event::HubUnreachable { .. } => "hub unreachable".to_owned(),
            other => panic!("{other:?}"),
        },
        ToSwarm::NewExternalAddrOfPeer { address, .. } => format!("address {}", ports(&[address])),
        _ => panic!("neither an event nor an address"),
    }
}

/// The ports of addresses: who they belong to is checked where it matters.
fn ports(addresses: &[Multiaddr]) -> String {
    let port = |address: &Multiaddr| address.to_string().split('/').nth(4).unwrap().to_owned();
    addresses.iter().map(port).collect::<Vec<_>>().join(",")
}

/// A behaviour on a bus, with somebody who listens to what it says on the default topic.
struct Pair {
    bus: Bus,
    local: PeerId,
    peer_key: Keypair,
    behaviour: Behaviour<Node>,
    peer: Behaviour<Node>,
}

impl Pair {
    fn new(config: discovery::Config) -> Self {
        let bus = Bus::default();
        let (key, peer_key) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
        let mut behaviour = Behaviour::new(bus.node(&key), config).unwrap();
        let mut peer = Behaviour::new(bus.node(&peer_key), self::config()).unwrap();
        register(&mut behaviour);
        register(&mut peer);
        let mut pair = Self {
            bus,
            local: id(&key),
            peer_key,
            behaviour,
            peer,
        };
        pair.bus.connect(pair.local, id(&pair.peer_key));
        assert_eq!(told(&mut pair.peer)[0], "skipped NoListeners");
        pair
    }

    fn settled(config: discovery::Config) -> Self {
        let mut pair = Self::new(config);
        told(&mut pair.behaviour);
        pair
    }

    /// An announcement of the peer, as the peer encodes it.
    fn announcement(&mut self, ports: &[u16]) -> Vec<u8> {
        let listener = ListenerId::next();
        for port in ports {
            listen(&mut self.peer, listener, &address(*port));
        }
        told(&mut self.peer);
        let published = self.bus.published();
        close(&mut self.peer, listener);
        told(&mut self.peer);
        told(&mut self.behaviour);
        published
            .into_iter()
            .rfind(|message| message.author == id(&self.peer_key))
            .unwrap()
            .payload
    }

    fn message(&self, author: Option<PeerId>, payload: &[u8]) -> bus::Event {
        bus::Event::Message {
            topic: DEFAULT_TOPIC.to_owned(),
            neighbour: id(&self.peer_key),
            author,
            payload: payload.to_vec(),
        }
    }

    fn deliver(&mut self, author: Option<PeerId>, payload: &[u8]) -> Vec<String> {
        self.bus.deliver(self.local, self.message(author, payload));
        told(&mut self.behaviour)
    }
}

/// What somebody says about itself who goes by js-libp2p's rules.
fn foreign(keypair: &Keypair) -> Vec<u8> {
    let key = keypair.public().encode_protobuf();
    [&[0x0a, u8::try_from(key.len()).unwrap()], &key[..]].concat()
}

/// js-libp2p issue 2902: discovery started before the listener had bound, and the node died.
#[test]
fn without_listeners_a_round_is_skipped_and_the_first_address_is_announced() {
    let mut pair = Pair::new(config());
    let first = told(&mut pair.behaviour);
    assert_eq!(first[0], "skipped NoListeners");
    assert!(pair.bus.published().is_empty());
    assert_eq!(pair.behaviour.listeners().count(), 0);

    listen(&mut pair.behaviour, ListenerId::next(), &address(7));
    assert_eq!(
        told(&mut pair.behaviour),
        [format!("announced {DEFAULT_TOPIC} 7")]
    );
    assert_eq!(pair.bus.published().len(), 1);
    assert!(told(&mut pair.peer).contains(&"discovered 7".to_owned()));
    let known = pair.peer.known_peer(&pair.local).unwrap();
    assert_eq!(
        known.addresses(),
        [address(7).with_p2p(pair.local).unwrap()]
    );
}

/// A node without listeners that is connected to a peer which is there already.
fn dialler(config: discovery::Config) -> (Bus, PeerId, Behaviour<Node>, Behaviour<Node>) {
    let bus = Bus::default();
    let (key, peer_key) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let behaviour = Behaviour::new(bus.node(&key), config).unwrap();
    let mut peer = Behaviour::new(bus.node(&peer_key), self::config()).unwrap();
    listen(&mut peer, ListenerId::next(), &address(7));
    told(&mut peer);
    bus.connect(id(&key), id(&peer_key));
    (bus, id(&key), behaviour, peer)
}

fn announced_nothing() -> String {
    format!("announced {DEFAULT_TOPIC} ")
}

#[test]
fn a_node_that_only_dials_announces_an_empty_list_once_and_is_answered() {
    // The peer answers one that it has not heard of, and whoever subscribes only after an hour.
    let (bus, local, mut behaviour, mut peer) = dialler(config());
    assert!(told(&mut behaviour).contains(&announced_nothing()));
    let published = bus.published();
    assert_eq!(published.len(), 1);
    // The key and a number: neither an address nor a promise.
    let payload = &published[0].payload;
    assert!(payload.starts_with(&[0x0a, 36]), "{payload:x?}");
    assert!(payload[38..].starts_with(&[0x88, 0x7d]), "{payload:x?}");
    assert!(payload[40..].iter().rev().skip(1).all(|byte| *byte >= 0x80));

    assert!(told(&mut peer).contains(&"discovered ".to_owned()));
    assert_eq!(peer.known_peer(&local).unwrap().addresses(), []);
    assert_eq!(told(&mut behaviour), ["address 7", "discovered 7"]);
    // It answers nobody, and a change that leaves nothing is no news.
    let listener = ListenerId::next();
    listen(&mut behaviour, listener, &address(1));
    assert_eq!(
        told(&mut behaviour),
        [format!("announced {DEFAULT_TOPIC} 1")]
    );
    assert_eq!(told(&mut peer), ["address 1", "updated 1"]);
    close(&mut behaviour, listener);
    assert_eq!(told(&mut behaviour), ["skipped NoListeners"]);
    assert_eq!(behaviour.counters().announced, 2);
}

#[test]
fn a_node_whose_only_address_is_external_announces_that() {
    let (_bus, _, mut behaviour, _peer) = dialler(config());
    let addr = &address(9);
    behaviour.on_swarm_event(FromSwarm::ExternalAddrConfirmed(ExternalAddrConfirmed {
        addr,
    }));
    let told = told(&mut behaviour);
    assert!(
        told.contains(&format!("announced {DEFAULT_TOPIC} 9")),
        "{told:?}"
    );
    assert!(!told.contains(&announced_nothing()), "{told:?}");
}

#[test]
fn a_node_that_only_dials_and_listens_only_announces_nothing() {
    let (bus, _, mut behaviour, _peer) = dialler(config().with_listen_only(true));
    told(&mut behaviour);
    assert_eq!(bus.published(), []);
    behaviour.set_listen_only(false);
    assert!(told(&mut behaviour).contains(&announced_nothing()));
}

/// A browser without a reservation, or a node that waits for its certificate.
#[test]
fn a_node_whose_listeners_have_lost_their_addresses_announces_nothing_else_after_five_seconds() {
    let (bus, local, mut behaviour, _peer) = dialler(config());
    let listener = register(&mut behaviour);
    listen(&mut behaviour, listener, &address(1));
    told(&mut behaviour);
    expire(&mut behaviour, listener, &address(1));
    assert_eq!(told(&mut behaviour), ["skipped NoListeners"]);

    let key = Keypair::generate_ed25519();
    let _other = Behaviour::new(bus.node(&key), config()).unwrap();
    bus.connect(local, id(&key));
    while wait(&mut behaviour) != announced_nothing() {}
    listen(&mut behaviour, listener, &address(2));
    assert_eq!(
        told(&mut behaviour),
        [format!("announced {DEFAULT_TOPIC} 2")]
    );
}

#[test]
fn several_addresses_of_one_moment_make_one_announcement() {
    let mut pair = Pair::settled(config());
    let listener = ListenerId::next();
    for port in [3, 1, 2] {
        listen(&mut pair.behaviour, listener, &address(port));
    }
    assert_eq!(
        told(&mut pair.behaviour),
        [format!("announced {DEFAULT_TOPIC} 1,2,3")]
    );
}

#[test]
fn an_address_that_two_listeners_report_stays_until_both_are_gone() {
    let mut pair = Pair::settled(config());
    let (first, second) = (ListenerId::next(), ListenerId::next());
    listen(&mut pair.behaviour, first, &address(1));
    told(&mut pair.behaviour);
    listen(&mut pair.behaviour, second, &address(1));
    assert_eq!(told(&mut pair.behaviour), [""; 0], "nothing new to say");
    close(&mut pair.behaviour, first);
    assert_eq!(told(&mut pair.behaviour), [""; 0], "still listened on");
    close(&mut pair.behaviour, second);
    assert_eq!(told(&mut pair.behaviour), ["skipped NoListeners"]);
}

#[test]
fn confirmed_external_addresses_are_announced_until_they_expire() {
    let mut pair = Pair::settled(config());
    let addr = &address(9);
    listen(&mut pair.behaviour, ListenerId::next(), &address(1));
    pair.behaviour
        .on_swarm_event(FromSwarm::ExternalAddrConfirmed(ExternalAddrConfirmed {
            addr,
        }));
    assert_eq!(
        told(&mut pair.behaviour),
        [format!("announced {DEFAULT_TOPIC} 9,1")]
    );
    pair.behaviour
        .on_swarm_event(FromSwarm::ExternalAddrExpired(ExternalAddrExpired { addr }));
    assert_eq!(
        told(&mut pair.behaviour),
        [format!("announced {DEFAULT_TOPIC} 1")]
    );
}

#[test]
fn the_filter_is_asked_and_may_leave_nothing() {
    let only_two = |address: &Multiaddr| ports(std::slice::from_ref(address)) == "2";
    let mut pair = Pair::settled(config().with_filter(only_two));
    listen(&mut pair.behaviour, ListenerId::next(), &address(1));
    assert_eq!(told(&mut pair.behaviour), ["skipped NothingLeft"]);
    assert_eq!(pair.behaviour.counters().skipped_nothing_left, 1);
    listen(&mut pair.behaviour, ListenerId::next(), &address(2));
    assert_eq!(
        told(&mut pair.behaviour),
        [format!("announced {DEFAULT_TOPIC} 2")]
    );
}

#[test]
fn a_public_node_neither_announces_private_addresses_nor_keeps_them() {
    let at =
        |ip: &str, port: u16| -> Multiaddr { format!("/ip4/{ip}/tcp/{port}/ws").parse().unwrap() };
    let mut pair = Pair::settled(config());
    let (home, public) = (ListenerId::next(), ListenerId::next());
    listen(&mut pair.behaviour, home, &at("127.0.0.1", 1));
    listen(&mut pair.behaviour, home, &at("192.168.1.2", 2));
    assert_eq!(
        told(&mut pair.behaviour),
        [format!("announced {DEFAULT_TOPIC} 2")]
    );
    listen(&mut pair.behaviour, public, &at("1.2.3.4", 3));
    assert_eq!(
        told(&mut pair.behaviour),
        [format!("announced {DEFAULT_TOPIC} 3")]
    );

    let of_peer = ListenerId::next();
    listen(&mut pair.peer, of_peer, &at("192.168.1.3", 4));
    told(&mut pair.peer);
    // And answers the newcomer.
    assert_eq!(
        told(&mut pair.behaviour),
        [
            "discovered ".to_owned(),
            format!("announced {DEFAULT_TOPIC} 3")
        ]
    );

    close(&mut pair.behaviour, public);
    assert_eq!(
        told(&mut pair.behaviour),
        [format!("announced {DEFAULT_TOPIC} 2")]
    );
    let peer = id(&pair.peer_key);
    assert_eq!(pair.behaviour.known_peer(&peer).unwrap().addresses(), []);
    listen(&mut pair.peer, of_peer, &at("127.0.0.1", 5));
    told(&mut pair.peer);
    assert_eq!(told(&mut pair.behaviour), ["address 4", "updated 4"]);

    let addr = &at("1.2.3.4", 6);
    pair.behaviour
        .on_swarm_event(FromSwarm::ExternalAddrConfirmed(ExternalAddrConfirmed {
            addr,
        }));
    assert_eq!(
        told(&mut pair.behaviour),
        [format!("announced {DEFAULT_TOPIC} 6")]
    );
    listen(&mut pair.peer, of_peer, &at("1.2.3.5", 7));
    told(&mut pair.peer);
    assert_eq!(told(&mut pair.behaviour), ["address 7", "updated 7"]);
}

#[test]
fn the_filter_of_received_addresses_is_asked_instead() {
    let not_two = |address: &Multiaddr| ports(std::slice::from_ref(address)) != "2";
    let mut pair = Pair::settled(config().with_received_filter(not_two));
    let payload = pair.announcement(&[1, 2, 3]);
    pair.deliver(Some(id(&pair.peer_key)), &payload);
    let known = pair.behaviour.known_peer(&id(&pair.peer_key)).unwrap();
    assert_eq!(ports(known.addresses()), "1,3");
    listen(&mut pair.behaviour, ListenerId::next(), &address(2));
    assert_eq!(
        told(&mut pair.behaviour),
        [format!("announced {DEFAULT_TOPIC} 2")]
    );
}

#[test]
fn a_subscriber_causes_an_announcement_on_all_topics_that_somebody_hears() {
    let bus = Bus::default();
    let (key, peer) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let node = bus.node(&key);
    let mut behaviour = Behaviour::new(node, config().with_topics(["a", "b", "c"])).unwrap();
    listen(&mut behaviour, ListenerId::next(), &address(1));
    assert_eq!(told(&mut behaviour), ["skipped NoSubscribers"]);

    let peer_config = config().with_topics(["b", "c", "d"]);
    let _peer = Behaviour::new(bus.node(&peer), peer_config).unwrap();
    bus.connect(id(&key), id(&peer));
    let announced = told(&mut behaviour)
        .into_iter()
        .filter(|told| told.starts_with("announced"));
    let announced = announced.collect::<Vec<_>>();
    assert!(!announced.is_empty());
    assert!(
        announced.iter().all(|told| told == "announced b+c 1"),
        "{announced:?}"
    );
}

#[test]
fn the_first_subscriber_of_a_topic_is_answered_by_whoever_leaves_others_to_others() {
    let mut pair = Pair::settled(config().with_topics([DEFAULT_TOPIC, "b"]));
    let subscribe = |pair: &mut Pair| {
        let key = Keypair::generate_ed25519();
        let node = pair.bus.node(&key);
        let behaviour = Behaviour::new(node, config().with_topics(["b"])).unwrap();
        pair.bus.connect(pair.local, id(&key));
        (behaviour, told(&mut pair.behaviour))
    };
    for _ in 0..25 {
        let other = Keypair::generate_ed25519();
        pair.deliver(Some(id(&other)), &foreign(&other));
    }
    listen(&mut pair.behaviour, ListenerId::next(), &address(7));
    assert_eq!(told(&mut pair.behaviour), [announced_7()]);
    let (_first, told) = subscribe(&mut pair);
    assert_eq!(
        told.last(),
        Some(&format!("announced {DEFAULT_TOPIC}+b 7")),
        "{told:?}"
    );
    let (_second, told) = subscribe(&mut pair);
    assert!(
        !told.iter().any(|told| told.starts_with("announced")),
        "{told:?}"
    );
}

#[test]
fn what_fails_on_all_topics_is_reported_and_tried_again() {
    let mut pair = Pair::settled(config());
    pair.bus.refuse(true);
    listen(&mut pair.behaviour, ListenerId::next(), &address(1));
    assert_eq!(
        told(&mut pair.behaviour),
        [format!("failed {DEFAULT_TOPIC}")]
    );
    let counters = pair.behaviour.counters();
    assert_eq!((counters.publish_failures, counters.delayed), (1, 1));
    assert_eq!(counters.announced, 0);
    pair.bus.refuse(false);
    assert_eq!(
        wait(&mut pair.behaviour),
        format!("announced {DEFAULT_TOPIC} 1")
    );
}

#[test]
fn listen_only_keeps_silent_and_hears() {
    let mut pair = Pair::settled(config().with_listen_only(true));
    listen(&mut pair.behaviour, ListenerId::next(), &address(1));
    assert_eq!(told(&mut pair.behaviour), [""; 0]);
    let payload = pair.announcement(&[5]);
    pair.deliver(Some(id(&pair.peer_key)), &payload);
    assert!(pair.behaviour.known_peer(&id(&pair.peer_key)).is_some());
    assert!(
        pair.bus
            .published()
            .iter()
            .all(|message| message.author != pair.local)
    );
}

#[test]
fn a_peer_is_discovered_once_updated_on_change_and_refreshed_in_silence() {
    let mut pair = Pair::settled(config());
    let listener = ListenerId::next();
    listen(&mut pair.peer, listener, &address(1));
    told(&mut pair.peer);
    assert_eq!(told(&mut pair.behaviour), ["address 1", "discovered 1"]);

    let again = pair.bus.published().pop().unwrap().payload;
    assert_eq!(pair.deliver(Some(id(&pair.peer_key)), &again), [""; 0]);

    listen(&mut pair.peer, listener, &address(2));
    told(&mut pair.peer);
    assert_eq!(
        told(&mut pair.behaviour),
        ["address 1", "address 2", "updated 1,2"]
    );
    let of_peer = pair.behaviour.known_peer(&id(&pair.peer_key)).unwrap();
    assert_eq!(of_peer.addresses().len(), 2);
    assert_eq!(pair.behaviour.known_peers().count(), 1);
    let counters = pair.behaviour.counters();
    assert_eq!((counters.accepted, counters.known), (3, 1));
    assert_eq!((counters.discovered, counters.updated), (1, 1));
}

#[test]
fn the_addresses_of_a_known_peer_are_offered_to_whoever_dials_it() {
    let mut pair = Pair::settled(config());
    let payload = pair.announcement(&[1, 2]);
    pair.deliver(Some(id(&pair.peer_key)), &payload);
    let mut offered = |peer| {
        let id = ConnectionId::new_unchecked(1);
        let offered =
            pair.behaviour
                .handle_pending_outbound_connection(id, peer, &[], Endpoint::Dialer);
        offered.unwrap().len()
    };
    assert_eq!(offered(Some(id(&pair.peer_key))), 2);
    assert_eq!(offered(Some(PeerId::random())), 0);
    assert_eq!(offered(None), 0);
}

#[test]
fn only_what_the_signed_author_says_of_itself_is_believed() {
    let mut pair = Pair::settled(config());
    let payload = pair.announcement(&[1]);
    let before = pair.behaviour.known_peers().count();
    assert_eq!(
        pair.deliver(None, &payload),
        [""; 0],
        "nobody has signed it"
    );
    assert_eq!(
        pair.deliver(Some(PeerId::random()), &payload),
        [""; 0],
        "somebody else has"
    );
    assert_eq!(
        pair.deliver(Some(pair.local), &payload),
        [""; 0],
        "this node itself has"
    );
    assert_eq!(pair.behaviour.known_peers().count(), before);
}

#[test]
fn garbage_ends_nothing() {
    let mut pair = Pair::settled(config());
    let author = Some(id(&pair.peer_key));
    let good = pair.announcement(&[1]);
    for payload in [
        &b""[..],
        b"\xff\xff\xff\xff",
        &[8; 64],
        &vec![0; 100_000],
        &good[..good.len() - 1],
    ] {
        assert_eq!(
            pair.deliver(author, payload),
            [""; 0],
            "{} bytes",
            payload.len()
        );
    }
    pair.deliver(author, &good);
    assert!(pair.behaviour.known_peer(&id(&pair.peer_key)).is_some());
}

#[test]
fn addresses_that_are_left_out_are_counted() {
    let mut pair = Pair::settled(config().with_max_addresses(1));
    let before = pair.behaviour.counters().dropped_addresses;
    let payload = pair.announcement(&[1, 2, 3]);
    let author = Some(id(&pair.peer_key));
    let dropped = pair.behaviour.counters().dropped_addresses;
    assert_eq!(dropped - before, 2);
    pair.deliver(author, &payload);
    assert_eq!(pair.behaviour.counters().dropped_addresses - dropped, 2);
    // Of what is not believed nothing is counted.
    pair.deliver(Some(PeerId::random()), &payload);
    assert_eq!(pair.behaviour.counters().dropped_addresses - dropped, 2);
}

#[test]
fn a_verdict_is_reported_for_each_message_and_only_if_it_is_wanted() {
    for wanted in [true, false] {
        let bus = Bus::default();
        let (key, peer) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
        let mut node = bus.node(&key);
        node.validates_messages = wanted;
        let mut behaviour = Behaviour::new(node, config()).unwrap();
        let message = |author, payload: &[u8]| bus::Event::Message {
            topic: DEFAULT_TOPIC.to_owned(),
            neighbour: id(&peer),
            author,
            payload: payload.to_vec(),
        };
        let mut other = Pair::settled(config());
        let (good, author) = (other.announcement(&[1]), id(&other.peer_key));
        bus.deliver(id(&key), message(Some(author), &good));
        bus.deliver(id(&key), message(Some(author), b"\xff"));
        bus.deliver(id(&key), message(None, &good));
        bus.deliver(id(&key), bus::Event::Noise);
        told(&mut behaviour);
        let expected = [
            MessageAcceptance::Accept,
            MessageAcceptance::Ignore,
            MessageAcceptance::Ignore,
        ];
        assert_eq!(
            bus.verdicts(id(&key)),
            if wanted { &expected[..] } else { &[] }
        );
    }
}

/// Tells the behaviour that `peer` has connected, or that its last connection has ended.
fn link(behaviour: &mut Behaviour<Node>, peer: PeerId, is_connected: bool) {
    link_of(behaviour, peer, is_connected, 0);
}

/// Of a connection beside others.
fn link_of(behaviour: &mut Behaviour<Node>, peer: PeerId, is_connected: bool, others: usize) {
    let (connection_id, endpoint) = (
        ConnectionId::new_unchecked(1),
        ConnectedPoint::Listener {
            local_addr: address(1),
            send_back_addr: address(2),
        },
    );
    behaviour.on_swarm_event(match is_connected {
        true => FromSwarm::ConnectionEstablished(ConnectionEstablished {
            peer_id: peer,
            connection_id,
            endpoint: &endpoint,
            failed_addresses: &[],
            other_established: others,
        }),
        false => FromSwarm::ConnectionClosed(ConnectionClosed {
            peer_id: peer,
            connection_id,
            endpoint: &endpoint,
            cause: None,
            remaining_established: others,
        }),
    });
}

/// A node with three connected subscribers, of which the first has sent a malformed announcement of its own.
fn muted() -> (Bus, PeerId, Behaviour<Node>, [PeerId; 3]) {
    let bus = Bus::default();
    let key = Keypair::generate_ed25519();
    let local = id(&key);
    let mut behaviour = Behaviour::new(bus.node(&key), config()).unwrap();
    let peers = std::array::from_fn(|_| PeerId::random());
    for peer in peers {
        link(&mut behaviour, peer, true);
        let topic = DEFAULT_TOPIC.to_owned();
        bus.deliver(local, bus::Event::Subscribed { topic, peer });
    }
    told(&mut behaviour);
    assert_eq!(bus.told(local), []);
    bus.deliver(
        local,
        bus::Event::Message {
            topic: DEFAULT_TOPIC.to_owned(),
            neighbour: peers[0],
            author: Some(peers[0]),
            payload: b"\xff".to_vec(),
        },
    );
    told(&mut behaviour);
    assert_eq!(bus.told(local), [Told::Muted(peers[0], true)]);
    (bus, local, behaviour, peers)
}

#[test]
fn a_muted_peer_that_disconnects_is_unmuted_before_the_pubsub_hears_of_it() {
    let (bus, local, mut behaviour, [first, ..]) = muted();
    link(&mut behaviour, first, false);
    let expected = [
        Told::Muted(first, true),
        Told::Muted(first, false),
        Told::Closed(first),
    ];
    assert_eq!(bus.told(local), expected);
    assert_eq!(behaviour.counters().muted, 1);
}

#[test]
fn a_muted_peer_that_loses_one_of_two_connections_is_unmuted_before_the_pubsub_greets_it_again() {
    let (bus, local, mut behaviour, [first, ..]) = muted();
    link_of(&mut behaviour, first, false, 1);
    let expected = [
        Told::Muted(first, true),
        Told::Muted(first, false),
        Told::Closed(first),
        Told::Lost(first),
    ];
    assert_eq!(bus.told(local), expected);
}

#[test]
fn a_muted_peer_is_heard_again_once_too_few_others_are_left() {
    let (bus, local, mut behaviour, [first, second, _]) = muted();
    link(&mut behaviour, second, false);
    let expected = [
        Told::Muted(first, true),
        Told::Muted(first, false),
        Told::Closed(second),
    ];
    assert_eq!(bus.told(local), expected);

    let (bus, local, mut behaviour, [first, second, _]) = muted();
    let topic = DEFAULT_TOPIC.to_owned();
    let unsubscribed = bus::Event::Unsubscribed {
        topic,
        peer: second,
    };
    bus.deliver(local, unsubscribed);
    told(&mut behaviour);
    assert_eq!(bus.told(local).last(), Some(&Told::Muted(first, false)));

    let (bus, local, mut behaviour, [first, ..]) = muted();
    behaviour.remove_topic(DEFAULT_TOPIC);
    told(&mut behaviour);
    assert_eq!(bus.told(local).last(), Some(&Told::Muted(first, false)));
}

#[test]
fn a_muted_peer_is_heard_again_after_ten_seconds() {
    let (bus, local, mut behaviour, [first, ..]) = muted();
    let limit = futures_timer::Delay::new(Duration::from_secs(60));
    let unmuted = std::future::poll_fn(|cx| {
        while behaviour.poll(cx).is_ready() {}
        match bus.told(local).last() {
            Some(Told::Muted(peer, false)) => Poll::Ready(*peer),
            _ => Poll::Pending,
        }
    });
    match futures::executor::block_on(future::select(unmuted, limit)) {
        Either::Left((peer, _)) => assert_eq!(peer, first),
        Either::Right(_) => panic!("nothing has woken it"),
    }
}

#[test]
fn the_pubsub_stays_the_applications() {
    let mut pair = Pair::settled(config());
    let own = bus::Event::Message {
        topic: "own".to_owned(),
        neighbour: id(&pair.peer_key),
        author: None,
        payload: b"\xff".to_vec(),
    };
    for event in [own, bus::Event::Noise] {
        pair.bus.deliver(pair.local, event.clone());
        assert_eq!(told(&mut pair.behaviour), [format!("pubsub {event:?}")]);
    }
    assert_eq!(
        pair.behaviour.pubsub().public_key().to_peer_id(),
        pair.local
    );
}

#[test]
fn a_full_table_takes_nobody_new_until_somebody_expires() {
    let mut pair = Pair::settled(config().with_max_peers(1));
    let payload = pair.announcement(&[1]);
    pair.deliver(Some(id(&pair.peer_key)), &payload);
    let mut other = Pair::settled(config());
    let newcomer = other.announcement(&[2]);
    assert_eq!(pair.deliver(Some(id(&other.peer_key)), &newcomer), [""; 0]);
    assert!(pair.behaviour.known_peer(&id(&pair.peer_key)).is_some());
}

#[test]
fn a_peer_that_falls_silent_expires() {
    let short = Duration::from_millis(20);
    let config = config().with_interval(short / 2).with_time_to_live(short);
    let mut pair = Pair::settled(config.with_listen_only(true));
    let payload = foreign(&pair.peer_key);
    let mut last = pair.deliver(Some(id(&pair.peer_key)), &payload).pop();
    while last.as_deref() != Some("expired") {
        last = Some(wait(&mut pair.behaviour));
    }
    assert!(pair.behaviour.known_peer(&id(&pair.peer_key)).is_none());
    let counters = pair.behaviour.counters();
    assert_eq!((counters.known, counters.discovered), (0, counters.expired));
}

fn announced_7() -> String {
    format!("announced {DEFAULT_TOPIC} 7")
}

#[test]
fn a_newcomer_is_answered_by_those_it_is_not_connected_to_as_well() {
    let mut pair = Pair::settled(config());
    listen(&mut pair.behaviour, ListenerId::next(), &address(7));
    assert_eq!(told(&mut pair.behaviour), [announced_7()]);
    let own = |pair: &Pair| {
        let published = pair.bus.published();
        published
            .iter()
            .filter(|message| message.author == pair.local)
            .count()
    };
    assert_eq!(own(&pair), 1);
    pair.announcement(&[1]);
    assert_eq!(own(&pair), 2);
    // It is none any more.
    pair.announcement(&[2]);
    assert_eq!(own(&pair), 2);
}

#[test]
fn topics_come_and_go_at_run_time() {
    let mut pair = Pair::settled(config().with_topics(["a"]));
    listen(&mut pair.behaviour, ListenerId::next(), &address(7));
    assert_eq!(told(&mut pair.behaviour), ["skipped NoSubscribers"]);

    assert!(pair.behaviour.add_topic(DEFAULT_TOPIC).unwrap());
    assert!(!pair.behaviour.add_topic(DEFAULT_TOPIC).unwrap());
    assert_eq!(told(&mut pair.behaviour), [announced_7()]);
    let payload = pair.announcement(&[1]);
    let peer = Some(id(&pair.peer_key));
    assert!(pair.behaviour.known_peer(&id(&pair.peer_key)).is_some());

    assert!(pair.behaviour.remove_topic(DEFAULT_TOPIC));
    assert!(!pair.behaviour.remove_topic(DEFAULT_TOPIC));
    assert_eq!(pair.behaviour.topics().collect::<Vec<_>>(), ["a"]);
    listen(&mut pair.behaviour, ListenerId::next(), &address(8));
    assert_eq!(told(&mut pair.behaviour), ["skipped NoSubscribers"]);
    // What comes there all the same is the application's.
    let told = pair.deliver(peer, &payload);
    assert!(
        matches!(&told[..], [event] if event.starts_with("pubsub")),
        "{told:?}"
    );

    let refused = |topic: &str, pair: &mut Pair| pair.behaviour.add_topic(topic).unwrap_err();
    assert!(matches!(refused("", &mut pair), ConfigError::EmptyTopic));
    let error = refused("refused", &mut pair);
    assert!(matches!(error, ConfigError::Subscribe { .. }));
    for topic in 1..64 {
        pair.behaviour.add_topic(topic.to_string()).unwrap();
    }
    let error = refused("one too many", &mut pair);
    assert!(matches!(
        error,
        ConfigError::TooManyTopics { topics: 65, .. }
    ));
    assert_eq!(pair.behaviour.topics().count(), 64);
}

#[test]
fn silence_ends_and_begins_at_run_time() {
    let mut pair = Pair::settled(config().with_listen_only(true));
    listen(&mut pair.behaviour, ListenerId::next(), &address(7));
    assert_eq!(told(&mut pair.behaviour), [""; 0]);
    pair.behaviour.set_listen_only(false);
    assert!(!pair.behaviour.is_listen_only());
    assert_eq!(told(&mut pair.behaviour), [announced_7()]);
    pair.behaviour.set_listen_only(true);
    listen(&mut pair.behaviour, ListenerId::next(), &address(8));
    assert_eq!(told(&mut pair.behaviour), [""; 0]);
}

#[test]
fn what_happens_outside_poll_wakes_the_task() {
    let mut pair = Pair::settled(config());
    let mut polled = task::spawn(());
    let mut settle = |pair: &mut Pair| {
        polled.enter(|cx, _| while pair.behaviour.poll(cx).is_ready() {});
        assert!(!polled.is_woken());
    };
    settle(&mut pair);
    let _ = pair.behaviour.pubsub_mut();
    let mut woken = task::spawn(());
    woken.enter(|cx, _| assert!(pair.behaviour.poll(cx).is_pending()));
    let _ = pair.behaviour.pubsub_mut();
    assert!(woken.is_woken(), "the application may have published");

    let mut woken = task::spawn(());
    woken.enter(|cx, _| assert!(pair.behaviour.poll(cx).is_pending()));
    listen(&mut pair.behaviour, ListenerId::next(), &address(1));
    assert!(woken.is_woken(), "there is an address to announce");
    settle(&mut pair);

    let mut woken = task::spawn(());
    woken.enter(|cx, _| assert!(pair.behaviour.poll(cx).is_pending()));
    pair.bus.deliver(pair.local, bus::Event::Noise);
    assert!(woken.is_woken(), "the pubsub has something");
}

#[test]
fn a_change_of_addresses_wakes_the_task_when_its_moment_has_passed() {
    let moment = Duration::from_millis(20);
    let mut pair = Pair::settled(config().with_coalescing(moment));
    listen(&mut pair.behaviour, ListenerId::next(), &address(1));
    assert_eq!(
        wait(&mut pair.behaviour),
        format!("announced {DEFAULT_TOPIC} 1")
    );
}

#[test]
fn misconfiguration_is_a_typed_error() {
    let bus = Bus::default();
    let key = Keypair::generate_ed25519();
    let refused = |config| Behaviour::new(bus.node(&key), config).unwrap_err();
    assert!(matches!(
        refused(config().with_topics([""; 0])),
        ConfigError::NoTopics
    ));
    assert!(matches!(
        refused(config().with_interval(Duration::ZERO)),
        ConfigError::IntervalTooShort { .. }
    ));
    assert!(matches!(
        refused(config().with_topics(["refused"])),
        ConfigError::Subscribe { topic, .. } if topic == "refused"
    ));
    assert!(matches!(
        refused(config().with_hubs((0..70).map(address))),
        ConfigError::TooManyHubs { hubs: 70, max: 64 }
    ));
    let mut node = bus.node(&key);
    node.authenticated = false;
    assert!(matches!(
        Behaviour::new(node, config()),
        Err(ConfigError::NotAuthenticated)
    ));
}

#[test]
fn only_a_new_address_hurries_a_hub() {
    // Without an address it is told to have none whenever its time has come.
    let peer = PeerId::random();
    let hub = Multiaddr::empty().with_p2p(peer).unwrap();
    let config = config().with_listen_only(true).with_hubs([hub]);
    let mut behaviour =
        Behaviour::new(Bus::default().node(&Keypair::generate_ed25519()), config).unwrap();
    let is_told = |behaviour: &mut Behaviour<Node>| {
        let told = told(behaviour);
        told.iter().any(|told| told == "hub unreachable")
    };
    let confirm = |behaviour: &mut Behaviour<Node>, addr: &Multiaddr| {
        behaviour.on_swarm_event(FromSwarm::ExternalAddrConfirmed(ExternalAddrConfirmed {
            addr,
        }));
    };
    assert!(is_told(&mut behaviour) && !is_told(&mut behaviour));
    let (first, second) = (ListenerId::next(), ListenerId::next());
    listen(&mut behaviour, first, &address(1));
    assert!(is_told(&mut behaviour));
    listen(&mut behaviour, second, &address(1));
    assert!(!is_told(&mut behaviour), "it is listened on already");
    listen(&mut behaviour, second, &address(2));
    assert!(is_told(&mut behaviour));
    confirm(&mut behaviour, &address(3));
    assert!(is_told(&mut behaviour));
    confirm(&mut behaviour, &address(3));
    assert!(!is_told(&mut behaviour), "it is confirmed already");
    expire(&mut behaviour, second, &address(2));
    assert!(
        !is_told(&mut behaviour),
        "there is nothing more to come from"
    );
    listen(&mut behaviour, second, &address(2));
    assert!(is_told(&mut behaviour), "it is back");
}

/// A swarm over a transport that only says what the test pushes.
fn scripted_swarm(config: discovery::Config) -> (Bus, Scripted, Swarm<Behaviour<Node>>) {
    let (bus, key, transport) = (
        Bus::default(),
        Keypair::generate_ed25519(),
        Scripted::silent(),
    );
    let behaviour = Behaviour::new(bus.node(&key), config).unwrap();
    let executor = libp2p::swarm::Config::without_executor();
    let swarm = Swarm::new(transport.clone().boxed(), behaviour, id(&key), executor);
    (bus, transport, swarm)
}

fn settle(swarm: &mut Swarm<Behaviour<Node>>) -> Vec<SwarmEvent<Event<bus::Event>>> {
    let waker = noop_waker();
    let cx = &mut Context::from_waker(&waker);
    let mut events = Vec::new();
    while let Poll::Ready(Some(event)) = swarm.poll_next_unpin(cx) {
        events.push(event);
    }
    events
}

#[test]
fn announce_says_what_it_has_led_to() {
    let (bus, transport, mut swarm) = scripted_swarm(config().with_minimum_gap(NEVER / 2));
    let local = *swarm.local_peer_id();
    let ask = |swarm: &mut Swarm<Behaviour<Node>>| swarm.behaviour_mut().announce();
    assert_eq!(
        ask(&mut swarm),
        AnnounceOutcome::Skipped(SkipReason::NoListeners)
    );
    let listener_id = ListenerId::next();
    transport.push(TransportEvent::NewAddress {
        listener_id,
        listen_addr: address(1),
    });
    settle(&mut swarm);
    assert_eq!(
        ask(&mut swarm),
        AnnounceOutcome::Skipped(SkipReason::NoSubscribers)
    );

    let peer = Keypair::generate_ed25519();
    let _peer = Behaviour::new(bus.node(&peer), config()).unwrap();
    bus.connect(local, id(&peer));
    assert_eq!(ask(&mut swarm), AnnounceOutcome::Published);
    assert_eq!(bus.published().len(), 1);
    assert!(matches!(ask(&mut swarm), AnnounceOutcome::Delayed { .. }));
    assert_eq!(bus.published().len(), 1);
    let counters = swarm.behaviour().counters();
    assert_eq!((counters.announced, counters.delayed), (1, 1));
    assert!(counters.skipped_no_listeners > 0 && counters.skipped_no_subscribers > 0);
    assert_eq!(
        counters.skipped(),
        counters.skipped_no_listeners + counters.skipped_no_subscribers
    );

    let (_, _, mut silent) = scripted_swarm(config().with_listen_only(true));
    assert_eq!(
        ask(&mut silent),
        AnnounceOutcome::Skipped(SkipReason::ListenOnly)
    );
    assert_eq!(silent.behaviour().counters().skipped_listen_only, 1);
}

#[test]
fn announce_is_delayed_when_no_topic_takes_it() {
    let (bus, transport, mut swarm) = scripted_swarm(config());
    let peer = Keypair::generate_ed25519();
    let _peer = Behaviour::new(bus.node(&peer), config()).unwrap();
    bus.connect(*swarm.local_peer_id(), id(&peer));
    bus.refuse(true);
    let listener_id = ListenerId::next();
    transport.push(TransportEvent::NewAddress {
        listener_id,
        listen_addr: address(1),
    });
    settle(&mut swarm);
    assert!(matches!(
        swarm.behaviour_mut().announce(),
        AnnounceOutcome::Delayed { .. }
    ));
}

#[test]
fn subscriptions_cause_no_more_rounds_than_the_gap_allows_while_publishing_fails() {
    let gap = Duration::from_millis(200);
    let (bus, transport, mut swarm) = scripted_swarm(config().with_minimum_gap(gap));
    let local = *swarm.local_peer_id();
    let peer = Keypair::generate_ed25519();
    let _peer = Behaviour::new(bus.node(&peer), config()).unwrap();
    bus.refuse(true);
    transport.push(TransportEvent::NewAddress {
        listener_id: ListenerId::next(),
        listen_addr: address(1),
    });
    settle(&mut swarm);
    let (start, mut rounds) = (Instant::now(), 0);
    while start.elapsed() < 2 * gap {
        bus.connect(local, id(&peer));
        let events = settle(&mut swarm);
        rounds += events
            .iter()
            .filter(|event| matches!(event, SwarmEvent::Behaviour(Event::PublishFailed { .. })))
            .count();
    }
    let gaps = start.elapsed().as_nanos() / gap.as_nanos();
    assert!(rounds > 0, "it is subscribed");
    assert!(rounds as u128 <= gaps + 1, "{rounds} in {gaps} gaps");
}

#[derive(Debug, Clone)]
enum Operation {
    New(usize, u16),
    Expired(usize, u16),
    Closed(usize),
    Error(usize),
    Settle,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (0..4usize, 1..5u16).prop_map(|(id, port)| Operation::New(id, port)),
        2 => (0..4usize, 1..5u16).prop_map(|(id, port)| Operation::Expired(id, port)),
        1 => (0..4usize).prop_map(Operation::Closed),
        1 => (0..4usize).prop_map(Operation::Error),
        2 => Just(Operation::Settle),
    ]
}

proptest! {
    #[test]
    fn its_addresses_are_those_of_the_swarm(operations in prop::collection::vec(operation(), 0..120)) {
        let (_bus, transport, mut swarm) = scripted_swarm(config());
        let ids: [ListenerId; 4] = std::array::from_fn(|_| ListenerId::next());
        for operation in operations.into_iter().chain([Operation::Settle]) {
            match operation {
                Operation::New(id, port) => transport.push(TransportEvent::NewAddress {
                    listener_id: ids[id],
                    listen_addr: address(port),
                }),
                Operation::Expired(id, port) => transport.push(TransportEvent::AddressExpired {
                    listener_id: ids[id],
                    listen_addr: address(port),
                }),
                Operation::Closed(id) => transport.push(TransportEvent::ListenerClosed {
                    listener_id: ids[id],
                    reason: Ok(()),
                }),
                Operation::Error(id) => transport.push(TransportEvent::ListenerError {
                    listener_id: ids[id],
                    error: scripted::Broken,
                }),
                Operation::Settle => {
                    settle(&mut swarm);
                    let mut listeners = swarm.listeners().cloned().collect::<Vec<_>>();
                    let mut known = swarm.behaviour().listeners().cloned().collect::<Vec<_>>();
                    listeners.sort();
                    known.sort();
                    prop_assert_eq!(known, listeners);
                }
            }
        }
    }
}
