//! The implementation of WebSocket on the connections of a transport.

use libp2p_core::transport::{DialOpts, TransportError};
use multiaddr::Multiaddr;

#[cfg(feature = "libp2p-websocket")]
use crate::websocket::libp2p;
use crate::websocket::{
    Config, Connection, Engine, Error, address::Kind, below::Pending, dial::Outbound,
    hearing::Incoming, listen::Listen, listeners::Accepted, tls::Tls, visitors::Visitors,
};

mod stream;

pub(super) enum Speaker {
    #[cfg(feature = "libp2p-websocket")]
    Libp2p(libp2p::Libp2p),
    Stream(stream::Streams),
}

impl Speaker {
    pub(super) fn new(
        outbound: Outbound,
        config: &Config,
        tls: &Tls,
        visitors: Option<Visitors>,
    ) -> Self {
        match config.engine() {
            #[cfg(feature = "libp2p-websocket")]
            Engine::Libp2p => Self::Libp2p(libp2p::Libp2p::new(outbound, config, tls)),
            Engine::Stream => Self::Stream(stream::Streams::new(outbound, config, tls, visitors)),
        }
    }

    /// Whether listeners of this kind can be served, as soon as there is a certificate for those that need one.
    pub(super) fn supports(&self, listen: &Listen) -> bool {
        match self {
            #[cfg(feature = "libp2p-websocket")]
            Self::Libp2p(_) => listen.kind != Kind::Tcp && !listen.has_labels(),
            Self::Stream(engine) => listen.kind != Kind::Tcp || engine.speaks_tcp(),
        }
    }

    /// Whether there is a certificate for those that need one.
    pub(super) fn has_certificate(&self) -> bool {
        match self {
            #[cfg(feature = "libp2p-websocket")]
            Self::Libp2p(engine) => engine.has_certificate(),
            Self::Stream(engine) => engine.has_certificate(),
        }
    }

    /// Does nothing before it is polled. `None` if TLS is needed and there is no certificate.
    pub(super) fn accept(
        &mut self,
        incoming: Incoming,
        accepted: &Accepted,
    ) -> Option<Pending<Connection>> {
        match self {
            #[cfg(feature = "libp2p-websocket")]
            Self::Libp2p(engine) => engine.accept(incoming, accepted.kind, accepted.remote.clone()),
            Self::Stream(engine) => engine.accept(incoming, accepted),
        }
    }

    /// Does nothing before it is polled.
    pub(super) fn dial(
        &self,
        address: Multiaddr,
        opts: DialOpts,
    ) -> Result<Pending<Connection>, TransportError<Error>> {
        match self {
            #[cfg(feature = "libp2p-websocket")]
            Self::Libp2p(engine) => engine.dial(address, opts),
            Self::Stream(engine) => engine.dial(&address, opts),
        }
    }

    /// Takes up a new certificate.
    pub(super) fn set_tls(&mut self, tls: &Tls) {
        match self {
            #[cfg(feature = "libp2p-websocket")]
            Self::Libp2p(engine) => engine.set_tls(tls),
            Self::Stream(engine) => engine.set_tls(tls),
        }
    }
}
