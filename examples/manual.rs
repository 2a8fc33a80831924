//! The crate with `libp2p-core` and the crates beside it alone, without the crate `libp2p` and its `SwarmBuilder`.
//! Run: `cargo run --example manual`, with the address of a hub behind it: `-- /ip4/127.0.0.1/tcp/9000/ws`
//!
//! Its dependencies:
//!
//! ```toml
//! [dependencies]
//! futures = "0.3"
//! libp2p-connection-limits = "0.7"
//! libp2p-core = "0.44"
//! libp2p-identity = { version = "0.3", features = ["ed25519"] }
//! libp2p-lazy-websocket = "0.1"
//! libp2p-swarm = { version = "0.48", features = ["macros", "tokio"] }
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```

use std::error::Error;

use futures::StreamExt as _;
use libp2p_connection_limits::{Behaviour as Limits, ConnectionLimits};
use libp2p_core::Multiaddr;
use libp2p_identity::Keypair;
use libp2p_lazy_websocket::{discovery, websocket};
use libp2p_swarm::{NetworkBehaviour, Swarm, SwarmEvent};

#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p_swarm::derive_prelude")]
struct Behaviour {
    limits: Limits,
    discovery: discovery::Behaviour<discovery::Gossipsub>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let key = Keypair::generate_ed25519();
    let transport = websocket::tokio::transport(websocket::Config::default()).upgraded(&key)?;
    let limits = ConnectionLimits::default()
        .with_max_established_incoming(Some(4096))
        .with_max_established_per_peer(Some(8));
    let discovery = discovery::Behaviour::gossipsub(
        &key,
        discovery::gossipsub::config().build()?,
        discovery::Config::default(),
    )?;
    let behaviour = Behaviour {
        limits: Limits::new(limits),
        discovery,
    };
    let local = key.public().to_peer_id();
    let config = libp2p_swarm::Config::with_tokio_executor();
    let mut swarm = Swarm::new(transport, behaviour, local, config);

    swarm.listen_on("/ip4/127.0.0.1/tcp/0/ws".parse()?)?;
    if let Some(hub) = std::env::args().nth(1) {
        swarm.dial(hub.parse::<Multiaddr>()?)?;
    }
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { address, .. } => println!("listening on {address}"),
            SwarmEvent::ListenerClosed { reason, .. } => println!("closed: {reason:?}"),
            SwarmEvent::OutgoingConnectionError { error, .. } => println!("{error}"),
            _ => {}
        }
    }
}
