//! The peers of before the restart: candidates to dial, not known peers.

use std::collections::HashMap;

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use crate::{
    deadline::Instant,
    discovery::{SavedPeer, saved::MAX_SAVED},
};

/// Those that have not been heard since, at most [`MAX_SAVED`].
#[derive(Debug)]
pub(super) struct Saved {
    since: Instant,
    peers: HashMap<PeerId, SavedPeer>,
}

impl Saved {
    /// `since` is when this node was started.
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

    /// A peer has announced itself, and is in the table from now on.
    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.peers.remove(peer);
    }

    /// At this address of a peer there is another one.
    pub(super) fn on_wrong_peer(&mut self, peer: &PeerId, address: &Multiaddr) {
        let Some(saved) = self.peers.get_mut(peer) else {
            return;
        };
        saved.addresses.retain(|known| known != address);
        if saved.addresses.is_empty() {
            self.peers.remove(peer);
        }
    }

    /// All of them, as old as they are now.
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
