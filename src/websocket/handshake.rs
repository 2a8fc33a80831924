//! A pending handshake: a connection from its TCP accept to the end of its WebSocket handshake.
//!
//! It holds one of the [`places`] of its port, which it may lose to a newcomer, and it has a deadline.

use std::{
    net::IpAddr,
    num::NonZeroUsize,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{FutureExt as _, task::AtomicWaker};
use multiaddr::{Multiaddr, Protocol};

use self::places::{Places, Remote, Ticket};
use crate::{
    deadline::{self, Deadline, Instant},
    websocket::{Counters, Error, address},
};

mod places;

/// Where those who connect to a transport take their places. Every place shares it.
#[derive(Debug, Clone)]
pub(super) struct Admission(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    places: Mutex<Places<Arc<Eviction>>>,
    counters: Counters,
}

impl Admission {
    /// At most `max` places for each port.
    pub(super) fn new(max: NonZeroUsize, counters: Counters) -> Self {
        Self(Arc::new(Shared {
            places: Mutex::new(Places::new(max)),
            counters,
        }))
    }

    /// A place for a connection to `local`, for as long as nobody else gets it. If none was left, the handshake that
    /// has given way ends when it is next polled, for which it is woken.
    pub(super) fn admit(&self, local: &Multiaddr, remote: &Multiaddr) -> Place {
        // An address without a port is none that can be listened on.
        let port = address::port(local).unwrap_or_default();
        let remote = ip(remote).and_then(Remote::of);
        let eviction = Arc::<Eviction>::default();
        let mut places = self.0.places();
        let (ticket, evicted) = places.admit(port, remote, Arc::clone(&eviction));
        // Still under the lock, so that nobody counts more than there may be.
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
        // Nothing panics half-way through a change.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ip(address: &Multiaddr) -> Option<IpAddr> {
    address.iter().find_map(|protocol| match protocol {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    })
}

/// Tells a handshake that its place has been taken.
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
    /// Gives it back, unless a newcomer had taken it or it was given back before. Returns whether it was there.
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
    fn drop(&mut self) {
        self.leave();
    }
}

/// A handshake that holds a place and has to be done by a deadline.
#[derive(Debug)]
pub(super) struct Handshake<F> {
    /// `None` once it has ended: what it held is freed then, whatever becomes of this.
    pending: Option<Pending<F>>,
}

#[derive(Debug)]
struct Pending<F> {
    upgrade: F,
    place: Place,
    after: Duration,
    at: Instant,
    deadline: Deadline,
}

impl<F> Handshake<F> {
    /// It begins `now` and has `timeout`, however often it is polled.
    pub(super) fn new(upgrade: F, place: Place, now: Instant, timeout: Duration) -> Self {
        Self {
            pending: Some(Pending {
                upgrade,
                place,
                after: timeout,
                at: deadline::after(now, timeout),
                deadline: Deadline::default(),
            }),
        }
    }
}

impl<F, C> Future for Handshake<F>
where
    F: Future<Output = Result<C, Error>> + Unpin,
{
    type Output = Result<C, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(pending) = &mut self.pending else {
            return Poll::Pending;
        };
        let result = ready!(pending.poll(cx));
        self.pending = None;
        Poll::Ready(result)
    }
}

impl<F, C> Pending<F>
where
    F: Future<Output = Result<C, Error>> + Unpin,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<C, Error>> {
        if self.place.eviction.poll(cx).is_ready() {
            return Poll::Ready(Err(Error::Evicted));
        }
        let result = match self.upgrade.poll_unpin(cx) {
            Poll::Ready(result) => result,
            Poll::Pending => {
                ready!(self.deadline.poll(deadline::now(), Some(self.at), cx));
                Err(Error::HandshakeTimedOut { after: self.after })
            }
        };
        if !self.place.leave() {
            // Taken while it was polled, and counted as that.
            return Poll::Ready(Err(Error::Evicted));
        }
        let counters = &self.place.shared.counters;
        match &result {
            Ok(_) => counters.on_upgraded(),
            Err(Error::HandshakeTimedOut { .. }) => counters.on_timed_out(),
            Err(_) => {}
        }
        Poll::Ready(result)
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
    use crate::websocket::{Config, Transport};

    fn admission(max: usize) -> (Admission, Counters) {
        let counters = Counters::default();
        let max = NonZeroUsize::new(max).unwrap();
        (Admission::new(max, counters.clone()), counters)
    }

    const LOCAL: &str = "/ip4/127.0.0.1/tcp/1/ws";
    const REMOTE: &str = "/ip4/127.0.0.1/tcp/50000/ws";

    fn admit(admission: &Admission) -> Place {
        admission.admit(&LOCAL.parse().unwrap(), &REMOTE.parse().unwrap())
    }

    #[test]
    fn places_are_of_a_port_whatever_its_address_and_given_again() {
        let (admission, counters) = admission(2);
        let [first, second, other] = [
            "/ip4/192.0.2.1/tcp/1/ws",
            "/dns6/a.example/tcp/1/tls/ws",
            "/ip4/192.0.2.1/tcp/2/ws",
        ]
        .map(|local| admission.admit(&local.parse().unwrap(), &REMOTE.parse().unwrap()));
        assert_eq!((counters.half_open(), counters.evicted()), (3, 0));
        drop(first);
        let third = admit(&admission);
        assert_eq!((counters.half_open(), counters.evicted()), (3, 0));
        // The place of the second one is that of the fourth from now on.
        let fourth = admit(&admission);
        assert_eq!((counters.half_open(), counters.evicted()), (3, 1));
        drop(second);
        assert_eq!(counters.half_open(), 3);
        drop((third, fourth, other));
        assert_eq!((counters.half_open(), counters.evicted()), (0, 1));
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
            places.push(admission.admit(&LOCAL.parse().unwrap(), &remote.parse().unwrap()));
            assert_eq!(counters.evicted(), evicted, "{remote}");
        }
        assert_eq!(counters.half_open(), 7);
    }

    type Result = std::result::Result<(), Error>;

    fn handshake<F>(upgrade: F, place: Place) -> Handshake<F> {
        Handshake::new(upgrade, place, deadline::now(), Duration::MAX)
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
        assert_eq!((counters.half_open(), counters.evicted()), (1, 1));
        assert!(first.is_woken());
        assert_pending!(second.poll());
        assert!(!second.is_woken());

        assert!(observer.upgrade().is_some());
        assert!(matches!(assert_ready!(first.poll()), Err(Error::Evicted)));
        assert!(observer.upgrade().is_none(), "it holds nothing any more");
        drop(first);
        assert_eq!((counters.half_open(), counters.evicted()), (1, 1));
        assert_eq!((counters.timed_out(), counters.upgraded()), (0, 0));
        drop(second);
        assert_eq!(counters.half_open(), 0);
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
        assert_eq!(counters.half_open(), 1);
    }

    #[test]
    fn what_is_not_done_by_the_deadline_ends_and_frees_its_place() {
        let after = Duration::from_millis(5);
        let (admission, counters) = admission(1);
        let (upgrade, observer) = observed();
        let mut handshake = Handshake::new(upgrade, admit(&admission), deadline::now(), after);
        let result = futures::executor::block_on(&mut handshake);
        assert!(matches!(result, Err(Error::HandshakeTimedOut { after: a }) if a == after));
        assert_eq!((counters.half_open(), counters.timed_out()), (0, 1));
        assert!(observer.upgrade().is_none());
    }

    #[test]
    fn what_is_done_is_not_asked_for_the_time_and_frees_its_place() {
        let refused = Error::TooManyRedirects;
        for (result, upgraded) in [(Ok(()), 1), (Err(refused), 0)] {
            let is_ok = result.is_ok();
            let (admission, counters) = admission(1);
            let place = admit(&admission);
            let mut handshake =
                Handshake::new(ready(result), place, deadline::now(), Duration::ZERO);
            let result = futures::executor::block_on(&mut handshake);
            assert_eq!(result.is_ok(), is_ok);
            assert_eq!((counters.half_open(), counters.timed_out()), (0, 0));
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
        // Given up by its holder, which is neither of these.
        assert_eq!((counters.half_open(), counters.timed_out()), (0, 0));
        assert_eq!((counters.upgraded(), counters.evicted()), (0, 0));
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
        let config = Config::default().with_max_half_open(NonZeroUsize::new(max).unwrap());
        let remotes = remotes.into_iter().map(|remote| remote.parse().unwrap());
        let tcp = Tcp {
            remotes: remotes.collect(),
            events: VecDeque::new(),
        };
        let counters = config.counters();
        let mut transport = Transport::new(tcp, config);
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
        assert_eq!((counters.half_open(), counters.evicted()), (7, 5));
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
            assert_eq!((counters.half_open(), counters.evicted()), (1, 0));

            transport.listen_on(id, address.parse().unwrap()).unwrap();
            let second = incoming(&mut transport);
            assert_eq!(ended(&mut [first, second]), [0]);
        }
    }
}
