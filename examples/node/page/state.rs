//! What the page shows: a plain value.

#[cfg(feature = "autotls")]
use std::time::SystemTime;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::ConnectedPoint,
    identify,
    multiaddr::Protocol,
    swarm::{ConnectionId, SwarmEvent},
};
use libp2p_lazy_websocket::{lazy::Readiness, websocket::Certificates};
use serde::Serialize;

use super::overlay::{Overlay, Union};
use crate::{Behaviour, BehaviourEvent, chain, live, with_peer};

/// How many peers, and how many connections, are shown. The others are counted.
const MAX_ROWS: usize = 256;

/// How many addresses of a peer are shown.
const MAX_ADDRESSES: usize = 8;

/// The length at which texts of peers are cut off, in characters.
const MAX_TEXT: usize = 256;

/// The length of the chart, in seconds.
pub(crate) const SECONDS: usize = 60;

/// All texts may come from other peers.
#[derive(Debug, Default, Serialize)]
pub(crate) struct State {
    pub(crate) title: String,
    pub(crate) id: String,
    pub(crate) up_seconds: u64,
    pub(crate) addresses: Vec<String>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) hubs: Vec<Hub>,
    pub(crate) known: usize,
    pub(crate) peers: Vec<Peer>,
    pub(crate) connected: usize,
    pub(crate) connections: Vec<Connection>,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) announcements: Announcements,
    pub(crate) overlay: Overlay,
    /// What is to be seen there.
    pub(crate) legend: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Listener {
    pub(crate) address: String,
    pub(crate) is_ready: bool,
    /// With the reason.
    pub(crate) state: String,
    pub(crate) for_seconds: u64,
    pub(crate) addresses: Vec<String>,
    /// Of a TLS listener: those it has, of which the name that a client asks for decides.
    pub(crate) certificates: Vec<Certificate>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Certificate {
    pub(crate) source: String,
    /// `None` without one.
    pub(crate) days_left: Option<u64>,
    pub(crate) state: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Hub {
    pub(crate) address: String,
    pub(crate) is_connected: bool,
    pub(crate) state: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Peer {
    pub(crate) id: String,
    pub(crate) agent: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) is_connected: bool,
    pub(crate) heard_seconds_ago: u64,
    /// Since the node was started.
    pub(crate) heard_at_ms: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Connection {
    /// Unique in this process.
    pub(crate) number: String,
    pub(crate) peer: String,
    pub(crate) agent: String,
    pub(crate) kind: &'static str,
    pub(crate) direction: &'static str,
    pub(crate) address: String,
    pub(crate) for_seconds: u64,
}

/// The number of connections of a kind.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Kind {
    pub(crate) kind: &'static str,
    pub(crate) incoming: usize,
    pub(crate) outgoing: usize,
}

/// In each second of the last minute, up to the last whole one.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Announcements {
    pub(crate) received: VecDeque<u64>,
    pub(crate) own: VecDeque<u64>,
    /// The mean of both together over ten seconds.
    pub(crate) per_second: f64,
}

/// What is known only from events.
pub(crate) struct Board {
    start: Instant,
    agents: HashMap<PeerId, String>,
    connections: HashMap<ConnectionId, Open>,
    hubs: HashMap<Multiaddr, HubState>,
    rates: Rates,
}

struct Open {
    peer: PeerId,
    endpoint: ConnectedPoint,
    since: Instant,
}

/// Whether it is connected, and in words.
type HubState = (bool, String);

impl Board {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            start: now,
            agents: HashMap::new(),
            connections: HashMap::new(),
            hubs: HashMap::new(),
            rates: Rates::default(),
        }
    }

    /// Returns whether the page is another one now.
    pub(crate) fn on_event(&mut self, event: &SwarmEvent<BehaviourEvent>, now: Instant) -> bool {
        match event {
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                let open = Open {
                    peer: *peer_id,
                    endpoint: endpoint.clone(),
                    since: now,
                };
                self.connections.insert(*connection_id, open);
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                num_established,
                ..
            } => {
                self.connections.remove(connection_id);
                if *num_established == 0 {
                    self.agents.remove(peer_id);
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                peer_id,
                connection_id,
                info,
            })) if self.connections.contains_key(connection_id) => {
                self.agents.insert(*peer_id, cut(&info.agent_version));
            }
            SwarmEvent::Behaviour(BehaviourEvent::Discovery(event)) => {
                if let Some((hub, is_connected, state)) = live::hub_state(event) {
                    self.hubs.insert(hub.clone(), (is_connected, cut(&state)));
                }
            }
            SwarmEvent::NewListenAddr { .. } | SwarmEvent::ExpiredListenAddr { .. } => {}
            _ => return false,
        }
        true
    }

    /// When numbers of one more second are due.
    pub(crate) fn rest_of_second(&self, now: Instant) -> Duration {
        let begun = now.duration_since(self.start).subsec_nanos();
        Duration::from_secs(1) - Duration::from_nanos(begun.into())
    }

    pub(crate) fn state(&mut self, now: Instant, seen: &Seen<'_>) -> State {
        let Seen {
            swarm, readiness, ..
        } = seen;
        let discovery = &swarm.behaviour().discovery;
        let counters = discovery.counters();
        let up = now.duration_since(self.start);
        self.rates
            .on_time(up, [counters.accepted, counters.announced]);
        self.hubs
            .retain(|hub, _| discovery.hubs().any(|configured| configured == hub));
        let local = *swarm.local_peer_id();
        let own = swarm.listeners().chain(swarm.external_addresses());
        let (peers, peer_ids) = self.peers(now, seen);
        let connected: HashSet<PeerId> = self.connections.values().map(|open| open.peer).collect();
        let known = discovery.known_peers().len();
        let (overlay, legend) = match seen.union {
            Some(union) => {
                let overlay = union.overlay();
                let count = overlay.nodes.len();
                (overlay, format!("the {count} nodes of the demonstration"))
            }
            None => (
                star(local, &connected, &peer_ids),
                format!("{} connected, {known} known", connected.len()),
            ),
        };
        State {
            title: match known {
                1 => format!("1 peer · {}", short(local)),
                _ => format!("{known} peers · {}", short(local)),
            },
            id: local.to_string(),
            up_seconds: up.as_secs(),
            addresses: own
                .map(|address| with_peer(address, local).to_string())
                .collect(),
            listeners: listeners(now, readiness, &certificates(seen)),
            hubs: discovery.hubs().map(|hub| self.hub(hub)).collect(),
            known,
            peers,
            connected: self.connections.len(),
            connections: self.connections(now),
            kinds: self.kinds(),
            announcements: self.rates.announcements.clone(),
            overlay,
            legend,
        }
    }

    fn peers(&self, now: Instant, seen: &Seen<'_>) -> (Vec<Peer>, Vec<PeerId>) {
        let swarm = seen.swarm;
        let known = swarm.behaviour().discovery.known_peers();
        let mut known: Vec<_> = known
            .map(|peer| (!swarm.is_connected(&peer.peer_id()), peer))
            .collect();
        // The same order each time.
        known.sort_unstable_by_key(|(is_remote, peer)| (*is_remote, peer.peer_id()));
        known.truncate(MAX_ROWS);
        let rows = known.iter().map(|(is_remote, peer)| Peer {
            id: peer.peer_id().to_string(),
            agent: self.agent(&peer.peer_id()),
            addresses: peer
                .addresses()
                .iter()
                .take(MAX_ADDRESSES)
                .map(|address| text(&peer.peer_id(), address))
                .collect(),
            is_connected: !is_remote,
            heard_seconds_ago: now.saturating_duration_since(peer.last_heard()).as_secs(),
            heard_at_ms: millis(peer.last_heard().saturating_duration_since(self.start)),
        });
        let ids = known.iter().map(|(_, peer)| peer.peer_id());
        (rows.collect(), ids.collect())
    }

    fn agent(&self, peer: &PeerId) -> String {
        self.agents.get(peer).cloned().unwrap_or_default()
    }

    fn hub(&self, hub: &Multiaddr) -> Hub {
        let (is_connected, state) = match self.hubs.get(hub) {
            Some((is_connected, state)) => (*is_connected, state.clone()),
            None => (false, "dialling".to_owned()),
        };
        Hub {
            address: hub.to_string(),
            is_connected,
            state,
        }
    }

    fn connections(&self, now: Instant) -> Vec<Connection> {
        let mut open: Vec<_> = self.connections.iter().collect();
        open.sort_unstable_by_key(|(id, _)| **id);
        let rows = open
            .into_iter()
            .take(MAX_ROWS)
            .map(|(id, open)| Connection {
                number: id.to_string(),
                peer: open.peer.to_string(),
                agent: self.agent(&open.peer),
                kind: kind(&open.endpoint),
                direction: match open.endpoint {
                    ConnectedPoint::Listener { .. } => "incoming",
                    ConnectedPoint::Dialer { .. } => "outgoing",
                },
                address: text(&open.peer, open.endpoint.get_remote_address()),
                for_seconds: now.duration_since(open.since).as_secs(),
            });
        rows.collect()
    }

    fn kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<_> = KINDS
            .iter()
            .map(|&kind| Kind {
                kind,
                ..Kind::default()
            })
            .collect();
        for Open { endpoint, .. } in self.connections.values() {
            let row = kinds.iter_mut().find(|row| row.kind == kind(endpoint));
            if let Some(row) = row {
                match endpoint {
                    ConnectedPoint::Listener { .. } => row.incoming += 1,
                    ConnectedPoint::Dialer { .. } => row.outgoing += 1,
                }
            }
        }
        kinds.retain(|row| row.incoming + row.outgoing > 0 || row.kind.starts_with("ws"));
        kinds
    }
}

/// What a state is made of, beside events.
pub(crate) struct Seen<'a> {
    pub(crate) swarm: &'a Swarm<Behaviour>,
    pub(crate) readiness: &'a Readiness,
    /// With where each is from.
    pub(crate) certificates: &'a [(String, Certificates)],
    /// Of the demonstration, which knows all nodes.
    pub(crate) union: Option<&'a Union>,
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

fn listeners(now: Instant, readiness: &Readiness, certificates: &[Certificate]) -> Vec<Listener> {
    let mut statuses = readiness.statuses();
    statuses.sort_by_key(|(_, status)| status.address.to_string());
    let rows = statuses.into_iter().map(|(_, status)| Listener {
        is_ready: !status.addresses.is_empty(),
        state: match &status.exhausted {
            Some(exhausted) => format!("accepting nothing: {}", exhausted.reason()),
            None => status.state.to_string(),
        },
        for_seconds: now.saturating_duration_since(status.since).as_secs(),
        addresses: status.addresses.iter().map(ToString::to_string).collect(),
        certificates: match kind_of(&status.address) {
            "wss" => certificates.to_vec(),
            _ => vec![],
        },
        address: status.address.to_string(),
    });
    rows.collect()
}

fn certificates(seen: &Seen<'_>) -> Vec<Certificate> {
    const DAY: u64 = 24 * 60 * 60;
    let of_files = seen
        .certificates
        .iter()
        .map(|(source, handle)| Certificate {
            source: source.clone(),
            days_left: handle.time_left().map(|left| left.as_secs() / DAY),
            state: handle.last_error().map(|error| chain(&*error)),
        });
    #[cfg(not(feature = "autotls"))]
    let autotls: Option<Certificate> = None;
    #[cfg(feature = "autotls")]
    let autotls = seen.swarm.behaviour().autotls.as_ref().map(|autotls| {
        let status = autotls.status();
        let left = |end: SystemTime| end.duration_since(SystemTime::now()).unwrap_or_default();
        Certificate {
            source: "AutoTLS".to_owned(),
            days_left: status.not_after.map(|end| left(end).as_secs() / DAY),
            state: Some(status.state.to_string()),
        }
    });
    of_files.chain(autotls).collect()
}

/// Own connections as edges: those of others are in no protocol here.
fn star(own: PeerId, connected: &HashSet<PeerId>, known: &[PeerId]) -> Overlay {
    let strangers = connected.iter().filter(|peer| !known.contains(peer));
    let mut others: Vec<_> = known.iter().chain(strangers).copied().collect();
    others.truncate(MAX_ROWS);
    others.sort_unstable();
    let nodes = [own].into_iter().chain(others);
    let nodes = nodes.map(|peer| (peer, short(peer)));
    let edges: Vec<_> = connected.iter().map(|peer| [own, *peer]).collect();
    Overlay::new(nodes.collect(), &edges)
}

/// Ids begin alike.
fn short(peer: PeerId) -> String {
    let id = peer.to_string();
    format!("…{}", &id[id.len() - 5..])
}

const KINDS: [&str; 5] = ["ws", "wss", "tcp", "relayed", "other"];

fn kind(endpoint: &ConnectedPoint) -> &'static str {
    kind_of(match endpoint {
        ConnectedPoint::Listener { local_addr, .. } => local_addr,
        ConnectedPoint::Dialer { address, .. } => address,
    })
}

fn kind_of(address: &Multiaddr) -> &'static str {
    let has = |is: fn(&Protocol<'_>) -> bool| address.iter().any(|protocol| is(&protocol));
    let is_ws = has(|protocol| matches!(protocol, Protocol::Ws(_)));
    let is_tls = has(|protocol| matches!(protocol, Protocol::Tls));
    if has(|protocol| *protocol == Protocol::P2pCircuit) {
        "relayed"
    } else if has(|protocol| matches!(protocol, Protocol::Wss(_))) || is_ws && is_tls {
        "wss"
    } else if is_ws {
        "ws"
    } else if matches!(address.iter().nth(1), Some(Protocol::Tcp(_))) {
        "tcp"
    } else {
        "other"
    }
}

/// An address without the id of the peer at its end.
fn text(peer: &PeerId, address: &Multiaddr) -> String {
    let mut address = address.clone();
    match address.pop() {
        Some(Protocol::P2p(id)) if id == *peer => {}
        Some(other) => address.push(other),
        None => {}
    }
    cut(&address.to_string())
}

/// As much of a text of a peer as is shown.
fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Sums as they are read now and then become numbers of each second.
#[derive(Default)]
struct Rates {
    second: u64,
    sums: [u64; 2],
    /// In the second that is not over.
    current: [u64; 2],
    announcements: Announcements,
}

impl Rates {
    /// The sums of those received and of one's own so far, and for how long the node has been running. What is new belongs
    /// to the second in which the sums were read before: they are read at the end of each.
    fn on_time(&mut self, up: Duration, sums: [u64; 2]) {
        let both = &mut self.announcements;
        let new = self.sums.into_iter().zip(sums);
        for (current, (before, sum)) in self.current.iter_mut().zip(new) {
            *current += sum - before;
        }
        self.sums = sums;
        let passed = up.as_secs() - self.second;
        self.second = up.as_secs();
        for (counts, current) in [&mut both.received, &mut both.own]
            .into_iter()
            .zip(&mut self.current)
        {
            counts.resize(SECONDS, 0);
            for _ in 0..passed.min(SECONDS as u64) {
                counts.pop_front();
                counts.push_back(std::mem::take(current));
            }
        }
        let last = |counts: &VecDeque<u64>| counts.iter().rev().take(10).sum::<u64>();
        let count = last(&both.received) + last(&both.own);
        both.per_second = count as f64 / self.second.clamp(1, 10) as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_are_counted_by_the_second() {
        let mut rates = Rates::default();
        let mut on_time = |millis, sums| {
            rates.on_time(Duration::from_millis(millis), sums);
            let Announcements {
                received,
                own,
                per_second,
            } = &rates.announcements;
            assert_eq!((received.len(), own.len()), (SECONDS, SECONDS));
            let last = |counts: &VecDeque<u64>| counts.iter().skip(SECONDS - 3).copied().collect();
            let [received, own]: [Vec<u64>; 2] = [last(received), last(own)];
            (received, own, *per_second)
        };
        assert_eq!(on_time(0, [0, 0]), (vec![0, 0, 0], vec![0, 0, 0], 0.0));
        assert_eq!(on_time(900, [3, 1]), (vec![0, 0, 0], vec![0, 0, 0], 0.0));
        assert_eq!(on_time(1_001, [4, 1]), (vec![0, 0, 4], vec![0, 0, 1], 5.0));
        assert_eq!(on_time(2_000, [8, 1]), (vec![0, 4, 4], vec![0, 1, 0], 4.5));
        assert_eq!(on_time(4_999, [9, 3]), (vec![4, 1, 0], vec![0, 2, 0], 3.0));
        assert_eq!(on_time(11_000, [9, 3]), (vec![0, 0, 0], vec![0, 0, 0], 0.7));
        assert_eq!(
            on_time(u64::MAX, [9, 3]),
            (vec![0, 0, 0], vec![0, 0, 0], 0.0)
        );
    }

    #[test]
    fn kinds_are_told_by_the_address() {
        for (address, kind) in [
            ("/ip4/127.0.0.1/tcp/1/ws", "ws"),
            ("/dns4/a/tcp/1/ws/p2p-circuit", "relayed"),
            ("/ip4/127.0.0.1/tcp/1/tls/ws", "wss"),
            ("/ip4/127.0.0.1/tcp/1/tls/sni/a/ws", "wss"),
            ("/dns/a/tcp/1/wss", "wss"),
            ("/ip4/127.0.0.1/tcp/1", "tcp"),
            ("/memory/1", "other"),
        ] {
            assert_eq!(kind_of(&address.parse().unwrap()), kind, "{address}");
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("ä"), "ä");
        let long = "ä".repeat(MAX_TEXT);
        assert_eq!(cut(&long), long);
        assert_eq!(cut(&(long.clone() + "ß")), long + "…");
    }
}
