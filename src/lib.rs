#![doc = include_str!("../README.md")]
#![warn(clippy::disallowed_methods, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::disallowed_methods))]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod deadline;

pub mod discovery;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
pub mod lazy;
#[cfg(feature = "metrics")]
mod metrics;
pub mod websocket;
