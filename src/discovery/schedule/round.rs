//! When the next round comes that only time causes.

use std::time::Duration;

use crate::deadline::{Instant, after};

/// What part of the interval is added to it at most, at random.
pub(super) const JITTER: u32 = 10;

/// The next round that nothing but time causes: a part of the interval after `from`, whatever the interval will be by
/// then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub(super) from: Instant,
    pub(super) part: Part,
    /// From 0 to 1.
    pub(super) random: f64,
    /// By when it has been promised.
    pub(super) latest: Option<Instant>,
    /// When it comes for the sake of a newcomer, as long as there are few.
    pub(super) soon: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    /// At once.
    None,
    /// A random part of the interval: somewhere in the line of those who wait.
    Some,
    /// All of it and a little more, at random.
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

/// How long it takes at most from one round to the next at this interval.
pub(crate) fn longest(interval: Duration) -> Duration {
    interval.saturating_add(interval / JITTER)
}

/// `share` from 0 to 1.
pub(super) fn part(duration: Duration, share: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * share).unwrap_or(duration)
}
