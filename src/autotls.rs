//! A certificate that browsers trust, for a node without a domain of its own.
//!
//! A browser opens `wss` only to a name with a certificate of an authority that it trusts. AutoTLS gives each node such a
//! name: `<label>.<peer id>.libp2p.direct` resolves to the IP in its label, and the broker of the domain helps the node to
//! prove to an ACME server, Let's Encrypt by default, that `*.<peer id>.libp2p.direct` is its own ([specification]).
//! go-libp2p, js-libp2p and py-libp2p have the same.
//!
//! ```no_run
//! # #[cfg(feature = "upgrade")]
//! # async fn run(keypair: libp2p::identity::Keypair) -> Result<(), Box<dyn std::error::Error>> {
//! # use libp2p::SwarmBuilder;
//! # use libp2p_lazy_websocket::{autotls, websocket};
//! let certificates = websocket::Certificates::new();
//! let config = websocket::Config::default().with_tcp(true).with_certificates(certificates.clone());
//! let transport = websocket::tokio::transport(config);
//! let options = autotls::Config::default().with_storage("autotls/");
//! let mut swarm = SwarmBuilder::with_existing_identity(keypair) // of a file, as the name follows from it
//!     .with_tokio()
//!     .with_other_transport(|key| transport.upgraded(key))?
//!     .with_behaviour(|key| autotls::Behaviour::new(key, certificates, options))?
//!     .build();
//! swarm.listen_on("/ip4/0.0.0.0/tcp/4001".parse()?)?;
//! swarm.behaviour_mut().listen_on("/ip4/0.0.0.0/tcp/4001".parse()?)?; // wss://<ip>.<peer id>.libp2p.direct:4001
//! # Ok(())
//! # }
//! ```
//!
//! In a swarm with more behaviours it is one of the fields of a `#[derive(NetworkBehaviour)]`, beside `discovery::Behaviour`
//! for example.
//!
//! | when | happens |
//! | --- | --- |
//! | the storage has a valid certificate | it is in use at once, and none is ordered |
//! | there is a public address and a listener on `/tcp` or `/ws` | the broker connects to the node, the ACME server issues the certificate |
//! | there is a certificate | the wildcard listener is bound, on the port of the others, and emits its addresses; for each confirmed external address that it serves, IPv4 and IPv6 apart, the name of its IP is one too |
//! | two thirds of its lifetime have passed, or the ACME server wants it (ARI) | it is renewed; connections stay |
//! | it has expired | the addresses expire, and the listener waits |
//! | anything fails | [`Event::Failed`] has the step and the reason; the next attempt follows after a minute, doubled up to a day, at least 15 minutes after a failed validation, an hour after a broker has answered that it is not well, and what the server asks for |
//!
//! A node needs a public address: a listen address that is routed on the internet, or an external address that AutoNAT v2,
//! UPnP or `Swarm::add_external_address` has confirmed. identify alone only finds candidates. [`Event::Waiting`] says what
//! is missing.
//!
//! Two nodes with one identity disturb each other, as the broker keeps one value for a peer id. Peer ids and IPs of nodes
//! with a certificate are public: the certificate is in the logs of certificate transparency, and the name contains the peer
//! id.
//!
//! [specification]: https://github.com/libp2p/specs/blob/master/tls/autotls-client.md

mod acme;
mod addresses;
mod auth;
mod behaviour;
mod broker;
mod config;
mod error;
mod event;
mod http;
mod issuer;
#[cfg(feature = "metrics")]
mod metrics;
mod name;
mod plan;
mod record;
mod storage;

pub use behaviour::Behaviour;
pub use config::Config;
pub use error::{Error, ListenError, Step};
pub use event::{Event, State, Status, Waiting};
