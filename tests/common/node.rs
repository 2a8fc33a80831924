//! Real nodes: WebSocket on loopback, Noise, Yamux, gossipsub and discovery.

#![allow(dead_code, reason = "each test file uses its part")]

use std::{fmt::Debug, pin::pin, time::Duration};

use futures::{
    FutureExt as _, StreamExt as _,
    future::{self, Either},
    stream,
};
use futures_timer::Delay;
use libp2p::{
    Multiaddr, PeerId, Swarm, Transport as _,
    core::{transport::ListenerId, upgrade::Version},
    gossipsub,
    identity::Keypair,
    noise,
    swarm::SwarmEvent,
    yamux,
};
use libp2p_lazy_websocket::{
    discovery::{self, Gossipsub},
    websocket,
};

use crate::common::Case;

pub(crate) type Behaviour = discovery::Behaviour<Gossipsub>;
pub(crate) type Node = Swarm<Behaviour>;

/// After how long a test gives up. Long, since it only decides how a failure shows.
const PATIENCE: Duration = Duration::from_secs(60);

/// Fast enough for a test, with each of the schedule's durations at work.
pub(crate) fn config() -> discovery::Config {
    discovery::Config::default()
        .with_interval(Duration::from_secs(1))
        .with_minimum_gap(Duration::from_millis(50))
        .with_coalescing(Duration::from_millis(10))
}

pub(crate) fn node(case: Case, config: discovery::Config) -> Node {
    let gossipsub = discovery::gossipsub::config().build().unwrap();
    node_with(case, Keypair::generate_ed25519(), gossipsub, config)
}

pub(crate) fn node_with(
    case: Case,
    keypair: Keypair,
    gossipsub: gossipsub::Config,
    config: discovery::Config,
) -> Node {
    let discovery = Behaviour::gossipsub(&keypair, gossipsub, config).unwrap();
    swarm(case, keypair, discovery)
}

pub(crate) fn swarm<B: libp2p::swarm::NetworkBehaviour>(
    case: Case,
    keypair: Keypair,
    behaviour: B,
) -> Swarm<B> {
    swarm_over(case, case.config(), keypair, behaviour)
}

pub(crate) fn swarm_over<B: libp2p::swarm::NetworkBehaviour>(
    case: Case,
    config: websocket::Config,
    keypair: Keypair,
    behaviour: B,
) -> Swarm<B> {
    let transport = case
        .transport(config)
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&keypair).unwrap())
        .multiplex(yamux::Config::default())
        .timeout(PATIENCE)
        .boxed();
    let config = case.swarm_config().with_idle_connection_timeout(PATIENCE);
    Swarm::new(transport, behaviour, keypair.public().to_peer_id(), config)
}

pub(crate) fn loopback() -> Multiaddr {
    "/ip4/127.0.0.1/tcp/0/ws".parse().unwrap()
}

/// Drives `swarm` until `pick` has found what it looks for in its events, while the others go on as well.
pub(crate) async fn until<B, T>(
    swarm: &mut Swarm<B>,
    others: &mut [&mut Node],
    mut pick: impl FnMut(&Swarm<B>, &SwarmEvent<B::ToSwarm>) -> Option<T>,
) -> T
where
    B: libp2p::swarm::NetworkBehaviour,
    B::ToSwarm: Debug,
{
    let mut seen = Vec::new();
    let others = stream::select_all(others.iter_mut()).for_each(|_| future::ready(()));
    let mut others = std::pin::pin!(others.then(|()| future::pending::<()>()));
    let found = async {
        loop {
            let event = match future::select(swarm.select_next_some(), &mut others).await {
                Either::Left((event, _)) => event,
                Either::Right(_) => unreachable!("it goes on for ever"),
            };
            if let Some(found) = pick(swarm, &event) {
                return found;
            }
            seen.push(format!("{event:?}"));
        }
    };
    match future::select(pin!(found), Delay::new(PATIENCE)).await {
        Either::Left((found, _)) => return found,
        Either::Right(_) => {}
    }
    panic!("not within {PATIENCE:?}; seen:\n{}", seen.join("\n"));
}

/// Lets `swarm` listen and returns the address, with the peer id.
pub(crate) async fn listen(swarm: &mut Node, others: &mut [&mut Node]) -> (ListenerId, Multiaddr) {
    let id = swarm.listen_on(loopback()).unwrap();
    let local = *swarm.local_peer_id();
    let address = until(swarm, others, |_, event| match event {
        SwarmEvent::NewListenAddr {
            listener_id,
            address,
        } if *listener_id == id => Some(address.clone()),
        _ => None,
    });
    (id, address.await.with_p2p(local).unwrap())
}

/// Connects `swarm` to whoever listens at `address`.
pub(crate) async fn connect(swarm: &mut Node, address: &Multiaddr, others: &mut [&mut Node]) {
    swarm.dial(address.clone()).unwrap();
    until(swarm, others, |_, event| {
        matches!(event, SwarmEvent::ConnectionEstablished { .. }).then_some(())
    })
    .await;
}

/// Drives `swarm` until it knows `peer` at just these addresses.
pub(crate) async fn knows(
    swarm: &mut Node,
    peer: PeerId,
    addresses: &[Multiaddr],
    others: &mut [&mut Node],
) {
    let at = |swarm: &Node| {
        let known = swarm.behaviour().known_peer(&peer);
        known.is_some_and(|known| known.addresses() == addresses)
    };
    if !at(swarm) {
        until(swarm, others, |swarm, _| at(swarm).then_some(())).await;
    }
}
