use libp2p_core::transport::ListenerId;

/// How many events in a row an inner transport may have while somebody waits to be bound. Then one bind goes
/// ahead of the next event, so that a flood of connections on one listener does not keep another from starting.
pub(super) const MAX_EVENTS_BEFORE_BIND: usize = 16;

/// The same for somebody whose last socket may not be gone. The inner transport drops it in one of its next turns,
/// and a socket that is bound meanwhile would lose with it what is kept by port, such as the port to dial from.
pub(super) const MAX_EVENTS_BEFORE_REBIND: usize = 4096;

/// How many binds follow each other, each once the address of the last one is out, before the inner transport is
/// asked for everything else it has to say. Polling it to the end after each bind, which touches every new socket,
/// costs 3 % of a start with a hundred listeners; a run this long holds up a connection for a few milliseconds.
pub(super) const MAX_RUN: usize = 256;

/// Decides whether the next bind goes ahead of what the inner transport may still have to say.
///
/// Usually not: a bind waits until the inner transport has nothing to say, so that a socket that was closed is
/// gone. The exceptions are the three constants.
#[derive(Debug)]
pub(super) struct Pace {
    inner: Inner,
    /// How many more binds this run may have.
    run: usize,
    events_before_bind: usize,
    /// How many events there were since the inner transport had last nothing to say.
    events: usize,
}

/// What is known of the inner transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inner {
    /// It may have something to say.
    Unknown,
    /// It has been told to listen under this id, and has said nothing since.
    Told(ListenerId),
    /// All that it has said since then is the address of that listener, and others wait to be bound.
    Announced,
    /// It has nothing to say.
    Pending,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            inner: Inner::Unknown,
            run: 0,
            events_before_bind: 0,
            events: 0,
        }
    }

    pub(super) fn may_bind(&self) -> bool {
        matches!(self.inner, Inner::Announced | Inner::Pending)
            || self.events_before_bind >= MAX_EVENTS_BEFORE_BIND
    }

    /// The same for somebody who had a socket that was closed.
    pub(super) fn may_rebind(&self) -> bool {
        matches!(self.inner, Inner::Announced | Inner::Pending)
            || self.events >= MAX_EVENTS_BEFORE_REBIND
    }

    /// Whether there is nothing to be heard from the inner transport before something wakes the task.
    pub(super) fn is_inner_pending(&self) -> bool {
        self.inner == Inner::Pending
    }

    /// A poll begins: whatever was pending may have woken the task.
    pub(super) fn on_poll(&mut self) {
        if self.inner == Inner::Pending {
            self.inner = Inner::Unknown;
        }
    }

    /// The inner transport was told something else than to listen, or something about it changed.
    pub(super) fn on_touched(&mut self) {
        self.inner = Inner::Unknown;
    }

    pub(super) fn on_bind(&mut self, inner: ListenerId) {
        self.events_before_bind = 0;
        self.run = self.run.saturating_sub(1);
        self.inner = Inner::Told(inner);
    }

    pub(super) fn on_inner_pending(&mut self) {
        self.inner = Inner::Pending;
        self.run = MAX_RUN;
        self.events_before_bind = 0;
        self.events = 0;
    }

    /// The inner transport says something; `announced` is the listener if that is a new address, and `is_waited`
    /// says that somebody is to be bound.
    pub(super) fn on_inner_event(&mut self, announced: Option<ListenerId>, is_waited: bool) {
        self.events = self.events.saturating_add(1);
        let goes_on = match (self.inner, announced) {
            (Inner::Told(told), Some(announced)) => told == announced,
            _ => false,
        };
        if !is_waited {
            self.inner = Inner::Unknown;
            self.events_before_bind = 0;
        } else if goes_on && self.run > 0 {
            self.inner = Inner::Announced;
        } else {
            self.inner = Inner::Unknown;
            self.events_before_bind += 1;
        }
    }
}
