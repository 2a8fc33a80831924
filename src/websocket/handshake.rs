//! A pending handshake: a connection from its TCP accept until its peer is authenticated, or until the end of its
//! WebSocket handshake where the application does the rest.
//!
//! It holds one of the [`places`] of its port, which it may lose to a newcomer, and it has a deadline.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{FutureExt as _, task::AtomicWaker};
use multiaddr::Multiaddr;

pub(super) use self::places::Remote;
use self::places::{Places, Ticket};
use crate::{
    deadline::{self, Deadline, Instant},
    websocket::{Counters, Error, address},
};

mod places;

/// The places of the pending handshakes of a transport. Shared by every place.
#[derive(Debug, Clone)]
pub(super) struct Admission(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    places: Mutex<Places<Arc<Eviction>>>,
    timeout: Duration,
    counters: Counters,
}

impl Admission {
    /// At most `max` places for each port, each for at most `timeout`.
    pub(super) fn new(max: usize, timeout: Duration, counters: Counters) -> Self {
        Self(Arc::new(Shared {
            places: Mutex::new(Places::new(max)),
            timeout,
            counters,
        }))
    }

    /// The bounds of a connection to `local` that is accepted `now`. If no place was free, another handshake is evicted: it
    /// is woken, and ends at its next poll.
    ///
    /// `remote` is `None` for a proxy, which connects for many clients and has no bound of its own.
    pub(super) fn admit(&self, local: &Multiaddr, remote: Option<IpAddr>, now: Instant) -> Bounds {
        Bounds::new(Some(self.place(local, remote)), now, self.0.timeout)
    }

    fn place(&self, local: &Multiaddr, remote: Option<IpAddr>) -> Place {
        // Every listen address has a port.
        let port = address::port(local).unwrap_or_default();
        let remote = remote.and_then(Remote::of);
        let eviction = Arc::<Eviction>::default();
        let mut places = self.0.places();
        let (ticket, evicted) = places.admit(port, remote, Arc::clone(&eviction));
        // Still under the lock, so that no reader counts more than the maximum.
        if evicted.is_some() {
            self.0.counters.on_evicted();
        }
        self.0.counters.on_admitted();
        drop(places);
        if let Some(evicted) = evicted {
            evicted.signal();
        }
        Place {
            ticket,
            eviction,
            shared: Arc::clone(&self.0),
        }
    }
}

impl Shared {
    fn places(&self) -> MutexGuard<'_, Places<Arc<Eviction>>> {
        // No panic leaves it half changed.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The signal to a handshake that its place was taken.
#[derive(Debug, Default)]
struct Eviction {
    is_evicted: AtomicBool,
    waker: AtomicWaker,
}

impl Eviction {
    fn signal(&self) {
        self.is_evicted.store(true, Ordering::Release);
        self.waker.wake();
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        // In this order: a signal in between is seen.
        self.waker.register(cx.waker());
        match self.is_evicted.load(Ordering::Acquire) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

/// One of the places of a port, until it is dropped or a newcomer has taken it.
#[derive(Debug)]
pub(super) struct Place {
    ticket: Ticket,
    eviction: Arc<Eviction>,
    shared: Arc<Shared>,
}

impl Place {
    /// Frees the place, unless a newcomer took it or it was freed before. Returns whether it was still held.
    fn leave(&self) -> bool {
        let mut places = self.shared.places();
        let was_there = places.leave(self.ticket).is_some();
        if was_there {
            self.shared.counters.on_left();
        }
        was_there
    }
}

impl Drop for Place {
    /// The handshake was dropped from outside, usually by an outer deadline.
    fn drop(&mut self) {
        if self.leave() {
            self.shared.counters.on_timed_out();
        }
    }
}

/// The bounds of a handshake: its deadline, and its place if the connection was accepted.
#[derive(Debug)]
pub(super) struct Bounds {
    /// `None` for a dialled connection.
    place: Option<Place>,
    after: Duration,
    at: Instant,
    deadline: Deadline,
}

impl Bounds {
    /// The handshake begins `now` and may take `timeout`.
    pub(super) fn new(place: Option<Place>, now: Instant, timeout: Duration) -> Self {
        Self {
            place,
            after: timeout,
            at: deadline::after(now, timeout),
            deadline: Deadline::default(),
        }
    }

    /// The handshake is done.
    ///
    /// # Errors
    ///
    /// If its place was taken.
    pub(super) fn finish(self) -> Result<(), Error> {
        let Some(place) = &self.place else {
            return Ok(());
        };
        if !place.leave() {
            return Err(Error::Evicted);
        }
        place.shared.counters.on_upgraded();
        Ok(())
    }

    /// The connection is from a proxy for a client at this address, which is bounded like any other.
    pub(super) fn identify(&self, client: IpAddr) {
        let (Some(place), Some(remote)) = (&self.place, Remote::of(client)) else {
            return;
        };
        let mut places = place.shared.places();
        let evicted = places.identify(place.ticket, remote);
        if evicted.is_some() {
            place.shared.counters.on_evicted();
        }
        drop(places);
        if let Some(evicted) = evicted {
            evicted.signal();
        }
    }

    /// No listener serves the protocol of the connection.
    pub(super) fn refuse(self) {
        if let Some(place) = &self.place
            && place.leave()
        {
            place.shared.counters.on_unknown();
        }
    }

    /// The handshake has failed.
    fn fail(&self, error: Error) -> Error {
        let Some(place) = &self.place else {
            return error;
        };
        if !place.leave() {
            // Taken, and counted when it was.
            return Error::Evicted;
        }
        if let Error::HandshakeTimedOut { .. } = error {
            place.shared.counters.on_timed_out();
        }
        error
    }

    fn poll<F, C>(&mut self, step: &mut F, cx: &mut Context<'_>) -> Poll<Result<C, Error>>
    where
        F: Future<Output = Result<C, Error>> + Unpin,
    {
        if let Some(place) = &self.place
            && place.eviction.poll(cx).is_ready()
        {
            return Poll::Ready(Err(Error::Evicted));
        }
        if let Poll::Ready(result) = step.poll_unpin(cx) {
            return Poll::Ready(result);
        }
        ready!(self.deadline.poll(deadline::now(), Some(self.at), cx));
        Poll::Ready(Err(Error::HandshakeTimedOut { after: self.after }))
    }
}

/// One step of a handshake. Its output includes the bounds, for the next step or to be [finished](Bounds::finish).
#[derive(Debug)]
pub(super) struct Handshake<F>(
    /// `None` once it has ended, so that its resources are freed even if this is kept.
    Option<(F, Bounds)>,
);

impl<F> Handshake<F> {
    pub(super) fn new(step: F, bounds: Bounds) -> Self {
        Self(Some((step, bounds)))
    }
}

impl<F, C> Future for Handshake<F>
where
    F: Future<Output = Result<C, Error>> + Unpin,
{
    type Output = Result<(C, Bounds), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some((step, bounds)) = &mut self.0 else {
            return Poll::Pending;
        };
        let result = ready!(bounds.poll(step, cx));
        // Dropped after counting, because a test may read the counters once its connection is closed.
        let Some((_step, bounds)) = self.0.take() else {
            return Poll::Pending;
        };
        Poll::Ready(match result {
            Ok(done) => Ok((done, bounds)),
            Err(error) => Err(bounds.fail(error)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        future::{Pending, Ready, pending, poll_fn, ready},
        io,
        sync::Weak,
    };

    use futures::io::Cursor;
    use libp2p_core::{
        Transport as _,
        transport::{DialOpts, ListenerId, TransportError, TransportEvent},
    };
    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;
    use crate::websocket::{Config, Transport, address::ip};

    fn admission(max: usize) -> (Admission, Counters) {
        let counters = Counters::default();
        (
            Admission::new(max, Duration::MAX, counters.clone()),
            counters,
        )
    }

    const LOCAL: &str = "/ip4/127.0.0.1/tcp/1/ws";
    const REMOTE: &str = "/ip4/127.0.0.1/tcp/50000/ws";

    fn admit(admission: &Admission) -> Place {
        admission.place(&LOCAL.parse().unwrap(), ip(&REMOTE.parse().unwrap()))
    }

    #[test]
    fn places_are_of_a_port_whatever_its_address_and_given_again() {
        let (admission, counters) = admission(2);
        let [first, second, other] = [
            "/ip4/192.0.2.1/tcp/1/ws",
            "/dns6/a.example/tcp/1/tls/ws",
            "/ip4/192.0.2.1/tcp/2/ws",
        ]
        .map(|local| admission.place(&local.parse().unwrap(), ip(&REMOTE.parse().unwrap())));
        assert_eq!((counters.pending_handshakes(), counters.evicted()), (3, 0));
        drop(first);
        let third = admit(&admission);
        assert_eq!((counters.pending_handshakes(), counters.evicted()), (3, 0));
        // The place of the second one is that of the fourth from now on.
        let fourth = admit(&admission);
        assert_eq!((counters.pending_handshakes(), counters.evicted()), (3, 1));
        drop(second);
        assert_eq!(counters.pending_handshakes(), 3);
        drop((third, fourth, other));
        assert_eq!((counters.pending_handshakes(), counters.evicted()), (0, 1));
    }

    #[test]
    fn places_of_a_remote_address_are_counted_by_what_is_said_of_it() {
        let (admission, counters) = admission(8);
        let remotes = [
            ("/ip4/192.0.2.1/tcp/1/ws", 0),
            ("/ip6/::ffff:192.0.2.1/tcp/2/ws", 0),
            ("/ip4/192.0.2.1/tcp/3/ws", 1),
            ("/ip6zone/eth0/ip6/fe80::1/tcp/1/ws", 1),
            ("/ip4/127.0.0.1/tcp/1/ws", 1),
            ("/ip4/127.0.0.1/tcp/2/ws", 1),
            ("/ip4/127.0.0.1/tcp/3/ws", 1),
            // Nothing is known of it.
            ("/dns4/a.example/tcp/1/ws", 1),
        ];
        let mut places = Vec::new();
        for (remote, evicted) in remotes {
            places.push(admission.place(&LOCAL.parse().unwrap(), ip(&remote.parse().unwrap())));
            assert_eq!(counters.evicted(), evicted, "{remote}");
        }
        assert_eq!(counters.pending_handshakes(), 7);
    }

    #[test]
    fn the_client_of_a_proxy_is_bounded_like_any_other() {
        // One place for each address.
        let (admission, counters) = admission(4);
        let mut clients = ["192.0.2.1", "192.0.2.2", "192.0.2.1"].map(|client| {
            let bounds = Bounds::new(Some(admit(&admission)), deadline::now(), Duration::MAX);
            bounds.identify(client.parse().unwrap());
            task::spawn(Handshake::new(pending::<Result>(), bounds))
        });
        assert_eq!((counters.pending_handshakes(), counters.evicted()), (2, 1));
        let [first, other, last] = &mut clients;
        assert!(matches!(assert_ready!(first.poll()), Err(Error::Evicted)));
        assert_pending!(other.poll().map(drop));
        assert_pending!(last.poll().map(drop));
    }

    type Result = std::result::Result<(), Error>;

    /// The whole of one in one step.
    fn whole<F>(step: F, place: Place, timeout: Duration) -> impl Future<Output = Result> + Unpin
    where
        F: Future<Output = Result> + Unpin,
    {
        let bounds = Bounds::new(Some(place), deadline::now(), timeout);
        Handshake::new(step, bounds).map(|ended| ended?.1.finish())
    }

    fn handshake<F>(step: F, place: Place) -> impl Future<Output = Result> + Unpin
    where
        F: Future<Output = Result> + Unpin,
    {
        whole(step, place, Duration::MAX)
    }

    /// Never done, and gone when the other one finds nobody.
    fn observed() -> (impl Future<Output = Result> + Unpin, Weak<()>) {
        let held = Arc::new(());
        let observer = Arc::downgrade(&held);
        let upgrade = poll_fn(move |_| {
            let _ = &held;
            Poll::Pending
        });
        (upgrade, observer)
    }

    #[test]
    fn whoever_gives_way_is_woken_to_end_and_its_place_is_free_before() {
        let (admission, counters) = admission(1);
        let (upgrade, observer) = observed();
        let mut first = task::spawn(handshake(upgrade, admit(&admission)));
        assert_pending!(first.poll());
        let mut second = task::spawn(handshake(pending::<Result>(), admit(&admission)));
        assert_eq!((counters.pending_handshakes(), counters.evicted()), (1, 1));
        assert!(first.is_woken());
        assert_pending!(second.poll());
        assert!(!second.is_woken());

        assert!(observer.upgrade().is_some());
        assert!(matches!(assert_ready!(first.poll()), Err(Error::Evicted)));
        assert!(observer.upgrade().is_none(), "it holds nothing any more");
        drop(first);
        assert_eq!((counters.pending_handshakes(), counters.evicted()), (1, 1));
        assert_eq!((counters.timed_out(), counters.upgraded()), (0, 0));
        drop(second);
        assert_eq!(counters.pending_handshakes(), 0);
    }

    #[test]
    fn whoever_gives_way_is_woken_where_it_was_polled_last() {
        let (admission, _) = admission(1);
        let mut first = handshake(pending::<Result>(), admit(&admission));
        let [mut before, mut now] = [(); 2].map(task::spawn);
        for task in [&mut before, &mut now] {
            assert_pending!(task.enter(|cx, _| first.poll_unpin(cx)));
        }
        let _second = admit(&admission);
        assert!(!before.is_woken() && now.is_woken());
    }

    #[test]
    fn whoever_gives_way_before_it_is_polled_does_not_begin() {
        let (admission, _) = admission(1);
        let upgrade = poll_fn(|_| -> Poll<Result> { panic!("it is polled") });
        let mut first = task::spawn(handshake(upgrade, admit(&admission)));
        let _second = admit(&admission);
        assert!(matches!(assert_ready!(first.poll()), Err(Error::Evicted)));
    }

    #[test]
    fn whoever_gives_way_while_it_is_polled_is_counted_once() {
        let (admission, counters) = admission(1);
        let place = admit(&admission);
        let mut newcomer = None;
        let upgrade = poll_fn(|_| {
            newcomer = Some(admit(&admission));
            Poll::Ready(Ok(()))
        });
        let mut first = task::spawn(handshake(upgrade, place));
        assert!(matches!(assert_ready!(first.poll()), Err(Error::Evicted)));
        assert_eq!((counters.evicted(), counters.upgraded()), (1, 0));
        assert_eq!(counters.pending_handshakes(), 1);
    }

    #[test]
    fn what_is_not_done_by_the_deadline_ends_and_frees_its_place() {
        let after = Duration::from_millis(5);
        let (admission, counters) = admission(1);
        let (upgrade, observer) = observed();
        let mut handshake = whole(upgrade, admit(&admission), after);
        let result = futures::executor::block_on(&mut handshake);
        assert!(matches!(result, Err(Error::HandshakeTimedOut { after: a }) if a == after));
        assert_eq!(
            (counters.pending_handshakes(), counters.timed_out()),
            (0, 1)
        );
        assert!(observer.upgrade().is_none());
    }

    #[test]
    fn what_is_done_is_not_asked_for_the_time_and_frees_its_place() {
        let refused = Error::TooManyRedirects;
        for (result, upgraded) in [(Ok(()), 1), (Err(refused), 0)] {
            let is_ok = result.is_ok();
            let (admission, counters) = admission(1);
            let place = admit(&admission);
            let mut handshake = whole(ready(result), place, Duration::ZERO);
            let result = futures::executor::block_on(&mut handshake);
            assert_eq!(result.is_ok(), is_ok);
            assert_eq!(
                (counters.pending_handshakes(), counters.timed_out()),
                (0, 0)
            );
            assert_eq!(counters.upgraded(), upgraded);
        }
    }

    #[test]
    fn the_longest_duration_is_no_deadline() {
        let (admission, counters) = admission(1);
        let mut task = task::spawn(handshake(pending::<Result>(), admit(&admission)));
        assert_pending!(task.poll());
        assert!(!task.is_woken());
        drop(task);
        // Given up by its holder, which has a deadline of its own.
        assert_eq!(
            (counters.pending_handshakes(), counters.timed_out()),
            (0, 1)
        );
        assert_eq!((counters.upgraded(), counters.evicted()), (0, 0));
    }

    #[test]
    fn a_place_is_held_from_step_to_step() {
        let (admission, counters) = admission(1);
        let bounds = Bounds::new(Some(admit(&admission)), deadline::now(), Duration::MAX);
        let first = Handshake::new(ready(Result::Ok(())), bounds);
        let ((), bounds) = futures::executor::block_on(first).unwrap();
        assert_eq!((counters.pending_handshakes(), counters.upgraded()), (1, 0));
        let mut second = task::spawn(Handshake::new(pending::<Result>(), bounds));
        assert_pending!(second.poll());
        let newcomer = admit(&admission);
        assert!(second.is_woken());
        assert!(matches!(assert_ready!(second.poll()), Err(Error::Evicted)));
        assert_eq!((counters.pending_handshakes(), counters.evicted()), (1, 1));

        // Between two steps it may be taken too.
        let bounds = Bounds::new(Some(newcomer), deadline::now(), Duration::MAX);
        let _newcomer = admit(&admission);
        assert!(matches!(bounds.finish(), Err(Error::Evicted)));
        assert_eq!((counters.evicted(), counters.upgraded()), (2, 0));
    }

    #[test]
    fn what_was_dialled_has_a_deadline_and_no_place() {
        let after = Duration::from_millis(5);
        let bounds = Bounds::new(None, deadline::now(), after);
        let ended = futures::executor::block_on(Handshake::new(pending::<Result>(), bounds));
        assert!(matches!(ended, Err(Error::HandshakeTimedOut { after: a }) if a == after));
        let bounds = Bounds::new(None, deadline::now(), Duration::MAX);
        let done = Handshake::new(ready(Result::Ok(())), bounds);
        futures::executor::block_on(done)
            .unwrap()
            .1
            .finish()
            .unwrap();
    }

    type Stream = Cursor<Vec<u8>>;
    type Event = TransportEvent<Pending<io::Result<Stream>>, io::Error>;

    /// Has a connection from each of these for each listener. They never come to anything.
    struct Tcp {
        remotes: Vec<Multiaddr>,
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
            let incoming = self.remotes.iter().map(|remote| TransportEvent::Incoming {
                listener_id: id,
                upgrade: pending(),
                local_addr: tcp.clone(),
                send_back_addr: remote.clone(),
            });
            self.events.extend(incoming);
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

    /// Has a listener, and these connections for it.
    fn transport(
        max: usize,
        address: &str,
        remotes: impl IntoIterator<Item = String>,
    ) -> (Transport, ListenerId, Counters) {
        let config = Config::default().with_max_pending_handshakes(max);
        let remotes = remotes.into_iter().map(|remote| remote.parse().unwrap());
        let tcp = Tcp {
            remotes: remotes.collect(),
            events: VecDeque::new(),
        };
        let mut transport = Transport::new(tcp, config);
        let counters = transport.counters();
        let id = ListenerId::next();
        transport.listen_on(id, address.parse().unwrap()).unwrap();
        (transport, id, counters)
    }

    type Upgrade = <Transport as libp2p_core::Transport>::ListenerUpgrade;

    fn incoming(transport: &mut Transport) -> task::Spawn<Upgrade> {
        let event = task::spawn(()).enter(|cx, _| Pin::new(transport).poll(cx));
        let Poll::Ready(TransportEvent::Incoming { upgrade, .. }) = event else {
            panic!("a connection, not {event:?}");
        };
        let mut upgrade = task::spawn(upgrade);
        assert_pending!(upgrade.poll());
        upgrade
    }

    /// Which of these have been woken to end.
    fn ended(upgrades: &mut [task::Spawn<Upgrade>]) -> Vec<usize> {
        let mut ended = Vec::new();
        for (index, upgrade) in upgrades.iter_mut().enumerate() {
            if upgrade.is_woken() {
                let result = assert_ready!(upgrade.poll());
                assert!(matches!(result, Err(Error::Evicted)), "{result:?}");
                ended.push(index);
            }
        }
        ended
    }

    #[test]
    fn a_newcomer_beyond_the_quarter_of_its_address_ends_the_oldest_from_there() {
        // Each with ports of its own.
        let remotes = [
            "2001:db8::1",
            "2001:db8:0:1::1",
            "192.0.2.1",
            "2001:db8:0:ff::1",
        ]
        .into_iter()
        .cycle()
        .take(12)
        .zip(1..)
        .map(|(ip, port)| match ip.contains(':') {
            true => format!("/ip6/{ip}/tcp/{port}"),
            false => format!("/ip4/{ip}/tcp/{port}"),
        });
        let (mut transport, _, counters) = transport(16, LOCAL, remotes);
        let mut upgrades: Vec<_> = (0..12).map(|_| incoming(&mut transport)).collect();
        // Nine from one /56, which may have four.
        assert_eq!(ended(&mut upgrades), [0, 1, 3, 4, 5]);
        assert_eq!((counters.pending_handshakes(), counters.evicted()), (7, 5));
    }

    #[test]
    fn a_closed_listener_s_handshakes_give_way_to_those_of_the_next_on_its_port() {
        // Of a name, the close is not an event from below.
        for address in [LOCAL, "/dns4/localhost/tcp/1/ws"] {
            let remote = || [REMOTE.to_owned()];
            let (mut transport, id, counters) = transport(1, address, remote());
            let first = incoming(&mut transport);
            assert!(transport.remove_listener(id));
            let event = task::spawn(()).enter(|cx, _| Pin::new(&mut transport).poll(cx));
            assert!(matches!(
                event,
                Poll::Ready(TransportEvent::ListenerClosed { .. })
            ));
            assert_eq!((counters.pending_handshakes(), counters.evicted()), (1, 0));

            transport.listen_on(id, address.parse().unwrap()).unwrap();
            let second = incoming(&mut transport);
            assert_eq!(ended(&mut [first, second]), [0]);
        }
    }
}
