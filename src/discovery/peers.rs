//! The table of known peers: who has announced itself lately, and where it listens.

use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashMap, hash_map::Entry},
    fmt,
    num::NonZeroUsize,
    time::Duration,
};

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use super::{
    limits::{Bucket, Rate},
    message::{Announcement, Stamp},
};
use crate::deadline::{Instant, after};

/// How many of its intervals a peer may be silent. Two lost announcements in a row are survived, even if the third comes
/// as late as was promised.
const INTERVALS: u32 = 3;

/// Which part of the capacity is kept for peers that are connected, beyond it.
const CONNECTED: usize = 8;

/// Known peers, at most `capacity` of them, each until it has been silent for its time to live: three of its own intervals.
///
/// The methods are of three kinds:
/// - getters, and [`Peers::next_timeout`], which says when a peer will next fall silent;
/// - the inputs: [`Peers::on_announcement`], [`Peers::try_take`], which a message has to pass before it is worth reading,
///   and what dials find out, [`Peers::on_failed`], [`Peers::on_unreachable`] and [`Peers::on_wrong_peer`];
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
    is_unreachable: bool,
    pace: Pace,
    sequence: Option<u64>,
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
    /// The peer is known by this very announcement, which came on another topic or once more.
    Repeated,
    /// The peer is known by a later announcement.
    Outdated,
    /// There is no room for another peer.
    Full,
}

/// By what the time to live of a peer is found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifetimes {
    /// The interval of those whose interval is not known yet, and of which none is expected.
    pub(crate) unknown: Duration,
    /// The longest interval that is believed.
    pub(crate) longest: Duration,
    /// What comes sooner after another than this is the same announcement: on another topic, or for a newcomer.
    pub(crate) gap: Duration,
}

/// How often a peer announces itself.
#[derive(Debug, Clone, Copy)]
enum Pace {
    /// As often as it has promised.
    Promised(Duration),
    /// As often as we do, since it goes by the same rules and has heard too little to promise anything.
    Ours,
    /// As it has been heard.
    Heard(Gaps),
}

impl Pace {
    /// `gap`: since the announcement before. `before`: what has been known until now.
    fn new(
        stamp: Stamp,
        gap: Option<Duration>,
        before: Option<Self>,
        lifetimes: &Lifetimes,
    ) -> Self {
        match (stamp.promise, stamp.sequence) {
            (Some(promise), _) => Self::Promised(promise),
            (None, Some(_)) => Self::Ours,
            (None, None) => {
                let mut gaps = match before {
                    Some(Self::Heard(gaps)) => gaps,
                    _ => Gaps::default(),
                };
                if let Some(gap) = gap.filter(|gap| *gap >= lifetimes.gap) {
                    gaps.push(gap);
                }
                Self::Heard(gaps)
            }
        }
    }

    /// The interval, if it is known.
    fn interval(&self, own: Duration) -> Option<Duration> {
        match *self {
            Self::Promised(interval) => Some(interval),
            Self::Ours => Some(own),
            Self::Heard(gaps) => gaps.interval(),
        }
    }

    fn time_to_live(&self, own: Duration, lifetimes: &Lifetimes) -> Duration {
        let Some(interval) = self.interval(own) else {
            return lifetimes.unknown;
        };
        let time_to_live = interval.min(lifetimes.longest).saturating_mul(INTERVALS);
        match self {
            // It may hear more than we do, and slow down while we do not.
            Self::Ours => time_to_live.max(lifetimes.unknown),
            Self::Promised(_) | Self::Heard(_) => time_to_live,
        }
    }
}

/// A peer that has fallen silent, and where it listened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expired {
    pub(crate) peer: PeerId,
    pub(crate) addresses: Vec<Multiaddr>,
}

/// The last gaps between announcements of a peer, in milliseconds; the latest one first, zero for none.
#[derive(Debug, Clone, Copy, Default)]
struct Gaps([u32; 3]);

impl Gaps {
    fn push(&mut self, gap: Duration) {
        let millis = u32::try_from(gap.as_millis()).unwrap_or(u32::MAX);
        let [latest, earlier, _] = self.0;
        self.0 = [millis.max(1), latest, earlier];
    }

    /// The one in the middle: one that is too long because of a loss, or too short since the peer had news, does not
    /// matter. The longer of two, and nothing of a single one.
    fn interval(&self) -> Option<Duration> {
        let [latest, earlier, first] = self.0;
        if earlier == 0 {
            return None;
        }
        let middle = match first {
            0 => latest.max(earlier),
            _ => latest.min(earlier).max(latest.max(earlier).min(first)),
        };
        Some(Duration::from_millis(middle.into()))
    }
}

impl Peers {
    /// An empty table for at most `capacity` peers, and an eighth more of those that are connected.
    pub(crate) fn new(capacity: NonZeroUsize, lifetimes: Lifetimes) -> Self {
        Self {
            capacity,
            lifetimes,
            rows: HashMap::new(),
            expiry: BTreeSet::new(),
        }
    }

    /// Notes what a peer says about itself. `own` is the longest time from one of our own announcements to the next.
    /// `is_connected`: the peer is connected and has delivered it itself, so that it has not been invented.
    pub(crate) fn on_announcement(
        &mut self,
        now: Instant,
        announcement: Announcement,
        is_connected: bool,
        own: Duration,
    ) -> Heard {
        let Announcement {
            peer,
            addresses,
            stamp,
            ..
        } = announcement;
        let capacity = self.capacity.get();
        let room = match is_connected {
            true => capacity.saturating_add(capacity / CONNECTED),
            false => capacity,
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
                let gap = now.checked_duration_since(row.last_heard);
                row.pace = Pace::new(stamp, gap, Some(row.pace), &self.lifetimes);
                row.sequence = stamp.sequence;
                let ttl = row.pace.time_to_live(own, &self.lifetimes);
                let expires_at = after(now, ttl);
                let is_same = is_same_set(&row.addresses, &addresses);
                // Also when only their order has changed: it is the peer's preference.
                row.addresses = addresses;
                row.last_heard = now;
                row.ttl = ttl;
                row.is_unreachable = false;
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
                let pace = Pace::new(stamp, None, None, &self.lifetimes);
                let ttl = pace.time_to_live(own, &self.lifetimes);
                let expires_at = after(now, ttl);
                entry.insert(Row {
                    addresses,
                    last_heard: now,
                    ttl,
                    expires_at,
                    is_unreachable: false,
                    pace,
                    sequence: stamp.sequence,
                    messages: Bucket::default(),
                });
                self.expiry.insert((expires_at, peer));
                Heard::Discovered
            }
        }
    }

    /// Whether an announcement of a known peer is due, about: half its interval has passed since the last one, or half of
    /// `shortest` where that is longer. `None` if the peer is not known.
    pub(crate) fn is_due(
        &self,
        now: Instant,
        peer: &PeerId,
        own: Duration,
        shortest: Duration,
    ) -> Option<bool> {
        let row = self.rows.get(peer)?;
        let interval = row.pace.interval(own).unwrap_or(shortest).max(shortest);
        let elapsed = now.saturating_duration_since(row.last_heard);
        Some(elapsed >= interval / 2)
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
        row.is_unreachable = true;
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

    /// When the next peer will have been silent for too long.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.expiry.first().map(|&(expires_at, _)| expires_at)
    }

    /// Forgets one peer that has been silent for too long, the longest one first. `own` as in
    /// [`Peers::on_announcement`]: those who go by the same rules announce themselves more rarely by now if we do.
    pub(crate) fn pop_expired(&mut self, now: Instant, own: Duration) -> Option<Expired> {
        loop {
            let &(expires_at, peer) = self.expiry.first()?;
            if expires_at > now {
                return None;
            }
            self.expiry.pop_first();
            let Entry::Occupied(mut entry) = self.rows.entry(peer) else {
                continue;
            };
            let row = entry.get_mut();
            let prolonged = after(row.last_heard, row.pace.time_to_live(own, &self.lifetimes));
            if prolonged > now && matches!(row.pace, Pace::Ours) && !row.is_unreachable {
                row.ttl = prolonged.saturating_duration_since(row.last_heard);
                row.expires_at = prolonged;
                self.expiry.insert((prolonged, peer));
                continue;
            }
            let addresses = entry.remove().addresses;
            return Some(Expired { peer, addresses });
        }
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
    /// dials. With [`Config::with_connections`](super::Config::with_connections), addresses that have failed since
    /// come last, and one where somebody else was found is left out.
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

    /// Our own interval in most tests: so short that it matters to nobody.
    const OWN: Duration = Duration::ZERO;
    const LIFETIMES: Lifetimes = Lifetimes {
        unknown: TTL,
        longest: Duration::MAX,
        gap: SECOND,
    };

    fn peers(capacity: usize) -> Peers {
        Peers::new(NonZeroUsize::new(capacity).unwrap(), LIFETIMES)
    }

    /// As of js-libp2p.
    fn announcement(seed: u8, ports: &[u16]) -> Announcement {
        Announcement {
            peer: peer(seed),
            addresses: addresses(ports),
            dropped: 0,
            stamp: Stamp::default(),
        }
    }

    fn stamped(seed: u8, ports: &[u16], sequence: u64, promise: Option<Duration>) -> Announcement {
        Announcement {
            stamp: Stamp {
                sequence: Some(sequence),
                promise,
            },
            ..announcement(seed, ports)
        }
    }

    impl Peers {
        /// An announcement that promises a third of the time to live.
        fn hear(&mut self, now: Instant, mut announcement: Announcement, ttl: Duration) -> Heard {
            announcement.stamp.promise = Some(ttl / INTERVALS);
            self.on_announcement(now, announcement, false, OWN)
        }

        fn pop(&mut self, now: Instant) -> Option<Expired> {
            self.pop_expired(now, OWN)
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
            peers.hear(now, announcement(1, &[1]), TTL),
            Heard::Discovered
        );
        assert_eq!(
            peers.hear(now, announcement(1, &[1]), TTL),
            Heard::Refreshed
        );
        let expired = peers.pop(now + TTL).unwrap();
        assert_eq!(expired.peer, peer(1));
        assert_eq!(expired.addresses, addresses(&[1]));
        assert_eq!(peers.pop(now + TTL), None);
        assert_eq!(
            peers.hear(now + TTL, announcement(1, &[1]), TTL),
            Heard::Discovered
        );
    }

    #[test]
    fn a_refresh_moves_the_deadline_and_nothing_else() {
        let now = deadline::now();
        let later = now + 10 * SECOND;
        let mut peers = peers(2);
        peers.hear(now, announcement(1, &[1]), TTL);
        assert_eq!(peers.next_timeout(), Some(now + TTL));
        peers.hear(later, announcement(1, &[1]), TTL);
        assert_eq!(peers.next_timeout(), Some(later + TTL));
        assert_eq!(peers.pop(now + TTL), None);

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
        peers.hear(now, announcement(1, &[]), TTL);
        let early = now + TTL - Duration::from_nanos(1);
        assert_eq!(peers.pop(early), None);
        assert!(peers.pop(now + TTL).is_some());
        assert_eq!(peers.next_timeout(), None);
    }

    #[test]
    fn the_addresses_are_a_set_with_an_order_of_preference() {
        let now = deadline::now();
        let mut peers = peers(2);
        let mut hear = |ports: &[u16]| {
            let heard = peers.hear(now, announcement(1, ports), TTL);
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
            peers.hear(now, announcement(1, &[]), TTL),
            Heard::Discovered
        );
        assert!(peers.get(&peer(1)).unwrap().addresses().is_empty());
        assert_eq!(peers.iter().len(), 1);
    }

    #[test]
    fn a_full_table_refuses_strangers_and_keeps_its_own() {
        let now = deadline::now();
        let mut peers = peers(2);
        peers.hear(now, announcement(1, &[1]), TTL);
        peers.hear(now, announcement(2, &[2]), TTL);
        assert_eq!(peers.hear(now, announcement(3, &[3]), TTL), Heard::Full);
        assert!(peers.get(&peer(3)).is_none());
        assert_eq!(
            peers.hear(now + SECOND, announcement(1, &[4]), TTL),
            Heard::Updated
        );
        assert_eq!(peers.pop(now + TTL).unwrap().peer, peer(2));
        assert_eq!(
            peers.hear(now + TTL, announcement(3, &[3]), TTL),
            Heard::Discovered
        );
        assert_eq!(peers.iter().len(), 2);
    }

    #[test]
    fn expires_one_at_a_time_in_the_order_of_their_deadlines() {
        let now = deadline::now();
        let mut peers = peers(9);
        for (seed, ttl) in [(1, 3), (2, 1), (3, 2)] {
            peers.hear(now, announcement(seed, &[]), ttl * SECOND);
        }
        let mut expired = vec![];
        while let Some(Expired { peer, .. }) = peers.pop(now + 2 * SECOND) {
            expired.push(peer);
        }
        assert_eq!(expired, [peer(2), peer(3)]);
        assert_eq!(peers.next_timeout(), Some(now + 3 * SECOND));
    }

    #[test]
    fn a_refresh_may_also_shorten_the_time_to_live() {
        let now = deadline::now();
        let mut peers = peers(2);
        peers.hear(now, announcement(1, &[]), TTL);
        peers.hear(now, announcement(1, &[]), SECOND);
        assert!(peers.pop(now + SECOND).is_some());
        assert_eq!(peers.pop(now + TTL), None);
    }

    #[test]
    fn an_endless_time_to_live_does_not_panic() {
        let now = deadline::now();
        let mut peers = peers(2);
        for _ in 0..2 {
            peers.hear(now, announcement(1, &[]), Duration::MAX);
            assert_eq!(peers.pop(now + 1_000_000 * TTL), None);
        }
        assert_eq!(peers.expiry.len(), 1);
    }

    const MINUTE: Duration = Duration::from_secs(60);

    /// For how long a peer is known after these announcements, each after a pause, while our own interval is `own`.
    fn known_for(own: Duration, announcements: &[(Duration, Stamp)]) -> Duration {
        let mut now = deadline::now();
        let mut peers = peers(2);
        for &(pause, stamp) in announcements {
            now += pause;
            let announcement = Announcement {
                stamp,
                ..announcement(1, &[])
            };
            peers.on_announcement(now, announcement, false, own);
        }
        peers.next_timeout().unwrap() - now
    }

    #[test]
    fn the_interval_of_a_js_peer_is_learnt_and_a_loss_does_not_stretch_it() {
        let js = |pauses: &[u32]| {
            let announcements = pauses
                .iter()
                .map(|&pause| (pause * SECOND, Stamp::default()));
            known_for(MINUTE, &announcements.collect::<Vec<_>>())
        };
        for unknown in [&[0][..], &[0, 10], &[0, 1], &[0, 0, 0]] {
            assert_eq!(js(unknown), LIFETIMES.unknown, "{unknown:?}");
        }
        let regular = [
            &[0, 10, 10][..],
            // A loss, sooner or later.
            &[0, 20, 10, 10],
            &[0, 10, 10, 20],
            // It had news.
            &[0, 1, 10, 10],
            &[0, 10, 10, 2, 10],
            // The same one on three topics.
            &[0, 0, 0, 10, 0, 0, 10],
        ];
        for pauses in regular {
            assert_eq!(js(pauses), 30 * SECOND, "{pauses:?}");
        }
        let slowed_down = [0, 10, 10, 25, 25];
        assert_eq!(js(&slowed_down), 75 * SECOND);
    }

    #[test]
    fn who_goes_by_our_rules_is_known_for_three_of_our_intervals_or_as_it_promises() {
        let stamp = |sequence, promise: Option<Duration>| Stamp {
            sequence: Some(sequence),
            promise,
        };
        let known = |own, promise| known_for(own, &[(SECOND, stamp(1, promise))]);
        assert_eq!(known(MINUTE, None), 3 * MINUTE);
        for promise in [10 * SECOND, MINUTE, 2 * MINUTE] {
            assert_eq!(known(MINUTE, Some(promise)), 3 * promise);
        }
    }

    #[test]
    fn who_promises_nothing_may_slow_down_though_we_do_not() {
        let stamp = Stamp {
            sequence: Some(1),
            promise: None,
        };
        assert_eq!(known_for(SECOND, &[(SECOND, stamp)]), LIFETIMES.unknown);
    }

    #[test]
    fn no_interval_is_longer_than_the_longest() {
        let mut peers = peers(2);
        peers.lifetimes.longest = MINUTE;
        let now = deadline::now();
        let promise = Some(100 * MINUTE);
        peers.on_announcement(now, stamped(1, &[], 1, promise), false, OWN);
        assert_eq!(peers.next_timeout(), Some(now + 3 * MINUTE));
        assert_eq!(
            peers
                .pop_expired(now + 3 * MINUTE, 100 * MINUTE)
                .unwrap()
                .peer,
            peer(1)
        );
    }

    #[test]
    fn who_goes_by_our_rules_is_known_for_longer_when_the_network_grows() {
        let now = deadline::now();
        let mut peers = peers(2);
        peers.lifetimes.unknown = SECOND;
        let own = 10 * SECOND;
        peers.on_announcement(now, stamped(1, &[], 1, None), false, own);
        // This one will keep what it has promised.
        peers.on_announcement(now, stamped(2, &[], 1, Some(own)), false, own);
        let then = now + 3 * own;
        assert_eq!(peers.pop_expired(then, MINUTE).unwrap().peer, peer(2));
        assert_eq!(peers.pop_expired(then, MINUTE), None);
        assert_eq!(peers.next_timeout(), Some(now + 3 * MINUTE));
        assert!(peers.pop_expired(now + 3 * MINUTE, MINUTE).is_some());
        assert_eq!(peers.pop_expired(now + 3 * MINUTE, MINUTE), None);
    }

    #[test]
    fn an_older_announcement_brings_nothing_back() {
        let now = deadline::now();
        let mut peers = peers(2);
        let mut hear = |announcement| {
            let heard = peers.on_announcement(now + SECOND, announcement, false, MINUTE);
            let known = peers.get(&peer(1)).unwrap();
            (heard, known.addresses().to_vec(), known.last_heard())
        };
        let later = now + SECOND;
        hear(stamped(1, &[1], 5, None));
        assert_eq!(
            hear(stamped(1, &[2], 6, None)),
            (Heard::Updated, addresses(&[2]), later)
        );
        for (sequence, heard) in [(5, Heard::Outdated), (6, Heard::Repeated)] {
            assert_eq!(
                hear(stamped(1, &[1], sequence, None)),
                (heard, addresses(&[2]), later)
            );
        }
        // Nor does one from the time before it numbered them.
        assert_eq!(hear(announcement(1, &[1])).0, Heard::Outdated);
        assert_eq!(hear(stamped(1, &[3], 7, None)).0, Heard::Updated);
    }

    #[test]
    fn who_cannot_be_reached_is_forgotten_sooner_whatever_the_network_does() {
        let now = deadline::now();
        let mut peers = peers(2);
        peers.on_announcement(now, stamped(1, &[1], 1, None), false, MINUTE);
        assert!(!peers.on_failed(&peer(1), &addresses(&[2])));
        assert!(peers.on_failed(&peer(1), &addresses(&[2, 1])));
        for _ in 0..2 {
            peers.on_unreachable(&peer(1));
            assert_eq!(peers.next_timeout(), Some(now + 3 * MINUTE / 2));
        }
        assert_eq!(peers.pop_expired(now + MINUTE, 2 * MINUTE), None);
        assert!(
            peers
                .pop_expired(now + 3 * MINUTE / 2, 2 * MINUTE)
                .is_some()
        );
        assert!(peers.expiry.is_empty());

        peers.on_announcement(now, stamped(1, &[1], 2, None), false, MINUTE);
        assert_eq!(
            peers.next_timeout(),
            Some(now + 3 * MINUTE),
            "as if it were new"
        );
    }

    #[test]
    fn what_does_not_count_prolongs_nothing() {
        let now = deadline::now();
        let mut peers = peers(2);
        peers.on_announcement(now, stamped(1, &[], 5, None), false, MINUTE);
        for sequence in [4, 5] {
            let at = now + MINUTE;
            peers.on_announcement(at, stamped(1, &[], sequence, None), false, MINUTE);
        }
        assert_eq!(peers.next_timeout(), Some(now + 3 * MINUTE));
    }

    #[test]
    fn a_full_table_has_some_room_for_connected_peers() {
        let now = deadline::now();
        let mut peers = peers(8);
        for seed in 0..20 {
            peers.on_announcement(now, announcement(seed, &[]), false, OWN);
        }
        assert_eq!(peers.iter().len(), 8);
        for seed in 10..20 {
            peers.on_announcement(now, announcement(seed, &[]), true, OWN);
        }
        assert_eq!(peers.iter().len(), 9);
    }

    #[test]
    fn an_announcement_is_due_after_half_the_interval() {
        let now = deadline::now();
        let mut peers = peers(2);
        let is_due =
            |peers: &Peers, after| peers.is_due(now + after, &peer(1), MINUTE, 10 * SECOND);
        assert_eq!(is_due(&peers, SECOND), None);
        peers.on_announcement(now, stamped(1, &[], 1, None), false, MINUTE);
        assert_eq!(is_due(&peers, 29 * SECOND), Some(false));
        assert_eq!(is_due(&peers, 30 * SECOND), Some(true));
        // Who promises more than anybody needs may not send it.
        peers.on_announcement(now, stamped(1, &[], 2, Some(SECOND)), false, MINUTE);
        assert_eq!(is_due(&peers, 4 * SECOND), Some(false));
        assert_eq!(is_due(&peers, 5 * SECOND), Some(true));
    }

    #[test]
    fn what_an_author_may_send_is_kept_with_its_row() {
        let now = deadline::now();
        let rate = Rate::new(NonZeroU32::new(2).unwrap(), SECOND);
        let mut peers = peers(2);
        assert_eq!(peers.try_take(now, &peer(1), rate), None);
        for _ in 0..2 {
            peers.hear(now, announcement(1, &[]), TTL);
            assert_eq!(peers.try_take(now, &peer(1), rate), Some(true));
        }
        peers.hear(now, announcement(1, &[1]), TTL);
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
        // A time to live is three intervals.
        let duration = || (0..4_u64).prop_map(|seconds| Duration::from_secs(3 * seconds));
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
                            peers.hear(now, announcement.clone(), ttl),
                            naive.on_announcement(now, announcement, ttl)
                        );
                    }
                    Operation::Pop => {
                        prop_assert_eq!(peers.pop(now), naive.pop_expired(now));
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
                        let heard = peers.hear(now, announcement(seed, &ports), ttl);
                        match heard {
                            Heard::Discovered => prop_assert!(known.insert(peer(seed))),
                            Heard::Updated | Heard::Refreshed => {
                                prop_assert!(known.contains(&peer(seed)));
                            }
                            Heard::Full => prop_assert!(!known.contains(&peer(seed))),
                            Heard::Repeated | Heard::Outdated => prop_assert!(false),
                        }
                    }
                    Operation::Pop => {
                        while let Some(Expired { peer, .. }) = peers.pop(now) {
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
