//! Listeners that bind when the transport is polled, and announce themselves once they are bound.
//!
//! A stock transport binds in `listen_on`: the socket is open before anything drives it, and a port that is
//! taken fails the start of the node. Here `listen_on` only writes the listener down. The socket is made in
//! `poll`, and [`TransportEvent::NewAddress`] comes after it, never before: who reads the addresses of a swarm
//! reads addresses that work. Until then a listener has *no addresses*, which is not an error.
//!
//! [`Transport`] wraps any [`ListenSupport`]: a transport that can tell, without a system call, whether it could listen
//! on an address. [`Filtered`] makes one of any transport and a closure; [`websocket`](crate::websocket) has
//! the one that most need.
//!
//! # What it promises
//!
//! - An address that the inner transport could never serve comes back from `listen_on` as
//!   `MultiaddrNotSupported`, unchanged, so that `OrTransport` hands it to the next one. Everything else is
//!   accepted without a system call.
//! - Before the poll that binds there is no socket. [`TransportEvent::NewAddress`] follows the bind at once; a
//!   connection that is accepted before it is held back until then.
//! - Every accepted `listen_on` ends in exactly one [`TransportEvent::ListenerClosed`], and nothing for that id
//!   follows.
//! - What can heal is tried again: a bind that failed, and a listener that the inner transport has closed or that
//!   reports the same error for 30 s without accepting anything. Its addresses expire first, and it comes back on
//!   the port it had, also if the system has chosen that one. Each failure is a
//!   [`TransportEvent::ListenerError`] with a [`ListenError`], which says how many there were and when the next
//!   attempt comes. The last one, if it gives up, is also the reason of the close. [`Retry`] has the rules.
//! - A listener that accepts nothing for want of descriptors or memory keeps its socket and its addresses. That is one
//!   [`TransportEvent::ListenerError`] with [`Error::Exhausted`], and one with [`Error::Recovered`] when it is over.
//! - One `poll` binds at most 16 listeners, and costs the same however many wait.
//! - Addresses that other hosts cannot dial are left out: link-local IPv6 of a listener on `/ip6/::`, `/ip6zone`, and names
//!   with a `*`.
//! - Dialling, and the bytes of a connection, are those of the inner transport.
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
//! // Registered: nothing is bound yet, and another transport could still take the port.
//! let id = ListenerId::next();
//! transport.listen_on(id, "/memory/2902".parse()?)?;
//!
//! // Polled: bound, and said so.
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
pub use status::{Change, Exhausted, Failure, ListenError, NotAllReady, NotReady, State, Status};
pub use support::{Changed, Filtered, ListenSupport, Missing, Support};
pub use transport::Transport;

#[cfg(any(test, fuzzing))]
pub(crate) use listeners::outside::run as fuzz_listeners;
