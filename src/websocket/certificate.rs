//! Certificates and trust anchors, checked before any transport sees them: libp2p-websocket panics on a key that it
//! cannot read.

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use libp2p_websocket::tls;
use rustls::{
    InconsistentKeys, RootCertStore,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use x509_parser::{
    certificate::X509CertificateParser, error::X509Error, nom::Parser as _, time::ASN1Time,
};

use crate::deadline::SystemTime;

/// A certificate chain and its private key, with which a listener proves its name.
///
/// A clone is the same one, and costs nothing.
#[derive(Clone)]
pub struct Certificate(Arc<Parts>);

struct Parts {
    key: PrivateKeyDer<'static>,
    /// The chain, and the key ready to sign.
    certified: Arc<CertifiedKey>,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Certificate {
    /// Takes a chain of X.509 certificates, the listener's own first, and the private key of that one in PKCS#8,
    /// PKCS#1 or SEC1; all in DER.
    ///
    /// Who is named in the certificate and who has signed it is the business of those who dial; it is not looked
    /// at here. Its dates are read, and compared with the clock when it is put to use:
    /// [`Certificates::set`](crate::websocket::Certificates::set).
    ///
    /// # Errors
    ///
    /// If there is no certificate, if one of them or the key cannot be read, or if they do not belong together.
    pub fn from_der(chain: Vec<Vec<u8>>, key: Vec<u8>) -> Result<Self, CertificateError> {
        let Some(own) = chain.first() else {
            return Err(CertificateError::Missing);
        };
        for (index, der) in chain.iter().enumerate() {
            ParsedCertificate::try_from(&CertificateDer::from(der.as_slice())).map_err(|e| {
                CertificateError::Unreadable {
                    index,
                    source: Box::new(e),
                }
            })?;
        }
        let (not_before, not_after) = validity(own).map_err(|e| CertificateError::Unreadable {
            index: 0,
            source: Box::new(e),
        })?;
        let key = PrivateKeyDer::try_from(key).map_err(|_| CertificateError::UnreadableKey)?;
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        let provider = ring::default_provider();
        let certified =
            CertifiedKey::from_der(chain, key.clone_key(), &provider).map_err(refusal)?;
        Ok(Self(Arc::new(Parts {
            key,
            certified: Arc::new(certified),
            not_before,
            not_after,
        })))
    }

    /// The same in PEM: all certificates of `chain` in their order, and the first private key of `key`.
    ///
    /// Whatever else is in there is passed over, so the two may be one and the same bundle.
    ///
    /// # Errors
    ///
    /// As of [`Certificate::from_der`], or if the PEM is malformed or holds no certificate or no private key.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .map(|certificate| certificate.map(|der| der.to_vec()))
            .collect::<Result<_, _>>()
            .map_err(|e| CertificateError::UnreadablePem(Box::new(e)))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| match e {
            pem::Error::NoItemsFound => CertificateError::MissingKey,
            other => CertificateError::UnreadableKeyPem(Box::new(other)),
        })?;
        Self::from_der(chain, key.secret_der().to_vec())
    }

    /// From when on the first certificate of the chain is valid.
    pub fn not_before(&self) -> SystemTime {
        self.0.not_before
    }

    /// When the first certificate of the chain expires.
    pub fn not_after(&self) -> SystemTime {
        self.0.not_after
    }

    /// Whether it is valid at this time.
    pub(super) fn check_dates(&self, now: SystemTime) -> Result<(), CertificateError> {
        let Parts {
            not_before,
            not_after,
            ..
        } = *self.0;
        if now > not_after {
            Err(CertificateError::Expired { not_after })
        } else if now < not_before {
            Err(CertificateError::NotYetValid { not_before })
        } else {
            Ok(())
        }
    }

    /// How long it is valid after this time.
    pub(super) fn time_left(&self, now: SystemTime) -> Duration {
        self.0.not_after.duration_since(now).unwrap_or_default()
    }

    pub(super) fn add_to(&self, builder: &mut tls::Builder) {
        let chain = self.0.certified.cert.iter();
        let chain = chain.map(|der| tls::Certificate::new(der.to_vec()));
        builder
            .server(
                tls::PrivateKey::new(self.0.key.secret_der().to_vec()),
                chain,
            )
            .expect("`from_der` has read them in the same way");
    }

    /// What a server proves its name with.
    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.certified)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}

/// A certificate authority that is trusted when dialling, besides those that browsers trust.
#[derive(Debug, Clone)]
pub struct TrustAnchor(CertificateDer<'static>);

impl TrustAnchor {
    /// Takes an X.509 certificate in DER.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn from_der(certificate: Vec<u8>) -> Result<Self, CertificateError> {
        let certificate = CertificateDer::from(certificate);
        RootCertStore::empty()
            .add(certificate.clone())
            .map_err(|e| CertificateError::Unreadable {
                index: 0,
                source: Box::new(e),
            })?;
        Ok(Self(certificate))
    }

    /// The same in PEM: the first certificate, whatever comes before and after it.
    ///
    /// # Errors
    ///
    /// If the PEM is malformed, if it holds no certificate, or if that cannot be read.
    pub fn from_pem(certificate: &[u8]) -> Result<Self, CertificateError> {
        let certificate = CertificateDer::from_pem_slice(certificate).map_err(|e| match e {
            pem::Error::NoItemsFound => CertificateError::Missing,
            other => CertificateError::UnreadablePem(Box::new(other)),
        })?;
        Self::from_der(certificate.to_vec())
    }

    pub(super) fn add_to(&self, builder: &mut tls::Builder) {
        builder
            .add_trust(&tls::Certificate::new(self.0.to_vec()))
            .expect("`from_der` has added it to a store already");
    }

    pub(super) fn add_to_store(&self, store: &mut RootCertStore) {
        store
            .add(self.0.clone())
            .expect("`from_der` has added it to a store already");
    }
}

/// Why a certificate or a trust anchor was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// There is no certificate in the chain, or in the PEM of a trust anchor.
    #[error("there is no certificate")]
    Missing,
    /// One is not an X.509 certificate in DER.
    #[error("certificate {index} of the chain cannot be read as DER")]
    #[non_exhaustive]
    Unreadable {
        /// Which one of the chain, counted from 0.
        index: usize,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The key is not in PKCS#8, PKCS#1 or SEC1 DER.
    #[error("the private key cannot be read as DER")]
    UnreadableKey,
    /// The PEM of the chain, or of a trust anchor, is malformed, for instance cut off.
    #[error("the certificates cannot be read as PEM")]
    UnreadablePem(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The PEM of the key is malformed, for instance cut off.
    #[error("the private key cannot be read as PEM")]
    UnreadableKeyPem(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The PEM of the key holds no private key. An encrypted one does not count.
    #[error("there is no unencrypted private key in the PEM")]
    MissingKey,
    /// The key is not that of the first certificate.
    #[error("the private key does not belong to the first certificate of the chain")]
    KeyMismatch,
    /// It can be read but not used, for instance since the kind of key is not supported.
    #[error("the certificate cannot be used")]
    Unusable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It is not valid any more, by the clock of this host.
    #[error("the certificate expired on {}", date(*not_after))]
    #[non_exhaustive]
    Expired {
        /// When that was.
        not_after: SystemTime,
    },
    /// It is not valid yet, by the clock of this host.
    #[error("the certificate is not valid before {}", date(*not_before))]
    #[non_exhaustive]
    NotYetValid {
        /// From when on it is.
        not_before: SystemTime,
    },
    /// A file that is watched cannot be read.
    #[error("cannot read {}", path.display())]
    #[non_exhaustive]
    File {
        /// Which one.
        path: PathBuf,
        /// Why not; [`io::ErrorKind::NotFound`] for one that is not there yet.
        source: io::Error,
    },
}

fn refusal(error: rustls::Error) -> CertificateError {
    match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            CertificateError::KeyMismatch
        }
        other => CertificateError::Unusable(Box::new(other)),
    }
}

/// The two dates of a certificate.
fn validity(der: &[u8]) -> Result<(SystemTime, SystemTime), X509Error> {
    // What its extensions mean is for those who dial.
    let (_, certificate) = X509CertificateParser::new()
        .with_deep_parse_extensions(false)
        .parse(der)
        .map_err(|e| match e {
            x509_parser::nom::Err::Error(e) | x509_parser::nom::Err::Failure(e) => e,
            x509_parser::nom::Err::Incomplete(_) => X509Error::InvalidCertificate,
        })?;
    let dates = certificate.validity();
    let time = |date| system_time(date).ok_or(X509Error::InvalidDate);
    Ok((time(dates.not_before)?, time(dates.not_after)?))
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

/// As openssl prints it.
fn date(time: SystemTime) -> String {
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

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn self_signed() -> (Vec<u8>, Vec<u8>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.der().to_vec(), made.key_pair.serialize_der())
    }

    #[test]
    fn a_chain_and_its_key_are_accepted_and_the_key_is_not_shown() {
        let (certificate, key) = self_signed();
        let made = Certificate::from_der(vec![certificate.clone()], key).unwrap();
        assert_eq!(format!("{made:?}"), "Certificate { .. }");
        made.add_to(&mut tls::Config::builder());
        TrustAnchor::from_der(certificate)
            .unwrap()
            .add_to(&mut tls::Config::builder());
    }

    #[test]
    fn a_trust_anchor_is_the_first_certificate_of_its_pem() {
        let [first, second] = ["first", "second"]
            .map(|name| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap());
        let pem = [
            first.key_pair.serialize_pem(),
            first.cert.pem(),
            second.cert.pem(),
        ]
        .concat();
        let anchor = TrustAnchor::from_pem(pem.as_bytes()).unwrap();
        assert_eq!(anchor.0, *first.cert.der());

        let refused = |pem: &str| TrustAnchor::from_pem(pem.as_bytes()).unwrap_err();
        let no_certificate = refused(&first.key_pair.serialize_pem());
        assert!(
            matches!(no_certificate, CertificateError::Missing),
            "{no_certificate:?}"
        );
        let pem = first.cert.pem();
        let cut_off = refused(&pem[..pem.len() / 2]);
        assert!(
            matches!(cut_off, CertificateError::UnreadablePem(_)),
            "{cut_off:?}"
        );
    }

    #[test]
    fn a_key_of_somebody_else_is_refused() {
        let (certificate, _) = self_signed();
        let (_, key) = self_signed();
        let refused = Certificate::from_der(vec![certificate], key).unwrap_err();
        assert!(
            matches!(refused, CertificateError::KeyMismatch),
            "{refused:?}"
        );
    }

    #[test]
    fn bad_bytes_are_refused_wherever_they_are() {
        let (certificate, key) = self_signed();
        for garbage in [
            vec![],
            vec![0],
            vec![0x30, 0x80],
            b"-----BEGIN CERTIFICATE-----".to_vec(),
            certificate[..certificate.len() - 1].to_vec(),
        ] {
            let refused = Certificate::from_der(vec![garbage.clone()], key.clone()).unwrap_err();
            assert!(
                matches!(refused, CertificateError::Unreadable { index: 0, .. }),
                "{refused:?}"
            );
            assert!(refused.source().is_some());
            let refused =
                Certificate::from_der(vec![certificate.clone(), garbage.clone()], key.clone())
                    .unwrap_err();
            assert!(
                matches!(refused, CertificateError::Unreadable { index: 1, .. }),
                "{refused:?}"
            );
            TrustAnchor::from_der(garbage.clone()).unwrap_err();
            Certificate::from_der(vec![certificate.clone()], garbage).unwrap_err();
        }
        let refused = Certificate::from_der(vec![], key).unwrap_err();
        assert!(matches!(refused, CertificateError::Missing), "{refused:?}");
        let refused = Certificate::from_der(vec![certificate], b"no key".to_vec()).unwrap_err();
        assert!(
            matches!(refused, CertificateError::UnreadableKey),
            "{refused:?}"
        );
    }

    #[test]
    fn a_key_with_a_good_wrapper_and_a_bad_inside_is_refused() {
        let (certificate, mut key) = self_signed();
        let last = key.len() - 1;
        key[last] ^= 0xff;
        let refused = Certificate::from_der(vec![certificate], key).unwrap_err();
        assert!(
            matches!(
                refused,
                CertificateError::Unusable(_) | CertificateError::KeyMismatch
            ),
            "{refused:?}"
        );
    }

    /// What openssl writes: the key in SEC1, with the curve in a block of its own before it.
    const BY_OPENSSL: &str = "\
-----BEGIN EC PARAMETERS-----
BggqhkjOPQMBBw==
-----END EC PARAMETERS-----
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEINy7jGFTf8J6eyy8S3AnUNm1ImIvdUwBe1eAXZp2MgHtoAoGCCqGSM49
AwEHoUQDQgAEvYw21wSR1u0v4kJe/S0bdrtSYiOKNFfzLcX5Dh1/fuAb8hAdMqhy
vgNSXPxNUe2DuS/rc5GqgkxzeQl5A/Oe4g==
-----END EC PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBfjCCASWgAwIBAgIUaQN7M5+Ne9UEsEaUGzbT8k5m/bEwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzA5NDcwMVoYDzIwNzYwMzA1
MDk0NzAxWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAS9jDbXBJHW7S/iQl79LRt2u1JiI4o0V/MtxfkOHX9+4BvyEB0yqHK+
A1Jc/E1R7YO5L+tzkaqCTHN5CXkD857io1MwUTAdBgNVHQ4EFgQUvcw4yZKVkIZA
jlwUhYskoyMu2z8wHwYDVR0jBBgwFoAUvcw4yZKVkIZAjlwUhYskoyMu2z8wDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNHADBEAiAwGl25kH0pmBM9Ix2pE5jn
a0iKYLsxGRjvJ8+Ld2xFEQIgFFp2X8bWX5aKmJmzR04ghG/wQceqP7CPWp9hTns4
qjM=
-----END CERTIFICATE-----
";

    /// In seconds since 1970; the first is written as UTCTime, the second as GeneralizedTime.
    const DATES_BY_OPENSSL: [u64; 2] = [1_795_427_221, 3_350_627_221];

    #[test]
    fn the_dates_are_those_of_the_first_certificate() {
        let (other, _) = pem();
        let chain = format!("{BY_OPENSSL}{other}");
        let both = Certificate::from_pem(chain.as_bytes(), BY_OPENSSL.as_bytes()).unwrap();
        let [not_before, not_after] =
            DATES_BY_OPENSSL.map(|s| SystemTime::UNIX_EPOCH + Duration::from_secs(s));
        assert_eq!(
            (both.not_before(), both.not_after()),
            (not_before, not_after)
        );

        let second = Duration::from_secs(1);
        for good in [not_before, not_before + second, not_after] {
            both.check_dates(good).unwrap();
        }
        let refused = both.check_dates(not_before - second).unwrap_err();
        assert!(
            matches!(refused, CertificateError::NotYetValid { not_before: n } if n == not_before)
        );
        assert_eq!(
            refused.to_string(),
            "the certificate is not valid before Nov 23 09:47:01 2026 +00:00"
        );
        let refused = both.check_dates(not_after + second).unwrap_err();
        assert!(matches!(refused, CertificateError::Expired { not_after: n } if n == not_after));
        assert_eq!(
            refused.to_string(),
            "the certificate expired on Mar  5 09:47:01 2076 +00:00"
        );
        assert_eq!(both.time_left(not_after - second), second);
        assert_eq!(both.time_left(not_after + second), Duration::ZERO);
    }

    #[test]
    fn dates_that_no_clock_shows_can_be_written_down() {
        for time in [
            SystemTime::UNIX_EPOCH - Duration::from_secs(1 << 40),
            SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 60),
        ] {
            assert_eq!(date(time), "a day far away");
        }
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(date(before), "Dec 31 23:59:59 1969 +00:00");
        assert_eq!(
            system_time(ASN1Time::from_timestamp(-1).unwrap()),
            Some(before)
        );
    }

    fn pem() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.key_pair.serialize_pem())
    }

    #[test]
    fn pem_is_read_from_two_texts_and_from_one() {
        let (own, key) = pem();
        let (other, other_key) = pem();
        let chain = format!("{own}{other}");
        let crlf = chain.replace('\n', "\r\n");
        let explained = format!("Subject: CN=localhost\n{chain}some more text\n");
        // Of several keys, the first counts.
        let bundle = format!("{key}{chain}{other_key}");
        let reversed = format!("{chain}{key}");
        for (chain, key) in [
            (&chain, &key),
            (&crlf, &key),
            (&explained, &key),
            (&bundle, &bundle),
            (&reversed, &reversed),
        ] {
            let read = Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
            assert_eq!(read.0.certified.cert.len(), 2);
        }
    }

    #[test]
    fn pem_without_what_is_needed_is_told_apart() {
        let (chain, key) = pem();
        let read = |chain: &str, key: &str| {
            Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err()
        };
        for nothing in ["", "no PEM", &key] {
            let refused = read(nothing, &key);
            assert!(matches!(refused, CertificateError::Missing), "{refused:?}");
        }
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        for nothing in ["", "no PEM", &chain, &encrypted] {
            let refused = read(&chain, nothing);
            assert!(
                matches!(refused, CertificateError::MissingKey),
                "{refused:?}"
            );
        }
        let (_, other) = pem();
        let refused = read(&chain, &other);
        assert!(
            matches!(refused, CertificateError::KeyMismatch),
            "{refused:?}"
        );
        // Cut off, and with something in it that is not Base64.
        for (bad_chain, bad_key) in [
            (&chain[..chain.len() / 2], &key[..key.len() / 2]),
            (&*chain.replace("MII", "M?I"), &*key.replace("MIG", "M?G")),
        ] {
            let refused = read(bad_chain, &key);
            assert!(
                matches!(refused, CertificateError::UnreadablePem(_)),
                "{refused:?}"
            );
            let refused = read(&chain, bad_key);
            assert!(
                matches!(refused, CertificateError::UnreadableKeyPem(_)),
                "{refused:?}"
            );
        }
        // Good PEM of bad DER.
        let bad = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        let refused = read(&format!("{chain}{bad}"), &key);
        assert!(
            matches!(refused, CertificateError::Unreadable { index: 1, .. }),
            "{refused:?}"
        );
        let bad = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
        let refused = read(&chain, bad);
        assert!(
            matches!(
                refused,
                CertificateError::Unusable(_) | CertificateError::UnreadableKey
            ),
            "{refused:?}"
        );
    }
}
