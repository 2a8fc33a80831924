use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

#[cfg(feature = "metrics")]
mod metrics;

/// Counters of accepted connections, up to the end of their handshake. Failed handshakes, for instance of a peer that does
/// not trust the certificate, are not counted.
///
/// [`Transport::counters`](crate::websocket::Transport::counters) returns this handle before the transport is moved into a
/// swarm. It can be read at any time.
#[derive(Debug, Clone, Default)]
pub struct Counters(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    pending_handshakes: AtomicUsize,
    evicted: AtomicU64,
    timed_out: AtomicU64,
    upgraded: AtomicU64,
    unknown: AtomicU64,
    visitors: AtomicU64,
    refused_visitors: AtomicU64,
}

impl Counters {
    /// The number of pending handshakes of all listeners.
    pub fn pending_handshakes(&self) -> usize {
        self.0.pending_handshakes.load(Ordering::Relaxed)
    }

    /// The number of pending handshakes that were closed in favour of newer ones, because their port or remote address was
    /// at its [limit](crate::websocket::Config::with_max_pending_handshakes).
    pub fn evicted(&self) -> u64 {
        self.0.evicted.load(Ordering::Relaxed)
    }

    /// The number of handshakes that were not complete at their
    /// [deadline](crate::websocket::Config::with_handshake_timeout), or at an earlier one of a layer around the transport.
    pub fn timed_out(&self) -> u64 {
        self.0.timed_out.load(Ordering::Relaxed)
    }

    /// The number of completed handshakes.
    pub fn upgraded(&self) -> u64 {
        self.0.upgraded.load(Ordering::Relaxed)
    }

    /// The number of connections that were closed because no listener on their port serves their protocol, for instance TLS
    /// without a certificate, or because they came from a [proxy](crate::websocket::Proxies::tcp) without its header. They
    /// are not reported to the swarm.
    pub fn unknown(&self) -> u64 {
        self.0.unknown.load(Ordering::Relaxed)
    }

    /// The number of connections that were handed to [`Config::with_visitors`](crate::websocket::Config::with_visitors).
    pub fn visitors(&self) -> u64 {
        self.0.visitors.load(Ordering::Relaxed)
    }

    /// The number of connections that were answered with 503 because there were
    /// [too many visitors](crate::websocket::Config::with_max_visitors).
    pub fn refused_visitors(&self) -> u64 {
        self.0.refused_visitors.load(Ordering::Relaxed)
    }

    pub(super) fn on_admitted(&self) {
        self.0.pending_handshakes.fetch_add(1, Ordering::Relaxed);
    }

    /// The pending handshake of an admitted connection has ended.
    pub(super) fn on_left(&self) {
        self.0.pending_handshakes.fetch_sub(1, Ordering::Relaxed);
    }

    /// An admitted connection was evicted.
    pub(super) fn on_evicted(&self) {
        self.on_left();
        self.0.evicted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn on_timed_out(&self) {
        self.0.timed_out.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn on_upgraded(&self) {
        self.0.upgraded.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn on_visitor(&self) {
        self.0.visitors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn on_refused_visitor(&self) {
        self.0.refused_visitors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn on_unknown(&self) {
        self.0.unknown.fetch_add(1, Ordering::Relaxed);
    }
}
