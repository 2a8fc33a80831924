//! CORE: how many peers announce themselves, counted without a list of them.

use std::{
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use libp2p_identity::PeerId;

use crate::deadline::Instant;

/// With as many authors as cells the count is off by 1.3 % (standard deviation), with three times as many by 2 %:
/// 12,000 is where the default interval is at its upper limit.
const CELLS: usize = 4096;

/// The value of a cell into which no author has fallen, or none for long.
const EMPTY: u32 = 0;

/// How many different authors have been heard within any time up to a limit, approximately.
///
/// Linear counting (Whang, Vander-Zanden and Taylor, 1990): each author falls into one of the cells at random, and the
/// share of those that stay empty tells how many there are, repetitions or not. A cell holds the time instead of a
/// bit, so that authors that fall silent drop out. The memory is the same for ten authors and for a million.
///
/// The seed is to be kept secret, or somebody could choose identities that fill all cells with few authors.
pub(crate) struct Census {
    /// When an author was last heard that falls into the cell, in milliseconds since `start`, modulo 2^32.
    cells: Box<[u32]>,
    start: Instant,
    /// The longest time that can be counted over.
    keep: Duration,
    seed: u64,
}

impl Census {
    /// Nobody has been heard. `keep` is the longest time that will be counted over, at most three weeks.
    pub(crate) fn new(keep: Duration, seed: u64, now: Instant) -> Self {
        const THREE_WEEKS: Duration = Duration::from_secs(21 * 24 * 60 * 60);

        Self {
            cells: vec![EMPTY; CELLS].into(),
            start: now,
            keep: keep.min(THREE_WEEKS),
            seed,
        }
    }

    /// An author has been heard.
    pub(crate) fn on_heard(&mut self, now: Instant, author: &PeerId) {
        let mut hasher = DefaultHasher::new();
        (self.seed, author).hash(&mut hasher);
        let tick = self.tick(now);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "any bits of the hash will do"
        )]
        let at = hasher.finish() as usize % CELLS;
        if let Some(cell) = self.cells.get_mut(at) {
            *cell = tick;
        }
    }

    /// About how many authors have been heard within each of the `windows` before `now`. Takes one look at each cell.
    pub(crate) fn count<const N: usize>(
        &mut self,
        now: Instant,
        windows: [Duration; N],
    ) -> [f64; N] {
        let tick = self.tick(now);
        let keep = millis(self.keep);
        let windows = windows.map(|window| millis(window.min(self.keep)));
        let mut taken = [0; N];
        // Without branches: that makes it several times as fast, since the compiler can take many cells at once.
        for cell in &mut self.cells {
            let age = tick.wrapping_sub(*cell);
            // Before its number comes round again.
            *cell = if age > keep { EMPTY } else { *cell };
            let is_taken = *cell != EMPTY;
            for (taken, window) in taken.iter_mut().zip(windows) {
                *taken += u32::from(is_taken & (age <= window));
            }
        }
        let cells = f64::from(u32::try_from(CELLS).unwrap_or(u32::MAX));
        // One that is empty is the least that can be told from all of them being taken.
        taken.map(|taken| cells * (cells / (cells - f64::from(taken)).max(1.0)).ln())
    }

    fn tick(&self, now: Instant) -> u32 {
        millis(now.saturating_duration_since(self.start)).max(EMPTY + 1)
    }
}

/// Modulo 2^32.
#[expect(
    clippy::cast_possible_truncation,
    reason = "differences of up to 49 days are right"
)]
fn millis(duration: Duration) -> u32 {
    duration.as_millis() as u32
}

impl fmt::Debug for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Census").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use multiaddr::multihash::Multihash;
    use proptest::prelude::*;

    use super::*;
    use crate::deadline;

    const MINUTE: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn author(number: u32) -> PeerId {
        PeerId::from_multihash(Multihash::wrap(0, &number.to_be_bytes()).unwrap()).unwrap()
    }

    fn census(now: Instant) -> Census {
        Census::new(20 * MINUTE, 7, now)
    }

    fn count(census: &mut Census, now: Instant, window: Duration) -> f64 {
        let [count] = census.count(now, [window]);
        count
    }

    #[track_caller]
    fn assert_near(count: f64, expected: u32) {
        let expected = f64::from(expected);
        assert!(
            (count - expected).abs() <= (0.07 * expected).max(2.0),
            "{count} instead of {expected}"
        );
    }

    #[test]
    fn counts_authors_and_not_what_they_say() {
        let now = deadline::now();
        for authors in [0, 1, 10, 100, 1_000, 12_000] {
            let mut census = census(now);
            for _ in 0..3 {
                for number in 0..authors {
                    census.on_heard(now, &author(number));
                }
            }
            assert_near(count(&mut census, now, MINUTE), authors);
        }
    }

    #[test]
    fn counts_over_any_window() {
        let now = deadline::now();
        let mut census = census(now);
        for number in 0..600 {
            let at = now + number * Duration::from_secs(1);
            census.on_heard(at, &author(number));
        }
        let now = now + 599 * Duration::from_secs(1);
        let windows = [5, 1, 10];
        let counts = census.count(now, windows.map(|minutes| minutes * MINUTE));
        for (count, minutes) in counts.into_iter().zip(windows) {
            assert_near(count, minutes * 60);
        }
    }

    #[test]
    fn who_is_silent_for_weeks_does_not_come_back_when_the_numbers_start_again() {
        let start = deadline::now();
        let mut census = census(start);
        for number in 0..1_000 {
            census.on_heard(start + 5 * MINUTE, &author(number));
        }
        for day in 1..200 {
            let now = start + day * DAY;
            assert_near(count(&mut census, now, 20 * MINUTE), 0);
            census.on_heard(now, &author(0));
            assert_near(count(&mut census, now, 20 * MINUTE), 1);
        }
    }

    #[test]
    fn nobody_comes_back_when_the_numbers_start_again_if_it_was_counted_meanwhile() {
        let start = deadline::now();
        let mut census = census(start);
        let heard = start + 5 * MINUTE;
        for number in 0..1_000 {
            census.on_heard(heard, &author(number));
        }
        assert_near(count(&mut census, heard + DAY, 20 * MINUTE), 0);
        let again = heard + Duration::from_millis(1 << 32);
        assert_near(count(&mut census, again, 20 * MINUTE), 0);
    }

    #[test]
    fn more_authors_than_can_be_told_apart_are_many() {
        let now = deadline::now();
        let mut census = census(now);
        for number in 0..200_000 {
            census.on_heard(now, &author(number));
        }
        assert!(count(&mut census, now, MINUTE) > 30_000.0);
    }

    #[test]
    fn a_clock_that_jumps_back_counts_no_more_than_were_heard() {
        let now = deadline::now() + DAY;
        let mut census = census(now - DAY);
        census.on_heard(now, &author(1));
        census.on_heard(now - MINUTE, &author(2));
        assert!(count(&mut census, now - MINUTE, MINUTE) < 3.0);
        assert!(count(&mut census, now - 2 * DAY, MINUTE) < 3.0);
    }

    proptest! {
        #[test]
        fn agrees_with_a_list(
            heard in prop::collection::vec((0..60u32, 0..60_000u64), 0..300),
            window in 0..1_200_000u64,
            seed: u64,
        ) {
            let mut now = deadline::now();
            let mut census = Census::new(20 * MINUTE, seed, now);
            let mut list = std::collections::HashMap::new();
            for (number, pause) in heard {
                now += Duration::from_millis(pause);
                census.on_heard(now, &author(number));
                list.insert(number, now);
            }
            let window = Duration::from_millis(window);
            // Ticks are whole milliseconds since the start, and so are all times here.
            let expected = list.values().filter(|&&at| now - at <= window).count();
            let [count] = census.count(now, [window]);
            // Sixty authors share a cell now and then.
            prop_assert!(count <= expected as f64 * 1.01 + 0.01);
            prop_assert!(count >= expected as f64 * 0.8 - 1.5);
        }
    }
}
