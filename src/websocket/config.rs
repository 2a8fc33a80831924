use libp2p_websocket::tls;

use crate::websocket::{Certificate, TrustAnchor};

/// Options of a [`websocket::Transport`](crate::websocket::Transport).
#[derive(Debug, Clone, Default)]
pub struct Config {
    certificate: Option<Certificate>,
    trust_anchors: Vec<TrustAnchor>,
    max_redirects: u8,
    #[cfg(feature = "tokio")]
    tcp: libp2p_tcp::Config,
}

impl Config {
    /// The certificate of TLS listeners.
    ///
    /// Defaults to none, and then TLS addresses cannot be listened on: nobody could connect.
    pub fn with_certificate(mut self, certificate: Certificate) -> Self {
        self.certificate = Some(certificate);
        self
    }

    /// Adds an authority that is trusted when dialling.
    ///
    /// Defaults to those that browsers trust (Mozilla's list), which always remain.
    pub fn with_trust_anchor(mut self, anchor: TrustAnchor) -> Self {
        self.trust_anchors.push(anchor);
        self
    }

    /// How many HTTP redirects a dial follows.
    ///
    /// Defaults to 0: a redirect lets whoever answers choose whom this node connects to next.
    pub fn with_max_redirects(mut self, max: u8) -> Self {
        self.max_redirects = max;
        self
    }

    /// Whether small writes are sent at once (`TCP_NODELAY`). Used by [`tokio`](crate::websocket::tokio).
    ///
    /// Defaults to true, as in libp2p-tcp: libp2p's negotiation is many small messages, each waiting for the one before.
    #[cfg(feature = "tokio")]
    pub fn with_nodelay(mut self, nodelay: bool) -> Self {
        self.tcp = self.tcp.nodelay(nodelay);
        self
    }

    /// The time to live of IP packets. Used by [`tokio`](crate::websocket::tokio).
    ///
    /// Defaults to that of the operating system.
    #[cfg(feature = "tokio")]
    pub fn with_ttl(mut self, ttl: u32) -> Self {
        self.tcp = self.tcp.ttl(ttl);
        self
    }

    /// How many connections the kernel keeps for a listener until they are accepted. Used by
    /// [`tokio`](crate::websocket::tokio).
    ///
    /// Defaults to 1024, as in libp2p-tcp: enough for a burst while the swarm is busy. The kernel may have a
    /// lower limit.
    #[cfg(feature = "tokio")]
    pub fn with_listen_backlog(mut self, backlog: u32) -> Self {
        self.tcp = self.tcp.listen_backlog(backlog);
        self
    }

    pub(super) fn has_certificate(&self) -> bool {
        self.certificate.is_some()
    }

    pub(super) fn max_redirects(&self) -> u8 {
        self.max_redirects
    }

    pub(super) fn tls(&self) -> tls::Config {
        let mut builder = tls::Config::builder();
        if let Some(certificate) = &self.certificate {
            certificate.add_to(&mut builder);
        }
        for anchor in &self.trust_anchors {
            anchor.add_to(&mut builder);
        }
        builder.finish()
    }

    #[cfg(feature = "tokio")]
    pub(super) fn tcp(&self) -> libp2p_tcp::Config {
        self.tcp.clone()
    }
}
