//! The rule of js-libp2p's `@libp2p/pubsub-peer-discovery`: everybody every ten seconds, and nobody is forgotten.

use std::time::{Duration, Instant};

use crate::node::Rule;

const INTERVAL: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct EveryTenSeconds {
    next: Instant,
}

impl Rule for EveryTenSeconds {
    const FORGETS: bool = false;

    fn new(_seed: u64, now: Instant) -> Self {
        Self { next: now }
    }

    fn on_subscriber(&mut self, _now: Instant) {}

    fn on_known_peers(&mut self, _now: Instant, _others: usize) {}

    fn on_announcement(&mut self, _now: Instant, _is_newcomer: bool) {}

    fn is_due(&mut self, now: Instant) -> bool {
        self.next <= now
    }

    fn on_round(&mut self, now: Instant, _is_published: bool) {
        self.next = now + INTERVAL;
    }

    fn next_timeout(&self) -> Option<Instant> {
        Some(self.next)
    }

    fn interval(&self) -> Duration {
        INTERVAL
    }

    fn promise(&mut self, _now: Instant) -> Option<Duration> {
        None
    }
}
