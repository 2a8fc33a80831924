//! Peer discovery over pubsub.

mod limits;
mod message;

pub use limits::Rate;
pub use message::DecodeError;
