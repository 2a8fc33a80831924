//! A node that others connect to, in a process of its own.

use std::{
    error::Error,
    fmt, fs, io,
    time::{Duration, Instant},
};

use futures::{AsyncRead, AsyncWrite, StreamExt as _};
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{
    PeerId, Swarm, Transport,
    core::{muxing::StreamMuxerBox, transport::Boxed, upgrade::Version},
    identity::Keypair,
    noise, swarm,
    swarm::SwarmEvent,
    yamux,
};
use libp2p_lazy_websocket::{
    discovery,
    websocket::{self, Certificates, Engine},
};
use libp2p_websocket::tls;
use tokio::time::timeout;

use super::process::{Arguments, Process, orders, play};
use authority::{Authority, Leaf, Signed};

#[path = "../../tests/common/authority.rs"]
pub(crate) mod authority;

const ROLE: &str = "--hub";
const DISCOVERY: &str = "discovery";

/// As in the example `node`.
const LEAVES: usize = 64;

/// Longer than a run takes.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long nothing happens in a node that is at rest.
const QUIET: Duration = Duration::from_millis(500);

/// How many descriptors a process needs besides those of its connections.
pub(crate) const OTHER_DESCRIPTORS: u64 = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// libp2p-tcp.
    Tcp,
    /// libp2p-websocket over libp2p-tcp.
    Stock,
    /// This crate.
    Lazy(Engine),
}

impl Kind {
    pub(crate) const WEBSOCKETS: [Self; 3] = [
        Self::Stock,
        Self::Lazy(Engine::Libp2p),
        Self::Lazy(Engine::Stream),
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("libp2p-tcp"),
            Self::Stock => f.write_str("libp2p-websocket"),
            Self::Lazy(engine) => write!(f, "`Engine::{engine:?}`"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Security {
    None,
    Tls,
}

/// What a hub can be told, beside a number of connections to wait for: to serve the certificate with [`RENEWED`], and to close
/// all connections, whose answer is the time in seconds.
pub(crate) const ROTATE: &str = "rotate";
pub(crate) const CLOSE: &str = "close";

/// The serial number of the second certificate.
pub(crate) const RENEWED: u64 = 2;

/// The process, as the one that measures sees it.
pub(crate) struct Hub {
    pub(crate) process: Process,
    /// Its address, and the certificate to trust in hexadecimal.
    pub(crate) place: String,
}

/// What a hub has used up so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// In seconds, of all threads.
    pub(crate) cpu: f64,
    /// In bytes.
    pub(crate) resident: f64,
}

impl Hub {
    pub(crate) fn start(kind: Kind, security: Security) -> io::Result<Self> {
        Self::start_with(kind, security, "")
    }

    /// One with gossipsub and the default discovery.
    pub(crate) fn start_discovering(kind: Kind, security: Security) -> io::Result<Self> {
        Self::start_with(kind, security, DISCOVERY)
    }

    fn start_with(kind: Kind, security: Security, behaviour: &str) -> io::Result<Self> {
        let listen = match (kind, security) {
            (Kind::Tcp, _) => "/ip4/127.0.0.1/tcp/0",
            (_, Security::None) => "/ip4/127.0.0.1/tcp/0/ws",
            (_, Security::Tls) => "/ip4/127.0.0.1/tcp/0/tls/ws",
        };
        let mut process = Process::start(ROLE, [kind.to_string().as_str(), listen, behaviour])?;
        let place = process.answer()?;
        Ok(Self { process, place })
    }

    /// Waits until it has so many connections and is at rest.
    pub(crate) fn at_rest(&mut self, connections: usize) -> Result<Usage, Box<dyn Error>> {
        let answer = self.process.ask(&connections.to_string())?;
        let (cpu, resident) = answer.split_once(' ').ok_or("too few figures")?;
        Ok(Usage {
            cpu: cpu.parse()?,
            resident: resident.parse()?,
        })
    }

    pub(crate) fn end(self) -> io::Result<()> {
        self.process.end()
    }
}

/// Does what [`Hub::start`] has told this process, if it has.
pub(crate) fn run_if_told_to() -> Option<Result<(), Box<dyn Error>>> {
    play(ROLE, run)
}

async fn run(mut arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let name = arguments.next().ok_or("no kind")?;
    let mut kinds = [Kind::Tcp].into_iter().chain(Kind::WEBSOCKETS);
    let kind = kinds.find(|kind| kind.to_string() == name);
    let address = arguments.next().ok_or("no address")?;
    let discovers = arguments.next().as_deref() == Some(DISCOVERY);
    let (authority, key) = (Authority::new(), Keypair::generate_ed25519());
    let certificate = authority.sign(&Leaf::default());
    let certificates = certificate.in_use();
    let behaviour = match discovers {
        false => None,
        true => Some(discovery::Behaviour::gossipsub(
            &key,
            discovery::gossipsub::hub_config(LEAVES).build()?,
            discovery::Config::default(),
        )?),
    };
    let kind = kind.ok_or("no such kind")?;
    let mut swarm = Swarm::new(
        kind.transport(&key, &certificate, &certificates)?,
        Toggle::from(behaviour),
        key.public().to_peer_id(),
        swarm::Config::with_tokio_executor().with_idle_connection_timeout(PATIENCE),
    );
    swarm.listen_on(address.parse()?)?;
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address;
        }
    };
    println!("{address} {}", hex(&authority.der()));

    let mut orders = orders();
    loop {
        let order = tokio::select! {
            order = orders.next_line() => order?,
            _ = swarm.select_next_some() => continue,
        };
        let Some(order) = order else {
            return Ok(());
        };
        if order == ROTATE {
            certificates.set(authority.sign_number(RENEWED).certificate())?;
            println!("rotated");
            continue;
        }
        if order == CLOSE {
            let start = Instant::now();
            let peers = swarm.connected_peers().copied().collect::<Vec<_>>();
            for peer in peers {
                let _ = swarm.disconnect_peer_id(peer);
            }
            while swarm.network_info().num_peers() > 0 {
                swarm.select_next_some().await;
            }
            println!("{}", start.elapsed().as_secs_f64());
            continue;
        }
        let connections = order.parse::<u32>()?;
        while swarm.network_info().connection_counters().num_established() != connections {
            swarm.select_next_some().await;
        }
        while timeout(QUIET, swarm.select_next_some()).await.is_ok() {}
        println!("{} {}", cpu(), resident());
    }
}

impl Kind {
    fn transport(
        self,
        key: &Keypair,
        certificate: &Signed,
        certificates: &Certificates,
    ) -> Result<Boxed<(PeerId, StreamMuxerBox)>, Box<dyn Error>> {
        let tcp = libp2p_tcp::tokio::Transport::new(libp2p_tcp::Config::default());
        Ok(match self {
            Self::Tcp => upgraded(tcp, key)?,
            Self::Stock => {
                let mut stock = libp2p_websocket::Config::new(tcp);
                let chain = certificate.chain_der().into_iter();
                stock.set_tls_config(tls::Config::new(
                    tls::PrivateKey::new(certificate.key_der()),
                    chain.map(tls::Certificate::new),
                )?);
                upgraded(stock, key)?
            }
            Self::Lazy(engine) => {
                let config = websocket::Config::default()
                    .with_engine(engine)
                    .with_certificates(certificates.clone());
                websocket::tokio::transport(config)
                    .upgraded(key)
                    .map_err(|error| -> Box<dyn Error> { error })?
            }
        })
    }
}

/// As all nodes of this bench have it.
pub(crate) fn upgraded<T>(
    transport: T,
    key: &Keypair,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, noise::Error>
where
    T: Transport + Send + Unpin + 'static,
    T::Output: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    T::Error: Send + Sync + 'static,
    T::ListenerUpgrade: Send + 'static,
    T::Dial: Send + 'static,
{
    Ok(transport
        // Not the lazy one, in which the dialer waits for the first bytes of a stream.
        .upgrade(Version::V1)
        .authenticate(noise::Config::new(key)?)
        .multiplex(yamux::Config::default())
        .timeout(PATIENCE)
        .boxed())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(unix)]
fn cpu() -> f64 {
    use nix::sys::{
        resource::{UsageWho, getrusage},
        time::TimeValLike as _,
    };
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process may ask for its own");
    (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6
}

/// Unknown elsewhere.
#[cfg(not(unix))]
fn cpu() -> f64 {
    f64::NAN
}

/// In bytes. Unknown where the system has no `/proc`.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib * 1024.0)
}
