use std::{num::NonZeroUsize, sync::Arc, time::Duration};

#[cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
use crate::websocket::TcpOptions;
use crate::websocket::{
    Certificates, Counters, OutgoingProxy, Proxies, Resolve, TrustAnchor, Visitor,
    dial::Resolver,
    visitors::{Limits, Receive, Visitors},
};

/// The most that [`Config::with_max_frame_size`] allows.
#[cfg(feature = "libp2p-websocket")]
const MAX_FRAME_SIZE: usize = 16 * 1024 * 1024;

/// The implementation of WebSocket. The two sides of a connection may use different ones.
///
/// libp2p needs a stream of bytes, not messages. `Engine::Stream` therefore delivers bytes as they arrive, sends each flush
/// in one system call, and has no buffer on idle connections. Addresses, names, certificates, limits and counters are the
/// same with both engines. These differences are intended:
///
/// | | `Engine::Libp2p` | `Engine::Stream`, the default |
/// | --- | --- | --- |
/// | a text frame | is data | ends the connection |
/// | a large received frame or message | ends an accepted connection above `with_max_frame_size` | may have any size, because none is buffered |
/// | a connection that ends without a close frame | ends | ends; within a frame, or over TLS without a `close_notify`, with an error |
/// | `Host` with `/tls/sni/<name>/ws` | the host of the address | that name |
/// | `Host` on port 80, with TLS 443 | with the port | without, as browsers write it |
/// | a path with a space or a line end in it | is sent as it is | is encoded, as browsers do |
/// | a redirect from TLS to a URL without TLS | is followed | is an error |
/// | a redirect to a URL without a port | is an error | is followed |
/// | a response with an extension that was not requested | is accepted | is refused, as RFC 6455 says |
/// | a refused request | is not answered | is answered with 400, 404, 405, 426, 431, 503 or 505 |
/// | the headers of a request or response | at most 32; a request has 8 KiB | at most 100, in 16 KiB |
/// | the error of a refused dial | has the status | has the status, the reason phrase and the beginning of the body |
/// | a request with a body, or with a duplicate of a unique header | is accepted | is refused |
/// | bytes after the request in the same packet | are lost | belong to the stream |
/// | the path of a request | is ignored | is compared with `with_path_matching(true)` |
/// | a request that is not for WebSocket | is an error | is an error, or that of a visitor `with_visitors` |
/// | a silent peer | is noticed when TCP gives up a write, or never | gets a ping after 30 s; the connection ends after 60 s |
/// | TCP without WebSocket, see `with_tcp` | is not supported | is supported |
/// | a TLS session of an earlier dial, after the certificate was replaced | is not resumed | is resumed |
/// | a client that returns to a TLS listener | resumes its session if it is one of the last 256 and the certificate is the same | does so for 12 hours |
///
/// ```
/// use libp2p_lazy_websocket::websocket::{Config, Engine};
///
/// let config = Config::default().with_engine(Engine::Stream); // the default
/// # drop(config);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Engine {
    /// libp2p-websocket. Needs the feature `libp2p-websocket`, one of the default ones.
    #[cfg(feature = "libp2p-websocket")]
    Libp2p,
    /// The byte stream of this crate, which is faster and uses less memory.
    #[default]
    Stream,
}

/// Options of a [`websocket::Transport`](crate::websocket::Transport).
#[derive(Debug, Clone)]
pub struct Config {
    engine: Engine,
    certificates: Vec<Certificates>,
    trust_anchors: Vec<TrustAnchor>,
    #[cfg(feature = "system-roots")]
    trusts_system: bool,
    speaks_tcp: bool,
    proxies: Option<Proxies>,
    outgoing_proxy: Option<Arc<OutgoingProxy>>,
    max_redirects: u8,
    matches_paths: bool,
    visitors: Option<Receive>,
    max_visitors: NonZeroUsize,
    visit_timeout: Duration,
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
            certificates: Vec::new(),
            trust_anchors: Vec::new(),
            #[cfg(feature = "system-roots")]
            trusts_system: false,
            speaks_tcp: false,
            proxies: None,
            outgoing_proxy: None,
            max_redirects: 0,
            matches_paths: false,
            visitors: None,
            max_visitors: const { NonZeroUsize::new(64).unwrap() },
            visit_timeout: Duration::from_secs(60),
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
    /// The implementation of WebSocket.
    ///
    /// Defaults to [`Engine::Stream`], which moves bytes at the speed of TCP.
    pub fn with_engine(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// Whether TCP without WebSocket is supported too: `<host>/tcp/<port>` can be listened on and dialled, by name and
    /// through `/dnsaddr` as well, and its listeners are as lazy as those of WebSocket. One `lazy::Transport::upgraded`
    /// serves both. It replaces `SwarmBuilder::with_tcp`.
    ///
    /// A listener of TCP may share its port with `/ws` and `/tls/ws`: see [one port](crate::websocket#one-port). There the
    /// dialer has to speak first, as all libp2p implementations do. Not for private networks (libp2p-pnet), whose first
    /// bytes are random: there, TCP needs a port of its own.
    ///
    /// TCP has no pings like those of [`Config::with_keep_alive`]: a peer that has lost its network is noticed only after a
    /// write, which takes Linux a quarter of an hour.
    ///
    /// Only with [`Engine::Stream`]. Defaults to false: such addresses are left to another transport. An `OrTransport` with
    /// libp2p-tcp in front of this transport gives them, and their ports, to libp2p-tcp.
    pub fn with_tcp(mut self, tcp: bool) -> Self {
        self.speaks_tcp = tcp;
        self
    }

    /// Proxies in front of this node, which tell the address of their client. That address is the `send_back_addr` of the
    /// connection, by which limits, the scores of gossipsub, identify and AutoNAT know the client. It counts towards the
    /// [pending handshakes](Self::with_max_pending_handshakes) of one remote address, as the address of the proxy does not.
    /// Its port is 0 if the proxy does not tell it.
    ///
    /// ```
    /// use libp2p_lazy_websocket::websocket::{Config, Proxies};
    ///
    /// // HTTP proxies on this host, which add to `X-Forwarded-For`:
    /// let http = Config::default().with_proxies(Proxies::http(["127.0.0.1".parse()?]));
    /// // TCP load balancers in this network, which use the PROXY protocol:
    /// let tcp = Config::default().with_proxies(Proxies::tcp(["10.1.0.0/16".parse()?]));
    /// # drop((http, tcp));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A second call replaces the first. A connection from an HTTP proxy without the header has the address of the proxy,
    /// and a warning in the log, once in a process. A connection from a TCP proxy without the header is closed, and
    /// [counted](crate::websocket::Counters::unknown).
    ///
    /// Defaults to none: nobody is believed.
    pub fn with_proxies(mut self, proxies: Proxies) -> Self {
        self.proxies = Some(proxies);
        self
    }

    /// The proxy through which all dials of this transport go: WebSocket with and without TLS, TCP, and redirects.
    ///
    /// ```
    /// use libp2p_lazy_websocket::websocket::{Config, OutgoingProxy};
    ///
    /// let proxy = OutgoingProxy::socks5("127.0.0.1:9050")?.with_direct(["10.0.0.0/8".parse()?]);
    /// let config = Config::default().with_outgoing_proxy(proxy);
    /// # drop(config);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The node connects only to the proxy and to the networks of [`OutgoingProxy::with_direct`]. Dialled names and IP
    /// addresses are sent to the proxy as they are: it looks up the names, and chooses the address family also of `/dns4` and
    /// `/dns6`. The node itself looks up the name of the proxy, and **the TXT records of a `/dnsaddr`, which tell its resolver
    /// what is dialled**: [`with_dnsaddr(false)`](Self::with_dnsaddr) prevents that. Certificates are verified against the
    /// dialled name, so a proxy cannot read or change what goes through TLS.
    ///
    /// The dial timeout includes the handshake with the proxy. A failure is an
    /// [`Error::Proxy`](crate::websocket::Error::Proxy), also for a dial in the role of a listener, as in hole punching, which
    /// no proxy can do. Other transports of the swarm, such as QUIC, do not use the proxy. Neither do the requests of AutoTLS.
    ///
    /// Applies to both engines. Defaults to none: the environment (`ALL_PROXY`, `HTTPS_PROXY`) is
    /// not read.
    pub fn with_outgoing_proxy(mut self, proxy: OutgoingProxy) -> Self {
        self.outgoing_proxy = Some(Arc::new(proxy));
        self
    }

    /// Adds a source of a certificate of TLS listeners. The certificate may come later: TLS listeners wait for it.
    ///
    /// With several, a client is served the first certificate that has the name it asks for (SNI), and otherwise the first
    /// of all: a dialer by IP asks for no name. The listeners are announced by the names of all. With `Engine::Libp2p` only
    /// the first certificate is served.
    ///
    /// Defaults to none. Without it, TLS addresses are not supported for listening.
    pub fn with_certificates(mut self, certificates: Certificates) -> Self {
        self.certificates.push(certificates);
        self
    }

    /// Adds a certificate that dials trust: that of an authority, or of one node.
    ///
    /// With [`Engine::Stream`], a peer may also present the added certificate itself, even if it is marked as that of
    /// an authority (`CA:TRUE`), as `openssl req -x509` marks them. Its dates and names are verified as usual.
    /// libp2p-websocket refuses such a certificate with
    /// [`TlsError::CaUsedAsEndEntity`](crate::websocket::TlsError::CaUsedAsEndEntity).
    ///
    /// Anchors are added to the roots that browsers trust (Mozilla's list), or that the system trusts if
    /// `with_system_roots` is set.
    pub fn with_trust_anchor(mut self, anchor: TrustAnchor) -> Self {
        self.trust_anchors.push(anchor);
        self
    }

    /// Whether dials trust the roots of the operating system in place of Mozilla's list, which is as old as the
    /// build. The roots are read when the transport is created: from the paths that OpenSSL uses (`SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` override them), the keychain of macOS or the store of Windows. If there are none, a warning is
    /// logged, and Mozilla's list stays in use.
    ///
    /// Defaults to false, because many containers have no roots. Only used by `Engine::Stream`.
    #[cfg(feature = "system-roots")]
    pub fn with_system_roots(mut self, trusted: bool) -> Self {
        self.trusts_system = trusted;
        self
    }

    /// Maximum number of HTTP redirects that a dial follows.
    ///
    /// Defaults to 0: with redirects, the remote chooses the next host that this node connects to.
    pub fn with_max_redirects(mut self, max: u8) -> Self {
        self.max_redirects = max;
        self
    }

    /// Whether a listener accepts only requests for the path of its own address, which is `/` if the address has
    /// none. The query of a request is ignored. Other requests are answered with 404 and end with
    /// [`HandshakeError::NotFound`](crate::websocket::HandshakeError::NotFound). With [visitors](Self::with_visitors), those
    /// of HTTP/1.1 are handed to the application instead, and end with
    /// [`HandshakeError::Visitor`](crate::websocket::HandshakeError::Visitor).
    ///
    /// Defaults to false, as in libp2p-websocket, because a proxy in front may have changed the path. Only used by
    /// `Engine::Stream`.
    pub fn with_path_matching(mut self, matching: bool) -> Self {
        self.matches_paths = matching;
        self
    }

    /// The application gets the connections whose first request is not for libp2p, to answer health checks, metrics or a page
    /// on the port of the node.
    ///
    /// ```
    /// use libp2p_lazy_websocket::websocket::Config;
    ///
    /// # #[cfg(feature = "tokio")]
    /// let config = Config::default().with_visitors(|visitor| {
    ///     tokio::spawn(async move {
    ///         match visitor.path() {
    ///             "/healthz" => visitor.answer(200, "text/plain", "ok\n").await,
    ///             _ => visitor.answer(404, "text/plain", "not here\n").await,
    ///         }
    ///     });
    /// });
    /// ```
    ///
    /// A health check that knows whether the listeners are ready is in `docs/production.md`. [`Visitor::path`] has the query.
    ///
    /// | the request | is handled by |
    /// | --- | --- |
    /// | no upgrade to WebSocket, also HTTP/1.0, with a body, or an upgrade to another protocol | the application |
    /// | an upgrade to WebSocket, for another path, with [`with_path_matching(true)`](Self::with_path_matching) | the application, for instance for a WebSocket of its own |
    /// | any other upgrade to WebSocket | libp2p, also if it is refused |
    /// | malformed, without exactly one `Host` in HTTP/1.1, too large, or HTTP/2 | this crate: it is answered with 400, 431 or 505 |
    ///
    /// Other answers than such short ones are up to an HTTP server, such as [hyper or axum](Visitor).
    ///
    /// The closure is called in the task of the connection. It should only start a task, or send the [`Visitor`] to one: while
    /// it blocks, so does a thread of the runtime. A panic in it is caught and logged, because an unwound task of a swarm would
    /// leave a pending connection behind, and the connection is closed.
    ///
    /// The swarm reports each visitor as an `IncomingConnectionError` with
    /// [`HandshakeError::Visitor`](crate::websocket::HandshakeError::Visitor), because it was told of a connection, which is not
    /// one of its own. [`Counters::visitors`] counts them.
    ///
    /// Never called with `Engine::Libp2p`, and not for connections of TCP without WebSocket. Defaults to none: such requests
    /// are answered with 400, 404, 405, 426 or 505.
    pub fn with_visitors(mut self, visitors: impl Fn(Visitor) + Send + Sync + 'static) -> Self {
        self.visitors = Some(Receive::new(visitors));
        self
    }

    /// Maximum number of [visitors](Self::with_visitors) at a time. Others are answered with 503 and closed.
    ///
    /// A visitor counts until it is dropped. One remote address may have a quarter of them, 16 by default and at least one,
    /// counted as [pending handshakes](Self::with_max_pending_handshakes) are, which visitors are no longer: loopback and
    /// [`with_proxies`](Self::with_proxies) have no such limit.
    ///
    /// Defaults to 64.
    pub fn with_max_visitors(mut self, max: NonZeroUsize) -> Self {
        self.max_visitors = max;
        self
    }

    /// The time of a [visitor](Self::with_visitors) from the end of its request's headers, for all that it sends and reads.
    /// After that, reading and writing fail with the kind [`TimedOut`](std::io::ErrorKind::TimedOut), unless the application
    /// has called [`Visitor::keep_open`].
    ///
    /// Defaults to 60 seconds. [`Duration::MAX`] disables the limit. The headers themselves have the time of a
    /// [handshake](Self::with_handshake_timeout).
    pub fn with_visit_timeout(mut self, timeout: Duration) -> Self {
        self.visit_timeout = timeout;
        self
    }

    /// The time from the TCP accept to the authenticated peer. On a transport that is `upgraded` it covers TLS, the
    /// WebSocket upgrade, Noise and Yamux; otherwise it ends with the WebSocket upgrade. A connection that takes
    /// longer is closed with [`Error::HandshakeTimedOut`](crate::websocket::Error::HandshakeTimedOut). Dials have the
    /// same time for Noise and Yamux.
    ///
    /// Defaults to 9 seconds, one less than the limit of `SwarmBuilder`, which names no reason and can be raised by
    /// its `with_connection_timeout`. js-libp2p allows 10 seconds for an inbound upgrade. [`Duration::MAX`] disables
    /// the deadline.
    pub fn with_handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Maximum number of pending handshakes of one port. A handshake is pending until the peer is authenticated, or,
    /// on a transport that is not `upgraded`, until the WebSocket upgrade is complete. When the limit is exceeded,
    /// the oldest pending handshake is closed with [`Error::Evicted`](crate::websocket::Error::Evicted) and
    /// [counted](crate::websocket::Counters::evicted).
    ///
    /// One remote address may have a quarter of them, 64 by default and at least one. Beyond that, the oldest of that
    /// address is closed. IPv6 addresses count by /56, and IPv4-mapped ones as IPv4. Loopback has no such limit, so
    /// that a proxy on this host can connect on behalf of all peers. A proxy on another host counts as one address unless
    /// it is one of [`with_proxies`](Self::with_proxies), whose clients count.
    /// All listeners on a port share the limit.
    ///
    /// Zero counts as one. Defaults to 256, enough for a thousand new connections a second with a round trip of a
    /// quarter of a second. To evict an honest dialer, as many others have to connect during its handshake, which
    /// takes a few round trips.
    pub fn with_max_pending_handshakes(mut self, max: usize) -> Self {
        self.max_pending_handshakes = max;
        self
    }

    /// Maximum size in bytes of a WebSocket message or frame received on an accepted connection, and of one sent on
    /// any connection. Only used by `Engine::Libp2p`. `Engine::Stream` buffers no message, and sends frames of up to
    /// 65,535 bytes; a lower limit here rejects them.
    ///
    /// libp2p-websocket allocates a frame as soon as its first byte arrives, and the remote chooses the length.
    /// Values above 16 MiB therefore count as 16 MiB. The fragments of a message are counted together. A larger
    /// message ends the connection with [`Error::MessageTooLarge`](crate::websocket::Error::MessageTooLarge).
    ///
    /// The limit does not apply to what is received on dialled connections: libp2p-websocket accepts messages of up
    /// to 256 MiB there, and has no option for it. A dialled peer can make this node allocate that much with one
    /// frame.
    ///
    /// Defaults to 256 KiB. The sender chooses the message size: js-libp2p sends less than 64 KiB, the limit of its
    /// Noise frames, and rust-libp2p less than 192 KiB, because its Noise collects up to 128 KiB and one frame before
    /// it writes. A bare connection of libp2p-websocket, without Noise above it, sends whatever it is given as one
    /// message; connections of this crate split it.
    #[cfg(feature = "libp2p-websocket")]
    pub fn with_max_frame_size(mut self, max: usize) -> Self {
        self.max_frame_size = max.clamp(1, MAX_FRAME_SIZE);
        self
    }

    /// The time without received bytes after which a connection sends a WebSocket ping. If nothing is received for
    /// the same time again, the connection ends with an error of the kind [`TimedOut`](std::io::ErrorKind::TimedOut).
    /// `None` disables pings; less than a second counts as a second.
    ///
    /// Without pings, a peer that has lost its network is noticed only after a write, which takes Linux a quarter of
    /// an hour. A peer whose process is stopped is never noticed.
    ///
    /// Defaults to 30 seconds, because proxies such as nginx close connections that are silent for 60. Only used by
    /// [`Engine::Stream`]; `Engine::Libp2p` answers pings and sends none.
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

    /// Whether a port counts as in use if any socket of this host listens on it, on the same address or on a
    /// wildcard. Used by the transports of the runtimes.
    ///
    /// Defaults to true. Listeners have `SO_REUSEPORT`, as in libp2p-tcp, so that dials can leave from the listening
    /// port. With that option, a second listener of the same user binds to the port as well, and the kernel splits
    /// the connections between the two. Disable the probe in all processes that share a port on purpose, for instance
    /// to balance its load.
    ///
    /// The probe binds a socket without `SO_REUSEPORT` to the address and drops it right before the bind. If it
    /// fails, the bind fails with the same error of the operating system. Connections that use the port do not count.
    /// On Linux, the probe finds all listeners. On macOS and the BSDs, and possibly on Windows, a wildcard and a
    /// specific address can share a port, so the probe finds only listeners on the same address. Two listeners that
    /// bind at the same moment may miss each other.
    #[cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
    pub fn with_port_probe(mut self, probe: bool) -> Self {
        self.shares_ports = !probe;
        self
    }

    /// The resolver for dialled names.
    ///
    /// Defaults to the resolver of the system (`getaddrinfo`) for addresses, and on tokio to the name servers of the
    /// system for the TXT records of a `/dnsaddr`, with up to 32 lookups at a time each. The other runtimes have no
    /// TXT lookup, and `/dnsaddr` is not supported there. Over [another TCP](crate::websocket::Transport::new), names
    /// are passed to that transport.
    pub fn with_resolver(mut self, resolver: impl Resolve) -> Self {
        self.resolver = Some(Resolver::new(Arc::new(resolver), true));
        self
    }

    /// Whether `/dnsaddr/<name>` is dialled, at the WebSocket addresses in the TXT records of the name. Without a
    /// resolver for TXT records it is not supported: see [`with_resolver`](Self::with_resolver).
    ///
    /// Defaults to true. Disable it if a later transport in an `OrTransport`, such as TCP or QUIC, should dial
    /// addresses of a `/dnsaddr`: the first transport that accepts an address keeps it, and this transport accepts a
    /// `/dnsaddr` before it knows whether it leads to WebSocket. After a transport that does not support `/dnsaddr`,
    /// it can stay enabled.
    pub fn with_dnsaddr(mut self, dnsaddr: bool) -> Self {
        self.resolves_dnsaddr = dnsaddr;
        self
    }

    /// The time from the dial to the end of the WebSocket handshake, including lookups and TLS. A dial that takes
    /// longer ends with the errors of all attempts, among them an
    /// [`Error::DialTimedOut`](crate::websocket::Error::DialTimedOut) for each address that has not answered.
    ///
    /// Defaults to 9 seconds, one less than the limit of `SwarmBuilder` for the whole connection, which would end the
    /// dial without a reason. [`Duration::MAX`] disables the deadline. With `Engine::Libp2p` it applies only to the
    /// TCP connection, except for a `/dnsaddr`.
    pub fn with_dial_timeout(mut self, timeout: Duration) -> Self {
        self.dial_timeout = timeout;
        self
    }

    /// The one that the application has given, or else this one.
    pub(super) fn resolver(&self, system: Option<Resolver>) -> Option<Resolver> {
        let resolver = self.resolver.clone().or(system);
        resolver.map(|resolver| resolver.with_dnsaddr(self.resolves_dnsaddr))
    }

    pub(super) fn proxies(&self) -> Option<&Proxies> {
        self.proxies.as_ref()
    }

    pub(super) fn outgoing_proxy(&self) -> Option<Arc<OutgoingProxy>> {
        self.outgoing_proxy.clone()
    }

    pub(super) fn speaks_tcp(&self) -> bool {
        self.speaks_tcp
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

    pub(super) fn visitors(&self, counters: &Counters) -> Option<Visitors> {
        let receive = self.visitors.clone()?;
        let limits = Limits {
            max: self.max_visitors,
            timeout: self.visit_timeout,
            proxies: self.proxies.clone(),
        };
        Some(Visitors::new(receive, limits, counters.clone()))
    }

    pub(super) fn certificates(&self) -> &[Certificates] {
        &self.certificates
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
