//! The TCP transport below: one transport owns it, and dials borrow it for as long as it is there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures::{AsyncRead, AsyncWrite};
use libp2p_core::transport::{DialOpts, Transport, TransportError};
use multiaddr::Multiaddr;

/// A transport that can be below WebSocket.
pub(super) trait Tcp:
    Transport<
        Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        Error: Send + Sync + 'static,
        ListenerUpgrade: Send + 'static,
        Dial: Send + 'static,
    > + Unpin
    + Send
    + 'static
{
}

impl<T> Tcp for T
where
    T: Transport + Unpin + Send + 'static,
    T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T::Error: Send + Sync + 'static,
    T::ListenerUpgrade: Send + 'static,
    T::Dial: Send + 'static,
{
}

/// The only owner of a transport: dropping it closes the listening sockets, whatever dials are under way.
#[derive(Debug)]
pub(super) struct Below<T>(Arc<Mutex<T>>);

impl<T> Below<T> {
    pub(super) fn new(transport: T) -> Self {
        Self(Arc::new(Mutex::new(transport)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        lock(&self.0)
    }

    pub(super) fn dialer(&self) -> Dialer<T> {
        Dialer(Arc::downgrade(&self.0))
    }
}

/// Dials through a [`Below`] without keeping it alive.
#[derive(Debug)]
pub(super) struct Dialer<T>(Weak<Mutex<T>>);

impl<T> Clone for Dialer<T> {
    fn clone(&self) -> Self {
        Self(Weak::clone(&self.0))
    }
}

impl<T: Transport> Dialer<T> {
    pub(super) fn dial(
        &self,
        address: Multiaddr,
        opts: DialOpts,
    ) -> Result<Result<T::Dial, TransportError<T::Error>>, Dropped> {
        let below = self.0.upgrade().ok_or(Dropped)?;
        let dial = lock(&below).dial(address, opts);
        Ok(dial)
    }
}

/// The transport was dropped before it could dial.
#[derive(Debug, thiserror::Error)]
#[error("the transport was dropped before it could dial")]
pub(super) struct Dropped;

/// Nothing panics half-way through a change of the transport, or its task is at an end with it.
fn lock<T>(below: &Mutex<T>) -> MutexGuard<'_, T> {
    below.lock().unwrap_or_else(PoisonError::into_inner)
}
