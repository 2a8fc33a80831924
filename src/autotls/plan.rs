//! CORE: when to order a certificate, when to renew it, and how long to wait after which failure.

use std::time::Duration;

use rand::{RngExt as _, rngs::SmallRng};

use super::{
    Waiting,
    acme::Window,
    config::Config,
    error::{Error, Failure, Step},
};
use crate::deadline::{self, Instant, SystemTime};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The delay after the first failure. It doubles with each further one, up to a day.
const FIRST_DELAY: Duration = MINUTE;

/// The least delay after a failed validation: Let's Encrypt allows five an hour.
const VALIDATION_DELAY: Duration = Duration::from_secs(15 * 60);

/// The least delay after a broker has answered that it is not well, as go-libp2p has it. One that cannot be reached may be
/// so because this host has just started.
const HEALTH_DELAY: Duration = HOUR;

/// How long the application is not told at first what the certificate waits for: listeners are bound by the polls that
/// follow, and other behaviours have just started.
const QUIET: Duration = Duration::from_secs(2);

/// The part of a delay that is left to chance, downwards.
const JITTER: f64 = 0.25;

/// The time between two looks at the clock on the wall, which may be set.
const MAX_WAIT: Duration = HOUR;

/// The delay after the renewal information could not be had.
const ASK_AGAIN: Duration = Duration::from_secs(6 * 60 * 60);

/// From when to when a certificate is used. It begins when it was obtained if that was later than the date in it, so that a
/// clock that is ahead does not renew in a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: SystemTime,
    pub(super) until: SystemTime,
}

impl Validity {
    /// When a window that is past may be believed. That of a certificate that was just obtained says that the server, or the
    /// clock here, is wrong, and each renewal would be followed by the next.
    fn settled(&self) -> SystemTime {
        self.at(1.0 / 10.0).min(self.from + DAY)
    }

    /// The moment after this part of it.
    fn at(&self, part: f64) -> SystemTime {
        let length = self.until.duration_since(self.from).unwrap_or_default();
        self.from + length.mul_f64(part)
    }
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Obtain a certificate: [`Plan::on_obtained`] or [`Plan::on_failed`].
    Obtain { is_renewal: bool },
    /// Ask the ACME server when to renew: [`Plan::on_window`].
    AskWindow,
    /// Take the certificate, which has expired, out of use.
    Expire,
}

/// Decides when. All times are given to it.
#[derive(Debug)]
pub(super) struct Plan {
    config: Config,
    rng: SmallRng,
    /// Why a certificate cannot be ordered.
    obstacle: Option<Waiting>,
    /// What the application was told last, and when it is told first.
    told: Option<Waiting>,
    quiet_until: Instant,
    /// When the clock on the wall is looked at next.
    look_at: Instant,
    /// Whether the registration delay was drawn.
    has_delayed: bool,
    validity: Option<Validity>,
    renew_at: Option<SystemTime>,
    window: Option<Window>,
    /// When the renewal information is asked for. `None` without a certificate, and while it is being asked for.
    ask_at: Option<Instant>,
    failures: u32,
    is_running: bool,
    /// No attempt begins before.
    next: Instant,
    /// Nor before this, whatever changes.
    floor: Instant,
}

impl Plan {
    pub(super) fn new(config: &Config, rng: SmallRng, now: Instant) -> Self {
        Self {
            config: config.clone(),
            rng,
            obstacle: Some(Waiting::NoListener),
            told: None,
            quiet_until: deadline::after(now, config.scaled(QUIET)),
            look_at: now,
            has_delayed: false,
            validity: None,
            renew_at: None,
            window: None,
            ask_at: None,
            failures: 0,
            is_running: false,
            next: now,
            floor: now,
        }
    }

    /// What is in the way of an order changes.
    pub(super) fn on_obstacle(&mut self, obstacle: Option<Waiting>, now: Instant) {
        self.obstacle = obstacle;
        let is_first = self.validity.is_none() && self.failures == 0 && !self.has_delayed;
        if obstacle.is_none() && is_first {
            self.has_delayed = true;
            let part = self.rng.random_range(0.0..=1.0);
            let delay = self.config.registration_delay.mul_f64(part);
            self.next = deadline::after(now, delay);
            self.floor = self.next;
        }
    }

    /// The addresses that the broker is given have changed, so that an attempt may succeed now that would have failed.
    pub(super) fn on_addresses(&mut self, now: Instant) {
        let soon = deadline::after(now, self.config.scaled(FIRST_DELAY));
        self.next = self.next.min(soon).max(self.floor);
    }

    /// A certificate from the storage is in use.
    pub(super) fn on_stored(&mut self, validity: Validity, now: Instant) {
        self.validity = Some(validity);
        self.renew_at = Some(validity.at(2.0 / 3.0));
        self.window = None;
        self.ask_at = Some(now);
    }

    /// A certificate was obtained, and is in use. Its dates are those of the server.
    pub(super) fn on_obtained(&mut self, dates: Validity, now: Instant, wall: SystemTime) {
        self.is_running = false;
        self.failures = 0;
        self.next = deadline::after(now, self.config.scaled(FIRST_DELAY));
        self.floor = self.next;
        let from = dates.from.max(wall).min(dates.until);
        self.on_stored(Validity { from, ..dates }, now);
    }

    /// An attempt failed. Returns the delay until the next one.
    pub(super) fn on_failed(&mut self, failure: &Failure, now: Instant) -> Duration {
        self.is_running = false;
        self.failures = self.failures.saturating_add(1);
        let doubled = match failure.is_early {
            // The clock may be put right at any time, and to look at it costs nobody anything.
            true => 1,
            false => 2_u32.saturating_pow(self.failures - 1),
        };
        let delay = FIRST_DELAY.saturating_mul(doubled).min(DAY);
        let delay = delay.mul_f64(1.0 - JITTER * self.rng.random::<f64>());
        let asked = failure.retry_after.unwrap_or_default().min(DAY);
        let least = match (failure.is_validation, failure.step) {
            (true, _) => VALIDATION_DELAY,
            (false, Step::Health) if matches!(failure.error, Error::Status { .. }) => HEALTH_DELAY,
            (false, _) => Duration::ZERO,
        };
        let floor = self.config.scaled(least.max(asked));
        let delay = self.config.scaled(delay).max(floor);
        self.floor = deadline::after(now, floor);
        self.next = deadline::after(now, delay);
        delay
    }

    /// The answer to [`Action::AskWindow`]: `None` if there is no such information.
    pub(super) fn on_window(
        &mut self,
        answer: Result<Option<Window>, Failure>,
        now: Instant,
        wall: SystemTime,
    ) {
        let Some(validity) = self.validity else {
            return;
        };
        let again = match &answer {
            Ok(window) => window.as_ref().and_then(|window| window.ask_again_in),
            Err(failure) => failure.retry_after,
        };
        let again = again.unwrap_or(ASK_AGAIN).clamp(MINUTE, DAY);
        self.ask_at = Some(deadline::after(now, self.config.scaled(again)));
        let Ok(window) = answer else { return };
        if window.as_ref().map(|window| (window.start, window.end))
            == self
                .window
                .as_ref()
                .map(|window| (window.start, window.end))
        {
            return;
        }
        self.renew_at = Some(match &window {
            None => validity.at(2.0 / 3.0),
            Some(window) if window.end <= wall => validity.settled().max(wall),
            Some(window) => self.drawn(window, validity),
        });
        self.window = window;
    }

    /// A moment within the window, and between half and five sixths of the lifetime: the window of a server may be wider
    /// than the whole lifetime of a certificate.
    fn drawn(&mut self, window: &Window, validity: Validity) -> SystemTime {
        let (earliest, latest) = (validity.at(1.0 / 2.0), validity.at(5.0 / 6.0));
        let start = window.start.clamp(earliest, latest);
        let end = window.end.clamp(earliest, latest);
        let length = end.duration_since(start).unwrap_or_default();
        start + length.mul_f64(self.rng.random_range(0.0..=1.0))
    }

    /// What is to be done now.
    pub(super) fn poll(&mut self, now: Instant, wall: SystemTime) -> Option<Action> {
        if self.look_at <= now {
            self.look_at = deadline::after(now, MAX_WAIT);
        }
        if self.validity.is_some_and(|validity| validity.until <= wall) {
            self.validity = None;
            self.renew_at = None;
            self.window = None;
            self.ask_at = None;
            return Some(Action::Expire);
        }
        if self.obstacle.is_none() && self.is_due(wall) && !self.is_running && self.next <= now {
            self.is_running = true;
            return Some(Action::Obtain {
                is_renewal: self.validity.is_some(),
            });
        }
        if self.ask_at.is_some_and(|at| at <= now) {
            self.ask_at = None;
            return Some(Action::AskWindow);
        }
        None
    }

    /// When to poll again, if nothing happens before.
    pub(super) fn next_timeout(&self, now: Instant, wall: SystemTime) -> Option<Instant> {
        let at = |time: SystemTime| match time.duration_since(wall) {
            Ok(left) if left > MAX_WAIT => self.look_at,
            left => deadline::after(now, left.unwrap_or_default()),
        };
        let can_begin = self.obstacle.is_none() && !self.is_running;
        let begins = can_begin.then(|| match self.renew_at {
            Some(renew_at) => at(renew_at).max(self.next),
            None => self.next,
        });
        let expires = self.validity.map(|validity| at(validity.until));
        let is_news = self.waiting(now, wall) != self.told;
        let tells = Some(self.quiet_until).filter(|at| is_news && *at > now);
        let times = [begins, expires, self.ask_at, tells];
        times.into_iter().flatten().min()
    }

    /// Whether a certificate is wanted.
    fn is_due(&self, wall: SystemTime) -> bool {
        self.renew_at.is_none_or(|at| at <= wall)
    }

    /// What a certificate that is wanted waits for, apart from the end of a delay after a failure.
    pub(super) fn waiting(&self, now: Instant, wall: SystemTime) -> Option<Waiting> {
        if !self.is_due(wall) || self.is_running {
            return None;
        }
        let is_delayed = self.failures == 0 && self.validity.is_none() && self.next > now;
        self.obstacle
            .or_else(|| is_delayed.then_some(Waiting::RegistrationDelay))
    }

    /// What the application is to be told that a certificate waits for. Once for each change.
    pub(super) fn poll_waiting(&mut self, now: Instant, wall: SystemTime) -> Option<Waiting> {
        if now < self.quiet_until {
            return None;
        }
        let waiting = self.waiting(now, wall);
        let is_news = waiting != self.told;
        self.told = waiting;
        waiting.filter(|_| is_news)
    }

    pub(super) fn is_running(&self) -> bool {
        self.is_running
    }

    /// Whether the last attempt failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failures > 0
    }
}

#[cfg(test)]
mod tests;
