//! WebSocket over TCP, ready to be made [`lazy`](crate::lazy).
//!
//! With tokio, `websocket::tokio::transport` is all that is needed: WebSocket over TCP, with lazy listeners.
//! `websocket::async_std::transport` and `websocket::smol::transport` are that on these runtimes, with the same options,
//! over a TCP of this crate. [`Transport`] is the same for any other TCP. What speaks WebSocket is a byte stream of
//! this crate, or libp2p-websocket: see [`Config::with_engine`].
//!
//! | | addresses |
//! | --- | --- |
//! | listens on | `<host>/tcp/<port>/ws`, and with [`Certificates`] `…/tls/ws`, `…/wss` and `…/tls/sni/<name>/ws` |
//! | where `<host>` is | `/ip4/<ip>`, `/ip6/<ip>`, `/dns/<name>`, `/dns4/<name>` or `/dns6/<name>` |
//! | dials | the same, and what `/dnsaddr/<name>` leads to; each with or without `/p2p/<peer id>` at the end |
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
//! If one of both cannot be bound, the other is not kept. The name in `/tls/sni/<name>` is announced and has no part
//! in the handshake: whatever name a client asks for, it is served the same certificate.
//!
//! Every peer refuses an address that the certificate does not verify, so a TLS listener has only addresses that it does:
//!
//! | listens on | is emitted |
//! | --- | --- |
//! | an IP | as `/ip4/<ip>/tcp/<port>/tls/ws` if that IP is in the certificate, otherwise as `/ip4/<ip>/tcp/<port>/tls/sni/<name>/ws` with its first DNS name that is no wildcard |
//! | a name, or `/tls/sni/<name>` | as it is, if that name is in the certificate, by a wildcard too |
//!
//! A certificate with none of these leaves the listener waiting for another, with the reason in its
//! [`Status`](crate::lazy::Status) and in the log. When the certificate is replaced, new addresses are emitted before the
//! others expire. A listener that is bound by then stays bound, and closes what connects while it has no address.
//!
//! What all three add below:
//!
//! - A port on which a socket of this host already listens is in use, on the same address or through a wildcard: two
//!   listeners never share one, unless `Config::with_port_probe` is switched off.
//! - A listener on a specific address, other than loopback, is closed when that address leaves its interface, with an
//!   error of the kind `AddrNotAvailable`, and it is said when the address returns. `lazy` lets it wait until then.
//!   A TCP transport does this for wildcards only. (An address that two interfaces have with the same length of prefix counts
//!   as gone when one of them loses it, and the listener is bound again.)
//!
//! Names that are dialled are looked up by the operating system (`getaddrinfo`), or by the [`Resolve`] of
//! [`Config::with_resolver`]. The addresses that a name has are tried as [RFC 8305] says: IPv6 and IPv4 take turns, each
//! attempt begins 250 ms after the one before, or at once if one has failed, at most 16 begin, and the first TCP
//! connection wins. With [`Engine::Stream`], if that fails in TLS or in the WebSocket handshake, the others are tried.
//! [`Error::Dial`] has each attempt with its own reason.
//!
//! | dials `/dnsaddr/<name>` | |
//! | --- | --- |
//! | `websocket::tokio` | yes, unless `Config::with_dnsaddr` is switched off |
//! | `websocket::async_std`, `websocket::smol`, [`Transport`] over another TCP | with [`Config::with_resolver`]; otherwise `MultiaddrNotSupported`, unchanged |
//!
//! What it leads to are the WebSocket addresses in the [TXT records] of `_dnsaddr.<name>` that end with what follows the
//! name, such as `/p2p/<peer id>`, and those of other names that stand there as `/dnsaddr`. They take part in one race, as
//! the addresses of a name do; another name is looked up once all that have been found are under way. At most 32 names are
//! looked up, each for at most 10 seconds, 16 records of each are followed, and 16 addresses tried. `/dnsaddr` has to be the
//! first protocol, and what follows the name something that a WebSocket address can end with; all else is refused at once.
//!
//! [RFC 8305]: https://www.rfc-editor.org/rfc/rfc8305
//! [TXT records]: https://github.com/multiformats/multiaddr/blob/master/protocols/DNSADDR.md
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
let transport = websocket::tokio::transport(config);
// Both can be asked at any time.
if let Some(left) = certificates.time_left() {
    println!("valid for another {} days", left.as_secs() / 86_400);
}
if let Some(error) = certificates.last_error() {
    println!("what is in the files now is not used: {error}");
}
# Ok(())
# }
```
"#
)]
//!
//! # What a stranger can cost
//!
//! Nobody who connects is known before Noise or TLS of libp2p has said who it is, so until then each may be one who
//! wants to be a burden.
//!
//! | from | until | what bounds it |
//! | --- | --- | --- |
//! | TCP accept | the end of Noise and Yamux, or of the WebSocket upgrade if the transport is not `upgraded` | in time [`Config::with_handshake_timeout`], 9 seconds; in number [`Config::with_max_pending_handshakes`], 256 for each port and a quarter of them for each remote address; in memory what is below: a request has at most 100 headers in 16 KiB, with `Engine::Libp2p` 32 in 8 KiB |
//! | the same | the end of the connection | in number `libp2p-connection-limits`; in memory what is above, with `Engine::Libp2p` also `Config::with_max_frame_size` |
//!
//! The first row holds by itself. Where a transport is not `upgraded` but goes through `Transport::upgrade` of libp2p, what
//! comes after the WebSocket upgrade is bounded by nothing but `Transport::timeout` and the descriptors of the process. A
//! stranger who is cut off, or evicted because there are too many, ends nothing but its own connection; [`Counters`] tell
//! of them. When all places are taken, the oldest pending handshake gives way to the newcomer: silent connections cannot
//! keep others out. `ConnectionLimits::with_max_pending_incoming` of `libp2p-connection-limits` refuses newcomers
//! instead: with it, strangers who keep so many connections pending keep everyone else out.
//!
//! What this node dials is not bounded so: libp2p-websocket takes up to 256 MiB in a message there, and has no option for
//! it. With [`Engine::Stream`] no frame is kept in memory, on either side.

mod address;
#[cfg(feature = "async-std")]
pub mod async_std;
mod below;
mod certificate;
mod certificates;
mod config;
mod connection;
mod counters;
mod dial;
mod engine;
mod error;
mod handshake;
#[cfg_attr(
    not(any(feature = "async-std", feature = "smol", feature = "tokio")),
    allow(
        dead_code,
        reason = "only the constructors of the runtimes bring a watcher"
    )
)]
mod interfaces;
#[cfg(feature = "libp2p-websocket")]
mod libp2p;
mod listeners;
mod path;
#[cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
mod probe;
#[cfg(feature = "smol")]
pub mod smol;
#[cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
mod socket;
mod stream;
mod target;
#[cfg(any(feature = "async-std", feature = "smol"))]
mod tcp;
mod tls;
#[cfg(feature = "tokio")]
pub mod tokio;
mod transport;
mod upgrade;
#[cfg(feature = "upgrade")]
mod upgraded;

// The public interface is:
#[cfg(any(test, fuzzing))]
pub(crate) use certificate::fuzz::run as fuzz_pem;
pub use certificate::{
    Certificate, CertificateDefect, CertificateError, PemError, PemKind, TrustAnchor,
    UnsupportedKey,
};
pub use certificates::Certificates;
pub use config::{Config, Engine};
pub use connection::Connection;
pub use counters::Counters;
pub use dial::Resolve;
pub use error::{Attempt, Error};
#[cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
pub use socket::TcpOptions;
pub use stream::ProtocolError;
#[cfg(any(test, fuzzing))]
pub(crate) use stream::fuzz as fuzz_stream;
pub use tls::TlsError;
pub use transport::Transport;
#[cfg(any(test, fuzzing))]
pub(crate) use upgrade::fuzz::{run_request as fuzz_request, run_response as fuzz_response};
pub use upgrade::{ForeignProtocol, HandshakeError};
