use std::{
    error::{self, Error as _},
    fmt,
    time::Duration,
};

use libp2p_core::transport::ListenerId;
use multiaddr::Multiaddr;

use crate::lazy::status::{Exhausted, ListenError, Seconds};

/// The error of a [`lazy::Transport`](crate::lazy::Transport) around a transport whose errors are `E`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error<E> {
    /// A dial, an upgrade or a listener failed in the inner transport, whose error is the source. The listener continues.
    Inner(E),
    /// A listener failed. [`ListenError::find`] finds the details in the error that a swarm reports.
    Listen(ListenError),
    /// A bound listener is out of descriptors or memory. It stays bound and keeps trying. Reported once, and
    /// [`Recovered`](Self::Recovered) when it is over.
    Exhausted(Exhausted),
    /// The end of [`Exhausted`](Self::Exhausted): a connection was accepted, or no such error has occurred for 10 s.
    #[non_exhaustive]
    Recovered {
        /// The address as it was given to `listen_on`.
        address: Multiaddr,
        /// The time since the first such error.
        after: Duration,
    },
    /// `listen_on` was called with the id of a listener that has not closed. [`ListenerId::next`] returns a fresh one.
    #[non_exhaustive]
    IdInUse {
        /// The id.
        id: ListenerId,
    },
}

impl<E> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inner(_) => f.write_str("the connection failed"),
            // With the reason, because many applications print only this link.
            Self::Listen(error) => match error.source() {
                Some(_) => write!(f, "{error}: {}", error.reason()),
                None => error.fmt(f),
            },
            Self::Exhausted(error) => write!(f, "{error}: {}", error.reason()),
            Self::Recovered { address, after } => write!(
                f,
                "the listener on {address} accepts connections again, after {}",
                Seconds(*after)
            ),
            Self::IdInUse { id } => write!(f, "listener id {id} is already in use"),
        }
    }
}

impl<E: error::Error + 'static> error::Error for Error<E> {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            // Links of their own: the `io::Error` that a swarm wraps around `Self` hides `Self` and shows its source.
            Self::Inner(error) => Some(error),
            Self::Listen(error) => Some(error),
            Self::Exhausted(error) => Some(error),
            Self::Recovered { .. } | Self::IdInUse { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::lazy::Failure;

    fn failed(source: impl error::Error + Send + Sync + 'static) -> ListenError {
        let address = "/ip4/127.0.0.1/tcp/1/ws".parse().unwrap();
        let delay = Some(Duration::from_millis(3210));
        ListenError::new(address, Failure::Bind, 3, delay, Some(Box::new(source)))
    }

    fn in_use() -> io::Error {
        io::Error::from(io::ErrorKind::AddrInUse)
    }

    #[test]
    fn every_link_of_the_chain_says_something_of_its_own() {
        let error = Error::<io::Error>::Listen(failed(in_use()));
        assert_eq!(
            error.to_string(),
            "cannot listen on /ip4/127.0.0.1/tcp/1/ws (attempt 3, again in 3.2 s): address in use"
        );
        let link = error.source().unwrap();
        assert_eq!(
            link.to_string(),
            "cannot listen on /ip4/127.0.0.1/tcp/1/ws (attempt 3, again in 3.2 s)"
        );
        let cause: &io::Error = link.source().unwrap().downcast_ref().unwrap();
        assert_eq!(cause.kind(), io::ErrorKind::AddrInUse);
        assert!(!link.to_string().contains(&cause.to_string()));
    }

    #[test]
    fn the_failure_is_found_through_whatever_wraps_it() {
        let error = || Error::<io::Error>::Listen(failed(in_use()));
        for wrapped in [
            io::Error::other(error()),
            io::Error::other(io::Error::other(error())),
            io::Error::other(Error::Inner(error())),
        ] {
            let found = ListenError::find(&wrapped).unwrap();
            assert_eq!(found.attempt(), 3);
            assert_eq!(found.reason(), "address in use");
        }
        assert!(ListenError::find(&in_use()).is_none());
        assert!(ListenError::find(&io::Error::other("else")).is_none());
    }

    #[test]
    fn a_reason_is_short_where_it_can_be_and_never_empty() {
        assert_eq!(failed(in_use()).reason(), "address in use");
        assert_eq!(
            failed(io::Error::other(in_use())).reason(),
            "address in use"
        );
        // Not as the system has it.
        #[cfg(unix)]
        assert_eq!(
            failed(io::Error::from_raw_os_error(libc::EADDRINUSE)).reason(),
            "address in use"
        );
        assert_eq!(failed(io::Error::other("gone")).reason(), "gone");
        assert_eq!(failed(fmt::Error).reason(), fmt::Error.to_string());
        let address = Multiaddr::empty();
        let closed = ListenError::new(address, Failure::Closed, 1, None, None);
        assert_eq!(closed.reason(), "was closed by the transport below");
        assert!(closed.to_string().ends_with("and the last)"));
        // The failure is the reason, and is not repeated.
        let text = closed.to_string();
        assert_eq!(Error::<io::Error>::Listen(closed).to_string(), text);
    }

    #[test]
    fn who_is_exhausted_says_where_and_its_source_says_why() {
        let address = "/ip4/127.0.0.1/tcp/1/ws".parse().unwrap();
        let exhausted = Exhausted::new(address, Box::new(io::Error::other("too many")));
        let [error, cause] = [&exhausted, exhausted.source().unwrap()].map(ToString::to_string);
        assert_eq!(
            error,
            "cannot accept connections on /ip4/127.0.0.1/tcp/1/ws, which stays open"
        );
        assert_eq!(
            (cause.as_str(), exhausted.reason().as_str()),
            ("too many", "too many")
        );
    }

    #[test]
    fn an_inner_error_is_found_behind_what_hides_all_but_sources() {
        let error = Error::Inner(in_use());
        let cause = error.source().unwrap();
        assert!(cause.is::<io::Error>());
        assert!(!error.to_string().contains(&cause.to_string()));
    }
}
