//! SHELL: feeds the events of the swarm and of the pubsub into the cores, and carries out their decisions.

use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    task::{Context, Poll, Waker},
    time::Duration,
};

use libp2p_core::{Endpoint, Multiaddr, transport::PortUse};
use libp2p_identity::PeerId;
use libp2p_swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
    behaviour::{
        ConnectionClosed, ConnectionEstablished, DialFailure, ExpiredListenAddr, ExternalAddresses,
        ListenerClosed, NewListenAddr, NewListener,
    },
    dial_opts::{DialOpts, PeerCondition},
};

use super::{
    Config, ConfigError, Counters, Event, KnownPeer, PubSub, PubSubEvent, SavedPeer,
    addresses::Addresses,
    dialer::Dialer,
    inbox::{Change, Inbox, Incoming, Muting, News},
    message::Sequence,
    schedule::Schedule,
};
use crate::deadline::{self, Deadline, Instant};

mod rounds;

/// Announces the addresses that the swarm listens on, and keeps a table of the peers that announce theirs.
///
/// It wraps the pubsub `P` and shares it with the application: [`Behaviour::pubsub_mut`] to subscribe and publish,
/// [`Event::PubSub`] for what it reports. A swarm has only one gossipsub.
///
/// Addresses of known peers go to the swarm ([`ToSwarm::NewExternalAddrOfPeer`]) and are used when a peer is dialled by
/// its id. The behaviour itself dials only hubs ([`Config::with_hubs`]), and others if
/// [`Config::with_connections`] asks it to.
pub struct Behaviour<P: PubSub> {
    pubsub: P,
    config: Config,
    listening: Addresses,
    external: ExternalAddresses,
    schedule: Schedule,
    sequence: Sequence,
    inbox: Inbox,
    /// The counters of the own announcements.
    rounds: Counters,
    #[cfg(feature = "metrics")]
    metrics: Option<super::metrics::Metrics>,
    dialer: Dialer,
    /// The topics without a subscriber at the last announcement.
    unreached: BTreeSet<String>,
    deadline: Deadline,
    /// Events of a single round or message; drained before the next one.
    outputs: VecDeque<Output<P>>,
    waker: Option<Waker>,
}

type PubSubToSwarm<P> = <<P as PubSub>::Behaviour as NetworkBehaviour>::ToSwarm;

type Output<P> = ToSwarm<Event<PubSubToSwarm<P>>, THandlerInEvent<<P as PubSub>::Behaviour>>;

impl<P: PubSub> Behaviour<P> {
    /// Creates a behaviour over `pubsub` and subscribes it to the topics.
    ///
    /// # Errors
    ///
    /// See [`ConfigError`]; all are mistakes in the settings.
    pub fn new(mut pubsub: P, config: Config) -> Result<Self, ConfigError> {
        config.validate()?;
        if !pubsub.is_authenticated() {
            return Err(ConfigError::NotAuthenticated);
        }
        let (local, now) = (pubsub.public_key().to_peer_id(), deadline::now());
        let settings = config.dialer(pubsub.heartbeat_interval());
        let dialer = Dialer::new(local, settings, rand::random(), now)?;
        for topic in config.topics() {
            subscribe(&mut pubsub, topic)?;
        }
        let (timing, is_silent) = (config.timing(), config.is_listen_only());
        let schedule = Schedule::new(timing, is_silent, rand::random(), now);
        let inbox = Inbox::new(local, config.inbox());
        Ok(Self {
            pubsub,
            config,
            listening: Addresses::default(),
            external: ExternalAddresses::default(),
            schedule,
            sequence: Sequence::default(),
            inbox,
            rounds: Counters::default(),
            #[cfg(feature = "metrics")]
            metrics: None,
            dialer,
            unreached: BTreeSet::new(),
            deadline: Deadline::default(),
            outputs: VecDeque::new(),
            waker: None,
        })
    }

    /// Registers the [`Counters`] as metrics.
    ///
    /// - `libp2p_discovery_announced_total`, `_delayed_total`, and `_skipped_total` by `reason`
    /// - `libp2p_discovery_publish_failures_total`
    /// - `libp2p_discovery_accepted_total`, of which `_repeated_total` and `_not_kept_total`, and `_ignored_total` by
    ///   `reason`
    /// - `libp2p_discovery_dropped_addresses_total`
    /// - `libp2p_discovery_discovered_total`, `_updated_total`, `_expired_total` and `_muted_total`
    /// - `libp2p_discovery_hub_failures_total`
    /// - `libp2p_discovery_known_peers`, `libp2p_discovery_hubs` and `libp2p_discovery_hubs_connected`, gauges
    ///
    /// Each metric is the counter of that name. The `reason` is the rest of the name of the counter, such as `author_rate`.
    /// A scrape shows the values of the last poll of the behaviour. Metrics of the pubsub are not included: gossipsub has
    /// its own.
    ///
    /// For several behaviours in one registry, give each a sub-registry with a label that tells it from the others.
    #[cfg(feature = "metrics")]
    pub fn register_metrics(&mut self, registry: &mut prometheus_client::registry::Registry) {
        let counters = self.counters();
        let metrics = self.metrics.get_or_insert_default();
        metrics.show(counters);
        metrics.register(registry);
    }

    /// The topics in use, in alphabetical order.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.config.topics()
    }

    /// Whether the node listens without announcing itself.
    pub fn is_listen_only(&self) -> bool {
        self.config.is_listen_only()
    }

    /// Adds a topic to announce on and to listen to. Returns `false` if it was there already.
    ///
    /// Connected peers that have subscribed to the topic before do not count as subscribers, also for
    /// [`Config::with_connections`], until they subscribe again.
    ///
    /// # Errors
    ///
    /// [`ConfigError::EmptyTopic`] or [`ConfigError::TooManyTopics`], as for [`Behaviour::new`], and
    /// [`ConfigError::Subscribe`] if the pubsub refuses. Nothing has changed then.
    pub fn add_topic(&mut self, topic: impl Into<String>) -> Result<bool, ConfigError> {
        let topic = topic.into();
        if self.config.has_topic(&topic) {
            return Ok(false);
        }
        let mut config = self.config.clone();
        config.add_topic(topic.clone());
        config.validate()?;
        subscribe(&mut self.pubsub, &topic)?;
        self.config = config;
        self.inbox.set_author_rate(self.config.author_rate());
        let now = deadline::now();
        self.schedule.on_topic_added(now);
        self.dialer.on_topic_added(now);
        self.wake();
        Ok(true)
    }

    /// Removes a topic and unsubscribes from it. Returns `false` if it was not there.
    ///
    /// Peers that were discovered on it stay known until they expire. Without any topic the behaviour is silent. An
    /// application that uses the topic itself subscribes again.
    pub fn remove_topic(&mut self, topic: &str) -> bool {
        if !self.config.remove_topic(topic) {
            return false;
        }
        self.inbox.set_author_rate(self.config.author_rate());
        self.pubsub.unsubscribe(topic);
        self.inbox.on_topic_removed(topic);
        let has_topics = self.config.topics().next().is_some();
        self.dialer
            .on_topic_removed(deadline::now(), topic, has_topics);
        self.wake();
        true
    }

    /// Adds a hub, which is dialled at once unless it is connected; see [`Config::with_hubs`]. Returns `false` if it was
    /// there already.
    ///
    /// # Errors
    ///
    /// [`ConfigError::TooManyHubs`] if there are as many as there may be.
    pub fn add_hub(&mut self, hub: Multiaddr) -> Result<bool, ConfigError> {
        self.wake();
        self.dialer.add_hub(deadline::now(), hub)
    }

    /// Removes a hub, which is then not dialled any more. Its connection stays. Returns `false` if it was not there.
    pub fn remove_hub(&mut self, hub: &Multiaddr) -> bool {
        self.wake();
        self.dialer.remove_hub(hub)
    }

    /// The addresses of the hubs, as given.
    pub fn hubs(&self) -> impl Iterator<Item = &Multiaddr> {
        self.dialer.hubs()
    }

    /// Sets [`Config::with_listen_only`] while the behaviour runs. Ending it announces at once.
    pub fn set_listen_only(&mut self, listen_only: bool) {
        self.config.set_listen_only(listen_only);
        self.schedule.set_silent(deadline::now(), listen_only);
        self.wake();
    }

    /// The current interval between regular announcements, which depends on the number of known peers. Up to a tenth is
    /// added at random.
    pub fn interval(&self) -> Duration {
        self.schedule.interval()
    }

    /// The pubsub below.
    pub fn pubsub(&self) -> &P {
        &self.pubsub
    }

    /// The pubsub below, to subscribe and publish. Wakes the swarm.
    pub fn pubsub_mut(&mut self) -> &mut P {
        self.wake();
        &mut self.pubsub
    }

    /// The addresses of all listeners, as `Swarm::listeners()` returns them. An address of two listeners is listed twice.
    pub fn listeners(&self) -> impl Iterator<Item = &Multiaddr> {
        self.listening.iter()
    }

    /// The peers that have announced themselves and not expired, in no particular order.
    pub fn known_peers(&self) -> impl ExactSizeIterator<Item = KnownPeer<'_>> {
        self.inbox.peers().iter()
    }

    /// The entry of one peer, if it is known.
    pub fn known_peer(&self, peer: &PeerId) -> Option<KnownPeer<'_>> {
        self.inbox.peers().get(peer)
    }

    /// The peers to keep over a restart, for [`Config::with_saved_peers`]: known peers with addresses, and saved peers that
    /// have not announced themselves yet. At most 1,000: connected ones first, then those heard last.
    ///
    /// An empty list means that no peer has been heard yet. It should not replace an older list.
    pub fn saved_peers(&self) -> Vec<SavedPeer> {
        self.dialer.to_save(deadline::now(), self.inbox.peers())
    }

    /// The numbers of sent and received announcements, of peers and of hubs.
    pub fn counters(&self) -> Counters {
        let counters = self.inbox.counters().with_rounds(self.rounds);
        self.dialer.count_hubs(counters)
    }

    /// Passes on the events of the pubsub, except for messages on the topics of discovery.
    fn on_pubsub_event(&mut self, event: PubSubToSwarm<P>, now: Instant) {
        match self.pubsub.observe(&event) {
            PubSubEvent::Message {
                topic,
                propagation_source,
                author,
                payload,
            } if self.config.has_topic(topic) => {
                let incoming = Incoming {
                    neighbour: propagation_source,
                    author,
                    payload,
                };
                let outcome = self.inbox.on_message(now, incoming);
                if let Some(news) = outcome.news {
                    let News {
                        is_newcomer,
                        is_solicitation,
                    } = news;
                    match is_solicitation {
                        true => self.schedule.on_solicitation(now, is_newcomer),
                        false => self.schedule.on_announcement(now, is_newcomer),
                    }
                }
                if self.pubsub.validates_messages() {
                    self.pubsub.report(&event, outcome.acceptance);
                }
                if let Some(change) = outcome.change {
                    self.on_change(change, now);
                }
                return;
            }
            PubSubEvent::Subscribed { topic, peer } if self.config.has_topic(topic) => {
                match self.unreached.remove(topic) {
                    true => self.schedule.on_first_subscriber(now),
                    false => self.schedule.on_subscriber(now),
                }
                self.inbox.on_subscribed(&peer, topic);
                self.dialer.on_subscribed(&peer, topic);
            }
            PubSubEvent::Unsubscribed { topic, peer } => {
                self.inbox.on_unsubscribed(&peer, topic);
                self.dialer.on_unsubscribed(now, &peer, topic);
            }
            _ => {}
        }
        self.tell(Event::PubSub(event));
    }

    /// Reports a peer to the application, and its addresses to the swarm.
    fn on_change(&mut self, change: Change, now: Instant) {
        let (Change::Discovered(peer_id) | Change::Updated(peer_id)) = change;
        let Some(known) = self.inbox.peers().get(&peer_id) else {
            return;
        };
        let addresses = known.addresses().to_vec();
        self.dialer.on_candidate(now, &peer_id);
        let to_swarm = |address: &Multiaddr| ToSwarm::NewExternalAddrOfPeer {
            peer_id,
            address: address.clone(),
        };
        // Before the event, so that its reader can dial the peer by its id.
        self.outputs.extend(addresses.iter().map(to_swarm));
        self.tell(match change {
            Change::Discovered(_) => Event::Discovered { peer_id, addresses },
            Change::Updated(_) => Event::Updated { peer_id, addresses },
        });
    }

    /// Mutes and unmutes neighbours in the pubsub.
    fn mute(&mut self, now: Instant) {
        while let Some(muting) = self.inbox.pop_muting(now) {
            match muting {
                Muting::Mute(peer) => self.pubsub.set_muted(&peer, true),
                Muting::Unmute(peer) => self.pubsub.set_muted(&peer, false),
            }
        }
    }

    /// Starts the next due dial.
    fn dial(&mut self, now: Instant) -> Option<DialOpts> {
        let dial = self.dialer.next_dial(now, self.inbox.peers())?;
        // Not extended by the behaviours: this one would return the same addresses again, and a failure has to list the
        // addresses that the dialer knows.
        let options = match (dial.peer, dial.addresses.first()) {
            // The address may be that of this node. From the port that it listens on, TCP would connect the socket to
            // itself.
            (None, Some(address)) => DialOpts::unknown_peer_id()
                .address(address.clone())
                .allocate_new_port()
                .build(),
            (None, None) => return None,
            (Some(peer), _) => DialOpts::peer_id(peer)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(dial.addresses.clone())
                .build(),
        };
        self.dialer.on_dialling(now, &dial, options.connection_id());
        tracing::debug!(?dial, "dialling to stay connected");
        Some(options)
    }

    /// Wakes the task after a change outside `poll`.
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn tell(&mut self, event: Event<PubSubToSwarm<P>>) {
        self.outputs.push_back(ToSwarm::GenerateEvent(event));
    }
}

/// The reason for which a connection to a hub is denied.
#[derive(Debug, thiserror::Error)]
#[error("the hub that was dialled is connected already")]
struct AlreadyConnected;

fn subscribe<P: PubSub>(pubsub: &mut P, topic: &str) -> Result<(), ConfigError> {
    let subscribed = pubsub.subscribe(topic);
    subscribed.map_err(|source| ConfigError::Subscribe {
        topic: topic.to_owned(),
        source,
    })
}

impl<P: PubSub> NetworkBehaviour for Behaviour<P> {
    type ConnectionHandler = <P::Behaviour as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = Event<PubSubToSwarm<P>>;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.pubsub
            .behaviour_mut()
            .handle_pending_inbound_connection(id, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.pubsub
            .behaviour_mut()
            .handle_established_inbound_connection(id, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let mut more = self
            .pubsub
            .behaviour_mut()
            .handle_pending_outbound_connection(id, peer, addresses, role)?;
        if let Some(known) = peer.and_then(|peer| self.inbox.peers().get(&peer)) {
            more.extend(known.addresses().iter().cloned());
        }
        Ok(more)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if !self.dialer.on_reached(id, peer) {
            return Err(ConnectionDenied::new(AlreadyConnected));
        }
        self.pubsub
            .behaviour_mut()
            .handle_established_outbound_connection(id, peer, address, role, port_use)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        let comes = matches!(
            event,
            FromSwarm::NewListenAddr(_) | FromSwarm::ExternalAddrConfirmed(_)
        );
        let changed = match event {
            FromSwarm::NewListener(NewListener { listener_id }) => {
                self.listening.on_registered(listener_id);
                false
            }
            FromSwarm::NewListenAddr(NewListenAddr { listener_id, addr }) => {
                self.listening.on_new(listener_id, addr)
            }
            FromSwarm::ExpiredListenAddr(ExpiredListenAddr { listener_id, addr }) => {
                self.listening.on_expired(listener_id, addr)
            }
            FromSwarm::ListenerClosed(ListenerClosed { listener_id, .. }) => {
                self.listening.on_closed(listener_id)
            }
            FromSwarm::ConnectionClosed(ConnectionClosed {
                peer_id,
                remaining_established: 0,
                ..
            }) => {
                let now = deadline::now();
                self.inbox.on_neighbour_gone(&peer_id);
                // Before the pubsub hears of it: it does not greet a muted peer, which may return or have returned.
                self.mute(now);
                self.dialer
                    .on_disconnected(now, &peer_id, self.inbox.peers());
                self.wake();
                false
            }
            FromSwarm::ConnectionClosed(ConnectionClosed {
                peer_id,
                connection_id,
                ..
            }) => {
                self.inbox.on_connection_lost(&peer_id);
                // As above.
                self.mute(deadline::now());
                self.dialer.on_closed(&peer_id, connection_id);
                self.wake();
                false
            }
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                failed_addresses,
                ..
            }) => {
                self.inbox.on_neighbour(peer_id);
                let (now, peers) = (deadline::now(), self.inbox.peers_mut());
                self.dialer.on_connected(
                    now,
                    peer_id,
                    connection_id,
                    endpoint,
                    failed_addresses,
                    peers,
                );
                self.wake();
                false
            }
            FromSwarm::DialFailure(DialFailure {
                peer_id,
                error,
                connection_id,
            }) => {
                let (now, peers) = (deadline::now(), self.inbox.peers_mut());
                self.dialer
                    .on_dial_failed(now, peer_id.as_ref(), connection_id, error, peers);
                self.wake();
                false
            }
            _ => self.external.on_swarm_event(&event),
        };
        let listening = self.listening.listening(self.external.iter());
        if self.schedule.on_listening(deadline::now(), listening) {
            self.wake();
        }
        if changed {
            let is_public = self.listening.are_public(self.external.iter());
            self.inbox.on_own_reach(is_public);
            let now = deadline::now();
            self.schedule.on_addresses_changed(now);
            if comes {
                self.dialer.on_network_changed(now);
            }
            self.wake();
        }
        self.pubsub.behaviour_mut().on_swarm_event(event);
        if let FromSwarm::ConnectionClosed(ConnectionClosed {
            peer_id,
            connection_id,
            remaining_established: 1..,
            ..
        }) = event
        {
            self.pubsub.on_connection_lost(peer_id, connection_id);
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.pubsub
            .behaviour_mut()
            .on_connection_handler_event(peer, id, event);
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Poll::Ready(output);
            }
            let now = deadline::now();
            let known = self.inbox.peers().count();
            self.schedule.on_known_peers(now, known);
            if self.schedule.is_due(now) {
                self.on_round_due(now);
                continue;
            }
            if let Some(peer_id) = self.inbox.pop_expired(now) {
                self.dialer.on_expired(&peer_id);
                self.tell(Event::Expired { peer_id });
                continue;
            }
            self.mute(now);
            if let Some((peer_id, connection)) = self.dialer.next_close(now) {
                tracing::debug!(peer = %peer_id, %connection, "closing one of several connections");
                let connection = CloseConnection::One(connection);
                return Poll::Ready(ToSwarm::CloseConnection {
                    peer_id,
                    connection,
                });
            }
            if let Some(opts) = self.dial(now) {
                return Poll::Ready(ToSwarm::Dial { opts });
            }
            // After the dials, which find out that a hub has no address.
            if let Some(event) = self.dialer.pop_hub_event() {
                self.tell(event.into());
                continue;
            }
            // Every message, and everything else that is counted, passes here before the task sleeps.
            #[cfg(feature = "metrics")]
            if let Some(metrics) = &self.metrics {
                metrics.show(self.counters());
            }
            match self.pubsub.poll_behaviour(cx) {
                Poll::Ready(ToSwarm::GenerateEvent(event)) => {
                    self.on_pubsub_event(event, now);
                    continue;
                }
                Poll::Ready(other) => return Poll::Ready(other.map_out(Event::PubSub)),
                Poll::Pending => {}
            }
            let next = [
                self.schedule.next_timeout(),
                self.inbox.next_timeout(),
                self.dialer.next_timeout(),
            ];
            let next = next.into_iter().flatten().min();
            if self.deadline.poll(now, next, cx).is_ready() {
                continue;
            }
            self.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
    }
}

impl<P: PubSub> fmt::Debug for Behaviour<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behaviour")
            .field("config", &self.config)
            .field("listening", &self.listening)
            .field("schedule", &self.schedule)
            .finish_non_exhaustive()
    }
}
