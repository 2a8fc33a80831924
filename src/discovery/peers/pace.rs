//! How often a peer announces itself, and for how long it is known by that.

use std::time::Duration;

use crate::discovery::message::Stamp;

/// How many of its intervals a peer may be silent. Two lost announcements in a row are survived, even if the third comes
/// as late as was promised.
pub(super) const INTERVALS: u32 = 3;

/// By what the time to live of a peer is found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifetimes {
    /// The interval of those whose interval is not known yet, and of which none is expected.
    pub(crate) unknown: Duration,
    /// The longest interval that is believed.
    pub(crate) longest: Duration,
    /// What comes sooner after another than this is the same announcement: on another topic, or for a newcomer.
    pub(crate) gap: Duration,
}

/// How often a peer announces itself.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// As often as it has promised.
    Promised(Duration),
    /// As is to be expected by our rules, since it has heard too little to promise anything.
    Ours,
    /// As it has been heard.
    Heard(Gaps),
}

impl Pace {
    /// `gap`: since the announcement before. `before`: what has been known until now.
    pub(crate) fn new(
        stamp: Stamp,
        gap: Option<Duration>,
        before: Option<Self>,
        lifetimes: &Lifetimes,
    ) -> Self {
        match (stamp.promise, stamp.sequence) {
            (Some(promise), _) => Self::Promised(promise),
            (None, Some(_)) => Self::Ours,
            (None, None) => {
                let mut gaps = match before {
                    Some(Self::Heard(gaps)) => gaps,
                    _ => Gaps::default(),
                };
                if let Some(gap) = gap.filter(|gap| *gap >= lifetimes.gap) {
                    gaps.push(gap);
                }
                Self::Heard(gaps)
            }
        }
    }

    /// The interval, if it is known.
    pub(super) fn interval(&self, expected: Duration) -> Option<Duration> {
        match *self {
            Self::Promised(interval) => Some(interval),
            Self::Ours => Some(expected),
            Self::Heard(gaps) => gaps.interval(),
        }
    }

    pub(crate) fn time_to_live(&self, expected: Duration, lifetimes: &Lifetimes) -> Duration {
        let Some(interval) = self.interval(expected) else {
            return lifetimes.unknown;
        };
        let time_to_live = interval.min(lifetimes.longest).saturating_mul(INTERVALS);
        match self {
            // It may hear more than we do, and slow down while we do not.
            Self::Ours => time_to_live.max(lifetimes.unknown),
            Self::Promised(_) | Self::Heard(_) => time_to_live,
        }
    }
}

/// The last gaps between announcements of a peer, in milliseconds; the latest one first, zero for none.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Gaps([u32; 3]);

impl Gaps {
    fn push(&mut self, gap: Duration) {
        let millis = u32::try_from(gap.as_millis()).unwrap_or(u32::MAX);
        let [latest, earlier, _] = self.0;
        self.0 = [millis.max(1), latest, earlier];
    }

    /// The one in the middle: one that is too long because of a loss, or too short since the peer had news, does not
    /// matter. The longer of two, and nothing of a single one.
    fn interval(&self) -> Option<Duration> {
        let [latest, earlier, first] = self.0;
        if earlier == 0 {
            return None;
        }
        let middle = match first {
            0 => latest.max(earlier),
            _ => latest.min(earlier).max(latest.max(earlier).min(first)),
        };
        Some(Duration::from_millis(middle.into()))
    }
}
