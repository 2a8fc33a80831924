//! The table of known peers: who has announced itself lately, and where it listens.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    fmt,
    num::NonZeroUsize,
    time::Duration,
};

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use super::{
    limits::{Bucket, Rate},
    message::Announcement,
};
use crate::deadline::{Instant, after};

/// Known peers, at most `capacity` of them, each until it has been silent for its time to live.
///
/// The methods are of three kinds:
/// - getters, and [`Peers::next_timeout`], which says when a peer will next fall silent;
/// - [`Peers::on_announcement`], the one input, and [`Peers::try_take`], which a message has to pass before it is worth
///   reading;
/// - [`Peers::pop_expired`], the one output. It is to be called until it returns `None` whenever the time of
///   [`Peers::next_timeout`] has come; calling it without need does nothing. A peer is known until it is popped,
///   however late that may be.
#[derive(Debug)]
pub(crate) struct Peers {
    capacity: NonZeroUsize,
    rows: HashMap<PeerId, Row>,
    /// `expires_at` of every row, and nothing else.
    expiry: BTreeSet<(Instant, PeerId)>,
}

#[derive(Debug)]
struct Row {
    /// As many as decoding lets through.
    addresses: Vec<Multiaddr>,
    last_heard: Instant,
    expires_at: Instant,
    /// What its author may still send. It starts full, since what comes before the row is not charged to it.
    messages: Bucket,
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
    /// There is no room for another peer.
    Full,
}

/// A peer that has fallen silent, and where it listened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expired {
    pub(crate) peer: PeerId,
    pub(crate) addresses: Vec<Multiaddr>,
}

impl Peers {
    /// An empty table for at most `capacity` peers.
    pub(crate) fn new(capacity: NonZeroUsize) -> Self {
        Self {
            capacity,
            rows: HashMap::new(),
            expiry: BTreeSet::new(),
        }
    }

    /// Notes what a peer says about itself, for `ttl` from now on.
    pub(crate) fn on_announcement(
        &mut self,
        now: Instant,
        announcement: Announcement,
        ttl: Duration,
    ) -> Heard {
        let Announcement {
            peer, addresses, ..
        } = announcement;
        let expires_at = after(now, ttl);
        let is_full = self.rows.len() >= self.capacity.get();
        match self.rows.entry(peer) {
            Entry::Occupied(entry) => {
                let row = entry.into_mut();
                let is_same = is_same_set(&row.addresses, &addresses);
                // Also when only their order has changed: it is the peer's preference.
                row.addresses = addresses;
                row.last_heard = now;
                self.expiry.remove(&(row.expires_at, peer));
                self.expiry.insert((expires_at, peer));
                row.expires_at = expires_at;
                if is_same {
                    Heard::Refreshed
                } else {
                    Heard::Updated
                }
            }
            // Whoever is in the table keeps announcing itself, or will soon make room. To evict one of them for a
            // newcomer would let anybody who invents identities empty the table.
            Entry::Vacant(_) if is_full => Heard::Full,
            Entry::Vacant(entry) => {
                entry.insert(Row {
                    addresses,
                    last_heard: now,
                    expires_at,
                    messages: Bucket::default(),
                });
                self.expiry.insert((expires_at, peer));
                Heard::Discovered
            }
        }
    }

    /// Whether a known peer keeps within `rate` with one more message; `None` if it is not known.
    pub(crate) fn try_take(&mut self, now: Instant, peer: &PeerId, rate: Rate) -> Option<bool> {
        let row = self.rows.get_mut(peer)?;
        Some(row.messages.try_take(now, rate))
    }

    /// When the next peer will have been silent for too long.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.expiry.first().map(|&(expires_at, _)| expires_at)
    }

    /// Forgets one peer that has been silent for too long, the longest one first.
    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<Expired> {
        let &(expires_at, peer) = self.expiry.first()?;
        if expires_at > now {
            return None;
        }
        self.expiry.pop_first();
        let row = self.rows.remove(&peer)?;
        Some(Expired {
            peer,
            addresses: row.addresses,
        })
    }

    /// What is known of a peer.
    pub(crate) fn get(&self, peer: &PeerId) -> Option<KnownPeer<'_>> {
        let (&peer_id, row) = self.rows.get_key_value(peer)?;
        Some(KnownPeer { peer_id, row })
    }

    /// All known peers, in no order.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = KnownPeer<'_>> {
        self.rows
            .iter()
            .map(|(&peer_id, row)| KnownPeer { peer_id, row })
    }
}

/// A peer that has announced itself, and what it said.
#[derive(Clone, Copy)]
pub struct KnownPeer<'a> {
    peer_id: PeerId,
    row: &'a Row,
}

impl<'a> KnownPeer<'a> {
    /// Who it is.
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// Where it says it listens, in the order it gave, each ending in `/p2p/<its id>`. Empty for a peer that only
    /// dials.
    pub fn addresses(&self) -> &'a [Multiaddr] {
        &self.row.addresses
    }

    /// When its last announcement came.
    pub fn last_heard(&self) -> Instant {
        self.row.last_heard
    }

    /// When it will be forgotten unless it announces itself again.
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
mod tests {
    use std::num::NonZeroU32;

    use multiaddr::multihash::Multihash;
    use proptest::prelude::*;

    use super::*;
    use crate::deadline;

    const TTL: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    fn peer(seed: u8) -> PeerId {
        PeerId::from_multihash(Multihash::wrap(0, &[seed; 32]).unwrap()).unwrap()
    }

    fn peers(capacity: usize) -> Peers {
        Peers::new(NonZeroUsize::new(capacity).unwrap())
    }

    fn announcement(seed: u8, ports: &[u16]) -> Announcement {
        Announcement {
            peer: peer(seed),
            addresses: addresses(ports),
            dropped: 0,
        }
    }

    fn addresses(ports: &[u16]) -> Vec<Multiaddr> {
        ports
            .iter()
            .map(|port| format!("/ip4/127.0.0.1/tcp/{port}/ws").parse().unwrap())
            .collect()
    }

    #[test]
    fn a_peer_is_discovered_once_until_it_expires() {
        let now = deadline::now();
        let mut peers = peers(2);
        assert_eq!(
            peers.on_announcement(now, announcement(1, &[1]), TTL),
            Heard::Discovered
        );
        assert_eq!(
            peers.on_announcement(now, announcement(1, &[1]), TTL),
            Heard::Refreshed
        );
        let expired = peers.pop_expired(now + TTL).unwrap();
        assert_eq!(expired.peer, peer(1));
        assert_eq!(expired.addresses, addresses(&[1]));
        assert_eq!(peers.pop_expired(now + TTL), None);
        assert_eq!(
            peers.on_announcement(now + TTL, announcement(1, &[1]), TTL),
            Heard::Discovered
        );
    }

    #[test]
    fn a_refresh_moves_the_deadline_and_nothing_else() {
        let now = deadline::now();
        let later = now + 10 * SECOND;
        let mut peers = peers(2);
        peers.on_announcement(now, announcement(1, &[1]), TTL);
        assert_eq!(peers.next_timeout(), Some(now + TTL));
        peers.on_announcement(later, announcement(1, &[1]), TTL);
        assert_eq!(peers.next_timeout(), Some(later + TTL));
        assert_eq!(peers.pop_expired(now + TTL), None);

        let known = peers.get(&peer(1)).unwrap();
        assert_eq!(known.peer_id(), peer(1));
        assert_eq!(known.addresses(), addresses(&[1]));
        assert_eq!(known.last_heard(), later);
        assert_eq!(known.expires_at(), later + TTL);
    }

    #[test]
    fn expires_at_the_deadline_and_not_an_instant_earlier() {
        let now = deadline::now();
        let mut peers = peers(2);
        peers.on_announcement(now, announcement(1, &[]), TTL);
        let early = now + TTL - Duration::from_nanos(1);
        assert_eq!(peers.pop_expired(early), None);
        assert!(peers.pop_expired(now + TTL).is_some());
        assert_eq!(peers.next_timeout(), None);
    }

    #[test]
    fn the_addresses_are_a_set_with_an_order_of_preference() {
        let now = deadline::now();
        let mut peers = peers(2);
        let mut hear = |ports: &[u16]| {
            let heard = peers.on_announcement(now, announcement(1, ports), TTL);
            assert_eq!(peers.get(&peer(1)).unwrap().addresses(), addresses(ports));
            heard
        };
        assert_eq!(hear(&[1, 2]), Heard::Discovered);
        assert_eq!(hear(&[2, 1]), Heard::Refreshed);
        assert_eq!(hear(&[2, 3]), Heard::Updated);
        assert_eq!(hear(&[2]), Heard::Updated);
        assert_eq!(hear(&[]), Heard::Updated);
        assert_eq!(hear(&[]), Heard::Refreshed);
    }

    #[test]
    fn a_peer_that_only_dials_is_known_without_addresses() {
        let now = deadline::now();
        let mut peers = peers(2);
        assert_eq!(
            peers.on_announcement(now, announcement(1, &[]), TTL),
            Heard::Discovered
        );
        assert!(peers.get(&peer(1)).unwrap().addresses().is_empty());
        assert_eq!(peers.iter().len(), 1);
    }

    #[test]
    fn a_full_table_refuses_strangers_and_keeps_its_own() {
        let now = deadline::now();
        let mut peers = peers(2);
        peers.on_announcement(now, announcement(1, &[1]), TTL);
        peers.on_announcement(now, announcement(2, &[2]), TTL);
        assert_eq!(
            peers.on_announcement(now, announcement(3, &[3]), TTL),
            Heard::Full
        );
        assert!(peers.get(&peer(3)).is_none());
        assert_eq!(
            peers.on_announcement(now + SECOND, announcement(1, &[4]), TTL),
            Heard::Updated
        );
        assert_eq!(peers.pop_expired(now + TTL).unwrap().peer, peer(2));
        assert_eq!(
            peers.on_announcement(now + TTL, announcement(3, &[3]), TTL),
            Heard::Discovered
        );
        assert_eq!(peers.iter().len(), 2);
    }

    #[test]
    fn expires_one_at_a_time_in_the_order_of_their_deadlines() {
        let now = deadline::now();
        let mut peers = peers(9);
        for (seed, ttl) in [(1, 3), (2, 1), (3, 2)] {
            peers.on_announcement(now, announcement(seed, &[]), ttl * SECOND);
        }
        let mut expired = vec![];
        while let Some(Expired { peer, .. }) = peers.pop_expired(now + 2 * SECOND) {
            expired.push(peer);
        }
        assert_eq!(expired, [peer(2), peer(3)]);
        assert_eq!(peers.next_timeout(), Some(now + 3 * SECOND));
    }

    #[test]
    fn a_refresh_may_also_shorten_the_time_to_live() {
        let now = deadline::now();
        let mut peers = peers(2);
        peers.on_announcement(now, announcement(1, &[]), TTL);
        peers.on_announcement(now, announcement(1, &[]), SECOND);
        assert!(peers.pop_expired(now + SECOND).is_some());
        assert_eq!(peers.pop_expired(now + TTL), None);
    }

    #[test]
    fn an_endless_time_to_live_does_not_panic() {
        let now = deadline::now();
        let mut peers = peers(2);
        for _ in 0..2 {
            peers.on_announcement(now, announcement(1, &[]), Duration::MAX);
            assert_eq!(peers.pop_expired(now + 1_000_000 * TTL), None);
        }
        assert_eq!(peers.expiry.len(), 1);
    }

    #[test]
    fn what_an_author_may_send_is_kept_with_its_row() {
        let now = deadline::now();
        let rate = Rate::new(NonZeroU32::new(2).unwrap(), SECOND);
        let mut peers = peers(2);
        assert_eq!(peers.try_take(now, &peer(1), rate), None);
        for _ in 0..2 {
            peers.on_announcement(now, announcement(1, &[]), TTL);
            assert_eq!(peers.try_take(now, &peer(1), rate), Some(true));
        }
        peers.on_announcement(now, announcement(1, &[1]), TTL);
        assert_eq!(peers.try_take(now, &peer(1), rate), Some(false));
        assert_eq!(peers.try_take(now + SECOND, &peer(1), rate), Some(true));
    }

    const CAPACITY: usize = 4;

    #[derive(Debug, Clone)]
    enum Operation {
        Announce {
            seed: u8,
            ports: Vec<u16>,
            ttl: Duration,
        },
        Pop,
        Forward(Duration),
        Back(Duration),
    }

    fn operation() -> impl Strategy<Value = Operation> {
        let duration = || (0..10_u64).prop_map(Duration::from_secs);
        let ports = prop::sample::subsequence(vec![1, 2, 3], 0..=3).prop_shuffle();
        let ttl = prop_oneof![9 => duration(), 1 => Just(Duration::MAX)];
        prop_oneof![
            6 => (0..7_u8, ports, ttl)
                .prop_map(|(seed, ports, ttl)| Operation::Announce { seed, ports, ttl }),
            4 => Just(Operation::Pop),
            3 => duration().prop_map(Operation::Forward),
            1 => duration().prop_map(Operation::Back),
        ]
    }

    /// Looks at every row each time.
    #[derive(Default)]
    struct Naive(HashMap<PeerId, (Vec<Multiaddr>, Instant, Instant)>);

    impl Naive {
        fn on_announcement(
            &mut self,
            now: Instant,
            announcement: Announcement,
            ttl: Duration,
        ) -> Heard {
            let before = self.0.get(&announcement.peer).map(|row| row.0.clone());
            if before.is_none() && self.0.len() == CAPACITY {
                return Heard::Full;
            }
            let sorted = |mut addresses: Vec<Multiaddr>| {
                addresses.sort();
                addresses
            };
            let row = (announcement.addresses.clone(), now, after(now, ttl));
            self.0.insert(announcement.peer, row);
            match before {
                None => Heard::Discovered,
                Some(before) if sorted(before.clone()) == sorted(announcement.addresses) => {
                    Heard::Refreshed
                }
                Some(_) => Heard::Updated,
            }
        }

        fn next(&self) -> Option<(Instant, PeerId)> {
            self.0.iter().map(|(peer, row)| (row.2, *peer)).min()
        }

        fn pop_expired(&mut self, now: Instant) -> Option<Expired> {
            let (at, peer) = self.next()?;
            if at > now {
                return None;
            }
            let (addresses, ..) = self.0.remove(&peer).unwrap();
            Some(Expired { peer, addresses })
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_table_without_an_index(
            operations in prop::collection::vec(operation(), 0..200),
        ) {
            let mut now = deadline::now() + Duration::from_secs(86_400);
            let mut peers = peers(CAPACITY);
            let mut naive = Naive::default();
            for operation in operations {
                match operation {
                    Operation::Announce { seed, ports, ttl } => {
                        let announcement = announcement(seed, &ports);
                        prop_assert_eq!(
                            peers.on_announcement(now, announcement.clone(), ttl),
                            naive.on_announcement(now, announcement, ttl)
                        );
                    }
                    Operation::Pop => {
                        prop_assert_eq!(peers.pop_expired(now), naive.pop_expired(now));
                    }
                    Operation::Forward(step) => now += step,
                    Operation::Back(step) => now -= step,
                }
                prop_assert!(peers.iter().len() <= CAPACITY);
                prop_assert_eq!(peers.next_timeout(), naive.next().map(|(at, _)| at));
                prop_assert_eq!(
                    &peers.expiry,
                    &peers.iter().map(|known| (known.expires_at(), known.peer_id())).collect()
                );
                let rows: HashMap<_, _> = peers
                    .iter()
                    .map(|known| {
                        let row = (
                            known.addresses().to_vec(),
                            known.last_heard(),
                            known.expires_at(),
                        );
                        (known.peer_id(), row)
                    })
                    .collect();
                prop_assert_eq!(&rows, &naive.0);
            }
        }

        /// What an application sees of each peer: discovered, then updates, then expired, and so on.
        #[test]
        fn discovered_and_expired_take_turns(
            operations in prop::collection::vec(operation(), 0..200),
        ) {
            let mut now = deadline::now() + Duration::from_secs(86_400);
            let mut peers = peers(CAPACITY);
            let mut known = std::collections::HashSet::new();
            for operation in operations {
                match operation {
                    Operation::Announce { seed, ports, ttl } => {
                        let heard = peers.on_announcement(now, announcement(seed, &ports), ttl);
                        match heard {
                            Heard::Discovered => prop_assert!(known.insert(peer(seed))),
                            Heard::Updated | Heard::Refreshed => {
                                prop_assert!(known.contains(&peer(seed)));
                            }
                            Heard::Full => prop_assert!(!known.contains(&peer(seed))),
                        }
                    }
                    Operation::Pop => {
                        while let Some(Expired { peer, .. }) = peers.pop_expired(now) {
                            prop_assert!(known.remove(&peer));
                        }
                        prop_assert!(peers.next_timeout().is_none_or(|at| at > now));
                    }
                    Operation::Forward(step) => now += step,
                    Operation::Back(step) => now -= step,
                }
            }
        }
    }
}
