//! CORE: which peers to dial: hubs always, and others until there are enough connections to subscribers.
//!
//! The inputs of [`Dialer`] are connections, subscriptions and the results of dials (`on_*`). Its outputs are the next
//! dial ([`Dialer::next_dial`]) and the time of the next call ([`Dialer::next_timeout`]). The candidates are the rows
//! of the table of known peers, which is passed in; the result of a failed dial is written back to its row. Spurious
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

/// The options that the application has set.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The wanted number of connections to subscribers. With 0, only hubs are dialled.
    pub(crate) target: usize,
    pub(crate) hubs: Vec<Multiaddr>,
    /// The longest delay between two dials of a hub.
    pub(crate) max_hub_delay: Duration,
    /// See [`PubSub::heartbeat_interval`](super::PubSub::heartbeat_interval).
    pub(crate) heartbeat: Duration,
    /// The peers that were known before the restart.
    pub(crate) saved: Vec<SavedPeer>,
}

/// Decides on dials, for the hubs and for enough connections to subscribers.
#[derive(Debug)]
pub(crate) struct Dialer {
    local: PeerId,
    hubs: Hubs,
    candidates: Candidates,
    graces: Graces,
    rng: SmallRng,
    /// All connected peers, bounded by the application's limit on connections.
    links: HashMap<PeerId, Link>,
    /// The pending dials of discovery, including those of removed hubs.
    dials: HashSet<ConnectionId>,
    /// The peers by [`Link::close_at`], the time at which to close a connection to them.
    closing: BTreeSet<(Instant, PeerId)>,
}

/// A connected peer.
#[derive(Debug)]
struct Link {
    since: Instant,
    /// Whether the connection is the result of a candidate's attempt.
    is_dialled: bool,
    /// The topics of discovery that it is subscribed to.
    topics: BTreeSet<String>,
    connections: Connections,
    /// The time at which one of them is to be closed.
    close_at: Option<Instant>,
}

impl Dialer {
    /// Without any connection. `local` is this node. Fails if there are too many hubs.
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

    /// The peers to save, from the table and from the saved ones that have not been heard yet: connected ones first, then
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

    /// A connection to `peer` has been established, by either side, after the addresses `failed`.
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

    /// A connection to `peer` has ended, and others remain.
    pub(crate) fn on_closed(&mut self, peer: &PeerId, id: ConnectionId) {
        if let Some(link) = self.links.get_mut(peer) {
            link.connections.on_closed(id);
            self.plan_closing(*peer);
        }
    }

    /// A duplicate connection to close now. Called like [`Dialer::next_dial`].
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

    /// Adds a hub. Returns `false` if it was there already, and fails at the maximum number.
    pub(crate) fn add_hub(
        &mut self,
        now: Instant,
        address: Multiaddr,
    ) -> Result<bool, ConfigError> {
        let links = &self.links;
        self.hubs
            .add(now, address, |peer| links.get(peer).map(|link| link.since))
    }

    /// Removes a hub. Returns `false` if it was not there.
    pub(crate) fn remove_hub(&mut self, address: &Multiaddr) -> bool {
        self.hubs.remove(address)
    }

    /// The addresses of all hubs, as given.
    pub(crate) fn hubs(&self) -> impl Iterator<Item = &Multiaddr> {
        self.hubs.addresses()
    }

    /// Adds the counters of the hubs.
    pub(crate) fn count_hubs(&self, counters: Counters) -> Counters {
        self.hubs.count(counters)
    }

    /// The next event for the application.
    pub(crate) fn pop_hub_event(&mut self) -> Option<HubEvent> {
        self.hubs.pop_event()
    }

    /// This node has a new address, from a listener or confirmed by others.
    pub(crate) fn on_network_changed(&mut self, now: Instant) {
        self.hubs.on_network_changed(now);
    }

    /// A dial has reached `peer`. Returns `false` if the connection is to be denied, because the dialled hub turned out to
    /// be a connected peer.
    pub(crate) fn on_reached(&mut self, id: ConnectionId, peer: PeerId) -> bool {
        let is_connected = self.links.contains_key(&peer);
        self.hubs.on_reached(id, peer, is_connected)
    }

    /// A peer has subscribed to a topic of discovery. Ignored unless it is connected, because events of the pubsub may
    /// arrive after the end of the connection.
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

    /// A topic of discovery was added. Only peers that subscribe from now on count as its subscribers.
    pub(crate) fn on_topic_added(&mut self, now: Instant) {
        self.candidates.on_topics_changed(now, true);
    }

    /// A topic of discovery was removed. `has_topics` if others remain.
    pub(crate) fn on_topic_removed(&mut self, now: Instant, topic: &str, has_topics: bool) {
        for link in self.links.values_mut() {
            if link.topics.remove(topic) && link.topics.is_empty() {
                self.candidates.on_unsubscribed(now);
            }
        }
        self.candidates.on_topics_changed(now, has_topics);
    }

    /// `peer` is new in the table, or its addresses have changed.
    pub(crate) fn on_candidate(&mut self, now: Instant, peer: &PeerId) {
        self.candidates.on_candidate(now, peer);
        self.hubs.on_candidate(now, peer);
    }

    /// A peer has left the table.
    pub(crate) fn on_expired(&mut self, peer: &PeerId) {
        self.candidates.on_expired(peer);
    }

    /// The dial of [`Dialer::next_dial`] has been started, as `id`.
    pub(crate) fn on_dialling(&mut self, now: Instant, dial: &Dial, id: ConnectionId) {
        self.dials.insert(id);
        if self.hubs.on_dialling(now, dial, id) {
            return;
        }
        if let Some(peer) = dial.peer {
            self.candidates.on_dialling(peer, id);
        }
    }

    /// Any dial of the swarm has failed. `peer` is `None` for a dial without a peer id that no peer answered.
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
        // Without any connection, the fault may lie with this node. Forgetting the others for it would leave no peer to
        // return to.
        let is_cut_off = self.links.is_empty();
        if is_unreachable && !is_cut_off && !self.links.contains_key(peer) {
            peers.on_unreachable(peer);
        }
    }

    /// The next dial, hubs first, confirmed by [`Dialer::on_dialling`]. Called until it returns `None`, whenever the time
    /// of [`Dialer::next_timeout`] has come.
    pub(crate) fn next_dial(&mut self, now: Instant, peers: &Peers) -> Option<Dial> {
        if let Some(dial) = self.hubs.next_dial(now, peers) {
            return Some(dial);
        }
        let (links, hubs) = (&self.links, &self.hubs);
        self.candidates.next_dial(now, peers, |peer| {
            links.contains_key(peer) || hubs.is_named(peer)
        })
    }

    /// The time at which [`Dialer::next_dial`] next has work, as far as is known.
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

    /// Looks again for a duplicate connection.
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
