// Where the links of the README lead from here: the first definition of a link counts.
#![doc = "[benches]: https://docs.rs/crate/libp2p-lazy-websocket/latest/source/benches/README.md"]
#![doc = "[contributing]: https://docs.rs/crate/libp2p-lazy-websocket/latest/source/CONTRIBUTING.md"]
#![doc = "[examples]: https://docs.rs/crate/libp2p-lazy-websocket/latest/source/examples/"]
#![doc = "[faq]: https://docs.rs/crate/libp2p-lazy-websocket/latest/source/docs/faq.md"]
#![doc = "[interop]: https://docs.rs/crate/libp2p-lazy-websocket/latest/source/docs/interop.md"]
#![doc = "[plot]: https://docs.rs/crate/libp2p-lazy-websocket/latest/source/benches/throughput/throughput.svg"]
#![doc = "[production]: https://docs.rs/crate/libp2p-lazy-websocket/latest/source/docs/production.md"]
#![doc = include_str!("../README.md")]
// As the crates of libp2p have it.
#![doc(html_logo_url = "https://libp2p.io/img/logo_small.png")]
#![doc(html_favicon_url = "https://libp2p.io/img/favicon.png")]
#![warn(clippy::disallowed_methods, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::disallowed_methods))]
#![cfg_attr(docsrs, feature(doc_cfg))]

/// The programs in it are compiled as tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/production.md")]
mod production {}

#[cfg(feature = "autotls")]
pub mod autotls;
mod deadline;
pub mod discovery;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod label;
pub mod lazy;
#[cfg(test)]
mod logged;
#[cfg(feature = "metrics")]
mod metrics;
mod scope;
pub mod websocket;
