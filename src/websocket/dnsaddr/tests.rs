//! What the shell carries out, poll by poll, over a transport and a resolver that do what a test says.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use futures::{
    FutureExt as _,
    future::{self, Pending},
    io::Cursor,
};
use libp2p_core::{Endpoint, Transport as _, transport::PortUse};
use tokio_test::{
    assert_pending, assert_ready,
    task::{self, Spawn},
};

use super::*;

const OPTS: DialOpts = DialOpts {
    role: Endpoint::Listener,
    port_use: PortUse::New,
};

#[derive(Clone, Default)]
struct Below(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    dialled: Vec<String>,
    /// How the dials that are taken end, one after the other; beyond them none does.
    ends: VecDeque<Result<(), io::ErrorKind>>,
    polls: usize,
}

impl Below {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }
}

impl Inner for Below {
    fn support(&self, _: &Multiaddr) -> Support {
        Support::Never
    }

    fn poll_changed(&mut self, _: &mut Context<'_>) -> Poll<Changed> {
        Poll::Pending
    }
}

fn failed(kind: io::ErrorKind) -> Error {
    Error::Transport(Box::new(io::Error::from(kind)))
}

impl libp2p_core::Transport for Below {
    type Output = Connection;
    type Error = Error;
    type ListenerUpgrade = Pending<Result<Connection, Error>>;
    type Dial = Dial;

    fn listen_on(&mut self, _: ListenerId, addr: Multiaddr) -> Result<(), TransportError<Error>> {
        Err(TransportError::MultiaddrNotSupported(addr))
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        false
    }

    fn dial(&mut self, addr: Multiaddr, opts: DialOpts) -> Result<Dial, TransportError<Error>> {
        assert_eq!((opts.role, opts.port_use), (OPTS.role, OPTS.port_use));
        let mut script = self.script();
        script.dialled.push(addr.to_string());
        match addr.iter().next() {
            Some(Protocol::Dns6(_)) => {
                let error = failed(io::ErrorKind::Unsupported);
                return Err(TransportError::Other(error));
            }
            Some(Protocol::Ip4(_)) => {}
            _ => return Err(TransportError::MultiaddrNotSupported(addr)),
        }
        Ok(match script.ends.pop_front() {
            Some(Ok(())) => future::ok(Connection::new(Cursor::new(Vec::new()))).boxed(),
            Some(Err(kind)) => future::err(failed(kind)).boxed(),
            None => future::pending().boxed(),
        })
    }

    fn poll(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Error>> {
        self.script().polls += 1;
        Poll::Pending
    }
}

/// A resolver of these names, which answers at once.
fn zone(names: &[(&str, &[&str])]) -> LookUp {
    let entry = |(name, found): &(&str, &[&str])| {
        let record = |address: &&str| format!("dnsaddr={address}").into_bytes();
        (
            format!("_dnsaddr.{name}"),
            found.iter().map(record).collect(),
        )
    };
    let zone: HashMap<String, Vec<Vec<u8>>> = names.iter().map(entry).collect();
    Arc::new(move |name| {
        let found = zone.get(&name).cloned();
        future::ready(found.ok_or_else(|| io::ErrorKind::NotFound.into())).boxed()
    })
}

struct Rig {
    below: Below,
    transport: Spawn<Transport<Below>>,
}

impl Rig {
    fn new(look_up: Option<LookUp>) -> Self {
        let below = Below::default();
        Self {
            below: below.clone(),
            transport: task::spawn(Transport::new(below, look_up)),
        }
    }

    fn dial(&mut self, address: &str) -> Result<Spawn<Dial>, TransportError<Error>> {
        self.transport
            .dial(address.parse().unwrap(), OPTS)
            .map(task::spawn)
    }

    fn poll(&mut self) {
        let polled = self.transport.enter(|cx, transport| transport.poll(cx));
        assert!(polled.is_pending());
    }

    fn dialled(&self) -> Vec<String> {
        self.below.script().dialled.clone()
    }
}

#[test]
fn a_request_wakes_the_parked_transport_and_its_answer_the_dial() {
    let mut rig = Rig::new(Some(zone(&[(
        "a.example",
        &["/ip4/192.0.2.1/tcp/1/ws", "/ip4/192.0.2.2/tcp/1/ws"],
    )])));
    rig.below.script().ends = [Err(io::ErrorKind::ConnectionRefused), Ok(())].into();
    let mut dial = rig.dial("/dnsaddr/a.example").unwrap();
    rig.poll();
    for n in 1..=2 {
        assert!(!rig.transport.is_woken());
        assert_pending!(dial.poll());
        assert!(rig.transport.is_woken());
        assert_eq!(rig.dialled().len(), n - 1);
        assert!(!dial.is_woken());
        rig.poll();
        assert_eq!(rig.dialled().len(), n);
        assert!(dial.is_woken());
    }
    assert!(assert_ready!(dial.poll()).is_ok());
    assert_eq!(
        rig.dialled(),
        ["/ip4/192.0.2.1/tcp/1/ws", "/ip4/192.0.2.2/tcp/1/ws"]
    );
}

#[test]
fn the_first_dial_wakes_a_transport_that_was_parked_before_it() {
    let mut rig = Rig::new(Some(zone(&[("a.example", &["/ip4/192.0.2.1/tcp/1/ws"])])));
    rig.below.script().ends = [Ok(())].into();
    rig.poll();
    assert!(!rig.transport.is_woken());
    let mut dial = rig.dial("/dnsaddr/a.example").unwrap();
    assert!(rig.transport.is_woken());
    // The request comes before the poll that listens to it for the first time.
    assert_pending!(dial.poll());
    rig.poll();
    assert!(dial.is_woken());
    assert!(assert_ready!(dial.poll()).is_ok());

    // Later ones need not wake it: it listens.
    let mut second = rig.dial("/dnsaddr/a.example").unwrap();
    assert!(!rig.transport.is_woken());
    assert_pending!(second.poll());
    assert!(rig.transport.is_woken());
}

#[test]
fn it_is_the_last_task_that_is_woken() {
    let mut rig = Rig::new(Some(zone(&[])));
    rig.poll();
    let mut moved = task::spawn(());
    moved.enter(|cx, _| {
        assert!(Pin::new(&mut *rig.transport).poll(cx).is_pending());
    });
    drop(rig.dial("/dnsaddr/a.example").unwrap());
    assert!(moved.is_woken());
    assert!(!rig.transport.is_woken());
}

#[test]
fn a_dial_that_nobody_polls_looks_nothing_up() {
    let mut rig = Rig::new(Some(Arc::new(|name| panic!("{name}"))));
    let dial = rig.dial("/dnsaddr/a.example").unwrap();
    rig.poll();
    drop(dial);
    rig.poll();
    assert!(rig.dialled().is_empty());
}

#[test]
fn a_request_of_a_dial_that_is_dropped_is_not_carried_out() {
    let mut rig = Rig::new(Some(zone(&[("a.example", &["/ip4/192.0.2.1/tcp/1/ws"])])));
    let mut dial = rig.dial("/dnsaddr/a.example").unwrap();
    assert_pending!(dial.poll());
    drop(dial);
    rig.poll();
    assert!(rig.dialled().is_empty());
}

#[test]
fn a_dropped_transport_ends_the_dial_wherever_it_is() {
    let dropped = |error: Error| {
        let Error::Dnsaddr { address, source } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(address.to_string(), "/dnsaddr/a.example");
        assert!(
            matches!(source, DnsaddrError::TransportDropped),
            "{error:?}"
        );
    };
    let names: [(&str, &[&str]); 1] = [("a.example", &["/ip4/192.0.2.1/tcp/1/ws"])];

    // Before the request is sent, and while it waits to be answered.
    let mut rig = Rig::new(Some(zone(&names)));
    let mut first = rig.dial("/dnsaddr/a.example").unwrap();
    let mut second = rig.dial("/dnsaddr/a.example").unwrap();
    assert_pending!(second.poll());
    drop(rig);
    dropped(assert_ready!(first.poll()).unwrap_err());
    assert!(second.is_woken());
    dropped(assert_ready!(second.poll()).unwrap_err());

    // One that has what it needs goes on.
    let mut rig = Rig::new(Some(zone(&names)));
    rig.below.script().ends = [Ok(())].into();
    let mut dial = rig.dial("/dnsaddr/a.example").unwrap();
    assert_pending!(dial.poll());
    rig.poll();
    drop(rig);
    assert!(assert_ready!(dial.poll()).is_ok());
}

#[test]
fn what_the_transport_below_does_not_know_is_no_attempt() {
    let unknown = |name| -> Vec<String> {
        let address = |n| format!("/dns4/{n}.{name}/tcp/1/ws");
        (1..16).map(address).collect()
    };
    let with = |unknown: &[String], last| -> Vec<String> {
        unknown
            .iter()
            .cloned()
            .chain([String::from(last)])
            .collect()
    };
    // More than are tried of those that it knows.
    let a = with(&unknown("a"), "/dnsaddr/b.example");
    let b = with(&unknown("b"), "/dns6/a.example/tcp/1/ws");
    let [a, b] = [&a, &b].map(|found| found.iter().map(String::as_str).collect::<Vec<_>>());
    let mut rig = Rig::new(Some(zone(&[("a.example", &a), ("b.example", &b)])));
    let mut dial = rig.dial("/dnsaddr/a.example").unwrap();
    let error = loop {
        match dial.poll() {
            Poll::Ready(ended) => break ended.unwrap_err(),
            Poll::Pending => rig.poll(),
        }
    };
    assert_eq!(rig.dialled().len(), 15 + 16);
    match error {
        Error::Dnsaddr {
            source: DnsaddrError::Unreachable {
                earlier, address, ..
            },
            ..
        } => {
            assert!(earlier.is_empty());
            assert_eq!(address.to_string(), "/dns6/a.example/tcp/1/ws");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn many_requests_do_not_keep_the_rest_of_the_transport_from_its_turn() {
    let mut rig = Rig::new(Some(zone(&[("a.example", &["/ip4/192.0.2.1/tcp/1/ws"])])));
    let mut dials = Vec::new();
    for _ in 0..MAX_REQUESTS_PER_POLL + 1 {
        let mut dial = rig.dial("/dnsaddr/a.example").unwrap();
        assert_pending!(dial.poll());
        dials.push(dial);
    }
    rig.poll();
    assert_eq!(rig.below.script().polls, 1);
    assert_eq!(rig.dialled().len(), MAX_REQUESTS_PER_POLL);
    assert!(rig.transport.is_woken());
    rig.poll();
    assert_eq!(rig.dialled().len(), MAX_REQUESTS_PER_POLL + 1);
    assert!(!rig.transport.is_woken());
}

#[test]
fn all_other_addresses_are_left_to_the_transport_below() {
    let mut rig = Rig::new(Some(Arc::new(|name| panic!("{name}"))));
    rig.below.script().ends = [Ok(())].into();
    rig.poll();
    let mut dial = rig.dial("/ip4/192.0.2.1/tcp/1/ws").unwrap();
    assert!(assert_ready!(dial.poll()).is_ok());
    assert!(!rig.transport.is_woken());
    assert!(matches!(rig.transport.requests, Requests::None(_)));

    for (address, look_up) in [
        ("/dnsaddr/a.example/tcp/1", Some(zone(&[]))),
        ("/dnsaddr/a.example", None),
        ("/dnsaddr/a.example/tcp/1/ws", None),
    ] {
        match Rig::new(look_up).dial(address) {
            Err(TransportError::MultiaddrNotSupported(refused)) => {
                assert_eq!(refused.to_string(), address);
            }
            Err(other) => panic!("{address}: {other:?}"),
            Ok(_) => panic!("{address}"),
        }
    }
}
