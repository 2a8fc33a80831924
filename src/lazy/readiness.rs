//! The handle through which an application watches its listeners after the transport has moved into the swarm.

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
    lazy::status::{Change, NotAllReady, NotReady, Note, State, Status},
};

#[cfg(feature = "metrics")]
mod metrics;

/// Number of changes kept for slow readers.
const MAX_CHANGES: usize = 1024;

/// Number of closed listeners that are remembered.
const MAX_CLOSED: usize = 64;

/// Watches the listeners of a [`lazy::Transport`](crate::lazy::Transport) that is in a swarm.
///
/// Made by [`Transport::readiness`](crate::lazy::Transport::readiness). Clones are cheap and equivalent. The transport
/// records each change while the swarm polls it, and wakes the tasks that wait for it, on any executor. Dropping the
/// transport closes all listeners.
///
/// A closed listener is not listed any more. The reason is remembered for [`ready`](Self::ready) and
/// [`all_ready`](Self::all_ready) until a listener on the same address is registered, for up to 64 closed listeners.
/// Listeners that the application removed are forgotten first.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use libp2p_lazy_websocket::{lazy, websocket};
///
/// # #[cfg(feature = "tokio")] {
/// let mut transport = websocket::tokio::transport(websocket::Config::default());
/// let readiness = transport.readiness();
/// // … put the transport into a swarm, call `listen_on`, and poll the swarm in a task of its own …
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

struct Shared {
    board: Mutex<Board>,
    /// Notified of each change.
    changed: Event,
    /// Notified when [`Board::is_settled`].
    settled: Event,
}

#[derive(Default)]
struct Board {
    rows: HashMap<ListenerId, Arc<Row>>,
    /// The number of rows without an address.
    unready: usize,
    /// The last closed listeners, at most [`MAX_CLOSED`].
    closed: VecDeque<(ListenerId, Status)>,
    /// The last changes, at most [`MAX_CHANGES`].
    changes: VecDeque<Change>,
    /// The number of changes before those.
    thrown_away: u64,
    /// The transport was dropped.
    is_over: bool,
    #[cfg(feature = "metrics")]
    totals: metrics::Totals,
}

/// One listener. A task that waits for it keeps the row after the board has dropped it.
struct Row {
    status: Mutex<Status>,
    changed: Event,
}

impl Readiness {
    /// The status of a listener; `None` if there is no such listener, or if it has closed.
    pub fn status(&self, id: ListenerId) -> Option<Status> {
        let row = self.shared.board().rows.get(&id).cloned()?;
        Some(row.status().clone())
    }

    /// The statuses of all listeners, in no particular order.
    pub fn statuses(&self) -> Vec<(ListenerId, Status)> {
        let board = self.shared.board();
        let statuses = board
            .rows
            .iter()
            .map(|(id, row)| (*id, row.status().clone()));
        statuses.collect()
    }

    /// Waits until a listener has an address, and returns all its addresses.
    ///
    /// # Errors
    ///
    /// If the listener has closed, or closes before it has an address, or if the id is unknown when this is called.
    pub fn ready(
        &self,
        id: ListenerId,
    ) -> impl Future<Output = Result<Vec<Multiaddr>, NotReady>> + Send + 'static {
        // Looked up now, because the board may have forgotten the listener by the first poll.
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

    /// Waits until every listener has an address, including those registered meanwhile. Listeners that the application
    /// removes are not waited for.
    ///
    /// Call it after `listen_on`: it fails at once if there is no listener.
    ///
    /// # Errors
    ///
    /// If no listener is left, or if a listener has closed with a failure, even before the call. The error names each
    /// listener that is not ready at that moment.
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

    /// A stream of all changes from now on, in order for each listener. It ends when the transport is dropped.
    ///
    /// The last 1024 changes are kept for slow readers.
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
    ///         Change::Lagged { .. } => println!("{:?}", readiness.statuses()),
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

#[cfg(feature = "metrics")]
impl Readiness {
    /// Registers metrics of the listeners:
    ///
    /// - `libp2p_lazy_listeners`, the number of listeners, by `state`: `registered`, `waiting`, `binding`, `retrying`,
    ///   `listening` or `closing`; see [`State`];
    /// - `libp2p_lazy_ready_listeners`, the number of listeners with an address;
    /// - `libp2p_lazy_failures_total`, by `failure`: `bind`, `closed`, `stuck` or `unsupported`; see
    ///   [`Failure`](crate::lazy::Failure);
    /// - `libp2p_lazy_closed_total`, by `reason`: `failed`, or `removed` by the application.
    ///
    /// The totals start at zero with the first handle. The listeners are counted when the registry is scraped.
    ///
    /// For several transports in one registry, give each a sub-registry with a label of its own.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        let this = self.clone();
        let read = move || (this.statuses(), this.shared.board().totals);
        crate::metrics::register(registry, "lazy", metrics::Listeners(read));
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.statuses()).finish()
    }
}

/// The transport's end, which records the changes for the handles.
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
        // Not on every change, so that a task that waits for thousands of listeners is woken once.
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
        // A panic while the lock is held leaves nothing half done.
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

/// The outcome of [`Board::read`].
enum Read {
    /// A change, and the number of the next one to read.
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

    /// Keeps the status of a closed listener.
    fn remember(&mut self, listener: ListenerId, status: Status) {
        if self.closed.len() == MAX_CLOSED {
            let mut closed = self.closed.iter();
            let removed = closed.position(|(_, status)| !status.has_failed());
            self.closed.remove(removed.unwrap_or(0));
        }
        self.closed.push_back((listener, status));
    }

    /// The row of a listener. For a closed one, it is made from the remembered status.
    fn find(&self, id: ListenerId) -> Result<Arc<Row>, NotReady> {
        if let Some(row) = self.rows.get(&id) {
            return Ok(Arc::clone(row));
        }
        let closed = self.closed.iter().find(|(closed, _)| *closed == id);
        let (_, status) = closed.ok_or(NotReady::Unknown)?;
        Ok(Arc::new(Row::new(status.clone())))
    }

    /// Whether all listeners are ready, or one has failed for good.
    fn is_settled(&self) -> bool {
        self.unready == 0 || self.closed.iter().any(|(_, status)| status.has_failed())
    }

    fn outcome(&self) -> Option<Result<(), NotAllReady>> {
        if !self.is_settled() {
            return None;
        }
        // Removed listeners matter only if no other is left.
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

    /// The number of the next change.
    fn written(&self) -> u64 {
        self.thrown_away + self.changes.len() as u64
    }

    fn read(&self, number: u64) -> Read {
        if let Some(count) = self.thrown_away.checked_sub(number)
            && count > 0
        {
            return Read::Change(Change::Lagged { count }, self.thrown_away);
        }
        let index = usize::try_from(number - self.thrown_away).ok();
        match index.and_then(|index| self.changes.get(index)) {
            Some(change) => Read::Change(change.clone(), number + 1),
            None if self.is_over => Read::Over,
            None => Read::Nothing,
        }
    }
}

#[cfg(test)]
mod tests;
