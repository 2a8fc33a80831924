//! Maps and sets of listeners.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasherDefault, Hasher},
};

use libp2p_core::transport::ListenerId;

pub(crate) type IdMap<V> = HashMap<ListenerId, V, BuildHasherDefault<IdHasher>>;
pub(crate) type IdSet = HashSet<ListenerId, BuildHasherDefault<IdHasher>>;

/// Spreads the numbers of a counter, which is what a [`ListenerId`] is.
///
/// The default hasher guards against keys that somebody else chooses; nobody does here, and it would be a good
/// part of what this crate adds to the time of a bind.
#[derive(Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, n: u64) {
        // Fibonacci hashing: 2^64 divided by the golden ratio. The map looks at the highest bits and the lowest.
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }
}
