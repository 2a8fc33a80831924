//! Hubs that restart, move and come late, and nodes that dial each other, over real sockets.

#![cfg(all(
    feature = "gossipsub",
    any(feature = "async-std", feature = "smol", feature = "tokio")
))]

mod common;
#[path = "common/node.rs"]
mod node;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, TcpListener},
    slice,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use common::{Case, on_each};
use futures::{
    FutureExt as _,
    future::{self, BoxFuture},
};
use libp2p::{Multiaddr, PeerId, identity::Keypair, swarm::SwarmEvent};
use libp2p_lazy_websocket::{
    discovery::{self, Event, HubError},
    websocket::Resolve,
};
use node::{Behaviour, Node, config, node_with, until};

/// A port on which nobody listens, on all addresses of this host that the tests use.
fn free_port() -> u16 {
    let socket = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.local_addr().unwrap().port()
}

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
        SwarmEvent::Behaviour(Event::HubConnected { hub, peer_id }) => {
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
    let at = address(1, free_port());
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
    let port = free_port();
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

on_each!(one_list_can_be_given_to_all_nodes);

/// Each finds the other in it, and itself.
async fn one_list_can_be_given_to_all_nodes(case: Case) {
    let keys = [Keypair::generate_ed25519(), Keypair::generate_ed25519()];
    let list = keys.each_ref().map(|_| address(1, free_port()));
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
        if let SwarmEvent::Behaviour(Event::HubConnected { hub, peer_id }) = event {
            told.1 = Some((hub.clone(), *peer_id));
        }
        (told.0 && told.1.is_some()).then_some(())
    })
    .await;
    let expected = (list[1].clone(), keys[1].public().to_peer_id());
    assert_eq!(told.1, Some(expected));
}
