//! The interval of a peer, and the time to live that follows from it.

use std::time::Duration;

use super::expired::{MEMORY, Past};
use crate::{deadline::Instant, discovery::message::Stamp};

/// Number of its intervals for which a peer may be silent. It survives two lost announcements in a row, even if the third
/// comes as late as promised.
pub(super) const INTERVALS: u32 = 3;

/// The bounds of the time to live of a peer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifetimes {
    /// The time to live of a peer whose interval is not known.
    pub(crate) unknown: Duration,
    /// The shortest accepted interval. Without it, a peer could promise to expire at once and be discovered again with each
    /// announcement, and an attacker could replay old announcements of another peer in quick succession.
    pub(crate) shortest: Duration,
    /// The longest accepted interval.
    pub(crate) longest: Duration,
}

impl Lifetimes {
    /// Announcements closer together than this count as one: on another topic, where it may arrive a heartbeat of gossipsub
    /// later, or for a newcomer.
    fn gap(&self) -> Duration {
        self.shortest / 4
    }
}

/// The interval of a peer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// Promised by the peer.
    Promised(Duration),
    /// Learnt from its announcements.
    Heard(Gaps),
}

impl Pace {
    /// The pace of a peer that has returned after it expired, so after a longer gap than expected.
    pub(super) fn returned(stamp: Stamp, past: Past, lifetimes: &Lifetimes) -> Self {
        match Self::new(stamp, None, None, lifetimes) {
            Self::Heard(_) => Self::Heard(Gaps::returned(past)),
            pace => pace,
        }
    }

    /// `gap`: the time since the previous announcement. `before`: the previous pace.
    pub(crate) fn new(
        stamp: Stamp,
        gap: Option<Duration>,
        before: Option<Self>,
        lifetimes: &Lifetimes,
    ) -> Self {
        match stamp.promise {
            Some(promise) => Self::Promised(promise),
            None => {
                let mut gaps = match before {
                    Some(Self::Heard(gaps)) => gaps,
                    _ => Gaps::default(),
                };
                if let Some(gap) = gap {
                    gaps.push(gap, lifetimes.gap());
                }
                Self::Heard(gaps)
            }
        }
    }

    /// The accepted interval, if one is known.
    pub(super) fn interval(&self, lifetimes: &Lifetimes) -> Option<Duration> {
        let interval = match *self {
            Self::Promised(interval) => interval,
            Self::Heard(gaps) => gaps.interval()?,
        };
        Some(interval.max(lifetimes.shortest).min(lifetimes.longest))
    }

    /// The time to live of a peer that has announced itself `now`.
    pub(crate) fn time_to_live(&self, now: Instant, lifetimes: &Lifetimes) -> Duration {
        let interval = self.interval(lifetimes);
        let time_to_live = interval.map_or(lifetimes.unknown, |interval| {
            interval.saturating_mul(INTERVALS)
        });
        match self {
            Self::Promised(_) => time_to_live,
            Self::Heard(gaps) => time_to_live.max(gaps.grace(now).min(lifetimes.longest)),
        }
    }
}

/// The gaps between announcements of a peer, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Gaps {
    /// The last gaps, the latest first; zero for none.
    last: [u32; 3],
    /// The time since the announcement that ended the latest gap.
    since: u32,
    /// The time at which the peer expired, if it has returned since. The first gap is the one after which it returned.
    expired_at: Option<Instant>,
}

impl Gaps {
    fn returned(past: Past) -> Self {
        Self {
            last: [millis(past.gap).max(1), 0, 0],
            since: 0,
            expired_at: Some(past.expired_at),
        }
    }

    /// The rest of the hour in which a peer that expired although it was up is kept.
    fn grace(&self, now: Instant) -> Duration {
        self.expired_at.map_or(Duration::ZERO, |expired_at| {
            MEMORY.saturating_sub(now.saturating_duration_since(expired_at))
        })
    }

    /// Another announcement, `time` after the previous one. It ends a gap unless that would be shorter than `least`.
    fn push(&mut self, time: Duration, least: Duration) {
        self.since = self.since.saturating_add(millis(time));
        if u128::from(self.since) >= least.as_millis() {
            let [latest, earlier, _] = self.last;
            self.last = [self.since.max(1), latest, earlier];
            self.since = 0;
        }
    }

    /// The median, so that one gap that is too long because of a loss, or too short because the peer had news, does not
    /// matter. Of two gaps, the longer one. A single gap counts only for a peer that has returned: otherwise, a peer with an
    /// interval above the default time to live would expire before each of its announcements.
    fn interval(&self) -> Option<Duration> {
        let [latest, earlier, first] = self.last;
        if latest == 0 || (earlier == 0 && self.expired_at.is_none()) {
            return None;
        }
        let middle = match first {
            0 => latest.max(earlier),
            _ => latest.min(earlier).max(latest.max(earlier).min(first)),
        };
        Some(Duration::from_millis(middle.into()))
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
