//! What an application can ask about its listeners once the transport is in the swarm.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use event_listener::Event;
use futures::{Stream, stream};
use libp2p_core::transport::ListenerId;
use multiaddr::Multiaddr;

use crate::{
    deadline::Instant,
    lazy::{ListenError, Missing, error::Seconds, ids::IdMap, listeners::Note},
};

#[cfg(feature = "metrics")]
mod metrics;

/// How many changes are kept for those who have not read them yet.
const MAX_CHANGES: usize = 1024;

/// Tells how the listeners of a [`lazy::Transport`](crate::lazy::Transport) are doing, wherever that transport has
/// been moved to.
///
/// Made by [`Transport::readiness`](crate::lazy::Transport::readiness). Clones are cheap and tell the same. It
/// runs nothing and blocks nobody: the transport writes down what happens when the swarm polls it, and who has
/// asked is woken; any executor will do. A listener is forgotten when it closes. When the transport is gone, so
/// are all listeners.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use libp2p_lazy_websocket::{lazy, websocket};
///
/// # #[cfg(feature = "tokio")] {
/// let mut transport = websocket::tokio::transport(websocket::Config::default())?;
/// let readiness = transport.readiness();
/// // … the transport goes into a swarm, `listen_on` is called, and a task of its own polls the swarm …
/// readiness.all_ready().await;
/// for (id, status) in readiness.statuses() {
///     println!("{id} {status}");
/// }
/// # }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Readiness {
    shared: Arc<Shared>,
}

/// How a listener is doing. Shows itself in a line, such as `/ip4/0.0.0.0/tcp/0/ws: listening at
/// /ip4/127.0.0.1/tcp/4001/ws, /ip4/192.0.2.1/tcp/4001/ws`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Status {
    /// As it was given to `listen_on`.
    pub address: Multiaddr,
    /// What it is doing.
    pub state: State,
    /// Since when; for what was so before the first handle was made, since that moment.
    pub since: Instant,
    /// Where it can be reached: what `NewAddress` has reported and `AddressExpired` has not. The listener is ready
    /// if there is one.
    pub addresses: Vec<Multiaddr>,
}

/// The states of a listener. Shows itself in a few words, such as "retrying in 3.2 s: address in use".
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum State {
    /// It waits for the swarm to be polled, which binds it; also after what it waited for has come.
    Registered,
    /// It waits for something that the transport needs for it and does not have. Shows itself with the reason, such as
    /// "waiting for certificate: chain.pem does not exist".
    Waiting(Missing),
    /// It is being bound, or is bound and has no address yet.
    Binding,
    /// It has failed, and is tried again [`ListenError::retry_in`] after [`Status::since`]. Shows the whole of that
    /// delay, not what is left of it.
    Retrying(ListenError),
    /// It is bound and has had an address. With no address left, it waits for one of its interfaces.
    Listening,
    /// It is being closed: for good if the application has asked for it, else to be bound again.
    Closing,
    /// It is closed: with a failure, or because the application wanted it so.
    Closed(Option<ListenError>),
}

/// What [`Readiness::changes`] yields.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Change {
    /// A listener is new, in another state, or has other addresses.
    #[non_exhaustive]
    Status {
        /// Which one.
        listener: ListenerId,
        /// How it is now. Of several changes of its addresses in one poll, each is told.
        status: Status,
    },
    /// The stream was read so slowly that this many changes were thrown away. [`Readiness::statuses`] has how things
    /// are.
    #[non_exhaustive]
    Missed {
        /// How many.
        count: u64,
    },
}

/// Why [`Readiness::ready`] cannot wait for a listener.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum NotReady {
    /// There is no such listener: there never was, or it has closed before.
    #[error("there is no such listener")]
    Unknown,
    /// It has closed meanwhile: with this failure, because somebody wanted it so, or with the transport.
    #[error("the listener has closed")]
    Closed(#[source] Option<ListenError>),
}

struct Shared {
    board: Mutex<Board>,
    /// Something on the board has changed.
    changed: Event,
}

#[derive(Default)]
struct Board {
    rows: IdMap<Arc<Row>>,
    /// The last ones, at most [`MAX_CHANGES`].
    changes: VecDeque<Change>,
    /// How many there were before those.
    thrown_away: u64,
    is_over: bool,
    #[cfg(feature = "metrics")]
    totals: metrics::Totals,
}

/// One listener. Who waits for it keeps the row when the board has dropped it.
struct Row {
    status: Mutex<Status>,
    changed: Event,
}

impl Readiness {
    /// How a listener is doing; `None` if there is no such listener, or no longer.
    pub fn status(&self, id: ListenerId) -> Option<Status> {
        let row = self.shared.board().rows.get(&id).cloned()?;
        Some(row.status().clone())
    }

    /// All listeners, in no order.
    pub fn statuses(&self) -> Vec<(ListenerId, Status)> {
        let board = self.shared.board();
        let statuses = board
            .rows
            .iter()
            .map(|(id, row)| (*id, row.status().clone()));
        statuses.collect()
    }

    /// Where a listener can be reached: nowhere while it is not ready. `None` if there is no such listener, or no
    /// longer.
    pub fn addresses(&self, id: ListenerId) -> Option<Vec<Multiaddr>> {
        self.status(id).map(|status| status.addresses)
    }

    /// Waits until a listener can be reached, and tells where.
    ///
    /// # Errors
    ///
    /// If there is no such listener when this is called, or if it closes instead.
    pub fn ready(
        &self,
        id: ListenerId,
    ) -> impl Future<Output = Result<Vec<Multiaddr>, NotReady>> + Send + 'static {
        // Now, and not when it is polled: the listener may have closed until then, and the row says why.
        let row = self.shared.board().rows.get(&id).cloned();
        async move {
            let row = row.ok_or(NotReady::Unknown)?;
            loop {
                let changed = row.changed.listen();
                {
                    let status = row.status();
                    if let State::Closed(error) = &status.state {
                        return Err(NotReady::Closed(error.clone()));
                    }
                    if !status.addresses.is_empty() {
                        return Ok(status.addresses.clone());
                    }
                }
                changed.await;
            }
        }
    }

    /// Waits until every listener that there is can be reached. Those that close meanwhile are not waited for, and
    /// those that come meanwhile are. Without listeners there is nothing to wait for: call it after `listen_on`,
    /// and know that all may have closed.
    pub fn all_ready(&self) -> impl Future<Output = ()> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        async move {
            loop {
                let changed = shared.changed.listen();
                let all = |board: &Board| {
                    let mut rows = board.rows.values();
                    rows.all(|row| !row.status().addresses.is_empty())
                };
                if all(&shared.board()) {
                    return;
                }
                changed.await;
            }
        }
    }

    /// What changes from now on, for each listener in order. Ends with the transport.
    ///
    /// The last 1024 changes are kept for those who read slowly.
    ///
    /// ```
    /// # async fn run(readiness: libp2p_lazy_websocket::lazy::Readiness) {
    /// use futures::StreamExt as _;
    /// use libp2p_lazy_websocket::lazy::Change;
    ///
    /// let mut changes = readiness.changes();
    /// while let Some(change) = changes.next().await {
    ///     match change {
    ///         Change::Status { listener, status, .. } => println!("{listener} {status}"),
    ///         Change::Missed { .. } => println!("{:?}", readiness.statuses()),
    ///         _ => {}
    ///     }
    /// }
    /// # }
    /// ```
    pub fn changes(&self) -> impl Stream<Item = Change> + Send + Unpin + 'static {
        let shared = Arc::clone(&self.shared);
        let next = shared.board().written();
        Box::pin(stream::unfold(
            (shared, next),
            |(shared, next)| async move {
                loop {
                    let changed = shared.changed.listen();
                    let read = shared.board().read(next);
                    match read {
                        Read::Change(change, next) => return Some((change, (shared, next))),
                        Read::Nothing => changed.await,
                        Read::Over => return None,
                    }
                }
            },
        ))
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.statuses()).finish()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.address, self.state)?;
        let mut before = " at ";
        for address in &self.addresses {
            write!(f, "{before}{address}")?;
            before = ", ";
        }
        Ok(())
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registered => f.write_str("registered"),
            Self::Waiting(missing) => write!(f, "waiting for {missing}"),
            Self::Binding => f.write_str("binding"),
            Self::Retrying(error) => {
                let delay = error.retry_in().unwrap_or_default();
                write!(f, "retrying in {}: {}", Seconds(delay), error.reason())
            }
            Self::Listening => f.write_str("listening"),
            Self::Closing => f.write_str("closing"),
            Self::Closed(None) => f.write_str("closed"),
            Self::Closed(Some(error)) => write!(f, "closed: {}", error.reason()),
        }
    }
}

/// The transport's end: what it writes here, the handles tell.
pub(super) struct Publisher(Arc<Shared>);

impl Publisher {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared {
            board: Mutex::default(),
            changed: Event::new(),
        }))
    }

    pub(super) fn handle(&self) -> Readiness {
        Readiness {
            shared: Arc::clone(&self.0),
        }
    }

    pub(super) fn publish(&self, note: Note, now: Instant) {
        self.0.board().write(note, now);
        self.0.changed.notify(usize::MAX);
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        {
            let mut board = self.0.board();
            board.is_over = true;
            for (_, row) in board.rows.drain() {
                let mut status = row.status();
                status.state = State::Closed(None);
                status.addresses = Vec::new();
                drop(status);
                row.changed.notify(usize::MAX);
            }
        }
        self.0.changed.notify(usize::MAX);
    }
}

impl Shared {
    fn board(&self) -> MutexGuard<'_, Board> {
        // Whoever panicked while holding it has left nothing half done.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Row {
    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a reader of the changes finds.
enum Read {
    /// This, and the next one is to be asked for by that number.
    Change(Change, u64),
    Nothing,
    Over,
}

impl Board {
    fn write(&mut self, note: Note, now: Instant) {
        let Note {
            listener,
            address,
            state,
            addresses,
        } = note;
        let mut status = Status {
            address,
            state,
            since: now,
            addresses,
        };
        #[cfg(feature = "metrics")]
        self.totals.on_state(&status.state);
        let is_closed = matches!(status.state, State::Closed(_));
        let row = match is_closed {
            true => self.rows.remove(&listener),
            false => self.rows.get(&listener).cloned(),
        };
        match row {
            Some(row) => {
                let mut before = row.status();
                if before.state.is_same(&status.state) {
                    status.since = before.since;
                }
                *before = status.clone();
                drop(before);
                row.changed.notify(usize::MAX);
            }
            None if is_closed => {}
            None => {
                let row = Row {
                    status: Mutex::new(status.clone()),
                    changed: Event::new(),
                };
                self.rows.insert(listener, Arc::new(row));
            }
        }
        if self.changes.len() == MAX_CHANGES {
            self.changes.pop_front();
            self.thrown_away += 1;
        }
        self.changes.push_back(Change::Status { listener, status });
    }

    /// The number of the change that comes next.
    fn written(&self) -> u64 {
        self.thrown_away + self.changes.len() as u64
    }

    fn read(&self, number: u64) -> Read {
        if let Some(count) = self.thrown_away.checked_sub(number)
            && count > 0
        {
            return Read::Change(Change::Missed { count }, self.thrown_away);
        }
        let index = usize::try_from(number - self.thrown_away).ok();
        match index.and_then(|index| self.changes.get(index)) {
            Some(change) => Read::Change(change.clone(), number + 1),
            None if self.is_over => Read::Over,
            None => Read::Nothing,
        }
    }
}

impl State {
    /// Whether it goes on, and only the addresses or the reason to wait can have changed.
    fn is_same(&self, other: &Self) -> bool {
        matches!(
            (self, other),
            (Self::Listening, Self::Listening)
                | (Self::Binding, Self::Binding)
                | (Self::Waiting(_), Self::Waiting(_))
        )
    }
}

#[cfg(test)]
mod tests;
