//! An authority that signs certificates, as one that is trusted when dialling.
#![allow(dead_code, reason = "each test uses its part")]

use std::{
    io,
    net::TcpStream,
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime},
};

use libp2p_lazy_websocket::websocket::{Certificate, Certificates, TrustAnchor};
use rustls::pki_types::{CertificateDer, ServerName};
use x509_parser::parse_x509_certificate;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

/// What a certificate is to say.
pub(crate) struct Leaf<'a> {
    pub(crate) names: &'a [&'a str],
    pub(crate) serial: u64,
    pub(crate) valid: Range<SystemTime>,
}

impl Default for Leaf<'_> {
    /// For `localhost` and 127.0.0.1, number 1, since yesterday and until tomorrow.
    fn default() -> Self {
        let now = SystemTime::now();
        Self {
            names: &["localhost", "127.0.0.1"],
            serial: 1,
            valid: now - DAY..now + DAY,
        }
    }
}

impl Leaf<'_> {
    fn parameters(&self) -> rcgen::CertificateParams {
        let names: Vec<_> = self.names.iter().map(|&name| name.to_owned()).collect();
        let mut parameters = rcgen::CertificateParams::new(names).expect("names");
        parameters.serial_number = Some(self.serial.into());
        // Another one than the authority's, or it would look as if it had signed itself.
        parameters.distinguished_name = named("a listener");
        parameters.not_before = self.valid.start.into();
        parameters.not_after = self.valid.end.into();
        parameters
    }
}

/// A chain with the private key of its first certificate.
pub(crate) struct Signed {
    leaf: rcgen::Certificate,
    /// What is behind the leaf in the chain.
    authority: Option<Vec<u8>>,
    authority_pem: String,
    key: rcgen::KeyPair,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut parameters = rcgen::CertificateParams::default();
        parameters.distinguished_name = named("an authority");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = rcgen::CertifiedIssuer::self_signed(parameters, key);
        Self(issuer.expect("a signature"))
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn anchor(&self) -> TrustAnchor {
        TrustAnchor::from_der(self.der()).expect("a certificate")
    }

    pub(crate) fn sign(&self, leaf: &Leaf<'_>) -> Signed {
        let key = rcgen::KeyPair::generate().expect("a key");
        let signed = leaf
            .parameters()
            .signed_by(&key, &self.0)
            .expect("a signature");
        Signed {
            leaf: signed,
            authority: Some(self.der()),
            authority_pem: self.pem(),
            key,
        }
    }

    /// The default one, with this serial number.
    pub(crate) fn sign_number(&self, serial: u64) -> Signed {
        self.sign(&Leaf {
            serial,
            ..Leaf::default()
        })
    }
}

impl Signed {
    /// By its own key, as `openssl req -x509` does it: marked as that of an authority, unless told otherwise.
    pub(crate) fn by_itself(leaf: &Leaf<'_>, is_ca: bool) -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut parameters = leaf.parameters();
        parameters.is_ca = match is_ca {
            true => rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained),
            false => rcgen::IsCa::ExplicitNoCa,
        };
        Self {
            leaf: parameters.self_signed(&key).expect("a signature"),
            authority: None,
            authority_pem: String::new(),
            key,
        }
    }

    /// The leaf, as one that is trusted.
    pub(crate) fn anchor(&self) -> TrustAnchor {
        TrustAnchor::from_pem(self.leaf.pem().as_bytes()).expect("a certificate")
    }

    pub(crate) fn chain_pem(&self) -> String {
        format!("{}{}", self.leaf.pem(), self.authority_pem)
    }

    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    pub(crate) fn chain_der(&self) -> Vec<Vec<u8>> {
        let leaf = self.leaf.der().to_vec();
        [leaf].into_iter().chain(self.authority.clone()).collect()
    }

    pub(crate) fn key_der(&self) -> Vec<u8> {
        self.key.serialize_der()
    }

    pub(crate) fn certificate(&self) -> Certificate {
        Certificate::from_der(self.chain_der(), self.key_der()).expect("it is accepted")
    }

    /// A handle with this certificate in use.
    pub(crate) fn in_use(&self) -> Certificates {
        let certificates = Certificates::new();
        certificates
            .set(self.certificate())
            .expect("it is valid now");
        certificates
    }
}

fn named(name: &str) -> rcgen::DistinguishedName {
    let mut distinguished = rcgen::DistinguishedName::new();
    distinguished.push(rcgen::DnType::CommonName, name);
    distinguished
}

/// The serial number of the certificate that a handshake on this connection shows, of this authority in DER.
pub(crate) fn served(authority: Vec<u8>, tcp: &mut TcpStream) -> io::Result<u64> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from(authority))
        .expect("it signs");
    let provider = rustls::crypto::ring::default_provider();
    let config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let mut tls =
        rustls::ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    while tls.is_handshaking() {
        tls.complete_io(tcp)?;
    }
    let chain = tls.peer_certificates().expect("a server has one");
    let (_, leaf) = parse_x509_certificate(&chain[0]).expect("rustls has read it");
    let serial = leaf.tbs_certificate.serial.clone();
    Ok(serial.try_into().expect("ours are small"))
}
