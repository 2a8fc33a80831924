//! Whom the behaviour dials to stay connected, poll by poll, in a swarm that the test plays.

#[path = "common/bus.rs"]
mod bus;

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    task::{Context, Poll},
    time::Duration,
};

use bus::{Bus, Node};
use futures::{
    future::{self, Either},
    task::noop_waker,
};
use libp2p::{
    Multiaddr, PeerId,
    core::{
        ConnectedPoint, Endpoint,
        transport::{ListenerId, PortUse, TransportError},
    },
    identity::Keypair,
    swarm::{
        ConnectionDenied, ConnectionId, DialError, FromSwarm, NetworkBehaviour as _, ToSwarm,
        behaviour::{ConnectionClosed, ConnectionEstablished, DialFailure, NewListenAddr},
        dial_opts::DialOpts,
    },
};
use libp2p_lazy_websocket::discovery::{self, Behaviour, DEFAULT_TOPIC};
use tokio_test::task;

/// Nothing happens but what the test wants, and nobody is forgotten.
fn config() -> discovery::Config {
    discovery::Config::default()
        .with_interval(Duration::from_secs(3600))
        .with_minimum_gap(Duration::ZERO)
        .with_coalescing(Duration::ZERO)
}

/// A behaviour on a bus that has heard the announcements of some peers.
struct World {
    bus: Bus,
    local: PeerId,
    peers: Vec<PeerId>,
    behaviour: Behaviour<Node>,
    /// Dials that were due while it heard of the peers.
    early: VecDeque<DialOpts>,
}

impl World {
    fn new(peers: u16, connections: usize) -> Self {
        let bus = Bus::default();
        let key = Keypair::generate_ed25519();
        let local = key.public().to_peer_id();
        let config = config().with_connections(connections);
        let mut world = Self {
            behaviour: Behaviour::new(bus.node(&key), config).unwrap(),
            bus,
            local,
            peers: Vec::new(),
            early: VecDeque::new(),
        };
        for port in 1..=peers {
            let key = Keypair::generate_ed25519();
            let peer = key.public().to_peer_id();
            let mut behaviour = Behaviour::new(world.bus.node(&key), self::config()).unwrap();
            world.bus.connect(local, peer);
            behaviour.on_swarm_event(FromSwarm::NewListenAddr(NewListenAddr {
                listener_id: ListenerId::next(),
                addr: &address(port),
            }));
            while next(&mut behaviour).is_some() {}
            world.peers.push(peer);
        }
        while world.behaviour.known_peers().len() < peers.into() {
            match world
                .behaviour
                .poll(&mut Context::from_waker(&noop_waker()))
            {
                Poll::Ready(ToSwarm::Dial { opts }) => world.early.push_back(opts),
                Poll::Ready(_) => {}
                Poll::Pending => panic!("it has not heard of all"),
            }
        }
        world
    }

    /// The next peer that is dialled, which something has to wake the behaviour for.
    fn dial(&mut self) -> (PeerId, ConnectionId) {
        let dialled = std::future::poll_fn(|cx| {
            if let Some(opts) = self.early.pop_front() {
                return Poll::Ready(opts);
            }
            loop {
                match self.behaviour.poll(cx) {
                    Poll::Ready(ToSwarm::Dial { opts }) => return Poll::Ready(opts),
                    Poll::Ready(_) => {}
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        let limit = futures_timer::Delay::new(Duration::from_secs(60));
        let opts = match futures::executor::block_on(future::select(dialled, limit)) {
            Either::Left((opts, _)) => opts,
            Either::Right(_) => panic!("nothing has woken it within a minute"),
        };
        let peer = opts.get_peer_id().unwrap();
        let expected = DialOpts::peer_id(peer)
            .condition(libp2p::swarm::dial_opts::PeerCondition::DisconnectedAndNotDialing)
            .addresses(self.addresses(peer))
            .build();
        assert_eq!(without_id(&opts), without_id(&expected));
        (peer, opts.connection_id())
    }

    fn addresses(&self, peer: PeerId) -> Vec<Multiaddr> {
        let known = self.behaviour.known_peer(&peer);
        known.unwrap().addresses().to_vec()
    }

    /// Nobody is dialled, whenever the behaviour may want to be called again.
    fn dials_nobody_more(&mut self) {
        let mut task = task::spawn(());
        loop {
            match task.enter(|cx, _| self.behaviour.poll(cx)) {
                Poll::Ready(ToSwarm::Dial { opts }) => panic!("{opts:?}"),
                Poll::Ready(_) => {}
                Poll::Pending => return,
            }
        }
    }

    fn fail(&mut self, (peer, connection_id): (PeerId, ConnectionId), error: &DialError) {
        self.behaviour
            .on_swarm_event(FromSwarm::DialFailure(DialFailure {
                peer_id: Some(peer),
                error,
                connection_id,
            }));
    }

    fn connect(&mut self, peer: PeerId, connection_id: ConnectionId) {
        self.behaviour
            .on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id: peer,
                connection_id,
                endpoint: &endpoint(),
                failed_addresses: &[],
                other_established: 0,
            }));
    }

    fn disconnect(&mut self, peer: PeerId, connection_id: ConnectionId) {
        self.behaviour
            .on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
                peer_id: peer,
                connection_id,
                endpoint: &endpoint(),
                cause: None,
                remaining_established: 0,
            }));
    }

    fn subscribe(&mut self, peer: PeerId) {
        let topic = DEFAULT_TOPIC.to_owned();
        let event = bus::Event::Subscribed { topic, peer };
        self.bus.deliver(self.local, event);
        while next(&mut self.behaviour).is_some() {}
    }

    fn unsubscribe(&mut self, peer: PeerId) {
        let topic = DEFAULT_TOPIC.to_owned();
        let event = bus::Event::Unsubscribed { topic, peer };
        self.bus.deliver(self.local, event);
    }
}

/// What the behaviour has to tell now.
fn next(behaviour: &mut Behaviour<Node>) -> Option<()> {
    match behaviour.poll(&mut Context::from_waker(&noop_waker())) {
        Poll::Ready(ToSwarm::Dial { opts }) => panic!("{opts:?}"),
        Poll::Ready(_) => Some(()),
        Poll::Pending => None,
    }
}

fn address(port: u16) -> Multiaddr {
    format!("/ip4/127.0.0.1/tcp/{port}/ws").parse().unwrap()
}

fn endpoint() -> ConnectedPoint {
    ConnectedPoint::Dialer {
        address: address(1),
        role_override: Endpoint::Dialer,
        port_use: PortUse::Reuse,
    }
}

fn without_id(opts: &DialOpts) -> String {
    let id = format!("{:?}", opts.connection_id());
    format!("{opts:?}").replace(&id, "")
}

fn unreachable(addresses: Vec<Multiaddr>) -> DialError {
    let refused = || TransportError::Other(io::ErrorKind::ConnectionRefused.into());
    DialError::Transport(addresses.into_iter().map(|at| (at, refused())).collect())
}

#[test]
fn nobody_is_dialled_unless_the_application_asks_for_it() {
    let mut world = World::new(3, 0);
    let peer = world.peers[0];
    world.connect(peer, ConnectionId::new_unchecked(1));
    world.disconnect(peer, ConnectionId::new_unchecked(1));
    world.dials_nobody_more();
}

#[test]
fn each_peer_is_dialled_once_and_no_more_than_eight_at_a_time() {
    let mut world = World::new(20, 20);
    let dials = (0..8).map(|_| world.dial()).collect::<Vec<_>>();
    let dialled = dials.iter().map(|(peer, _)| *peer).collect::<BTreeSet<_>>();
    assert_eq!(dialled.len(), 8, "all different");
    world.dials_nobody_more();
    world.fail(dials[0], &DialError::Aborted);
    let (ninth, _) = world.dial();
    assert!(!dialled.contains(&ninth));
    world.dials_nobody_more();
}

#[test]
fn dials_until_there_are_enough_subscribers_and_again_when_one_is_lost() {
    let mut world = World::new(4, 2);
    let inbound = world.peers[0];
    world.connect(inbound, ConnectionId::new_unchecked(1));
    world.subscribe(inbound);
    let (dialled, id) = world.dial();
    world.dials_nobody_more();
    world.connect(dialled, id);
    world.subscribe(dialled);
    world.dials_nobody_more();

    world.unsubscribe(dialled);
    let (third, id) = world.dial();
    assert!(third != dialled && third != inbound);
    world.connect(third, id);
    world.subscribe(third);
    world.dials_nobody_more();
    world.disconnect(inbound, ConnectionId::new_unchecked(1));
    world.dial();
}

#[test]
fn subscribers_of_a_topic_that_is_removed_no_longer_count() {
    let mut world = World::new(2, 1);
    let (peer, id) = world.dial();
    world.connect(peer, id);
    world.subscribe(peer);
    assert!(world.behaviour.add_topic("another").unwrap());
    world.dials_nobody_more();
    assert!(world.behaviour.remove_topic(DEFAULT_TOPIC));
    assert_ne!(world.dial().0, peer);
}

/// A dial of the application fails within its own call, and the loss of a connection may be told outside `poll` too.
#[test]
fn what_the_swarm_tells_wakes_the_task() {
    let mut world = World::new(2, 1);
    let dial = world.dial();
    let mut task = task::spawn(());
    let mut poll = |world: &mut World| {
        task.enter(|cx, _| assert!(world.behaviour.poll(cx).is_pending()));
        assert!(!task.is_woken());
    };
    poll(&mut world);
    world.fail(dial, &DialError::Aborted);
    assert!(task.is_woken());
}

#[test]
fn a_peer_that_cannot_be_reached_is_forgotten_sooner() {
    let mut world = World::new(2, 1);
    let (peer, id) = world.dial();
    let [somebody] = world.peers[..]
        .iter()
        .filter(|known| **known != peer)
        .collect::<Vec<_>>()[..]
    else {
        panic!("there are two");
    };
    // So that it is not this node itself that is cut off.
    world.connect(*somebody, ConnectionId::new_unchecked(1));
    let life = |world: &World| {
        let known = world.behaviour.known_peer(&peer).unwrap();
        known.expires_at() - known.last_heard()
    };
    let denied = DialError::Denied {
        cause: ConnectionDenied::new(io::Error::other("a limit of the application")),
    };
    let other = ConnectionId::new_unchecked(2);
    let whole = life(&world);
    world.fail((peer, other), &denied);
    world.fail((peer, other), &unreachable(vec![address(999)]));
    assert_eq!(life(&world), whole);
    world.fail((peer, id), &unreachable(world.addresses(peer)));
    assert_eq!(life(&world), whole / 2);
}
