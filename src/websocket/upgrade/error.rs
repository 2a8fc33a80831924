use std::{fmt, io};

/// Maximum number of bytes that an error repeats of a header, a request or a status line.
const MAX_QUOTED: usize = 64;

/// The same of the body of a refusal.
const MAX_EXCERPT: usize = 200;

/// The reason for a failed WebSocket handshake, which is the [`source`](std::error::Error::source) of
/// [`Error::Handshake`](crate::websocket::Error::Handshake) with
/// [`Engine::Stream`](crate::websocket::Engine::Stream).
///
/// Texts of the other side are truncated, and unprintable characters are escaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The connection failed.
    #[error("the connection broke")]
    Io(#[source] io::Error),
    /// The other side closed the connection.
    #[error("the other side closed the connection {}", if *.has_begun { "before the end of its headers" } else { "before it sent anything" })]
    #[non_exhaustive]
    Closed {
        /// Whether any bytes came before.
        has_begun: bool,
    },
    /// The received bytes are not HTTP.
    #[error("the other side {}", not_http(.protocol.as_ref(), .start))]
    #[non_exhaustive]
    NotHttp {
        /// The protocol, if it is recognised.
        protocol: Option<ForeignProtocol>,
        /// The first bytes.
        start: String,
    },
    /// The headers are not valid HTTP.
    #[error("the headers are malformed")]
    Malformed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The request or response is longer than 16 KiB, without its body.
    #[error("the headers are longer than {max} bytes")]
    #[non_exhaustive]
    TooLarge {
        /// The maximum in bytes, including the first line.
        max: usize,
    },
    /// The request or response has more than 100 headers.
    #[error("there are more than {max} headers")]
    #[non_exhaustive]
    TooManyHeaders {
        /// The maximum.
        max: usize,
    },
    /// The version is not HTTP/1.1. A proxy in front of a listener may have to be configured to use it.
    #[error("the HTTP version is {version}, not HTTP/1.1")]
    #[non_exhaustive]
    HttpVersion {
        /// The version, for instance `HTTP/1.0`.
        version: String,
    },
    /// A header is missing.
    #[error("there is no header {name}")]
    #[non_exhaustive]
    MissingHeader {
        /// Its name.
        name: &'static str,
    },
    /// A header has a wrong value, occurs twice, or was not requested.
    #[error("there is a header {name} of \"{value}\"")]
    #[non_exhaustive]
    UnexpectedHeader {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// The received request is not GET.
    #[error("the request is {method}, not GET")]
    #[non_exhaustive]
    Method {
        /// The method.
        method: String,
    },
    /// The received request has a body.
    #[error("the request has a body")]
    Body,
    /// The received request asks for another version of WebSocket than 13, that of RFC 6455.
    #[error("the WebSocket version is \"{version}\", not 13")]
    #[non_exhaustive]
    WebSocketVersion {
        /// Its name.
        version: String,
    },
    /// The received request has another path than the listener, with
    /// [`Config::with_path_matching`](crate::websocket::Config::with_path_matching).
    #[error("the request is for \"{path}\", which is not the path of this listener")]
    #[non_exhaustive]
    NotFound {
        /// Its name.
        path: String,
    },
    /// The request is not for libp2p, and its connection was handed to
    /// [`Config::with_visitors`](crate::websocket::Config::with_visitors). Not a failure: the swarm has no other event for a
    /// connection that ends before its peer is known.
    #[error("the request is of a visitor, and was handed to the application")]
    Visitor,
    /// The request is not for libp2p, and was answered with 503 because there were
    /// [too many visitors](crate::websocket::Config::with_max_visitors).
    #[error("the request is of a visitor, and there were {max} already, in all or at its address")]
    #[non_exhaustive]
    TooManyVisitors {
        /// The limit that was reached: that of all visitors, or the quarter of it for one remote address.
        max: usize,
    },
    /// The dialled server, or a proxy in front of it, answered with another status than 101 or a redirect.
    #[error("the other side did not switch to WebSocket and answered {status}{}{}", after(" ", .reason), after(": ", .body))]
    #[non_exhaustive]
    Refused {
        /// The status of the HTTP response.
        status: u16,
        /// The reason phrase beside it, such as `Service Unavailable`. May be empty.
        reason: String,
        /// Up to 200 bytes of the body that came within one second, with each run of white space as one space. Empty if
        /// there is no body, or if it is compressed.
        body: String,
    },
}

impl HandshakeError {
    /// The other side began with these bytes.
    pub(super) fn not_http(start: &[u8]) -> Self {
        Self::NotHttp {
            protocol: ForeignProtocol::of(start),
            start: quoted(start),
        }
    }
}

fn not_http(protocol: Option<&ForeignProtocol>, start: &str) -> String {
    match protocol {
        Some(protocol) => format!("speaks {protocol}, not HTTP/1.1"),
        None => format!("does not speak HTTP/1.1: what came begins with \"{start}\""),
    }
}

fn after(separator: &str, text: &str) -> String {
    match text {
        "" => String::new(),
        text => format!("{separator}{text}"),
    }
}

/// A protocol other than HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForeignProtocol {
    /// TLS: the address is one with `/tls/ws`, or the dialer should use one with `/ws`.
    Tls,
    /// HTTP/2 without an upgrade to it.
    Http2,
    /// libp2p without WebSocket: the address is one that ends with `/tcp/<port>`.
    Multistream,
    /// The PROXY protocol, which some proxies send before the forwarded bytes.
    ProxyProtocol,
    /// SSH.
    Ssh,
}

impl ForeignProtocol {
    fn of(start: &[u8]) -> Option<Self> {
        Some(match start {
            // A record with an alert or of the handshake: RFC 8446, section 5.1.
            [0x15 | 0x16, ..] => Self::Tls,
            // The length of the first line of multistream-select, which is `/multistream/1.0.0`.
            [0x13, ..] => Self::Multistream,
            // A frame SETTINGS, with which a server begins, or GOAWAY: RFC 9113, section 6.
            [0, _, _, 0x04 | 0x07, ..] => Self::Http2,
            _ if start.starts_with(b"\r\n\r\n\0") || start.starts_with(b"PROXY ") => {
                Self::ProxyProtocol
            }
            _ if start.starts_with(b"SSH-") => Self::Ssh,
            _ => return None,
        })
    }
}

impl fmt::Display for ForeignProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "TLS",
            Self::Http2 => "HTTP/2",
            Self::Multistream => "libp2p without WebSocket",
            Self::ProxyProtocol => "PROXY protocol",
            Self::Ssh => "SSH",
        })
    }
}

/// The beginning of a received value.
pub(super) fn quoted(value: &[u8]) -> String {
    printable(value, MAX_QUOTED)
}

/// The beginning of a received text, on one line.
pub(super) fn excerpt(text: &[u8]) -> String {
    let mut line = Vec::with_capacity(text.len());
    for word in text.split(u8::is_ascii_whitespace) {
        if !line.is_empty() && !word.is_empty() {
            line.push(b' ');
        }
        line.extend_from_slice(word);
    }
    printable(&line, MAX_EXCERPT)
}

/// As many bytes of text as fit, with all characters escaped that could affect a terminal or a log.
fn printable(bytes: &[u8], max: usize) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid().chars().map(|char| match char {
            '"' | '\'' => char.to_string(),
            char => char.escape_debug().to_string(),
        });
        let invalid = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"));
        for piece in valid.chain(invalid) {
            if text.len() + piece.len() > max {
                return text;
            }
            text.push_str(&piece);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_an_error_repeats_is_short_and_printable(bytes: Vec<u8>, text: String) {
            for bytes in [&bytes[..], text.as_bytes(), &bytes.repeat(9)] {
                for (text, max) in [(quoted(bytes), MAX_QUOTED), (excerpt(bytes), MAX_EXCERPT)] {
                    prop_assert!(text.len() <= max);
                    let is_printable = |char: char| {
                        matches!(char, '"' | '\'' | '\\') || char.escape_debug().eq([char])
                    };
                    prop_assert!(text.chars().all(is_printable), "{text:?}");
                }
            }
        }
    }

    #[test]
    fn what_an_error_repeats_can_be_read() {
        for (bytes, shown) in [
            (&b"a \"b\" 'c'"[..], "a \"b\" 'c'"),
            ("f\u{fc}r".as_bytes(), "f\u{fc}r"),
            (b"\x1b[31m\x00\r\n", r"\u{1b}[31m\0\r\n"),
            (b"\xff\xe2\x80", r"\xff\xe2\x80"),
            // It would reverse the rest of the line.
            ("\u{202e}a\u{2028}".as_bytes(), r"\u{202e}a\u{2028}"),
            (b"\\", r"\\"),
        ] {
            assert_eq!(quoted(bytes), shown);
        }
        assert_eq!(quoted(&[b'a'; 1000]), "a".repeat(MAX_QUOTED));
        assert_eq!(
            excerpt(b"\r\n <p>\t\n no \x07\r\n</p>\n"),
            r"<p> no \u{7} </p>"
        );
    }
}
