//! What bounds a connection between its TCP accept and the end of its WebSocket handshake: how many of one listener
//! there may be, and for how long.

use std::{
    num::NonZeroUsize,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::FutureExt as _;
use libp2p_core::transport::ListenerId;

use crate::{
    deadline::{self, Deadline, Instant},
    lazy::ids::IdMap,
    websocket::{Counters, Error},
};

/// Decides which connections are let in, by how many of their listener have not finished their handshake.
#[derive(Debug)]
pub(super) struct HalfOpen {
    max: NonZeroUsize,
    counters: Counters,
    /// One for each listener that has had a connection and has not closed. Only [`HalfOpen::admit`] counts up, so
    /// what it has read can only have become less.
    taken: IdMap<Arc<AtomicUsize>>,
}

impl HalfOpen {
    /// At most `max` for each listener.
    pub(super) fn new(max: NonZeroUsize, counters: Counters) -> Self {
        Self {
            max,
            counters,
            taken: IdMap::default(),
        }
    }

    /// A place for a new connection of this listener, if it has one left.
    pub(super) fn admit(&mut self, id: ListenerId) -> Option<Place> {
        let taken = self.taken.entry(id).or_default();
        // Acquire, for what the holder of a place has freed before it gave that up.
        if taken.load(Ordering::Acquire) >= self.max.get() {
            self.counters.on_dropped();
            return None;
        }
        taken.fetch_add(1, Ordering::Relaxed);
        self.counters.on_admitted();
        Some(Place {
            taken: Arc::clone(taken),
            counters: self.counters.clone(),
        })
    }

    /// The listener is gone. The connections that it has accepted live on, and keep their count themselves.
    pub(super) fn on_closed(&mut self, id: ListenerId) {
        self.taken.remove(&id);
    }
}

/// One of the places that a listener has, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    taken: Arc<AtomicUsize>,
    counters: Counters,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Release);
        self.counters.on_left();
    }
}

/// A handshake that holds a place and has to be done by a deadline.
#[derive(Debug)]
pub(super) struct Handshake<F> {
    /// Both are `None` once it is done or too late: what it held is freed then, whatever becomes of this.
    upgrade: Option<F>,
    place: Option<Place>,
    after: Duration,
    at: Instant,
    deadline: Deadline,
}

impl<F> Handshake<F> {
    /// It begins `now` and has `timeout`, however often it is polled.
    pub(super) fn new(upgrade: F, place: Option<Place>, now: Instant, timeout: Duration) -> Self {
        Self {
            upgrade: Some(upgrade),
            place,
            after: timeout,
            at: deadline::after(now, timeout),
            deadline: Deadline::default(),
        }
    }
}

impl<F, C> Future for Handshake<F>
where
    F: Future<Output = Result<C, Error>> + Unpin,
{
    type Output = Result<C, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(upgrade) = &mut this.upgrade else {
            return Poll::Pending;
        };
        let result = match upgrade.poll_unpin(cx) {
            Poll::Ready(result) => result,
            Poll::Pending => {
                ready!(this.deadline.poll(deadline::now(), Some(this.at), cx));
                Err(Error::HandshakeTimedOut { after: this.after })
            }
        };
        this.upgrade = None;
        if let Some(place) = this.place.take() {
            match &result {
                Ok(_) => place.counters.on_upgraded(),
                Err(Error::HandshakeTimedOut { .. }) => place.counters.on_timed_out(),
                Err(_) => {}
            }
        }
        Poll::Ready(result)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        future::{Pending, Ready, pending, ready},
        io, iter,
    };

    use futures::io::Cursor;
    use libp2p_core::{
        Transport as _,
        transport::{DialOpts, TransportError, TransportEvent},
    };
    use multiaddr::Multiaddr;
    use proptest::prelude::*;
    use tokio_test::{assert_pending, task};

    use super::*;
    use crate::websocket::{Config, Transport, transport::MAX_FRUITLESS_PER_POLL};

    fn half_open(max: usize) -> (HalfOpen, Counters) {
        let counters = Counters::default();
        let max = NonZeroUsize::new(max).unwrap();
        (HalfOpen::new(max, counters.clone()), counters)
    }

    #[test]
    fn a_listener_has_so_many_places_and_a_freed_one_is_given_again() {
        let (mut half_open, counters) = half_open(2);
        let (one, other) = (ListenerId::next(), ListenerId::next());
        let first = half_open.admit(one).unwrap();
        let _second = half_open.admit(one).unwrap();
        assert!(half_open.admit(one).is_none());
        assert_eq!((counters.half_open(), counters.dropped()), (2, 1));

        let _of_other = half_open.admit(other).unwrap();
        assert!(half_open.admit(one).is_none());
        assert_eq!((counters.half_open(), counters.dropped()), (3, 2));

        drop(first);
        assert_eq!(counters.half_open(), 2);
        let _third = half_open.admit(one).unwrap();
        assert!(half_open.admit(one).is_none());
    }

    #[test]
    fn a_listener_that_is_closed_is_forgotten_and_its_connections_are_not() {
        let (mut half_open, counters) = half_open(1);
        let id = ListenerId::next();
        let place = half_open.admit(id).unwrap();
        half_open.on_closed(id);
        assert!(half_open.taken.is_empty());
        assert_eq!(counters.half_open(), 1);
        drop(place);
        assert_eq!(counters.half_open(), 0);
    }

    #[derive(Debug, Clone)]
    enum Operation {
        Connect(usize),
        Leave(usize),
        Close(usize),
    }

    proptest! {
        #[test]
        fn never_more_than_allowed_and_none_refused_below(
            operations in prop::collection::vec(
                prop_oneof![
                    4 => (0..3usize).prop_map(Operation::Connect),
                    2 => (0..8usize).prop_map(Operation::Leave),
                    1 => (0..3usize).prop_map(Operation::Close),
                ],
                0..100,
            ),
        ) {
            const MAX: usize = 3;
            let (mut half_open, counters) = half_open(MAX);
            let mut ids = [(); 3].map(|()| ListenerId::next());
            let mut places = Vec::new();
            for operation in operations {
                match operation {
                    Operation::Connect(listener) => {
                        let id = ids[listener];
                        let taken = places.iter().filter(|(of, _)| *of == id).count();
                        let place = half_open.admit(id);
                        prop_assert_eq!(place.is_some(), taken < MAX);
                        places.extend(place.map(|place| (id, place)));
                    }
                    Operation::Leave(index) if index < places.len() => {
                        places.remove(index);
                    }
                    Operation::Leave(_) => {}
                    Operation::Close(listener) => {
                        half_open.on_closed(ids[listener]);
                        ids[listener] = ListenerId::next();
                    }
                }
                prop_assert_eq!(counters.half_open(), places.len());
                prop_assert!(half_open.taken.len() <= ids.len());
            }
        }
    }

    type Result = std::result::Result<(), Error>;

    fn handshake<F>(upgrade: F, timeout: Duration) -> (Handshake<F>, Counters) {
        let (mut half_open, counters) = half_open(1);
        let place = half_open.admit(ListenerId::next());
        assert_eq!(counters.half_open(), 1);
        let handshake = Handshake::new(upgrade, place, deadline::now(), timeout);
        (handshake, counters)
    }

    #[test]
    fn what_is_not_done_by_the_deadline_ends_and_frees_its_place() {
        let after = Duration::from_millis(5);
        let upgrade = pending::<Result>();
        let (mut handshake, counters) = handshake(upgrade, after);
        let result = futures::executor::block_on(&mut handshake);
        assert!(matches!(result, Err(Error::HandshakeTimedOut { after: a }) if a == after));
        assert_eq!((counters.half_open(), counters.timed_out()), (0, 1));
        assert!(handshake.upgrade.is_none());
    }

    #[test]
    fn what_is_done_is_not_asked_for_the_time_and_frees_its_place() {
        let refused = Error::TooManyRedirects;
        for (result, upgraded) in [(Ok(()), 1), (Err(refused), 0)] {
            let is_ok = result.is_ok();
            let (mut handshake, counters) = handshake(ready(result), Duration::ZERO);
            let result = futures::executor::block_on(&mut handshake);
            assert_eq!(result.is_ok(), is_ok);
            assert_eq!((counters.half_open(), counters.timed_out()), (0, 0));
            assert_eq!(counters.upgraded(), upgraded);
        }
    }

    #[test]
    fn the_longest_duration_is_no_deadline() {
        let (handshake, counters) = handshake(pending::<Result>(), Duration::MAX);
        let mut task = task::spawn(handshake);
        assert_pending!(task.poll());
        assert!(!task.is_woken());
        drop(task);
        // Given up by its holder, which is neither of these.
        assert_eq!((counters.half_open(), counters.timed_out()), (0, 0));
        assert_eq!(counters.upgraded(), 0);
    }

    type Stream = Cursor<Vec<u8>>;
    type Event = TransportEvent<Pending<io::Result<Stream>>, io::Error>;

    /// Has so many connections for each listener. They never come to anything.
    struct Tcp {
        connections: usize,
        events: VecDeque<Event>,
    }

    impl libp2p_core::Transport for Tcp {
        type Output = Stream;
        type Error = io::Error;
        type ListenerUpgrade = Pending<io::Result<Stream>>;
        type Dial = Ready<io::Result<Stream>>;

        fn listen_on(
            &mut self,
            id: ListenerId,
            tcp: Multiaddr,
        ) -> std::result::Result<(), TransportError<io::Error>> {
            let incoming = || TransportEvent::Incoming {
                listener_id: id,
                upgrade: pending(),
                local_addr: tcp.clone(),
                send_back_addr: tcp.clone(),
            };
            self.events
                .extend(iter::repeat_with(incoming).take(self.connections));
            Ok(())
        }

        fn remove_listener(&mut self, listener_id: ListenerId) -> bool {
            self.events.push_back(TransportEvent::ListenerClosed {
                listener_id,
                reason: Ok(()),
            });
            true
        }

        fn dial(
            &mut self,
            addr: Multiaddr,
            _: DialOpts,
        ) -> std::result::Result<Self::Dial, TransportError<io::Error>> {
            Err(TransportError::MultiaddrNotSupported(addr))
        }

        fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Event> {
            self.events.pop_front().map_or(Poll::Pending, Poll::Ready)
        }
    }

    const ADDRESS: &str = "/ip4/127.0.0.1/tcp/1/ws";

    /// Has a listener with one place, and so many connections for it.
    fn transport(id: ListenerId, address: &str, connections: usize) -> (Transport<Tcp>, Counters) {
        let config = Config::default().with_max_half_open(NonZeroUsize::MIN);
        let tcp = Tcp {
            connections,
            events: VecDeque::new(),
        };
        let mut transport = Transport::new(tcp, &config);
        transport.listen_on(id, address.parse().unwrap()).unwrap();
        (transport, config.counters())
    }

    #[test]
    fn connections_too_many_are_dropped_in_portions() {
        let (mut transport, counters) =
            transport(ListenerId::next(), ADDRESS, 1 + MAX_FRUITLESS_PER_POLL + 1);
        let mut task = task::spawn(());
        let mut poll = || {
            let polled = task.enter(|cx, _| Pin::new(&mut transport).poll(cx));
            (polled, task.is_woken())
        };
        let (Poll::Ready(TransportEvent::Incoming { upgrade, .. }), _) = poll() else {
            panic!("the first is let in");
        };
        assert_eq!((counters.half_open(), counters.dropped()), (1, 0));

        let portion = u64::try_from(MAX_FRUITLESS_PER_POLL).unwrap();
        for (dropped, is_woken) in [(portion, true), (portion + 1, false)] {
            assert!(matches!(poll(), (Poll::Pending, woken) if woken == is_woken));
            assert_eq!((counters.half_open(), counters.dropped()), (1, dropped));
        }
        drop(upgrade);
        assert_eq!(counters.half_open(), 0);
    }

    #[test]
    fn what_a_closed_listener_accepted_takes_no_place_of_the_next() {
        // Of a name, the close is not an event from below.
        for address in [ADDRESS, "/dns4/localhost/tcp/1/ws"] {
            let id = ListenerId::next();
            let (mut transport, counters) = transport(id, address, 1);
            let mut task = task::spawn(());
            let mut incoming = |transport: &mut Transport<Tcp>| {
                let event = task.enter(|cx, _| Pin::new(&mut *transport).poll(cx));
                let Poll::Ready(TransportEvent::Incoming { upgrade, .. }) = event else {
                    panic!("a connection, not {event:?}");
                };
                assert!(transport.remove_listener(id));
                let event = task.enter(|cx, _| Pin::new(&mut *transport).poll(cx));
                assert!(matches!(
                    event,
                    Poll::Ready(TransportEvent::ListenerClosed { .. })
                ));
                upgrade
            };
            let first = incoming(&mut transport);
            transport.listen_on(id, address.parse().unwrap()).unwrap();
            let second = incoming(&mut transport);
            assert_eq!((counters.half_open(), counters.dropped()), (2, 0));
            drop((first, second));
        }
    }
}
