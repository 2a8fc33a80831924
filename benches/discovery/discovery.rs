//! The cores themselves, compiled a second time from the same files: they are private to the library, and stay so.

#[path = "../../src/discovery/addresses.rs"]
mod addresses;
#[path = "../../src/discovery/census.rs"]
mod census;
#[path = "../../src/discovery/config.rs"]
mod config;
#[path = "../../src/discovery/connections.rs"]
mod connections;
#[path = "../../src/discovery/counters.rs"]
mod counters;
#[path = "../../src/discovery/error.rs"]
mod error;
#[path = "../../src/discovery/event.rs"]
mod event;
#[path = "../../src/discovery/filter.rs"]
mod filter;
#[path = "../../src/discovery/intake.rs"]
pub(crate) mod intake;
#[path = "../../src/discovery/limits.rs"]
pub(crate) mod limits;
#[path = "../../src/discovery/message.rs"]
pub(crate) mod message;
// Cargo sets `test` for benches too, so that the tests of the cores are compiled, though nothing runs them.
#[cfg(test)]
#[path = "../../src/discovery/outside.rs"]
mod outside;
#[path = "../../src/discovery/peers.rs"]
mod peers;
#[path = "../../src/discovery/pubsub.rs"]
mod pubsub;
#[path = "../../src/discovery/reach.rs"]
mod reach;
#[path = "../../src/discovery/schedule.rs"]
pub(crate) mod schedule;

pub(crate) use self::{
    config::Config,
    counters::Counters,
    error::ConfigError,
    event::{Announced, SkipReason},
    limits::Rate,
    peers::KnownPeer,
    pubsub::{PublishError, SubscribeError, Verdict},
};
