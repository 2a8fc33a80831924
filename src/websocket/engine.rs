//! What speaks WebSocket below the names, the limits and the certificates of a transport.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite, FutureExt as _, future::BoxFuture};
use libp2p_core::transport::{
    DialOpts, ListenerId, Transport as Below, TransportError, TransportEvent,
};
use multiaddr::Multiaddr;

use crate::websocket::{Config, Connection, Error, tls::Tls};

mod bounded;
mod libp2p;
mod stream;

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
    /// - The `Host` header leaves out the default port, as browsers do, and with `/tls/sni/<host>/ws` is that host.
    /// - A path that cannot stand in a request is encoded, as browsers do.
    /// - A redirect may leave out the default port. From TLS it does not lead to where there is none.
    /// - A listener answers a request that it refuses, and one that has a body is refused.
    /// - An answer that uses an extension, of which none was asked for, is refused.
    /// - A frame that is accepted or dialled may be of any size, since none is kept in memory as a whole.
    Stream,
}

/// One of them, over `T`.
#[derive(Debug)]
pub(super) enum Running<T>
where
    T: Below + Unpin,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    Libp2p(libp2p::Libp2p<T>),
    Stream(stream::Streams<T>),
}

impl<T> Running<T>
where
    T: Below + Unpin + Send + 'static,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T::Error: Send + Sync + 'static,
    T::ListenerUpgrade: Send + 'static,
    T::Dial: Send + 'static,
{
    pub(super) fn new(tcp: T, config: &Config, tls: &Tls) -> Self {
        match config.engine() {
            Engine::Libp2p => Self::Libp2p(libp2p::Libp2p::new(tcp, config, tls)),
            Engine::Stream => Self::Stream(stream::Streams::new(tcp, config, tls)),
        }
    }

    /// Listens on `<ip>/tcp/<port>` with `/ws`, `/wss` or `/tls/ws` behind it, each with or without a path.
    pub(super) fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<Error>> {
        match self {
            Self::Libp2p(engine) => engine.listen_on(id, address),
            Self::Stream(engine) => engine.listen_on(id, address),
        }
    }

    /// Returns whether it was there. If so, its `ListenerClosed` is still to come.
    pub(super) fn remove_listener(&mut self, id: ListenerId) -> bool {
        match self {
            Self::Libp2p(engine) => engine.remove_listener(id),
            Self::Stream(engine) => engine.remove_listener(id),
        }
    }

    pub(super) fn dial(
        &mut self,
        address: Multiaddr,
        opts: DialOpts,
    ) -> Result<Upgrading<T>, TransportError<Error>> {
        match self {
            Self::Libp2p(engine) => engine.dial(address, opts).map(Upgrading::Libp2p),
            Self::Stream(engine) => engine.dial(&address, opts).map(Upgrading::Stream),
        }
    }

    /// Takes up a new certificate.
    pub(super) fn set_tls(&mut self, tls: &Tls) {
        match self {
            Self::Libp2p(engine) => engine.set_tls(tls),
            Self::Stream(engine) => engine.set_tls(tls),
        }
    }

    /// What happens to the listeners. Nothing of those whose `listen_on` failed, and nothing after a close.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Upgrading<T>, Error>> {
        match self {
            Self::Libp2p(engine) => engine
                .poll(cx)
                .map(|event| event.map_upgrade(Upgrading::Libp2p)),
            Self::Stream(engine) => engine
                .poll(cx)
                .map(|event| event.map_upgrade(Upgrading::Stream)),
        }
    }
}

/// A connection that is accepted or dialled, until the end of its WebSocket handshake.
pub(super) enum Upgrading<T>
where
    T: Below + Unpin + Send + 'static,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T::Error: Send + Sync + 'static,
    T::ListenerUpgrade: Send + 'static,
    T::Dial: Send + 'static,
{
    Libp2p(libp2p::Upgrading<T>),
    Stream(BoxFuture<'static, Result<Connection, Error>>),
}

impl<T> Upgrading<T>
where
    T: Below + Unpin + Send + 'static,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T::Error: Send + Sync + 'static,
    T::ListenerUpgrade: Send + 'static,
    T::Dial: Send + 'static,
{
    pub(super) fn boxed(self) -> BoxFuture<'static, Result<Connection, Error>> {
        match self {
            Self::Libp2p(upgrading) => Box::pin(upgrading),
            Self::Stream(upgrading) => upgrading,
        }
    }
}

impl<T> Future for Upgrading<T>
where
    T: Below + Unpin + Send + 'static,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T::Error: Send + Sync + 'static,
    T::ListenerUpgrade: Send + 'static,
    T::Dial: Send + 'static,
{
    type Output = Result<Connection, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Libp2p(upgrading) => upgrading.poll_unpin(cx),
            Self::Stream(upgrading) => upgrading.poll_unpin(cx),
        }
    }
}
