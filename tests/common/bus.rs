//! A pubsub without a network: every node is an entry in one table, and a message is there at once.

#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    identity::{Keypair, PublicKey},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm, dummy,
    },
};
use libp2p_lazy_websocket::discovery::{
    MessageAcceptance, PubSub, PubSubEvent, PublishError, SubscribeError,
};

/// Joins the nodes that are made from it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bus(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    nodes: HashMap<PeerId, Entry>,
    links: BTreeSet<(PeerId, PeerId)>,
    published: Vec<Publication>,
    refuse: bool,
}

#[derive(Debug, Default)]
struct Entry {
    topics: BTreeSet<String>,
    inbox: VecDeque<Event>,
    verdicts: Vec<MessageAcceptance>,
    told: Vec<Told>,
    waker: Option<Waker>,
}

/// What a node has been told of its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Muted(PeerId, bool),
    Closed(PeerId),
    /// That was one of several connections.
    Lost(PeerId),
}

/// A message that somebody has published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publication {
    pub(crate) author: PeerId,
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
}

/// What a node hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Message {
        topic: String,
        neighbour: PeerId,
        author: Option<PeerId>,
        payload: Vec<u8>,
    },
    Subscribed {
        topic: String,
        peer: PeerId,
    },
    Unsubscribed {
        topic: String,
        peer: PeerId,
    },
    Noise,
}

impl Bus {
    /// A node with the id of `keypair`, subscribed to nothing. It keeps the links that the id has already.
    pub(crate) fn node(&self, keypair: &Keypair) -> Node {
        let local = keypair.public().to_peer_id();
        self.state().nodes.insert(local, Entry::default());
        Node {
            bus: self.clone(),
            local,
            public_key: keypair.public(),
            authenticated: true,
            validates_messages: false,
        }
    }

    /// Connects two nodes, which tell each other what they are subscribed to.
    pub(crate) fn connect(&self, a: PeerId, b: PeerId) {
        let mut state = self.state();
        state.nodes.entry(a).or_default();
        state.nodes.entry(b).or_default();
        state.links.insert((a, b));
        state.links.insert((b, a));
        for (from, to) in [(a, b), (b, a)] {
            for topic in state.nodes[&from].topics.clone() {
                state.deliver(to, Event::Subscribed { topic, peer: from });
            }
        }
    }

    /// Puts an event into the inbox of a node.
    pub(crate) fn deliver(&self, to: PeerId, event: Event) {
        self.state().deliver(to, event);
    }

    /// Makes every publication fail that somebody would receive.
    pub(crate) fn refuse(&self, refuse: bool) {
        self.state().refuse = refuse;
    }

    pub(crate) fn published(&self) -> Vec<Publication> {
        self.state().published.clone()
    }

    pub(crate) fn verdicts(&self, node: PeerId) -> Vec<MessageAcceptance> {
        self.state().nodes[&node].verdicts.clone()
    }

    pub(crate) fn told(&self, node: PeerId) -> Vec<Told> {
        self.state().nodes[&node].told.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn deliver(&mut self, to: PeerId, event: Event) {
        let entry = self.nodes.get_mut(&to).unwrap();
        entry.inbox.push_back(event);
        if let Some(waker) = entry.waker.take() {
            waker.wake();
        }
    }
}

/// One node on a [`Bus`].
#[derive(Debug)]
pub(crate) struct Node {
    bus: Bus,
    local: PeerId,
    public_key: PublicKey,
    pub(crate) authenticated: bool,
    pub(crate) validates_messages: bool,
}

impl PubSub for Node {
    type Behaviour = Self;

    fn behaviour(&self) -> &Self {
        self
    }

    fn behaviour_mut(&mut self) -> &mut Self {
        self
    }

    fn public_key(&self) -> PublicKey {
        self.public_key.clone()
    }

    fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    fn validates_messages(&self) -> bool {
        self.validates_messages
    }

    fn subscribe(&mut self, topic: &str) -> Result<(), SubscribeError> {
        if topic == "refused" {
            return Err(SubscribeError::new("as the test wants it"));
        }
        let mut state = self.bus.state();
        let new = state
            .nodes
            .get_mut(&self.local)
            .unwrap()
            .topics
            .insert(topic.to_owned());
        let others = state
            .links
            .iter()
            .filter(|(a, _)| *a == self.local)
            .map(|(_, b)| *b);
        for other in others.collect::<Vec<_>>() {
            if new {
                state.deliver(
                    other,
                    Event::Subscribed {
                        topic: topic.to_owned(),
                        peer: self.local,
                    },
                );
            }
        }
        Ok(())
    }

    fn unsubscribe(&mut self, topic: &str) {
        let mut state = self.bus.state();
        state
            .nodes
            .get_mut(&self.local)
            .unwrap()
            .topics
            .remove(topic);
    }

    fn publish(&mut self, topic: &str, payload: Vec<u8>) -> Result<(), PublishError> {
        let mut state = self.bus.state();
        let linked = state
            .links
            .iter()
            .filter(|(a, _)| *a == self.local)
            .map(|(_, b)| *b);
        let hears = |other: &PeerId| state.nodes[other].topics.contains(topic);
        let audience = linked.filter(hears).collect::<Vec<_>>();
        if audience.is_empty() {
            return Err(PublishError::NoSubscribers);
        }
        if state.refuse {
            return Err(PublishError::failed("as the test wants it"));
        }
        for other in audience {
            let event = Event::Message {
                topic: topic.to_owned(),
                neighbour: self.local,
                author: Some(self.local),
                payload: payload.clone(),
            };
            state.deliver(other, event);
        }
        state.published.push(Publication {
            author: self.local,
            topic: topic.to_owned(),
            payload,
        });
        Ok(())
    }

    fn on_connection_lost(&mut self, peer: PeerId, _: ConnectionId) {
        let mut state = self.bus.state();
        let entry = state.nodes.get_mut(&self.local).unwrap();
        entry.told.push(Told::Lost(peer));
    }

    fn set_muted(&mut self, neighbour: &PeerId, muted: bool) {
        let mut state = self.bus.state();
        let entry = state.nodes.get_mut(&self.local).unwrap();
        entry.told.push(Told::Muted(*neighbour, muted));
    }

    fn observe<'a>(&self, event: &'a Event) -> PubSubEvent<'a> {
        match event {
            Event::Message {
                topic,
                neighbour,
                author,
                payload,
            } => PubSubEvent::Message {
                topic,
                propagation_source: *neighbour,
                author: *author,
                payload,
            },
            Event::Subscribed { topic, peer } => PubSubEvent::Subscribed { topic, peer: *peer },
            Event::Unsubscribed { topic, peer } => PubSubEvent::Unsubscribed { topic, peer: *peer },
            Event::Noise => PubSubEvent::Other,
        }
    }

    fn report(&mut self, _: &Event, verdict: MessageAcceptance) {
        self.bus
            .state()
            .nodes
            .get_mut(&self.local)
            .unwrap()
            .verdicts
            .push(verdict);
    }
}

impl NetworkBehaviour for Node {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::ConnectionClosed(closed) = event {
            let mut state = self.bus.state();
            let entry = state.nodes.get_mut(&self.local).unwrap();
            entry.told.push(Told::Closed(closed.peer_id));
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Event, THandlerInEvent<Self>>> {
        let mut state = self.bus.state();
        let entry = state.nodes.get_mut(&self.local).unwrap();
        match entry.inbox.pop_front() {
            Some(event) => Poll::Ready(ToSwarm::GenerateEvent(event)),
            None => {
                entry.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
