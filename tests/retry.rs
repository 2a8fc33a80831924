//! Listeners that cannot be bound, are tried again and heal, in real swarms on real sockets.
//!
//! Some need what only a process of their own can have: another user, few descriptors, a network namespace. They run
//! themselves once more as that process.
#![cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "retry/child.rs"]
mod child;
mod common;
#[path = "retry/mortal.rs"]
mod mortal;

use std::{
    collections::HashSet,
    fs::File,
    io::{self, ErrorKind},
    net::{Ipv4Addr, TcpListener},
    pin::Pin,
    task::Poll,
    time::Duration,
};

use child::{Child, Outcome};
use common::{Case, new_address, next, on_each, socket_address, within};
use futures::future::{Either, poll_fn, select};
use libp2p::{
    Multiaddr, Swarm, SwarmBuilder, Transport as _,
    core::{
        Endpoint,
        transport::{DialOpts, ListenerId, PortUse, TransportEvent},
        upgrade::Version,
    },
    futures::StreamExt as _,
    noise,
    swarm::{SwarmEvent, dummy},
    yamux,
};
use libp2p_lazy_websocket::{
    lazy::{self, Failure, ListenError, NotReady, Retry},
    websocket::{self, Engine},
};
use mortal::Mortal;

fn websocket_address(ip: Ipv4Addr, port: u16) -> Multiaddr {
    format!("/ip4/{ip}/tcp/{port}/ws").parse().unwrap()
}

fn lazy_swarm(case: Case, retry: Retry) -> Swarm<dummy::Behaviour> {
    let inner = case.inner(case.config());
    let config = lazy::Config::default().with_retry(retry);
    common::swarm(case, lazy::Transport::new(inner, config))
}

/// As its users build it: what lies between wraps the errors.
fn built_swarm(transport: common::Transport) -> Swarm<dummy::Behaviour> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_other_transport(|key| {
            Ok(transport
                .upgrade(Version::V1Lazy)
                .authenticate(noise::Config::new(key)?)
                .multiplex(yamux::Config::default())
                .timeout(Duration::from_secs(20)))
        })
        .unwrap()
        .with_behaviour(|_| dummy::Behaviour)
        .unwrap()
        .build()
}

/// The failure that the swarm reports next.
async fn failure(swarm: &mut Swarm<dummy::Behaviour>) -> ListenError {
    match next(swarm).await {
        SwarmEvent::ListenerError { error, .. } => ListenError::find(&error)
            .unwrap_or_else(|| panic!("ours, not {error:?}"))
            .clone(),
        other => panic!("a failure, not {other:?}"),
    }
}

/// What is reported of an address that no retry can help with at the moment.
async fn fails_with(case: Case, address: &str, reason: &str) {
    let mut swarm = lazy_swarm(case, Retry::default());
    let address: Multiaddr = address.parse().unwrap();
    let id = swarm.listen_on(address.clone()).unwrap();
    for attempt in 1..=2 {
        let error = failure(&mut swarm).await;
        assert_eq!(
            (error.address(), error.failure()),
            (&address, Failure::Bind)
        );
        assert_eq!(error.attempt(), attempt);
        assert_eq!(error.reason(), reason);
        assert!(error.retry_in().is_some());
    }
    assert_eq!(swarm.listeners().count(), 0);

    // The swarm goes on, and the listener can be given up.
    swarm
        .listen_on(websocket_address(Ipv4Addr::LOCALHOST, 0))
        .unwrap();
    loop {
        match next(&mut swarm).await {
            SwarmEvent::NewListenAddr { .. } => break,
            SwarmEvent::ListenerError { .. } => {}
            other => panic!("a new address, not {other:?}"),
        }
    }
    assert!(swarm.remove_listener(id));
}

on_each!(an_address_of_no_interface_is_tried_again);

async fn an_address_of_no_interface_is_tried_again(case: Case) {
    fails_with(case, "/ip4/192.0.2.1/tcp/0/ws", "address not available").await;
    if std::net::UdpSocket::bind("[::1]:0").is_ok() {
        fails_with(case, "/ip6/2001:db8::1/tcp/0/ws", "address not available").await;
    } else {
        eprintln!("SKIPPED: the IPv6 documentation address needs a host with IPv6");
    }
}

on_each!(a_port_that_is_taken_at_the_start_and_freed_later_is_listened_on);

async fn a_port_that_is_taken_at_the_start_and_freed_later_is_listened_on(case: Case) {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = websocket_address(Ipv4Addr::LOCALHOST, taken.local_addr().unwrap().port());
    let mut swarm = built_swarm(case.transport(case.config()));
    swarm.listen_on(address.clone()).unwrap();
    for attempt in 1..=2 {
        let error = failure(&mut swarm).await;
        assert_eq!(error.attempt(), attempt);
        assert_eq!(error.reason(), "address in use");
    }
    drop(taken);
    loop {
        match next(&mut swarm).await {
            SwarmEvent::NewListenAddr { address: new, .. } => break assert_eq!(new, address),
            SwarmEvent::ListenerError { .. } => {}
            other => panic!("a new address, not {other:?}"),
        }
    }
    std::net::TcpStream::connect(socket_address(&address)).unwrap();
}

on_each!(giving_up_is_one_close_with_the_last_failure_found_through_the_swarm_builder);

async fn giving_up_is_one_close_with_the_last_failure_found_through_the_swarm_builder(case: Case) {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = websocket_address(Ipv4Addr::LOCALHOST, taken.local_addr().unwrap().port());
    let retry = Retry::default().with_max_attempts(2);
    let inner = case.inner(case.config());
    let lazy = lazy::Transport::new(inner, lazy::Config::default().with_retry(retry));
    let mut swarm = built_swarm(lazy);
    let id = swarm.listen_on(address).unwrap();
    assert!(failure(&mut swarm).await.retry_in().is_some());
    let last = failure(&mut swarm).await;
    assert_eq!(last.retry_in(), None);
    match next(&mut swarm).await {
        SwarmEvent::ListenerClosed {
            listener_id,
            addresses,
            reason: Err(error),
        } => {
            assert_eq!(listener_id, id);
            assert!(addresses.is_empty());
            let reason = ListenError::find(&error).unwrap();
            assert_eq!(reason.to_string(), last.to_string());
            assert_eq!(reason.attempt(), 2);
        }
        other => panic!("a close, not {other:?}"),
    }
    assert!(!swarm.remove_listener(id));
}

on_each!(whoever_waits_for_all_listeners_hears_of_one_that_has_failed_for_good);

async fn whoever_waits_for_all_listeners_hears_of_one_that_has_failed_for_good(case: Case) {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = lazy::Config::default().with_retry(Retry::never());
    let mut transport = lazy::Transport::new(case.inner(case.config()), config);
    let readiness = transport.readiness();
    let none = readiness.all_ready().await.unwrap_err();
    assert_eq!(none.to_string(), "there is no listener");

    let mut swarm = common::swarm(case, transport);
    let [failed, ready] = [port, 0].map(|port| {
        swarm
            .listen_on(websocket_address(Ipv4Addr::LOCALHOST, port))
            .unwrap()
    });
    let _swarm = case.spawn(async move {
        loop {
            swarm.next().await;
        }
    });
    let error = within(readiness.all_ready()).await.unwrap_err();
    let (id, status) = &error.listeners()[0];
    assert_eq!(*id, failed);
    assert_eq!(status.state.to_string(), "closed: address in use");
    // However late, and the other one is none the worse for it.
    match within(readiness.ready(failed)).await {
        Err(NotReady::Closed(Some(error))) => assert_eq!(error.reason(), "address in use"),
        other => panic!("the reason, not {other:?}"),
    }
    assert_eq!(within(readiness.ready(ready)).await.unwrap().len(), 1);
}

on_each!(a_listener_that_dies_comes_back_on_its_port_and_dials_leave_from_it);

async fn a_listener_that_dies_comes_back_on_its_port_and_dials_leave_from_it(case: Case) {
    let inner = case.inner(case.config());
    let (mortal, death) = Mortal::new(inner);
    let mut transport = lazy::Transport::new(mortal, lazy::Config::default());
    let id = ListenerId::next();
    // The system chooses the port, which is kept.
    transport
        .listen_on(id, websocket_address(Ipv4Addr::LOCALHOST, 0))
        .unwrap();
    let address = new_address_of(&mut transport).await;
    for round in 1..=3 {
        death.strike();
        match next_of(&mut transport).await {
            TransportEvent::AddressExpired { listen_addr, .. } => assert_eq!(listen_addr, address),
            other => panic!("an expired address, not {other:?}"),
        }
        let error = failure_of(&mut transport).await;
        assert_eq!((error.failure(), error.attempt()), (Failure::Closed, round));
        assert_eq!(new_address_of(&mut transport).await, address);
    }

    let from = dials_from(case, &mut transport, Ipv4Addr::LOCALHOST).await;
    assert_eq!(from, socket_address(&address).port());
}

/// The port from which a dial leaves that may have one that is listened on, to somebody on this address.
async fn dials_from<T>(case: Case, transport: &mut T, ip: Ipv4Addr) -> u16
where
    T: libp2p::Transport + Unpin,
{
    let mut remote = case.transport(case.config());
    remote
        .listen_on(ListenerId::next(), websocket_address(ip, 0))
        .unwrap();
    let at = new_address_of(&mut remote).await;
    let opts = DialOpts {
        role: Endpoint::Dialer,
        port_use: PortUse::Reuse,
    };
    let Ok(dial) = transport.dial(at, opts) else {
        panic!("it can be dialled");
    };
    let mut dial = Box::pin(dial);
    let from = within(poll_fn(|cx| {
        let _ = dial.as_mut().poll(cx);
        let _ = Pin::new(&mut *transport).poll(cx);
        match Pin::new(&mut remote).poll(cx) {
            Poll::Ready(TransportEvent::Incoming { send_back_addr, .. }) => {
                Poll::Ready(send_back_addr)
            }
            _ => Poll::Pending,
        }
    }))
    .await;
    socket_address(&from).port()
}

async fn failure_of<T>(transport: &mut T) -> ListenError
where
    T: libp2p::Transport<Error = lazy::Error<websocket::Error>> + Unpin,
{
    match next_of(transport).await {
        TransportEvent::ListenerError {
            error: lazy::Error::Listen(error),
            ..
        } => error,
        _ => panic!("a failure, nothing else"),
    }
}

type Event<T> =
    TransportEvent<<T as libp2p::Transport>::ListenerUpgrade, <T as libp2p::Transport>::Error>;

async fn next_of<T: libp2p::Transport + Unpin>(transport: &mut T) -> Event<T> {
    within(poll_fn(|cx| Pin::new(&mut *transport).poll(cx))).await
}

async fn new_address_of<T: libp2p::Transport + Unpin>(transport: &mut T) -> Multiaddr {
    match next_of(transport).await {
        TransportEvent::NewAddress { listen_addr, .. } => listen_addr,
        _ => panic!("a new address, nothing else"),
    }
}

on_each!(a_port_that_the_user_may_not_have_closes_the_listener);

async fn a_port_that_the_user_may_not_have_closes_the_listener(case: Case) {
    Child::of_an_ordinary_user(&case.test("child_a_low_port")).run();
}

on_each!(
    #[ignore = "run by the test above"]
    child_a_low_port
);

async fn child_a_low_port(case: Case) {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, 1)) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
        other => {
            return Outcome::needs(&format!(
                "low ports to be kept from ordinary users, not {other:?}"
            ));
        }
    }
    let mut swarm = lazy_swarm(case, Retry::default());
    swarm
        .listen_on(websocket_address(Ipv4Addr::LOCALHOST, 1))
        .unwrap();
    let error = failure(&mut swarm).await;
    assert_eq!(
        (error.reason().as_str(), error.retry_in()),
        ("permission denied", None)
    );
    assert!(matches!(
        next(&mut swarm).await,
        SwarmEvent::ListenerClosed { reason: Err(_), .. }
    ));
    Outcome::passed();
}

on_each!(a_listener_heals_when_there_are_descriptors_again);

async fn a_listener_heals_when_there_are_descriptors_again(case: Case) {
    Child::new(&case.test("child_out_of_descriptors")).run();
}

on_each!(
    #[ignore = "run by the test above"]
    child_out_of_descriptors
);

async fn child_out_of_descriptors(case: Case) {
    if let Err(needs) = few_descriptors() {
        return Outcome::needs(&needs);
    }
    let mut swarm = lazy_swarm(case, Retry::default());
    let (files, code) = all_descriptors();
    swarm
        .listen_on(websocket_address(Ipv4Addr::LOCALHOST, 0))
        .unwrap();
    let error = failure(&mut swarm).await;
    assert_eq!(
        error.reason(),
        io::Error::from_raw_os_error(code).to_string()
    );
    assert!(error.retry_in().is_some());
    drop(files);
    new_address(&mut swarm).await;
    Outcome::passed();
}

on_each!(a_listener_without_descriptors_says_so_and_accepts_when_there_are_some);

async fn a_listener_without_descriptors_says_so_and_accepts_when_there_are_some(case: Case) {
    Child::new(&case.test("child_accepting_without_descriptors")).run();
}

on_each!(
    #[ignore = "run by the test above"]
    child_accepting_without_descriptors
);

async fn child_accepting_without_descriptors(case: Case) {
    if let Err(needs) = few_descriptors() {
        return Outcome::needs(&needs);
    }
    let mut transport = case.transport(case.config());
    let readiness = transport.readiness();
    let id = ListenerId::next();
    transport
        .listen_on(id, websocket_address(Ipv4Addr::LOCALHOST, 0))
        .unwrap();
    let address = new_address_of(&mut transport).await;
    let at = socket_address(&address);
    let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let (files, code) = all_descriptors();
    client.connect(&at.into()).unwrap();

    let reason = io::Error::from_raw_os_error(code).to_string();
    match next_of(&mut transport).await {
        TransportEvent::ListenerError {
            error: lazy::Error::Exhausted(error),
            ..
        } => assert_eq!(error.reason(), reason),
        other => panic!("the reason, not {other:?}"),
    }
    // It goes on trying, and says no more of it.
    let mut polls = 0;
    let event = poll_fn(|cx| {
        polls += 1;
        Pin::new(&mut transport).poll(cx)
    });
    let pause = futures_timer::Delay::new(Duration::from_secs(1));
    match select(event, pause).await {
        Either::Left((event, _)) => panic!("nothing, not {event:?}"),
        Either::Right(_) => assert!(polls < 30, "it spins: {polls} polls"),
    }
    let status = readiness.status(id).unwrap();
    assert_eq!(status.addresses, [address]);
    assert_eq!(status.exhausted.unwrap().reason(), reason);

    drop(files);
    match next_of(&mut transport).await {
        TransportEvent::Incoming { .. } => {}
        other => panic!("a connection, not {other:?}"),
    }
    match next_of(&mut transport).await {
        TransportEvent::ListenerError {
            error: lazy::Error::Recovered { .. },
            ..
        } => {}
        other => panic!("that it is over, not {other:?}"),
    }
    assert!(readiness.status(id).unwrap().exhausted.is_none());
    Outcome::passed();
}

on_each!(listeners_on_one_port_without_descriptors_all_say_so);

async fn listeners_on_one_port_without_descriptors_all_say_so(case: Case) {
    // The other engine shares no port.
    if case.engine != Engine::Stream {
        return;
    }
    Child::new(&case.test("child_accepting_on_one_port_without_descriptors")).run();
}

on_each!(
    #[ignore = "run by the test above"]
    child_accepting_on_one_port_without_descriptors
);

/// None of them takes it for a fault of its socket, after half a minute of which it would be bound again.
async fn child_accepting_on_one_port_without_descriptors(case: Case) {
    if let Err(needs) = few_descriptors() {
        return Outcome::needs(&needs);
    }
    let mut transport = case.transport(case.config().with_tcp(true));
    let sharing = [ListenerId::next(), ListenerId::next()];
    let address = websocket_address(Ipv4Addr::LOCALHOST, 0);
    transport.listen_on(sharing[0], address).unwrap();
    let at = socket_address(&new_address_of(&mut transport).await);
    let address = format!("/ip4/127.0.0.1/tcp/{}", at.port()).parse().unwrap();
    transport.listen_on(sharing[1], address).unwrap();
    new_address_of(&mut transport).await;
    let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let (_files, _) = all_descriptors();
    client.connect(&at.into()).unwrap();

    let mut exhausted = HashSet::new();
    while exhausted.len() < sharing.len() {
        match next_of(&mut transport).await {
            TransportEvent::ListenerError {
                listener_id,
                error: lazy::Error::Exhausted(_),
            } => assert!(exhausted.insert(listener_id)),
            other => panic!("the reason, not {other:?}"),
        }
    }
    assert_eq!(exhausted, HashSet::from(sharing));
    Outcome::passed();
}

on_each!(a_listener_follows_its_address_from_and_to_its_interface);

async fn a_listener_follows_its_address_from_and_to_its_interface(case: Case) {
    Child::in_a_namespace(&case.test("child_an_address_that_comes_and_goes")).run();
}

/// Limits this process to a few, or tells what it needs.
fn few_descriptors() -> Result<(), String> {
    rlimit::setrlimit(rlimit::Resource::NOFILE, 64, 64)
        .map_err(|error| format!("a limit of descriptors that can be lowered: {error}"))
}

/// Opens files until there is no descriptor for another, and tells with which code of the system.
fn all_descriptors() -> (Vec<File>, i32) {
    let mut files = Vec::new();
    loop {
        match File::open(std::env::current_exe().unwrap()) {
            Ok(file) => files.push(file),
            Err(error) => return (files, error.raw_os_error().unwrap()),
        }
    }
}

/// Runs `ip`, and tells what it needs if that fails.
fn ip(arguments: &str) -> Result<(), String> {
    let output = std::process::Command::new("ip")
        .args(arguments.split(' '))
        .output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!(
            "`ip {arguments}`: {}",
            String::from_utf8_lossy(&output.stderr)
        )),
        Err(error) => Err(format!("the command `ip`: {error}")),
    }
}

on_each!(
    #[ignore = "run by the test above"]
    child_an_address_that_comes_and_goes
);

async fn child_an_address_that_comes_and_goes(case: Case) {
    if let Err(needs) = ip("link set lo up") {
        return Outcome::needs(&needs);
    }
    let kinds = ["dummy", "ifb", "bridge"];
    let Some(kind) = kinds
        .into_iter()
        .find(|kind| ip(&format!("link add made0 type {kind}")).is_ok())
    else {
        return Outcome::needs(&format!("one kind of virtual interface of {kinds:?}"));
    };
    let appear = || {
        let _ = ip(&format!("link add made0 type {kind}"));
        ip("addr add 10.9.0.1/24 dev made0").unwrap();
        ip("link set made0 up").unwrap();
    };
    // The address alone, and the whole interface.
    let disappear = |attempt: u32| {
        let whole = attempt.is_multiple_of(2);
        ip(if whole {
            "link del made0"
        } else {
            "addr del 10.9.0.1/24 dev made0"
        })
        .unwrap();
    };
    // An attempt is made because the address is there, and not because it is time.
    let retry = Retry::default().with_first_delay(Duration::from_secs(3600));
    let inner = case.inner(case.config());
    let mut transport = lazy::Transport::new(inner, lazy::Config::default().with_retry(retry));
    let own = Ipv4Addr::new(10, 9, 0, 1);
    transport
        .listen_on(ListenerId::next(), websocket_address(own, 0))
        .unwrap();
    let error = failure_of(&mut transport).await;
    assert_eq!(error.failure(), Failure::Bind);
    assert_eq!(error.reason(), "address not available");

    appear();
    let address = new_address_of(&mut transport).await;
    for attempt in 2..=4 {
        disappear(attempt);
        match next_of(&mut transport).await {
            TransportEvent::AddressExpired { listen_addr, .. } => assert_eq!(listen_addr, address),
            other => panic!("an expired address, not {other:?}"),
        }
        let error = failure_of(&mut transport).await;
        assert_eq!(error.failure(), Failure::Closed);
        assert_eq!(error.attempt(), attempt);
        assert_eq!(error.reason(), "address not available");
        appear();
        assert_eq!(new_address_of(&mut transport).await, address);
    }
    let from = dials_from(case, &mut transport, own).await;
    assert_eq!(from, socket_address(&address).port());
    Outcome::passed();
}
