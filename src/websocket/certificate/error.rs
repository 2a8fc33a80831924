//! The reason for refusing a certificate, in one sentence: the file, its content, the expected content, and the remedy.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use x509_parser::time::ASN1Time;

use super::{
    der::UnsupportedKey,
    pem::{PemError, PemKind},
};
use crate::deadline::SystemTime;

/// The reason why a certificate or a trust anchor was refused.
///
/// Displays as one sentence: the file if there is one, its defect, and the remedy. It contains no byte of the input, which
/// may be part of a private key, and therefore has no [`source`](std::error::Error::source).
#[derive(Debug)]
#[non_exhaustive]
pub enum CertificateError {
    /// The certificate chain cannot be served.
    #[non_exhaustive]
    Chain {
        /// The file, if it is watched.
        file: Option<PathBuf>,
        /// The defect.
        defect: CertificateDefect,
    },
    /// The private key cannot be used.
    #[non_exhaustive]
    Key {
        /// The file, if it is watched.
        file: Option<PathBuf>,
        /// The defect.
        defect: CertificateDefect,
    },
    /// The trust anchor is no certificate.
    #[non_exhaustive]
    TrustAnchor {
        /// The defect.
        defect: CertificateDefect,
    },
    /// The private key is not that of the first certificate.
    #[non_exhaustive]
    KeyMismatch {
        /// The file of the chain, if it is watched.
        chain: Option<PathBuf>,
        /// The file of the key, if it is watched.
        key: Option<PathBuf>,
        /// The index of the certificate that the key belongs to, from 0, if the chain is in the wrong order.
        belongs_to: Option<usize>,
    },
    /// The first certificate has expired, by the clock of this host.
    #[non_exhaustive]
    Expired {
        /// The file, if it is watched.
        file: Option<PathBuf>,
        /// The time at which it expired.
        not_after: SystemTime,
    },
    /// The first certificate is not valid yet, by the clock of this host.
    #[non_exhaustive]
    NotYetValid {
        /// The file, if it is watched.
        file: Option<PathBuf>,
        /// The time from which it is valid.
        not_before: SystemTime,
    },
    /// A watched file cannot be read.
    #[non_exhaustive]
    File {
        /// The file.
        path: PathBuf,
        /// The reason; [`io::ErrorKind::NotFound`] if it does not exist yet.
        error: io::Error,
    },
}

/// The defect of a certificate chain, a private key or a trust anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateDefect {
    /// The input is empty.
    Empty,
    /// The input has no `-----BEGIN …-----` and is of no other known format.
    NotPem,
    /// The input is DER, or an archive, in place of PEM.
    #[non_exhaustive]
    Der {
        /// Its content.
        found: PemKind,
    },
    /// The input is PEM in place of DER.
    Pem,
    /// The input is PEM encoded in base64 once more, as in a Kubernetes secret.
    EncodedTwice,
    /// The PEM cannot be read.
    Malformed(PemError),
    /// The input contains something else than expected.
    #[non_exhaustive]
    Unexpected {
        /// Its content.
        found: PemKind,
    },
    /// A certificate is not X.509.
    #[non_exhaustive]
    NotX509 {
        /// Its index in the chain, from 0.
        index: usize,
    },
    /// The first certificate is of an X.509 version before 3, which has no subjectAltName.
    OldVersion,
    /// The first certificate, or the trust anchor, has a part that rustls does not support, for instance an unknown critical
    /// extension.
    UnsupportedCertificate,
    /// The private key is of an unsupported kind.
    UnsupportedKey(UnsupportedKey),
    /// The private key is not PKCS#8, PKCS#1 or SEC1, or is incomplete.
    DamagedKey,
}

impl CertificateError {
    pub(super) fn chain(defect: CertificateDefect) -> Self {
        Self::Chain { file: None, defect }
    }

    pub(super) fn key(defect: CertificateDefect) -> Self {
        Self::Key { file: None, defect }
    }

    /// Whether a file does not exist.
    pub(in crate::websocket) fn is_not_found(&self) -> bool {
        matches!(self, Self::File { error, .. } if error.kind() == io::ErrorKind::NotFound)
    }

    /// The same error, with the names of these files.
    pub(in crate::websocket) fn in_files(mut self, chain_file: &Path, key_file: &Path) -> Self {
        match &mut self {
            Self::Chain { file, .. }
            | Self::Expired { file, .. }
            | Self::NotYetValid { file, .. } => *file = Some(chain_file.to_owned()),
            Self::Key { file, .. } => *file = Some(key_file.to_owned()),
            Self::KeyMismatch { chain, key, .. } => {
                *chain = Some(chain_file.to_owned());
                *key = Some(key_file.to_owned());
            }
            Self::TrustAnchor { .. } | Self::File { .. } => {}
        }
        self
    }
}

impl std::error::Error for CertificateError {}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain { file, defect } => Part::Chain(file.as_deref()).refuse(*defect, f),
            Self::Key { file, defect } => Part::Key(file.as_deref()).refuse(*defect, f),
            Self::TrustAnchor { defect } => Part::TrustAnchor.refuse(*defect, f),
            Self::KeyMismatch {
                chain,
                key,
                belongs_to,
            } => {
                let (chain, key) = (Part::Chain(chain.as_deref()), Part::Key(key.as_deref()));
                write!(
                    f,
                    "{key} does not belong to the first certificate of {chain}"
                )?;
                match belongs_to {
                    Some(index) => write!(
                        f,
                        " but to number {}; put the certificate of this node first, and each before the one that signed it",
                        index.saturating_add(1)
                    ),
                    None => f.write_str(
                        "; `openssl x509 -noout -pubkey` of the one and `openssl pkey -pubout` of the other have to be the same",
                    ),
                }
            }
            Self::Expired { file, not_after } => write!(
                f,
                "the first certificate of {} expired on {}; renew it",
                Part::Chain(file.as_deref()),
                date(*not_after)
            ),
            Self::NotYetValid { file, not_before } => write!(
                f,
                "the first certificate of {} is not valid before {}; check the clock of this host",
                Part::Chain(file.as_deref()),
                date(*not_before)
            ),
            Self::File { path, error } => {
                let path = path.display();
                match error.kind() {
                    io::ErrorKind::NotFound => write!(f, "{path} does not exist"),
                    io::ErrorKind::PermissionDenied => write!(
                        f,
                        "{path} cannot be read by the user that this process runs as; give it the permission"
                    ),
                    io::ErrorKind::IsADirectory => {
                        write!(
                            f,
                            "{path} is a directory; the path of a PEM file is expected"
                        )
                    }
                    _ => write!(f, "{path} cannot be read: {error}"),
                }
            }
        }
    }
}

/// The refused input, and its file.
#[derive(Debug, Clone, Copy)]
enum Part<'a> {
    Chain(Option<&'a Path>),
    Key(Option<&'a Path>),
    TrustAnchor,
}

impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain(Some(file)) | Self::Key(Some(file)) => write!(f, "{}", file.display()),
            Self::Chain(None) => f.write_str("the certificate chain"),
            Self::Key(None) => f.write_str("the private key"),
            Self::TrustAnchor => f.write_str("the trust anchor"),
        }
    }
}

impl Part<'_> {
    /// What it should be.
    fn expected(self) -> &'static str {
        match self {
            Self::Chain(_) | Self::TrustAnchor => "certificate",
            Self::Key(_) => "private key",
        }
    }

    /// The input and the output file of a command.
    fn files(self) -> (String, &'static str) {
        match self {
            Self::Chain(file) => (name(file), "chain.pem"),
            Self::Key(file) => (name(file), "key.pem"),
            Self::TrustAnchor => (name(None), "anchor.pem"),
        }
    }

    fn refuse(self, defect: CertificateDefect, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expected = self.expected();
        let (from, to) = self.files();
        match defect {
            CertificateDefect::Empty => {
                write!(f, "{self} is empty; a {expected} in PEM is expected")
            }
            CertificateDefect::NotPem => write!(
                f,
                "{self} has no line with -----BEGIN; a {expected} in PEM is expected"
            ),
            CertificateDefect::Der { found } => {
                write!(
                    f,
                    "{self} is {found} in DER; a {expected} in PEM is expected"
                )?;
                let command = match (self, found) {
                    (Self::Chain(_) | Self::TrustAnchor, PemKind::Certificate) => {
                        "openssl x509 -inform der"
                    }
                    (Self::Chain(_) | Self::TrustAnchor, PemKind::Pkcs7) => {
                        "openssl pkcs7 -inform der -print_certs"
                    }
                    (Self::Chain(_), PemKind::Pkcs12) => "openssl pkcs12 -nokeys",
                    (Self::Key(_), PemKind::Pkcs12) => "openssl pkcs12 -nocerts -nodes",
                    (Self::Key(_), PemKind::PrivateKey | PemKind::EncryptedPrivateKey) => {
                        "openssl pkey -inform der"
                    }
                    _ => return Ok(()),
                };
                write!(f, ", as `{command} -in {from} -out {to}` makes it")
            }
            CertificateDefect::Pem => write!(f, "{self} is PEM and not DER; `from_pem` reads it"),
            CertificateDefect::EncodedTwice => write!(
                f,
                "{self} is PEM that is encoded in base64 once more; decode it, as by `base64 -d {from} > {to}`"
            ),
            CertificateDefect::Malformed(error) => write!(
                f,
                "{self} cannot be read as PEM: {error}; copy it again from where it was made"
            ),
            CertificateDefect::Unexpected { found } => self.unexpected(found, f),
            CertificateDefect::NotX509 { index } => {
                match self {
                    Self::TrustAnchor => f.write_str("the trust anchor")?,
                    part => write!(
                        f,
                        "certificate number {} of {part}",
                        index.saturating_add(1)
                    )?,
                }
                f.write_str(" is not X.509; copy it again from where it was made")
            }
            CertificateDefect::OldVersion => write!(
                f,
                "the first certificate of {self} is of X.509 version 1, without names that could be verified; sign it \
                 again with `openssl x509 -req … -extfile <(echo subjectAltName=DNS:<name>)`"
            ),
            CertificateDefect::UnsupportedCertificate => write!(
                f,
                "the first certificate of {self} has an extension, or another part, that rustls does not support; \
                 `openssl x509 -in {from} -noout -text` shows them"
            ),
            CertificateDefect::UnsupportedKey(kind) => write!(
                f,
                "{self} is {kind}, which is not supported; `openssl genpkey -algorithm EC -pkeyopt \
                 ec_paramgen_curve:P-256 -out {to}` makes one that is, for a new certificate"
            ),
            CertificateDefect::DamagedKey => write!(
                f,
                "{self} is damaged, or lacks its public part; `openssl pkey -in {from} -noout -check` shows more"
            ),
        }
    }

    fn unexpected(self, found: PemKind, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = self.files();
        if let (Self::Key(_), PemKind::EncryptedPrivateKey) = (self, found) {
            return write!(
                f,
                "{self} is protected by a passphrase; one without is expected, as `openssl pkey -in {from} -out {to}` \
                 makes it"
            );
        }
        write!(f, "{self} has {found} in place of a {}", self.expected())?;
        match (self, found) {
            (Self::Chain(_), PemKind::PrivateKey | PemKind::EncryptedPrivateKey)
            | (Self::Key(_), PemKind::Certificate) => {
                f.write_str("; perhaps chain and key are swapped")
            }
            (Self::Chain(_) | Self::TrustAnchor, PemKind::TrustedCertificate) => {
                write!(f, "; `openssl x509 -in {from} -out {to}` makes one of it")
            }
            (Self::Chain(_) | Self::TrustAnchor, PemKind::Pkcs7) => {
                write!(
                    f,
                    "; `openssl pkcs7 -print_certs -in {from} -out {to}` takes them out"
                )
            }
            (Self::Chain(_), PemKind::CertificateRequest) => {
                f.write_str("; an authority makes the certificate of it")
            }
            (Self::Key(_), PemKind::OpensshPrivateKey) => {
                write!(
                    f,
                    "; `ssh-keygen -p -N '' -m PKCS8 -f {from}` makes one of it, in place"
                )
            }
            _ => Ok(()),
        }
    }
}

fn name(file: Option<&Path>) -> String {
    match file {
        Some(file) => file.display().to_string(),
        None => "FILE".to_owned(),
    }
}

/// As openssl prints it.
pub(in crate::websocket) fn date(time: SystemTime) -> String {
    let seconds = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).ok(),
        Err(before) => i64::try_from(before.duration().as_secs())
            .ok()
            .map(|seconds| -seconds),
    };
    match seconds.map(ASN1Time::from_timestamp) {
        Some(Ok(date)) => date.to_string(),
        _ => "a day far away".to_owned(),
    }
}
