//! What libp2p-core expects of a transport, by the documentation of its trait and the events of it, on real sockets.
#![cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[path = "common/echo.rs"]
mod echo;

use std::{collections::HashSet, net::TcpStream, pin::Pin};

use common::{Case, on_each, within};
use echo::{assert_echoes, dial, dial_with, port, send_back};
use futures::{
    future::{self, poll_fn},
    pin_mut,
};
use libp2p::{
    Multiaddr, Transport,
    core::{
        Endpoint,
        transport::{
            DialOpts, ListenerId, MemoryTransport, PortUse, TransportError, TransportEvent,
        },
        upgrade::Version,
    },
    identity::Keypair,
    multiaddr::Protocol,
    noise, yamux,
};
use libp2p_lazy_websocket::{lazy, websocket};
use tokio_test::task;

const DIALER: DialOpts = DialOpts {
    role: Endpoint::Dialer,
    port_use: PortUse::New,
};

fn loopback() -> Multiaddr {
    "/ip4/127.0.0.1/tcp/0/ws".parse().unwrap()
}

async fn next<T: Transport + Unpin>(
    transport: &mut T,
) -> TransportEvent<T::ListenerUpgrade, T::Error> {
    within(poll_fn(|cx| Pin::new(&mut *transport).poll(cx))).await
}

async fn listen<T: Transport + Unpin>(
    transport: &mut T,
    address: Multiaddr,
) -> (ListenerId, Multiaddr) {
    let id = ListenerId::next();
    transport.listen_on(id, address).unwrap();
    match next(transport).await {
        TransportEvent::NewAddress {
            listener_id,
            listen_addr,
        } => {
            assert_eq!(listener_id, id);
            (id, listen_addr)
        }
        _ => panic!("a new address"),
    }
}

async fn incoming<T: Transport + Unpin>(transport: &mut T) -> T::ListenerUpgrade {
    match next(transport).await {
        TransportEvent::Incoming { upgrade, .. } => upgrade,
        _ => panic!("a connection"),
    }
}

on_each!(a_connection_is_set_up_without_holding_up_the_next);

async fn a_connection_is_set_up_without_holding_up_the_next(case: Case) {
    let mut transport = case.transport(case.config());
    let (_, address) = listen(&mut transport, loopback()).await;
    let silent = TcpStream::connect(("127.0.0.1", port(&address))).unwrap();
    let waits = incoming(&mut transport).await;
    let dialling = case.spawn(async move {
        let connection = dial(case, case.config(), &address).await.unwrap();
        assert_echoes(connection).await;
    });
    let upgrade = incoming(&mut transport).await;
    case.spawn(async { send_back(upgrade.await.unwrap()).await })
        .forget();
    within(dialling).await;
    drop(silent);
    within(waits).await.unwrap_err();
}

on_each!(a_connection_comes_in_at_an_address_that_was_announced_and_from_one_of_the_same_kind);

async fn a_connection_comes_in_at_an_address_that_was_announced_and_from_one_of_the_same_kind(
    case: Case,
) {
    let mut transport = case.transport(case.config());
    let (first, one) = listen(&mut transport, loopback()).await;
    let (second, other) = listen(&mut transport, loopback()).await;
    for (id, address) in [(first, one), (second, other)] {
        let to = address.clone();
        let dialling = case.spawn(async move { dial(case, case.config(), &to).await });
        let TransportEvent::Incoming {
            listener_id,
            upgrade,
            local_addr,
            send_back_addr,
        } = next(&mut transport).await
        else {
            panic!("a connection");
        };
        assert_eq!((listener_id, &local_addr), (id, &address));
        let from = port(&send_back_addr);
        assert_ne!(from, port(&address));
        let expected = format!("/ip4/127.0.0.1/tcp/{from}/ws");
        assert_eq!(send_back_addr, expected.parse().unwrap());
        let (accepted, dialled) = within(future::join(upgrade, dialling)).await;
        assert!(accepted.is_ok() && dialled.is_ok());
    }
}

on_each!(a_listener_is_removed_once_and_the_others_stay);

async fn a_listener_is_removed_once_and_the_others_stay(case: Case) {
    let mut transport = case.transport(case.config());
    let (id, gone) = listen(&mut transport, loopback()).await;
    let (_, stays) = listen(&mut transport, loopback()).await;
    assert!(!transport.remove_listener(ListenerId::next()));
    assert!(transport.remove_listener(id));
    assert!(!transport.remove_listener(id));
    match next(&mut transport).await {
        TransportEvent::ListenerClosed {
            listener_id,
            reason: Ok(()),
        } => assert_eq!(listener_id, id),
        other => panic!("its close, not {other:?}"),
    }
    assert!(!transport.remove_listener(id));
    // The next event is that of the other one, so nothing more was heard of it.
    let dialling = case.spawn(async move {
        dial(case, case.config(), &gone).await.unwrap_err();
        dial(case, case.config(), &stays).await.unwrap()
    });
    let upgrade = incoming(&mut transport).await;
    let (accepted, _) = within(future::join(upgrade, dialling)).await;
    accepted.unwrap();
}

on_each!(it_may_be_one_of_several_transports);

async fn it_may_be_one_of_several_transports(case: Case) {
    let mut several = case
        .transport(case.config())
        .or_transport(MemoryTransport::default());
    let memory: Multiaddr = format!("/memory/{}", rand::random::<u64>())
        .parse()
        .unwrap();
    let mut kinds = HashSet::new();
    for address in [loopback(), memory] {
        let (_, address) = listen(&mut several, address).await;
        kinds.insert(address.iter().next().unwrap().tag());
        let dial = several.dial(address, DIALER).unwrap();
        pin_mut!(dial);
        let both = async {
            let accept = async { incoming(&mut several).await.await.is_ok() };
            let (accepted, dialled) = future::join(accept, dial).await;
            assert!(accepted && dialled.is_ok());
        };
        within(both).await;
    }
    assert_eq!(kinds, HashSet::from(["ip4", "memory"]));
    let unknown: Multiaddr = "/ip4/127.0.0.1/udp/1/quic-v1".parse().unwrap();
    let refused = several.listen_on(ListenerId::next(), unknown.clone());
    assert!(
        matches!(refused, Err(TransportError::MultiaddrNotSupported(address)) if address == unknown)
    );
}

on_each!(a_chain_of_upgrades_leads_to_a_connection_of_both_peers);

async fn a_chain_of_upgrades_leads_to_a_connection_of_both_peers(case: Case) {
    let [(listener, mut listening), (dialer, mut dialling)] = [(); 2].map(|()| {
        let key = Keypair::generate_ed25519();
        let transport = case
            .transport(case.config())
            .map(|connection, _| connection)
            .and_then(|connection, _| future::ok::<_, std::io::Error>(connection))
            .upgrade(Version::V1)
            .authenticate(noise::Config::new(&key).unwrap())
            .multiplex(yamux::Config::default())
            .boxed();
        (key.public().to_peer_id(), transport)
    });
    let (_, address) = listen(&mut listening, loopback()).await;
    let dial = dialling.dial(address, DIALER).unwrap();
    let accept = async { incoming(&mut listening).await.await };
    let (accepted, dialled) = within(future::join(accept, dial)).await;
    assert_eq!(accepted.unwrap().0, dialer);
    assert_eq!(dialled.unwrap().0, listener);
}

on_each!(a_connection_outlives_both_transports);

async fn a_connection_outlives_both_transports(case: Case) {
    let mut listening = case.transport(case.config());
    let mut dialling = case.transport(case.config());
    let (_, address) = listen(&mut listening, loopback()).await;
    let accept = async { incoming(&mut listening).await.await };
    let (accepted, dialled) = future::join(accept, dial_with(&mut dialling, &address)).await;
    drop((listening, dialling));
    case.spawn(async { send_back(accepted.unwrap()).await })
        .forget();
    assert_echoes(dialled.unwrap()).await;
    // With the transport its listeners are gone.
    TcpStream::connect(("127.0.0.1", port(&address))).unwrap_err();
}

on_each!(dials_under_way_keep_no_listening_socket_open);

async fn dials_under_way_keep_no_listening_socket_open(case: Case) {
    let mut to = case.transport(case.config());
    let (_, address) = listen(&mut to, loopback()).await;
    let mut from = case.transport(case.config());
    let (_, listened) = listen(&mut from, loopback()).await;

    let mut connected = task::spawn(from.dial(address.clone(), DIALER).unwrap());
    assert!(connected.poll().is_pending());
    let upgrade = incoming(&mut to).await;
    // `/ip4/127.0.0.1` by name, and as it is.
    let name = Multiaddr::from(Protocol::Dns4("localhost".into()));
    let by_name = name.into_iter().chain(address.iter().skip(1)).collect();
    let [mut resolving, untouched] =
        [by_name, address].map(|address| from.dial(address, DIALER).unwrap());
    // It may be done at once.
    let _ = futures::poll!(&mut resolving);

    drop(from);
    let refused = TcpStream::connect(("127.0.0.1", port(&listened))).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    // What has its TCP connection goes on.
    let (accepted, dialled) = within(future::join(upgrade, connected)).await;
    assert!(accepted.is_ok() && dialled.is_ok());
    let error = within(untouched).await.unwrap_err();
    assert!(
        matches!(
            error,
            lazy::Error::Inner(websocket::Error::TransportDropped)
        ),
        "{error:?}"
    );
    drop(resolving);
}
