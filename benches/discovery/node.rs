//! A node of this crate: what the network tells it and asks of it, in the words of the cores.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use libp2p_identity::PeerId;

use crate::{
    discovery::{
        Config, SkipReason,
        intake::{Incoming, Intake},
        message::{self, Stamp},
        peers::{Lifetimes, Pace},
        schedule::{self, Listening, Outcome, Schedule},
    },
    identity::Identity,
};

/// When a node announces itself.
pub(crate) trait Rule {
    /// Whether a peer that falls silent is forgotten.
    const FORGETS: bool;

    /// A node that starts now, and has an address.
    fn new(seed: u64, now: Instant) -> Self;
    fn on_subscriber(&mut self, now: Instant);
    fn on_announcement(&mut self, now: Instant, author: &PeerId, is_newcomer: bool);
    /// A neighbour has announced itself, before it is told as an announcement.
    fn on_neighbour(&mut self, now: Instant, peer: &PeerId, baseline: Option<Duration>);
    fn on_neighbour_gone(&mut self, peer: &PeerId);
    fn is_due(&mut self, now: Instant) -> bool;
    /// It was due. Nothing is published while nobody is subscribed.
    fn on_round(&mut self, now: Instant, is_published: bool);
    fn next_timeout(&self) -> Option<Instant>;
    /// The time between two announcements that is in force.
    fn interval(&self) -> Duration;
    /// The longest time that is expected between two announcements of others.
    fn longest_expected(&self) -> Duration;
    /// What an announcement promises as the longest time until the next.
    fn promise(&mut self, now: Instant) -> Option<Duration>;
    /// What it says of the last hour.
    fn baseline(&self, now: Instant) -> Option<Duration>;
}

/// The schedule of this crate, with the options it has by default.
#[derive(Debug)]
pub(crate) struct Ours(Schedule);

impl Rule for Ours {
    const FORGETS: bool = true;

    fn new(seed: u64, now: Instant) -> Self {
        let mut schedule = Schedule::new(Config::default().timing(), false, seed, now);
        schedule.on_listening(now, Listening::Ready);
        schedule.on_addresses_changed(now);
        Self(schedule)
    }

    fn on_subscriber(&mut self, now: Instant) {
        self.0.on_subscriber(now);
    }

    fn on_announcement(&mut self, now: Instant, author: &PeerId, is_newcomer: bool) {
        self.0.on_announcement(now, author, is_newcomer);
    }

    fn on_neighbour(&mut self, now: Instant, peer: &PeerId, baseline: Option<Duration>) {
        self.0.on_neighbour(now, peer, baseline);
    }

    fn on_neighbour_gone(&mut self, peer: &PeerId) {
        self.0.on_neighbour_gone(peer);
    }

    fn is_due(&mut self, now: Instant) -> bool {
        self.0.is_due(now)
    }

    fn on_round(&mut self, now: Instant, is_published: bool) {
        let outcome = match is_published {
            true => Outcome::Published,
            false => Outcome::Skipped(SkipReason::NoSubscribers),
        };
        self.0.on_outcome(now, outcome);
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.0.next_timeout()
    }

    fn interval(&self) -> Duration {
        self.0.interval()
    }

    fn longest_expected(&self) -> Duration {
        self.0.longest_expected()
    }

    fn promise(&mut self, now: Instant) -> Option<Duration> {
        self.0.promise(now)
    }

    fn baseline(&self, now: Instant) -> Option<Duration> {
        self.0.baseline(now)
    }
}

/// How long it takes at most from one announcement to the next at this interval, whichever rule it is.
pub(crate) fn longest(interval: Duration) -> Duration {
    schedule::longest(interval)
}

/// The bytes of an announcement. `sequence` is the time since the network started.
pub(crate) fn encode(
    identity: &Identity,
    sequence: Duration,
    promise: Option<Duration>,
    baseline: Option<Duration>,
) -> Vec<u8> {
    let stamp = Stamp {
        sequence: u64::try_from(sequence.as_millis()).ok(),
        promise,
        baseline,
    };
    message::encode(&identity.key, identity.addresses(), stamp)
}

/// For how long the table of a node that expects this interval of others knows a peer of this crate by an announcement
/// with this promise.
pub(crate) fn time_to_live(
    now: Instant,
    promise: Option<Duration>,
    expected: Duration,
    lifetimes: &Lifetimes,
) -> Duration {
    let stamp = Stamp {
        sequence: Some(0),
        promise,
        ..Stamp::default()
    };
    Pace::new(stamp, None, None, lifetimes).time_to_live(now, expected, lifetimes)
}

/// The table of this crate, with the options it has by default.
#[derive(Debug)]
pub(crate) struct Table {
    intake: Intake,
    expired: HashSet<PeerId>,
}

impl Table {
    pub(crate) fn new(local: PeerId) -> Self {
        Self {
            intake: Intake::new(local, Config::default().intake()),
            expired: HashSet::new(),
        }
    }

    /// Whether the author is new to it; `None` if the message is refused or tells nothing new.
    pub(crate) fn on_message(
        &mut self,
        now: Instant,
        expected: Duration,
        neighbour: PeerId,
        author: PeerId,
        payload: &[u8],
    ) -> Option<bool> {
        let incoming = Incoming {
            neighbour,
            author: Some(author),
            payload,
        };
        let outcome = self.intake.on_message(now, expected, incoming);
        outcome.news.map(|news| news.is_newcomer)
    }

    pub(crate) fn on_neighbour_gone(&mut self, neighbour: &PeerId) {
        self.intake.on_neighbour_gone(neighbour);
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.intake.next_timeout()
    }

    pub(crate) fn pop_expired(&mut self, now: Instant, expected: Duration) -> Option<PeerId> {
        let expired = self.intake.pop_expired(now, expected)?.peer;
        self.expired.insert(expired);
        Some(expired)
    }

    /// Whether it has ever forgotten the peer because that was silent.
    pub(crate) fn has_expired(&self, peer: &PeerId) -> bool {
        self.expired.contains(peer)
    }

    pub(crate) fn knows(&self, peer: &PeerId) -> bool {
        self.intake.peers().get(peer).is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.intake.peers().iter().len()
    }
}
