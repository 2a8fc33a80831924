//! Listeners on names, and with the name of a TLS server in their address, on real sockets.
#![cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/authority.rs"]
mod authority;
mod common;
#[path = "common/echo.rs"]
mod echo;

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    pin::Pin,
};

use authority::{Authority, Leaf};
use common::{Case, cause, new_address, next, on_each, swarm, within};
use echo::{assert_echoes, dial, echo, port};
use futures::{FutureExt as _, future::poll_fn};
use libp2p::{
    Multiaddr, Transport as _,
    core::transport::{ListenerId, TransportError, TransportEvent},
    futures::StreamExt as _,
    swarm::SwarmEvent,
};
use libp2p_lazy_websocket::websocket::Certificates;

/// Whether this machine has IPv6. Says so if not, since a part of the test is then left out.
fn has_ipv6() -> bool {
    match TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
        Ok(_) => true,
        Err(error) => {
            eprintln!(
                "SKIPPED what needs IPv6, which this machine has not on its loopback: {error}"
            );
            false
        }
    }
}

/// The address with the port that another one has.
fn with_port_of(address: &str, other: &Multiaddr) -> Multiaddr {
    let port = port(other);
    assert_ne!(port, 0);
    let address = address.replace("/tcp/0/", &format!("/tcp/{port}/"));
    address.parse().unwrap()
}

fn connects(ip: impl Into<std::net::IpAddr>, address: &Multiaddr) -> bool {
    TcpStream::connect(SocketAddr::new(ip.into(), port(address))).is_ok()
}

on_each!(a_name_is_announced_as_it_is_with_its_port_and_can_be_dialled_there);

async fn a_name_is_announced_as_it_is_with_its_port_and_can_be_dialled_there(case: Case) {
    for (listen, ip4, ip6) in [
        ("/dns4/localhost/tcp/0/ws", true, false),
        ("/dns4/localhost/tcp/0/x-parity-ws/%2Fa", true, false),
        ("/dns6/localhost/tcp/0/ws", false, true),
        ("/dns/localhost/tcp/0/ws", true, true),
    ] {
        let has_ipv6 = has_ipv6();
        if !has_ipv6 && !ip4 {
            continue;
        }
        let announced = echo(case, case.config(), &[listen]).await.remove(0);
        assert_eq!(announced, with_port_of(listen, &announced));
        assert!(!ip4 || connects(Ipv4Addr::LOCALHOST, &announced));
        assert!(!ip6 || !has_ipv6 || connects(Ipv6Addr::LOCALHOST, &announced));
        let connection = dial(case, case.config(), &announced).await;
        assert_echoes(connection.unwrap_or_else(|e| panic!("{listen}: {e:?}"))).await;
    }
}

on_each!(every_form_with_tls_is_announced_as_it_is_and_can_be_dialled_there);

async fn every_form_with_tls_is_announced_as_it_is_and_can_be_dialled_there(case: Case) {
    let authority = Authority::new();
    let certificates = authority.sign(&Leaf::default()).in_use();
    let listener = case.config().with_certificates(certificates);
    let dialer = case.config().with_trust_anchor(authority.anchor());
    for listen in [
        "/dns4/localhost/tcp/0/tls/ws",
        "/dns4/localhost/tcp/0/wss",
        "/dns4/localhost/tcp/0/tls/sni/localhost/ws",
        "/dns/localhost/tcp/0/tls/ws",
        "/dns/localhost/tcp/0/tls/sni/localhost/ws",
        "/ip4/127.0.0.1/tcp/0/tls/sni/localhost/ws",
        "/ip4/127.0.0.1/tcp/0/tls/sni/localhost/x-parity-ws/%2Fa",
    ] {
        let announced = echo(case, listener.clone(), &[listen]).await.remove(0);
        assert_eq!(announced, with_port_of(listen, &announced));
        let connection = dial(case, dialer.clone(), &announced).await;
        assert_echoes(connection.unwrap_or_else(|e| panic!("{listen}: {e:?}"))).await;
    }
}

on_each!(a_connection_comes_in_at_the_announced_address);

async fn a_connection_comes_in_at_the_announced_address(case: Case) {
    for listen in [
        "/dns/localhost/tcp/0/ws",
        "/dns4/localhost/tcp/0/tls/ws",
        "/ip4/127.0.0.1/tcp/0/tls/sni/localhost/ws",
    ] {
        let certificates = Authority::new().sign(&Leaf::default()).in_use();
        let mut transport = case.transport(case.config().with_certificates(certificates));
        let id = ListenerId::next();
        transport.listen_on(id, listen.parse().unwrap()).unwrap();
        let mut poll = async || within(poll_fn(|cx| Pin::new(&mut transport).poll(cx))).await;
        let TransportEvent::NewAddress { listen_addr, .. } = poll().await else {
            panic!("a new address");
        };
        let stranger = TcpStream::connect((Ipv4Addr::LOCALHOST, port(&listen_addr))).unwrap();
        match poll().await {
            TransportEvent::Incoming {
                listener_id,
                local_addr,
                send_back_addr,
                ..
            } => {
                assert_eq!(listener_id, id);
                assert_eq!(local_addr, listen_addr);
                let from = stranger.local_addr().unwrap();
                let from = format!("/ip4/{}/tcp/{}/", from.ip(), from.port());
                assert!(send_back_addr.to_string().starts_with(&from));
            }
            other => panic!("a connection, not {other:?}"),
        }
    }
}

on_each!(a_name_is_one_address_of_the_swarm_until_its_listener_is_removed);

async fn a_name_is_one_address_of_the_swarm_until_its_listener_is_removed(case: Case) {
    for listen in ["/dns/localhost/tcp/0/ws", "/dns4/localhost/tcp/0/ws"] {
        let mut swarm = swarm(case, case.transport(case.config()));
        let id = swarm.listen_on(listen.parse().unwrap()).unwrap();
        let announced = new_address(&mut swarm).await;
        // All interfaces of all its parts have been seen.
        assert!(swarm.next().now_or_never().is_none());
        assert!(swarm.listeners().eq([&announced]));

        assert!(swarm.remove_listener(id));
        match next(&mut swarm).await {
            SwarmEvent::ListenerClosed {
                listener_id,
                addresses,
                reason: Ok(()),
            } => {
                assert_eq!(listener_id, id);
                assert_eq!(addresses, std::slice::from_ref(&announced));
            }
            other => panic!("a close, not {other:?}"),
        }
        assert_eq!(swarm.listeners().count(), 0);
        assert!(swarm.next().now_or_never().is_none());

        // Nothing is left of it: the port serves the next one.
        swarm.listen_on(announced.clone()).unwrap();
        assert_eq!(new_address(&mut swarm).await, announced);
    }
}

on_each!(if_the_second_family_cannot_be_bound_the_first_is_not_kept);

async fn if_the_second_family_cannot_be_bound_the_first_is_not_kept(case: Case) {
    if !has_ipv6() {
        return;
    }
    // Taken in one family, and free in the other.
    let (socket, taken) = loop {
        let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.set_only_v6(true).unwrap();
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        socket.bind(&any.into()).unwrap();
        socket.listen(1).unwrap();
        let port = socket.local_addr().unwrap().as_socket().unwrap().port();
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            break (socket, port);
        }
    };

    // By itself, so that nobody tries it again.
    let config = case.config();
    let mut transport = case.inner(config);
    let address: Multiaddr = format!("/dns/localhost/tcp/{taken}/ws").parse().unwrap();
    match transport.listen_on(ListenerId::next(), address.clone()) {
        Err(TransportError::Other(error)) => assert_eq!(
            cause::<io::Error>(&error).unwrap().kind(),
            io::ErrorKind::AddrInUse
        ),
        other => panic!("{other:?}"),
    }
    poll_fn(|cx| {
        assert!(Pin::new(&mut transport).poll(cx).is_pending());
        std::task::Poll::Ready(())
    })
    .await;

    // Had it been, the port would still be in use.
    drop(socket);
    let id = ListenerId::next();
    transport.listen_on(id, address.clone()).unwrap();
    match within(poll_fn(|cx| Pin::new(&mut transport).poll(cx))).await {
        TransportEvent::NewAddress {
            listener_id,
            listen_addr,
        } => assert_eq!((listener_id, listen_addr), (id, address)),
        other => panic!("a new address, not {other:?}"),
    }
}

on_each!(tls_forms_need_a_certificate_as_those_of_an_ip_do);

async fn tls_forms_need_a_certificate_as_those_of_an_ip_do(case: Case) {
    for listen in [
        "/dns4/localhost/tcp/0/tls/ws",
        "/dns/localhost/tcp/0/wss",
        "/dns4/localhost/tcp/0/tls/sni/localhost/ws",
        "/ip4/127.0.0.1/tcp/0/tls/sni/localhost/ws",
    ] {
        let address: Multiaddr = listen.parse().unwrap();
        let never = case.config();
        match case
            .transport(never)
            .listen_on(ListenerId::next(), address.clone())
        {
            Err(TransportError::MultiaddrNotSupported(refused)) => assert_eq!(refused, address),
            other => panic!("{listen}: {other:?}"),
        }

        let certificates = Certificates::new();
        let later = case.config().with_certificates(certificates.clone());
        let mut transport = case.transport(later);
        transport
            .listen_on(ListenerId::next(), address.clone())
            .unwrap();
        let next = poll_fn(|cx| Pin::new(&mut transport).poll(cx));
        assert!(next.now_or_never().is_none(), "{listen}");
        let signed = Authority::new().sign(&Leaf::default());
        certificates.set(signed.certificate()).unwrap();
        let listen_addr = echo::new_address(&mut transport).await;
        assert_eq!(listen_addr, with_port_of(listen, &listen_addr));
    }
}

on_each!(what_is_no_name_of_a_host_is_refused_unchanged);

async fn what_is_no_name_of_a_host_is_refused_unchanged(case: Case) {
    for address in [
        "/dnsaddr/localhost/tcp/0/ws",
        "/dns/localhost/udp/0/quic-v1",
        "/dns4/localhost/tcp/0",
        "/dns4/localhost/ip4/127.0.0.1/tcp/0/ws",
        "/ip4/127.0.0.1/tcp/0/sni/localhost/ws",
        "/dns4/localhost/tcp/0/ws/p2p/12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5",
        "/ip4/0.0.0.0/tcp/0/tls/sni/*/ws",
        "/dns4/localhost/tcp/0/tls/sni/*/ws",
        "/dns/*.example.com/tcp/0/wss",
        "/dns4/*.example.com/tcp/0/ws",
        "/ip6zone/lo/ip6/fe80::1/tcp/0/ws",
        "/ip4/127.0.0.1/tcp/0/ws/http-path/a",
    ] {
        let address: Multiaddr = address.parse().unwrap();
        let certificates = Certificates::new();
        let mut transport = case.transport(case.config().with_certificates(certificates));
        match transport.listen_on(ListenerId::next(), address.clone()) {
            Err(TransportError::MultiaddrNotSupported(refused)) => assert_eq!(refused, address),
            other => panic!("{address}: {other:?}"),
        }
    }
}
