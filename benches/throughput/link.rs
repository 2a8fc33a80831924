//! Connections of each kind, over the loopback interface.

use std::{io, sync::Arc, time::Duration};

use futures::{AsyncRead, AsyncWrite, StreamExt as _, channel::mpsc, future::poll_fn};
use libp2p::{
    Multiaddr, PeerId, Transport,
    core::{
        ConnectedPoint, Endpoint,
        muxing::{StreamMuxerBox, StreamMuxerExt as _},
        transport::{Boxed, DialOpts, ListenerId, PortUse, TransportEvent},
        upgrade::Version,
    },
    identity::Keypair,
    noise, yamux,
};
use libp2p_lazy_websocket::websocket::{self, Certificate, Certificates, Engine, TrustAnchor};
use libp2p_websocket::tls;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::place::Place;

#[path = "../../tests/common/authority.rs"]
mod authority;

/// After how long a run that hangs is ended.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// libp2p-tcp, and TLS over it in the rows with TLS.
    Tcp,
    /// libp2p-websocket over libp2p-tcp.
    Libp2p,
    /// The stream of this crate over libp2p-tcp.
    Ours,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Tcp, Self::Libp2p, Self::Ours];
}

/// A stream of bytes.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub(crate) type Bytes = Box<dyn Io>;

/// Signs the certificate of who listens, and who dials trusts it.
pub(crate) struct Authority {
    der: Vec<u8>,
    chain: Vec<Vec<u8>>,
    key: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let authority = authority::Authority::new();
        let signed = authority.sign_number(1);
        Self {
            der: authority.der(),
            chain: signed.chain_der(),
            key: signed.key_der(),
        }
    }

    fn transport(&self, kind: Kind, is_tls: bool) -> Boxed<Bytes> {
        let tcp = libp2p_tcp::tokio::Transport::new(libp2p_tcp::Config::default());
        match kind {
            Kind::Tcp if is_tls => {
                let (acceptor, connector) = (self.acceptor(), self.connector());
                tcp.and_then(move |io, point| async move {
                    Ok::<_, io::Error>(match point {
                        ConnectedPoint::Listener { .. } => {
                            Box::new(acceptor.accept(io).await?) as Bytes
                        }
                        ConnectedPoint::Dialer { .. } => {
                            let name = ServerName::from(std::net::IpAddr::from([127, 0, 0, 1]));
                            Box::new(connector.connect(name, io).await?)
                        }
                    })
                })
                .boxed()
            }
            Kind::Tcp => tcp.map(|io, _| Box::new(io) as Bytes).boxed(),
            Kind::Libp2p => {
                let mut websocket = libp2p_websocket::Config::new(tcp);
                let mut tls = tls::Config::builder();
                let key = tls::PrivateKey::new(self.key.clone());
                let chain = self.chain.iter().cloned().map(tls::Certificate::new);
                tls.server(key, chain).expect("they fit");
                let anchor = tls::Certificate::new(self.der.clone());
                tls.add_trust(&anchor).expect("it is an authority");
                websocket.set_tls_config(tls.finish());
                websocket.map(|io, _| Box::new(io) as Bytes).boxed()
            }
            Kind::Ours => {
                let certificates = Certificates::new();
                let certificate = Certificate::from_der(self.chain.clone(), self.key.clone());
                let set = certificate.and_then(|certificate| certificates.set(certificate));
                set.expect("they fit");
                let anchor = TrustAnchor::from_der(self.der.clone()).expect("it is an authority");
                let config = websocket::Config::default()
                    .with_engine(Engine::Stream)
                    .with_certificates(certificates)
                    .with_trust_anchor(anchor);
                let websocket = websocket::Transport::new(tcp, config);
                websocket.map(|io, _| Box::new(io) as Bytes).boxed()
            }
        }
    }

    fn acceptor(&self) -> futures_rustls::TlsAcceptor {
        let chain = self.chain.iter().cloned().map(CertificateDer::from);
        let key = PrivateKeyDer::try_from(self.key.clone()).expect("it is one");
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_no_client_auth()
            .with_single_cert(chain.collect(), key)
            .expect("they fit");
        Arc::new(config).into()
    }

    fn connector(&self) -> futures_rustls::TlsConnector {
        let mut roots = rustls::RootCertStore::empty();
        let anchor = CertificateDer::from(self.der.clone());
        roots.add(anchor).expect("it is an authority");
        let config = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config).into()
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Somebody who listens, and who dials them.
pub(crate) struct Link<C> {
    dialler: Boxed<C>,
    address: Multiaddr,
    accepted: mpsc::UnboundedReceiver<C>,
}

impl Link<Bytes> {
    pub(crate) async fn bytes(
        kind: Kind,
        is_tls: bool,
        place: &Place,
        authority: &Authority,
    ) -> Self {
        let transport = || authority.transport(kind, is_tls);
        Self::new(transport(), transport(), kind, is_tls, place).await
    }
}

impl Link<StreamMuxerBox> {
    /// Under Noise and Yamux.
    pub(crate) async fn muxed(kind: Kind, place: &Place, authority: &Authority) -> Self {
        let transport = || {
            let key = Keypair::generate_ed25519();
            authority
                .transport(kind, false)
                // Not the lazy one, in which who dials waits for the first bytes of somebody above.
                .upgrade(Version::V1)
                .authenticate(noise::Config::new(&key).expect("the key is of a kind that signs"))
                .multiplex(yamux::Config::default())
                .timeout(PATIENCE)
                .map(|(_, muxer): (PeerId, _), _| StreamMuxerBox::new(muxer))
                .boxed()
        };
        Self::new(transport(), transport(), kind, false, place).await
    }
}

impl<C: Send + 'static> Link<C> {
    async fn new(
        mut listener: Boxed<C>,
        dialler: Boxed<C>,
        kind: Kind,
        is_tls: bool,
        place: &Place,
    ) -> Self {
        let address = match kind {
            Kind::Tcp => "/ip4/127.0.0.1/tcp/0",
            _ if is_tls => "/ip4/127.0.0.1/tcp/0/tls/ws",
            _ => "/ip4/127.0.0.1/tcp/0/ws",
        };
        let address = address.parse().expect("it is an address");
        let (accept, accepted) = mpsc::unbounded();
        let (tell, mut told) = mpsc::unbounded();
        place.server().spawn(async move {
            listener
                .listen_on(ListenerId::next(), address)
                .expect("loopback is there to be listened on");
            // Ends with the runtime, or with the link.
            while !accept.is_closed() {
                match listener.select_next_some().await {
                    TransportEvent::NewAddress { listen_addr, .. } => {
                        let _ = tell.unbounded_send(listen_addr);
                    }
                    TransportEvent::Incoming { upgrade, .. } => {
                        let accept = accept.clone();
                        tokio::spawn(async move {
                            let connection = upgrade.await.expect("both ends are well");
                            let _ = accept.unbounded_send(connection);
                        });
                    }
                    _ => {}
                }
            }
        });
        let address = told.next().await.expect("the listener binds");
        Self {
            dialler,
            address,
            accepted,
        }
    }

    pub(crate) fn dial(&mut self) -> impl Future<Output = C> + use<C> {
        let options = DialOpts {
            role: Endpoint::Dialer,
            port_use: PortUse::New,
        };
        let dial = self.dialler.dial(self.address.clone(), options);
        let dial = dial.expect("the address is of this transport");
        async move { dial.await.expect("both ends are well") }
    }

    pub(crate) async fn accepted(&mut self) -> C {
        self.accepted.next().await.expect("the listener lasts")
    }

    /// A connection: the end that has dialled, and the other.
    pub(crate) async fn pair(&mut self) -> (C, C) {
        let client = self.dial().await;
        (client, self.accepted().await)
    }
}

/// A stream of Yamux between them, whose connections last as long as the runtimes.
pub(crate) async fn open(
    mut client: StreamMuxerBox,
    mut server: StreamMuxerBox,
    place: &Place,
) -> (Bytes, Bytes) {
    let (accept, mut accepted) = mpsc::unbounded();
    place.server().spawn(async move {
        let incoming = poll_fn(|cx| {
            let _ = server.poll_unpin(cx);
            server.poll_inbound_unpin(cx)
        });
        if let Ok(stream) = incoming.await {
            let _ = accept.unbounded_send(stream);
        }
        drive(server).await;
    });
    let outgoing = poll_fn(|cx| {
        let _ = client.poll_unpin(cx);
        client.poll_outbound_unpin(cx)
    });
    let mut stream = outgoing.await.expect("both ends are well");
    tokio::spawn(drive(client));
    // Yamux tells the other side of a stream with its first bytes.
    futures::AsyncWriteExt::write_all(&mut stream, &[0])
        .await
        .expect("both ends are well");
    futures::AsyncWriteExt::flush(&mut stream)
        .await
        .expect("both ends are well");
    let mut other = accepted.next().await.expect("the stream comes in");
    futures::AsyncReadExt::read_exact(&mut other, &mut [0])
        .await
        .expect("both ends are well");
    (Box::new(stream), Box::new(other))
}

async fn drive(mut muxer: StreamMuxerBox) {
    // Until the connection ends.
    let _ = poll_fn(|cx| {
        let inbound = muxer.poll_inbound_unpin(cx);
        if let std::task::Poll::Ready(Err(error)) = inbound {
            return std::task::Poll::Ready(error);
        }
        match muxer.poll_unpin(cx) {
            std::task::Poll::Ready(Err(error)) => std::task::Poll::Ready(error),
            _ => std::task::Poll::Pending,
        }
    })
    .await;
}
