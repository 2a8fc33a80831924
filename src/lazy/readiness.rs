//! What an application can ask about its listeners once the transport is in the swarm.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    future::Future,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use event_listener::Event;
use futures::{Stream, stream};
use libp2p_core::transport::ListenerId;
use multiaddr::Multiaddr;

use crate::{
    deadline::Instant,
    lazy::{Exhausted, ListenError, Missing, error::Seconds, listeners::Note},
};

#[cfg(feature = "metrics")]
mod metrics;

/// How many changes are kept for those who have not read them yet.
const MAX_CHANGES: usize = 1024;

/// How many closed listeners are remembered for those who ask why.
const MAX_CLOSED: usize = 64;

/// How many listeners the text of [`NotAllReady`] names.
const MAX_NAMED: usize = 8;

/// Tells how the listeners of a [`lazy::Transport`](crate::lazy::Transport) are doing, wherever that transport has
/// been moved to.
///
/// Made by [`Transport::readiness`](crate::lazy::Transport::readiness). Clones are cheap and tell the same. It
/// runs nothing and blocks nobody: the transport writes down what happens when the swarm polls it, and who has
/// asked is woken; any executor will do. When the transport is gone, all listeners have closed.
///
/// A listener that has closed is no longer listed. Why it has closed is remembered for [`ready`](Self::ready) and
/// [`all_ready`](Self::all_ready), until another one on the same address is registered. The last 64 are remembered; of
/// more, those that the application has removed are forgotten first.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use libp2p_lazy_websocket::{lazy, websocket};
///
/// # #[cfg(feature = "tokio")] {
/// let mut transport = websocket::tokio::transport(websocket::Config::default())?;
/// let readiness = transport.readiness();
/// // … the transport goes into a swarm, `listen_on` is called, and a task of its own polls the swarm …
/// readiness.all_ready().await?;
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
    /// Why it accepts no connections although it listens, and keeps its addresses; `None` if it does.
    pub exhausted: Option<Exhausted>,
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
    /// There is no such listener: there never was, or why it has closed is no longer remembered.
    #[error("there is no such listener")]
    Unknown,
    /// It has closed: with this failure, because the application has removed it, or with the transport.
    #[error("the listener has closed")]
    Closed(#[source] Option<ListenError>),
}

/// Why [`Readiness::all_ready`] waits no longer. Its text names up to eight of [`listeners`](Self::listeners), each with
/// its reason.
#[derive(Debug, Clone)]
pub struct NotAllReady {
    listeners: Vec<(ListenerId, Status)>,
}

impl NotAllReady {
    /// The listeners that cannot be reached, those that have closed first. None if there is no listener at all.
    pub fn listeners(&self) -> &[(ListenerId, Status)] {
        &self.listeners
    }
}

impl fmt::Display for NotAllReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.listeners.len();
        match count {
            0 => return f.write_str("there is no listener"),
            1 => f.write_str("a listener cannot be reached")?,
            _ => write!(f, "{count} listeners cannot be reached")?,
        }
        let mut before = ": ";
        for (_, status) in self.listeners.iter().take(MAX_NAMED) {
            write!(f, "{before}{status}")?;
            before = "; ";
        }
        match count.saturating_sub(MAX_NAMED) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl std::error::Error for NotAllReady {}

struct Shared {
    board: Mutex<Board>,
    /// Something on the board has changed.
    changed: Event,
    /// The board is settled.
    settled: Event,
}

#[derive(Default)]
struct Board {
    rows: HashMap<ListenerId, Arc<Row>>,
    /// How many of them have no address.
    unready: usize,
    /// The last listeners that have closed, at most [`MAX_CLOSED`].
    closed: VecDeque<(ListenerId, Status)>,
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
    /// If the listener has closed or closes instead, or if there is no such listener when this is called.
    pub fn ready(
        &self,
        id: ListenerId,
    ) -> impl Future<Output = Result<Vec<Multiaddr>, NotReady>> + Send + 'static {
        // Now, and not when it is polled: until then the board may have forgotten it, and the row says why.
        let row = self.shared.board().find(id);
        async move {
            let row = row?;
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

    /// Waits until every listener can be reached, also those that are registered meanwhile. A listener that the
    /// application removes is not waited for.
    ///
    /// Call it after `listen_on`: without a listener it fails at once.
    ///
    /// # Errors
    ///
    /// If no listener is left, or as soon as one has closed with a failure, be it before the call. The error names each
    /// listener that cannot be reached at that moment.
    pub fn all_ready(&self) -> impl Future<Output = Result<(), NotAllReady>> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        async move {
            loop {
                let settled = shared.settled.listen();
                if let Some(outcome) = shared.board().outcome() {
                    return outcome;
                }
                settled.await;
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
        if let Some(exhausted) = &self.exhausted {
            write!(f, ", accepting nothing: {}", exhausted.reason())?;
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
            settled: Event::new(),
        }))
    }

    pub(super) fn handle(&self) -> Readiness {
        Readiness {
            shared: Arc::clone(&self.0),
        }
    }

    pub(super) fn publish(&self, note: Note, now: Instant) {
        let is_settled = {
            let mut board = self.0.board();
            board.write(note, now);
            board.is_settled()
        };
        self.0.changed.notify(usize::MAX);
        // Not for every change: whoever waits for thousands of listeners is woken once.
        if is_settled {
            self.0.settled.notify(usize::MAX);
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        {
            let mut board = self.0.board();
            board.is_over = true;
            board.unready = 0;
            for (id, row) in mem::take(&mut board.rows) {
                let mut status = row.status();
                status.state = State::Closed(None);
                status.addresses = Vec::new();
                status.exhausted = None;
                board.remember(id, status.clone());
                drop(status);
                row.changed.notify(usize::MAX);
            }
        }
        self.0.changed.notify(usize::MAX);
        self.0.settled.notify(usize::MAX);
    }
}

impl Shared {
    fn board(&self) -> MutexGuard<'_, Board> {
        // Whoever panicked while holding it has left nothing half done.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Row {
    fn new(status: Status) -> Self {
        Self {
            status: Mutex::new(status),
            changed: Event::new(),
        }
    }

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
            exhausted,
        } = note;
        let mut status = Status {
            address,
            state,
            since: now,
            addresses,
            exhausted,
        };
        #[cfg(feature = "metrics")]
        self.totals.on_state(&status.state);
        let is_closed = matches!(status.state, State::Closed(_));
        let row = match is_closed {
            true => self.rows.remove(&listener),
            false => self.rows.get(&listener).cloned(),
        };
        let is_unready = !is_closed && status.addresses.is_empty();
        self.unready += usize::from(is_unready);
        match row {
            Some(row) => {
                let mut before = row.status();
                self.unready -= usize::from(before.addresses.is_empty());
                if before.state.is_same(&status.state) {
                    status.since = before.since;
                }
                *before = status.clone();
                drop(before);
                row.changed.notify(usize::MAX);
            }
            None if is_closed => {}
            None => {
                self.closed
                    .retain(|(_, closed)| closed.address != status.address);
                self.rows
                    .insert(listener, Arc::new(Row::new(status.clone())));
            }
        }
        if is_closed {
            self.remember(listener, status.clone());
        }
        if self.changes.len() == MAX_CHANGES {
            self.changes.pop_front();
            self.thrown_away += 1;
        }
        self.changes.push_back(Change::Status { listener, status });
    }

    /// A listener has closed.
    fn remember(&mut self, listener: ListenerId, status: Status) {
        if self.closed.len() == MAX_CLOSED {
            let mut closed = self.closed.iter();
            let removed = closed.position(|(_, status)| !status.has_failed());
            self.closed.remove(removed.unwrap_or(0));
        }
        self.closed.push_back((listener, status));
    }

    /// The row of a listener, which is one of its own if it has closed.
    fn find(&self, id: ListenerId) -> Result<Arc<Row>, NotReady> {
        if let Some(row) = self.rows.get(&id) {
            return Ok(Arc::clone(row));
        }
        let closed = self.closed.iter().find(|(closed, _)| *closed == id);
        let (_, status) = closed.ok_or(NotReady::Unknown)?;
        Ok(Arc::new(Row::new(status.clone())))
    }

    /// Whether it is clear that all listeners are ready, or that they will not be.
    fn is_settled(&self) -> bool {
        self.unready == 0 || self.closed.iter().any(|(_, status)| status.has_failed())
    }

    fn outcome(&self) -> Option<Result<(), NotAllReady>> {
        if !self.is_settled() {
            return None;
        }
        // Those that the application has removed matter only if no other is left.
        let is_empty = self.rows.is_empty();
        let closed = self.closed.iter().cloned();
        let mut listeners: Vec<_> = closed
            .filter(|(_, status)| is_empty || status.has_failed())
            .collect();
        if listeners.is_empty() && !is_empty {
            return Some(Ok(()));
        }
        let rows = self
            .rows
            .iter()
            .map(|(id, row)| (*id, row.status().clone()));
        listeners.extend(rows.filter(|(_, status)| status.addresses.is_empty()));
        Some(Err(NotAllReady { listeners }))
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

impl Status {
    /// Whether it has closed other than by the application or with the transport.
    fn has_failed(&self) -> bool {
        matches!(self.state, State::Closed(Some(_)))
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
