use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite, FutureExt as _, TryFutureExt as _, future::BoxFuture};
use libp2p_core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use multiaddr::Multiaddr;

use crate::{
    lazy::{Changed, Inner, Support},
    websocket::{
        Config, Connection, Error,
        address::{Security, parse_listen},
        known_listeners::KnownListeners,
        tls::Tls,
    },
};

/// libp2p-websocket over `T`, a transport that listens on `/ip4|ip6/<ip>/tcp/<port>`.
///
/// `T` should resolve names when it dials, if names are to be dialled. Hand it to
/// [`lazy::Transport`](crate::lazy::Transport): by itself it binds in `listen_on`.
///
/// A certificate that comes later is taken up in `Inner::poll_changed`, which `lazy::Transport` calls in each poll.
///
/// The TCP options of [`Config`] are for whoever makes `T`; they do nothing here.
pub struct Transport<T>
where
    T: libp2p_core::Transport + Unpin,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    stock: libp2p_websocket::Config<KnownListeners<T>>,
    tls: Tls,
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
        let mut stock = libp2p_websocket::Config::new(KnownListeners::new(tcp));
        stock
            .set_tls_config(tls.config())
            .set_max_redirects(config.max_redirects());
        Self { stock, tls }
    }
}

impl<T> fmt::Debug for Transport<T>
where
    T: libp2p_core::Transport + Unpin,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
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
        match parse_listen(address) {
            Some(Security::Plain) => Support::Now,
            Some(Security::Tls) => self.tls.support(),
            None => Support::Never,
        }
    }

    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<Changed> {
        self.tls.poll_changed(cx).map(|config| {
            // Replaces both sides of TLS, and nothing else.
            self.stock.set_tls_config(config);
            Changed::Support
        })
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
    type ListenerUpgrade = BoxFuture<'static, Result<Connection, Error>>;
    type Dial = BoxFuture<'static, Result<Connection, Error>>;

    fn listen_on(
        &mut self,
        id: ListenerId,
        addr: Multiaddr,
    ) -> Result<(), TransportError<Self::Error>> {
        self.stock
            .listen_on(id, addr.clone())
            .map_err(|error| match error {
                // What comes back may be only the TCP part.
                TransportError::MultiaddrNotSupported(_) => {
                    TransportError::MultiaddrNotSupported(addr)
                }
                TransportError::Other(error) => TransportError::Other(error.into()),
            })
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.stock.remove_listener(id)
    }

    fn dial(
        &mut self,
        addr: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<Self::Error>> {
        let dial = self
            .stock
            .dial(addr, opts)
            .map_err(|error| error.map(Error::from))?;
        Ok(dial.map_ok(Connection::new).map_err(Error::from).boxed())
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut self.stock).poll(cx).map(|event| {
            event
                .map_upgrade(|upgrade| upgrade.map_ok(Connection::new).map_err(Error::from).boxed())
                .map_err(Error::from)
        })
    }
}
