use std::{collections::BTreeMap, mem};

use libp2p_core::transport::ListenerId;

use crate::deadline::Instant;

/// Listeners by the time at which each is to be bound, each of which can leave before.
///
/// It holds at most one entry per listener.
#[derive(Debug, Default)]
pub(super) struct Due {
    at: BTreeMap<Place, ListenerId>,
    /// Those whose time has come early.
    now: BTreeMap<Place, ListenerId>,
    next: u64,
}

/// A place in [`Due`]: when, and in which order among those of the same moment.
pub(super) type Place = (Instant, u64);

impl Due {
    pub(super) fn push(&mut self, at: Instant, listener: ListenerId) -> Place {
        let place = (at, self.next);
        self.next += 1;
        self.at.insert(place, listener);
        place
    }

    pub(super) fn remove(&mut self, place: Place) {
        if self.at.remove(&place).is_none() {
            self.now.remove(&place);
        }
    }

    /// Everybody's time has come.
    pub(super) fn hurry(&mut self) {
        if self.now.is_empty() {
            self.now = mem::take(&mut self.at);
        } else {
            self.now.append(&mut self.at);
        }
    }

    /// Takes the first one whose time has come.
    pub(super) fn pop(&mut self, now: Instant) -> Option<ListenerId> {
        if let Some((_, listener)) = self.now.pop_first() {
            return Some(listener);
        }
        let first = self.at.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at.is_empty() && self.now.is_empty()
    }

    pub(super) fn has(&self, now: Instant) -> bool {
        !self.now.is_empty() || self.next_time().is_some_and(|at| at <= now)
    }

    /// When the next one's time comes, of those whose time has not come early.
    pub(super) fn next_time(&self) -> Option<Instant> {
        self.at.first_key_value().map(|((at, _), _)| *at)
    }
}
