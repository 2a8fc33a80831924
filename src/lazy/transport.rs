use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use futures::{TryFuture, TryFutureExt as _, future::MapErr};
use libp2p_core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use multiaddr::Multiaddr;

use crate::{
    deadline::{self, Deadline},
    lazy::{
        Config, Error, ListenSupport, Readiness, Support,
        listeners::{Action, Listeners},
        readiness::Publisher,
    },
};

type ListenerUpgrade<T> = MapErr<
    <T as libp2p_core::Transport>::ListenerUpgrade,
    fn(<T as libp2p_core::Transport>::Error) -> Error<<T as libp2p_core::Transport>::Error>,
>;

/// A transport whose listeners bind when it is polled. See the [module](crate::lazy) for its guarantees.
pub struct Transport<T: ListenSupport> {
    inner: T,
    listeners: Listeners<T::ListenerUpgrade, T::Error>,
    /// Made with the first handle.
    publisher: Option<Publisher>,
    deadline: Deadline,
    /// The waker of the last `poll` that returned `Pending`. Woken by changes outside `poll`.
    waker: Option<Waker>,
}

impl<T> Transport<T>
where
    T: ListenSupport,
    T::Error: Send + Sync + 'static,
{
    /// Makes the listeners of `inner` lazy.
    pub fn new(inner: T, config: Config) -> Self {
        Self {
            inner,
            listeners: Listeners::new(&config, rand::random(), deadline::now()),
            publisher: None,
            deadline: Deadline::default(),
            waker: None,
        }
    }

    /// The transport whose listeners are lazy.
    pub(crate) fn inner(&self) -> &T {
        &self.inner
    }

    #[cfg(feature = "upgrade")]
    pub(crate) fn inner_mut(&mut self) -> &mut T {
        &mut self.inner
    }

    /// A handle that watches the listeners, even after the transport has been moved into a swarm.
    ///
    /// Every call returns a clone of the same handle.
    pub fn readiness(&mut self) -> Readiness {
        if let Some(publisher) = &self.publisher {
            return publisher.handle();
        }
        let handle = self.publisher.insert(Publisher::new()).handle();
        self.listeners.watch();
        self.publish();
        handle
    }

    /// Passes changes on to the handles.
    fn publish(&mut self) {
        let Some(publisher) = &self.publisher else {
            return;
        };
        let mut now = None;
        while let Some(note) = self.listeners.poll_note() {
            publisher.publish(note, *now.get_or_insert_with(deadline::now));
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl<T: ListenSupport + fmt::Debug> fmt::Debug for Transport<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

// The upgrades that are held back are moved out again and never polled here.
impl<T: ListenSupport + Unpin> Unpin for Transport<T> {}

impl<T> libp2p_core::Transport for Transport<T>
where
    T: ListenSupport + Unpin,
    T::Error: Send + Sync + 'static,
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
        self.publish();
        self.wake();
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let is_known = self.listeners.on_remove(id);
        if is_known {
            self.publish();
            self.wake();
        }
        is_known
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
        let polled = self.drive(cx);
        self.publish();
        polled
    }
}

impl<T> Transport<T>
where
    T: ListenSupport + Unpin,
    T::Error: Send + Sync + 'static,
{
    /// Carries out the actions of the core until there is something to report or nothing to do.
    fn drive(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<ListenerUpgrade<T>, Error<T::Error>>> {
        let now = deadline::now();
        self.listeners.on_poll(now);
        loop {
            match self.listeners.poll_action() {
                Action::Report(event) => return Poll::Ready(outward(event)),
                Action::Bind {
                    listener,
                    inner,
                    address,
                } => {
                    if let Support::Waiting(missing) = self.inner.support(&address) {
                        self.listeners.on_missing(listener, missing);
                        continue;
                    }
                    match self.inner.listen_on(inner, address) {
                        Ok(()) => self.listeners.on_bound(listener),
                        Err(error) => self.listeners.on_bind_failed(listener, error),
                    }
                }
                Action::Remove { listener, inner } => {
                    let known = self.inner.remove_listener(inner);
                    self.listeners.on_removed(listener, known);
                }
                Action::Ask { listener, address } => {
                    let support = self.inner.support(&address);
                    self.listeners.on_answer(listener, support);
                }
                Action::PollInner => {
                    if let Poll::Ready(changed) = self.inner.poll_changed(cx) {
                        self.listeners.on_changed(changed);
                        continue;
                    }
                    match Pin::new(&mut self.inner).poll(cx) {
                        Poll::Ready(event) => self.listeners.on_inner_event(event),
                        Poll::Pending => self.listeners.on_inner_pending(),
                    }
                }
                Action::Rest { again } => {
                    let next = self.listeners.next_timeout();
                    if again || self.deadline.poll(now, next, cx).is_ready() {
                        cx.waker().wake_by_ref();
                    }
                    match &mut self.waker {
                        Some(waker) => waker.clone_from(cx.waker()),
                        None => self.waker = Some(cx.waker().clone()),
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

type Outward<U, E> = MapErr<U, fn(E) -> Error<E>>;

/// Converts the errors of the upgrade into those of this transport.
fn outward<U, E>(event: TransportEvent<U, Error<E>>) -> TransportEvent<Outward<U, E>, Error<E>>
where
    U: TryFuture<Error = E>,
{
    event.map_upgrade(|upgrade| upgrade.map_err(Error::Inner as fn(_) -> _))
}

#[cfg(test)]
mod tests;
