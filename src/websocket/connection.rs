use std::{
    fmt,
    io::{self, IoSlice, IoSliceMut},
    pin::Pin,
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite};

use crate::websocket::{Error, below::Io, handshake::Bounds};

/// A WebSocket connection, as a stream of bytes in both directions. With
/// [`Config::with_tcp`](crate::websocket::Config::with_tcp) it may also be a TCP connection, to which nothing below applies.
///
/// Written bytes are sent in binary frames of any size, and the bytes of received binary frames are read as they arrive:
/// libp2p needs no message boundaries. A failed read ends the connection.
///
/// With `Engine::Libp2p`, written bytes are sent in messages of at most `Config::with_max_frame_size` bytes. A larger
/// message received on an accepted connection is an error of the kind `InvalidData` around an `Error::MessageTooLarge`. The
/// rest of this page is about [`Engine::Stream`](crate::websocket::Engine::Stream).
///
/// # Writing
///
/// Up to about 256 KiB are buffered until [`poll_flush`](AsyncWrite::poll_flush) or until the buffer is full. A flush sends
/// one frame for each 64 KiB, in one system call if the socket takes all of it.
///
/// # Reading
///
/// Reads into a buffer of 32 KiB or more are direct. A smaller buffer is filled from a larger one, which is taken from a
/// pool while it contains data.
///
/// The stream ends (`Ok(0)`) with the close frame of the remote, or with the end of the socket between two frames and two
/// messages, as in other transports of libp2p. An end within a frame or message is an error of the kind `UnexpectedEof`, and
/// so is an end of TLS without `close_notify`. A violation of the protocol is an error of the kind `InvalidData` around a
/// [`ProtocolError`](crate::websocket::ProtocolError); the remote is told, and the stream is closed. Pings are answered
/// whenever the stream is read or written.
///
/// # Keep-alive
///
/// With [`Config::with_keep_alive`](crate::websocket::Config::with_keep_alive), a silent connection
/// sends a ping. If it stays silent, reading and writing fail with the kind `TimedOut`.
///
/// # Closing
///
/// WebSocket has no half-close: after a close frame, neither side may send data. [`poll_close`](AsyncWrite::poll_close)
/// sends the buffered bytes and a close frame, and closes the socket. After that, only data that the remote sent before can
/// be read. A remote that does not read can delay the close for ten seconds, after which it fails with the kind `TimedOut`.
/// After the remote has closed, writing fails with `BrokenPipe`.
///
/// # Memory
///
/// An idle stream has no buffer. All streams of a process share two pools, of 32 MiB for writing and 16 MiB for reading. If
/// a pool is empty, a stream uses 4 KiB of its own. Peers that do not read therefore cannot make the memory of a node grow.
///
/// TLS adds 3.4 KiB to an idle connection. All TLS connections share two pools, of 18 MiB for incomplete records and 21 MiB
/// for unsent ones, of which a connection has at most 84 KiB.
///
/// The two halves of a stream may be used in two tasks, as by [`AsyncReadExt::split`](futures::AsyncReadExt::split).
pub struct Connection {
    io: Io,
    /// The bounds of its handshake, until the application has the connection.
    bounds: Option<Box<Bounds>>,
}

impl Connection {
    /// From a stream of the engine.
    pub(super) fn new(connection: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        Self::of(Box::pin(connection))
    }

    /// From a TCP connection, without WebSocket.
    pub(super) fn of(io: Io) -> Self {
        Self { io, bounds: None }
    }

    /// After a step of its handshake. Its place is freed unless another step follows.
    ///
    /// # Errors
    ///
    /// If the place was taken by a newcomer.
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
