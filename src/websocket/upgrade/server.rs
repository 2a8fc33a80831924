//! CORE: the request of a client, and its answer: RFC 6455, section 4.2.

use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

use super::{
    error::{HandshakeError, quoted},
    head::Parser,
    http::{Accept, Headers, NO_HEADERS, bad_first_line, expect_whole, read_key},
};
use crate::{deadline::SystemTime, websocket::path::Path};

/// The parts of a request that are needed; everything else is checked and dropped.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// To WebSocket.
    Upgrade(Upgrade),
    /// Of a visitor.
    Visit {
        method: String,
        /// With its query.
        path: String,
    },
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Upgrade {
    accept: Accept,
}

/// The requests that a listener accepts.
#[derive(Debug)]
pub(in crate::websocket) struct Requests {
    /// The only accepted path of an upgrade.
    pub(in crate::websocket) only: Option<Path>,
    /// Whether there may be visitors.
    pub(in crate::websocket) visitors: bool,
}

impl Requests {
    /// Whether a request is not for libp2p. A refused upgrade is never a visit: some proxies pass on everything that follows
    /// a request for an upgrade, whatever the answer is.
    fn is_visit(&self, request: &httparse::Request<'_, '_>) -> bool {
        let headers = Headers(request.headers);
        // A proxy may drop the first, and the error says so.
        let is_upgrade = headers.have_token("Upgrade", "websocket")
            || headers.all("Sec-WebSocket-Key").next().is_some();
        let path = request.path.unwrap_or_default();
        let is_elsewhere = |only: &Path| !only.is_requested_by(path) && request.version == Some(1);
        !is_upgrade || self.only.as_ref().is_some_and(is_elsewhere)
    }
}

impl Parser for Requests {
    type Message = Request;

    const PREFIX: &'static [u8] = b"";

    fn check_first_line(&self, line: &[u8]) -> Result<(), HandshakeError> {
        let parsed = httparse::Request::new(&mut []).parse(line);
        parsed
            .map(drop)
            .map_err(|error| bad_first_line(line, error))
    }

    fn parse(&self, head: &[u8]) -> Result<Option<Request>, HandshakeError> {
        let mut headers = NO_HEADERS;
        let mut request = httparse::Request::new(&mut headers);
        expect_whole(request.parse(head), head)?;
        let method = request.method.unwrap_or_default();
        if self.visitors && self.is_visit(&request) {
            // RFC 9112, section 3.2.
            if request.version == Some(1) {
                Headers(request.headers).one("Host")?;
            }
            return Ok(Some(Request::Visit {
                method: method.to_owned(),
                path: request.path.unwrap_or_default().to_owned(),
            }));
        }
        if method != "GET" {
            return Err(HandshakeError::Method {
                method: quoted(method.as_bytes()),
            });
        }
        if request.version != Some(1) {
            return Err(HandshakeError::HttpVersion {
                version: "HTTP/1.0".to_owned(),
            });
        }
        let headers = Headers(request.headers);
        // RFC 9112, section 3.2. A body would be read as frames.
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
        if let Some(only) = &self.only
            && !only.is_requested_by(path)
        {
            return Err(HandshakeError::NotFound {
                path: quoted(path.as_bytes()),
            });
        }
        let accept = Accept::of(&key);
        Ok(Some(Request::Upgrade(Upgrade { accept })))
    }
}

impl Upgrade {
    /// The answer to it. It confirms none of the requested subprotocols and extensions, so they are not used.
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

/// The answer to a request that is refused for this reason, before its connection is closed. It repeats nothing of the
/// request. The answer to a HEAD request has no body.
pub(super) fn refused(reason: &HandshakeError, is_head: bool, now: SystemTime) -> String {
    // Both for 426: RFC 6455, section 4.2.2, and RFC 9110, section 15.5.22.
    const UPGRADE: &str = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";

    let (status, header, hint) = match reason {
        HandshakeError::Method { .. } => (
            "405 Method Not Allowed",
            "Allow: GET\r\n",
            "Only GET is allowed.",
        ),
        HandshakeError::HttpVersion { .. } => (
            "505 HTTP Version Not Supported",
            "",
            "HTTP/1.1 is required, also of a proxy in front of this node.",
        ),
        HandshakeError::TooLarge { .. } | HandshakeError::TooManyHeaders { .. } => (
            "431 Request Header Fields Too Large",
            "",
            "The request has too many or too large headers. Cookies may be the reason.",
        ),
        HandshakeError::NotFound { .. } => (
            "404 Not Found",
            "",
            "The path is not the one in the address of this node.",
        ),
        HandshakeError::TooManyVisitors { .. } => (
            "503 Service Unavailable",
            "",
            "Too many others are visiting it.",
        ),
        HandshakeError::WebSocketVersion { .. } => (
            "426 Upgrade Required",
            UPGRADE,
            "Version 13 of WebSocket is required.",
        ),
        HandshakeError::MissingHeader { name } | HandshakeError::UnexpectedHeader { name, .. }
            if matches!(*name, "Upgrade" | "Sec-WebSocket-Version") =>
        {
            (
                "426 Upgrade Required",
                UPGRADE,
                "Connect to it with a libp2p peer. If this was one, a proxy in front of this \
                 node does not pass on the headers Upgrade and Connection.",
            )
        }
        _ => (
            "400 Bad Request",
            "",
            "The request is not a WebSocket handshake that it can read.",
        ),
    };
    // `Connection` has to list `upgrade` if `Upgrade` is sent: RFC 9110, section 7.8.
    let connection = match header {
        UPGRADE => "Upgrade, close",
        _ => "close",
    };
    let body =
        format!("{status}\n\nThis is the WebSocket port of a libp2p node, not a website. {hint}\n");
    let mut answer = format!("HTTP/1.1 {status}\r\n{header}Connection: {connection}\r\n");
    answer += &date_header(now);
    answer += &content_headers("text/plain", body.len());
    answer += "\r\n";
    if !is_head {
        answer += &body;
    }
    answer
}

/// The head of an answer to a visitor, before its connection is closed. `None` if it is one without a body.
///
/// The status and the content type are valid.
pub(in crate::websocket) fn answered(
    status: u16,
    content_type: &str,
    length: Option<usize>,
    now: SystemTime,
) -> String {
    let reason = reason_phrase(status);
    let date = date_header(now);
    let content = length.map_or_else(String::new, |length| content_headers(content_type, length));
    format!("HTTP/1.1 {status} {reason}\r\nConnection: close\r\n{date}{content}\r\n")
}

/// Optional: RFC 9112, section 4. For people and old health checks.
fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "",
    }
}

fn content_headers(content_type: &str, length: usize) -> String {
    format!("Content-Type: {content_type}\r\nContent-Length: {length}\r\n")
}

fn date_header(now: SystemTime) -> String {
    date(now).map_or_else(String::new, |date| format!("Date: {date}\r\n"))
}

/// The date in a header: RFC 9110, section 5.6.7. Section 6.6.1 requires it of servers with a clock. `None` if the clock is
/// before 1970.
fn date(now: SystemTime) -> Option<String> {
    const FORMAT: &[BorrowedFormatItem<'_>] = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );

    let since = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let seconds = i64::try_from(since.as_secs()).ok()?;
    let date = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    date.format(FORMAT).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_visitor_too_many_is_told_that_it_is_not_its_fault() {
        let reason = HandshakeError::TooManyVisitors { max: 64 };
        let answer = refused(&reason, false, SystemTime::UNIX_EPOCH);
        assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
        assert!(answer.contains("Too many others"), "{answer}");
    }

    #[test]
    fn a_visitor_is_answered_with_what_the_application_gives() {
        let epoch = SystemTime::UNIX_EPOCH;
        assert_eq!(
            answered(200, "text/plain", Some(3), epoch),
            "HTTP/1.1 200 OK\r\nConnection: close\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
             Content-Type: text/plain\r\nContent-Length: 3\r\n\r\n"
        );
        for (status, line) in [
            (201, "201 Created"),
            (204, "204 No Content"),
            (299, "299 "),
            (304, "304 Not Modified"),
            (400, "400 Bad Request"),
            (401, "401 Unauthorized"),
            (403, "403 Forbidden"),
            (404, "404 Not Found"),
            (405, "405 Method Not Allowed"),
            (429, "429 Too Many Requests"),
            (500, "500 Internal Server Error"),
            (503, "503 Service Unavailable"),
        ] {
            assert_eq!(
                answered(status, "text/plain", None, epoch - Duration::from_secs(1)),
                format!("HTTP/1.1 {line}\r\nConnection: close\r\n\r\n")
            );
        }
    }

    #[test]
    fn the_date_is_that_of_the_rfc_and_absent_without_a_clock() {
        let after = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let written = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(date(after(784_111_777)).as_deref(), Some(written));
        let first = "Thu, 01 Jan 1970 00:00:00 GMT";
        assert_eq!(date(after(0)).as_deref(), Some(first));
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(date(before), None);
        assert_eq!(date(after(i64::MAX as u64)), None);
    }
}
