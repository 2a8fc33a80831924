//! The order in which transport, behaviour and peers start does not matter.

#[path = "common/bus.rs"]
mod bus;
#[path = "common/scripted.rs"]
mod scripted;
#[path = "common/steps.rs"]
mod steps;

use std::{
    collections::BTreeSet,
    task::{Context, Poll},
    time::Duration,
};

use bus::{Bus, Node};
use futures::{StreamExt as _, task::noop_waker};
use libp2p::{
    Multiaddr, PeerId, Swarm, Transport as _,
    core::transport::ListenerId,
    identity::Keypair,
    swarm::{NetworkBehaviour as _, ToSwarm},
};
use libp2p_lazy_websocket::{
    discovery::{self, Behaviour, Event},
    lazy,
};
use scripted::Scripted;
use steps::{Step, Step::*, orders};

/// No waiting anywhere but for the interval, which is never reached.
fn config() -> discovery::Config {
    discovery::Config::default()
        .with_interval(Duration::from_secs(3600))
        .with_minimum_gap(Duration::ZERO)
        .with_coalescing(Duration::ZERO)
}

fn address(port: u16) -> Multiaddr {
    format!("/ip4/127.0.0.1/tcp/{port}/ws").parse().unwrap()
}

/// The node under test in a swarm, and the peer that is to learn of it.
struct World {
    bus: Bus,
    swarm: Swarm<Behaviour<Node>>,
    polled: bool,
    first: Option<ListenerId>,
    peer_key: Keypair,
    peer: Option<Behaviour<Node>>,
    /// What the peer was told last.
    told: Option<Vec<Multiaddr>>,
}

impl World {
    fn new() -> Self {
        let bus = Bus::default();
        let (keypair, peer_key) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
        let local = keypair.public().to_peer_id();
        let transport = lazy::Transport::new(
            lazy::Filtered::new(Scripted::default(), |_| true),
            lazy::Config::default(),
        );
        let behaviour = Behaviour::new(bus.node(&keypair), config()).unwrap();
        let executor = libp2p::swarm::Config::without_executor();
        Self {
            swarm: Swarm::new(transport.boxed(), behaviour, local, executor),
            peer: None,
            bus,
            polled: false,
            first: None,
            peer_key,
            told: None,
        }
    }

    fn peer_id(&self) -> PeerId {
        self.peer_key.public().to_peer_id()
    }

    fn take(&mut self, step: Step) {
        let local = *self.swarm.local_peer_id();
        match step {
            Listen => self.first = Some(self.swarm.listen_on(address(1)).unwrap()),
            FirstPoll => self.polled = true,
            Subscribe => {
                let node = self.bus.node(&self.peer_key);
                self.peer = Some(Behaviour::new(node, config()).unwrap());
            }
            Connect => {
                self.bus.connect(local, self.peer_id());
            }
            ListenAgain => {
                self.swarm.listen_on(address(2)).unwrap();
            }
            FirstGoes => assert!(self.swarm.remove_listener(self.first.take().unwrap())),
        }
        if self.polled {
            self.settle();
        }
    }

    /// Polls both until neither has anything to do.
    fn settle(&mut self) {
        let waker = noop_waker();
        let cx = &mut Context::from_waker(&waker);
        loop {
            let swarm = self.swarm.poll_next_unpin(cx).is_ready();
            let Some(peer) = &mut self.peer else {
                match swarm {
                    true => continue,
                    false => return,
                }
            };
            match peer.poll(cx) {
                Poll::Ready(ToSwarm::GenerateEvent(
                    Event::Discovered { addresses, .. } | Event::Updated { addresses, .. },
                )) => self.told = Some(addresses),
                Poll::Ready(_) => {}
                Poll::Pending if !swarm => return,
                Poll::Pending => {}
            }
        }
    }
}

#[test]
fn every_order_leads_to_the_same_announcement() {
    let orders = orders();
    assert_eq!(orders.len(), 360);
    for order in orders {
        let mut world = World::new();
        for step in &order {
            world.take(*step);
        }
        let local = *world.swarm.local_peer_id();
        let listeners = world.swarm.listeners().cloned().collect::<Vec<_>>();
        assert_eq!(listeners, [address(2)], "{order:?}");
        let expected = [address(2).with_p2p(local).unwrap()];

        let last = world
            .bus
            .published()
            .pop()
            .unwrap_or_else(|| panic!("nothing announced: {order:?}"));
        assert_eq!(last.author, local);
        assert_eq!(
            world.told.as_deref(),
            Some(&expected[..]),
            "last told: {order:?}"
        );
        let peer = world.peer.as_ref().unwrap();
        let known = peer
            .known_peer(&local)
            .unwrap_or_else(|| panic!("not known: {order:?}"));
        assert_eq!(known.addresses(), expected, "table: {order:?}");
    }
}

#[test]
fn every_step_is_in_every_order() {
    let orders = orders();
    let distinct = orders
        .iter()
        .map(|order| format!("{order:?}"))
        .collect::<BTreeSet<_>>();
    assert_eq!(distinct.len(), orders.len());
}
