//! A node that is flooded.

use std::{
    error::Error,
    fmt,
    future::poll_fn,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _};
use libp2p::{
    Multiaddr, Swarm,
    gossipsub::{self, IdentTopic},
    identity::Keypair,
    swarm::{NetworkBehaviour, SwarmEvent},
};
use libp2p_lazy_websocket::discovery::{self, DEFAULT_TOPIC, Gossipsub};

use super::{
    client::Client,
    measure::now,
    swarm::{PATIENCE, swarm},
};

/// Into how many parts a flood is divided.
const PARTS: usize = 10;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Subscribed to the topic, and no more.
    Gossipsub,
    Discovery,
    /// Discovery that tells gossipsub what to make of each message.
    Verdicts,
    /// The same, where gossipsub remembers for [`BRIEFLY`] what it has seen.
    Brief,
}

/// Shorter than the flood. Too short for use: what comes again later is passed on again.
const BRIEFLY: Duration = Duration::from_secs(1);

impl Kind {
    pub(crate) const ALL: [Self; 4] = [
        Self::Gossipsub,
        Self::Discovery,
        Self::Verdicts,
        Self::Brief,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gossipsub => "gossipsub alone",
            Self::Discovery => "with discovery",
            Self::Verdicts => "and its verdicts",
            Self::Brief => "and ids kept for 1 s",
        })
    }
}

pub(crate) enum Node {
    Gossipsub {
        swarm: Box<Swarm<gossipsub::Behaviour>>,
        seen: u64,
    },
    Discovery(Box<Swarm<discovery::Behaviour<Gossipsub>>>),
}

/// What a flood has cost.
#[derive(Debug, Clone)]
pub(crate) struct Flood {
    /// How many messages each part had.
    part: u32,
    /// What each part took, [`PARTS`] of each pass.
    parts: Vec<Duration>,
}

impl Flood {
    /// What a message took.
    pub(crate) fn each(&self) -> Duration {
        self.mean(&self.parts)
    }

    /// What a message of the last tenth took, beside one of the first.
    pub(crate) fn last_to_first(&self) -> f64 {
        let tenth = self.parts.len() / 10;
        let first = self.mean(&self.parts[..tenth]);
        let last = self.mean(&self.parts[self.parts.len() - tenth..]);
        last.as_secs_f64() / first.as_secs_f64()
    }

    fn mean(&self, parts: &[Duration]) -> Duration {
        let messages = f64::from(self.part) * parts.len() as f64;
        parts.iter().sum::<Duration>().div_f64(messages)
    }
}

impl Node {
    pub(crate) async fn start(kind: Kind) -> Result<Self, Box<dyn Error>> {
        let keypair = Keypair::generate_ed25519();
        let mut config = discovery::gossipsub::config();
        if matches!(kind, Kind::Verdicts | Kind::Brief) {
            config.validate_messages();
        }
        if matches!(kind, Kind::Brief) {
            config.duplicate_cache_time(BRIEFLY);
        }
        let gossipsub = config.build()?;
        let node = match kind {
            Kind::Gossipsub => {
                let signed = gossipsub::MessageAuthenticity::Signed(keypair.clone());
                let mut gossipsub = gossipsub::Behaviour::new(signed, gossipsub)?;
                let topic = IdentTopic::new(DEFAULT_TOPIC);
                gossipsub.subscribe(&topic)?;
                let mut swarm = swarm(keypair, gossipsub)?;
                listen(&mut swarm)?;
                Self::Gossipsub {
                    swarm: Box::new(swarm),
                    seen: 0,
                }
            }
            Kind::Discovery | Kind::Verdicts | Kind::Brief => {
                let config = discovery::Config::default();
                let discovery = discovery::Behaviour::gossipsub(&keypair, gossipsub, config)?;
                let mut swarm = swarm(keypair, discovery)?;
                listen(&mut swarm)?;
                Self::Discovery(Box::new(swarm))
            }
        };
        Ok(node)
    }

    /// Runs until the flooder has connected, and subscribed to the topic.
    pub(crate) async fn meet(&mut self, client: &mut Client) -> Result<(), Box<dyn Error>> {
        let mut told = false;
        self.until(|node| {
            if let (false, Some(address)) = (told, node.address()) {
                told = true;
                client.connect(&address)?;
            }
            Ok(node.subscribers() > 0)
        })
        .await
    }

    /// Runs while the flooder announces so many peers, in so many passes.
    pub(crate) async fn flood(
        &mut self,
        client: &mut Client,
        peers: u32,
        passes: usize,
    ) -> Result<Flood, Box<dyn Error>> {
        let part = peers / PARTS as u32;
        let mut parts = Vec::new();
        for _ in 0..passes {
            let before = self.seen();
            let mut start = now();
            let mut done = 0;
            client.go()?;
            self.until(|node| {
                while done < PARTS && node.seen() - before >= u64::from(part) * (done as u64 + 1) {
                    let end = now();
                    parts.push(end - start);
                    start = end;
                    done += 1;
                }
                Ok(done == PARTS)
            })
            .await?;
        }
        Ok(Flood { part, parts })
    }

    /// Runs for so long.
    pub(crate) async fn rest(&mut self, duration: Duration) {
        let forever = self.until(|_| Ok(false));
        // That it is not over is what was to be.
        let _: Result<_, _> = tokio::time::timeout(duration, forever).await;
    }

    /// How many peers it knows.
    pub(crate) fn known(&self) -> usize {
        match self {
            Self::Gossipsub { .. } => 0,
            Self::Discovery(swarm) => swarm.behaviour().known_peers().len(),
        }
    }

    /// Runs until `is_so`, which is asked whenever there is nothing else to do.
    async fn until(
        &mut self,
        mut is_so: impl FnMut(&Self) -> Result<bool, Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        let so = poll_fn(|cx| {
            self.run(cx);
            match is_so(self) {
                Ok(false) => Poll::Pending,
                Ok(true) => Poll::Ready(Ok(())),
                Err(error) => Poll::Ready(Err(error)),
            }
        });
        tokio::time::timeout(PATIENCE, so).await?
    }

    fn run(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Gossipsub { swarm, seen } => {
                while let Poll::Ready(event) = swarm.select_next_some().poll_unpin(cx) {
                    let is_message = matches!(
                        event,
                        SwarmEvent::Behaviour(gossipsub::Event::Message { .. })
                    );
                    *seen += u64::from(is_message);
                }
            }
            Self::Discovery(swarm) => while swarm.select_next_some().poll_unpin(cx).is_ready() {},
        }
    }

    /// How many announcements have come.
    fn seen(&self) -> u64 {
        match self {
            Self::Gossipsub { seen, .. } => *seen,
            Self::Discovery(swarm) => {
                let counters = swarm.behaviour().counters();
                counters.accepted + counters.ignored()
            }
        }
    }

    fn address(&self) -> Option<Multiaddr> {
        match self {
            Self::Gossipsub { swarm, .. } => swarm.listeners().next().cloned(),
            Self::Discovery(swarm) => swarm.listeners().next().cloned(),
        }
    }

    fn subscribers(&self) -> usize {
        let gossipsub = match self {
            Self::Gossipsub { swarm, .. } => swarm.behaviour(),
            Self::Discovery(swarm) => swarm.behaviour().pubsub().behaviour(),
        };
        let peers = gossipsub.all_peers();
        peers.filter(|(_, topics)| !topics.is_empty()).count()
    }
}

fn listen<B: NetworkBehaviour>(swarm: &mut Swarm<B>) -> Result<(), Box<dyn Error>> {
    swarm.listen_on("/ip4/127.0.0.1/tcp/0/ws".parse()?)?;
    Ok(())
}
