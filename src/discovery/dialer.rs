//! CORE: whom to dial: hubs always, and others so that there are enough connections to subscribers.
//!
//! [`Dialer`] is told what becomes of connections, subscriptions and dials (`on_*`), and says who is to be dialled
//! now ([`Dialer::next_dial`]) and when to ask again ([`Dialer::next_timeout`]). The candidates are the rows
//! of the table of known peers, which is passed in; what a failed dial says about a row goes back into it. Spurious
//! calls do nothing.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use libp2p_core::ConnectedPoint;
use libp2p_identity::PeerId;
use libp2p_swarm::{ConnectionId, DialError};
use multiaddr::Multiaddr;
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

use super::{
    Counters, SavedPeer,
    peers::Peers,
    rate::{Bucket, Rate},
    saved::MAX_SAVED,
};
use crate::deadline::{Instant, after};

mod dial;
mod duplicates;
mod failure;
mod hubs;
mod saved;

pub(crate) use dial::Dial;
use dial::STEADY;
use duplicates::{Connections, Origin};
use failure::Failure;
use hubs::Hubs;
pub(crate) use hubs::{HubEvent, MAX_HUBS};
use saved::Saved;

/// How many attempts are under way at once. Each may hold as many sockets as the swarm dials addresses of one peer at
/// a time, by default eight.
pub(crate) const MAX_ATTEMPTS: usize = 8;

/// How often the table is looked through for somebody to dial, and so how often anybody is dialled. It bounds what a
/// table full of unreachable addresses costs, in dials and in time: a look goes over all rows.
const LOOKS: Rate = Rate::new(MAX_ATTEMPTS as u32, Duration::from_millis(500));

/// A connection is missed for a random part of this before somebody is dialled. Meanwhile more candidates come in,
/// so that those who lack a connection at the same moment do not all dial the one whom all of them heard first.
const SPREAD: Duration = Duration::from_secs(1);

/// How long a peer that has been dialled may take to subscribe before somebody else is dialled as well.
const GRACE: Duration = Duration::from_secs(10);

const FIRST_DELAY: Duration = Duration::from_secs(10);
const MAX_DELAY: Duration = Duration::from_secs(600);

/// The part of a delay that is left to chance.
const JITTER: f64 = 0.25;

/// What the application wants.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// How many connections to subscribers there should be. With 0, only hubs are dialled.
    pub(crate) target: usize,
    pub(crate) hubs: Vec<Multiaddr>,
    /// The longest time between two tries of a hub.
    pub(crate) max_hub_delay: Duration,
    /// Those that were known before this node was restarted.
    pub(crate) saved: Vec<SavedPeer>,
}

/// What has to be dialled for the hubs, and for enough connections to subscribers.
#[derive(Debug)]
pub(crate) struct Dialer {
    /// How many connections there should be; 0 if only hubs are dialled.
    target: usize,
    local: PeerId,
    hubs: Hubs,
    /// Without a topic nobody can be subscribed.
    has_topics: bool,
    rng: SmallRng,
    /// All connected peers: as many as the application's limit on connections lets in.
    links: HashMap<PeerId, Link>,
    /// When to close a connection to whom: [`Link::close_at`] of each.
    closing: BTreeSet<(Instant, PeerId)>,
    /// How many of them are subscribed to a topic.
    subscribers: usize,
    /// At most [`MAX_ATTEMPTS`].
    attempts: HashMap<PeerId, Attempt>,
    /// Only of peers in the table or saved ones, so at most as many as these are.
    backoffs: HashMap<PeerId, Backoff>,
    looks: Bucket,
    /// When to look for somebody to dial. `None` while nobody is missing, or nobody is there to be dialled.
    look_at: Option<Instant>,
    /// Those of before the restart that have not been heard since.
    saved: Saved,
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

#[derive(Debug)]
enum Attempt {
    Dialling(ConnectionId),
    /// Connected, and not subscribed yet.
    Connected {
        until: Instant,
    },
}

/// A peer that has been dialled in vain.
#[derive(Debug)]
struct Backoff {
    failures: u32,
    until: Instant,
    /// Whether none of its addresses can be dialled from here: no attempt is made until they change.
    is_futile: bool,
}

impl Dialer {
    /// Nobody is connected yet. `local` is this node.
    pub(crate) fn new(local: PeerId, settings: Settings, seed: u64, now: Instant) -> Self {
        let Settings {
            target,
            hubs: addresses,
            max_hub_delay,
            saved,
        } = settings;
        let mut hubs = Hubs::new(local, max_hub_delay);
        for address in addresses {
            hubs.add(now, address, |_| None);
        }
        let mut dialer = Self {
            target,
            local,
            hubs,
            has_topics: true,
            rng: SmallRng::seed_from_u64(seed),
            links: HashMap::new(),
            closing: BTreeSet::new(),
            subscribers: 0,
            attempts: HashMap::new(),
            backoffs: HashMap::new(),
            looks: Bucket::default(),
            look_at: None,
            saved: Saved::new(local, saved, now),
        };
        if !dialer.saved.is_empty() {
            dialer.look_soon(now);
        }
        dialer
    }

    /// The peers to save: those in the table and the saved ones that have not been heard yet, connected ones first and then
    /// those heard last, at most [`MAX_SAVED`].
    pub(crate) fn to_save(&self, now: Instant, peers: &Peers) -> Vec<SavedPeer> {
        let known = peers.iter().map(|known| SavedPeer {
            peer_id: known.peer_id(),
            addresses: known.addresses().to_vec(),
            age: now.saturating_duration_since(known.last_heard()),
        });
        let mut all = known.chain(self.saved.iter(now)).collect::<Vec<_>>();
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
        let is_own = self.hubs.is_dialled(id) || is_dialling(&self.attempts, &peer, id);
        let origin = match endpoint {
            _ if endpoint.is_relayed() => Origin::Relay,
            ConnectedPoint::Listener { .. } => Origin::Remote,
            ConnectedPoint::Dialer { .. } if is_own => Origin::Discovery,
            ConnectedPoint::Dialer { .. } => Origin::Application,
        };
        if self.target > 0 {
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
        if !is_dialling(&self.attempts, &peer, id) {
            self.plan_closing(peer);
            return;
        }
        link.is_dialled = true;
        if link.topics.is_empty() {
            let until = after(now, GRACE);
            self.attempts.insert(peer, Attempt::Connected { until });
        } else {
            // It has dialled this node meanwhile, subscribed, and counted twice.
            self.attempts.remove(&peer);
            self.look_soon(now);
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
        let (_, id) = link.connections.surplus(yields)?;
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
            self.subscribers -= 1;
        }
        if let Some(Attempt::Connected { .. }) = self.attempts.get(peer) {
            self.attempts.remove(peer);
        }
        if now.saturating_duration_since(link.since) >= STEADY {
            self.backoffs.remove(peer);
        } else if link.is_dialled {
            self.back_off(now, peer, peers);
        }
        self.hubs.on_disconnected(now, peer, &mut self.rng);
        self.look_soon(now);
    }

    /// Names a hub. Returns `false` if it is named already, or there are [`MAX_HUBS`].
    pub(crate) fn add_hub(&mut self, now: Instant, address: Multiaddr) -> bool {
        let links = &self.links;
        self.hubs
            .add(now, address, |peer| links.get(peer).map(|link| link.since))
    }

    /// Dials a hub no more. Returns `false` if it is not named.
    pub(crate) fn remove_hub(&mut self, address: &Multiaddr) -> bool {
        self.hubs.remove(address)
    }

    /// Whether there is no room for another hub.
    pub(crate) fn is_full(&self) -> bool {
        self.hubs.is_full()
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
        if link.topics.is_empty() {
            self.subscribers += 1;
        }
        link.topics.insert(topic.to_owned());
        if let Some(Attempt::Connected { .. }) = self.attempts.get(peer) {
            self.attempts.remove(peer);
        }
        if self.missing() == 0 {
            self.look_at = None;
        }
    }

    /// A peer has unsubscribed from a topic of discovery.
    pub(crate) fn on_unsubscribed(&mut self, now: Instant, peer: &PeerId, topic: &str) {
        let Some(link) = self.links.get_mut(peer) else {
            return;
        };
        if link.topics.remove(topic) && link.topics.is_empty() {
            self.subscribers -= 1;
            self.look_soon(now);
        }
    }

    /// There is a topic of discovery more. Of its subscribers only those count that subscribe from now on.
    pub(crate) fn on_topic_added(&mut self, now: Instant) {
        self.has_topics = true;
        self.look_soon(now);
    }

    /// There is a topic of discovery less, and whether others are left.
    pub(crate) fn on_topic_removed(&mut self, now: Instant, topic: &str, has_topics: bool) {
        self.has_topics = has_topics;
        for link in self.links.values_mut() {
            if link.topics.remove(topic) && link.topics.is_empty() {
                self.subscribers -= 1;
            }
        }
        if self.missing() == 0 {
            self.look_at = None;
        }
        self.look_soon(now);
    }

    /// `peer` is new in the table, or has other addresses now.
    pub(crate) fn on_candidate(&mut self, now: Instant, peer: &PeerId) {
        if let Some(backoff) = self.backoffs.get_mut(peer) {
            backoff.is_futile = false;
        }
        self.saved.forget(peer);
        self.hubs.on_candidate(now, peer);
        self.look_soon(now);
    }

    /// A peer has left the table.
    pub(crate) fn on_expired(&mut self, peer: &PeerId) {
        self.backoffs.remove(peer);
    }

    /// What [`Dialer::next_dial`] has asked for is under way, as `id`.
    pub(crate) fn on_dialling(&mut self, now: Instant, dial: &Dial, id: ConnectionId) {
        if self.hubs.on_dialling(now, dial, id) {
            return;
        }
        if let Some(peer) = dial.peer {
            self.attempts.insert(peer, Attempt::Dialling(id));
        }
        if self.missing() == 0 {
            self.look_at = None;
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
        let links = &self.links;
        let connected_since = |peer: &PeerId| links.get(peer).map(|link| link.since);
        self.hubs
            .on_dial_failed(now, id, error, peers, connected_since, &mut self.rng);
        if self.target == 0 {
            return;
        }
        let Some(peer) = peer else {
            return;
        };
        let is_own = is_dialling(&self.attempts, peer, id);
        if is_own {
            self.attempts.remove(peer);
        }
        match Failure::of(error) {
            Failure::Local if is_own => self.put_off(now, peer, peers),
            Failure::Local => {}
            Failure::WrongPeer(address) => {
                self.back_off(now, peer, peers);
                peers.on_wrong_peer(peer, &address);
                self.saved.on_wrong_peer(peer, &address);
            }
            Failure::Unsupported(addresses) => {
                self.back_off(now, peer, peers);
                // The application may have dialled others than those in the table.
                let known = peers.get(peer).map(|known| known.addresses());
                let known = known.or_else(|| self.saved.addresses(peer));
                if known.is_some_and(|known| known.iter().all(|at| addresses.contains(at))) {
                    self.give_up(peer);
                }
            }
            Failure::NoAddresses => {
                self.back_off(now, peer, peers);
                if is_own {
                    self.give_up(peer);
                }
            }
            Failure::Unreachable(addresses) => {
                self.back_off(now, peer, peers);
                // Without any connection it is this node that cannot be reached, for all that is known. To forget the
                // others for it would leave nobody to come back to.
                let is_cut_off = self.links.is_empty();
                if peers.on_failed(peer, &addresses)
                    && !is_cut_off
                    && !self.links.contains_key(peer)
                {
                    peers.on_unreachable(peer);
                }
            }
        }
        if is_own {
            self.look_soon(now);
        }
    }

    /// Whom to dial now, hubs first; [`Dialer::on_dialling`] says that it has been done. To be called
    /// until it returns `None` whenever the time of [`Dialer::next_timeout`] has come.
    pub(crate) fn next_dial(&mut self, now: Instant, peers: &Peers) -> Option<Dial> {
        if let Some(dial) = self.hubs.next_dial(now, peers) {
            return Some(dial);
        }
        let (peer, addresses) = self.next_candidate(now, peers)?;
        Some(Dial {
            peer: Some(peer),
            addresses,
        })
    }

    /// A known peer to dial, and all its addresses.
    ///
    /// It goes over the whole table if somebody is missing and a look is due, as [`LOOKS`] allows, which takes about a
    /// millisecond for 16,384 rows; and otherwise over nothing.
    fn next_candidate(&mut self, now: Instant, peers: &Peers) -> Option<(PeerId, Vec<Multiaddr>)> {
        let before = self.attempts.len();
        let is_under_way = |attempt: &mut Attempt| match attempt {
            Attempt::Dialling(_) => true,
            Attempt::Connected { until } => *until > now,
        };
        self.attempts.retain(|_, attempt| is_under_way(attempt));
        if self.attempts.len() < before {
            self.look_soon(now);
        }
        if self.next_look()? > now || !self.looks.try_take(now, LOOKS) {
            return None;
        }
        let known = peers
            .iter()
            .map(|known| (known.peer_id(), known.addresses()));
        // Taken out for as long as the rest of the state is looked at.
        let mut rng = self.rng.clone();
        let (chosen, next) = choose(&mut rng, known, |peer| self.readiness(peer, now));
        // Those who have announced themselves lately are likelier to be there.
        let (chosen, next) = match chosen {
            Some(_) => (chosen, next),
            None => {
                let saved = self.saved.candidates();
                let (chosen, later) = choose(&mut rng, saved, |peer| self.readiness(peer, now));
                (chosen, [next, later].into_iter().flatten().min())
            }
        };
        let chosen = chosen.map(|(peer, addresses)| (peer, addresses.to_vec()));
        self.rng = rng;
        self.look_at = match chosen {
            Some(_) => Some(now),
            None => next,
        };
        chosen
    }

    /// When [`Dialer::next_dial`] will next have something to do, as far as is known.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let graces = self.attempts.values().filter_map(|attempt| match attempt {
            Attempt::Dialling(_) => None,
            Attempt::Connected { until } => Some(*until),
        });
        let others = graces.chain(self.next_look());
        let closing = self.closing.first().map(|&(at, _)| at);
        others.chain(self.hubs.next_timeout()).chain(closing).min()
    }

    fn readiness(&self, peer: &PeerId, now: Instant) -> Readiness {
        if self.links.contains_key(peer)
            || self.attempts.contains_key(peer)
            || self.hubs.is_named(peer)
        {
            return Readiness::Never;
        }
        match self.backoffs.get(peer) {
            Some(backoff) if backoff.is_futile => Readiness::Never,
            Some(backoff) if backoff.until > now => Readiness::Later(backoff.until),
            Some(_) | None => Readiness::Ready,
        }
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
        if let Some((at, _)) = link.connections.surplus(yields) {
            link.close_at = Some(at);
            self.closing.insert((at, peer));
        }
    }

    fn next_look(&self) -> Option<Instant> {
        if self.missing() == 0 || self.attempts.len() >= MAX_ATTEMPTS {
            return None;
        }
        let look_at = self.look_at?;
        Some(
            self.looks
                .next_at(LOOKS)
                .map_or(look_at, |at| at.max(look_at)),
        )
    }

    /// How many attempts have to be made on top of those under way.
    fn missing(&self) -> usize {
        if !self.has_topics {
            return 0;
        }
        self.target
            .saturating_sub(self.subscribers)
            .saturating_sub(self.attempts.len())
    }

    /// Somebody may be missing who was not before, or there may be somebody to dial.
    fn look_soon(&mut self, now: Instant) {
        if self.missing() == 0 {
            return;
        }
        let latest = after(now, SPREAD);
        if self.look_at.is_none_or(|at| at > latest) {
            let delay = SPREAD.mul_f64(self.rng.random_range(0.0..1.0));
            self.look_at = Some(after(now, delay));
        }
    }

    /// The peer is left alone for longer each time. Nothing is noted of one that is not in the table, and so nobody
    /// who would be dialled.
    fn back_off(&mut self, now: Instant, peer: &PeerId, peers: &Peers) {
        self.leave_alone(now, peer, peers, 1);
    }

    /// The peer is left alone for a while, but it is not to blame.
    fn put_off(&mut self, now: Instant, peer: &PeerId, peers: &Peers) {
        self.leave_alone(now, peer, peers, 0);
    }

    /// The peer, which has just been backed off from, is left alone until its addresses change. The backoff outlasts that, or
    /// a peer could have itself dialled as often as it announces others.
    fn give_up(&mut self, peer: &PeerId) {
        if let Some(backoff) = self.backoffs.get_mut(peer) {
            backoff.is_futile = true;
        }
    }

    fn leave_alone(&mut self, now: Instant, peer: &PeerId, peers: &Peers, failures: u32) {
        if peers.get(peer).is_none() && self.saved.addresses(peer).is_none() {
            return;
        }
        let chance = self.rng.random_range(0.0..JITTER);
        let backoff = self.backoffs.entry(*peer).or_insert(Backoff {
            failures: 0,
            until: now,
            is_futile: false,
        });
        backoff.failures = backoff.failures.saturating_add(failures);
        let doublings = match failures {
            0 => 0,
            _ => backoff.failures.saturating_sub(1),
        };
        let delay = FIRST_DELAY
            .saturating_mul(2_u32.saturating_pow(doublings))
            .min(MAX_DELAY);
        let until = after(now, delay.mul_f64(1.0 - chance));
        backoff.until = backoff.until.max(until);
    }
}

/// Whether a candidate may be dialled.
enum Readiness {
    Ready,
    Later(Instant),
    Never,
}

/// One of the candidates that may be dialled now, all of them equally likely, and when the next one may.
fn choose<'a>(
    rng: &mut SmallRng,
    all: impl Iterator<Item = (PeerId, &'a [Multiaddr])>,
    readiness: impl Fn(&PeerId) -> Readiness,
) -> (Option<(PeerId, &'a [Multiaddr])>, Option<Instant>) {
    let (mut chosen, mut candidates, mut next) = (None, 0_usize, None::<Instant>);
    for (peer, addresses) in all {
        if addresses.is_empty() {
            continue;
        }
        match readiness(&peer) {
            Readiness::Never => {}
            Readiness::Later(at) => next = Some(next.map_or(at, |next| next.min(at))),
            // It takes the place of the one before with a probability that makes all equally likely.
            Readiness::Ready => {
                candidates += 1;
                if rng.random_range(0..candidates) == 0 {
                    chosen = Some((peer, addresses));
                }
            }
        }
    }
    (chosen, next)
}

/// Whether `id` is the attempt that is under way to `peer`.
fn is_dialling(attempts: &HashMap<PeerId, Attempt>, peer: &PeerId, id: ConnectionId) -> bool {
    matches!(attempts.get(peer), Some(Attempt::Dialling(under_way)) if *under_way == id)
}

#[cfg(test)]
mod tests;
