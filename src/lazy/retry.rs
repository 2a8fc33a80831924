//! Which failures of a listener are retried, and when.

use std::{error::Error, fmt, io, sync::Arc, time::Duration};

use rand::{RngExt as _, rngs::SmallRng};

const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(30);

/// The smallest delay to double, in case the first one is zero.
const MIN_DOUBLED: Duration = Duration::from_millis(1);

/// The random part of a delay.
const JITTER: f64 = 0.25;

/// What a [`lazy::Transport`](crate::lazy::Transport) does after a listener has failed.
///
/// The delay before the next attempt starts at [`with_first_delay`](Self::with_first_delay), doubles with every failed
/// attempt, and is capped by [`with_max_delay`](Self::with_max_delay). A random part of up to a quarter is subtracted,
/// but the delay never falls below the first one, so that nodes that lost a resource at the same moment do not all
/// return at the same moment. The count starts again once a listener has worked for the longest delay.
///
/// When the network changes, for instance because an address is back on an interface, all listeners make an attempt
/// ahead of time, at most once a second. A failure of this attempt counts neither for
/// [`with_max_attempts`](Self::with_max_attempts) nor for the delay, and the next attempt is due as before.
///
/// # What can heal
///
/// The first I/O error in the chain of sources decides; see [`Retry::can_heal`].
///
/// | `io::ErrorKind` | on Unix | meaning | |
/// | --- | --- | --- | --- |
/// | `AddrInUse` | `EADDRINUSE` | another socket has the port | heals |
/// | `AddrNotAvailable` | `EADDRNOTAVAIL` | no interface has the address | heals |
/// | `NetworkDown` | `ENETDOWN` | the interface is down | heals |
/// | `NetworkUnreachable`, `HostUnreachable` | `ENETUNREACH`, `EHOSTUNREACH` | there is no route | heals |
/// | (none) | `EMFILE`, `ENFILE` | out of descriptors | heals |
/// | (none), `OutOfMemory` | `ENOBUFS`, `ENOMEM` | out of memory | heals |
/// | (none) | `ENODEV` | the interface does not exist | heals |
/// | `Interrupted`, `WouldBlock`, `TimedOut` | `EINTR`, `EAGAIN`, `ETIMEDOUT` | bad timing | heals |
/// | `PermissionDenied` | `EACCES`, `EPERM` | the process may not have this port | cannot |
/// | `Unsupported` | `EOPNOTSUPP`, `ENOSYS` | the system cannot do this | cannot |
/// | (none) | `EAFNOSUPPORT`, `EPROTONOSUPPORT` | the system has no IPv6, or no TCP | cannot |
/// | `InvalidInput` | `EINVAL` | the arguments make no sense | cannot |
/// | any other, or no I/O error at all | | | heals |
///
/// An address that the inner transport refuses at the bind never heals, and a listener that was closed without an error
/// always does.
///
/// The last row is a choice: keep trying and report each failure, rather than stay closed because of an unknown error.
#[derive(Clone)]
pub struct Retry {
    first_delay: Duration,
    max_delay: Duration,
    max_attempts: Option<u32>,
    retry_if: RetryIf,
}

type RetryIf = Arc<dyn Fn(&(dyn Error + 'static)) -> bool + Send + Sync>;

impl Default for Retry {
    fn default() -> Self {
        Self {
            first_delay: FIRST_DELAY,
            max_delay: MAX_DELAY,
            max_attempts: None,
            retry_if: Arc::new(Self::can_heal),
        }
    }
}

impl Retry {
    /// No retries: a listener closes with its first failure.
    pub fn never() -> Self {
        Self::default().with_max_attempts(1)
    }

    /// The delay after the first failure.
    ///
    /// Defaults to 100 ms, within which most ports that a restarting process held are free. With zero, the first
    /// retry comes at once, and the delays after it grow from 1 ms.
    pub fn with_first_delay(mut self, delay: Duration) -> Self {
        self.first_delay = delay;
        self
    }

    /// The longest delay. The first delay is used if this is shorter.
    ///
    /// Defaults to 30 s: an attempt costs a few system calls, and a port should not stay free and unused for longer.
    pub fn with_max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// The number of failed attempts in a row after which a listener closes, at least 1. Attempts made early because
    /// the network changed are not counted.
    ///
    /// Defaults to no limit.
    pub fn with_max_attempts(mut self, max: u32) -> Self {
        self.max_attempts = Some(max);
        self
    }

    /// Decides which failures are retried. A listener closes with any other.
    ///
    /// Defaults to [`Retry::can_heal`].
    ///
    /// ```
    /// use std::{io, iter};
    ///
    /// use libp2p_lazy_websocket::lazy::Retry;
    ///
    /// // The capability for ports below 1024 is granted later.
    /// let retry = Retry::default().with_retry_if(|error| {
    ///     let mut chain = iter::successors(Some(error), |error| error.source());
    ///     let is_denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    ///     chain.any(|error| error.downcast_ref().is_some_and(is_denied)) || Retry::can_heal(error)
    /// });
    /// # let _ = retry;
    /// ```
    pub fn with_retry_if(
        mut self,
        retry_if: impl Fn(&(dyn Error + 'static)) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.retry_if = Arc::new(retry_if);
        self
    }

    /// Whether a failure may pass by itself, by the table [above](Self#what-can-heal).
    pub fn can_heal(error: &(dyn Error + 'static)) -> bool {
        use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};

        let Some(error) = io_error(error) else {
            return true;
        };
        let is_hopeless = matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported)
            || error.raw_os_error().is_some_and(is_unsupported);
        !is_hopeless
    }

    /// Whether a failure with this cause is retried.
    pub(super) fn heals(&self, cause: Option<&(dyn Error + 'static)>) -> bool {
        cause.is_none_or(|cause| (self.retry_if)(cause))
    }

    /// The delay after this many failed attempts in a row; `None` to give up.
    pub(super) fn delay(&self, attempts: u32, rng: &mut SmallRng) -> Option<Duration> {
        if self.max_attempts.is_some_and(|max| attempts >= max) {
            return None;
        }
        let doublings = attempts.saturating_sub(1);
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
        Some(longest.saturating_sub(chance).max(self.first_delay))
    }

    /// The time that a listener must have worked for its failures to be forgotten.
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
            .finish_non_exhaustive()
    }
}

/// The first I/O error in the chain of sources, `error` included. If it wraps another I/O error, that one.
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

/// Whether this error of the operating system, for which `io::ErrorKind` has no name, means that the address family or
/// the protocol is not supported.
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
