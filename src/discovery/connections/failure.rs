//! What to make of a dial that failed.

use libp2p_core::transport::TransportError;
use libp2p_swarm::DialError;
use multiaddr::Multiaddr;

/// What a dial that failed says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The peer cannot be reached, and these addresses lead nowhere. Addresses that no transport of this node can
    /// dial are not among them.
    Unreachable(Vec<Multiaddr>),
    /// Somebody else is at this address. Whether the others are good is not known.
    WrongPeer(Multiaddr),
    /// The dial has not been made, for a reason that lies here.
    Local,
}

impl Failure {
    pub(super) fn of(error: &DialError) -> Self {
        match error {
            DialError::Transport(errors) => {
                let failed = errors
                    .iter()
                    .filter(|(_, error)| matches!(error, TransportError::Other(_)));
                Self::Unreachable(failed.map(|(address, _)| address.clone()).collect())
            }
            DialError::WrongPeerId { address, .. } | DialError::LocalPeerId { address } => {
                Self::WrongPeer(address.clone())
            }
            // The peer names nothing but addresses that this node listens on itself.
            DialError::NoAddresses => Self::Unreachable(Vec::new()),
            DialError::Denied { .. }
            | DialError::Aborted
            | DialError::DialPeerConditionFalse(_) => Self::Local,
        }
    }
}
