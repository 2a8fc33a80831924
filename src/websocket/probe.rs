//! Checks before a bind whether another socket listens on the port. The bind itself does not fail: libp2p-tcp sets
//! `SO_REUSEPORT`, so the kernel would split the connections between the two.

use std::{io, net::SocketAddr};

use socket2::{Domain, Socket, Type};

/// Fails with the error of the system if another socket listens there. Other errors are left to the bind that follows. Port
/// 0 is always free.
pub(super) fn probe(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    match bind(address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        _ => Ok(()),
    }
}

/// Binds a socket with the options of libp2p-tcp except `SO_REUSEPORT`, and drops it.
fn bind(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(socket2::Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // So that connections with this local port, alive or in TIME_WAIT, do not count. On other systems it would let the
    // socket have a port that another one listens on.
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
