use std::{
    sync::Arc,
    task::{Context, Poll},
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    server::{NoServerSessionStorage, ProducesTickets},
};

use crate::{
    lazy::{Missing, Support},
    websocket::{
        Certificate, Certificates, Config, TrustAnchor,
        certificate::Names,
        certificates::{Offered, Subscription},
    },
};

mod by_name;
mod error;
mod stream;
mod verifier;

use by_name::ByName;
pub use error::TlsError;
pub(super) use stream::TlsStream;
use verifier::Verifier;

/// The TLS of one transport: the trust anchors of its dials, and the certificates of its listeners.
pub(super) struct Tls {
    trust_anchors: Vec<TrustAnchor>,
    #[cfg(feature = "system-roots")]
    trusts_system: bool,
    /// The sources of the certificates.
    sources: Vec<Source>,
    ticketer: Arc<dyn ProducesTickets>,
}

struct Source {
    subscription: Subscription,
    /// The one that is served.
    certificate: Option<Certificate>,
}

impl Source {
    fn new(certificates: &Certificates) -> Self {
        let mut subscription = certificates.subscribe();
        let certificate = match subscription.take() {
            Some(Offered::Accepted(certificate)) => Some(certificate),
            Some(Offered::Cleared | Offered::Refused) | None => None,
        };
        Self {
            subscription,
            certificate,
        }
    }
}

impl Tls {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            trust_anchors: config.trust_anchors().to_vec(),
            #[cfg(feature = "system-roots")]
            trusts_system: config.trusts_system(),
            sources: config.certificates().iter().map(Source::new).collect(),
            ticketer: ring::Ticketer::new().expect("the system has randomness"),
        }
    }

    /// Whether TLS addresses can be listened on.
    pub(super) fn support(&self) -> Support {
        if self.certificates().next().is_some() {
            return Support::Now;
        }
        if self.sources.is_empty() {
            return Support::Never;
        }
        let mut errors = self
            .sources
            .iter()
            .map(|source| source.subscription.last_error());
        let last_error = errors.find_map(|error| error).map(|error| error as _);
        Support::Waiting(Missing::Certificate { last_error })
    }

    /// The served certificates, in the order of their sources.
    fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.sources
            .iter()
            .filter_map(|source| source.certificate.as_ref())
    }

    #[cfg(feature = "libp2p-websocket")]
    pub(super) fn certificate(&self) -> Option<&Certificate> {
        self.certificates().next()
    }

    #[cfg(feature = "libp2p-websocket")]
    pub(super) fn trust_anchors(&self) -> &[TrustAnchor] {
        &self.trust_anchors
    }

    /// The names that the certificates verify; empty without one. IP addresses only from the first certificate, because a
    /// client that dials an IP sends no name.
    pub(super) fn names(&self) -> Names {
        let mut all = self.certificates().map(Certificate::names);
        let mut names = all.next().cloned().unwrap_or_default();
        names
            .dns
            .extend(all.flat_map(|names| names.dns.iter().cloned()));
        names
    }

    /// The configuration for listening; `None` without a certificate.
    ///
    /// A returning client resumes its session by a ticket, so the server stores nothing, for any number of clients. The keys
    /// of the tickets are replaced every 6 hours, and a ticket is accepted for at most 12 hours. Tickets outlive a change of
    /// the certificate: they prove that the server is the one that the client verified before, and the private key of a
    /// certificate, old or new, decrypts none.
    ///
    /// No ALPN protocol is set, as in libp2p-websocket: the default is HTTP/1.1, the only one supported here. Setting it
    /// would only refuse clients that offer only others.
    pub(super) fn server(&self) -> Option<Arc<ServerConfig>> {
        self.certificates().next()?;
        let mut config = ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("ring has ciphers for all of them")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ByName::new(self.certificates())));
        config.ticketer = Arc::clone(&self.ticketer);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // A peer has one connection at a time, which uses one ticket and receives the next.
        config.send_tls13_tickets = 1;
        Some(Arc::new(config))
    }

    /// The configuration for dialling. It holds the resumable sessions, so it has to be kept.
    pub(super) fn client(&self) -> Arc<ClientConfig> {
        Arc::new(client(&self.trust_anchors, self.roots()))
    }

    /// Never empty, because no peer could be verified then.
    fn roots(&self) -> RootCertStore {
        #[cfg(feature = "system-roots")]
        if self.trusts_system {
            let found = rustls_native_certs::load_native_certs();
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(found.certs);
            if !roots.is_empty() {
                return roots;
            }
            tracing::warn!(errors = ?found.errors, "the system has no trusted roots, so Mozilla's list stays in use");
        }
        roots_of_browsers()
    }

    /// Ready with `true` when another certificate is to be served, or none, and with `false` for a new reason to wait for
    /// the first one.
    pub(super) fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut changed = Poll::Pending;
        for source in &mut self.sources {
            match source.subscription.poll(cx) {
                Poll::Ready(Offered::Accepted(certificate)) => {
                    source.certificate = Some(certificate);
                    changed = Poll::Ready(true);
                }
                Poll::Ready(Offered::Cleared) => {
                    source.certificate = None;
                    changed = Poll::Ready(true);
                }
                Poll::Ready(Offered::Refused) if changed.is_pending() => {
                    changed = Poll::Ready(false);
                }
                Poll::Ready(Offered::Refused) | Poll::Pending => {}
            }
        }
        changed
    }
}

/// For requests that are no dials of a transport. Trusts whom browsers trust, and the anchors.
#[cfg(feature = "autotls")]
pub(crate) fn https_client(anchors: &[TrustAnchor]) -> ClientConfig {
    client(anchors, roots_of_browsers())
}

fn client(anchors: &[TrustAnchor], roots: RootCertStore) -> ClientConfig {
    let provider = Arc::<CryptoProvider>::from(ring::default_provider());
    let verifier = Verifier::new(anchors, roots, Arc::clone(&provider));
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has ciphers for all of them")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth()
}

/// Mozilla's list.
fn roots_of_browsers() -> RootCertStore {
    RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned())
}

#[cfg(test)]
mod tests;
