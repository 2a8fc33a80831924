//! An inner transport that follows the script of a test, and counts the calls.

use std::{
    collections::{HashMap, VecDeque},
    future::{Ready, ready},
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use libp2p_core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};
use multiaddr::Multiaddr;

use crate::lazy::{Changed, ListenSupport, Support};

pub(super) type Upgrade = Ready<io::Result<u32>>;
pub(super) type Event = TransportEvent<Upgrade, io::Error>;

/// The transport. The test keeps a clone of it.
#[derive(Clone, Default)]
pub(super) struct Scripted(Arc<Mutex<Script>>);

#[derive(Default)]
pub(super) struct Script {
    /// The next results of `poll`.
    pub(super) events: VecDeque<Event>,
    /// Once `events` is empty: an endless row of connections to this listener.
    pub(super) flood: Option<ListenerId>,
    /// Whether `listen_on` queues a `NewAddress`, as libp2p-tcp does for a specific address.
    pub(super) announces: bool,
    /// The answers of `support`; [`Support::Now`] for all others.
    pub(super) support: HashMap<Multiaddr, Support>,
    /// The errors of `listen_on`, each taken once.
    pub(super) failures: HashMap<Multiaddr, TransportError<io::Error>>,
    /// The next result of `poll_changed`.
    changed: Option<Changed>,
    /// Whether `remove_listener` returns `false`.
    pub(super) forgetful: bool,
    /// The calls of `listen_on`.
    pub(super) bound: Vec<(ListenerId, Multiaddr)>,
    /// The calls of `remove_listener`.
    pub(super) removed: Vec<ListenerId>,
    pub(super) polls: usize,
    /// How many there had been when `poll_changed` was ready.
    pub(super) polls_at_change: Option<usize>,
    pub(super) asks: usize,
    waker: Option<Waker>,
    /// Separate from `waker`, so that a task that polls only one of the two misses the other.
    changed_waker: Option<Waker>,
}

impl Script {
    /// Wakes the task after a change by the test.
    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Lets `poll_changed` be ready.
    pub(super) fn change(&mut self, changed: Changed) {
        self.changed = Some(changed);
        if let Some(waker) = self.changed_waker.take() {
            waker.wake();
        }
    }

    /// The id under which the `n`th bind came.
    pub(super) fn inner_id(&self, n: usize) -> ListenerId {
        self.bound[n].0
    }
}

impl Scripted {
    pub(super) fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }
}

pub(super) fn incoming(listener_id: ListenerId, number: u32) -> Event {
    TransportEvent::Incoming {
        listener_id,
        upgrade: ready(Ok(number)),
        local_addr: "/ip4/127.0.0.1/tcp/1/ws".parse().unwrap(),
        send_back_addr: "/ip4/127.0.0.1/tcp/2/ws".parse().unwrap(),
    }
}

impl ListenSupport for Scripted {
    fn support(&self, address: &Multiaddr) -> Support {
        let mut script = self.script();
        script.asks += 1;
        script.support.get(address).cloned().unwrap_or(Support::Now)
    }

    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<Changed> {
        let mut script = self.script();
        if let Some(changed) = script.changed.take() {
            script.polls_at_change = Some(script.polls);
            return Poll::Ready(changed);
        }
        script.changed_waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Transport for Scripted {
    type Output = u32;
    type Error = io::Error;
    type ListenerUpgrade = Upgrade;
    type Dial = Upgrade;

    fn listen_on(
        &mut self,
        id: ListenerId,
        addr: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        let mut script = self.script();
        script.bound.push((id, addr.clone()));
        if let Some(error) = script.failures.remove(&addr) {
            return Err(error);
        }
        if script.announces {
            script.events.push_back(TransportEvent::NewAddress {
                listener_id: id,
                listen_addr: addr,
            });
        }
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let mut script = self.script();
        script.removed.push(id);
        !script.forgetful
    }

    fn dial(&mut self, addr: Multiaddr, _: DialOpts) -> Result<Upgrade, TransportError<io::Error>> {
        match self.script().failures.remove(&addr) {
            Some(error) => Err(error),
            None => Ok(ready(Err(io::ErrorKind::ConnectionRefused.into()))),
        }
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Event> {
        let mut script = self.script();
        script.polls += 1;
        assert!(script.polls < 100_000, "polled without end");
        if let Some(event) = script.events.pop_front() {
            return Poll::Ready(event);
        }
        if let Some(listener) = script.flood {
            return Poll::Ready(incoming(listener, 0));
        }
        script.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
