//! Gossipsub with the settings of js-libp2p, and its [`PubSub`] for discovery.
//!
//! A swarm has one gossipsub, which discovery shares with the application. It is created here from a
//! `libp2p_gossipsub::Config`, because an existing one does not reveal whether it requires signed messages:
//!
//! ```
//! use libp2p::{gossipsub::IdentTopic, identity::Keypair};
//! use libp2p_lazy_websocket::discovery;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let keypair = Keypair::generate_ed25519();
//! let config = discovery::gossipsub::config().build()?;
//! let mut discovery =
//!     discovery::Behaviour::gossipsub(&keypair, config, discovery::Config::default())?;
//! discovery.gossipsub_mut().subscribe(&IdentTopic::new("talk"))?;
//! # Ok(())
//! # }
//! ```
//!
//! Messages on other topics are emitted as [`Event::PubSub`](discovery::Event::PubSub).

use std::{
    fmt,
    task::{Context, Poll},
    time::Duration,
};

use libp2p_core::ConnectedPoint;
use libp2p_gossipsub::{
    AllowAllSubscriptionFilter, Behaviour, Config, ConfigBuilder, DataTransform, Event, IdentTopic,
    IdentityTransform, MaxCountSubscriptionFilter, Message, MessageAuthenticity, MessageId,
    TopicHash, TopicSubscriptionFilter, ValidationMode,
};
use libp2p_identity::{Keypair, PeerId, PublicKey};
use libp2p_swarm::{
    ConnectionId, FromSwarm, NetworkBehaviour as _, THandlerInEvent, ToSwarm,
    behaviour::ConnectionEstablished,
};
use multiaddr::Multiaddr;

use crate::discovery::{
    self, ConfigError, MessageAcceptance, PubSub, PubSubEvent, PublishError, SubscribeError,
    message,
};

/// The multihash code of a peer id that contains the public key rather than its hash.
const IDENTITY: u64 = 0;

/// Twice the largest announcement that is read by default.
const IDONTWANT_THRESHOLD: usize = 32 * 1024;

/// `GossipsubSeenTTL` of js-libp2p, `TimeCacheDuration` of go-libp2p-pubsub.
const DUPLICATES: Duration = Duration::from_secs(120);

/// A configuration of gossipsub that interoperates with js-libp2p, to be changed as needed before it is built.
///
/// It differs from [`ConfigBuilder::default`] in three settings:
/// - The message ids are those of js-libp2p, see [`message_id`].
/// - `idontwant_message_size_threshold` is 32 KiB in place of 1,000 bytes. Gossipsub sends `IDONTWANT` before it looks at
///   the sender of a message. For a message of a muted neighbour, that would keep the copies of other neighbours away.
/// - `duplicate_cache_time` is two minutes in place of one, as in js-libp2p and go-libp2p. A neighbour whose network was away
///   may pass on what it has heard before that, by which peers that are gone would be discovered again.
///
/// The validation mode stays `Strict`, as [`Gossipsub::new`] requires.
///
/// The duplicate cache keeps the id of each message for `duplicate_cache_time`, in about 200 bytes. These entries are the
/// largest memory cost of a flooding neighbour, and a shorter time reduces it. The time has to stay well above the
/// propagation time of the network, because later duplicates are forwarded again. With `validate_messages`, messages that
/// discovery refuses are not kept for the five heartbeats of `history_length`.
///
/// Other message ids have to differ between two announcements of the same addresses. With ids made of the content alone,
/// gossipsub drops the second announcement as a duplicate, and peers without changes expire.
pub fn config() -> ConfigBuilder {
    let mut builder = ConfigBuilder::default();
    builder
        .validation_mode(ValidationMode::Strict)
        .idontwant_message_size_threshold(IDONTWANT_THRESHOLD)
        .duplicate_cache_time(DUPLICATES)
        .message_id_fn(message_id);
    builder
}

/// As [`config`], for a hub: a node with many connected peers that are not connected to each other.
///
/// By default a mesh holds at most 12 peers. Further peers receive a message only if later gossip offers it to them. This
/// mesh has room for `leaves` peers. The hub sends each message to all of them, so its bandwidth limits the number.
pub fn hub_config(leaves: usize) -> ConfigBuilder {
    let mut builder = config();
    let leaves = leaves.max(Config::default().mesh_n_high());
    builder
        .mesh_n_low(leaves)
        .mesh_n(leaves)
        .mesh_n_high(leaves);
    builder
}

/// The id of a signed message in js-libp2p: the author's public key, protobuf-encoded, followed by the
/// sequence number as eight bytes, big endian.
///
/// libp2p's own default is the author's peer id in base58 followed by the decimal number. Ids travel in gossip
/// (`IHAVE`, `IWANT`), so a js node asks a node with other ids in vain, and lowers its score until it ignores it.
///
/// A peer id contains an Ed25519 or secp256k1 key, but only the hash of an RSA or ECDSA key, and gossipsub does not pass the
/// key to this function. For these, the key is taken from the message if it is an announcement. Otherwise the bytes of the
/// peer id take its place, which differs from js.
pub fn message_id(message: &Message) -> MessageId {
    let mut id = match message.source {
        None => Vec::new(),
        Some(author) if author.as_ref().code() == IDENTITY => author.as_ref().digest().to_vec(),
        Some(author) => match message::public_key(&message.data) {
            Some(key) if key.to_peer_id() == author => key.encode_protobuf(),
            _ => author.to_bytes(),
        },
    };
    id.extend(message.sequence_number.unwrap_or_default().to_be_bytes());
    MessageId(id)
}

/// A gossipsub that accepts signed messages only.
///
/// A [`libp2p_gossipsub::Behaviour`] does not expose its validation mode, and in a permissive mode an unsigned message with
/// a forged author looks like a signed one. The constructors here therefore check the mode. The application controls
/// everything else: [`Gossipsub::behaviour_mut`] for scoring, topics and messages, and [`Gossipsub::map`] for metrics.
///
/// A muted neighbour ([`PubSub::set_muted`]) is on gossipsub's blacklist for ten seconds. During that time, messages that it
/// sends or has written are not delivered, on any topic of the application. An application that puts a peer on the blacklist
/// itself has to repeat that after the peer has been unmuted.
///
/// The default subscription filter ignores subscriptions of a peer to more than 100 topics. An application with more topics
/// needs a filter of its own on all nodes, see [`Gossipsub::with_transform_and_filter`].
pub struct Gossipsub<
    D = IdentityTransform,
    F = MaxCountSubscriptionFilter<AllowAllSubscriptionFilter>,
> where
    D: DataTransform + Send + 'static,
    F: TopicSubscriptionFilter + Send + 'static,
{
    inner: Behaviour<D, F>,
    public_key: PublicKey,
    validates_messages: bool,
    heartbeat_interval: Duration,
}

impl discovery::Behaviour<Gossipsub> {
    /// Creates a behaviour over a gossipsub that signs with `keypair`, the key of the swarm.
    ///
    /// Start from [`gossipsub::config`](config). For scoring, filters, transformations or metrics, create the [`Gossipsub`]
    /// first and pass it to [`Behaviour::with_gossipsub`](discovery::Behaviour::with_gossipsub).
    ///
    /// # Errors
    ///
    /// Those of [`Gossipsub::new`] and of [`Behaviour::new`](discovery::Behaviour::new).
    pub fn gossipsub(
        keypair: &Keypair,
        gossipsub: Config,
        config: discovery::Config,
    ) -> Result<Self, ConfigError> {
        Self::new(Gossipsub::new(keypair, gossipsub)?, config)
    }
}

impl<D, F> discovery::Behaviour<Gossipsub<D, F>>
where
    D: DataTransform + Send + 'static,
    F: TopicSubscriptionFilter + Send + 'static,
{
    /// Creates a behaviour over a gossipsub that the application has set up: scoring by [`Gossipsub::behaviour_mut`],
    /// metrics by [`Gossipsub::map`].
    ///
    /// # Errors
    ///
    /// Those of [`Behaviour::new`](discovery::Behaviour::new).
    pub fn with_gossipsub(
        gossipsub: Gossipsub<D, F>,
        config: discovery::Config,
    ) -> Result<Self, ConfigError> {
        Self::new(gossipsub, config)
    }

    /// The gossipsub, to subscribe and publish on topics of the application. Wakes the swarm. The topics of discovery have
    /// to stay subscribed.
    pub fn gossipsub_mut(&mut self) -> &mut Behaviour<D, F> {
        self.pubsub_mut().behaviour_mut()
    }
}

impl Gossipsub {
    /// Creates a gossipsub that signs with `keypair`, the key of the swarm.
    ///
    /// Start from [`config`], or from [`hub_config`] for a hub.
    ///
    /// # Errors
    ///
    /// [`ConfigError::NotAuthenticated`] if the validation mode is not `Strict`, and [`ConfigError::Gossipsub`] if
    /// gossipsub refuses the configuration.
    pub fn new(keypair: &Keypair, config: Config) -> Result<Self, ConfigError> {
        Self::with_transform_and_filter(keypair, config, IdentityTransform, Default::default())
    }
}

impl<D, F> Gossipsub<D, F>
where
    D: DataTransform + Send + 'static,
    F: TopicSubscriptionFilter + Send + 'static,
{
    /// As [`Gossipsub::new`], with a transformation of messages and a filter of subscriptions. To discover js-libp2p nodes,
    /// both have to leave the topics of discovery unchanged.
    ///
    /// # Errors
    ///
    /// Those of [`Gossipsub::new`].
    pub fn with_transform_and_filter(
        keypair: &Keypair,
        config: Config,
        transform: D,
        filter: F,
    ) -> Result<Self, ConfigError> {
        if !matches!(config.validation_mode(), ValidationMode::Strict) {
            return Err(ConfigError::NotAuthenticated);
        }
        let validates_messages = config.validate_messages();
        let heartbeat_interval = config.heartbeat_interval();
        let authenticity = MessageAuthenticity::Signed(keypair.clone());
        let inner = Behaviour::new_with_subscription_filter_and_transform(
            authenticity,
            config,
            filter,
            transform,
        )
        .map_err(ConfigError::Gossipsub)?;
        Ok(Self {
            inner,
            public_key: keypair.public(),
            validates_messages,
            heartbeat_interval,
        })
    }

    /// Passes the [`Behaviour`] through `set_up`, for methods that take it by value, such as `with_metrics`. `set_up` has to
    /// return the same behaviour, because another one may accept unsigned messages.
    pub fn map(self, set_up: impl FnOnce(Behaviour<D, F>) -> Behaviour<D, F>) -> Self {
        Self {
            inner: set_up(self.inner),
            ..self
        }
    }

    /// The gossipsub.
    pub fn behaviour(&self) -> &Behaviour<D, F> {
        &self.inner
    }

    /// The gossipsub, to subscribe and publish. The topics of discovery have to stay subscribed.
    pub fn behaviour_mut(&mut self) -> &mut Behaviour<D, F> {
        &mut self.inner
    }

    /// Whether a connected peer is subscribed to the topic. Searches the mesh first, and all peers only if that is empty.
    fn has_subscribers(&self, topic: &TopicHash) -> bool {
        let mut all_peers = self.inner.all_peers();
        self.inner.mesh_peers(topic).next().is_some()
            || all_peers.any(|(_, topics)| topics.contains(&topic))
    }
}

impl<D, F> PubSub for Gossipsub<D, F>
where
    D: DataTransform + Send + 'static,
    F: TopicSubscriptionFilter + Send + 'static,
{
    type Behaviour = Behaviour<D, F>;

    fn behaviour(&self) -> &Behaviour<D, F> {
        &self.inner
    }

    fn behaviour_mut(&mut self) -> &mut Behaviour<D, F> {
        &mut self.inner
    }

    fn poll_behaviour(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Event, THandlerInEvent<Behaviour<D, F>>>> {
        match self.inner.poll(cx) {
            // Gossipsub re-arms its heartbeat in the poll that sees it elapsed, and does not poll it again: nothing
            // would wake the task for the next one. The events of that heartbeat are waiting as well.
            Poll::Pending => self.inner.poll(cx),
            ready => ready,
        }
    }

    fn public_key(&self) -> PublicKey {
        self.public_key.clone()
    }

    fn is_authenticated(&self) -> bool {
        true
    }

    fn validates_messages(&self) -> bool {
        self.validates_messages
    }

    fn heartbeat_interval(&self) -> Duration {
        self.heartbeat_interval
    }

    fn subscribe(&mut self, topic: &str) -> Result<(), SubscribeError> {
        match self.inner.subscribe(&IdentTopic::new(topic)) {
            Ok(_) => Ok(()),
            Err(error) => Err(SubscribeError::new(error)),
        }
    }

    fn unsubscribe(&mut self, topic: &str) {
        self.inner.unsubscribe(&IdentTopic::new(topic));
    }

    fn publish(&mut self, topic: &str, payload: Vec<u8>) -> Result<(), PublishError> {
        let topic = IdentTopic::new(topic);
        // Gossipsub signs a message before it looks for recipients. After that, having none is a failure: the score of
        // every subscriber is too low.
        if !self.has_subscribers(&topic.hash()) {
            return Err(PublishError::NoSubscribers);
        }
        match self.inner.publish(topic, payload) {
            Ok(_) => Ok(()),
            Err(error) => Err(PublishError::failed(error)),
        }
    }

    fn on_connection_lost(&mut self, peer_id: PeerId, connection_id: ConnectionId) {
        // Gossipsub sends its subscriptions over the first connection to a peer, and a queue that all of them share. So it
        // is told of a first one again. The address only counts for scores, and is that of no connection.
        let endpoint = ConnectedPoint::Listener {
            local_addr: Multiaddr::empty(),
            send_back_addr: Multiaddr::empty(),
        };
        let again = ConnectionEstablished {
            peer_id,
            connection_id,
            endpoint: &endpoint,
            failed_addresses: &[],
            other_established: 0,
        };
        self.inner
            .on_swarm_event(FromSwarm::ConnectionEstablished(again));
    }

    fn set_muted(&mut self, propagation_source: &PeerId, muted: bool) {
        match muted {
            true => self.inner.blacklist_peer(propagation_source),
            false => self.inner.remove_blacklisted_peer(propagation_source),
        }
    }

    fn observe<'a>(&self, event: &'a Event) -> PubSubEvent<'a> {
        match event {
            Event::Message {
                propagation_source,
                message,
                ..
            } => PubSubEvent::Message {
                topic: message.topic.as_str(),
                propagation_source: *propagation_source,
                author: message.source,
                payload: &message.data,
            },
            Event::Subscribed { topic, peer_id, .. } => PubSubEvent::Subscribed {
                topic: topic.as_str(),
                peer: *peer_id,
            },
            Event::Unsubscribed { topic, peer_id } => PubSubEvent::Unsubscribed {
                topic: topic.as_str(),
                peer: *peer_id,
            },
            _ => PubSubEvent::Other,
        }
    }

    fn report(&mut self, event: &Event, acceptance: MessageAcceptance) {
        let Event::Message {
            propagation_source,
            message_id,
            ..
        } = event
        else {
            return;
        };
        let acceptance = match acceptance {
            MessageAcceptance::Accept => libp2p_gossipsub::MessageAcceptance::Accept,
            MessageAcceptance::Ignore => libp2p_gossipsub::MessageAcceptance::Ignore,
        };
        // `false` means that gossipsub has already forgotten the message, and there is nothing left to do.
        self.inner
            .report_message_validation_result(message_id, propagation_source, acceptance);
    }
}

impl<D, F> fmt::Debug for Gossipsub<D, F>
where
    D: DataTransform + Send + 'static,
    F: TopicSubscriptionFilter + Send + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gossipsub")
            .field("local_peer_id", &self.public_key.to_peer_id())
            .field("validates_messages", &self.validates_messages)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(byte).collect()
    }

    fn message(source: Option<PeerId>, sequence_number: Option<u64>, data: Vec<u8>) -> Message {
        Message {
            source,
            sequence_number,
            data,
            topic: TopicHash::from_raw("any"),
        }
    }

    #[test]
    fn ids_are_those_of_js_whatever_the_key() {
        let fixtures = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/message-ids.txt"
        );
        let fixtures = std::fs::read_to_string(fixtures).unwrap();
        let mut authors = std::collections::BTreeSet::new();
        for line in fixtures.lines() {
            let [author, number, payload, id] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{line}");
            };
            let source = author.parse().unwrap();
            let message = message(Some(source), number.parse().ok(), bytes(payload));
            assert_eq!(message_id(&message).0, bytes(id), "{author} {number}");
            authors.insert(author.to_owned());
        }
        assert_eq!(authors.len(), 4);
    }

    #[test]
    fn a_message_is_known_for_as_long_as_js_and_go_know_it() {
        for config in [config(), hub_config(64)] {
            let seen = config.build().unwrap().duplicate_cache_time();
            assert_eq!(seen, Duration::from_secs(120));
        }
    }

    #[test]
    fn the_mesh_of_a_hub_has_room_for_its_leaves() {
        let least = Config::default().mesh_n_high();
        for (leaves, room) in [(0, least), (least, least), (500, 500)] {
            let hub = hub_config(leaves).build().unwrap();
            let mesh = [hub.mesh_n_low(), hub.mesh_n(), hub.mesh_n_high()];
            assert_eq!(mesh, [room; 3]);
        }
    }

    #[test]
    fn says_who_subscribes_and_who_no_longer_does() {
        let config = config().build().unwrap();
        let gossipsub = Gossipsub::new(&Keypair::generate_ed25519(), config).unwrap();
        let (peer, topic) = (PeerId::random(), TopicHash::from_raw("any"));
        let subscribed = Event::Subscribed {
            peer_id: peer,
            topic: topic.clone(),
        };
        let unsubscribed = Event::Unsubscribed {
            peer_id: peer,
            topic,
        };
        assert_eq!(
            gossipsub.observe(&subscribed),
            PubSubEvent::Subscribed { topic: "any", peer }
        );
        assert_eq!(
            gossipsub.observe(&unsubscribed),
            PubSubEvent::Unsubscribed { topic: "any", peer }
        );
    }

    #[test]
    fn tells_the_heartbeat_that_is_configured() {
        let heartbeat = Duration::from_millis(3_500);
        let config = config().heartbeat_interval(heartbeat).build().unwrap();
        let gossipsub = Gossipsub::new(&Keypair::generate_ed25519(), config).unwrap();
        assert_eq!(gossipsub.heartbeat_interval(), heartbeat);
    }

    #[test]
    fn without_subscribers_nothing_is_signed() {
        let config = config().build().unwrap();
        let oversized = vec![0; config.max_transmit_size() + 1];
        let mut gossipsub = Gossipsub::new(&Keypair::generate_ed25519(), config).unwrap();
        gossipsub.subscribe("any").unwrap();
        // Gossipsub refuses the size before it signs.
        let published = gossipsub.publish("any", oversized);
        assert!(
            matches!(published, Err(PublishError::NoSubscribers)),
            "{published:?}"
        );
    }

    #[test]
    fn without_its_key_the_author_is_still_told_apart() {
        // The id of an RSA key is a hash, and this is no announcement that would hold the key.
        let rsa: PeerId = "QmWLP7T9XJmmFPDTGA4osyDdYwmDtS54xgAXFmaFV2RBgH"
            .parse()
            .unwrap();
        let id = |source, number| message_id(&message(source, Some(number), b"text".to_vec()));
        assert_ne!(id(Some(rsa), 1), id(Some(rsa), 2));
        assert_ne!(id(Some(rsa), 1), id(Some(PeerId::random()), 1));
        assert_ne!(id(Some(rsa), 1), id(None, 1));
    }
}
