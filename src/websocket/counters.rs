use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

#[cfg(feature = "metrics")]
mod metrics;

/// What has become of the connections that were accepted, up to the end of their WebSocket handshake.
///
/// A handle to take from [`Config::counters`](crate::websocket::Config::counters) before the transport is made, and
/// to read at any time. All transports made of one configuration, and of its clones, count together.
#[derive(Debug, Clone, Default)]
pub struct Counters(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    half_open: AtomicUsize,
    evicted: AtomicU64,
    timed_out: AtomicU64,
    upgraded: AtomicU64,
}

impl Counters {
    /// How many connections are accepted, of all listeners, whose handshake has neither succeeded nor failed.
    pub fn half_open(&self) -> usize {
        self.0.half_open.load(Ordering::Relaxed)
    }

    /// How many gave way to a newer connection before they had finished their handshake, because their port or their
    /// remote address had as many pending handshakes as it
    /// [may have](crate::websocket::Config::with_max_half_open).
    pub fn evicted(&self) -> u64 {
        self.0.evicted.load(Ordering::Relaxed)
    }

    /// How many had not finished their handshake by its
    /// [deadline](crate::websocket::Config::with_handshake_timeout).
    pub fn timed_out(&self) -> u64 {
        self.0.timed_out.load(Ordering::Relaxed)
    }

    /// How many have finished their handshake.
    pub fn upgraded(&self) -> u64 {
        self.0.upgraded.load(Ordering::Relaxed)
    }

    pub(super) fn on_admitted(&self) {
        self.0.half_open.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection that was admitted is half-open no more.
    pub(super) fn on_left(&self) {
        self.0.half_open.fetch_sub(1, Ordering::Relaxed);
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
