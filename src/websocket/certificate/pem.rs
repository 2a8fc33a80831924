//! PEM (RFC 7468), including the changes that editors, environment variables and YAML make to it.
//!
//! | in the text | |
//! | --- | --- |
//! | a byte order mark, UTF-16 with one, text between sections, no line end between two | read |
//! | CRLF, a lone CR, blanks and empty lines; line ends that became spaces, `\n` in two characters, or nothing | read |
//! | a boundary that is damaged, missing or of another label | refuses the whole text, as what it hides may matter |
//! | headers within a section, anything in it that is not base64 | refuses that section |
//!
//! Accepted input is unambiguous: labels delimit the sections, and base64 has neither blanks nor backslashes.
//!
//! No error contains a byte of the text, nor the label of an unreadable section: either may belong to a private key.

use std::{borrow::Cow, fmt};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

const DASHES: &[u8] = b"-----";

/// The padding is optional, because the meaning does not depend on it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Maximum length of a label. Labels in use have less than half of it.
const MAX_LABEL: usize = 64;

/// The kind of a section, by its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PemKind {
    /// `CERTIFICATE`.
    Certificate,
    /// `TRUSTED CERTIFICATE`: a certificate with openssl's own trust settings behind it.
    TrustedCertificate,
    /// `CERTIFICATE REQUEST`: the request for a certificate to an authority.
    CertificateRequest,
    /// `PRIVATE KEY`, `RSA PRIVATE KEY` or `EC PRIVATE KEY`, without a passphrase.
    PrivateKey,
    /// `ENCRYPTED PRIVATE KEY`, or one of the others with `Proc-Type: 4,ENCRYPTED` in it.
    EncryptedPrivateKey,
    /// `OPENSSH PRIVATE KEY`.
    OpensshPrivateKey,
    /// `PUBLIC KEY` or `RSA PUBLIC KEY`.
    PublicKey,
    /// `PKCS7` or `CMS`, which may have certificates in it.
    Pkcs7,
    /// A PKCS#12 archive. It has no label, as it is never in PEM.
    Pkcs12,
    /// `EC PARAMETERS`, `DH PARAMETERS`, a list of revocations, or anything else.
    Other,
}

/// A section between its two boundaries.
pub(in crate::websocket) struct Section {
    pub(in crate::websocket) kind: PemKind,
    /// The line of its BEGIN, from 1.
    pub(in crate::websocket) line: usize,
    /// What is in it.
    pub(in crate::websocket) der: Result<Vec<u8>, PemError>,
}

/// The reason for which PEM cannot be read. Lines are counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// A BEGIN or END is not of the form `-----BEGIN CERTIFICATE-----`.
    #[error("the BEGIN or END in line {line} is damaged")]
    #[non_exhaustive]
    Boundary {
        /// Where it is.
        line: usize,
    },
    /// A section has no END, as in a file that is cut off.
    #[error("the section that begins in line {line} has no END")]
    #[non_exhaustive]
    NoEnd {
        /// Where it begins.
        line: usize,
    },
    /// A section has no BEGIN.
    #[error("the section that ends in line {line} has no BEGIN")]
    #[non_exhaustive]
    NoBegin {
        /// Where it ends.
        line: usize,
    },
    /// The END of a section has another label than its BEGIN.
    #[error("the section that begins in line {line} has the END of another")]
    #[non_exhaustive]
    OtherEnd {
        /// Where it begins.
        line: usize,
    },
    /// A section has lines with a colon, which belong to no section that can be read.
    #[error("the section that begins in line {line} has headers")]
    #[non_exhaustive]
    Headers {
        /// Where it begins.
        line: usize,
    },
    /// A section has something else than base64, or not all of it.
    #[error("the section that begins in line {line} is not base64")]
    #[non_exhaustive]
    Base64 {
        /// Where it begins.
        line: usize,
    },
}

/// All sections of `text`, in order; none if it is not PEM.
pub(in crate::websocket) fn sections(text: &[u8]) -> Result<Vec<Section>, PemError> {
    let text = ascii(text);
    let mut sections = Vec::new();
    let mut line = 1;
    // The label of the section that has begun, and the line of its begin.
    let mut begun: Option<(&[u8], usize)> = None;
    let mut rest = &*text;
    while let Some((before, boundary)) = split(rest) {
        line += line_ends(before);
        let boundary = boundary.ok_or(PemError::Boundary { line })?;
        match (begun.take(), boundary.is_begin) {
            (None, true) => begun = Some((boundary.label, line)),
            (Some((label, line)), false) => {
                if label != boundary.label {
                    return Err(PemError::OtherEnd { line });
                }
                sections.push(Section::new(label, line, before));
            }
            (Some((_, line)), true) => return Err(PemError::NoEnd { line }),
            (None, false) => return Err(PemError::NoBegin { line }),
        }
        rest = boundary.rest;
    }
    match begun {
        Some((_, line)) => Err(PemError::NoEnd { line }),
        None => Ok(sections),
    }
}

impl Section {
    fn new(label: &[u8], line: usize, body: &[u8]) -> Self {
        let mut kind = PemKind::of_label(label);
        let der = if !body.contains(&b':') {
            decode(body).ok_or(PemError::Base64 { line })
        } else {
            let is_encrypted = body.windows(9).any(|bytes| bytes == b"ENCRYPTED");
            if kind == PemKind::PrivateKey && is_encrypted {
                kind = PemKind::EncryptedPrivateKey;
            }
            Err(PemError::Headers { line })
        };
        Self { kind, line, der }
    }
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Section")
            .field("kind", &self.kind)
            .field("line", &self.line)
            .field("size", &self.der.as_ref().map(Vec::len))
            .finish()
    }
}

impl PemKind {
    fn of_label(label: &[u8]) -> Self {
        match label {
            b"CERTIFICATE" | b"X509 CERTIFICATE" => Self::Certificate,
            b"TRUSTED CERTIFICATE" => Self::TrustedCertificate,
            b"CERTIFICATE REQUEST" | b"NEW CERTIFICATE REQUEST" => Self::CertificateRequest,
            b"PRIVATE KEY" | b"RSA PRIVATE KEY" | b"EC PRIVATE KEY" => Self::PrivateKey,
            b"ENCRYPTED PRIVATE KEY" => Self::EncryptedPrivateKey,
            b"OPENSSH PRIVATE KEY" => Self::OpensshPrivateKey,
            b"PUBLIC KEY" | b"RSA PUBLIC KEY" => Self::PublicKey,
            b"PKCS7" | b"CMS" => Self::Pkcs7,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for PemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "a certificate",
            Self::TrustedCertificate => "a TRUSTED CERTIFICATE of openssl",
            Self::CertificateRequest => "a certificate request",
            Self::PrivateKey => "a private key",
            Self::EncryptedPrivateKey => "an encrypted private key",
            Self::OpensshPrivateKey => "a private key of OpenSSH",
            Self::PublicKey => "a public key",
            Self::Pkcs7 => "PKCS#7",
            Self::Pkcs12 => "a PKCS#12 archive",
            Self::Other => "something else",
        })
    }
}

/// Decodes UTF-16, as Windows PowerShell writes it. Other input is returned unchanged.
fn ascii(text: &[u8]) -> Cow<'_, [u8]> {
    let (unit, rest): (fn([u8; 2]) -> u16, _) = match text {
        [0xff, 0xfe, rest @ ..] => (u16::from_le_bytes, rest),
        [0xfe, 0xff, rest @ ..] => (u16::from_be_bytes, rest),
        _ => return Cow::Borrowed(text),
    };
    let (units, _) = rest.as_chunks();
    let bytes = units.iter().map(|bytes| {
        let unit = unit(*bytes);
        // No other character has a meaning in a section.
        u8::try_from(unit).unwrap_or(b'?')
    });
    Cow::Owned(bytes.collect())
}

struct Boundary<'a> {
    is_begin: bool,
    label: &'a [u8],
    /// What follows.
    rest: &'a [u8],
}

/// The text before the next boundary, and the boundary; `None` if there is none. The inner value is `None` if it is damaged.
fn split(text: &[u8]) -> Option<(&[u8], Option<Boundary<'_>>)> {
    let is_boundary = |bytes: &[u8]| matches!(bytes, b"-----BEG" | b"-----END");
    let at = text.windows(8).position(is_boundary)?;
    let (before, boundary) = text.split_at_checked(at)?;
    Some((before, Boundary::read(boundary)))
}

impl<'a> Boundary<'a> {
    fn read(text: &'a [u8]) -> Option<Self> {
        let begin = text.strip_prefix(b"-----BEGIN ");
        let is_begin = begin.is_some();
        let rest = begin.or_else(|| text.strip_prefix(b"-----END "))?;
        let near = rest.get(..MAX_LABEL + DASHES.len()).unwrap_or(rest);
        let length = near.windows(DASHES.len()).position(|at| at == DASHES)?;
        let (label, rest) = rest.split_at_checked(length)?;
        let is_label = label.iter().all(|byte| matches!(byte, b' '..=b'~'));
        let rest = rest.strip_prefix(DASHES)?;
        is_label.then_some(Self {
            is_begin,
            label: label.trim_ascii(),
            rest,
        })
    }
}

fn line_ends(text: &[u8]) -> usize {
    let mut before = 0;
    let ends = text.iter().filter(|&&byte| {
        let is_end = byte == b'\r' || (byte == b'\n' && before != b'\r');
        before = byte;
        is_end
    });
    ends.count()
}

/// Decodes base64 with blanks anywhere, and with line ends in the form of a backslash and a letter.
fn decode(body: &[u8]) -> Option<Vec<u8>> {
    let mut base64 = Vec::with_capacity(body.len());
    let mut bytes = body.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let is_line_end =
            byte == b'\\' && bytes.next_if(|next| matches!(next, b'n' | b'r')).is_some();
        if !is_line_end && !byte.is_ascii_whitespace() {
            base64.push(byte);
        }
    }
    BASE64.decode(base64).ok()
}

#[cfg(test)]
mod tests;
