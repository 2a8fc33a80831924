//! The common parts of requests and responses.

use std::fmt;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use httparse::{Header, Status};
use sha1::{Digest as _, Sha1};

use super::error::{HandshakeError, quoted};

/// Maximum number of headers of a request or a response. Browsers send fifteen, and proxies add to them.
pub(super) const MAX_HEADERS: usize = 100;

/// A key of RFC 6455, section 4.1: 16 bytes in base64.
pub(super) type Key = [u8; 24];

/// The headers of a request or response.
#[derive(Debug, Clone, Copy)]
pub(super) struct Headers<'a>(pub(super) &'a [Header<'a>]);

impl<'a> Headers<'a> {
    /// All values of headers with this name, in order.
    pub(super) fn all(self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let named = move |header: &&Header<'_>| header.name.eq_ignore_ascii_case(name);
        self.0.iter().filter(named).map(|header| header.value)
    }

    /// The value of an optional header, which must not occur twice.
    pub(super) fn at_most_one(
        self,
        name: &'static str,
    ) -> Result<Option<&'a [u8]>, HandshakeError> {
        let mut values = self.all(name);
        let first = values.next();
        match values.next() {
            Some(second) => Err(HandshakeError::UnexpectedHeader {
                name,
                value: quoted(second),
            }),
            None => Ok(first),
        }
    }

    /// The value of a required header, which must occur once.
    pub(super) fn one(self, name: &'static str) -> Result<&'a [u8], HandshakeError> {
        self.at_most_one(name)?
            .ok_or(HandshakeError::MissingHeader { name })
    }

    /// Whether one of the headers with this name lists this token, in any case.
    pub(super) fn have_token(self, name: &str, token: &str) -> bool {
        self.all(name).any(|value| {
            let mut tokens = value.split(|byte| *byte == b',');
            tokens.any(|other| other.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
        })
    }

    /// Checks that one of the headers with this name lists this token, in any case.
    pub(super) fn expect_token(
        self,
        name: &'static str,
        token: &str,
    ) -> Result<(), HandshakeError> {
        if self.have_token(name, token) {
            return Ok(());
        }
        Err(match self.all(name).last() {
            Some(value) => HandshakeError::UnexpectedHeader {
                name,
                value: quoted(value),
            },
            None => HandshakeError::MissingHeader { name },
        })
    }
}

/// Space for the parsed headers.
pub(in crate::websocket) const NO_HEADERS: [Header<'_>; MAX_HEADERS] =
    [httparse::EMPTY_HEADER; MAX_HEADERS];

/// The error for headers that cannot be parsed.
pub(super) fn malformed(error: httparse::Error) -> HandshakeError {
    match error {
        httparse::Error::TooManyHeaders => HandshakeError::TooManyHeaders { max: MAX_HEADERS },
        other => HandshakeError::Malformed(Box::new(other)),
    }
}

/// Checks that the parser finds the end of the head where it was found before.
pub(super) fn expect_whole(
    parsed: httparse::Result<usize>,
    head: &[u8],
) -> Result<(), HandshakeError> {
    match parsed.map_err(malformed)? {
        Status::Complete(size) if size == head.len() => Ok(()),
        _ => Err(malformed(httparse::Error::NewLine)),
    }
}

/// The error for a first line.
pub(super) fn bad_first_line(line: &[u8], error: httparse::Error) -> HandshakeError {
    let mut words = line.trim_ascii().split(|byte| *byte == b' ');
    match words.find(|word| word.starts_with(b"HTTP/")) {
        Some(version) if error == httparse::Error::Version => HandshakeError::HttpVersion {
            version: quoted(version),
        },
        _ => HandshakeError::not_http(line),
    }
}

/// The answer of a server to a key: RFC 6455, section 4.2.2, step 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accept([u8; 28]);

impl Accept {
    pub(super) fn of(key: &Key) -> Self {
        const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

        let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
        let mut accept = [0; 28];
        BASE64
            .encode_slice(digest, &mut accept)
            .expect("20 bytes are 28 in base64");
        Self(accept)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or_default())
    }
}

/// A key of these bytes.
pub(super) fn key(nonce: [u8; 16]) -> Key {
    let mut key = [0; 24];
    BASE64
        .encode_slice(nonce, &mut key)
        .expect("16 bytes are 24 in base64");
    key
}

/// The value of a header as a key, if it is one.
pub(super) fn read_key(value: &[u8]) -> Option<Key> {
    let key = Key::try_from(value).ok()?;
    // Space for a whole number of triples.
    let mut nonce = [0; 18];
    let size = BASE64.decode_slice(key, &mut nonce).ok()?;
    (size == 16).then_some(key)
}

/// That of RFC 4648. Trailing bits may be set, as in the example of RFC 6455, section 4.1.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_is_answered_as_there() {
        let accept = Accept::of(b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept.as_bytes(), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(accept.to_string(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_key_is_sixteen_bytes() {
        assert_eq!(read_key(&key([7; 16])), Some(key([7; 16])));
        // The other example, of section 4.1.
        assert!(read_key(b"AQIDBAUGBwgJCgsMDQ4PEC==").is_some());
        for value in [
            &b""[..],
            b"dGhlIHNhbXBsZSBub25jZQ=",
            b"dGhlIHNhbXBsZSBub25jZQ===",
            b"dGhlIHNhbXBsZSBub25jZQAA",
            b"dGhlIHNhbXBsZSBub25jZQA=",
            b"dGhlIHNhbXBsZSBub25j*Q==",
        ] {
            assert_eq!(read_key(value), None, "{}", quoted(value));
        }
    }
}
