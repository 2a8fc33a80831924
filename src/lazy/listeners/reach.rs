use std::{convert::Infallible, mem, slice};

use libp2p_core::transport::TransportEvent;
use multiaddr::Multiaddr;

/// Where a bound listener can be reached: by the addresses that were reported and have not expired, at most those of
/// this host's interfaces.
#[derive(Debug)]
pub(super) enum Reach<U> {
    /// Nowhere yet, or no longer.
    Nowhere {
        /// The connections that wait for an address, at most
        /// [`MAX_HELD_PER_LISTENER`](super::MAX_HELD_PER_LISTENER).
        held: Vec<TransportEvent<U, Infallible>>,
    },
    /// By one address, as most are: it takes no memory besides this.
    One(Multiaddr),
    /// By at least one.
    Several(Vec<Multiaddr>),
}

impl<U> Reach<U> {
    pub(super) fn nowhere() -> Self {
        Self::Nowhere { held: Vec::new() }
    }

    pub(super) fn addresses(&self) -> &[Multiaddr] {
        match self {
            Self::Nowhere { .. } => &[],
            Self::One(address) => slice::from_ref(address),
            Self::Several(addresses) => addresses,
        }
    }

    /// The connections that have waited for an address, which is about to come.
    pub(super) fn take_held(&mut self) -> Vec<TransportEvent<U, Infallible>> {
        match self {
            Self::Nowhere { held } => mem::take(held),
            Self::One(_) | Self::Several(_) => Vec::new(),
        }
    }

    /// There is one more address.
    pub(super) fn add(&mut self, address: Multiaddr) {
        match self {
            Self::Nowhere { .. } => *self = Self::One(address),
            Self::One(first) => {
                let first = mem::replace(first, Multiaddr::empty());
                *self = Self::Several(vec![first, address]);
            }
            Self::Several(addresses) => addresses.push(address),
        }
    }

    /// An address is no longer good. Returns whether it was one of these.
    pub(super) fn remove(&mut self, address: &Multiaddr) -> bool {
        let Some(index) = self.addresses().iter().position(|a| a == address) else {
            return false;
        };
        match self {
            Self::Several(addresses) if addresses.len() > 1 => {
                addresses.remove(index);
            }
            _ => *self = Self::nowhere(),
        }
        true
    }

    /// No address is good any more. Returns those that were.
    pub(super) fn take(&mut self) -> Vec<Multiaddr> {
        match mem::replace(self, Self::nowhere()) {
            Self::Nowhere { .. } => Vec::new(),
            Self::One(address) => vec![address],
            Self::Several(addresses) => addresses,
        }
    }
}
