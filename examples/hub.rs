//! A hub, where peers that do not know each other meet, over `ws` and `wss`.
//! Run: `cargo run --example hub`, or with the addresses to listen on: `cargo run --example hub -- /ip4/0.0.0.0/tcp/9000/ws`
//!
//! The TLS listener waits until `chain.pem` and `key.pem` are in the current directory.

use std::error::Error;

use futures::StreamExt as _;
use libp2p::{
    SwarmBuilder,
    connection_limits::{Behaviour as Limits, ConnectionLimits},
    swarm::{NetworkBehaviour, SwarmEvent},
};
use libp2p_lazy_websocket::{
    discovery, lazy,
    websocket::{self, Certificates},
};

#[derive(NetworkBehaviour)]
struct Behaviour {
    limits: Limits,
    discovery: discovery::Behaviour<discovery::Gossipsub>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let certificates = Certificates::watch("chain.pem", "key.pem")?;
    let config = websocket::Config::default().with_certificates(certificates);
    let mut transport = websocket::tokio::transport(config);
    let mut changes = transport.readiness().changes();
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_other_transport(|key| transport.upgraded(key))?
        .with_behaviour(|key| -> Result<_, Box<dyn Error + Send + Sync>> {
            let limits = ConnectionLimits::default()
                .with_max_established_incoming(Some(4096))
                .with_max_established_per_peer(Some(8));
            // Room in the mesh for a thousand peers that are connected to nobody else.
            let gossipsub = discovery::gossipsub::hub_config(1_000).build()?;
            let config = discovery::Config::default();
            Ok(Behaviour {
                limits: Limits::new(limits),
                discovery: discovery::Behaviour::gossipsub(key, gossipsub, config)?,
            })
        })?
        .build();

    let mut addresses: Vec<String> = std::env::args().skip(1).collect();
    if addresses.is_empty() {
        addresses = ["9000/ws", "9001/tls/ws"]
            .map(|port| format!("/ip4/127.0.0.1/tcp/{port}"))
            .into();
    }
    for address in addresses {
        swarm.listen_on(address.parse()?)?;
    }
    loop {
        tokio::select! {
            Some(change) = changes.next() => {
                if let lazy::Change::Status { status, .. } = change {
                    println!("{status}");
                }
            }
            event = swarm.select_next_some() => match event {
                SwarmEvent::Behaviour(BehaviourEvent::Discovery(event)) => println!("{event:?}"),
                SwarmEvent::IncomingConnectionError { error, .. } => println!("{error}"),
                _ => {}
            },
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}
