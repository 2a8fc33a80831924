//! One listener: its state, and what it keeps between one bind and the next.

use std::error;

use libp2p_core::transport::{ListenerId, TransportEvent};
use multiaddr::{Multiaddr, Protocol};

use super::{due::Place, errors::Errors};
use crate::{
    deadline::Instant,
    lazy::{
        Error, ListenError, Missing,
        status::{self, Note},
    },
};

/// Maximum number of connections held back while a listener has no address. Further ones are dropped, as by a full
/// backlog of the kernel.
pub(super) const MAX_HELD: usize = 16;

/// One accepted `listen_on`, until its `ListenerClosed` is reported.
#[derive(Debug)]
pub(super) struct Listener<U, E> {
    /// As it was given to `listen_on`.
    pub(super) address: Multiaddr,
    pub(super) state: State<U, E>,
    /// The port that the system chose for an address without one.
    port: Option<u16>,
    /// Failures in a row. Reset once a listener has worked for the longest delay.
    pub(super) failures: u32,
    /// Whether its last socket may still be open: it was bound, and no bind has been tried since.
    pub(super) was_bound: bool,
    pub(super) span: tracing::Span,
}

/// ```text
/// listen_on ---> Waiting <---> Registered
///                   ^              | poll
///                   |              v
///                   |           Binding ----------> Listening
///     what it needs |            |   ^               |     |
///     has gone      |      fails |   | its time      | dies| what it needs has gone, stuck, removed
///                   |            v   |               |     v
///                   |           Retrying <-----------+-- Closing
///                   |            |                       | |
///                   +------------|-----------------------+ |
///               gives up, removed|                         | removed
///                                v                         v
///                              Closed <--------------------+
/// ```
#[derive(Debug)]
pub(super) enum State<U, E> {
    /// Waits for something that the inner transport does not have yet. Keyed by `turn` in `Listeners::waiting`.
    Waiting {
        turn: u64,
        missing: Missing,
    },
    /// Waits for the poll that binds it. Keyed by `turn` in `Listeners::registered`.
    Registered {
        turn: u64,
    },
    /// The inner transport is being told to listen. Its answer is the next input.
    Binding {
        inner: ListenerId,
        /// When this attempt was due, if it is not the first. Later than now if the network has changed.
        due: Option<Instant>,
    },
    Listening(Bound<U, E>),
    /// Failed, and waits for its next attempt.
    Retrying {
        /// In `Listeners::retries`, or in `Listeners::rebinds` if its last socket may still be open.
        place: Place,
        is_rebind: bool,
        error: ListenError,
    },
    /// The inner transport has not closed it yet.
    Closing {
        inner: ListenerId,
        next: Next,
    },
    /// Its `ListenerClosed` is among the events: with this failure, or because the application has removed it.
    Closed(Option<ListenError>),
}

/// What comes after [`State::Closing`].
#[derive(Debug)]
pub(super) enum Next {
    /// Its end: the application has removed it.
    Close,
    /// It was stuck with this error, and is bound again.
    Rebind(Box<dyn error::Error + Send + Sync>),
    /// It waits for what is missing.
    Wait(Missing),
}

/// A listener that the inner transport has bound.
#[derive(Debug)]
pub(super) struct Bound<U, E> {
    pub(super) inner: ListenerId,
    pub(super) since: Instant,
    /// As in [`State::Binding`], until it has an address: then the attempt has succeeded.
    pub(super) due: Option<Instant>,
    /// Reported and not expired, at most those of the host's interfaces.
    pub(super) addresses: Vec<Multiaddr>,
    pub(super) has_been_announced: bool,
    /// Connections that wait for an address, at most [`MAX_HELD`].
    pub(super) held: Vec<TransportEvent<U, Error<E>>>,
    pub(super) errors: Errors,
}

impl<U, E> Bound<U, E> {
    pub(super) fn new(inner: ListenerId, since: Instant, due: Option<Instant>) -> Self {
        Self {
            inner,
            since,
            due,
            addresses: Vec::new(),
            has_been_announced: false,
            held: Vec::new(),
            errors: Errors::default(),
        }
    }
}

impl<U, E> Listener<U, E> {
    pub(super) fn new(address: Multiaddr, state: State<U, E>, span: tracing::Span) -> Self {
        Self {
            address,
            state,
            port: None,
            failures: 0,
            was_bound: false,
            span,
        }
    }

    /// The address for the inner transport: the registered one, with the port of the last bind.
    pub(super) fn bind_address(&self) -> Multiaddr {
        let (Some(port), Some(index)) = (self.port, port_zero(&self.address)) else {
            return self.address.clone();
        };
        let with_port = |(n, protocol)| match protocol {
            Protocol::Tcp(_) if n == index => Protocol::Tcp(port),
            Protocol::Udp(_) if n == index => Protocol::Udp(port),
            other => other,
        };
        self.address.iter().enumerate().map(with_port).collect()
    }

    /// Keeps the port that the system chose, taken from `announced`.
    pub(super) fn remember_port(&mut self, announced: &Multiaddr) {
        let index = port_zero(&self.address);
        if let Some(Protocol::Tcp(port) | Protocol::Udp(port)) =
            index.and_then(|index| announced.iter().nth(index))
        {
            self.port = Some(port);
        }
    }

    /// Its status, for the readiness handles.
    pub(super) fn note(&self, listener: ListenerId) -> Note {
        let state = match &self.state {
            State::Waiting { missing, .. } => status::State::Waiting(missing.clone()),
            State::Registered { .. } => status::State::Registered,
            State::Listening(bound) if bound.has_been_announced => status::State::Listening,
            State::Binding { .. } | State::Listening(_) => status::State::Binding,
            State::Retrying { error, .. } => status::State::Retrying(error.clone()),
            State::Closing { .. } => status::State::Closing,
            State::Closed(error) => status::State::Closed(error.clone()),
        };
        let (addresses, exhausted) = match &self.state {
            State::Listening(bound) => (bound.addresses.clone(), bound.errors.told()),
            _ => (Vec::new(), None),
        };
        Note {
            listener,
            address: self.address.clone(),
            state,
            addresses,
            exhausted: exhausted.map(|(exhausted, _)| exhausted.clone()),
        }
    }
}

/// Whether no other host could dial `found`: its zone is the name of an interface of this host, its name is a pattern, or
/// it is a link-local address of a listener on `/ip6/::`, and lacks the zone.
pub(super) fn is_undialable(registered: &Multiaddr, found: &Multiaddr) -> bool {
    let is_wildcard =
        matches!(registered.iter().next(), Some(Protocol::Ip6(ip)) if ip.is_unspecified());
    found.iter().any(|part| match part {
        Protocol::Ip6(ip) => is_wildcard && ip.is_unicast_link_local(),
        Protocol::Ip6zone(_) => true,
        Protocol::Dns(name)
        | Protocol::Dns4(name)
        | Protocol::Dns6(name)
        | Protocol::Dnsaddr(name)
        | Protocol::Sni(name) => name.contains('*'),
        _ => false,
    })
}

/// The index of the protocol that leaves the choice of a port to the system.
fn port_zero(address: &Multiaddr) -> Option<usize> {
    address
        .iter()
        .position(|protocol| matches!(protocol, Protocol::Tcp(0) | Protocol::Udp(0)))
}
