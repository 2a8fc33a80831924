//! Hubs that restart, move and come late, and nodes that dial each other, over real sockets.

#![cfg(all(
    feature = "gossipsub",
    any(feature = "async-std", feature = "smol", feature = "tokio")
))]

mod common;
#[path = "common/node.rs"]
mod node;
#[path = "common/ports.rs"]
mod ports;

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr},
    slice,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use common::{Case, on_each};
use futures::{
    FutureExt as _, StreamExt as _,
    future::{self, BoxFuture},
};
use futures_timer::Delay;
use libp2p::{
    Multiaddr, PeerId,
    gossipsub::{self, IdentTopic},
    identity::Keypair,
    multiaddr::Protocol,
    swarm::SwarmEvent,
};
use libp2p_lazy_websocket::{
    discovery::{self, Event, HubError},
    websocket::Resolve,
};
use node::{Behaviour, Node, config, listen, node_with, until};
use ports::free_port;

/// On a host of this machine.
fn address(host: u8, port: u16) -> Multiaddr {
    format!("/ip4/127.0.0.{host}/tcp/{port}/ws")
        .parse()
        .unwrap()
}

/// The one name that there is, which leads to that host.
#[derive(Clone)]
struct Name(Arc<AtomicU8>);

impl Resolve for Name {
    fn ips(&self, _: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let host = self.0.load(Ordering::Relaxed);
        future::ready(Ok(vec![Ipv4Addr::new(127, 0, 0, host).into()])).boxed()
    }

    fn txt(&self, _: &str) -> BoxFuture<'static, io::Result<Vec<String>>> {
        future::ready(Err(io::ErrorKind::NotFound.into())).boxed()
    }
}

fn with_key(case: Case, keypair: &Keypair, hubs: &[Multiaddr]) -> Node {
    let gossipsub = discovery::gossipsub::config();
    let config = config().with_hubs(hubs.iter().cloned());
    node_with(case, keypair.clone(), gossipsub.build().unwrap(), config)
}

fn leaf(case: Case, hub: &Multiaddr) -> Node {
    with_key(case, &Keypair::generate_ed25519(), slice::from_ref(hub))
}

async fn hub_at(case: Case, keypair: &Keypair, address: &Multiaddr) -> Node {
    let mut hub = with_key(case, keypair, &[]);
    hub.listen_on(address.clone()).unwrap();
    until(&mut hub, &mut [], |_, event| {
        matches!(event, SwarmEvent::NewListenAddr { .. }).then_some(())
    })
    .await;
    hub
}

/// Drives the leaf until it is told that a hub is connected, and returns both.
async fn connected(leaf: &mut Node, others: &mut [&mut Node]) -> (Multiaddr, PeerId) {
    until(leaf, others, |_, event| match event {
        SwarmEvent::Behaviour(Event::HubConnected { hub, peer_id, .. }) => {
            Some((hub.clone(), *peer_id))
        }
        _ => None,
    })
    .await
}

async fn lost(leaf: &mut Node) {
    until(leaf, &mut [], |_, event| {
        matches!(event, SwarmEvent::Behaviour(Event::HubLost { .. })).then_some(())
    })
    .await;
}

async fn unreachable(leaf: &mut Node, others: &mut [&mut Node]) -> HubError {
    until(leaf, others, |_, event| match event {
        SwarmEvent::Behaviour(Event::HubUnreachable { error, .. }) => Some((**error).clone()),
        _ => None,
    })
    .await
}

on_each!(a_hub_that_comes_late_or_restarts_is_connected);

async fn a_hub_that_comes_late_or_restarts_is_connected(case: Case) {
    let key = Keypair::generate_ed25519();
    let peer = key.public().to_peer_id();
    let at = address(1, free_port(Ipv4Addr::UNSPECIFIED));
    for address in [at.clone(), at.clone().with_p2p(peer).unwrap()] {
        let mut leaf = leaf(case, &address);
        let error = unreachable(&mut leaf, &mut []).await;
        assert!(matches!(error, HubError::Unreachable { .. }), "{error}");
        for _ in 0..2 {
            let mut hub = hub_at(case, &key, &at).await;
            let told = connected(&mut leaf, &mut [&mut hub]).await;
            assert_eq!(told, (address.clone(), peer));
            assert!(leaf.is_connected(&peer));
            drop(hub);
            lost(&mut leaf).await;
        }
    }
}

on_each!(a_hub_that_moves_to_another_ip_of_its_name_is_connected);

async fn a_hub_that_moves_to_another_ip_of_its_name_is_connected(case: Case) {
    let key = Keypair::generate_ed25519();
    let port = free_port(Ipv4Addr::UNSPECIFIED);
    let name = Name(Arc::new(AtomicU8::new(1)));
    let named: Multiaddr = format!("/dns4/hub.example/tcp/{port}/ws").parse().unwrap();
    let mut leaf = {
        let keypair = Keypair::generate_ed25519();
        let gossipsub = discovery::gossipsub::config().build().unwrap();
        let config = config().with_hubs([named.clone()]);
        let discovery = Behaviour::gossipsub(&keypair, gossipsub, config).unwrap();
        let websocket = case.config().with_resolver(name.clone());
        node::swarm_over(case, websocket, keypair, discovery)
    };
    for host in [1, 2] {
        let mut hub = hub_at(case, &key, &address(host, port)).await;
        name.0.store(host, Ordering::Relaxed);
        let told = connected(&mut leaf, &mut [&mut hub]).await;
        assert_eq!(told, (named.clone(), key.public().to_peer_id()));
        drop(hub);
        lost(&mut leaf).await;
    }
}

on_each!(a_hub_that_is_the_node_itself_under_a_name_is_told);

/// Were the dial to come from the port that it goes to, TCP would connect the socket to itself.
async fn a_hub_that_is_the_node_itself_under_a_name_is_told(case: Case) {
    let key = Keypair::generate_ed25519();
    let mut node = with_key(case, &key, &[]);
    let (_, at) = listen(&mut node, &mut []).await;
    let named = at
        .iter()
        .map(|protocol| match protocol {
            Protocol::Ip4(_) => Protocol::Dns4("localhost".into()),
            other => other,
        })
        .filter(|protocol| !matches!(protocol, Protocol::P2p(_)))
        .collect();
    assert!(node.behaviour_mut().add_hub(named).unwrap());
    assert_eq!(unreachable(&mut node, &mut []).await, HubError::OwnAddress);
}

on_each!(one_list_can_be_given_to_all_nodes);

/// Each finds the other in it, and itself.
async fn one_list_can_be_given_to_all_nodes(case: Case) {
    let keys = [Keypair::generate_ed25519(), Keypair::generate_ed25519()];
    let list = keys
        .each_ref()
        .map(|_| address(1, free_port(Ipv4Addr::UNSPECIFIED)));
    let mut nodes = Vec::new();
    for (key, at) in keys.iter().zip(&list) {
        let mut node = with_key(case, key, &list);
        node.listen_on(at.clone()).unwrap();
        nodes.push(node);
    }
    let [one, other] = &mut nodes[..] else {
        panic!("there are two");
    };
    let is_own = |event: &SwarmEvent<Event<_>>| {
        matches!(event, SwarmEvent::Behaviour(Event::HubUnreachable { error, retry_in: None, .. })
            if **error == HubError::OwnAddress)
    };
    let mut told = (false, None);
    until(one, &mut [other], |_, event| {
        told.0 |= is_own(event);
        if let SwarmEvent::Behaviour(Event::HubConnected { hub, peer_id, .. }) = event {
            told.1 = Some((hub.clone(), *peer_id));
        }
        (told.0 && told.1.is_some()).then_some(())
    })
    .await;
    let expected = (list[1].clone(), keys[1].public().to_peer_id());
    assert_eq!(told.1, Some(expected));
}

/// Pairs of nodes of which each names the other as its hub.
const PAIRS: u32 = 100;

/// That of the application.
const TOPIC: &str = "application";

/// One node of a pair, and what it has seen.
struct Side {
    node: Node,
    connections: u32,
    had_two: bool,
    /// From the other side, on the topic of the application and of discovery.
    received: bool,
    updated: bool,
}

impl Side {
    async fn new() -> Self {
        let gossipsub = discovery::gossipsub::config().build().unwrap();
        let mut node = node_with(
            CASE,
            Keypair::generate_ed25519(),
            gossipsub,
            // Quick enough to see that addresses are told, and no faster than many nodes on few cores can be.
            config().with_interval(Duration::from_secs(5)),
        );
        listen(&mut node, &mut []).await;
        Self {
            node,
            connections: 0,
            had_two: false,
            received: false,
            updated: false,
        }
    }

    fn address(&self) -> Multiaddr {
        let address = self.node.listeners().next().unwrap().clone();
        address.with_p2p(*self.node.local_peer_id()).unwrap()
    }

    fn on_event(&mut self, event: SwarmEvent<Event<gossipsub::Event>>) {
        match event {
            SwarmEvent::ConnectionEstablished { .. } => {
                self.connections += 1;
                self.had_two |= self.connections > 1;
            }
            SwarmEvent::ConnectionClosed { .. } => {
                self.connections -= 1;
                assert!(self.connections > 0, "the last one");
            }
            SwarmEvent::Behaviour(Event::PubSub(gossipsub::Event::Message { .. })) => {
                self.received = true;
            }
            SwarmEvent::Behaviour(Event::Updated { .. }) => self.updated = true,
            _ => {}
        }
    }
}

/// Returns whether the two had two connections.
async fn dial_each_other(pair: u32) -> bool {
    let topic = IdentTopic::new(TOPIC);
    let mut sides = [Side::new().await, Side::new().await];
    let addresses = sides.each_ref().map(Side::address);
    for (side, address) in sides.iter_mut().zip(addresses.into_iter().rev()) {
        assert!(side.node.behaviour_mut().add_hub(address).unwrap());
    }
    // Anywhere in the seven seconds in which there are two. What is sent in the moment of the close may be lost.
    let mut subscribe = Delay::new(Duration::from_millis(60) * pair).fuse();
    let mut publish = Delay::new(Duration::ZERO);
    let (mut number, mut is_subscribed, mut has_moved) = (0_u32, false, false);
    loop {
        let [one, other] = &mut sides;
        tokio::select! {
            event = one.node.select_next_some() => one.on_event(event),
            event = other.node.select_next_some() => other.on_event(event),
            () = &mut subscribe => {
                for side in [one, other] {
                    let gossipsub = side.node.behaviour_mut().gossipsub_mut();
                    gossipsub.subscribe(&topic).unwrap();
                }
                is_subscribed = true;
            }
            () = &mut publish, if has_moved => {
                publish.reset(Duration::from_secs(1));
                for side in [one, other] {
                    number += 1;
                    let gossipsub = side.node.behaviour_mut().gossipsub_mut();
                    // It may not have heard yet that the other has subscribed.
                    let _ = gossipsub.publish(topic.clone(), number.to_be_bytes());
                }
            }
        }
        let is_single = sides.iter().all(|side| side.connections == 1);
        let had_two = sides.iter().any(|side| side.had_two);
        let is_known = sides
            .iter()
            .all(|side| side.node.behaviour().known_peers().len() == 1);
        if is_single && is_subscribed && is_known && !has_moved {
            has_moved = true;
            for side in &mut sides {
                side.node.listen_on(node::loopback()).unwrap();
                (side.received, side.updated) = (false, false);
            }
        }
        if has_moved && is_single && sides.iter().all(|side| side.received && side.updated) {
            return had_two;
        }
    }
}

#[cfg(feature = "tokio")]
const CASE: Case = Case {
    runtime: common::Runtime::Tokio,
    engine: libp2p_lazy_websocket::websocket::Engine::Stream,
};

#[cfg(feature = "tokio")]
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_dial_each_other_are_left_with_one_connection_that_works() {
    let mut pairs = tokio::task::JoinSet::new();
    for pair in 0..PAIRS {
        pairs.spawn(async move { (pair, dial_each_other(pair).await) });
    }
    let mut open = (0..PAIRS).collect::<BTreeSet<_>>();
    let mut with_two = 0;
    let all = async {
        while let Some(ended) = pairs.join_next().await {
            let (pair, had_two) = ended.unwrap();
            open.remove(&pair);
            with_two += u32::from(had_two);
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(120), all).await;
    assert!(
        in_time.is_ok(),
        "not all in time: {open:?}, {with_two} with two"
    );
    assert!(with_two > 0, "no pair has had two connections");
    println!("{with_two} of {PAIRS} pairs had two connections");
}
