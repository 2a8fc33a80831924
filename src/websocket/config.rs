use crate::websocket::{Certificates, TrustAnchor};

/// Options of a [`websocket::Transport`](crate::websocket::Transport).
#[derive(Debug, Clone, Default)]
pub struct Config {
    certificates: Option<Certificates>,
    trust_anchors: Vec<TrustAnchor>,
    max_redirects: u8,
    #[cfg(feature = "tokio")]
    tcp: libp2p_tcp::Config,
    #[cfg(feature = "tokio")]
    shares_ports: bool,
}

impl Config {
    /// Where the certificate of TLS listeners comes from. There need not be one yet: they wait for it.
    ///
    /// Defaults to nowhere, and then TLS addresses cannot be listened on: nobody could ever connect.
    pub fn with_certificates(mut self, certificates: Certificates) -> Self {
        self.certificates = Some(certificates);
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

    /// Whether a port that a socket of this host already listens on counts as in use, on the same address or through
    /// a wildcard, whoever's it is. Used by [`tokio`](crate::websocket::tokio).
    ///
    /// Defaults to true: libp2p-tcp sets `SO_REUSEPORT`, so that dials can leave from the port of a listener, and
    /// with that a second listener on the port, of the same user, is bound as well. The kernel then splits the
    /// connections between the two, and half of those who dial meet somebody else. Switch it off in processes that
    /// share a port on purpose, to share its load for instance: in all of them, since any may come second.
    ///
    /// It is found out by a socket without that option, which is bound to the address and dropped right before the
    /// bind. If it cannot be bound, the bind fails with that very error of the operating system. Connections that
    /// share the port but listen nowhere do not count. On Linux it finds all that listens there. macOS and the BSDs
    /// let a wildcard and a specific address have the same port side by side, and so may Windows: there it finds what
    /// listens on the very same address. Two who bind in the same moment may miss each other.
    #[cfg(feature = "tokio")]
    pub fn with_port_probe(mut self, probe: bool) -> Self {
        self.shares_ports = !probe;
        self
    }

    #[cfg(feature = "tokio")]
    pub(super) fn probes_ports(&self) -> bool {
        !self.shares_ports
    }

    pub(super) fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    pub(super) fn trust_anchors(&self) -> &[TrustAnchor] {
        &self.trust_anchors
    }

    pub(super) fn max_redirects(&self) -> u8 {
        self.max_redirects
    }

    #[cfg(feature = "tokio")]
    pub(super) fn tcp(&self) -> libp2p_tcp::Config {
        self.tcp.clone()
    }
}
