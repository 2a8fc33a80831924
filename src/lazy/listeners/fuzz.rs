//! Plays the application, the shell and the inner transport as determined by bytes, and checks the reports against the
//! contracts.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    net::Ipv4Addr,
    time::Duration,
};

use libp2p_core::transport::{ListenerId, TransportError, TransportEvent};
use multiaddr::{Multiaddr, Protocol};

use super::{
    Action, Listeners, errors::APART, id_of, listener::State, pace::MAX_EVENTS_BEFORE_REBIND,
};
use crate::{
    deadline::{self, Instant},
    lazy::{Changed, Config, Error, Failure, Missing, Retry, Support, status},
};

type Core = Listeners<u32, io::Error>;
type Inner = TransportEvent<u32, io::Error>;
type Reported = TransportEvent<u32, Error<io::Error>>;

/// Carries out the operations that the bytes are taken for, and then ends everything.
///
/// # Panics
///
/// If a contract is broken.
pub(crate) fn run(data: &[u8]) {
    let mut bytes = data.iter().copied();
    let mut outside = Outside::new(bytes.next().unwrap_or_default());
    while let Some(operation) = Operation::read(&mut bytes) {
        outside.apply(operation);
    }
    outside.finish();
}

/// Numbers pick one of those that exist, or one that does not.
#[derive(Debug, Clone, Copy)]
enum Operation {
    Listen { waits: bool, has_port: bool },
    Remove(usize),
    Say { listener: usize, what: Say },
    Poll,
    Pass(Duration),
    NextBinds(Bind),
    Change(Change),
    Forget(bool),
}

#[derive(Debug, Clone, Copy)]
enum Say {
    NewAddress(u16),
    Expired(u16),
    Incoming,
    Error(usize),
    Closed,
}

#[derive(Debug, Clone, Copy)]
enum Bind {
    Succeed,
    Fail,
    Hopeless,
    Unsupported,
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Arrives,
    Leaves,
    Never,
    Network,
}

impl Operation {
    fn read(bytes: &mut impl Iterator<Item = u8>) -> Option<Self> {
        let kind = bytes.next()?;
        let argument = bytes.next()?;
        let number = usize::from(argument % 12);
        let small = u16::from(argument / 12 % 4);
        Some(match kind % 32 {
            0..=3 => Self::Listen {
                waits: argument & 1 == 0,
                has_port: argument & 2 == 0,
            },
            4..=5 => Self::Remove(number),
            6..=15 => Self::Say {
                listener: number,
                what: match kind % 32 {
                    6..=9 => Say::NewAddress(small),
                    10..=11 => Say::Expired(small),
                    12..=13 => Say::Incoming,
                    14 => Say::Error(usize::from(small)),
                    _ => Say::Closed,
                },
            },
            16..=25 => Self::Poll,
            26..=27 => Self::Pass(Duration::from_millis(10 * u64::from(argument).pow(2))),
            28..=29 => Self::NextBinds(match argument % 4 {
                0..=1 => Bind::Succeed,
                2 => Bind::Fail,
                _ if argument % 16 == 3 => Bind::Unsupported,
                _ => Bind::Hopeless,
            }),
            30 => Self::Change(match argument % 8 {
                0..=1 => Change::Arrives,
                2..=3 => Change::Leaves,
                4 => Change::Never,
                _ => Change::Network,
            }),
            _ => Self::Forget(argument & 1 == 0),
        })
    }
}

struct Outside {
    core: Core,
    now: Instant,
    accepted: Vec<ListenerId>,
    seen: BTreeMap<usize, Seen>,
    /// The ids that the inner transport has been given, in order, and whether each is still there.
    inner: Vec<(ListenerId, bool)>,
    /// How many events there were since the inner transport had nothing to say.
    events: usize,
    says: VecDeque<Inner>,
    binds: Bind,
    change: Option<Change>,
    has_certificate: bool,
    is_hopeless: bool,
    forgetful: bool,
    incoming: u32,
}

/// The events of a listener seen by the application, and its binds seen by the inner transport.
#[derive(Default)]
struct Seen {
    address: Option<Multiaddr>,
    /// Whether it needs the certificate.
    waits: bool,
    /// The latest inner listener, and whether the inner transport has had nothing to say since that closed.
    bound: Option<ListenerId>,
    settled: bool,
    failed: bool,
    removed: bool,
    closed: bool,
    addresses: BTreeSet<String>,
    last_incoming: Option<u32>,
    /// Whether it has been told that it is exhausted, and not that this is over; and when it was last told so of what is
    /// bound.
    is_exhausted: bool,
    exhausted: Option<Instant>,
    attempt: u32,
    /// When the next attempt is due at the latest.
    due: Option<Instant>,
    /// Whether it is due no earlier: the failure was reported at once, with no addresses that expired first.
    is_exact: bool,
    /// When the attempt that is being made was due.
    was_due: Option<Instant>,
    gave_up: bool,
}

impl Outside {
    fn new(policy: u8) -> Self {
        let retry = match policy % 4 {
            0 => Retry::default(),
            1 => Retry::never(),
            2 => Retry::default().with_max_attempts(3),
            _ => Retry::default().with_max_delay(Duration::from_secs(1)),
        };
        let now = deadline::now();
        let mut core = Core::new(&Config::default().with_retry(retry), policy.into(), now);
        if policy & 4 == 0 {
            core.watch();
        }
        Self {
            core,
            now,
            accepted: Vec::new(),
            seen: BTreeMap::new(),
            inner: Vec::new(),
            events: 0,
            says: VecDeque::new(),
            binds: Bind::Succeed,
            change: None,
            has_certificate: false,
            is_hopeless: false,
            forgetful: false,
            incoming: 0,
        }
    }

    fn seen(&mut self, id: ListenerId) -> &mut Seen {
        let index = self.accepted.iter().position(|a| *a == id);
        self.seen.entry(index.expect("accepted")).or_default()
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Listen { waits, has_port } => self.listen(waits, has_port),
            Operation::Remove(n) => {
                if let Some(id) = self.accepted.get(n).copied() {
                    self.remove(id);
                }
            }
            Operation::Say { listener, what } => self.say(listener, what),
            Operation::Poll => self.poll(),
            Operation::Pass(time) => self.now += time,
            Operation::NextBinds(binds) => self.binds = binds,
            Operation::Change(change) => self.change = Some(change),
            Operation::Forget(forgetful) => self.forgetful = forgetful,
        }
        self.drain_changes();
    }

    fn listen(&mut self, waits: bool, has_port: bool) {
        let id = ListenerId::next();
        let support = self.support(waits);
        let port = if has_port { 4001 } else { 0 };
        let address = address(port);
        let accepted = self.core.on_listen(id, address.clone(), support);
        assert!(accepted.is_ok());
        self.accepted.push(id);
        let seen = self.seen(id);
        (seen.address, seen.waits) = (Some(address), waits);
    }

    fn support(&self, waits: bool) -> Support {
        match waits && !self.has_certificate {
            true => Support::Waiting(Missing::Certificate { last_error: None }),
            false => Support::Now,
        }
    }

    fn remove(&mut self, id: ListenerId) {
        let is_known = self.core.on_remove(id);
        let seen = self.seen(id);
        if is_known {
            assert!(!seen.removed && !seen.closed, "removed twice");
            seen.removed = true;
            seen.due = None;
        }
    }

    fn is_bound(&self, id: ListenerId) -> bool {
        let row = self.core.listeners.get(&id);
        row.is_some_and(|row| matches!(row.state, State::Listening(_)))
    }

    /// The inner transport is told to close one. Whether it knew it.
    fn close_inner(&mut self, inner: ListenerId) -> bool {
        let alive = self.inner.iter().any(|(id, alive)| *id == inner && *alive);
        if !alive {
            return false;
        }
        if self.forgetful {
            self.bury(inner);
            return false;
        }
        self.says.push_back(TransportEvent::ListenerClosed {
            listener_id: inner,
            reason: Ok(()),
        });
        true
    }

    fn bury(&mut self, inner: ListenerId) {
        for (id, alive) in &mut self.inner {
            *alive &= *id != inner;
        }
        for seen in self.seen.values_mut() {
            if seen.bound == Some(inner) {
                seen.settled = false;
            }
        }
    }

    /// The inner transport says something about one that it has, had, or never knew.
    fn say(&mut self, n: usize, what: Say) {
        let listener_id = self.inner.get(n).map(|(id, _)| *id);
        let listener_id = listener_id.unwrap_or_else(ListenerId::next);
        self.says.push_back(match what {
            Say::NewAddress(n) => TransportEvent::NewAddress {
                listener_id,
                listen_addr: address(5000 + n),
            },
            Say::Expired(n) => TransportEvent::AddressExpired {
                listener_id,
                listen_addr: address(5000 + n),
            },
            Say::Incoming => {
                self.incoming += 1;
                TransportEvent::Incoming {
                    listener_id,
                    upgrade: self.incoming,
                    local_addr: address(0),
                    send_back_addr: address(0),
                }
            }
            Say::Error(n) => TransportEvent::ListenerError {
                listener_id,
                error: match n {
                    0 => io::Error::other("one"),
                    1 => io::ErrorKind::ConnectionAborted.into(),
                    _ => io::ErrorKind::OutOfMemory.into(),
                },
            },
            Say::Closed => TransportEvent::ListenerClosed {
                listener_id,
                reason: Err(io::Error::other("said")),
            },
        });
    }

    fn poll(&mut self) {
        self.core.on_poll(self.now);
        let mut binds = 0;
        // Bounded: a poll that did not end would fail here.
        for _ in 0..1000 {
            match self.core.poll_action() {
                Action::Report(event) => return self.check(event),
                Action::Bind {
                    listener,
                    inner,
                    address,
                } => {
                    let waits = self.seen(listener).waits;
                    if let Support::Waiting(missing) = self.support(waits) {
                        self.seen(listener).due = None;
                        self.core.on_missing(listener, missing);
                        continue;
                    }
                    binds += 1;
                    assert!(binds <= 16);
                    self.bind(listener, inner, &address);
                }
                Action::Remove { listener, inner } => {
                    let known = self.close_inner(inner);
                    self.core.on_removed(listener, known);
                }
                Action::Ask { listener, .. } => {
                    let waits = self.seen(listener).waits;
                    let support = match self.is_hopeless {
                        true => Support::Never,
                        false => self.support(waits),
                    };
                    // One that is bound stays so.
                    if support == Support::Never && !self.is_bound(listener) {
                        self.seen(listener).failed = true;
                    }
                    self.core.on_answer(listener, support);
                }
                Action::PollInner => {
                    if let Some(change) = self.change.take() {
                        let changed = match change {
                            Change::Network => Changed::Network,
                            _ => Changed::Support,
                        };
                        self.core.on_changed(changed);
                        match change {
                            Change::Arrives | Change::Leaves | Change::Never => {
                                self.has_certificate = matches!(change, Change::Arrives);
                                self.is_hopeless = matches!(change, Change::Never);
                            }
                            Change::Network => {}
                        }
                        continue;
                    }
                    self.poll_inner();
                }
                Action::Rest { again } => {
                    assert!(again || self.says.is_empty(), "sleeps over events");
                    assert!(again || !self.core.is_bind_due(), "sleeps over binds");
                    let is_told = !self.is_hopeless && self.change.is_none();
                    for id in self.accepted.clone() {
                        let lacks = self.seen(id).waits && !self.has_certificate;
                        let is_idle = again || !is_told || !lacks;
                        assert!(is_idle || !self.is_bound(id), "bound without what it needs");
                    }
                    let next = self.core.next_timeout();
                    for seen in self.seen.values() {
                        let Some(due) = seen.due else { continue };
                        assert!(again || due > self.now, "sleeps over an attempt");
                        assert!(again || next.is_some_and(|next| next <= due), "no timer");
                    }
                    return;
                }
            }
        }
        panic!("a poll without end");
    }

    fn poll_inner(&mut self) {
        let Some(event) = self.says.pop_front() else {
            self.events = 0;
            self.seen.values_mut().for_each(|seen| seen.settled = true);
            return self.core.on_inner_pending();
        };
        self.events += 1;
        if let TransportEvent::ListenerClosed { listener_id, .. } = &event {
            self.bury(*listener_id);
        }
        self.core.on_inner_event(event);
    }

    fn bind(&mut self, listener: ListenerId, inner: ListenerId, address: &Multiaddr) {
        let before = self.seen(listener).bound.replace(inner);
        let is_alive = |id| {
            self.inner
                .iter()
                .any(|(known, alive)| *known == id && *alive)
        };
        assert!(!before.is_some_and(is_alive), "bound twice");
        let events = self.events;
        let binds = self.binds;
        let seen = self.seen(listener);
        assert!(!seen.removed && !seen.closed);
        assert!(
            before.is_none() || seen.settled || events >= MAX_EVENTS_BEFORE_REBIND,
            "the old socket may be there"
        );
        let expected = seen.address.clone().expect("listened");
        assert!(
            *address == expected || port(&expected) == 0,
            "another address"
        );
        seen.was_due = seen.due.take();
        let error = match binds {
            Bind::Succeed => {
                (seen.is_exhausted, seen.exhausted) = (false, None);
                self.inner.push((inner, true));
                return self.core.on_bound(listener);
            }
            Bind::Fail => TransportError::Other(io::ErrorKind::AddrInUse.into()),
            Bind::Hopeless => TransportError::Other(io::ErrorKind::PermissionDenied.into()),
            Bind::Unsupported => TransportError::MultiaddrNotSupported(Multiaddr::empty()),
        };
        seen.failed = true;
        seen.bound = None;
        self.core.on_bind_failed(listener, error);
    }

    fn check(&mut self, event: Reported) {
        let id = id_of(&event);
        let now = self.now;
        let seen = self.seen(id);
        assert!(!seen.closed, "{event:?} after the close");
        let is_close = matches!(event, TransportEvent::ListenerClosed { .. });
        assert!(!seen.gave_up || is_close, "{event:?} after it gave up");
        assert!(!seen.removed || is_close, "{event:?} after the removal");
        match event {
            TransportEvent::NewAddress { listen_addr, .. } => {
                assert!(seen.bound.is_some());
                assert!(seen.addresses.insert(listen_addr.to_string()), "twice");
                seen.was_due = None;
            }
            TransportEvent::AddressExpired { listen_addr, .. } => {
                let removed = seen.addresses.remove(&listen_addr.to_string());
                assert!(removed, "never reported");
            }
            TransportEvent::Incoming { upgrade, .. } => {
                assert!(!seen.addresses.is_empty(), "a connection without address");
                assert!(seen.last_incoming < Some(upgrade), "out of order");
                seen.last_incoming = Some(upgrade);
            }
            TransportEvent::ListenerError { error, .. } => match error {
                Error::Listen(error) => {
                    assert!(seen.addresses.is_empty(), "fails with addresses");
                    assert_eq!(Some(error.address()), seen.address.as_ref());
                    let attempt = error.attempt();
                    seen.gave_up = error.retry_in().is_none();
                    seen.due = error.retry_in().map(|delay| now + delay);
                    let follows = attempt == seen.attempt + 1 || attempt == 1;
                    match seen.was_due.take().filter(|due| *due > now) {
                        Some(due) if seen.is_exact => {
                            assert_eq!(attempt, seen.attempt, "{error}");
                            assert!(seen.gave_up || seen.due == Some(due), "{error}");
                        }
                        Some(_) => assert!(follows || attempt == seen.attempt, "{error}"),
                        None => assert!(follows, "{error}"),
                    }
                    seen.is_exact = error.failure() == Failure::Bind;
                    (seen.is_exhausted, seen.exhausted) = (false, None);
                    seen.attempt = attempt;
                    let is_bind = matches!(error.failure(), Failure::Bind | Failure::Unsupported);
                    assert!(!is_bind || seen.failed);
                }
                Error::Inner(error) => {
                    assert!(seen.bound.is_some());
                    assert_ne!(error.kind(), io::ErrorKind::OutOfMemory);
                }
                Error::Exhausted(_) => {
                    assert!(!std::mem::replace(&mut seen.is_exhausted, true), "twice");
                    let last = seen.exhausted.replace(now);
                    assert!(last.is_none_or(|last| now > last + APART), "too often");
                }
                Error::Recovered { .. } => {
                    assert!(std::mem::take(&mut seen.is_exhausted), "never told");
                }
                Error::IdInUse { .. } => panic!("not for an event"),
            },
            TransportEvent::ListenerClosed { reason, .. } => {
                seen.closed = true;
                seen.due = None;
                assert_eq!(seen.removed, reason.is_ok() || !seen.gave_up);
            }
        }
    }

    /// Who watches knows the addresses that are good, and no listener that it was not told of.
    fn drain_changes(&mut self) {
        while let Some(note) = self.core.poll_note() {
            assert!(self.accepted.contains(&note.listener));
            let is_listening = matches!(note.state, status::State::Listening);
            assert!(is_listening || note.addresses.is_empty());
        }
    }

    /// Removes everything and polls until nothing moves.
    fn finish(mut self) {
        for id in self.accepted.clone() {
            self.remove(id);
        }
        for _ in 0..10_000 {
            if self.says.is_empty() && self.core.listeners.is_empty() {
                break;
            }
            self.poll();
        }
        assert!(self.seen.values().all(|seen| seen.closed), "one is open");
        assert!(self.core.events.is_empty());
        assert!(self.core.by_inner.is_empty() && self.core.closing.is_empty());
        assert!(!self.core.is_bind_due());
        assert!(self.core.next_timeout().is_none());
        assert!(self.core.waiting.is_empty() && self.core.retries.is_empty());
    }
}

fn address(port: u16) -> Multiaddr {
    let address = Multiaddr::from(Ipv4Addr::LOCALHOST);
    address
        .with(Protocol::Tcp(port))
        .with(Protocol::Ws("/".into()))
}

fn port(address: &Multiaddr) -> u16 {
    match address.iter().nth(1) {
        Some(Protocol::Tcp(port)) => port,
        _ => panic!("{address} has a port"),
    }
}
