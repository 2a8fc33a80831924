//! The end of a connection after an answer that the client should still be able to read.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use futures::AsyncRead;

use super::read::{MAX_READ, poll_read};
use crate::deadline::{self, Deadline, Instant};

/// The time for which a connection stays open after its write side was closed.
const LINGER: Duration = Duration::from_secs(2);

/// Number of bytes read and discarded meanwhile. Unread bytes would make the system reset the connection, which may lose the
/// answer.
pub(super) const MAX_DISCARDED: usize = 256 * 1024;

/// Keeps a connection open until the client closes it, for at most two seconds.
#[derive(Debug)]
pub(in crate::websocket) struct Linger {
    end: Instant,
    deadline: Deadline,
    left: usize,
}

impl Linger {
    /// The write side was closed just now.
    pub(in crate::websocket) fn new() -> Self {
        Self {
            end: deadline::after(deadline::now(), LINGER),
            deadline: Deadline::default(),
            left: MAX_DISCARDED,
        }
    }

    pub(in crate::websocket) fn poll<S: AsyncRead + Unpin>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        while self.left > 0 {
            match poll_read(io, cx, self.left.min(MAX_READ), <[u8]>::len) {
                Poll::Ready(Ok(count @ 1..)) => self.left = self.left.saturating_sub(count),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        self.deadline.poll(deadline::now(), Some(self.end), cx)
    }
}
