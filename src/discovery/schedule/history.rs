//! How the interval of a schedule develops.

use std::time::Duration;

use super::timing::{Timing, is_much_longer};
use crate::deadline::{Instant, after};

/// How many periods the history of a settled node has, and how long each is. They cover an hour when the last one has
/// just begun.
const PERIODS: usize = 5;
const PERIOD: Duration = Duration::from_secs(15 * 60);
/// After how long a node goes by its own history alone.
pub(super) const FULL: Duration = Duration::from_secs(60 * 60);

/// What the neighbours show of how many there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown {
    /// The baseline of those who have been there for long; the longest of durations if there are too few.
    pub(super) baseline: Duration,
    /// The interval that twice as many as the neighbours need: those are not invented, since each costs a connection.
    pub(super) needed: Duration,
}

/// How the interval has developed, and how far it may grow.
///
/// Who has been there for long enough to hear everybody is settled. From then on the interval is at most twice its least
/// value of the last hour; and until there is such an hour, at most twice that of the neighbours who have one. So
/// identities that are invented to silence the others can do no more than double it. A network that really grows is soon
/// made of newcomers, who have each other for neighbours and are not bound by this, or hubs, which see by their neighbours that
/// it grows. Those who are bound add half the target rate at most where it grows at once, and as much again for every
/// 2.7 times that it keeps growing within the hour.
#[derive(Debug)]
pub(super) struct History {
    settled_at: Instant,
    /// The least interval of the last periods, the current one last; the longest of durations before the node is
    /// settled.
    least: [Duration; PERIODS],
    period_ends: Instant,
    /// The interval when it last grew by more than a quarter, or less if it has shrunk since; and when.
    grown: (Instant, Duration),
}

impl History {
    pub(super) fn new(timing: &Timing, now: Instant) -> Self {
        let settled_at = after(now, timing.longest());
        Self {
            settled_at,
            least: [Duration::MAX; PERIODS],
            period_ends: after(settled_at, PERIOD),
            grown: (now, timing.interval),
        }
    }

    /// Everybody has been heard, before the latest moment at which that is taken for granted.
    pub(super) fn settle(&mut self, now: Instant) {
        if now < self.settled_at {
            self.settled_at = now;
            self.period_ends = after(now, PERIOD);
        }
    }

    /// What becomes of an interval that the count suggests, when `current` has been in force until now.
    pub(super) fn limit(
        &mut self,
        now: Instant,
        current: Duration,
        interval: Duration,
        shown: Shown,
    ) -> Duration {
        let is_settled = now >= self.settled_at;
        // What it has come to when it settles is where its history begins.
        if is_settled && self.least == [Duration::MAX; PERIODS] {
            self.least[PERIODS - 1] = current;
        }
        let interval = interval.min(self.most(now, shown));
        if is_settled {
            self.note(now, interval);
        }
        let (_, base) = self.grown;
        if is_much_longer(interval, base) {
            self.grown = (now, interval);
        } else {
            self.grown.1 = base.min(interval);
        }
        interval
    }

    /// What it may be at most now.
    pub(super) fn most(&self, now: Instant, shown: Shown) -> Duration {
        let least = self.least.iter().copied().min().unwrap_or(Duration::MAX);
        let baseline = match self.is_full(now) {
            true => least,
            false => least.min(shown.baseline),
        };
        baseline.saturating_mul(2).max(shown.needed)
    }

    /// Half of what it may be at most, if the history says so and no others.
    pub(super) fn baseline(&self, now: Instant, shown: Shown) -> Option<Duration> {
        self.is_full(now).then(|| self.most(now, shown) / 2)
    }

    /// Whether it goes back for an hour.
    fn is_full(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.settled_at) >= FULL
    }

    fn note(&mut self, now: Instant, interval: Duration) {
        // However long nobody has asked, after as many steps as there are periods nothing is left of the past.
        for _ in 0..PERIODS {
            if now < self.period_ends {
                break;
            }
            self.least.rotate_left(1);
            self.least[PERIODS - 1] = interval;
            self.period_ends = after(self.period_ends, PERIOD);
        }
        if now >= self.period_ends {
            self.period_ends = after(now, PERIOD);
        }
        let current = &mut self.least[PERIODS - 1];
        *current = interval.min(*current);
    }

    /// Whether the interval has not grown for `time`.
    pub(super) fn is_steady(&self, now: Instant, time: Duration) -> bool {
        now.saturating_duration_since(self.grown.0) >= time
    }
}
