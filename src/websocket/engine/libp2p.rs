//! libp2p-websocket.

use std::{
    fmt,
    num::NonZeroUsize,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite, FutureExt as _};
use libp2p_core::transport::{
    DialOpts, ListenerId, Transport as Below, TransportError, TransportEvent,
};
use multiaddr::Multiaddr;

use super::bounded::Bounded;
use crate::websocket::{Config, Connection, Error, known_listeners::KnownListeners, tls::Tls};

type Stock<T> = libp2p_websocket::Config<KnownListeners<T>>;

pub(in crate::websocket) struct Libp2p<T>
where
    T: Below + Unpin,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    stock: Stock<T>,
    max_frame_size: NonZeroUsize,
}

impl<T> Libp2p<T>
where
    T: Below + Unpin + Send + 'static,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T::Error: Send + Sync + 'static,
    T::ListenerUpgrade: Send + 'static,
    T::Dial: Send + 'static,
{
    pub(super) fn new(tcp: T, config: &Config, tls: &Tls) -> Self {
        let mut stock = Stock::new(KnownListeners::new(tcp));
        stock
            .set_tls_config(tls.libp2p())
            .set_max_redirects(config.max_redirects())
            .set_max_data_size(config.max_frame_size().get());
        Self {
            stock,
            max_frame_size: config.max_frame_size(),
        }
    }

    pub(super) fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<Error>> {
        self.stock
            .listen_on(id, address)
            .map_err(|error| error.map(Error::from))
    }

    pub(super) fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.stock.remove_listener(id)
    }

    pub(super) fn dial(
        &mut self,
        address: Multiaddr,
        opts: DialOpts,
    ) -> Result<Upgrading<T>, TransportError<Error>> {
        let stock = self
            .stock
            .dial(address, opts)
            .map_err(|error| error.map(Error::from))?;
        Ok(Upgrading {
            stock,
            max_frame_size: self.max_frame_size,
        })
    }

    /// Replaces both sides of TLS, and nothing else.
    pub(super) fn set_tls(&mut self, tls: &Tls) {
        self.stock.set_tls_config(tls.libp2p());
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Upgrading<T>, Error>> {
        let max_frame_size = self.max_frame_size;
        let event = ready!(Pin::new(&mut self.stock).poll(cx));
        Poll::Ready(event.map_err(Error::from).map_upgrade(|stock| Upgrading {
            stock,
            max_frame_size,
        }))
    }
}

impl<T> fmt::Debug for Libp2p<T>
where
    T: Below + Unpin,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Libp2p").finish_non_exhaustive()
    }
}

/// libp2p-websocket has one for both roles.
pub(in crate::websocket) struct Upgrading<T>
where
    T: Below + Unpin + Send + 'static,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T::Error: Send + Sync + 'static,
    T::ListenerUpgrade: Send + 'static,
    T::Dial: Send + 'static,
{
    stock: <Stock<T> as Below>::Dial,
    max_frame_size: NonZeroUsize,
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
        let max_frame_size = self.max_frame_size;
        let connection = ready!(self.stock.poll_unpin(cx)).map_err(Error::from)?;
        Poll::Ready(Ok(Connection::new(Bounded::new(
            connection,
            max_frame_size,
        ))))
    }
}
