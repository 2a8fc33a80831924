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
