mod closing;
mod failing;
#[cfg(feature = "metrics")]
mod metrics;
mod waiting;

use std::io;

use futures::FutureExt as _;
use libp2p_core::{
    Endpoint, Transport as _,
    transport::{MemoryTransport, OrTransport, PortUse},
};
use tokio_test::task::{self, Spawn};

use super::*;
use crate::lazy::{
    Changed, Filtered, Missing, Support,
    scripted::{Event, Scripted, incoming},
};

type Reported = TransportEvent<
    <Transport<Scripted> as libp2p_core::Transport>::ListenerUpgrade,
    Error<io::Error>,
>;

/// A lazy transport in a task of its own, polled step by step.
struct Subject {
    task: Spawn<Transport<Scripted>>,
    inner: Scripted,
}

impl Subject {
    /// Over a transport that reports an address as soon as it is bound.
    fn new() -> Self {
        let this = Self::over_wildcards(Config::default());
        this.inner.script().announces = true;
        this
    }

    /// Over a transport that reports an address only when the test says so.
    fn over_wildcards(config: Config) -> Self {
        let inner = Scripted::default();
        Self {
            task: task::spawn(Transport::new(inner.clone(), config)),
            inner,
        }
    }

    fn listen(&mut self, address: &Multiaddr) -> ListenerId {
        let id = ListenerId::next();
        self.task.listen_on(id, address.clone()).unwrap();
        id
    }

    /// Registered, bound and reported.
    fn listening(&mut self, address: &Multiaddr) -> (ListenerId, ListenerId) {
        let id = self.listen(address);
        assert!(is_new_address(&self.ready(), id, address));
        let inner = self.inner.script().bound.last().unwrap().0;
        (id, inner)
    }

    fn poll(&mut self) -> Poll<Reported> {
        self.task.enter(|cx, transport| transport.poll(cx))
    }

    #[track_caller]
    fn ready(&mut self) -> Reported {
        match self.poll() {
            Poll::Ready(event) => event,
            Poll::Pending => panic!("there is something to report"),
        }
    }

    /// `Pending`, and nothing to do until something happens.
    #[track_caller]
    fn idle(&mut self) {
        let polled = self.poll();
        assert!(polled.is_pending(), "{polled:?}");
        assert!(!self.task.is_woken());
    }

    /// `Pending`, but there is more to do.
    #[track_caller]
    fn busy(&mut self) {
        let polled = self.poll();
        assert!(polled.is_pending(), "{polled:?}");
        assert!(self.task.is_woken());
    }

    /// The inner transport has something to say.
    #[track_caller]
    fn say(&mut self, event: Event) {
        let mut script = self.inner.script();
        script.events.push_back(event);
        script.wake();
    }

    fn counts(&self) -> (usize, usize, usize) {
        let script = self.inner.script();
        (script.polls, script.asks, script.bound.len())
    }
}

fn address(port: usize) -> Multiaddr {
    format!("/ip4/127.0.0.1/tcp/{port}/ws").parse().unwrap()
}

fn new_address(listener_id: ListenerId, listen_addr: &Multiaddr) -> Event {
    TransportEvent::NewAddress {
        listener_id,
        listen_addr: listen_addr.clone(),
    }
}

fn expired(listener_id: ListenerId, listen_addr: &Multiaddr) -> Event {
    TransportEvent::AddressExpired {
        listener_id,
        listen_addr: listen_addr.clone(),
    }
}

fn closed(listener_id: ListenerId, reason: io::Result<()>) -> Event {
    TransportEvent::ListenerClosed {
        listener_id,
        reason,
    }
}

fn is_new_address(event: &Reported, id: ListenerId, address: &Multiaddr) -> bool {
    matches!(event, TransportEvent::NewAddress { listener_id, listen_addr }
        if *listener_id == id && listen_addr == address)
}

fn is_expired(event: &Reported, id: ListenerId, address: &Multiaddr) -> bool {
    matches!(event, TransportEvent::AddressExpired { listener_id, listen_addr }
        if *listener_id == id && listen_addr == address)
}

fn is_clean_close(event: &Reported, id: ListenerId) -> bool {
    matches!(event, TransportEvent::ListenerClosed { listener_id, reason: Ok(()) }
        if *listener_id == id)
}

/// The number of the connection that came in.
fn number(event: Reported, id: ListenerId) -> u32 {
    match event {
        TransportEvent::Incoming {
            listener_id,
            upgrade,
            ..
        } if listener_id == id => upgrade.now_or_never().unwrap().unwrap(),
        other => panic!("a connection, not {other:?}"),
    }
}

#[test]
fn an_address_that_can_never_be_served_comes_back_unchanged() {
    let mut subject = Subject::new();
    subject
        .inner
        .script()
        .support
        .insert(address(1), Support::Never);
    let refused = subject.task.listen_on(ListenerId::next(), address(1));
    assert!(
        matches!(&refused, Err(TransportError::MultiaddrNotSupported(a)) if *a == address(1)),
        "{refused:?}"
    );
    subject.idle();
    assert!(subject.inner.script().bound.is_empty());
}

#[test]
fn or_transport_hands_on_what_is_refused() {
    let refusing = || Filtered::new(Scripted::default(), |_: &Multiaddr| false);
    let lazy = Transport::new(refusing(), Config::default());
    let mut either = task::spawn(OrTransport::new(lazy, MemoryTransport::new()));
    let id = ListenerId::next();
    let memory: Multiaddr = "/memory/29021".parse().unwrap();
    either.listen_on(id, memory.clone()).unwrap();
    let polled = either.enter(|cx, transport| transport.poll(cx));
    assert!(matches!(
        polled,
        Poll::Ready(TransportEvent::NewAddress { listener_id, listen_addr })
            if listener_id == id && listen_addr == memory
    ));

    // And the other way round: an unsupported address is returned unchanged by the last one.
    let lazy = Transport::new(refusing(), Config::default());
    let mut either = OrTransport::new(MemoryTransport::new(), lazy);
    let refused = either.listen_on(ListenerId::next(), address(1));
    assert!(matches!(refused, Err(TransportError::MultiaddrNotSupported(a)) if a == address(1)));
}

#[test]
fn listening_only_registers_and_the_poll_binds_under_an_id_of_its_own() {
    let mut subject = Subject::new();
    subject.idle();
    let id = subject.listen(&address(1));
    assert!(subject.task.is_woken());
    assert!(subject.inner.script().bound.is_empty());

    assert!(is_new_address(&subject.ready(), id, &address(1)));
    {
        let script = subject.inner.script();
        assert_eq!(script.bound.len(), 1);
        assert_eq!(script.bound[0].1, address(1));
        assert_ne!(script.bound[0].0, id);
    }
    subject.idle();
    assert_eq!(subject.inner.script().bound.len(), 1);
}

#[test]
fn an_id_serves_one_listener_until_its_close_is_reported() {
    let mut subject = Subject::new();
    let id = subject.listen(&address(1));
    let in_use = |subject: &mut Subject| {
        matches!(
            subject.task.listen_on(id, address(2)),
            Err(TransportError::Other(Error::IdInUse { id: taken })) if taken == id
        )
    };
    assert!(in_use(&mut subject));
    assert!(subject.task.remove_listener(id));
    assert!(in_use(&mut subject));
    assert!(is_clean_close(&subject.ready(), id));
    assert!(!in_use(&mut subject));
}

#[test]
fn each_address_follows_its_own_bind() {
    let mut subject = Subject::new();
    let ids: Vec<_> = (0..40).map(|port| subject.listen(&address(port))).collect();
    for (port, id) in ids.into_iter().enumerate() {
        assert_eq!(subject.inner.script().bound.len(), port);
        assert!(is_new_address(&subject.ready(), id, &address(port)));
    }
    subject.idle();
}

#[test]
fn one_poll_binds_no_more_than_it_may_and_wakes_itself_for_the_rest() {
    let max = 16;
    let mut subject = Subject::over_wildcards(Config::default());
    for port in 0..2 * max + 1 {
        subject.listen(&address(port));
    }
    subject.busy();
    assert_eq!(subject.inner.script().bound.len(), max);
    subject.busy();
    assert_eq!(subject.inner.script().bound.len(), 2 * max);
    subject.idle();
    assert_eq!(subject.inner.script().bound.len(), 2 * max + 1);
    let script = subject.inner.script();
    let bound = script.bound.iter().map(|(_, a)| a.clone());
    assert!(bound.eq((0..2 * max + 1).map(address)));
}

#[test]
fn what_the_inner_transport_has_to_say_comes_before_the_next_bind() {
    let mut subject = Subject::new();
    let (first, inner) = subject.listening(&address(1));
    subject.listen(&address(2));
    subject.task.remove_listener(first);
    subject.say(closed(inner, Ok(())));
    assert!(is_clean_close(&subject.ready(), first));
    assert_eq!(subject.inner.script().bound.len(), 1);
    subject.ready();
    assert_eq!(subject.inner.script().bound.len(), 2);
}

#[test]
fn a_flood_of_connections_does_not_keep_others_from_binding() {
    let mut subject = Subject::new();
    let (flooded, inner) = subject.listening(&address(1));
    subject.inner.script().flood = Some(inner);
    let late: Vec<_> = (2..5).map(|port| subject.listen(&address(port))).collect();
    let mut heard = Vec::new();
    for _ in 0..200 {
        match subject.ready() {
            TransportEvent::NewAddress { listener_id, .. } => heard.push(listener_id),
            event => assert_eq!(number(event, flooded), 0),
        }
    }
    assert_eq!(heard, late);
}

#[test]
fn connections_wait_for_the_first_address_and_only_so_many() {
    let mut subject = Subject::over_wildcards(Config::default());
    let id = subject.listen(&address(1));
    subject.idle();
    let inner = subject.inner.script().inner_id(0);
    for n in 0..20 {
        subject.say(incoming(inner, n));
    }
    subject.idle();
    subject.say(new_address(inner, &address(1)));
    subject.say(incoming(inner, 99));
    assert!(subject.task.is_woken());
    assert!(is_new_address(&subject.ready(), id, &address(1)));
    for n in 0..16 {
        assert_eq!(number(subject.ready(), id), n);
    }
    assert_eq!(number(subject.ready(), id), 99);
    subject.idle();
}

#[test]
fn connections_wait_again_when_the_last_address_has_expired() {
    let mut subject = Subject::new();
    let (id, inner) = subject.listening(&address(1));
    subject.say(expired(inner, &address(1)));
    assert!(is_expired(&subject.ready(), id, &address(1)));
    subject.say(incoming(inner, 1));
    subject.idle();
    subject.say(new_address(inner, &address(2)));
    assert!(is_new_address(&subject.ready(), id, &address(2)));
    assert_eq!(number(subject.ready(), id), 1);
}

#[test]
fn an_address_is_reported_once_and_expires_once() {
    let mut subject = Subject::new();
    let (id, inner) = subject.listening(&address(1));
    subject.say(new_address(inner, &address(1)));
    subject.say(expired(inner, &address(2)));
    subject.idle();
    subject.say(expired(inner, &address(1)));
    subject.say(expired(inner, &address(1)));
    assert!(is_expired(&subject.ready(), id, &address(1)));
    subject.idle();
    subject.say(new_address(inner, &address(1)));
    assert!(is_new_address(&subject.ready(), id, &address(1)));
}

#[test]
fn two_listeners_may_report_the_same_address() {
    let mut subject = Subject::new();
    let (one, inner_one) = subject.listening(&address(1));
    let (two, inner_two) = subject.listening(&address(1));
    subject.say(expired(inner_one, &address(1)));
    assert!(is_expired(&subject.ready(), one, &address(1)));
    subject.say(expired(inner_two, &address(1)));
    assert!(is_expired(&subject.ready(), two, &address(1)));
}

#[test]
fn link_local_addresses_are_left_out_unless_asked_for() {
    let parse = |address: &str| address.parse::<Multiaddr>().unwrap();
    let local = parse("/ip6/fe80::1/tcp/1/ws");
    let last_local = parse("/ip6/febf::1/tcp/1/ws");
    let global = parse("/ip6/2001:db8::1/tcp/1/ws");
    let mut subject = Subject::over_wildcards(Config::default());
    let id = subject.listen(&parse("/ip6/::/tcp/1/ws"));
    subject.idle();
    let inner = subject.inner.script().inner_id(0);
    for hidden in [&local, &last_local] {
        subject.say(new_address(inner, hidden));
        subject.say(expired(inner, hidden));
    }
    subject.idle();
    subject.say(new_address(inner, &global));
    assert!(is_new_address(&subject.ready(), id, &global));

    let id = subject.listen(&local);
    subject.idle();
    let inner = subject.inner.script().inner_id(1);
    subject.say(new_address(inner, &local));
    assert!(is_new_address(&subject.ready(), id, &local));
}

#[test]
fn zones_and_patterns_are_left_out_even_if_asked_for() {
    let good = ["/ip4/192.0.2.1/tcp/1/ws", "/dns/a.example/tcp/42/wss"];
    for (registered, hidden) in [
        "/ip6zone/eth0/ip6/fe80::1/tcp/1/ws",
        "/ip4/127.0.0.1/tcp/1/tls/sni/*.a.example/ws",
        "/dns/*.a.example/tcp/1/wss",
        "/dnsaddr/*",
    ]
    .map(|hidden| ("/ip4/0.0.0.0/tcp/0/ws", hidden))
    .into_iter()
    .chain([("/dns4/*/tcp/1/ws", "/dns4/*/tcp/1/ws")])
    {
        let [registered, hidden] = [registered, hidden].map(|a| a.parse::<Multiaddr>().unwrap());
        let mut subject = Subject::over_wildcards(Config::default());
        let id = subject.listen(&registered);
        subject.idle();
        let inner = subject.inner.script().inner_id(0);
        subject.say(new_address(inner, &hidden));
        subject.say(expired(inner, &hidden));
        subject.idle();
        for good in good.map(|a| a.parse().unwrap()) {
            subject.say(new_address(inner, &good));
            assert!(is_new_address(&subject.ready(), id, &good));
        }
    }
}

#[test]
fn events_of_nobody_are_dropped_in_portions() {
    let mut subject = Subject::new();
    subject.inner.script().flood = Some(ListenerId::next());
    subject.busy();
    let polls = subject.inner.script().polls;
    assert!(polls <= 100, "{polls}");
    // Even so, a new listener is bound.
    let id = subject.listen(&address(1));
    for _ in 0..10 {
        if let Poll::Ready(event) = subject.poll() {
            assert!(is_new_address(&event, id, &address(1)));
            return;
        }
        assert!(subject.task.is_woken());
    }
    panic!("not bound");
}

#[test]
fn the_last_task_that_polled_is_the_one_that_is_woken() {
    let inner = Scripted::default();
    let mut transport = Transport::new(inner, Config::default());
    let mut first = task::spawn(());
    let mut last = task::spawn(());
    assert!(
        first
            .enter(|cx, _| Pin::new(&mut transport).poll(cx))
            .is_pending()
    );
    assert!(
        last.enter(|cx, _| Pin::new(&mut transport).poll(cx))
            .is_pending()
    );
    transport.listen_on(ListenerId::next(), address(1)).unwrap();
    assert!(last.is_woken());
    assert!(!first.is_woken());
}

#[test]
fn dialling_is_that_of_the_inner_transport() {
    let mut subject = Subject::new();
    let opts = DialOpts {
        role: Endpoint::Dialer,
        port_use: PortUse::New,
    };
    let dial = subject.task.dial(address(1), opts).unwrap();
    assert!(matches!(
        dial.now_or_never().unwrap(),
        Err(Error::Inner(e)) if e.kind() == io::ErrorKind::ConnectionRefused
    ));
    subject.inner.script().failures.insert(
        address(1),
        TransportError::MultiaddrNotSupported(address(1)),
    );
    assert!(matches!(
        subject.task.dial(address(1), opts),
        Err(TransportError::MultiaddrNotSupported(a)) if a == address(1)
    ));
}
