//! WebSocket over TCP, ready to be made [`lazy`](crate::lazy).
//!
//! With tokio, `websocket::tokio::transport` is all that is needed: libp2p-websocket over DNS
//! over TCP, with lazy listeners. [`Transport`] is the same for any other TCP.
//!
//! | | addresses |
//! | --- | --- |
//! | listens on | `<host>/tcp/<port>/ws`, and with [`Certificates`] `…/tls/ws`, `…/wss` and `…/tls/sni/<name>/ws` |
//! | where `<host>` is | `/ip4/<ip>`, `/ip6/<ip>`, `/dns/<name>`, `/dns4/<name>` or `/dns6/<name>` |
//! | dials | the same |
//!
//! An address of another form is given back by `listen_on` as `MultiaddrNotSupported`, unchanged. That includes
//! `/dnsaddr`, those with a `/p2p/<peer id>` at the end, and TLS addresses without [`Config::with_certificates`].
//!
//! A listener on a name is bound to all addresses of this host, and has one address: that name, with the port. Nobody
//! asks whether the name leads here.
//!
//! | listens on | is bound to |
//! | --- | --- |
//! | `/dns4/<name>` | `0.0.0.0` |
//! | `/dns6/<name>` | `[::]` |
//! | `/dns/<name>` | both, on one port; on a host without IPv6 only `0.0.0.0` |
//!
//! If one of both cannot be bound, the other is not kept. The name in `/tls/sni/<name>` is announced and otherwise
//! ignored: whatever name a client asks for, it is served the same certificate.
//!
//! What `websocket::tokio` adds below:
//!
//! - A port on which a socket of this host already listens is in use, on the same address or through a wildcard: two
//!   listeners never share one, unless `Config::with_port_probe` is switched off.
//! - A listener on a specific address, other than loopback, is closed when that address leaves its interface, with an
//!   error of the kind `AddrNotAvailable`, and it is said when the address returns. `lazy` lets it wait until then.
//!   libp2p-tcp does this for wildcards only. (An address that two interfaces have with the same length of prefix counts
//!   as gone when one of them loses it, and the listener is bound again.)
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
