//! Networks of whole nodes, each with its cores, in virtual time: hubs die and return, and all nodes find each other
//! again.
//!
//! A node does with its cores what [`Behaviour`](super::Behaviour) does. An announcement reaches all nodes that are
//! connected to its author, if not directly then through others, and one in a hundred deliveries is lost.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque},
    io,
    time::Duration,
};

use libp2p_core::{
    ConnectedPoint, Endpoint,
    transport::{PortUse, TransportError},
};
use libp2p_identity::{Keypair, PublicKey};
use libp2p_swarm::{ConnectionDenied, ConnectionId, DialError};
use multiaddr::{Multiaddr, Protocol};
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

use super::{
    Config, DEFAULT_TOPIC, SavedPeer, SkipReason,
    dialer::{Dial, Dialer},
    inbox::{Change, Inbox, Incoming},
    message::{Stamp, encode},
    schedule::{Listening, Outcome, Schedule},
};
use crate::deadline::{self, Instant};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// The duration of a dial without an answer.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Over which time the processes of a network start.
const BOOT: Duration = Duration::from_secs(10);

const LEAVES: usize = 30;

/// The slots above are leaves.
const HUBS: usize = 2;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Start {
        slot: usize,
    },
    Timer {
        slot: usize,
    },
    Dialled {
        slot: usize,
        number: usize,
    },
    Subscribed {
        slot: usize,
        by: usize,
    },
    Delivery {
        slot: usize,
        from: usize,
        author: usize,
        number: usize,
    },
}

struct Node {
    dialer: Dialer,
    inbox: Inbox,
    schedule: Schedule,
    has_reached_nobody: bool,
    /// For when there is a timer.
    armed: Option<Instant>,
}

struct World {
    now: Instant,
    start: Instant,
    rng: SmallRng,
    config: Box<dyn Fn(usize) -> Config>,
    keys: Vec<PublicKey>,
    nodes: Vec<Option<Node>>,
    /// The peers that each node has saved for its restart.
    files: Vec<Vec<SavedPeer>>,
    /// Where each node listens.
    addresses: Vec<Multiaddr>,
    queue: BinaryHeap<Reverse<(Instant, usize, Event)>>,
    events: usize,
    numbers: usize,
    dials: HashMap<usize, Dial>,
    /// By whom to whom.
    connections: BTreeMap<usize, (usize, usize)>,
    payloads: HashMap<usize, Vec<u8>>,
    /// When which leaf has dialled, by the first address of what it dialled.
    dialled: BTreeMap<Multiaddr, Vec<(Instant, usize)>>,
}

fn address(host: usize, slot: usize) -> Multiaddr {
    format!("/ip4/11.{host}.0.{slot}/tcp/1/ws").parse().unwrap()
}

fn name(hub: usize) -> Multiaddr {
    format!("/dns4/hub-{hub}.example/tcp/1/ws").parse().unwrap()
}

impl World {
    /// Nobody is up.
    fn new(leaves: usize, seed: u64, config: impl Fn(usize) -> Config + 'static) -> Self {
        let now = deadline::now();
        let count = HUBS + leaves;
        let key = |slot: usize| {
            let secret = [u8::try_from(slot + 1).unwrap(); 32];
            Keypair::ed25519_from_bytes(secret).unwrap().public()
        };
        Self {
            now,
            start: now,
            rng: SmallRng::seed_from_u64(seed),
            config: Box::new(config),
            keys: (0..count).map(key).collect(),
            nodes: (0..count).map(|_| None).collect(),
            files: vec![vec![]; count],
            addresses: (0..count).map(|slot| address(1, slot)).collect(),
            queue: BinaryHeap::new(),
            events: 0,
            numbers: 0,
            dials: HashMap::new(),
            connections: BTreeMap::new(),
            payloads: HashMap::new(),
            dialled: BTreeMap::new(),
        }
    }

    fn leaves(&self) -> std::ops::Range<usize> {
        HUBS..self.nodes.len()
    }

    fn boot(&mut self, slots: impl IntoIterator<Item = usize>) {
        for slot in slots {
            let at = self.now + BOOT.mul_f64(self.rng.random_range(0.0..1.0));
            self.push(at, Event::Start { slot });
        }
    }

    /// Who listens at an address.
    fn at(&self, address: &Multiaddr) -> Option<usize> {
        let at: Multiaddr = address
            .iter()
            .filter(|protocol| !matches!(protocol, Protocol::P2p(_)))
            .collect();
        let slot = match self.addresses.iter().position(|known| *known == at) {
            Some(slot) => slot,
            None => (0..HUBS).find(|&hub| at == name(hub))?,
        };
        self.nodes[slot].as_ref().map(|_| slot)
    }

    fn push(&mut self, at: Instant, event: Event) {
        self.events += 1;
        self.queue.push(Reverse((at, self.events, event)));
    }

    fn soon(&mut self) -> Instant {
        self.now + Duration::from_millis(self.rng.random_range(20..200))
    }

    /// Lets time pass.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.until(end, |_| false);
    }

    /// Lets time pass until it is so, which is looked at each second, and returns after which time.
    fn until(&mut self, end: Instant, is_so: impl Fn(&Self) -> bool) -> Option<Duration> {
        let start = self.now;
        let mut look = start;
        while look < end {
            look = (look + SECOND).min(end);
            while let Some(Reverse((at, ..))) = self.queue.peek()
                && *at <= look
            {
                let Some(Reverse((at, _, event))) = self.queue.pop() else {
                    break;
                };
                self.now = at;
                self.on_event(event);
            }
            self.now = look;
            if is_so(self) {
                return Some(self.now - start);
            }
        }
        None
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Start { slot } => self.on_start(slot),
            Event::Timer { slot } => {
                let now = self.now;
                if let Some(node) = &mut self.nodes[slot]
                    && node.armed == Some(now)
                {
                    node.armed = None;
                    self.drive(slot);
                }
            }
            Event::Dialled { slot, number } => self.on_dialled(slot, number),
            Event::Subscribed { slot, by } => {
                let is_connected = self.neighbours(slot).contains(&by);
                let (now, peer) = (self.now, self.keys[by].to_peer_id());
                if let (Some(node), true) = (&mut self.nodes[slot], is_connected) {
                    match std::mem::take(&mut node.has_reached_nobody) {
                        true => node.schedule.on_first_subscriber(now),
                        false => node.schedule.on_subscriber(now),
                    }
                    node.inbox.on_subscribed(&peer, DEFAULT_TOPIC);
                    node.dialer.on_subscribed(&peer, DEFAULT_TOPIC);
                    self.drive(slot);
                }
            }
            Event::Delivery {
                slot,
                from,
                author,
                number,
            } => {
                let incoming = Incoming {
                    neighbour: self.keys[from].to_peer_id(),
                    author: Some(self.keys[author].to_peer_id()),
                    payload: &self.payloads[&number],
                };
                if let Some(node) = &mut self.nodes[slot] {
                    let outcome = node.inbox.on_message(self.now, incoming);
                    if let Some(news) = outcome.news {
                        node.schedule.on_announcement(self.now, news.is_newcomer);
                    }
                    if let Some(Change::Discovered(peer) | Change::Updated(peer)) = outcome.change {
                        node.dialer.on_candidate(self.now, &peer);
                    }
                    self.drive(slot);
                }
            }
        }
    }

    fn on_start(&mut self, slot: usize) {
        let config = (self.config)(slot).with_saved_peers(std::mem::take(&mut self.files[slot]));
        let local = self.keys[slot].to_peer_id();
        let seed = self.rng.random();
        let mut schedule = Schedule::new(config.timing(), false, seed, self.now);
        schedule.on_listening(self.now, Listening::Ready);
        schedule.on_addresses_changed(self.now);
        self.nodes[slot] = Some(Node {
            dialer: Dialer::new(local, config.dialer(SECOND), self.rng.random(), self.now).unwrap(),
            inbox: Inbox::new(local, config.inbox()),
            schedule,
            has_reached_nobody: true,
            armed: None,
        });
        self.drive(slot);
    }

    /// A process ends, and its connections with it.
    fn kill(&mut self, slot: usize) {
        let of_slot = |(&number, &(from, to)): (&usize, &(usize, usize))| {
            (from == slot || to == slot).then_some(number)
        };
        let connections = self.connections.iter().filter_map(of_slot);
        for number in connections.collect::<Vec<_>>() {
            self.close(number);
        }
        if let Some(node) = self.nodes[slot].take() {
            self.files[slot] = node.dialer.to_save(self.now, node.inbox.peers());
        }
    }

    fn neighbours(&self, slot: usize) -> BTreeSet<usize> {
        let other = |&(from, to): &(usize, usize)| match slot {
            _ if from == slot => Some(to),
            _ if to == slot => Some(from),
            _ => None,
        };
        self.connections.values().filter_map(other).collect()
    }

    /// Does what the cores of a node want now.
    fn drive(&mut self, slot: usize) {
        loop {
            let now = self.now;
            let Some(node) = &mut self.nodes[slot] else {
                return;
            };
            node.schedule
                .on_known_peers(now, node.inbox.peers().iter().len());
            if node.schedule.is_due(now) {
                self.announce(slot);
                continue;
            }
            if let Some(expired) = node.inbox.pop_expired(now) {
                node.dialer.on_expired(&expired);
                continue;
            }
            while node.inbox.pop_muting(now).is_some() {}
            while node.dialer.pop_hub_event().is_some() {}
            if let Some((_, id)) = node.dialer.next_close(now) {
                let is_it = |number: &&usize| ConnectionId::new_unchecked(**number) == id;
                if let Some(&number) = self.connections.keys().find(is_it) {
                    self.close(number);
                }
                continue;
            }
            if let Some(dial) = node.dialer.next_dial(now, node.inbox.peers()) {
                self.dial(slot, dial);
                continue;
            }
            let next = [
                node.schedule.next_timeout(),
                node.inbox.next_timeout(),
                node.dialer.next_timeout(),
            ];
            if let Some(at) = next.into_iter().flatten().min()
                && node.armed.is_none_or(|armed| at < armed)
            {
                node.armed = Some(at);
                self.push(at, Event::Timer { slot });
            }
            return;
        }
    }

    fn announce(&mut self, slot: usize) {
        let neighbours = self.neighbours(slot);
        let Some(node) = &mut self.nodes[slot] else {
            return;
        };
        let promise = node.schedule.promise(self.now);
        node.has_reached_nobody = neighbours.is_empty();
        let outcome = match neighbours.is_empty() {
            true => Outcome::Skipped(SkipReason::NoSubscribers),
            false => Outcome::Published,
        };
        node.schedule.on_outcome(self.now, outcome);
        if neighbours.is_empty() {
            return;
        }
        let sequence = u64::try_from((self.now - self.start).as_millis()).ok();
        let stamp = Stamp {
            sequence,
            promise: Some(promise),
        };
        let address = self.addresses[slot]
            .clone()
            .with_p2p(self.keys[slot].to_peer_id());
        self.numbers += 1;
        let number = self.numbers;
        let payload = encode(&self.keys[slot], [address.unwrap()], stamp);
        self.payloads.insert(number, payload);
        // From neighbour to neighbour.
        let (mut reached, mut next) = (BTreeSet::from([slot]), VecDeque::from([slot]));
        while let Some(from) = next.pop_front() {
            for to in self.neighbours(from) {
                if reached.insert(to) {
                    next.push_back(to);
                    if self.rng.random_range(0..100) > 0 {
                        let at = self.soon();
                        let delivery = Event::Delivery {
                            slot: to,
                            from,
                            author: slot,
                            number,
                        };
                        self.push(at, delivery);
                    }
                }
            }
        }
    }

    fn dial(&mut self, slot: usize, dial: Dial) {
        self.numbers += 1;
        let number = self.numbers;
        let is_up = dial.addresses.iter().any(|at| self.at(at).is_some());
        // A process that has ended refuses, and a host that is off does not answer.
        let time = match is_up || self.rng.random() {
            true => Duration::from_millis(self.rng.random_range(1..200)),
            false => DIAL_TIMEOUT,
        };
        if let Some(node) = &mut self.nodes[slot] {
            let id = ConnectionId::new_unchecked(number);
            node.dialer.on_dialling(self.now, &dial, id);
        }
        if slot >= HUBS {
            let first = dial.addresses[0].clone();
            self.dialled
                .entry(first)
                .or_default()
                .push((self.now, slot));
        }
        self.dials.insert(number, dial);
        self.push(self.now + time, Event::Dialled { slot, number });
    }

    fn on_dialled(&mut self, slot: usize, number: usize) {
        let Some(dial) = self.dials.remove(&number) else {
            return;
        };
        let (now, id) = (self.now, ConnectionId::new_unchecked(number));
        let found = dial.addresses.iter().find_map(|at| self.at(at));
        let Some(node) = &mut self.nodes[slot] else {
            return;
        };
        let error = match found {
            None => {
                let refused = || TransportError::Other(io::ErrorKind::TimedOut.into());
                let errors = dial.addresses.iter().map(|at| (at.clone(), refused()));
                Some(DialError::Transport(errors.collect()))
            }
            Some(to) if !node.dialer.on_reached(id, self.keys[to].to_peer_id()) => {
                let cause = ConnectionDenied::new(io::Error::other("already connected"));
                Some(DialError::Denied { cause })
            }
            Some(_) => None,
        };
        match (found, error) {
            (Some(to), None) => self.connect(number, slot, to),
            (_, Some(error)) => {
                node.dialer.on_dial_failed(
                    now,
                    dial.peer.as_ref(),
                    id,
                    &error,
                    node.inbox.peers_mut(),
                );
                self.drive(slot);
            }
            (None, None) => {}
        }
    }

    fn connect(&mut self, number: usize, from: usize, to: usize) {
        self.connections.insert(number, (from, to));
        let dialer = ConnectedPoint::Dialer {
            address: self.addresses[to].clone(),
            role_override: Endpoint::Dialer,
            port_use: PortUse::Reuse,
        };
        let listener = ConnectedPoint::Listener {
            local_addr: self.addresses[to].clone(),
            send_back_addr: self.addresses[from].clone(),
        };
        for (slot, other, endpoint) in [(from, to, dialer), (to, from, listener)] {
            let peer = self.keys[other].to_peer_id();
            if let Some(node) = &mut self.nodes[slot] {
                node.inbox.on_neighbour(peer);
                let id = ConnectionId::new_unchecked(number);
                let peers = node.inbox.peers_mut();
                node.dialer
                    .on_connected(self.now, peer, id, &endpoint, &[], peers);
            }
            let at = self.soon();
            self.push(at, Event::Subscribed { slot, by: other });
        }
        self.drive(from);
        self.drive(to);
    }

    fn close(&mut self, number: usize) {
        let Some((from, to)) = self.connections.remove(&number) else {
            return;
        };
        for (slot, other) in [(from, to), (to, from)] {
            let peer = self.keys[other].to_peer_id();
            let is_connected = self.neighbours(slot).contains(&other);
            let Some(node) = &mut self.nodes[slot] else {
                continue;
            };
            if is_connected {
                let id = ConnectionId::new_unchecked(number);
                node.dialer.on_closed(&peer, id);
            } else {
                node.inbox.on_neighbour_gone(&peer);
                node.dialer
                    .on_disconnected(self.now, &peer, node.inbox.peers());
            }
        }
        // Not at once: the others are to be closed first.
        for slot in [from, to] {
            let at = self.now;
            if let Some(node) = &mut self.nodes[slot] {
                node.armed = Some(at);
                self.push(at, Event::Timer { slot });
            }
        }
    }

    fn knows(&self, slot: usize, other: usize) -> bool {
        let peer = self.keys[other].to_peer_id();
        let node = self.nodes[slot].as_ref();
        node.is_some_and(|node| node.inbox.peers().get(&peer).is_some())
    }

    /// Whether there is a way from each node that is up to each other, and each knows each.
    fn is_whole(&self) -> bool {
        let up = (0..self.nodes.len()).filter(|&slot| self.nodes[slot].is_some());
        let up = up.collect::<BTreeSet<_>>();
        let mut reached = BTreeSet::new();
        let mut next = up.first().copied().into_iter().collect::<Vec<_>>();
        while let Some(slot) = next.pop() {
            if reached.insert(slot) {
                next.extend(self.neighbours(slot));
            }
        }
        let knows_all = |&slot: &usize| {
            up.iter()
                .all(|&other| other == slot || self.knows(slot, other))
        };
        up.len() > 1 && reached == up && up.iter().all(knows_all)
    }

    /// How many leaves at most have dialled one and the same node within a second.
    fn busiest_second(&self) -> usize {
        let within = |dials: &Vec<(Instant, usize)>| {
            let from = (0..dials.len()).map(|number| {
                let second = dials[number..].iter();
                let second = second.take_while(|(at, _)| *at < dials[number].0 + SECOND);
                second.map(|&(_, leaf)| leaf).collect::<BTreeSet<_>>().len()
            });
            from.max().unwrap_or(0)
        };
        self.dialled.values().map(within).max().unwrap_or(0)
    }
}

/// In the busiest second of a network, no more than two thirds of the leaves dial the same node: on the average of some
/// networks, as thirty leaves are few, and five sixths in each.
#[track_caller]
fn assert_spread(busiest: &[usize]) {
    let sum = busiest.iter().sum::<usize>();
    assert!(
        3 * sum <= 2 * LEAVES * busiest.len(),
        "{busiest:?} of {LEAVES} in one second"
    );
    let most = busiest.iter().max().expect("there is one");
    assert!(6 * most <= 5 * LEAVES, "{busiest:?} of {LEAVES}");
}

/// Two steps of the back-off that an outage of this length leads to, each with its dial.
fn two_steps(outage: Duration) -> Duration {
    2 * (outage.min(MINUTE) + DIAL_TIMEOUT)
}

/// Leaves that know one hub by its name.
fn star(seed: u64) -> World {
    World::new(LEAVES, seed, |slot| match slot {
        0..HUBS => Config::default(),
        _ => Config::default().with_hubs([name(0)]),
    })
}

/// A network in which all nodes know each other.
fn whole_star(seed: u64) -> World {
    let mut world = star(seed);
    world.boot([0]);
    world.pass(BOOT);
    world.boot(world.leaves());
    let end = world.now + 2 * MINUTE;
    assert!(world.until(end, World::is_whole).is_some());
    // The connections have lasted by then.
    world.pass(5 * MINUTE);
    assert!(world.is_whole());
    world.dialled.clear();
    world
}

/// Returns how many leaves have dialled the hub in the busiest second.
#[track_caller]
fn assert_whole_again(world: &mut World, outage: Duration) -> usize {
    world.boot([0]);
    let end = world.now + BOOT + two_steps(outage);
    let time = world.until(end, World::is_whole);
    assert!(time.is_some(), "not whole within {:?}", end - world.now);
    world.busiest_second()
}

#[test]
fn a_hub_that_comes_back_finds_everybody() {
    let mut busiest = vec![];
    for outage in [SECOND * 30, 2 * MINUTE, 20 * MINUTE] {
        for seed in 0..3 {
            let mut world = whole_star(seed);
            world.kill(0);
            world.pass(outage);
            busiest.push(assert_whole_again(&mut world, outage));
        }
    }
    assert_spread(&busiest);
}

#[test]
fn a_hub_that_was_away_for_a_night_finds_everybody() {
    let outage = 8 * 60 * MINUTE;
    let mut world = whole_star(7);
    world.kill(0);
    world.pass(outage);
    assert_whole_again(&mut world, outage);
}

#[test]
fn a_hub_that_moves_behind_its_name_finds_everybody() {
    for seed in 0..3 {
        let mut world = whole_star(seed);
        world.kill(0);
        world.addresses[0] = address(2, 0);
        world.pass(2 * MINUTE);
        assert_whole_again(&mut world, 2 * MINUTE);
    }
}

#[test]
fn a_hub_that_is_up_after_ten_minutes_finds_everybody() {
    let mut busiest = vec![];
    for seed in 0..3 {
        let mut world = star(seed);
        world.boot(world.leaves());
        world.pass(10 * MINUTE);
        busiest.push(assert_whole_again(&mut world, 10 * MINUTE));
    }
    assert_spread(&busiest);
}

#[test]
fn two_leaves_that_are_connected_know_each_other_while_all_hubs_are_dead() {
    let mut world = World::new(LEAVES, 7, |slot| match slot {
        0..HUBS => Config::default().with_hubs((0..HUBS).map(name)),
        _ => Config::default().with_hubs((0..HUBS).map(name)),
    });
    world.boot(0..HUBS);
    world.boot(world.leaves());
    let end = world.now + 2 * MINUTE;
    assert!(world.until(end, World::is_whole).is_some());
    let (one, other) = (HUBS, HUBS + 1);
    world.numbers += 1;
    world.connect(world.numbers, one, other);
    world.pass(5 * MINUTE);
    world.dialled.clear();
    for hub in 0..HUBS {
        world.kill(hub);
    }
    for _ in 0..60 {
        world.pass(10 * SECOND);
        assert!(world.knows(one, other) && world.knows(other, one));
    }
    assert!(!world.knows(one, HUBS + 2), "they have lost the others");
    assert_whole_again(&mut world, 10 * MINUTE);
}

#[test]
fn a_network_that_is_restarted_without_its_hubs_finds_itself_from_its_files() {
    let mut busiest = vec![];
    for seed in 0..3 {
        let mut world = World::new(LEAVES, seed, |slot| match slot {
            0..HUBS => Config::default(),
            _ => Config::default().with_hubs([name(0)]).with_connections(4),
        });
        world.boot([0]);
        world.pass(BOOT);
        world.boot(world.leaves());
        let end = world.now + 2 * MINUTE;
        assert!(world.until(end, World::is_whole).is_some());
        world.kill(0);
        for leaf in world.leaves() {
            world.kill(leaf);
        }
        world.pass(10 * MINUTE);
        world.dialled.clear();
        world.boot(world.leaves());
        // Of those that are dialled at random.
        let end = world.now + BOOT + 2 * (10 * SECOND + DIAL_TIMEOUT);
        let time = world.until(end, World::is_whole);
        assert!(time.is_some(), "not whole within {:?}", end - world.now);
        busiest.push(world.busiest_second());
    }
    assert_spread(&busiest);
}
