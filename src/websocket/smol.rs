//! WebSocket over TCP, on smol.
//!
//! libp2p has no TCP for smol, so the sockets below are of this crate, over async-io. Options and listeners are those of
//! `websocket::tokio`, with two differences: `/dnsaddr` is refused without [`Config::with_resolver`], because the operating system
//! has no call for TXT records; and libp2p's `SwarmBuilder` knows only tokio, so a swarm is made by `Swarm::new`. No tokio comes
//! into a build without the feature `tokio`:
//!
//! ```toml
//! libp2p = { version = "0.57", features = ["macros"] } # without "tokio"
//! libp2p-lazy-websocket = { version = "0.1", default-features = false, features = ["gossipsub", "smol", "upgrade"] }
//! smol = "2"
//! ```
//!
//! ```no_run
//! use futures::StreamExt as _;
//! use libp2p::{Swarm, identity::Keypair, swarm::dummy};
//! use libp2p_lazy_websocket::websocket;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! smol::block_on(async {
//!     let keypair = Keypair::generate_ed25519();
//!     let transport = websocket::smol::transport(websocket::Config::default());
//!     let transport = transport.upgraded(&keypair)?;
//!     let local = keypair.public().to_peer_id();
//!     // Not `SwarmBuilder`, which knows tokio alone.
//!     let config = websocket::smol::swarm_config();
//!     let mut swarm = Swarm::new(transport, dummy::Behaviour, local, config);
//!     swarm.listen_on("/ip4/127.0.0.1/tcp/0/ws".parse()?)?;
//!     loop {
//!         println!("{:?}", swarm.select_next_some().await);
//!     }
//! })
//! # }
//! ```

use std::{io, sync::Arc};

use futures::future::BoxFuture;
use if_watch::smol::IfWatcher;

use crate::{
    lazy,
    websocket::{
        self, Config,
        below::Below,
        dial::{Job, Resolver, System},
        interfaces::{self, Changes},
        tcp,
    },
};

/// WebSocket over TCP, with listeners that bind when the transport is polled.
///
/// Below, it looks whether somebody else listens on a port ([`Config::with_port_probe`]), and watches the interfaces
/// of the host from the first bind to a specific address on.
///
/// Names are looked up by the operating system, 32 at a time, each for at most 10 seconds. `/dnsaddr` needs TXT records,
/// which it does not look up, and is refused without [`Config::with_resolver`].
///
/// It may be polled by any executor. Bounds on what comes after the WebSocket handshake, such as `Transport::timeout`
/// around the upgrade, are the caller's.
pub fn transport(config: Config) -> lazy::Transport<websocket::Transport> {
    lazy::Transport::new(eager(config), lazy::Config::default())
}

/// The options of a swarm whose connections are driven by tasks of smol.
pub fn swarm_config() -> libp2p_swarm::Config {
    libp2p_swarm::Config::with_executor(spawn)
}

/// What [`transport`] makes lazy: it binds in `listen_on`. For [`lazy::Transport::new`] with other
/// [lazy options](lazy::Config).
pub fn eager(config: Config) -> websocket::Transport {
    let below = Below::new(tcp::Transport::new(config.tcp_options().clone(), watch));
    let resolver = Resolver::new(Arc::new(System::new(unblock)), false);
    websocket::Transport::over(below, Some(resolver), config).on_this_host(watch)
}

/// What lies below, alone. Not part of the interface: there to be measured.
#[doc(hidden)]
pub fn tcp(
    config: &Config,
) -> libp2p_core::transport::Boxed<
    impl futures::AsyncRead + futures::AsyncWrite + Send + Unpin + use<>,
> {
    use libp2p_core::Transport as _;

    tcp::Transport::new(config.tcp_options().clone(), watch).boxed()
}

fn watch() -> io::Result<Changes> {
    Ok(interfaces::changes(IfWatcher::new()?))
}

fn unblock(job: Job) {
    smol::unblock(job).detach();
}

fn spawn(task: BoxFuture<'static, ()>) {
    smol::spawn(task).detach();
}
