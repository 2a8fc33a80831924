//! TCP on async-io, the reactor of async-std and smol. libp2p-tcp supports only tokio.
//!
//! It does what libp2p-tcp does, and what of it is decided is decided in cores: which [`Addresses`] a listener has, from
//! which of the [`Ports`] a dial leaves, what the [`Cause`] of an error while accepting is. Other than there
//!
//! - the socket of a removed listener is closed at once, and dials no longer use its port, unless another listener has
//!   it too;
//! - a failed `listen_on` causes no events;
//! - a connection that ends before it is accepted is not an error of the listener, and does not pause it.
//!
//! [`Cause`]: crate::lazy::accept::Cause

use std::{
    collections::VecDeque,
    io,
    net::{SocketAddr, TcpListener},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use async_io::Async;
use futures::{
    StreamExt as _,
    future::{BoxFuture, Ready},
    stream::SelectAll,
};
use libp2p_core::transport::{DialOpts, ListenerId, PortUse, TransportError, TransportEvent};
use multiaddr::Multiaddr;

use self::{
    addresses::Addresses,
    dial::Dialer,
    listener::{Event, Listener},
    ports::Ports,
    stream::Stream,
};
use crate::websocket::{TcpOptions, address::socket_address, interfaces::Watch};

mod addresses;
mod dial;
mod listener;
mod ports;
mod stream;

/// Listens on `<ip>/tcp/<port>` and dials it.
pub(super) struct Transport {
    options: TcpOptions,
    watch: Watch,
    listeners: SelectAll<Listener>,
    /// One close for each removed listener.
    closed: VecDeque<ListenerId>,
    dialer: Dialer,
    waker: Option<Waker>,
}

impl Transport {
    pub(super) fn new(options: TcpOptions, watch: Watch) -> Self {
        let ports = Arc::new(Mutex::new(Ports::default()));
        Self {
            dialer: Dialer::new(options.clone(), ports),
            options,
            watch,
            listeners: SelectAll::new(),
            closed: VecDeque::new(),
            waker: None,
        }
    }

    fn listen(&self, id: ListenerId, at: SocketAddr) -> io::Result<Listener> {
        let socket = self.options.socket(at, PortUse::Reuse)?;
        socket.bind(&at.into())?;
        socket.listen(self.options.backlog())?;
        let socket = Async::new_nonblocking(TcpListener::from(socket))?;
        let addresses = Addresses::new(socket.get_ref().local_addr()?);
        Listener::new(id, socket, addresses, self.watch)
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl libp2p_core::Transport for Transport {
    type Output = Stream;
    type Error = io::Error;
    type ListenerUpgrade = Ready<io::Result<Stream>>;
    type Dial = BoxFuture<'static, io::Result<Stream>>;

    fn listen_on(
        &mut self,
        id: ListenerId,
        addr: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        let Some(at) = socket_address(&addr) else {
            return Err(TransportError::MultiaddrNotSupported(addr));
        };
        let listener = self.listen(id, at).map_err(TransportError::Other)?;
        tracing::debug!(listener = %id, at = %listener.bound(), "listening");
        self.dialer.ports().on_listening(id, listener.bound());
        self.listeners.push(listener);
        self.wake();
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let Some(listener) = self.listeners.iter_mut().find(|l| l.is(id)) else {
            return false;
        };
        listener.close();
        self.dialer.ports().on_closed(id);
        self.closed.push_back(id);
        self.wake();
        true
    }

    fn dial(
        &mut self,
        addr: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        match socket_address(&addr) {
            Some(to) if to.port() != 0 && !to.ip().is_unspecified() => {
                Ok(Box::pin(self.dialer.clone().connect(to, opts.port_use)))
            }
            _ => Err(TransportError::MultiaddrNotSupported(addr)),
        }
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Event> {
        let this = &mut *self;
        if let Some(listener_id) = this.closed.pop_front() {
            return Poll::Ready(TransportEvent::ListenerClosed {
                listener_id,
                reason: Ok(()),
            });
        }
        if let Poll::Ready(Some(event)) = this.listeners.poll_next_unpin(cx) {
            return Poll::Ready(event);
        }
        match &mut this.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
