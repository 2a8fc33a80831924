//! Certificates and trust anchors, checked before libp2p-websocket sees them: it panics on a key that it cannot
//! read.

use std::fmt;

use libp2p_websocket::tls;
use rustls::{
    InconsistentKeys, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::ParsedCertificate,
};

/// A certificate chain and its private key, with which a listener proves its name.
#[derive(Clone)]
pub struct Certificate {
    chain: Vec<tls::Certificate>,
    key: tls::PrivateKey,
}

impl Certificate {
    /// Takes a chain of X.509 certificates, the listener's own first, and the private key of that one in PKCS#8,
    /// PKCS#1 or SEC1; all in DER.
    ///
    /// Who is named in the certificate, who has signed it and when it expires is the business of those who dial;
    /// it is not looked at here.
    ///
    /// # Errors
    ///
    /// If there is no certificate, if one of them or the key cannot be read, or if they do not belong together.
    pub fn from_der(chain: Vec<Vec<u8>>, key: Vec<u8>) -> Result<Self, CertificateError> {
        if chain.is_empty() {
            return Err(CertificateError::Missing);
        }
        for (index, der) in chain.iter().enumerate() {
            ParsedCertificate::try_from(&CertificateDer::from(der.as_slice())).map_err(|e| {
                CertificateError::Unreadable {
                    index,
                    source: Box::new(e),
                }
            })?;
        }
        PrivateKeyDer::try_from(key.as_slice()).map_err(|_| CertificateError::UnreadableKey)?;
        let certificate = Self {
            chain: chain.into_iter().map(tls::Certificate::new).collect(),
            key: tls::PrivateKey::new(key),
        };
        tls::Config::new(certificate.key.clone(), certificate.chain.clone()).map_err(refusal)?;
        Ok(certificate)
    }

    pub(super) fn add_to(&self, builder: &mut tls::Builder) {
        builder
            .server(self.key.clone(), self.chain.clone())
            .expect("the same call succeeded in `from_der`");
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}

/// A certificate authority that is trusted when dialling, besides those that browsers trust.
#[derive(Debug, Clone)]
pub struct TrustAnchor(tls::Certificate);

impl TrustAnchor {
    /// Takes an X.509 certificate in DER.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn from_der(certificate: Vec<u8>) -> Result<Self, CertificateError> {
        RootCertStore::empty()
            .add(CertificateDer::from(certificate.as_slice()))
            .map_err(|e| CertificateError::Unreadable {
                index: 0,
                source: Box::new(e),
            })?;
        Ok(Self(tls::Certificate::new(certificate)))
    }

    pub(super) fn add_to(&self, builder: &mut tls::Builder) {
        builder
            .add_trust(&self.0)
            .expect("the same call succeeded in `from_der`");
    }
}

/// Why a certificate or a trust anchor was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The chain is empty.
    #[error("there is no certificate in the chain")]
    Missing,
    /// One is not an X.509 certificate in DER. PEM must be decoded first.
    #[error("certificate {index} of the chain cannot be read as DER")]
    #[non_exhaustive]
    Unreadable {
        /// Which one of the chain, counted from 0.
        index: usize,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The key is not in PKCS#8, PKCS#1 or SEC1 DER. PEM must be decoded first.
    #[error("the private key cannot be read as DER")]
    UnreadableKey,
    /// The key is not that of the first certificate.
    #[error("the private key does not belong to the first certificate of the chain")]
    KeyMismatch,
    /// It can be read but not used, for instance since the kind of key is not supported.
    #[error("the certificate cannot be used")]
    Unusable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn refusal(error: tls::Error) -> CertificateError {
    match error {
        tls::Error::Tls(cause) => match cause.downcast_ref() {
            Some(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                CertificateError::KeyMismatch
            }
            _ => CertificateError::Unusable(cause),
        },
        other => CertificateError::Unusable(Box::new(other)),
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
}
