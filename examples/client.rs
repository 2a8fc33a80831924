//! A client that only dials: it stays connected to its hubs, and discovers who else is there.
//! Run: `cargo run --example client -- /ip4/127.0.0.1/tcp/9000/ws`, with more hubs behind it, beside the example `hub`
//!
//! With `TRUST=chain.pem` in the environment it also trusts the certificate in that file.

use std::{error::Error, fs};

use futures::StreamExt as _;
use libp2p::{Multiaddr, SwarmBuilder, swarm::SwarmEvent};
use libp2p_lazy_websocket::{
    discovery::{self, Event},
    websocket::{self, TrustAnchor},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let hubs = std::env::args()
        .skip(1)
        .map(|hub| hub.parse())
        .collect::<Result<Vec<Multiaddr>, _>>()?;
    let mut config = websocket::Config::default();
    if let Some(file) = std::env::var_os("TRUST") {
        config = config.with_trust_anchor(TrustAnchor::from_pem(&fs::read(file)?)?);
    }
    let transport = websocket::tokio::transport(config);
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_other_transport(|key| transport.upgraded(key))?
        .with_behaviour(|key| -> Result<_, Box<dyn Error + Send + Sync>> {
            let gossipsub = discovery::gossipsub::config().build()?;
            let config = discovery::Config::default().with_hubs(hubs);
            Ok(discovery::Behaviour::gossipsub(key, gossipsub, config)?)
        })?
        .build();
    println!("this is {}", swarm.local_peer_id());
    loop {
        let event = tokio::select! {
            event = swarm.select_next_some() => event,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        let SwarmEvent::Behaviour(event) = event else {
            continue;
        };
        match event {
            Event::HubConnected { hub, peer_id, .. } => println!("connected to {hub}, {peer_id}"),
            Event::HubLost { hub, retry_in, .. } => println!("lost {hub}, again in {retry_in:?}"),
            Event::HubUnreachable { hub, error, .. } => println!("cannot reach {hub}: {error}"),
            Event::Discovered {
                peer_id, addresses, ..
            } => println!("{peer_id} is at {addresses:?}"),
            Event::Expired { peer_id, .. } => println!("{peer_id} is gone"),
            _ => {}
        }
    }
}
