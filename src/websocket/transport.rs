use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{AsyncRead, AsyncWrite, FutureExt as _, future::BoxFuture};
use libp2p_core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use multiaddr::Multiaddr;

#[cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
use crate::websocket::{interfaces::Watch, probe::probe};
use crate::{
    deadline,
    lazy::{Changed, Inner, Support},
    websocket::{
        Config, Connection, Error,
        address::{Listen, Security, is_specific},
        engine::{Running, Upgrading},
        handshake::{Admission, Handshake},
        interfaces::Interfaces,
        names::{Action, Names},
        tls::Tls,
    },
};

/// How often one `poll` goes on to the next event from below after one that led to nothing.
pub(super) const MAX_FRUITLESS_PER_POLL: usize = 64;

type Upgrade = BoxFuture<'static, Result<Connection, Error>>;

/// WebSocket over `T`, a transport that listens on `/ip4|ip6/<ip>/tcp/<port>`.
///
/// `T` should resolve names when it dials, if names are to be dialled. Hand it to
/// [`lazy::Transport`](crate::lazy::Transport): by itself it binds in `listen_on`.
///
/// Dropping this transport drops `T`, whatever dials are under way. A `T` whose own dials share it, as those of
/// libp2p-dns do, keeps its listening sockets open until they end.
///
/// A certificate that comes later is taken up in `Inner::poll_changed`, which `lazy::Transport` calls in each poll.
///
/// The TCP options of [`Config`] and its port probe are for whoever makes `T`; they do nothing here. Nor are the
/// interfaces of the host watched: that is in `websocket::tokio` and its like.
pub struct Transport<T>
where
    T: libp2p_core::Transport + Unpin + Send + 'static,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T::Error: Send + Sync + 'static,
    T::ListenerUpgrade: Send + 'static,
    T::Dial: Send + 'static,
{
    engine: Running<T>,
    tls: Tls,
    names: Names,
    interfaces: Interfaces,
    /// Fails if somebody else listens there.
    probe: Option<fn(SocketAddr) -> io::Result<()>>,
    admission: Admission,
    handshake_timeout: Duration,
}

impl<T> Transport<T>
where
    T: libp2p_core::Transport + Unpin + Send + 'static,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T::Error: Send + Sync + 'static,
    T::ListenerUpgrade: Send + 'static,
    T::Dial: Send + 'static,
{
    /// WebSocket over `tcp`.
    pub fn new(tcp: T, config: &Config) -> Self {
        let tls = Tls::new(config);
        Self {
            engine: Running::new(tcp, config, &tls),
            tls,
            names: Names::default(),
            interfaces: Interfaces::new(None),
            probe: None,
            admission: Admission::new(config.max_half_open(), config.counters()),
            handshake_timeout: config.handshake_timeout(),
        }
    }

    /// Over sockets of this host: watches its interfaces for listeners on a specific address, and finds out who else
    /// listens, if `config` wants it.
    #[cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
    pub(super) fn on_this_host(mut self, watch: Watch, config: &Config) -> Self {
        self.interfaces = Interfaces::new(Some(watch));
        self.probe = config.probes_ports().then_some(probe);
        self
    }

    /// Listens on an address that an engine understands, and that says this.
    fn bind(
        &mut self,
        id: ListenerId,
        addr: Multiaddr,
        listen: Listen,
    ) -> Result<(), TransportError<Error>> {
        let at = listen.socket_address();
        if let (Some(probe), Some(at)) = (self.probe, at) {
            probe(at).map_err(|error| TransportError::Other(Error::Transport(Box::new(error))))?;
        }
        let Some(ip) = at.map(|at| at.ip()).filter(|ip| is_specific(*ip)) else {
            return self.engine.listen_on(id, addr, listen);
        };
        self.interfaces.on_binding();
        let bound = self.engine.listen_on(id, addr, listen);
        if bound.as_ref().err().is_none_or(is_not_there) {
            self.interfaces.on_bound(id, ip, bound.is_ok());
        }
        bound
    }

    /// Does what `names` wants.
    fn carry_out(&mut self) {
        while let Some(action) = self.names.poll_action() {
            match action {
                Action::Bind { part, address } => {
                    let bound = match Listen::parse(&address) {
                        Some(listen) => self.bind(part, address, listen),
                        None => Err(TransportError::MultiaddrNotSupported(address)),
                    };
                    self.names.on_bound(part, bound);
                }
                Action::Remove { part } => {
                    self.interfaces.on_removed(part);
                    let was_there = self.engine.remove_listener(part);
                    self.names.on_removed(part, was_there);
                }
            }
        }
    }

    /// The event as this transport reports it: whoever connects has a place and a deadline.
    fn admit(&self, event: TransportEvent<Upgrading<T>, Error>) -> TransportEvent<Upgrade, Error> {
        let TransportEvent::Incoming {
            listener_id,
            upgrade,
            local_addr,
            send_back_addr,
        } = event
        else {
            return event.map_upgrade(Upgrading::boxed);
        };
        let place = self.admission.admit(&local_addr, &send_back_addr);
        let timeout = self.handshake_timeout;
        TransportEvent::Incoming {
            listener_id,
            upgrade: Handshake::new(upgrade, place, deadline::now(), timeout).boxed(),
            local_addr,
            send_back_addr,
        }
    }
}

impl<T> fmt::Debug for Transport<T>
where
    T: libp2p_core::Transport + Unpin + Send + 'static,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T::Error: Send + Sync + 'static,
    T::ListenerUpgrade: Send + 'static,
    T::Dial: Send + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("tls_listeners", &self.tls.support())
            .finish_non_exhaustive()
    }
}

impl<T> Inner for Transport<T>
where
    T: libp2p_core::Transport + Unpin + Send + 'static,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T::Error: Send + Sync + 'static,
    T::ListenerUpgrade: Send + 'static,
    T::Dial: Send + 'static,
{
    fn support(&self, address: &Multiaddr) -> Support {
        match Listen::parse(address).map(|listen| listen.security) {
            Some(Security::Plain) => Support::Now,
            Some(Security::Tls) => self.tls.support(),
            None => Support::Never,
        }
    }

    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<Changed> {
        if let Poll::Ready(is_new) = self.tls.poll_changed(cx) {
            if is_new {
                self.engine.set_tls(&self.tls);
            }
            return Poll::Ready(Changed::Support);
        }
        let engine = &mut self.engine;
        self.interfaces
            .poll(cx, |id| engine.remove_listener(id))
            .map(|()| Changed::Network)
    }
}

impl<T> libp2p_core::Transport for Transport<T>
where
    T: libp2p_core::Transport + Unpin + Send + 'static,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T::Error: Send + Sync + 'static,
    T::ListenerUpgrade: Send + 'static,
    T::Dial: Send + 'static,
{
    type Output = Connection;
    type Error = Error;
    type ListenerUpgrade = Upgrade;
    type Dial = Upgrade;

    fn listen_on(
        &mut self,
        id: ListenerId,
        addr: Multiaddr,
    ) -> Result<(), TransportError<Self::Error>> {
        let Some(listen) = Listen::parse(&addr) else {
            return Err(TransportError::MultiaddrNotSupported(addr));
        };
        let listening = match listen.translate(&addr) {
            None => self.bind(id, addr.clone(), listen),
            Some(translation) => {
                self.names.on_listen(id, translation);
                self.carry_out();
                self.names.on_listened(id)
            }
        };
        listening.map_err(|error| match error {
            // What comes back may be only the TCP part.
            TransportError::MultiaddrNotSupported(_) => TransportError::MultiaddrNotSupported(addr),
            other => other,
        })
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        if self.names.on_remove(id) {
            self.carry_out();
            return true;
        }
        self.interfaces.on_removed(id);
        self.engine.remove_listener(id)
    }

    fn dial(
        &mut self,
        addr: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<Self::Error>> {
        self.engine.dial(addr, opts).map(Upgrading::boxed)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        let this = &mut *self;
        for _ in 0..MAX_FRUITLESS_PER_POLL {
            this.carry_out();
            if let Some(report) = this.names.poll_report() {
                return Poll::Ready(report.map_upgrade(|never| match never {}));
            }
            let mut event = match ready!(this.engine.poll(cx)) {
                // Nothing below has anything to do with it, and a start has one for each listener.
                TransportEvent::NewAddress {
                    listener_id,
                    listen_addr,
                } if this.names.is_empty() => {
                    return Poll::Ready(TransportEvent::NewAddress {
                        listener_id,
                        listen_addr,
                    });
                }
                event => event,
            };
            this.interfaces.on_event(&mut event);
            if let Some(event) = this.names.on_event(event) {
                return Poll::Ready(this.admit(event));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Whether no interface of this host has the address.
fn is_not_there(error: &TransportError<Error>) -> bool {
    match error {
        TransportError::MultiaddrNotSupported(_) => false,
        TransportError::Other(error) => error
            .io()
            .is_some_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable),
    }
}

#[cfg(test)]
mod tests;
