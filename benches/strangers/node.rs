//! A node that strangers connect to.

use std::{error::Error, io, pin::pin, time::Duration};

use futures::{AsyncRead, AsyncWrite, StreamExt as _};
use libp2p::{
    Multiaddr, PeerId, Swarm, Transport,
    core::{muxing::StreamMuxerBox, transport::Boxed, upgrade::Version},
    identity::Keypair,
    noise, swarm,
    swarm::SwarmEvent,
    yamux,
};
use libp2p_lazy_websocket::websocket::{self, Engine};
use libp2p_websocket::tls;

use authority::{Authority, Leaf};

#[path = "../../tests/common/authority.rs"]
mod authority;

/// After how long a run that hangs is ended. No stranger is cut off before.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long nothing more is to be taken from the heap for a node to count as settled.
const QUIET: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// This crate, with either of its engines.
    Lazy(Engine),
    Stock,
}

pub(crate) struct Node {
    swarm: Swarm<swarm::dummy::Behaviour>,
    address: Multiaddr,
    anchor: Vec<u8>,
    accepted: usize,
}

impl Node {
    /// A node with room for so many strangers, and one more.
    pub(crate) async fn listening(
        kind: Kind,
        listen: &str,
        strangers: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let (authority, key) = (Authority::new(), Keypair::generate_ed25519());
        let certificate = authority.sign(&Leaf::default());
        let transport = match kind {
            Kind::Lazy(engine) => {
                let room = strangers + 1;
                let config = websocket::Config::default()
                    .with_engine(engine)
                    .with_certificates(certificate.in_use())
                    .with_handshake_timeout(PATIENCE)
                    .with_max_pending_handshakes(room);
                upgraded(websocket::tokio::transport(config), &key)?
            }
            Kind::Stock => {
                let tcp = libp2p_tcp::tokio::Transport::new(libp2p_tcp::Config::default());
                let dns = libp2p_dns::tokio::Transport::system(tcp)?;
                let mut stock = libp2p_websocket::Config::new(dns);
                stock.set_tls_config(tls::Config::new(
                    tls::PrivateKey::new(certificate.key_der()),
                    certificate
                        .chain_der()
                        .into_iter()
                        .map(tls::Certificate::new),
                )?);
                upgraded(stock, &key)?
            }
        };
        let mut swarm = Swarm::new(
            transport,
            swarm::dummy::Behaviour,
            key.public().to_peer_id(),
            swarm::Config::with_tokio_executor(),
        );
        swarm.listen_on(listen.parse()?)?;
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        Ok(Self {
            swarm,
            address,
            anchor: authority.der(),
            accepted: 0,
        })
    }

    pub(crate) fn address(&self) -> &Multiaddr {
        &self.address
    }

    /// What strangers trust.
    pub(crate) fn anchor(&self) -> &[u8] {
        &self.anchor
    }

    /// Runs until the clients are ready, and so many of them are accepted.
    pub(crate) async fn serve(
        &mut self,
        clients: impl Future<Output = io::Result<()>>,
        count: usize,
    ) -> Result<(), Box<dyn Error>> {
        let mut clients = pin!(clients);
        let until = self.accepted + count;
        let served = async {
            let mut is_ready = false;
            while !is_ready || self.accepted < until {
                tokio::select! {
                    ready = &mut clients, if !is_ready => {
                        ready?;
                        is_ready = true;
                    }
                    event = self.swarm.select_next_some() => self.accepted += accepted(&event),
                }
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, served).await?
    }

    /// The bytes in use once nothing happens any more.
    pub(crate) async fn settled_heap(&mut self) -> usize {
        let mut before = None;
        loop {
            let quiet = async {
                loop {
                    self.accepted += accepted(&self.swarm.select_next_some().await);
                }
            };
            let _: Result<(), _> = tokio::time::timeout(QUIET, quiet).await;
            let now = dhat::HeapStats::get().curr_bytes;
            if before == Some(now) {
                return now;
            }
            before = Some(now);
        }
    }
}

fn accepted<E>(event: &SwarmEvent<E>) -> usize {
    usize::from(matches!(event, SwarmEvent::IncomingConnection { .. }))
}

fn upgraded<T>(transport: T, key: &Keypair) -> Result<Boxed<(PeerId, StreamMuxerBox)>, noise::Error>
where
    T: Transport + Send + Unpin + 'static,
    T::Output: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    T::Error: Send + Sync + 'static,
    T::ListenerUpgrade: Send + 'static,
    T::Dial: Send + 'static,
{
    Ok(transport
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(key)?)
        .multiplex(yamux::Config::default())
        .timeout(PATIENCE)
        .boxed())
}
