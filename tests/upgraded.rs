//! Transports with Noise and Yamux, in whole swarms.
#![cfg(all(
    feature = "upgrade",
    any(feature = "async-std", feature = "smol", feature = "tokio")
))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{collections::VecDeque, pin::Pin, time::Duration};

use async_io::Async;
use common::{Case, new_address, next, on_each, socket_address, swarm, within};
use futures::{
    AsyncReadExt as _, AsyncWriteExt as _, SinkExt as _, StreamExt as _,
    channel::mpsc,
    future::{self, poll_fn},
};
use futures_timer::Delay;
use libp2p::{
    Multiaddr, Swarm, Transport as _,
    core::transport::{ListenerId, TransportError, TransportEvent},
    identity::Keypair,
    swarm::{
        DialError, ListenError, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
        dummy,
    },
};
use libp2p_lazy_websocket::websocket::{self, Counters};

/// On no runtime at all.
type TcpStream = Async<std::net::TcpStream>;

type Node = Swarm<dummy::Behaviour>;

fn node(case: Case, config: websocket::Config) -> (Node, Counters) {
    let key = Keypair::generate_ed25519();
    let transport = case.transport(config);
    let counters = transport.counters();
    let swarm = Swarm::new(
        transport.upgraded(&key).unwrap(),
        dummy::Behaviour,
        key.public().to_peer_id(),
        case.swarm_config()
            .with_idle_connection_timeout(Duration::from_secs(60)),
    );
    (swarm, counters)
}

/// A node that listens, and runs in a task of its own, with what is established there.
async fn hub(case: Case, config: websocket::Config) -> (Multiaddr, Counters, mpsc::Receiver<()>) {
    let (mut hub, counters) = node(case, config);
    hub.listen_on("/ip4/127.0.0.1/tcp/0/ws".parse().unwrap())
        .unwrap();
    let address = within(async {
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = hub.select_next_some().await {
                return address;
            }
        }
    })
    .await;
    let (mut sender, established) = mpsc::channel(1024);
    case.spawn(async move {
        loop {
            if let SwarmEvent::ConnectionEstablished { .. } = hub.select_next_some().await {
                sender.try_send(()).unwrap();
            }
        }
    })
    .forget();
    (address, counters, established)
}

async fn connect(node: &mut Node, address: &Multiaddr) {
    let opts = DialOpts::unknown_peer_id().address(address.clone());
    node.dial(opts.build()).unwrap();
    loop {
        match within(node.select_next_some()).await {
            SwarmEvent::ConnectionEstablished { .. } => return,
            SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error:?}"),
            _ => {}
        }
    }
}

/// What this crate says of a dial of one address.
fn cause(error: &DialError) -> &websocket::Error {
    let DialError::Transport(attempts) = error else {
        panic!("{error:?}");
    };
    let [(_, TransportError::Other(error))] = &attempts[..] else {
        panic!("{attempts:?}");
    };
    websocket::Error::find(error).unwrap_or_else(|| panic!("{error:?}"))
}

/// Who is through the WebSocket upgrade, and says nothing more.
async fn stranger(address: &Multiaddr) -> TcpStream {
    const REQUEST: &[u8] =
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

    let mut stranger = within(TcpStream::connect(socket_address(address)))
        .await
        .unwrap();
    within(stranger.write_all(REQUEST)).await.unwrap();
    stranger
}

on_each!(the_error_of_a_connection_is_found_whoever_upgrades_the_transport);

async fn the_error_of_a_connection_is_found_whoever_upgrades_the_transport(case: Case) {
    let upgraded_by_libp2p = swarm(case, case.transport(case.config()));
    for mut swarm in [node(case, case.config()).0, upgraded_by_libp2p] {
        let nowhere: Multiaddr = "/ip4/127.0.0.1/tcp/1/ws".parse().unwrap();
        let opts = DialOpts::unknown_peer_id().address(nowhere);
        swarm.dial(opts.build()).unwrap();
        match next(&mut swarm).await {
            SwarmEvent::OutgoingConnectionError { error, .. } => {
                let text = error.to_string();
                // What is before that is said twice by the timeout of libp2p.
                for part in ["TCP failed", "refused"] {
                    assert_eq!(text.matches(part).count(), 1, "{part}: {text}");
                }
                assert!(matches!(cause(&error), websocket::Error::Transport(_)));
            }
            other => panic!("{other:?}"),
        }

        swarm
            .listen_on("/ip4/127.0.0.1/tcp/0/ws".parse().unwrap())
            .unwrap();
        let address = new_address(&mut swarm).await;
        let mut stranger = TcpStream::connect(socket_address(&address)).await.unwrap();
        within(stranger.write_all(b"HELO a\r\n\r\n")).await.unwrap();
        loop {
            match next(&mut swarm).await {
                SwarmEvent::IncomingConnection { .. } => {}
                SwarmEvent::IncomingConnectionError {
                    error: ListenError::Transport(TransportError::Other(error)),
                    ..
                } => {
                    let found = websocket::Error::find(&error);
                    assert!(
                        matches!(found, Some(websocket::Error::Handshake(_))),
                        "{error:?}"
                    );
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

on_each!(strangers_who_upgrade_and_say_nothing_keep_nobody_out);

async fn strangers_who_upgrade_and_say_nothing_keep_nobody_out(case: Case) {
    const SILENT: usize = 500;
    const HONEST: usize = 50;

    // Both ends of all of them are here.
    rlimit::increase_nofile_limit(4096).unwrap();
    let (address, counters, mut established) = hub(case, case.config()).await;
    let mut silent = VecDeque::new();
    while silent.len() < SILENT {
        silent.push_back(stranger(&address).await);
    }
    let (mut sender, mut more) = mpsc::channel(0);
    let to = address.clone();
    let strangers = case.spawn(async move {
        // A hundred a second, until nobody wants to hear of them.
        while sender.send(()).await.is_ok() {
            silent.pop_front();
            silent.push_back(stranger(&to).await);
            Delay::new(Duration::from_millis(10)).await;
        }
    });
    for _ in 0..HONEST {
        within(more.next()).await.unwrap();
        let (mut honest, _) = node(case, case.config());
        connect(&mut honest, &address).await;
        let established = established.next();
        let driving = async { while let Some(_event) = honest.next().await {} };
        let reached = future::select(Box::pin(established), Box::pin(driving));
        within(reached).await;
        assert!(counters.pending_handshakes() <= 256);
    }
    drop(more);
    within(strangers).await;
    assert!(counters.evicted() > 0);
    assert_eq!(counters.upgraded(), HONEST as u64);
}

on_each!(who_upgrades_and_says_nothing_is_cut_off);

async fn who_upgrades_and_says_nothing_is_cut_off(case: Case) {
    let config = case
        .config()
        .with_handshake_timeout(Duration::from_millis(100));
    let (address, counters, _established) = hub(case, config).await;
    let mut stranger = stranger(&address).await;
    let mut heard = Vec::new();
    let _ = within(stranger.read_to_end(&mut heard)).await;
    let heard = String::from_utf8_lossy(&heard);
    assert!(heard.starts_with("HTTP/1.1 101"), "{heard}");
    assert_eq!((counters.timed_out(), counters.upgraded()), (1, 0));
    assert_eq!(counters.pending_handshakes(), 0);
}

on_each!(whoever_is_dialled_and_says_nothing_is_given_up);

async fn whoever_is_dialled_and_says_nothing_is_given_up(case: Case) {
    // A transport that is not upgraded says nothing after the WebSocket upgrade.
    let mut silent = case.transport(case.config());
    let listening = "/ip4/127.0.0.1/tcp/0/ws".parse().unwrap();
    silent.listen_on(ListenerId::next(), listening).unwrap();
    let (mut sender, mut addresses) = mpsc::channel(1);
    case.spawn(async move {
        let mut kept = Vec::new();
        loop {
            match poll_fn(|cx| Pin::new(&mut silent).poll(cx)).await {
                TransportEvent::NewAddress { listen_addr, .. } => {
                    sender.try_send(listen_addr).unwrap();
                }
                TransportEvent::Incoming { upgrade, .. } => {
                    kept.push(upgrade.await.unwrap());
                }
                _ => {}
            }
        }
    })
    .forget();
    let address = within(addresses.next()).await.unwrap();
    let config = case
        .config()
        .with_handshake_timeout(Duration::from_millis(100));
    let (mut node, _) = node(case, config);
    let opts = DialOpts::unknown_peer_id().address(address).build();
    node.dial(opts).unwrap();
    loop {
        match within(node.select_next_some()).await {
            SwarmEvent::OutgoingConnectionError { error, .. } => {
                let error = cause(&error);
                assert!(
                    matches!(error, websocket::Error::HandshakeTimedOut { .. }),
                    "{error:?}"
                );
                return;
            }
            SwarmEvent::ConnectionEstablished { .. } => panic!("nobody is there"),
            _ => {}
        }
    }
}

/// Beside TCP and a relay, as `SwarmBuilder` composes them.
#[cfg(feature = "tokio")]
#[tokio::test]
async fn it_goes_into_a_swarm_beside_tcp_and_a_relay_client() {
    use libp2p::{SwarmBuilder, noise, ping, relay, swarm::NetworkBehaviour, tcp, yamux};

    #[derive(NetworkBehaviour)]
    struct Behaviour {
        ping: ping::Behaviour,
        relay: relay::client::Behaviour,
    }

    fn node() -> Swarm<Behaviour> {
        let transport = websocket::tokio::transport(websocket::Config::default());
        SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(
                tcp::Config::default(),
                noise::Config::new,
                yamux::Config::default,
            )
            .unwrap()
            .with_other_transport(|key| transport.upgraded(key))
            .unwrap()
            .with_relay_client(noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_, relay| Behaviour {
                ping: ping::Behaviour::default(),
                relay,
            })
            .unwrap()
            .build()
    }

    let (mut listener, mut dialer) = (node(), node());
    // Nobody listens there. What is said of it is found below the layers of the builder.
    let nowhere: Multiaddr = "/ip4/127.0.0.1/tcp/1/ws".parse().unwrap();
    let opts = DialOpts::unknown_peer_id().address(nowhere);
    dialer.dial(opts.build()).unwrap();
    match within(dialer.select_next_some()).await {
        SwarmEvent::OutgoingConnectionError { error, .. } => {
            let text = error.to_string();
            assert_eq!(text.matches("TCP failed").count(), 1, "{text}");
            assert!(matches!(cause(&error), websocket::Error::Transport(_)));
        }
        other => panic!("{other:?}"),
    }
    for address in ["/ip4/127.0.0.1/tcp/0/ws", "/ip4/127.0.0.1/tcp/0"] {
        listener.listen_on(address.parse().unwrap()).unwrap();
        let address = within(async {
            loop {
                if let SwarmEvent::NewListenAddr { address, .. } = listener.select_next_some().await
                {
                    return address;
                }
            }
        })
        .await;
        let opts = DialOpts::peer_id(*listener.local_peer_id())
            .addresses(vec![address.clone()])
            .condition(PeerCondition::Always);
        dialer.dial(opts.build()).unwrap();
        within(async {
            let mut pinged = false;
            let mut connected = false;
            while !(pinged && connected) {
                tokio::select! {
                    event = dialer.select_next_some() => match event {
                        SwarmEvent::ConnectionEstablished { endpoint, .. } => {
                            assert!(endpoint.get_remote_address().to_string().starts_with(&address.to_string()));
                            connected = true;
                        }
                        SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { result, .. })) => {
                            result.unwrap();
                            pinged = true;
                        }
                        SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error:?}"),
                        _ => {}
                    },
                    _ = listener.select_next_some() => {}
                }
            }
        })
        .await;
    }
}
