//! Private networks: libp2p-pnet encrypts each connection below Noise, so its first bytes are random.
#![cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{io::Read as _, net::TcpStream, time::Duration};

use common::{Case, Engine, new_address, next, on_each, socket_address};
use futures::StreamExt as _;
use libp2p::{
    Swarm, Transport as _,
    core::upgrade::Version,
    identity::Keypair,
    noise,
    swarm::{SwarmEvent, dummy},
    yamux,
};
use libp2p_pnet::{PnetConfig, PreSharedKey};

fn node(case: Case) -> Swarm<dummy::Behaviour> {
    let key = Keypair::generate_ed25519();
    let transport = case
        .transport(case.config().with_tcp(true))
        .and_then(|connection, _| PnetConfig::new(PreSharedKey::new([7; 32])).handshake(connection))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&key).unwrap())
        .multiplex(yamux::Config::default())
        .boxed();
    let config = case
        .swarm_config()
        .with_idle_connection_timeout(Duration::from_secs(60));
    Swarm::new(
        transport,
        dummy::Behaviour,
        key.public().to_peer_id(),
        config,
    )
}

on_each!(each_kind_on_a_port_of_its_own_serves_a_private_network);

async fn each_kind_on_a_port_of_its_own_serves_a_private_network(case: Case) {
    let kinds: &[&str] = match case.engine {
        Engine::Stream => &["", "/ws"],
        _ => &["/ws"],
    };
    for kind in kinds {
        let mut hub = node(case);
        let listen = format!("/ip4/127.0.0.1/tcp/0{kind}");
        hub.listen_on(listen.parse().unwrap()).unwrap();
        let address = new_address(&mut hub).await;
        let hub_id = *hub.local_peer_id();
        case.spawn(async move { while hub.next().await.is_some() {} })
            .forget();
        // The first byte is another each time.
        for _ in 0..20 {
            let mut peer = node(case);
            peer.dial(address.clone()).unwrap();
            loop {
                match next(&mut peer).await {
                    SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                        assert_eq!(peer_id, hub_id);
                        break;
                    }
                    SwarmEvent::Dialing { .. } => {}
                    other => panic!("{kind}: {other:?}"),
                }
            }
        }
        if kind.is_empty() {
            // The listener does not wait for the dialer before it sends its own nonce, 24 bytes.
            let mut stream = TcpStream::connect(socket_address(&address)).unwrap();
            stream.read_exact(&mut [0; 24]).unwrap();
        }
    }
}
