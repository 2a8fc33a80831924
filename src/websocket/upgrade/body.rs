//! The part of the body of a refusal that an error repeats.

use super::{error::excerpt, http::Headers};

/// Maximum number of bytes read, including markup and chunk sizes.
pub(super) const MAX_SIZE: usize = 1024;

/// The beginning of a body, decoded as it arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Body {
    framing: Framing,
    text: Vec<u8>,
    /// The number of bytes that may still be read.
    left: usize,
}

/// RFC 9112, section 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// The remaining length. The largest number for a body up to the end of the connection.
    Plain {
        left: u64,
    },
    /// In the digits of a chunk's size.
    ChunkSize {
        size: u64,
    },
    /// Between them and the chunk.
    ChunkExtension {
        size: u64,
    },
    Chunk {
        left: u64,
    },
    /// In the line end after a chunk.
    ChunkEnd,
}

impl Framing {
    const EMPTY: Self = Self::Plain { left: 0 };
}

impl Body {
    pub(super) fn of(status: u16, headers: Headers<'_>) -> Self {
        let is_all = |name, token: &str| {
            let mut values = headers.all(name);
            values.all(|value| value.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
        };
        let framing = if matches!(status, 204 | 304)
            || !is_all("Content-Encoding", "identity")
            || !is_all("Transfer-Encoding", "chunked")
        {
            Framing::EMPTY
        } else if headers.all("Transfer-Encoding").next().is_some() {
            Framing::ChunkSize { size: 0 }
        } else {
            let length = headers.all("Content-Length").next();
            let length = length.and_then(|length| std::str::from_utf8(length).ok()?.parse().ok());
            Framing::Plain {
                left: length.unwrap_or(u64::MAX),
            }
        };
        Self {
            framing,
            text: Vec::new(),
            left: MAX_SIZE,
        }
    }

    /// Takes received bytes.
    pub(super) fn on_bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if !self.wants_more() {
                return;
            }
            self.left -= 1;
            self.framing = self.on_byte(*byte);
        }
    }

    /// Whether more bytes may follow and would be repeated.
    pub(super) fn wants_more(&self) -> bool {
        self.left > 0 && self.framing != Framing::EMPTY
    }

    /// The text for an error.
    pub(super) fn excerpt(&self) -> String {
        excerpt(&self.text)
    }

    fn on_byte(&mut self, byte: u8) -> Framing {
        match self.framing {
            Framing::Plain { left } => {
                self.text.push(byte);
                Framing::Plain { left: left - 1 }
            }
            Framing::ChunkSize { size } => match char::from(byte).to_digit(16) {
                // A size that cannot be represented counts as endless.
                Some(digit) => Framing::ChunkSize {
                    size: size.saturating_mul(16).saturating_add(digit.into()),
                },
                None => Self::behind_size(size, byte),
            },
            Framing::ChunkExtension { size } => Self::behind_size(size, byte),
            Framing::Chunk { left } => {
                self.text.push(byte);
                match left - 1 {
                    0 => Framing::ChunkEnd,
                    left => Framing::Chunk { left },
                }
            }
            Framing::ChunkEnd if byte == b'\n' => Framing::ChunkSize { size: 0 },
            Framing::ChunkEnd => Framing::ChunkEnd,
        }
    }

    fn behind_size(size: u64, byte: u8) -> Framing {
        match (byte, size) {
            (b'\n', 0) => Framing::EMPTY,
            (b'\n', left) => Framing::Chunk { left },
            _ => Framing::ChunkExtension { size },
        }
    }
}

#[cfg(test)]
mod tests {
    use httparse::Header;

    use super::*;

    /// What is repeated of a body, and whether more of it is awaited, however it is cut.
    fn read(status: u16, headers: &[(&str, &str)], bytes: &[u8]) -> (String, bool) {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| Header {
                name,
                value: value.as_bytes(),
            })
            .collect();
        let read = |portion| {
            let mut body = Body::of(status, Headers(&headers));
            bytes.chunks(portion).for_each(|bytes| body.on_bytes(bytes));
            assert!(body.text.len() <= MAX_SIZE);
            (body.excerpt(), body.wants_more())
        };
        let whole = read(bytes.len().max(1));
        for portion in [1, 2, 3, 7] {
            assert_eq!(read(portion), whole);
        }
        whole
    }

    #[test]
    fn a_body_ends_where_its_headers_say_so() {
        let chunked = ("Transfer-Encoding", "Chunked");
        for (status, headers, bytes, text, more) in [
            (
                503,
                vec![("Content-Length", "4")],
                "busybusy",
                "busy",
                false,
            ),
            (503, vec![("Content-Length", "4")], "bus", "bus", true),
            (503, vec![("Content-Length", "0")], "busy", "", false),
            (503, vec![("content-length", "all")], "busy", "busy", true),
            (503, vec![], "busy", "busy", true),
            (304, vec![], "busy", "", false),
            (
                503,
                vec![chunked],
                "2\r\nbu\r\n2;a=\"b\"\r\nsy\r\n0\r\n\r\n",
                "busy",
                false,
            ),
            (503, vec![chunked], "0003\nbus\n", "bus", true),
            (
                503,
                vec![chunked],
                "ffffffffffffffffff\r\nbusy",
                "busy",
                true,
            ),
            (
                503,
                vec![chunked, ("Content-Length", "1")],
                "2\r\nbu",
                "bu",
                true,
            ),
            (503, vec![chunked], "no size", "", true),
            (
                503,
                vec![("Transfer-Encoding", "gzip, chunked")],
                "busy",
                "",
                false,
            ),
            (503, vec![("Content-Encoding", "br")], "busy", "", false),
            (
                503,
                vec![("Content-Encoding", "identity")],
                "busy",
                "busy",
                true,
            ),
        ] {
            let read = read(status, &headers, bytes.as_bytes());
            assert_eq!(read, (text.to_owned(), more), "{headers:?} {bytes:?}");
        }
    }

    #[test]
    fn no_more_is_read_than_is_repeated() {
        for headers in [&[][..], &[("Transfer-Encoding", "chunked")]] {
            for byte in [b' ', b'a', b'0', b'\n', 0x1b] {
                let (text, more) = read(200, headers, &[byte; MAX_SIZE]);
                assert!(text.len() <= 200 && !more, "{text:?}");
            }
        }
    }
}
