//! Thirty nodes that know only a hub, and what is left of them without it.

#![cfg(all(
    feature = "gossipsub",
    any(feature = "async-std", feature = "smol", feature = "tokio")
))]

mod common;
#[path = "common/node.rs"]
mod node;

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    time::Duration,
};

use common::{Case, on_each};
use futures::{
    StreamExt as _,
    future::{self, Either},
};
use futures_timer::Delay;
use libp2p::{
    Multiaddr, PeerId,
    gossipsub::{self, IdentTopic},
    identity::Keypair,
    swarm::SwarmEvent,
};
use libp2p_lazy_websocket::discovery::{self, Event};
use node::{listen, node_with};
use tokio::sync::mpsc;

const NODES: usize = 30;

/// How many subscribers each node keeps connected.
const CONNECTIONS: usize = 4;

/// After how long the test gives up. Long, since it only decides how a failure shows.
const PATIENCE: Duration = Duration::from_secs(90);

/// That of the application.
const TOPIC: &str = "application";

/// What a node reports.
#[derive(Debug)]
enum Report {
    /// Whom it is connected to now.
    Connected(BTreeSet<PeerId>),
    /// A message of the application has come, with this number.
    Received(u64),
}

/// The nodes in tasks of their own, and what is known of them.
struct Network {
    nodes: BTreeMap<PeerId, mpsc::Sender<u64>>,
    reports: mpsc::Receiver<(PeerId, Report)>,
    connected: BTreeMap<PeerId, BTreeSet<PeerId>>,
    received: BTreeMap<u64, BTreeSet<PeerId>>,
}

impl Network {
    /// Waits for something that the reports tell, and publishes a message of the application, with the next number,
    /// at intervals if somebody is to.
    async fn until(&mut self, publisher: Option<PeerId>, mut is_so: impl FnMut(&Self) -> bool) {
        let mut again = Delay::new(Duration::ZERO);
        let mut number = 0;
        let so = async {
            while !is_so(self) {
                tokio::select! {
                    report = self.reports.recv() => match report.expect("the nodes run") {
                        (node, Report::Connected(peers)) => {
                            self.connected.insert(node, peers);
                        }
                        (node, Report::Received(number)) => {
                            self.received.entry(number).or_default().insert(node);
                        }
                    },
                    () = &mut again, if publisher.is_some() => {
                        again.reset(Duration::from_secs(1));
                        number += 1;
                        let publisher = &self.nodes[&publisher.unwrap()];
                        publisher.send(number).await.expect("the nodes run");
                    }
                }
            }
        };
        let is_late = matches!(
            future::select(pin!(so), Delay::new(PATIENCE)).await,
            Either::Right(_)
        );
        if is_late {
            let connected = self.connected.values().map(BTreeSet::len);
            let received = self.received.values().map(BTreeSet::len);
            panic!(
                "not within {PATIENCE:?}; connections of each node: {:?}, receivers of each message: {:?}",
                connected.collect::<Vec<_>>(),
                received.collect::<Vec<_>>()
            );
        }
    }

    /// Whether each node is connected to enough others.
    fn is_connected(&self, hub: PeerId, enough: usize) -> bool {
        let enough =
            |peers: &BTreeSet<PeerId>| peers.iter().filter(|peer| **peer != hub).count() >= enough;
        self.connected.len() == self.nodes.len() && self.connected.values().all(enough)
    }

    /// Whether there is a way from each node to each other.
    fn is_in_one_piece(&self) -> bool {
        let mut reached = BTreeSet::new();
        let mut next = self.connected.keys().take(1).copied().collect::<Vec<_>>();
        while let Some(peer) = next.pop() {
            if let Some(peers) = self.connected.get(&peer)
                && reached.insert(peer)
            {
                next.extend(peers);
            }
        }
        reached.len() == self.nodes.len()
    }
}

fn config() -> discovery::Config {
    discovery::Config::default()
}

/// Runs a node that listens and is connected to the hub to begin with.
async fn run(
    mut swarm: node::Node,
    hub: Multiaddr,
    mut publish: mpsc::Receiver<u64>,
    reports: mpsc::Sender<(PeerId, Report)>,
) {
    let local = *swarm.local_peer_id();
    let topic = IdentTopic::new(TOPIC);
    let gossipsub = swarm.behaviour_mut().gossipsub_mut();
    gossipsub.subscribe(&topic).unwrap();
    swarm.listen_on(node::loopback()).unwrap();
    swarm.dial(hub).unwrap();
    loop {
        let report = tokio::select! {
            event = swarm.select_next_some() => match event {
                SwarmEvent::ConnectionEstablished { .. } | SwarmEvent::ConnectionClosed { .. } => {
                    Report::Connected(swarm.connected_peers().copied().collect())
                }
                SwarmEvent::Behaviour(Event::PubSub(gossipsub::Event::Message {
                    message, ..
                })) if message.topic == topic.hash() => {
                    Report::Received(u64::from_be_bytes(message.data.try_into().unwrap()))
                }
                _ => continue,
            },
            number = publish.recv() => {
                let gossipsub = swarm.behaviour_mut().gossipsub_mut();
                let payload = number.expect("the test runs").to_be_bytes();
                // It may have nobody to send it to yet, and is told to do it again.
                let _ = gossipsub.publish(topic.clone(), payload.to_vec());
                continue;
            }
        };
        if reports.send((local, report)).await.is_err() {
            return;
        }
    }
}

on_each!(thirty_nodes_that_know_only_a_hub_stay_one_network_without_it);

async fn thirty_nodes_that_know_only_a_hub_stay_one_network_without_it(case: Case) {
    let gossipsub = discovery::gossipsub::hub_config(NODES).build().unwrap();
    let mut hub = node_with(case, Keypair::generate_ed25519(), gossipsub, config());
    let hub_id = *hub.local_peer_id();
    let (_, address) = listen(&mut hub, &mut []).await;
    let mut tasks = Vec::new();
    let hub = case.spawn(async move {
        loop {
            hub.select_next_some().await;
        }
    });

    let (sender, reports) = mpsc::channel(1024);
    let mut nodes = BTreeMap::new();
    for _ in 0..NODES {
        // The hub is one of them.
        let swarm = node::node(case, config().with_connections(CONNECTIONS + 1));
        let (publish, numbers) = mpsc::channel(16);
        nodes.insert(*swarm.local_peer_id(), publish);
        tasks.push(case.spawn(run(swarm, address.clone(), numbers, sender.clone())));
    }
    let mut network = Network {
        nodes,
        reports,
        connected: BTreeMap::new(),
        received: BTreeMap::new(),
    };
    network
        .until(None, |network| network.is_connected(hub_id, CONNECTIONS))
        .await;

    drop(hub);
    network
        .until(None, |network| {
            let without_hub = |peers: &BTreeSet<PeerId>| !peers.contains(&hub_id);
            network.connected.values().all(without_hub)
                && network.is_connected(hub_id, CONNECTIONS)
                && network.is_in_one_piece()
        })
        .await;

    let publisher = *network.nodes.keys().next().unwrap();
    let everybody_else = |network: &Network| {
        let mut received = network.received.values();
        received.any(|receivers| receivers.len() == NODES - 1)
    };
    network.until(Some(publisher), everybody_else).await;
}
