use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

#[cfg(feature = "metrics")]
mod metrics;

/// What has become of the connections that were accepted, up to the end of their handshake. Those whose handshake failed,
/// for instance because the peer did not trust the certificate, are in none of them.
///
/// A handle to take from [`Transport::counters`](crate::websocket::Transport::counters) before the transport is moved into
/// a swarm, and to read at any time.
#[derive(Debug, Clone, Default)]
pub struct Counters(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    pending_handshakes: AtomicUsize,
    evicted: AtomicU64,
    timed_out: AtomicU64,
    upgraded: AtomicU64,
}

impl Counters {
    /// How many pending handshakes there are, on all listeners.
    pub fn pending_handshakes(&self) -> usize {
        self.0.pending_handshakes.load(Ordering::Relaxed)
    }

    /// How many gave way to a newer connection before they had finished their handshake, because their port or their
    /// remote address had as many pending handshakes as it
    /// [may have](crate::websocket::Config::with_max_pending_handshakes).
    pub fn evicted(&self) -> u64 {
        self.0.evicted.load(Ordering::Relaxed)
    }

    /// How many had not finished their handshake by its
    /// [deadline](crate::websocket::Config::with_handshake_timeout), or by an earlier one of whatever wraps the transport.
    pub fn timed_out(&self) -> u64 {
        self.0.timed_out.load(Ordering::Relaxed)
    }

    /// How many have finished their handshake.
    pub fn upgraded(&self) -> u64 {
        self.0.upgraded.load(Ordering::Relaxed)
    }

    pub(super) fn on_admitted(&self) {
        self.0.pending_handshakes.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection that was admitted has no pending handshake any more.
    pub(super) fn on_left(&self) {
        self.0.pending_handshakes.fetch_sub(1, Ordering::Relaxed);
    }

    /// A connection that was admitted has given way to another.
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
}
