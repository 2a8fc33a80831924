//! A certificate that browsers trust, for a node without a domain of its own (AutoTLS).
#![allow(dead_code, unused_imports)]

mod acme;
mod auth;
mod broker;
mod config;
mod error;
mod http;
mod issuer;
mod name;
mod record;
mod storage;

pub use config::Config;
pub use error::{Error, Step};
