use std::num::NonZeroUsize;

const MAX_BINDS_PER_POLL: NonZeroUsize = NonZeroUsize::new(16).expect("16 is not zero");

/// Options of a [`lazy::Transport`](crate::lazy::Transport).
#[derive(Debug, Clone)]
pub struct Config {
    max_binds_per_poll: NonZeroUsize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_binds_per_poll: MAX_BINDS_PER_POLL,
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
}
