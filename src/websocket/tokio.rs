//! WebSocket over DNS over TCP, on tokio.

use std::io;

use hickory_resolver::{
    config::{ResolverConfig, ResolverOpts},
    system_conf,
};
use if_watch::tokio::IfWatcher;

use crate::{
    lazy,
    websocket::{
        self, Config, dnsaddr,
        interfaces::{self, Changes},
        socket,
    },
};

mod tcp;

/// WebSocket over DNS over TCP, with listeners that bind when the transport is polled.
///
/// Below, it looks whether somebody else listens on a port ([`Config::with_port_probe`]), and watches the interfaces
/// of the host from the first bind to a specific address on.
///
/// Names are looked up at the name servers of the system, and `/dnsaddr/<name>` in their TXT records
/// ([`Config::with_dnsaddr`]): 32 at a time, each for at most 10 seconds.
///
/// It is to be polled within a tokio runtime. Bounds on what comes after the WebSocket handshake, such as
/// `Transport::timeout` around the upgrade, are the caller's.
pub fn transport(config: Config) -> lazy::Transport<websocket::Transport> {
    lazy::Transport::new(eager(config), lazy::Config::default())
}

/// What [`transport`] makes lazy: it binds in `listen_on`. For [`lazy::Transport::new`] with other
/// [lazy options](lazy::Config).
pub fn eager(config: Config) -> websocket::Transport {
    let (servers, options) = system_conf::read_system_conf().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot read the configuration of the system's resolver");
        Default::default()
    });
    with_name_servers(config, servers, options)
}

/// Asks these for all names.
fn with_name_servers(
    config: Config,
    servers: ResolverConfig,
    options: ResolverOpts,
) -> websocket::Transport {
    let look_up = config
        .resolves_dnsaddr()
        .then(|| dnsaddr::of_name_servers(servers.clone(), options.clone()));
    let below = tcp::Transport::new(tcp_config(config.socket()), servers, options);
    websocket::Transport::new(below, config)
        .on_this_host(watch)
        .with_look_up(look_up)
}

fn tcp_config(options: &socket::Options) -> libp2p_tcp::Config {
    let config = libp2p_tcp::Config::new()
        .nodelay(options.nodelay)
        .listen_backlog(options.backlog)
        .linger(options.linger);
    match options.ttl {
        Some(ttl) => config.ttl(ttl),
        None => config,
    }
}

fn watch() -> io::Result<Changes> {
    Ok(interfaces::changes(IfWatcher::new()?))
}

#[cfg(test)]
mod tests;
