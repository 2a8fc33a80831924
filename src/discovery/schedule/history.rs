//! How far the interval of a schedule may grow.

use std::time::Duration;

use crate::deadline::{Instant, after};

/// How many periods the history of a settled node has, and how long each is. They cover an hour when the last one has
/// just begun.
const PERIODS: usize = 5;
const PERIOD: Duration = Duration::from_secs(15 * 60);

/// For how many intervals the number of peers must not have grown. In a network that grows, what was is no measure for what
/// may become.
const STEADY: u32 = 8;

/// How the number of peers and the interval have developed.
///
/// A node is steady while the number of peers that it knows has not grown by a quarter for eight intervals. It is settled
/// from the first time on. Then the interval is at most twice its least value of the last hour, so that identities that are
/// invented to silence the others can do no more than double it. A network that really grows is soon made of nodes that
/// are not settled. Those that are add half the target rate at most where it grows at once.
#[derive(Debug)]
pub(super) struct History {
    /// The least interval of the last periods, the current one last; `None` before the node is settled.
    least: Option<[Duration; PERIODS]>,
    period_ends: Instant,
    /// When the number of peers last grew by more than a quarter; and what it was then, or the least since.
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

    /// What becomes of the interval that so many peers suggest, when `current` has been in force until now.
    pub(super) fn limit(
        &mut self,
        now: Instant,
        current: Duration,
        peers: usize,
        suggested: Duration,
    ) -> Duration {
        // By how it has been until now: what it has come to when it settles is where its history begins.
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

    /// Whether the number of peers has not grown for as long as matters at this interval.
    pub(super) fn is_steady(&self, now: Instant, interval: Duration) -> bool {
        now.saturating_duration_since(self.grown.0) >= interval.saturating_mul(STEADY)
    }

    fn note(&mut self, now: Instant, interval: Duration) {
        let Some(least) = &mut self.least else {
            return;
        };
        // However long nobody has asked, after as many steps as there are periods nothing is left of the past.
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
