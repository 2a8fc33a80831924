//! CORE: whom to dial: hubs always, and others so that there are enough connections to subscribers.
//!
//! [`Dialer`] is told what becomes of connections, subscriptions and dials (`on_*`), and says who is to be dialled
//! now ([`Dialer::next_dial`]) and when to ask again ([`Dialer::next_timeout`]). The candidates are the rows
//! of the table of known peers, which is passed in; what a failed dial says about a row goes back into it. Spurious
//! calls do nothing.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use libp2p_core::ConnectedPoint;
use libp2p_identity::PeerId;
use libp2p_swarm::{ConnectionId, DialError};
use multiaddr::Multiaddr;
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

use super::{ConfigError, Counters, SavedPeer, peers::Peers, saved::MAX_SAVED};
use crate::deadline::Instant;

mod candidates;
mod dial;
mod duplicates;
mod failure;
mod hubs;
mod saved;

use candidates::Candidates;
pub(crate) use dial::Dial;
use duplicates::{Connections, Graces, Origin};
pub(crate) use hubs::HubEvent;
use hubs::{Hubs, check_count};
use saved::Saved;

/// What the application wants.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// How many connections to subscribers there should be. With 0, only hubs are dialled.
    pub(crate) target: usize,
    pub(crate) hubs: Vec<Multiaddr>,
    /// The longest time between two tries of a hub.
    pub(crate) max_hub_delay: Duration,
    /// Of the pubsub: see [`PubSub::heartbeat_interval`](super::PubSub::heartbeat_interval).
    pub(crate) heartbeat: Duration,
    /// Those that were known before this node was restarted.
    pub(crate) saved: Vec<SavedPeer>,
}

/// What has to be dialled for the hubs, and for enough connections to subscribers.
#[derive(Debug)]
pub(crate) struct Dialer {
    local: PeerId,
    hubs: Hubs,
    candidates: Candidates,
    graces: Graces,
    rng: SmallRng,
    /// All connected peers: as many as the application's limit on connections lets in.
    links: HashMap<PeerId, Link>,
    /// The dials under way that discovery has asked for, those of hubs among them that are named no more.
    dials: HashSet<ConnectionId>,
    /// When to close a connection to whom: [`Link::close_at`] of each.
    closing: BTreeSet<(Instant, PeerId)>,
}

/// A connected peer.
#[derive(Debug)]
struct Link {
    since: Instant,
    /// Whether the connection has come of an attempt.
    is_dialled: bool,
    /// Those of discovery that it is subscribed to.
    topics: BTreeSet<String>,
    connections: Connections,
    /// When one of them is to be closed.
    close_at: Option<Instant>,
}

impl Dialer {
    /// Nobody is connected yet. `local` is this node. Fails if there are too many hubs.
    pub(crate) fn new(
        local: PeerId,
        settings: Settings,
        seed: u64,
        now: Instant,
    ) -> Result<Self, ConfigError> {
        let Settings {
            target,
            hubs: addresses,
            max_hub_delay,
            heartbeat,
            saved,
        } = settings;
        check_count(addresses.len())?;
        let mut hubs = Hubs::new(local, max_hub_delay);
        for address in addresses {
            hubs.add(now, address, |_| None)?;
        }
        let mut rng = SmallRng::seed_from_u64(seed);
        let saved = Saved::new(local, saved, now);
        Ok(Self {
            local,
            hubs,
            candidates: Candidates::new(target, saved, rng.random(), now),
            graces: Graces::new(heartbeat),
            rng,
            links: HashMap::new(),
            dials: HashSet::new(),
            closing: BTreeSet::new(),
        })
    }

    /// The peers to save: those in the table and the saved ones that have not been heard yet, connected ones first and then
    /// those heard last, at most [`MAX_SAVED`].
    pub(crate) fn to_save(&self, now: Instant, peers: &Peers) -> Vec<SavedPeer> {
        let known = peers.iter().map(|known| SavedPeer {
            peer_id: known.peer_id(),
            addresses: known.addresses().to_vec(),
            age: now.saturating_duration_since(known.last_heard()),
        });
        let mut all = known.chain(self.candidates.saved(now)).collect::<Vec<_>>();
        all.retain(|peer| !peer.addresses.is_empty());
        all.sort_by_key(|peer| (!self.links.contains_key(&peer.peer_id), peer.age));
        all.truncate(MAX_SAVED);
        all
    }

    /// A connection to `peer` has been established, whoever has dialled, after `failed` had been tried in vain.
    pub(crate) fn on_connected(
        &mut self,
        now: Instant,
        peer: PeerId,
        id: ConnectionId,
        endpoint: &ConnectedPoint,
        failed: &[Multiaddr],
        peers: &mut Peers,
    ) {
        let is_own = self.dials.remove(&id);
        let origin = match endpoint {
            _ if endpoint.is_relayed() => Origin::Relay,
            ConnectedPoint::Listener { .. } => Origin::Remote,
            ConnectedPoint::Dialer { .. } if is_own => Origin::Discovery,
            ConnectedPoint::Dialer { .. } => Origin::Application,
        };
        if self.candidates.target > 0 {
            peers.on_failed(&peer, failed);
        }
        let link = self.links.entry(peer).or_insert_with(|| Link {
            since: now,
            is_dialled: false,
            topics: BTreeSet::new(),
            connections: Connections::default(),
            close_at: None,
        });
        link.connections.on_established(now, id, origin);
        self.hubs.on_connected(&peer, id, link.since);
        if self.candidates.is_dialled(&peer, id) {
            link.is_dialled = true;
            let is_subscribed = !link.topics.is_empty();
            self.candidates.on_connected(now, peer, is_subscribed);
        }
        self.plan_closing(peer);
    }

    /// A connection to `peer` has ended, and it is not the last one.
    pub(crate) fn on_closed(&mut self, peer: &PeerId, id: ConnectionId) {
        if let Some(link) = self.links.get_mut(peer) {
            link.connections.on_closed(id);
            self.plan_closing(*peer);
        }
    }

    /// A connection that is one too many, which is to be closed now. To be called like [`Dialer::next_dial`].
    pub(crate) fn next_close(&mut self, now: Instant) -> Option<(PeerId, ConnectionId)> {
        let &(at, peer) = self.closing.first()?;
        if at > now {
            return None;
        }
        self.closing.pop_first();
        let yields = self.yields(&peer);
        let link = self.links.get_mut(&peer)?;
        link.close_at = None;
        let (_, id) = link.connections.surplus(self.graces, yields)?;
        link.connections.on_closing(id);
        self.plan_closing(peer);
        Some((peer, id))
    }

    /// The last connection to `peer` has ended.
    pub(crate) fn on_disconnected(&mut self, now: Instant, peer: &PeerId, peers: &Peers) {
        let Some(link) = self.links.remove(peer) else {
            return;
        };
        if let Some(at) = link.close_at {
            self.closing.remove(&(at, *peer));
        }
        if !link.topics.is_empty() {
            self.candidates.on_unsubscribed(now);
        }
        let (since, is_dialled) = (link.since, link.is_dialled);
        self.candidates
            .on_disconnected(now, peer, since, is_dialled, peers);
        self.hubs.on_disconnected(now, peer, &mut self.rng);
    }

    /// Names a hub. Returns `false` if it is named already, and fails if there are as many as there may be.
    pub(crate) fn add_hub(
        &mut self,
        now: Instant,
        address: Multiaddr,
    ) -> Result<bool, ConfigError> {
        let links = &self.links;
        self.hubs
            .add(now, address, |peer| links.get(peer).map(|link| link.since))
    }

    /// Dials a hub no more. Returns `false` if it is not named.
    pub(crate) fn remove_hub(&mut self, address: &Multiaddr) -> bool {
        self.hubs.remove(address)
    }

    /// The addresses of all hubs, as given.
    pub(crate) fn hubs(&self) -> impl Iterator<Item = &Multiaddr> {
        self.hubs.addresses()
    }

    /// With how many hubs there are, and how they are doing.
    pub(crate) fn count_hubs(&self, counters: Counters) -> Counters {
        self.hubs.count(counters)
    }

    /// What the application is to be told.
    pub(crate) fn pop_hub_event(&mut self) -> Option<HubEvent> {
        self.hubs.pop_event()
    }

    /// There is an address of this node more, as a listener reports it or as others have confirmed it.
    pub(crate) fn on_network_changed(&mut self, now: Instant) {
        self.hubs.on_network_changed(now);
    }

    /// A dial has got through to `peer`. Returns `false` if the connection is to be denied, because the hub that was dialled
    /// has turned out to be a peer that is connected.
    pub(crate) fn on_reached(&mut self, id: ConnectionId, peer: PeerId) -> bool {
        let is_connected = self.links.contains_key(&peer);
        self.hubs.on_reached(id, peer, is_connected)
    }

    /// A peer has subscribed to a topic of discovery. Ignored unless it is connected: what the pubsub tells may come
    /// after the connection has ended.
    pub(crate) fn on_subscribed(&mut self, peer: &PeerId, topic: &str) {
        let Some(link) = self.links.get_mut(peer) else {
            return;
        };
        let is_first = link.topics.is_empty();
        link.topics.insert(topic.to_owned());
        self.candidates.on_subscribed(peer, is_first);
    }

    /// A peer has unsubscribed from a topic of discovery.
    pub(crate) fn on_unsubscribed(&mut self, now: Instant, peer: &PeerId, topic: &str) {
        let Some(link) = self.links.get_mut(peer) else {
            return;
        };
        if link.topics.remove(topic) && link.topics.is_empty() {
            self.candidates.on_unsubscribed(now);
        }
    }

    /// There is a topic of discovery more. Of its subscribers only those count that subscribe from now on.
    pub(crate) fn on_topic_added(&mut self, now: Instant) {
        self.candidates.on_topics_changed(now, true);
    }

    /// There is a topic of discovery less, and whether others are left.
    pub(crate) fn on_topic_removed(&mut self, now: Instant, topic: &str, has_topics: bool) {
        for link in self.links.values_mut() {
            if link.topics.remove(topic) && link.topics.is_empty() {
                self.candidates.on_unsubscribed(now);
            }
        }
        self.candidates.on_topics_changed(now, has_topics);
    }

    /// `peer` is new in the table, or has other addresses now.
    pub(crate) fn on_candidate(&mut self, now: Instant, peer: &PeerId) {
        self.candidates.on_candidate(now, peer);
        self.hubs.on_candidate(now, peer);
    }

    /// A peer has left the table.
    pub(crate) fn on_expired(&mut self, peer: &PeerId) {
        self.candidates.on_expired(peer);
    }

    /// What [`Dialer::next_dial`] has asked for is under way, as `id`.
    pub(crate) fn on_dialling(&mut self, now: Instant, dial: &Dial, id: ConnectionId) {
        self.dials.insert(id);
        if self.hubs.on_dialling(now, dial, id) {
            return;
        }
        if let Some(peer) = dial.peer {
            self.candidates.on_dialling(peer, id);
        }
    }

    /// A dial has failed, whoever has asked for it. `peer` is `None` if it was one without a peer id, and nobody has answered.
    pub(crate) fn on_dial_failed(
        &mut self,
        now: Instant,
        peer: Option<&PeerId>,
        id: ConnectionId,
        error: &DialError,
        peers: &mut Peers,
    ) {
        self.dials.remove(&id);
        let links = &self.links;
        let connected_since = |peer: &PeerId| links.get(peer).map(|link| link.since);
        self.hubs
            .on_dial_failed(now, id, error, peers, connected_since, &mut self.rng);
        let Some(peer) = peer.filter(|_| self.candidates.target > 0) else {
            return;
        };
        let is_unreachable = self.candidates.on_dial_failed(now, peer, id, error, peers);
        // Without any connection it is this node that cannot be reached, for all that is known. To forget the
        // others for it would leave nobody to come back to.
        let is_cut_off = self.links.is_empty();
        if is_unreachable && !is_cut_off && !self.links.contains_key(peer) {
            peers.on_unreachable(peer);
        }
    }

    /// Whom to dial now, hubs first; [`Dialer::on_dialling`] says that it has been done. To be called
    /// until it returns `None` whenever the time of [`Dialer::next_timeout`] has come.
    pub(crate) fn next_dial(&mut self, now: Instant, peers: &Peers) -> Option<Dial> {
        if let Some(dial) = self.hubs.next_dial(now, peers) {
            return Some(dial);
        }
        let (links, hubs) = (&self.links, &self.hubs);
        self.candidates.next_dial(now, peers, |peer| {
            links.contains_key(peer) || hubs.is_named(peer)
        })
    }

    /// When [`Dialer::next_dial`] will next have something to do, as far as is known.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let closing = self.closing.first().map(|&(at, _)| at);
        let timeouts = [
            self.hubs.next_timeout(),
            self.candidates.next_timeout(),
            closing,
        ];
        timeouts.into_iter().flatten().min()
    }

    /// Whether this node closes its own dial first.
    fn yields(&self, peer: &PeerId) -> bool {
        self.local.to_bytes() > peer.to_bytes()
    }

    /// Looks anew whether there is a connection too many.
    fn plan_closing(&mut self, peer: PeerId) {
        let yields = self.yields(&peer);
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        if let Some(at) = link.close_at.take() {
            self.closing.remove(&(at, peer));
        }
        if let Some((at, _)) = link.connections.surplus(self.graces, yields) {
            link.close_at = Some(at);
            self.closing.insert((at, peer));
        }
    }
}

#[cfg(test)]
mod tests;
