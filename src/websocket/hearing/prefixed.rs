use std::{
    collections::VecDeque,
    io::{self, Read as _},
    pin::Pin,
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite};

use crate::websocket::below::Io;

/// A stream, and in front of it what has been read of it already.
#[derive(Debug)]
pub(in crate::websocket) struct Prefixed<S> {
    /// What is still in front, and never empty. In a box, as there is mostly nothing.
    #[expect(
        clippy::box_collection,
        reason = "a third of the size in all connections over TLS"
    )]
    front: Option<Box<VecDeque<u8>>>,
    io: S,
}

impl<S> Prefixed<S> {
    pub(in crate::websocket) fn new(front: Vec<u8>, io: S) -> Self {
        let front = (!front.is_empty()).then(|| Box::new(front.into()));
        Self { front, io }
    }

    /// What is still in front of the stream, and the stream.
    pub(in crate::websocket) fn into_parts(self) -> (Vec<u8>, S) {
        let front = self.front.map(|front| Vec::from(*front));
        (front.unwrap_or_default(), self.io)
    }
}

impl Prefixed<Io> {
    /// As one that nothing has been read of.
    pub(in crate::websocket) fn into_io(self) -> Io {
        match self.front {
            None => self.io,
            Some(_) => Box::pin(self),
        }
    }
}

impl<S> From<S> for Prefixed<S> {
    fn from(io: S) -> Self {
        Self { front: None, io }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    /// What is in front comes first, and alone.
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let Some(front) = &mut this.front else {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        };
        let read = front.read(buf);
        if front.is_empty() {
            this.front = None;
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_close(cx)
    }
}
