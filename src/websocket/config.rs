use std::{sync::Arc, time::Duration};

#[cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
use crate::websocket::TcpOptions;
use crate::websocket::{Certificates, Resolve, TrustAnchor, dial::Resolver};

/// The most that [`Config::with_max_frame_size`] allows.
#[cfg(feature = "libp2p-websocket")]
const MAX_FRAME_SIZE: usize = 16 * 1024 * 1024;

/// What speaks WebSocket. Either side of a connection may have either, and cannot tell which the other has.
///
/// libp2p needs no messages, it needs a stream of bytes. Written as one, WebSocket delivers bytes as they come, sends with one
/// system call what is flushed, and holds no buffer while nothing happens. Addresses, names, certificates, limits and counters are
/// the same with both engines. These differences are intended:
///
/// | | `Engine::Libp2p` | `Engine::Stream`, the default |
/// | --- | --- | --- |
/// | a text frame | is data | ends the connection |
/// | a large frame or message that comes in | ends an accepted connection above `with_max_frame_size` | may have any size, since none is kept as a whole |
/// | a connection that ends without a close of WebSocket | is at its end | is at its end; inside a frame, or over TLS without a `close_notify`, that is an error |
/// | `Host` with `/tls/sni/<name>/ws` | the host of the address | that name |
/// | `Host` on port 80, with TLS 443 | with the port | without, as browsers write it |
/// | a path with a space or a line end in it | is sent as it is | is encoded, as browsers do |
/// | a redirect from TLS to where there is none | is followed | is an error |
/// | a redirect to a URL without a port | is an error | is followed |
/// | an answer that uses an extension nobody asked for | is accepted | is refused, as RFC 6455 says |
/// | a request that is refused | is not answered | is answered with 400, 404, 405, 426, 431 or 505 |
/// | the headers of a request or response | at most 32; a request has 8 KiB | at most 100, in 16 KiB |
/// | the error of a dial that is refused | has the status | has the status, the reason phrase and the beginning of the body |
/// | a request with a body, or with a header twice that may be there once | is accepted | is refused |
/// | bytes that come with the request | are lost | belong to the stream |
/// | the path of a request | is not looked at | is compared after `with_path_matching(true)` |
/// | a peer from which nothing comes | is noticed when TCP gives up what was written to it, or never | is asked after 30 s, and given up after 60 |
/// | a TLS session of an earlier dial | is not resumed once the certificate has been replaced | is |
/// | a client that returns to a TLS listener | resumes its session if it is one of the last 256 and the certificate is the same | does so for 12 hours |
///
/// ```
/// use libp2p_lazy_websocket::websocket::{Config, Engine};
///
/// let config = Config::default().with_engine(Engine::Stream); // which is the default
/// # drop(config);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Engine {
    /// libp2p-websocket, which has been in use for years. Needs the feature `libp2p-websocket`, one of the default ones.
    #[cfg(feature = "libp2p-websocket")]
    Libp2p,
    /// A byte stream of this crate, which is faster and takes less memory.
    #[default]
    Stream,
}

/// Options of a [`websocket::Transport`](crate::websocket::Transport).
#[derive(Debug, Clone)]
pub struct Config {
    engine: Engine,
    certificates: Option<Certificates>,
    trust_anchors: Vec<TrustAnchor>,
    #[cfg(feature = "system-roots")]
    trusts_system: bool,
    max_redirects: u8,
    matches_paths: bool,
    handshake_timeout: Duration,
    max_pending_handshakes: usize,
    #[cfg(feature = "libp2p-websocket")]
    max_frame_size: usize,
    keep_alive: Option<Duration>,
    #[cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
    tcp: TcpOptions,
    #[cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
    shares_ports: bool,
    resolver: Option<Resolver>,
    resolves_dnsaddr: bool,
    dial_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            engine: Engine::default(),
            certificates: None,
            trust_anchors: Vec::new(),
            #[cfg(feature = "system-roots")]
            trusts_system: false,
            max_redirects: 0,
            matches_paths: false,
            handshake_timeout: Duration::from_secs(9),
            max_pending_handshakes: 256,
            #[cfg(feature = "libp2p-websocket")]
            max_frame_size: 256 * 1024,
            keep_alive: Some(Duration::from_secs(30)),
            #[cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
            tcp: TcpOptions::default(),
            #[cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
            shares_ports: false,
            resolver: None,
            resolves_dnsaddr: true,
            dial_timeout: Duration::from_secs(9),
        }
    }
}

impl Config {
    /// What speaks WebSocket.
    ///
    /// Defaults to [`Engine::Stream`], which moves bytes at the speed of TCP.
    pub fn with_engine(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// Where the certificate of TLS listeners comes from. There need not be one yet: they wait for it.
    ///
    /// Defaults to nowhere, and then TLS addresses cannot be listened on: nobody could ever connect.
    pub fn with_certificates(mut self, certificates: Certificates) -> Self {
        self.certificates = Some(certificates);
        self
    }

    /// Adds a certificate that is trusted when dialling: of an authority, or of one node.
    ///
    /// With [`Engine::Stream`], a peer may also show the very certificate that was added, even one that is marked as that
    /// of an authority (`CA:TRUE`), which is what `openssl req -x509` makes. Its dates and its names are checked like those
    /// of any other. libp2p-websocket refuses such a certificate:
    /// [`TlsError::CaUsedAsEndEntity`](crate::websocket::TlsError::CaUsedAsEndEntity).
    ///
    /// Defaults to those that browsers trust (Mozilla's list), or with `with_system_roots` to those that this system trusts,
    /// which always remain.
    pub fn with_trust_anchor(mut self, anchor: TrustAnchor) -> Self {
        self.trust_anchors.push(anchor);
        self
    }

    /// Whether the roots that this system trusts take the place of Mozilla's list, which is as old as the build. They are
    /// read when the transport is made, from where OpenSSL has them (`SSL_CERT_FILE` and `SSL_CERT_DIR` say otherwise), the
    /// keychain of macOS or the store of Windows. If there are none, a warning says so, and Mozilla's list remains.
    ///
    /// Defaults to false, since many containers have none. With `Engine::Libp2p` it cannot be otherwise, and this
    /// does nothing.
    #[cfg(feature = "system-roots")]
    pub fn with_system_roots(mut self, trusted: bool) -> Self {
        self.trusts_system = trusted;
        self
    }

    /// How many HTTP redirects a dial follows.
    ///
    /// Defaults to 0: a redirect lets whoever answers choose whom this node connects to next.
    pub fn with_max_redirects(mut self, max: u8) -> Self {
        self.max_redirects = max;
        self
    }

    /// Whether a listener takes only requests for the path of its own address, which is `/` if that has none. A query
    /// in a request is passed over. All others are answered with 404, and end with a
    /// [`HandshakeError::NotFound`](crate::websocket::HandshakeError::NotFound).
    ///
    /// Defaults to false, as in libp2p-websocket: a proxy in front may have changed the path. With
    /// `Engine::Libp2p` it cannot be otherwise, and this does nothing.
    pub fn with_path_matching(mut self, matching: bool) -> Self {
        self.matches_paths = matching;
        self
    }

    /// How long a connection may take from its TCP accept until its peer is authenticated: TLS, the WebSocket upgrade,
    /// Noise and Yamux together, if the transport is `upgraded`. Otherwise only until the end of the WebSocket upgrade.
    /// After that it is closed, with an [`Error::HandshakeTimedOut`](crate::websocket::Error::HandshakeTimedOut). A dial has
    /// as long for Noise and Yamux.
    ///
    /// Defaults to 9 seconds. libp2p's `SwarmBuilder` gives a connection 10 seconds for all of it, unless its
    /// `with_connection_timeout` is raised; a deadline before that one names the reason. js-libp2p has 10 seconds for a
    /// whole inbound upgrade. [`Duration::MAX`] is no deadline.
    pub fn with_handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Maximum number of pending handshakes of one port: connections that have been accepted and whose peer is not
    /// authenticated, or, if the transport is not `upgraded`, that have not completed
    /// the WebSocket upgrade. Beyond it the oldest one is closed, with an
    /// [`Error::Evicted`](crate::websocket::Error::Evicted), and [counted](crate::websocket::Counters::evicted).
    ///
    /// One remote address may have a quarter of them, 64 by default and at least one; beyond that its own oldest one is
    /// closed. An IPv6 address counts as its /56, an IPv4-mapped one as the IPv4 address. Loopback has no such limit,
    /// so that a proxy on this host can connect on behalf of everyone; a proxy on another host counts as one address.
    /// All listeners on a port share its places.
    ///
    /// Zero counts as one. Defaults to 256, which is what a thousand new connections a second need, each a quarter of one on its way. To
    /// evict an honest dialer, that many others have to connect while it completes its handshake, which takes a few
    /// round trips.
    pub fn with_max_pending_handshakes(mut self, max: usize) -> Self {
        self.max_pending_handshakes = max;
        self
    }

    /// The largest WebSocket message that is taken from whoever connected, and the largest frame, in bytes. It is also the
    /// largest that is sent, on accepted and on dialled connections. All that with `Engine::Libp2p`: the other one keeps no
    /// message as a whole, and sends frames of up to 65,535 bytes, so that with less than that here, nodes with the two do
    /// not go together.
    ///
    /// A stranger chooses the length of a frame, and memory is set aside for all of it when its first byte has come.
    /// So values above 16 MiB count as 16 MiB. Messages are not handed on before they are whole, so fragments are
    /// counted together. A larger one ends the connection with an
    /// [`Error::MessageTooLarge`](crate::websocket::Error::MessageTooLarge).
    ///
    /// This does not bound what comes in on connections that this node has dialled: libp2p-websocket takes up to
    /// 256 MiB in a message there, and has no option for it. A peer that is dialled can make this node set aside that
    /// much with one frame. [`Engine::Stream`] sets nothing aside, in either role.
    ///
    /// Defaults to 256 KiB. How long a message is is up to who sends it: one of js-libp2p is shorter than 64 KiB,
    /// where its Noise cuts, and one of rust-libp2p shorter than 192 KiB, since its Noise collects up to 128 KiB and
    /// one of its own frames before it writes. Only where nothing of libp2p is above it, a bare connection of
    /// libp2p-websocket makes one message of whatever it is given; those of this crate cut it.
    #[cfg(feature = "libp2p-websocket")]
    pub fn with_max_frame_size(mut self, max: usize) -> Self {
        self.max_frame_size = max.clamp(1, MAX_FRAME_SIZE);
        self
    }

    /// How long a connection may be silent before the other side is asked for a sign of life, with a WebSocket ping. If
    /// nothing comes for as long again, not even the answer, the connection ends with an error of the kind
    /// [`TimedOut`](std::io::ErrorKind::TimedOut). Any byte received counts. `None` never asks; less than a second counts as
    /// a second.
    ///
    /// Without it, a peer that has lost its network is noticed only when something is written to it, which takes Linux a
    /// quarter of an hour; a peer whose process is stopped never is.
    ///
    /// Defaults to 30 seconds: proxies such as nginx cut what is silent for 60. Only with
    /// [`Engine::Stream`]. `Engine::Libp2p` answers pings and sends none.
    pub fn with_keep_alive(mut self, interval: Option<Duration>) -> Self {
        self.keep_alive = interval.map(|interval| interval.max(Duration::from_secs(1)));
        self
    }

    /// Options of the TCP sockets. Used by the transports of the runtimes.
    #[cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
    pub fn with_tcp_options(mut self, options: TcpOptions) -> Self {
        self.tcp = options;
        self
    }

    /// Whether a port that a socket of this host already listens on counts as in use, on the same address or through
    /// a wildcard, whoever's it is. Used by the transports of the runtimes.
    ///
    /// Defaults to true: listeners have `SO_REUSEPORT`, as in libp2p-tcp, so that dials can leave from the port of a listener, and
    /// with that a second listener on the port, of the same user, is bound as well. The kernel then splits the
    /// connections between the two, and half of those who dial meet somebody else. Switch it off in processes that
    /// share a port on purpose, to share its load for instance: in all of them, since any may come second.
    ///
    /// It is found out by a socket without that option, which is bound to the address and dropped right before the
    /// bind. If it cannot be bound, the bind fails with that very error of the operating system. Connections that
    /// share the port but listen nowhere do not count. On Linux it finds all that listens there. macOS and the BSDs
    /// let a wildcard and a specific address have the same port side by side, and so may Windows: there it finds what
    /// listens on the very same address. Two who bind in the same moment may miss each other.
    #[cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
    pub fn with_port_probe(mut self, probe: bool) -> Self {
        self.shares_ports = !probe;
        self
    }

    /// What looks up the names that are dialled.
    ///
    /// Defaults to the resolver of the system for addresses (`getaddrinfo`), and on tokio to its name servers for the TXT
    /// records of a `/dnsaddr`; both 32 at a time. On the other runtimes nothing looks up TXT records, and `/dnsaddr` is
    /// refused. Over [another TCP](crate::websocket::Transport::new), names are given to that as they are.
    pub fn with_resolver(mut self, resolver: impl Resolve) -> Self {
        self.resolver = Some(Resolver::new(Arc::new(resolver), true));
        self
    }

    /// Whether `/dnsaddr/<name>` can be dialled, which leads to the WebSocket addresses that the name has in its TXT
    /// records. Where nothing looks such records up, the address is refused in any case: see
    /// [`with_resolver`](Self::with_resolver).
    ///
    /// Defaults to true. Switch it off if another transport that can dial what a name leads to comes after this one in
    /// an `OrTransport`, such as TCP or QUIC: there the first transport that takes an address keeps it, and this one
    /// takes a `/dnsaddr` before it knows whether it leads to WebSocket. Behind such a transport it can stay on, if
    /// that refuses `/dnsaddr`.
    pub fn with_dnsaddr(mut self, dnsaddr: bool) -> Self {
        self.resolves_dnsaddr = dnsaddr;
        self
    }

    /// How long a dial may take until the WebSocket handshake is done, lookups and TLS included. After that it ends with
    /// the errors of all that it has tried, among them an
    /// [`Error::DialTimedOut`](crate::websocket::Error::DialTimedOut) for each address that had not answered.
    ///
    /// Defaults to 9 seconds: libp2p's `SwarmBuilder` gives a connection 10, Noise and the multiplexer together, and a dial
    /// that is ended from outside cannot tell what it has tried. [`Duration::MAX`] is no deadline. With
    /// `Engine::Libp2p` it is that of the TCP connection, except for a `/dnsaddr`.
    pub fn with_dial_timeout(mut self, timeout: Duration) -> Self {
        self.dial_timeout = timeout;
        self
    }

    /// The one that the application has given, or else this one.
    pub(super) fn resolver(&self, system: Option<Resolver>) -> Option<Resolver> {
        let resolver = self.resolver.clone().or(system);
        resolver.map(|resolver| resolver.with_dnsaddr(self.resolves_dnsaddr))
    }

    pub(super) fn dial_timeout(&self) -> Duration {
        self.dial_timeout
    }

    #[cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
    pub(super) fn probes_ports(&self) -> bool {
        !self.shares_ports
    }

    pub(super) fn engine(&self) -> Engine {
        self.engine
    }

    pub(super) fn matches_paths(&self) -> bool {
        self.matches_paths
    }

    pub(super) fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    pub(super) fn trust_anchors(&self) -> &[TrustAnchor] {
        &self.trust_anchors
    }

    #[cfg(feature = "system-roots")]
    pub(super) fn trusts_system(&self) -> bool {
        self.trusts_system
    }

    pub(super) fn max_redirects(&self) -> u8 {
        self.max_redirects
    }

    pub(super) fn handshake_timeout(&self) -> Duration {
        self.handshake_timeout
    }

    pub(super) fn max_pending_handshakes(&self) -> usize {
        self.max_pending_handshakes
    }

    #[cfg(feature = "libp2p-websocket")]
    pub(super) fn max_frame_size(&self) -> usize {
        self.max_frame_size
    }

    pub(super) fn keep_alive(&self) -> Option<Duration> {
        self.keep_alive
    }

    #[cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
    pub(super) fn tcp_options(&self) -> &TcpOptions {
        &self.tcp
    }
}
