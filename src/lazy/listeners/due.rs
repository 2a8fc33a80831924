use std::{collections::BTreeMap, mem, time::Duration};

use libp2p_core::transport::ListenerId;

use crate::deadline::{self, Instant};

/// The least time between two moments at which everybody's time comes early: an interface that comes and goes a hundred
/// times a second is no reason to bind as often.
pub(super) const MIN_HURRY_GAP: Duration = Duration::from_secs(1);

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

    /// Takes the first one whose time has come, and tells when that was to be; later than now if it came early.
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

    /// When the next one's time comes, of those whose time has not come early.
    pub(super) fn next_time(&self) -> Option<Instant> {
        self.at.first_key_value().map(|((at, _), _)| *at)
    }
}

/// When everybody's time comes early.
#[derive(Debug, Default)]
pub(super) struct Hurry {
    last: Option<Instant>,
    next: Option<Instant>,
}

impl Hurry {
    /// There is a reason to hurry: at once, or as soon as the last time is [`MIN_HURRY_GAP`] ago.
    pub(super) fn on_reason(&mut self, now: Instant) {
        let earliest = self.last.map(|last| deadline::after(last, MIN_HURRY_GAP));
        self.next
            .get_or_insert_with(|| earliest.map_or(now, |earliest| earliest.max(now)));
    }

    /// Nobody is left whom it would concern.
    pub(super) fn cancel(&mut self) {
        self.next = None;
    }

    /// Whether that is now.
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
