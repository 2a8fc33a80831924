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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::deadline;

    const SECOND: Duration = Duration::from_secs(1);
    const ANY: Duration = Duration::MAX;

    /// Settled since this moment, at an interval of ten seconds.
    fn settled() -> (History, Instant) {
        let begin = deadline::now();
        let mut history = History::new(begin);
        let current = 10 * SECOND;
        assert_eq!(history.limit(begin, current, 0, ANY), ANY);
        let before = begin + STEADY * current - SECOND;
        assert_eq!(history.limit(before, current, 0, ANY), ANY);
        let now = begin + STEADY * current;
        assert_eq!(history.limit(now, current, 0, ANY), 20 * SECOND);
        (history, now)
    }

    #[test]
    fn an_interval_counts_until_its_period_is_an_hour_old() {
        let (mut history, begin) = settled();
        let hour = PERIOD * (PERIODS as u32 - 1);
        let mut limit = |at: Duration| history.limit(begin + at, ANY, 0, ANY);
        // In each period, as each of them is noted.
        for period in 0..PERIODS as u32 {
            assert_eq!(limit(PERIOD * period), 20 * SECOND);
        }
        assert_eq!(limit(hour + PERIOD - SECOND), 20 * SECOND);
        // The first period is over. By what was noted until now it is limited once more.
        assert_eq!(limit(hour + PERIOD), 20 * SECOND);
        assert_eq!(limit(hour + PERIOD), 40 * SECOND);
    }

    #[test]
    fn nothing_is_left_of_the_past_after_a_long_time() {
        let (mut history, begin) = settled();
        let late = begin + 100 * PERIOD;
        assert_eq!(history.limit(late, ANY, 0, ANY), 20 * SECOND);
        assert_eq!(history.limit(late, ANY, 0, 15 * SECOND), 15 * SECOND);
        // The period has begun then.
        assert_eq!(
            history.limit(late + PERIOD - SECOND, ANY, 0, ANY),
            30 * SECOND
        );
        assert_eq!(history.limit(late + PERIOD, ANY, 0, ANY), 30 * SECOND);

        // Also if it begins in the moment in which the last of the past is over.
        let (mut history, begin) = settled();
        let late = begin + PERIOD * (PERIODS as u32 + 1);
        let mut limit = |at: Instant| history.limit(at, ANY, 0, ANY);
        assert_eq!(limit(late), 20 * SECOND);
        assert_eq!(limit(late), 40 * SECOND);
        let hour = late + PERIOD * PERIODS as u32 - SECOND;
        assert_eq!(limit(hour), 40 * SECOND);
        assert_eq!(limit(hour), 40 * SECOND);
    }

    #[test]
    fn it_is_steady_until_the_number_grows_by_more_than_a_quarter() {
        let begin = deadline::now();
        let mut history = History::new(begin);
        let interval = 10 * SECOND;
        let steady = interval * STEADY;
        // When, how many there are, and since when they have not become more.
        for (at, peers, since) in [
            (0, 100, 0),
            (1, 125, 0),
            (2, 126, 2),
            (3, 40, 2),
            (4, 50, 2),
            (5, 51, 5),
        ] {
            history.limit(begin + at * steady, interval, peers, interval);
            let grown = begin + since * steady;
            let before = grown + steady - SECOND;
            assert!(!history.is_steady(before, interval), "{peers}");
            assert!(history.is_steady(grown + steady, interval), "{peers}");
        }
    }

    proptest! {
        #[test]
        fn the_limit_is_twice_the_least_of_the_last_periods(
            steps in prop::collection::vec((0..4 * 15 * 60_u64, 1..100_u32), 1..40),
        ) {
            let (mut history, begin) = settled();
            // When, and which interval. A period without one has that of the next.
            let mut noted = vec![(0, 10 * SECOND), (0, 20 * SECOND)];
            let mut seconds = 0;
            for (wait, wanted) in steps {
                let (last, _) = noted[noted.len() - 1];
                let period = |second: u64| second / PERIOD.as_secs();
                let least = (0..PERIODS as u64).filter_map(|back| {
                    let of = period(last).saturating_sub(back);
                    let own = noted.iter().filter(|(at, _)| period(*at) == of);
                    let next = noted.iter().find(|(at, _)| period(*at) > of);
                    own.map(|(_, interval)| *interval)
                        .min()
                        .or_else(|| next.map(|(_, next)| *next))
                });
                let most = 2 * least.min().unwrap();
                seconds += wait;
                let now = begin + Duration::from_secs(seconds);
                let interval = history.limit(now, ANY, 0, wanted * SECOND);
                prop_assert_eq!(interval, most.min(wanted * SECOND));
                noted.push((seconds, interval));
            }
        }
    }
}
