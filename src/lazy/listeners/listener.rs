use std::time::Duration;

use libp2p_core::transport::ListenerId;
use multiaddr::{Multiaddr, Protocol};

use super::{due::Place, errors::Errors, queue::Turn, reach::Reach};
use crate::{
    deadline::Instant,
    lazy::{Exhausted, ListenError, Missing, retry::Failures, status},
};

/// One listener of the application.
#[derive(Debug)]
pub(super) struct Listener<U> {
    /// As the application gave it.
    pub(super) address: Multiaddr,
    pub(super) state: State<U>,
    /// Apart, as most have none: what is rare takes no room in the map, which is what a bind costs most by.
    past: Option<Box<Past>>,
    /// Apart for the same reason: it is there if anybody looks at spans.
    span: Option<Box<tracing::Span>>,
}

/// What is remembered of a listener that has lost an address or failed.
#[derive(Debug, Default)]
struct Past {
    /// The port that the system has chosen for an address without one; kept when it is bound again.
    port: Option<u16>,
    /// Those since it has last worked for long.
    failures: Option<Failures>,
    /// When it was last bound, if that was after a failure.
    bound: Option<Instant>,
    /// When the attempt that is being made was due.
    due: Option<Instant>,
}

#[derive(Debug)]
pub(super) enum State<U> {
    /// Waits for a poll that binds it.
    Registered { turn: Turn },
    /// Waits for something that the inner transport does not have yet.
    Waiting { turn: Turn, missing: Missing },
    /// Has failed, and waits for its next attempt.
    Retrying {
        place: Place,
        /// Whether what it had bound before may still be there, so that it is in the queue of those that must
        /// not hurry.
        is_rebind: bool,
        error: ListenError,
    },
    /// The inner transport is being told to listen.
    Binding { inner: ListenerId },
    /// Bound. It is ready when it has addresses.
    Listening {
        inner: ListenerId,
        reach: Reach<U>,
        /// Whether there has ever been an address.
        is_announced: bool,
        /// Those that matter; apart, as most have none.
        errors: Option<Box<Errors>>,
    },
    /// It was stuck; the inner transport is to close it, so that it can be bound again.
    Leaving {
        inner: ListenerId,
        /// What it reported again and again.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The application has removed it; the inner transport has not closed it yet.
    Closing { inner: ListenerId },
    /// Its `ListenerClosed` is among the events.
    Closed {
        /// By the application, who then hears nothing but the close.
        removed: bool,
        error: Option<ListenError>,
    },
}

impl<U> Listener<U> {
    pub(super) fn new(address: Multiaddr, state: State<U>, span: tracing::Span) -> Self {
        Self {
            address,
            state,
            past: None,
            span: (!span.is_disabled()).then(|| Box::new(span)),
        }
    }

    /// The span that what is logged of it belongs to.
    pub(super) fn span(&self) -> Option<tracing::Id> {
        self.span.as_ref()?.id()
    }

    /// It is bound.
    pub(super) fn on_bound(&mut self, now: Instant) {
        if let Some(past) = &mut self.past {
            past.bound = Some(now);
        }
    }

    /// What was bound has worked until now, and will not any more. Earlier failures are forgotten if that was for `long`.
    pub(super) fn on_worked(&mut self, until: Instant, long: Duration) {
        let past = self.past.get_or_insert_default();
        let bound = past.bound.take();
        if bound.is_some_and(|bound| until.saturating_duration_since(bound) >= long) {
            past.failures = None;
        }
    }

    /// Another attempt is made, which was due then.
    pub(super) fn on_attempt(&mut self, due: Instant) {
        if let Some(past) = &mut self.past {
            past.due = Some(due);
        }
    }

    /// The attempt that was made has succeeded: if it fails now, that is another failure.
    pub(super) fn on_succeeded(&mut self) {
        if let Some(past) = &mut self.past {
            past.due = None;
        }
    }

    /// It has failed. Returns its failures in a row and, if the attempt was made before it was due, when that is: such a
    /// failure is not counted.
    pub(super) fn on_failed(
        &mut self,
        now: Instant,
        long: Duration,
    ) -> (Failures, Option<Instant>) {
        self.on_worked(now, long);
        let past = self.past.get_or_insert_default();
        let due = past.due.take().filter(|due| *due > now);
        if let (Some(failures), Some(due)) = (past.failures, due) {
            return (failures, Some(due));
        }
        let failures = Failures::after(past.failures, now);
        (*past.failures.insert(failures), None)
    }

    /// What the inner transport is to listen on.
    pub(super) fn bind_address(&self) -> Multiaddr {
        let Some(port) = self.past.as_ref().and_then(|past| past.port) else {
            return self.address.clone();
        };
        let Some(index) = port_zero(&self.address) else {
            return self.address.clone();
        };
        let with_port = |(n, protocol)| match protocol {
            Protocol::Tcp(_) if n == index => Protocol::Tcp(port),
            Protocol::Udp(_) if n == index => Protocol::Udp(port),
            other => other,
        };
        self.address.iter().enumerate().map(with_port).collect()
    }

    /// Keeps the port that the system has chosen, as the address `announced` shows it.
    pub(super) fn remember_port(&mut self, announced: &Multiaddr) {
        let Some(index) = port_zero(&self.address) else {
            return;
        };
        if let Some(Protocol::Tcp(port) | Protocol::Udp(port)) = announced.iter().nth(index) {
            self.past.get_or_insert_default().port = Some(port);
        }
    }

    /// What the application is told of its state.
    pub(super) fn readiness(&self) -> status::State {
        match &self.state {
            State::Registered { .. } => status::State::Registered,
            State::Waiting { missing, .. } => status::State::Waiting(missing.clone()),
            State::Retrying { error, .. } => status::State::Retrying(error.clone()),
            State::Listening {
                is_announced: true, ..
            } => status::State::Listening,
            State::Binding { .. } | State::Listening { .. } => status::State::Binding,
            State::Leaving { .. } | State::Closing { .. } => status::State::Closing,
            State::Closed { error, .. } => status::State::Closed(error.clone()),
        }
    }

    /// What was told of its being exhausted, while it is, and where the end of that is waited for.
    pub(super) fn exhausted(&self) -> Option<&(Exhausted, Place)> {
        match &self.state {
            State::Listening { errors, .. } => errors.as_ref()?.told(),
            _ => None,
        }
    }

    /// The addresses that were reported and have not expired.
    pub(super) fn addresses(&self) -> &[Multiaddr] {
        match &self.state {
            State::Listening { reach, .. } => reach.addresses(),
            _ => &[],
        }
    }
}

/// Where in the address the system is left to choose a port.
fn port_zero(address: &Multiaddr) -> Option<usize> {
    address
        .iter()
        .position(|protocol| matches!(protocol, Protocol::Tcp(0) | Protocol::Udp(0)))
}

/// Whether nobody could dial `found`: its zone is the name of an interface of this host, its name is a pattern, or it is
/// a link-local IPv6 address, which means nothing without the zone that it lacks, and the application did not ask for it
/// but for all addresses.
pub(super) fn is_undialable(registered: &Multiaddr, found: &Multiaddr) -> bool {
    // By bytes, as each new address passes here, and to take its protocols apart costs ten times as much. The code of
    // `/ip6`, and the ten bits that link-local addresses begin with.
    let is_link_local = matches!(found.as_ref(), [41, 0xfe, 0x80..0xc0, ..]);
    // The code of `/ip6zone` is that of the character `*`.
    let is_meaningless =
        found.as_ref().contains(&b'*') && found.iter().any(|part| is_meaningless_elsewhere(&part));
    is_meaningless
        || is_link_local
            && matches!(registered.iter().next(), Some(Protocol::Ip6(ip)) if ip.is_unspecified())
}

fn is_meaningless_elsewhere(protocol: &Protocol<'_>) -> bool {
    match protocol {
        Protocol::Ip6zone(_) => true,
        Protocol::Dns(name)
        | Protocol::Dns4(name)
        | Protocol::Dns6(name)
        | Protocol::Dnsaddr(name)
        | Protocol::Sni(name) => name.contains('*'),
        _ => false,
    }
}
