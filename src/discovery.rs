//! Peer discovery over pubsub, wire-compatible with js-libp2p's `@libp2p/pubsub-peer-discovery`.
//!
//! Each node publishes who it is and where it listens on a topic that all of them are subscribed to, so peers that
//! know only one common node find each other.
//!
//! [`Behaviour`] announces what `Swarm::listeners()` holds at that moment, plus the confirmed external addresses. A
//! node that does not listen yet skips the round, which is not an error; its first address is announced as soon as
//! there is one. A node that only dials announces itself once, without addresses, so that the others answer. The order in
//! which listeners, subscriptions and connections come does not matter.
//!
//! ```
//! # #[cfg(feature = "gossipsub")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use libp2p::{identity::Keypair, swarm::NetworkBehaviour};
//! use libp2p_lazy_websocket::discovery;
//!
//! #[derive(NetworkBehaviour)]
//! struct Behaviour {
//!     discovery: discovery::Behaviour<discovery::Gossipsub>,
//!     identify: libp2p::identify::Behaviour,
//! }
//!
//! let keypair = Keypair::generate_ed25519();
//! let discovery = discovery::Behaviour::gossipsub(
//!     &keypair,
//!     discovery::gossipsub::config().build()?,
//!     discovery::Config::default(),
//! )?;
//! # drop(discovery);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "gossipsub"))]
//! # fn main() {}
//! ```
//!
//! # When it announces
//!
//! | when | how soon, by default |
//! | --- | --- |
//! | the addresses change | 50 ms after the first of several changes |
//! | a peer subscribes, or is heard for the first time | within 1 s (random). Skipped if 20 other peers have announced since, while traffic is above twice the target rate, in networks of more than about 100 peers, and by a node that has just started and knows 20 peers |
//! | a peer is heard for the first time, and the answer was skipped | in networks of up to about 100 peers, within 8 s |
//! | a peer subscribes, and this node only dials | an empty list within 250 ms (random); once more after an interval if nobody was heard |
//! | otherwise | every 10 s with up to 100 peers, every n/10 s with n peers, at most every 20 minutes; up to a tenth is added at random |
//! | no topic took the last announcement | after 1 s |
//!
//! Never more often than once a second ([`Config::with_minimum_gap`]). So all nodes together make about
//! [`Config::with_target_rate`] announcements a second, ten by default. The second announcement of a node comes after a random part
//! of the interval, so that nodes started together do not go on together. [`Behaviour::announce`] makes one now.
//!
//! Invented peers make the interval longer. Once the number of peers has not grown by a quarter for eight intervals, it is at
//! most twice its least value of the last hour. The interval of a newcomer may grow to [`Config::with_max_interval`] until then.
//!
//! Each announcement promises the longest time until the next: the interval, or twice that while the number of peers grows.
//! The promise is kept, and a peer is forgotten after three times that.
//!
//! A node that only dials would hear of the others at their intervals alone, since nobody answers whom nobody has heard of. So
//! it announces an empty list when somebody subscribes, within a quarter of the [minimum gap](Config::with_minimum_gap) at
//! random, and once more after an interval if it has heard nobody by then. It promises nothing and answers nobody. A node counts as one that only dials while no listener is registered and
//! no external address is confirmed, and while none of its listeners has had an address for 5 seconds, such as a browser
//! without a reservation at a relay.
//!
//! # Which addresses
//!
//! By default those that suit a node on the internet, of its own as of others: private ones count only while the node
//! itself has no public address, loopback only where there is nothing else, and an unspecified IP never. Relayed
//! addresses pass. At most 16 of a peer are announced or kept, the most useful first, wherever they stand in the list.
//! A closure can decide instead, in each direction ([`Config::with_filter`], [`Config::with_received_filter`]).
//!
//! # Whom it believes
//!
//! An announcement counts only if the message is signed by the very peer whose key it carries, so nobody can speak
//! for another. Addresses that name another peer are dropped. Messages, addresses, peers and rates are bounded by
//! [`Config`]. What exceeds them and what is malformed is ignored and counted ([`Behaviour::counters`]), never rejected:
//! the neighbour that delivers a message need not have looked at it. That a peer announces an address does not mean that it
//! can be reached there.
//!
//! A neighbour that delivers more unknown peers than [`Config::with_newcomer_rate`] allows could hide newcomers: what it
//! delivers first is ignored, and gossipsub drops the copies that come from others. Such a neighbour is muted for ten seconds,
//! and so is one whose own announcements are malformed. Meanwhile nothing that comes from it is delivered, on any topic, those of
//! the application included; the same messages from others are. A neighbour is muted only while at least two other subscribed
//! neighbours, and more than half of all, keep within the rate, so never the only hub. Peers that one neighbour alone has
//! delivered, while others are subscribed, are at most a quarter of those known: beyond that, a new one replaces the one of them
//! that has been silent for longest, which expires.
//!
//! Not promised: that newcomers are heard where most neighbours forward the same flood, as they do unless they validate messages.
//! Then nobody is muted. Nor that every announcement of a newcomer is heard: the one that exhausts a neighbour's allowance is
//! lost, and the next comes after its interval.
//!
//! What a known peer announces when it is due passes all limits, so that nobody becomes forgotten because somebody else floods.
//! Announcements of nodes with this crate are numbered by the time of day in milliseconds, and an older one than the last is
//! ignored as long as its peer is known. A node whose clock is set back keeps to the numbers it has used until it is started
//! again; then the others forget it after three intervals and take it for new. js-libp2p does not number: an old announcement of
//! a js node that is sent again once gossipsub has forgotten it, after a minute or two, counts until the next one. Of a peer that
//! has been forgotten, an old announcement counts once more, for three of its intervals.
//!
//! # Whom it dials
//!
//! The hubs that the application names ([`Config::with_hubs`]), again and again while they are not connected. Known peers only if
//! the application asks for a number of connections to subscribers ([`Config::with_connections`]): then it dials them at random
//! while there are fewer, each at all its addresses in one attempt, at most eight at once, with a backoff for each peer. In any
//! case it hands the addresses of known peers to the swarm, so that `Swarm::dial` works with their ids.
//!
//! Two nodes that dial each other in the same moment have two connections. One of those that discovery has dialled is closed: after
//! 7 seconds by the side with the larger peer id, after 30 seconds by the other one. A connection that the application dialled, a
//! relayed one, and the last direct one are never closed.
//!
//! [`Behaviour::saved_peers`] and [`Config::with_saved_peers`] carry known peers over a restart.
//!
//! # On the wire
//!
//! A message is protobuf. The first two fields are js-libp2p's, which skips the others:
//!
//! ```protobuf
//! message Peer {
//!     bytes publicKey = 1;           // protobuf, as everywhere in libp2p
//!     repeated bytes addrs = 2;      // multiaddrs, each ending in /p2p/<own id>
//!     optional uint64 sequence = 2001; // greater than that of any earlier announcement of the peer
//!     optional uint64 promise = 2002;  // the longest time until the next one, in milliseconds
//!     reserved 2003;
//! }
//! ```
//!
//! # Differences from js-libp2p
//!
//! - js-libp2p announces an empty list of addresses at its interval when it only dials; this crate only when somebody
//!   subscribes. Both report such a peer, without addresses.
//! - js-libp2p's `listenOnly` also ignores what it hears; [`Config::with_listen_only`] does not.
//! - js-libp2p announces and believes loopback and private addresses wherever it is; this crate only where they are of
//!   use.
//! - js-libp2p announces at its interval alone, however many others there are; this crate also when its addresses change or
//!   somebody new is there, and more rarely the more there are.
//! - js-libp2p forgets nobody; here a silent peer expires.

mod addresses;
mod behaviour;
mod config;
mod counters;
mod dialer;
mod error;
mod event;
mod filter;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod inbox;
mod message;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(test)]
mod outages;
mod peers;
mod pubsub;
mod rate;
mod saved;
mod schedule;
mod scope;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulation;

pub use self::{
    behaviour::Behaviour,
    config::{Config, DEFAULT_TOPIC},
    counters::Counters,
    error::{ConfigError, HubError},
    event::{AnnounceOutcome, Event, SkipReason},
    peers::KnownPeer,
    pubsub::{MessageAcceptance, PubSub, PubSubEvent, PublishError, SubscribeError},
    rate::Rate,
    saved::{ParseSavedPeerError, SavedPeer},
};

#[cfg(feature = "gossipsub")]
pub use self::pubsub::gossipsub::{self, Gossipsub};
