//! What speaks WebSocket below the names, the limits and the certificates of a transport.

use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{FutureExt as _, future::BoxFuture};
use libp2p_core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use multiaddr::Multiaddr;

use crate::websocket::{
    Config, Connection, Error,
    address::{Listen, Security},
    below::{Below, Tcp},
    path::Path,
    tls::Tls,
};

mod bounded;
mod libp2p;
mod stream;

/// How many events one `poll` drops before it asks to be polled again.
const MAX_DROPPED_PER_POLL: usize = 64;

/// What speaks WebSocket. Either side of a connection may have either, and cannot tell which the other has.
///
/// Addresses, names, certificates, limits and counters are the same with both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Engine {
    /// libp2p-websocket.
    #[default]
    Libp2p,
    /// [`Stream`](crate::websocket::Stream) of this crate, which is faster and takes less memory.
    ///
    /// Whoever talks to it sees a difference only here:
    ///
    /// - Text frames are an error. libp2p sends none.
    /// - A connection that ends inside a frame, or over TLS without a `close_notify`, ends with an error.
    /// - The `Host` header leaves out the default port, as browsers do, and with `/tls/sni/<host>/ws` is that host.
    /// - A path that cannot stand in a request is encoded, as browsers do.
    /// - A redirect may leave out the default port. From TLS it does not lead to where there is none.
    /// - A listener answers a request that it refuses, and one that has a body is refused.
    /// - The headers of a request or a response may be 100 in 16 KiB; libp2p-websocket closes on more than 32.
    /// - If a dial is refused, the error has the status, the reason phrase and the beginning of the body, which is
    ///   waited for at most a second. So it is if the answer is in HTTP/1.0.
    /// - An answer that uses an extension, of which none was asked for, is refused.
    /// - A frame that is accepted or dialled may be of any size, since none is kept in memory as a whole.
    Stream,
}

/// Listens over `T`, on addresses that have a part less, and lets one of them speak on what comes in.
pub(super) struct Running<T: Tcp> {
    below: Below<T>,
    /// One for each `listen_on` that succeeded and whose `ListenerClosed` has not been reported.
    listeners: HashMap<ListenerId, Listener>,
    has_exact_paths: bool,
    speaker: Speaker<T>,
}

struct Listener {
    security: Security,
    /// As it was given, on an IP.
    address: Multiaddr,
    /// The only path that may be requested.
    only: Option<Path>,
}

impl Listener {
    /// An address of the transport below as that of this listener: with what follows its port.
    fn shown(&self, below: Multiaddr) -> Multiaddr {
        self.address.iter().skip(2).fold(below, Multiaddr::with)
    }
}

enum Speaker<T: Tcp> {
    Libp2p(libp2p::Libp2p<T>),
    Stream(stream::Streams<T>),
}

impl<T: Tcp> Speaker<T> {
    fn has_certificate(&self) -> bool {
        match self {
            Self::Libp2p(engine) => engine.has_certificate(),
            Self::Stream(engine) => engine.has_certificate(),
        }
    }
}

impl<T: Tcp> Running<T> {
    pub(super) fn new(tcp: T, config: &Config, tls: &Tls) -> Self {
        let below = Below::new(tcp);
        let speaker = match config.engine() {
            Engine::Libp2p => Speaker::Libp2p(libp2p::Libp2p::new(below.dialer(), config, tls)),
            Engine::Stream => Speaker::Stream(stream::Streams::new(below.dialer(), config, tls)),
        };
        Self {
            below,
            listeners: HashMap::default(),
            has_exact_paths: config.has_exact_paths(),
            speaker,
        }
    }

    /// Listens on `address`, `<ip>/tcp/<port>` with `/ws`, `/wss` or `/tls/ws` behind it, each with or without a path.
    /// `listen` is what it says.
    pub(super) fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
        listen: Listen,
    ) -> Result<(), TransportError<Error>> {
        if listen.security == Security::Tls && !self.speaker.has_certificate() {
            return Err(TransportError::MultiaddrNotSupported(address));
        }
        let Some(tcp) = listen.tcp(&address) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        self.below
            .lock()
            .listen_on(id, tcp)
            .map_err(|error| error.map(|error| Error::Transport(Box::new(error))))?;
        let listener = Listener {
            security: listen.security,
            only: self.has_exact_paths.then(|| Path::of(&address)),
            address,
        };
        self.listeners.insert(id, listener);
        Ok(())
    }

    /// Returns whether it was there. If so, its `ListenerClosed` is still to come.
    pub(super) fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.below.lock().remove_listener(id)
    }

    pub(super) fn dial(
        &mut self,
        address: Multiaddr,
        opts: DialOpts,
    ) -> Result<Upgrading<T>, TransportError<Error>> {
        match &mut self.speaker {
            Speaker::Libp2p(engine) => engine.dial(address, opts).map(Upgrading::Libp2p),
            Speaker::Stream(engine) => engine.dial(&address, opts).map(Upgrading::Stream),
        }
    }

    /// Takes up a new certificate.
    pub(super) fn set_tls(&mut self, tls: &Tls) {
        match &mut self.speaker {
            Speaker::Libp2p(engine) => engine.set_tls(tls),
            Speaker::Stream(engine) => engine.set_tls(tls),
        }
    }

    /// What happens to the listeners. Nothing of those whose `listen_on` failed, and nothing after a close.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Upgrading<T>, Error>> {
        for _ in 0..MAX_DROPPED_PER_POLL {
            let event = ready!(Pin::new(&mut *self.below.lock()).poll(cx));
            if let Some(event) = self.translate(event) {
                return Poll::Ready(event);
            }
            tracing::debug!("dropped an event of a listener that is not there");
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// An event from below as this transport reports it; `None` if nobody knows the listener. libp2p-tcp has such
    /// events: of one whose `listen_on` failed in its last step.
    fn translate(
        &mut self,
        event: TransportEvent<T::ListenerUpgrade, T::Error>,
    ) -> Option<TransportEvent<Upgrading<T>, Error>> {
        Some(match event {
            TransportEvent::NewAddress {
                listener_id,
                listen_addr,
            } => TransportEvent::NewAddress {
                listener_id,
                listen_addr: self.listeners.get(&listener_id)?.shown(listen_addr),
            },
            TransportEvent::AddressExpired {
                listener_id,
                listen_addr,
            } => TransportEvent::AddressExpired {
                listener_id,
                listen_addr: self.listeners.get(&listener_id)?.shown(listen_addr),
            },
            TransportEvent::Incoming {
                listener_id,
                upgrade,
                local_addr,
                send_back_addr,
            } => {
                let listener = self.listeners.get(&listener_id)?;
                let upgrade = match &mut self.speaker {
                    Speaker::Libp2p(engine) => {
                        let from = send_back_addr.clone();
                        Upgrading::Libp2p(engine.accept(upgrade, listener.security, from)?)
                    }
                    Speaker::Stream(engine) => {
                        let only = listener.only.clone();
                        Upgrading::Stream(engine.accept(upgrade, listener.security, only)?)
                    }
                };
                TransportEvent::Incoming {
                    listener_id,
                    upgrade,
                    local_addr: listener.shown(local_addr),
                    send_back_addr: listener.shown(send_back_addr),
                }
            }
            TransportEvent::ListenerClosed {
                listener_id,
                reason,
            } => {
                self.listeners.remove(&listener_id)?;
                TransportEvent::ListenerClosed {
                    listener_id,
                    reason: reason.map_err(|error| Error::Transport(Box::new(error))),
                }
            }
            TransportEvent::ListenerError { listener_id, error } => {
                self.listeners.get(&listener_id)?;
                TransportEvent::ListenerError {
                    listener_id,
                    error: Error::Transport(Box::new(error)),
                }
            }
        })
    }
}

impl<T: Tcp> fmt::Debug for Running<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

/// A connection that is accepted or dialled, until the end of its WebSocket handshake.
pub(super) enum Upgrading<T: Tcp> {
    Libp2p(libp2p::Upgrading<T>),
    Stream(BoxFuture<'static, Result<Connection, Error>>),
}

impl<T: Tcp> Upgrading<T> {
    pub(super) fn boxed(self) -> BoxFuture<'static, Result<Connection, Error>> {
        match self {
            Self::Libp2p(upgrading) => Box::pin(upgrading),
            Self::Stream(upgrading) => upgrading,
        }
    }
}

impl<T: Tcp> Future for Upgrading<T> {
    type Output = Result<Connection, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Libp2p(upgrading) => upgrading.poll_unpin(cx),
            Self::Stream(upgrading) => upgrading.poll_unpin(cx),
        }
    }
}
