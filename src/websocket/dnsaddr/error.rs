use std::{error::Error as _, fmt, io};

use multiaddr::Multiaddr;

use super::walk::MAX_LOOKUPS;
use crate::websocket::Error;

/// Why a `/dnsaddr` led to no connection. It is the [`source`](std::error::Error::source) of
/// [`Error::Dnsaddr`], which tells the address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DnsaddrError {
    /// The records of a name could not be had, and no other name led to an address. Of the kind `NotFound` if there
    /// are none, and `TimedOut` if no name server answered.
    #[error("cannot look up the TXT records of {name:?}")]
    #[non_exhaustive]
    Lookup {
        /// What was looked up, which begins with `_dnsaddr.`.
        name: String,
        /// With what that failed.
        source: io::Error,
    },
    /// There are records, and none leads to a WebSocket address that ends with what follows the name in the address.
    #[error(
        "no TXT record of {name:?} leads to a WebSocket address with the same end as the address that is dialled"
    )]
    #[non_exhaustive]
    NoWebSocket {
        /// What was looked up first, which begins with `_dnsaddr.`.
        name: String,
    },
    /// The records led to more and more names, and to no WebSocket address.
    #[error(
        "the TXT records of {name:?} lead to more than {MAX_LOOKUPS} names, and those so far to no WebSocket address"
    )]
    #[non_exhaustive]
    TooManyLookups {
        /// What was looked up first, which begins with `_dnsaddr.`.
        name: String,
    },
    /// No address that the records led to could be connected to. The source is the error of the last.
    #[error("dialled in vain {}and at last {address}", Listed(earlier))]
    #[non_exhaustive]
    Unreachable {
        /// Those that were tried before the last, in that order, each with its error.
        earlier: Vec<(Multiaddr, Error)>,
        /// The last that was tried.
        address: Multiaddr,
        /// The error of the last.
        source: Box<Error>,
    },
}

/// Each with its error and what is behind that, since only one error can be the source.
struct Listed<'a>(&'a [(Multiaddr, Error)]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (address, error) in self.0 {
            write!(f, "{address} ({error}")?;
            let mut link = error.source();
            while let Some(error) = link {
                write!(f, ": {error}")?;
                link = error.source();
            }
            f.write_str("), ")?;
        }
        Ok(())
    }
}
