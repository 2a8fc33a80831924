//! The transports that are compared, and nodes on each.

use std::{env, pin::pin, time::Duration};

use futures::{
    AsyncRead, AsyncWrite, StreamExt as _,
    future::{self, Either},
    stream,
};
use futures_timer::Delay;
use libp2p::{
    PeerId, Swarm, Transport,
    core::{muxing::StreamMuxerBox, transport::Boxed, upgrade::Version},
    gossipsub,
    identity::Keypair,
    noise, swarm,
    swarm::SwarmEvent,
    yamux,
};
use libp2p_lazy_websocket::{
    discovery::{self, Gossipsub},
    lazy,
    websocket::{self, Engine},
};

pub(crate) type Node = Swarm<discovery::Behaviour<Gossipsub>>;
pub(crate) type Event = SwarmEvent<discovery::Event<gossipsub::Event>>;

type Stock = libp2p_websocket::Config<libp2p_dns::tokio::Transport<libp2p_tcp::tokio::Transport>>;

/// After how long a run that hangs is ended. Nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which transport a node has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// On tokio, like what it is compared with.
    Lazy,
    Stock,
    #[cfg(feature = "async-std")]
    AsyncStd,
    #[cfg(feature = "smol")]
    Smol,
}

impl Kind {
    /// Runs one subject of one round. A runtime of tokio is a new one; the others have one for the whole process.
    pub(crate) fn run(self, subject: impl Future<Output = Duration>) -> Duration {
        match self {
            Self::Lazy | Self::Stock => {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                runtime
                    .expect("the system has what a runtime needs")
                    .block_on(subject)
            }
            #[cfg(feature = "async-std")]
            Self::AsyncStd => async_std::task::block_on(subject),
            #[cfg(feature = "smol")]
            Self::Smol => smol::block_on(subject),
        }
    }

    fn swarm_config(self) -> swarm::Config {
        match self {
            Self::Lazy | Self::Stock => swarm::Config::with_tokio_executor(),
            #[cfg(feature = "async-std")]
            Self::AsyncStd => websocket::async_std::swarm_config(),
            #[cfg(feature = "smol")]
            Self::Smol => websocket::smol::swarm_config(),
        }
    }
}

/// That of the lazy transport.
pub(crate) fn engine() -> Engine {
    match env::var("ENGINE").as_deref() {
        Ok("stream") => Engine::Stream,
        _ => Engine::default(),
    }
}

pub(crate) fn lazy_transport() -> lazy::Transport<websocket::Transport> {
    websocket::tokio::transport(websocket::Config::default().with_engine(engine()))
}

pub(crate) fn stock_transport() -> Stock {
    let tcp = libp2p_tcp::tokio::Transport::new(libp2p_tcp::Config::default());
    let dns = libp2p_dns::tokio::Transport::system(tcp);
    libp2p_websocket::Config::new(dns.expect("the resolver's configuration is readable"))
}

/// A node that announces as soon as there is something to announce, and is the same on both transports.
pub(crate) fn node(kind: Kind, keypair: Keypair) -> Node {
    let transport = match kind {
        Kind::Lazy => upgraded(lazy_transport(), &keypair),
        Kind::Stock => upgraded(stock_transport(), &keypair),
        #[cfg(feature = "async-std")]
        Kind::AsyncStd => {
            let config = websocket::Config::default();
            upgraded(websocket::async_std::transport(config), &keypair)
        }
        #[cfg(feature = "smol")]
        Kind::Smol => {
            let config = websocket::Config::default();
            upgraded(websocket::smol::transport(config), &keypair)
        }
    };
    let gossipsub = discovery::gossipsub::config().build();
    let discovery = discovery::Behaviour::gossipsub(
        &keypair,
        gossipsub.expect("the defaults are valid"),
        discovery::Config::default().with_coalescing(Duration::ZERO),
    );
    let config = kind.swarm_config().with_idle_connection_timeout(PATIENCE);
    Swarm::new(
        transport,
        discovery.expect("the settings are valid"),
        keypair.public().to_peer_id(),
        config,
    )
}

fn upgraded<T>(transport: T, keypair: &Keypair) -> Boxed<(PeerId, StreamMuxerBox)>
where
    T: Transport + Send + Unpin + 'static,
    T::Output: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    T::Error: Send + Sync + 'static,
    T::ListenerUpgrade: Send + 'static,
    T::Dial: Send + 'static,
{
    transport
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(keypair).expect("it can sign"))
        .multiplex(yamux::Config::default())
        .timeout(PATIENCE)
        .boxed()
}

/// Drives all nodes until they have done what they still had to.
pub(crate) async fn settle(nodes: &mut [Node]) {
    let never = first(nodes, |_, _| None::<()>);
    future::select(pin!(never), Delay::new(Duration::from_millis(10))).await;
}

/// Drives all nodes until `pick` takes an event of one of them.
pub(crate) async fn first<T>(
    nodes: &mut [Node],
    mut pick: impl FnMut(usize, Event) -> Option<T>,
) -> T {
    let nodes = nodes.iter_mut().enumerate();
    let mut events = stream::select_all(nodes.map(|(index, node)| node.map(move |e| (index, e))));
    let found = async {
        loop {
            let (index, event) = events.select_next_some().await;
            if let Some(found) = pick(index, event) {
                return found;
            }
        }
    };
    match future::select(pin!(found), Delay::new(PATIENCE)).await {
        Either::Left((found, _)) => found,
        Either::Right(_) => panic!("it happens within a minute"),
    }
}
