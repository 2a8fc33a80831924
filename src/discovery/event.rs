use std::{fmt, time::Duration};

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use web_time::Instant;

use super::{HubError, PublishError};

/// What a [`Behaviour`](super::Behaviour) tells the application.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<E> {
    /// A peer has announced itself that was not known.
    #[non_exhaustive]
    Discovered {
        /// Who.
        peer_id: PeerId,
        /// Where it listens, each address ending in `/p2p/<peer id>`. Empty for a peer that only dials.
        addresses: Vec<Multiaddr>,
    },
    /// A known peer has announced other addresses than the last time.
    #[non_exhaustive]
    Updated {
        /// Who.
        peer_id: PeerId,
        /// All its addresses, as in [`Event::Discovered`].
        addresses: Vec<Multiaddr>,
    },
    /// A known peer has not announced itself for its time to live, and is known no longer. Or it was one of too many that a
    /// single neighbour has delivered, see [`Config::with_max_peers`](super::Config::with_max_peers). What other behaviours have
    /// learnt of its addresses meanwhile they may keep.
    #[non_exhaustive]
    Expired {
        /// Who.
        peer_id: PeerId,
    },
    /// The own addresses have been announced, or that there are none.
    #[non_exhaustive]
    Announced {
        /// The topics that took the announcement. Nobody is subscribed to the others, unless an
        /// [`Event::PublishFailed`] says otherwise; those are tried again with the next announcement.
        topics: Vec<String>,
        /// What was announced, each address ending in `/p2p/<own id>`. Empty if this node only dials: so it asks others to
        /// announce themselves.
        addresses: Vec<Multiaddr>,
    },
    /// An announcement was due, and there was a reason not to make it. Not an error: what ends the reason causes
    /// the announcement.
    #[non_exhaustive]
    Skipped {
        /// The reason.
        reason: SkipReason,
    },
    /// A topic did not take an announcement. If none did, it is tried again after a second, or after the minimum
    /// gap where that is longer.
    #[non_exhaustive]
    PublishFailed {
        /// The topic.
        topic: String,
        /// What the pubsub says.
        error: PublishError,
    },
    /// A hub is connected, whichever side has dialled.
    #[non_exhaustive]
    HubConnected {
        /// Its address as given to [`Config::with_hubs`](super::Config::with_hubs) or
        /// [`Behaviour::add_hub`](super::Behaviour::add_hub); the first one if several were given for one peer id.
        hub: Multiaddr,
        /// The hub.
        peer_id: PeerId,
    },
    /// The last connection to a hub has ended.
    #[non_exhaustive]
    HubLost {
        /// Its address, as in [`Event::HubConnected`].
        hub: Multiaddr,
        /// The hub.
        peer_id: PeerId,
        /// After which time it is dialled again.
        retry_in: Duration,
    },
    /// A hub could not be connected.
    #[non_exhaustive]
    HubUnreachable {
        /// Its address, as in [`Event::HubConnected`].
        hub: Multiaddr,
        /// The hub, if its id was given or it was connected before.
        peer_id: Option<PeerId>,
        /// The reason.
        error: Box<HubError>,
        /// How many tries have failed since the last connection of at least two minutes. Connections that ended sooner
        /// are among them.
        attempt: u32,
        /// After which time it is dialled again. `None` if that would be in vain until this node has another address, or the
        /// hub announces one.
        retry_in: Option<Duration>,
    },
    /// An event of the pubsub for the application: all but the messages on the topics of discovery.
    PubSub(E),
}

/// Why an announcement was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SkipReason {
    /// No listener has an address, and no external address is confirmed. The first address ends it. A node for which that
    /// lasts 5 seconds, or which has no listener at all, announces an empty list when somebody subscribes.
    NoListeners,
    /// There are addresses, and of each nobody can dial it, the filter refuses it, or it ends in the id of another
    /// peer. The next change of addresses ends it, or else the interval, should the filter have changed its mind.
    NothingLeft,
    /// No connected peer is subscribed to any of the topics. The first subscriber ends it, within a minimum gap (a second,
    /// unless that is set) at random.
    NoSubscribers,
    /// This node keeps silent by [`Config::with_listen_only`](super::Config::with_listen_only).
    ListenOnly,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoListeners => "no listener has an address",
            Self::NothingLeft => "no address passes the filter",
            Self::NoSubscribers => "nobody is subscribed",
            Self::ListenOnly => "listen-only",
        })
    }
}

/// What [`Behaviour::announce`](super::Behaviour::announce) has led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnnounceOutcome {
    /// The announcement is with the pubsub.
    Published,
    /// It will be made by itself: the minimum gap after the last one has not passed, or no topic took it.
    Delayed {
        /// When.
        until: Instant,
    },
    /// There is a reason not to make it; see [`SkipReason`] for what ends each.
    Skipped(SkipReason),
}
