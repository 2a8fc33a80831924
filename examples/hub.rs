//! A hub, where peers that do not know each other meet, over `ws` and `wss` on one port.
//! Run: `cargo run --features metrics --example hub -- /ip4/127.0.0.1/tcp/9000/ws /ip4/127.0.0.1/tcp/9000/tls/ws`
//!
//! The second listener waits for `chain.pem` and `key.pem` in the current directory. `METRICS=127.0.0.1:9100` in the
//! environment serves metrics for Prometheus there.

#[path = "hub/metrics.rs"]
mod metrics;

use std::{error::Error, iter};

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
    let discovery = &mut swarm.behaviour_mut().discovery;
    discovery.register_metrics(&mut registry);
    if let Ok(address) = std::env::var("METRICS") {
        metrics::serve(&address, registry).await?;
    }
    for address in std::env::args().skip(1) {
        swarm.listen_on(address.parse()?)?;
    }
    loop {
        tokio::select! {
            Some(lazy::Change::Status { status, .. }) = changes.next() => println!("{status}"),
            event = swarm.select_next_some() => match event {
                SwarmEvent::Behaviour(BehaviourEvent::Discovery(event)) => println!("{event:?}"),
                SwarmEvent::IncomingConnectionError { error, .. } => println!("{}", causes(&error)),
                _ => {}
            },
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

/// An error with its causes, without which the text of the swarm says little.
fn causes(error: &(dyn Error + 'static)) -> String {
    let links = iter::successors(Some(error), |&error| error.source());
    let links: Vec<_> = links.map(ToString::to_string).collect();
    links.join(": ")
}
