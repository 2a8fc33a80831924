//! Peer discovery over pubsub, wire-compatible with js-libp2p's `@libp2p/pubsub-peer-discovery`.
//!
//! Each node publishes who it is and where it listens on a topic that all of them are subscribed to, so peers that
//! know only one common node find each other.
//!
//! [`Behaviour`] announces what `Swarm::listeners()` holds at that moment, plus the confirmed external addresses. A
//! node that does not listen yet skips the round, which is not an error; its first address is announced as soon as
//! there is one. The order in which listeners, subscriptions and connections come does not matter.
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
//! # Whom it believes
//!
//! An announcement counts only if the message is signed by the very peer whose key it carries, so nobody can speak
//! for another. Addresses that name another peer are dropped. Messages, addresses, peers and rates are bounded by
//! [`Config`]; what exceeds them is ignored, what is malformed is rejected, and both are counted
//! ([`Behaviour::counters`]). That a peer announces an address does not mean that it can be reached there.
//!
//! # Differences from js-libp2p
//!
//! - js-libp2p announces an empty list of addresses when it only dials; this crate then keeps silent. It does report
//!   such a peer, without addresses.
//! - js-libp2p's `listenOnly` also ignores what it hears; [`Config::with_listen_only`] does not.
//! - js-libp2p announces at its interval alone; this crate also when its addresses change or somebody subscribes.
//! - js-libp2p forgets nobody; here a silent peer expires.

mod addresses;
mod behaviour;
mod census;
mod config;
mod error;
mod event;
#[cfg(feature = "gossipsub")]
pub mod gossipsub;
mod intake;
mod limits;
mod message;
#[cfg(any(test, fuzzing))]
mod outside;
mod peers;
mod pubsub;
mod schedule;

pub use self::{
    behaviour::{Behaviour, announce},
    config::{Config, DEFAULT_TOPIC},
    error::ConfigError,
    event::{Announced, Event, SkipReason},
    intake::Counters,
    limits::Rate,
    peers::KnownPeer,
    pubsub::{Observed, PubSub, PublishError, SubscribeError, Verdict},
};

#[cfg(any(test, fuzzing))]
pub(crate) use self::outside::run as fuzz_operations;

#[cfg(feature = "gossipsub")]
pub use self::gossipsub::Gossipsub;
