use std::{fmt, time::Duration};

use libp2p_core::transport::TransportError;
use libp2p_identity::PeerId;
use libp2p_swarm::DialError;
use multiaddr::Multiaddr;
use thiserror::Error;

/// An invalid configuration of a [`Behaviour`](super::Behaviour) or of the pubsub below it.
///
/// None of these errors depends on the network.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The list of topics is empty.
    #[error("no topic to announce on")]
    NoTopics,
    /// More topics than one behaviour may announce on.
    #[error("{topics} topics, at most {max} are possible")]
    TooManyTopics {
        /// Their number, without duplicates.
        topics: usize,
        /// The maximum.
        max: usize,
    },
    /// A topic without a name.
    #[error("a topic has no name")]
    EmptyTopic,
    /// The interval is zero, or so short that announcements would occupy the swarm.
    #[error("the interval of {interval:?} between announcements is below {min:?}")]
    IntervalTooShort {
        /// The configured interval.
        interval: Duration,
        /// The shortest one.
        min: Duration,
    },
    /// [`Config::with_coalescing`](super::Config::with_coalescing) is longer than the interval.
    #[error("the coalescing of {coalescing:?} is longer than the interval of {interval:?}")]
    CoalescingAboveInterval {
        /// The configured coalescing.
        coalescing: Duration,
        /// The configured interval.
        interval: Duration,
    },
    /// The minimum gap is longer than the interval.
    #[error("the minimum gap of {minimum_gap:?} is longer than the interval of {interval:?}")]
    GapAboveInterval {
        /// The configured minimum gap.
        minimum_gap: Duration,
        /// The configured interval.
        interval: Duration,
    },
    /// The time to live is not longer than the interval, so peers with the same interval would expire between two
    /// announcements.
    #[error("the time to live of {time_to_live:?} is not above the interval of {interval:?}")]
    TimeToLiveWithinInterval {
        /// The configured time to live.
        time_to_live: Duration,
        /// The configured interval.
        interval: Duration,
    },
    /// More hubs than one behaviour dials.
    #[error("{hubs} hubs, at most {max} are possible")]
    TooManyHubs {
        /// Their number, without duplicates.
        hubs: usize,
        /// The maximum.
        max: usize,
    },
    /// The pubsub does not authenticate the author of a message, so peers could announce in the name of others.
    ///
    /// For gossipsub: the validation mode must be `Strict`. In the permissive modes an unsigned message with a
    /// forged author cannot be told from a signed one.
    #[error("the pubsub does not require signed messages")]
    NotAuthenticated,
    /// Gossipsub refused its configuration.
    #[error("gossipsub refused its configuration: {0}")]
    Gossipsub(&'static str),
    /// The pubsub refused the subscription to a topic.
    #[error("cannot subscribe to {topic:?}")]
    Subscribe {
        /// The topic.
        topic: String,
        /// The error of the pubsub.
        source: super::SubscribeError,
    },
}

/// The reason why a hub could not be connected.
///
/// The reasons of the swarm and its transports are given as text, because a behaviour only borrows them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HubError {
    /// Each address that was tried failed.
    #[error("{}", Attempts(attempts))]
    Unreachable {
        /// The addresses as they were dialled, and why each failed.
        attempts: Vec<(Multiaddr, String)>,
    },
    /// Another peer answered at the last remaining address. Either the configured peer id belongs to an older key, or the
    /// address leads elsewhere.
    #[error("wanted {expected}, found {found} at {address}")]
    WrongPeer {
        /// The configured peer id.
        expected: PeerId,
        /// The peer that answered.
        found: PeerId,
        /// The address.
        address: Multiaddr,
    },
    /// The hub is this node itself. Harmless if all nodes share one list.
    #[error("this is the node itself")]
    OwnAddress,
    /// Only a peer id is configured, and the peer has not announced an address.
    #[error("no address is given and none is known")]
    NoAddresses,
    /// No transport of this node supports any of the addresses.
    #[error(
        "no transport of this node supports it; a WebSocket address ends with `/ws` or `/tls/ws`"
    )]
    Unsupported,
    /// This node denied or aborted the dial, for instance because of a limit on connections.
    #[error("{reason}")]
    Denied {
        /// The reason.
        reason: String,
    },
}

impl HubError {
    /// From the error of the swarm for a dial of a hub, with the configured `id` if there is one.
    pub(super) fn of(error: &DialError, id: Option<PeerId>, local: PeerId) -> Self {
        let wrong_peer = |found: PeerId, address: &Multiaddr| match id {
            Some(expected) => Self::WrongPeer {
                expected,
                found,
                address: address.clone(),
            },
            None => Self::OwnAddress,
        };
        match error {
            DialError::Transport(errors) => {
                let reason = |error: &TransportError<_>| match error {
                    TransportError::MultiaddrNotSupported(_) => None,
                    TransportError::Other(error) => Some(chain(error)),
                };
                let is_supported = errors.iter().any(|(_, error)| reason(error).is_some());
                if !is_supported {
                    return Self::Unsupported;
                }
                let attempt = |(address, error): &(Multiaddr, _)| {
                    let reason = reason(error).unwrap_or_else(|| "not supported".to_owned());
                    (address.clone(), reason)
                };
                let attempts = errors.iter().map(attempt).collect();
                Self::Unreachable { attempts }
            }
            DialError::WrongPeerId { obtained, address } => wrong_peer(*obtained, address),
            DialError::LocalPeerId { address } => wrong_peer(local, address),
            // The swarm leaves out the addresses that it listens on.
            DialError::NoAddresses => Self::OwnAddress,
            DialError::Denied { .. }
            | DialError::Aborted
            | DialError::DialPeerConditionFalse(_) => {
                let reason = chain(error);
                Self::Denied { reason }
            }
        }
    }
}

/// An error and its causes, without those that the text above them contains.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Each address with its reason, unless the reason names the address.
struct Attempts<'a>(&'a [(Multiaddr, String)]);

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (address, reason)) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{address}: {reason}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_that_no_transport_supports_says_how_websocket_addresses_end() {
        let address: Multiaddr = "/ip4/192.0.2.1/tcp/9000".parse().unwrap();
        let refused = TransportError::MultiaddrNotSupported(address.clone());
        let error = DialError::Transport(vec![(address, refused)]);
        let error = HubError::of(&error, None, PeerId::random());
        assert_eq!(error, HubError::Unsupported);
        assert!(error.to_string().contains("ends with `/ws`"), "{error}");
    }
}
