//! WebSocket over DNS over TCP, on tokio.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{StreamExt as _, TryStreamExt as _, future::BoxFuture};
use if_watch::{IfEvent, tokio::IfWatcher};
use libp2p_core::{
    Transport as _,
    transport::{DialOpts, ListenerId, TransportError, TransportEvent, map_err::MapErr},
};
use multiaddr::Multiaddr;

use crate::{
    lazy::{self, Changed, Inner, Support},
    websocket::{
        self, Config, Connection, Error,
        interfaces::{Change, Changes},
    },
};

type Dns = libp2p_dns::tokio::Transport<libp2p_tcp::tokio::Transport>;
type Below = MapErr<Dns, fn(libp2p_dns::Error<io::Error>) -> io::Error>;

/// WebSocket over DNS over TCP, with listeners that bind when the transport is polled.
///
/// Below, it looks whether somebody else listens on a port ([`Config::with_port_probe`]), and watches the interfaces
/// of the host from the first bind to a specific address on.
///
/// It is to be polled within a tokio runtime. Bounds on what comes after the WebSocket handshake, such as
/// `Transport::timeout` around the upgrade, are the caller's.
///
/// # Errors
///
/// If the configuration of the system's DNS resolver cannot be read.
pub fn transport(config: Config) -> io::Result<lazy::Transport<Transport>> {
    Ok(lazy::Transport::new(
        Transport::new(&config)?,
        lazy::Config::default(),
    ))
}

/// What [`transport`] makes lazy; for those who want other [lazy options](lazy::Config).
#[derive(Debug)]
pub struct Transport(websocket::Transport<Below>);

impl Transport {
    /// See [`transport`].
    ///
    /// # Errors
    ///
    /// If the configuration of the system's DNS resolver cannot be read.
    pub fn new(config: &Config) -> io::Result<Self> {
        let tcp = libp2p_tcp::tokio::Transport::new(config.tcp());
        let dns = Dns::system(tcp)?;
        let below = dns.map_err(into_io as fn(_) -> _);
        Ok(Self(
            websocket::Transport::new(below, config).on_this_host(watch, config),
        ))
    }
}

/// The addresses of this host's interfaces, and what becomes of them.
fn watch() -> io::Result<Changes> {
    let changes = IfWatcher::new()?.map_ok(|event| match event {
        IfEvent::Up(net) => Change::Up((net.addr(), net.prefix_len())),
        IfEvent::Down(net) => Change::Down((net.addr(), net.prefix_len())),
    });
    Ok(changes.boxed())
}

/// Takes the layer of DNS off an error: it repeats the message of what it wraps, and hides the kind.
fn into_io(error: libp2p_dns::Error<io::Error>) -> io::Error {
    match error {
        libp2p_dns::Error::Transport(error) => error,
        libp2p_dns::Error::Dial(mut errors) if errors.len() == 1 => match errors.pop() {
            Some(error) => into_io(error),
            None => io::ErrorKind::Other.into(),
        },
        other => io::Error::other(other),
    }
}

impl Inner for Transport {
    fn support(&self, address: &Multiaddr) -> Support {
        self.0.support(address)
    }

    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<Changed> {
        self.0.poll_changed(cx)
    }
}

impl libp2p_core::Transport for Transport {
    type Output = Connection;
    type Error = Error;
    type ListenerUpgrade = BoxFuture<'static, Result<Connection, Error>>;
    type Dial = BoxFuture<'static, Result<Connection, Error>>;

    fn listen_on(&mut self, id: ListenerId, addr: Multiaddr) -> Result<(), TransportError<Error>> {
        self.0.listen_on(id, addr)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.0.remove_listener(id)
    }

    fn dial(
        &mut self,
        addr: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<Error>> {
        self.0.dial(addr, opts)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Error>> {
        Pin::new(&mut self.0).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_attempt_is_its_own_error() {
        let refused = || libp2p_dns::Error::Transport(io::ErrorKind::ConnectionRefused.into());
        for error in [refused(), libp2p_dns::Error::Dial(vec![refused()])] {
            assert_eq!(into_io(error).kind(), io::ErrorKind::ConnectionRefused);
        }
        let two = into_io(libp2p_dns::Error::Dial(vec![refused(), refused()]));
        assert_eq!(two.to_string().matches("refused").count(), 2, "{two}");
    }
}
