use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{
    pace::{MAX_EVENTS_BEFORE_BIND, MAX_RUN},
    *,
};

type Core = Listeners<u32, &'static str>;
type Inner = TransportEvent<u32, &'static str>;
type Reported = TransportEvent<u32, Error<&'static str>>;

fn address(n: usize) -> Multiaddr {
    format!("/ip4/127.0.0.1/tcp/{n}/ws").parse().unwrap()
}

fn core() -> Core {
    Listeners::new(&Config::default())
}

#[test]
fn the_inner_transport_is_polled_before_anything_is_bound() {
    let mut core = core();
    let id = ListenerId::next();
    core.on_listen(id, address(1), Support::Now).unwrap();
    core.on_poll();
    assert!(matches!(core.poll_action(), Action::PollInner));
    core.on_inner_pending();
    assert!(matches!(core.poll_action(), Action::Bind { listener, .. } if listener == id));
    core.on_bound(id);
    assert!(matches!(core.poll_action(), Action::PollInner));
    core.on_inner_pending();
    assert!(matches!(core.poll_action(), Action::Rest { again: false }));
}

#[test]
fn a_bind_goes_ahead_after_so_many_events_in_a_row_and_no_earlier() {
    let mut core = core();
    core.on_listen(ListenerId::next(), address(1), Support::Now)
        .unwrap();
    for _ in 0..MAX_EVENTS_BEFORE_BIND {
        core.on_poll();
        assert!(matches!(core.poll_action(), Action::PollInner));
        core.on_inner_event(TransportEvent::ListenerError {
            listener_id: ListenerId::next(),
            error: "of nobody",
        });
    }
    core.on_poll();
    assert!(matches!(core.poll_action(), Action::Bind { .. }));
}

/// Registers this many and binds the first one, whose address is out.
fn in_a_run(count: usize) -> (Core, Vec<ListenerId>) {
    let mut core = core();
    let ids: Vec<_> = (0..count).map(|_| ListenerId::next()).collect();
    for (n, id) in ids.iter().enumerate() {
        core.on_listen(*id, address(n), Support::Now).unwrap();
    }
    core.on_poll();
    core.on_inner_pending();
    bind_and_announce(&mut core);
    (core, ids)
}

/// Carries out the bind that is next, and reports its address.
fn bind_and_announce(core: &mut Core) {
    let Action::Bind {
        listener,
        inner,
        address,
    } = core.poll_action()
    else {
        panic!("a bind");
    };
    core.on_bound(listener);
    assert!(matches!(core.poll_action(), Action::PollInner));
    core.on_inner_event(TransportEvent::NewAddress {
        listener_id: inner,
        listen_addr: address,
    });
    assert!(matches!(
        core.poll_action(),
        Action::Report(TransportEvent::NewAddress { .. })
    ));
    core.on_poll();
}

#[test]
fn binds_follow_each_other_but_not_without_end() {
    let (mut core, _) = in_a_run(2 * MAX_RUN);
    for _ in 1..MAX_RUN {
        bind_and_announce(&mut core);
    }
    assert!(matches!(core.poll_action(), Action::PollInner));
    core.on_inner_pending();
    bind_and_announce(&mut core);
    bind_and_announce(&mut core);
}

#[test]
fn a_run_ends_when_anything_else_happens() {
    let elsewhere = TransportEvent::ListenerClosed {
        listener_id: ListenerId::next(),
        reason: Ok(()),
    };
    let (mut core, _) = in_a_run(3);
    assert!(matches!(core.poll_action(), Action::Bind { .. }));
    core.on_inner_event(elsewhere);
    assert!(matches!(core.poll_action(), Action::PollInner));

    // The port that is left here may be the one that the next listener wants.
    let (mut core, ids) = in_a_run(3);
    assert!(matches!(core.on_remove(ids[0]), Removal::AskInner(_)));
    assert!(matches!(core.poll_action(), Action::PollInner));

    // Nobody waits, so who comes later begins a new one.
    let (mut core, _) = in_a_run(1);
    core.on_listen(ListenerId::next(), address(1), Support::Now)
        .unwrap();
    assert!(matches!(core.poll_action(), Action::PollInner));
}

#[test]
fn answers_that_nobody_waits_for_change_nothing() {
    let mut core = core();
    let (id, unknown) = (ListenerId::next(), ListenerId::next());
    core.on_listen(id, address(1), Support::Now).unwrap();
    for id in [id, unknown] {
        core.on_bound(id);
        core.on_bind_failed(id, TransportError::Other("late"));
        core.on_removal_answered(id, false);
        core.on_answer(id, Support::Never);
    }
    assert_eq!(core.on_remove(unknown), Removal::Unknown);
    core.on_poll();
    assert!(matches!(core.poll_action(), Action::PollInner));
    core.on_inner_pending();
    assert!(matches!(core.poll_action(), Action::Bind { listener, .. } if listener == id));
}

#[test]
fn a_removal_in_the_middle_of_a_bind_still_closes_once() {
    for fails in [false, true] {
        let mut core = core();
        let id = ListenerId::next();
        core.on_listen(id, address(1), Support::Now).unwrap();
        core.on_poll();
        core.on_inner_pending();
        let Action::Bind { inner, .. } = core.poll_action() else {
            panic!("a bind");
        };
        assert_eq!(core.on_remove(id), Removal::AskInner(inner));
        if fails {
            core.on_bind_failed(id, TransportError::Other("taken"));
        } else {
            core.on_bound(id);
        }
        core.on_removal_answered(id, !fails);
        if !fails {
            core.on_inner_event(TransportEvent::ListenerClosed {
                listener_id: inner,
                reason: Ok(()),
            });
        }
        assert!(matches!(
            core.poll_action(),
            Action::Report(TransportEvent::ListenerClosed { listener_id, reason: Ok(()) })
                if listener_id == id
        ));
        assert!(core.listeners.is_empty() && core.by_inner.is_empty());
    }
}

#[test]
fn the_queues_hold_no_more_than_there_are_listeners() {
    let mut core = core();
    for n in 0..1000 {
        for support in [Support::Now, Support::Waiting(Missing::Certificate)] {
            let id = ListenerId::next();
            core.on_listen(id, address(n), support).unwrap();
            assert_eq!(core.on_remove(id), Removal::Done);
        }
        assert!(core.to_bind.is_empty());
        assert!(!core.waiting.has_before(Turn::MAX));
    }
}

/// What a test does to the core. Numbers pick one of those that exist, or one that does not.
#[derive(Debug, Clone)]
enum Operation {
    Listen { waits: bool },
    Remove(usize),
    Say { listener: usize, what: Say },
    Poll,
    NextBinds(Bind),
    Change(Change),
    Forget(bool),
}

#[derive(Debug, Clone, Copy)]
enum Say {
    NewAddress(usize),
    Expired(usize),
    Incoming,
    Error,
    Closed,
}

#[derive(Debug, Clone, Copy)]
enum Bind {
    Succeed,
    Fail,
    Unsupported,
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Arrives,
    Leaves,
    Never,
}

fn operation() -> impl Strategy<Value = Operation> {
    let say = prop_oneof![
        4 => (0..4usize).prop_map(Say::NewAddress),
        2 => (0..4usize).prop_map(Say::Expired),
        4 => Just(Say::Incoming),
        1 => Just(Say::Error),
        1 => Just(Say::Closed),
    ];
    prop_oneof![
        4 => any::<bool>().prop_map(|waits| Operation::Listen { waits }),
        2 => (0..12usize).prop_map(Operation::Remove),
        10 => (0..12usize, say).prop_map(|(listener, what)| Operation::Say { listener, what }),
        10 => Just(Operation::Poll),
        1 => prop_oneof![Just(Bind::Succeed), Just(Bind::Fail), Just(Bind::Unsupported)]
            .prop_map(Operation::NextBinds),
        1 => prop_oneof![Just(Change::Arrives), Just(Change::Leaves), Just(Change::Never)]
            .prop_map(Operation::Change),
        1 => any::<bool>().prop_map(Operation::Forget),
    ]
}

/// Plays the application, the shell and the inner transport, and holds what is reported against the contracts.
struct Outside {
    core: Core,
    accepted: Vec<ListenerId>,
    given: BTreeMap<usize, Seen>,
    /// The ids that the inner transport has been given, in order.
    inner: Vec<ListenerId>,
    says: VecDeque<Inner>,
    binds: Bind,
    change: Option<Change>,
    has_certificate: bool,
    is_hopeless: bool,
    forgetful: bool,
    incoming: u32,
}

/// What the application has seen of a listener.
#[derive(Default)]
struct Seen {
    bound: bool,
    failed: bool,
    removed: bool,
    closed: bool,
    addresses: BTreeSet<String>,
    last_incoming: Option<u32>,
}

impl Outside {
    fn new() -> Self {
        Self {
            core: core(),
            accepted: Vec::new(),
            given: BTreeMap::new(),
            inner: Vec::new(),
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
        let index = self.accepted.iter().position(|a| *a == id).unwrap();
        self.given.entry(index).or_default()
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Listen { waits } => {
                let id = ListenerId::next();
                let support = if waits && !self.has_certificate {
                    Support::Waiting(Missing::Certificate)
                } else {
                    Support::Now
                };
                self.core
                    .on_listen(id, address(self.accepted.len()), support)
                    .unwrap();
                self.accepted.push(id);
                self.seen(id);
            }
            Operation::Remove(n) => {
                if let Some(id) = self.accepted.get(n).copied() {
                    self.remove(id);
                }
            }
            Operation::Say { listener, what } => self.say(listener, what),
            Operation::Poll => self.poll(),
            Operation::NextBinds(binds) => self.binds = binds,
            Operation::Change(change) => self.change = Some(change),
            Operation::Forget(forgetful) => self.forgetful = forgetful,
        }
    }

    fn remove(&mut self, id: ListenerId) {
        let removal = self.core.on_remove(id);
        if let Removal::AskInner(inner) = removal {
            let known = !self.forgetful;
            if known {
                self.says.push_back(TransportEvent::ListenerClosed {
                    listener_id: inner,
                    reason: Ok(()),
                });
            }
            self.core.on_removal_answered(id, known);
        }
        let seen = self.seen(id);
        if removal != Removal::Unknown {
            assert!(!seen.removed && !seen.closed, "removed twice");
            seen.removed = true;
        }
    }

    /// The inner transport says something about one that it has, had, or never knew.
    fn say(&mut self, n: usize, what: Say) {
        let listener_id = self.inner.get(n).copied();
        let listener_id = listener_id.unwrap_or_else(ListenerId::next);
        self.says.push_back(match what {
            Say::NewAddress(n) => TransportEvent::NewAddress {
                listener_id,
                listen_addr: address(n),
            },
            Say::Expired(n) => TransportEvent::AddressExpired {
                listener_id,
                listen_addr: address(n),
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
            Say::Error => TransportEvent::ListenerError {
                listener_id,
                error: "said",
            },
            Say::Closed => TransportEvent::ListenerClosed {
                listener_id,
                reason: Err("said"),
            },
        });
    }

    fn poll(&mut self) {
        self.core.on_poll();
        let mut binds = 0;
        // Bounded: a poll that did not end would fail here.
        for _ in 0..1000 {
            match self.core.poll_action() {
                Action::Report(event) => return self.check(event),
                Action::Bind {
                    listener, inner, ..
                } => {
                    binds += 1;
                    assert!(binds <= 16);
                    self.inner.push(inner);
                    match self.binds {
                        Bind::Succeed => {
                            self.seen(listener).bound = true;
                            self.core.on_bound(listener);
                        }
                        Bind::Fail => {
                            self.seen(listener).failed = true;
                            self.core
                                .on_bind_failed(listener, TransportError::Other("taken"));
                        }
                        Bind::Unsupported => {
                            self.seen(listener).failed = true;
                            self.core.on_bind_failed(
                                listener,
                                TransportError::MultiaddrNotSupported(Multiaddr::empty()),
                            );
                        }
                    }
                }
                Action::Ask { listener, .. } => {
                    let support = if self.is_hopeless {
                        Support::Never
                    } else if self.has_certificate {
                        Support::Now
                    } else {
                        Support::Waiting(Missing::Certificate)
                    };
                    self.core.on_answer(listener, support);
                }
                Action::PollInner => {
                    if let Some(change) = self.change.take() {
                        self.has_certificate = matches!(change, Change::Arrives);
                        self.is_hopeless = matches!(change, Change::Never);
                        self.core.on_changed(Changed::Support);
                        continue;
                    }
                    match self.says.pop_front() {
                        Some(event) => self.core.on_inner_event(event),
                        None => self.core.on_inner_pending(),
                    }
                }
                Action::Rest { again } => {
                    assert!(again || self.says.is_empty(), "sleeps over events");
                    assert!(again || self.core.to_bind.is_empty(), "sleeps over binds");
                    return;
                }
            }
        }
        panic!("a poll without end");
    }

    fn check(&mut self, event: Reported) {
        let id = id_of(&event);
        let seen = self.seen(id);
        assert!(!seen.closed, "{event:?} after the close");
        match event {
            TransportEvent::NewAddress { listen_addr, .. } => {
                assert!(seen.bound && !seen.removed);
                assert!(seen.addresses.insert(listen_addr.to_string()), "twice");
            }
            TransportEvent::AddressExpired { listen_addr, .. } => {
                assert!(!seen.removed);
                assert!(
                    seen.addresses.remove(&listen_addr.to_string()),
                    "never reported"
                );
            }
            TransportEvent::Incoming { upgrade, .. } => {
                assert!(!seen.removed);
                assert!(!seen.addresses.is_empty(), "a connection without address");
                assert!(seen.last_incoming < Some(upgrade), "out of order");
                seen.last_incoming = Some(upgrade);
            }
            TransportEvent::ListenerError { .. } => {
                assert!(!seen.removed);
                assert!(seen.bound || seen.failed);
            }
            TransportEvent::ListenerClosed { reason, .. } => {
                seen.closed = true;
                assert!(reason.is_err() || seen.removed);
            }
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
        assert!(self.given.values().all(|seen| seen.closed), "one is open");
        assert!(self.core.events.is_empty());
        assert!(self.core.by_inner.is_empty());
        assert!(self.core.to_bind.is_empty());
        assert!(!self.core.waiting.has_before(Turn::MAX));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_contracts_hold_whatever_happens(
        operations in prop::collection::vec(operation(), 0..120)
    ) {
        let mut outside = Outside::new();
        for operation in operations {
            outside.apply(operation);
        }
        outside.finish();
    }
}
