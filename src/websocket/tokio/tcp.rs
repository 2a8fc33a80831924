//! libp2p-tcp, which dials names through libp2p-dns.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{
    TryFutureExt as _,
    future::{MapErr, Pending},
};
use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use libp2p_core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p_tcp::tokio::TcpStream;
use multiaddr::Multiaddr;

use crate::websocket::{
    below::{Below, Dialer},
    dnsaddr,
};

type Stock = libp2p_tcp::tokio::Transport;
type Dns = libp2p_dns::tokio::Transport<Dialling>;

/// Listens by libp2p-tcp alone. Each dial of libp2p-dns shares ownership of the transport below it, so what it has is
/// something that only dials.
pub(super) struct Transport {
    tcp: Below<Stock>,
    dns: Dns,
}

impl Transport {
    /// Asks these for all names.
    pub(super) fn new(
        config: libp2p_tcp::Config,
        servers: ResolverConfig,
        options: ResolverOpts,
    ) -> Self {
        let tcp = Below::new(Stock::new(config));
        let dns = Dns::custom(Dialling(tcp.dialer()), servers, options);
        Self { tcp, dns }
    }
}

impl libp2p_core::Transport for Transport {
    type Output = TcpStream;
    type Error = io::Error;
    type ListenerUpgrade = <Stock as libp2p_core::Transport>::ListenerUpgrade;
    type Dial = MapErr<
        <Dns as libp2p_core::Transport>::Dial,
        fn(libp2p_dns::Error<io::Error>) -> io::Error,
    >;

    fn listen_on(
        &mut self,
        id: ListenerId,
        addr: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        self.tcp.lock().listen_on(id, addr)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.tcp.lock().remove_listener(id)
    }

    fn dial(
        &mut self,
        addr: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        match self.dns.dial(addr, opts) {
            Ok(dial) => Ok(dial.map_err(into_io as fn(_) -> _)),
            Err(error) => Err(error.map(into_io)),
        }
    }

    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut *self.tcp.lock()).poll(cx)
    }
}

/// Takes the layer of DNS off an error: it repeats the message of what it wraps, and hides the kind.
pub(super) fn into_io(error: libp2p_dns::Error<io::Error>) -> io::Error {
    match error {
        libp2p_dns::Error::Transport(error) => error,
        libp2p_dns::Error::Dial(mut errors) if errors.len() == 1 => match errors.pop() {
            Some(error) => into_io(error),
            None => io::ErrorKind::Other.into(),
        },
        libp2p_dns::Error::ResolveError(error) => dnsaddr::into_io(error),
        other => io::Error::other(other),
    }
}

/// What libp2p-dns has below.
pub(super) struct Dialling(Dialer<Stock>);

impl libp2p_core::Transport for Dialling {
    type Output = TcpStream;
    type Error = io::Error;
    type ListenerUpgrade = Pending<io::Result<TcpStream>>;
    type Dial = <Stock as libp2p_core::Transport>::Dial;

    fn listen_on(
        &mut self,
        _: ListenerId,
        addr: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        Err(TransportError::MultiaddrNotSupported(addr))
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        false
    }

    fn dial(
        &mut self,
        addr: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        self.0
            .dial(addr, opts)
            .map_err(|dropped| TransportError::Other(io::Error::other(dropped)))?
    }

    fn poll(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Poll::Pending
    }
}
