use std::{
    error::Error,
    task::{Context, Poll},
    time::Duration,
};

use libp2p_identity::{PeerId, PublicKey};
use libp2p_swarm::{NetworkBehaviour, THandlerInEvent, ToSwarm};
use thiserror::Error;

#[cfg(feature = "gossipsub")]
pub mod gossipsub;

type Output<B> = ToSwarm<<B as NetworkBehaviour>::ToSwarm, THandlerInEvent<B>>;

/// What [`Behaviour`](super::Behaviour) must know of the pubsub that carries its announcements.
///
/// It is implemented for gossipsub by `Gossipsub`. An implementation for another pubsub holds that one's
/// `NetworkBehaviour` and lends it; [`Behaviour`](super::Behaviour) polls it and hands its events on.
pub trait PubSub: 'static {
    /// The pubsub itself.
    type Behaviour: NetworkBehaviour;

    /// Lends the pubsub.
    fn behaviour(&self) -> &Self::Behaviour;

    /// Lends the pubsub, to drive it.
    fn behaviour_mut(&mut self) -> &mut Self::Behaviour;

    /// Polls the pubsub. To be overridden for one that has to be polled again before its task may sleep.
    fn poll_behaviour(&mut self, cx: &mut Context<'_>) -> Poll<Output<Self::Behaviour>> {
        self.behaviour_mut().poll(cx)
    }

    /// The key that published messages are signed with.
    fn public_key(&self) -> PublicKey;

    /// Whether every message that is delivered was signed by the author it names. Nothing is believed of a pubsub
    /// that says no.
    fn is_authenticated(&self) -> bool;

    /// Whether messages are held back until [`PubSub::report`] has been called for them.
    fn validates_messages(&self) -> bool;

    /// How long what the pubsub has to say may wait before it goes out, such as the heartbeat of gossipsub.
    ///
    /// Of two connections to one peer, discovery closes its own after two of these times and five seconds, so that nothing is
    /// sent that follows from a connection while one of them is closed. Asked once. Defaults to a second, as gossipsub does.
    fn heartbeat_interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// Subscribes to a topic. Ok as well if that has been done before.
    fn subscribe(&mut self, topic: &str) -> Result<(), SubscribeError>;

    /// Leaves a topic. Nothing happens if it is not subscribed to.
    fn unsubscribe(&mut self, topic: &str);

    /// Publishes a message on a topic.
    ///
    /// A message that nobody would receive costs little: [`PublishError::NoSubscribers`] is returned before it is signed.
    /// Only after other results does the [minimum gap](super::Config::with_minimum_gap) pass before the next message.
    fn publish(&mut self, topic: &str, payload: Vec<u8>) -> Result<(), PublishError>;

    /// Does not deliver any message that comes from a connected peer until it is unmuted, on any topic, and delivers the same
    /// messages when they come from others.
    ///
    /// Discovery mutes a neighbour for ten seconds if that has delivered more newcomers than
    /// [`Config::with_newcomer_rate`](super::Config::with_newcomer_rate) allows, or malformed announcements of its own. It does so
    /// while at least two other subscribed neighbours, and more than half of all, keep within that rate. A neighbour that
    /// disconnects is unmuted before the pubsub hears of it.
    ///
    /// A pubsub that delivers each copy of a message has no need of this, and may do nothing.
    fn set_muted(&mut self, propagation_source: &PeerId, muted: bool);

    /// What an event says, as far as it matters for discovery.
    fn observe<'a>(
        &self,
        event: &'a <Self::Behaviour as NetworkBehaviour>::ToSwarm,
    ) -> PubSubEvent<'a>;

    /// Says what is to become of the message in `event`, for which [`PubSub::observe`] has returned
    /// [`PubSubEvent::Message`]. Called once for each message on a topic of discovery if
    /// [`PubSub::validates_messages`], and never otherwise.
    fn report(
        &mut self,
        event: &<Self::Behaviour as NetworkBehaviour>::ToSwarm,
        acceptance: MessageAcceptance,
    );
}

/// What an event of a [`PubSub`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PubSubEvent<'a> {
    /// A message has arrived.
    Message {
        /// The topic it was published on.
        topic: &'a str,
        /// The connected peer that delivered it.
        propagation_source: PeerId,
        /// The peer whose signature the message carries, verified; `None` if it carries none.
        author: Option<PeerId>,
        /// What the author wrote.
        payload: &'a [u8],
    },
    /// A connected peer has subscribed to a topic. May come again for the same one.
    Subscribed {
        /// The topic.
        topic: &'a str,
        /// Who.
        peer: PeerId,
    },
    /// A connected peer has unsubscribed from a topic. Need not come when it disconnects.
    Unsubscribed {
        /// The topic.
        topic: &'a str,
        /// Who.
        peer: PeerId,
    },
    /// Anything else.
    Other,
}

/// What is to become of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a `PubSub` must handle each")]
pub enum MessageAcceptance {
    /// It is good: pass it on.
    Accept,
    /// Do not pass it on, and blame nobody: whoever delivers a message need not have looked at it.
    Ignore,
}

/// Why a [`PubSub`] did not subscribe to a topic.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct SubscribeError(Box<dyn Error + Send + Sync>);

impl SubscribeError {
    /// Wraps the pubsub's own error.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

/// Why a [`PubSub`] did not publish a message.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// No connected peer is subscribed to the topic. Normal for a node that has just started.
    #[error("nobody is subscribed to the topic")]
    NoSubscribers,
    /// Anything else; worth another try.
    #[error(transparent)]
    Failed(Box<dyn Error + Send + Sync>),
}

impl PublishError {
    /// Wraps the pubsub's own error.
    pub fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(error.into())
    }
}
