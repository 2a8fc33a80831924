//! Rate limits.

use std::time::Duration;

use crate::deadline::{Instant, after};

/// A limit on how often something may happen: `burst` times at once, and one more per `interval` after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    burst: u32,
    interval: Duration,
}

impl Rate {
    /// `burst` at once, at least one, then one per `interval`. An interval of zero limits nothing.
    pub const fn new(burst: u32, interval: Duration) -> Self {
        let burst = if burst == 0 { 1 } else { burst };
        Self { burst, interval }
    }

    /// The number of events allowed at once.
    pub const fn burst(&self) -> u32 {
        self.burst
    }

    /// The time between two events in the long run.
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// The debt at which a bucket is empty.
    fn depth(&self) -> Duration {
        self.interval.saturating_mul(self.burst)
    }
}

/// A token bucket, full at first.
///
/// It holds a debt in place of tokens: taking one adds the rate's interval to the debt, which decreases as time passes. This
/// is exact where fractions of tokens would be rounded. The bucket stores no rate, so many buckets share one.
///
/// Only differences of time count. A clock that stands still refills nothing. One that jumps back keeps the debt, which
/// decreases from there. One that jumps ahead at most fills the bucket.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bucket {
    debt: Duration,
    /// The time of `debt`; `None` until the first token has been taken.
    at: Option<Instant>,
}

impl Bucket {
    /// Takes a token if there is one.
    pub(crate) fn try_take(&mut self, now: Instant, rate: Rate) -> bool {
        let debt = self.debt_at(now);
        let taken = match debt.checked_add(rate.interval) {
            Some(after) if after <= rate.depth() => Some(after),
            Some(_) | None => None,
        };
        self.debt = taken.unwrap_or(debt);
        self.at = Some(now);
        taken.is_some()
    }

    /// Whether more than half of the burst has been taken and not refilled.
    pub(crate) fn is_half_empty(&self, now: Instant, rate: Rate) -> bool {
        self.debt_at(now) > rate.depth() / 2
    }

    /// The time of the next token, unless one is taken before; `None` for a new bucket, which always has one.
    pub(crate) fn next_at(&self, rate: Rate) -> Option<Instant> {
        let wanting = self
            .debt
            .saturating_add(rate.interval)
            .saturating_sub(rate.depth());
        self.at.map(|at| after(at, wanting))
    }

    fn debt_at(&self, now: Instant) -> Duration {
        let elapsed = self
            .at
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.debt.saturating_sub(elapsed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::deadline;

    const SECOND: Duration = Duration::from_secs(1);

    fn rate(burst: u32, interval: Duration) -> Rate {
        Rate::new(burst, interval)
    }

    fn take_all(bucket: &mut Bucket, now: Instant, rate: Rate) -> usize {
        (0..1_000)
            .take_while(|_| bucket.try_take(now, rate))
            .count()
    }

    #[test]
    fn gives_the_burst_and_no_more() {
        let now = deadline::now();
        for burst in [1, 2, 7, 100] {
            let rate = rate(burst, SECOND);
            assert_eq!(take_all(&mut Bucket::default(), now, rate), burst as usize);
        }
    }

    #[test]
    fn is_half_empty_once_more_than_half_is_missing() {
        let rate = rate(4, SECOND);
        let mut bucket = Bucket::default();
        let now = deadline::now();
        for is_half_empty in [false, false, true, true] {
            assert!(bucket.try_take(now, rate));
            assert_eq!(bucket.is_half_empty(now, rate), is_half_empty);
        }
        assert!(bucket.is_half_empty(now + 2 * SECOND - Duration::from_nanos(1), rate));
        assert!(!bucket.is_half_empty(now + 2 * SECOND, rate));
    }

    #[test]
    fn refills_one_per_interval_and_not_an_instant_earlier() {
        let rate = rate(3, SECOND);
        let mut bucket = Bucket::default();
        let now = deadline::now();
        assert_eq!(take_all(&mut bucket, now, rate), 3);

        let early = now + SECOND - Duration::from_nanos(1);
        assert!(!bucket.try_take(early, rate));
        assert!(bucket.try_take(now + SECOND, rate));
        assert!(!bucket.try_take(now + SECOND, rate));
        assert_eq!(take_all(&mut bucket, now + 3 * SECOND, rate), 2);
    }

    #[test]
    fn the_next_one_is_there_at_once_or_when_it_is_refilled() {
        let rate = rate(2, SECOND);
        let mut bucket = Bucket::default();
        let now = deadline::now();
        assert_eq!(bucket.next_at(rate), None);
        for after in [Duration::ZERO, SECOND, SECOND] {
            bucket.try_take(now, rate);
            assert_eq!(bucket.next_at(rate), Some(now + after));
        }
    }

    #[test]
    fn asking_in_vain_does_not_delay_the_refill() {
        let rate = rate(1, SECOND);
        let mut bucket = Bucket::default();
        let now = deadline::now();
        assert!(bucket.try_take(now, rate));
        for ms in 0..1_000 {
            assert!(!bucket.try_take(now + Duration::from_millis(ms), rate));
        }
        assert!(bucket.try_take(now + SECOND, rate));
    }

    #[test]
    fn a_clock_that_stands_still_refills_nothing() {
        let rate = rate(4, Duration::from_nanos(1));
        let mut bucket = Bucket::default();
        let now = deadline::now();
        assert_eq!(take_all(&mut bucket, now, rate), 4);
        assert_eq!(take_all(&mut bucket, now, rate), 0);
    }

    #[test]
    fn a_clock_that_jumps_back_neither_panics_nor_locks_up() {
        let rate = rate(2, SECOND);
        let mut bucket = Bucket::default();
        let past = deadline::now();
        let future = past + Duration::from_secs(86_400);
        assert_eq!(take_all(&mut bucket, future, rate), 2);
        assert!(!bucket.try_take(past, rate));
        assert!(bucket.try_take(past + SECOND, rate));
    }

    #[test]
    fn a_clock_far_ahead_fills_to_the_burst_only() {
        let rate = rate(2, SECOND);
        let mut bucket = Bucket::default();
        let now = deadline::now();
        assert_eq!(take_all(&mut bucket, now, rate), 2);
        let ahead = now + Duration::from_secs(100 * 365 * 86_400);
        assert_eq!(take_all(&mut bucket, ahead, rate), 2);
    }

    #[test]
    fn extreme_rates_do_not_panic() {
        let now = deadline::now();
        let never = rate(u32::MAX, Duration::MAX);
        let mut bucket = Bucket::default();
        assert_eq!(take_all(&mut bucket, now, never), 1);
        assert!(!bucket.try_take(now + SECOND, never));

        let unlimited = rate(1, Duration::ZERO);
        assert_eq!(take_all(&mut Bucket::default(), now, unlimited), 1_000);
    }

    /// Counts whole tokens and walks through time one tick of a millisecond at a time.
    struct Naive {
        tokens: u32,
        progress: u64,
    }

    impl Naive {
        fn pass(&mut self, ms: u64, rate: Rate) {
            for _ in 0..ms {
                if self.tokens == rate.burst() {
                    return;
                }
                self.progress += 1;
                if u128::from(self.progress) == rate.interval().as_millis() {
                    self.progress = 0;
                    self.tokens += 1;
                }
            }
        }

        fn try_take(&mut self) -> bool {
            let Some(left) = self.tokens.checked_sub(1) else {
                return false;
            };
            self.tokens = left;
            true
        }
    }

    proptest! {
        #[test]
        fn agrees_with_counting_tokens(
            burst in 1..20_u32,
            interval in 1..50_u64,
            pauses in prop::collection::vec(prop_oneof![Just(0), 0..100_u64], 1..300),
        ) {
            let rate = rate(burst, Duration::from_millis(interval));
            let mut now = deadline::now();
            let mut bucket = Bucket::default();
            let mut naive = Naive { tokens: burst, progress: 0 };
            for pause in pauses {
                now += Duration::from_millis(pause);
                naive.pass(pause, rate);
                prop_assert_eq!(bucket.try_take(now, rate), naive.try_take());
            }
        }

        /// However the clock jumps, what is given stays within the burst plus what the forward steps are worth.
        #[test]
        fn no_clock_makes_it_generous(
            burst in 1..20_u32,
            interval in 1..50_u64,
            steps in prop::collection::vec((any::<bool>(), 0..500_u64), 1..300),
        ) {
            let rate = rate(burst, Duration::from_millis(interval));
            let mut now = deadline::now() + Duration::from_secs(3_600);
            let mut bucket = Bucket::default();
            let (mut given, mut forward) = (0, 0);
            for (back, ms) in steps {
                let step = Duration::from_millis(ms);
                if back {
                    now -= step;
                } else {
                    now += step;
                    forward += ms;
                }
                given += u64::from(bucket.try_take(now, rate));
                prop_assert!(given <= u64::from(burst) + forward / interval);
            }
        }
    }
}
