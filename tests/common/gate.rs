//! Gates in front of the parts of AutoTLS, which a test closes for one kind of request.

#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{
    authority::{Authority, Leaf},
    ports::free_port,
};

/// Where the gates are, and what is behind them.
#[derive(Clone, Copy)]
pub(crate) struct Places {
    pub(crate) broker: SocketAddr,
    pub(crate) acme: SocketAddr,
    /// The name server for the node, and for the authority.
    pub(crate) dns: [SocketAddr; 2],
}

/// What a request meets instead of the part that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// The connection is closed before an answer to a request for a path that begins so.
    Broker(&'static str),
    Acme(&'static str),
    /// The ports of the node are others in what the broker is told, as if a router did not forward them.
    Node,
    /// The name server answers the node, or the authority, that it has failed.
    Names,
    NamesOfAuthority,
    /// Broker, ACME server and name servers.
    All,
}

/// All are open until [`close`](Self::close). They end when this is dropped.
pub(crate) struct Gates {
    pub(crate) places: Places,
    sockets: Option<Sockets>,
    closed: Arc<Mutex<Option<Closed>>>,
    tasks: JoinSet<()>,
}

struct Sockets {
    http: [TcpListener; 2],
    dns: [(UdpSocket, TcpListener); 2],
}

impl Gates {
    pub(crate) async fn new() -> io::Result<Self> {
        let any = (Ipv4Addr::LOCALHOST, 0);
        let http = [TcpListener::bind(any).await?, TcpListener::bind(any).await?];
        let dns = [dns_sockets().await?, dns_sockets().await?];
        let places = Places {
            broker: http[0].local_addr()?,
            acme: http[1].local_addr()?,
            dns: [dns[0].0.local_addr()?, dns[1].0.local_addr()?],
        };
        Ok(Self {
            places,
            sockets: Some(Sockets { http, dns }),
            closed: Arc::default(),
            tasks: JoinSet::new(),
        })
    }

    /// Passes on to these. The authority speaks TLS on both sides.
    pub(crate) fn lead_to(&mut self, to: &Places, authority: &Authority) {
        let Sockets { http, dns } = self.sockets.take().expect("it leads nowhere yet");
        let [broker, acme] = http;
        let closed = || Arc::clone(&self.closed);
        self.tasks
            .spawn(http_gate(broker, to.broker, None, closed()));
        let tls = Tls::new(authority);
        self.tasks
            .spawn(http_gate(acme, to.acme, Some(tls), closed()));
        let kinds = [Closed::Names, Closed::NamesOfAuthority];
        for (((udp, tcp), to), at) in dns.into_iter().zip(to.dns).zip(kinds) {
            self.tasks.spawn(udp_gate(udp, to, at, closed()));
            self.tasks.spawn(tcp_gate(tcp, to, at, closed()));
        }
    }

    pub(crate) fn close(&self, what: Closed) {
        *lock(&self.closed) = Some(what);
    }

    pub(crate) fn open(&self) {
        *lock(&self.closed) = None;
    }
}

fn lock(closed: &Mutex<Option<Closed>>) -> MutexGuard<'_, Option<Closed>> {
    closed.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone)]
struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    fn new(authority: &Authority) -> Self {
        let provider = Arc::new(ring::default_provider());
        let signed = authority.sign(&Leaf::default());
        let (chain, key) = (signed.chain_pem(), signed.key_pem());
        let chain: Result<_, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_no_client_auth()
            .with_single_cert(chain.expect("certificates"), key)
            .expect("they belong together");
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().into()).expect("a certificate");
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
            name: "localhost".try_into().expect("a name"),
        }
    }
}

/// Each request comes on a connection of its own.
async fn http_gate(
    listener: TcpListener,
    to: SocketAddr,
    tls: Option<Tls>,
    closed: Arc<Mutex<Option<Closed>>>,
) {
    let mut connections = JoinSet::new();
    while let Ok((from, _)) = listener.accept().await {
        let (tls, closed) = (tls.clone(), Arc::clone(&closed));
        // What breaks on one side is broken on the other too, and nobody else has to know.
        connections.spawn(async move {
            let to = TcpStream::connect(to).await?;
            let Some(tls) = tls else {
                return pass(from, to, &closed, |closed| match closed {
                    Closed::Broker(path) => Some(path),
                    Closed::All => Some(""),
                    _ => None,
                })
                .await;
            };
            let from = tls.acceptor.accept(from).await?;
            let to = tls.connector.connect(tls.name, to).await?;
            pass(from, to, &closed, |closed| match closed {
                Closed::Acme(path) => Some(path),
                Closed::All => Some(""),
                _ => None,
            })
            .await
        });
        while connections.try_join_next().is_some() {}
    }
}

/// A request and its answer, unless it is for the path that is closed.
async fn pass(
    mut from: impl AsyncRead + AsyncWrite + Unpin,
    mut to: impl AsyncRead + AsyncWrite + Unpin,
    closed: &Mutex<Option<Closed>>,
    path: fn(Closed) -> Option<&'static str>,
) -> io::Result<()> {
    let mut request = Vec::new();
    let head = loop {
        if from.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
        if let Some(end) = request.windows(4).position(|end| end == b"\r\n\r\n") {
            break String::from_utf8_lossy(&request[..end]).into_owned();
        }
    };
    let closed = *lock(closed);
    let asked = head.split(' ').nth(1).unwrap_or_default();
    if closed
        .and_then(path)
        .is_some_and(|path| asked.starts_with(path))
    {
        return Ok(());
    }
    if closed == Some(Closed::Node) {
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse().ok()).flatten()
        });
        let whole = head.len() + 4 + length.unwrap_or(0_usize);
        while request.len() < whole && from.read_buf(&mut request).await? > 0 {}
        // Of as many digits, so that the length stays.
        let other = format!("/tcp/{}", free_port(Ipv4Addr::LOCALHOST));
        let text = String::from_utf8_lossy(&request);
        let mut parts = text.split("/tcp/");
        let start = parts.next().unwrap_or_default().to_owned();
        request = parts
            .fold(start, |text, part| text + &other + &part[5..])
            .into_bytes();
    }
    to.write_all(&request).await?;
    copy_bidirectional(&mut from, &mut to).await?;
    Ok(())
}

async fn dns_sockets() -> io::Result<(UdpSocket, TcpListener)> {
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        if let Ok(tcp) = TcpListener::bind(udp.local_addr()?).await {
            return Ok((udp, tcp));
        }
    }
}

fn is_closed(closed: &Mutex<Option<Closed>>, at: Closed) -> bool {
    let closed = *lock(closed);
    closed == Some(at) || closed == Some(Closed::All)
}

async fn tcp_gate(
    listener: TcpListener,
    to: SocketAddr,
    at: Closed,
    closed: Arc<Mutex<Option<Closed>>>,
) {
    let mut connections = JoinSet::new();
    while let Ok((mut from, _)) = listener.accept().await {
        if !is_closed(&closed, at) {
            connections.spawn(async move {
                let mut to = TcpStream::connect(to).await?;
                copy_bidirectional(&mut from, &mut to).await
            });
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn udp_gate(
    socket: UdpSocket,
    to: SocketAddr,
    at: Closed,
    closed: Arc<Mutex<Option<Closed>>>,
) {
    const SERVFAIL: u8 = 2;

    let mut datagram = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut datagram).await {
        let question = &mut datagram[..length];
        if is_closed(&closed, at) && length > 3 {
            // As an answer, and one of a server that has failed.
            question[2] |= 0x80;
            question[3] = SERVFAIL;
            let _ = socket.send_to(question, from).await;
        } else if let Ok(answer) = ask(question, to).await {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

async fn ask(question: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut answer = vec![0; 4096];
    let length = timeout(Duration::from_secs(2), socket.recv(&mut answer)).await??;
    answer.truncate(length);
    Ok(answer)
}
