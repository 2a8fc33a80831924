//! CORE: when to announce.
//!
//! [`Schedule`] knows nothing of addresses, topics or messages. It is told what happens (`on_*`) and says whether
//! a round is due ([`Schedule::is_due`]) and when to ask again ([`Schedule::next_timeout`]). Whoever holds it
//! carries out the round and reports its [`Outcome`], which is what the next round depends on. Spurious calls do
//! nothing.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

use super::{Announced, SkipReason};
use crate::deadline::{Instant, after};

/// After how long a publication that failed on all topics is tried again, unless the minimum gap is longer.
const RETRY: Duration = Duration::from_secs(1);

/// What part of the interval is added to it at most, at random.
const JITTER: u32 = 10;

/// The durations that a [`Schedule`] goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) interval: Duration,
    pub(crate) minimum_gap: Duration,
    pub(crate) coalescing: Duration,
}

/// What became of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// At least one topic took the announcement.
    Published,
    /// There was nothing to say or nobody to say it to. What ends the reason causes a round of its own.
    Skipped(SkipReason),
    /// There was somebody to say it to, and no topic took it.
    Failed,
}

impl Outcome {
    /// The outcome of a round that has been offered to all topics: how many took it, and how many failed for another
    /// reason than that nobody is subscribed.
    pub(crate) fn of_topics(published: usize, failed: usize) -> Self {
        match (published, failed) {
            (1.., _) => Self::Published,
            (0, 1..) => Self::Failed,
            (0, 0) => Self::Skipped(SkipReason::NoSubscribers),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Schedule {
    timing: Timing,
    silent: bool,
    rng: SmallRng,
    /// When the interval ends.
    round: Instant,
    /// When an announcement is due for another reason than the interval.
    wanted: Option<Instant>,
    /// When the minimum gap after the last publication ends.
    gap_ends: Option<Instant>,
}

impl Schedule {
    /// The first round is due at once, as in js-libp2p. A `silent` schedule never has one.
    pub(crate) fn new(timing: Timing, silent: bool, seed: u64, now: Instant) -> Self {
        Self {
            timing,
            silent,
            rng: SmallRng::seed_from_u64(seed),
            round: now,
            wanted: None,
            gap_ends: None,
        }
    }

    /// The own addresses have changed.
    pub(crate) fn on_addresses_changed(&mut self, now: Instant) {
        self.want(after(now, self.timing.coalescing));
    }

    /// Somebody new listens to one of the topics.
    pub(crate) fn on_subscriber(&mut self, now: Instant) {
        self.want(after(now, self.timing.coalescing));
    }

    /// The application asks for an announcement. `Ok`: it may go out now. `Err`: it will be due later, or never.
    pub(crate) fn on_request(&mut self, now: Instant) -> Result<(), Announced> {
        if self.silent {
            return Err(Announced::Skipped(SkipReason::ListenOnly));
        }
        match self.gap_ends {
            Some(until) if until > now => {
                self.want(until);
                Err(Announced::Delayed { until })
            }
            _ => Ok(()),
        }
    }

    /// A round that was due, or that the application asked for, has been carried out. Returns what it has led to.
    pub(crate) fn on_outcome(&mut self, now: Instant, outcome: Outcome) -> Announced {
        self.wanted = None;
        self.round = after(now, self.jittered(self.timing.interval));
        match outcome {
            Outcome::Published => {
                self.gap_ends = Some(after(now, self.timing.minimum_gap));
                Announced::Published
            }
            Outcome::Skipped(reason) => Announced::Skipped(reason),
            Outcome::Failed => {
                let until = after(now, RETRY.max(self.timing.minimum_gap));
                self.want(until);
                Announced::Delayed { until }
            }
        }
    }

    /// Whether a round is due.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.next_timeout().is_some_and(|at| at <= now)
    }

    /// When the next round is due, as far as is known.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        if self.silent {
            return None;
        }
        let due = self
            .wanted
            .map_or(self.round, |wanted| wanted.min(self.round));
        Some(self.gap_ends.map_or(due, |end| end.max(due)))
    }

    fn want(&mut self, at: Instant) {
        self.wanted = Some(self.wanted.map_or(at, |wanted| wanted.min(at)));
    }

    fn jittered(&mut self, interval: Duration) -> Duration {
        let extra = interval / JITTER;
        interval.saturating_add(extra.mul_f64(self.rng.random_range(0.0..1.0)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);
    const GAP: Duration = Duration::from_secs(1);
    const NOTHING: Outcome = Outcome::Skipped(SkipReason::NoListeners);
    const SHORT: Duration = Duration::from_millis(50);

    fn schedule(now: Instant) -> Schedule {
        let timing = Timing {
            interval: INTERVAL,
            minimum_gap: GAP,
            coalescing: SHORT,
        };
        Schedule::new(timing, false, 7, now)
    }

    #[test]
    fn the_first_round_is_due_at_once_and_the_next_after_the_interval() {
        let now = Instant::now();
        let mut schedule = schedule(now);
        assert!(schedule.is_due(now));
        schedule.on_outcome(now, Outcome::Published);
        assert!(!schedule.is_due(now + INTERVAL - Duration::from_nanos(1)));
        assert!(schedule.is_due(now + INTERVAL + INTERVAL / JITTER));
    }

    #[test]
    fn a_skipped_round_does_not_delay_the_announcement_of_the_first_address() {
        let now = Instant::now();
        let mut schedule = schedule(now);
        schedule.on_outcome(now, NOTHING);
        schedule.on_addresses_changed(now);
        assert_eq!(schedule.next_timeout(), Some(now + SHORT));
    }

    #[test]
    fn changes_are_coalesced_from_the_first_on() {
        let now = Instant::now();
        let mut schedule = schedule(now);
        schedule.on_outcome(now, NOTHING);
        for i in 0..10 {
            schedule.on_addresses_changed(now + Duration::from_millis(i));
            schedule.on_subscriber(now + Duration::from_millis(i));
        }
        assert_eq!(schedule.next_timeout(), Some(now + SHORT));
        schedule.on_outcome(now + SHORT, Outcome::Published);
        assert!(!schedule.is_due(now + SHORT + GAP));
    }

    #[test]
    fn a_change_within_the_gap_waits_for_its_end() {
        let now = Instant::now();
        let mut schedule = schedule(now);
        schedule.on_outcome(now, Outcome::Published);
        schedule.on_addresses_changed(now);
        assert_eq!(schedule.next_timeout(), Some(now + GAP));
    }

    #[test]
    fn a_request_within_the_gap_is_put_off_and_not_forgotten() {
        let now = Instant::now();
        let mut schedule = schedule(now);
        assert_eq!(schedule.on_request(now), Ok(()));
        schedule.on_outcome(now, Outcome::Published);
        let until = now + GAP;
        assert_eq!(schedule.on_request(now), Err(Announced::Delayed { until }));
        assert_eq!(schedule.next_timeout(), Some(until));
        assert_eq!(schedule.on_request(until), Ok(()));
    }

    #[test]
    fn a_failure_is_tried_again_soon() {
        let now = Instant::now();
        let mut schedule = schedule(now);
        let until = now + RETRY;
        assert_eq!(
            schedule.on_outcome(now, Outcome::Failed),
            Announced::Delayed { until }
        );
        assert_eq!(schedule.next_timeout(), Some(until));
    }

    #[test]
    fn one_topic_is_enough_and_no_subscribers_are_no_failure() {
        assert_eq!(Outcome::of_topics(1, 5), Outcome::Published);
        assert_eq!(Outcome::of_topics(0, 1), Outcome::Failed);
        assert_eq!(
            Outcome::of_topics(0, 0),
            Outcome::Skipped(SkipReason::NoSubscribers)
        );
    }

    #[test]
    fn silence_is_never_broken() {
        let now = Instant::now();
        let timing = Timing {
            interval: INTERVAL,
            minimum_gap: GAP,
            coalescing: SHORT,
        };
        let mut schedule = Schedule::new(timing, true, 7, now);
        schedule.on_addresses_changed(now);
        schedule.on_subscriber(now);
        assert_eq!(schedule.next_timeout(), None);
        assert_eq!(
            schedule.on_request(now),
            Err(Announced::Skipped(SkipReason::ListenOnly))
        );
        assert!(!schedule.is_due(now + INTERVAL * 2));
    }

    #[test]
    fn durations_without_end_do_not_overflow() {
        let now = Instant::now();
        let timing = Timing {
            interval: Duration::MAX,
            minimum_gap: Duration::MAX,
            coalescing: Duration::MAX,
        };
        let mut schedule = Schedule::new(timing, false, 7, now);
        for outcome in [Outcome::Failed, Outcome::Published] {
            schedule.on_addresses_changed(now);
            schedule.on_outcome(now, outcome);
            assert!(!schedule.is_due(now + INTERVAL));
        }
    }

    #[derive(Debug, Clone)]
    enum Operation {
        Wait(u64),
        AddressesChanged,
        Subscriber,
        Request,
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            4 => (0..15_000u64).prop_map(Operation::Wait),
            4 => (0..100u64).prop_map(Operation::Wait),
            1 => Just(Operation::AddressesChanged),
            1 => Just(Operation::Subscriber),
            1 => Just(Operation::Request),
        ]
    }

    fn outcome() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            Just(Outcome::Published),
            Just(NOTHING),
            Just(Outcome::Failed)
        ]
    }

    proptest! {
        #[test]
        fn keeps_the_gap_the_interval_and_its_promises(
            operations in prop::collection::vec((operation(), outcome()), 0..300),
            seed: u64,
        ) {
            let mut now = Instant::now();
            let timing = Timing { interval: INTERVAL, minimum_gap: GAP, coalescing: SHORT };
            let mut schedule = Schedule::new(timing, false, seed, now);
            let (mut published, mut caused) = (None, Some(now));
            for (operation, outcome) in operations {
                let requested = match operation {
                    Operation::Wait(millis) => {
                        now += Duration::from_millis(millis);
                        false
                    }
                    Operation::AddressesChanged => {
                        schedule.on_addresses_changed(now);
                        caused = caused.or(Some(now));
                        false
                    }
                    Operation::Subscriber => {
                        schedule.on_subscriber(now);
                        caused = caused.or(Some(now));
                        false
                    }
                    Operation::Request => {
                        let answer = schedule.on_request(now);
                        if let Err(Announced::Delayed { until }) = answer {
                            prop_assert!(until > now);
                            prop_assert!(schedule.next_timeout() <= Some(until));
                        }
                        answer.is_ok()
                    }
                };
                if requested || schedule.is_due(now) {
                    if let Some(last) = published {
                        prop_assert!(now >= last + GAP);
                    }
                    schedule.on_outcome(now, outcome);
                    caused = None;
                    if outcome == Outcome::Published {
                        published = Some(now);
                    }
                    prop_assert!(!schedule.is_due(now), "a round causes no round");
                }
                let next = schedule.next_timeout().unwrap();
                prop_assert!(next <= now + INTERVAL + INTERVAL / JITTER);
                if let Some(caused) = caused {
                    prop_assert!(next <= caused.max(published.unwrap_or(caused) + GAP) + SHORT);
                }
            }
        }
    }
}
