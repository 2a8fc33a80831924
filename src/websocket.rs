//! WebSocket over TCP, ready to be made [`lazy`](crate::lazy).
//!
//! With tokio, `websocket::tokio::transport` returns WebSocket over TCP with lazy listeners. `websocket::smol::transport`
//! and `websocket::async_std::transport` do the same on these runtimes, with the same options, over a TCP of this crate.
//! [`Transport`] accepts any other TCP. [`Config::with_engine`] selects the implementation of WebSocket: a byte stream of
//! this crate, or libp2p-websocket.
//!
//! | | addresses |
//! | --- | --- |
//! | listens on | `<host>/tcp/<port>/ws`, with [`Certificates`] `…/tls/ws`, `…/wss`, `…/tls/sni/<name>/ws` and `…/tls/sni/*.<name>/ws`, and with [`Config::with_tcp`] `<host>/tcp/<port>` |
//! | where `<host>` is | `/ip4/<ip>`, `/ip6/<ip>`, `/dns/<name>`, `/dns4/<name>` or `/dns6/<name>` |
//! | dials | the same, and the addresses of `/dnsaddr/<name>`; each with or without `/p2p/<peer id>` at the end |
//!
//! `listen_on` returns other addresses unchanged as `MultiaddrNotSupported`: `/dnsaddr`, addresses with `/p2p/<peer id>` at
//! the end, and TLS addresses without [`Config::with_certificates`] among them.
//!
//! A listener on a name is bound to all addresses of this host and has one address: the name, with the port. The name is not
//! looked up. This also applies to `/dns4/localhost`, which other hosts therefore reach: to listen on loopback only, listen
//! on `/ip4/127.0.0.1`.
//!
//! | listens on | is bound to |
//! | --- | --- |
//! | `/dns4/<name>` | `0.0.0.0` |
//! | `/dns6/<name>` | `[::]` |
//! | `/dns/<name>` | both, on one port; on a host without IPv6 only `0.0.0.0` |
//!
//! If one of the two cannot be bound, the other is closed. The name in `/tls/sni/<name>` is announced and has no effect on
//! the handshake: which certificate a client is served depends on the name that it asks for, see
//! [`Config::with_certificates`].
//!
//! Dialers refuse an address that the certificate does not verify, so a TLS listener has only addresses that it verifies:
//!
//! | listens on | is emitted |
//! | --- | --- |
//! | an IP | as `/ip4/<ip>/tcp/<port>/tls/ws` if that IP is in the certificate, otherwise as `/ip4/<ip>/tcp/<port>/tls/sni/<name>/ws` with its first DNS name that is not a wildcard |
//! | a name, or `/tls/sni/<name>` | unchanged, if that name is in the certificate, also by a wildcard |
//! | `/tls/sni/*.<name>` after an IP | as `/ip4/<ip>/tcp/<port>/tls/sni/<label>.<name>/ws` if `*.<name>` is in the certificate, with [`Engine::Stream`] |
//!
//! With a certificate that can verify none of its addresses, a listener waits for another one. The reason is in its
//! [`Status`](crate::lazy::Status) and in the log. When the certificate is replaced, new addresses are emitted before old
//! ones expire. A bound listener whose certificate is [cleared](Certificates::clear), or replaced by one for other names,
//! waits again: its addresses expire, and its socket closes unless another listener shares it.
//!
//! The `<label>` is the IP with hyphens, as the DNS servers of AutoTLS resolve it: `203-0-113-7`, or `2001-db8--1`. A
//! listener on `0.0.0.0` or `::` emits all addresses but loopback and link-local ones. A listener on another IP emits that
//! IP, also a private one. IPv4-mapped addresses have no label.
//!
//! # One port
//!
//! Listeners on the same address and port share a socket if the first byte of a connection tells them apart. So raw TCP,
//! WebSocket and secure WebSocket are reachable on one port, without an option:
//!
//! ```no_run
//! # #[cfg(all(feature = "tokio", feature = "upgrade"))]
//! # fn listen(certificates: libp2p_lazy_websocket::websocket::Certificates) -> Result<(), Box<dyn std::error::Error>> {
//! # use libp2p::{SwarmBuilder, swarm::dummy};
//! # use libp2p_lazy_websocket::websocket;
//! let config = websocket::Config::default()
//!     .with_tcp(true)
//!     .with_certificates(certificates);
//! let transport = websocket::tokio::transport(config);
//! # let mut swarm = SwarmBuilder::with_new_identity()
//! #     .with_tokio()
//! #     .with_other_transport(|key| transport.upgraded(key))?
//! #     .with_behaviour(|_| dummy::Behaviour)?
//! #     .build();
//! // …
//! swarm.listen_on("/ip4/0.0.0.0/tcp/4001".parse()?)?;
//! swarm.listen_on("/ip4/0.0.0.0/tcp/4001/ws".parse()?)?;
//! swarm.listen_on("/ip4/0.0.0.0/tcp/4001/tls/ws".parse()?)?; // bound to the port once there is a certificate
//! # Ok(())
//! # }
//! ```
//!
//! | first byte | listener |
//! | --- | --- |
//! | 19, the length of `/multistream/1.0.0` | `<host>/tcp/<port>` |
//! | 22, a record of a TLS handshake | `…/tls/ws`; with several names, each with [its certificate](Config::with_certificates), the connection is reported as that of the listener that was first |
//! | `A` to `Z`, an HTTP method | `…/ws` |
//! | any other | none: the connection is closed and [counted](Counters::unknown) |
//!
//! An HTTP request that is not for libp2p, with or without TLS, is that of a visitor: see [`Config::with_visitors`].
//!
//! Each listener comes and goes by itself, and the last one closes the socket. The first byte is read before the swarm hears
//! of the connection, within its place and deadline as a pending handshake. On a port with one kind of listener, nothing is
//! read first. Listeners on port 0 get a port each: to share a port chosen by the system, call `listen_on` with that port
//! when the first listener has its address.
//!
//! The transports of the runtimes add two checks:
//!
//! - A port is in use if any socket of this host listens on it, on the same address or on a wildcard. Two listeners have it
//!   only if they share the socket as above, or if `Config::with_port_probe` is disabled. A wildcard and a specific address
//!   never have one port: Linux would give the connections of one to the other.
//! - A listener on a specific address, other than loopback, is closed with an error of the kind `AddrNotAvailable` when that
//!   address leaves its interface. `lazy` binds it again when the address returns. Stock TCP transports do this for
//!   wildcards only. (An address that two interfaces have with the same prefix length counts as gone when one of them loses
//!   it, and the listener is bound again.)
//!
//! Dialled names are looked up by the operating system (`getaddrinfo`), or by the [`Resolve`] of [`Config::with_resolver`].
//! The addresses of a name are tried as in [RFC 8305]: IPv6 and IPv4 alternate, each attempt begins 250 ms after the
//! previous one, or at once after a failure, and the first TCP connection wins. At most 16 addresses are tried. With
//! [`Engine::Stream`], the others are tried if the winner fails in TLS or in the WebSocket handshake. [`Error::Dial`] has
//! the reason of each attempt.
//!
//! | dials `/dnsaddr/<name>` | |
//! | --- | --- |
//! | `websocket::tokio` | yes, unless `Config::with_dnsaddr` is disabled |
//! | `websocket::async_std`, `websocket::smol`, [`Transport`] over another TCP | with [`Config::with_resolver`]; otherwise `MultiaddrNotSupported`, unchanged |
//!
//! `/dnsaddr/<name>` stands for the WebSocket addresses in the [TXT records] of `_dnsaddr.<name>` that end with what follows
//! the name in the dialled address, such as `/p2p/<peer id>`. Records with another `/dnsaddr` are followed. All addresses
//! take part in one race, as the addresses of a name do, and another name is looked up once all addresses found so far have
//! been tried. At most 32 names are looked up, each for at most 10 seconds; 16 records of each are followed, and 16
//! addresses are tried. `/dnsaddr` has to be the first protocol, and only the end of a WebSocket address may follow the
//! name.
//!
//! [RFC 8305]: https://www.rfc-editor.org/rfc/rfc8305
//! [TXT records]: https://github.com/multiformats/multiaddr/blob/master/protocols/DNSADDR.md
//!
//! The certificate of TLS listeners may come later and be replaced while they listen. Only TLS listeners wait for it. See
//! [`Certificates`].
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
// Both can be called at any time.
if let Some(left) = certificates.time_left() {
    println!("valid for another {} days", left.as_secs() / 86_400);
}
if let Some(error) = certificates.last_error() {
    println!("the files are not used: {error}");
}
# Ok(())
# }
```
"#
)]
//!
//! # What a stranger can cost
//!
//! A remote is a stranger until Noise has authenticated its peer id. Until then, these limits apply:
//!
//! | from | until | limits |
//! | --- | --- | --- |
//! | TCP accept | the end of Noise and Yamux, or of the WebSocket upgrade if the transport is not `upgraded` | time: [`Config::with_handshake_timeout`], 9 seconds; number: [`Config::with_max_pending_handshakes`], 256 for each port and a quarter of them for each remote address; memory: a request has at most 100 headers in 16 KiB, with `Engine::Libp2p` 32 in 8 KiB |
//! | the same | the end of the connection | number: `libp2p-connection-limits`; memory: as above, with `Engine::Libp2p` also `Config::with_max_frame_size` |
//! | a request that is handed to [`Config::with_visitors`] | the [`Visitor`] is dropped | number: [`Config::with_max_visitors`], 64 and a quarter of them for each remote address; time: [`Config::with_visit_timeout`], 60 seconds |
//!
//! On a transport that is not `upgraded` but goes through `Transport::upgrade` of libp2p, only `Transport::timeout` and the
//! descriptors of the process limit what follows the WebSocket upgrade. A connection that times out or is evicted affects no
//! other, and [`Counters`] count it. A full port evicts its oldest pending handshake in favour of the newcomer, so silent
//! connections cannot keep others out. `ConnectionLimits::with_max_pending_incoming` of `libp2p-connection-limits` does the
//! opposite: it refuses newcomers, so that strangers with enough pending connections keep all others out.
//!
//! These limits do not apply to dialled connections: libp2p-websocket accepts messages of up to 256 MiB there, and has no
//! option for it. [`Engine::Stream`] buffers no frame, on either side.

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
mod hearing;
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
mod listen;
mod listeners;
mod outgoing;
mod path;
mod pool;
#[cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
mod probe;
mod proxies;
#[cfg(any(test, fuzzing))]
mod scripted;
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
mod visitors;

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
#[cfg(any(test, fuzzing))]
pub(crate) use hearing::fuzz::{
    run as fuzz_hearing, run_forwarded as fuzz_forwarded, run_proxy as fuzz_proxy,
};
pub use outgoing::{InvalidProxy, OutgoingProxy, ProxyError};
pub use proxies::{Network, NetworkError, Proxies};
#[cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
pub use socket::TcpOptions;
pub use stream::ProtocolError;
#[cfg(any(test, fuzzing))]
pub(crate) use stream::fuzz as fuzz_stream;
pub use tls::TlsError;
#[cfg(feature = "autotls")]
pub(crate) use tls::https_client;
pub use transport::Transport;
#[cfg(any(test, fuzzing))]
pub(crate) use upgrade::fuzz::{
    run_request as fuzz_request, run_response as fuzz_response, run_tunnel as fuzz_tunnel,
};
pub use upgrade::{ForeignProtocol, HandshakeError};
pub use visitors::{AnswerError, Visitor};
