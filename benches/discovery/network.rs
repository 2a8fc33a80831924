//! A network of nodes in virtual time: who starts and ends when, and what reaches whom.
//!
//! An announcement reaches every node that is up, from its author if they are connected and otherwise through a neighbour
//! at random, after a random time; some deliveries are lost. A node that ends says nothing, and another one starts in its
//! place at once.
//!
//! Every node runs its rule. The first ones run the table as well. To the others an announcement is a note until when
//! its author is known ([`Network::known`]), by the same time to live and the same limit for newcomers.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

use crate::{
    attack::{self, Attack},
    delivery::{GROUPS, Loss, Orders},
    identity::Identities,
    measured::Measured,
    members::{Links, Node, Noted},
    node::{Rule, Table, encode},
    plan::{Plan, Shape},
    simulation::{Newcomers, longest, time_to_live},
};

/// How many peers a newcomer wants to know soon.
const TWENTY: usize = 20;

/// How long a peer may have been up without anybody missing it.
const UP: Duration = Duration::from_secs(5);

/// After which time it is said not to know that many.
const TOO_LATE: Duration = Duration::from_secs(60);

/// How often it is looked at whether everybody knows everybody, until that is so.
const GLANCE: Duration = Duration::from_millis(100);

/// How many times the tables are looked at in the measured time, at even distances.
const LOOKS: u32 = 12;

/// At how many tables at most, where the nodes have none at how many notes.
const LOOKED_AT: usize = 64;

/// Of the second until which a peer is known, where nobody is forgotten.
const NEVER: u16 = u16::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Start { slot: usize },
    End { slot: usize },
    Subscriber { slot: usize },
    Timer { slot: usize },
    Delivery { flight: usize, group: usize },
    Glance,
    Attack,
    Look,
}

/// An announcement on its way.
#[derive(Debug)]
struct Flight {
    from: usize,
    identity: usize,
    order: usize,
    promise: Option<Duration>,
    payload: Vec<u8>,
}

/// What is to happen, the earliest first, and of that the first to have been put in.
#[derive(Debug, Default)]
struct Queue {
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    count: u64,
}

impl Queue {
    fn push(&mut self, at: Instant, event: Event) {
        self.events.push(Reverse((at, self.count, event)));
        self.count += 1;
    }

    fn pop(&mut self) -> Option<(Instant, Event)> {
        self.events.pop().map(|Reverse((at, _, event))| (at, event))
    }
}

/// The network. A node is known by its slot, which its successor takes over together with its neighbours.
#[derive(Debug)]
pub(crate) struct Network<R> {
    plan: Plan,
    start: Instant,
    /// When the measured time begins.
    warm: Instant,
    rng: SmallRng,
    queue: Queue,
    orders: Orders,
    loss: Loss,
    /// `None` before the first start.
    nodes: Vec<Option<Node<R>>>,
    links: Links,
    identities: Identities,
    /// By identity and slot: until which second since the start the node knows it.
    known: Vec<Box<[u16]>>,
    flights: Vec<Flight>,
    landed: Vec<usize>,
    /// Which nodes get what is being delivered.
    receivers: Vec<usize>,
    attack: Option<Attack>,
    /// How many announcements were received in each second, by all nodes.
    received: Vec<u64>,
    measured: Measured,
}

impl<R: Rule> Network<R> {
    /// What is measured of the network that the plan describes.
    pub(crate) fn run(plan: Plan) -> Measured {
        let mut network = Self::new(plan);
        let end = network.start + plan.warm_up + plan.measured;
        while let Some((now, event)) = network.queue.pop()
            && now < end
        {
            network.on_event(now, event);
        }
        network.finish(end)
    }

    fn new(plan: Plan) -> Self {
        let start = Instant::now();
        let mut rng = SmallRng::seed_from_u64(plan.seed);
        let hops = match plan.shape {
            Shape::Mesh => 1,
            Shape::Star | Shape::Hubs => 2,
        };
        let mut queue = Queue::default();
        for slot in 0..plan.nodes {
            let at = plan.boot.mul_f64(rng.random_range(0.0..1.0));
            let wait = match plan.first {
                Some(first) if slot >= first => plan.warm_up,
                _ => Duration::ZERO,
            };
            queue.push(start + wait + at, Event::Start { slot });
        }
        if plan.session.is_none() {
            queue.push(start + plan.boot, Event::Glance);
        }
        for look in 1..=LOOKS {
            let at = plan.warm_up + plan.measured * look / (LOOKS + 1);
            queue.push(start + at, Event::Look);
        }
        if plan.attack.is_some() {
            queue.push(start + plan.warm_up, Event::Attack);
        }
        Self {
            start,
            orders: Orders::new(plan.nodes, hops, &mut rng),
            loss: Loss::new(plan.loss, &mut rng),
            links: Links::new(plan, &mut rng),
            rng,
            queue,
            nodes: (0..plan.nodes).map(|_| None).collect(),
            identities: Identities::new(plan.seed),
            warm: start + plan.warm_up,
            known: vec![],
            flights: vec![],
            landed: vec![],
            receivers: vec![],
            attack: None,
            received: vec![0; (plan.warm_up + plan.measured).as_secs() as usize + 1],
            measured: Measured::default(),
            plan,
        }
    }

    fn on_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Start { slot } => self.on_start(now, slot),
            Event::End { slot } => {
                self.on_end(now, slot);
                self.on_start(now, slot);
            }
            Event::Subscriber { slot } => {
                if let Some(node) = &mut self.nodes[slot] {
                    node.has_subscribers = true;
                    node.rule.on_subscriber(now);
                    node.arm(slot, &mut self.queue);
                }
            }
            Event::Timer { slot } => self.on_timer(now, slot),
            Event::Delivery { flight, group } => self.on_delivery(now, flight, group),
            Event::Glance => match self.everybody_knows_everybody() {
                true => self.measured.complete = Some(now - self.start - self.plan.boot),
                false => self.queue.push(now + GLANCE, Event::Glance),
            },
            Event::Attack => self.on_attack(now),
            Event::Look => self.look(now),
        }
    }

    fn on_start(&mut self, now: Instant, slot: usize) {
        let (identity, peer) = self.identities.add();
        let mut node = Node {
            rule: R::new(self.rng.random(), now),
            identity,
            since: now,
            announced: now,
            found: 0,
            armed: None,
            has_subscribers: false,
            newcomers: vec![Newcomers::default(); self.links.neighbours[slot].len()].into(),
            table: (slot < self.plan.tables).then(|| Table::new(peer)),
            noted: Noted::default(),
            followed: None,
        };
        node.arm(slot, &mut self.queue);
        self.nodes[slot] = Some(node);
        self.links.peers[slot] = Some(peer);
        self.known.push(vec![0; self.plan.nodes].into());
        for &neighbour in &self.links.neighbours[slot] {
            if self.nodes[neighbour].is_some() {
                for slot in [slot, neighbour] {
                    let at = now + self.orders.some_latency(&mut self.rng);
                    self.queue.push(at, Event::Subscriber { slot });
                }
            }
        }
        if let Some(session) = self.plan.session {
            let random = 1.0 - self.rng.random_range(0.0..1.0_f64);
            self.queue
                .push(now + session.mul_f64(-random.ln()), Event::End { slot });
        }
    }

    fn on_end(&mut self, now: Instant, slot: usize) {
        let Some(node) = self.nodes[slot].take() else {
            return;
        };
        self.take_time_to_twenty(now, &node);
        self.links.peers[slot] = None;
        let identity = self.identities.get_mut(node.identity);
        identity.left = Some(now);
        for &neighbour in &self.links.neighbours[slot] {
            let Some(neighbour) = &mut self.nodes[neighbour] else {
                continue;
            };
            if let Some(table) = &mut neighbour.table {
                table.on_neighbour_gone(&identity.peer);
            }
        }
        // Its successor knows nobody.
        for known in &mut self.known {
            known[slot] = 0;
        }
    }

    fn on_timer(&mut self, now: Instant, slot: usize) {
        let Some(node) = &mut self.nodes[slot] else {
            return;
        };
        if node.armed != Some(now) {
            return;
        }
        node.armed = None;
        let known = node.known((now - self.start).as_secs());
        node.rule.on_known_peers(now, known);
        if node.rule.is_due(now) {
            let promise = node.rule.promise(now);
            node.rule.on_round(now, node.has_subscribers);
            if node.has_subscribers {
                if let Some(attack) = &mut self.attack {
                    attack.on_silence(now - node.announced);
                }
                node.announced = now;
                let identity = self.identities.get_mut(node.identity);
                identity.on_announced(promise);
                let flight = Flight {
                    from: slot,
                    identity: node.identity,
                    order: self.orders.pick(&mut self.rng),
                    promise,
                    payload: match (self.plan.tables, promise) {
                        (1.., Some(promise)) => encode(identity, now - self.start, promise),
                        _ => vec![],
                    },
                };
                let at = now + self.orders.latency(0);
                let flight = match self.landed.pop() {
                    Some(place) => {
                        self.flights[place] = flight;
                        place
                    }
                    None => {
                        self.flights.push(flight);
                        self.flights.len() - 1
                    }
                };
                self.queue.push(at, Event::Delivery { flight, group: 0 });
            }
        }
        node.arm(slot, &mut self.queue);
    }

    fn on_delivery(&mut self, now: Instant, at: usize, group: usize) {
        let flight = &self.flights[at];
        let author = self.identities.get(flight.identity).peer;
        let known = &mut self.known[flight.identity];
        let second = (now - self.start).as_secs();
        // To whom, and then what they make of it: so the nodes come from memory side by side.
        self.receivers.clear();
        for &slot in self.orders.group(flight.order, group) {
            let slot = slot as usize;
            if let Some(node) = &self.nodes[slot]
                && node.has_subscribers
                && slot != flight.from
                && !self.loss.strikes(&mut self.rng)
            {
                self.receivers.push(slot);
            }
        }
        for &slot in &self.receivers {
            let Some(node) = &mut self.nodes[slot] else {
                continue;
            };
            let is_newcomer = match &mut node.table {
                Some(table) => {
                    while let Some(at) = table.next_timeout()
                        && at <= now
                    {
                        let expired = table.pop_expired(at);
                        let identity = expired.and_then(|peer| self.identities.find(&peer));
                        if at >= self.warm {
                            let known_for = identity.and_then(|identity| identity.known_for(at));
                            self.measured.forgotten.extend(known_for);
                        }
                    }
                    let neighbour = match self.links.are_connected(slot, &author) {
                        true => Some(author),
                        false => self.links.random(slot, &mut self.rng),
                    };
                    neighbour.and_then(|neighbour| {
                        table.on_message(now, neighbour, author, &flight.payload)
                    })
                }
                None => {
                    let is_newcomer = u64::from(known[slot]) <= second;
                    let is_accepted = !is_newcomer || !R::FORGETS || {
                        let through = self.rng.random_range(0..node.newcomers.len());
                        node.newcomers[through].try_take(now)
                    };
                    if is_accepted {
                        let until = second + time_to_live(now, flight.promise).as_secs();
                        if R::FORGETS {
                            node.noted.on_heard(second, known[slot].into(), until);
                        }
                        known[slot] = match R::FORGETS {
                            true => u16::try_from(until).unwrap_or(NEVER),
                            false => NEVER,
                        };
                    }
                    is_accepted.then_some(is_newcomer)
                }
            };
            let Some(is_newcomer) = is_newcomer else {
                continue;
            };
            node.rule.on_announcement(now, is_newcomer);
            let known = node.known(second);
            node.rule.on_known_peers(now, known);
            node.arm(slot, &mut self.queue);
            if is_newcomer && node.found < TWENTY {
                node.found += 1;
                if node.found == TWENTY && node.since >= self.warm {
                    self.measured.twenty.add(now - node.since);
                }
            }
        }
        self.received[second as usize] += self.receivers.len() as u64;
        if group + 1 == GROUPS {
            self.landed.push(at);
            return;
        }
        let next = now - self.orders.latency(group) + self.orders.latency(group + 1);
        let group = group + 1;
        self.queue.push(next, Event::Delivery { flight: at, group });
    }

    fn on_attack(&mut self, now: Instant) {
        let Some(forwarding) = self.plan.attack else {
            return;
        };
        let attack = self.attack.get_or_insert_with(|| {
            Attack::new(now, self.plan, forwarding, &self.nodes, &self.identities)
        });
        attack.tick(
            now,
            now - self.start,
            &mut self.nodes,
            &self.links,
            &mut self.loss,
            &mut self.rng,
        );
        let second = (now - self.start).as_secs();
        for (slot, node) in self.nodes.iter_mut().enumerate() {
            if let Some(node) = node {
                let known = node.known(second);
                node.rule.on_known_peers(now, known);
                node.arm(slot, &mut self.queue);
            }
        }
        self.queue.push(now + attack::TICK, Event::Attack);
    }

    /// Looks at the tables.
    fn look(&mut self, now: Instant) {
        let second = (now - self.start).as_secs();
        let live = self.nodes.iter().flatten();
        let live = live.filter(|node| now.saturating_duration_since(node.since) >= UP);
        let live = live.map(|node| node.identity).collect::<Vec<_>>();
        let (mut missing, mut all) = (0, 0);
        // A newcomer does not know yet how long the interval is.
        let intervals = self.nodes.iter().flatten();
        let interval = intervals.map(|node| node.rule.interval()).max();
        let long = 2 * longest(interval.unwrap_or_default());
        for (slot, node) in self.nodes.iter().enumerate().take(LOOKED_AT) {
            let Some(node) = node else {
                continue;
            };
            if now - node.since < long.min(self.plan.warm_up) {
                continue;
            }
            let knows = |&identity: &usize| match &node.table {
                Some(table) => table.knows(&self.identities.get(identity).peer),
                None => u64::from(self.known[identity][slot]) > second,
            };
            let known = live.iter().filter(|identity| knows(identity)).count();
            let rows = match &node.table {
                Some(table) => table.len(),
                None => (0..self.known.len()).filter(knows).count(),
            };
            missing += live.len() - 1 - known;
            all += live.len() - 1;
            // Whom an attacker invents is not of the network.
            if self.attack.is_none() {
                let has_left = |identity: &usize| self.identities.get(*identity).left.is_some();
                let dead =
                    (0..self.known.len()).filter(|identity| has_left(identity) && knows(identity));
                self.measured.dead.add(dead.count(), rows);
            }
        }
        self.measured.missing.add(missing, all);
        if let Some(attack) = &mut self.attack {
            attack.look(&self.nodes, &self.identities, &self.links);
        }
    }

    fn everybody_knows_everybody(&self) -> bool {
        let mut nodes = self.nodes.iter().flatten();
        nodes.all(|node| {
            let table = node.table.as_ref();
            table.is_some_and(|table| table.len() + 1 == self.nodes.len())
        })
    }

    fn take_time_to_twenty(&mut self, now: Instant, node: &Node<R>) {
        let is_late = now.saturating_duration_since(node.since) > TOO_LATE;
        if node.since >= self.warm && node.found < TWENTY && is_late {
            self.measured.without_twenty += 1;
        }
    }

    fn finish(mut self, end: Instant) -> Measured {
        for node in std::mem::take(&mut self.nodes).into_iter().flatten() {
            self.take_time_to_twenty(end, &node);
            self.measured.intervals.add(node.rule.interval());
        }
        let nodes = self.plan.nodes as f64;
        let warm = self.plan.warm_up.as_secs() as usize;
        let received = self.received[warm..].iter().sum::<u64>() as f64;
        self.measured.received = received / nodes / self.plan.measured.as_secs_f64();
        let peak = self.received.iter().max().copied().unwrap_or_default();
        self.measured.peak = peak as f64 / nodes;
        self.measured.per_second = self
            .received
            .iter()
            .map(|&all| all as f64 / nodes)
            .collect();
        self.measured.attack = self.attack.map(Attack::finish);
        self.measured
    }
}

impl<R: Rule> Node<R> {
    /// Sees to it that there is a timer for the next time at which its rule may have something to do.
    fn arm(&mut self, slot: usize, queue: &mut Queue) {
        let Some(at) = self.rule.next_timeout() else {
            return;
        };
        if self.armed.is_none_or(|armed| at < armed) {
            self.armed = Some(at);
            queue.push(at, Event::Timer { slot });
        }
    }
}
