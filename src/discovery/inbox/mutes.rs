//! CORE: the allowance of each neighbour, and which neighbours are muted.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    ops::{AddAssign, SubAssign},
    time::Duration,
};

use libp2p_identity::PeerId;

use crate::{
    deadline::{Instant, after},
    discovery::rate::Bucket,
};

/// The time for which a neighbour is muted and counts as greedy.
pub(super) const MUTE: Duration = Duration::from_secs(10);

/// The minimum time between two updates of a neighbour that stays greedy.
const RENEWAL: Duration = Duration::from_secs(1);

/// Minimum number of other neighbours within their allowances.
const OTHERS: usize = 2;

/// A change of the muted neighbours, for the pubsub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Muting {
    Mute(PeerId),
    Unmute(PeerId),
}

/// Decides which neighbours are muted: those that exceed their allowance for newcomers, or send malformed announcements
/// of their own, while there are enough others.
///
/// Messages beyond the allowance of a neighbour are ignored, and gossipsub drops the copies from other neighbours. A fast
/// neighbour that has used up its allowance could therefore hide newcomers. Messages of a muted neighbour are not delivered,
/// so the copies count.
///
/// There are enough others while two subscribed neighbours, and more than half of all, have not exceeded their allowances
/// lately. The only hub of a node is therefore never muted, and no neighbour is if all forward the same flood.
///
/// The inputs are the `on_*` methods. The output is [`Mutes::pop`], which is called until it returns `None`, after each
/// input and whenever the time of [`Mutes::next_timeout`] has come.
#[derive(Debug, Default)]
pub(super) struct Mutes {
    /// The connected peers, bounded by the application's limit on connections.
    neighbours: HashMap<PeerId, Neighbour>,
    /// The shared allowance of peers that are not connected.
    others: Allowance,
    counts: Counts,
    /// `greedy_until` of every neighbour that has one.
    timeouts: BTreeSet<(Instant, PeerId)>,
    muted: HashSet<PeerId>,
    /// At most two entries for each call of an input and neighbour.
    decided: VecDeque<Muting>,
}

/// The number of messages of unknown peers that a neighbour may still deliver.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    /// Its own announcements.
    pub(super) own: Bucket,
    /// Those of others.
    pub(super) newcomers: Bucket,
}

#[derive(Debug, Default)]
struct Neighbour {
    allowance: Allowance,
    /// The topics of discovery that it is subscribed to.
    topics: BTreeSet<String>,
    greedy_until: Option<Instant>,
}

/// The number of subscribed neighbours, and of those within their allowances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counts {
    subscribed: usize,
    within: usize,
}

impl Neighbour {
    fn counts(&self) -> Counts {
        let is_subscribed = !self.topics.is_empty();
        Counts {
            subscribed: usize::from(is_subscribed),
            within: usize::from(is_subscribed && self.greedy_until.is_none()),
        }
    }
}

impl Counts {
    /// Whether there are enough of them to mute the others.
    fn is_enough(self) -> bool {
        self.within >= OTHERS && 2 * self.within > self.subscribed
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.subscribed += other.subscribed;
        self.within += other.within;
    }
}

impl SubAssign for Counts {
    fn sub_assign(&mut self, other: Self) {
        self.subscribed -= other.subscribed;
        self.within -= other.within;
    }
}

impl Mutes {
    /// A peer has connected. It is not muted while disconnected or when a connection is lost, because the pubsub does not greet
    /// a muted peer.
    pub(super) fn on_connected(&mut self, peer: PeerId) {
        self.neighbours.entry(peer).or_default();
    }

    /// The last connection to a peer has ended.
    pub(super) fn on_disconnected(&mut self, peer: &PeerId) {
        let Some(neighbour) = self.neighbours.remove(peer) else {
            return;
        };
        self.counts -= neighbour.counts();
        if let Some(until) = neighbour.greedy_until {
            self.timeouts.remove(&(until, *peer));
        }
        self.unmute(peer);
        self.unmute_if_too_few();
    }

    /// One of several connections to a peer has ended, for which the pubsub may have to greet the peer again.
    pub(super) fn on_connection_lost(&mut self, peer: &PeerId) {
        self.unmute(peer);
    }

    /// Whether a peer is connected.
    pub(super) fn is_connected(&self, peer: &PeerId) -> bool {
        self.neighbours.contains_key(peer)
    }

    /// The allowance of a peer. Peers that are not connected share one, because events of the pubsub may arrive after the
    /// end of the connection.
    pub(super) fn allowance(&mut self, peer: &PeerId) -> &mut Allowance {
        match self.neighbours.get_mut(peer) {
            Some(neighbour) => &mut neighbour.allowance,
            None => &mut self.others,
        }
    }

    /// Whether another neighbour is subscribed.
    pub(super) fn has_others(&self, peer: &PeerId) -> bool {
        let own = self.neighbours.get(peer).map(Neighbour::counts);
        self.counts.subscribed > own.unwrap_or_default().subscribed
    }

    /// A connected peer has subscribed to a topic of discovery.
    pub(super) fn on_subscribed(&mut self, peer: &PeerId, topic: &str) {
        self.change(peer, |neighbour| {
            neighbour.topics.insert(topic.to_owned());
        });
    }

    /// A connected peer has unsubscribed from a topic of discovery.
    pub(super) fn on_unsubscribed(&mut self, peer: &PeerId, topic: &str) {
        self.change(peer, |neighbour| {
            neighbour.topics.remove(topic);
        });
    }

    /// A topic of discovery was removed.
    pub(super) fn on_topic_removed(&mut self, topic: &str) {
        self.counts = Counts::default();
        for neighbour in self.neighbours.values_mut() {
            neighbour.topics.remove(topic);
            self.counts += neighbour.counts();
        }
        self.unmute_if_too_few();
    }

    /// A neighbour has exceeded its allowance for newcomers, or sent a malformed announcement of its own.
    pub(super) fn on_greedy(&mut self, now: Instant, peer: &PeerId) {
        let Some(neighbour) = self.neighbours.get(peer) else {
            return;
        };
        // Messages that the pubsub took from it before it was muted change nothing.
        if self.muted.contains(peer) {
            return;
        }
        let (before, until) = (neighbour.greedy_until, after(now, MUTE));
        let is_noted = before.is_some_and(|before| after(before, RENEWAL) > until);
        if is_noted && !self.counts.is_enough() {
            return;
        }
        if let Some(before) = before {
            self.timeouts.remove(&(before, *peer));
        }
        self.timeouts.insert((until, *peer));
        self.change(peer, |neighbour| neighbour.greedy_until = Some(until));
        if self.counts.is_enough() {
            self.muted.insert(*peer);
            self.decided.push_back(Muting::Mute(*peer));
        }
    }

    /// The time at which the next neighbour ceases to count as greedy.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.timeouts.first().map(|&(until, _)| until)
    }

    /// The next change for the pubsub.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Muting> {
        while let Some(&(until, peer)) = self.timeouts.first()
            && until <= now
        {
            self.timeouts.pop_first();
            self.unmute(&peer);
            self.change(&peer, |neighbour| neighbour.greedy_until = None);
        }
        self.decided.pop_front()
    }

    fn change(&mut self, peer: &PeerId, change: impl FnOnce(&mut Neighbour)) {
        let Some(neighbour) = self.neighbours.get_mut(peer) else {
            return;
        };
        self.counts -= neighbour.counts();
        change(neighbour);
        self.counts += neighbour.counts();
        self.unmute_if_too_few();
    }

    /// Unmutes all once too few of the others are left.
    fn unmute_if_too_few(&mut self) {
        if !self.counts.is_enough() {
            self.decided.extend(self.muted.drain().map(Muting::Unmute));
        }
    }

    fn unmute(&mut self, peer: &PeerId) {
        if self.muted.remove(peer) {
            self.decided.push_back(Muting::Unmute(*peer));
        }
    }
}

#[cfg(test)]
mod tests;
