//! What speaks WebSocket below the names, the limits and the certificates of a transport.

use std::{
    collections::HashMap,
    fmt,
    task::{Context, Poll, ready},
};

use libp2p_core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use multiaddr::Multiaddr;

#[cfg(feature = "libp2p-websocket")]
use crate::websocket::libp2p;
use crate::websocket::{
    Config, Connection, Engine, Error,
    address::{Listen, Security},
    below::{Below, Io, Pending},
    dial::Resolver,
    path::Path,
    tls::Tls,
};

mod stream;

/// How many events one `poll` drops before it asks to be polled again.
const MAX_DROPPED_PER_POLL: usize = 64;

/// Listens on TCP, on addresses that have a part less, and lets one of them speak on what comes in.
pub(super) struct Running {
    below: Below,
    /// One for each `listen_on` that succeeded and whose `ListenerClosed` has not been reported.
    listeners: HashMap<ListenerId, Listener>,
    has_exact_paths: bool,
    speaker: Speaker,
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

enum Speaker {
    #[cfg(feature = "libp2p-websocket")]
    Libp2p(libp2p::Libp2p),
    Stream(stream::Streams),
}

impl Speaker {
    fn has_certificate(&self) -> bool {
        match self {
            #[cfg(feature = "libp2p-websocket")]
            Self::Libp2p(engine) => engine.has_certificate(),
            Self::Stream(engine) => engine.has_certificate(),
        }
    }
}

impl Running {
    /// Without a resolver, names are given to what is below.
    pub(super) fn new(
        below: Below,
        resolver: Option<Resolver>,
        config: &Config,
        tls: &Tls,
    ) -> Self {
        let dialer = below.dialer();
        let speaker = match config.engine() {
            #[cfg(feature = "libp2p-websocket")]
            Engine::Libp2p => Speaker::Libp2p(libp2p::Libp2p::new(dialer, resolver, config, tls)),
            Engine::Stream => Speaker::Stream(stream::Streams::new(dialer, resolver, config, tls)),
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
        self.below.listen_on(id, tcp)?;
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
        self.below.remove_listener(id)
    }

    /// Nothing is done before it is polled.
    pub(super) fn dial(
        &self,
        address: Multiaddr,
        opts: DialOpts,
    ) -> Result<Pending<Connection>, TransportError<Error>> {
        match &self.speaker {
            #[cfg(feature = "libp2p-websocket")]
            Speaker::Libp2p(engine) => engine.dial(address, opts),
            Speaker::Stream(engine) => engine.dial(&address, opts),
        }
    }

    /// Takes up a new certificate.
    pub(super) fn set_tls(&mut self, tls: &Tls) {
        match &mut self.speaker {
            #[cfg(feature = "libp2p-websocket")]
            Speaker::Libp2p(engine) => engine.set_tls(tls),
            Speaker::Stream(engine) => engine.set_tls(tls),
        }
    }

    /// What happens to the listeners. Nothing of those whose `listen_on` failed, and nothing after a close.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Pending<Connection>, Error>> {
        for _ in 0..MAX_DROPPED_PER_POLL {
            let event = ready!(self.below.poll(cx));
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
        event: TransportEvent<Pending<Io>, Error>,
    ) -> Option<TransportEvent<Pending<Connection>, Error>> {
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
                    #[cfg(feature = "libp2p-websocket")]
                    Speaker::Libp2p(engine) => {
                        let from = send_back_addr.clone();
                        engine.accept(upgrade, listener.security, from)?
                    }
                    Speaker::Stream(engine) => {
                        let only = listener.only.clone();
                        engine.accept(upgrade, listener.security, only)?
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
                    reason,
                }
            }
            TransportEvent::ListenerError { listener_id, error } => {
                self.listeners.get(&listener_id)?;
                TransportEvent::ListenerError { listener_id, error }
            }
        })
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}
