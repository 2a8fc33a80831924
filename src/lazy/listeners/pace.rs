/// How many events in a row an inner transport may have while a listener waits to be bound. Then the bind goes ahead, so
/// that a flood of connections on one listener does not keep another from starting.
pub(super) const MAX_EVENTS_BEFORE_BIND: usize = 16;

/// The same for a listener whose last socket may still be open. The inner transport drops it in one of its next turns,
/// and a socket that is bound before that loses what is kept by port, such as the port to dial from.
pub(super) const MAX_EVENTS_BEFORE_REBIND: usize = 4096;

/// Decides whether a bind goes ahead of the inner transport.
///
/// Usually it does not: a bind waits until the inner transport has nothing to say, and a closed socket is gone. The
/// exceptions are the two constants.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The inner transport has nothing to say before it wakes the task.
    is_pending: bool,
    /// Events since then, and those of them since the last bind for which a bind has waited.
    events: usize,
    events_before_bind: usize,
}

impl Pace {
    pub(super) fn may_bind(&self) -> bool {
        self.is_pending || self.events_before_bind >= MAX_EVENTS_BEFORE_BIND
    }

    pub(super) fn may_rebind(&self) -> bool {
        self.is_pending || self.events >= MAX_EVENTS_BEFORE_REBIND
    }

    pub(super) fn is_inner_pending(&self) -> bool {
        self.is_pending
    }

    /// The inner transport was told something, or a new poll begins: it may have something to say.
    pub(super) fn on_touched(&mut self) {
        self.is_pending = false;
    }

    pub(super) fn on_bind(&mut self) {
        self.is_pending = false;
        self.events_before_bind = 0;
    }

    pub(super) fn on_inner_pending(&mut self) {
        *self = Self {
            is_pending: true,
            ..Self::default()
        };
    }

    /// The inner transport says something; `is_bind_due` if a listener waits to be bound.
    pub(super) fn on_inner_event(&mut self, is_bind_due: bool) {
        self.is_pending = false;
        self.events = self.events.saturating_add(1);
        self.events_before_bind = match is_bind_due {
            true => self.events_before_bind + 1,
            false => 0,
        };
    }
}
