use std::{fmt, time::Duration};

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use web_time::Instant;

use super::{HubError, PublishError};

/// An event that a [`Behaviour`](super::Behaviour) emits to the application.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<E> {
    /// An unknown peer has announced itself.
    #[non_exhaustive]
    Discovered {
        /// The peer.
        peer_id: PeerId,
        /// Its addresses, each ending in `/p2p/<peer id>`. Empty for a peer that only dials.
        addresses: Vec<Multiaddr>,
    },
    /// A known peer has announced other addresses than before.
    #[non_exhaustive]
    Updated {
        /// The peer.
        peer_id: PeerId,
        /// All its addresses, as in [`Event::Discovered`].
        addresses: Vec<Multiaddr>,
    },
    /// A peer's entry expired because it has not announced itself within its time to live, or because one neighbour
    /// alone has delivered too many peers, see [`Config::with_max_peers`](super::Config::with_max_peers). Other
    /// behaviours may still hold its addresses.
    #[non_exhaustive]
    Expired {
        /// The peer.
        peer_id: PeerId,
    },
    /// This node has announced its addresses, or that it has none.
    #[non_exhaustive]
    Announced {
        /// The topics that took the announcement. The others have no subscriber, unless there is an
        /// [`Event::PublishFailed`] for them; they are tried again with the next announcement.
        topics: Vec<String>,
        /// The announced addresses, each ending in `/p2p/<own id>`. Empty if this node only dials: an empty list asks
        /// other peers to announce themselves.
        addresses: Vec<Multiaddr>,
    },
    /// An announcement was due and was skipped. Not an error: the end of the reason triggers the announcement.
    #[non_exhaustive]
    Skipped {
        /// The reason.
        reason: SkipReason,
    },
    /// A topic did not take an announcement. If no topic did, the announcement is repeated after one second, or after
    /// the minimum gap if that is longer.
    #[non_exhaustive]
    PublishFailed {
        /// The topic.
        topic: String,
        /// The error of the pubsub.
        error: PublishError,
    },
    /// A hub is connected, whichever side dialled.
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
        /// The delay until the next dial.
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
        /// The number of failures since the last connection of at least two minutes, including shorter connections.
        attempt: u32,
        /// The delay until the next dial. `None` if no dial can succeed until this node has another address, or the hub
        /// announces one.
        retry_in: Option<Duration>,
    },
    /// An event of the pubsub for the application: everything except messages on the topics of discovery.
    PubSub(E),
}

/// Why an announcement was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SkipReason {
    /// No listener has an address, and no external address is confirmed. Ends with the first address. After 5
    /// seconds, or at once without any listener, the node announces an empty list when a peer subscribes.
    NoListeners,
    /// The node has addresses, but none can be announced: no transport can dial it, the filter refuses it, or it ends
    /// in the id of another peer. Ends with the next change of addresses, or at the next interval if the filter
    /// accepts one by then.
    NothingLeft,
    /// No connected peer is subscribed to any of the topics. Ends with the first subscriber, within a minimum gap
    /// (random), one second by default.
    NoSubscribers,
    /// [`Config::with_listen_only`](super::Config::with_listen_only) is set.
    ListenOnly,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoListeners => "no listener has an address",
            Self::NothingLeft => "no address passes the filter",
            Self::NoSubscribers => "no peer is subscribed",
            Self::ListenOnly => "listen-only",
        })
    }
}

/// The result of [`Behaviour::announce`](super::Behaviour::announce).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnnounceOutcome {
    /// The pubsub has taken the announcement.
    Published,
    /// The announcement follows later: the minimum gap since the last one has not passed, or no topic took it.
    Delayed {
        /// The time of the next attempt.
        until: Instant,
    },
    /// Skipped for this reason; see [`SkipReason`] for what ends it.
    Skipped(SkipReason),
}
