//! How often a peer announces itself, and for how long it is known by that.

use std::time::Duration;

use super::expired::{MEMORY, Past};
use crate::{deadline::Instant, discovery::message::Stamp};

/// How many of its intervals a peer may be silent. Two lost announcements in a row are survived, even if the third comes
/// as late as was promised.
pub(super) const INTERVALS: u32 = 3;

/// By what the time to live of a peer is found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifetimes {
    /// For how long a peer is known whose interval is not.
    pub(crate) unknown: Duration,
    /// The shortest interval that is believed. Were there none, somebody could promise to be gone at once, to be found
    /// anew with each announcement; and send old announcements of another again, as if they came in quick succession.
    pub(crate) shortest: Duration,
    /// The longest one.
    pub(crate) longest: Duration,
}

impl Lifetimes {
    /// What comes sooner after another than this is the same announcement: on another topic, where it may come a
    /// heartbeat of gossipsub later, or for a newcomer.
    fn gap(&self) -> Duration {
        self.shortest / 4
    }
}

/// How often a peer announces itself.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// As often as it has promised.
    Promised(Duration),
    /// As it has been heard.
    Heard(Gaps),
}

impl Pace {
    /// Of a peer that has expired and is back, after a gap that is longer than was expected of it.
    pub(super) fn returned(stamp: Stamp, past: Past, lifetimes: &Lifetimes) -> Self {
        match Self::new(stamp, None, None, lifetimes) {
            Self::Heard(_) => Self::Heard(Gaps::returned(past)),
            pace => pace,
        }
    }

    /// `gap`: since the announcement before. `before`: what has been known until now.
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

    /// The interval that is believed, if one is known.
    pub(super) fn interval(&self, lifetimes: &Lifetimes) -> Option<Duration> {
        let interval = match *self {
            Self::Promised(interval) => interval,
            Self::Heard(gaps) => gaps.interval()?,
        };
        Some(interval.max(lifetimes.shortest).min(lifetimes.longest))
    }

    /// For how long a peer is known that has announced itself `now`.
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
    /// The last ones, the latest one first, zero for none.
    last: [u32; 3],
    /// What has passed since the announcement at which the latest one ended.
    since: u32,
    /// When the peer expired, if it has come back since. The first gap is that after which it did.
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

    /// What is left of the hour in which a peer that has expired though it was there is not to do so again.
    fn grace(&self, now: Instant) -> Duration {
        self.expired_at.map_or(Duration::ZERO, |expired_at| {
            MEMORY.saturating_sub(now.saturating_duration_since(expired_at))
        })
    }

    /// Another announcement, at this time after the one before. It ends a gap unless that would be shorter than `least`.
    fn push(&mut self, time: Duration, least: Duration) {
        self.since = self.since.saturating_add(millis(time));
        if u128::from(self.since) >= least.as_millis() {
            let [latest, earlier, _] = self.last;
            self.last = [self.since.max(1), latest, earlier];
            self.since = 0;
        }
    }

    /// The one in the middle: one that is too long because of a loss, or too short since the peer had news, does not
    /// matter. The longer of two. A single one counts only of a peer that is back: without it, one whose interval is
    /// longer than the time for which an unknown peer is known would expire before each of its announcements.
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
