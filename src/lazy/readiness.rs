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
    lazy::status::{Change, NotAllReady, NotReady, Note, State, Status},
};

#[cfg(feature = "metrics")]
mod metrics;

/// How many changes are kept for those who have not read them yet.
const MAX_CHANGES: usize = 1024;

/// How many closed listeners are remembered for those who ask why.
const MAX_CLOSED: usize = 64;

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
/// let mut transport = websocket::tokio::transport(websocket::Config::default());
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
    /// Registers what is known of the listeners as metrics:
    ///
    /// - `libp2p_lazy_listeners`, how many there are, by `state`: `registered`, `waiting`, `binding`, `retrying`,
    ///   `listening` or `closing`; see [`State`];
    /// - `libp2p_lazy_ready_listeners`, how many of them can be reached;
    /// - `libp2p_lazy_failures_total`, by `failure`: `bind`, `closed`, `stuck` or `unsupported`; see
    ///   [`Failure`](crate::lazy::Failure);
    /// - `libp2p_lazy_closed_total`, by `reason`: `failed`, for good, or `removed`, as the application wanted.
    ///
    /// The totals begin with the first handle. The listeners are counted when the registry is scraped, and only then.
    ///
    /// For several transports in one registry, give each a sub-registry with a label that tells it from the others.
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
