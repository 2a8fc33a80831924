//! The HTTP upgrade from a stream of bytes to WebSocket, in both roles: RFC 6455, section 4.
//!
//! [`client`] and [`server`] decide what is sent and how received bytes are read. They see only bytes.

use std::{future::poll_fn, pin::Pin, task::Poll, time::Duration};

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
mod linger;
mod read;
mod server;
mod tunnel;

pub use error::{ForeignProtocol, HandshakeError};

use body::Body;
use client::Response;
pub(super) use head::MAX_SIZE as MAX_HEAD;
use head::{Head, Parser};
pub(super) use http::NO_HEADERS;
pub(super) use linger::Linger;
use read::{MAX_READ, poll_read};
use server::Request;
pub(super) use server::{Requests, answered};

/// The time limit for the body of a refusal.
const BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// The outcome of a received request.
#[derive(Debug)]
pub(super) enum Accepted {
    /// The connection is WebSocket now. Has the bytes received beyond the head.
    Upgraded(Vec<u8>),
    /// It is not for libp2p, and is not answered yet.
    Visit(Visit),
}

/// A request that is not for libp2p.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) method: String,
    /// With its query.
    pub(super) path: String,
    /// All bytes received so far.
    pub(super) received: Vec<u8>,
}

impl Visit {
    /// Whether the answer may have no body.
    pub(super) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }
}

/// The outcome of a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// The connection is WebSocket now. Has the bytes received beyond the head.
    Upgraded(Vec<u8>),
    /// Elsewhere, please.
    Redirected(String),
}

/// Awaits the request of a client and answers it, unless it is one of a visitor.
///
/// A refused client receives the reason, and its connection is closed.
pub(super) async fn accept<S>(io: &mut S, requests: &Requests) -> Result<Accepted, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = Head::default();
    let error = match receive(io, &mut head, requests).await {
        Ok(Request::Upgrade(request)) => {
            send(io, &request.accepted()).await?;
            return Ok(Accepted::Upgraded(head.into_rest()));
        }
        Ok(Request::Visit { method, path }) => {
            let received = head.into_bytes();
            return Ok(Accepted::Visit(Visit {
                method,
                path,
                received,
            }));
        }
        Err(error) => error,
    };
    let is_head = head.is_of_head();
    // It may be large, and the rest of a refusal may take a second.
    drop(head);
    Err(refuse(io, error, is_head).await)
}

/// Requests a path of a host, both in the form of the request.
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

/// Requests a tunnel to this host and port from an HTTP proxy, with a user name and a password if they are given. Returns the bytes that came through it with the response. A
/// refusal is [`HandshakeError::Refused`], without its body.
pub(super) async fn tunnel<S>(
    io: &mut S,
    authority: &str,
    credentials: Option<(&str, &str)>,
) -> Result<Vec<u8>, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    send(io, &tunnel::request(authority, credentials)).await?;
    let mut head = Head::default();
    receive(io, &mut head, &tunnel::Responses).await?;
    Ok(head.into_rest())
}

async fn send<S: AsyncWrite + Unpin>(io: &mut S, text: &str) -> Result<(), HandshakeError> {
    io.write_all(text.as_bytes())
        .await
        .map_err(HandshakeError::Io)?;
    io.flush().await.map_err(HandshakeError::Io)
}

/// Reads until the head is complete.
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

/// Reads the part of the body of a refusal that an error repeats, within the time limit.
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

/// Sends the reason, closes the connection, and gives the client time to read it. Returns the reason.
///
/// In a box, because it would be the largest part of the future of a stranger that is waited for.
pub(super) fn refuse<S>(
    io: &mut S,
    error: HandshakeError,
    is_head: bool,
) -> Pin<Box<impl Future<Output = HandshakeError>>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    Box::pin(async move {
        // A client that has left needs no answer.
        let has_left = matches!(
            error,
            HandshakeError::Io(_) | HandshakeError::Closed { has_begun: false }
        );
        let answer = server::refused(&error, is_head, deadline::wall_clock());
        if !has_left && io.write_all(answer.as_bytes()).await.is_ok() && io.close().await.is_ok() {
            let mut linger = Linger::new();
            poll_fn(|cx| linger.poll(io, cx)).await;
        }
        error
    })
}

#[cfg(test)]
mod tests;
