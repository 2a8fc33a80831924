//! The drivers of the fuzz targets.

use std::{
    collections::HashSet,
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use libp2p_identity::{PeerId, PublicKey};
use multiaddr::{Multiaddr, Protocol};

use super::{
    AnnounceOutcome, Config, MessageAcceptance, Rate, SkipReason,
    filter::{Filter, Offered},
    inbox::{Change, Inbox, Incoming, Muting, Settings},
    message::{Announcement, MAX_ADDRESS_LEN, MAX_ENTRIES, Stamp, decode, encode, public_key},
    peers::Lifetimes,
    schedule::{Listening, Outcome, Schedule, Timing, longest},
};
use crate::deadline::{self, Instant};

const SECOND: Duration = Duration::from_secs(1);
const CAPACITY: usize = 8;
const TIMING: Timing = Timing {
    interval: Duration::from_secs(10),
    max_interval: Duration::from_secs(60),
    minimum_gap: SECOND,
    coalescing: Duration::from_millis(50),
    target_rate: NonZeroU32::MIN,
};

/// Plays the shell, the pubsub and time as bytes tell, and holds what the cores say against their contracts.
///
/// # Panics
///
/// If a contract is broken.
pub(crate) fn operations(data: &[u8]) {
    let mut bytes = data.iter().copied();
    let mut outside = Outside::new(bytes.next().unwrap_or_default());
    while let Some(operation) = Operation::read(&mut bytes) {
        outside.apply(operation);
        outside.settle();
    }
}

/// An RSA key of eight bytes: it signs nothing, but costs nothing to make, so that tests can invent as many
/// identities as an attacker.
pub(crate) fn key(seed: u32) -> Option<PublicKey> {
    let mut key = vec![0x08, 0x00, 0x12, 28, 0x30, 26, 0x30, 13, 0x06, 9];
    key.extend([
        0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
    ]);
    key.extend([0x03, 9, 0x00]);
    key.extend(u64::from(seed).to_be_bytes());
    PublicKey::try_decode_protobuf(&key).ok()
}

#[derive(Debug, Clone, Copy)]
enum Operation {
    Pass(Duration),
    Hear {
        neighbour: u32,
        author: u32,
        what: What,
    },
    /// A neighbour has connected and subscribed.
    Neighbour(u32),
    Gone(u32),
    Listening(Listening),
    Subscriber,
    TopicAdded,
    Silent(bool),
    Request,
    /// The outcome of the next rounds.
    Outcomes(Outcome),
}

#[derive(Debug, Clone, Copy)]
enum What {
    Js,
    Numbered {
        back: u64,
        promise: Option<Duration>,
    },
    Foreign,
    Unsigned,
    Garbage,
}

impl Operation {
    fn read(bytes: &mut impl Iterator<Item = u8>) -> Option<Self> {
        let kind = bytes.next()?;
        let argument = bytes.next()?;
        let small = u32::from(argument % 4);
        let rest = argument / 4;
        Some(match kind % 32 {
            0..=5 => Self::Pass(Duration::from_millis(3 * u64::from(argument).pow(2))),
            6..=21 => Self::Hear {
                neighbour: small,
                author: u32::from(rest % 16),
                what: match kind % 32 {
                    6..=9 => What::Js,
                    10..=18 => What::Numbered {
                        back: u64::from(kind / 32 % 4),
                        promise: match argument / 64 {
                            0 => None,
                            1 => Some(Duration::from_millis(1)),
                            2 => Some(longest(TIMING.interval)),
                            _ => Some(Duration::MAX),
                        },
                    },
                    19 => What::Foreign,
                    20 => What::Unsigned,
                    _ => What::Garbage,
                },
            },
            22 => Self::Gone(small),
            23 => Self::Listening(match argument % 4 {
                0 => Listening::Nothing,
                1 => Listening::Waiting,
                _ => Listening::Ready,
            }),
            24 => Self::Subscriber,
            25 => Self::Neighbour(small),
            26 => Self::TopicAdded,
            27 => Self::Silent(argument & 1 == 0),
            28..=29 => Self::Request,
            _ => Self::Outcomes(match argument % 8 {
                0 => Outcome::Failed,
                1 => Outcome::Skipped(SkipReason::NoSubscribers),
                2 => Outcome::Skipped(SkipReason::NothingLeft),
                _ => Outcome::Published,
            }),
        })
    }
}

struct Outside {
    now: Instant,
    schedule: Schedule,
    inbox: Inbox,
    listening: Listening,
    /// The outcome of rounds while there is an address.
    outcomes: Outcome,
    silent: bool,
    /// When the pubsub was last given an announcement.
    handed_over: Option<Instant>,
    sequence: u64,
    messages: u64,
    known: HashSet<PeerId>,
    neighbours: HashSet<PeerId>,
    muted: HashSet<PeerId>,
}

impl Outside {
    fn new(seed: u8) -> Self {
        let now = deadline::now();
        let rate = |burst: u32, interval| Rate::new(burst.saturating_add(1), interval);
        let settings = Settings {
            max_message_size: 1_000,
            filter: Filter::ByReach,
            max_addresses: 4,
            capacity: NonZeroUsize::MIN.saturating_add(CAPACITY - 1),
            lifetimes: Lifetimes {
                unknown: 60 * SECOND,
                shortest: TIMING.interval,
                longest: longest(TIMING.max_interval),
            },
            author_rate: rate(2, SECOND),
            newcomer_rate: rate(3, SECOND),
        };
        Self {
            now,
            schedule: Schedule::new(TIMING, false, seed.into(), now),
            inbox: Inbox::new(peer(1_000), settings),
            listening: Listening::Nothing,
            outcomes: Outcome::Published,
            silent: false,
            handed_over: None,
            sequence: 10,
            messages: 0,
            known: HashSet::new(),
            neighbours: HashSet::new(),
            muted: HashSet::new(),
        }
    }

    fn apply(&mut self, operation: Operation) {
        let now = self.now;
        match operation {
            Operation::Pass(time) => self.now += time,
            Operation::Hear {
                neighbour,
                author,
                what,
            } => self.hear(neighbour, author, what),
            Operation::Neighbour(neighbour) => {
                self.inbox.on_neighbour(peer(neighbour));
                self.inbox.on_subscribed(&peer(neighbour), "any");
                self.neighbours.insert(peer(neighbour));
            }
            Operation::Gone(neighbour) => {
                self.neighbours.remove(&peer(neighbour));
                self.inbox.on_neighbour_gone(&peer(neighbour));
            }
            Operation::Listening(listening) => {
                let changed = self.schedule.on_listening(now, listening);
                assert_eq!(changed, listening != self.listening);
                self.listening = listening;
                self.schedule.on_addresses_changed(now);
            }
            Operation::Subscriber => self.schedule.on_subscriber(now),
            Operation::TopicAdded => self.schedule.on_topic_added(now),
            Operation::Silent(silent) => {
                self.silent = silent;
                self.schedule.set_silent(now, silent);
            }
            Operation::Request => match self.schedule.on_request(now) {
                Ok(()) => self.round(),
                Err(AnnounceOutcome::Delayed { until }) => assert!(until > now),
                Err(answer) => assert_eq!(answer, AnnounceOutcome::Skipped(SkipReason::ListenOnly)),
            },
            Operation::Outcomes(outcome) => self.outcomes = outcome,
        }
    }

    fn hear(&mut self, neighbour: u32, author: u32, what: What) {
        if self.muted.contains(&peer(neighbour)) {
            return;
        }
        let now = self.now;
        let about = match what {
            What::Foreign => author + 1,
            _ => author,
        };
        let Some(key) = key(about) else {
            return;
        };
        self.sequence += 1;
        let stamp = match what {
            What::Numbered { back, promise } => Stamp {
                sequence: Some(self.sequence - back),
                promise,
            },
            _ => Stamp::default(),
        };
        let ports = 0..u16::try_from(self.sequence % 7).unwrap_or_default();
        let addresses =
            ports.map(|port| Multiaddr::from(Protocol::Memory(1)).with(Protocol::Tcp(port)));
        let payload = match what {
            What::Garbage => vec![0xff; 20],
            _ => encode(&key, addresses, stamp),
        };
        let author = peer(author);
        let incoming = Incoming {
            neighbour: peer(neighbour),
            author: (!matches!(what, What::Unsigned)).then_some(author),
            payload: &payload,
        };
        self.messages += 1;
        let outcome = self.inbox.on_message(now, incoming);
        match (outcome.acceptance, what) {
            (MessageAcceptance::Accept, What::Js | What::Numbered { .. })
            | (MessageAcceptance::Ignore, _) => {}
            (verdict, what) => panic!("{verdict:?} for {what:?}"),
        }
        match outcome.change {
            Some(Change::Discovered(peer)) => assert!(self.known.insert(peer)),
            Some(Change::Updated(peer)) => assert!(self.known.contains(&peer)),
            None => {}
        }
        if let Some(news) = outcome.news {
            assert_eq!(outcome.acceptance, MessageAcceptance::Accept);
            assert_eq!(
                news.is_newcomer,
                matches!(outcome.change, Some(Change::Discovered(_)))
            );
            match news.is_solicitation {
                true => self.schedule.on_solicitation(now, news.is_newcomer),
                false => self.schedule.on_announcement(now, news.is_newcomer),
            }
        }
    }

    fn round(&mut self) {
        assert!(!self.silent);
        if let Some(handed_over) = self.handed_over {
            assert!(
                self.now >= handed_over + TIMING.minimum_gap,
                "within the minimum gap"
            );
        }
        let promise = self.schedule.promise(self.now);
        assert!(promise >= longest(TIMING.interval) && promise <= longest(TIMING.max_interval));
        let may_solicit = self.schedule.may_solicit(self.now);
        assert!(!may_solicit || self.listening != Listening::Ready);
        let outcome = match (self.listening, self.outcomes) {
            (Listening::Ready, outcome) => outcome,
            (_, Outcome::Published) if may_solicit => Outcome::Solicited,
            (_, Outcome::Failed) if may_solicit => Outcome::Failed,
            (_, Outcome::Skipped(_)) if may_solicit => Outcome::Skipped(SkipReason::NoSubscribers),
            _ => Outcome::Skipped(SkipReason::NoListeners),
        };
        self.schedule.on_outcome(self.now, outcome);
        if !matches!(outcome, Outcome::Skipped(_)) {
            self.handed_over = Some(self.now);
        }
    }

    /// Carries out what is due now, as the shell would, and checks everything.
    fn settle(&mut self) {
        let now = self.now;
        let known = self.inbox.peers().count();
        self.schedule.on_known_peers(now, known);
        if self.schedule.is_due(now) {
            self.round();
            assert!(!self.schedule.is_due(now), "a round causes no round");
        }
        assert!(
            self.schedule.next_timeout().is_none_or(|at| at > now),
            "nothing is due, and yet the time has come"
        );
        assert_eq!(self.schedule.next_timeout().is_none(), self.silent);
        let interval = self.schedule.interval();
        assert!((TIMING.interval..=TIMING.max_interval).contains(&interval));

        while let Some(expired) = self.inbox.pop_expired(now) {
            assert!(self.known.remove(&expired), "expired twice");
        }
        while let Some(muting) = self.inbox.pop_muting(now) {
            match muting {
                Muting::Mute(peer) => assert!(self.muted.insert(peer), "muted twice"),
                Muting::Unmute(peer) => assert!(self.muted.remove(&peer), "unmuted twice"),
            }
        }
        assert!(self.muted.is_subset(&self.neighbours));
        assert!(self.muted.is_empty() || self.neighbours.len() >= 3);
        let next = self.inbox.next_timeout();
        assert!(next.is_none_or(|at| at > now));
        assert!(next.is_some() || (self.known.is_empty() && self.muted.is_empty()));
        let rows = self.inbox.peers().iter();
        assert!(rows.len() <= CAPACITY + CAPACITY / 8);
        assert_eq!(rows.len(), self.known.len());
        for row in rows {
            assert!(self.known.contains(&row.peer_id()));
            assert!(row.addresses().len() <= 4);
            assert!(row.expires_at() > now);
            assert!(row.expires_at() <= row.last_heard() + 3 * longest(TIMING.max_interval));
        }
        let counters = self.inbox.counters();
        let judged = counters.accepted + counters.ignored();
        assert_eq!(judged, self.messages);
    }
}

fn peer(seed: u32) -> PeerId {
    key(seed).map_or_else(PeerId::random, |key| key.to_peer_id())
}

/// Reads the bytes, and what has been read once more after writing it.
///
/// # Panics
///
/// If a promise is broken.
pub(crate) fn announcement(data: &[u8]) {
    let settings = Config::default().inbox();
    let announcement = decode(data, settings.max_message_size, |offered| offered.collect()).ok();
    let key = public_key(data);
    if let Some(announcement) = &announcement {
        let key = key.as_ref().expect("it has been read");
        assert_eq!(key.to_peer_id(), announcement.peer);
        check(data, announcement, &settings);
        check_again(key, announcement);
    }
    #[cfg(feature = "gossipsub")]
    check_ids(data, announcement.and(key));
}

fn check(data: &[u8], announcement: &Announcement, settings: &Settings) {
    let Announcement {
        peer,
        addresses,
        dropped,
        ..
    } = announcement;
    assert!(data.len() <= settings.max_message_size);
    assert!(addresses.len() + dropped <= MAX_ENTRIES);
    let suffix = Multiaddr::from(Protocol::P2p(*peer));
    for address in addresses {
        assert!(address.ends_with(&suffix), "{address}");
        assert!(address.len() <= MAX_ADDRESS_LEN + suffix.len(), "{address}");
        let text = address.to_string();
        assert!(!text.chars().any(char::is_control), "{text:?}");
        // Not every protocol can be read from its text, but none as something else.
        if let Ok(read) = text.parse::<Multiaddr>() {
            assert_eq!(read, *address, "{text}");
        }
    }
    for is_public in [false, true] {
        let most = settings.max_addresses;
        let select = |offered: &mut dyn Iterator<Item = Multiaddr>| {
            settings
                .filter
                .select(is_public, most, offered.map(Offered::from))
        };
        let selected = decode(data, settings.max_message_size, select).expect("as before");
        assert!(selected.addresses.len() <= most);
        assert!(selected.addresses.iter().all(|one| addresses.contains(one)));
        assert_eq!(
            selected.addresses.len() + selected.dropped,
            addresses.len() + dropped
        );
        assert_eq!((selected.peer, selected.stamp), (*peer, announcement.stamp));
    }
}

fn check_again(key: &PublicKey, announcement: &Announcement) {
    // Those that have become too long with the id that has been added are not read again.
    let mut expected = announcement.clone();
    expected
        .addresses
        .retain(|address| address.len() <= MAX_ADDRESS_LEN);
    expected.dropped = announcement.addresses.len() - expected.addresses.len();
    let payload = encode(key, announcement.addresses.clone(), announcement.stamp);
    let read = decode(&payload, usize::MAX, |offered| offered.collect());
    assert_eq!(read.expect("we have written it"), expected);
}

#[cfg(feature = "gossipsub")]
fn check_ids(data: &[u8], key: Option<PublicKey>) {
    use libp2p_gossipsub::{Message, TopicHash};

    let number = u64::MAX / 3;
    let id = |source| {
        super::gossipsub::message_id(&Message {
            source,
            data: data.to_vec(),
            sequence_number: Some(number),
            topic: TopicHash::from_raw("any"),
        })
    };
    assert_eq!(id(None).0, number.to_be_bytes());
    if let Some(key) = key {
        let expected = [&key.encode_protobuf()[..], &number.to_be_bytes()].concat();
        assert_eq!(id(Some(key.to_peer_id())).0, expected);
    }
    // The key in the message is not that of its author, for any author.
    let other = self::key(0).expect("it is valid");
    let id = id(Some(other.to_peer_id()));
    assert!(id.0.ends_with(&number.to_be_bytes()));
}
