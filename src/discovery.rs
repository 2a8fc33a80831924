//! Peer discovery over pubsub.

mod limits;
mod message;
mod peers;

pub use limits::Rate;
pub use message::DecodeError;
pub use peers::KnownPeer;
