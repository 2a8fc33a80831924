use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use futures::{TryFutureExt as _, future::MapErr};
use libp2p_core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use multiaddr::Multiaddr;

use crate::lazy::{
    Config, Error, Inner,
    listeners::{Action, Listeners, Removal},
};

/// A transport whose listeners bind when it is polled. See the [module](crate::lazy) for what it promises.
pub struct Transport<T: Inner> {
    inner: T,
    listeners: Listeners<T::ListenerUpgrade, T::Error>,
    /// Of the last `poll` that had nothing to report; woken by what changes outside `poll`.
    waker: Option<Waker>,
}

impl<T: Inner> Transport<T> {
    /// Makes the listeners of `inner` lazy.
    pub fn new(inner: T, config: Config) -> Self {
        Self {
            inner,
            listeners: Listeners::new(&config),
            waker: None,
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl<T: Inner + fmt::Debug> fmt::Debug for Transport<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

// The upgrades that are held back are moved out again, never polled here.
impl<T: Inner + Unpin> Unpin for Transport<T> {}

impl<T> libp2p_core::Transport for Transport<T>
where
    T: Inner + Unpin,
    T::Error: 'static,
{
    type Output = T::Output;
    type Error = Error<T::Error>;
    type ListenerUpgrade = MapErr<T::ListenerUpgrade, fn(T::Error) -> Self::Error>;
    type Dial = MapErr<T::Dial, fn(T::Error) -> Self::Error>;

    fn listen_on(
        &mut self,
        id: ListenerId,
        addr: Multiaddr,
    ) -> Result<(), TransportError<Self::Error>> {
        let support = self.inner.support(&addr);
        self.listeners.on_listen(id, addr, support)?;
        self.wake();
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        match self.listeners.on_remove(id) {
            Removal::Unknown => return false,
            Removal::Done => {}
            Removal::AskInner(inner) => {
                let known = self.inner.remove_listener(inner);
                self.listeners.on_removal_answered(id, known);
            }
        }
        self.wake();
        true
    }

    fn dial(
        &mut self,
        addr: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<Self::Error>> {
        match self.inner.dial(addr, opts) {
            Ok(dial) => Ok(dial.map_err(Error::Inner as fn(_) -> _)),
            Err(error) => Err(error.map(Error::Inner)),
        }
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        let this = &mut *self;
        this.listeners.on_poll();
        loop {
            match this.listeners.poll_action() {
                Action::Report(event) => {
                    return Poll::Ready(
                        event.map_upgrade(|upgrade| upgrade.map_err(Error::Inner as fn(_) -> _)),
                    );
                }
                Action::Bind {
                    listener,
                    inner,
                    address,
                } => match this.inner.listen_on(inner, address) {
                    Ok(()) => this.listeners.on_bound(listener),
                    Err(error) => this.listeners.on_bind_failed(listener, error),
                },
                Action::Ask { listener, address } => {
                    let support = this.inner.support(&address);
                    this.listeners.on_answer(listener, support);
                }
                Action::PollInner => {
                    if let Poll::Ready(changed) = this.inner.poll_changed(cx) {
                        this.listeners.on_changed(changed);
                        continue;
                    }
                    match Pin::new(&mut this.inner).poll(cx) {
                        Poll::Ready(event) => this.listeners.on_inner_event(event),
                        Poll::Pending => this.listeners.on_inner_pending(),
                    }
                }
                Action::Rest { again } => {
                    if again {
                        cx.waker().wake_by_ref();
                    }
                    match &mut this.waker {
                        Some(waker) => waker.clone_from(cx.waker()),
                        None => this.waker = Some(cx.waker().clone()),
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
