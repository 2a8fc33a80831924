//! TLS as a byte stream: [`TlsStream`].
//!
//! It is over the unbuffered API of rustls, because each buffered connection keeps a read buffer of 4 KiB.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite};
use rustls::{
    ClientConfig, ServerConfig, client::UnbufferedClientConnection, pki_types::ServerName,
    server::UnbufferedServerConnection,
};

mod input;
mod records;

use input::Input;
use records::{End, MAX_UNSENT, Records, Session};

/// A TLS connection over `S`, in either role.
///
/// - An idle connection has no buffer.
/// - Writing encrypts and sends at once. It waits while there are unsent records.
/// - Closing sends a `close_notify` and closes `S`. After that, writing fails with `BrokenPipe`.
/// - If `S` ends without a `close_notify`, reading fails with the kind `UnexpectedEof`.
/// - If the peer breaks a rule, reading fails with the kind `InvalidData` around a [`rustls::Error`], and writing with
///   `BrokenPipe`. The alert is written together with that error, with the waker of the reader: the caller has to wake a
///   waiting writer then.
///
/// The two halves may be used in two tasks.
pub(in crate::websocket) struct TlsStream<S, C> {
    io: S,
    input: Input,
    records: Records<C>,
}

impl<S> TlsStream<S, UnbufferedServerConnection> {
    /// The accepting side, before its [`handshake`](Self::handshake).
    pub(in crate::websocket) fn server(io: S, config: Arc<ServerConfig>) -> io::Result<Self> {
        Self::new(io, UnbufferedServerConnection::new(config))
    }
}

impl<S> TlsStream<S, UnbufferedClientConnection> {
    /// The dialling side, before its [`handshake`](Self::handshake).
    pub(in crate::websocket) fn client(
        io: S,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        Self::new(io, UnbufferedClientConnection::new(config, name))
    }
}

impl<S, C> TlsStream<S, C> {
    fn new(io: S, session: Result<C, rustls::Error>) -> io::Result<Self> {
        Ok(Self {
            io,
            input: Input::default(),
            records: Records::new(session.map_err(io::Error::other)?),
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, C: Session> TlsStream<S, C> {
    /// Has to complete before anything is read or written.
    pub(in crate::websocket) async fn handshake(&mut self) -> io::Result<()> {
        // The dialling side begins.
        self.records.on_bytes(&mut [], &mut []);
        poll_fn(|cx| {
            loop {
                ready!(self.poll_send_and_flush(cx))?;
                if !self.records.is_handshaking() {
                    return Poll::Ready(Ok(()));
                }
                if ready!(self.poll_receive(cx, &mut []))?.is_none() {
                    let kind = io::ErrorKind::UnexpectedEof;
                    return Poll::Ready(Err(io::Error::new(kind, "tls handshake eof")));
                }
                if let Some(error) = self.failure(cx) {
                    return Poll::Ready(Err(error));
                }
            }
        })
        .await
    }

    /// Reads once from `S`. Returns the number of bytes decrypted into `buf`, or `None` at the end of `S`.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<Option<usize>>> {
        let room = self.input.room(buf.len())?;
        let read = Pin::new(&mut self.io).poll_read(cx, room);
        if !matches!(read, Poll::Ready(Ok(1..))) {
            self.input.on_received(0);
            return read.map_ok(|_| None);
        }
        self.input.on_received(ready!(read)?);
        let (used, decrypted) = self.records.on_bytes(self.input.bytes(), buf);
        self.input.discard(used);
        Poll::Ready(Ok(Some(decrypted)))
    }

    /// The error if the peer has broken a rule. The alert is sent as far as that is possible now.
    fn failure(&mut self, cx: &mut Context<'_>) -> Option<io::Error> {
        let Some(End::Failed(error)) = self.records.end() else {
            return None;
        };
        let error = io::Error::new(io::ErrorKind::InvalidData, error.clone());
        // The error of the peer comes before that of the alert.
        let _ = self.poll_send(cx);
        Some(error)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.records.unsent().is_empty() {
            let count = ready!(Pin::new(&mut self.io).poll_write(cx, self.records.unsent()))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.records.on_sent(count);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_send_and_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        self.records.release();
        Pin::new(&mut self.io).poll_flush(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, C: Session + Unpin> AsyncRead for TlsStream<S, C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            let count = this.records.deliver(buf);
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            if let Some(error) = this.failure(cx) {
                return Poll::Ready(Err(error));
            }
            if this.records.end().is_some() {
                return Poll::Ready(Ok(0));
            }
            match ready!(this.poll_receive(cx, buf))? {
                Some(0) => {}
                Some(count) => return Poll::Ready(Ok(count)),
                None => {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the peer closed the connection without a close_notify of TLS",
                    )));
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, C: Session + Unpin> AsyncWrite for TlsStream<S, C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let mut taken = 0;
        loop {
            if this.poll_send(cx)?.is_pending() {
                return match taken {
                    0 => Poll::Pending,
                    taken => Poll::Ready(Ok(taken)),
                };
            }
            let chunk = &buf[taken..buf.len().min(taken + MAX_UNSENT)];
            if chunk.is_empty() {
                this.records.release();
                return Poll::Ready(Ok(taken));
            }
            this.records.encrypt(chunk, this.input.bytes())?;
            taken += chunk.len();
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send_and_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.records.close(this.input.bytes());
        ready!(this.poll_send(cx))?;
        this.records.release();
        match ready!(Pin::new(&mut this.io).poll_close(cx)) {
            // The peer has closed it already.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }
}

#[cfg(test)]
mod tests;
