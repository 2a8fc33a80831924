//! Maps of listeners.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use libp2p_core::transport::ListenerId;

pub(crate) type IdMap<V> = HashMap<ListenerId, V, BuildHasherDefault<IdHasher>>;

/// Keeps the numbers of a counter, which is what a [`ListenerId`] is, next to each other: listeners that are made
/// together are bound together, and are then found in the same part of memory.
///
/// The default hasher guards against keys that somebody else chooses; nobody does here, and it would be a good
/// part of what this crate adds to the time of a bind.
#[derive(Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        // The map finds the place by the lowest bits and tells neighbours apart by the highest seven.
        self.0 ^ (self.0 << 57)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = self.0.rotate_left(8) ^ n;
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }
}
