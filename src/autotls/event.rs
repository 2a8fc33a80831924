use std::{
    fmt,
    time::{Duration, SystemTime},
};

use multiaddr::Multiaddr;

use super::{Error, Step};

/// An event that a [`Behaviour`](super::Behaviour) emits to the application.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A certificate is wanted, and cannot be ordered yet.
    Waiting(Waiting),
    /// An attempt to obtain or renew the certificate begins. For a first certificate, and each time that the ACME server
    /// wants a new proof, the broker connects to this node under a new peer id, and closes the connection at once.
    Ordering,
    /// There is a certificate: the first one, one from the storage at the start, or one after an expired one.
    #[non_exhaustive]
    Obtained {
        /// The time at which it expires.
        not_after: SystemTime,
    },
    /// The certificate was renewed while the previous one was valid. Connections stay, and new handshakes are served the
    /// new one.
    #[non_exhaustive]
    Renewed {
        /// The time at which the new one expires.
        not_after: SystemTime,
    },
    /// The certificate has expired before it could be renewed. The listeners wait, and their addresses have expired.
    Expired,
    /// Something failed. Displays with the step and the reason. Other listeners and the certificate in use are not affected.
    #[non_exhaustive]
    Failed {
        /// The step that failed.
        step: Step,
        /// The reason.
        error: Error,
        /// The delay until the next attempt. `None` for failures that do not end an attempt, such as those of the storage.
        retry_in: Option<Duration>,
    },
    /// The transport refused the address of [`Behaviour::listen_on`](super::Behaviour::listen_on).
    #[non_exhaustive]
    ListenFailed {
        /// The address with the wildcard.
        address: Multiaddr,
        /// The reason, such as a transport without the certificates of this behaviour, or `Engine::Libp2p`.
        reason: String,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting(waiting) => write!(f, "waiting for {waiting}"),
            Self::Ordering => f.write_str("ordering a certificate"),
            Self::Obtained { .. } => f.write_str("there is a certificate"),
            Self::Renewed { .. } => f.write_str("the certificate was renewed"),
            Self::Expired => f.write_str("the certificate has expired"),
            Self::Failed {
                step,
                error,
                retry_in,
            } => {
                write!(f, "{step}: {error}")?;
                match retry_in {
                    Some(delay) => write!(f, "; again in {delay:.1?}"),
                    None => Ok(()),
                }
            }
            Self::ListenFailed { address, reason } => write!(f, "{address}: {reason}"),
        }
    }
}

/// What is missing before a certificate can be ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Waiting {
    /// [`Behaviour::listen_on`](super::Behaviour::listen_on) was not called, or its listeners were removed.
    NoListener,
    /// The broker connects to this node before it vouches for it, and the node listens on neither `/tcp/<port>` nor
    /// `/tcp/<port>/ws`.
    NothingToDialBack,
    /// No address of this node is known to be reachable from the internet. AutoNAT v2 or UPnP confirm one, or the
    /// application by `Swarm::add_external_address`. A listen address that is routed on the internet counts as confirmed.
    NoPublicAddress,
    /// The random delay of [`Config::with_registration_delay`](super::Config::with_registration_delay).
    RegistrationDelay,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoListener => "a listener with the name of this node: autotls::Behaviour::listen_on",
            Self::NothingToDialBack => {
                "a listener that the broker can connect to: /tcp/<port> or /tcp/<port>/ws"
            }
            Self::NoPublicAddress => {
                "a public address, /ip4 or /ip6 of the internet with /tcp/<port> or /tcp/<port>/ws: on an interface, from AutoNAT v2 \
                 or UPnP, or by Swarm::add_external_address"
            }
            Self::RegistrationDelay => "the end of the registration delay",
        })
    }
}

/// The present activity of a [`Behaviour`](super::Behaviour).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// A certificate is wanted, and cannot be ordered yet.
    Waiting(Waiting),
    /// A certificate is being obtained or renewed.
    Ordering,
    /// The last attempt failed.
    #[non_exhaustive]
    Retrying {
        /// The step that failed.
        step: Step,
        /// The reason.
        error: Error,
        /// The delay from the failure to the next attempt.
        retry_in: Duration,
    },
    /// The certificate is valid, and it is not time to renew it.
    Ready,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting(waiting) => write!(f, "waiting for {waiting}"),
            Self::Ordering => f.write_str("ordering"),
            Self::Retrying {
                step,
                error,
                retry_in,
            } => write!(f, "retrying in {retry_in:.1?}: {step}: {error}"),
            Self::Ready => f.write_str("ready"),
        }
    }
}

/// The state of a [`Behaviour`](super::Behaviour), from [`Behaviour::status`](super::Behaviour::status).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The present activity.
    pub state: State,
    /// The time at which the certificate in use expires. `None` without one.
    pub not_after: Option<SystemTime>,
    /// Certificates obtained from the ACME server since the start.
    pub obtained: u64,
    /// Failed attempts since the start.
    pub failed: u64,
}

/// The number of attempts since the start, by their result.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counters {
    pub(super) obtained: u64,
    /// By [`Step::ALL`].
    pub(super) failed: [u64; Step::ALL.len()],
}
