use crate::lazy::Retry;

/// Options of a [`lazy::Transport`](crate::lazy::Transport).
#[derive(Debug, Clone, Default)]
pub struct Config {
    pub(super) retry: Retry,
}

impl Config {
    /// What a listener does after it has failed.
    ///
    /// Defaults to [`Retry::default`]: failures that can heal are retried for ever, any other closes the listener.
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }
}
