//! The announcement of a node that cannot be dialled: an empty list, so that others answer.
//!
//! Other nodes answer it as they answer any newcomer, as routers do by RFC 4861, section 6.2.6. A node that only dials thus
//! discovers them as soon as one that listens.

use std::time::Duration;

use crate::deadline::{Instant, after};

/// The time for which the listeners of a node may have no address before it counts as one that only dials. A bind takes
/// milliseconds, and a reservation at a relay rarely more than a second or two.
pub(super) const UNREADY: Duration = Duration::from_secs(5);

/// Whether this node can be dialled, as far as it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listening {
    /// There is no listener, and no external address.
    Nothing,
    /// There are listeners, and none of them has an address.
    Waiting,
    /// There is an address.
    Ready,
}

/// Whether there is a subscriber that has not heard of this node, and when this node may announce an empty list.
#[derive(Debug)]
pub(super) struct Solicitation {
    listening: Listening,
    /// The time from which the node counts as one that only dials; `None` while it has an address.
    only_dials_from: Option<Instant>,
    wanted: Option<Wanted>,
}

#[derive(Debug, Clone, Copy)]
struct Wanted {
    at: Instant,
    /// Whether it was made before, and no peer has been heard since.
    is_repeated: bool,
}

impl Solicitation {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            listening: Listening::Nothing,
            only_dials_from: Some(now),
            wanted: None,
        }
    }

    /// Returns whether it has changed.
    pub(super) fn on_listening(&mut self, now: Instant, listening: Listening) -> bool {
        if listening == self.listening {
            return false;
        }
        self.listening = listening;
        self.only_dials_from = match listening {
            Listening::Nothing => Some(now),
            Listening::Waiting => Some(after(now, UNREADY)),
            Listening::Ready => None,
        };
        true
    }

    /// A subscriber that has not heard of this node is to hear of it by `at`. Also called while there is an address, because
    /// it may expire before it is announced.
    pub(super) fn want(&mut self, at: Instant) {
        let before = self.wanted.filter(|wanted| !wanted.is_repeated);
        self.wanted = Some(Wanted {
            at: before.map_or(at, |before| before.at.min(at)),
            is_repeated: false,
        });
    }

    /// Postpones it to this time.
    pub(super) fn put_off(&mut self, at: Instant) {
        if let Some(wanted) = &mut self.wanted {
            wanted.at = wanted.at.max(at);
        }
    }

    /// An announcement of another node was received.
    pub(super) fn on_heard(&mut self) {
        self.wanted = self.wanted.filter(|wanted| !wanted.is_repeated);
    }

    /// Addresses were announced to all subscribers.
    pub(super) fn on_published(&mut self) {
        self.wanted = None;
    }

    /// The empty list was announced. It is repeated once, at `again`, unless a peer is heard before.
    pub(super) fn on_made(&mut self, again: Instant) {
        let first = self.wanted.filter(|wanted| !wanted.is_repeated);
        self.wanted = first.map(|_| Wanted {
            at: again,
            is_repeated: true,
        });
    }

    /// A round was skipped. If this was due, the subscriber has left.
    pub(super) fn on_skipped(&mut self, now: Instant) {
        if self.due().is_some_and(|at| at <= now) {
            self.wanted = None;
        }
    }

    /// The time at which it is due.
    pub(super) fn due(&self) -> Option<Instant> {
        Some(self.wanted?.at.max(self.only_dials_from?))
    }
}
