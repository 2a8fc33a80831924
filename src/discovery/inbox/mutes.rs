//! CORE: what each neighbour may deliver, and which are not listened to for a while.

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

/// For how long a neighbour is muted, and counts as greedy.
pub(super) const MUTE: Duration = Duration::from_secs(10);

/// How often a neighbour that goes on being greedy is noted again.
const RENEWAL: Duration = Duration::from_secs(1);

/// How many other neighbours have to be within their allowances.
const OTHERS: usize = 2;

/// A change of what the pubsub is to listen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Muting {
    Mute(PeerId),
    Unmute(PeerId),
}

/// Decides which neighbours are muted: those that exceed their allowance for newcomers, or send malformed announcements
/// of their own, while there are enough others.
///
/// What a neighbour delivers beyond its allowance is ignored, and gossipsub drops the copies of it that come from others. So
/// a neighbour that is fast and has used up its allowance could hide newcomers. Of a muted one nothing is delivered, and the
/// copies count.
///
/// Others are enough while two subscribed neighbours, and more than half of all, have not exceeded their allowances lately.
/// So the only hub of a node is never muted, nor is anybody where all neighbours forward the same flood.
///
/// The inputs are the `on_*` methods, each of which may lead to what [`Mutes::pop`] returns. It is to be called until it
/// returns `None` after each of them and whenever the time of [`Mutes::next_timeout`] has come.
#[derive(Debug, Default)]
pub(super) struct Mutes {
    /// The connected peers: as many as the application's limit on connections lets in.
    neighbours: HashMap<PeerId, Neighbour>,
    /// Of those that are not connected.
    others: Allowance,
    counts: Counts,
    /// `greedy_until` of every neighbour that has it, and nothing else.
    timeouts: BTreeSet<(Instant, PeerId)>,
    muted: HashSet<PeerId>,
    /// At most two for each call of an input and neighbour.
    decided: VecDeque<Muting>,
}

/// What a neighbour may still deliver of peers that are not known.
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
    /// Those of discovery that it is subscribed to.
    topics: BTreeSet<String>,
    greedy_until: Option<Instant>,
}

/// How many neighbours are subscribed, and how many of those are within their allowances.
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
    /// Whether there are enough for the others to be muted.
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
    /// A peer has connected. Nobody else is muted, since the pubsub would not greet it when it connects.
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

    /// Whether a peer is connected.
    pub(super) fn is_connected(&self, peer: &PeerId) -> bool {
        self.neighbours.contains_key(peer)
    }

    /// What a peer may still deliver. All that are not connected share one allowance: what the pubsub tells may come after a
    /// connection has ended.
    pub(super) fn allowance(&mut self, peer: &PeerId) -> &mut Allowance {
        match self.neighbours.get_mut(peer) {
            Some(neighbour) => &mut neighbour.allowance,
            None => &mut self.others,
        }
    }

    /// Whether anybody but this neighbour is subscribed.
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

    /// There is a topic of discovery less.
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
        // What the pubsub has taken from it before it was muted changes nothing.
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

    /// When the next neighbour will have been greedy long enough ago.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.timeouts.first().map(|&(until, _)| until)
    }

    /// The next thing to tell the pubsub.
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

    /// Listens to everybody again once too few of the others are left.
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
