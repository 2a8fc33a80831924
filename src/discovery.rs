//! Peer discovery over pubsub.

mod limits;

pub use limits::Rate;
