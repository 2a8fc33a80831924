//! The cores of this crate, compiled a second time from the files of the library, to which they are private.

#![allow(
    dead_code,
    unfulfilled_lint_expectations,
    unreachable_pub,
    unused_imports,
    reason = "of the library's modules a part is used, and not its tests"
)]

#[path = "../../src/deadline.rs"]
pub(crate) mod deadline;
#[path = "../../src/discovery"]
pub(crate) mod discovery {
    mod addresses;
    mod census;
    mod config;
    mod counters;
    mod dialer;
    mod error;
    mod event;
    mod filter;
    pub(crate) mod intake;
    pub(crate) mod limits;
    pub(crate) mod message;
    // Cargo sets `test` for benches too, so that the tests of the cores are compiled, though nothing runs them.
    #[cfg(test)]
    mod outside;
    pub(crate) mod peers;
    mod pubsub;
    mod reach;
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
}
