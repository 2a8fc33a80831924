/// Number of inner events in a row after which a waiting bind goes ahead, so that a flood of connections on one listener
/// does not keep another from starting.
pub(super) const MAX_EVENTS_BEFORE_BIND: usize = 16;

/// The same for a listener whose last socket may still be open. The inner transport drops that socket in one of its next
/// polls. A socket that is bound before loses state that is kept by port, such as the port to dial from.
pub(super) const MAX_EVENTS_BEFORE_REBIND: usize = 4096;

/// Decides whether a bind goes ahead of the inner transport.
///
/// Usually it does not: a bind waits until the inner transport is pending, when closed sockets are gone. The exceptions
/// are the two constants.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The inner transport has returned `Pending` and has not been touched since.
    is_pending: bool,
    /// Events since it was last pending, and the number of them since the last bind while a bind was due.
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

    /// The inner transport was called, or a new poll begins: it may have an event.
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

    /// The inner transport returned an event. `is_bind_due` if a listener waits to be bound.
    pub(super) fn on_inner_event(&mut self, is_bind_due: bool) {
        self.is_pending = false;
        self.events = self.events.saturating_add(1);
        self.events_before_bind = match is_bind_due {
            true => self.events_before_bind + 1,
            false => 0,
        };
    }
}
