//! What is dialled.

use std::time::Duration;

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

/// A connection that has lasted for this long was worth its dial. One that ends sooner, because the other side has
/// no room in its mesh for instance, counts as an attempt that failed.
pub(super) const STEADY: Duration = Duration::from_secs(120);

/// One attempt to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dial {
    /// `None` to accept any peer that answers.
    pub(crate) peer: Option<PeerId>,
    /// All of them, in this one attempt.
    pub(crate) addresses: Vec<Multiaddr>,
}
