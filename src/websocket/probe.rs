//! Finds out before a bind whether somebody else listens there. The bind itself does not: libp2p-tcp sets
//! `SO_REUSEPORT`, and then the kernel splits the connections between the two.

use std::{io, net::SocketAddr};

use socket2::{Domain, Socket, Type};

/// Fails if somebody listens there, with the error of the system. What else could be wrong, the bind that follows
/// tells. On a port that is still to be chosen, nobody can be.
pub(super) fn probe(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
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

    #[test]
    fn a_port_that_is_taken_is_an_error_of_the_system() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = taken.local_addr().unwrap();
        let error = probe(address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.raw_os_error().is_some(), "{error:?}");
        drop(taken);
        probe(address).unwrap();
    }

    #[test]
    fn other_errors_and_no_port_are_the_business_of_the_bind() {
        for address in ["192.0.2.1:4711", "[2001:db8::1]:4711", "127.0.0.1:0"] {
            probe(address.parse().unwrap()).unwrap();
        }
    }
}
