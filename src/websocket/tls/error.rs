use std::{io, time::Duration};

use rustls::{AlertDescription, InvalidMessage, PeerIncompatible, pki_types::UnixTime};

use crate::{
    deadline::SystemTime,
    websocket::certificate::{OPENSSL, date, list},
};

/// Number of names of a peer's certificate in the text, because the peer chooses how many it has.
const MAX_NAMES: usize = 8;

/// The reason for a failed TLS handshake.
///
/// Variants about certificates come from dials, because listeners request none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The certificate is signed by an authority that is not trusted, or is self-signed.
    #[error(
        "the peer's certificate is not signed by a trusted authority; if it should be trusted, pass it or its \
         authority's to `Config::with_trust_anchor`"
    )]
    UnknownIssuer,
    /// The certificate is that of an authority, as `openssl req -x509` makes them by default.
    ///
    /// [`Engine::Stream`](crate::websocket::Engine::Stream) accepts it if it is itself one of the
    /// [trust anchors](crate::websocket::Config::with_trust_anchor). libp2p-websocket cannot be told to.
    #[error(
        "the peer's certificate is that of an authority (CA:TRUE), which `Engine::Libp2p` cannot accept, and \
         `Engine::Stream` only if this very certificate is a trust anchor; the peer needs one made by: {OPENSSL}"
    )]
    CaUsedAsEndEntity,
    /// The certificate has no `subjectAltName`. The common name does not count.
    #[error(
        "the peer's certificate has no subjectAltName, so it is valid for no name; the peer needs one made by: \
         {OPENSSL}"
    )]
    NoSubjectAltName,
    /// The certificate is of X.509 version 1 or 2, as `openssl x509 -req` makes them without extensions.
    #[error(
        "the peer's certificate is of an X.509 version before 3, so it is valid for no name; the peer needs one \
         made by: {OPENSSL}"
    )]
    UnsupportedCertVersion,
    /// The certificate is not valid for the dialled name or IP address.
    #[error(
        "the peer's certificate is not valid for {expected}, only for {}; dial one of these, or name it with \
         `/tls/sni/<name>`",
        list(presented, MAX_NAMES)
    )]
    #[non_exhaustive]
    NotValidForName {
        /// The dialled name or IP address.
        expected: String,
        /// The names in the certificate, such as `example.com`, `*.example.com` and `192.0.2.1`.
        presented: Vec<String>,
    },
    /// The certificate has expired, by the clock of this host.
    #[error("the peer's certificate expired on {}, by the clock of this host", date(*not_after))]
    #[non_exhaustive]
    Expired {
        /// The time at which it expired.
        not_after: SystemTime,
    },
    /// The certificate is not valid yet, by the clock of this host.
    #[error("the peer's certificate is not valid before {}, by the clock of this host", date(*not_before))]
    #[non_exhaustive]
    NotYetValid {
        /// The time from which it is valid.
        not_before: SystemTime,
    },
    /// The signature of the handshake, or one in the chain of the certificate, cannot be verified.
    #[error(
        "a signature of the peer is not by the key that is trusted; most likely the peer has a new key and the trust \
         anchor is its old certificate, so trust its new one; a key that is too short, such as RSA of less than 2048 \
         bits, ends like this too"
    )]
    BadSignature,
    /// The peer does not speak TLS on this port.
    #[error(
        "the peer does not speak TLS on this port; WebSocket without TLS is dialled with `/ws` in place of `/tls/ws`"
    )]
    NotTls,
    /// The peer speaks only older versions of TLS, or SSL.
    #[error("the peer speaks neither TLS 1.2 nor TLS 1.3")]
    UnsupportedVersion,
    /// The peer speaks TLS 1.2 or 1.3, but the two sides share no algorithms.
    #[error(
        "the peer and this node have no cipher suite, key exchange group or signature scheme in common"
    )]
    NoAlgorithmsInCommon,
    /// The name in the address is not a DNS name.
    #[error("{name:?} is not a DNS name")]
    #[non_exhaustive]
    InvalidName {
        /// The name.
        name: String,
    },
    /// Anything else. An [`io::Error`], unless libp2p-websocket reports another.
    #[error("the handshake ended early")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<io::Error> for TlsError {
    fn from(error: io::Error) -> Self {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
        cause
            .and_then(named)
            .unwrap_or_else(|| Self::Other(Box::new(error)))
    }
}

/// The variant for an error of rustls, if there is one.
fn named(error: &rustls::Error) -> Option<TlsError> {
    Some(match error {
        rustls::Error::InvalidCertificate(error) => return named_certificate(error),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => TlsError::NotTls,
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
        | rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => TlsError::UnsupportedVersion,
        rustls::Error::AlertReceived(AlertDescription::HandshakeFailure)
        | rustls::Error::PeerIncompatible(
            PeerIncompatible::NoCipherSuitesInCommon
            | PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::NoSignatureSchemesInCommon,
        ) => TlsError::NoAlgorithmsInCommon,
        _ => return None,
    })
}

fn named_certificate(error: &rustls::CertificateError) -> Option<TlsError> {
    use rustls::CertificateError as Refused;

    Some(match error {
        Refused::UnknownIssuer => TlsError::UnknownIssuer,
        Refused::BadSignature => TlsError::BadSignature,
        Refused::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            TlsError::NoSubjectAltName
        }
        Refused::NotValidForNameContext {
            expected,
            presented,
        } => TlsError::NotValidForName {
            expected: expected.to_str().into_owned(),
            presented: presented.iter().map(|name| readable(name)).collect(),
        },
        Refused::ExpiredContext { not_after, .. } => TlsError::Expired {
            not_after: system_time(*not_after)?,
        },
        Refused::NotValidYetContext { not_before, .. } => TlsError::NotYetValid {
            not_before: system_time(*not_before)?,
        },
        Refused::Other(other) => match other.0.downcast_ref()? {
            webpki::Error::CaUsedAsEndEntity => TlsError::CaUsedAsEndEntity,
            webpki::Error::UnsupportedCertVersion => TlsError::UnsupportedCertVersion,
            _ => return None,
        },
        _ => return None,
    })
}

/// A name without the wrapping of rustls: `DnsName("a.example")`, `IpAddress(192.0.2.1)`.
fn readable(name: &str) -> String {
    let name = match name.split_once('(') {
        Some(("DnsName" | "IpAddress" | "UniformResourceIdentifier", name)) => {
            name.trim_end_matches(')').trim_matches('"')
        }
        Some(("Unsupported", _)) => "a name of another kind",
        _ if name == "DirectoryName" => "a directory name",
        _ => name,
    };
    // The peer chose it.
    name.escape_debug().to_string()
}

fn system_time(time: UnixTime) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs()))
}

#[cfg(test)]
mod tests {
    use std::{error::Error as _, sync::Arc};

    use rustls::{CertificateError as Refused, OtherError};

    use super::*;

    fn refused(cause: impl Into<rustls::Error>) -> TlsError {
        io::Error::new(io::ErrorKind::InvalidData, cause.into()).into()
    }

    fn other(cause: webpki::Error) -> TlsError {
        refused(Refused::Other(OtherError(Arc::new(cause))))
    }

    #[test]
    fn what_a_better_certificate_mends_says_how_to_make_one() {
        let nameless = refused(Refused::NotValidForNameContext {
            expected: "localhost".try_into().unwrap(),
            presented: Vec::new(),
        });
        for error in [
            other(webpki::Error::CaUsedAsEndEntity),
            other(webpki::Error::UnsupportedCertVersion),
            nameless,
        ] {
            let text = error.to_string();
            assert!(
                text.contains("-addext basicConstraints=critical,CA:FALSE -addext subjectAltName="),
                "{text}"
            );
            assert!(!text.contains("  "), "{text}");
            assert!(error.source().is_none());
        }
    }

    #[test]
    fn each_cause_is_named() {
        assert!(
            refused(Refused::UnknownIssuer)
                .to_string()
                .contains("with_trust_anchor")
        );
        for cause in [
            rustls::Error::AlertReceived(AlertDescription::ProtocolVersion),
            PeerIncompatible::ServerDoesNotSupportTls12Or13.into(),
            PeerIncompatible::Tls12NotOfferedOrEnabled.into(),
        ] {
            assert!(matches!(refused(cause), TlsError::UnsupportedVersion));
        }
        for cause in [
            rustls::Error::AlertReceived(AlertDescription::HandshakeFailure),
            PeerIncompatible::NoCipherSuitesInCommon.into(),
        ] {
            assert!(matches!(refused(cause), TlsError::NoAlgorithmsInCommon));
        }
        let foreign = refused(InvalidMessage::InvalidContentType);
        assert!(matches!(foreign, TlsError::NotTls));
    }

    #[test]
    fn a_certificate_with_many_names_makes_no_long_line() {
        let error = refused(Refused::NotValidForNameContext {
            expected: "localhost".try_into().unwrap(),
            presented: (0..1_000).map(|n| format!("{n}.example")).collect(),
        });
        let text = error.to_string();
        assert!(
            text.contains("0.example, 1.example, ") && text.contains("7.example and 992 more;"),
            "{text}"
        );
    }

    #[test]
    fn the_names_of_a_certificate_are_told_as_a_reader_writes_them() {
        use rustls::{client::verify_server_name, server::ParsedCertificate};

        let names = [
            "a.example",
            "*.b.example",
            "192.0.2.1",
            "2001:db8:1:2:3:4:5:6",
        ];
        let mut parameters = rcgen::CertificateParams::new(names.map(str::to_owned)).unwrap();
        for name in [
            rcgen::SanType::URI("https://a.example/".try_into().unwrap()),
            rcgen::SanType::Rfc822Name("a@a.example".try_into().unwrap()),
        ] {
            parameters.subject_alt_names.push(name);
        }
        let key = rcgen::KeyPair::generate().unwrap();
        let made = parameters.self_signed(&key).unwrap();
        let parsed = ParsedCertificate::try_from(made.der()).unwrap();
        let other = "c.example".try_into().unwrap();
        let error = refused(verify_server_name(&parsed, &other).unwrap_err());
        assert_eq!(
            error.to_string(),
            "the peer's certificate is not valid for c.example, only for a.example, *.b.example, 192.0.2.1, \
             2001:db8:1:2:3:4:5:6, https://a.example/, a name of another kind; dial one of these, or name it with \
             `/tls/sni/<name>`"
        );
        let odd = readable("DnsName(\"a\u{1b}[1m\nb\")");
        assert_eq!(odd, "a\\u{1b}[1m\\nb");
    }

    #[test]
    fn all_else_keeps_its_cause() {
        let error = refused(rustls::Error::DecryptError);
        assert_eq!(error.to_string(), "the handshake ended early");
        assert!(error.source().unwrap().to_string().contains("decrypt"));
        let error = TlsError::from(io::Error::from(io::ErrorKind::ConnectionReset));
        let cause = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(cause.kind(), io::ErrorKind::ConnectionReset);
    }
}
