//! The rows of the table that a single neighbour has delivered.

use std::collections::{BTreeSet, HashMap};

use libp2p_identity::PeerId;

use crate::deadline::Instant;

/// For each neighbour, the peers that it alone has delivered, by their last announcement. Bounded by the table.
#[derive(Debug, Default)]
pub(super) struct Shares(HashMap<PeerId, BTreeSet<(Instant, PeerId)>>);

impl Shares {
    pub(super) fn insert(&mut self, neighbour: PeerId, last_heard: Instant, peer: PeerId) {
        let share = self.0.entry(neighbour).or_default();
        share.insert((last_heard, peer));
    }

    pub(super) fn remove(&mut self, neighbour: &PeerId, last_heard: Instant, peer: PeerId) {
        let Some(share) = self.0.get_mut(neighbour) else {
            return;
        };
        share.remove(&(last_heard, peer));
        if share.is_empty() {
            self.0.remove(neighbour);
        }
    }

    /// The number of rows of a neighbour.
    pub(super) fn len(&self, neighbour: &PeerId) -> usize {
        self.0.get(neighbour).map_or(0, BTreeSet::len)
    }

    /// The peer of a neighbour that has been silent for longest.
    pub(super) fn oldest(&self, neighbour: &PeerId) -> Option<PeerId> {
        self.0.get(neighbour)?.first().map(|&(_, peer)| peer)
    }
}
