use std::time::Duration;
#[cfg(any(feature = "async-std", feature = "smol"))]
use std::{io, net::SocketAddr};

#[cfg(any(feature = "async-std", feature = "smol"))]
use libp2p_core::transport::PortUse;
#[cfg(any(feature = "async-std", feature = "smol"))]
use socket2::{Domain, Protocol, Socket, Type};

/// What the sockets are given.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) nodelay: bool,
    pub(super) ttl: Option<u32>,
    pub(super) linger: Option<Duration>,
    pub(super) backlog: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodelay: true,
            ttl: None,
            linger: None,
            backlog: 1024,
        }
    }
}

#[cfg(any(feature = "async-std", feature = "smol"))]
impl Options {
    pub(super) fn backlog(&self) -> i32 {
        i32::try_from(self.backlog).unwrap_or(i32::MAX)
    }

    /// A socket to listen on this address or to dial it, not bound yet. Those that it accepts are given the same by
    /// the system.
    pub(super) fn socket(&self, address: SocketAddr, port_use: PortUse) -> io::Result<Socket> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if let Some(ttl) = self.ttl {
            match address {
                SocketAddr::V4(_) => socket.set_ttl_v4(ttl)?,
                SocketAddr::V6(_) => socket.set_unicast_hops_v6(ttl)?,
            }
        }
        if self.linger.is_some() {
            socket.set_linger(self.linger)?;
        }
        socket.set_tcp_nodelay(self.nodelay)?;
        // Elsewhere it would let two listeners have the same port.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
        if port_use == PortUse::Reuse {
            socket.set_reuse_port(true)?;
        }
        #[cfg(not(all(unix, not(any(target_os = "solaris", target_os = "illumos")))))]
        let _ = port_use;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}
