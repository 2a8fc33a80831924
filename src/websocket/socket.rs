use std::time::Duration;
#[cfg(any(feature = "async-std", feature = "smol"))]
use std::{io, net::SocketAddr};

#[cfg(any(feature = "async-std", feature = "smol"))]
use libp2p_core::transport::PortUse;
#[cfg(any(feature = "async-std", feature = "smol"))]
use socket2::{Domain, Protocol, Socket, Type};

/// Options of the TCP sockets of a runtime's transport.
#[derive(Debug, Clone)]
pub struct TcpOptions {
    pub(super) nodelay: bool,
    pub(super) ttl: Option<u32>,
    pub(super) linger: Option<Duration>,
    pub(super) backlog: u32,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            nodelay: true,
            ttl: None,
            linger: None,
            backlog: 1024,
        }
    }
}

impl TcpOptions {
    /// Whether small writes are sent at once (`TCP_NODELAY`).
    ///
    /// Defaults to true, as in libp2p-tcp: libp2p negotiates in many small messages, each waiting for the one before.
    pub fn with_nodelay(mut self, nodelay: bool) -> Self {
        self.nodelay = nodelay;
        self
    }

    /// Time to live of IP packets, in hops.
    ///
    /// Defaults to that of the operating system.
    pub fn with_ttl(mut self, ttl: u32) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Maximum number of connections that the kernel keeps for a listener until they are accepted. The kernel may have a
    /// lower limit.
    ///
    /// Defaults to 1024, as in libp2p-tcp: enough for a burst while the swarm is busy.
    pub fn with_listen_backlog(mut self, backlog: u32) -> Self {
        self.backlog = backlog;
        self
    }

    /// How long closing a connection waits for unsent data (`SO_LINGER`). Zero drops the data and resets the connection.
    ///
    /// Defaults to `None`, as in libp2p-tcp: the operating system goes on sending after the close. On Linux, anything but
    /// zero blocks the thread that drops a connection for that long if the peer does not answer. That thread may be the
    /// swarm's, and the peer a stranger.
    pub fn with_linger(mut self, linger: Option<Duration>) -> Self {
        self.linger = linger;
        self
    }
}

#[cfg(any(feature = "async-std", feature = "smol"))]
impl TcpOptions {
    pub(super) fn backlog(&self) -> i32 {
        i32::try_from(self.backlog).unwrap_or(i32::MAX)
    }

    /// An unbound socket to listen on this address or to dial it. Accepted sockets get the same options by
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
        // On other systems it would let two listeners have the same port.
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
