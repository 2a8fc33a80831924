use proptest::prelude::*;

use super::{super::super::fuzz, *};
use crate::deadline;

const SECOND: Duration = Duration::from_secs(1);

fn peer(seed: u32) -> PeerId {
    fuzz::key(seed).unwrap().to_peer_id()
}

impl Mutes {
    fn all(&mut self, now: Instant) -> Vec<Muting> {
        std::iter::from_fn(|| self.pop(now)).collect()
    }

    fn greedy(&mut self, now: Instant, seed: u32) -> Vec<Muting> {
        self.on_greedy(now, &peer(seed));
        self.all(now)
    }
}

/// With the neighbours 1, 2 and so on, all subscribed.
fn mutes(subscribed: u32) -> Mutes {
    let mut mutes = Mutes::default();
    for seed in 1..=subscribed {
        mutes.on_connected(peer(seed));
        mutes.on_subscribed(&peer(seed), "any");
    }
    mutes
}

#[test]
fn a_greedy_neighbour_is_muted_for_ten_seconds() {
    let now = deadline::now();
    let mut mutes = mutes(3);
    assert_eq!(mutes.greedy(now, 1), [Muting::Mute(peer(1))]);
    // The pubsub had taken more from it.
    assert_eq!(mutes.greedy(now + SECOND, 1), []);
    assert_eq!(mutes.next_timeout(), Some(now + MUTE));
    assert_eq!(mutes.all(now + MUTE - Duration::from_nanos(1)), []);
    assert_eq!(mutes.all(now + MUTE), [Muting::Unmute(peer(1))]);
    assert_eq!(mutes.next_timeout(), None);
    assert_eq!(mutes.greedy(now + MUTE, 1), [Muting::Mute(peer(1))]);
}

#[test]
fn nobody_is_muted_unless_enough_others_are_there() {
    let now = deadline::now();
    for alone in [1, 2] {
        assert_eq!(mutes(alone).greedy(now, 1), []);
    }
    // Three connected peers take no part.
    let mut with_others = mutes(2);
    for seed in 10..13 {
        with_others.on_connected(peer(seed));
    }
    assert_eq!(with_others.greedy(now, 1), []);
    // A greedy neighbour is muted all the same, and does not count.
    assert_eq!(with_others.greedy(now, 10), []);
    let mut three = mutes(3);
    three.on_connected(peer(10));
    assert_eq!(three.greedy(now, 10), [Muting::Mute(peer(10))]);
    assert_eq!(three.greedy(now, 1), [Muting::Mute(peer(1))]);
    // A peer that is not connected is never muted: it would not be greeted when it connects.
    assert_eq!(three.greedy(now, 99), []);
}

#[test]
fn where_all_neighbours_forward_the_same_flood_nobody_is_muted() {
    let now = deadline::now();
    let mut mutes = mutes(5);
    assert_eq!(mutes.greedy(now, 1), [Muting::Mute(peer(1))]);
    assert_eq!(mutes.greedy(now, 2), [Muting::Mute(peer(2))]);
    let mut unmuted = mutes.greedy(now, 3);
    unmuted.sort_by_key(|muting| matches!(muting, Muting::Unmute(one) if *one == peer(2)));
    assert_eq!(unmuted, [1, 2].map(|seed| Muting::Unmute(peer(seed))));
    for seed in 1..=5 {
        assert_eq!(mutes.greedy(now + SECOND, seed), []);
    }
    // Ten seconds after it is over, all is as before.
    assert_eq!(mutes.all(now + SECOND + MUTE), []);
    assert_eq!(
        mutes.greedy(now + SECOND + MUTE, 1),
        [Muting::Mute(peer(1))]
    );
}

#[test]
fn who_stays_greedy_is_noted_again_after_a_second() {
    let now = deadline::now();
    let mut mutes = mutes(2);
    for (after, noted) in [
        (Duration::ZERO, Duration::ZERO),
        (RENEWAL - Duration::from_nanos(1), Duration::ZERO),
        (RENEWAL, RENEWAL),
        (3 * RENEWAL, 3 * RENEWAL),
    ] {
        assert_eq!(mutes.greedy(now + after, 1), []);
        assert_eq!(mutes.next_timeout(), Some(now + noted + MUTE));
    }
}

#[test]
fn who_is_greedy_still_is_muted_once_there_are_others() {
    let now = deadline::now();
    let mut mutes = mutes(2);
    assert_eq!(mutes.greedy(now, 1), []);
    mutes.on_connected(peer(3));
    mutes.on_subscribed(&peer(3), "any");
    assert_eq!(mutes.all(now), []);
    assert_eq!(mutes.greedy(now, 1), [Muting::Mute(peer(1))]);
}

#[test]
fn a_neighbour_is_heard_again_when_the_others_leave() {
    let now = deadline::now();
    let leave: [fn(&mut Mutes); 3] = [
        |mutes| mutes.on_disconnected(&peer(2)),
        |mutes| mutes.on_unsubscribed(&peer(2), "any"),
        |mutes| mutes.on_topic_removed("any"),
    ];
    for leave in leave {
        let mut mutes = mutes(3);
        mutes.greedy(now, 1);
        leave(&mut mutes);
        assert_eq!(mutes.all(now), [Muting::Unmute(peer(1))]);
    }
}

#[test]
fn a_muted_neighbour_that_disconnects_is_unmuted_and_starts_anew() {
    let now = deadline::now();
    let mut mutes = mutes(4);
    mutes.greedy(now, 1);
    mutes.on_disconnected(&peer(1));
    assert_eq!(mutes.all(now), [Muting::Unmute(peer(1))]);
    assert_eq!(mutes.next_timeout(), None);
    mutes.on_connected(peer(1));
    assert_eq!(mutes.greedy(now, 1), [Muting::Mute(peer(1))]);
}

#[test]
fn a_muted_neighbour_that_loses_a_connection_is_unmuted_until_it_is_greedy_again() {
    let now = deadline::now();
    let mut mutes = mutes(4);
    mutes.greedy(now, 1);
    mutes.on_connection_lost(&peer(1));
    assert_eq!(mutes.all(now), [Muting::Unmute(peer(1))]);
    assert_eq!(mutes.next_timeout(), Some(now + MUTE));
    assert_eq!(mutes.greedy(now, 1), [Muting::Mute(peer(1))]);
}

#[test]
fn a_neighbour_is_subscribed_as_long_as_it_is_to_one_topic() {
    let mut mutes = mutes(1);
    let has_others = |mutes: &Mutes| mutes.has_others(&peer(2));
    assert!(has_others(&mutes));
    assert!(!mutes.has_others(&peer(1)));
    mutes.on_subscribed(&peer(1), "other");
    mutes.on_unsubscribed(&peer(1), "any");
    assert!(has_others(&mutes));
    mutes.on_topic_removed("any");
    assert!(has_others(&mutes));
    mutes.on_topic_removed("other");
    assert!(!has_others(&mutes));
    // Events of the pubsub may arrive after the end of the connection.
    mutes.on_subscribed(&peer(2), "any");
    assert!(!has_others(&mutes));
}

#[derive(Debug, Clone)]
enum Operation {
    Connect(u32),
    Disconnect(u32),
    Lose(u32),
    Subscribe(u32, &'static str),
    Unsubscribe(u32, &'static str),
    Greedy(u32),
    Advance(Duration),
}

fn operation() -> impl Strategy<Value = Operation> {
    let peer = || 0..6_u32;
    let topic = || prop_oneof![Just("a"), Just("b")];
    prop_oneof![
        2 => peer().prop_map(Operation::Connect),
        1 => peer().prop_map(Operation::Disconnect),
        1 => peer().prop_map(Operation::Lose),
        4 => (peer(), topic()).prop_map(|(peer, topic)| Operation::Subscribe(peer, topic)),
        1 => (peer(), topic()).prop_map(|(peer, topic)| Operation::Unsubscribe(peer, topic)),
        3 => peer().prop_map(Operation::Greedy),
        2 => (0..6_000_u64).prop_map(|ms| Operation::Advance(Duration::from_millis(ms))),
    ]
}

proptest! {
    #[test]
    fn whoever_is_muted_is_connected_and_has_enough_others_beside_it(
        operations in prop::collection::vec(operation(), 0..200),
    ) {
        let mut now = deadline::now();
        let mut mutes = Mutes::default();
        let mut muted = HashMap::new();
        for operation in operations {
            match operation {
                Operation::Connect(seed) => mutes.on_connected(peer(seed)),
                Operation::Disconnect(seed) => mutes.on_disconnected(&peer(seed)),
                Operation::Lose(seed) => mutes.on_connection_lost(&peer(seed)),
                Operation::Subscribe(seed, topic) => mutes.on_subscribed(&peer(seed), topic),
                Operation::Unsubscribe(seed, topic) => mutes.on_unsubscribed(&peer(seed), topic),
                Operation::Greedy(seed) => mutes.on_greedy(now, &peer(seed)),
                Operation::Advance(step) => now += step,
            }
            while let Some(muting) = mutes.pop(now) {
                match muting {
                    Muting::Mute(peer) => prop_assert!(muted.insert(peer, now).is_none()),
                    Muting::Unmute(peer) => prop_assert!(muted.remove(&peer).is_some()),
                }
            }
            let subscribed = mutes.neighbours.iter().filter(|(_, row)| !row.topics.is_empty());
            let subscribed = subscribed.collect::<Vec<_>>();
            let within = subscribed.iter().filter(|(_, row)| row.greedy_until.is_none()).count();
            prop_assert_eq!(mutes.counts, Counts { subscribed: subscribed.len(), within });
            for (peer, since) in &muted {
                prop_assert!(mutes.neighbours.contains_key(peer));
                prop_assert!(now < *since + MUTE);
                prop_assert!(within >= 2 && 2 * within > subscribed.len());
            }
            prop_assert_eq!(
                &mutes.timeouts,
                &mutes
                    .neighbours
                    .iter()
                    .filter_map(|(peer, row)| Some((row.greedy_until?, *peer)))
                    .collect()
            );
        }
    }
}
