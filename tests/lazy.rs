//! Lazy listeners in real swarms, on real sockets.
#![cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[path = "common/ports.rs"]
mod ports;

use std::{
    collections::BTreeSet,
    io::{self, ErrorKind, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use common::{Case, new_address, next, on_each, socket_address, swarm, within};
use futures::{FutureExt as _, future};
use libp2p::{
    Multiaddr, Swarm,
    core::transport::TransportError,
    futures::StreamExt as _,
    multiaddr::Protocol,
    swarm::{SwarmEvent, dummy},
};
use ports::free_port;

fn lazy_swarm(case: Case) -> Swarm<dummy::Behaviour> {
    swarm(case, case.transport(case.config()))
}

fn loopback(port: u16) -> Multiaddr {
    listen_address(Ipv4Addr::LOCALHOST, port)
}

fn listen_address(ip: Ipv4Addr, port: u16) -> Multiaddr {
    format!("/ip4/{ip}/tcp/{port}/ws").parse().unwrap()
}

/// A loopback address of one test alone, where the system has more than one, so that no other test is given a
/// port that this one has just left.
fn own_ip(test: u8) -> Ipv4Addr {
    if cfg!(target_os = "linux") {
        Ipv4Addr::new(127, 0, 1, test)
    } else {
        Ipv4Addr::LOCALHOST
    }
}

/// A port that was free a moment ago.
fn connect(address: impl Into<SocketAddr>) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&address.into(), Duration::from_secs(10))
}

on_each!(before_the_poll_there_is_no_socket_and_at_the_address_there_is);

async fn before_the_poll_there_is_no_socket_and_at_the_address_there_is(case: Case) {
    let mut swarm = lazy_swarm(case);
    let ip = own_ip(1);
    let port = free_port(ip);
    let address = listen_address(ip, port);
    swarm.listen_on(address.clone()).unwrap();

    assert_eq!(swarm.listeners().count(), 0);
    assert_eq!(
        connect((ip, port)).unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    // Somebody else can have the port, and leave it.
    drop(TcpListener::bind((ip, port)).unwrap());

    assert_eq!(new_address(&mut swarm).await, address);
    // The swarm is not polled here: it is the bound socket that answers.
    connect((ip, port)).unwrap();
    assert!(swarm.listeners().eq([&address]));
    assert_eq!(
        TcpListener::bind((ip, port)).unwrap_err().kind(),
        ErrorKind::AddrInUse
    );
}

on_each!(what_is_not_websocket_is_refused_unchanged);

async fn what_is_not_websocket_is_refused_unchanged(case: Case) {
    let mut swarm = lazy_swarm(case);
    for address in [
        "/ip4/127.0.0.1/tcp/0",
        "/ip4/127.0.0.1/udp/0/quic-v1",
        "/dnsaddr/localhost/tcp/0/ws",
        "/memory/1",
    ] {
        let address: Multiaddr = address.parse().unwrap();
        match swarm.listen_on(address.clone()) {
            Err(TransportError::MultiaddrNotSupported(refused)) => assert_eq!(refused, address),
            other => panic!("{address}: {other:?}"),
        }
    }
    assert!(swarm.next().now_or_never().is_none());
}

on_each!(a_listener_removed_before_the_first_poll_only_closes);

async fn a_listener_removed_before_the_first_poll_only_closes(case: Case) {
    let mut swarm = lazy_swarm(case);
    let ip = own_ip(2);
    let port = free_port(ip);
    let id = swarm.listen_on(listen_address(ip, port)).unwrap();
    assert!(swarm.remove_listener(id));
    assert!(!swarm.remove_listener(id));
    match next(&mut swarm).await {
        SwarmEvent::ListenerClosed {
            listener_id,
            addresses,
            reason: Ok(()),
        } => {
            assert_eq!(listener_id, id);
            assert!(addresses.is_empty());
        }
        other => panic!("a close, not {other:?}"),
    }
    assert!(swarm.next().now_or_never().is_none());
    assert!(connect((ip, port)).is_err());
}

on_each!(a_port_that_a_listener_leaves_serves_the_next_one);

async fn a_port_that_a_listener_leaves_serves_the_next_one(case: Case) {
    let mut swarm = lazy_swarm(case);
    let mut id = swarm.listen_on(listen_address(own_ip(3), 0)).unwrap();
    let address = new_address(&mut swarm).await;
    for _ in 0..3 {
        assert!(swarm.remove_listener(id));
        id = swarm.listen_on(address.clone()).unwrap();
        assert!(matches!(
            next(&mut swarm).await,
            SwarmEvent::ListenerClosed { reason: Ok(()), .. }
        ));
        assert_eq!(new_address(&mut swarm).await, address);
    }
    assert!(swarm.remove_listener(id));
    assert!(matches!(
        next(&mut swarm).await,
        SwarmEvent::ListenerClosed { reason: Ok(()), .. }
    ));
    // libp2p-tcp lets go of the socket when it is polled again.
    let _ = swarm.next().now_or_never();
    assert!(connect(socket_address(&address)).is_err());
}

on_each!(many_listeners_all_bind);

async fn many_listeners_all_bind(case: Case) {
    let mut swarm = lazy_swarm(case);
    for _ in 0..100 {
        swarm.listen_on(loopback(0)).unwrap();
    }
    let mut sockets = BTreeSet::new();
    for n in 1..=100 {
        let address = new_address(&mut swarm).await;
        assert_eq!(swarm.listeners().count(), n);
        sockets.insert(socket_address(&address));
    }
    assert_eq!(sockets.len(), 100);
    for socket in sockets {
        connect(socket).unwrap();
    }
}

on_each!(a_wildcard_listener_reports_addresses_that_can_be_dialled);

async fn a_wildcard_listener_reports_addresses_that_can_be_dialled(case: Case) {
    for wildcard in ["/ip4/0.0.0.0/tcp/0/ws", "/ip6/::/tcp/0/ws"] {
        let mut swarm = lazy_swarm(case);
        swarm.listen_on(wildcard.parse().unwrap()).unwrap();
        match next(&mut swarm).await {
            SwarmEvent::NewListenAddr { address, .. } => {
                connect(socket_address(&address)).unwrap();
            }
            SwarmEvent::ListenerError { error, .. } if wildcard.starts_with("/ip6") => {
                eprintln!("skipped {wildcard}: this machine has no IPv6: {error}");
                continue;
            }
            other => panic!("a new address, not {other:?}"),
        }
        while let Some(Some(event)) = swarm.next().now_or_never() {
            if let SwarmEvent::NewListenAddr { address, .. } = event {
                assert!(
                    !matches!(address.iter().next(), Some(Protocol::Ip6(ip)) if ip.is_unicast_link_local()),
                    "{address}"
                );
            }
        }
    }
}

on_each!(two_swarms_meet_and_a_stranger_disturbs_nobody);

async fn two_swarms_meet_and_a_stranger_disturbs_nobody(case: Case) {
    let mut listener = lazy_swarm(case);
    listener.listen_on(loopback(0)).unwrap();
    let address = new_address(&mut listener).await;
    let mut stranger = connect(socket_address(&address)).unwrap();
    stranger.write_all(&[0xff; 64]).unwrap();
    drop(stranger);

    let mut dialer = lazy_swarm(case);
    dialer
        .dial(address.with(Protocol::P2p(*listener.local_peer_id())))
        .unwrap();
    let (mut met, mut turned_away) = (0, 0);
    while met < 2 || turned_away < 1 {
        let event = within(async {
            future::select(listener.select_next_some(), dialer.select_next_some())
                .await
                .factor_first()
                .0
        })
        .await;
        match event {
            SwarmEvent::ConnectionEstablished { .. } => met += 1,
            SwarmEvent::IncomingConnectionError { .. } => turned_away += 1,
            SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error}"),
            _ => {}
        }
    }
    assert_eq!(listener.listeners().count(), 1);
}

/// The builder knows no other runtime.
#[cfg(feature = "tokio")]
mod with_tokio {
    use libp2p::{
        SwarmBuilder, Transport as _,
        core::{transport::MemoryTransport, upgrade::Version},
        identity::Keypair,
        noise, yamux,
    };
    use libp2p_lazy_websocket::lazy;

    use super::*;

    #[tokio::test]
    async fn in_a_swarm_builder_it_shares_the_work_with_other_transports() {
        let case = Case::TOKIO;
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_other_transport(|key| {
                Ok(case
                    .transport(case.config())
                    .upgrade(Version::V1Lazy)
                    .authenticate(noise::Config::new(key)?)
                    .multiplex(yamux::Config::default()))
            })
            .unwrap()
            .with_other_transport(|key| {
                Ok(MemoryTransport::new()
                    .upgrade(Version::V1Lazy)
                    .authenticate(noise::Config::new(key)?)
                    .multiplex(yamux::Config::default()))
            })
            .unwrap()
            .with_behaviour(|_| dummy::Behaviour)
            .unwrap()
            .build();

        let memory: Multiaddr = "/memory/29022".parse().unwrap();
        swarm.listen_on(memory.clone()).unwrap();
        swarm.listen_on(loopback(0)).unwrap();
        let mut addresses = [new_address(&mut swarm).await, new_address(&mut swarm).await];
        addresses.sort();
        assert!(addresses.contains(&memory));
        assert!(addresses.iter().any(|a| a.to_string().ends_with("/ws")));

        let neither: Multiaddr = "/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap();
        match swarm.listen_on(neither.clone()) {
            Err(TransportError::MultiaddrNotSupported(refused)) => assert_eq!(refused, neither),
            other => panic!("{other:?}"),
        }
    }

    /// What this crate makes lazy when its own transport is not wanted.
    fn stock_swarm() -> Swarm<dummy::Behaviour> {
        let case = Case::TOKIO;
        let key = Keypair::generate_ed25519();
        let tcp = libp2p_tcp::tokio::Transport::new(libp2p_tcp::Config::default());
        let is_websocket = |address: &Multiaddr| {
            let protocols: Vec<_> = address.iter().skip(1).collect();
            matches!(protocols[..], [Protocol::Tcp(_), Protocol::Ws(_)])
        };
        let stock = lazy::Filtered::new(libp2p_websocket::Config::new(tcp), is_websocket);
        let transport = lazy::Transport::new(stock, lazy::Config::default())
            .upgrade(Version::V1Lazy)
            .authenticate(noise::Config::new(&key).unwrap())
            .multiplex(yamux::Config::default())
            .boxed();
        let id = key.public().to_peer_id();
        Swarm::new(transport, dummy::Behaviour, id, case.swarm_config())
    }

    #[tokio::test]
    async fn stock_libp2p_websocket_waits_for_its_port_and_connects() {
        let mut listener = stock_swarm();
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = loopback(taken.local_addr().unwrap().port());
        let id = listener.listen_on(address.clone()).unwrap();
        match next(&mut listener).await {
            SwarmEvent::ListenerError { listener_id, error } => {
                assert_eq!(listener_id, id);
                let failure = lazy::ListenError::find(&error).unwrap();
                assert_eq!(failure.reason(), "address in use");
            }
            other => panic!("a failure, not {other:?}"),
        }
        drop(taken);
        loop {
            match next(&mut listener).await {
                SwarmEvent::NewListenAddr { address: new, .. } => break assert_eq!(new, address),
                SwarmEvent::ListenerError { .. } => {}
                other => panic!("a new address, not {other:?}"),
            }
        }

        let mut dialer = stock_swarm();
        dialer.dial(address).unwrap();
        let mut met = 0;
        while met < 2 {
            let event = future::select(listener.select_next_some(), dialer.select_next_some());
            match within(event).await.factor_first().0 {
                SwarmEvent::ConnectionEstablished { .. } => met += 1,
                SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error}"),
                _ => {}
            }
        }

        let not_websocket: Multiaddr = "/ip4/127.0.0.1/tcp/0".parse().unwrap();
        match listener.listen_on(not_websocket.clone()) {
            Err(TransportError::MultiaddrNotSupported(back)) => assert_eq!(back, not_websocket),
            other => panic!("{other:?}"),
        }
    }
}
