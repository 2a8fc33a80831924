use std::{
    fmt,
    io::{self, IoSlice, IoSliceMut},
    pin::Pin,
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite};

use crate::websocket::{below::Io, handshake::Bounds};

/// A WebSocket connection: bytes in both directions, whatever is below.
///
/// With `Engine::Libp2p`, what is written is sent in messages of at most
/// `Config::with_max_frame_size` bytes, and a larger one that comes in
/// on an accepted connection is an error of kind `InvalidData` around an
/// `Error::MessageTooLarge`. With
/// [`Engine::Stream`](crate::websocket::Engine::Stream) it is a [`Stream`](crate::websocket::Stream), which see.
///
/// A read that fails ends the connection.
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

    /// With the bounds of its handshake, which is not at its end.
    pub(super) fn within(mut self, bounds: Bounds) -> Self {
        self.bounds = Some(Box::new(bounds));
        self
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
