//! Certificates and trust anchors, checked before any transport sees them: libp2p-websocket panics on a key that it
//! cannot read.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use rustls::{
    InconsistentKeys, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, DnsName, PrivateKeyDer},
    sign::CertifiedKey,
};
use x509_parser::{
    certificate::X509CertificateParser,
    extensions::{BasicConstraints, ExtendedKeyUsage, GeneralName, SubjectAlternativeName},
    nom::Parser as _,
    oid_registry::{
        OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_EXTENDED_KEY_USAGE,
        OID_X509_EXT_SUBJECT_ALT_NAME,
    },
    prelude::{FromDer as _, X509Certificate},
    time::ASN1Time,
    x509::X509Version,
};

use crate::deadline::SystemTime;

mod der;
mod error;
#[cfg(any(test, fuzzing))]
pub(in crate::websocket) mod fuzz;
mod pem;

pub use der::UnsupportedKey;
pub(super) use error::date;
pub use error::{CertificateDefect, CertificateError};
pub use pem::{PemError, PemKind};

/// Makes a certificate that every peer accepts once it trusts it. A macro, for `concat!`.
macro_rules! openssl {
    () => {
        "openssl req -x509 -newkey rsa:2048 -nodes \
        -keyout key.pem -out cert.pem -days 365 -subj /CN=<name> \
        -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:<name>,IP:<address>"
    };
}

pub(super) const OPENSSL: &str = openssl!();

/// The missing item of a listener whose certificate has no names.
pub(super) const NAMELESS: &str = concat!(
    "another certificate, as this one has no subjectAltName that is a DNS name or an IP address; one is made by: ",
    openssl!()
);

/// A certificate chain and its private key, served by TLS listeners. Clones are cheap.
#[derive(Clone)]
pub struct Certificate(Arc<Parts>);

struct Parts {
    #[cfg(feature = "libp2p-websocket")]
    key: PrivateKeyDer<'static>,
    /// The chain, and the key ready to sign.
    certified: Arc<CertifiedKey>,
    claims: Claims,
    names: Names,
}

impl Certificate {
    /// Reads a chain of X.509 certificates, that of the listener first, and its private key in PKCS#8, PKCS#1 or SEC1, all
    /// in DER.
    ///
    /// Names and issuers are not checked here; dialers check them. The dates are compared with the clock by
    /// [`Certificates::set`](crate::websocket::Certificates::set).
    ///
    /// # Errors
    ///
    /// If the chain is empty, if a certificate or the key cannot be read, or if the key does not belong to the first
    /// certificate.
    pub fn from_der(chain: Vec<Vec<u8>>, key: Vec<u8>) -> Result<Self, CertificateError> {
        let (claims, names) = check_chain(&chain).map_err(CertificateError::chain)?;
        let key = private_key(key).map_err(CertificateError::key)?;
        let chain: Vec<_> = chain.into_iter().map(CertificateDer::from).collect();
        // Its errors are not passed on: they may print the unreadable input.
        let signing = ring::default_provider()
            .key_provider
            .load_private_key(key.clone_key())
            .map_err(|_| {
                let kind = der::unsupported_key(key.secret_der());
                CertificateError::key(kind.map_or(
                    CertificateDefect::DamagedKey,
                    CertificateDefect::UnsupportedKey,
                ))
            })?;
        let certified = CertifiedKey::new(chain, signing);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(mismatch(&certified)),
            Err(_) => {
                return Err(CertificateError::chain(
                    CertificateDefect::UnsupportedCertificate,
                ));
            }
        }
        Ok(Self(Arc::new(Parts {
            #[cfg(feature = "libp2p-websocket")]
            key,
            certified: Arc::new(certified),
            claims,
            names,
        })))
    }

    /// Reads the same in PEM: all certificates of `chain` in their order, and the first private key of `key`.
    ///
    /// Other sections are skipped, so both may be the same bundle. Accepted are a byte order mark, UTF-16 with one, any line
    /// ends, text around the sections, and blanks anywhere. Line ends may also have become spaces, `\n` in two characters,
    /// or nothing, as environment variables and YAML do to them.
    ///
    /// # Errors
    ///
    /// Those of [`Certificate::from_der`], or if the PEM is malformed or holds no certificate or no private key.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain = certificates(chain).map_err(CertificateError::chain)?;
        let key = key_section(key).map_err(CertificateError::key)?;
        Self::from_der(chain, key)
    }

    /// The time from which the first certificate of the chain is valid.
    pub fn not_before(&self) -> SystemTime {
        self.0.claims.not_before
    }

    /// The time at which the first certificate of the chain expires.
    pub fn not_after(&self) -> SystemTime {
        self.0.claims.not_after
    }

    /// Whether a peer that asks for this name accepts the first certificate of the chain.
    #[cfg(feature = "autotls")]
    pub(crate) fn verifies(&self, name: &str) -> bool {
        self.names().has(name)
    }

    /// The names that the first certificate of the chain verifies.
    pub(super) fn names(&self) -> &Names {
        &self.0.names
    }

    /// Whether the first certificate of the chain is that of an authority.
    pub(super) fn is_ca(&self) -> bool {
        self.0.claims.is_ca
    }

    /// Whether it is valid at this time.
    pub(crate) fn check_dates(&self, now: SystemTime) -> Result<(), CertificateError> {
        let Claims {
            not_before,
            not_after,
            ..
        } = self.0.claims;
        if now > not_after {
            Err(CertificateError::Expired {
                file: None,
                not_after,
            })
        } else if now < not_before {
            Err(CertificateError::NotYetValid {
                file: None,
                not_before,
            })
        } else {
            Ok(())
        }
    }

    /// How long it is valid after this time.
    pub(super) fn time_left(&self, now: SystemTime) -> Duration {
        self.0
            .claims
            .not_after
            .duration_since(now)
            .unwrap_or_default()
    }

    /// In DER.
    #[cfg(feature = "libp2p-websocket")]
    pub(super) fn chain(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.0.certified.cert.iter()
    }

    /// In DER.
    #[cfg(feature = "libp2p-websocket")]
    pub(super) fn key(&self) -> &[u8] {
        self.0.key.secret_der()
    }

    /// The chain and the signing key, for a server.
    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.certified)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}

/// A certificate that dials trust in addition to the roots of browsers: that of an authority, or of one node.
#[derive(Clone)]
pub struct TrustAnchor(CertificateDer<'static>);

impl TrustAnchor {
    /// Reads an X.509 certificate in DER.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn from_der(certificate: Vec<u8>) -> Result<Self, CertificateError> {
        let refuse = |defect| CertificateError::TrustAnchor { defect };
        parse(&certificate, 0).map_err(refuse)?;
        let certificate = CertificateDer::from(certificate);
        RootCertStore::empty()
            .add(certificate.clone())
            .map_err(|_| refuse(CertificateDefect::UnsupportedCertificate))?;
        Ok(Self(certificate))
    }

    /// Reads the first certificate of a PEM text, as [`Certificate::from_pem`] does.
    ///
    /// # Errors
    ///
    /// If the PEM is malformed, or if it contains no certificate that can be read.
    pub fn from_pem(certificate: &[u8]) -> Result<Self, CertificateError> {
        let certificates =
            certificates(certificate).map_err(|defect| CertificateError::TrustAnchor { defect })?;
        // There is at least one.
        Self::from_der(certificates.into_iter().next().unwrap_or_default())
    }

    pub(super) fn der(&self) -> &CertificateDer<'static> {
        &self.0
    }

    /// `None` if its dates cannot be represented.
    pub(super) fn claims(&self) -> Option<Claims> {
        Claims::of(&parse(&self.0, 0).ok()?)
    }

    pub(super) fn add_to_store(&self, store: &mut RootCertStore) {
        store
            .add(self.0.clone())
            .expect("`from_der` has added it to a store already");
    }
}

impl fmt::Debug for TrustAnchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustAnchor").finish_non_exhaustive()
    }
}

/// The names that a certificate verifies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) ips: Vec<IpAddr>,
    /// In the order of the certificate, including wildcards such as `*.example.com`.
    pub(super) dns: Vec<String>,
}

impl Names {
    /// The names of the `subjectAltName`. The common name does not count.
    fn of(certificate: &X509Certificate<'_>) -> Self {
        let mut names = Self::default();
        let extension = certificate.get_extension_unique(&OID_X509_EXT_SUBJECT_ALT_NAME);
        let extension = extension.ok().flatten().map(|found| found.value);
        let parsed = extension.and_then(|der| SubjectAlternativeName::from_der(der).ok());
        let listed = parsed.iter().flat_map(|(_, found)| &found.general_names);
        for name in listed {
            match name {
                GeneralName::DNSName(dns) => {
                    // As in webpki, a wildcard needs two labels after it.
                    let parent = dns.strip_prefix("*.");
                    let is_wide = parent.is_some_and(|parent| !parent.contains('.'));
                    if !is_wide && DnsName::try_from(parent.unwrap_or(dns)).is_ok() {
                        names.dns.push((*dns).to_owned());
                    }
                }
                GeneralName::IPAddress(bytes) => names.ips.extend(
                    <[u8; 4]>::try_from(*bytes)
                        .map(IpAddr::from)
                        .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)),
                ),
                _ => {}
            }
        }
        names
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ips.is_empty() && self.dns.is_empty()
    }

    /// The first three, DNS names before IP addresses.
    pub(super) fn list(&self) -> String {
        let ips: Vec<_> = self.ips.iter().map(ToString::to_string).collect();
        list(self.dns.iter().chain(&ips), 3)
    }

    /// The first DNS name that is no wildcard.
    pub(super) fn first(&self) -> Option<&str> {
        let mut dns = self.dns.iter().map(String::as_str);
        dns.find(|dns| !dns.starts_with("*."))
    }

    /// Whether a peer that asks for this name accepts the certificate.
    pub(super) fn has(&self, name: &str) -> bool {
        if let Ok(ip) = name.parse() {
            return self.ips.contains(&ip);
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        self.dns.iter().any(|dns| match dns.strip_prefix("*.") {
            Some(parent) => name
                .split_once('.')
                .is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent)),
            None => dns.eq_ignore_ascii_case(name),
        })
    }
}

/// The first `shown` of these names, and the number of the others.
pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a String>, shown: usize) -> String {
    let mut names = names.into_iter();
    let mut text = String::new();
    for (index, name) in names.by_ref().take(shown).enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        text = text + separator + name;
    }
    match names.count() {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

/// The fields of a certificate that webpki does not expose.
#[derive(Debug)]
pub(super) struct Claims {
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    /// Whether it is that of an authority (`CA:TRUE`).
    pub(super) is_ca: bool,
    /// Whether its key may be that of a TLS server. It may, unless an `extendedKeyUsage` says otherwise.
    pub(super) is_for_servers: bool,
}

impl Claims {
    fn of(certificate: &X509Certificate<'_>) -> Option<Self> {
        let dates = certificate.validity();
        let value = |oid| Some(certificate.get_extension_unique(oid).ok()??.value);
        Some(Self {
            not_before: system_time(dates.not_before)?,
            not_after: system_time(dates.not_after)?,
            is_ca: value(&OID_X509_EXT_BASIC_CONSTRAINTS).is_some_and(|der| {
                BasicConstraints::from_der(der).is_ok_and(|(_, constraints)| constraints.ca)
            }),
            is_for_servers: value(&OID_X509_EXT_EXTENDED_KEY_USAGE).is_none_or(|der| {
                ExtendedKeyUsage::from_der(der).is_ok_and(|(_, usage)| usage.server_auth)
            }),
        })
    }
}

/// The certificates in PEM; at least one.
fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, CertificateDefect> {
    let sections = pem::sections(pem).map_err(CertificateDefect::Malformed)?;
    let has = |kind| sections.iter().any(|section| section.kind == kind);
    // Skipping one of these would make another the first.
    if has(PemKind::TrustedCertificate) || !has(PemKind::Certificate) {
        return Err(without(pem, &sections));
    }
    sections
        .into_iter()
        .filter(|section| section.kind == PemKind::Certificate)
        .map(|section| section.der.map_err(CertificateDefect::Malformed))
        .collect()
}

/// The first private key in PEM.
fn key_section(pem: &[u8]) -> Result<Vec<u8>, CertificateDefect> {
    let mut sections = pem::sections(pem).map_err(CertificateDefect::Malformed)?;
    match sections
        .iter()
        .position(|section| section.kind == PemKind::PrivateKey)
    {
        Some(first) => sections
            .swap_remove(first)
            .der
            .map_err(CertificateDefect::Malformed),
        None => Err(without(pem, &sections)),
    }
}

/// The defect for an input without the expected section.
fn without(text: &[u8], sections: &[pem::Section]) -> CertificateDefect {
    // The closest to the expected kind comes first.
    const TELLING: [PemKind; 8] = [
        PemKind::EncryptedPrivateKey,
        PemKind::OpensshPrivateKey,
        PemKind::TrustedCertificate,
        PemKind::Pkcs7,
        PemKind::CertificateRequest,
        PemKind::PrivateKey,
        PemKind::Certificate,
        PemKind::PublicKey,
    ];

    if !sections.is_empty() {
        let has = |kind: &PemKind| sections.iter().any(|section| section.kind == *kind);
        let found = TELLING.into_iter().find(has).unwrap_or(PemKind::Other);
        return CertificateDefect::Unexpected { found };
    }
    if text.trim_ascii().is_empty() {
        return CertificateDefect::Empty;
    }
    match der::kind(text) {
        Some(found) => CertificateDefect::Der { found },
        // The base64 of "-----BEGIN ".
        None if text.starts_with(b"LS0tLS1CRUdJTi") => CertificateDefect::EncodedTwice,
        None => CertificateDefect::NotPem,
    }
}

/// The fields of the first certificate of a chain in DER, if the chain can be served.
fn check_chain(chain: &[Vec<u8>]) -> Result<(Claims, Names), CertificateDefect> {
    let mut parsed = chain
        .iter()
        .enumerate()
        .map(|(index, der)| parse(der, index));
    let own = parsed.next().ok_or(CertificateDefect::Empty)??;
    for other in parsed {
        other?;
    }
    if own.version() != X509Version::V3 {
        return Err(CertificateDefect::OldVersion);
    }
    let claims = Claims::of(&own).ok_or(CertificateDefect::NotX509 { index: 0 })?;
    Ok((claims, Names::of(&own)))
}

/// A certificate in DER, the one with this number.
fn parse(der: &[u8], index: usize) -> Result<X509Certificate<'_>, CertificateDefect> {
    // An unknown extension is no reason to refuse it.
    let mut parser = X509CertificateParser::new().with_deep_parse_extensions(false);
    match parser.parse(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(unexpected(der).unwrap_or(CertificateDefect::NotX509 { index })),
    }
}

fn private_key(der: Vec<u8>) -> Result<PrivateKeyDer<'static>, CertificateDefect> {
    match unexpected(&der) {
        None
        | Some(CertificateDefect::Unexpected {
            found: PemKind::PrivateKey,
        }) => PrivateKeyDer::try_from(der).map_err(|_| CertificateDefect::DamagedKey),
        Some(defect) => Err(defect),
    }
}

/// The defect of input that is not the expected DER, if it is recognised.
fn unexpected(der: &[u8]) -> Option<CertificateDefect> {
    if der.is_empty() {
        return Some(CertificateDefect::Empty);
    }
    if der.trim_ascii_start().starts_with(b"-----BEGIN") {
        return Some(CertificateDefect::Pem);
    }
    der::kind(der).map(|found| CertificateDefect::Unexpected { found })
}

/// The key is not that of the first certificate.
fn mismatch(certified: &CertifiedKey) -> CertificateError {
    let public = certified.key.public_key();
    let belongs_to = certified.cert.iter().position(|der| {
        let parsed = parse(der, 0);
        parsed.is_ok_and(|certificate| Some(certificate.public_key().raw) == public.as_deref())
    });
    CertificateError::KeyMismatch {
        chain: None,
        key: None,
        belongs_to,
    }
}

fn system_time(date: ASN1Time) -> Option<SystemTime> {
    let seconds = date.timestamp();
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    }
}

#[cfg(test)]
mod tests;
