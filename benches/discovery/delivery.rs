//! Which node gets an announcement when, and which does not.

use std::{ops::Range, time::Duration};

use rand::{RngExt as _, rngs::SmallRng, seq::SliceRandom as _};

/// The least time that an announcement takes to a node.
const LEAST: Duration = Duration::from_millis(20);

/// The groups of nodes that an announcement reaches at the same moment, and how far apart they are.
pub(crate) const GROUPS: usize = 28;
const STEP: Duration = Duration::from_millis(10);

/// In how many orders the nodes may be reached. One is picked for each announcement.
const ORDERS: usize = 64;

/// The orders in which announcements reach the nodes.
///
/// With a latency drawn for each node, each announcement would put ten thousand events into the queue. Here it is in
/// the queue once at a time, for the next group of nodes.
#[derive(Debug)]
pub(crate) struct Orders {
    nodes: usize,
    slots: Vec<u32>,
    hops: u32,
}

impl Orders {
    pub(crate) fn new(nodes: usize, hops: u32, rng: &mut SmallRng) -> Self {
        let mut slots = vec![];
        for _ in 0..ORDERS {
            let at = slots.len();
            slots.extend(0..nodes as u32);
            slots[at..].shuffle(rng);
        }
        let mut orders = Self { nodes, slots, hops };
        // In each group as they are in memory.
        for order in 0..ORDERS {
            for group in 0..GROUPS {
                let group = orders.range(order, group);
                orders.slots[group].sort_unstable();
            }
        }
        orders
    }

    pub(crate) fn pick(&self, rng: &mut SmallRng) -> usize {
        rng.random_range(0..ORDERS)
    }

    /// The nodes that are reached as the `group`th.
    pub(crate) fn group(&self, order: usize, group: usize) -> &[u32] {
        &self.slots[self.range(order, group)]
    }

    fn range(&self, order: usize, group: usize) -> Range<usize> {
        let first = order * self.nodes;
        first + group * self.nodes / GROUPS..first + (group + 1) * self.nodes / GROUPS
    }

    /// How long an announcement takes to the `group`th.
    pub(crate) fn latency(&self, group: usize) -> Duration {
        (LEAST + STEP * group as u32) * self.hops
    }

    /// How long anything else takes from one node to the next.
    pub(crate) fn some_latency(&self, rng: &mut SmallRng) -> Duration {
        self.latency(rng.random_range(0..GROUPS)) / self.hops
    }
}

/// Which deliveries are lost: each with the same probability, and it costs a random number only for each that is.
#[derive(Debug)]
pub(crate) struct Loss {
    probability: f64,
    delivered_before_next: u64,
}

impl Loss {
    pub(crate) fn new(probability: f64, rng: &mut SmallRng) -> Self {
        let mut loss = Self {
            probability,
            delivered_before_next: 0,
        };
        loss.delivered_before_next = loss.gap(rng);
        loss
    }

    /// Whether the next delivery is lost.
    pub(crate) fn strikes(&mut self, rng: &mut SmallRng) -> bool {
        match self.delivered_before_next.checked_sub(1) {
            Some(fewer) => {
                self.delivered_before_next = fewer;
                false
            }
            None => {
                self.delivered_before_next = self.gap(rng);
                true
            }
        }
    }

    fn gap(&self, rng: &mut SmallRng) -> u64 {
        if self.probability == 0.0 {
            return u64::MAX;
        }
        let random = 1.0 - rng.random_range(0.0..1.0_f64);
        (random.ln() / (1.0 - self.probability).ln()) as u64
    }
}
