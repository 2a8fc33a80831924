//! What `websocket::Engine::Stream` does beyond what both engines do: beside libp2p-websocket, and by the byte.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/authority.rs"]
mod authority;
mod common;
#[path = "common/echo.rs"]
mod echo;

use std::{
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    pin::Pin,
    sync::Arc,
    thread,
};

use authority::{Authority, Leaf, Signed};
use common::{Case, Engine, Runtime, cause, socket_address, within};
use echo::{Error, answers, assert_echoes, dial, dial_with, echo, port};
use futures::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, future, future::poll_fn,
};
use hyper::{
    Method, Request, Version,
    body::Body as _,
    client::conn::http1,
    http::{self, response::Parts},
};
use hyper_util::rt::TokioIo;
use libp2p::{
    Multiaddr, Transport,
    core::{
        Endpoint,
        transport::{DialOpts, ListenerId, PortUse, TransportEvent},
    },
};
use libp2p_lazy_websocket::{
    lazy,
    websocket::{self, Certificates, Connection, HandshakeError},
};
use libp2p_websocket::tls;
use rustls::{
    HandshakeKind, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use tokio::{sync::mpsc, task::spawn_blocking};

const PLAIN: &str = "/ip4/127.0.0.1/tcp/0/ws";
const TLS: &str = "/ip4/127.0.0.1/tcp/0/tls/ws";

const OPTS: DialOpts = DialOpts {
    role: Endpoint::Dialer,
    port_use: PortUse::New,
};

const CASE: Case = Case {
    runtime: Runtime::Tokio,
    engine: Engine::Stream,
};

fn config() -> websocket::Config {
    CASE.config()
}

/// libp2p-websocket, with this certificate if it listens, and trusting the authority if it dials.
fn stock(
    authority: &Authority,
    signed: &Signed,
) -> libp2p_websocket::Config<libp2p_tcp::tokio::Transport> {
    let mut builder = tls::Config::builder();
    let chain = signed.chain_der().into_iter().map(tls::Certificate::new);
    builder
        .server(tls::PrivateKey::new(signed.key_der()), chain)
        .unwrap()
        .add_trust(&tls::Certificate::new(authority.der()))
        .unwrap();
    let tcp = libp2p_tcp::tokio::Transport::new(libp2p_tcp::Config::default());
    let mut stock = libp2p_websocket::Config::new(tcp);
    stock.set_tls_config(builder.finish());
    stock
}

/// Both ends of a connection, the dialled one first.
async fn connected<L, D>(mut listener: L, mut dialer: D, listen: &str) -> (D::Output, L::Output)
where
    L: Transport<Error: std::fmt::Debug, ListenerUpgrade: Unpin> + Unpin,
    D: Transport<Error: std::fmt::Debug>,
{
    let id = ListenerId::next();
    listener.listen_on(id, listen.parse().unwrap()).unwrap();
    let event = poll_fn(|cx| Pin::new(&mut listener).poll(cx)).await;
    let address = event.into_new_address().unwrap();
    let accepting = async {
        let event = poll_fn(|cx| Pin::new(&mut listener).poll(cx)).await;
        event.into_incoming().unwrap().0.await.unwrap()
    };
    let dialling = dialer.dial(address, OPTS).unwrap();
    let (dialled, accepted) = future::join(dialling, accepting).await;
    (dialled.unwrap(), accepted)
}

/// Each sends much to the other, which reads while it writes; then the first closes.
async fn exchange(
    mut one: impl AsyncRead + AsyncWrite + Unpin,
    mut other: impl AsyncRead + AsyncWrite + Unpin,
) {
    const SIZE: usize = 3 << 20;

    async fn half(connection: impl AsyncRead + AsyncWrite + Unpin, sent: &[u8], expected: &[u8]) {
        let (mut read, mut write) = connection.split();
        let mut received = vec![0; expected.len()];
        let writing = async {
            // Of a size that fits none, so that frames end anywhere.
            for part in sent.chunks(70_001) {
                write.write_all(part).await?;
            }
            write.flush().await
        };
        let (written, read) = future::join(writing, read.read_exact(&mut received)).await;
        written.unwrap();
        read.unwrap();
        assert!(received == expected, "the bytes are the same");
    }

    let bytes = |step| (0..SIZE).map(move |n| (n * step % 251) as u8);
    let (to, back): (Vec<_>, Vec<_>) = (bytes(1).collect(), bytes(3).collect());
    future::join(half(&mut one, &to, &back), half(&mut other, &back, &to)).await;
    let closing = async {
        one.close().await.unwrap();
    };
    let ending = async {
        // libp2p-websocket says `ConnectionReset` where this crate has an end of file.
        if let Ok(count) = other.read(&mut [0; 64]).await {
            assert_eq!(count, 0);
        }
        let _ = other.close().await;
    };
    future::join(closing, ending).await;
}

#[tokio::test]
async fn libp2p_websocket_is_understood_in_both_roles_with_and_without_tls() {
    let authority = Authority::new();
    let signed = authority.sign(&Leaf::default());
    let ours = || {
        let config = config()
            .with_certificates(signed.in_use())
            .with_trust_anchor(authority.anchor());
        CASE.transport(config)
    };
    let stock = || stock(&authority, &signed);
    for listen in [PLAIN, TLS] {
        within(async {
            let (dialled, accepted) = connected(ours(), stock(), listen).await;
            exchange(dialled, accepted).await;
            let (dialled, accepted) = connected(ours(), stock(), listen).await;
            exchange(accepted, dialled).await;
            let (dialled, accepted) = connected(stock(), ours(), listen).await;
            exchange(dialled, accepted).await;
            let (dialled, accepted) = connected(stock(), ours(), listen).await;
            exchange(accepted, dialled).await;
            let (dialled, accepted) = connected(ours(), ours(), listen).await;
            exchange(dialled, accepted).await;
        })
        .await;
    }
}

/// What each of those who connect comes to.
async fn listen(
    config: websocket::Config,
    listen: &str,
) -> (
    Multiaddr,
    mpsc::UnboundedReceiver<Result<Connection, Error>>,
) {
    let mut transport = CASE.transport(config);
    let id = ListenerId::next();
    transport.listen_on(id, listen.parse().unwrap()).unwrap();
    let event = within(poll_fn(|cx| Pin::new(&mut transport).poll(cx))).await;
    let address = event.into_new_address().unwrap();
    let (sender, upgraded) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let event = poll_fn(|cx| Pin::new(&mut transport).poll(cx)).await;
            let TransportEvent::Incoming { upgrade, .. } = event else {
                panic!("only connections, not {event:?}");
            };
            let sender = sender.clone();
            tokio::spawn(async move {
                // A test that has seen enough hears no more.
                let _ = sender.send(upgrade.await);
            });
        }
    });
    (address, upgraded)
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Sends this, and reads until the other side closes.
async fn answer(address: &Multiaddr, request: String) -> String {
    let address = socket_address(address);
    let asking = spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    });
    within(asking).await.unwrap().unwrap()
}

/// What of the handshake went wrong.
fn reason(error: &Error) -> &HandshakeError {
    assert!(
        matches!(error, lazy::Error::Inner(websocket::Error::Handshake(_))),
        "{error:?}"
    );
    cause(error).unwrap()
}

#[tokio::test]
async fn whoever_is_refused_is_told_why() {
    let (address, mut upgraded) = listen(config(), PLAIN).await;
    let endless = format!("GET / HTTP/1.1\r\nCookie: {}", "a".repeat(1 << 20));
    for (request, status, error) in [
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "426",
            "no header Upgrade",
        ),
        (&REQUEST.replace("GET", "POST"), "405", "POST, not GET"),
        (&REQUEST.replace(" 13", " 8"), "426", "is \"8\", not 13"),
        ("\x16\x03\x01\x02\0\x01\0\n", "400", "speaks TLS"),
        (&endless[..1 << 16], "431", "longer than 16384 bytes"),
    ] {
        let answer = answer(&address, request.to_owned()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        let is_426 = status == "426";
        assert_eq!(answer.contains("\r\nSec-WebSocket-Version: 13\r\n"), is_426);
        let refused = within(upgraded.recv()).await.unwrap().unwrap_err();
        assert!(reason(&refused).to_string().contains(error), "{refused:?}");
    }
    // Nobody else is affected.
    assert_echoes_with(&address, &mut upgraded).await;
}

/// What hyper makes of the answer.
async fn fetch(
    address: &Multiaddr,
    request: http::request::Builder,
    body: &str,
) -> (Parts, String) {
    let stream = tokio::net::TcpStream::connect(socket_address(address));
    let io = TokioIo::new(within(stream).await.unwrap());
    let (mut sender, connection) = http1::handshake(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = request.body(body.to_owned()).unwrap();
    let response = within(sender.send_request(request)).await.unwrap();
    let (parts, mut body) = response.into_parts();
    let mut text = Vec::new();
    while let Some(frame) = within(poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))).await {
        text.extend(frame.unwrap().into_data().unwrap());
    }
    // It ends by itself, since it was told to.
    within(connection).await.unwrap().unwrap();
    (parts, String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn an_http_client_understands_each_refusal() {
    let exact = config().with_path_matching(true);
    let (address, mut upgraded) = listen(exact, PLAIN).await;
    let get = || {
        let request = Request::get("/").header("Host", "a");
        request.header("Connection", "keep-alive")
    };
    let upgrade = |path, version| {
        let request = Request::get(path).header("Host", "a");
        request
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", version)
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    let large = "a".repeat(200_000);
    let long = "a".repeat(20_000);
    let many = (0..101).fold(get(), |request, _| request.header("Cookie", "a"));
    let post = Request::post("/").header("Host", "a");
    for (request, body, expected) in [
        (get(), "", 426),
        (upgrade("/", "8"), "", 426),
        (upgrade("/other", "13"), "", 404),
        (Request::get("/"), "", 400),
        (upgrade("/", "13").header("Content-Length", "1"), "a", 400),
        (get().version(Version::HTTP_10), "", 505),
        (get().header("Cookie", long), "", 431),
        (many, "", 431),
        (post, &large, 405),
        (Request::head("/").header("Host", "a"), "", 405),
    ] {
        let is_head = request.method_ref() == Some(&Method::HEAD);
        let (parts, body) = fetch(&address, request, body).await;
        assert_eq!(parts.status, expected);
        let header = |name: &str| {
            let mut values = parts.headers.get_all(name).iter();
            let value = values.next().map(|value| value.to_str().unwrap());
            assert!(values.next().is_none(), "{name} is there once");
            value
        };
        let is_426 = expected == 426;
        let connection = if is_426 { "Upgrade, close" } else { "close" };
        assert_eq!(header("Connection"), Some(connection));
        assert_eq!(header("Upgrade"), is_426.then_some("websocket"));
        assert_eq!(header("Sec-WebSocket-Version"), is_426.then_some("13"));
        assert_eq!(header("Allow"), (expected == 405).then_some("GET"));
        assert_eq!(header("Content-Type"), Some("text/plain"));
        assert!(header("Date").unwrap().ends_with(" GMT"));
        let length = header("Content-Length").unwrap();
        if is_head {
            assert!(body.is_empty());
        } else {
            assert_eq!(length, body.len().to_string());
            assert!(body.contains("WebSocket port of a libp2p node"), "{body}");
        }
        within(upgraded.recv()).await.unwrap().unwrap_err();
    }
}

#[tokio::test]
async fn who_is_refused_in_the_middle_of_a_body_is_not_cut_off() {
    let (address, mut upgraded) = listen(config(), PLAIN).await;
    let address = socket_address(&address);
    let asking = spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n";
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        // It goes on as if it had not been answered.
        for _ in 0..100 {
            stream.write_all(&[b'a'; 2000]).unwrap();
        }
        answer
    });
    let answer = within(asking).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    within(upgraded.recv()).await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_refusal_ends_tls_as_well() {
    let authority = Authority::new();
    let certificates = authority.sign(&Leaf::default()).in_use();
    let (address, mut upgraded) = listen(config().with_certificates(certificates), TLS).await;
    let mut stream = tls_client(&authority, &address);
    let asking = spawn_blocking(move || {
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        // Without a close_notify this would be an error.
        rest(&mut stream)
    });
    let answer = within(asking).await.unwrap().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 426 "));
    within(upgraded.recv()).await.unwrap().unwrap_err();
}

async fn assert_echoes_with(
    address: &Multiaddr,
    upgraded: &mut mpsc::UnboundedReceiver<Result<Connection, Error>>,
) {
    let dialling = dial(CASE, config(), address);
    let accepting = within(upgraded.recv());
    let (dialled, accepted) = future::join(dialling, accepting).await;
    within(exchange(dialled.unwrap(), accepted.unwrap().unwrap())).await;
}

#[tokio::test]
async fn a_listener_may_insist_on_its_path() {
    let exact = config().with_path_matching(true);
    let own = "/ip4/127.0.0.1/tcp/0/x-parity-ws/%2Fchat";
    let (address, mut upgraded) = listen(exact.clone(), own).await;
    assert_echoes_with(&address, &mut upgraded).await;
    let other = format!("/ip4/127.0.0.1/tcp/{}/ws", port(&address))
        .parse()
        .unwrap();
    let refused = dial(CASE, config(), &other).await.unwrap_err();
    assert!(
        matches!(
            reason(&refused),
            HandshakeError::Refused { status: 404, .. }
        ),
        "{refused:?}"
    );
    let refused = within(upgraded.recv()).await.unwrap().unwrap_err();
    assert!(
        matches!(reason(&refused), HandshakeError::NotFound { path, .. } if path == "/"),
        "{refused:?}"
    );

    // By default any path will do.
    let (address, mut upgraded) = listen(config(), PLAIN).await;
    let other = format!("/ip4/127.0.0.1/tcp/{}/x-parity-ws/%2Fchat", port(&address));
    assert_echoes_with(&other.parse().unwrap(), &mut upgraded).await;
}

#[tokio::test]
async fn what_comes_with_the_request_or_the_response_is_not_lost() {
    let (address, mut upgraded) = listen(config(), PLAIN).await;
    let address = socket_address(&address);
    let asking = spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        // A mask of zeros leaves it as it is.
        let early = b"\x82\x85\0\0\0\0early";
        let request = [REQUEST.as_bytes(), early].concat();
        stream.write_all(&request).unwrap();
        stream
    });
    let mut accepted = within(upgraded.recv()).await.unwrap().unwrap();
    let mut received = [0; 5];
    within(accepted.read_exact(&mut received)).await.unwrap();
    assert_eq!(&received, b"early");
    drop(asking.await);

    let (server, _) = serve(|request, stream| {
        let key = header(request, "Sec-WebSocket-Key");
        let response = format!(
            "HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            accept(key)
        );
        let response = [response.as_bytes(), b"\x82\x05early"].concat();
        stream.write_all(&response).unwrap();
    });
    let mut dialled = dial(CASE, config(), &server).await.unwrap();
    within(dialled.read_exact(&mut received)).await.unwrap();
    assert_eq!(&received, b"early");
}

/// What a server answers to this key.
fn accept(key: &str) -> String {
    use base64::Engine as _;
    use sha1::Digest as _;

    let digest = sha1::Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    base64::engine::general_purpose::STANDARD.encode(digest)
}

/// The value of a header.
fn header<'a>(request: &'a str, name: &str) -> &'a str {
    let line = request.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.strip_prefix(": ")).unwrap()
}

/// Serves one connection after another as it is told, and passes on their requests.
fn serve(
    answer: impl Fn(&str, &mut TcpStream) + Send + 'static,
) -> (Multiaddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, requests) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let request = request(&mut stream);
            answer(&request, &mut stream);
            let _ = sender.send(request);
        }
    });
    let address = format!("/ip4/127.0.0.1/tcp/{port}/ws");
    (address.parse().unwrap(), requests)
}

fn request(stream: &mut impl io::Read) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        request.extend(byte);
    }
    String::from_utf8(request).unwrap()
}

const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\n\r\n";

/// A TLS server that says this to all. What it was asked for: the name within TLS, the request, and whether a session
/// was resumed.
fn serve_tls(
    signed: &Signed,
    answer: &'static str,
) -> (
    u16,
    mpsc::UnboundedReceiver<(String, String, HandshakeKind)>,
) {
    let chain = signed.chain_der().into_iter().map(CertificateDer::from);
    let key = PrivateKeyDer::try_from(signed.key_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.collect(), key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, requests) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(tls, stream.unwrap());
            let request = request(&mut stream);
            stream.write_all(answer.as_bytes()).unwrap();
            let name = stream.conn.server_name().unwrap_or_default().to_owned();
            let kind = stream.conn.handshake_kind().unwrap();
            let _ = sender.send((name, request, kind));
        }
    });
    (port, requests)
}

#[tokio::test]
async fn a_server_name_is_asked_for_within_tls_and_in_the_request() {
    let authority = Authority::new();
    let signed = authority.sign(&Leaf {
        names: &["a.example"],
        ..Leaf::default()
    });
    let (port, mut requests) = serve_tls(&signed, NOT_FOUND);
    let address = format!("/ip4/127.0.0.1/tcp/{port}/tls/sni/a.example/x-parity-ws/%2Fb");
    let dialer = config().with_trust_anchor(authority.anchor());
    let refused = dial(CASE, dialer, &address.parse().unwrap())
        .await
        .unwrap_err();
    assert!(
        matches!(
            reason(&refused),
            HandshakeError::Refused { status: 404, .. }
        ),
        "{refused:?}"
    );
    let (name, request, _) = within(requests.recv()).await.unwrap();
    assert_eq!(name, "a.example");
    assert!(request.starts_with("GET /b HTTP/1.1\r\n"), "{request}");
    assert_eq!(header(&request, "Host"), format!("a.example:{port}"));
}

#[tokio::test]
async fn a_session_is_resumed_also_over_a_rotation() {
    let authority = Authority::new();
    let (port, mut requests) = serve_tls(&authority.sign(&Leaf::default()), NOT_FOUND);
    let address = format!("/ip4/127.0.0.1/tcp/{port}/tls/ws").parse().unwrap();
    let certificates = Certificates::new();
    let mut dialer = CASE.transport(
        config()
            .with_trust_anchor(authority.anchor())
            .with_certificates(certificates.clone()),
    );
    for (number, expected) in [
        (1, HandshakeKind::Full),
        (2, HandshakeKind::Resumed),
        (3, HandshakeKind::Resumed),
    ] {
        let certificate = authority.sign_number(number).certificate();
        certificates.set(certificate).unwrap();
        dial_with(&mut dialer, &address).await.unwrap_err();
        let (_, _, kind) = within(requests.recv()).await.unwrap();
        assert_eq!(kind, expected);
    }
}

#[tokio::test]
async fn a_redirect_from_tls_leads_to_tls_only() {
    let authority = Authority::new();
    let certificates = authority.sign(&Leaf::default()).in_use();
    let listening = config().with_certificates(certificates);
    let addresses = echo(CASE, listening, &[PLAIN, TLS]).await;
    let dialer = config()
        .with_trust_anchor(authority.anchor())
        .with_max_redirects(2);
    let to_tls = format!(
        "HTTP/1.1 308 There\r\nLocation: wss://127.0.0.1:{}/a?b\r\n\r\n",
        port(&addresses[1])
    );
    let connection = dial(CASE, dialer.clone(), &answers(to_tls.leak()))
        .await
        .unwrap();
    assert_echoes(connection).await;

    let to_plain = format!(
        "HTTP/1.1 308 There\r\nLocation: ws://127.0.0.1:{}/\r\n\r\n",
        port(&addresses[0])
    );
    let (from, _) = serve_tls(&authority.sign(&Leaf::default()), to_plain.leak());
    let from = format!("/ip4/127.0.0.1/tcp/{from}/tls/ws");
    let refused = dial(CASE, dialer, &from.parse().unwrap())
        .await
        .unwrap_err();
    assert!(
        matches!(refused, Error::Inner(websocket::Error::RedirectWithoutTls)),
        "{refused:?}"
    );
}

#[tokio::test]
async fn redirects_are_followed_as_often_as_allowed() {
    let addresses = echo(CASE, config(), &[PLAIN]).await;
    let redirect = |to: &Multiaddr| -> &'static str {
        let location = format!("ws://127.0.0.1:{}/", port(to));
        format!("HTTP/1.1 302 There\r\nLocation: {location}\r\n\r\n").leak()
    };
    for allowed in [1, 2] {
        let second = answers(redirect(&addresses[0]));
        let first = answers(redirect(&second));
        let connection = dial(CASE, config().with_max_redirects(allowed), &first).await;
        match (allowed, connection) {
            (2, Ok(connection)) => assert_echoes(connection).await,
            (1, Err(Error::Inner(websocket::Error::TooManyRedirects))) => {}
            (_, other) => panic!("{allowed}: {other:?}"),
        }
    }
}

/// Reads frames, of which none is long, up to the end of the stream.
fn rest(stream: &mut impl io::Read) -> io::Result<Vec<u8>> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).map(|_| rest)
}

/// TLS by hand, whose handshake comes with the first write.
fn tls_client(
    authority: &Authority,
    address: &Multiaddr,
) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.der())).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let tls = rustls::ClientConnection::new(Arc::new(client), name).unwrap();
    let tcp = TcpStream::connect(socket_address(address)).unwrap();
    rustls::StreamOwned::new(tls, tcp)
}

#[tokio::test]
async fn a_close_ends_websocket_then_tls_then_tcp() {
    let authority = Authority::new();
    let certificates = authority.sign(&Leaf::default()).in_use();
    let (address, mut upgraded) = listen(config().with_certificates(certificates), TLS).await;
    let mut stream = tls_client(&authority, &address);
    let asking = spawn_blocking(move || {
        stream.write_all(REQUEST.as_bytes()).unwrap();
        assert!(request(&mut stream).starts_with("HTTP/1.1 101 "));
        // A close with 1000, masked with zeros.
        stream.write_all(b"\x88\x82\0\0\0\0\x03\xe8").unwrap();
        // Without a close_notify this would be an error.
        rest(&mut stream)
    });
    let mut accepted = within(upgraded.recv()).await.unwrap().unwrap();
    let read = within(accepted.read(&mut [0; 64])).await.unwrap();
    assert_eq!(read, 0);
    within(accepted.close()).await.unwrap();
    let frames = within(asking).await.unwrap().unwrap();
    assert_eq!(frames, b"\x88\x02\x03\xe8");
}
