//! Peer discovery over pubsub.

mod intake;
mod limits;
mod message;
mod peers;

pub use intake::Counters;
pub use limits::Rate;
pub use message::DecodeError;
pub use peers::KnownPeer;
