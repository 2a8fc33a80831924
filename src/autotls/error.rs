use std::{error, fmt, path::PathBuf, time::Duration};

use multiaddr::Multiaddr;

/// The most characters of a server's text that an error repeats.
const MAX_TEXT: usize = 500;

/// A step on the way to a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// The broker is asked whether it is up, before a first certificate is ordered.
    Health,
    /// The account at the ACME server is created, or found by its key.
    Account,
    /// The certificate is ordered from the ACME server.
    Order,
    /// The broker authenticates this node, connects to one of its addresses, and accepts the value of the TXT record. Most
    /// failures here are those of the connection: the broker could not reach this node.
    Broker,
    /// The TXT record is looked up until it has the value.
    Record,
    /// The ACME server validates the TXT record. Its failures are limited: Let's Encrypt allows five an hour.
    Validation,
    /// The ACME server is sent the public key.
    Finalize,
    /// The certificate is downloaded and checked.
    Download,
    /// Keys and certificates are read from the storage or written to it. Never the end of an issuance.
    Storage,
    /// The ACME server is asked when to renew (ARI). Only in the metrics: without an answer, two thirds of the lifetime count.
    RenewalInfo,
}

impl Step {
    /// In the order of their numbers.
    pub(super) const ALL: [Self; 10] = [
        Self::Health,
        Self::Account,
        Self::Order,
        Self::Broker,
        Self::Record,
        Self::Validation,
        Self::Finalize,
        Self::Download,
        Self::Storage,
        Self::RenewalInfo,
    ];

    /// As a label of a metric.
    #[cfg(feature = "metrics")]
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Account => "account",
            Self::Order => "order",
            Self::Broker => "broker",
            Self::Record => "record",
            Self::Validation => "validation",
            Self::Finalize => "finalize",
            Self::Download => "download",
            Self::Storage => "storage",
            Self::RenewalInfo => "renewal_info",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Health => "health of the broker",
            Self::Account => "ACME account",
            Self::Order => "ACME order",
            Self::Broker => "request to the broker",
            Self::Record => "TXT record",
            Self::Validation => "validation",
            Self::Finalize => "finalization of the order",
            Self::Download => "download of the certificate",
            Self::Storage => "storage",
            Self::RenewalInfo => "renewal information",
        })
    }
}

/// The reason why there is no certificate yet, or no new one.
///
/// Displays as one sentence, with the text of the server, of which it has at most 500 printable characters. It contains no
/// key and no token, and has no [`source`](std::error::Error::source).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A URL of the [`Config`](crate::autotls::Config) cannot be used.
    #[non_exhaustive]
    Url {
        /// Whose URL it is.
        of: &'static str,
        /// The reason.
        reason: &'static str,
    },
    /// There is no connection to the server, or it broke: name, TCP, TLS or HTTP.
    #[non_exhaustive]
    Connection {
        /// The host.
        server: String,
        /// The reason.
        reason: String,
    },
    /// The server did not answer in time.
    #[non_exhaustive]
    TimedOut {
        /// The host.
        server: String,
        /// The time that it had.
        after: Duration,
    },
    /// The server answered with an unexpected HTTP status.
    #[non_exhaustive]
    Status {
        /// The host.
        server: String,
        /// The status.
        status: u16,
        /// The beginning of the answer. The broker explains its refusal here.
        text: String,
    },
    /// The answer of the server cannot be used.
    #[non_exhaustive]
    Answer {
        /// The host.
        server: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The ACME server refused, or its validation failed.
    #[non_exhaustive]
    Acme {
        /// The type of the problem, such as `urn:ietf:params:acme:error:rateLimited`.
        kind: Option<String>,
        /// The explanation.
        text: String,
    },
    /// The authentication between this node and the broker by their peer ids failed. The broker has learned neither
    /// addresses nor the value of the record unless it has proven its peer id.
    #[non_exhaustive]
    Authentication {
        /// The host.
        server: String,
        /// The reason.
        reason: &'static str,
    },
    /// None of the addresses is one that the broker can connect to.
    NoAddress,
    /// The TXT record did not get the value in time.
    #[non_exhaustive]
    Record {
        /// The name of the record.
        name: String,
        /// What was found in its place, or why nothing was.
        found: String,
    },
    /// The certificate cannot be served, although the ACME server has issued it.
    #[non_exhaustive]
    Certificate {
        /// The reason.
        reason: String,
    },
    /// A file or a folder of the storage cannot be read or written.
    #[non_exhaustive]
    Storage {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// A file of the storage cannot be used. It was set aside under the other name, and will be replaced.
    #[non_exhaustive]
    SetAside {
        /// The file.
        path: PathBuf,
        /// Its new name.
        to: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The cryptography failed, for instance because the system has no randomness.
    #[non_exhaustive]
    Crypto {
        /// The operation.
        operation: &'static str,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url { of, reason } => write!(f, "the URL of the {of} {reason}"),
            Self::Connection { server, reason } => {
                write!(f, "no connection to {server}: {reason}")
            }
            Self::TimedOut { server, after } => {
                write!(f, "no answer from {server} within {after:?}")
            }
            Self::Status {
                server,
                status,
                text,
            } => {
                write!(f, "{server} answered with status {status}")?;
                match text.is_empty() {
                    true => Ok(()),
                    false => write!(f, ": {text}"),
                }
            }
            Self::Answer { server, reason } => {
                write!(f, "the answer of {server} cannot be used: {reason}")
            }
            Self::Acme { kind, text } => {
                f.write_str(text)?;
                match kind {
                    Some(kind) => write!(f, " ({kind})"),
                    None => Ok(()),
                }
            }
            Self::Authentication { server, reason } => {
                write!(f, "the authentication at {server} failed: {reason}")
            }
            Self::NoAddress => f.write_str(
                "no address for the broker to connect to: it takes /ip4 or /ip6 with /tcp, with or without /ws",
            ),
            Self::Record { name, found } => {
                write!(f, "the TXT record of {name} does not have the value: {found}")
            }
            Self::Certificate { reason } => {
                write!(f, "the issued certificate cannot be served: {reason}")
            }
            Self::Storage { path, reason } => write!(
                f,
                "{}: {reason}; what cannot be stored is ordered again at the next start",
                path.display()
            ),
            Self::SetAside { path, to, reason } => write!(
                f,
                "{}: {reason}; it was renamed to {}, and will be replaced",
                path.display(),
                to.display()
            ),
            Self::Crypto { operation } => write!(f, "{operation} failed"),
        }
    }
}

impl error::Error for Error {}

/// An address of [`Behaviour::listen_on`](super::Behaviour::listen_on) that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The port is 0, and no other listener could share the port that the system would choose.
    #[error("{address}: port 0 cannot be shared, choose a port")]
    #[non_exhaustive]
    NoPort {
        /// The address as given.
        address: Multiaddr,
    },
    /// The address is not of TCP at an IP.
    #[error("{address} is not /ip4 or /ip6 with /tcp and nothing else")]
    #[non_exhaustive]
    Unsupported {
        /// The address as given.
        address: Multiaddr,
    },
}

/// The end of an attempt.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) step: Step,
    pub(super) error: Error,
    /// The wait that the server asked for.
    pub(super) retry_after: Option<Duration>,
    /// Whether it counts towards the failed validations that an ACME server allows.
    pub(super) is_validation: bool,
    /// Whether there is a certificate that is valid once the clock of this host is right. Nobody was asked for another.
    pub(super) is_early: bool,
}

impl Failure {
    pub(super) fn new(step: Step, error: Error) -> Self {
        Self {
            step,
            error,
            retry_after: None,
            is_validation: false,
            is_early: false,
        }
    }

    /// Whether the ACME server has refused the nonce of a request, which is no reason to wait (RFC 8555, 6.5).
    pub(super) fn is_bad_nonce(&self) -> bool {
        matches!(&self.error, Error::Acme { kind: Some(kind), .. } if kind == "urn:ietf:params:acme:error:badNonce")
    }
}

/// The beginning of a text that somebody else wrote, in one line and without what a terminal obeys.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::new();
    let words = text.split_whitespace().flat_map(|word| [" ", word]).skip(1);
    for (length, letter) in words.flat_map(str::chars).enumerate() {
        if length == MAX_TEXT {
            out.push('…');
            break;
        }
        let is_plain = matches!(letter, '"' | '\'' | '\\') || letter.escape_debug().len() == 1;
        out.push(if is_plain { letter } else { '\u{fffd}' });
    }
    out
}

/// As [`printable`], of an error with all that is behind it.
pub(super) fn chain(error: &(dyn error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut link = error.source();
    while let Some(source) = link {
        let behind = source.to_string();
        if !text.contains(&behind) {
            text = format!("{text}: {behind}");
        }
        link = source.source();
    }
    printable(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_a_server_is_one_line_of_at_most_500_characters() {
        assert_eq!(printable("  a\r\n\tb  c "), "a b c");
        assert_eq!(
            printable("\u{1b}[31m\0\u{202e}é\""),
            "\u{fffd}[31m\u{fffd}\u{fffd}é\""
        );
        let long = printable(&"ä ".repeat(1000));
        assert_eq!(long.chars().count(), MAX_TEXT + 1);
        assert!(long.ends_with('…'));
        assert_eq!(printable(&"a".repeat(MAX_TEXT)), "a".repeat(MAX_TEXT));
    }

    #[test]
    fn a_cause_is_told_once() {
        let inner = std::io::Error::other(Error::NoAddress);
        assert_eq!(chain(&inner), Error::NoAddress.to_string());
    }
}
