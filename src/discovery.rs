//! Peer discovery over pubsub.
