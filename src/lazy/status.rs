//! The status of a listener and its failures: plain values.

use std::{error, fmt, io, sync::Arc, time::Duration};

use libp2p_core::transport::ListenerId;
use multiaddr::Multiaddr;

use crate::{
    deadline::Instant,
    lazy::{retry::io_error, support::Missing},
};

/// Number of listeners that the text of [`NotAllReady`] names.
pub(super) const MAX_NAMED: usize = 8;

/// The status of a listener. Displays as one line, such as `/ip4/0.0.0.0/tcp/0/ws: listening at
/// /ip4/127.0.0.1/tcp/4001/ws, /ip4/192.0.2.1/tcp/4001/ws`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Status {
    /// The address as it was given to `listen_on`.
    pub address: Multiaddr,
    /// The current state.
    pub state: State,
    /// When the listener entered this state, or when the first handle was made, whichever is later.
    pub since: Instant,
    /// The addresses reported by `NewAddress` and not yet expired. The listener is ready if there is one.
    pub addresses: Vec<Multiaddr>,
    /// Set while the listener keeps its socket and addresses but cannot accept connections.
    pub exhausted: Option<Exhausted>,
}

/// The state of a listener. Displays as a few words, such as "retrying in 3.2 s: address in use".
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum State {
    /// Bound when the swarm is polled.
    Registered,
    /// Waits for something that the inner transport needs and does not have. Displays with the reason, such as
    /// "waiting for certificate: chain.pem does not exist".
    Waiting(Missing),
    /// Being bound, or bound and without an address so far.
    Binding,
    /// Failed. The next attempt is due [`ListenError::retry_in`] after [`Status::since`]. Displays that whole delay, not
    /// the rest of it.
    Retrying(ListenError),
    /// Bound, and has had an address. Without one now, it waits until an interface gets one.
    Listening,
    /// Being closed: for good if the application removed it, otherwise to be bound again.
    Closing,
    /// Closed with this failure; `None` if the application removed it, or the transport was dropped.
    Closed(Option<ListenError>),
}

/// An item of [`Readiness::changes`](crate::lazy::Readiness::changes).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Change {
    /// A listener is new, in another state, or has other addresses.
    #[non_exhaustive]
    Status {
        /// The listener.
        listener: ListenerId,
        /// Its new status. Each change of its addresses is an item of its own.
        status: Status,
    },
    /// The stream was read too slowly, and its oldest items were dropped.
    /// [`Readiness::statuses`](crate::lazy::Readiness::statuses) has the current state.
    #[non_exhaustive]
    Lagged {
        /// The number of dropped items.
        count: u64,
    },
}

/// The error of [`Readiness::ready`](crate::lazy::Readiness::ready).
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum NotReady {
    /// There is no such listener, or it closed too long ago to be remembered.
    #[error("there is no such listener")]
    Unknown,
    /// The listener closed with this failure; `None` if the application removed it, or the transport was dropped.
    #[error("the listener has closed")]
    Closed(#[source] Option<ListenError>),
}

/// The error of [`Readiness::all_ready`](crate::lazy::Readiness::all_ready). Displays up to eight of the
/// [`listeners`](Self::listeners), each with its reason.
#[derive(Debug, Clone)]
pub struct NotAllReady {
    pub(super) listeners: Vec<(ListenerId, Status)>,
}

impl NotAllReady {
    /// The listeners that are not ready, closed ones first. Empty if there is no listener at all.
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

impl error::Error for NotAllReady {}

/// A change of a [`Status`], as the core reports it: without the time.
#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) listener: ListenerId,
    pub(crate) address: Multiaddr,
    pub(crate) state: State,
    pub(crate) addresses: Vec<Multiaddr>,
    pub(crate) exhausted: Option<Exhausted>,
}

/// The failure of a listener: it could not be bound, or the bound one ended.
///
/// Each is reported in a `ListenerError`. The last one is also the reason of the `ListenerClosed` that follows.
#[derive(Debug, Clone)]
pub struct ListenError {
    // Behind one pointer, because every `Result` of the transport reserves space for it.
    inner: Arc<Record>,
}

#[derive(Debug)]
struct Record {
    address: Multiaddr,
    failure: Failure,
    attempt: u32,
    retry_in: Option<Duration>,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

/// The first error of this type in an error that a swarm reports.
pub(crate) fn find<E: error::Error + 'static>(error: &io::Error) -> Option<&E> {
    let mut link: &(dyn error::Error + 'static) = error.get_ref()?;
    loop {
        if let Some(found) = link.downcast_ref() {
            return Some(found);
        }
        // The source of an `io::Error` is the source of the error that it wraps. The wrapped error would be skipped.
        let wrapped = link
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        link = match wrapped {
            Some(wrapped) => wrapped,
            None => link.source()?,
        };
    }
}

/// The kind of a [`ListenError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The listener could not be bound.
    Bind,
    /// The inner transport closed the listener, for instance because its address left the interface.
    Closed,
    /// The listener reported the same error for 30 s and accepted nothing. Errors of single connections, firewall rules
    /// and [`Exhausted`] do not count.
    Stuck,
    /// The inner transport refused the address that it had supported when the listener was registered.
    Unsupported,
}

impl ListenError {
    pub(super) fn new(
        address: Multiaddr,
        failure: Failure,
        attempt: u32,
        retry_in: Option<Duration>,
        source: Option<Box<dyn error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            inner: Arc::new(Record {
                address,
                failure,
                attempt,
                retry_in,
                source,
            }),
        }
    }

    /// Finds the failure of a listener in the error of a `SwarmEvent::ListenerError` or `SwarmEvent::ListenerClosed`.
    ///
    /// A swarm turns the errors of its transport into [`io::Error`]s, and the layers between wrap them further. `None` if
    /// the error is of another kind, such as a connection that could not be accepted.
    pub fn find(error: &io::Error) -> Option<&Self> {
        find(error)
    }

    /// The address as it was given to `listen_on`.
    pub fn address(&self) -> &Multiaddr {
        &self.inner.address
    }

    /// The kind of failure.
    pub fn failure(&self) -> Failure {
        self.inner.failure
    }

    /// The number of failures in a row, including this one.
    pub fn attempt(&self) -> u32 {
        self.inner.attempt
    }

    /// The delay from the report to the next attempt, which comes sooner if the network changes. `None` if the listener
    /// closes instead.
    pub fn retry_in(&self) -> Option<Duration> {
        self.inner.retry_in
    }

    /// The cause in a few words, such as "address in use".
    pub fn reason(&self) -> String {
        use io::ErrorKind::{
            AddrInUse, AddrNotAvailable, HostUnreachable, NetworkDown, NetworkUnreachable,
            OutOfMemory, PermissionDenied,
        };

        let Some(source) = error::Error::source(self) else {
            return self.inner.failure.to_string();
        };
        match io_error(source) {
            Some(error) => match error.kind() {
                kind @ (AddrInUse | AddrNotAvailable | HostUnreachable | NetworkDown
                | NetworkUnreachable | OutOfMemory | PermissionDenied) => kind.to_string(),
                _ => error.to_string(),
            },
            None => source.to_string(),
        }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record {
            address,
            failure,
            attempt,
            retry_in,
            ..
        } = &*self.inner;
        match failure {
            Failure::Bind => write!(f, "cannot listen on {address}")?,
            Failure::Closed | Failure::Stuck => write!(f, "the listener on {address} {failure}")?,
            Failure::Unsupported => {
                write!(f, "the transport does not support listening on {address}")?
            }
        }
        match retry_in {
            Some(delay) => write!(f, " (attempt {attempt}, again in {})", Seconds(*delay)),
            None => write!(f, " (attempt {attempt}, and the last)"),
        }
    }
}

impl error::Error for ListenError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.inner
            .source
            .as_deref()
            .map(|source| source as &(dyn error::Error + 'static))
    }
}

/// A bound listener cannot accept connections because the process or the system is out of descriptors or memory.
///
/// The listener keeps its socket and its addresses. New connections wait in the backlog of the kernel.
#[derive(Debug, Clone)]
pub struct Exhausted {
    // Behind one pointer, as in `ListenError`.
    inner: Arc<(Multiaddr, Box<dyn error::Error + Send + Sync>)>,
}

impl Exhausted {
    pub(super) fn new(address: Multiaddr, source: Box<dyn error::Error + Send + Sync>) -> Self {
        Self {
            inner: Arc::new((address, source)),
        }
    }

    /// The address as it was given to `listen_on`.
    pub fn address(&self) -> &Multiaddr {
        &self.inner.0
    }

    /// The error of the system, such as "Too many open files (os error 24)".
    pub fn reason(&self) -> String {
        let source = &*self.inner.1;
        io_error(source).map_or_else(|| source.to_string(), ToString::to_string)
    }
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address();
        write!(
            f,
            "cannot accept connections on {address}, which stays open"
        )
    }
}

impl error::Error for Exhausted {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&*self.inner.1)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bind => "could not be bound",
            Self::Closed => "was closed by the transport below",
            Self::Stuck => "keeps failing and accepts nothing",
            Self::Unsupported => "is not supported",
        })
    }
}

/// A delay as in logs: "3.2 s".
pub(super) struct Seconds(pub(super) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s", self.0.as_secs_f64())
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

impl Status {
    /// Whether the listener has closed with a failure.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.state, State::Closed(Some(_)))
    }
}

impl State {
    /// Whether at most the addresses or the reason to wait differ.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        matches!(
            (self, other),
            (Self::Listening, Self::Listening)
                | (Self::Binding, Self::Binding)
                | (Self::Waiting(_), Self::Waiting(_))
        )
    }
}
