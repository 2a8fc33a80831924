//! The handshake by which a stream of bytes becomes one of WebSocket: RFC 6455, section 4, in both roles.
//!
//! What is sent and what is made of what comes is decided in [`client`] and [`server`], which see only bytes.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Poll, ready},
};

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, FutureExt as _};

use crate::websocket::path::Path;

mod client;
mod error;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod http;
mod server;

pub use error::HandshakeError;

use http::Head;

/// How many bytes are read at once.
const MAX_READ: usize = 2048;

/// How many bytes of a request that is refused are read and thrown away.
const MAX_DISCARDED: usize = 64 * 1024;

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
    let request = receive(io, |bytes| server::Request::parse(bytes, only.as_ref())).await;
    let (request, received) = match request {
        Ok(request) => request,
        Err(error) => {
            if !matches!(
                error,
                HandshakeError::Io(_) | HandshakeError::Closed { has_begun: false }
            ) {
                // Whoever has gone has no need of it.
                let _ = refuse(io, &error).await;
            }
            return Err(error);
        }
    };
    send(io, &request.accepted()).await?;
    Ok(received)
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
    let (response, received) = receive(io, |bytes| request.parse_response(bytes)).await?;
    Ok(match response {
        client::Response::Accepted => Answer::Upgraded(received),
        client::Response::Redirected(location) => Answer::Redirected(location),
    })
}

async fn send<S: AsyncWrite + Unpin>(io: &mut S, text: &str) -> Result<(), HandshakeError> {
    io.write_all(text.as_bytes())
        .await
        .map_err(HandshakeError::Io)?;
    io.flush().await.map_err(HandshakeError::Io)
}

/// Reads until it is whole, and returns with it what came behind it.
async fn receive<S, R>(
    io: &mut S,
    parse: impl Fn(&[u8]) -> Result<Option<(R, usize)>, HandshakeError>,
) -> Result<(R, Vec<u8>), HandshakeError>
where
    S: AsyncRead + Unpin,
{
    let mut head = Head::default();
    let received = poll_fn(|cx| {
        // Not kept while nothing comes, which is what a stranger may cost.
        let mut bytes = [0; MAX_READ];
        loop {
            let count = match ready!(Pin::new(&mut *io).poll_read(cx, &mut bytes)) {
                Ok(0) => {
                    let has_begun = !head.is_empty();
                    return Poll::Ready(Err(HandshakeError::Closed { has_begun }));
                }
                Ok(count) => count,
                Err(error) => return Poll::Ready(Err(HandshakeError::Io(error))),
            };
            let bytes = bytes.get(..count).unwrap_or(&bytes);
            if let Some(received) = head.read(bytes, &parse).transpose() {
                return Poll::Ready(received);
            }
        }
    })
    .await?;
    Ok((received, head.into_rest()))
}

/// Says why, and closes the connection.
async fn refuse<S>(io: &mut S, reason: &HandshakeError) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    io.write_all(server::refused(reason).as_bytes()).await?;
    io.close().await?;
    // What has come and is not read makes some systems reset the connection, and with that the answer may be lost.
    // Whatever is still to come is not waited for.
    let mut bytes = [0; MAX_READ];
    for _ in 0..MAX_DISCARDED / MAX_READ {
        match io.read(&mut bytes).now_or_never() {
            Some(Ok(1..)) => {}
            _ => break,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
