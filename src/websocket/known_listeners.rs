//! What stands between libp2p-websocket and the TCP below it, so that the former hears only of listeners that it
//! knows.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use crate::lazy::ids::IdSet;
use libp2p_core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};
use multiaddr::Multiaddr;

/// How many events one `poll` drops before it asks to be polled again.
const MAX_DROPPED_PER_POLL: usize = 64;

/// Drops the events of listeners whose `listen_on` failed, and those that follow a `ListenerClosed`. Passes on all
/// others.
///
/// libp2p-websocket panics on an event of an id that it does not know, and libp2p-tcp has one: it queues
/// `NewAddress` before the last step of `listen_on`, and when that fails the event stays in the queue.
#[derive(Debug)]
pub(super) struct KnownListeners<T> {
    below: T,
    /// Those that failed or closed since the transport below had last nothing to say: at most as many as were
    /// tried since then. Whatever it had queued for others has been dropped.
    gone: IdSet,
}

impl<T> KnownListeners<T> {
    pub(super) fn new(below: T) -> Self {
        Self {
            below,
            gone: IdSet::default(),
        }
    }
}

impl<T: Transport + Unpin> Transport for KnownListeners<T> {
    type Output = T::Output;
    type Error = T::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = T::Dial;

    fn listen_on(
        &mut self,
        id: ListenerId,
        addr: Multiaddr,
    ) -> Result<(), TransportError<Self::Error>> {
        let listening = self.below.listen_on(id, addr);
        if listening.is_err() {
            self.gone.insert(id);
        } else if !self.gone.is_empty() {
            // One that has closed may be given its id again.
            self.gone.remove(&id);
        }
        listening
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.below.remove_listener(id)
    }

    fn dial(
        &mut self,
        addr: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<Self::Error>> {
        self.below.dial(addr, opts)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        let this = &mut *self;
        for _ in 0..MAX_DROPPED_PER_POLL {
            let Poll::Ready(event) = Pin::new(&mut this.below).poll(cx) else {
                this.gone.clear();
                return Poll::Pending;
            };
            let is_known = match &event {
                TransportEvent::ListenerClosed { listener_id, .. } => {
                    this.gone.insert(*listener_id)
                }
                TransportEvent::NewAddress { listener_id, .. }
                | TransportEvent::AddressExpired { listener_id, .. }
                | TransportEvent::Incoming { listener_id, .. }
                | TransportEvent::ListenerError { listener_id, .. } => {
                    this.gone.is_empty() || !this.gone.contains(listener_id)
                }
            };
            if is_known {
                return Poll::Ready(event);
            }
            tracing::debug!("dropped an event of a listener that is not there");
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, future::Ready, io};

    use tokio_test::{assert_pending, task};

    use super::*;

    /// Fails every `listen_on` on port 1, after queueing its `NewAddress` as libp2p-tcp does.
    #[derive(Default)]
    struct Tcp {
        events: VecDeque<TransportEvent<Ready<Result<(), io::Error>>, io::Error>>,
    }

    impl Transport for Tcp {
        type Output = ();
        type Error = io::Error;
        type ListenerUpgrade = Ready<io::Result<()>>;
        type Dial = Ready<io::Result<()>>;

        fn listen_on(
            &mut self,
            listener_id: ListenerId,
            listen_addr: Multiaddr,
        ) -> Result<(), TransportError<io::Error>> {
            let fails = listen_addr == address(1);
            self.events.push_back(TransportEvent::NewAddress {
                listener_id,
                listen_addr,
            });
            if fails {
                return Err(TransportError::Other(io::ErrorKind::AddrInUse.into()));
            }
            Ok(())
        }

        fn remove_listener(&mut self, _: ListenerId) -> bool {
            false
        }

        fn dial(
            &mut self,
            addr: Multiaddr,
            _: DialOpts,
        ) -> Result<Self::Dial, TransportError<io::Error>> {
            Err(TransportError::MultiaddrNotSupported(addr))
        }

        fn poll(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
            match self.events.pop_front() {
                Some(event) => Poll::Ready(event),
                None => Poll::Pending,
            }
        }
    }

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()
    }

    #[test]
    fn only_what_succeeded_is_heard_of_and_nothing_after_its_close() {
        let mut transport = KnownListeners::new(Tcp::default());
        let (failed, good) = (ListenerId::next(), ListenerId::next());
        transport.listen_on(failed, address(1)).unwrap_err();
        transport.listen_on(good, address(2)).unwrap();
        for _ in 0..2 {
            transport
                .below
                .events
                .push_back(TransportEvent::ListenerClosed {
                    listener_id: good,
                    reason: Ok(()),
                });
        }
        let mut task = task::spawn(());
        let mut poll = || task.enter(|cx, _| Pin::new(&mut transport).poll(cx));
        assert!(matches!(
            poll(),
            Poll::Ready(TransportEvent::NewAddress { listener_id, .. }) if listener_id == good
        ));
        assert!(matches!(
            poll(),
            Poll::Ready(TransportEvent::ListenerClosed { .. })
        ));
        assert!(poll().is_pending());
        assert!(transport.gone.is_empty());
    }

    #[test]
    fn an_id_may_be_given_again_once_it_has_closed() {
        let mut transport = KnownListeners::new(Tcp::default());
        let id = ListenerId::next();
        transport.listen_on(id, address(2)).unwrap();
        let close = TransportEvent::ListenerClosed {
            listener_id: id,
            reason: Ok(()),
        };
        transport.below.events.push_back(close);
        let mut task = task::spawn(());
        let mut poll = |transport: &mut KnownListeners<Tcp>| {
            task.enter(|cx, _| Pin::new(transport).poll(cx)).is_ready()
        };
        assert!(poll(&mut transport) && poll(&mut transport));
        transport.listen_on(id, address(2)).unwrap();
        assert!(poll(&mut transport));
    }

    #[test]
    fn a_long_queue_of_strangers_is_dropped_in_portions() {
        let mut transport = KnownListeners::new(Tcp::default());
        for _ in 0..MAX_DROPPED_PER_POLL + 1 {
            transport
                .listen_on(ListenerId::next(), address(1))
                .unwrap_err();
        }
        let mut task = task::spawn(());
        assert_pending!(task.enter(|cx, _| Pin::new(&mut transport).poll(cx)));
        assert!(task.is_woken());
        assert_pending!(task.enter(|cx, _| Pin::new(&mut transport).poll(cx)));
        assert!(!task.is_woken());
        assert!(transport.below.events.is_empty());
    }
}
