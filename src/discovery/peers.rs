//! The table of known peers: who has announced itself lately, and where it listens.

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

/// Which part of the capacity is kept for peers that are connected, beyond it.
const CONNECTED: usize = 8;

/// Which part of the capacity a single neighbour may fill while there are others.
const SHARE: usize = 4;

/// Known peers, at most `capacity` of them, each until it has been silent for its time to live: three of its own intervals.
/// One whose interval is learnt, and longer than was believed, expires once before it is: what has passed between its last
/// announcement and the one with which it comes back counts as its interval. Whatever is lost, it does not expire again within
/// an hour unless it has been silent for the longest interval: such a peer may have gone for good, and is known for so long.
///
/// The methods are of three kinds:
/// - getters, and [`Peers::next_timeout`], which says when a peer will next fall silent;
/// - the inputs: [`Peers::on_announcement`], [`Peers::on_unreadable`], [`Peers::try_take`], which a message has to pass
///   before it is worth reading, and what dials find out, [`Peers::on_failed`], [`Peers::on_unreachable`] and
///   [`Peers::on_wrong_peer`];
/// - [`Peers::pop_expired`], the one output. It is to be called until it returns `None` whenever the time of
///   [`Peers::next_timeout`] has come; calling it without need does nothing. A peer is known until it is popped,
///   however late that may be.
#[derive(Debug)]
pub(crate) struct Peers {
    capacity: NonZeroUsize,
    lifetimes: Lifetimes,
    rows: HashMap<PeerId, Row>,
    /// `expires_at` of every row, and nothing else.
    expiry: BTreeSet<(Instant, PeerId)>,
    /// Of those whose interval is learnt.
    expired: ExpiredAuthors,
    shares: Shares,
    /// Those that have had to make room, and when. At most one for each announcement since the last [`Peers::pop_expired`].
    replaced: VecDeque<(Instant, PeerId)>,
}

#[derive(Debug)]
struct Row {
    /// As many as decoding lets through.
    addresses: Vec<Multiaddr>,
    last_heard: Instant,
    /// For how long it is known from then on.
    ttl: Duration,
    /// The end of that, or of half of it once the peer has turned out to be unreachable.
    expires_at: Instant,
    pace: Pace,
    sequence: Option<u64>,
    /// The neighbour that has delivered all its announcements, if that is not the peer itself.
    sole_forwarder: Option<PeerId>,
    /// Whether its author has sent something unreadable since its last announcement that counts.
    is_suspect: bool,
    /// What its author may still send. It starts full, since what comes before the row is not charged to it.
    messages: Bucket,
}

/// Who has delivered an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Its author, which therefore is connected, and has not been invented.
    Author,
    /// A neighbour.
    Forwarder {
        neighbour: PeerId,
        /// Whether it may fill no more than its share of the table, since there are others.
        is_limited: bool,
    },
}

/// What an announcement has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The peer was not known before.
    Discovered,
    /// The peer was known with other addresses.
    Updated,
    /// The peer was known with these very addresses; it is now known for longer.
    Refreshed,
    /// The peer is known by this very announcement, which came on another topic or once more.
    Repeated,
    /// The peer is known by a later announcement.
    Outdated,
    /// There is no room for another peer.
    Full,
}

impl Peers {
    /// An empty table for at most `capacity` peers, and an eighth more of those that are connected.
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

    /// Notes what a peer says about itself.
    ///
    /// A forwarder with others beside it that has brought a quarter of the table alone brings another peer in place of
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
                if is_limited && !self.rows.contains_key(&peer) {
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
                // Also when only their order has changed: it is the peer's preference.
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
            // Whoever is in the table keeps announcing itself, or will soon make room. To evict any of them for a
            // newcomer would let anybody who invents identities empty the table.
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

    /// Whether an announcement of a known peer is due, about: half the interval that is believed of it has passed since the
    /// last one, or half the shortest one if none is known. Nothing is due after [`Peers::on_unreadable`] until the next
    /// announcement that counts. `None` if the peer is not known.
    pub(crate) fn is_due(&self, now: Instant, peer: &PeerId) -> Option<bool> {
        let row = self.rows.get(peer)?;
        let interval = row.pace.interval(&self.lifetimes);
        let interval = interval.unwrap_or(self.lifetimes.shortest);
        let elapsed = now.saturating_duration_since(row.last_heard);
        Some(elapsed >= interval / 2 && !row.is_suspect)
    }

    /// The author has sent what is no announcement of its own, or is too large.
    pub(crate) fn on_unreadable(&mut self, author: &PeerId) {
        if let Some(row) = self.rows.get_mut(author) {
            row.is_suspect = true;
        }
    }

    /// These addresses of a peer have failed; they go behind the others until it announces itself again. Returns
    /// whether it has some, and none that are not among them.
    pub(crate) fn on_failed(&mut self, peer: &PeerId, failed: &[Multiaddr]) -> bool {
        let Some(row) = self.rows.get_mut(peer) else {
            return false;
        };
        row.addresses
            .sort_by_key(|address| failed.contains(address));
        let first = row.addresses.first();
        first.is_some_and(|address| failed.contains(address))
    }

    /// A peer cannot be reached. It is forgotten sooner: when half of its time to live has passed, which may be now.
    /// That is long enough for the next announcement of one that is there all the same, and what it says counts again
    /// as if nothing had failed.
    pub(crate) fn on_unreachable(&mut self, peer: &PeerId) {
        let Some(row) = self.rows.get_mut(peer) else {
            return;
        };
        let expires_at = row.expires_at.min(after(row.last_heard, row.ttl / 2));
        self.expiry.remove(&(row.expires_at, *peer));
        self.expiry.insert((expires_at, *peer));
        row.expires_at = expires_at;
    }

    /// At this address of a peer there is somebody else. Known again if the peer announces it again.
    pub(crate) fn on_wrong_peer(&mut self, peer: &PeerId, address: &Multiaddr) {
        if let Some(row) = self.rows.get_mut(peer) {
            row.addresses.retain(|known| known != address);
        }
    }

    /// Whether a known peer keeps within `rate` with one more message; `None` if it is not known.
    pub(crate) fn try_take(&mut self, now: Instant, peer: &PeerId, rate: Rate) -> Option<bool> {
        let row = self.rows.get_mut(peer)?;
        Some(row.messages.try_take(now, rate))
    }

    /// When the next peer will have been silent for too long, or had to make room.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match self.replaced.front() {
            Some(&(at, _)) => Some(at),
            None => self.expiry.first().map(|&(expires_at, _)| expires_at),
        }
    }

    /// Forgets one peer that has had to make room or been silent for too long, the longest one first.
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

    /// Lets the oldest peer that the neighbour alone has brought make room for another, if those are as many as may be.
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

    /// What is known of a peer.
    pub(crate) fn get(&self, peer: &PeerId) -> Option<KnownPeer<'_>> {
        let (&peer_id, row) = self.rows.get_key_value(peer)?;
        Some(KnownPeer { peer_id, row })
    }

    /// How many peers are known, as far as they can be counted: the largest number if there is no room for more.
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

/// Of two lists without duplicates.
fn is_same_set(a: &[Multiaddr], b: &[Multiaddr]) -> bool {
    a == b || (a.len() == b.len() && a.iter().all(|address| b.contains(address)))
}

#[cfg(test)]
mod tests;
