use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use libp2p_core::transport::PortUse;
use socket2::Socket;

use super::{
    ports::Ports,
    resolve::Resolver,
    stream::Stream,
    target::{Host, Target},
};
use crate::websocket::socket::Options;

/// Connects, and is all that a dial needs of the transport.
#[derive(Debug, Clone)]
pub(super) struct Dialer {
    options: Options,
    ports: Arc<Mutex<Ports>>,
    resolver: Resolver,
}

impl Dialer {
    pub(super) fn new(options: Options, ports: Arc<Mutex<Ports>>, resolver: Resolver) -> Self {
        Self {
            options,
            ports,
            resolver,
        }
    }

    pub(super) fn ports(&self) -> MutexGuard<'_, Ports> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries the addresses of the host one after the other.
    pub(super) async fn dial(self, target: Target, port_use: PortUse) -> io::Result<Stream> {
        let ips = match target.host {
            Host::Ip(ip) => vec![ip],
            Host::Name(name, family) => self.resolver.resolve(&name, family).await?,
        };
        let mut failed = Attempts(Vec::new());
        for ip in ips {
            match self
                .connect(SocketAddr::new(ip, target.port), port_use)
                .await
            {
                Ok(stream) => return Ok(stream),
                Err(error) => failed.0.push((ip, error)),
            }
        }
        Err(failed.into_error())
    }

    async fn connect(&self, to: SocketAddr, port_use: PortUse) -> io::Result<Stream> {
        let local = match port_use {
            PortUse::Reuse => self.ports().local_for(to.ip()),
            PortUse::New => None,
        };
        if let Some(local) = local {
            let socket = self.options.socket(to, PortUse::Reuse)?;
            match bind(&socket, local).and_then(|()| connect(&socket, to)) {
                Ok(()) => return Stream::connecting(socket.into()).await,
                // Somebody else has the port, or there is a connection to the same place already.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable
                    ) =>
                {
                    tracing::debug!(%to, %local, %error, "dialling from another port");
                }
                Err(error) => return Err(error),
            }
        }
        let socket = self.options.socket(to, PortUse::New)?;
        connect(&socket, to)?;
        Stream::connecting(socket.into()).await
    }
}

fn bind(socket: &Socket, local: SocketAddr) -> io::Result<()> {
    socket.bind(&local.into())
}

/// Begins to connect.
fn connect(socket: &Socket, to: SocketAddr) -> io::Result<()> {
    match socket.connect(&to.into()) {
        #[cfg(unix)]
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        begun => begun,
    }
}

/// What went wrong at each address.
#[derive(Debug)]
struct Attempts(Vec<(IpAddr, io::Error)>);

impl Attempts {
    /// One is its own error.
    fn into_error(mut self) -> io::Error {
        if self.0.len() == 1
            && let Some((_, error)) = self.0.pop()
        {
            return error;
        }
        let kind = self
            .0
            .last()
            .map_or(io::ErrorKind::Other, |(_, error)| error.kind());
        io::Error::new(kind, self)
    }
}

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no address of the name can be connected to")?;
        for (ip, error) in &self.0 {
            write!(f, "; {ip}: {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Attempts {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_attempt_is_its_own_error_and_several_are_told_each() {
        let failed = |ip: &str| (ip.parse().unwrap(), io::ErrorKind::ConnectionRefused.into());
        let one = Attempts(vec![failed("192.0.2.1")]).into_error();
        assert!(one.get_ref().is_none());
        let two = Attempts(vec![failed("192.0.2.1"), failed("2001:db8::1")]).into_error();
        for error in [&one, &two] {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        }
        for ip in ["192.0.2.1", "2001:db8::1"] {
            assert!(two.to_string().contains(ip), "{two}");
        }
    }
}
