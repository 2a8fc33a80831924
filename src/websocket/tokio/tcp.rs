//! libp2p-tcp, which dials names through libp2p-dns.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures::TryFutureExt as _;
use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use libp2p_core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use multiaddr::Multiaddr;

use crate::websocket::{
    Error,
    below::{Below, Dialer, Io, Pending},
    dnsaddr,
};

type Stock = libp2p_tcp::tokio::Transport;
type Dns = libp2p_dns::tokio::Transport<Dialling>;

/// Listens by libp2p-tcp alone. Each dial of libp2p-dns shares ownership of the transport below it, so what it has is
/// something that only dials.
pub(super) struct Transport {
    tcp: Below,
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
    type Output = Io;
    type Error = Error;
    type ListenerUpgrade = Pending<Io>;
    type Dial = Pending<Io>;

    fn listen_on(&mut self, id: ListenerId, addr: Multiaddr) -> Result<(), TransportError<Error>> {
        self.tcp.listen_on(id, addr)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.tcp.remove_listener(id)
    }

    fn dial(
        &mut self,
        addr: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<Error>> {
        match self.dns.dial(addr, opts) {
            Ok(dial) => Ok(Box::pin(dial.map_err(into_error))),
            Err(error) => Err(error.map(into_error)),
        }
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Error>> {
        self.tcp.poll(cx)
    }
}

/// Takes the layer of DNS off an error: it repeats the message of what it wraps, and hides the kind.
pub(super) fn into_error(error: libp2p_dns::Error<Error>) -> Error {
    match error {
        libp2p_dns::Error::Transport(error) => error,
        libp2p_dns::Error::Dial(mut errors) if errors.len() == 1 => match errors.pop() {
            Some(error) => into_error(error),
            None => Error::below(io::Error::from(io::ErrorKind::Other)),
        },
        libp2p_dns::Error::ResolveError(error) => Error::below(dnsaddr::into_io(error)),
        other => Error::below(io::Error::other(other)),
    }
}

/// What libp2p-dns has below.
pub(super) struct Dialling(Dialer);

impl libp2p_core::Transport for Dialling {
    type Output = Io;
    type Error = Error;
    type ListenerUpgrade = Pending<Io>;
    type Dial = Pending<Io>;

    fn listen_on(&mut self, _: ListenerId, addr: Multiaddr) -> Result<(), TransportError<Error>> {
        Err(TransportError::MultiaddrNotSupported(addr))
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        false
    }

    fn dial(
        &mut self,
        addr: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<Error>> {
        self.0.dial(addr, opts)
    }

    fn poll(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Error>> {
        Poll::Pending
    }
}
