//! The peers from before the restart: candidates to dial, not known peers.

use std::collections::HashMap;

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use crate::{
    deadline::Instant,
    discovery::{SavedPeer, saved::MAX_SAVED},
};

/// The saved peers that have not been heard since the restart, at most [`MAX_SAVED`].
#[derive(Debug)]
pub(super) struct Saved {
    since: Instant,
    peers: HashMap<PeerId, SavedPeer>,
}

impl Saved {
    /// `since` is the start of this node.
    pub(super) fn new(local: PeerId, saved: Vec<SavedPeer>, since: Instant) -> Self {
        let mut peers = HashMap::new();
        for peer in saved.into_iter().take(MAX_SAVED) {
            if peer.peer_id != local && !peer.addresses.is_empty() {
                peers.entry(peer.peer_id).or_insert(peer);
            }
        }
        Self { since, peers }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    pub(super) fn addresses(&self, peer: &PeerId) -> Option<&[Multiaddr]> {
        let saved = self.peers.get(peer)?;
        Some(&saved.addresses)
    }

    /// A peer has announced itself and has moved into the table.
    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.peers.remove(peer);
    }

    /// Another peer answered at this address.
    pub(super) fn on_wrong_peer(&mut self, peer: &PeerId, address: &Multiaddr) {
        let Some(saved) = self.peers.get_mut(peer) else {
            return;
        };
        saved.addresses.retain(|known| known != address);
        if saved.addresses.is_empty() {
            self.peers.remove(peer);
        }
    }

    /// All of them, with their current age.
    pub(super) fn iter(&self, now: Instant) -> impl Iterator<Item = SavedPeer> {
        let passed = now.saturating_duration_since(self.since);
        self.peers.values().map(move |peer| SavedPeer {
            age: peer.age.saturating_add(passed),
            ..peer.clone()
        })
    }

    pub(super) fn candidates(&self) -> impl Iterator<Item = (PeerId, &[Multiaddr])> {
        self.peers
            .values()
            .map(|peer| (peer.peer_id, &peer.addresses[..]))
    }
}
