use std::num::NonZeroUsize;

use crate::lazy::Retry;

const MAX_BINDS_PER_POLL: NonZeroUsize = NonZeroUsize::new(16).expect("16 is not zero");

/// Options of a [`lazy::Transport`](crate::lazy::Transport).
#[derive(Debug, Clone)]
pub struct Config {
    max_binds_per_poll: NonZeroUsize,
    retry: Retry,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_binds_per_poll: MAX_BINDS_PER_POLL,
            retry: Retry::default(),
        }
    }
}

impl Config {
    /// How many listeners one call of `poll` binds at most; it then returns and asks to be polled again.
    ///
    /// Defaults to 16: a bind is a handful of system calls, so a call stays well below a millisecond and the
    /// connections of a swarm with a thousand listeners do not stall while it starts. A call also returns as
    /// soon as there is something to report, so it only reaches the limit with listeners whose addresses come
    /// later, such as those on a wildcard.
    pub fn with_max_binds_per_poll(mut self, max: NonZeroUsize) -> Self {
        self.max_binds_per_poll = max;
        self
    }

    /// See [`Config::with_max_binds_per_poll`].
    pub fn max_binds_per_poll(&self) -> NonZeroUsize {
        self.max_binds_per_poll
    }

    /// How a listener goes on after it has failed.
    ///
    /// Defaults to [`Retry::default`]: what can heal is tried again for ever, what cannot closes the listener.
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// See [`Config::with_retry`].
    pub fn retry(&self) -> &Retry {
        &self.retry
    }
}
