//! The request of this node, and what is answered: RFC 6455, section 4.1.

use std::fmt::Write as _;

use httparse::Status;

use super::{
    error::HandshakeError,
    http::{Accept, Headers, Key, NO_HEADERS, key, malformed, quoted},
};

/// A request that is to be sent, or has been.
#[derive(Debug)]
pub(super) struct Request {
    key: Key,
}

/// What a server may answer to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Response {
    /// What follows is WebSocket.
    Accepted,
    /// It is to be tried there.
    Redirected(String),
}

impl Request {
    /// With a nonce that nobody can guess.
    pub(super) fn new(nonce: [u8; 16]) -> Self {
        Self { key: key(nonce) }
    }

    /// What is sent. Both have only characters that may be where they are put.
    pub(super) fn text(&self, host: &str, path: &str) -> String {
        let mut text = format!(
            "GET {path} HTTP/1.1\r\n\
             Host: {host}\r\n\
             Upgrade: websocket\r\n\
             Connection: Upgrade\r\n\
             Sec-WebSocket-Key: "
        );
        text.extend(self.key.iter().copied().map(char::from));
        // Writing to a string does not fail.
        let _ = write!(text, "\r\nSec-WebSocket-Version: 13\r\n\r\n");
        text
    }

    /// Reads a response, and where it ends. `None` if it is not whole.
    pub(super) fn parse_response(
        &self,
        bytes: &[u8],
    ) -> Result<Option<(Response, usize)>, HandshakeError> {
        let mut begin = 0;
        loop {
            let rest = bytes.get(begin..).unwrap_or_default();
            match self.parse_one(rest)? {
                None => return Ok(None),
                Some((None, size)) => begin += size,
                Some((Some(response), size)) => return Ok(Some((response, begin + size))),
            }
        }
    }

    /// The same, where that may be one that only comes before the response: RFC 9110, section 15.2.
    fn parse_one(&self, bytes: &[u8]) -> Result<Option<(Option<Response>, usize)>, HandshakeError> {
        let mut headers = NO_HEADERS;
        let mut response = httparse::Response::new(&mut headers);
        let Status::Complete(size) = response.parse(bytes).map_err(malformed)? else {
            return Ok(None);
        };
        if response.version != Some(1) {
            return Err(HandshakeError::HttpVersion);
        }
        let status = response.code.unwrap_or_default();
        let headers = Headers(response.headers);
        match status {
            101 => self.check(headers)?,
            100..200 => return Ok(Some((None, size))),
            301 | 302 | 303 | 307 | 308 => {
                let location = headers.one("Location")?;
                let response = match std::str::from_utf8(location) {
                    Ok(location) => Response::Redirected(location.to_owned()),
                    Err(_) => {
                        return Err(HandshakeError::UnexpectedHeader {
                            name: "Location",
                            value: quoted(location),
                        });
                    }
                };
                return Ok(Some((Some(response), size)));
            }
            status => return Err(HandshakeError::Refused { status }),
        }
        Ok(Some((Some(Response::Accepted), size)))
    }

    /// Whether the server has understood, and adds nothing that it was not asked for.
    fn check(&self, headers: Headers<'_>) -> Result<(), HandshakeError> {
        headers.expect_token("Upgrade", "websocket")?;
        headers.expect_token("Connection", "upgrade")?;
        let accept = headers.one("Sec-WebSocket-Accept")?;
        if accept != Accept::of(&self.key).as_bytes() {
            return Err(HandshakeError::UnexpectedHeader {
                name: "Sec-WebSocket-Accept",
                value: quoted(accept),
            });
        }
        for name in ["Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"] {
            if let Some(value) = headers.all(name).find(|value| !value.is_empty()) {
                return Err(HandshakeError::UnexpectedHeader {
                    name,
                    value: quoted(value),
                });
            }
        }
        Ok(())
    }
}
