//! WebSocket over TCP, ready to be made [`lazy`](crate::lazy).
//!
//! With tokio, `websocket::tokio::transport` is all that is needed: libp2p-websocket over DNS
//! over TCP, with lazy listeners. [`Transport`] is the same for any other TCP.
//!
//! | | addresses |
//! | --- | --- |
//! | listens on | `/ip4/…/tcp/…/ws`, `/ip6/…/tcp/…/ws`; with [`Certificates`] also `…/tls/ws` and `…/wss` |
//! | dials | the same, with names (`/dns`, `/dns4`, `/dns6`) in place of IPs, and `…/tls/sni/<host>/ws` |
//!
//! Two listeners may have the same port, also those of two processes of one user: libp2p-tcp sets `SO_REUSEPORT`, so
//! that a dial can leave from a port that is listened on, and the kernel then splits the connections between them.
//! A port that somebody without that option has is in use.
//!
//! An address that is not in the first row is given back by `listen_on` as `MultiaddrNotSupported`, unchanged.
//! That includes those with a `/p2p/<peer id>` at the end, and TLS addresses without [`Config::with_certificates`].
//!
//! The certificate of TLS listeners may come after them and be replaced while they listen. Until it is there, they
//! wait; the others do not. See [`Certificates`].
//!
#![cfg_attr(
    feature = "tokio",
    doc = r#"
```no_run
use libp2p_lazy_websocket::websocket;

# fn main() -> Result<(), Box<dyn std::error::Error>> {
// Written by certbot, now or in an hour.
let live = std::path::Path::new("/etc/letsencrypt/live/example.com");
let certificates =
    websocket::Certificates::watch(live.join("fullchain.pem"), live.join("privkey.pem"))?;
let config = websocket::Config::default().with_certificates(certificates.clone());
let transport = websocket::tokio::transport(config)?;
// Both can be asked at any time.
println!("valid for another {:?}", certificates.time_left());
if let Some(error) = certificates.refused() {
    println!("what is in the files now is not used: {error}");
}
# Ok(())
# }
```
"#
)]

mod address;
mod certificate;
mod certificates;
mod config;
mod connection;
mod error;
#[cfg_attr(
    not(feature = "tokio"),
    allow(dead_code, reason = "only the tokio constructor brings a watcher")
)]
mod interfaces;
mod known_listeners;
mod names;
#[cfg(feature = "tokio")]
mod probe;
mod tls;
#[cfg(feature = "tokio")]
pub mod tokio;
mod transport;

// The public interface is:
pub use certificate::{Certificate, CertificateError, TrustAnchor};
pub use certificates::Certificates;
pub use config::Config;
pub use connection::Connection;
pub use error::Error;
pub use transport::Transport;
