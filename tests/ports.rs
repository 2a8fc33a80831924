//! Ports on which somebody listens already, found before the bind.
#![cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    pin::Pin,
};

use common::{Case, cause, on_each, within};
use futures::future::poll_fn;
use libp2p::{
    Multiaddr, Transport as _,
    core::{
        Endpoint,
        transport::{DialOpts, ListenerId, PortUse, TransportError, TransportEvent},
    },
    multiaddr::Protocol,
};
use libp2p_lazy_websocket::websocket::{self, Config, Connection};
use socket2::{Domain, Socket, Type};

/// By itself, so that what `listen_on` returns is how the bind went.
type Transport = websocket::Transport;

const IP4: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
];
const IP6: [IpAddr; 2] = [
    IpAddr::V6(Ipv6Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
];

fn sharing(case: Case) -> Config {
    case.config().with_port_probe(false)
}

fn websocket(ip: IpAddr, port: u16) -> Multiaddr {
    Multiaddr::from(ip)
        .with(Protocol::Tcp(port))
        .with(Protocol::Ws("/".into()))
}

/// How the bind of a new listener there goes.
fn try_listen(transport: &mut Transport, ip: IpAddr, port: u16) -> io::Result<ListenerId> {
    let id = ListenerId::next();
    match transport.listen_on(id, websocket(ip, port)) {
        Ok(()) => Ok(id),
        Err(TransportError::Other(error)) => {
            let error: &io::Error = cause(&error).unwrap();
            // Of the operating system, unless both are of one transport.
            let code = error.raw_os_error();
            Err(code.map_or_else(|| error.kind().into(), io::Error::from_raw_os_error))
        }
        Err(error) => panic!("{error:?}"),
    }
}

#[track_caller]
fn assert_in_use(result: io::Result<ListenerId>, what: &str) {
    match result {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
        other => panic!("{what}: {other:?}"),
    }
}

/// A socket of somebody else, with the options that its owner chose.
fn listener(ip: IpAddr, shares: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address((ip, 0).into()),
        Type::STREAM,
        Some(socket2::Protocol::TCP),
    )?;
    if ip.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(shares)?;
    #[cfg(unix)]
    socket.set_reuse_port(shares)?;
    socket.bind(&SocketAddr::from((ip, 0)).into())?;
    socket.listen(8)?;
    Ok(socket)
}

fn port_of(socket: &Socket) -> u16 {
    socket.local_addr().unwrap().as_socket().unwrap().port()
}

async fn next(
    transport: &mut Transport,
) -> TransportEvent<<Transport as libp2p::Transport>::ListenerUpgrade, websocket::Error> {
    within(poll_fn(|cx| Pin::new(&mut *transport).poll(cx))).await
}

/// Listens on a port that the system chooses.
async fn listening(transport: &mut Transport, ip: IpAddr) -> (ListenerId, Multiaddr) {
    let id = try_listen(transport, ip, 0).unwrap();
    match next(transport).await {
        TransportEvent::NewAddress { listen_addr, .. } => (id, listen_addr),
        other => panic!("a new address, not {other:?}"),
    }
}

async fn close(transport: &mut Transport, id: ListenerId) {
    assert!(transport.remove_listener(id));
    match next(transport).await {
        TransportEvent::ListenerClosed {
            listener_id,
            reason: Ok(()),
        } => assert_eq!(listener_id, id),
        other => panic!("a close, not {other:?}"),
    }
    // The socket goes with the poll that follows.
    poll_fn(|cx| {
        assert!(Pin::new(&mut *transport).poll(cx).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
}

fn port(address: &Multiaddr) -> u16 {
    common::socket_address(address).port()
}

/// Whether a wildcard finds a specific address and the other way round.
const CROSSWISE: bool = cfg!(target_os = "linux");

on_each!(whoever_listens_there_and_however_the_port_is_in_use);

async fn whoever_listens_there_and_however_the_port_is_in_use(case: Case) {
    for ips in [IP4, IP6] {
        for theirs in ips {
            for shares in [false, true] {
                let other = match listener(theirs, shares) {
                    Ok(other) => other,
                    Err(error) => {
                        assert!(theirs.is_ipv6(), "{error}");
                        eprintln!("SKIPPED {theirs}, which this machine has not: {error}");
                        continue;
                    }
                };
                for ours in ips.into_iter().filter(|ours| CROSSWISE || *ours == theirs) {
                    let what = format!("{ours} beside {theirs}, sharing {shares}");
                    let mut transport = case.inner(case.config());
                    assert_in_use(try_listen(&mut transport, ours, port_of(&other)), &what);
                }
            }
        }
    }
}

on_each!(one_s_own_listeners_count_too_until_they_are_closed);

async fn one_s_own_listeners_count_too_until_they_are_closed(case: Case) {
    for theirs in IP4 {
        for ours in IP4.into_iter().filter(|ours| CROSSWISE || *ours == theirs) {
            let what = format!("{ours} beside {theirs}");
            let mut first = case.inner(case.config());
            let (id, address) = listening(&mut first, theirs).await;
            let port = port(&address);
            let mut second = case.inner(case.config());
            assert_in_use(try_listen(&mut second, ours, port), &what);
            assert_in_use(try_listen(&mut first, ours, port), &what);
            // The other interfaces of a wildcard.
            while let Some(TransportEvent::NewAddress { .. }) =
                futures::FutureExt::now_or_never(poll_fn(|cx| Pin::new(&mut first).poll(cx)))
            {
            }
            close(&mut first, id).await;
            try_listen(&mut second, ours, port).unwrap();
        }
    }
}

#[cfg(target_os = "linux")]
on_each!(a_socket_of_both_families_has_the_port_in_both);

#[cfg(target_os = "linux")]
async fn a_socket_of_both_families_has_the_port_in_both(case: Case) {
    let Ok(socket) = Socket::new(Domain::IPV6, Type::STREAM, None) else {
        eprintln!("SKIPPED: this machine has no IPv6");
        return;
    };
    socket.set_only_v6(false).unwrap();
    socket
        .bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into())
        .unwrap();
    socket.listen(8).unwrap();
    for ip in IP4.into_iter().chain(IP6) {
        let mut transport = case.inner(case.config());
        assert_in_use(
            try_listen(&mut transport, ip, port_of(&socket)),
            &ip.to_string(),
        );
    }
}

on_each!(the_port_of_another_family_or_address_is_free);

async fn the_port_of_another_family_or_address_is_free(case: Case) {
    let mut transport = case.inner(case.config());
    let (_, address) = listening(&mut transport, IP4[0]).await;
    match try_listen(&mut transport, IP6[1], port(&address)) {
        Ok(_) => {}
        Err(error) if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() => {
            eprintln!("SKIPPED: this machine has no IPv6: {error}");
        }
        Err(error) => panic!("{error}"),
    }
    if cfg!(target_os = "linux") {
        let another = IpAddr::V4(Ipv4Addr::new(127, 0, 3, 1));
        try_listen(&mut transport, another, port(&address)).unwrap();
    }
}

#[cfg(unix)]
on_each!(switched_off_only_the_bind_decides);

#[cfg(unix)]
async fn switched_off_only_the_bind_decides(case: Case) {
    let shares = listener(IP4[0], true).unwrap();
    try_listen(&mut case.inner(sharing(case)), IP4[0], port_of(&shares)).unwrap();
    let keeps = listener(IP4[0], false).unwrap();
    assert_in_use(
        try_listen(&mut case.inner(sharing(case)), IP4[0], port_of(&keeps)),
        "a socket that does not share",
    );
}

/// Dials from the port that `from` listens on, and accepts there.
async fn connect(
    from: &mut Transport,
    to: &mut Transport,
    address: Multiaddr,
) -> (Connection, Connection, Multiaddr) {
    let opts = DialOpts {
        role: Endpoint::Dialer,
        port_use: PortUse::Reuse,
    };
    let dial = from.dial(address, opts).unwrap();
    let accept = async {
        match next(to).await {
            TransportEvent::Incoming {
                upgrade,
                send_back_addr,
                ..
            } => (upgrade.await.unwrap(), send_back_addr),
            other => panic!("a connection, not {other:?}"),
        }
    };
    let (dialled, (accepted, from)) = within(async { futures::join!(dial, accept) }).await;
    (dialled.unwrap(), accepted, from)
}

on_each!(connections_with_the_port_do_not_count);

async fn connections_with_the_port_do_not_count(case: Case) {
    // Each from its own address, where that is possible, so that nobody else is given the ports in between.
    let ips = if cfg!(target_os = "linux") {
        [Ipv4Addr::new(127, 0, 3, 2), Ipv4Addr::new(127, 0, 3, 3)]
    } else {
        [Ipv4Addr::LOCALHOST; 2]
    };
    let [mut from, mut to] = [(); 2].map(|()| case.inner(case.config()));
    let (from_id, from_address) = listening(&mut from, ips[0].into()).await;
    let (to_id, to_address) = listening(&mut to, ips[1].into()).await;
    let (dialled, accepted, seen) = connect(&mut from, &mut to, to_address.clone()).await;
    assert_eq!(port(&seen), port(&from_address), "it left from that port");
    close(&mut from, from_id).await;
    close(&mut to, to_id).await;

    // Alive on both ports, and nobody listens.
    let mut next_ones = [(); 2].map(|()| case.inner(case.config()));
    let addresses = [from_address, to_address];
    let mut ids = Vec::new();
    for ((transport, ip), address) in next_ones.iter_mut().zip(ips).zip(&addresses) {
        ids.push(try_listen(transport, ip.into(), port(address)).unwrap());
        next(transport).await;
    }
    for (transport, id) in next_ones.iter_mut().zip(ids) {
        close(transport, id).await;
    }

    // And after them, while the system keeps the pair in TIME_WAIT.
    drop((dialled, accepted));
    for ((transport, ip), address) in next_ones.iter_mut().zip(ips).zip(&addresses) {
        try_listen(transport, ip.into(), port(address)).unwrap();
    }
}
