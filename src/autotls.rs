//! A certificate that browsers trust, for a node without a domain of its own (AutoTLS).
#![allow(dead_code, unused_imports)]

mod auth;
mod config;
mod error;
mod name;

pub use config::Config;
pub use error::{Error, Step};
