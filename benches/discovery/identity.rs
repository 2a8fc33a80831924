//! Who announces itself.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p_identity::{Keypair, PeerId, PublicKey};
use multiaddr::{Multiaddr, Protocol};

/// One that has an announcement to make: a node from its start to its end, or one of those that an attacker invents.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) peer: PeerId,
    pub(crate) key: PublicKey,
    addresses: [Multiaddr; 2],
    /// When it has gone, without a word.
    pub(crate) left: Option<Instant>,
    /// The longest time until its next announcement, by its last ones: not each reaches everybody.
    promised: [Option<Duration>; 3],
}

impl Identity {
    /// The `number`th of the network that has this seed.
    pub(crate) fn new(seed: u64, number: usize) -> Self {
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&seed.to_be_bytes());
        secret[8..16].copy_from_slice(&(number as u64).to_be_bytes());
        let key = Keypair::ed25519_from_bytes(secret)
            .expect("any 32 bytes are a secret")
            .public();
        let [.., a, b, c] = (number as u32).to_be_bytes();
        let host = Multiaddr::from(Protocol::Ip4([198, a, b, c].into()));
        let name = Protocol::Dns4(format!("node-{number}.example.org").into());
        let addresses = [
            host.with(Protocol::Tcp(4001))
                .with(Protocol::Ws("/".into())),
            Multiaddr::from(name)
                .with(Protocol::Tcp(443))
                .with(Protocol::Tls)
                .with(Protocol::Ws("/".into())),
        ];
        Self {
            peer: key.to_peer_id(),
            key,
            addresses,
            left: None,
            promised: [None; 3],
        }
    }

    pub(crate) fn on_announced(&mut self, promise: Option<Duration>) {
        self.promised.rotate_right(1);
        self.promised[0] = promise;
    }

    /// For how many of the intervals that it promised it has been gone; `None` if it has not gone.
    pub(crate) fn known_for(&self, now: Instant) -> Option<f64> {
        let gone = now - self.left?;
        let interval = self.promised.into_iter().flatten().max()?;
        Some(gone.as_secs_f64() / interval.as_secs_f64())
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = Multiaddr> + use<'_> {
        self.addresses.iter().cloned()
    }
}

/// All that a network has ever had.
#[derive(Debug)]
pub(crate) struct Identities {
    seed: u64,
    all: Vec<Identity>,
    by_peer: HashMap<PeerId, usize>,
}

impl Identities {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            all: vec![],
            by_peer: HashMap::new(),
        }
    }

    /// One more, and by which number it is found.
    pub(crate) fn add(&mut self) -> (usize, PeerId) {
        let number = self.all.len();
        let identity = Identity::new(self.seed, number);
        let peer = identity.peer;
        self.by_peer.insert(peer, number);
        self.all.push(identity);
        (number, peer)
    }

    pub(crate) fn get(&self, number: usize) -> &Identity {
        &self.all[number]
    }

    pub(crate) fn get_mut(&mut self, number: usize) -> &mut Identity {
        &mut self.all[number]
    }

    pub(crate) fn find(&self, peer: &PeerId) -> Option<&Identity> {
        self.by_peer.get(peer).map(|&number| self.get(number))
    }
}
