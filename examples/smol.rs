//! The two halves of the crate on smol, without tokio: a listener, and discovery.
//! Run: `cargo run --features smol --example smol`, and with the address of a hub behind it: `-- /ip4/127.0.0.1/tcp/9000/ws`

use std::error::Error;

use futures::StreamExt as _;
use libp2p::{Multiaddr, Swarm, identity::Keypair, swarm::SwarmEvent};
use libp2p_lazy_websocket::{
    discovery::{self, Event},
    websocket,
};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let hubs = std::env::args()
        .skip(1)
        .map(|hub| hub.parse())
        .collect::<Result<Vec<Multiaddr>, _>>()?;
    smol::block_on(async {
        let key = Keypair::generate_ed25519();
        let transport = websocket::smol::transport(websocket::Config::default());
        let transport = transport.upgraded(&key)?;
        let gossipsub = discovery::gossipsub::config().build()?;
        let config = discovery::Config::default().with_hubs(hubs);
        let behaviour = discovery::Behaviour::gossipsub(&key, gossipsub, config)?;
        // `SwarmBuilder` knows only tokio.
        let config = websocket::smol::swarm_config();
        let mut swarm = Swarm::new(transport, behaviour, key.public().to_peer_id(), config);
        swarm.listen_on("/ip4/127.0.0.1/tcp/0/ws".parse()?)?;
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { address, .. } => println!("listening on {address}"),
                SwarmEvent::Behaviour(Event::Discovered {
                    peer_id, addresses, ..
                }) => println!("{peer_id} is at {addresses:?}"),
                SwarmEvent::Behaviour(Event::HubConnected { hub, .. }) => {
                    println!("connected to {hub}");
                }
                SwarmEvent::Behaviour(Event::HubUnreachable { hub, error, .. }) => {
                    println!("cannot reach {hub}: {error}");
                }
                _ => {}
            }
        }
    })
}
