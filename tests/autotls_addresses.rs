//! What identify tells of a node with AutoTLS. Its certificate is stored, so that nobody is asked for one.
#![cfg(all(feature = "autotls", feature = "upgrade"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/authority.rs"]
mod authority;
#[path = "common/ports.rs"]
mod ports;

use std::{fs, net::Ipv4Addr, path::Path, time::Duration};

use authority::{Authority, Leaf};
use futures::StreamExt as _;
use libp2p::{
    Multiaddr, Swarm, identify,
    identity::Keypair,
    multiaddr::Protocol,
    swarm::{self, NetworkBehaviour, SwarmEvent},
};
use libp2p_lazy_websocket::{autotls, websocket};
use ports::free_port;
use tokio::time::timeout;

/// How long a test waits for what comes within a second or two.
const PATIENCE: Duration = Duration::from_secs(60);

const DOMAIN: &str = "libp2p.test";

#[derive(NetworkBehaviour)]
struct Named {
    autotls: autotls::Behaviour,
    identify: identify::Behaviour,
}

fn identify(key: &Keypair) -> identify::Behaviour {
    // So that what has changed is asked for on the connection that is there.
    let config = identify::Config::new("/test/1.0.0".into(), key.public())
        .with_interval(Duration::from_millis(200));
    identify::Behaviour::new(config)
}

fn swarm<B: NetworkBehaviour>(key: &Keypair, config: websocket::Config, behaviour: B) -> Swarm<B> {
    let transport = websocket::tokio::transport(config.with_tcp(true))
        .upgraded(key)
        .unwrap();
    let config = swarm::Config::with_tokio_executor().with_idle_connection_timeout(PATIENCE);
    Swarm::new(transport, behaviour, key.public().into(), config)
}

/// A node with a stored certificate.
fn named(folder: &Path) -> Swarm<Named> {
    let key = Keypair::generate_ed25519();
    let certificates = websocket::Certificates::new();
    let behaviour = |directory: &str| {
        let config = autotls::Config::default()
            .with_acme_directory(directory)
            .with_domain(DOMAIN)
            .with_storage(folder);
        autotls::Behaviour::new(&key, certificates.clone(), config)
    };
    // Its storage is the folder of another server, and empty.
    let name = behaviour("elsewhere").name().to_owned();
    let store = folder
        .join("nowhere")
        .join(DOMAIN)
        .join(name.split('.').next().unwrap());
    fs::create_dir_all(&store).unwrap();
    let signed = Authority::new().sign(&Leaf {
        names: &[&format!("*.{name}")],
        ..Leaf::default()
    });
    let pem = signed.key_pem() + &signed.chain_pem();
    fs::write(store.join("certificate.pem"), pem).unwrap();
    let behaviour = Named {
        autotls: behaviour("nowhere"),
        identify: identify(&key),
    };
    assert!(certificates.current().is_some(), "what is stored is in use");
    let config = websocket::Config::default().with_certificates(certificates);
    swarm(&key, config, behaviour)
}

/// Runs both until the client has been told of all of these addresses, and of none of those.
async fn learns(
    client: &mut Swarm<identify::Behaviour>,
    hub: &mut Swarm<Named>,
    told: &[&Multiaddr],
    not_told: &[&Multiaddr],
) {
    let mut last = None;
    let learned = async {
        loop {
            tokio::select! {
                _ = hub.select_next_some() => {}
                event = client.select_next_some() => {
                    let SwarmEvent::Behaviour(identify::Event::Received { info, .. }) = event else {
                        continue;
                    };
                    let addresses = last.insert(info.listen_addrs);
                    if told.iter().all(|it| addresses.contains(it))
                        && !not_told.iter().any(|it| addresses.contains(it))
                    {
                        return;
                    }
                }
            }
        }
    };
    if timeout(PATIENCE, learned).await.is_err() {
        panic!("{told:?} without {not_told:?}, but last {last:?}");
    }
}

#[tokio::test]
async fn identify_tells_the_names_of_external_addresses_with_the_right_label() {
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("identify-{}", std::process::id()));
    let mut hub = named(&folder);
    let port = free_port(Ipv4Addr::LOCALHOST);
    let local: Multiaddr = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
    hub.listen_on(local.clone()).unwrap();
    hub.behaviour_mut()
        .autotls
        .listen_on(local.clone())
        .unwrap();
    let listens = async {
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = hub.select_next_some().await
                && address == local
            {
                return;
            }
        }
    };
    timeout(PATIENCE, listens).await.unwrap();
    let name = hub.behaviour().autotls.name().to_owned();
    let at = |ip: &str, label: &str| -> Multiaddr {
        let tcp: Multiaddr = format!("/ip4/{ip}/tcp/{port}").parse().unwrap();
        tcp.with(Protocol::Tls)
            .with(Protocol::Sni(format!("{label}.{name}").into()))
            .with(Protocol::Ws("/".into()))
    };
    let key = Keypair::generate_ed25519();
    let mut client = swarm(&key, websocket::Config::default(), identify(&key));
    client.dial(local.clone()).unwrap();
    learns(&mut client, &mut hub, &[&local], &[]).await;

    let plain: Multiaddr = format!("/ip4/1.2.3.4/tcp/{port}").parse().unwrap();
    hub.add_external_address(plain.clone());
    let first = at("1.2.3.4", "1-2-3-4");
    learns(&mut client, &mut hub, &[&plain, &first], &[]).await;

    // As identify and UPnP translate it: another IP, and what follows it as it was.
    let wrong = at("5.6.7.8", "192-168-1-5");
    hub.add_external_address(wrong.clone());
    let second = at("5.6.7.8", "5-6-7-8");
    learns(&mut client, &mut hub, &[&first, &second], &[&wrong]).await;
    let external: Vec<_> = hub.external_addresses().collect();
    assert!(!external.contains(&&wrong), "{external:?}");

    hub.remove_external_address(&plain);
    learns(&mut client, &mut hub, &[&second], &[&plain, &first]).await;
    let _ = fs::remove_dir_all(folder);
}
