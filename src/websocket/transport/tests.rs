//! What the shell carries out, over a TCP that does what a test says.
#![cfg(feature = "tokio")]

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Ready,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use futures::{
    StreamExt as _,
    channel::mpsc::{self, Receiver, Sender},
    io::Cursor,
};
use libp2p_core::Transport as _;
use tokio_test::task;

use super::*;
use crate::websocket::{
    Certificate, Certificates, Engine,
    interfaces::{Change, Changes, Network},
};

type Upgrade = Ready<io::Result<Cursor<Vec<u8>>>>;

#[derive(Clone, Default)]
struct Tcp(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    events: VecDeque<TransportEvent<Upgrade, io::Error>>,
    bound: Vec<(ListenerId, String)>,
    /// The calls of `remove_listener`.
    removals: usize,
    /// With what listening fails on addresses that begin like this, once.
    failure: Option<(&'static str, io::ErrorKind)>,
}

impl Tcp {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }
}

impl libp2p_core::Transport for Tcp {
    type Output = Cursor<Vec<u8>>;
    type Error = io::Error;
    type ListenerUpgrade = Upgrade;
    type Dial = Upgrade;

    fn listen_on(
        &mut self,
        id: ListenerId,
        addr: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        let mut script = self.script();
        let addr = addr.to_string();
        if let Some((_, kind)) = script.failure.take_if(|(ip, _)| addr.starts_with(*ip)) {
            return Err(TransportError::Other(kind.into()));
        }
        script.bound.push((id, addr));
        Ok(())
    }

    fn remove_listener(&mut self, listener_id: ListenerId) -> bool {
        let mut script = self.script();
        script.removals += 1;
        script.events.push_back(TransportEvent::ListenerClosed {
            listener_id,
            reason: Ok(()),
        });
        script.bound.iter().any(|(id, _)| *id == listener_id)
    }

    fn dial(&mut self, addr: Multiaddr, _: DialOpts) -> Result<Upgrade, TransportError<io::Error>> {
        Err(TransportError::MultiaddrNotSupported(addr))
    }

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<TransportEvent<Upgrade, io::Error>> {
        match self.script().events.pop_front() {
            Some(event) => Poll::Ready(event),
            None => Poll::Pending,
        }
    }
}

thread_local! {
    /// What the watchers say that were made.
    static WATCHERS: RefCell<Vec<Sender<io::Result<Change>>>> = const { RefCell::new(Vec::new()) };
}

fn watch() -> io::Result<Changes> {
    let (sender, receiver): (_, Receiver<_>) = mpsc::channel(100);
    WATCHERS.with_borrow_mut(|watchers| watchers.push(sender));
    Ok(receiver.boxed())
}

fn change(change: Change) {
    WATCHERS.with_borrow_mut(|watchers| {
        let watcher = watchers.last_mut().expect("somebody watches");
        watcher.try_send(Ok(change)).unwrap();
    });
}

struct Rig {
    tcp: Tcp,
    transport: Transport,
    task: task::Spawn<()>,
}

impl Rig {
    fn new(engine: Engine) -> Self {
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned(), "192.0.2.1".to_owned()])
                .unwrap();
        let chain = vec![made.cert.der().to_vec()];
        let certificate = Certificate::from_der(chain, made.signing_key.serialize_der()).unwrap();
        let certificates = Certificates::new();
        certificates.set(certificate).unwrap();
        let config = Config::default()
            .with_engine(engine)
            .with_certificates(certificates);
        let tcp = Tcp::default();
        Self {
            tcp: tcp.clone(),
            transport: Transport::new(tcp, config).on_this_host(watch),
            task: task::spawn(()),
        }
    }

    fn listen(&mut self, address: &str) -> ListenerId {
        let id = ListenerId::next();
        let address: Multiaddr = address.parse().unwrap();
        self.transport.listen_on(id, address).unwrap();
        id
    }

    /// As `lazy` polls.
    fn poll(&mut self) -> (Option<Changed>, Option<(ListenerId, String)>) {
        let Self {
            transport, task, ..
        } = self;
        task.enter(|cx, _| {
            if let Poll::Ready(changed) = transport.poll_changed(cx) {
                return (Some(changed), None);
            }
            match Pin::new(&mut *transport).poll(cx) {
                Poll::Ready(event) => (None, Some(said(event))),
                Poll::Pending => (None, None),
            }
        })
    }

    fn found(&self, listener_id: ListenerId, address: &str) {
        let event = TransportEvent::NewAddress {
            listener_id,
            listen_addr: address.parse().unwrap(),
        };
        self.tcp.script().events.push_back(event);
    }

    fn bound(&self) -> Vec<String> {
        let script = self.tcp.script();
        script.bound.iter().map(|(_, a)| a.clone()).collect()
    }

    fn inner(&self, n: usize) -> ListenerId {
        self.tcp.script().bound[n].0
    }
}

fn said<U>(event: TransportEvent<U, Error>) -> (ListenerId, String) {
    match event {
        TransportEvent::NewAddress {
            listener_id,
            listen_addr,
        } => (listener_id, format!("new {listen_addr}")),
        TransportEvent::ListenerClosed {
            listener_id,
            reason,
        } => match reason {
            Ok(()) => (listener_id, "closed".to_owned()),
            Err(error) => {
                let cause = error.io().unwrap();
                (listener_id, format!("closed {:?} {cause}", cause.kind()))
            }
        },
        _ => panic!("an address or a close"),
    }
}

const HERE: Network = (
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    24,
);

fn a_listener_closes_when_its_address_leaves_and_whoever_waits_hears_of_its_return(engine: Engine) {
    for suffix in ["/ws", "/tls/sni/a.example/ws"] {
        let mut rig = Rig::new(engine);
        let address = format!("/ip4/192.0.2.1/tcp/4{suffix}");
        let id = rig.listen(&address);
        change(Change::Up(HERE));
        assert_eq!(rig.poll(), (None, None));

        change(Change::Down(HERE));
        assert!(rig.task.is_woken());
        let reason = "closed AddrNotAvailable the address has left its interface";
        assert_eq!(rig.poll(), (None, Some((id, reason.to_owned()))));
        assert_eq!(rig.poll(), (None, None));

        rig.tcp.script().failure = Some(("/ip4/192.0.2.1/", io::ErrorKind::AddrNotAvailable));
        rig.transport
            .listen_on(ListenerId::next(), address.parse().unwrap())
            .unwrap_err();
        assert_eq!(rig.poll(), (None, None));
        change(Change::Up(HERE));
        assert!(rig.task.is_woken());
        assert_eq!(rig.poll(), (Some(Changed::Network), None));
        assert_eq!(rig.poll(), (None, None));
    }
}

fn a_listener_that_is_removed_closes_without_a_reason(engine: Engine) {
    for suffix in ["/ws", "/tls/sni/a.example/ws"] {
        let mut rig = Rig::new(engine);
        let id = rig.listen(&format!("/ip4/192.0.2.1/tcp/4{suffix}"));
        change(Change::Up(HERE));
        change(Change::Down(HERE));
        assert!(rig.transport.remove_listener(id));
        assert_eq!(rig.poll(), (None, Some((id, "closed".to_owned()))));
        assert_eq!(rig.tcp.script().removals, 1);
    }
}

fn many_listeners_go_in_portions(engine: Engine) {
    let mut rig = Rig::new(engine);
    for port in 1..=MAX_CHANGES_PER_POLL + 1 {
        rig.listen(&format!("/ip4/192.0.2.1/tcp/{port}/ws"));
    }
    change(Change::Up(HERE));
    change(Change::Down(HERE));
    let mut removals = || {
        assert!(
            rig.task
                .enter(|cx, _| rig.transport.poll_changed(cx))
                .is_pending()
        );
        (rig.tcp.script().removals, rig.task.is_woken())
    };
    // The changes count too.
    assert_eq!(removals(), (MAX_CHANGES_PER_POLL - 2, true));
    assert_eq!(removals(), (MAX_CHANGES_PER_POLL + 1, false));
}

fn a_flood_of_changes_is_taken_up_in_portions(engine: Engine) {
    thread_local! {
        static POLLS: Cell<usize> = const { Cell::new(0) };
    }
    fn flood() -> io::Result<Changes> {
        Ok(futures::stream::repeat_with(|| {
            POLLS.set(POLLS.get() + 1);
            Ok(Change::Up(HERE))
        })
        .boxed())
    }
    let mut rig = Rig::new(engine);
    rig.transport.interfaces = Interfaces::new(Some(flood));
    rig.listen("/ip4/192.0.2.2/tcp/1/ws");
    assert_eq!(rig.poll(), (None, None));
    assert!(rig.task.is_woken());
    assert_eq!(POLLS.get(), MAX_CHANGES_PER_POLL);
}

fn only_a_specific_address_is_a_reason_to_watch(engine: Engine) {
    let mut rig = Rig::new(engine);
    for address in [
        "/ip4/127.0.0.1/tcp/0/ws",
        "/ip4/0.0.0.0/tcp/0/ws",
        "/ip6/::1/tcp/0/ws",
        "/ip6/::/tcp/0/tls/sni/a.example/ws",
        "/dns/a.example/tcp/4/ws",
    ] {
        rig.listen(address);
    }
    assert!(WATCHERS.with_borrow(Vec::is_empty));
    rig.listen("/ip6/2001:db8::1/tcp/0/ws");
    rig.listen("/ip4/192.0.2.1/tcp/0/tls/ws");
    assert_eq!(WATCHERS.with_borrow(Vec::len), 1);
}

fn the_second_family_follows_the_first_to_its_port_before_the_name_is_announced(engine: Engine) {
    let mut rig = Rig::new(engine);
    let id = rig.listen("/dns/a.example/tcp/0/ws");
    assert_eq!(rig.bound(), ["/ip4/0.0.0.0/tcp/0"]);
    rig.found(rig.inner(0), "/ip4/127.0.0.1/tcp/5");
    let announced = (id, "new /dns/a.example/tcp/5/ws".to_owned());
    assert_eq!(rig.poll(), (None, Some(announced)));
    assert_eq!(rig.bound(), ["/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/5"]);
    rig.found(rig.inner(1), "/ip6/::1/tcp/5");
    assert_eq!(rig.poll(), (None, None));
    assert!(rig.transport.remove_listener(id));
    assert_eq!(rig.poll(), (None, Some((id, "closed".to_owned()))));
    assert_eq!(rig.poll(), (None, None));
    assert!(!rig.transport.remove_listener(id));
}

fn if_the_second_family_cannot_follow_the_listener_closes_with_that_error(engine: Engine) {
    let mut rig = Rig::new(engine);
    let id = rig.listen("/dns/a.example/tcp/0/ws");
    rig.found(rig.inner(0), "/ip4/127.0.0.1/tcp/5");
    rig.tcp.script().failure = Some(("/ip6/", io::ErrorKind::AddrInUse));
    let closed = (id, "closed AddrInUse address in use".to_owned());
    assert_eq!(rig.poll(), (None, Some(closed)));
}

fn what_cannot_be_listened_on_comes_back_as_it_was(engine: Engine) {
    let mut rig = Rig::new(engine);
    for address in [
        "/ip4/127.0.0.1/tcp/1",
        "/dnsaddr/a.example/tcp/1/ws",
        "/memory/1",
    ] {
        let address: Multiaddr = address.parse().unwrap();
        match rig.transport.listen_on(ListenerId::next(), address.clone()) {
            Err(TransportError::MultiaddrNotSupported(refused)) => assert_eq!(refused, address),
            other => panic!("{other:?}"),
        }
    }
    assert!(rig.bound().is_empty());
}

fn the_interfaces_of_a_name_do_not_keep_others_from_their_turn(engine: Engine) {
    let mut rig = Rig::new(engine);
    let id = rig.listen("/dns4/a.example/tcp/0/ws");
    for n in 0..MAX_FRUITLESS_PER_POLL + 1 {
        rig.found(rig.inner(0), &format!("/ip4/192.0.2.{n}/tcp/5"));
    }
    let announced = (id, "new /dns4/a.example/tcp/5/ws".to_owned());
    assert_eq!(rig.poll(), (None, Some(announced)));
    assert_eq!(rig.poll(), (None, None));
    assert!(rig.task.is_woken());
    assert_eq!(rig.poll(), (None, None));
    assert!(!rig.task.is_woken());
}

/// libp2p-tcp has such events: of a listener whose `listen_on` failed in its last step.
fn of_a_listener_that_failed_nothing_is_heard_nor_after_a_close(engine: Engine) {
    let mut rig = Rig::new(engine);
    let good = rig.listen("/ip4/127.0.0.1/tcp/1/x-parity-ws/%2Fa");
    rig.tcp.script().failure = Some(("/ip4/127.0.0.1/tcp/2", io::ErrorKind::AddrInUse));
    let failed = ListenerId::next();
    let address = "/ip4/127.0.0.1/tcp/2/ws".parse().unwrap();
    rig.transport.listen_on(failed, address).unwrap_err();
    let below = rig.inner(0);
    rig.found(failed, "/ip4/127.0.0.1/tcp/2");
    rig.found(below, "/ip4/127.0.0.1/tcp/1");
    let announced = "new /ip4/127.0.0.1/tcp/1/x-parity-ws/%2Fa".to_owned();
    assert_eq!(rig.poll(), (None, Some((good, announced))));
    assert!(rig.transport.remove_listener(good));
    for _ in 0..MAX_FRUITLESS_PER_POLL + 1 {
        rig.found(below, "/ip4/127.0.0.1/tcp/1");
    }
    assert_eq!(rig.poll(), (None, Some((good, "closed".to_owned()))));
    assert_eq!(rig.poll(), (None, None));
    assert!(rig.task.is_woken());
    assert_eq!(rig.poll(), (None, None));
    assert!(!rig.task.is_woken());
    assert!(rig.tcp.script().events.is_empty());
}

fn a_tls_listener_needs_a_certificate(engine: Engine) {
    let config = Config::default().with_engine(engine);
    let mut transport = Transport::new(Tcp::default(), config);
    let address: Multiaddr = "/ip4/127.0.0.1/tcp/0/wss".parse().unwrap();
    match transport.listen_on(ListenerId::next(), address.clone()) {
        Err(TransportError::MultiaddrNotSupported(refused)) => assert_eq!(refused, address),
        other => panic!("{other:?}"),
    }
}

macro_rules! on_every_engine {
    ($($test:ident),+ $(,)?) => {
        #[cfg(feature = "libp2p-websocket")]
        mod libp2p {
            $(#[test]
            fn $test() {
                super::$test(super::Engine::Libp2p);
            })+
        }

        mod stream {
            $(#[test]
            fn $test() {
                super::$test(super::Engine::Stream);
            })+
        }
    };
}

on_every_engine!(
    a_listener_closes_when_its_address_leaves_and_whoever_waits_hears_of_its_return,
    a_listener_that_is_removed_closes_without_a_reason,
    many_listeners_go_in_portions,
    a_flood_of_changes_is_taken_up_in_portions,
    only_a_specific_address_is_a_reason_to_watch,
    the_second_family_follows_the_first_to_its_port_before_the_name_is_announced,
    if_the_second_family_cannot_follow_the_listener_closes_with_that_error,
    what_cannot_be_listened_on_comes_back_as_it_was,
    the_interfaces_of_a_name_do_not_keep_others_from_their_turn,
    of_a_listener_that_failed_nothing_is_heard_nor_after_a_close,
    a_tls_listener_needs_a_certificate,
);
