//! A node that listens lazily over WebSocket and is found by its peers through gossipsub.
//!
//! Without arguments, a hub and a few peers that know only the hub find each other in one process, and a table shows when.
//! With `--stay`, they go on, and a browser shows them.
//! With `--listen`, `--hub` or `--dial` it is one node, until Ctrl-C or SIGTERM. `--help` lists its options and the lines
//! that it prints.

#[cfg(feature = "autotls")]
#[path = "node/autotls.rs"]
mod autotls;
#[path = "node/demo.rs"]
mod demo;
#[path = "node/echo.rs"]
mod echo;
#[path = "node/known.rs"]
mod known;
#[path = "node/live.rs"]
mod live;
#[path = "node/page.rs"]
mod page;
#[path = "node/ping.rs"]
mod ping;
#[path = "node/runtime.rs"]
mod runtime;

use std::{
    error::Error,
    fmt::Display,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
#[cfg(feature = "autotls")]
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{
    Multiaddr, PeerId, Swarm,
    connection_limits::{Behaviour as Limits, ConnectionLimits},
    identify,
    identity::Keypair,
    swarm::NetworkBehaviour,
};
use libp2p_lazy_websocket::{
    discovery,
    lazy::Readiness,
    websocket::{self, InvalidProxy, OutgoingProxy},
};
use page::Metrics;
use runtime::Runtime;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// A libp2p node on WebSocket. Without --listen, --hub and --dial: a hub and peers that find each other, and a table.
#[derive(Debug, Parser)]
#[command(group = clap::ArgGroup::new("own").multiple(true), after_long_help = live::LINES)]
struct Arguments {
    /// Listen on this address, such as /ip4/0.0.0.0/tcp/9000/ws. May be repeated.
    #[arg(long, value_name = "MULTIADDR", group = "own")]
    listen: Vec<Multiaddr>,
    /// Stay connected to this peer: dial it, and again whenever it is not connected. May be repeated.
    #[arg(long, value_name = "MULTIADDR", group = "own")]
    hub: Vec<Multiaddr>,
    /// Dial this address once. May be repeated.
    #[arg(long, value_name = "MULTIADDR", group = "own")]
    dial: Vec<Multiaddr>,
    /// Announce this address too: that of a proxy in front of this node, or of a port that NAT forwards. May be repeated.
    #[arg(long, value_name = "MULTIADDR", requires = "own")]
    external: Vec<Multiaddr>,
    /// Announce on this topic instead of the one js-libp2p uses. May be repeated.
    #[arg(long, value_name = "NAME")]
    topic: Vec<String>,
    /// Announce at this interval. [default: 10; for the demonstration 1, or a tenth of the number of peers]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    interval: Option<Duration>,
    /// Receive announcements and make none.
    #[arg(long, requires = "own")]
    listen_only: bool,
    /// Keep this many connections to peers of the topic, by dialling discovered ones.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "own")]
    connections: usize,
    /// Support TCP without WebSocket too, such as --listen /ip4/0.0.0.0/tcp/9000, also on the port of other listeners.
    #[arg(long, requires = "own")]
    tcp: bool,
    /// Take the address of the client from the header X-Forwarded-For, on connections from this network of HTTP proxies,
    /// such as 10.0.0.0/8. May be repeated.
    #[arg(
        long,
        value_name = "NETWORK",
        requires = "own",
        conflicts_with = "proxy_protocol"
    )]
    proxy_header: Vec<websocket::Network>,
    /// The same from the PROXY protocol, which every connection from this network has to begin with. May be repeated.
    #[arg(long, value_name = "NETWORK", requires = "own")]
    proxy_protocol: Vec<websocket::Network>,
    /// Dial through this SOCKS5 proxy, [USER:PASSWORD@]HOST:PORT, such as 127.0.0.1:9050. It looks up the names too.
    // Read later, as an error of its parser would repeat the password.
    #[arg(
        long,
        value_name = "ADDR",
        requires = "own",
        conflicts_with = "http_proxy"
    )]
    socks5: Option<String>,
    /// The same through an HTTP proxy, by CONNECT.
    #[arg(long, value_name = "ADDR", requires = "own")]
    http_proxy: Option<String>,
    /// The certificate chain of TLS listeners, such as /ip4/0.0.0.0/tcp/443/tls/ws, in PEM. They wait until the file is
    /// there, and it may be replaced at any time. May be repeated, each with a --tls-key: the names decide which is served.
    #[arg(long, value_name = "FILE", requires_all = ["own", "tls_key"])]
    tls_cert: Vec<PathBuf>,
    /// The private key of that certificate, in PEM.
    #[arg(long, value_name = "FILE", requires_all = ["own", "tls_cert"])]
    tls_key: Vec<PathBuf>,
    #[cfg(feature = "autotls")]
    #[command(flatten)]
    autotls: autotls::Options,
    /// Trust this certificate when dialling, in PEM: of an authority that is not public, or of a node that has signed its
    /// own. One of a node that is marked as that of an authority (CA:TRUE) is not accepted by `--engine libp2p`.
    #[arg(long, value_name = "FILE", requires = "own")]
    trust: Option<PathBuf>,
    /// Keep the known peers in this file, and dial them after a restart if --connections asks for more. Written every minute
    /// and at the end.
    #[arg(long, value_name = "FILE", requires = "own")]
    known: Option<PathBuf>,
    /// The implementation of WebSocket.
    #[arg(long, value_enum, default_value_t)]
    engine: Engine,
    /// The file of the private key of this node, in libp2p's encoding (protobuf). Created if it does not exist.
    #[arg(long, value_name = "FILE", requires = "own")]
    key: Option<PathBuf>,
    /// End when standard input ends, as well as on Ctrl-C and SIGTERM. Its lines are commands: see below.
    #[arg(long, requires = "own")]
    until_stdin_closes: bool,
    /// The runtime.
    #[arg(long, value_enum, default_value_t = Runtime::default())]
    runtime: Runtime,
    /// Show the state of the node to browsers, at the URLs of its WebSocket listeners, with /status.json, /metrics (if built
    /// with the feature `metrics`) and /healthz, which answers 200 if all listeners are ready. Shows addresses of peers to
    /// whoever can open it. Always on in the demonstration.
    #[arg(long)]
    page: bool,
    /// The number of peers in the demonstration, beside the hub.
    #[arg(long, value_name = "N", default_value_t = 3, conflicts_with = "own", value_parser = clap::value_parser!(u32).range(1..=50))]
    peers: u32,
    /// Let the demonstration go on until Ctrl-C or SIGTERM. Its hub shows it to browsers.
    #[arg(long, conflicts_with = "own")]
    stay: bool,
}

/// Those of the crate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Engine {
    #[default]
    Stream,
    #[cfg(feature = "libp2p-websocket")]
    Libp2p,
}

impl Arguments {
    fn websocket(&self) -> Result<websocket::Config, InvalidProxy> {
        let engine = match self.engine {
            Engine::Stream => websocket::Engine::Stream,
            #[cfg(feature = "libp2p-websocket")]
            Engine::Libp2p => websocket::Engine::Libp2p,
        };
        let config = websocket::Config::default()
            .with_engine(engine)
            .with_tcp(self.tcp);
        let config = match (&self.socks5, &self.http_proxy) {
            (Some(at), _) => config.with_outgoing_proxy(outgoing(at, OutgoingProxy::socks5)?),
            (None, Some(at)) => config.with_outgoing_proxy(outgoing(at, OutgoingProxy::http)?),
            (None, None) => config,
        };
        let [http, tcp] = [&self.proxy_header, &self.proxy_protocol].map(|all| all.iter().copied());
        Ok(match (http.len(), tcp.len()) {
            (0, 0) => config,
            (_, 0) => config.with_proxies(websocket::Proxies::http(http)),
            _ => config.with_proxies(websocket::Proxies::tcp(tcp)),
        })
    }

    fn discovery(&self, default_interval: Duration) -> discovery::Config {
        let config = discovery::Config::default()
            .with_interval(self.interval.unwrap_or(default_interval))
            .with_listen_only(self.listen_only)
            .with_connections(self.connections)
            .with_hubs(self.hub.iter().cloned());
        match self.topic.is_empty() {
            true => config,
            false => config.with_topics(&self.topic),
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// With `user:password@` in front of its address, or without.
fn outgoing(
    text: &str,
    at: impl Fn(&str) -> Result<OutgoingProxy, InvalidProxy>,
) -> Result<OutgoingProxy, InvalidProxy> {
    let Some((credentials, address)) = text.rsplit_once('@') else {
        return at(text);
    };
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    at(address)?.with_credentials(user, password)
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    // First, because what it denies need not reach the others.
    limits: Limits,
    discovery: discovery::Behaviour<discovery::Gossipsub>,
    identify: identify::Behaviour,
    // Not libp2p's, with which js-libp2p nodes without the ping service are cut off after 15 s: see its file.
    ping: ping::Behaviour,
    echo: echo::Behaviour,
    #[cfg(feature = "autotls")]
    autotls: Toggle<libp2p_lazy_websocket::autotls::Behaviour>,
}

/// Both halves of the crate in one swarm, and a handle that tells how its listeners are doing.
fn swarm(
    runtime: Runtime,
    keypair: Keypair,
    websocket: websocket::Config,
    gossipsub: libp2p::gossipsub::Config,
    discovery: discovery::Config,
    metrics: Option<&Metrics>,
) -> Result<(Swarm<Behaviour>, Readiness), Box<dyn Error + Send + Sync>> {
    let limits = ConnectionLimits::default()
        .with_max_established_incoming(Some(4096))
        .with_max_established_per_peer(Some(8));
    let identify = identify::Config::new("/lazy-websocket-node/1.0.0".into(), keypair.public())
        .with_push_listen_addr_updates(true);
    let behaviour = Behaviour {
        limits: Limits::new(limits),
        discovery: discovery::Behaviour::gossipsub(&keypair, gossipsub, discovery)?,
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour,
        echo: echo::Behaviour,
        #[cfg(feature = "autotls")]
        autotls: None.into(),
    };
    let (transport, readiness) = runtime.transport(websocket, &keypair, metrics)?;
    let config = runtime
        .swarm_config()
        .with_idle_connection_timeout(Duration::from_secs(60))
        // A burst of streams is negotiated at once rather than dropped.
        .with_max_negotiating_inbound_streams(4093);
    let local = keypair.public().to_peer_id();
    let swarm = Swarm::new(transport, behaviour, local, config);
    Ok((swarm, readiness))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::builder()
                .with_default_directive(LevelFilter::WARN.into())
                .from_env_lossy(),
        )
        .with_writer(io::stderr)
        .init();
    let ended = arguments.runtime.block_on(async {
        let own = [&arguments.listen, &arguments.hub, &arguments.dial];
        match own.iter().all(|addresses| addresses.is_empty()) {
            true => demo::run(&arguments).await,
            false => live::run(&arguments).await,
        }
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&*error),
    }
}

fn fail(error: &dyn Error) -> ExitCode {
    eprintln!("node: {}", chain(error));
    ExitCode::FAILURE
}

/// Writes one line to standard output at once. Who reads it may stop before the node does.
fn say(line: impl Display) {
    let line = one_line(&line.to_string());
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// An error and its causes, without those that only repeat what has been said.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// The text without anything that a reader could take for the end of a line: part of it may come from other peers.
fn one_line(text: &str) -> String {
    let ends_line = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    text.replace(ends_line, " ")
}

fn list(addresses: &[Multiaddr]) -> String {
    addresses
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

fn with_peer(address: &Multiaddr, peer: PeerId) -> Multiaddr {
    address
        .clone()
        .with_p2p(peer)
        .unwrap_or_else(|address| address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_stand_before_the_last_at_sign() {
        let socks5 = |text| outgoing(text, OutgoingProxy::socks5);
        let proxy = socks5("a:b@c@127.0.0.1:1080").unwrap();
        assert_eq!(proxy.to_string(), "SOCKS5 proxy 127.0.0.1:1080");
        assert!(format!("{proxy:?}").contains("has_credentials: true"));
        assert!(outgoing("[::1]:3128", OutgoingProxy::http).is_ok());
        for wrong in ["a@127.0.0.1:1080", ":b@127.0.0.1:1080", "a:b@"] {
            assert!(socks5(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nothing_breaks_a_line() {
        assert_eq!(
            one_line("a\nb\r\nc\u{85}d\u{2028}e\u{b}f g"),
            "a b  c d e f g"
        );
    }
}
