//! The TCP transport below. One transport owns it, and dials borrow it while it exists.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite, TryFutureExt as _, future::BoxFuture};
use libp2p_core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};
use multiaddr::Multiaddr;

use crate::websocket::Error;

/// A stream of bytes in both directions.
pub(super) type Io = Pin<Box<dyn Duplex>>;

pub(super) trait Duplex: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Duplex for S {}

/// A pending connection, accepted or dialled, with output `C`.
pub(super) type Pending<C> = BoxFuture<'static, Result<C, Error>>;

type Tcp = dyn Transport<Output = Io, Error = Error, ListenerUpgrade = Pending<Io>, Dial = Pending<Io>>
    + Send
    + Unpin;

/// The only owner of a transport. Dropping it closes the listening sockets, even during dials.
pub(super) struct Below(Arc<Mutex<Box<Tcp>>>);

impl Below {
    pub(super) fn new<T>(tcp: T) -> Self
    where
        // The bounds of the implementation, without repeating them.
        Boxing<T>: Transport<Output = Io, Error = Error, ListenerUpgrade = Pending<Io>, Dial = Pending<Io>>
            + Send
            + Unpin
            + 'static,
    {
        Self(Arc::new(Mutex::new(Box::new(Boxing(tcp)))))
    }

    pub(super) fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<Error>> {
        lock(&self.0).listen_on(id, address)
    }

    pub(super) fn remove_listener(&mut self, id: ListenerId) -> bool {
        lock(&self.0).remove_listener(id)
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Pending<Io>, Error>> {
        Pin::new(&mut **lock(&self.0)).poll(cx)
    }

    pub(super) fn dialer(&self) -> Dialer {
        Dialer(Arc::downgrade(&self.0))
    }
}

/// Dials through a [`Below`] without keeping it alive.
#[derive(Clone)]
pub(super) struct Dialer(Weak<Mutex<Box<Tcp>>>);

impl Dialer {
    /// Locked only while a dial begins.
    pub(super) fn dial(
        &self,
        address: Multiaddr,
        opts: DialOpts,
    ) -> Result<Pending<Io>, TransportError<Error>> {
        let below = self
            .0
            .upgrade()
            .ok_or(TransportError::Other(Error::TransportDropped))?;
        lock(&below).dial(address, opts)
    }
}

/// Poisoning is ignored: no panic leaves the transport half changed, or its task ends as well.
fn lock(below: &Mutex<Box<Tcp>>) -> MutexGuard<'_, Box<Tcp>> {
    below.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Boxes the futures and outputs of `T`, and keeps its errors.
pub(super) struct Boxing<T>(T);

fn boxed<S, E>(pending: impl Future<Output = Result<S, E>> + Send + 'static) -> Pending<Io>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    Box::pin(
        pending
            .map_ok(|io| Box::pin(io) as Io)
            .map_err(Error::below),
    )
}

impl<T> Transport for Boxing<T>
where
    T: Transport<
            Output: AsyncRead + AsyncWrite + Send + 'static,
            Error: Send + Sync + 'static,
            ListenerUpgrade: Send + 'static,
            Dial: Send + 'static,
        > + Unpin,
{
    type Output = Io;
    type Error = Error;
    type ListenerUpgrade = Pending<Io>;
    type Dial = Pending<Io>;

    fn listen_on(&mut self, id: ListenerId, addr: Multiaddr) -> Result<(), TransportError<Error>> {
        self.0
            .listen_on(id, addr)
            .map_err(|error| error.map(Error::below))
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.0.remove_listener(id)
    }

    fn dial(
        &mut self,
        addr: Multiaddr,
        opts: DialOpts,
    ) -> Result<Pending<Io>, TransportError<Error>> {
        match self.0.dial(addr, opts) {
            Ok(dial) => Ok(boxed(dial)),
            Err(error) => Err(error.map(Error::below)),
        }
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Pending<Io>, Error>> {
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|event| event.map_upgrade(boxed).map_err(Error::below))
    }
}
