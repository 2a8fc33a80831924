//! The limit on the growth of a schedule's interval.

use std::time::Duration;

use crate::deadline::{Instant, after};

/// The number of periods in the history of a settled node, and the length of each. They cover an hour when the last one has
/// just begun.
const PERIODS: usize = 5;
const PERIOD: Duration = Duration::from_secs(15 * 60);

/// The number of intervals for which the number of peers must not have grown. In a growing network, the past says nothing
/// about the future size.
const STEADY: u32 = 8;

/// The development of the number of peers and of the interval.
///
/// A node is steady while the number of its known peers has not grown by a quarter for eight intervals. It is settled from
/// the first time on. Then the interval is at most twice its smallest value of the last hour, so that invented identities
/// can at most double it. A network that really grows soon consists of nodes that are not settled. The settled ones add at
/// most half the target rate while it grows at once.
#[derive(Debug)]
pub(super) struct History {
    /// The smallest interval of each of the last periods, the current one last; `None` before the node is settled.
    least: Option<[Duration; PERIODS]>,
    period_ends: Instant,
    /// The time at which the number of peers last grew by more than a quarter, and the number then, or the smallest since.
    grown: (Instant, usize),
}

impl History {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            least: None,
            period_ends: now,
            grown: (now, 0),
        }
    }

    /// Limits the interval `suggested` by the number of peers, after `current` has been in force.
    pub(super) fn limit(
        &mut self,
        now: Instant,
        current: Duration,
        peers: usize,
        suggested: Duration,
    ) -> Duration {
        // By the interval until now: the history begins with the interval at which the node settles.
        if self.least.is_none() && self.is_steady(now, current) {
            self.least = Some([current; PERIODS]);
            self.period_ends = after(now, PERIOD);
        }
        let (_, base) = self.grown;
        if peers > base.saturating_add(base / 4) {
            self.grown = (now, peers);
        } else {
            self.grown.1 = base.min(peers);
        }
        let Some(least) = self.least else {
            return suggested;
        };
        let most = least.into_iter().min().unwrap_or(current).saturating_mul(2);
        let interval = suggested.min(most);
        self.note(now, interval);
        interval
    }

    /// Whether the number of peers has not grown for [`STEADY`] of these intervals.
    pub(super) fn is_steady(&self, now: Instant, interval: Duration) -> bool {
        now.saturating_duration_since(self.grown.0) >= interval.saturating_mul(STEADY)
    }

    fn note(&mut self, now: Instant, interval: Duration) {
        let Some(least) = &mut self.least else {
            return;
        };
        // After as many steps as there are periods, nothing is left of the past.
        for _ in 0..PERIODS {
            if now < self.period_ends {
                break;
            }
            least.rotate_left(1);
            least[PERIODS - 1] = interval;
            self.period_ends = after(self.period_ends, PERIOD);
        }
        if now >= self.period_ends {
            self.period_ends = after(now, PERIOD);
        }
        let current = &mut least[PERIODS - 1];
        *current = interval.min(*current);
    }
}
