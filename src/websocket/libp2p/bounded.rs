use std::{
    io::{self, IoSlice, IoSliceMut},
    pin::Pin,
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite, task::AtomicWaker};
use soketto::{base, connection};

use crate::websocket::Error;

/// A connection of libp2p-websocket whose messages are bounded, and that ends with the first read that fails.
#[derive(Debug)]
pub(super) struct Bounded<C> {
    /// `None` once a read has failed.
    below: Option<C>,
    max_message_size: usize,
    /// The waker of a waiting writer. The connection below forgets it when it is dropped.
    writer: AtomicWaker,
}

impl<C> Bounded<C> {
    /// Sends messages of at most this many bytes. Received messages are bounded below.
    pub(super) fn new(below: C, max_message_size: usize) -> Self {
        Self {
            below: Some(below),
            max_message_size,
            writer: AtomicWaker::new(),
        }
    }
}

impl<C: Unpin> Bounded<C> {
    fn read_below(
        &mut self,
        read: impl FnOnce(Pin<&mut C>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let Some(below) = &mut self.below else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        read(Pin::new(below)).map_err(|error| {
            // soketto would continue in the middle of the unreadable message, and keep the part that it had read.
            self.below = None;
            self.writer.wake();
            typed(error)
        })
    }

    fn write_below<R>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut C>, &mut Context<'_>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        let Some(below) = &mut self.below else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let written = write(Pin::new(below), cx);
        if written.is_pending() {
            self.writer.register(cx.waker());
        }
        written
    }
}

/// Tells a message that is too large from other errors.
fn typed(error: io::Error) -> io::Error {
    let stock = error
        .get_ref()
        .and_then(|stock| stock.downcast_ref::<connection::Error>());
    let size = match stock {
        Some(connection::Error::Codec(base::Error::PayloadTooLarge { actual, .. })) => *actual,
        Some(connection::Error::MessageTooLarge { current, .. }) => {
            u64::try_from(*current).unwrap_or(u64::MAX)
        }
        _ => return error,
    };
    io::Error::new(io::ErrorKind::InvalidData, Error::MessageTooLarge { size })
}

impl<C: AsyncRead + Unpin> AsyncRead for Bounded<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.read_below(|below| below.poll_read(cx, buf))
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.read_below(|below| below.poll_read_vectored(cx, bufs))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Bounded<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        // The connection below makes one message of each item.
        let buf = buf.get(..self.max_message_size).unwrap_or(buf);
        self.write_below(cx, |below, cx| below.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let size = bufs
            .iter()
            .fold(0, |sum: usize, buf| sum.saturating_add(buf.len()));
        if size <= self.max_message_size {
            return self.write_below(cx, |below, cx| below.poll_write_vectored(cx, bufs));
        }
        let first = bufs.iter().find(|buf| !buf.is_empty());
        self.poll_write(cx, first.map_or(&[], |buf| &**buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write_below(cx, |below, cx| below.poll_flush(cx))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.below {
            Some(_) => self.write_below(cx, |below, cx| below.poll_close(cx)),
            None => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures::{AsyncReadExt as _, AsyncWriteExt as _, executor::block_on, future::poll_fn};
    use tokio_test::{assert_pending, assert_ready_err, task};

    use super::*;

    /// Makes one message of what a call brings, unless it is full. There is nothing to be read.
    #[derive(Clone, Default)]
    struct Messages {
        sent: Arc<Mutex<Vec<Vec<u8>>>>,
        is_full: bool,
    }

    impl AsyncRead for Messages {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
        }
    }

    impl AsyncWrite for Messages {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(buf)])
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            if self.is_full {
                return Poll::Pending;
            }
            let message = bufs.iter().flat_map(|buf| buf.iter().copied());
            let message = message.collect::<Vec<_>>();
            let size = message.len();
            self.sent.lock().unwrap().push(message);
            Poll::Ready(Ok(size))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_read_that_fails_wakes_whoever_waits_to_write() {
        let (mut connection, _) = connection();
        connection.below.as_mut().unwrap().is_full = true;
        let (mut read, mut write) = connection.split();
        let mut written = task::spawn(write.write_all(b"a"));
        assert_pending!(written.poll());
        assert_ready_err!(task::spawn(read.read(&mut [0])).poll());
        assert!(written.is_woken());
        let error = assert_ready_err!(written.poll());
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    fn connection() -> (Bounded<Messages>, Messages) {
        let messages = Messages::default();
        let max = 4;
        (Bounded::new(messages.clone(), max), messages)
    }

    #[test]
    fn a_large_write_makes_several_messages() {
        let (mut connection, messages) = connection();
        block_on(connection.write_all(b"abcdefghi")).unwrap();
        assert_eq!(
            *messages.sent.lock().unwrap(),
            [&b"abcd"[..], b"efgh", b"i"]
        );
    }

    #[test]
    fn a_vectored_write_is_passed_on_whole_or_in_part() {
        for (bufs, message) in [
            ([&b"ab"[..], b"cd"], &b"abcd"[..]),
            ([b"ab", b"cde"], b"ab"),
            ([b"", b"abcde"], b"abcd"),
        ] {
            let (mut connection, messages) = connection();
            let bufs = bufs.map(IoSlice::new);
            let written = block_on(poll_fn(|cx| {
                Pin::new(&mut connection).poll_write_vectored(cx, &bufs)
            }));
            assert_eq!(written.unwrap(), message.len());
            assert_eq!(*messages.sent.lock().unwrap(), [message]);
        }
    }

    #[test]
    fn a_read_that_fails_ends_the_connection() {
        let (mut connection, messages) = connection();
        block_on(async {
            let error = connection.read(&mut [0]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            // Closed at once, because it has no other owner.
            assert_eq!(Arc::strong_count(&messages.sent), 1);
            let error = connection.read(&mut [0]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotConnected);
            let error = connection.write(b"a").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
            connection.close().await.unwrap();
        });
    }
}
