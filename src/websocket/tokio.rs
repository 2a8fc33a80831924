//! WebSocket over TCP, on tokio.
//!
//! [`transport`] returns it with lazy listeners, and `upgraded` adds Noise and Yamux. [`eager`] is for other
//! [lazy options](lazy::Config):
//!
//! ```
//! use std::time::Duration;
//!
//! use libp2p_lazy_websocket::{lazy, websocket};
//!
//! let retry = lazy::Retry::default().with_max_delay(Duration::from_secs(5));
//! let transport = lazy::Transport::new(
//!     websocket::tokio::eager(websocket::Config::default()),
//!     lazy::Config::default().with_retry(retry),
//! );
//! # drop(transport);
//! ```

use std::{io, sync::Arc};

use if_watch::tokio::IfWatcher;

use crate::{
    lazy,
    websocket::{
        self, Config, TcpOptions,
        below::Below,
        dial::{Job, NameServers, Resolver, System},
        interfaces::{self, Changes},
    },
};

/// WebSocket over TCP, with listeners that bind when the transport is polled.
///
/// Before a bind, it checks whether another socket listens on the port ([`Config::with_port_probe`]). From the first bind to
/// a specific address on, it watches the interfaces of the host.
///
/// Names are looked up by the operating system, and the TXT records of a `/dnsaddr` by its name servers: 32 at a time, each
/// for at most 10 seconds. The list of name servers is read at the first dial of a `/dnsaddr`, and again after it has
/// changed or a lookup has failed. [`Config::with_resolver`] replaces both.
///
/// It has to be polled within a tokio runtime. If it is not `upgraded`, limits on what follows the WebSocket handshake, such
/// as `Transport::timeout`, are up to the caller.
pub fn transport(config: Config) -> lazy::Transport<websocket::Transport> {
    lazy::Transport::new(eager(config), lazy::Config::default())
}

/// The transport inside [`transport`], which binds in `listen_on`. For [`lazy::Transport::new`] with other
/// [lazy options](lazy::Config).
pub fn eager(config: Config) -> websocket::Transport {
    let below = libp2p_tcp::tokio::Transport::new(tcp_config(config.tcp_options()));
    let system = System::new(unblock).with_name_servers(NameServers::system());
    let resolver = Resolver::new(Arc::new(system), true);
    websocket::Transport::over(Below::new(below), Some(resolver), config).on_this_host(watch)
}

fn unblock(job: Job) {
    ::tokio::task::spawn_blocking(job);
}

fn tcp_config(options: &TcpOptions) -> libp2p_tcp::Config {
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
