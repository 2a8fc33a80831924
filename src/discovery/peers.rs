//! CORE: the table of known peers and their addresses.

use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashMap, VecDeque, hash_map::Entry},
    fmt,
    num::NonZeroUsize,
    time::Duration,
};

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use super::{
    message::Announcement,
    rate::{Bucket, Rate},
};
use crate::deadline::{Instant, after};

mod expired;
mod pace;
mod shares;

use expired::ExpiredAuthors;
pub(crate) use pace::{Lifetimes, Pace};
use shares::Shares;

/// The part of the capacity that is added for connected peers.
const CONNECTED: usize = 8;

/// The part of the capacity that a single neighbour may fill while there are others.
const SHARE: usize = 4;

/// Holds at most `capacity` peers, each until it has been silent for its time to live: three of its own intervals. A peer
/// with a longer interval than the learnt one expires once: the time between its last announcement and the one with which it
/// returns then counts as its interval. For an hour after that, it expires only if it has been silent for the longest
/// interval, even if announcements are lost.
///
/// The methods are of three kinds:
/// - getters, and [`Peers::next_timeout`], the time at which the next peer expires;
/// - the inputs: [`Peers::on_announcement`], [`Peers::on_unreadable`], [`Peers::try_take`], which a message has to pass
///   before it is decoded, and the results of dials, [`Peers::on_failed`], [`Peers::on_unreachable`] and
///   [`Peers::on_wrong_peer`];
/// - [`Peers::pop_expired`], the only output. It is called until it returns `None`, whenever the time of
///   [`Peers::next_timeout`] has come; a spurious call does nothing. A peer is known until it is popped, however late.
#[derive(Debug)]
pub(crate) struct Peers {
    capacity: NonZeroUsize,
    lifetimes: Lifetimes,
    rows: HashMap<PeerId, Row>,
    /// `expires_at` of every row.
    expiry: BTreeSet<(Instant, PeerId)>,
    /// The expired peers whose interval is learnt.
    expired: ExpiredAuthors,
    shares: Shares,
    /// The evicted peers, and the time. At most one for each announcement since the last [`Peers::pop_expired`].
    replaced: VecDeque<(Instant, PeerId)>,
}

#[derive(Debug)]
struct Row {
    /// Bounded by decoding.
    addresses: Vec<Multiaddr>,
    last_heard: Instant,
    /// Its time to live from then on.
    ttl: Duration,
    /// The end of its time to live, or of half of it once the peer has turned out to be unreachable.
    expires_at: Instant,
    pace: Pace,
    sequence: Option<u64>,
    /// The neighbour that has delivered all its announcements, unless that is the peer itself.
    sole_forwarder: Option<PeerId>,
    /// Whether its author has sent something unreadable since its last announcement that counts.
    is_suspect: bool,
    /// The allowance of its author. It starts full, because messages before the row are not charged to it.
    messages: Bucket,
}

/// The neighbour that has delivered an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Its author, which is therefore connected and not invented.
    Author,
    /// A neighbour.
    Forwarder {
        neighbour: PeerId,
        /// Whether it is limited to its share of the table, because there are others.
        is_limited: bool,
    },
}

/// The effect of an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The peer was not known before.
    Discovered,
    /// The peer was known with other addresses.
    Updated,
    /// The peer was known with the same addresses. It expires later now.
    Refreshed,
    /// A duplicate of the last announcement, on another topic or repeated.
    Repeated,
    /// A later announcement of the peer is known.
    Outdated,
    /// The table is full.
    Full,
}

impl Peers {
    /// An empty table for at most `capacity` peers, and an eighth more if they are connected.
    pub(crate) fn new(capacity: NonZeroUsize, lifetimes: Lifetimes) -> Self {
        Self {
            capacity,
            lifetimes,
            rows: HashMap::new(),
            expiry: BTreeSet::new(),
            expired: ExpiredAuthors::default(),
            shares: Shares::default(),
            replaced: VecDeque::new(),
        }
    }

    /// Takes up an announcement.
    ///
    /// If there are other neighbours, and the forwarder alone has delivered a quarter of the table, the new peer replaces
    /// the one of them that has been silent for longest, which [`Peers::pop_expired`] returns next.
    pub(crate) fn on_announcement(
        &mut self,
        now: Instant,
        announcement: Announcement,
        source: Source,
    ) -> Heard {
        let Announcement {
            peer,
            addresses,
            stamp,
            ..
        } = announcement;
        let capacity = self.capacity.get();
        let (room, forwarder) = match source {
            Source::Author => (capacity.saturating_add(capacity / CONNECTED), None),
            Source::Forwarder {
                neighbour,
                is_limited,
            } => {
                // With the rows of authors above the capacity one less is still too many for a newcomer.
                let fits = self.rows.len() <= capacity;
                if is_limited && fits && !self.rows.contains_key(&peer) {
                    self.make_room_in_share(now, &neighbour);
                }
                (capacity, Some(neighbour))
            }
        };
        let is_full = self.rows.len() >= room;
        match self.rows.entry(peer) {
            Entry::Occupied(entry) => {
                let row = entry.into_mut();
                match row.sequence.cmp(&stamp.sequence) {
                    Ordering::Equal if stamp.sequence.is_some() => return Heard::Repeated,
                    Ordering::Greater => return Heard::Outdated,
                    Ordering::Equal | Ordering::Less => {}
                }
                if let Some(sole) = row.sole_forwarder {
                    self.shares.remove(&sole, row.last_heard, peer);
                    row.sole_forwarder = forwarder.filter(|forwarder| *forwarder == sole);
                }
                if let Some(sole) = row.sole_forwarder {
                    self.shares.insert(sole, now, peer);
                }
                let gap = now.checked_duration_since(row.last_heard);
                row.pace = Pace::new(stamp, gap, Some(row.pace), &self.lifetimes);
                row.sequence = stamp.sequence;
                row.is_suspect = false;
                let ttl = row.pace.time_to_live(now, &self.lifetimes);
                let expires_at = after(now, ttl);
                let is_same = is_same_set(&row.addresses, &addresses);
                // Also when only the order has changed: it is the preference of the peer.
                row.addresses = addresses;
                row.last_heard = now;
                row.ttl = ttl;
                self.expiry.remove(&(row.expires_at, peer));
                self.expiry.insert((expires_at, peer));
                row.expires_at = expires_at;
                if is_same {
                    Heard::Refreshed
                } else {
                    Heard::Updated
                }
            }
            // A known peer keeps announcing itself, or expires soon. Evicting one for a newcomer would let an attacker
            // empty the table with invented identities.
            Entry::Vacant(_) if is_full => Heard::Full,
            Entry::Vacant(entry) => {
                let pace = match self.expired.remove(now, &peer) {
                    Some(past) => Pace::returned(stamp, past, &self.lifetimes),
                    None => Pace::new(stamp, None, None, &self.lifetimes),
                };
                let ttl = pace.time_to_live(now, &self.lifetimes);
                let expires_at = after(now, ttl);
                entry.insert(Row {
                    addresses,
                    last_heard: now,
                    ttl,
                    expires_at,
                    pace,
                    sequence: stamp.sequence,
                    sole_forwarder: forwarder,
                    is_suspect: false,
                    messages: Bucket::default(),
                });
                self.expiry.insert((expires_at, peer));
                if let Some(forwarder) = forwarder {
                    self.shares.insert(forwarder, now, peer);
                }
                Heard::Discovered
            }
        }
    }

    /// Whether an announcement of a known peer is roughly due: half its accepted interval has passed since the last one, or
    /// half the shortest one if none is known. Nothing is due after [`Peers::on_unreadable`] until the next announcement
    /// that counts. `None` if the peer is not known.
    pub(crate) fn is_due(&self, now: Instant, peer: &PeerId) -> Option<bool> {
        let row = self.rows.get(peer)?;
        let interval = row.pace.interval(&self.lifetimes);
        let interval = interval.unwrap_or(self.lifetimes.shortest);
        let elapsed = now.saturating_duration_since(row.last_heard);
        Some(elapsed >= interval / 2 && !row.is_suspect)
    }

    /// The author has sent something that is not an announcement of its own, or is too large.
    pub(crate) fn on_unreadable(&mut self, author: &PeerId) {
        if let Some(row) = self.rows.get_mut(author) {
            row.is_suspect = true;
        }
    }

    /// These addresses of a peer have failed. They move behind the others until it announces itself again. Returns whether
    /// it has addresses and all of them have failed.
    pub(crate) fn on_failed(&mut self, peer: &PeerId, failed: &[Multiaddr]) -> bool {
        let Some(row) = self.rows.get_mut(peer) else {
            return false;
        };
        row.addresses
            .sort_by_key(|address| failed.contains(address));
        let first = row.addresses.first();
        first.is_some_and(|address| failed.contains(address))
    }

    /// A peer cannot be reached. It expires when half of its time to live has passed, which may be now. That is long enough
    /// for the next announcement of a live peer, after which the failure no longer counts.
    pub(crate) fn on_unreachable(&mut self, peer: &PeerId) {
        let Some(row) = self.rows.get_mut(peer) else {
            return;
        };
        let expires_at = row.expires_at.min(after(row.last_heard, row.ttl / 2));
        self.expiry.remove(&(row.expires_at, *peer));
        self.expiry.insert((expires_at, *peer));
        row.expires_at = expires_at;
    }

    /// Another peer answered at this address. It is dropped until the peer announces it again.
    pub(crate) fn on_wrong_peer(&mut self, peer: &PeerId, address: &Multiaddr) {
        if let Some(row) = self.rows.get_mut(peer) {
            row.addresses.retain(|known| known != address);
        }
    }

    /// Charges a message to a known peer. Returns whether it is within `rate`; `None` if the peer is not known.
    pub(crate) fn try_take(&mut self, now: Instant, peer: &PeerId, rate: Rate) -> Option<bool> {
        let row = self.rows.get_mut(peer)?;
        Some(row.messages.try_take(now, rate))
    }

    /// The time at which the next peer expires, or was evicted.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match self.replaced.front() {
            Some(&(at, _)) => Some(at),
            None => self.expiry.first().map(|&(expires_at, _)| expires_at),
        }
    }

    /// Removes one evicted or expired peer, the longest expired first.
    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<PeerId> {
        if let Some((_, replaced)) = self.replaced.pop_front() {
            return Some(replaced);
        }
        let &(expires_at, peer) = self.expiry.first()?;
        if expires_at > now {
            return None;
        }
        self.expiry.pop_first();
        let row = self.rows.remove(&peer)?;
        if let Some(sole) = row.sole_forwarder {
            self.shares.remove(&sole, row.last_heard, peer);
        }
        if let Pace::Heard(_) = row.pace {
            self.expired.insert(now, peer, row.last_heard);
        }
        Some(peer)
    }

    /// Evicts the oldest peer that the neighbour alone has delivered, if its share is full.
    fn make_room_in_share(&mut self, now: Instant, neighbour: &PeerId) {
        let share = (self.capacity.get() / SHARE).max(1);
        if self.shares.len(neighbour) < share {
            return;
        }
        let Some(peer) = self.shares.oldest(neighbour) else {
            return;
        };
        let Some(row) = self.rows.remove(&peer) else {
            return;
        };
        self.expiry.remove(&(row.expires_at, peer));
        self.shares.remove(neighbour, row.last_heard, peer);
        self.replaced.push_back((now, peer));
    }

    /// The entry of a peer.
    pub(crate) fn get(&self, peer: &PeerId) -> Option<KnownPeer<'_>> {
        let (&peer_id, row) = self.rows.get_key_value(peer)?;
        Some(KnownPeer { peer_id, row })
    }

    /// The number of known peers; the largest number if the table is full, because more cannot be counted.
    pub(crate) fn count(&self) -> usize {
        match self.rows.len() {
            known if known < self.capacity.get() => known,
            _ => usize::MAX,
        }
    }

    /// All known peers, in no order.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = KnownPeer<'_>> {
        self.rows
            .iter()
            .map(|(&peer_id, row)| KnownPeer { peer_id, row })
    }
}

/// The entry of a known peer.
#[derive(Clone, Copy)]
pub struct KnownPeer<'a> {
    peer_id: PeerId,
    row: &'a Row,
}

impl<'a> KnownPeer<'a> {
    /// The peer.
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// The announced addresses, in the order of the announcement, each ending in `/p2p/<its id>`. Empty for a peer that
    /// only dials. With [`Config::with_connections`](super::Config::with_connections), addresses that have failed since
    /// come last, and an address where another peer answered is left out.
    pub fn addresses(&self) -> &'a [Multiaddr] {
        &self.row.addresses
    }

    /// The time of its last announcement.
    pub fn last_heard(&self) -> Instant {
        self.row.last_heard
    }

    /// The time at which the entry expires unless the peer announces itself again.
    pub fn expires_at(&self) -> Instant {
        self.row.expires_at
    }
}

impl fmt::Debug for KnownPeer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownPeer")
            .field("peer_id", &self.peer_id)
            .field("addresses", &self.row.addresses)
            .field("last_heard", &self.row.last_heard)
            .field("expires_at", &self.row.expires_at)
            .finish()
    }
}

/// For two lists without duplicates.
fn is_same_set(a: &[Multiaddr], b: &[Multiaddr]) -> bool {
    a == b || (a.len() == b.len() && a.iter().all(|address| b.contains(address)))
}

#[cfg(test)]
mod tests;
