//! Whether an IP address is on an interface of this host, for those who listen on it. libp2p-tcp watches the interfaces for
//! wildcard listeners only.

use std::{
    collections::HashSet,
    fmt, io,
    net::IpAddr,
    task::{Context, Poll, ready},
};

use futures::{StreamExt as _, stream::BoxStream};
use libp2p_core::transport::TransportError;

use crate::websocket::{Error, address::is_specific};

/// Maximum number of remembered addresses of the host's interfaces. Further ones are ignored: a listener on one of them
/// stays open when the address leaves.
const MAX_NETWORKS: usize = 4096;

/// Maximum number of remembered addresses whose bind failed. For further ones, only the next attempt finds out that they
/// have returned.
const MAX_WANTED: usize = 1024;

/// An address of an interface, and the length of its network prefix.
pub(super) type Network = (IpAddr, u8);

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Up(Network),
    Down(Network),
}

/// First all current addresses, then the changes.
pub(super) type Changes = BoxStream<'static, io::Result<Change>>;

/// An event of a watcher of `if-watch`.
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

/// Watches the interfaces from the first bind to a specific address on.
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

    /// A bind of this address is about to begin.
    pub(super) fn on_binding(&mut self, ip: IpAddr) {
        let (Some(watch), None, true) = (self.watch, &self.changes, is_specific(ip)) else {
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
    pub(super) fn on_bound(&mut self, ip: IpAddr, bound: &Result<(), TransportError<Error>>) {
        if self.watch.is_some() && is_specific(ip) {
            self.presence.on_bound(ip, bound);
        }
    }

    /// Watches for the return of an address.
    pub(super) fn want(&mut self, ip: IpAddr) {
        self.presence.want(ip);
    }

    /// The next change that matters to a listener.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Meaning>> {
        let Some(changes) = &mut self.changes else {
            return Poll::Pending;
        };
        let error = match ready!(changes.poll_next_unpin(cx)) {
            Some(Ok(change)) => return Poll::Ready(self.presence.on_change(change)),
            Some(Err(error)) => error,
            None => io::ErrorKind::UnexpectedEof.into(),
        };
        tracing::warn!(%error, "no longer watching the interfaces; the next bind tries it again");
        self.changes = None;
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

/// A change that matters to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// No interface has this address any more.
    Left(IpAddr),
    /// An address whose bind failed is present now.
    Returned,
}

/// Decides which addresses have left, and which are awaited.
#[derive(Debug, Default)]
struct Presence {
    /// The networks of the interfaces; at most [`MAX_NETWORKS`].
    networks: HashSet<Network>,
    /// The addresses whose bind failed; at most [`MAX_WANTED`]. One whose listener was removed stays until it appears.
    wanted: HashSet<IpAddr>,
}

impl Presence {
    /// A watcher has started. Its events begin with all current addresses.
    fn on_watching(&mut self) {
        self.networks.clear();
    }

    fn on_bound(&mut self, ip: IpAddr, bound: &Result<(), TransportError<Error>>) {
        match bound {
            Ok(()) => {
                self.wanted.remove(&ip);
            }
            Err(error) if is_not_there(error) => self.want(ip),
            Err(_) => {}
        }
    }

    fn on_change(&mut self, change: Change) -> Option<Meaning> {
        match change {
            Change::Up(network) => {
                if self.networks.len() < MAX_NETWORKS {
                    self.networks.insert(network);
                }
                self.wanted.remove(&network.0).then(|| {
                    tracing::debug!(ip = %network.0, "the address of a waiting listener has returned");
                    Meaning::Returned
                })
            }
            Change::Down(network) => {
                let ip = network.0;
                // Another interface may have the same address, with another network.
                let is_gone =
                    self.networks.remove(&network) && !self.networks.iter().any(|n| n.0 == ip);
                is_gone.then_some(Meaning::Left(ip))
            }
        }
    }

    fn want(&mut self, ip: IpAddr) {
        if self.wanted.len() < MAX_WANTED {
            self.wanted.insert(ip);
        }
    }
}

/// Whether no interface of this host has the address.
fn is_not_there(error: &TransportError<Error>) -> bool {
    match error {
        TransportError::MultiaddrNotSupported(_) => false,
        TransportError::Other(error) => error
            .io()
            .is_some_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable),
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::VecDeque};

    use futures::channel::mpsc::{self, Receiver, Sender};
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
    }

    impl Rig {
        fn new(watch: Option<Watch>) -> Self {
            Self {
                interfaces: Interfaces::new(watch),
                task: task::spawn(()),
            }
        }

        fn bind(&mut self, (ip, _): Network, error: Option<io::ErrorKind>) {
            let bound = match error {
                None => Ok(()),
                Some(kind) => Err(TransportError::Other(Error::below(io::Error::from(kind)))),
            };
            self.interfaces.on_binding(ip);
            self.interfaces.on_bound(ip, &bound);
        }

        /// What all changes that there are mean.
        fn poll(&mut self) -> Vec<Meaning> {
            let Self { interfaces, task } = self;
            let mut meanings = Vec::new();
            while let Poll::Ready(meaning) = task.enter(|cx, _| interfaces.poll(cx)) {
                meanings.extend(meaning);
            }
            meanings
        }
    }

    #[test]
    fn that_an_address_leaves_is_told_and_its_return_where_it_is_wanted() {
        let mut watcher = watcher();
        let mut rig = Rig::new(Some(watch));
        rig.bind(HERE, None);
        rig.bind(ELSEWHERE, None);
        assert_eq!(watchers(), 0, "one for both");
        for network in [HERE, ELSEWHERE] {
            watcher.try_send(Ok(Change::Up(network))).unwrap();
        }
        assert_eq!(rig.poll(), [], "all is as it was when they bound");

        watcher.try_send(Ok(Change::Down(HERE))).unwrap();
        assert!(rig.task.is_woken());
        assert_eq!(rig.poll(), [Meaning::Left(HERE.0)]);
        watcher.try_send(Ok(Change::Up(HERE))).unwrap();
        assert_eq!(rig.poll(), [], "nobody waits for it");

        watcher.try_send(Ok(Change::Down(HERE))).unwrap();
        assert_eq!(rig.poll(), [Meaning::Left(HERE.0)]);
        rig.interfaces.want(HERE.0);
        watcher.try_send(Ok(Change::Up(HERE))).unwrap();
        watcher.try_send(Ok(Change::Up((HERE.0, 32)))).unwrap();
        assert!(rig.task.is_woken());
        assert_eq!(rig.poll(), [Meaning::Returned], "once");
    }

    #[test]
    fn the_return_is_told_of_where_the_address_was_not_there_and_for_no_other_reason() {
        let mut watcher = watcher();
        let mut rig = Rig::new(Some(watch));
        rig.bind(HERE, Some(io::ErrorKind::AddrNotAvailable));
        rig.bind(ELSEWHERE, Some(io::ErrorKind::AddrInUse));
        for network in [ELSEWHERE, HERE] {
            watcher.try_send(Ok(Change::Up(network))).unwrap();
        }
        assert_eq!(rig.poll(), [Meaning::Returned]);
        // It was there before that was told.
        rig.bind(ELSEWHERE, Some(io::ErrorKind::AddrNotAvailable));
        rig.bind(ELSEWHERE, None);
        watcher.try_send(Ok(Change::Up(ELSEWHERE))).unwrap();
        assert_eq!(rig.poll(), []);
    }

    #[test]
    fn an_address_that_is_there_twice_has_to_leave_twice() {
        let mut watcher = watcher();
        let mut rig = Rig::new(Some(watch));
        rig.bind(HERE, None);
        let same_ip = (HERE.0, 32);
        for change in [Change::Up(HERE), Change::Up(same_ip), Change::Down(HERE)] {
            watcher.try_send(Ok(change)).unwrap();
        }
        assert_eq!(rig.poll(), []);
        watcher.try_send(Ok(Change::Down(same_ip))).unwrap();
        assert_eq!(rig.poll(), [Meaning::Left(HERE.0)]);
    }

    #[test]
    fn a_watcher_that_fails_is_left_alone_until_the_next_bind() {
        let error = || io::Error::from(io::ErrorKind::BrokenPipe);
        SCRIPT.with_borrow_mut(|script| script.push_back(Err(error())));
        let mut rig = Rig::new(Some(watch));
        rig.bind(HERE, None);
        assert_eq!(rig.poll(), [], "it could not be made");

        let mut first = watcher();
        rig.bind(ELSEWHERE, None);
        first.try_send(Ok(Change::Up(HERE))).unwrap();
        first.try_send(Err(error())).unwrap();
        first.try_send(Ok(Change::Up(ELSEWHERE))).unwrap();
        assert_eq!(rig.poll(), []);
        assert!(!rig.task.is_woken());

        let ended = watcher();
        rig.bind(ELSEWHERE, None);
        drop(ended);
        assert_eq!(rig.poll(), []);
        assert!(!rig.task.is_woken());

        // What an earlier one has said counts no more.
        let mut last = watcher();
        rig.bind(ELSEWHERE, Some(io::ErrorKind::AddrNotAvailable));
        last.try_send(Ok(Change::Down(HERE))).unwrap();
        assert_eq!(rig.poll(), []);
        last.try_send(Ok(Change::Up(ELSEWHERE))).unwrap();
        assert_eq!(rig.poll(), [Meaning::Returned]);
        last.try_send(Ok(Change::Down(ELSEWHERE))).unwrap();
        assert_eq!(rig.poll(), [Meaning::Left(ELSEWHERE.0)]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut presence = Presence::default();
        for n in 0..5000 {
            let ip = |bits| IpAddr::V4(std::net::Ipv4Addr::from_bits(bits));
            presence.want(ip(n));
            presence.on_change(Change::Up((ELSEWHERE.0, (n % 256) as u8)));
            presence.on_change(Change::Up((ip(!n), 8)));
        }
        assert_eq!(presence.wanted.len(), MAX_WANTED);
        assert_eq!(presence.networks.len(), MAX_NETWORKS);
    }

    #[test]
    fn only_a_specific_address_is_a_reason_to_watch_and_only_if_that_is_wanted() {
        let mut rig = Rig::new(None);
        rig.bind(HERE, Some(io::ErrorKind::AddrNotAvailable));
        assert_eq!(rig.poll(), []);
        assert!(rig.interfaces.presence.wanted.is_empty());

        let _watcher = watcher();
        let mut rig = Rig::new(Some(watch));
        for ip in ["0.0.0.0", "::", "127.0.0.1", "::1"] {
            let error = Some(io::ErrorKind::AddrNotAvailable);
            rig.bind((ip.parse().unwrap(), 8), error);
        }
        assert_eq!(watchers(), 1);
        assert!(rig.interfaces.presence.wanted.is_empty());
    }
}
