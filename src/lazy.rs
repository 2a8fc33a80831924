//! Listeners that bind when the transport is polled, and have an address only once they are bound.
//!
//! A stock transport binds in `listen_on`: a port that is taken fails the start of the node, and a socket is open
//! before anything serves it. Here `listen_on` only registers the listener. The socket is bound in `poll`, and
//! [`TransportEvent::NewAddress`] follows the bind, so that the addresses of a swarm are addresses that work. Until then
//! a listener has *no addresses*, which is not an error.
//!
//! [`Transport`] wraps any [`ListenSupport`]: a transport that can tell, without a system call, whether it could listen on
//! an address. [`websocket`](crate::websocket) has one, and [`Filtered`] makes one of any transport and a closure.
//!
//! # Guarantees
//!
//! - An address that the inner transport could never serve is returned unchanged by `listen_on`, as
//!   `MultiaddrNotSupported`, so that `OrTransport` offers it to the next one. Any other address is accepted without a
//!   system call.
//! - There is no socket before the poll that binds it. [`TransportEvent::NewAddress`] follows the bind at once.
//!   Connections accepted before it are held back until then.
//! - Every accepted `listen_on` ends in exactly one [`TransportEvent::ListenerClosed`], the last event of its id.
//!   `remove_listener` takes effect in the next poll.
//! - Failures that can heal are retried: a bind that failed, and a listener that the inner transport has closed or that
//!   reports the same error for 30 s without accepting anything. Its addresses expire first, and it returns on the same
//!   port, even one that the system chose. Each failure is a [`TransportEvent::ListenerError`] with a [`ListenError`], which
//!   has the number of failures and the delay until the next attempt. The last failure, if the listener gives up, is also
//!   the reason of its close. See [`Retry`].
//! - A bound listener whose inner transport lacks what it needs again, such as a certificate, returns to
//!   [waiting](State::Waiting): its addresses expire and its socket is closed, and no error is reported.
//! - A listener that is out of descriptors or memory keeps its socket and its addresses. It reports one
//!   [`TransportEvent::ListenerError`] with [`Error::Exhausted`], and one with [`Error::Recovered`] when it is over.
//! - One `poll` binds at most 16 listeners. Its cost does not depend on the number of waiting ones.
//! - Addresses that other hosts cannot dial are not reported: link-local IPv6 of a listener on `/ip6/::`, `/ip6zone`, and
//!   names with a `*`.
//! - Dials and connections are passed through to the inner transport unchanged.
//!
//! # Example
//!
//! ```
//! use std::pin::Pin;
//!
//! use libp2p_core::multiaddr::Protocol;
//! use libp2p_core::transport::{ListenerId, MemoryTransport, Transport as _, TransportEvent};
//! use libp2p_lazy_websocket::lazy;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let memory = lazy::Filtered::new(MemoryTransport::new(), |address| {
//!     matches!(address.iter().next(), Some(Protocol::Memory(_)))
//! });
//! let mut transport = lazy::Transport::new(memory, lazy::Config::default());
//!
//! // Registered, but not bound: another transport could still take the port.
//! let id = ListenerId::next();
//! transport.listen_on(id, "/memory/2902".parse()?)?;
//!
//! // The poll binds it.
//! let event = futures::executor::block_on(futures::future::poll_fn(|cx| {
//!     Pin::new(&mut transport).poll(cx)
//! }));
//! assert!(matches!(event, TransportEvent::NewAddress { listener_id, .. } if listener_id == id));
//! # Ok(())
//! # }
//! ```
//!
//! [`TransportEvent::NewAddress`]: libp2p_core::transport::TransportEvent::NewAddress
//! [`TransportEvent::ListenerClosed`]: libp2p_core::transport::TransportEvent::ListenerClosed
//! [`TransportEvent::ListenerError`]: libp2p_core::transport::TransportEvent::ListenerError

pub(crate) mod accept;
mod config;
mod error;
mod listeners;
mod readiness;
mod retry;
#[cfg(test)]
mod scripted;
mod status;
mod support;
mod transport;

// The public interface is:
pub use config::Config;
pub use error::Error;
pub use readiness::Readiness;
pub use retry::Retry;
pub(crate) use status::find;
pub use status::{Change, Exhausted, Failure, ListenError, NotAllReady, NotReady, State, Status};
pub use support::{Changed, Filtered, ListenSupport, Missing, Support};
pub use transport::Transport;

#[cfg(any(test, fuzzing))]
pub(crate) use listeners::fuzz::run as fuzz_listeners;
