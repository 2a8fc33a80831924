//! When to warn that the certificate in use expires.

use std::time::Duration;

use crate::{deadline::SystemTime, websocket::Certificate};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest time between two looks at the clock. Dates are those of the clock on the wall, which may be set, and
/// timers stand still while a host sleeps.
const MAX_WAIT: Duration = Duration::from_secs(60 * 60);

/// How far before the moment of a warning the clock has to be set back for the warning to be repeated at that moment.
const SET_BACK: Duration = MAX_WAIT;

/// What there is to say of the certificate in use, the most urgent last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Warning {
    /// It expires within 7 days.
    Week,
    /// It expires within a day.
    Day,
    /// It has expired.
    Expired,
}

impl Warning {
    const ALL: [Self; 3] = [Self::Week, Self::Day, Self::Expired];

    /// How long before the end it is due.
    fn before_end(self) -> Duration {
        match self {
            Self::Week => 7 * DAY,
            Self::Day => DAY,
            Self::Expired => Duration::ZERO,
        }
    }

    /// From when on it is due. `None` for a certificate with so short a life that it was never further from its end.
    fn due(self, dates: Dates) -> Option<SystemTime> {
        let due = dates.not_after.checked_sub(self.before_end())?;
        (self == Self::Expired || due > dates.not_before).then_some(due)
    }
}

#[derive(Debug, Clone, Copy)]
struct Dates {
    not_before: SystemTime,
    not_after: SystemTime,
}

/// Follows the certificate in use to its end, and says each [`Warning`] once.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    dates: Option<Dates>,
    said: Option<Warning>,
}

/// What [`Expiry::on_time`] leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) warning: Option<Warning>,
    /// How long until it wants to be called again. Never zero.
    pub(super) again: Duration,
}

impl Expiry {
    /// Another certificate is in use.
    pub(super) fn on_accepted(&mut self, certificate: &Certificate) {
        *self = Self {
            dates: Some(Dates {
                not_before: certificate.not_before(),
                not_after: certificate.not_after(),
            }),
            said: None,
        };
    }

    #[cfg(test)]
    pub(super) fn has_said(&self, warning: Warning) -> bool {
        self.said >= Some(warning)
    }

    /// It is this time of day. To be called when a certificate has been accepted, and again when it says so. `None`
    /// as long as there is no certificate.
    pub(super) fn on_time(&mut self, now: SystemTime) -> Option<Step> {
        let dates = self.dates?;
        let most_urgent = |now| {
            let is_due = |warning: &Warning| warning.due(dates).is_some_and(|due| due <= now);
            Warning::ALL.into_iter().rfind(is_due)
        };
        let reached = most_urgent(now);
        let warning = reached.filter(|_| reached > self.said);
        // Less is reached than was said only where the clock was set back.
        let still = now.checked_add(SET_BACK).map_or(self.said, most_urgent);
        self.said = self.said.min(still).max(reached);
        let until_next = Warning::ALL
            .into_iter()
            .filter_map(|warning| warning.due(dates)?.duration_since(now).ok())
            .find(|wait| !wait.is_zero());
        Some(Step {
            warning,
            again: until_next.map_or(MAX_WAIT, |wait| wait.min(MAX_WAIT)),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn end() -> SystemTime {
        SystemTime::UNIX_EPOCH + 20_000 * DAY
    }

    /// Of a certificate that is valid for so long before [`end`].
    fn expiry(life: Duration) -> Expiry {
        Expiry {
            dates: Some(Dates {
                not_before: end() - life,
                not_after: end(),
            }),
            said: None,
        }
    }

    fn said(expiry: &mut Expiry, now: SystemTime) -> Option<Warning> {
        expiry.on_time(now).unwrap().warning
    }

    /// All that is said until a day after [`end`], and when, by a shell that comes when it was told to.
    fn run(expiry: &mut Expiry, mut now: SystemTime) -> Vec<(Warning, SystemTime)> {
        let mut all = Vec::new();
        while now < end() + DAY {
            let step = expiry.on_time(now).unwrap();
            assert!(!step.again.is_zero() && step.again <= MAX_WAIT);
            all.extend(step.warning.map(|warning| (warning, now)));
            now += step.again;
        }
        all
    }

    #[test]
    fn there_is_nothing_to_say_without_a_certificate() {
        assert_eq!(Expiry::default().on_time(end()), None);
    }

    #[test]
    fn each_warning_is_said_once_and_in_its_moment() {
        let all = run(&mut expiry(90 * DAY), end() - 90 * DAY);
        assert_eq!(
            all,
            [
                (Warning::Week, end() - 7 * DAY),
                (Warning::Day, end() - DAY),
                (Warning::Expired, end()),
            ]
        );
    }

    #[test]
    fn one_that_comes_late_is_warned_of_once() {
        let mut late = expiry(90 * DAY);
        assert_eq!(said(&mut late, end() - 5 * DAY), Some(Warning::Week));
        let mut later = expiry(90 * DAY);
        let from = end() - DAY / 2;
        let all = run(&mut later, from);
        assert_eq!(all, [(Warning::Day, from), (Warning::Expired, end())]);
        let mut too_late = expiry(90 * DAY);
        assert_eq!(said(&mut too_late, end() + SECOND), Some(Warning::Expired));
        assert_eq!(said(&mut too_late, end() + DAY), None);
    }

    #[test]
    fn a_short_life_is_no_reason_for_a_warning() {
        let six_days = run(&mut expiry(6 * DAY), end() - 6 * DAY);
        assert_eq!(
            six_days,
            [(Warning::Day, end() - DAY), (Warning::Expired, end())]
        );
        for (days, said) in [(7, &six_days[..]), (1, &six_days[1..])] {
            let exactly = run(&mut expiry(days * DAY), end() - days * DAY);
            assert_eq!(exactly, said);
        }
        let an_hour = run(&mut expiry(DAY / 24), end() - DAY / 24);
        assert_eq!(an_hour, [(Warning::Expired, end())]);
    }

    #[test]
    fn a_clock_that_jumps_ahead_is_noticed_within_an_hour() {
        let mut expiry = expiry(90 * DAY);
        let step = expiry.on_time(end() - 60 * DAY).unwrap();
        assert_eq!((step.warning, step.again), (None, MAX_WAIT));
        assert_eq!(said(&mut expiry, end() - DAY), Some(Warning::Day));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_hide_the_real_end() {
        // It was years ahead at the start, until the network told it better.
        let mut expiry = expiry(90 * DAY);
        assert_eq!(said(&mut expiry, end() + 900 * DAY), Some(Warning::Expired));
        let all = run(&mut expiry, end() - 60 * DAY);
        let warnings: Vec<_> = all.into_iter().map(|(warning, _)| warning).collect();
        assert_eq!(warnings, Warning::ALL);
    }

    #[test]
    fn a_clock_that_is_corrected_a_little_repeats_nothing() {
        let mut expiry = expiry(90 * DAY);
        assert_eq!(said(&mut expiry, end() + SECOND), Some(Warning::Expired));
        for now in [end() - SECOND, end() - SET_BACK, end(), end() + SECOND] {
            assert_eq!(said(&mut expiry, now), None);
        }
    }

    #[test]
    fn dates_and_clocks_without_measure_are_followed() {
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 60);
        for (end, now) in [
            (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH),
            (SystemTime::UNIX_EPOCH, far),
            (far, far),
        ] {
            let mut expiry = Expiry {
                dates: Some(Dates {
                    not_before: end,
                    not_after: end,
                }),
                said: None,
            };
            assert_eq!(said(&mut expiry, now), Some(Warning::Expired));
        }
    }

    proptest! {
        #[test]
        fn at_each_look_at_most_what_is_due_is_said_and_no_sooner(
            life in 1_u64..200 * 86_400,
            steps in prop::collection::vec(0_u64..10 * 86_400, 1..50),
        ) {
            let life = Duration::from_secs(life);
            let mut expiry = expiry(life);
            let mut now = end() - life;
            let mut last = None;
            for step in steps {
                now += Duration::from_secs(step);
                let step = expiry.on_time(now).unwrap();
                prop_assert!(!step.again.is_zero() && step.again <= MAX_WAIT);
                if let Some(warning) = step.warning {
                    prop_assert!(now + warning.before_end() >= end());
                    prop_assert!(Some(warning) > last);
                    last = Some(warning);
                }
            }
            prop_assert_eq!(last == Some(Warning::Expired), now >= end());
        }
    }
}
