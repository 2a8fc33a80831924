use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use libp2p_identity::PublicKey;
use multiaddr::{Multiaddr, Protocol};
use proptest::prelude::*;

use super::{
    super::{Config, fuzz, rate::Bucket},
    message::Stamp,
    *,
};
use crate::deadline;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn key(seed: u32) -> PublicKey {
    fuzz::key(seed).unwrap()
}

fn peer(seed: u32) -> PeerId {
    key(seed).to_peer_id()
}

fn payload(seed: u32, ports: &[u16]) -> Vec<u8> {
    let addresses = ports
        .iter()
        .map(|&port| Multiaddr::from(Protocol::Memory(1)).with(Protocol::Tcp(port)));
    message::encode(&key(seed), addresses, Stamp::default())
}

/// After so long the next announcement of a peer is due.
const DUE: Duration = Duration::from_secs(11);
const LOCAL: u32 = 0;
/// Delivers, but announces nothing.
const HUB: u32 = 1_000_000;

fn rate(burst: u32, interval: Duration) -> Rate {
    Rate::new(burst, interval)
}

fn inbox(settings: Settings) -> Inbox {
    Inbox::new(peer(LOCAL), settings)
}

impl Inbox {
    fn hear_from(
        &mut self,
        now: Instant,
        neighbour: u32,
        author: Option<u32>,
        payload: &[u8],
    ) -> Outcome {
        self.on_neighbour(peer(neighbour));
        self.on_message(
            now,
            Incoming {
                neighbour: peer(neighbour),
                author: author.map(peer),
                payload,
            },
        )
    }

    fn announce(&mut self, now: Instant, neighbour: u32, author: u32) -> Outcome {
        self.hear_from(now, neighbour, Some(author), &payload(author, &[1]))
    }
}

fn accepted(change: impl Into<Option<Change>>) -> Outcome {
    let change = change.into();
    Outcome {
        acceptance: MessageAcceptance::Accept,
        change,
        news: Some(News {
            is_newcomer: matches!(change, Some(Change::Discovered(_))),
            is_solicitation: false,
        }),
    }
}

const IGNORED: Outcome = Outcome {
    acceptance: MessageAcceptance::Ignore,
    change: None,
    news: None,
};

#[test]
fn reports_what_is_new_and_only_that() {
    let now = deadline::now();
    let mut inbox = inbox(Config::default().inbox());
    let mut hear = |ports: &[u16]| inbox.hear_from(now, HUB, Some(1), &payload(1, ports));
    assert_eq!(hear(&[1]), accepted(Change::Discovered(peer(1))));
    assert_eq!(hear(&[1]), accepted(None));
    assert_eq!(hear(&[1, 2]), accepted(Change::Updated(peer(1))));
    assert_eq!(hear(&[2, 1]), accepted(None));
    assert_eq!(hear(&[]), accepted(Change::Updated(peer(1))));
    assert_eq!(
        inbox.counters(),
        Counters {
            accepted: 5,
            discovered: 1,
            updated: 2,
            known: 1,
            ..Counters::default()
        }
    );
    assert!(inbox.peers().get(&peer(1)).unwrap().addresses().is_empty());
}

#[test]
fn keeps_of_a_list_what_it_can_use() {
    let [public, private, loopback] = ["1.2.3.4", "10.0.0.1", "127.0.0.1"]
        .map(|ip| format!("/ip4/{ip}/tcp/1/ws").parse::<Multiaddr>().unwrap());
    let unspecified = "/ip4/0.0.0.0/tcp/1/ws".parse().unwrap();
    // More of the others than are kept, and the useful one last.
    let many = (1..100).map(|port| Multiaddr::from(Protocol::Memory(1)).with(Protocol::Tcp(port)));
    let many = many.chain([unspecified, loopback, private.clone(), public.clone()]);
    let now = deadline::now();
    let mut inbox = inbox(Config::default().inbox());
    let hear = |inbox: &mut Inbox, addresses: Vec<Multiaddr>| {
        let payload = message::encode(&key(1), addresses, Stamp::default());
        let outcome = inbox.hear_from(now, HUB, Some(1), &payload);
        assert_eq!(outcome.acceptance, MessageAcceptance::Accept);
        let known = inbox.peers().get(&peer(1)).unwrap();
        known.addresses().to_vec()
    };
    let full = |address: &Multiaddr| address.clone().with_p2p(peer(1)).unwrap();

    let kept = hear(&mut inbox, many.clone().collect());
    assert_eq!(kept, [full(&public), full(&private)]);
    // Known addresses stay until the peer announces itself again.
    inbox.on_own_reach(true);
    assert_eq!(inbox.peers().get(&peer(1)).unwrap().addresses().len(), 2);
    assert_eq!(hear(&mut inbox, many.collect()), [full(&public)]);
    assert_eq!(hear(&mut inbox, vec![private.clone()]), []);
    inbox.on_own_reach(false);
    assert_eq!(hear(&mut inbox, vec![private.clone()]), [full(&private)]);
    // Of 103 all but two, then all but one, and then one.
    assert_eq!(inbox.counters().dropped_addresses, 101 + 102 + 1);
}

#[test]
fn a_peer_with_no_address_of_use_is_known_without() {
    let now = deadline::now();
    let unspecified: Multiaddr = "/ip6/::/tcp/1/ws".parse().unwrap();
    for (filter, payload) in [
        (Filter::custom(|_| false), payload(1, &[1, 2])),
        (
            Filter::custom(|_| true),
            message::encode(&key(1), [unspecified], Stamp::default()),
        ),
    ] {
        let mut inbox = inbox(Settings {
            filter,
            ..Config::default().inbox()
        });
        for change in [Some(Change::Discovered(peer(1))), None] {
            let outcome = inbox.hear_from(now, HUB, Some(1), &payload);
            assert_eq!(outcome, accepted(change));
        }
        assert_eq!(inbox.peers().get(&peer(1)).unwrap().addresses(), []);
    }
}

#[test]
fn believes_nothing_that_is_not_authenticated() {
    let now = deadline::now();
    let mut inbox = inbox(Config::default().inbox());
    for payload in [&payload(1, &[1])[..], b"garbage"] {
        assert_eq!(inbox.hear_from(now, HUB, None, payload), IGNORED);
    }
    assert_eq!(inbox.counters().ignored_unauthenticated, 2);
    assert_eq!(inbox.peers().iter().len(), 0);
}

#[test]
fn ignores_its_own() {
    let now = deadline::now();
    let mut inbox = inbox(Config::default().inbox());
    assert_eq!(inbox.announce(now, HUB, LOCAL), IGNORED);
    assert_eq!(inbox.counters().ignored_own, 1);
    assert_eq!(inbox.peers().iter().len(), 0);
}

#[test]
fn ignores_what_no_honest_author_would_send_and_blames_no_forwarder() {
    let now = deadline::now();
    let mut inbox = inbox(Config::default().inbox());
    assert_eq!(inbox.hear_from(now, HUB, Some(1), b"garbage"), IGNORED);
    assert_eq!(inbox.hear_from(now, HUB, Some(1), b""), IGNORED);
    assert_eq!(inbox.counters().ignored_malformed, 2);
    for about in [2, LOCAL] {
        let foreign = payload(about, &[1]);
        assert_eq!(inbox.hear_from(now, HUB, Some(1), &foreign), IGNORED);
    }
    assert_eq!(inbox.counters().ignored_foreign_key, 2);
    assert_eq!(inbox.counters().ignored(), 4);
    assert_eq!(inbox.peers().iter().len(), 0);
}

/// Whether the author is known or not, and whether or not its announcement is due.
#[test]
fn who_delivers_a_malformed_message_pays_for_it_as_for_a_newcomer() {
    let now = deadline::now();
    for payload in [b"garbage", &payload(2, &[1])[..]] {
        let mut inbox = inbox(Settings {
            newcomer_rate: rate(4, 3_600 * SECOND),
            ..Config::default().inbox()
        });
        // It speaks for itself, and so costs nothing.
        inbox.announce(now, 1, 1);
        for now in [now, now + DUE] {
            assert_eq!(inbox.hear_from(now, HUB, Some(1), payload), IGNORED);
            assert_eq!(inbox.hear_from(now, HUB, Some(3), payload), IGNORED);
        }
        assert_eq!(inbox.counters().ignored_newcomer_rate, 0);
        assert_eq!(inbox.announce(now + DUE, HUB, 4), IGNORED);
        assert_eq!(inbox.counters().ignored_newcomer_rate, 1);
        assert_eq!(
            inbox.announce(now + DUE, HUB + 1, 4),
            accepted(Change::Discovered(peer(4)))
        );
    }
}

/// An author with a due announcement that sends something else instead, thousands of times.
#[test]
fn after_an_unreadable_message_the_author_pays_before_it_is_read() {
    const BURST: u32 = 10;
    let now = deadline::now();
    let foreign = payload(2, &(0..250).collect::<Vec<_>>());
    let too_many = payload(1, &(0..300).collect::<Vec<_>>());
    for unreadable in [&foreign[..], &too_many, b"garbage", &[0; 20_000]] {
        let mut inbox = inbox(Settings {
            author_rate: rate(BURST, SECOND),
            ..Config::default().inbox()
        });
        inbox.announce(now, HUB, 1);
        let due = now + DUE;
        for neighbour in 0..10_000 {
            inbox.hear_from(due, HUB + neighbour % 100, Some(1), unreadable);
        }
        let counters = inbox.counters();
        let read =
            counters.ignored_foreign_key + counters.ignored_malformed + counters.ignored_oversized;
        assert_eq!(read, u64::from(1 + BURST), "{counters:?}");
        assert_eq!(counters.ignored_author_rate, 10_000 - read);

        // One that counts, within the rate, and all is as before.
        assert_eq!(inbox.announce(due + SECOND, HUB, 1), accepted(None));
        for _ in 0..2 * BURST {
            inbox.hear_from(due + SECOND, HUB, Some(1), unreadable);
        }
        assert_eq!(inbox.announce(due + SECOND + DUE, HUB, 1), accepted(None));
    }
}

#[test]
fn an_old_announcement_that_anybody_can_send_again_takes_no_credit() {
    let now = deadline::now();
    let mut inbox = inbox(Settings {
        author_rate: rate(1, 3_600 * SECOND),
        ..Config::default().inbox()
    });
    let numbered = |sequence| {
        let stamp = Stamp {
            sequence: Some(sequence),
            ..Stamp::default()
        };
        message::encode(&key(1), [], stamp)
    };
    let verdict = |inbox: &mut Inbox, now, payload: &[u8]| {
        inbox.hear_from(now, HUB, Some(1), payload).acceptance
    };
    verdict(&mut inbox, now, &numbered(7));
    let due = now + DUE;
    for sequence in [6, 7, 6, 7, 6, 7] {
        verdict(&mut inbox, due, &numbered(sequence));
    }
    assert_eq!(
        verdict(&mut inbox, due, &numbered(8)),
        MessageAcceptance::Accept
    );
    // Nor does it end what an unreadable one has begun.
    let due = due + DUE;
    verdict(&mut inbox, due, b"garbage");
    verdict(&mut inbox, due, &numbered(8));
    let read = inbox.counters().ignored_malformed;
    verdict(&mut inbox, due, b"garbage");
    assert_eq!(inbox.counters().ignored_malformed, read);
}

#[test]
fn blames_nobody_for_what_exceeds_our_own_limits() {
    let now = deadline::now();
    let mut inbox = inbox(Settings {
        max_message_size: 100_000,
        ..Config::default().inbox()
    });
    let too_many: Vec<_> = (0..1_000).collect();
    let too_many = payload(1, &too_many);
    assert!(too_many.len() < 100_000);
    assert_eq!(inbox.hear_from(now, HUB, Some(1), &too_many), IGNORED);
    let too_large = vec![0; 100_001];
    assert_eq!(inbox.hear_from(now, HUB, Some(1), &too_large), IGNORED);
    assert_eq!(inbox.counters().ignored_oversized, 2);
    assert_eq!(inbox.peers().iter().len(), 0);
}

#[test]
fn refused_messages_neither_change_nor_prolong_what_is_known() {
    let now = deadline::now();
    let mut inbox = inbox(Config::default().inbox());
    inbox.announce(now, HUB, 1);
    let expires_at = inbox.next_timeout();
    let later = now + SECOND;
    for payload in [&payload(2, &[9])[..], b"garbage", &[0; 20_000]] {
        assert_eq!(inbox.hear_from(later, HUB, Some(1), payload), IGNORED);
    }
    assert_eq!(inbox.next_timeout(), expires_at);
    assert_eq!(inbox.peers().iter().len(), 1);
}

#[test]
fn a_known_author_keeps_to_its_rate_whoever_delivers() {
    let now = deadline::now();
    let mut inbox = inbox(Settings {
        author_rate: rate(3, SECOND),
        ..Config::default().inbox()
    });
    inbox.announce(now, HUB, 1);
    for neighbour in [HUB, HUB + 1, HUB + 2] {
        assert_eq!(inbox.announce(now, neighbour, 1), accepted(None));
    }
    assert_eq!(inbox.announce(now, HUB, 1), IGNORED);
    assert_eq!(inbox.announce(now, HUB + 3, 1), IGNORED);
    assert_eq!(inbox.counters().ignored_author_rate, 2);
    assert_eq!(inbox.announce(now + SECOND, HUB, 1), accepted(None));
    // As with one topic more.
    inbox.set_author_rate(rate(6, SECOND));
    for _ in 0..3 {
        assert_eq!(inbox.announce(now + SECOND, HUB, 1), accepted(None));
    }
    assert_eq!(inbox.announce(now + SECOND, HUB, 1), IGNORED);
}

#[test]
fn a_neighbour_with_too_many_newcomers_still_delivers_known_peers() {
    let now = deadline::now();
    let mut inbox = inbox(Settings {
        newcomer_rate: rate(2, SECOND),
        ..Config::default().inbox()
    });
    assert_eq!(
        inbox.announce(now, HUB, 1),
        accepted(Change::Discovered(peer(1)))
    );
    // One that is malformed counts as well: it was as much work.
    assert_eq!(inbox.hear_from(now, HUB, Some(2), b"garbage"), IGNORED);
    assert_eq!(inbox.announce(now, HUB, 2), IGNORED);
    assert_eq!(inbox.hear_from(now, HUB, Some(3), b"garbage"), IGNORED);
    assert_eq!(inbox.counters().ignored_newcomer_rate, 2);

    assert_eq!(inbox.announce(now, HUB, 1), accepted(None));
    // Another neighbour has its own rate, and so has this one a second later.
    assert_eq!(
        inbox.announce(now, HUB + 1, 2),
        accepted(Change::Discovered(peer(2)))
    );
    assert_eq!(
        inbox.announce(now + SECOND, HUB, 3),
        accepted(Change::Discovered(peer(3)))
    );
}

#[test]
fn what_a_known_peer_announces_in_time_passes_whatever_flood_comes_with_it() {
    let now = deadline::now();
    let mut inbox = inbox(Settings {
        author_rate: rate(1, SECOND),
        newcomer_rate: rate(3, SECOND),
        ..Config::default().inbox()
    });
    for author in [1, 2] {
        inbox.announce(now, HUB, author);
    }
    for round in 1..10 {
        let now = now + round * 10 * SECOND;
        for author in 100..200 {
            inbox.announce(now, HUB, author);
        }
        // The second one floods as well.
        for _ in 0..100 {
            inbox.announce(now, HUB, 2);
        }
        assert_eq!(inbox.announce(now, HUB, 1), accepted(None));
    }
}

#[test]
fn a_peer_that_speaks_for_itself_is_not_invented() {
    let now = deadline::now();
    let mut inbox = inbox(Settings {
        newcomer_rate: rate(1, SECOND),
        ..Config::default().inbox()
    });
    inbox.announce(now, HUB, 1);
    assert_eq!(inbox.announce(now, HUB, HUB + 1), IGNORED);
    assert_eq!(
        inbox.announce(now, HUB, HUB),
        accepted(Change::Discovered(peer(HUB)))
    );
}

#[test]
fn only_an_empty_list_by_our_rules_that_promises_nothing_is_a_solicitation() {
    let now = deadline::now();
    for (addresses, sequence, promise, expected) in [
        (vec![], Some(1), None, true),
        (vec![], None, None, false),
        (vec![], Some(1), Some(10 * SECOND), false),
        (vec![Protocol::Memory(1).into()], Some(1), None, false),
        (vec![Multiaddr::empty()], Some(1), None, false),
    ] {
        let stamp = Stamp { sequence, promise };
        let payload = message::encode(&key(1), addresses, stamp);
        let outcome = inbox(Config::default().inbox()).hear_from(now, 1, Some(1), &payload);
        assert_eq!(outcome.change, Some(Change::Discovered(peer(1))));
        let news = outcome.news.unwrap();
        assert!(news.is_newcomer);
        assert_eq!(news.is_solicitation, expected);
    }
}

#[test]
fn the_same_on_another_topic_is_no_news_and_an_older_one_is_ignored() {
    let now = deadline::now();
    let mut inbox = inbox(Config::default().inbox());
    let mut hear = |sequence| {
        let stamp = Stamp {
            sequence: Some(sequence),
            ..Stamp::default()
        };
        let payload = message::encode(&key(1), [Protocol::Memory(1).into()], stamp);
        inbox.hear_from(now, HUB, Some(1), &payload)
    };
    assert_eq!(hear(7), accepted(Change::Discovered(peer(1))));
    assert_eq!(
        hear(7),
        Outcome {
            news: None,
            ..accepted(None)
        }
    );
    assert_eq!(hear(6), IGNORED);
    assert_eq!(hear(8), accepted(None));
    let counters = inbox.counters();
    assert_eq!((counters.repeated, counters.ignored_outdated), (1, 1));
}

#[test]
fn what_comes_in_time_and_says_nothing_new_counts_and_does_not_stop_what_does() {
    let now = deadline::now();
    let mut inbox = inbox(Settings {
        author_rate: rate(3, SECOND),
        ..Config::default().inbox()
    });
    let mut hear = |now, neighbour, sequence| {
        let stamp = Stamp {
            sequence: Some(sequence),
            ..Stamp::default()
        };
        let payload = message::encode(&key(1), [Protocol::Memory(1).into()], stamp);
        inbox.hear_from(now, neighbour, Some(1), &payload)
    };
    hear(now, HUB, 7);
    let due = now + DUE;
    let repeated = Outcome {
        news: None,
        ..accepted(None)
    };
    assert_eq!(hear(due, HUB, 7), repeated);
    assert_eq!(hear(due, HUB, 7), repeated);
    assert_eq!(hear(due, HUB, 7), repeated);
    // The author has used up its allowance, for any neighbour that delivers it.
    assert_eq!(hear(due, HUB, 6), IGNORED);
    assert_eq!(hear(due, HUB + 1, 7), IGNORED);
    assert_eq!(hear(due, HUB, 8), accepted(None));
    let counters = inbox.counters();
    assert_eq!(counters.ignored_author_rate, 2);
    assert_eq!((counters.repeated, counters.ignored_outdated), (3, 0));
}

#[test]
fn a_peer_that_has_expired_is_a_newcomer_again() {
    let now = deadline::now();
    let settings = Settings {
        author_rate: rate(1, SECOND),
        ..Config::default().inbox()
    };
    let ttl = settings.lifetimes.unknown;
    let mut inbox = inbox(settings);
    inbox.announce(now, HUB, 1);
    assert_eq!(inbox.next_timeout(), Some(now + ttl));
    assert_eq!(inbox.pop_expired(now + ttl - MS), None);
    assert_eq!(inbox.pop_expired(now + ttl).unwrap(), peer(1));
    assert_eq!(inbox.next_timeout(), None);
    assert_eq!(
        inbox.announce(now + ttl, HUB, 1),
        accepted(Change::Discovered(peer(1)))
    );
}

#[test]
fn a_full_table_keeps_no_strangers() {
    let now = deadline::now();
    let mut inbox = inbox(Settings {
        capacity: NonZeroUsize::MIN,
        ..Config::default().inbox()
    });
    inbox.announce(now, HUB, 1);
    assert_eq!(inbox.announce(now, HUB, 2), accepted(None));
    assert_eq!(inbox.counters().not_kept, 1);
    assert_eq!(inbox.announce(now, HUB, 1), accepted(None));
}

#[test]
fn those_that_are_not_connected_share_one_allowance() {
    let now = deadline::now();
    let mut inbox = inbox(Settings {
        newcomer_rate: rate(2, SECOND),
        ..Config::default().inbox()
    });
    let mut hear = |neighbour, author| {
        let incoming = Incoming {
            neighbour: peer(neighbour),
            author: Some(peer(author)),
            payload: &payload(author, &[1]),
        };
        inbox.on_message(now, incoming)
    };
    hear(HUB, 1);
    // One that is not connected may be invented, also if it speaks for itself.
    hear(2, 2);
    assert_eq!(hear(HUB + 2, 3), IGNORED);
    assert_eq!(hear(4, 4), IGNORED);
    assert_eq!(hear(HUB + 2, 2), accepted(None));
}

#[test]
fn what_a_neighbour_says_of_itself_is_charged_to_it_though_there_is_no_room_for_it() {
    let now = deadline::now();
    let mut inbox = inbox(Settings {
        capacity: NonZeroUsize::MIN,
        author_rate: rate(2, SECOND),
        ..Config::default().inbox()
    });
    inbox.announce(now, HUB, 1);
    for outcome in [accepted(None), accepted(None), IGNORED] {
        assert_eq!(inbox.announce(now, HUB, HUB), outcome);
    }
    assert_eq!(inbox.counters().ignored_author_rate, 1);
}

/// Neighbours from [`HUB`] on, subscribed to a topic.
fn with_neighbours(count: u32, settings: Settings) -> Inbox {
    let mut inbox = inbox(settings);
    for neighbour in HUB..HUB + count {
        inbox.on_neighbour(peer(neighbour));
        inbox.on_subscribed(&peer(neighbour), "any");
    }
    inbox
}

fn muted(inbox: &mut Inbox, now: Instant) -> Vec<Muting> {
    std::iter::from_fn(|| inbox.pop_muting(now)).collect()
}

#[test]
fn a_neighbour_that_would_hide_newcomers_is_muted_while_there_are_others() {
    let now = deadline::now();
    let settings = Settings {
        newcomer_rate: rate(2, 3_600 * SECOND),
        ..Config::default().inbox()
    };
    for (neighbours, is_muted) in [(1, false), (2, false), (3, true), (4, true)] {
        let mut inbox = with_neighbours(neighbours, settings.clone());
        for author in [1, 2] {
            inbox.announce(now, HUB, author);
        }
        assert_eq!(muted(&mut inbox, now), []);
        assert_eq!(inbox.announce(now, HUB, 3), IGNORED);
        let expected = is_muted.then_some(Muting::Mute(peer(HUB)));
        assert_eq!(muted(&mut inbox, now), Vec::from_iter(expected));
        assert_eq!(inbox.counters().muted, u64::from(is_muted));
        if is_muted {
            let until = now + 10 * SECOND;
            assert_eq!(inbox.next_timeout(), Some(until));
            assert_eq!(muted(&mut inbox, until), [Muting::Unmute(peer(HUB))]);
        }
    }
}

#[test]
fn a_neighbour_whose_own_messages_are_malformed_is_muted_at_once() {
    let now = deadline::now();
    for payload in [b"garbage", &payload(1, &[1])[..]] {
        let mut inbox = with_neighbours(3, Config::default().inbox());
        assert_eq!(inbox.hear_from(now, HUB, Some(HUB), payload), IGNORED);
        assert_eq!(muted(&mut inbox, now), [Muting::Mute(peer(HUB))]);
        // A neighbour is not to blame for messages of others.
        assert_eq!(inbox.hear_from(now, HUB + 1, Some(2), payload), IGNORED);
        assert_eq!(muted(&mut inbox, now), []);
    }
    // Nor for messages that only this node limits.
    let mut inbox = with_neighbours(3, Config::default().inbox());
    assert_eq!(inbox.hear_from(now, HUB, Some(HUB), &[0; 20_000]), IGNORED);
    assert_eq!(muted(&mut inbox, now), []);
}

#[test]
fn a_neighbour_that_delivers_too_many_malformed_messages_is_muted() {
    let now = deadline::now();
    let mut inbox = with_neighbours(
        3,
        Settings {
            newcomer_rate: rate(2, 3_600 * SECOND),
            ..Config::default().inbox()
        },
    );
    inbox.announce(now, 1, 1);
    for _ in 0..2 {
        inbox.hear_from(now, HUB, Some(1), b"garbage");
        assert_eq!(muted(&mut inbox, now), []);
    }
    inbox.hear_from(now, HUB, Some(1), b"garbage");
    assert_eq!(muted(&mut inbox, now), [Muting::Mute(peer(HUB))]);
}

#[test]
fn a_muted_neighbour_is_unmuted_when_it_disconnects() {
    let now = deadline::now();
    let mut inbox = with_neighbours(4, Config::default().inbox());
    inbox.hear_from(now, HUB, Some(HUB), b"garbage");
    assert_eq!(muted(&mut inbox, now), [Muting::Mute(peer(HUB))]);
    inbox.on_neighbour_gone(&peer(HUB));
    assert_eq!(muted(&mut inbox, now), [Muting::Unmute(peer(HUB))]);
    // Its earlier messages arrive late.
    let incoming = Incoming {
        neighbour: peer(HUB),
        author: Some(peer(HUB)),
        payload: b"garbage",
    };
    inbox.on_message(now, incoming);
    assert_eq!(muted(&mut inbox, now), []);
}

#[test]
fn a_muted_neighbour_is_unmuted_when_the_others_unsubscribe_or_a_connection_is_lost() {
    let now = deadline::now();
    let leave: [fn(&mut Inbox); 3] = [
        |inbox| inbox.on_connection_lost(&peer(HUB)),
        |inbox| inbox.on_unsubscribed(&peer(HUB + 1), "any"),
        |inbox| inbox.on_topic_removed("any"),
    ];
    for leave in leave {
        let mut inbox = with_neighbours(3, Config::default().inbox());
        inbox.hear_from(now, HUB, Some(HUB), b"garbage");
        assert_eq!(muted(&mut inbox, now), [Muting::Mute(peer(HUB))]);
        leave(&mut inbox);
        assert_eq!(muted(&mut inbox, now), [Muting::Unmute(peer(HUB))]);
    }
}

/// A neighbour that delivers only newcomers has at most a quarter of the table, unless there is no other.
#[test]
fn one_neighbour_fills_a_quarter_of_the_table_if_there_are_others() {
    const CAPACITY: u32 = 64;
    for (neighbours, most) in [(1, CAPACITY), (2, CAPACITY / 4)] {
        let mut now = deadline::now();
        let settings = Settings {
            capacity: NonZeroUsize::new(CAPACITY as usize).unwrap(),
            ..Config::default().inbox()
        };
        let mut inbox = with_neighbours(neighbours, settings);
        let honest = HUB + neighbours - 1;
        for author in 1..=8 {
            inbox.announce(now, honest, author);
        }
        for author in 1_000..1_500 {
            now += 20 * MS;
            inbox.announce(now, HUB, author);
            while inbox.pop_expired(now).is_some() {}
        }
        let known = inbox.peers().iter().map(|known| known.peer_id());
        let known = known.collect::<HashSet<_>>();
        assert!((1..=8).all(|author| known.contains(&peer(author))));
        let own = if neighbours == 1 { 0 } else { 8 };
        assert_eq!(known.len(), (most + own) as usize);
        let counters = inbox.counters();
        assert_eq!(counters.known, counters.discovered - counters.expired);
    }
}

/// One connection, a hundred thousand identities with valid announcements, and a hundred honest peers behind the
/// same neighbour.
#[test]
fn a_flood_of_invented_identities_leaves_the_known_peers_known() {
    const HONEST: u32 = 100;
    const SECONDS: u32 = 100;
    const INVENTED_PER_SECOND: u32 = 1_000;
    let settings = Config::default().inbox();
    assert!(settings.lifetimes.unknown < SECONDS * SECOND);
    let mut inbox = inbox(settings);
    let mut now = deadline::now();
    let neighbour = peer(HUB);
    inbox.on_neighbour(neighbour);
    let honest: Vec<_> = (1..=HONEST)
        .map(|seed| (peer(seed), payload(seed, &[1])))
        .collect();
    let announce = |inbox: &mut Inbox, now, author, payload: &[u8]| {
        let incoming = Incoming {
            neighbour,
            author: Some(author),
            payload,
        };
        inbox.on_message(now, incoming)
    };

    for (peer, payload) in &honest {
        let outcome = announce(&mut inbox, now, *peer, payload);
        assert_eq!(outcome, accepted(Change::Discovered(*peer)));
    }
    let mut invented = HONEST;
    for second in 0..SECONDS as usize {
        now += SECOND;
        for _ in 0..INVENTED_PER_SECOND {
            invented += 1;
            let key = key(invented);
            announce(
                &mut inbox,
                now,
                key.to_peer_id(),
                &message::encode(&key, [], Stamp::default()),
            );
        }
        for (peer, payload) in honest.iter().skip(second % 10).step_by(10) {
            assert_eq!(announce(&mut inbox, now, *peer, payload), accepted(None));
        }
        while let Some(expired) = inbox.pop_expired(now) {
            assert!(honest.iter().all(|(peer, _)| *peer != expired));
        }
        assert!(inbox.peers().iter().len() <= HONEST as usize + 500 + 50 * 60);
    }
    for (peer, _) in &honest {
        let known = inbox.peers().get(peer).unwrap();
        assert!(now - known.last_heard() < 10 * SECOND);
    }
    let counters = inbox.counters();
    assert!(counters.ignored_newcomer_rate > 90_000, "{counters:?}");
    assert_eq!(counters.ignored(), counters.ignored_newcomer_rate);
}

#[derive(Debug, Clone)]
enum Operation {
    Message {
        neighbour: u32,
        author: Option<u32>,
        kind: Kind,
    },
    Gone(u32),
    Pop,
    Advance(Duration),
}

#[derive(Debug, Clone)]
enum Kind {
    Announcement(Vec<u16>),
    About(u32),
    Garbage,
    Oversized,
}

fn operation() -> impl Strategy<Value = Operation> {
    let ports = prop::sample::subsequence(vec![1, 2, 3], 0..=3).prop_shuffle();
    let kind = prop_oneof![
        6 => ports.prop_map(Kind::Announcement),
        1 => (0..6_u32).prop_map(Kind::About),
        1 => Just(Kind::Garbage),
        1 => Just(Kind::Oversized),
    ];
    prop_oneof![
        12 => (0..3_u32, prop::option::weighted(0.9, 0..6_u32), kind).prop_map(
            |(neighbour, author, kind)| Operation::Message { neighbour, author, kind }
        ),
        1 => (0..3_u32).prop_map(Operation::Gone),
        2 => Just(Operation::Pop),
        3 => (0..1_500_u32).prop_map(|ms| Operation::Advance(ms * MS)),
    ]
}

fn tight() -> Settings {
    Settings {
        max_message_size: 1_000,
        filter: Filter::ByReach,
        max_addresses: 16,
        capacity: NonZeroUsize::new(3).unwrap(),
        lifetimes: Lifetimes {
            unknown: 3 * SECOND,
            // So that intervals are learnt only from returning peers, and nothing else is ever due.
            shortest: Duration::MAX,
            longest: SECOND,
        },
        author_rate: rate(3, SECOND),
        newcomer_rate: rate(2, SECOND),
    }
}

/// The rules one after the other, over seeds in place of peers.
#[derive(Default)]
struct Rules {
    known: HashMap<u32, Known>,
    expired: HashSet<u32>,
    newcomers: HashMap<u32, Bucket>,
}

struct Known {
    ports: Vec<u16>,
    last_heard: Instant,
    expires_at: Instant,
    bucket: Bucket,
    is_returned: bool,
    is_suspect: bool,
}

impl Known {
    fn is_due(&self, now: Instant) -> bool {
        self.is_returned && !self.is_suspect && now - self.last_heard >= SECOND / 2
    }
}

impl Rules {
    /// A newcomer's has been paid for already.
    fn unreadable(&mut self, now: Instant, neighbour: u32, author: u32, kind: &Kind) -> Outcome {
        if let Some(known) = self.known.get_mut(&author) {
            known.is_suspect = true;
            let of_newcomers = self.newcomers.entry(neighbour).or_default();
            if !matches!(kind, Kind::Oversized) {
                of_newcomers.try_take(now, tight().newcomer_rate);
            }
        }
        IGNORED
    }

    fn judge(&mut self, now: Instant, neighbour: u32, author: Option<u32>, kind: &Kind) -> Outcome {
        let settings = tight();
        let Some(author) = author.filter(|&author| author != LOCAL) else {
            return IGNORED;
        };
        let known = self.known.get_mut(&author);
        if !known.as_ref().is_some_and(|known| known.is_due(now)) {
            let of_newcomers = self.newcomers.entry(neighbour).or_default();
            let within = match known {
                Some(known) => known.bucket.try_take(now, settings.author_rate),
                None => of_newcomers.try_take(now, settings.newcomer_rate),
            };
            if !within {
                return IGNORED;
            }
        }
        let mut ports = match kind {
            Kind::Oversized | Kind::Garbage => {
                return self.unreadable(now, neighbour, author, kind);
            }
            Kind::About(about) if *about != author => {
                return self.unreadable(now, neighbour, author, kind);
            }
            Kind::About(_) => vec![],
            Kind::Announcement(ports) => ports.clone(),
        };
        ports.sort_unstable();
        let expires_at = now + settings.lifetimes.unknown;
        let is_full = self.known.len() == settings.capacity.get();
        match self.known.get_mut(&author) {
            None if is_full => accepted(None),
            None => {
                let known = Known {
                    ports,
                    last_heard: now,
                    expires_at,
                    bucket: Bucket::default(),
                    is_returned: self.expired.remove(&author),
                    is_suspect: false,
                };
                self.known.insert(author, known);
                accepted(Change::Discovered(peer(author)))
            }
            Some(known) => {
                known.last_heard = now;
                known.expires_at = expires_at;
                known.is_suspect = false;
                let change = (known.ports != ports).then_some(Change::Updated(peer(author)));
                known.ports = ports;
                accepted(change)
            }
        }
    }
}

proptest! {
    #[test]
    fn agrees_with_the_rules_in_any_order(
        operations in prop::collection::vec(operation(), 0..150),
    ) {
        let mut now = deadline::now();
        let mut inbox = inbox(tight());
        let mut rules = Rules::default();
        let mut messages = 0;
        for operation in operations {
            match operation {
                Operation::Message { neighbour, author, kind } => {
                    let payload = match (&kind, author) {
                        (Kind::Announcement(ports), author) => {
                            payload(author.unwrap_or(1), ports)
                        }
                        (Kind::About(about), _) => payload(*about, &[]),
                        (Kind::Garbage, _) => vec![0xff; 10],
                        (Kind::Oversized, _) => vec![0; 1_001],
                    };
                    messages += 1;
                    prop_assert_eq!(
                        inbox.hear_from(now, HUB + neighbour, author, &payload),
                        rules.judge(now, neighbour, author, &kind)
                    );
                }
                Operation::Gone(neighbour) => {
                    inbox.on_neighbour_gone(&peer(HUB + neighbour));
                    rules.newcomers.remove(&neighbour);
                }
                Operation::Pop => {
                    let mut expired: Vec<_> = std::iter::from_fn(|| inbox.pop_expired(now)).collect();
                    expired.sort();
                    let mut expected: Vec<_> = rules
                        .known
                        .extract_if(|_, known| known.expires_at <= now)
                        .map(|(seed, _)| {
                            rules.expired.insert(seed);
                            peer(seed)
                        })
                        .collect();
                    expected.sort();
                    prop_assert_eq!(expired, expected);
                }
                Operation::Advance(step) => now += step,
            }
            let counters = inbox.counters();
            prop_assert_eq!(
                counters.accepted + counters.ignored(),
                messages
            );
            prop_assert_eq!(counters.known, rules.known.len() as u64);
            prop_assert_eq!(counters.known, counters.discovered - counters.expired);
            prop_assert!(counters.discovered + counters.updated <= counters.accepted);
            prop_assert_eq!(
                inbox.peers().next_timeout(),
                rules.known.values().map(|known| known.expires_at).min()
            );
        }
    }
}
