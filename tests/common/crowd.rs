//! Many nodes in one process, with real gossipsub, over the memory transport.

#![allow(dead_code, reason = "each user takes its part")]

use std::{
    collections::BTreeSet,
    pin::pin,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, future};
use libp2p::{
    Multiaddr, Swarm, SwarmBuilder, Transport as _,
    core::{transport::MemoryTransport, upgrade::Version},
    identity::Keypair,
    plaintext,
    swarm::SwarmEvent,
    yamux,
};
use libp2p_lazy_websocket::discovery::{self, Counters, Gossipsub};
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{self, timeout},
};

/// How many others each node dials, of those that were there before it. It is dialled by as many on average.
const DIALS: usize = 3;

/// After how long it is given up. Long, since it only decides how a failure shows.
const PATIENCE: Duration = Duration::from_secs(300);

type Behaviour = discovery::Behaviour<Gossipsub>;

/// Nodes that run until it is dropped.
pub(crate) struct Crowd {
    config: discovery::Config,
    rng: SmallRng,
    members: Vec<Member>,
    tasks: JoinSet<()>,
}

struct Member {
    address: Multiaddr,
    progress: watch::Receiver<Progress>,
    questions: mpsc::Sender<oneshot::Sender<Counters>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// How many peers it knows.
    known: usize,
    /// How often it has announced itself.
    announced: u64,
}

/// Announcements that a node receives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    /// A second.
    pub(crate) rate: f64,
    /// In the busiest second.
    pub(crate) busiest: f64,
}

impl Crowd {
    /// Starts `count` nodes at once.
    pub(crate) async fn start(count: usize, config: discovery::Config, seed: u64) -> Self {
        let mut crowd = Self {
            config,
            rng: SmallRng::seed_from_u64(seed),
            members: Vec::new(),
            tasks: JoinSet::new(),
        };
        crowd.join(count).await;
        crowd
    }

    /// Adds `count` nodes at once.
    pub(crate) async fn join(&mut self, count: usize) {
        let mut swarms = Vec::new();
        for _ in 0..count {
            let mut swarm = self.swarm();
            let listener = swarm.listen_on("/memory/0".parse().expect("an address"));
            listener.expect("the transport supports it");
            let address = loop {
                if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                    break address;
                }
            };
            for target in self.targets() {
                swarm.dial(target).expect("an address alone is enough");
            }
            let (tell, progress) = watch::channel(Progress::default());
            let (questions, asked) = mpsc::channel(1);
            self.members.push(Member {
                address,
                progress,
                questions,
            });
            swarms.push(run(swarm, tell, asked));
        }
        for swarm in swarms {
            self.tasks.spawn(swarm);
        }
    }

    /// Waits until each node knows all others, and says how long that took.
    pub(crate) async fn all_know_all(&self) -> Duration {
        self.know(0, self.members.len() - 1).await
    }

    /// Waits until the node that came last knows so many, and says how long that took.
    pub(crate) async fn the_last_knows(&self, count: usize) -> Duration {
        self.know(self.members.len() - 1, count).await
    }

    async fn know(&self, from: usize, count: usize) -> Duration {
        let start = Instant::now();
        self.each(from, |_, now| now.known >= count).await;
        start.elapsed()
    }

    /// What a node receives on average, in the time in which each announces itself `rounds` times.
    pub(crate) async fn receives(&self, rounds: u64) -> Received {
        let start = Instant::now();
        let first = self.received().await;
        let mut all = pin!(self.each(0, |before, now| now.announced >= before.announced + rounds));
        let (mut last, mut busiest) = (first, 0);
        let mut second = time::interval_at(start.into(), Duration::from_secs(1));
        second.tick().await;
        loop {
            tokio::select! {
                () = &mut all => break,
                _ = second.tick() => {
                    let now = self.received().await;
                    busiest = busiest.max(now - last);
                    last = now;
                }
            }
        }
        let received = self.received().await - first;
        let nodes = self.members.len() as f64;
        Received {
            rate: received as f64 / nodes / start.elapsed().as_secs_f64(),
            busiest: busiest as f64 / nodes,
        }
    }

    /// Waits until all nodes from this one on have got where they shall be, by what they were and are.
    async fn each(&self, from: usize, is_there: impl Fn(&Progress, &Progress) -> bool) {
        let is_there = &is_there;
        let all = future::join_all(self.members[from..].iter().map(|member| {
            let mut progress = member.progress.clone();
            async move {
                let before = *progress.borrow();
                let there = progress.wait_for(|now| is_there(&before, now)).await;
                there.map(|_| ()).expect("it runs");
            }
        }));
        if timeout(PATIENCE, all).await.is_err() {
            let progress = self.members.iter().map(|member| *member.progress.borrow());
            let progress = progress.collect::<Vec<_>>();
            panic!("not within {PATIENCE:?}: {progress:?}");
        }
    }

    /// What all have counted.
    pub(crate) async fn counters(&self) -> Vec<Counters> {
        let counters = self.members.iter().map(|member| async {
            let (answer, counters) = oneshot::channel();
            member.questions.send(answer).await.expect("it runs");
            counters.await.expect("it runs")
        });
        future::join_all(counters).await
    }

    /// How many announcements all have received.
    async fn received(&self) -> u64 {
        let counters = self.counters().await;
        let received = |counters: &Counters| counters.accepted + counters.ignored();
        counters.iter().map(received).sum()
    }

    fn swarm(&mut self) -> Swarm<Behaviour> {
        let keypair = Keypair::ed25519_from_bytes(self.rng.random::<[u8; 32]>());
        let keypair = keypair.expect("32 bytes");
        let gossipsub = discovery::gossipsub::config().build();
        let gossipsub = gossipsub.expect("the defaults are valid");
        let discovery = Behaviour::gossipsub(&keypair, gossipsub, self.config.clone());
        let discovery = discovery.expect("a valid configuration");
        SwarmBuilder::with_existing_identity(keypair)
            .with_tokio()
            .with_other_transport(|keypair| {
                MemoryTransport::default()
                    .upgrade(Version::V1Lazy)
                    .authenticate(plaintext::Config::new(keypair))
                    .multiplex(yamux::Config::default())
            })
            .expect("it cannot fail")
            .with_behaviour(|_| discovery)
            .expect("it cannot fail")
            .with_swarm_config(|config| config.with_idle_connection_timeout(PATIENCE))
            .build()
    }

    /// Of those that are there already, so that all are connected.
    fn targets(&mut self) -> Vec<Multiaddr> {
        let there = self.members.len();
        let mut targets = BTreeSet::new();
        while targets.len() < DIALS.min(there) {
            targets.insert(self.rng.random_range(0..there));
        }
        let address = |index: &usize| self.members[*index].address.clone();
        targets.iter().map(address).collect()
    }
}

async fn run(
    mut swarm: Swarm<Behaviour>,
    progress: watch::Sender<Progress>,
    mut questions: mpsc::Receiver<oneshot::Sender<Counters>>,
) {
    loop {
        tokio::select! {
            event = swarm.select_next_some() => {
                let SwarmEvent::Behaviour(event) = event else {
                    continue;
                };
                progress.send_modify(|progress| {
                    progress.known = swarm.behaviour().known_peers().len();
                    let announced = matches!(event, discovery::Event::Announced { .. });
                    progress.announced += u64::from(announced);
                });
            }
            Some(answer) = questions.recv() => {
                // Whoever has asked may have given up.
                let _ = answer.send(swarm.behaviour().counters());
            }
        }
    }
}
