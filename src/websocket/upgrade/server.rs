//! The request of whoever connects, and what is answered: RFC 6455, section 4.2.

use httparse::Status;

use super::{
    error::HandshakeError,
    http::{Accept, Headers, NO_HEADERS, malformed, quoted, read_key},
};
use crate::websocket::path::Path;

/// What a request asks for; everything else of it is checked and forgotten.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    accept: Accept,
}

impl Request {
    /// Reads a request, and where it ends. `None` if it is not whole.
    ///
    /// With a path, requests for another one are refused.
    pub(super) fn parse(
        bytes: &[u8],
        only: Option<&Path>,
    ) -> Result<Option<(Self, usize)>, HandshakeError> {
        let mut headers = NO_HEADERS;
        let mut request = httparse::Request::new(&mut headers);
        let Status::Complete(size) = request.parse(bytes).map_err(malformed)? else {
            return Ok(None);
        };
        if request.version != Some(1) {
            return Err(HandshakeError::HttpVersion);
        }
        let method = request.method.unwrap_or_default();
        if method != "GET" {
            return Err(HandshakeError::Method {
                method: quoted(method.as_bytes()),
            });
        }
        let headers = Headers(request.headers);
        // RFC 9112, section 3.2, and what would follow the headers here would be taken for frames.
        headers.one("Host")?;
        if headers.all("Transfer-Encoding").next().is_some()
            || headers.all("Content-Length").any(|length| length != b"0")
        {
            return Err(HandshakeError::Body);
        }
        headers.expect_token("Upgrade", "websocket")?;
        headers.expect_token("Connection", "upgrade")?;
        let version = headers.one("Sec-WebSocket-Version")?;
        if version != b"13" {
            return Err(HandshakeError::WebSocketVersion {
                version: quoted(version),
            });
        }
        let key = headers.one("Sec-WebSocket-Key")?;
        let Some(key) = read_key(key) else {
            return Err(HandshakeError::UnexpectedHeader {
                name: "Sec-WebSocket-Key",
                value: quoted(key),
            });
        };
        let path = request.path.unwrap_or_default();
        if only.is_some_and(|only| !only.is_requested_by(path)) {
            return Err(HandshakeError::NotFound {
                path: quoted(path.as_bytes()),
            });
        }
        let accept = Accept::of(&key);
        Ok(Some((Self { accept }, size)))
    }

    /// The answer to it. What of subprotocols and extensions it has asked for is not there, so they are not used.
    pub(super) fn accepted(&self) -> String {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\n\
             Upgrade: websocket\r\n\
             Connection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            self.accept
        )
    }
}

/// What is answered to a request that is refused for this reason. It repeats nothing of the request.
pub(super) fn refused(reason: &HandshakeError) -> String {
    // Both of 426, RFC 6455, section 4.2.2, and RFC 9110, section 15.5.22.
    const UPGRADE: &str =
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n";

    let (status, header) = match reason {
        HandshakeError::Method { .. } => ("405 Method Not Allowed", "Allow: GET\r\n"),
        HandshakeError::HttpVersion => ("505 HTTP Version Not Supported", ""),
        HandshakeError::TooLarge | HandshakeError::TooManyHeaders => {
            ("431 Request Header Fields Too Large", "")
        }
        HandshakeError::NotFound { .. } => ("404 Not Found", ""),
        HandshakeError::WebSocketVersion { .. } => ("426 Upgrade Required", UPGRADE),
        HandshakeError::MissingHeader { name } | HandshakeError::UnexpectedHeader { name, .. }
            if matches!(*name, "Upgrade" | "Sec-WebSocket-Version") =>
        {
            ("426 Upgrade Required", UPGRADE)
        }
        _ => ("400 Bad Request", ""),
    };
    // `Upgrade` in one has to be named in the other, and `close` beside it.
    let connection = if header == UPGRADE {
        ""
    } else {
        "Connection: close\r\n"
    };
    format!(
        "HTTP/1.1 {status}\r\n{header}{connection}\
         Content-Type: text/plain\r\n\
         Content-Length: {}\r\n\r\n{status}\n",
        status.len() + 1
    )
}
