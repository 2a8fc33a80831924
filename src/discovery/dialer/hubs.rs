//! CORE: the configured hubs, which are dialled whenever they are not connected.
//!
//! A hub is one row: the addresses given for one peer id, or a single address without an id, whose peer is learnt at each
//! dial. [`Dialer`](super::Dialer) owns [`Hubs`], passes its inputs on, and asks it for dials.

use std::{collections::VecDeque, time::Duration};

use libp2p_identity::PeerId;
use libp2p_swarm::{ConnectionId, DialError};
use multiaddr::{Multiaddr, Protocol};
use rand::{RngExt as _, rngs::SmallRng};

use super::{
    dial::{Dial, STEADY},
    failure::Failure,
};
use crate::{
    deadline::{Instant, after},
    discovery::{ConfigError, Counters, Event, HubError, peers::Peers},
};

/// The maximum number of addresses of hubs.
const MAX_HUBS: usize = 64;

/// Fails above the maximum number of addresses.
pub(super) fn check_count(hubs: usize) -> Result<(), ConfigError> {
    match hubs > MAX_HUBS {
        true => Err(ConfigError::TooManyHubs {
            hubs,
            max: MAX_HUBS,
        }),
        false => Ok(()),
    }
}

/// The first redial after a lost connection is delayed by a random part of this, so that the leaves of a hub that dies do
/// not return at the same moment.
const SPREAD: Duration = Duration::from_secs(3);

/// The delay after the first failed dial. It doubles with each further one.
pub(super) const FIRST_DELAY: Duration = Duration::from_secs(1);

/// The random part of a delay, which is subtracted.
const JITTER: f64 = 0.25;

/// The minimum time between two dials of one hub, however often the network changes.
const HURRIED: Duration = Duration::from_secs(1);

/// What the application is told about a hub. `hub` is the address as given; the first one if several were given for one peer
/// id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HubEvent {
    Connected {
        hub: Multiaddr,
        peer_id: PeerId,
    },
    Lost {
        hub: Multiaddr,
        peer_id: PeerId,
        retry_in: Duration,
    },
    Unreachable {
        hub: Multiaddr,
        peer_id: Option<PeerId>,
        error: Box<HubError>,
        attempt: u32,
        /// `None` if it is not dialled again until the network changes.
        retry_in: Option<Duration>,
    },
}

impl<E> From<HubEvent> for Event<E> {
    fn from(event: HubEvent) -> Self {
        match event {
            HubEvent::Connected { hub, peer_id } => Self::HubConnected { hub, peer_id },
            HubEvent::Lost {
                hub,
                peer_id,
                retry_in,
            } => Self::HubLost {
                hub,
                peer_id,
                retry_in,
            },
            HubEvent::Unreachable {
                hub,
                peer_id,
                error,
                attempt,
                retry_in,
            } => Self::HubUnreachable {
                hub,
                peer_id,
                error,
                attempt,
                retry_in,
            },
        }
    }
}

#[derive(Debug)]
pub(super) struct Hubs {
    local: PeerId,
    max_delay: Duration,
    /// At most [`MAX_HUBS`] addresses in all.
    rows: Vec<Hub>,
    /// The number of failed dials of all hubs since the start, including removed ones.
    failed_in_all: u64,
    /// At most one event for each row and input.
    events: VecDeque<HubEvent>,
}

#[derive(Debug)]
struct Hub {
    /// The addresses as given; not empty. With [`Hub::id`], all that end in that id, otherwise one.
    addresses: Vec<Multiaddr>,
    /// The peer id that the application has given.
    id: Option<PeerId>,
    /// The peer: the id given, or the one learnt at the last dial.
    peer: Option<PeerId>,
    /// Addresses at which another peer answered since the hub was last connected.
    wrong: Vec<Multiaddr>,
    /// The pending dial.
    dial: Option<ConnectionId>,
    dialled_at: Option<Instant>,
    /// The number of failed dials since the last connection that lasted.
    failures: u32,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Waiting {
        until: Instant,
    },
    Dialling,
    Connected {
        peer: PeerId,
        since: Instant,
    },
    /// Whether a dial would fail like the last one until the network changes.
    Futile,
}

impl Hubs {
    /// `max_delay` is the longest delay between two dials.
    pub(super) fn new(local: PeerId, max_delay: Duration) -> Self {
        Self {
            local,
            max_delay: max_delay.max(FIRST_DELAY),
            rows: Vec::new(),
            failed_in_all: 0,
            events: VecDeque::new(),
        }
    }

    /// Adds a hub, to be dialled at once unless it is connected, which `connected_since` looks up. Returns `false` if the
    /// address was there already, and fails if there is no room for it.
    pub(super) fn add(
        &mut self,
        now: Instant,
        address: Multiaddr,
        connected_since: impl Fn(&PeerId) -> Option<Instant>,
    ) -> Result<bool, ConfigError> {
        if self.addresses().any(|known| *known == address) {
            return Ok(false);
        }
        check_count(self.addresses().count() + 1)?;
        let id = match address.iter().last() {
            Some(Protocol::P2p(id)) => Some(id),
            _ => None,
        };
        if let Some(hub) = self
            .rows
            .iter_mut()
            .find(|hub| id.is_some() && hub.id == id)
        {
            hub.addresses.push(address);
            if id != Some(self.local) {
                hub.hurry(now);
            }
            return Ok(true);
        }
        let mut hub = Hub {
            addresses: vec![address],
            id,
            peer: id,
            wrong: Vec::new(),
            dial: None,
            dialled_at: None,
            failures: 0,
            state: State::Waiting { until: now },
        };
        if id == Some(self.local) {
            hub.state = State::Futile;
            self.events
                .push_back(hub.unreachable(HubError::OwnAddress, None));
        } else if let Some(peer) = id
            && let Some(since) = connected_since(&peer)
        {
            self.events.push_back(hub.connect(peer, since));
        }
        self.rows.push(hub);
        Ok(true)
    }

    /// Removes an address. Returns whether it was there.
    pub(super) fn remove(&mut self, address: &Multiaddr) -> bool {
        let before = self.addresses().count();
        for hub in &mut self.rows {
            hub.addresses.retain(|known| known != address);
        }
        self.rows.retain(|hub| !hub.addresses.is_empty());
        self.addresses().count() < before
    }

    /// The addresses as given.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &Multiaddr> {
        self.rows.iter().flat_map(|hub| &hub.addresses)
    }

    /// Whether a hub was given with the id of this peer.
    pub(super) fn is_named(&self, peer: &PeerId) -> bool {
        self.rows.iter().any(|hub| hub.id.as_ref() == Some(peer))
    }

    pub(super) fn count(&self, counters: Counters) -> Counters {
        let is_connected = |hub: &&Hub| matches!(hub.state, State::Connected { .. });
        Counters {
            hubs: self.rows.len() as u64,
            hubs_connected: self.rows.iter().filter(is_connected).count() as u64,
            hub_failures: self.failed_in_all,
            ..counters
        }
    }

    /// A dial has reached `peer`, before the swarm counts it as connected. Returns `false` if the connection is to be
    /// denied: it belongs to a hub without an id, and `is_connected`.
    pub(super) fn on_reached(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        is_connected: bool,
    ) -> bool {
        let Some(hub) = self.dialled_as(id) else {
            return true;
        };
        if hub.id.is_some() {
            return true;
        }
        hub.peer = Some(peer);
        !is_connected
    }

    /// `peer` has been connected since this time.
    pub(super) fn on_connected(&mut self, peer: &PeerId, id: ConnectionId, since: Instant) {
        if let Some(hub) = self.dialled_as(id) {
            hub.dial = None;
            hub.peer = Some(*peer);
        }
        for hub in &mut self.rows {
            if hub.peer.as_ref() == Some(peer) && !matches!(hub.state, State::Connected { .. }) {
                self.events.push_back(hub.connect(*peer, since));
            }
        }
    }

    /// The last connection to `peer` has ended.
    pub(super) fn on_disconnected(&mut self, now: Instant, peer: &PeerId, rng: &mut SmallRng) {
        for hub in &mut self.rows {
            let (peer_id, since) = match hub.state {
                State::Connected { peer: at, since } if at == *peer => (at, since),
                _ => continue,
            };
            let spread = SPREAD.mul_f64(rng.random_range(0.0..1.0));
            let retry_in = match now.saturating_duration_since(since) >= STEADY {
                true => {
                    hub.failures = 0;
                    spread
                }
                false => {
                    self.failed_in_all += 1;
                    hub.back_off(self.max_delay, rng).max(spread)
                }
            };
            hub.wait(now, retry_in);
            self.events.push_back(HubEvent::Lost {
                hub: hub.hub().clone(),
                peer_id,
                retry_in,
            });
        }
    }

    /// A dial has failed. `connected_since` looks up the connection of a peer.
    pub(super) fn on_dial_failed(
        &mut self,
        now: Instant,
        id: ConnectionId,
        error: &DialError,
        peers: &Peers,
        connected_since: impl Fn(&PeerId) -> Option<Instant>,
        rng: &mut SmallRng,
    ) {
        let (local, max_delay) = (self.local, self.max_delay);
        let Some(hub) = self.dialled_as(id) else {
            return;
        };
        hub.dial = None;
        // It has dialled this node meanwhile.
        if hub.state != State::Dialling {
            return;
        }
        if let Some(peer) = hub.peer
            && let Some(since) = connected_since(&peer)
        {
            let event = hub.connect(peer, since);
            self.events.push_back(event);
            return;
        }
        // The application or another behaviour is dialling it. The result of that is an input as well.
        if let DialError::DialPeerConditionFalse(_) = error {
            hub.wait(now, FIRST_DELAY);
            return;
        }
        let failure = Failure::of(error);
        let error = HubError::of(error, hub.id, local);
        let event = match failure {
            Failure::WrongPeer(address) if hub.id.is_some() => {
                hub.wrong.push(address);
                if !hub.targets(peers).is_empty() {
                    tracing::warn!(hub = %hub.hub(), %error, "another address of the hub is tried");
                    let delay = hub.back_off(max_delay, rng);
                    hub.wait(now, delay);
                    None
                } else {
                    hub.wrong.clear();
                    hub.back_off(max_delay, rng);
                    let delay = jittered(max_delay, rng);
                    hub.wait(now, delay);
                    Some(hub.unreachable(error, Some(delay)))
                }
            }
            Failure::WrongPeer(_) | Failure::NoAddresses | Failure::Unsupported(_) => {
                hub.failures = hub.failures.saturating_add(1);
                hub.state = State::Futile;
                Some(hub.unreachable(error, None))
            }
            Failure::Unreachable(_) | Failure::Local => {
                let delay = hub.back_off(max_delay, rng);
                hub.wait(now, delay);
                Some(hub.unreachable(error, Some(delay)))
            }
        };
        self.events.extend(event);
        self.failed_in_all += 1;
    }

    /// The listen addresses or the external addresses of this node have changed.
    pub(super) fn on_network_changed(&mut self, now: Instant) {
        for hub in &mut self.rows {
            if hub.id != Some(self.local) {
                hub.hurry(now);
            }
        }
    }

    /// `peer` has announced other addresses.
    pub(super) fn on_candidate(&mut self, now: Instant, peer: &PeerId) {
        for hub in &mut self.rows {
            if hub.id.as_ref() == Some(peer) && hub.state == State::Futile && *peer != self.local {
                hub.hurry(now);
            }
        }
    }

    /// The next due dial of a hub, confirmed by [`Hubs::on_dialling`].
    pub(super) fn next_dial(&mut self, now: Instant, peers: &Peers) -> Option<Dial> {
        for hub in &mut self.rows {
            let State::Waiting { until } = hub.state else {
                continue;
            };
            if until > now {
                continue;
            }
            let addresses = hub.targets(peers);
            if !addresses.is_empty() {
                return Some(Dial {
                    peer: hub.id,
                    addresses,
                });
            }
            hub.state = State::Futile;
            self.events
                .push_back(hub.unreachable(HubError::NoAddresses, None));
        }
        None
    }

    /// A dial has been started. Returns whether it is that of a hub.
    pub(super) fn on_dialling(&mut self, now: Instant, dial: &Dial, id: ConnectionId) -> bool {
        let is_target = |hub: &&mut Hub| match dial.peer {
            Some(peer) => hub.id == Some(peer),
            None => hub.id.is_none() && hub.addresses == dial.addresses,
        };
        let Some(hub) = self.rows.iter_mut().find(is_target) else {
            return false;
        };
        hub.dial = Some(id);
        hub.dialled_at = Some(now);
        hub.state = State::Dialling;
        true
    }

    pub(super) fn pop_event(&mut self) -> Option<HubEvent> {
        self.events.pop_front()
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let waiting = self.rows.iter().filter_map(|hub| match hub.state {
            State::Waiting { until } => Some(until),
            State::Dialling | State::Connected { .. } | State::Futile => None,
        });
        waiting.min()
    }

    fn dialled_as(&mut self, id: ConnectionId) -> Option<&mut Hub> {
        self.rows.iter_mut().find(|hub| hub.dial == Some(id))
    }
}

impl Hub {
    fn hub(&self) -> &Multiaddr {
        self.addresses.first().expect("never empty")
    }

    fn unreachable(&self, error: HubError, retry_in: Option<Duration>) -> HubEvent {
        HubEvent::Unreachable {
            hub: self.hub().clone(),
            peer_id: self.peer,
            error: Box::new(error),
            attempt: self.failures,
            retry_in,
        }
    }

    fn connect(&mut self, peer: PeerId, since: Instant) -> HubEvent {
        self.state = State::Connected { peer, since };
        self.wrong.clear();
        HubEvent::Connected {
            hub: self.hub().clone(),
            peer_id: peer,
        }
    }

    /// The addresses to dial: those given and, for a given peer id, those that the peer has announced.
    fn targets(&self, peers: &Peers) -> Vec<Multiaddr> {
        let Some(id) = self.id else {
            return self.addresses.clone();
        };
        let known = peers.get(&id).map_or(&[][..], |known| known.addresses());
        let mut targets = Vec::new();
        for address in self.addresses.iter().chain(known) {
            if address.iter().count() > 1
                && !self.wrong.contains(address)
                && !targets.contains(address)
            {
                targets.push(address.clone());
            }
        }
        targets
    }

    fn wait(&mut self, now: Instant, delay: Duration) {
        let until = after(now, delay);
        self.state = State::Waiting { until };
    }

    /// The delay after one more failed dial.
    fn back_off(&mut self, max_delay: Duration, rng: &mut SmallRng) -> Duration {
        let delay = FIRST_DELAY.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        jittered(delay.min(max_delay), rng)
    }

    /// Dials it now, or as soon as [`HURRIED`] allows.
    fn hurry(&mut self, now: Instant) {
        let earliest = self
            .dialled_at
            .map_or(now, |at| after(at, HURRIED).max(now));
        let until = match self.state {
            State::Waiting { until } => until.min(earliest),
            State::Futile => earliest,
            State::Dialling | State::Connected { .. } => return,
        };
        self.state = State::Waiting { until };
    }
}

fn jittered(delay: Duration, rng: &mut SmallRng) -> Duration {
    delay.mul_f64(1.0 - rng.random_range(0.0..JITTER))
}

#[cfg(test)]
mod tests;
