use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use futures::{
    AsyncReadExt as _, AsyncWriteExt as _,
    future::{self, Either, poll_fn},
};
use hickory_resolver::{
    config::{ConnectionConfig, NameServerConfig},
    net::NetError,
};
use libp2p_core::{
    Endpoint, Transport as _,
    transport::{DialOpts, ListenerId, PortUse, TransportEvent},
};
use multiaddr::{Multiaddr, Protocol};

use super::{tcp::into_error, *};
use crate::{
    deadline,
    websocket::{Connection, DnsaddrError, Engine, Error},
};

#[test]
fn one_failed_attempt_is_its_own_error() {
    let refused = || {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        libp2p_dns::Error::Transport(Error::below(refused))
    };
    for error in [refused(), libp2p_dns::Error::Dial(vec![refused()])] {
        let kind = into_error(error).io().map(io::Error::kind);
        assert_eq!(kind, Some(io::ErrorKind::ConnectionRefused));
    }
    let unknown = into_error(libp2p_dns::Error::ResolveError(NetError::Timeout));
    assert_eq!(
        unknown.io().map(io::Error::kind),
        Some(io::ErrorKind::TimedOut)
    );
}

/// A name server on a socket of this host, which knows the TXT records of some names.
struct NameServer {
    address: SocketAddr,
    zone: Arc<Mutex<HashMap<String, Vec<Vec<u8>>>>>,
}

impl NameServer {
    fn new() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let zone: Arc<Mutex<HashMap<_, Vec<Vec<u8>>>>> = Arc::default();
        let known = Arc::clone(&zone);
        thread::spawn(move || {
            let mut query = [0; 512];
            loop {
                let (length, from) = socket.recv_from(&mut query).unwrap();
                let answer = answer(&query[..length], &known.lock().unwrap());
                socket.send_to(&answer, from).unwrap();
            }
        });
        Self { address, zone }
    }

    fn set(&self, name: &str, texts: &[String]) {
        let texts = texts.iter().map(|text| text.clone().into_bytes());
        let mut zone = self.zone.lock().unwrap();
        zone.insert(format!("_dnsaddr.{name}"), texts.collect());
    }

    fn transport(&self, engine: Engine) -> websocket::Transport {
        let config = Config::default().with_engine(engine);
        with_name_servers(config, only(self.address), ResolverOpts::default())
    }
}

fn only(name_server: SocketAddr) -> ResolverConfig {
    let mut connection = ConnectionConfig::udp();
    connection.port = name_server.port();
    let mut server = NameServerConfig::udp(name_server.ip());
    server.connections = vec![connection];
    ResolverConfig::from_parts(None, Vec::new(), vec![server])
}

/// RFC 1035, section 4: the header with the question, and a record for each text. A name that is not known has none.
fn answer(query: &[u8], zone: &HashMap<String, Vec<Vec<u8>>>) -> Vec<u8> {
    const RESPONSE: [u8; 2] = [0x81, 0x80];
    const NO_SUCH_NAME: [u8; 2] = [0x81, 0x83];
    /// The name of the question.
    const SAME_NAME: [u8; 2] = [0xc0, 12];
    const TXT_IN: [u8; 4] = [0, 16, 0, 1];

    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] != 0 {
        let label = &query[at + 1..][..usize::from(query[at])];
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        at += 1 + label.len();
    }
    let question = &query[12..at + 5];
    let found = match zone.get(&labels.join(".")) {
        Some(texts) if question.ends_with(&TXT_IN) => Some(texts),
        _ => None,
    };
    let count = found.map_or(0, Vec::len).try_into().unwrap();
    let mut answer = query[..2].to_vec();
    answer.extend(found.map_or(NO_SUCH_NAME, |_| RESPONSE));
    answer.extend([0, 1, 0, count, 0, 0, 0, 0]);
    answer.extend(question);
    for text in found.into_iter().flatten() {
        // Pieces as short as they may be long, so that most texts have several.
        let pieces = text.chunks(40).flat_map(|piece| {
            let length = u8::try_from(piece.len()).unwrap();
            [&[length], piece].concat()
        });
        let pieces: Vec<u8> = pieces.collect();
        answer.extend(SAME_NAME);
        answer.extend(TXT_IN);
        answer.extend(60u32.to_be_bytes());
        answer.extend(u16::try_from(pieces.len()).unwrap().to_be_bytes());
        answer.extend(pieces);
    }
    answer
}

const OPTS: DialOpts = DialOpts {
    role: Endpoint::Dialer,
    port_use: PortUse::New,
};

/// Listens, and greets whoever connects.
async fn greeter(mut transport: websocket::Transport) -> Multiaddr {
    let address = "/ip4/127.0.0.1/tcp/0/ws".parse().unwrap();
    transport.listen_on(ListenerId::next(), address).unwrap();
    let event = poll_fn(|cx| Pin::new(&mut transport).poll(cx)).await;
    let TransportEvent::NewAddress { listen_addr, .. } = event else {
        panic!("{event:?}");
    };
    ::tokio::spawn(async move {
        loop {
            let event = poll_fn(|cx| Pin::new(&mut transport).poll(cx)).await;
            let TransportEvent::Incoming { upgrade, .. } = event else {
                panic!("{event:?}");
            };
            ::tokio::spawn(async {
                let mut connection = upgrade.await.unwrap();
                connection.write_all(b"hello").await.unwrap();
                connection.close().await.unwrap();
            });
        }
    });
    listen_addr
}

/// As in a swarm: the transport and the dial are polled by different tasks.
async fn dial(mut transport: websocket::Transport, address: &str) -> Result<Connection, Error> {
    let dial = transport.dial(address.parse().unwrap(), OPTS).unwrap();
    let polling = ::tokio::spawn(async move {
        let event = poll_fn(|cx| Pin::new(&mut transport).poll(cx)).await;
        panic!("{event:?}");
    });
    let limit = pin!(deadline::passed(Duration::from_secs(30)));
    let ended = match future::select(dial, limit).await {
        Either::Left((ended, _)) => ended,
        Either::Right(_) => panic!("it happens within 30 s"),
    };
    polling.abort();
    ended
}

#[::tokio::test]
async fn a_dial_that_resolves_its_name_keeps_no_listening_socket_open() {
    let silent = ::tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let servers = only(silent.local_addr().unwrap());
    let mut transport = tcp::Transport::new(
        libp2p_tcp::Config::default(),
        servers,
        ResolverOpts::default(),
    );
    let address = "/ip4/127.0.0.1/tcp/0".parse().unwrap();
    transport.listen_on(ListenerId::next(), address).unwrap();
    let event = poll_fn(|cx| Pin::new(&mut transport).poll(cx)).await;
    let TransportEvent::NewAddress { listen_addr, .. } = event else {
        panic!("{event:?}");
    };
    let [resolving, untouched] = [
        "/dns4/a.example/tcp/1".parse().unwrap(),
        listen_addr.clone(),
    ]
    .map(|address| transport.dial(address, OPTS).unwrap());
    let mut query = [0; 512];
    let asked = pin!(silent.recv(&mut query));
    let Either::Right((_, resolving)) = future::select(resolving, asked).await else {
        panic!("nobody has answered");
    };

    drop(transport);
    let Some(Protocol::Tcp(port)) = listen_addr.iter().nth(1) else {
        panic!("{listen_addr}");
    };
    let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    let error = untouched.await.err();
    assert!(matches!(error, Some(Error::TransportDropped)), "{error:?}");
    drop(resolving);
}

/// Where nobody listens.
fn nowhere() -> String {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    format!(
        "/ip4/127.0.0.1/tcp/{}/ws",
        taken.local_addr().unwrap().port()
    )
}

const PEER: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";

async fn a_name_leads_over_others_to_a_listener(engine: Engine) {
    let names = NameServer::new();
    let greeter = greeter(names.transport(engine)).await;
    let nowhere = nowhere();
    let record = |address: &str| format!("dnsaddr={address}");
    names.set(
        "a.example",
        &[
            "v=spf1 -all".to_owned(),
            record("/ip4/127.0.0.1/tcp/1"),
            record(&format!("{nowhere}/p2p/{PEER}")),
            record(&format!("/dnsaddr/b.example/p2p/{PEER}")),
        ],
    );
    names.set("b.example", &[record(&format!("{greeter}/p2p/{PEER}"))]);
    for address in [
        "/dnsaddr/a.example",
        &format!("/dnsaddr/a.example/p2p/{PEER}"),
    ] {
        let mut connection = dial(names.transport(engine), address).await.unwrap();
        let mut heard = String::new();
        connection.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "hello");
    }
}

async fn what_a_name_does_not_lead_to_is_told(engine: Engine) {
    let names = NameServer::new();
    let nowhere = nowhere();
    names.set("a.example", &[format!("dnsaddr={nowhere}")]);
    let reason = async |address: &str| match dial(names.transport(engine), address).await {
        Err(Error::Dnsaddr { source, .. }) => source,
        other => panic!("{other:?}"),
    };
    match reason("/dnsaddr/a.example").await {
        DnsaddrError::Unreachable { source, .. } => {
            let refused = source.io().map(io::Error::kind);
            assert_eq!(refused, Some(io::ErrorKind::ConnectionRefused));
        }
        other => panic!("{other:?}"),
    }
    match reason(&format!("/dnsaddr/a.example/p2p/{PEER}")).await {
        DnsaddrError::NoWebSocket { .. } => {}
        other => panic!("{other:?}"),
    }
    match reason("/dnsaddr/c.example").await {
        DnsaddrError::Lookup { name, source } => {
            assert_eq!(name, "_dnsaddr.c.example");
            assert_eq!(source.kind(), io::ErrorKind::NotFound);
        }
        other => panic!("{other:?}"),
    }
    match reason(&format!("/dnsaddr/{}", "a".repeat(64))).await {
        DnsaddrError::Lookup { source, .. } => assert_eq!(source.kind(), io::ErrorKind::Other),
        other => panic!("{other:?}"),
    }
}

macro_rules! on_every_engine {
    ($($test:ident),+ $(,)?) => {
        mod libp2p {
            $(#[::tokio::test]
            async fn $test() {
                super::$test(super::Engine::Libp2p).await;
            })+
        }

        mod stream {
            $(#[::tokio::test]
            async fn $test() {
                super::$test(super::Engine::Stream).await;
            })+
        }
    };
}

on_every_engine!(
    a_name_leads_over_others_to_a_listener,
    what_a_name_does_not_lead_to_is_told,
);
