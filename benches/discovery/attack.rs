//! One connection, a hundred thousand identities, and announcements of theirs as fast as the link allows.
//!
//! The attacker is connected to the first node. Only the nodes that run the table decode what it sends; the others
//! follow one of them each, whose table accepts for them too.

use std::time::{Duration, Instant};

use libp2p_identity::PeerId;
use rand::rngs::SmallRng;

use crate::{
    delivery::Loss,
    identity::{Identities, Identity},
    measured::Attacked,
    members::{Links, Node},
    node::{Rule, Table, encode},
    plan::{Forwarding, Plan},
};

/// How many identities the attacker has.
const IDENTITIES: usize = 100_000;

/// How often the network takes in what the attacker has sent.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// What a link of 100 Mbit/s carries in that time: a signed announcement takes some 300 bytes in gossipsub.
const AT_FULL_SPEED: usize = 4_000;

/// For how long the attacker sends at full speed. What the limits refuse leaves nothing behind, so that for the rest
/// of the hour it is enough to be above the limit for newcomers of all neighbours together, twice and more.
const FULL_SPEED: Duration = Duration::from_secs(10);
const ABOVE_THE_LIMITS: usize = 100;

/// Every how many ticks the intervals are looked at.
const TICKS_BETWEEN_LOOKS: usize = 100;

/// Who has been up for so long before the attack has heard all 500 and found that they stay as many.
const SETTLED: Duration = Duration::from_secs(10 * 60);

/// As long as an announcement may promise, so that the rows stay.
const PROMISE: Duration = Duration::from_secs(20 * 60);

/// An attack that goes on.
#[derive(Debug)]
pub(crate) struct Attack {
    forwarding: Forwarding,
    began: Instant,
    tables: usize,
    own: PeerId,
    identities: Vec<Identity>,
    ticks: usize,
    /// Which of the identities is the next to announce itself.
    cursor: usize,
    before: Vec<Option<Before>>,
    /// For how long a node has not announced itself, at the most.
    silence: Duration,
    attacked: Attacked,
    accepted: usize,
}

/// How the node of a slot was before the attack.
#[derive(Debug)]
struct Before {
    identity: usize,
    interval: Duration,
    /// Whether it had been up for long enough to know how many there are.
    is_settled: bool,
    /// Whom its table knew.
    known: Vec<usize>,
}

impl Attack {
    pub(crate) fn new<R: Rule>(
        now: Instant,
        plan: Plan,
        forwarding: Forwarding,
        nodes: &[Option<Node<R>>],
        identities: &Identities,
    ) -> Self {
        let seed = plan.seed ^ u64::MAX;
        let live = || nodes.iter().flatten().map(|node| node.identity);
        let before = |node: &Node<R>| Before {
            identity: node.identity,
            interval: node.rule.interval(),
            is_settled: now - node.since >= SETTLED,
            known: match &node.table {
                Some(table) => live()
                    .filter(|&identity| table.knows(&identities.get(identity).peer))
                    .collect(),
                None => vec![],
            },
        };
        Self {
            forwarding,
            began: now,
            tables: plan.tables,
            own: Identity::new(seed, IDENTITIES).peer,
            identities: (0..IDENTITIES)
                .map(|number| Identity::new(seed, number))
                .collect(),
            ticks: 0,
            cursor: 0,
            before: nodes.iter().map(|node| node.as_ref().map(before)).collect(),
            silence: Duration::ZERO,
            attacked: Attacked {
                stayed: 1.0,
                ..Attacked::default()
            },
            accepted: 0,
        }
    }

    /// The nodes take in what has been sent since the last tick.
    pub(crate) fn tick<R: Rule>(
        &mut self,
        now: Instant,
        sequence: Duration,
        nodes: &mut [Option<Node<R>>],
        links: &Links,
        loss: &mut Loss,
        rng: &mut SmallRng,
    ) {
        let mut sent = self.send(now, sequence);
        for slot in 0..self.tables {
            let accepted = self.deliver(now, slot, &sent, nodes, links, loss, rng);
            self.accepted += accepted.len();
            let table = nodes[slot].as_ref().and_then(|node| node.table.as_ref());
            let known = table.map(Table::count);
            let followers = nodes.iter_mut().enumerate().skip(self.tables);
            let followers = followers.filter(|(other, _)| 1 + other % (self.tables - 1) == slot);
            for node in followers.filter_map(|(_, node)| node.as_mut()) {
                node.followed = known;
                for &(_, is_newcomer) in &accepted {
                    node.rule.on_announcement(now, is_newcomer);
                }
            }
            if slot == 0 && self.forwarding == Forwarding::Accepted {
                sent = accepted
                    .iter()
                    .map(|&(message, _)| std::mem::take(&mut sent[message]))
                    .collect();
            }
        }
        self.ticks += 1;
        if self.ticks.is_multiple_of(TICKS_BETWEEN_LOOKS) {
            self.look_at_intervals(nodes);
        }
    }

    /// The next announcements, each with its identity.
    fn send(&mut self, now: Instant, sequence: Duration) -> Vec<(usize, Vec<u8>)> {
        let count = match now - self.began < FULL_SPEED {
            true => AT_FULL_SPEED,
            false => ABOVE_THE_LIMITS,
        };
        let first = self.cursor;
        self.cursor = (first + count) % IDENTITIES;
        (first..first + count)
            .map(|number| number % IDENTITIES)
            .map(|number| {
                let identity = &self.identities[number];
                (number, encode(identity, sequence, PROMISE))
            })
            .collect()
    }

    /// Which of the announcements the table of this node accepts, and whether it did not know their authors.
    #[expect(clippy::too_many_arguments, reason = "they are parts of the network")]
    fn deliver<R: Rule>(
        &self,
        now: Instant,
        slot: usize,
        sent: &[(usize, Vec<u8>)],
        nodes: &mut [Option<Node<R>>],
        links: &Links,
        loss: &mut Loss,
        rng: &mut SmallRng,
    ) -> Vec<(usize, bool)> {
        let mut accepted = vec![];
        let Some(node) = &mut nodes[slot] else {
            return accepted;
        };
        let Some(table) = &mut node.table else {
            return accepted;
        };
        for (message, (identity, payload)) in sent.iter().enumerate() {
            let neighbour = match slot {
                0 => Some(self.own),
                _ if loss.strikes(rng) => None,
                _ => links.random(slot, rng),
            };
            let Some(neighbour) = neighbour else {
                continue;
            };
            let author = self.identities[*identity].peer;
            let heard = table.on_message(now, neighbour, author, payload);
            if let Some(is_newcomer) = heard {
                node.rule.on_announcement(now, is_newcomer);
                accepted.push((message, is_newcomer));
            }
        }
        accepted
    }

    fn look_at_intervals<R: Rule>(&mut self, nodes: &[Option<Node<R>>]) {
        let now = self.began + TICK * u32::try_from(self.ticks).expect("an hour has fewer");
        for (node, before) in nodes.iter().zip(&self.before) {
            let Some(node) = node else {
                continue;
            };
            let silence = now.saturating_duration_since(node.announced);
            self.silence = self.silence.max(silence);
            let Some(before) = before else {
                continue;
            };
            if node.identity == before.identity && before.is_settled {
                let interval = node.rule.interval().as_secs_f64();
                let times = interval / before.interval.as_secs_f64();
                self.attacked.longest_interval = self.attacked.longest_interval.max(times);
            }
        }
    }

    /// For so long a node has not announced itself.
    pub(crate) fn on_silence(&mut self, silence: Duration) {
        self.silence = self.silence.max(silence);
    }

    /// Looks at the tables.
    pub(crate) fn look<R: Rule>(
        &mut self,
        nodes: &[Option<Node<R>>],
        identities: &Identities,
        links: &Links,
    ) {
        let (mut stayed, mut all) = (0, 0);
        for (slot, node) in nodes.iter().enumerate() {
            let (Some(node), Some(before)) = (node, &self.before[slot]) else {
                continue;
            };
            let Some(table) = &node.table else {
                continue;
            };
            self.attacked.rows = self.attacked.rows.max(table.len());
            if node.identity != before.identity {
                continue;
            }
            let live = before.known.iter().map(|&known| identities.get(known));
            for identity in live.filter(|identity| identity.left.is_none()) {
                all += 1;
                if table.knows(&identity.peer) {
                    stayed += 1;
                } else if links.are_connected(slot, &identity.peer)
                    && !table.has_expired(&identity.peer)
                {
                    self.attacked.evicted += 1;
                }
            }
        }
        if all > 0 {
            self.attacked.stayed = self.attacked.stayed.min(stayed as f64 / all as f64);
        }
    }

    pub(crate) fn finish(mut self) -> Attacked {
        self.attacked.longest_silence = self.silence;
        let seconds = TICK.as_secs_f64() * self.ticks as f64;
        self.attacked.accepted = self.accepted as f64 / self.tables as f64 / seconds;
        self.attacked
    }
}
