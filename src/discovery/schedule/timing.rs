//! The durations that a schedule goes by, and how they compare.

use std::{num::NonZeroU32, time::Duration};

/// The durations that a [`Schedule`](super::Schedule) goes by, and the rate that all together aim at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// The shortest interval.
    pub(crate) interval: Duration,
    /// The longest one.
    pub(crate) max_interval: Duration,
    pub(crate) minimum_gap: Duration,
    pub(crate) coalescing: Duration,
    /// How many announcements a second all nodes together may make.
    pub(crate) target_rate: NonZeroU32,
}

impl Timing {
    /// The longest interval, whichever has been configured as the longer one.
    pub(super) fn longest(&self) -> Duration {
        self.max_interval.max(self.interval)
    }
}

/// Whether it makes a difference, and is not a count that is a little off.
pub(super) fn is_much_longer(interval: Duration, than: Duration) -> bool {
    interval > than.saturating_add(than / 4)
}
