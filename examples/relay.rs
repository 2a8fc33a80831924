//! A hub that is also a circuit relay: through it, browsers and others that cannot listen reach each other.
//! Run: `cargo run --example relay -- /ip4/127.0.0.1/tcp/9000/ws`. Such peers dial it and listen on `<address>/p2p-circuit`.

use std::error::Error;

use futures::StreamExt as _;
use libp2p::{
    SwarmBuilder,
    connection_limits::{Behaviour as Limits, ConnectionLimits},
    identify, relay,
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
    let transport = websocket::tokio::transport(websocket::Config::default());
    let mut swarm = SwarmBuilder::with_new_identity()
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
    for address in std::env::args().skip(1) {
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
