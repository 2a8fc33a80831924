use std::io;

use super::http;

/// Why a WebSocket handshake came to nothing. It is the [`source`](std::error::Error::source) of
/// [`Error::Handshake`](crate::websocket::Error::Handshake) with
/// [`Engine::Stream`](crate::websocket::Engine::Stream).
///
/// What the other side has sent is repeated in it only in part.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The connection failed.
    #[error("the connection failed during the handshake")]
    Io(#[source] io::Error),
    /// The other side closed the connection.
    #[error("the other side closed the connection before the end of its {}", if *.has_begun { "headers, which have begun" } else { "headers, of which there are none" })]
    #[non_exhaustive]
    Closed {
        /// Whether anything came before that.
        has_begun: bool,
    },
    /// What came is not HTTP.
    #[error("the other side does not speak HTTP")]
    Malformed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It is longer than 8 KiB.
    #[error("the headers are longer than {} bytes", http::MAX_SIZE)]
    TooLarge,
    /// It has more than 64 headers.
    #[error("there are more than {} headers", http::MAX_HEADERS)]
    TooManyHeaders,
    /// It is not HTTP/1.1.
    #[error("the HTTP version is not 1.1")]
    HttpVersion,
    /// A header is not there.
    #[error("there is no header {name}")]
    #[non_exhaustive]
    MissingHeader {
        /// Which one.
        name: &'static str,
    },
    /// A header says something else than it has to, or is there twice, or says what nobody has asked for.
    #[error("there is a header {name} of {value:?}")]
    #[non_exhaustive]
    UnexpectedHeader {
        /// Which one.
        name: &'static str,
        /// What it says.
        value: String,
    },
    /// The request of whoever connected is not GET.
    #[error("the request is {method}, not GET")]
    #[non_exhaustive]
    Method {
        /// What it is.
        method: String,
    },
    /// The request of whoever connected has a body.
    #[error("the request has a body")]
    Body,
    /// Whoever connected speaks another version of WebSocket than 13, that of RFC 6455.
    #[error("the WebSocket version is {version:?}, not 13")]
    #[non_exhaustive]
    WebSocketVersion {
        /// Which one.
        version: String,
    },
    /// Whoever connected requested another path than that of the listener, and
    /// [that matters](crate::websocket::Config::with_exact_path).
    #[error("the request is for {path:?}, which is not the path of this listener")]
    #[non_exhaustive]
    NotFound {
        /// Which one.
        path: String,
    },
    /// The server that was dialled refused.
    #[error("the server answered with status {status}")]
    #[non_exhaustive]
    Refused {
        /// The status of its HTTP response.
        status: u16,
    },
}
