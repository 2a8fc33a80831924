use std::{collections::BTreeMap, mem, time::Duration};

use libp2p_core::transport::ListenerId;

use crate::deadline::{self, Instant};

/// The least time between two early attempts: an interface that comes and goes a hundred times a second must not cause as
/// many binds.
pub(super) const MIN_HURRY_GAP: Duration = Duration::from_secs(1);

/// Listeners by due time, with at most one entry each. Entries can be removed.
#[derive(Debug, Default)]
pub(super) struct Due {
    at: BTreeMap<Place, ListenerId>,
    /// Due early.
    now: BTreeMap<Place, ListenerId>,
    next: u64,
}

/// A place in [`Due`]: the due time, and the order within the same instant.
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

    /// Makes all due now.
    pub(super) fn hurry(&mut self) {
        if self.now.is_empty() {
            self.now = mem::take(&mut self.at);
        } else {
            self.now.append(&mut self.at);
        }
    }

    /// Takes the first due listener, with its due time: later than now if it is early.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(ListenerId, Instant)> {
        if let Some(((at, _), listener)) = self.now.pop_first() {
            return Some((listener, at));
        }
        let first = self.at.first_entry()?;
        let at = first.key().0;
        (at <= now).then(|| (first.remove(), at))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at.is_empty() && self.now.is_empty()
    }

    pub(super) fn has(&self, now: Instant) -> bool {
        !self.now.is_empty() || self.next_time().is_some_and(|at| at <= now)
    }

    /// The next due time, early ones aside.
    pub(super) fn next_time(&self) -> Option<Instant> {
        self.at.first_key_value().map(|((at, _), _)| *at)
    }
}

/// Decides when all attempts are made early.
#[derive(Debug, Default)]
pub(super) struct Hurry {
    last: Option<Instant>,
    next: Option<Instant>,
}

impl Hurry {
    /// The network has changed: hurry at once, or [`MIN_HURRY_GAP`] after the last hurry.
    pub(super) fn on_reason(&mut self, now: Instant) {
        let earliest = self.last.map(|last| deadline::after(last, MIN_HURRY_GAP));
        self.next
            .get_or_insert_with(|| earliest.map_or(now, |earliest| earliest.max(now)));
    }

    /// No listener is retrying any more.
    pub(super) fn cancel(&mut self) {
        self.next = None;
    }

    /// Whether to hurry now.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let is_due = self.next.is_some_and(|next| next <= now);
        if is_due {
            *self = Self {
                last: Some(now),
                next: None,
            };
        }
        is_due
    }

    pub(super) fn next_time(&self) -> Option<Instant> {
        self.next
    }
}
