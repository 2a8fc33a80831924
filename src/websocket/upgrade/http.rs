//! What requests and responses have in common.

use std::fmt;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use httparse::Header;
use sha1::{Digest as _, Sha1};

use super::error::HandshakeError;

/// How many bytes a request or a response may have, with all its headers. Browsers send less than one KiB beside their
/// cookies.
pub(super) const MAX_SIZE: usize = 8 * 1024;

/// How many headers one may have. Browsers send fifteen, and proxies add to them.
pub(super) const MAX_HEADERS: usize = 64;

/// How many bytes of line ends may come first. RFC 9112 asks in section 2.2 that one line end be passed over.
const MAX_BLANK: usize = 4;

/// How many bytes of what the other side has sent an error repeats.
const MAX_QUOTED: usize = 64;

/// A key as RFC 6455 says in section 4.1: 16 bytes, in base64.
pub(super) type Key = [u8; 24];

/// A request or response that comes in bit by bit.
#[derive(Debug, Default)]
pub(super) struct Head(Vec<u8>);

impl Head {
    /// Takes what has come, and says what it is with all that came before; `None` while it is not whole.
    ///
    /// What follows it is left for [`Head::into_rest`].
    pub(super) fn read<R>(
        &mut self,
        bytes: &[u8],
        parse: impl FnOnce(&[u8]) -> Result<Option<(R, usize)>, HandshakeError>,
    ) -> Result<Option<R>, HandshakeError> {
        self.0.extend_from_slice(bytes);
        let head = self.0.get(..MAX_SIZE).unwrap_or(&self.0);
        let blank = |byte: &&u8| matches!(byte, b'\r' | b'\n');
        if head.iter().take_while(blank).count() > MAX_BLANK {
            return Err(malformed(httparse::Error::NewLine));
        }
        // It is read by lines. Otherwise all of it would be read again for each byte of whoever sends them one by one.
        let is_full = head.len() == MAX_SIZE;
        let lines = match head.iter().rposition(|byte| *byte == b'\n') {
            _ if is_full => head,
            Some(end) if bytes.contains(&b'\n') => head.get(..=end).unwrap_or(head),
            _ => return Ok(None),
        };
        match parse(lines)? {
            Some((parsed, size)) => {
                self.0.drain(..size);
                Ok(Some(parsed))
            }
            None if is_full => Err(HandshakeError::TooLarge),
            None => Ok(None),
        }
    }

    /// Whether nothing has come yet.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What came behind the head, in no more memory than that takes.
    pub(super) fn into_rest(mut self) -> Vec<u8> {
        self.0.shrink_to_fit();
        self.0
    }
}

/// The headers of a request or response.
#[derive(Debug, Clone, Copy)]
pub(super) struct Headers<'a>(pub(super) &'a [Header<'a>]);

impl<'a> Headers<'a> {
    /// All values of headers with this name, in their order.
    pub(super) fn all(self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let named = move |header: &&Header<'_>| header.name.eq_ignore_ascii_case(name);
        self.0.iter().filter(named).map(|header| header.value)
    }

    /// The value of a header that may not be there, but not twice.
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

    /// The value of a header that is to be there once.
    pub(super) fn one(self, name: &'static str) -> Result<&'a [u8], HandshakeError> {
        self.at_most_one(name)?
            .ok_or(HandshakeError::MissingHeader { name })
    }

    /// That one of the headers with this name lists this token, in whatever case.
    pub(super) fn expect_token(
        self,
        name: &'static str,
        token: &str,
    ) -> Result<(), HandshakeError> {
        let mut last = None;
        for value in self.all(name) {
            let mut tokens = value.split(|byte| *byte == b',');
            if tokens.any(|other| other.trim_ascii().eq_ignore_ascii_case(token.as_bytes())) {
                return Ok(());
            }
            last = Some(value);
        }
        Err(match last {
            Some(value) => HandshakeError::UnexpectedHeader {
                name,
                value: quoted(value),
            },
            None => HandshakeError::MissingHeader { name },
        })
    }
}

/// Room for the headers that are parsed.
pub(super) const NO_HEADERS: [Header<'_>; MAX_HEADERS] = [httparse::EMPTY_HEADER; MAX_HEADERS];

pub(super) fn malformed(error: httparse::Error) -> HandshakeError {
    match error {
        httparse::Error::TooManyHeaders => HandshakeError::TooManyHeaders,
        other => HandshakeError::Malformed(Box::new(other)),
    }
}

/// The beginning of what the other side has sent, for an error.
pub(super) fn quoted(value: &[u8]) -> String {
    let value = value.get(..MAX_QUOTED).unwrap_or(value);
    String::from_utf8_lossy(value).into_owned()
}

/// What a server answers to a key: RFC 6455, section 4.2.2, step 5.
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
    // Room for a whole number of triples.
    let mut nonce = [0; 18];
    let size = BASE64.decode_slice(key, &mut nonce).ok()?;
    (size == 16).then_some(key)
}

/// That of RFC 4648. Bits to spare may be set, as they are in the very example of RFC 6455, section 4.1.
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

    #[test]
    fn what_an_error_quotes_is_short() {
        assert_eq!(quoted(&[b'a'; 1000]).len(), MAX_QUOTED);
        assert_eq!(quoted(b"\xff"), "\u{fffd}");
    }
}
