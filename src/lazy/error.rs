use std::{fmt, sync::Arc};

use libp2p_core::transport::ListenerId;
use multiaddr::Multiaddr;

/// What goes wrong in a [`lazy::Transport`](crate::lazy::Transport) over a transport whose errors are `E`.
///
/// A message never repeats that of its [`source`](std::error::Error::source).
// Written out instead of derived: `thiserror` would return the `Arc` of `Bind` as the source, and nobody could
// find an `io::Error` in the chain by its type.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error<E> {
    /// The inner transport failed: in dialling, in an upgrade, or in a listener that was bound. Shows itself as
    /// the inner error does.
    Inner(E),
    /// The listener could not be bound. Comes twice: in the `ListenerError` that reports it and in the
    /// `ListenerClosed` that follows.
    #[non_exhaustive]
    Bind {
        /// The address as it was given to `listen_on`.
        address: Multiaddr,
        /// Why; shared by the two events.
        source: Arc<E>,
    },
    /// The inner transport accepted the address when it was registered, and refused it later.
    #[non_exhaustive]
    Unsupported {
        /// The address as it was given to `listen_on`.
        address: Multiaddr,
    },
    /// `listen_on` with the id of a listener that has not closed. Take a fresh one with [`ListenerId::next`].
    #[non_exhaustive]
    IdInUse {
        /// The id.
        id: ListenerId,
    },
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inner(error) => error.fmt(f),
            Self::Bind { address, .. } => write!(f, "cannot listen on {address}"),
            Self::Unsupported { address } => {
                write!(f, "the transport does not support listening on {address}")
            }
            Self::IdInUse { id } => write!(f, "listener id {id} is already in use"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for Error<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Inner(error) => error.source(),
            Self::Bind { source, .. } => Some(&**source),
            Self::Unsupported { .. } | Self::IdInUse { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{error::Error as _, io};

    use super::*;

    #[test]
    fn the_cause_is_found_by_its_type_and_said_once() {
        let error = Error::Bind {
            address: "/ip4/127.0.0.1/tcp/1/ws".parse().unwrap(),
            source: Arc::new(io::Error::from(io::ErrorKind::AddrInUse)),
        };
        let cause: &io::Error = error.source().unwrap().downcast_ref().unwrap();
        assert_eq!(cause.kind(), io::ErrorKind::AddrInUse);
        assert!(!error.to_string().contains(&cause.to_string()), "{error}");
    }

    #[test]
    fn an_inner_error_adds_no_link_to_the_chain() {
        let inner = Error::Bind {
            address: "/ip4/127.0.0.1/tcp/1/ws".parse().unwrap(),
            source: Arc::new(io::Error::other("below")),
        };
        let said = inner.to_string();
        let outer = Error::Inner(inner);
        assert_eq!(outer.to_string(), said);
        assert_eq!(outer.source().unwrap().to_string(), "below");
    }
}
