//! What dials say that fail, each over sockets of this host: as a whole sentence, and nothing twice.
#![cfg(all(feature = "tokio", feature = "upgrade"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/authority.rs"]
mod authority;

use std::{collections::HashSet, error::Error, io, net::IpAddr, time::Duration};

use authority::{Authority, Leaf};
use futures::{
    FutureExt as _, StreamExt as _,
    future::{self, BoxFuture},
};
use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::transport::TransportError,
    identity::Keypair,
    swarm::{Config as SwarmConfig, DialError, SwarmEvent, dummy},
};
use libp2p_lazy_websocket::websocket::{self, Certificates, Config, Resolve};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket},
};

struct Names;

impl Resolve for Names {
    fn ips(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let hosts: &[[u8; 4]] = match name {
            "two.test" => &[[127, 0, 0, 1], [127, 0, 0, 2]],
            _ => &[],
        };
        future::ready(Ok(hosts.iter().map(|ip| (*ip).into()).collect())).boxed()
    }

    fn txt(&self, _name: &str) -> BoxFuture<'static, io::Result<Vec<String>>> {
        future::ready(Err(io::Error::other("the server refused"))).boxed()
    }
}

fn swarm(config: Config) -> Swarm<dummy::Behaviour> {
    let key = Keypair::generate_ed25519();
    let transport = websocket::tokio::transport(config).upgraded(&key).unwrap();
    let config = SwarmConfig::with_tokio_executor();
    Swarm::new(transport, dummy::Behaviour, key.public().into(), config)
}

/// A node that listens with these, and its address.
async fn node(listen: &str, config: Config) -> Multiaddr {
    let mut node = swarm(config);
    node.listen_on(listen.parse().unwrap()).unwrap();
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = node.select_next_some().await {
            break address;
        }
    };
    tokio::spawn(async move { while node.next().await.is_some() {} });
    address
}

/// A server that answers each who has sent something with these bytes, and its port.
async fn server(answer: &'static [u8]) -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer).await;
        }
    });
    port
}

/// A port that nobody listens on, nor can as long as the socket is there.
fn closed_port() -> (TcpSocket, u16) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

/// Each link on its own, from the error that a swarm reports.
fn links(mut error: &(dyn Error + 'static)) -> Vec<String> {
    let mut links = vec![error.to_string()];
    while let Some(source) = error.source() {
        links.push(source.to_string());
        error = source;
    }
    links
}

/// The links of a dial that comes to nothing.
async fn failure(config: Config, address: &str) -> Vec<String> {
    let mut dialer = swarm(config);
    dialer.dial(address.parse::<Multiaddr>().unwrap()).unwrap();
    loop {
        match dialer.select_next_some().await {
            SwarmEvent::OutgoingConnectionError {
                error: DialError::Transport(errors),
                ..
            } => match &errors[..] {
                [(_, TransportError::Other(error))] => {
                    let found = websocket::Error::find(error).unwrap();
                    let links = links(error);
                    assert_eq!(links[1..], self::links(found), "of one layer around it");
                    return links;
                }
                other => panic!("{other:?}"),
            },
            SwarmEvent::OutgoingConnectionError { error, .. } => return vec![error.to_string()],
            SwarmEvent::ConnectionEstablished { .. } => panic!("connected to {address}"),
            _ => {}
        }
    }
}

/// Three words in a row that are there twice, apart from addresses and numbers.
fn repeated(text: &str) -> Option<String> {
    let words: Vec<_> = text
        .split([' ', ':', ',', ';', '(', ')'])
        .filter(|word| !word.is_empty())
        .collect();
    let mut seen = HashSet::new();
    let mut threes = words.windows(3).map(|words| words.join(" "));
    threes.find(|three| !seen.insert(three.clone()))
}

#[tokio::test]
async fn a_failure_is_one_sentence_in_which_nothing_is_said_twice() {
    let authority = Authority::new();
    let certificates = Certificates::new();
    let signed = authority.sign(&Leaf {
        names: &["localhost"],
        ..Leaf::default()
    });
    certificates.set(signed.certificate()).unwrap();
    let wss = node(
        "/dns4/localhost/tcp/0/tls/ws",
        Config::default().with_certificates(certificates),
    )
    .await;
    let wss_port = wss.to_string().split('/').nth(4).unwrap().to_owned();
    let ws = node("/ip4/127.0.0.1/tcp/0/ws", Config::default()).await;

    let ip = |port: u16, end: &str| format!("/ip4/127.0.0.1/tcp/{port}/{end}");
    let answers = async |answer: &'static str| ip(server(answer.as_bytes()).await, "ws");
    let redirect = "HTTP/1.1 302 Found\r\nlocation: ftp://localhost/\r\n\r\n";
    let (_closed, closed_port) = closed_port();
    let cases = [
        ("refused", ip(closed_port, "ws")),
        ("before it sent anything", ip(server(b"").await, "ws")),
        (
            "answered 404 Not Found",
            answers("HTTP/1.1 404 Not Found\r\n\r\n").await,
        ),
        ("speaks SSH", answers("SSH-2.0-OpenSSH_9.2\r\n").await),
        (
            "does not speak HTTP/1.1",
            answers("220 mail.example\r\n").await,
        ),
        (
            "headers are malformed",
            answers("HTTP/1.1 101 Switching\r\n\0: 1\r\n\r\n").await,
        ),
        ("no header", answers("HTTP/1.1 101 Switching\r\n\r\n").await),
        ("with_max_redirects", answers(redirect).await),
        (
            "with `/ws` in place of `/tls/ws`",
            ip(server(b"HTTP/1.1 400 Bad Request\r\n\r\n").await, "tls/ws"),
        ),
        ("speaks TLS", ip(wss_port.parse().unwrap(), "ws")),
        (
            "not signed by a trusted authority",
            format!("/ip4/127.0.0.1/tcp/{wss_port}/tls/sni/localhost/ws"),
        ),
        (
            "only for localhost",
            format!("/ip4/127.0.0.1/tcp/{wss_port}/tls/ws"),
        ),
        ("not a DNS name", ip(1, "tls/sni/a%20b/ws")),
        ("no address", "/dns4/none.test/tcp/1/ws".to_owned()),
        ("the server refused", "/dnsaddr/none.test".to_owned()),
        ("127.0.0.2", format!("/dns4/two.test/tcp/{closed_port}/ws")),
        ("port", ip(0, "ws")),
        ("peer", format!("{ws}/p2p/{}", PeerId::random())),
    ];
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = ip(silent.local_addr().unwrap().port(), "ws");
    let trusting = || {
        Config::default()
            .with_resolver(Names)
            .with_trust_anchor(authority.anchor())
    };
    let mut failures = Vec::new();
    for (expected, address) in cases {
        let config = match expected {
            "not signed by a trusted authority" => Config::default(),
            _ => trusting(),
        };
        failures.push((expected, failure(config, &address).await));
    }
    let hasty = trusting().with_dial_timeout(Duration::from_millis(50));
    failures.push(("no connection within", failure(hasty, &silent).await));

    for (expected, links) in &failures {
        println!("{expected}: {}", links.join(": "));
    }
    for (expected, links) in failures {
        let text = links.join(": ");
        assert!(text.contains(expected), "{expected}: {text}");
        assert!(links.iter().all(|link| !link.is_empty()), "{text}");
        assert_eq!(repeated(&text), None, "{text}");
    }
}

/// The first link has the reason, as most applications print no other.
#[tokio::test]
async fn a_failed_listener_says_why_in_its_first_link() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let address = format!("/ip4/127.0.0.1/tcp/{port}/ws");
    let mut node = swarm(Config::default());
    node.listen_on(address.parse().unwrap()).unwrap();
    let error = loop {
        if let SwarmEvent::ListenerError { error, .. } = node.select_next_some().await {
            break error;
        }
    };
    let links = links(&error);
    let [first, failure, tcp, cause] = &links[..] else {
        panic!("{links:?}");
    };
    assert!(failure.contains(&address), "{failure}");
    assert_eq!(*first, format!("{failure}: address in use"));
    assert_eq!(tcp, "TCP failed");
    assert!(cause.contains("in use"), "{cause}");
}
