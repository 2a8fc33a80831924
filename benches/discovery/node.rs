//! A node of this crate: what the network tells it and asks of it.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use libp2p_identity::PeerId;

use crate::{
    identity::Identity,
    simulation::{self, Inbox, Schedule},
};

/// When a node announces itself.
pub(crate) trait Rule {
    /// Whether a peer that falls silent is forgotten.
    const FORGETS: bool;

    /// A node that starts now, and has an address.
    fn new(seed: u64, now: Instant) -> Self;
    fn on_subscriber(&mut self, now: Instant);
    /// So many peers are known.
    fn on_known_peers(&mut self, now: Instant, others: usize);
    fn on_announcement(&mut self, now: Instant, is_newcomer: bool);
    fn is_due(&mut self, now: Instant) -> bool;
    /// It was due. Nothing is published while nobody is subscribed.
    fn on_round(&mut self, now: Instant, is_published: bool);
    fn next_timeout(&self) -> Option<Instant>;
    /// The time between two announcements that is in force.
    fn interval(&self) -> Duration;
    /// What an announcement promises as the longest time until the next.
    fn promise(&mut self, now: Instant) -> Option<Duration>;
}

/// By the schedule of this crate.
#[derive(Debug)]
pub(crate) struct Ours(Schedule);

impl Rule for Ours {
    const FORGETS: bool = true;

    fn new(seed: u64, now: Instant) -> Self {
        Self(Schedule::new(seed, now))
    }

    fn on_subscriber(&mut self, now: Instant) {
        self.0.on_subscriber(now);
    }

    fn on_known_peers(&mut self, now: Instant, others: usize) {
        self.0.on_known_peers(now, others);
    }

    fn on_announcement(&mut self, now: Instant, is_newcomer: bool) {
        self.0.on_announcement(now, is_newcomer);
    }

    fn is_due(&mut self, now: Instant) -> bool {
        self.0.is_due(now)
    }

    fn on_round(&mut self, now: Instant, is_published: bool) {
        self.0.on_round(now, is_published);
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.0.next_timeout()
    }

    fn interval(&self) -> Duration {
        self.0.interval()
    }

    fn promise(&mut self, now: Instant) -> Option<Duration> {
        Some(self.0.promise(now))
    }
}

/// The bytes of an announcement. `sequence` is the time since the network started.
pub(crate) fn encode(identity: &Identity, sequence: Duration, promise: Duration) -> Vec<u8> {
    let sequence = u64::try_from(sequence.as_millis()).expect("a network lasts for hours");
    simulation::encode(&identity.key, identity.addresses(), sequence, promise)
}

/// The table of this crate.
#[derive(Debug)]
pub(crate) struct Table {
    inbox: Inbox,
    expired: HashSet<PeerId>,
}

impl Table {
    pub(crate) fn new(local: PeerId) -> Self {
        Self {
            inbox: Inbox::new(local),
            expired: HashSet::new(),
        }
    }

    /// Whether the author is new to it; `None` if the message is refused or tells nothing new.
    pub(crate) fn on_message(
        &mut self,
        now: Instant,
        neighbour: PeerId,
        author: PeerId,
        payload: &[u8],
    ) -> Option<bool> {
        self.inbox.on_message(now, neighbour, author, payload)
    }

    pub(crate) fn on_neighbour_gone(&mut self, neighbour: &PeerId) {
        self.inbox.on_neighbour_gone(neighbour);
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.inbox.next_timeout()
    }

    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<PeerId> {
        let expired = self.inbox.pop_expired(now)?;
        self.expired.insert(expired);
        Some(expired)
    }

    /// Whether it has ever forgotten the peer because that was silent.
    pub(crate) fn has_expired(&self, peer: &PeerId) -> bool {
        self.expired.contains(peer)
    }

    pub(crate) fn knows(&self, peer: &PeerId) -> bool {
        self.inbox.knows(peer)
    }

    pub(crate) fn len(&self) -> usize {
        self.inbox.known()
    }

    /// What the schedule is to be told.
    pub(crate) fn count(&self) -> usize {
        self.inbox.count()
    }
}
