//! The nodes of a network, and their connections.

use std::{collections::BTreeSet, time::Instant};

use libp2p_identity::PeerId;
use rand::{RngExt as _, rngs::SmallRng, seq::IteratorRandom as _};

use crate::{
    node::Table,
    plan::{Plan, Shape},
    simulation::Newcomers,
};

/// To how many others a node connects. As many connect to it.
const CONNECTS_TO: usize = 4;

#[derive(Debug)]
pub(crate) struct Node<R> {
    pub(crate) rule: R,
    /// Which of the identities it has.
    pub(crate) identity: usize,
    pub(crate) since: Instant,
    /// When it announced itself last, or started.
    pub(crate) announced: Instant,
    /// How many peers it has heard of for the first time, up to twenty.
    pub(crate) found: usize,
    /// The earliest of its timers in the queue.
    pub(crate) armed: Option<Instant>,
    pub(crate) has_subscribers: bool,
    /// What each neighbour may still deliver of newcomers.
    pub(crate) newcomers: Box<[Newcomers]>,
    pub(crate) table: Option<Table>,
    /// How many it knows where it has no table.
    pub(crate) noted: Noted,
    /// How many the table knows that it follows under attack.
    pub(crate) followed: Option<usize>,
}

impl<R> Node<R> {
    /// How many peers it knows in this second since the network started.
    pub(crate) fn known(&mut self, second: u64) -> usize {
        match (&self.table, self.followed) {
            (Some(table), _) => table.count(),
            (None, Some(followed)) => followed,
            (None, None) => self.noted.count(second),
        }
    }
}

/// A second more than a peer is known at most.
const LONGEST: usize = 3 * 22 * 60 + 1;

/// How many peers a node without a table knows.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    /// By the second, modulo the longest time, how many are known until then.
    until: Vec<u16>,
    second: u64,
    count: usize,
}

impl Noted {
    /// A peer that was known until one second is known until another.
    pub(crate) fn on_heard(&mut self, second: u64, before: u64, until: u64) {
        self.advance(second);
        if before > second {
            self.until[before as usize % LONGEST] -= 1;
            self.count -= 1;
        }
        self.until[until as usize % LONGEST] += 1;
        self.count += 1;
    }

    fn count(&mut self, second: u64) -> usize {
        self.advance(second);
        self.count
    }

    fn advance(&mut self, second: u64) {
        if self.until.is_empty() {
            self.until = vec![0; LONGEST];
            self.second = second;
        }
        while self.second < second {
            self.second += 1;
            let gone = std::mem::take(&mut self.until[self.second as usize % LONGEST]);
            self.count -= usize::from(gone);
        }
    }
}

/// Who is connected with whom, by slot.
#[derive(Debug)]
pub(crate) struct Links {
    pub(crate) neighbours: Vec<Box<[usize]>>,
    /// Who has the slot; `None` before the first start.
    pub(crate) peers: Vec<Option<PeerId>>,
}

impl Links {
    pub(crate) fn new(plan: Plan, rng: &mut SmallRng) -> Self {
        let mut neighbours = vec![BTreeSet::new(); plan.nodes];
        let mut connect = |a: usize, b: usize| {
            neighbours[a].insert(b);
            neighbours[b].insert(a);
        };
        match plan.shape {
            Shape::Mesh | Shape::Hubs => {
                for slot in 0..plan.nodes {
                    let (nodes, count) = match plan.first {
                        Some(first) if slot < first => (first, CONNECTS_TO),
                        Some(first) if plan.shape == Shape::Hubs => (first, 3),
                        _ => (plan.nodes, CONNECTS_TO),
                    };
                    for _ in 0..count.min(nodes - 1) {
                        let other = rng.random_range(0..nodes - 1);
                        connect(slot, if other < slot { other } else { other + 1 });
                    }
                }
            }
            Shape::Star => (1..plan.nodes).for_each(|leaf| connect(0, leaf)),
        }
        Self {
            neighbours: neighbours
                .into_iter()
                .map(|neighbours| neighbours.into_iter().collect())
                .collect(),
            peers: vec![None; plan.nodes],
        }
    }

    /// One of a node's neighbours, if any is up.
    pub(crate) fn random(&self, slot: usize, rng: &mut SmallRng) -> Option<PeerId> {
        let neighbours = self.neighbours[slot].iter();
        neighbours
            .filter_map(|&neighbour| self.peers[neighbour])
            .choose(rng)
    }

    pub(crate) fn are_connected(&self, slot: usize, peer: &PeerId) -> bool {
        let mut neighbours = self.neighbours[slot].iter();
        neighbours.any(|&neighbour| self.peers[neighbour].as_ref() == Some(peer))
    }
}
