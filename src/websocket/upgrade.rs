//! The handshake by which a stream of bytes becomes one of WebSocket: RFC 6455, section 4, in both roles.
//!
//! What is sent and what is made of what comes is decided in [`client`] and [`server`], which see only bytes.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ready};

use crate::{
    deadline::{self, Deadline},
    websocket::path::Path,
};

mod body;
mod client;
mod error;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod head;
mod http;
mod server;

pub use error::{ForeignProtocol, HandshakeError};

use body::Body;
use client::Response;
pub(super) use head::MAX_SIZE as MAX_HEAD;
use head::{Head, Parser};
pub(super) use http::NO_HEADERS;

/// How many bytes are read at once.
const MAX_READ: usize = 2048;

/// How long the body of a refusal is waited for.
const BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a connection whose request was refused stays open for the other side to read why.
const LINGER: Duration = Duration::from_secs(2);

/// How many bytes are read and thrown away meanwhile. What is not read would make the system reset the connection, and
/// with that the answer may be lost.
const MAX_DISCARDED: usize = 256 * 1024;

/// What became of a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// What follows is WebSocket, and this is what came of it already.
    Upgraded(Vec<u8>),
    /// Elsewhere, please.
    Redirected(String),
}

/// Awaits the request of whoever connected, and answers it. With a path, it has to be for that one. Returns what came
/// behind the request.
///
/// One that is refused is told why, and its connection is closed.
pub(super) async fn accept<S>(io: &mut S, only: Option<Path>) -> Result<Vec<u8>, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = Head::default();
    let error = match receive(io, &mut head, &server::Requests { only }).await {
        Ok(request) => {
            send(io, &request.accepted()).await?;
            return Ok(head.into_rest());
        }
        Err(error) => error,
    };
    // Whoever has gone has no need of an answer.
    if !matches!(
        error,
        HandshakeError::Io(_) | HandshakeError::Closed { has_begun: false }
    ) {
        let answer = server::refused(&error, head.is_of_head(), deadline::wall_clock());
        // It may be large, and whoever is refused may take its time.
        drop(head);
        let _ = refuse(io, &answer).await;
    }
    Err(error)
}

/// Requests a path of a host, both as they stand in the request.
pub(super) async fn request<S>(
    io: &mut S,
    host: &str,
    path: &Path,
) -> Result<Answer, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = client::Request::new(rand::random());
    send(io, &request.text(host, path.as_str())).await?;
    let mut head = Head::default();
    match receive(io, &mut head, &request).await? {
        Response::Accepted => Ok(Answer::Upgraded(head.into_rest())),
        Response::Redirected(location) => Ok(Answer::Redirected(location)),
        Response::Refused(mut refusal) => {
            refusal.body.on_bytes(&head.into_rest());
            receive_body(io, &mut refusal.body).await;
            Err(refusal.into())
        }
    }
}

async fn send<S: AsyncWrite + Unpin>(io: &mut S, text: &str) -> Result<(), HandshakeError> {
    io.write_all(text.as_bytes())
        .await
        .map_err(HandshakeError::Io)?;
    io.flush().await.map_err(HandshakeError::Io)
}

/// Reads until the head is whole.
async fn receive<S, P>(
    io: &mut S,
    head: &mut Head,
    parser: &P,
) -> Result<P::Message, HandshakeError>
where
    S: AsyncRead + Unpin,
    P: Parser,
{
    poll_fn(|cx| {
        loop {
            let room = head.room().min(MAX_READ);
            let message = ready!(poll_read(io, cx, room, |bytes| match bytes {
                [] => Err(head.on_end::<P>()),
                bytes => head.on_bytes(bytes, parser),
            }));
            if let Some(message) = message.map_err(HandshakeError::Io)?.transpose() {
                return Poll::Ready(message);
            }
        }
    })
    .await
}

/// Reads what an error repeats of the body of a refusal, as far as that comes in time.
async fn receive_body<S: AsyncRead + Unpin>(io: &mut S, body: &mut Body) {
    let mut deadline = Deadline::default();
    let end = deadline::after(deadline::now(), BODY_TIMEOUT);
    poll_fn(|cx| {
        while body.wants_more() {
            let read = poll_read(io, cx, body::MAX_SIZE, |bytes| {
                body.on_bytes(bytes);
                !bytes.is_empty()
            });
            match read {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return deadline.poll(deadline::now(), Some(end), cx),
            }
        }
        Poll::Ready(())
    })
    .await;
}

/// Says why, closes this side of the connection, and gives the other one time to read it.
async fn refuse<S>(io: &mut S, answer: &str) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    io.write_all(answer.as_bytes()).await?;
    io.close().await?;
    let mut deadline = Deadline::default();
    let end = deadline::after(deadline::now(), LINGER);
    let mut left = MAX_DISCARDED;
    poll_fn(|cx| {
        while left > 0 {
            match poll_read(io, cx, left.min(MAX_READ), <[u8]>::len) {
                Poll::Ready(Ok(count @ 1..)) => left = left.saturating_sub(count),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        deadline.poll(deadline::now(), Some(end), cx)
    })
    .await;
    Ok(())
}

/// Reads at most so many bytes into a buffer that is not kept while nothing comes, which is what a stranger may cost.
fn poll_read<S: AsyncRead + Unpin, R>(
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

#[cfg(test)]
mod tests;
