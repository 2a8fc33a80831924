//! Peer discovery over pubsub, wire-compatible with js-libp2p's `@libp2p/pubsub-peer-discovery`.
//!
//! Each node publishes its peer id and its addresses on a topic that all of them are subscribed to. Peers that know only
//! one common node thereby find each other.
//!
//! [`Behaviour`] announces the current `Swarm::listeners()` and the confirmed external addresses. A node whose listeners
//! have no address yet skips the announcement, which is not an error, and makes it with the first address. A node that only
//! dials announces itself once, without addresses, so that the others answer. Listeners, subscriptions and connections may
//! come in any order.
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
//! | a peer subscribes, and this node only dials | an empty list within 250 ms (random); once more after an interval if no peer was heard |
//! | otherwise | every 10 s with up to 100 peers, every n/10 s with n peers, at most every 20 minutes; up to a tenth is added at random |
//! | no topic took the last announcement | after 1 s |
//!
//! Announcements are at least one second apart ([`Config::with_minimum_gap`]). All nodes together make about
//! [`Config::with_target_rate`] announcements a second, ten by default. The second announcement of a node comes after a
//! random part of the interval, so that nodes started together do not stay synchronised. [`Behaviour::announce`] announces
//! now.
//!
//! Invented peers make the interval longer. Once the number of peers has not grown by a quarter for eight intervals, the
//! interval is at most twice its smallest value of the last hour. Until then, it may grow to [`Config::with_max_interval`].
//!
//! Each announcement carries a promise: the longest time until the next one, which is the interval, or twice the interval
//! while the number of peers grows. The node keeps the promise. A peer expires after three times that.
//!
//! Other nodes answer only a peer that they have heard. A node that only dials therefore announces an empty list when a peer
//! subscribes, within a quarter of the [minimum gap](Config::with_minimum_gap) (random), and once more after an interval if
//! it has heard no peer by then. An empty list carries no promise, and the node answers no newcomer. A node counts as one
//! that only dials while it has no listener and no confirmed external address. It also does while its listeners have had no
//! address for 5 seconds, as in a browser without a reservation at a relay.
//!
//! # Which addresses
//!
//! By default those that suit a node on the internet, in both directions. Private addresses count only while the node itself
//! has no public one, loopback only if there is nothing else, and an unspecified IP never. Relayed addresses pass. At most
//! 16 addresses of a peer are announced or kept, the most useful first. [`Config::with_filter`] and
//! [`Config::with_received_filter`] replace the rule of one direction by a closure.
//!
//! # What it accepts
//!
//! An announcement counts only if the message is signed by the peer whose key it carries, so no peer can announce another.
//! Addresses that name another peer are dropped. [`Config`] bounds messages, addresses, peers and rates. Announcements that
//! exceed a bound or are malformed are ignored and counted ([`Behaviour::counters`]). They are not rejected, because the
//! neighbour that delivers a message need not have validated it. An announced address is a claim: only a dial tells whether
//! the peer can be reached there.
//!
//! Gossipsub drops copies of a message that has been delivered already. A neighbour that delivers more unknown peers than
//! [`Config::with_newcomer_rate`] allows could hide newcomers that way, because its excess is ignored. Such a neighbour is
//! muted for ten seconds, and so is one whose own announcements are malformed. While it is muted, none of its messages is
//! delivered, on any topic, including those of the application; copies from other neighbours are. A neighbour is muted only
//! while at least two other subscribed neighbours, and more than half of all, keep within the rate. The only hub is
//! therefore never muted. While other neighbours are subscribed, peers that one neighbour alone has delivered fill at most a
//! quarter of the table. Beyond that, a new one replaces the one of them that has been silent for longest, which expires.
//!
//! Two things are not promised. If most neighbours forward the same flood, as they do unless they validate messages, no
//! neighbour is muted and newcomers may be missed. The announcement that exhausts the allowance of a neighbour is lost, even
//! if it is honest; the next one comes after an interval.
//!
//! Due announcements of known peers pass all limits, so that a flood makes no peer expire. Nodes with this crate number
//! their announcements by the time of day in milliseconds, and announcements older than the last one are ignored while their
//! peer is known. A node whose clock is set back continues from the last number until it is restarted; after that, others
//! take it for a new peer once it has expired, after three intervals. js-libp2p does not number its announcements. If one is
//! replayed after gossipsub has forgotten it, which takes a minute or two, it counts until the next one. A replayed
//! announcement of an expired peer counts once, for three of its intervals.
//!
//! # What it dials
//!
//! - Hubs ([`Config::with_hubs`]), again whenever they are not connected.
//! - Known peers, only with [`Config::with_connections`]: while there are fewer connections to subscribers than that, at
//!   random, each peer at all its addresses in one attempt, at most eight at once, with a backoff for each peer.
//!
//! The swarm always receives the addresses of known peers, so `Swarm::dial` works with a peer id alone.
//!
//! Two nodes that dial each other at the same moment have two connections. One that discovery has dialled is closed: after 7
//! seconds by the side with the larger peer id, after 30 seconds by the other one. A connection that the application
//! dialled, a relayed one, and the last direct one are never closed.
//!
//! [`Behaviour::saved_peers`] and [`Config::with_saved_peers`] carry known peers over a restart.
//!
//! # On the wire
//!
//! A message is protobuf. The first two fields are those of js-libp2p, which skips the others:
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
//! - js-libp2p announces an empty list of addresses at its interval when it only dials; this crate only when a peer
//!   subscribes. Both report such a peer, without addresses.
//! - js-libp2p's `listenOnly` also ignores what it hears; [`Config::with_listen_only`] does not.
//! - js-libp2p announces and accepts loopback and private addresses everywhere; this crate only where they are useful.
//! - js-libp2p announces at a fixed interval; this crate also when its addresses change or a newcomer is heard, and at a
//!   longer interval in larger networks.
//! - Peers of js-libp2p do not expire; here a silent peer expires.

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
