use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::AsyncRead;

/// Number of bytes read at once.
pub(super) const MAX_READ: usize = 2048;

/// Reads at most `max` bytes. The buffer is not kept while nothing arrives, which bounds the cost of a stranger.
pub(super) fn poll_read<S: AsyncRead + Unpin, R>(
    io: &mut S,
    cx: &mut Context<'_>,
    max: usize,
    read: impl FnOnce(&[u8]) -> R,
) -> Poll<io::Result<R>> {
    let mut bytes = [0; MAX_READ];
    let buf = bytes.get_mut(..max).unwrap_or_default();
    let count = ready!(Pin::new(io).poll_read(cx, buf))?;
    Poll::Ready(Ok(read(bytes.get(..count).unwrap_or_default())))
}
