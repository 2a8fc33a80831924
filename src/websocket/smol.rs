//! WebSocket over TCP, on smol.
//!
//! libp2p has no TCP for smol, so this crate has its own over async-io. Options and listeners are those of
//! `websocket::tokio`, with two differences. `/dnsaddr` is not supported without [`Config::with_resolver`], because the
//! operating system has no call for TXT records. `SwarmBuilder` supports only tokio, so `Swarm::new` creates the swarm.
//! Without the feature `tokio`, no tokio is built:
//!
//! ```toml
//! libp2p = { version = "0.57", features = ["macros"] } # without "tokio"
//! libp2p-lazy-websocket = { version = "0.1", default-features = false, features = ["gossipsub", "smol", "upgrade"] }
//! futures = "0.3"
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
//!     // `SwarmBuilder` supports only tokio.
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
/// Before a bind, it checks whether another socket listens on the port ([`Config::with_port_probe`]). From the first bind to
/// a specific address on, it watches the interfaces of the host.
///
/// Names are looked up by the operating system, 32 at a time, each for at most 10 seconds. The operating system does not
/// look up the TXT records of a `/dnsaddr`, which is therefore not supported without [`Config::with_resolver`].
///
/// Any executor may poll it. If it is not `upgraded`, limits on what follows the WebSocket handshake, such as
/// `Transport::timeout`, are up to the caller.
pub fn transport(config: Config) -> lazy::Transport<websocket::Transport> {
    lazy::Transport::new(eager(config), lazy::Config::default())
}

/// The options of a swarm whose connections are driven by smol tasks.
pub fn swarm_config() -> libp2p_swarm::Config {
    libp2p_swarm::Config::with_executor(spawn)
}

/// The transport inside [`transport`], which binds in `listen_on`. For [`lazy::Transport::new`] with other
/// [lazy options](lazy::Config).
pub fn eager(config: Config) -> websocket::Transport {
    let below = Below::new(tcp::Transport::new(config.tcp_options().clone(), watch));
    let resolver = Resolver::new(Arc::new(System::new(unblock)), false);
    websocket::Transport::over(below, Some(resolver), config).on_this_host(watch)
}

/// The TCP transport below, for benches. Not part of the interface.
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
