use std::task::{Context, Poll};

use libp2p_websocket::tls;

use crate::{
    lazy::{Missing, Support},
    websocket::{Certificate, Config, TrustAnchor, certificates::Subscription},
};

/// What one transport needs for TLS: whom it trusts when it dials, and the certificate of its listeners.
pub(super) struct Tls {
    trust_anchors: Vec<TrustAnchor>,
    /// Where certificates come from, if they ever do.
    certificates: Option<Subscription>,
    /// The one that [`Tls::config`] serves. Never taken away again: libp2p-websocket panics when a TLS listener
    /// accepts and there is none.
    certificate: Option<Certificate>,
}

impl Tls {
    pub(super) fn new(config: &Config) -> Self {
        let mut certificates = config.certificates().map(|handle| handle.subscribe());
        Self {
            trust_anchors: config.trust_anchors().to_vec(),
            certificate: certificates.as_mut().and_then(Subscription::take),
            certificates,
        }
    }

    /// Whether TLS addresses can be listened on.
    pub(super) fn support(&self) -> Support {
        match (&self.certificate, &self.certificates) {
            (Some(_), _) => Support::Now,
            (None, Some(_)) => Support::Waiting(Missing::Certificate),
            (None, None) => Support::Never,
        }
    }

    /// All of it, as libp2p-websocket takes it: at once, for listening and for dialling.
    pub(super) fn config(&self) -> tls::Config {
        let mut builder = tls::Config::builder();
        if let Some(certificate) = &self.certificate {
            certificate.add_to(&mut builder);
        }
        for anchor in &self.trust_anchors {
            anchor.add_to(&mut builder);
        }
        builder.finish()
    }

    /// Ready with a configuration that serves a new certificate.
    pub(super) fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<tls::Config> {
        let Some(certificates) = &mut self.certificates else {
            return Poll::Pending;
        };
        certificates.poll(cx).map(|certificate| {
            self.certificate = Some(certificate);
            self.config()
        })
    }
}
