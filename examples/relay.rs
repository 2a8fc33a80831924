//! A hub that is also a circuit relay: through it, browsers and others that cannot listen reach each other.
//! Run: `cargo run --example relay -- relay.key /ip4/127.0.0.1/tcp/9000/ws`. Such peers dial it and listen on `/p2p-circuit`.
//! The file keeps the key, and with it the peer id in these addresses, over a restart.

use std::{error::Error, fs, path::Path};

use futures::StreamExt as _;
use libp2p::{
    SwarmBuilder,
    connection_limits::{Behaviour as Limits, ConnectionLimits},
    identify,
    identity::Keypair,
    relay,
    swarm::{NetworkBehaviour, SwarmEvent},
};
use libp2p_lazy_websocket::{discovery, websocket};

// No `ping::Behaviour`: it would cut off js peers without the ping service.
#[derive(NetworkBehaviour)]
struct Behaviour {
    limits: Limits,
    discovery: discovery::Behaviour<discovery::Gossipsub>,
    identify: identify::Behaviour,
    relay: relay::Behaviour,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let keypair = key(arguments.next().ok_or("the file of the key?")?.as_ref())?;
    let transport = websocket::tokio::transport(websocket::Config::default());
    let mut swarm = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_other_transport(|key| transport.upgraded(key))?
        .with_behaviour(|key| -> Result<_, Box<dyn Error + Send + Sync>> {
            let limits = ConnectionLimits::default()
                .with_max_established_incoming(Some(4096))
                .with_max_established_per_peer(Some(8));
            let gossipsub = discovery::gossipsub::hub_config(1_000).build()?;
            let config = discovery::Config::default();
            let identify = identify::Config::new("/example-relay/1.0.0".into(), key.public());
            // Connected peers hear of addresses that come later.
            let identify = identify.with_push_listen_addr_updates(true);
            let local = key.public().to_peer_id();
            let relay = relay::Config {
                max_reservations: 1_000,
                max_circuits: 1_000,
                ..relay::Config::default()
            };
            Ok(Behaviour {
                limits: Limits::new(limits),
                discovery: discovery::Behaviour::gossipsub(key, gossipsub, config)?,
                identify: identify::Behaviour::new(identify),
                relay: relay::Behaviour::new(local, relay),
            })
        })?
        .build();
    for address in arguments {
        swarm.listen_on(address.parse()?)?;
    }
    let local = *swarm.local_peer_id();
    loop {
        let event = tokio::select! {
            event = swarm.select_next_some() => event,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        match event {
            SwarmEvent::NewListenAddr { address, .. } => {
                println!("listening on {address}/p2p/{local}");
                // A reservation needs an external address. Behind NAT or a proxy, add the public one instead.
                swarm.add_external_address(address);
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                swarm.remove_external_address(&address);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Relay(event)) => println!("{event:?}"),
            _ => {}
        }
    }
}

/// Reads the key, or makes one where there is no file. Nobody else may read the file: its folder is for you alone.
fn key(file: &Path) -> Result<Keypair, Box<dyn Error>> {
    if file.exists() {
        return Ok(Keypair::from_protobuf_encoding(&fs::read(file)?)?);
    }
    let keypair = Keypair::generate_ed25519();
    fs::write(file, keypair.to_protobuf_encoding()?)?;
    Ok(keypair)
}
