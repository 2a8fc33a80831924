//! A Rust node inside the test, for what the example does not print.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::Case;
use futures::StreamExt as _;
use libp2p::{
    Multiaddr, Swarm,
    gossipsub::{self, IdentTopic, PeerScoreParams, PeerScoreThresholds, TopicScoreParams},
    identify,
    identity::Keypair,
    swarm::{NetworkBehaviour, SwarmEvent},
};
use libp2p_lazy_websocket::discovery::{self, Counters, DEFAULT_TOPIC};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use crate::{
    node::{loopback, swarm},
    process::PATIENCE,
};

/// It scores its peers, for invalid messages and nothing else, and never acts on it.
pub(crate) struct Watched {
    pub(crate) id: String,
    seen: watch::Receiver<Seen>,
    dials: mpsc::Sender<Multiaddr>,
}

/// What there is to see of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) listening: BTreeSet<String>,
    /// Addresses by peer id.
    pub(crate) known: BTreeMap<String, BTreeSet<String>>,
    pub(crate) expired: usize,
    pub(crate) counters: Counters,
    /// Those of the known peers that it is connected to.
    pub(crate) scores: BTreeMap<String, f64>,
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    discovery: discovery::Behaviour<discovery::Gossipsub>,
    // js learns by it that this one speaks gossipsub.
    identify: identify::Behaviour,
}

impl Watched {
    pub(crate) fn start(gossipsub: gossipsub::Config, config: discovery::Config) -> Self {
        let keypair = Keypair::generate_ed25519();
        let mut discovery = discovery::Behaviour::gossipsub(&keypair, gossipsub, config)
            .expect("the configuration is valid");
        let (params, thresholds) = blames_invalid_messages();
        discovery
            .gossipsub_mut()
            .with_peer_score(params, thresholds)
            .expect("the parameters are valid");
        let identify = identify::Config::new("/watched/1.0.0".to_owned(), keypair.public());
        let behaviour = Behaviour {
            discovery,
            identify: identify::Behaviour::new(identify),
        };
        let mut swarm = swarm(Case::TOKIO, keypair, behaviour);
        swarm
            .listen_on(loopback())
            .expect("an address to listen on");

        let (tell, seen) = watch::channel(Seen::default());
        let (dials, mut to_dial) = mpsc::channel::<Multiaddr>(1);
        let id = swarm.local_peer_id().to_string();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    event = swarm.select_next_some() => tell.send_modify(|seen| seen.update(&swarm, &event)),
                    address = to_dial.recv() => match address {
                        Some(address) => swarm.dial(address).expect("the address is complete"),
                        None => return,
                    },
                }
            }
        });
        Self { id, seen, dials }
    }

    pub(crate) async fn dial(&self, address: &str) {
        let address = address.parse().expect("an address that was printed");
        self.dials.send(address).await.expect("the node runs");
    }

    /// The address that it listens on.
    pub(crate) async fn address(&mut self) -> String {
        self.sees("an address", |seen| seen.listening.first().cloned())
            .await
    }

    /// Waits until it knows a peer at exactly these addresses.
    pub(crate) async fn discovers(&mut self, id: &str, addresses: &BTreeSet<String>) {
        self.sees(&format!("{id} at {addresses:?}"), |seen| {
            (seen.known.get(id) == Some(addresses)).then_some(())
        })
        .await;
    }

    /// Waits until `pick` finds in it what it looks for.
    ///
    /// What is refused causes no event, so it is seen with the next one; the node announces itself at its interval.
    pub(crate) async fn sees<T>(
        &mut self,
        what: &str,
        mut pick: impl FnMut(&Seen) -> Option<T>,
    ) -> T {
        let found = async {
            loop {
                if let Some(found) = pick(&self.seen.borrow_and_update()) {
                    return found;
                }
                self.seen.changed().await.expect("the node runs");
            }
        };
        match timeout(PATIENCE, found).await {
            Ok(found) => found,
            Err(_) => panic!(
                "not within {PATIENCE:?}: {what}; there is {:?}",
                self.seen.borrow()
            ),
        }
    }
}

impl Seen {
    fn update(&mut self, swarm: &Swarm<Behaviour>, event: &SwarmEvent<BehaviourEvent>) {
        let discovery = &swarm.behaviour().discovery;
        if let SwarmEvent::Behaviour(BehaviourEvent::Discovery(discovery::Event::Expired {
            ..
        })) = event
        {
            self.expired += 1;
        }
        let id = swarm.local_peer_id();
        self.listening = swarm
            .listeners()
            .map(|address| format!("{address}/p2p/{id}"))
            .collect();
        self.known.clear();
        self.scores.clear();
        for known in discovery.known_peers() {
            let id = known.peer_id();
            let addresses = known.addresses().iter().map(ToString::to_string);
            self.known.insert(id.to_string(), addresses.collect());
            if swarm.is_connected(&id) {
                let score = discovery.pubsub().behaviour().peer_score(&id);
                self.scores
                    .extend(score.map(|score| (id.to_string(), score)));
            }
        }
        self.counters = discovery.counters();
    }
}

fn blames_invalid_messages() -> (PeerScoreParams, PeerScoreThresholds) {
    let topic = TopicScoreParams {
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        // A test ends long before it is forgotten.
        invalid_message_deliveries_decay: 0.9999,
        ..TopicScoreParams::default()
    };
    let params = PeerScoreParams {
        topics: [(IdentTopic::new(DEFAULT_TOPIC).hash(), topic)].into(),
        // All share one IP.
        ip_colocation_factor_weight: 0.0,
        behaviour_penalty_weight: 0.0,
        slow_peer_weight: 0.0,
        ..PeerScoreParams::default()
    };
    let thresholds = PeerScoreThresholds {
        gossip_threshold: f64::MIN,
        publish_threshold: f64::MIN,
        graylist_threshold: f64::MIN,
        ..PeerScoreThresholds::default()
    };
    (params, thresholds)
}
