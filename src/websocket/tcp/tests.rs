//! On real sockets of loopback, without a runtime: async-io has a thread of its own.

use std::{
    io::{self, IoSlice, Read as _, Write as _},
    net::{self, Ipv4Addr},
    pin::Pin,
    time::Duration,
};

use futures::{
    AsyncReadExt as _, AsyncWriteExt as _, FutureExt as _,
    channel::mpsc,
    executor::block_on,
    future::{self, Either, poll_fn},
};
use futures_timer::Delay;
use libp2p_core::{Endpoint, Transport as _};
use multiaddr::Protocol;

use super::*;
use crate::websocket::interfaces::{Change, Changes};

fn never() -> io::Result<Changes> {
    Ok(futures::stream::pending().boxed())
}

fn transport() -> Transport {
    transport_with(TcpOptions::default(), never)
}

fn transport_with(options: TcpOptions, watch: Watch) -> Transport {
    Transport::new(options, watch)
}

fn within<T>(future: impl Future<Output = T>) -> T {
    let limit = Delay::new(Duration::from_secs(30));
    match block_on(future::select(Box::pin(future), limit)) {
        Either::Left((done, _)) => done,
        Either::Right(_) => panic!("it happens within 30 s"),
    }
}

fn next(transport: &mut Transport) -> Event {
    within(poll_fn(|cx| Pin::new(&mut *transport).poll(cx)))
}

fn nothing(transport: &mut Transport) {
    let event = poll_fn(|cx| Pin::new(&mut *transport).poll(cx)).now_or_never();
    assert!(event.is_none(), "{event:?}");
}

fn listen(transport: &mut Transport, address: &str) -> (ListenerId, SocketAddr) {
    let id = ListenerId::next();
    transport.listen_on(id, address.parse().unwrap()).unwrap();
    match next(transport) {
        TransportEvent::NewAddress {
            listener_id,
            listen_addr,
        } => {
            assert_eq!(listener_id, id);
            (id, socket_address(&listen_addr).unwrap())
        }
        other => panic!("a new address, not {other:?}"),
    }
}

fn dial(
    transport: &mut Transport,
    address: &str,
    port_use: PortUse,
) -> BoxFuture<'static, io::Result<Stream>> {
    let opts = DialOpts {
        role: Endpoint::Dialer,
        port_use,
    };
    transport.dial(address.parse().unwrap(), opts).unwrap()
}

fn incoming(transport: &mut Transport) -> (Stream, SocketAddr, SocketAddr) {
    match next(transport) {
        TransportEvent::Incoming {
            upgrade,
            local_addr,
            send_back_addr,
            ..
        } => (
            block_on(upgrade).unwrap(),
            socket_address(&local_addr).unwrap(),
            socket_address(&send_back_addr).unwrap(),
        ),
        other => panic!("a connection, not {other:?}"),
    }
}

/// Both ends of a connection, and the address that the second sees of the first.
fn connect(port_use: PortUse, from: &mut Transport) -> (Stream, Stream, SocketAddr) {
    let mut to = transport();
    let (_, at) = listen(&mut to, "/ip4/127.0.0.1/tcp/0");
    let dial = dial(from, &format!("/ip4/127.0.0.1/tcp/{}", at.port()), port_use);
    let dialled = within(dial).unwrap();
    let (accepted, local, remote) = incoming(&mut to);
    assert_eq!(local, at);
    assert_eq!(dialled.socket().local_addr().unwrap(), remote);
    (dialled, accepted, remote)
}

#[test]
fn both_families_are_listened_on_and_dialled() {
    for host in ["/ip4/127.0.0.1", "/ip6/::1"] {
        if host == "/ip6/::1" && TcpListener::bind("[::1]:0").is_err() {
            eprintln!("SKIPPED {host}: this machine has no IPv6");
            continue;
        }
        let mut to = transport();
        let (_, at) = listen(&mut to, &format!("{host}/tcp/0"));
        assert_ne!(at.port(), 0);
        let address = format!("{host}/tcp/{}", at.port());
        let mut dialled = within(dial(&mut transport(), &address, PortUse::New)).unwrap();
        let (mut accepted, ..) = incoming(&mut to);
        within(async {
            let parts = [IoSlice::new(b"one "), IoSlice::new(b"two")];
            assert_eq!(dialled.write_vectored(&parts).await.unwrap(), 7);
            dialled.close().await.unwrap();
            // The end is said, and the other direction stays open.
            let mut read = String::new();
            accepted.read_to_string(&mut read).await.unwrap();
            assert_eq!(read, "one two");
            accepted.write_all(b"three").await.unwrap();
            accepted.close().await.unwrap();
            read.clear();
            dialled.read_to_string(&mut read).await.unwrap();
            assert_eq!(read, "three");
            dialled.close().await.unwrap();
        });
    }
}

#[test]
fn more_than_the_system_holds_passes_both_ways() {
    let (dialled, accepted, _) = connect(PortUse::New, &mut transport());
    let sent: Vec<u8> = (0..=250).cycle().take(16 << 20).collect();
    let (mut from, mut back) = dialled.split();
    let echo = async {
        let (read, mut write) = accepted.split();
        futures::io::copy(read, &mut write).await.unwrap();
        write.close().await.unwrap();
    };
    let write = async {
        back.write_all(&sent).await.unwrap();
        back.close().await.unwrap();
    };
    let mut received = Vec::new();
    let read = async { from.read_to_end(&mut received).await.unwrap() };
    within(async { futures::join!(echo, write, read) });
    assert!(received == sent, "the bytes are the same");
}

#[test]
fn the_options_are_those_of_both_ends() {
    let options = TcpOptions {
        nodelay: false,
        ttl: Some(33),
        linger: Some(Duration::from_secs(7)),
        backlog: 5,
    };
    for (options, nodelay, ttl, linger) in [
        (TcpOptions::default(), true, None, None),
        (
            options.clone(),
            options.nodelay,
            options.ttl,
            options.linger,
        ),
    ] {
        let mut to = transport_with(options.clone(), never);
        let (_, at) = listen(&mut to, "/ip4/127.0.0.1/tcp/0");
        let address = format!("/ip4/127.0.0.1/tcp/{}", at.port());
        let dial = dial(&mut transport_with(options, never), &address, PortUse::New);
        let dialled = within(dial).unwrap();
        let (accepted, ..) = incoming(&mut to);
        for stream in [&dialled, &accepted] {
            let socket = stream.socket();
            assert_eq!(socket.nodelay().unwrap(), nodelay);
            assert_eq!(socket.ttl().unwrap() == 33, ttl.is_some());
            assert_eq!(socket2::SockRef::from(socket).linger().unwrap(), linger);
        }
    }
}

#[test]
fn a_dial_may_leave_from_the_port_of_a_listener_that_is_there() {
    let mut from = transport();
    let (id, at) = listen(&mut from, "/ip4/127.0.0.1/tcp/0");
    let (_, _, remote) = connect(PortUse::Reuse, &mut from);
    assert_eq!(remote.port(), at.port());
    let (_, _, remote) = connect(PortUse::New, &mut from);
    assert_ne!(remote.port(), at.port());

    // Closed, but its close not reported yet.
    assert!(from.remove_listener(id));
    let (_, _, remote) = connect(PortUse::Reuse, &mut from);
    assert_ne!(remote.port(), at.port());
}

#[test]
fn a_second_dial_to_the_same_place_leaves_from_another_port() {
    let mut from = transport();
    let (_, at) = listen(&mut from, "/ip4/127.0.0.1/tcp/0");
    let mut to = transport();
    let (_, place) = listen(&mut to, "/ip4/127.0.0.1/tcp/0");
    let address = format!("/ip4/127.0.0.1/tcp/{}", place.port());
    let mut streams = Vec::new();
    for is_first in [true, false] {
        let dialled = within(dial(&mut from, &address, PortUse::Reuse)).unwrap();
        let local = dialled.socket().local_addr().unwrap();
        assert_eq!(local.port() == at.port(), is_first);
        streams.push(dialled);
    }
}

#[test]
fn the_port_of_two_listeners_stays_that_of_the_second() {
    let mut from = transport();
    let (first, at) = listen(&mut from, "/ip4/127.0.0.1/tcp/0");
    let (_, again) = listen(&mut from, &format!("/ip4/127.0.0.1/tcp/{}", at.port()));
    assert_eq!(at, again);
    assert!(from.remove_listener(first));
    assert!(matches!(
        next(&mut from),
        TransportEvent::ListenerClosed { listener_id, reason: Ok(()) } if listener_id == first
    ));
    nothing(&mut from);
    let (_, _, remote) = connect(PortUse::Reuse, &mut from);
    assert_eq!(remote.port(), at.port());
}

#[test]
fn the_socket_of_a_removed_listener_closes_at_once() {
    let mut transport = transport();
    let (id, at) = listen(&mut transport, "/ip4/127.0.0.1/tcp/0");
    // Held in the queue of the socket.
    let mut waiting = net::TcpStream::connect(at).unwrap();
    assert!(transport.remove_listener(id));
    assert!(!transport.remove_listener(id));
    let error = net::TcpStream::connect(at).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    let _ = waiting.write_all(b"anybody there?");
    assert!(matches!(waiting.read(&mut [0]), Ok(0) | Err(_)));
    assert!(matches!(
        next(&mut transport),
        TransportEvent::ListenerClosed { listener_id, reason: Ok(()) } if listener_id == id
    ));
    nothing(&mut transport);
    assert!(transport.listeners.is_empty());
}

#[test]
fn what_changes_outside_wakes_the_task() {
    let mut transport = transport();
    let mut task = tokio_test::task::spawn(());
    let id = ListenerId::next();
    let mut poll = |transport: &mut Transport, change: &dyn Fn(&mut Transport)| {
        while task
            .enter(|cx, _| Pin::new(&mut *transport).poll(cx))
            .is_ready()
        {}
        change(transport);
        assert!(task.is_woken());
        task.enter(|cx, _| Pin::new(&mut *transport).poll(cx))
            .is_ready()
    };
    assert!(poll(&mut transport, &|transport| {
        let address = "/ip4/127.0.0.1/tcp/0".parse().unwrap();
        transport.listen_on(id, address).unwrap();
    }));
    assert!(poll(&mut transport, &|transport| {
        assert!(transport.remove_listener(id));
    }));
}

#[test]
fn nothing_is_heard_of_a_listener_that_failed() {
    let mut failing = transport_with(
        TcpOptions::default(),
        || Err(io::ErrorKind::NotFound.into()),
    );
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    for (address, kind) in [
        ("/ip4/0.0.0.0/tcp/0", io::ErrorKind::NotFound),
        ("/ip4/192.0.2.1/tcp/0", io::ErrorKind::AddrNotAvailable),
        (&*address, io::ErrorKind::AddrInUse),
    ] {
        match failing.listen_on(ListenerId::next(), address.parse().unwrap()) {
            Err(TransportError::Other(error)) => assert_eq!(error.kind(), kind),
            other => panic!("{address}: {other:?}"),
        }
    }
    drop(taken);
    nothing(&mut failing);
    assert!(
        failing
            .dialer
            .ports()
            .local_for(Ipv4Addr::LOCALHOST.into())
            .is_none()
    );
}

const PEER: &str = "/p2p/12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";

#[test]
fn an_address_may_end_with_a_peer() {
    for ip in ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().unwrap()) {
        let address = Multiaddr::from(ip).with(Protocol::Tcp(4711));
        let to = Some(SocketAddr::new(ip, 4711));
        assert_eq!(socket_address(&address), to);
        assert_eq!(
            socket_address(&format!("{address}{PEER}").parse().unwrap()),
            to
        );
    }
}

#[test]
fn what_is_no_address_of_tcp_comes_back_unchanged() {
    let mut transport = transport();
    let opts = DialOpts {
        role: Endpoint::Dialer,
        port_use: PortUse::New,
    };
    for address in [
        "/ip4/127.0.0.1/udp/1",
        "/dnsaddr/example.com/tcp/1",
        "/dns/localhost/tcp/1",
        "/tcp/1",
        "/memory/1",
        "/ip4/127.0.0.1/tcp/0/ws",
        "/ip4/127.0.0.1/tcp/1/tcp/1",
        &format!("{PEER}/ip4/127.0.0.1/tcp/1"),
        &format!("/ip4/127.0.0.1/tcp/1{PEER}{PEER}"),
    ] {
        let address: Multiaddr = address.parse().unwrap();
        for refused in [
            transport.listen_on(ListenerId::next(), address.clone()),
            transport.dial(address.clone(), opts).map(drop),
        ] {
            assert!(matches!(
                refused,
                Err(TransportError::MultiaddrNotSupported(refused)) if refused == address
            ));
        }
    }
    for address in [
        "/ip4/0.0.0.0/tcp/1",
        "/ip6/::/tcp/1",
        "/ip4/127.0.0.1/tcp/0",
    ] {
        assert!(transport.dial(address.parse().unwrap(), opts).is_err());
    }
}

thread_local! {
    /// What the watchers that are made next are told.
    static WATCHERS: std::cell::RefCell<VecDeque<mpsc::UnboundedReceiver<io::Result<Change>>>> =
        const { std::cell::RefCell::new(VecDeque::new()) };
}

fn scripted() -> io::Result<Changes> {
    WATCHERS.with_borrow_mut(|watchers| {
        let watcher = watchers.pop_front();
        let watcher = watcher.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(watcher.boxed())
    })
}

#[expect(clippy::disallowed_methods, reason = "a test fills it with a few")]
fn watcher() -> mpsc::UnboundedSender<io::Result<Change>> {
    let (sender, receiver) = mpsc::unbounded();
    WATCHERS.with_borrow_mut(|watchers| watchers.push_back(receiver));
    sender
}

#[test]
fn a_wildcard_listener_has_the_addresses_of_the_interfaces_and_gets_over_its_watcher() {
    let first = watcher();
    let mut transport = transport_with(TcpOptions::default(), scripted);
    let here = (Ipv4Addr::LOCALHOST.into(), 8);
    first.unbounded_send(Ok(Change::Up(here))).unwrap();
    let (id, at) = listen(&mut transport, "/ip4/0.0.0.0/tcp/0");
    nothing(&mut transport);
    let _client = net::TcpStream::connect(at).unwrap();
    let (_, local, _) = incoming(&mut transport);
    assert_eq!(local, at);

    let expired = |transport: &mut Transport| match next(transport) {
        TransportEvent::AddressExpired { listen_addr, .. } => {
            assert_eq!(socket_address(&listen_addr), Some(at));
        }
        other => panic!("an expired address, not {other:?}"),
    };
    let new = |transport: &mut Transport| match next(transport) {
        TransportEvent::NewAddress { listen_addr, .. } => {
            assert_eq!(socket_address(&listen_addr), Some(at));
        }
        other => panic!("a new address, not {other:?}"),
    };
    first.unbounded_send(Ok(Change::Down(here))).unwrap();
    expired(&mut transport);
    first.unbounded_send(Ok(Change::Up(here))).unwrap();
    new(&mut transport);

    // It fails, and is begun anew after a pause.
    first
        .unbounded_send(Err(io::ErrorKind::BrokenPipe.into()))
        .unwrap();
    expired(&mut transport);
    match next(&mut transport) {
        TransportEvent::ListenerError { listener_id, error } => {
            assert_eq!((listener_id, error.kind()), (id, io::ErrorKind::NotFound));
        }
        other => panic!("an error, not {other:?}"),
    }
    let second = watcher();
    second.unbounded_send(Ok(Change::Up(here))).unwrap();
    new(&mut transport);
    let _client = net::TcpStream::connect(at).unwrap();
    incoming(&mut transport);
}
