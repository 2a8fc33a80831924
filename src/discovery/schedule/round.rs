//! The time of the next regular round.

use std::time::Duration;

use crate::deadline::{Instant, after};

/// The random addition to the interval is at most this part of it: a tenth.
pub(super) const JITTER: u32 = 10;

/// The next regular round: a part of the interval after `from`. The interval is the one at that time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub(super) from: Instant,
    pub(super) part: Part,
    /// From 0 to 1.
    pub(super) random: f64,
    /// The time by which it has been promised.
    pub(super) latest: Option<Instant>,
    /// An earlier time, for a newcomer in a small network.
    pub(super) soon: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    /// At once.
    None,
    /// A random part of the interval: a place among the waiting nodes.
    Some,
    /// All of it, and a random addition.
    All,
}

impl Round {
    pub(super) fn due(&self, interval: Duration) -> Instant {
        let wait = match self.part {
            Part::None => Duration::ZERO,
            Part::Some => part(interval, self.random),
            Part::All => interval.saturating_add(part(interval / JITTER, self.random)),
        };
        let due = after(self.from, wait);
        self.latest.map_or(due, |latest| latest.min(due))
    }
}

/// The longest time from one round to the next at this interval.
pub(crate) fn longest(interval: Duration) -> Duration {
    interval.saturating_add(interval / JITTER)
}

/// `share` from 0 to 1.
pub(super) fn part(duration: Duration, share: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * share).unwrap_or(duration)
}
