use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{Shutdown, TcpStream},
    pin::Pin,
    task::{Context, Poll},
};

use async_io::Async;
use futures::{AsyncRead, AsyncWrite};

/// One connection. async-std's own type can be made of a socket only by a conversion that panics where the reactor
/// has no room for it.
#[derive(Debug)]
pub(in crate::websocket) struct Stream(Async<TcpStream>);

impl Stream {
    pub(super) fn new(socket: TcpStream) -> io::Result<Self> {
        Async::new(socket).map(Self)
    }

    /// The system is still connecting it.
    pub(super) async fn connecting(socket: TcpStream) -> io::Result<Self> {
        let socket = Async::new_nonblocking(socket)?;
        // The socket is writable once the connection has succeeded or failed.
        socket.writable().await?;
        match socket.get_ref().take_error()? {
            Some(error) => Err(error),
            None => Ok(Self(socket)),
        }
    }

    #[cfg(test)]
    pub(super) fn socket(&self) -> &TcpStream {
        self.0.get_ref()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read_vectored(cx, bufs)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    /// Nothing is buffered here.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Shuts down the write side, which async-io does not.
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0.get_ref().shutdown(Shutdown::Write) {
            // The peer has already closed the connection.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            done => Poll::Ready(done),
        }
    }
}
