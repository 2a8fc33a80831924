use std::{
    error::Error,
    task::{Context, Poll},
    time::Duration,
};

use libp2p_identity::{PeerId, PublicKey};
use libp2p_swarm::{ConnectionId, NetworkBehaviour, THandlerInEvent, ToSwarm};
use thiserror::Error;

#[cfg(feature = "gossipsub")]
pub mod gossipsub;

type Output<B> = ToSwarm<<B as NetworkBehaviour>::ToSwarm, THandlerInEvent<B>>;

/// The interface between [`Behaviour`](super::Behaviour) and the pubsub that carries its announcements.
///
/// `Gossipsub` implements it. An implementation for another pubsub owns the `NetworkBehaviour` of that pubsub and lends it;
/// [`Behaviour`](super::Behaviour) polls it and passes on its events.
pub trait PubSub: 'static {
    /// The pubsub itself.
    type Behaviour: NetworkBehaviour;

    /// Lends the pubsub.
    fn behaviour(&self) -> &Self::Behaviour;

    /// Lends the pubsub, to drive it.
    fn behaviour_mut(&mut self) -> &mut Self::Behaviour;

    /// Polls the pubsub. Override it for a pubsub that has to be polled again before its task may sleep.
    fn poll_behaviour(&mut self, cx: &mut Context<'_>) -> Poll<Output<Self::Behaviour>> {
        self.behaviour_mut().poll(cx)
    }

    /// The key that published messages are signed with.
    fn public_key(&self) -> PublicKey;

    /// Whether each delivered message is signed by the author that it names. [`Behaviour`](super::Behaviour) refuses a
    /// pubsub that returns `false`.
    fn is_authenticated(&self) -> bool;

    /// Whether messages are held back until [`PubSub::report`] has been called for them.
    fn validates_messages(&self) -> bool;

    /// The longest time for which the pubsub may hold back its own messages, such as the heartbeat of gossipsub.
    ///
    /// Of two connections to one peer, discovery closes its own after two of these times and five seconds, so that none of
    /// the messages that follow a new connection is lost with it. Called once. Defaults to one second, as in gossipsub.
    fn heartbeat_interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// Subscribes to a topic. Returns `Ok` also if it is subscribed already.
    fn subscribe(&mut self, topic: &str) -> Result<(), SubscribeError>;

    /// Unsubscribes from a topic. Does nothing if it is not subscribed.
    fn unsubscribe(&mut self, topic: &str);

    /// Publishes a message on a topic.
    ///
    /// Without subscribers, [`PublishError::NoSubscribers`] should be returned before the message is signed. After all other
    /// results, the next message follows after the [minimum gap](super::Config::with_minimum_gap).
    fn publish(&mut self, topic: &str, payload: Vec<u8>) -> Result<(), PublishError>;

    /// One of several connections to a peer has closed, which the pubsub has been told by its
    /// [`NetworkBehaviour::on_swarm_event`].
    ///
    /// The peer may have lost that connection long before this node, and have come back over another one meanwhile: then it
    /// has forgotten this node, and has to be told again what this node is subscribed to. Does nothing by default.
    fn on_connection_lost(&mut self, peer: PeerId, connection: ConnectionId) {
        let _ = (peer, connection);
    }

    /// Stops or resumes the delivery of messages from a connected peer, on all topics. Copies of the same messages from
    /// other peers are still delivered.
    ///
    /// Discovery mutes a neighbour for ten seconds if that has delivered more newcomers than
    /// [`Config::with_newcomer_rate`](super::Config::with_newcomer_rate) allows, or malformed announcements of its own. It
    /// does so while at least two other subscribed neighbours, and more than half of all, keep within that rate. A neighbour
    /// of which a connection ends is unmuted before the pubsub hears of it.
    ///
    /// A pubsub that delivers each copy of a message may do nothing here.
    fn set_muted(&mut self, propagation_source: &PeerId, muted: bool);

    /// The part of an event that matters for discovery.
    fn observe<'a>(
        &self,
        event: &'a <Self::Behaviour as NetworkBehaviour>::ToSwarm,
    ) -> PubSubEvent<'a>;

    /// Reports the verdict on the message in `event`, for which [`PubSub::observe`] has returned
    /// [`PubSubEvent::Message`]. Called once for each message on a topic of discovery if
    /// [`PubSub::validates_messages`], and never otherwise.
    fn report(
        &mut self,
        event: &<Self::Behaviour as NetworkBehaviour>::ToSwarm,
        acceptance: MessageAcceptance,
    );
}

/// The meaning of an event of a [`PubSub`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PubSubEvent<'a> {
    /// A message has arrived.
    Message {
        /// The topic it was published on.
        topic: &'a str,
        /// The connected peer that delivered it.
        propagation_source: PeerId,
        /// The author, verified by the signature; `None` for an unsigned message.
        author: Option<PeerId>,
        /// The data of the message.
        payload: &'a [u8],
    },
    /// A connected peer has subscribed to a topic. May be repeated.
    Subscribed {
        /// The topic.
        topic: &'a str,
        /// The peer.
        peer: PeerId,
    },
    /// A connected peer has unsubscribed from a topic. Optional when it disconnects.
    Unsubscribed {
        /// The topic.
        topic: &'a str,
        /// The peer.
        peer: PeerId,
    },
    /// Anything else.
    Other,
}

/// The verdict on a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a `PubSub` must handle each")]
pub enum MessageAcceptance {
    /// Valid: forward it.
    Accept,
    /// Invalid: do not forward it. The neighbour that delivered it is not penalised, because it need not have validated it.
    Ignore,
}

/// The error of a subscription to a topic.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct SubscribeError(Box<dyn Error + Send + Sync>);

impl SubscribeError {
    /// Wraps the pubsub's own error.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

/// The error of publishing a message.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// No connected peer is subscribed to the topic. Normal right after the start.
    #[error("no peer is subscribed to the topic")]
    NoSubscribers,
    /// Any other error, after which the message is published again.
    #[error(transparent)]
    Failed(Box<dyn Error + Send + Sync>),
}

impl PublishError {
    /// Wraps the pubsub's own error.
    pub fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(error.into())
    }
}
