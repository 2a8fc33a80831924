//! The interface to the cores for `benches/discovery`, which simulates networks of them in virtual time.
//!
//! All options have their defaults.

#![allow(
    missing_docs,
    missing_debug_implementations,
    reason = "for one bench alone"
)]

use std::{sync::LazyLock, time::Duration};

use libp2p_identity::{PeerId, PublicKey};
use multiaddr::Multiaddr;

use super::{
    Config, SkipReason,
    inbox::{self, Incoming},
    message::{self, Stamp},
    peers::Pace,
    rate::Bucket,
    schedule::{self, Listening, Outcome},
};
use crate::deadline::Instant;

/// Created once, because each message needs it.
static SETTINGS: LazyLock<inbox::Settings> = LazyLock::new(|| Config::default().inbox());

/// The schedule of a node with an address.
#[derive(Debug)]
pub struct Schedule(schedule::Schedule);

impl Schedule {
    pub fn new(seed: u64, now: Instant) -> Self {
        let mut schedule = schedule::Schedule::new(Config::default().timing(), false, seed, now);
        schedule.on_listening(now, Listening::Ready);
        schedule.on_addresses_changed(now);
        Self(schedule)
    }

    pub fn on_subscriber(&mut self, now: Instant) {
        self.0.on_subscriber(now);
    }

    /// Sets the number of known peers.
    pub fn on_known_peers(&mut self, now: Instant, others: usize) {
        self.0.on_known_peers(now, others);
    }

    pub fn on_announcement(&mut self, now: Instant, is_newcomer: bool) {
        self.0.on_announcement(now, is_newcomer);
    }

    pub fn is_due(&mut self, now: Instant) -> bool {
        self.0.is_due(now)
    }

    /// Carries out a due round. Nothing is published without a subscriber.
    pub fn on_round(&mut self, now: Instant, is_published: bool) {
        let outcome = match is_published {
            true => Outcome::Published,
            false => Outcome::Skipped(SkipReason::NoSubscribers),
        };
        self.0.on_outcome(now, outcome);
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.0.next_timeout()
    }

    pub fn interval(&self) -> Duration {
        self.0.interval()
    }

    pub fn promise(&mut self, now: Instant) -> Duration {
        self.0.promise(now)
    }
}

/// The inbox and the table of a node.
#[derive(Debug)]
pub struct Inbox(inbox::Inbox);

impl Inbox {
    pub fn new(local: PeerId) -> Self {
        Self(inbox::Inbox::new(local, SETTINGS.clone()))
    }

    /// A message has come from a neighbour. Whether the author is new to it; `None` if the message is refused or tells
    /// nothing new.
    pub fn on_message(
        &mut self,
        now: Instant,
        neighbour: PeerId,
        author: PeerId,
        payload: &[u8],
    ) -> Option<bool> {
        let incoming = Incoming {
            neighbour,
            author: Some(author),
            payload,
        };
        self.0.on_neighbour(neighbour);
        let outcome = self.0.on_message(now, incoming);
        outcome.news.map(|news| news.is_newcomer)
    }

    pub fn on_neighbour_gone(&mut self, neighbour: &PeerId) {
        self.0.on_neighbour_gone(neighbour);
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.0.next_timeout()
    }

    pub fn pop_expired(&mut self, now: Instant) -> Option<PeerId> {
        // There is no pubsub to mute a neighbour.
        while self.0.pop_muting(now).is_some() {}
        self.0.pop_expired(now)
    }

    pub fn knows(&self, peer: &PeerId) -> bool {
        self.0.peers().get(peer).is_some()
    }

    pub fn known(&self) -> usize {
        self.0.peers().iter().len()
    }

    /// The input of the schedule.
    pub fn count(&self) -> usize {
        self.0.peers().count()
    }

    /// Maximum number of known peers.
    pub fn capacity() -> usize {
        SETTINGS.capacity.get()
    }
}

/// The allowance of a neighbour for newcomers.
#[derive(Debug, Clone, Default)]
pub struct Newcomers(Bucket);

impl Newcomers {
    pub fn try_take(&mut self, now: Instant) -> bool {
        self.0.try_take(now, SETTINGS.newcomer_rate)
    }
}

/// The bytes of an announcement.
pub fn encode(
    key: &PublicKey,
    addresses: impl IntoIterator<Item = Multiaddr>,
    sequence: u64,
    promise: Duration,
) -> Vec<u8> {
    let stamp = Stamp {
        sequence: Some(sequence),
        promise: Some(promise),
    };
    message::encode(key, addresses, stamp)
}

/// The addresses in an announcement.
pub fn decode(payload: &[u8]) -> Option<Vec<Multiaddr>> {
    let announcement = message::decode(payload, SETTINGS.max_message_size, |all| all.collect());
    announcement.ok().map(|announcement| announcement.addresses)
}

/// The time to live of a peer after an announcement with this promise.
pub fn time_to_live(now: Instant, promise: Option<Duration>) -> Duration {
    let stamp = Stamp {
        promise,
        ..Stamp::default()
    };
    let lifetimes = &SETTINGS.lifetimes;
    Pace::new(stamp, None, None, lifetimes).time_to_live(now, lifetimes)
}

/// The longest time from one announcement to the next at this interval.
pub fn longest(interval: Duration) -> Duration {
    schedule::longest(interval)
}
