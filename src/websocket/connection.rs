use std::{
    fmt,
    io::{self, IoSlice, IoSliceMut},
    pin::Pin,
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite};

use crate::websocket::{Error, below::Io, handshake::Bounds};

/// A WebSocket connection: bytes in both directions, whatever is below.
///
/// libp2p needs no messages, so there are none: what is written is sent in binary frames of any size, and what binary
/// frames bring is read as it arrives. A read that fails ends the connection.
///
/// With `Engine::Libp2p`, what is written is sent in messages of at most `Config::with_max_frame_size` bytes, and a larger
/// one that comes in on an accepted connection is an error of kind `InvalidData` around an `Error::MessageTooLarge`. The
/// rest is about [`Engine::Stream`](crate::websocket::Engine::Stream).
///
/// # Writing
///
/// What is written is collected, at most some 256 KiB of it, until [`poll_flush`](AsyncWrite::poll_flush) or until
/// there is no more room. Each flush is one frame for every 64 KiB, and one system call if the transport below takes
/// it whole.
///
/// # Reading
///
/// A buffer of 32 KiB or more is read into directly. A smaller one is filled from a larger one that is lent while there
/// is something in it.
///
/// The end of the stream (`Ok(0)`) is the other side's close frame. So is the end of what is below, if no frame and
/// no message is cut short by it, as libp2p's other transports end; otherwise it is an error of the kind `UnexpectedEof`.
/// So it is over TLS if that ends without its `close_notify`.
/// If the other side breaks a rule, the error is of the kind `InvalidData` around a [`ProtocolError`](crate::websocket::ProtocolError), the other side is
/// told, and nothing more is read or written. Pings are answered whenever the stream is read or written.
///
/// # Keep-alive
///
/// With [`Config::with_keep_alive`](crate::websocket::Config::with_keep_alive), a connection on which nothing is heard is
/// asked by a ping. If nothing comes then either, reading and writing fail with the kind `TimedOut`.
///
/// # Closing
///
/// WebSocket has no half-close: after a close frame no data may be sent, in neither direction.
/// [`poll_close`](AsyncWrite::poll_close) sends what has been written, a close frame, and closes what is below. Then only
/// what the other side had sent before it heard of that can be read. A peer that does not read can hold it up for ten
/// seconds; then it fails with the kind `TimedOut`. Once the other side has closed, writing fails with `BrokenPipe`.
///
/// # Memory
///
/// An idle stream owns no buffer. Those of all streams of a process come from two pools that lend at most 32 MiB for
/// writing and 16 MiB for reading; when they have no more, a stream goes on with 4 KiB of its own. So peers that do not
/// read what is sent to them cannot make a node grow.
///
/// The two halves of a stream may be used in two tasks, as by [`AsyncReadExt::split`](futures::AsyncReadExt::split).
pub struct Connection {
    io: Io,
    /// Until the application has it.
    bounds: Option<Box<Bounds>>,
}

impl Connection {
    /// Of whatever speaks WebSocket below.
    pub(super) fn new(connection: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        Self {
            io: Box::pin(connection),
            bounds: None,
        }
    }

    /// After a step of its handshake. Unless another follows, its place is free.
    ///
    /// # Errors
    ///
    /// If the place had been taken before.
    pub(super) fn within(mut self, bounds: Bounds, is_pending: bool) -> Result<Self, Error> {
        match is_pending {
            true => self.bounds = Some(Box::new(bounds)),
            false => bounds.finish()?,
        }
        Ok(self)
    }

    #[cfg(feature = "upgrade")]
    pub(super) fn take_bounds(&mut self) -> Option<Bounds> {
        self.bounds.take().map(|bounds| *bounds)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_read(cx, buf)
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_read_vectored(cx, bufs)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_close(cx)
    }
}
