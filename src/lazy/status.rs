//! How a listener is doing, and what has happened to it: plain values, which everything else in here is about.

use std::{error, fmt, io, sync::Arc, time::Duration};

use libp2p_core::transport::ListenerId;
use multiaddr::Multiaddr;

use crate::{
    deadline::Instant,
    lazy::{retry::io_error, support::Missing},
};

/// How many listeners the text of [`NotAllReady`] names.
pub(super) const MAX_NAMED: usize = 8;

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
    Lagged {
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
    pub(super) listeners: Vec<(ListenerId, Status)>,
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

impl error::Error for NotAllReady {}

/// A listener is in a new state, or has other addresses.
#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) listener: ListenerId,
    /// As the application gave it.
    pub(crate) address: Multiaddr,
    pub(crate) state: State,
    pub(crate) addresses: Vec<Multiaddr>,
    pub(crate) exhausted: Option<Exhausted>,
}

/// The failure of a listener: an attempt to bind it, or the end of one that was bound.
///
/// Comes in a `ListenerError`; the last one comes once more, in the `ListenerClosed` that follows.
#[derive(Debug, Clone)]
pub struct ListenError {
    // Behind one pointer, since every `Result` of the transport has room for it.
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

/// What befell the listener of a [`ListenError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// It could not be bound.
    Bind,
    /// The inner transport closed it, for instance since its address has left its interface.
    Closed,
    /// It reported the same error for half a minute and accepted nothing meanwhile. Errors of single connections do not
    /// count, nor do rules that forbid to accept them, or being [`Exhausted`].
    Stuck,
    /// The inner transport took the address when it was registered, and refused it later.
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
        let mut link: &(dyn error::Error + 'static) = error.get_ref()?;
        loop {
            if let Some(found) = link.downcast_ref() {
                return Some(found);
            }
            // The source of an `io::Error` is that of the error it wraps, which would be skipped.
            let wrapped = link
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref);
            link = match wrapped {
                Some(wrapped) => wrapped,
                None => link.source()?,
            };
        }
    }

    /// The address as it was given to `listen_on`.
    pub fn address(&self) -> &Multiaddr {
        &self.inner.address
    }

    /// What befell it.
    pub fn failure(&self) -> Failure {
        self.inner.failure
    }

    /// How many times in a row it has failed, this one included.
    pub fn attempt(&self) -> u32 {
        self.inner.attempt
    }

    /// In how long, from the report, the next attempt comes; sooner if the network changes. `None` if there will
    /// be none: the listener closes.
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

/// A bound listener accepts no connections, as the process or the system is out of descriptors or memory.
///
/// It keeps its socket and its addresses, however long that lasts. Whoever connects meanwhile waits in the backlog of the
/// kernel.
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

    /// The cause as the system puts it, such as "Too many open files (os error 24)".
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

/// A delay as somebody reads it in a log: "3.2 s".
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
    /// Whether it has closed other than by the application or with the transport.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.state, State::Closed(Some(_)))
    }
}

impl State {
    /// Whether it goes on, and only the addresses or the reason to wait can have changed.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        matches!(
            (self, other),
            (Self::Listening, Self::Listening)
                | (Self::Binding, Self::Binding)
                | (Self::Waiting(_), Self::Waiting(_))
        )
    }
}
