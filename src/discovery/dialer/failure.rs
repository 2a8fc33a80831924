//! The meaning of a failed dial.

use libp2p_core::transport::TransportError;
use libp2p_swarm::DialError;
use multiaddr::Multiaddr;

/// The meaning of a failed dial for the dialer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The peer cannot be reached, and these addresses lead nowhere. Addresses that no transport of this node can
    /// dial are not among them.
    Unreachable(Vec<Multiaddr>),
    /// No transport of this node supports these addresses, and there were no others.
    Unsupported(Vec<Multiaddr>),
    /// The peer names only addresses that this node itself listens on.
    NoAddresses,
    /// Another peer answered at this address. Nothing is known of the remaining ones.
    WrongPeer(Multiaddr),
    /// This node did not make the dial.
    Local,
}

impl Failure {
    pub(super) fn of(error: &DialError) -> Self {
        match error {
            DialError::Transport(errors) => {
                let (failed, unsupported): (Vec<_>, Vec<_>) = errors
                    .iter()
                    .partition(|(_, error)| matches!(error, TransportError::Other(_)));
                let addresses = |errors: Vec<&(Multiaddr, _)>| {
                    let addresses = errors.into_iter().map(|(address, _)| address.clone());
                    addresses.collect()
                };
                match failed.is_empty() {
                    true => Self::Unsupported(addresses(unsupported)),
                    false => Self::Unreachable(addresses(failed)),
                }
            }
            DialError::WrongPeerId { address, .. } | DialError::LocalPeerId { address } => {
                Self::WrongPeer(address.clone())
            }
            DialError::NoAddresses => Self::NoAddresses,
            DialError::Denied { .. }
            | DialError::Aborted
            | DialError::DialPeerConditionFalse(_) => Self::Local,
        }
    }
}
