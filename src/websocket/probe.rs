//! Finds out before a bind whether somebody else listens there. The bind itself does not: libp2p-tcp sets
//! `SO_REUSEPORT`, and then the kernel splits the connections between the two.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
};

use libp2p_core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};
use multiaddr::{Multiaddr, Protocol};
use socket2::{Domain, Socket, Type};

/// A TCP transport whose `listen_on` fails with [`AddrInUse`](io::ErrorKind::AddrInUse) on a port that a socket of
/// this host listens on. Everything else passes.
#[derive(Debug)]
pub(super) struct Probing<T> {
    below: T,
    is_on: bool,
}

impl<T> Probing<T> {
    /// Probes if `is_on`.
    pub(super) fn new(below: T, is_on: bool) -> Self {
        Self { below, is_on }
    }
}

impl<T> Transport for Probing<T>
where
    T: Transport<Error = io::Error> + Unpin,
{
    type Output = T::Output;
    type Error = io::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = T::Dial;

    fn listen_on(
        &mut self,
        id: ListenerId,
        addr: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        if self.is_on
            && let Some(address) = to_probe(&addr)
        {
            probe(address).map_err(TransportError::Other)?;
        }
        self.below.listen_on(id, addr)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.below.remove_listener(id)
    }

    fn dial(
        &mut self,
        addr: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        self.below.dial(addr, opts)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.below).poll(cx)
    }
}

/// Where somebody else could be: not on a port that is still to be chosen.
fn to_probe(address: &Multiaddr) -> Option<SocketAddr> {
    let mut protocols = address.iter();
    let ip = match protocols.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    match protocols.next()? {
        Protocol::Tcp(port) if port != 0 => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

/// Fails if somebody listens there. What else could be wrong, the bind that follows tells.
fn probe(address: SocketAddr) -> io::Result<()> {
    match bind(address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        _ => Ok(()),
    }
}

/// Binds a socket with the options that libp2p-tcp gives it but for `SO_REUSEPORT`, and lets it go.
fn bind(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(socket2::Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // So that connections with this local port, be they alive or in TIME_WAIT, do not count. Elsewhere it would
    // let the socket have a port that somebody listens on.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Listens on everything, and counts.
    #[derive(Default)]
    struct Tcp {
        listeners: usize,
    }

    impl Transport for Tcp {
        type Output = ();
        type Error = io::Error;
        type ListenerUpgrade = std::future::Ready<io::Result<()>>;
        type Dial = std::future::Ready<io::Result<()>>;

        fn listen_on(
            &mut self,
            _: ListenerId,
            _: Multiaddr,
        ) -> Result<(), TransportError<io::Error>> {
            self.listeners += 1;
            Ok(())
        }

        fn remove_listener(&mut self, _: ListenerId) -> bool {
            false
        }

        fn dial(
            &mut self,
            addr: Multiaddr,
            _: DialOpts,
        ) -> Result<Self::Dial, TransportError<io::Error>> {
            Err(TransportError::MultiaddrNotSupported(addr))
        }

        fn poll(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
            Poll::Pending
        }
    }

    fn listen_on(address: &str, is_on: bool) -> Result<usize, TransportError<io::Error>> {
        let mut transport = Probing::new(Tcp::default(), is_on);
        transport.listen_on(ListenerId::next(), address.parse().unwrap())?;
        Ok(transport.below.listeners)
    }

    #[test]
    fn a_port_that_is_taken_is_an_error_of_the_system_before_the_bind() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
        match listen_on(&address, true) {
            Err(TransportError::Other(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
                assert!(error.raw_os_error().is_some(), "{error:?}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(listen_on(&address, false).unwrap(), 1);
        drop(taken);
        assert_eq!(listen_on(&address, true).unwrap(), 1);
    }

    #[test]
    fn other_errors_and_other_addresses_are_the_business_of_the_bind() {
        for address in [
            "/ip4/192.0.2.1/tcp/4711",
            "/ip6/2001:db8::1/tcp/4711",
            "/ip4/127.0.0.1/tcp/0",
            "/ip4/127.0.0.1/udp/4711",
            "/dns4/localhost/tcp/4711",
            "/memory/1",
        ] {
            assert_eq!(listen_on(address, true).unwrap(), 1, "{address}");
        }
    }
}
