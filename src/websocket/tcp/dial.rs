use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use libp2p_core::transport::PortUse;
use socket2::Socket;

use super::{ports::Ports, stream::Stream};
use crate::websocket::TcpOptions;

/// Connects without access to the transport.
#[derive(Debug, Clone)]
pub(super) struct Dialer {
    options: TcpOptions,
    ports: Arc<Mutex<Ports>>,
}

impl Dialer {
    pub(super) fn new(options: TcpOptions, ports: Arc<Mutex<Ports>>) -> Self {
        Self { options, ports }
    }

    pub(super) fn ports(&self) -> MutexGuard<'_, Ports> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn connect(self, to: SocketAddr, port_use: PortUse) -> io::Result<Stream> {
        let local = match port_use {
            PortUse::Reuse => self.ports().local_for(to.ip()),
            PortUse::New => None,
        };
        if let Some(local) = local {
            let socket = self.options.socket(to, PortUse::Reuse)?;
            match bind(&socket, local).and_then(|()| connect(&socket, to)) {
                Ok(()) => return Stream::connecting(socket.into()).await,
                // Another socket has the port, or a connection to the same address exists.
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
