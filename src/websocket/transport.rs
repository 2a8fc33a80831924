use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite, FutureExt as _};
use libp2p_core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use multiaddr::{Multiaddr, Protocol};

#[cfg(feature = "metrics")]
use crate::websocket::certificates;
#[cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
use crate::websocket::{interfaces::Watch, probe::probe};
use crate::{
    deadline,
    lazy::{self, Changed, ListenSupport, Support},
    websocket::{
        Config, Connection, Counters, Error, Proxies,
        address::{Kind, ip, log_unsupported, socket_address},
        below::{Below, Io, Pending},
        dial::{Outbound, Resolver},
        engine::Speaker,
        handshake::{Admission, Handshake},
        hearing::{Arrived, Heard, Hearing, Incoming, Wanted},
        interfaces::{Interfaces, Meaning},
        listen::Listen,
        listeners::{Action, Listeners},
        path::Path,
        tls::Tls,
    },
};

/// How often one `poll` goes on to the next event from below after one that led to nothing.
pub(super) const MAX_FRUITLESS_PER_POLL: usize = 64;

/// How many changes of the interfaces one `poll` takes up, and how many sockets it closes for them.
const MAX_CHANGES_PER_POLL: usize = 64;

/// WebSocket over TCP, to be wrapped in a [`lazy::Transport`]. By itself it binds in `listen_on`.
///
/// Dropping this transport drops the TCP transport below, also during dials. A TCP transport that is shared by its own
/// dials, as in libp2p-dns, keeps its listening sockets open until these dials end.
///
/// A new certificate is taken up in `ListenSupport::poll_changed`, which `lazy::Transport` calls in each poll.
///
/// The TCP options and the port probe of [`Config`], and the watching of interfaces, apply only to the TCP of the runtimes.
pub struct Transport {
    below: Below,
    speaker: Speaker,
    tls: Tls,
    listeners: Listeners,
    interfaces: Interfaces,
    /// Fails if somebody else listens there.
    probe: Option<fn(SocketAddr) -> io::Result<()>>,
    admission: Admission,
    hearing: Hearing,
    proxies: Option<Arc<Proxies>>,
    counters: Counters,
    holds_places: bool,
    config: Config,
}

impl Transport {
    /// WebSocket over `tcp`, which has to listen on and dial `/ip4|ip6/<ip>/tcp/<port>`.
    ///
    /// Dialled names are looked up by [`Config::with_resolver`]. Without one, they are passed to `tcp`.
    pub fn new<T>(tcp: T, config: Config) -> Self
    where
        T: libp2p_core::Transport<
                Output: AsyncRead + AsyncWrite + Send + 'static,
                Error: Send + Sync + 'static,
                ListenerUpgrade: Send + 'static,
                Dial: Send + 'static,
            > + Send
            + Unpin
            + 'static,
    {
        Self::over(Below::new(tcp), None, config)
    }

    /// With a resolver for those who have given none.
    pub(super) fn over(below: Below, system: Option<Resolver>, config: Config) -> Self {
        let tls = Tls::new(&config);
        let counters = Counters::default();
        let mut listeners = Listeners::default();
        listeners.on_certificate(tls.names());
        let outbound = Outbound {
            below: below.dialer(),
            resolver: config.resolver(system),
            timeout: config.dial_timeout(),
            proxy: config.outgoing_proxy(),
        };
        Self {
            speaker: Speaker::new(outbound, &config, &tls, config.visitors(&counters)),
            below,
            tls,
            listeners,
            interfaces: Interfaces::new(None),
            probe: None,
            admission: Admission::new(
                config.max_pending_handshakes(),
                config.handshake_timeout(),
                counters.clone(),
            ),
            hearing: Hearing::default(),
            proxies: config.proxies().cloned().map(Arc::new),
            counters,
            holds_places: false,
            config,
        }
    }

    /// The counters of accepted connections, which can be read while the transport runs.
    pub fn counters(&self) -> Counters {
        self.counters.clone()
    }

    #[cfg(any(feature = "metrics", feature = "upgrade"))]
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Connections that are accepted come with the bounds of their handshake, which is to go on.
    #[cfg(feature = "upgrade")]
    pub(super) fn hold_places(&mut self) {
        self.holds_places = true;
    }

    /// Over sockets of this host: watches its interfaces for listeners on a specific address, and finds out who else
    /// listens, if `config` wants it.
    #[cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
    pub(super) fn on_this_host(mut self, watch: Watch) -> Self {
        self.interfaces = Interfaces::new(Some(watch));
        self.probe = self.config.probes_ports().then_some(probe);
        self
    }

    fn bind(
        &mut self,
        socket: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<Error>> {
        let Some(at) = socket_address(&address) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        if let Some(probe) = self.probe {
            probe(at).map_err(|error| TransportError::Other(Error::below(error)))?;
        }
        self.interfaces.on_binding(at.ip());
        let bound = self.below.listen_on(socket, address);
        self.interfaces.on_bound(at.ip(), &bound);
        bound
    }

    /// Does what the listeners want.
    fn carry_out(&mut self) {
        while let Some(action) = self.listeners.poll_action() {
            match action {
                Action::Bind { socket, address } => {
                    let bound = self.bind(socket, address);
                    self.listeners.on_bound(socket, bound);
                }
                Action::Remove { socket } => {
                    let was_there = self.below.remove_listener(socket);
                    self.listeners.on_removed(socket, was_there);
                }
            }
        }
    }

    /// Gives a place and a deadline to whoever connects. `None` until it is known for whom it comes, or if that is nobody.
    fn admit(
        &mut self,
        arrived: Arrived<Pending<Io>>,
    ) -> Option<TransportEvent<Pending<Connection>, Error>> {
        let now = deadline::now();
        let remote = ip(&arrived.remote);
        let proxies = self.proxies.as_ref();
        let proxies = proxies.filter(|proxies| remote.is_some_and(|ip| proxies.are_at(ip)));
        let bounded = remote.filter(|_| proxies.is_none());
        let bounds = self.admission.admit(&arrived.local, bounded, now);
        let kind = self.listeners.only_kind(arrived.socket);
        if let (Some(_), None) = (kind, proxies) {
            return self.accept(Heard {
                arrived: arrived.map(Incoming::Unheard),
                kind,
                client: None,
                bounds,
            });
        }
        let proxies = proxies.cloned();
        self.hearing.push(arrived, Wanted { kind, proxies }, bounds);
        None
    }

    fn accept(&mut self, heard: Heard) -> Option<TransportEvent<Pending<Connection>, Error>> {
        let Heard {
            mut arrived,
            kind,
            client,
            bounds,
        } = heard;
        if let Some(client) = client {
            bounds.identify(client.ip());
            let ip = Multiaddr::from(client.ip());
            arrived.remote = ip.with(Protocol::Tcp(client.port()));
        }
        let accepted = kind.and_then(|kind| {
            self.listeners
                .claim(arrived.socket, kind, &arrived.local, &arrived.remote)
        });
        // What is counted comes before the end of a connection, after which the other side may look at it.
        let Some(accepted) = accepted else {
            tracing::debug!(from = %arrived.remote, local = %arrived.local, ?kind, "no listener is for a connection");
            bounds.refuse();
            return None;
        };
        let Some(upgrade) = self.speaker.accept(arrived.upgrade, &accepted) else {
            bounds.refuse();
            return None;
        };
        let is_pending = self.holds_places;
        let upgrade = Handshake::new(upgrade, bounds).map(move |ended| {
            let (connection, bounds) = ended?;
            connection.within(bounds, is_pending)
        });
        Some(TransportEvent::Incoming {
            listener_id: accepted.listener,
            upgrade: upgrade.boxed(),
            local_addr: accepted.local,
            send_back_addr: accepted.remote,
        })
    }
}

impl lazy::Transport<Transport> {
    /// The counters of accepted connections, which can be read while the transport runs.
    pub fn counters(&self) -> Counters {
        self.inner().counters()
    }

    /// Registers metrics of the listeners, of accepted connections and of the certificate:
    ///
    /// | `libp2p_websocket_…` | |
    /// | --- | --- |
    /// | `pending_handshakes` | a gauge, see [`Counters`] |
    /// | `evicted_total`, `timed_out_total`, `unknown_total`, `upgraded_total`, `visitors_total`, `refused_visitors_total` | see [`Counters`] |
    /// | `certificate_remaining_seconds` | a gauge: the remaining time of the certificate in use, by the clock of this host. Negative after it has expired, 0 if there is none. Of several, the least |
    /// | `certificates_refused_total` | the number of refused certificates. Files that are missing before the first certificate do not count |
    ///
    /// The last two exist only with [`Config::with_certificates`](crate::websocket::Config::with_certificates). Metrics of
    /// the listeners are those of [`Readiness::register_metrics`](crate::lazy::Readiness::register_metrics).
    ///
    /// Two alerts find most failures of a renewal: the gauge is below 7 days for an hour, which includes a certificate that
    /// never came, and the counter has increased within the last hour. The second one fires long before the first, and the
    /// log has the reason.
    ///
    /// ```text
    /// libp2p_websocket_certificate_remaining_seconds < 7 * 86400
    /// increase(libp2p_websocket_certificates_refused_total[1h]) > 0
    /// ```
    ///
    /// ```
    /// use libp2p_lazy_websocket::{discovery, lazy, websocket};
    /// use prometheus_client::registry::Registry;
    ///
    /// # #[cfg(feature = "gossipsub")]
    /// fn register_metrics(
    ///     registry: &mut Registry,
    ///     transport: &mut lazy::Transport<websocket::Transport>, // before it goes into the swarm
    ///     discovery: &mut discovery::Behaviour<discovery::Gossipsub>,
    /// ) {
    ///     transport.register_metrics(registry);
    ///     discovery.register_metrics(registry);
    /// }
    /// ```
    ///
    /// All series exist from the start. The registry is not written to between two scrapes.
    ///
    /// For several transports in one registry, give each a sub-registry with a label. The registry keeps the handle of the
    /// certificates, so their files are watched until it is dropped.
    #[cfg(feature = "metrics")]
    pub fn register_metrics(&mut self, registry: &mut prometheus_client::registry::Registry) {
        self.readiness().register_metrics(registry);
        self.counters().register_metrics(registry);
        certificates::register(registry, self.inner().config().certificates());
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("tls_listeners", &self.tls.support())
            .finish_non_exhaustive()
    }
}

impl ListenSupport for Transport {
    fn support(&self, address: &Multiaddr) -> Support {
        let supports = |listen: &Listen| self.speaker.supports(listen);
        self.listeners
            .support(address, supports, || self.tls.support())
    }

    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<Changed> {
        if let Poll::Ready(is_new) = self.tls.poll_changed(cx) {
            if is_new {
                self.speaker.set_tls(&self.tls);
                self.listeners.on_certificate(self.tls.names());
            }
            return Poll::Ready(Changed::Support);
        }
        for _ in 0..MAX_CHANGES_PER_POLL {
            if self.listeners.let_go() {
                self.carry_out();
                continue;
            }
            match ready!(self.interfaces.poll(cx)) {
                Some(Meaning::Left(ip)) if self.listeners.on_left(ip) => self.interfaces.want(ip),
                Some(Meaning::Returned) => return Poll::Ready(Changed::Network),
                Some(Meaning::Left(_)) | None => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl libp2p_core::Transport for Transport {
    type Output = Connection;
    type Error = Error;
    type ListenerUpgrade = Pending<Connection>;
    type Dial = Pending<Connection>;

    fn listen_on(
        &mut self,
        id: ListenerId,
        addr: Multiaddr,
    ) -> Result<(), TransportError<Self::Error>> {
        let listen = Listen::parse(&addr).filter(|listen| {
            let lacks_certificate = listen.kind == Kind::Wss && !self.speaker.has_certificate();
            self.speaker.supports(listen) && !lacks_certificate
        });
        let Some(listen) = listen else {
            return Err(TransportError::MultiaddrNotSupported(addr));
        };
        let only = self.config.matches_paths().then(|| Path::of(&addr));
        self.listeners.on_listen(id, &addr, listen, only);
        self.carry_out();
        let listening = self.listeners.on_listened(id);
        listening.map_err(|error| match error {
            // What comes back may be only the TCP part.
            TransportError::MultiaddrNotSupported(_) => TransportError::MultiaddrNotSupported(addr),
            other => other,
        })
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let was_there = self.listeners.on_remove(id);
        self.carry_out();
        was_there
    }

    fn dial(
        &mut self,
        addr: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<Self::Error>> {
        let dial = self.speaker.dial(addr, opts);
        if let Err(TransportError::MultiaddrNotSupported(address)) = &dial {
            log_unsupported(address);
        }
        dial
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        let this = &mut *self;
        for _ in 0..MAX_FRUITLESS_PER_POLL {
            this.carry_out();
            if let Some(report) = this.listeners.poll_report() {
                return Poll::Ready(report.map_upgrade(|never| match never {}));
            }
            let incoming = match this.hearing.poll(cx) {
                Poll::Ready(heard) => this.accept(heard),
                Poll::Pending => {
                    let event = ready!(this.below.poll(cx));
                    let arrived = this.listeners.on_event(event);
                    arrived.and_then(|arrived| this.admit(arrived))
                }
            };
            if let Some(incoming) = incoming {
                return Poll::Ready(incoming);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
