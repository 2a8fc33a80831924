//! A node that strangers connect to.

use std::{error::Error, num::NonZeroUsize, time::Duration};

use futures::{AsyncRead, AsyncWrite, StreamExt as _};
use libp2p::{
    Multiaddr, PeerId, Swarm, Transport,
    core::{muxing::StreamMuxerBox, transport::Boxed, upgrade::Version},
    identity::Keypair,
    noise, swarm,
    swarm::SwarmEvent,
    yamux,
};
use libp2p_lazy_websocket::websocket::{self, Certificate, Certificates, Engine};
use libp2p_websocket::tls;

use super::clients::Clients;

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

/// Signs the node's certificate, and strangers trust it.
pub(crate) struct Authority {
    der: Vec<u8>,
    chain: Vec<Vec<u8>>,
    key: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Result<Self, rcgen::Error> {
        let authority_key = rcgen::KeyPair::generate()?;
        let mut authority = rcgen::CertificateParams::default();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = authority.self_signed(&authority_key)?;
        let key = rcgen::KeyPair::generate()?;
        let leaf = rcgen::CertificateParams::new(["127.0.0.1".to_owned()])?.signed_by(
            &key,
            &authority,
            &authority_key,
        )?;
        let der = authority.der().to_vec();
        Ok(Self {
            chain: vec![leaf.der().to_vec(), der.clone()],
            der,
            key: key.serialize_der(),
        })
    }

    pub(crate) fn in_hex(&self) -> String {
        self.der.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(crate) fn der_of_hex(hex: &str) -> Result<Vec<u8>, Box<dyn Error>> {
        let bytes = hex.as_bytes().chunks(2).map(|pair| {
            let byte = u8::from_str_radix(std::str::from_utf8(pair)?, 16)?;
            Ok(byte)
        });
        bytes.collect()
    }
}

pub(crate) struct Node {
    swarm: Swarm<swarm::dummy::Behaviour>,
    address: Multiaddr,
    accepted: usize,
}

impl Node {
    /// A node with room for so many strangers, and one more.
    pub(crate) async fn listening(
        kind: Kind,
        listen: &str,
        authority: &Authority,
        strangers: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let key = Keypair::generate_ed25519();
        let transport = match kind {
            Kind::Lazy(engine) => {
                let room = NonZeroUsize::MIN.saturating_add(strangers);
                let certificates = Certificates::new();
                certificates.set(Certificate::from_der(
                    authority.chain.clone(),
                    authority.key.clone(),
                )?)?;
                let config = websocket::Config::default()
                    .with_engine(engine)
                    .with_certificates(certificates)
                    .with_handshake_timeout(PATIENCE)
                    .with_max_half_open(room);
                upgraded(websocket::tokio::transport(config), &key)?
            }
            Kind::Stock => {
                let tcp = libp2p_tcp::tokio::Transport::new(libp2p_tcp::Config::default());
                let dns = libp2p_dns::tokio::Transport::system(tcp)?;
                let mut stock = libp2p_websocket::Config::new(dns);
                stock.set_tls_config(tls::Config::new(
                    tls::PrivateKey::new(authority.key.clone()),
                    authority.chain.iter().cloned().map(tls::Certificate::new),
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
            accepted: 0,
        })
    }

    pub(crate) fn address(&self) -> &Multiaddr {
        &self.address
    }

    /// Runs until the clients are ready, and so many of them are accepted.
    pub(crate) async fn serve(
        &mut self,
        clients: &mut Clients,
        count: usize,
    ) -> Result<(), Box<dyn Error>> {
        let until = self.accepted + count;
        let served = async {
            let mut is_ready = false;
            while !is_ready || self.accepted < until {
                tokio::select! {
                    ready = clients.ready(), if !is_ready => {
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
