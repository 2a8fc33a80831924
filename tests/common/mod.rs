//! What the tests with real sockets share.
#![allow(dead_code, reason = "each test uses its part")]

mod case;

use std::{future::Future, net, pin::pin, time::Duration};

use futures::future::{self, Either};

use libp2p::{
    Multiaddr, Swarm, Transport as _, core::upgrade::Version, futures::StreamExt as _, identity,
    multiaddr::Protocol, noise, swarm, swarm::SwarmEvent, yamux,
};
use libp2p_lazy_websocket::{lazy, websocket};

#[allow(unused_imports, reason = "each test uses its part")]
pub(crate) use self::case::{Case, Runtime, on_each};
#[allow(unused_imports, reason = "each test uses its part")]
pub(crate) use libp2p_lazy_websocket::websocket::Engine;

/// The first error of this type below the one that is given.
pub(crate) fn cause<'a, E: std::error::Error + 'static>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a E> {
    let mut link = error.source();
    while let Some(error) = link {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        link = error.source();
    }
    None
}

/// Fails a test that would hang. No test measures anything by it.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    let limit = futures_timer::Delay::new(Duration::from_secs(30));
    match future::select(pin!(future), limit).await {
        Either::Left((done, _)) => done,
        Either::Right(_) => panic!("it happens within 30 s"),
    }
}

pub(crate) type Transport = lazy::Transport<websocket::Transport>;

/// A swarm that does nothing but hold connections.
pub(crate) fn swarm(case: Case, transport: Transport) -> Swarm<swarm::dummy::Behaviour> {
    let key = identity::Keypair::generate_ed25519();
    let transport = transport
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&key).expect("a signature"))
        .multiplex(yamux::Config::default())
        .timeout(Duration::from_secs(20))
        .boxed();
    let config = case
        .swarm_config()
        .with_idle_connection_timeout(Duration::from_secs(60));
    Swarm::new(
        transport,
        swarm::dummy::Behaviour,
        key.public().to_peer_id(),
        config,
    )
}

pub(crate) async fn next<B: swarm::NetworkBehaviour>(
    swarm: &mut Swarm<B>,
) -> SwarmEvent<B::ToSwarm> {
    within(swarm.select_next_some()).await
}

/// The next event, which must be a new address.
pub(crate) async fn new_address<B: swarm::NetworkBehaviour>(swarm: &mut Swarm<B>) -> Multiaddr
where
    B::ToSwarm: std::fmt::Debug,
{
    match next(swarm).await {
        SwarmEvent::NewListenAddr { address, .. } => address,
        other => panic!("a new address, not {other:?}"),
    }
}

/// Where a TCP client would go for this address.
pub(crate) fn socket_address(address: &Multiaddr) -> net::SocketAddr {
    let mut protocols = address.iter();
    let ip = match protocols.next() {
        Some(Protocol::Ip4(ip)) => net::IpAddr::from(ip),
        Some(Protocol::Ip6(ip)) => net::IpAddr::from(ip),
        other => panic!("an IP, not {other:?}"),
    };
    match protocols.next() {
        Some(Protocol::Tcp(port)) => (ip, port).into(),
        other => panic!("a TCP port, not {other:?}"),
    }
}
