//! Dials `/dnsaddr/<name>`: looks up where the name leads, and dials that, one address after the other.
//!
//! What to look up and what to dial is decided in [`walk`].

use libp2p_core::transport::{DialOpts, TransportError};

use crate::websocket::{Connection, Error, engine::Dialer};

mod error;
mod records;
mod walk;

pub use error::DnsaddrError;
pub(super) use records::{LookUp, Resolver, into_io, of_name_servers};
pub(super) use walk::Walk;

use walk::Step;

/// Nothing is done before it is polled.
pub(super) async fn dial(
    mut walk: Walk,
    resolver: Resolver,
    dialer: Dialer,
    opts: DialOpts,
) -> Result<Connection, Error> {
    loop {
        let address = match walk.next() {
            Step::Fail(error) => return Err(error),
            Step::LookUp(name) => {
                match resolver.look_up(name).await {
                    Ok(records) => walk.on_records(records),
                    Err(error) => walk.on_lookup_failed(error),
                }
                continue;
            }
            Step::Dial(address) => address,
        };
        let error = match dialer.dial(address.clone(), opts) {
            Ok(dialling) => match dialling.await {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            },
            Err(TransportError::Other(error)) => error,
            Err(TransportError::MultiaddrNotSupported(_)) => {
                tracing::debug!(%address, "passed over an address that a name led to");
                continue;
            }
        };
        if let Error::TransportDropped = error {
            return Err(error);
        }
        walk.on_dial_failed(address, error);
    }
}
