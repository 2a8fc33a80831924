//! Which rows of the table a single neighbour has brought.

use std::collections::{BTreeSet, HashMap};

use libp2p_identity::PeerId;

use crate::deadline::Instant;

/// Of each neighbour the peers that it alone has delivered, by their last announcement. Only of peers in the table, so at most
/// as many as that holds.
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

    /// How many there are of a neighbour.
    pub(super) fn len(&self, neighbour: &PeerId) -> usize {
        self.0.get(neighbour).map_or(0, BTreeSet::len)
    }

    /// The one of a neighbour that has been silent for longest.
    pub(super) fn oldest(&self, neighbour: &PeerId) -> Option<PeerId> {
        self.0.get(neighbour)?.first().map(|&(_, peer)| peer)
    }
}
