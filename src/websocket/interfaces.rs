//! Listeners on an address that the host may lose: they are closed when it leaves its interface, and it is said when
//! it returns. libp2p-tcp watches the interfaces for wildcard listeners only.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt, io, mem,
    net::IpAddr,
    task::{Context, Poll},
};

use futures::{StreamExt as _, stream::BoxStream};
use libp2p_core::transport::{ListenerId, TransportEvent};

use crate::websocket::Error;

/// How many changes of the interfaces one `poll` takes up, and how many listeners it lets go.
const MAX_PER_POLL: usize = 64;

/// How many addresses of the host's interfaces are remembered. Those beyond are as if they had never been there:
/// a listener on one of them stays open when it leaves.
const MAX_NETWORKS: usize = 4096;

/// How many addresses are remembered because somebody could not listen on them. Those beyond are found again by the
/// next attempt, as if nobody watched.
const MAX_WANTED: usize = 1024;

/// An address of an interface, and how many of its bits name the network.
pub(super) type Network = (IpAddr, u8);

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Up(Network),
    Down(Network),
}

/// First all that is there, then what changes.
pub(super) type Changes = BoxStream<'static, io::Result<Change>>;

/// What a watcher of `if-watch` says.
#[cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
pub(super) fn changes<W>(watcher: W) -> Changes
where
    W: futures::Stream<Item = io::Result<if_watch::IfEvent>> + Send + 'static,
{
    use futures::TryStreamExt as _;
    use if_watch::IfEvent;

    let network = |net: if_watch::IpNet| (net.addr(), net.prefix_len());
    watcher
        .map_ok(move |event| match event {
            IfEvent::Up(net) => Change::Up(network(net)),
            IfEvent::Down(net) => Change::Down(network(net)),
        })
        .boxed()
}

/// Begins to watch.
pub(super) type Watch = fn() -> io::Result<Changes>;

/// Watches the interfaces as long as there is a reason to: from the first bind to a specific address on.
pub(super) struct Interfaces {
    watch: Option<Watch>,
    changes: Option<Changes>,
    presence: Presence,
}

impl Interfaces {
    /// With `None`, nothing is watched.
    pub(super) fn new(watch: Option<Watch>) -> Self {
        Self {
            watch,
            changes: None,
            presence: Presence::default(),
        }
    }

    /// Somebody is about to listen on a specific address.
    pub(super) fn on_binding(&mut self) {
        let (Some(watch), None) = (self.watch, &self.changes) else {
            return;
        };
        match watch() {
            Ok(changes) => {
                self.presence.on_watching();
                self.changes = Some(changes);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot watch the interfaces; the next bind tries it again");
            }
        }
    }

    /// How that went.
    pub(super) fn on_bound(&mut self, id: ListenerId, ip: IpAddr, is_bound: bool) {
        if self.watch.is_some() {
            self.presence.on_bound(id, ip, is_bound);
        }
    }

    /// The application lets a listener go.
    pub(super) fn on_removed(&mut self, id: ListenerId) {
        self.presence.forget(id);
    }

    /// Something happened below; if a listener closed because of its address, that is the reason in it now.
    pub(super) fn on_event<U>(&mut self, event: &mut TransportEvent<U, Error>) {
        if let TransportEvent::ListenerClosed {
            listener_id,
            reason,
        } = event
            && self.presence.forget(*listener_id)
        {
            *reason = Err(Error::Transport(Box::new(io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                Left,
            ))));
        }
    }

    /// Takes up what changed. Ready when an address is there that somebody could not listen on.
    ///
    /// `remove` removes a listener below and returns whether it was there, to be closed.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut remove: impl FnMut(ListenerId) -> bool,
    ) -> Poll<()> {
        for _ in 0..MAX_PER_POLL {
            if let Some(id) = self.presence.poll_leaving() {
                if !remove(id) {
                    self.presence.forget(id);
                }
                continue;
            }
            if self.presence.take_returned() {
                return Poll::Ready(());
            }
            let Some(changes) = &mut self.changes else {
                return Poll::Pending;
            };
            match changes.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(change))) => self.presence.on_change(change),
                Poll::Ready(Some(Err(error))) => {
                    tracing::warn!(%error, "no longer watching the interfaces; the next bind tries it again");
                    self.changes = None;
                }
                Poll::Ready(None) => {
                    tracing::warn!(
                        "no longer watching the interfaces; the next bind tries it again"
                    );
                    self.changes = None;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl fmt::Debug for Interfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interfaces")
            .field("is_watching", &self.changes.is_some())
            .field("presence", &self.presence)
            .finish_non_exhaustive()
    }
}

/// Decides who has to go since the address is gone, and who wants to hear that it is back.
#[derive(Debug, Default)]
struct Presence {
    /// Those on a specific address, from their bind to their close.
    listeners: HashMap<ListenerId, Listener>,
    /// Those of them that are still to be removed.
    leaving: VecDeque<ListenerId>,
    /// What the interfaces have; at most [`MAX_NETWORKS`].
    networks: HashSet<Network>,
    /// Where somebody could not listen; at most [`MAX_WANTED`]. One that nobody tries any more stays until it
    /// comes up.
    wanted: HashSet<IpAddr>,
    has_returned: bool,
}

#[derive(Debug)]
struct Listener {
    ip: IpAddr,
    has_left: bool,
}

impl Presence {
    /// The changes begin with all that is there.
    fn on_watching(&mut self) {
        self.networks.clear();
    }

    fn on_bound(&mut self, id: ListenerId, ip: IpAddr, is_bound: bool) {
        if is_bound {
            self.wanted.remove(&ip);
            let has_left = false;
            self.listeners.insert(id, Listener { ip, has_left });
        } else {
            self.want(ip);
        }
    }

    /// Returns whether its address has left.
    fn forget(&mut self, id: ListenerId) -> bool {
        self.listeners
            .remove(&id)
            .is_some_and(|listener| listener.has_left)
    }

    fn on_change(&mut self, change: Change) {
        match change {
            Change::Up(network) => {
                if self.networks.len() < MAX_NETWORKS {
                    self.networks.insert(network);
                }
                if self.wanted.remove(&network.0) {
                    tracing::debug!(ip = %network.0, "an address that is wanted is there");
                    self.has_returned = true;
                }
            }
            Change::Down(network) => {
                let ip = network.0;
                // Another interface may have the same address, with another network.
                if !self.networks.remove(&network) || self.networks.iter().any(|n| n.0 == ip) {
                    return;
                }
                let before = self.leaving.len();
                for (id, listener) in &mut self.listeners {
                    if listener.ip == ip && !listener.has_left {
                        listener.has_left = true;
                        self.leaving.push_back(*id);
                    }
                }
                if self.leaving.len() > before {
                    tracing::debug!(%ip, "an address that is listened on has left its interface");
                    self.want(ip);
                }
            }
        }
    }

    fn poll_leaving(&mut self) -> Option<ListenerId> {
        self.leaving.pop_front()
    }

    fn take_returned(&mut self) -> bool {
        mem::take(&mut self.has_returned)
    }

    fn want(&mut self, ip: IpAddr) {
        if self.wanted.len() < MAX_WANTED {
            self.wanted.insert(ip);
        }
    }
}

/// Why a listener closed that nobody removed.
#[derive(Debug, thiserror::Error)]
#[error("the address has left its interface")]
struct Left;

#[cfg(test)]
mod tests {
    use std::{
        cell::RefCell,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use futures::{
        channel::mpsc::{self, Receiver, Sender},
        stream,
    };
    use tokio_test::task;

    use super::*;

    const HERE: Network = (IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 24);
    const ELSEWHERE: Network = (IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)), 24);

    type Script = Receiver<io::Result<Change>>;

    thread_local! {
        /// What the next watcher says.
        static SCRIPT: RefCell<VecDeque<io::Result<Script>>> = const { RefCell::new(VecDeque::new()) };
    }

    fn watch() -> io::Result<Changes> {
        let next = SCRIPT.with_borrow_mut(VecDeque::pop_front);
        Ok(next.expect("no more watchers than expected")?.boxed())
    }

    /// Makes the next watcher; what is sent is what it says.
    fn watcher() -> Sender<io::Result<Change>> {
        let (sender, receiver) = mpsc::channel(100);
        SCRIPT.with_borrow_mut(|script| script.push_back(Ok(receiver)));
        sender
    }

    fn watchers() -> usize {
        SCRIPT.with_borrow(VecDeque::len)
    }

    struct Rig {
        interfaces: Interfaces,
        task: task::Spawn<()>,
        removed: Vec<ListenerId>,
        is_known_below: bool,
    }

    impl Rig {
        fn new(watch: Option<Watch>) -> Self {
            Self {
                interfaces: Interfaces::new(watch),
                task: task::spawn(()),
                removed: Vec::new(),
                is_known_below: true,
            }
        }

        fn bind(&mut self, ip: IpAddr, is_bound: bool) -> ListenerId {
            let id = ListenerId::next();
            self.interfaces.on_binding();
            self.interfaces.on_bound(id, ip, is_bound);
            id
        }

        fn poll(&mut self) -> Poll<()> {
            let Self {
                interfaces,
                task,
                removed,
                is_known_below,
            } = self;
            task.enter(|cx, _| {
                interfaces.poll(cx, |id| {
                    removed.push(id);
                    *is_known_below
                })
            })
        }

        /// What is reported of a listener that closes below.
        fn close(&mut self, id: ListenerId) -> Result<(), Error> {
            let mut event = TransportEvent::ListenerClosed {
                listener_id: id,
                reason: Ok(()),
            };
            self.interfaces.on_event::<()>(&mut event);
            match event {
                TransportEvent::ListenerClosed { reason, .. } => reason,
                other => panic!("a close, not {other:?}"),
            }
        }
    }

    #[test]
    fn a_listener_goes_with_its_address_and_is_told_of_its_return() {
        let mut watcher = watcher();
        let mut rig = Rig::new(Some(watch));
        let (here, elsewhere) = (rig.bind(HERE.0, true), rig.bind(ELSEWHERE.0, true));
        assert_eq!(watchers(), 0, "one for both");
        for network in [HERE, ELSEWHERE] {
            watcher.try_send(Ok(Change::Up(network))).unwrap();
        }
        assert!(rig.poll().is_pending(), "all is as it was when they bound");

        watcher.try_send(Ok(Change::Down(HERE))).unwrap();
        assert!(rig.task.is_woken());
        assert!(rig.poll().is_pending());
        assert_eq!(rig.removed, [here]);
        let left = rig.close(here).unwrap_err();
        let cause = left.io().unwrap();
        assert_eq!(cause.kind(), io::ErrorKind::AddrNotAvailable);
        assert_eq!(cause.to_string(), "the address has left its interface");

        rig.bind(HERE.0, false);
        assert!(rig.poll().is_pending());
        watcher.try_send(Ok(Change::Up(HERE))).unwrap();
        assert!(rig.task.is_woken());
        assert!(rig.poll().is_ready());
        assert!(rig.poll().is_pending(), "said once");
        let again = rig.bind(HERE.0, true);

        for network in [HERE, ELSEWHERE] {
            watcher.try_send(Ok(Change::Down(network))).unwrap();
        }
        assert!(rig.poll().is_pending());
        assert_eq!(rig.removed, [here, again, elsewhere]);
        // Back before anybody has tried again.
        watcher.try_send(Ok(Change::Up(ELSEWHERE))).unwrap();
        assert!(rig.poll().is_ready());
    }

    #[test]
    fn an_address_that_is_there_twice_has_to_leave_twice() {
        let mut watcher = watcher();
        let mut rig = Rig::new(Some(watch));
        let id = rig.bind(HERE.0, true);
        let same_ip = (HERE.0, 32);
        for change in [Change::Up(HERE), Change::Up(same_ip), Change::Down(HERE)] {
            watcher.try_send(Ok(change)).unwrap();
        }
        assert!(rig.poll().is_pending());
        assert!(rig.removed.is_empty());
        watcher.try_send(Ok(Change::Down(same_ip))).unwrap();
        assert!(rig.poll().is_pending());
        assert_eq!(rig.removed, [id]);
    }

    #[test]
    fn other_reasons_to_close_stay_what_they_are() {
        let mut watcher = watcher();
        let mut rig = Rig::new(Some(watch));
        let [closed, removed, stranger] = [HERE.0; 3].map(|ip| rig.bind(ip, true));
        rig.close(closed).unwrap();
        watcher.try_send(Ok(Change::Up(HERE))).unwrap();
        watcher.try_send(Ok(Change::Down(HERE))).unwrap();
        assert!(rig.poll().is_pending());
        assert_eq!(rig.removed.len(), 2);
        assert!(!rig.removed.contains(&closed));
        rig.interfaces.on_removed(removed);
        rig.close(removed).unwrap();

        // Whoever is not known below has closed there already.
        rig.is_known_below = false;
        let unknown = rig.bind(HERE.0, true);
        watcher.try_send(Ok(Change::Up(HERE))).unwrap();
        watcher.try_send(Ok(Change::Down(HERE))).unwrap();
        assert!(rig.poll().is_pending());
        assert!(rig.removed.contains(&unknown));
        rig.close(unknown).unwrap();
        rig.close(stranger).unwrap_err();
        assert!(rig.interfaces.presence.listeners.is_empty());
    }

    #[test]
    fn a_watcher_that_fails_is_left_alone_until_the_next_bind() {
        let error = || io::Error::from(io::ErrorKind::BrokenPipe);
        SCRIPT.with_borrow_mut(|script| script.push_back(Err(error())));
        let mut rig = Rig::new(Some(watch));
        rig.bind(HERE.0, true);
        assert!(rig.poll().is_pending(), "it could not be made");

        let mut first = watcher();
        let id = rig.bind(ELSEWHERE.0, true);
        first.try_send(Ok(Change::Up(HERE))).unwrap();
        first.try_send(Err(error())).unwrap();
        first.try_send(Ok(Change::Up(ELSEWHERE))).unwrap();
        assert!(rig.poll().is_pending());
        assert!(!rig.task.is_woken());

        let ended = watcher();
        rig.bind(ELSEWHERE.0, true);
        drop(ended);
        assert!(rig.poll().is_pending());
        assert!(!rig.task.is_woken());

        // What an earlier one has said counts no more.
        let mut last = watcher();
        rig.bind(ELSEWHERE.0, false);
        last.try_send(Ok(Change::Down(HERE))).unwrap();
        assert!(rig.poll().is_pending());
        assert!(rig.removed.is_empty());
        last.try_send(Ok(Change::Up(ELSEWHERE))).unwrap();
        assert!(rig.poll().is_ready());
        last.try_send(Ok(Change::Down(ELSEWHERE))).unwrap();
        assert!(rig.poll().is_pending());
        assert_eq!(rig.removed.len(), 2, "they are still watched");
        assert!(rig.removed.contains(&id));
    }

    #[test]
    fn a_flood_of_changes_is_taken_up_in_portions() {
        static POLLS: AtomicUsize = AtomicUsize::new(0);
        fn flood() -> io::Result<Changes> {
            Ok(stream::repeat_with(|| {
                POLLS.fetch_add(1, Ordering::Relaxed);
                Ok(Change::Up(ELSEWHERE))
            })
            .boxed())
        }
        let mut rig = Rig::new(Some(flood));
        rig.bind(HERE.0, true);
        assert!(rig.poll().is_pending());
        assert!(rig.task.is_woken());
        assert_eq!(POLLS.load(Ordering::Relaxed), MAX_PER_POLL);
    }

    #[test]
    fn many_listeners_go_in_portions() {
        let mut watcher = watcher();
        let mut rig = Rig::new(Some(watch));
        for _ in 0..MAX_PER_POLL + 1 {
            rig.bind(HERE.0, true);
        }
        watcher.try_send(Ok(Change::Up(HERE))).unwrap();
        watcher.try_send(Ok(Change::Down(HERE))).unwrap();
        assert!(rig.poll().is_pending());
        assert!(rig.task.is_woken());
        assert!(rig.removed.len() < MAX_PER_POLL);
        assert!(rig.poll().is_pending());
        assert_eq!(rig.removed.len(), MAX_PER_POLL + 1);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut presence = Presence::default();
        for n in 0..5000 {
            let ip = IpAddr::V4(std::net::Ipv4Addr::from_bits(n));
            presence.on_bound(ListenerId::next(), ip, false);
            presence.on_change(Change::Up((ELSEWHERE.0, (n % 256) as u8)));
            presence.on_change(Change::Up((
                IpAddr::V4(std::net::Ipv4Addr::from_bits(!n)),
                8,
            )));
        }
        assert_eq!(presence.wanted.len(), MAX_WANTED);
        assert_eq!(presence.networks.len(), MAX_NETWORKS);
    }

    #[test]
    fn nothing_is_watched_if_that_is_not_wanted() {
        let mut rig = Rig::new(None);
        let id = rig.bind(HERE.0, true);
        assert!(rig.poll().is_pending());
        assert!(rig.interfaces.presence.listeners.is_empty());
        rig.close(id).unwrap();
    }
}
