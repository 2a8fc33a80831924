use std::num::NonZeroUsize;

use multiaddr::multihash::Multihash;
use proptest::prelude::*;

use super::{super::message::Stamp, pace::INTERVALS, *};
use crate::deadline;

const TTL: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

fn peer(seed: u8) -> PeerId {
    PeerId::from_multihash(Multihash::wrap(0, &[seed; 32]).unwrap()).unwrap()
}

const LIFETIMES: Lifetimes = Lifetimes {
    unknown: TTL,
    shortest: Duration::ZERO,
    longest: Duration::MAX,
};
const SHORTEST: Duration = Duration::from_secs(8);

/// By the only neighbour.
fn forwarded() -> Source {
    forwarded_by(255, false)
}

fn forwarded_by(neighbour: u8, is_limited: bool) -> Source {
    Source::Forwarder {
        neighbour: peer(neighbour),
        is_limited,
    }
}

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
        self.on_announcement(now, announcement, forwarded())
    }

    fn pop(&mut self, now: Instant) -> Option<PeerId> {
        self.pop_expired(now)
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
    assert_eq!(peers.pop(now + TTL), Some(peer(1)));
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
    assert_eq!((peers.iter().len(), peers.count()), (1, 1));
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
    assert_eq!(peers.pop(now + TTL).unwrap(), peer(2));
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
    while let Some(peer) = peers.pop(now + 2 * SECOND) {
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

/// For how long a peer is known after these announcements, each after a pause.
fn known_for(announcements: &[(Duration, Stamp)]) -> Duration {
    let mut now = deadline::now();
    let mut peers = peers(2);
    peers.lifetimes.shortest = SHORTEST;
    for &(pause, stamp) in announcements {
        now += pause;
        let announcement = Announcement {
            stamp,
            ..announcement(1, &[])
        };
        peers.on_announcement(now, announcement, forwarded());
    }
    peers.next_timeout().unwrap() - now
}

#[test]
fn the_interval_of_a_js_peer_is_learnt_and_a_loss_does_not_stretch_it() {
    let js = |pauses: &[u32]| {
        let announcements = pauses
            .iter()
            .map(|&pause| (pause * SECOND, Stamp::default()));
        known_for(&announcements.collect::<Vec<_>>())
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
        &[0, 1, 9, 10],
        &[0, 10, 10, 2, 10],
        // The same one on three topics.
        &[0, 0, 0, 10, 0, 0, 10],
        &[0, 1, 9, 1, 9, 1],
    ];
    for pauses in regular {
        assert_eq!(js(pauses), 30 * SECOND, "{pauses:?}");
    }
    let slowed_down = [0, 10, 10, 25, 25];
    assert_eq!(js(&slowed_down), 75 * SECOND);
}

/// Announcements of a js peer at these times, and until when it is known after the last one. Returns when it was
/// discovered, and when it expired.
fn life(times: impl IntoIterator<Item = Duration>) -> (Vec<Duration>, Vec<Duration>) {
    let began = deadline::now();
    let mut peers = peers(2);
    peers.lifetimes = crate::discovery::Config::default().inbox().lifetimes;
    let (mut discovered, mut expired) = (vec![], vec![]);
    for time in times {
        let now = began + time;
        while let Some(at) = peers.next_timeout().filter(|at| *at <= now) {
            assert!(peers.pop(at).is_some());
            expired.push(at - began);
        }
        match peers.on_announcement(now, announcement(1, &[1]), forwarded()) {
            Heard::Discovered => discovered.push(time),
            heard => assert_eq!(heard, Heard::Refreshed),
        }
    }
    (discovered, expired)
}

#[test]
fn a_js_peer_with_a_longer_interval_expires_once() {
    let interval = Duration::from_millis(75_000);
    let times = |lost: &'static [u32]| {
        let sent = (0..1_000_u32).filter(move |number| !lost.contains(number));
        sent.map(move |number| number * interval)
    };
    let (discovered, expired) = life(times(&[]));
    assert_eq!(discovered, [Duration::ZERO, interval]);
    assert_eq!(expired, [TTL]);
    // The first ones are lost, or every other one, or some later.
    for lost in [&[1, 2, 3][..], &[2], &[1, 3, 5], &[50, 52, 100]] {
        let (discovered, expired) = life(times(lost));
        assert_eq!((discovered.len(), expired), (2, vec![TTL]), "{lost:?}");
    }
}

#[test]
fn who_comes_back_is_known_as_before_after_three_gaps() {
    let times = [0, 10, 20, 30, 300, 310].map(|seconds| seconds * SECOND);
    let hour = (32..366).map(|tens| tens * 10 * SECOND);
    let returned = life(times.into_iter().chain(hour).chain([4_000 * SECOND]));
    assert_eq!(returned.0, [0, 300, 4_000].map(|seconds| seconds * SECOND));
    assert_eq!(returned.1, [60, 3_680].map(|seconds| seconds * SECOND));
    // Until then by the longest gap, but never by more than may be promised.
    let soon = life([0, 900, 910, 910 + 3 * 900].map(|seconds| seconds * SECOND));
    assert_eq!(soon.1, [60, 3_610].map(|seconds| seconds * SECOND));
    let late = life([Duration::ZERO, 50 * MINUTE, 50 * MINUTE + 67 * MINUTE]);
    assert_eq!(late.1, [MINUTE, 50 * MINUTE + 66 * MINUTE]);
    // And after an hour nothing is known of it.
    let forgotten = life([Duration::ZERO, 62 * MINUTE, 70 * MINUTE]);
    assert_eq!(forgotten.1, [MINUTE, 63 * MINUTE]);
}

#[test]
fn one_that_was_there_when_it_expired_is_known_for_longer_for_an_hour() {
    let since = |minutes: &[u32]| {
        let times = [0, 10, 20, 30, 300, 310, 320].map(|seconds| seconds * SECOND);
        let minutes = minutes.iter().map(|&minutes| minutes * MINUTE);
        life(times.into_iter().chain(minutes)).1
    };
    // It has expired after a minute. 22 more it may be silent, whatever its interval is.
    assert_eq!(since(&[27, 48, 59]), [MINUTE]);
    assert_eq!(since(&[28]), [MINUTE, 320 * SECOND + 22 * MINUTE]);
    // Then it is three of its intervals again.
    let later = since(&[26, 47, 60, 90, 200]);
    assert_eq!(later, [MINUTE, 90 * MINUTE + 63 * MINUTE]);
}

#[test]
fn nothing_is_learnt_of_who_makes_promises() {
    let now = deadline::now();
    let mut peers = peers(2);
    peers.on_announcement(now, stamped(1, &[], 1, Some(SECOND)), forwarded());
    assert!(peers.pop(now + 3 * SECOND).is_some());
    let later = now + MINUTE;
    peers.on_announcement(later, stamped(1, &[], 2, Some(SECOND)), forwarded());
    assert_eq!(peers.next_timeout(), Some(later + 3 * SECOND));
    // Nor does it matter what it was before it made promises.
    peers.on_announcement(later, announcement(2, &[]), forwarded());
    assert!(peers.pop(later + TTL).is_some());
    peers.pop(later + TTL);
    let latest = later + 2 * TTL;
    peers.on_announcement(latest, stamped(2, &[], 1, Some(SECOND)), forwarded());
    assert_eq!(peers.next_timeout(), Some(latest + 3 * SECOND));
}

#[test]
fn who_promises_is_known_for_three_times_that_and_who_does_not_is_learnt() {
    let stamp = |sequence, promise: Option<Duration>| Stamp {
        sequence: Some(sequence),
        promise,
    };
    for promise in [10 * SECOND, MINUTE, 2 * MINUTE] {
        assert_eq!(known_for(&[(SECOND, stamp(1, Some(promise)))]), 3 * promise);
    }
    assert_eq!(known_for(&[(SECOND, stamp(1, None))]), LIFETIMES.unknown);
    let announcements = [1, 2, 3].map(|sequence| (15 * SECOND, stamp(sequence, None)));
    assert_eq!(known_for(&announcements), 45 * SECOND);
}

/// It came on another topic, or was for a newcomer.
#[test]
fn what_follows_within_a_quarter_of_the_shortest_interval_ends_no_gap() {
    let gap = SHORTEST / 4;
    let stamp = Stamp::default();
    for (gap, known) in [
        (gap - Duration::from_millis(1), TTL),
        (gap, SHORTEST * INTERVALS),
    ] {
        let announcements = [(Duration::ZERO, stamp), (gap, stamp), (gap, stamp)];
        assert_eq!(known_for(&announcements), known, "{gap:?}");
    }
}

#[test]
fn no_interval_is_shorter_than_the_shortest() {
    let stamp = |promise| Stamp {
        sequence: Some(1),
        promise: Some(promise),
    };
    for promise in [Duration::ZERO, SECOND, SHORTEST] {
        assert_eq!(known_for(&[(SECOND, stamp(promise))]), 3 * SHORTEST);
    }
    // Or replayed old ones.
    for pause in [SECOND, 2 * SECOND, 3 * SECOND] {
        let announcements = [(pause, Stamp::default()); 12];
        assert_eq!(known_for(&announcements), 3 * SHORTEST);
    }
}

#[test]
fn no_interval_is_longer_than_the_longest() {
    let mut peers = peers(2);
    peers.lifetimes.longest = MINUTE;
    let now = deadline::now();
    let promise = Some(100 * MINUTE);
    peers.on_announcement(now, stamped(1, &[], 1, promise), forwarded());
    assert_eq!(peers.next_timeout(), Some(now + 3 * MINUTE));
    assert_eq!(peers.pop(now + 3 * MINUTE).unwrap(), peer(1));
}

#[test]
fn an_older_announcement_brings_nothing_back() {
    let now = deadline::now();
    let mut peers = peers(2);
    let mut hear = |announcement| {
        let heard = peers.on_announcement(now + SECOND, announcement, forwarded());
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
fn who_cannot_be_reached_is_forgotten_sooner_until_it_announces_itself_again() {
    let now = deadline::now();
    let mut peers = peers(2);
    peers.on_announcement(now, stamped(1, &[1], 1, Some(MINUTE)), forwarded());
    assert!(!peers.on_failed(&peer(1), &addresses(&[2])));
    assert!(peers.on_failed(&peer(1), &addresses(&[2, 1])));
    for _ in 0..2 {
        peers.on_unreachable(&peer(1));
        assert_eq!(peers.next_timeout(), Some(now + 3 * MINUTE / 2));
    }
    assert_eq!(peers.pop(now + MINUTE), None);
    assert!(peers.pop(now + 3 * MINUTE / 2).is_some());
    assert!(peers.expiry.is_empty());

    peers.on_announcement(now, stamped(1, &[1], 2, Some(MINUTE)), forwarded());
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
    peers.on_announcement(now, stamped(1, &[], 5, Some(MINUTE)), forwarded());
    for sequence in [4, 5] {
        let at = now + MINUTE;
        peers.on_announcement(at, stamped(1, &[], sequence, Some(MINUTE)), forwarded());
    }
    assert_eq!(peers.next_timeout(), Some(now + 3 * MINUTE));
}

#[test]
fn a_full_table_has_some_room_for_connected_peers() {
    let now = deadline::now();
    let mut peers = peers(8);
    for seed in 0..20 {
        peers.on_announcement(now, announcement(seed, &[]), forwarded());
    }
    assert_eq!((peers.iter().len(), peers.count()), (8, usize::MAX));
    for seed in 10..20 {
        peers.on_announcement(now, announcement(seed, &[]), Source::Author);
    }
    assert_eq!(peers.iter().len(), 9);
}

/// It makes room for nobody: the one that came would be refused all the same.
#[test]
fn a_table_with_more_than_its_capacity_replaces_none() {
    let now = deadline::now();
    let mut peers = peers(8);
    for seed in 0..2 {
        peers.on_announcement(now, announcement(seed, &[]), forwarded_by(200, true));
    }
    for seed in 2..9 {
        peers.on_announcement(now, announcement(seed, &[]), Source::Author);
    }
    assert_eq!(peers.iter().len(), 9);
    for seed in 9..12 {
        let heard = peers.on_announcement(now, announcement(seed, &[]), forwarded_by(200, true));
        assert_eq!((heard, peers.pop(now)), (Heard::Full, None));
    }
    assert_eq!(peers.iter().len(), 9);
}

#[test]
fn one_neighbour_among_others_fills_a_quarter_of_the_table_and_replaces_its_own() {
    let now = deadline::now();
    let at = |seconds: u8| now + u32::from(seconds) * SECOND;
    let mut peers = peers(16);
    let mut hear = |seconds, seed, source| {
        peers.on_announcement(at(seconds), announcement(seed, &[1]), source);
        let replaced = std::iter::from_fn(|| peers.pop(at(seconds)));
        replaced.collect::<Vec<_>>()
    };
    let greedy = forwarded_by(200, true);
    for seed in 0..4 {
        assert_eq!(hear(seed, seed, greedy), []);
    }
    // The first one has announced itself again, so that the second has been silent for longest.
    assert_eq!(hear(4, 0, greedy), []);
    assert_eq!(hear(5, 4, greedy), [peer(1)]);
    // A peer that was also delivered by others, or by itself, belongs to no neighbour's share.
    assert_eq!(hear(6, 2, forwarded_by(201, true)), []);
    assert_eq!(hear(7, 3, Source::Author), []);
    assert_eq!(hear(8, 2, greedy), []);
    assert_eq!(hear(9, 5, greedy), []);
    assert_eq!(hear(10, 6, greedy), []);
    assert_eq!(hear(11, 7, greedy), [peer(0)]);
    assert_eq!(peers.iter().len(), 6);
    // Another neighbour has a share of its own, and a single neighbour has the whole table.
    let others = [(201, 20..24, true), (202, 30..50, false)];
    for (neighbour, seeds, is_limited) in others {
        for seed in seeds {
            let source = forwarded_by(neighbour, is_limited);
            peers.on_announcement(at(12), announcement(seed, &[1]), source);
        }
    }
    assert_eq!(peers.iter().len(), 16);
    // Also while it is full.
    let replacing = announcement(60, &[1]);
    assert_eq!(
        peers.on_announcement(at(13), replacing, greedy),
        Heard::Discovered
    );
    assert_eq!(peers.next_timeout(), Some(at(13)));
    assert_eq!(peers.pop(at(13)).unwrap(), peer(4));
    assert_eq!(peers.iter().len(), 16);
    // Who expires is counted no longer.
    while peers.pop(at(13) + TTL).is_some() {}
    for seed in 0..4 {
        peers.on_announcement(at(14) + TTL, announcement(seed, &[]), greedy);
    }
    assert_eq!(peers.iter().len(), 4);
}

#[test]
fn an_announcement_is_due_after_half_the_interval() {
    let now = deadline::now();
    let mut peers = peers(2);
    peers.lifetimes.shortest = 10 * SECOND;
    let is_due = |peers: &Peers, after| peers.is_due(now + after, &peer(1));
    assert_eq!(is_due(&peers, SECOND), None);
    peers.on_announcement(now, stamped(1, &[], 1, Some(MINUTE)), forwarded());
    assert_eq!(is_due(&peers, 29 * SECOND), Some(false));
    assert_eq!(is_due(&peers, 30 * SECOND), Some(true));
    // A peer that promises more than the maximum must not send it.
    peers.on_announcement(now, stamped(1, &[], 2, Some(SECOND)), forwarded());
    assert_eq!(is_due(&peers, 4 * SECOND), Some(false));
    assert_eq!(is_due(&peers, 5 * SECOND), Some(true));
    // And one that promises to be silent for longer than it is known has its turn in that time.
    peers.lifetimes.longest = MINUTE;
    peers.on_announcement(now, stamped(1, &[], 3, Some(100 * MINUTE)), forwarded());
    assert_eq!(is_due(&peers, 29 * SECOND), Some(false));
    assert_eq!(is_due(&peers, 30 * SECOND), Some(true));
}

#[test]
fn what_an_author_may_send_is_kept_with_its_row() {
    let now = deadline::now();
    let rate = Rate::new(2, SECOND);
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

    fn pop_expired(&mut self, now: Instant) -> Option<PeerId> {
        let (at, peer) = self.next()?;
        if at > now {
            return None;
        }
        self.0.remove(&peer);
        Some(peer)
    }
}

proptest! {
    /// Whatever its interval is, up to 20 minutes, and each of its announcements up to a tenth of that late.
    #[test]
    fn a_js_peer_expires_at_most_once_while_it_lives(
        interval in 1_000..=1_200_000_u64,
        delays in prop::collection::vec(0.0..0.1_f64, 1..200),
    ) {
        let interval = Duration::from_millis(interval);
        let mut time = Duration::ZERO;
        let times = delays.into_iter().map(|delay| {
            time += interval.mul_f64(1.0 + delay);
            time
        });
        let (discovered, expired) = life(times.collect::<Vec<_>>());
        prop_assert!(expired.len() <= 1, "{:?}", expired);
        prop_assert!(discovered.len() <= 2);
    }

    /// Whatever is lost of them, if one comes every 22 minutes.
    #[test]
    fn a_js_peer_expires_at_most_once_an_hour_while_it_is_heard(
        interval in 10_000..1_320_000_u64,
        losses in prop::collection::vec(any::<u8>(), 1..200),
        most in 0..=u8::MAX,
    ) {
        let interval = Duration::from_millis(interval);
        let (mut sent, mut heard) = (Duration::ZERO, vec![Duration::ZERO]);
        for loss in losses {
            sent += interval;
            let silence = sent + interval - *heard.last().unwrap();
            if loss >= most || silence >= 22 * MINUTE {
                heard.push(sent);
            }
        }
        let (_, expired) = life(heard.iter().copied());
        for pair in expired.windows(2) {
            prop_assert!(pair[1] - pair[0] >= 60 * MINUTE, "{:?}, heard {:?}", expired, heard);
        }
    }

    #[test]
    fn no_neighbour_among_others_has_more_than_its_share(
        heard in prop::collection::vec((0..20_u8, 200..204_u8, any::<bool>(), 0..30_u64), 0..200),
    ) {
        let mut now = deadline::now();
        let mut peers = peers(12);
        let mut bearers = HashMap::<PeerId, std::collections::HashSet<u8>>::new();
        for (seed, neighbour, is_own, pause) in heard {
            now += Duration::from_secs(pause);
            while let Some(expired) = peers.pop(now) {
                prop_assert!(bearers.remove(&expired).is_some());
            }
            let source = match is_own {
                true => Source::Author,
                false => forwarded_by(neighbour, true),
            };
            let heard = peers.on_announcement(now, announcement(seed, &[]), source);
            while let Some(replaced) = peers.pop(now) {
                prop_assert!(bearers.remove(&replaced).is_some());
                prop_assert_eq!(heard, Heard::Discovered);
            }
            if heard != Heard::Full {
                let bearers = bearers.entry(peer(seed)).or_default();
                bearers.insert(if is_own { seed } else { neighbour });
            }
            prop_assert_eq!(peers.iter().len(), bearers.len());
            for neighbour in 200..204 {
                let sole = bearers.values().filter(|all| all.len() == 1 && all.contains(&neighbour));
                let sole = sole.count();
                prop_assert!(sole <= 3);
                prop_assert_eq!(peers.shares.len(&peer(neighbour)), sole);
            }
        }
    }

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

    /// The events of each peer: discovered, then updates, then expired, and so on.
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
                    while let Some(peer) = peers.pop(now) {
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
