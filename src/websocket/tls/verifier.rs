use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use crate::{deadline::SystemTime, websocket::TrustAnchor};

/// Decides which certificates a dial accepts: those that webpki accepts, and the trust anchors themselves.
///
/// webpki never accepts a certificate of an authority from a peer (`CaUsedAsEndEntity`), which `openssl req -x509` makes by
/// default. A peer that presents a trust anchor and signs with its key is the one that the application trusts, so only the
/// dates and the names are left to check.
#[derive(Debug)]
pub(super) struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    anchors: Vec<Anchor>,
}

/// A trust anchor that a peer may present.
#[derive(Debug)]
struct Anchor {
    certificate: CertificateDer<'static>,
    not_before: UnixTime,
    not_after: UnixTime,
}

impl Verifier {
    /// Trusts `anchors` in addition to `roots`.
    pub(super) fn new(
        anchors: &[TrustAnchor],
        mut roots: RootCertStore,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        for anchor in anchors {
            anchor.add_to_store(&mut roots);
        }
        Self {
            webpki: WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
                .build()
                .expect("there are roots, and no revocation lists"),
            anchors: anchors.iter().filter_map(Anchor::new).collect(),
        }
    }
}

impl Anchor {
    /// `None` if its key is not for TLS servers. Then webpki refuses it.
    fn new(anchor: &TrustAnchor) -> Option<Self> {
        let claims = anchor.claims()?;
        claims.is_for_servers.then(|| Self {
            certificate: anchor.der().clone(),
            not_before: unix_time(claims.not_before),
            not_after: unix_time(claims.not_after),
        })
    }

    fn verify(&self, name: &ServerName<'_>, time: UnixTime) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(&self.certificate)?;
        let Self {
            not_before,
            not_after,
            ..
        } = *self;
        if time > not_after {
            return Err(CertificateError::ExpiredContext { time, not_after }.into());
        }
        if time < not_before {
            return Err(CertificateError::NotValidYetContext { time, not_before }.into());
        }
        verify_server_name(&parsed, name)?;
        Ok(ServerCertVerified::assertion())
    }
}

fn unix_time(time: SystemTime) -> UnixTime {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH);
    UnixTime::since_unix_epoch(since_epoch.unwrap_or_default())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut anchors = self.anchors.iter();
        match anchors.find(|anchor| anchor.certificate == *end_entity) {
            Some(anchor) => anchor.verify(server_name, now),
            None => self.webpki.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests;
