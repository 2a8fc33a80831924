//! CORE: the request of this node, and its response: RFC 6455, section 4.1.

use std::fmt::Write as _;

use super::{
    body::Body,
    error::{HandshakeError, quoted},
    head::Parser,
    http::{Accept, Headers, Key, NO_HEADERS, bad_first_line, expect_whole, key},
};

/// A request, before or after it is sent.
#[derive(Debug)]
pub(super) struct Request {
    key: Key,
}

/// The response of a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Response {
    /// The connection is WebSocket now.
    Accepted,
    /// A redirect to this URL.
    Redirected(String),
    /// Neither.
    Refused(Refusal),
}

/// A response with another status, whose body follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    status: u16,
    reason: String,
    pub(super) body: Body,
}

impl Request {
    /// With an unpredictable nonce.
    pub(super) fn new(nonce: [u8; 16]) -> Self {
        Self { key: key(nonce) }
    }

    /// The bytes to send. Host and path have only characters that are valid in a request.
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

    /// Checks that the server accepts the upgrade and adds nothing that was not requested.
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

impl Parser for Request {
    type Message = Response;

    const PREFIX: &'static [u8] = b"HTTP/";

    fn check_first_line(&self, line: &[u8]) -> Result<(), HandshakeError> {
        check_status_line(line)
    }

    /// Interim responses are skipped: RFC 9110, section 15.2.
    fn parse(&self, head: &[u8]) -> Result<Option<Response>, HandshakeError> {
        let mut headers = NO_HEADERS;
        let mut response = httparse::Response::new(&mut headers);
        expect_whole(response.parse(head), head)?;
        let headers = Headers(response.headers);
        Ok(Some(match response.code.unwrap_or_default() {
            101 if response.version != Some(1) => {
                return Err(HandshakeError::HttpVersion {
                    version: "HTTP/1.0".to_owned(),
                });
            }
            101 => {
                self.check(headers)?;
                Response::Accepted
            }
            100..200 => return Ok(None),
            301 | 302 | 303 | 307 | 308 => {
                let location = headers.one("Location")?;
                match std::str::from_utf8(location) {
                    Ok(location) => Response::Redirected(location.to_owned()),
                    Err(_) => {
                        return Err(HandshakeError::UnexpectedHeader {
                            name: "Location",
                            value: quoted(location),
                        });
                    }
                }
            }
            status => Response::Refused(Refusal {
                status,
                reason: quoted(response.reason.unwrap_or_default().as_bytes()),
                body: Body::of(status, headers),
            }),
        }))
    }
}

pub(super) fn check_status_line(line: &[u8]) -> Result<(), HandshakeError> {
    let parsed = httparse::Response::new(&mut []).parse(line);
    parsed
        .map(drop)
        .map_err(|error| bad_first_line(line, error))
}

impl From<Refusal> for HandshakeError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused {
            status: refusal.status,
            reason: refusal.reason,
            body: refusal.body.excerpt(),
        }
    }
}
