//! Which failures of a listener may pass by themselves, and when it tries again.

use std::{error::Error, fmt, io, num::NonZeroU32, time::Duration};

use rand::{RngExt as _, rngs::SmallRng};

use crate::deadline::Instant;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(30);

/// What is doubled after a first delay that is shorter, such as none at all.
const MIN_DOUBLED: Duration = Duration::from_millis(1);

/// The part of a delay that is left to chance.
const JITTER: f64 = 0.25;

/// How a [`lazy::Transport`](crate::lazy::Transport) goes on after a listener has failed.
///
/// The delay before the next attempt begins with [`with_first_delay`](Self::with_first_delay), doubles with every
/// attempt that fails, and ends at [`with_max_delay`](Self::with_max_delay). Up to a quarter of it, at random, is
/// left out, though it never falls below the first: many nodes that lost the same thing at the same moment do
/// not come back for it at the same moment. The count begins anew once a listener has worked for as long as the
/// longest delay.
///
/// When the network changes, for instance because an address is back on an interface, all listeners make an attempt
/// ahead of their time, at most once a second. If that attempt fails, it changes nothing: it is not counted, neither
/// for [`with_max_attempts`](Self::with_max_attempts) nor for the delay, and the next attempt is due when it was.
///
/// # What can heal
///
/// The I/O error that is looked at is the first one in the chain of sources; see [`Retry::can_heal`].
///
/// | `io::ErrorKind` | as on Unix | what it is | |
/// | --- | --- | --- | --- |
/// | `AddrInUse` | `EADDRINUSE` | somebody else has the port | heals |
/// | `AddrNotAvailable` | `EADDRNOTAVAIL` | no interface has the address | heals |
/// | `NetworkDown` | `ENETDOWN` | the interface is down | heals |
/// | `NetworkUnreachable`, `HostUnreachable` | `ENETUNREACH`, `EHOSTUNREACH` | there is no route | heals |
/// | (none) | `EMFILE`, `ENFILE` | out of descriptors | heals |
/// | (none), `OutOfMemory` | `ENOBUFS`, `ENOMEM` | out of memory | heals |
/// | (none) | `ENODEV` | the interface is not there | heals |
/// | `Interrupted`, `WouldBlock`, `TimedOut` | `EINTR`, `EAGAIN`, `ETIMEDOUT` | bad timing | heals |
/// | `PermissionDenied` | `EACCES`, `EPERM` | the process may not have this port | cannot |
/// | `Unsupported` | `EOPNOTSUPP`, `ENOSYS` | the system cannot do this | cannot |
/// | (none) | `EAFNOSUPPORT`, `EPROTONOSUPPORT` | the system has no IPv6, or no TCP | cannot |
/// | `InvalidInput` | `EINVAL` | what was asked makes no sense | cannot |
/// | any other, or no I/O error at all | | | heals |
///
/// Apart from this, an address that the inner transport refuses at the bind never heals, and a listener that was
/// closed without an error always does.
///
/// The last row is a choice: an operator who has said where to be reachable is served better by a node that keeps
/// trying, and says so each time, than by one that stays deaf because of an error nobody has thought of.
#[derive(Clone)]
pub struct Retry {
    first_delay: Duration,
    max_delay: Duration,
    max_attempts: Option<NonZeroU32>,
    max_time: Option<Duration>,
    can_heal: fn(&(dyn Error + 'static)) -> bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            first_delay: FIRST_DELAY,
            max_delay: MAX_DELAY,
            max_attempts: None,
            max_time: None,
            can_heal: Self::can_heal,
        }
    }
}

impl Retry {
    /// Does not try again: a listener closes with its first failure.
    pub fn never() -> Self {
        Self::default().with_max_attempts(Some(NonZeroU32::MIN))
    }

    /// How long to wait after the first failure.
    ///
    /// Defaults to 100 ms: what goes away when a process restarts is mostly back within that. With zero the first attempt
    /// comes at once, and the delays after it grow from a millisecond.
    pub fn with_first_delay(mut self, delay: Duration) -> Self {
        self.first_delay = delay;
        self
    }

    /// How long to wait at most. No shorter than the first delay, whatever is given here.
    ///
    /// Defaults to 30 s: an attempt costs a few system calls, and nobody who has freed a port wants to wait longer.
    pub fn with_max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// With how many failed attempts in a row a listener closes. Attempts that a change of the network brought forward
    /// are not counted.
    ///
    /// Defaults to `None`: it goes on for ever.
    pub fn with_max_attempts(mut self, max: Option<NonZeroU32>) -> Self {
        self.max_attempts = max;
        self
    }

    /// For how long a listener tries again, from the first failure in a row. It closes with the failure after
    /// which the next attempt would come later than that.
    ///
    /// Defaults to `None`: it goes on for ever.
    pub fn with_max_time(mut self, max: Option<Duration>) -> Self {
        self.max_time = max;
        self
    }

    /// What decides whether a failure may pass by itself. A listener closes with one that cannot.
    ///
    /// Defaults to [`Retry::can_heal`].
    pub fn with_can_heal(mut self, can_heal: fn(&(dyn Error + 'static)) -> bool) -> Self {
        self.can_heal = can_heal;
        self
    }

    /// Whether a failure may pass by itself: the table [above](Self#what-can-heal).
    pub fn can_heal(error: &(dyn Error + 'static)) -> bool {
        use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};

        let Some(error) = io_error(error) else {
            return true;
        };
        let is_hopeless = matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported)
            || error.raw_os_error().is_some_and(is_unsupported);
        !is_hopeless
    }

    /// Whether a failure with this cause may pass by itself.
    pub(super) fn heals(&self, cause: Option<&(dyn Error + 'static)>) -> bool {
        cause.is_none_or(self.can_heal)
    }

    /// When to try again after the latest of these `failures`, which may pass by themselves; `None` to give up.
    pub(super) fn delay(
        &self,
        failures: &Failures,
        now: Instant,
        rng: &mut SmallRng,
    ) -> Option<Duration> {
        if self.max_attempts.is_some_and(|max| failures.count >= max) {
            return None;
        }
        let doublings = failures.count.get() - 1;
        let factor = 2_u32.checked_pow(doublings).unwrap_or(u32::MAX);
        let first_to_double = match doublings {
            0 => self.first_delay,
            _ => self.first_delay.max(MIN_DOUBLED),
        };
        let longest = first_to_double
            .saturating_mul(factor)
            .min(self.max_delay)
            .max(self.first_delay);
        let chance = longest.mul_f64(rng.random_range(0.0..JITTER));
        let delay = longest.saturating_sub(chance).max(self.first_delay);
        let is_late = self.max_time.is_some_and(|max| {
            now.saturating_duration_since(failures.first)
                .saturating_add(delay)
                > max
        });
        (!is_late).then_some(delay)
    }

    /// How long a listener must have worked for its failures to be forgotten.
    pub(super) fn forgets_after(&self) -> Duration {
        self.max_delay.max(self.first_delay)
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("first_delay", &self.first_delay)
            .field("max_delay", &self.max_delay)
            .field("max_attempts", &self.max_attempts)
            .field("max_time", &self.max_time)
            .finish_non_exhaustive()
    }
}

/// The failures of a listener in a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failures {
    /// Stays at the largest number once it is there.
    pub(super) count: NonZeroU32,
    first: Instant,
}

impl Failures {
    /// One more, after those `before`.
    pub(super) fn after(before: Option<Self>, now: Instant) -> Self {
        match before {
            None => Self {
                count: NonZeroU32::MIN,
                first: now,
            },
            Some(before) => Self {
                count: before.count.saturating_add(1),
                first: before.first,
            },
        }
    }
}

/// The first I/O error in the chain of sources, itself included; or what it wraps, if that is one.
pub(super) fn io_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let mut link = Some(error);
    while let Some(error) = link {
        if let Some(found) = error.downcast_ref::<io::Error>() {
            let wrapped = found
                .get_ref()
                .and_then(|wrapped| io_error(wrapped as &(dyn Error + 'static)));
            return Some(wrapped.unwrap_or(found));
        }
        link = error.source();
    }
    None
}

/// Whether this error of the operating system, which `io::ErrorKind` has no name for, means that it does not know
/// the address family or the protocol.
fn is_unsupported(code: i32) -> bool {
    #[cfg(unix)]
    const CODES: [i32; 2] = [libc::EPROTONOSUPPORT, libc::EAFNOSUPPORT];
    // WSAEPROTONOSUPPORT, WSAEAFNOSUPPORT
    #[cfg(not(unix))]
    const CODES: [i32; 2] = [10043, 10047];

    CODES.contains(&code)
}

#[cfg(test)]
mod tests;
