//! A hub, where peers that do not know each other meet, over `ws` and `wss`, with metrics for Prometheus.
//! Run: `cargo run --features metrics --example hub -- --metrics 127.0.0.1:9100`, with the addresses to listen on behind it
//!
//! The TLS listener waits until `chain.pem` and `key.pem` are in the current directory.

#[path = "hub/metrics.rs"]
mod metrics;

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
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

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
    let mut registry = Registry::default();
    transport.register_metrics(&mut registry);
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_other_transport(|key| transport.upgraded(key))?
        .with_behaviour(|key| -> Result<_, Box<dyn Error + Send + Sync>> {
            let limits = ConnectionLimits::default()
                .with_max_established_incoming(Some(4096))
                .with_max_established_per_peer(Some(8));
            // Room in the mesh for a thousand peers that have no other connection.
            let gossipsub = discovery::gossipsub::hub_config(1_000).build()?;
            let config = discovery::Config::default();
            Ok(Behaviour {
                limits: Limits::new(limits),
                discovery: discovery::Behaviour::gossipsub(key, gossipsub, config)?,
            })
        })?
        .build();
    swarm
        .behaviour_mut()
        .discovery
        .register_metrics(&mut registry);

    let mut addresses: Vec<String> = std::env::args().skip(1).collect();
    if addresses
        .first()
        .is_some_and(|argument| argument == "--metrics")
    {
        let at = addresses
            .drain(..2)
            .nth(1)
            .ok_or("--metrics needs an address")?;
        let socket = TcpListener::bind(at).await?;
        println!("metrics at http://{}/metrics", socket.local_addr()?);
        tokio::spawn(metrics::serve(socket, registry));
    }
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
