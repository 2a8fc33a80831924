//! WebSocket over TCP, ready to be made [`lazy`](crate::lazy).
//!
//! With tokio, `websocket::tokio::transport` is all that is needed: libp2p-websocket over DNS
//! over TCP, with lazy listeners. [`Transport`] is the same for any other TCP.
//!
//! | | addresses |
//! | --- | --- |
//! | listens on | `/ip4/…/tcp/…/ws`, `/ip6/…/tcp/…/ws`; with a certificate also `…/tls/ws` and `…/wss` |
//! | dials | the same, with names (`/dns`, `/dns4`, `/dns6`) in place of IPs, and `…/tls/sni/<host>/ws` |
//!
//! Two listeners may have the same port, also those of two processes of one user: libp2p-tcp sets `SO_REUSEPORT`, so
//! that a dial can leave from a port that is listened on, and the kernel then splits the connections between them.
//! A port that somebody without that option has is in use.
//!
//! An address that is not in the first row is given back by `listen_on` as `MultiaddrNotSupported`, unchanged.
//! That includes those with a `/p2p/<peer id>` at the end, and TLS addresses while there is no certificate.
//!
#![cfg_attr(
    feature = "tokio",
    doc = r#"
```no_run
use libp2p_lazy_websocket::websocket;

# fn main() -> Result<(), Box<dyn std::error::Error>> {
let chain = vec![std::fs::read("cert.der")?];
let key = std::fs::read("key.der")?;
let config = websocket::Config::default()
    .with_certificate(websocket::Certificate::from_der(chain, key)?);
let transport = websocket::tokio::transport(config)?;
# Ok(())
# }
```
"#
)]

mod address;
mod certificate;
mod config;
mod connection;
mod error;
mod known_listeners;
#[cfg(feature = "tokio")]
pub mod tokio;
mod transport;

// The public interface is:
pub use certificate::{Certificate, CertificateError, TrustAnchor};
pub use config::Config;
pub use connection::Connection;
pub use error::Error;
pub use transport::Transport;
