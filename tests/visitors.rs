//! Requests that are not for libp2p, on the port of a node, over TCP and over TLS.
#![cfg(all(feature = "tokio", feature = "upgrade"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/authority.rs"]
mod authority;
mod common;

use std::{
    convert::Infallible, io::ErrorKind, net::SocketAddr, num::NonZeroUsize, sync::Arc,
    time::Duration,
};

use authority::{Authority, Leaf};
use axum::{Router, body::Bytes, routing};
use common::{Engine, cause, new_address, next, socket_address, within};
use futures::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, StreamExt as _,
    channel::{
        mpsc::{UnboundedReceiver, unbounded},
        oneshot,
    },
    future::join,
};
use futures_rustls::TlsConnector;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use libp2p::{
    Multiaddr, SwarmBuilder,
    swarm::{ListenError, SwarmEvent, dummy},
};
use libp2p_lazy_websocket::websocket::{
    self, AnswerError, Config, Counters, HandshakeError, Proxies, Visitor,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio_util::compat::{FuturesAsyncReadCompatExt as _, TokioAsyncReadCompatExt as _};

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// A node with `/ws` and `/tls/ws` on one port.
struct Node {
    address: Multiaddr,
    authority: Authority,
    counters: Counters,
    /// Whom its closure was called with, unless a test has its own.
    visitors: UnboundedReceiver<Visitor>,
    /// Why accepted connections have ended for the swarm.
    ended: UnboundedReceiver<String>,
}

impl Node {
    async fn new(config: Config) -> Self {
        let (tell, visitors) = unbounded();
        let visit = move |visitor| tell.unbounded_send(visitor).unwrap();
        Self::with(config.with_visitors(visit), visitors).await
    }

    /// With a closure that the test brings.
    async fn serving(visit: impl Fn(Visitor) + Send + Sync + 'static) -> Self {
        Self::with(Config::default().with_visitors(visit), unbounded().1).await
    }

    async fn with(config: Config, visitors: UnboundedReceiver<Visitor>) -> Self {
        let authority = Authority::new();
        let config = config.with_certificates(authority.sign(&Leaf::default()).in_use());
        let transport = websocket::tokio::transport(config);
        let counters = transport.counters();
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_other_transport(|key| transport.upgraded(key))
            .unwrap()
            .with_behaviour(|_| dummy::Behaviour)
            .unwrap()
            .build();
        swarm
            .listen_on("/ip4/127.0.0.1/tcp/0/x-parity-ws/%2Fhere".parse().unwrap())
            .unwrap();
        let address = new_address(&mut swarm).await;
        let port = socket_address(&address).port();
        let secured = format!("/ip4/127.0.0.1/tcp/{port}/tls/x-parity-ws/%2Fhere");
        swarm.listen_on(secured.parse().unwrap()).unwrap();
        new_address(&mut swarm).await;
        let (tell, ended) = unbounded();
        tokio::spawn(async move {
            loop {
                if let SwarmEvent::IncomingConnectionError { error, .. } =
                    swarm.select_next_some().await
                    && let ListenError::Transport(_) = error
                {
                    let cause = cause::<HandshakeError>(&error).map(|error| format!("{error:?}"));
                    let _ = tell.unbounded_send(cause.unwrap_or_else(|| format!("{error:?}")));
                }
            }
        });
        Self {
            address,
            authority,
            counters,
            visitors,
            ended,
        }
    }

    fn at(&self) -> SocketAddr {
        socket_address(&self.address)
    }

    /// A connection, over TLS or without.
    async fn connect(&self, is_secured: bool) -> Box<dyn Duplex> {
        let tcp = tokio::net::TcpStream::connect(self.at()).await.unwrap();
        if !is_secured {
            return Box::new(tcp.compat());
        }
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().into()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        // As browsers and health checks do.
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        let name = "localhost".try_into().unwrap();
        Box::new(connector.connect(name, tcp.compat()).await.unwrap())
    }

    /// A connection on which this was sent.
    async fn sent(&self, is_secured: bool, request: impl AsRef<[u8]>) -> Box<dyn Duplex> {
        let mut io = self.connect(is_secured).await;
        io.write_all(request.as_ref()).await.unwrap();
        io.flush().await.unwrap();
        io
    }

    /// All that comes in answer to this, up to the end of the connection.
    async fn exchange(&self, is_secured: bool, request: impl AsRef<[u8]>) -> String {
        let mut io = self.sent(is_secured, request).await;
        let mut answer = String::new();
        within(io.read_to_string(&mut answer)).await.unwrap();
        answer
    }

    async fn visitor(&mut self) -> Visitor {
        within(self.visitors.next()).await.unwrap()
    }

    async fn ended(&mut self) -> String {
        within(self.ended.next()).await.unwrap()
    }
}

const GET: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The request of a peer, with another line behind its first one.
fn upgrade(first: &str, more: &str) -> String {
    format!(
        "{first}\r\nHost: localhost\r\n{more}Connection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// Answers as most would.
fn answer(visitor: Visitor) {
    tokio::spawn(async move {
        let body = format!("{} {}\n", visitor.method(), visitor.path());
        match visitor.path() {
            "/none" => visitor.answer(204, "text/plain", body).await,
            "/unchanged" => visitor.answer(304, "text/plain", body).await,
            "/odd" => visitor.answer(299, "a/b; c=\"d\"", body).await,
            _ => visitor.answer(200, "text/plain", body).await,
        }
    });
}

/// Without its date.
fn dateless(answer: &str) -> String {
    let Some((before, after)) = answer.split_once("Date: ") else {
        panic!("an answer, not {answer:?}");
    };
    let (date, after) = after.split_once("\r\n").unwrap();
    assert!(date.ends_with(" GMT"), "{date}");
    format!("{before}{after}")
}

#[tokio::test]
async fn each_request_that_is_not_for_libp2p_is_answered_by_the_application_and_closed() {
    let mut node = Node::serving(answer).await;
    let mut visitors = 0;
    let body = "a".repeat(200_000);
    for (request, body) in [
        (GET.to_owned(), "GET /healthz\n"),
        (GET.replace("\r\n", "\n"), "GET /healthz\n"),
        // That of HAProxy, if it is told nothing else.
        ("OPTIONS / HTTP/1.0\r\n\r\n".to_owned(), "OPTIONS /\n"),
        (
            "GET /a?b=c%20d HTTP/1.0\r\n\r\n".to_owned(),
            "GET /a?b=c%20d\n",
        ),
        // A second request, which is not answered.
        (GET.repeat(2), "GET /healthz\n"),
        (
            GET.to_owned() + &upgrade("GET /here HTTP/1.1", ""),
            "GET /healthz\n",
        ),
        (
            format!("POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n{body}"),
            "POST /b\n",
        ),
        (
            "POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
                .to_owned(),
            "POST /b\n",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
             HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
                .to_owned(),
            "GET /\n",
        ),
    ] {
        for is_secured in [false, true] {
            let answer = node.exchange(is_secured, &request).await;
            let expected = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            assert_eq!(dateless(&answer), expected, "to {request:.100}");
            assert_eq!(node.ended().await, "Visitor");
            visitors += 1;
            assert_eq!(node.counters.visitors(), visitors);
        }
    }
    for (request, head) in [
        (
            GET.replace("GET", "HEAD"),
            "200 OK\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n",
        ),
        (
            GET.replace("healthz", "none"),
            "204 No Content\r\nConnection: close\r\n",
        ),
        (
            GET.replace("healthz", "unchanged"),
            "304 Not Modified\r\nConnection: close\r\n",
        ),
        (
            GET.replace("GET /healthz", "HEAD /odd"),
            "299 \r\nConnection: close\r\nContent-Type: a/b; c=\"d\"\r\nContent-Length: 10\r\n",
        ),
    ] {
        let answer = node.exchange(true, &request).await;
        assert_eq!(dateless(&answer), format!("HTTP/1.1 {head}\r\n"));
    }
    assert_eq!(node.counters.pending_handshakes(), 0);
    assert_eq!(node.counters.refused_visitors(), 0);
}

#[tokio::test]
async fn what_is_for_libp2p_or_is_no_request_is_never_handed_on() {
    let mut node = Node::new(Config::default().with_path_matching(true)).await;
    let here = |more| upgrade("GET /here HTTP/1.1", more);
    for (request, status, ended) in [
        (
            here("Sec-WebSocket-Version: 12\r\n"),
            426,
            "WebSocketVersion",
        ),
        (here(""), 426, "MissingHeader"),
        (
            here("Sec-WebSocket-Version: 13\r\n").replace("GET", "POST"),
            405,
            "Method",
        ),
        (here("Content-Length: 5\r\n"), 400, "Body"),
        // Of a proxy that drops what it should pass on.
        (
            here("").replace("Upgrade: websocket\r\n", ""),
            426,
            "MissingHeader { name: \"Upgrade\" }",
        ),
        (
            here("").replace("Connection: Upgrade\r\n", ""),
            400,
            "MissingHeader { name: \"Connection\" }",
        ),
        // RFC 9110, section 7.8, ignores an upgrade in it. A proxy may not.
        (upgrade("GET /there HTTP/1.0", ""), 505, "HttpVersion"),
        (upgrade("GET /here HTTP/1.0", ""), 505, "HttpVersion"),
        (
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
            505,
            "HttpVersion",
        ),
        (GET.replace("Host", "Ho st"), 400, "Malformed"),
        (GET.replace("Host", "Hose"), 400, "MissingHeader"),
        (
            GET.replace("Host", "Host: a\r\nHost"),
            400,
            "UnexpectedHeader",
        ),
        (GET.replace("healthz", &"a".repeat(17_000)), 431, "TooLarge"),
        (
            GET.replace("\r\n\r\n", &"\r\na: b".repeat(101)) + "\r\n\r\n",
            431,
            "TooManyHeaders",
        ),
    ] {
        for is_secured in [false, true] {
            // Behind it, what a proxy may take for the tunnel that was asked for.
            let answer = node.exchange(is_secured, request.clone() + GET).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{answer} to {request:.200}"
            );
            assert_eq!(answer.matches("\r\nDate: ").count(), 1, "{answer}");
            let close = [
                "\r\nConnection: close\r\n",
                "\r\nConnection: Upgrade, close\r\n",
            ];
            assert!(
                answer.contains(close[usize::from(status == 426)]),
                "{answer}"
            );
            assert!(node.ended().await.starts_with(ended));
        }
    }
    assert_eq!(node.counters.visitors(), 0);
    assert!(node.visitors.try_recv().is_err());
}

#[tokio::test]
async fn an_upgrade_for_another_path_may_be_that_of_the_application() {
    let mut node = Node::new(Config::default().with_path_matching(true)).await;
    for request in [
        upgrade("GET /rpc HTTP/1.1", "Sec-WebSocket-Version: 13\r\n"),
        upgrade("GET /rpc?a HTTP/1.1", "Sec-WebSocket-Version: 8\r\n"),
        upgrade("POST / HTTP/1.1", ""),
    ] {
        let mut io = node.sent(false, &request).await;
        let mut visitor = node.visitor().await;
        assert_eq!(node.ended().await, "Visitor");
        let mut received = vec![0; request.len()];
        visitor.read_exact(&mut received).await.unwrap();
        assert_eq!(String::from_utf8(received).unwrap(), request);
        // And both ways from there on.
        io.write_all(b"ping").await.unwrap();
        visitor.read_exact(&mut [0; 4]).await.unwrap();
        visitor.write_all(b"pong").await.unwrap();
        visitor.flush().await.unwrap();
        let mut pong = [0; 4];
        io.read_exact(&mut pong).await.unwrap();
        assert_eq!(&pong, b"pong");
    }
    assert_arrives(&node).await;
}

/// A peer connects.
async fn assert_arrives(node: &Node) {
    let config = Config::default().with_trust_anchor(node.authority.anchor());
    let transport = websocket::tokio::transport(config);
    let mut peer = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_other_transport(|key| transport.upgraded(key))
        .unwrap()
        .with_behaviour(|_| dummy::Behaviour)
        .unwrap()
        .build();
    peer.dial(node.address.clone()).unwrap();
    let event = next(&mut peer).await;
    assert!(
        matches!(event, SwarmEvent::ConnectionEstablished { .. }),
        "{event:?}"
    );
}

#[tokio::test]
async fn a_visitor_tells_who_it_is() {
    let mut node = Node::new(Config::default()).await;
    for is_secured in [false, true] {
        let _io = node.sent(is_secured, GET.replace("GET", "PUT")).await;
        let visitor = node.visitor().await;
        assert_eq!((visitor.method(), visitor.path()), ("PUT", "/healthz"));
        assert_eq!(visitor.is_secured(), is_secured);
        let from = visitor.from().to_string();
        assert!(from.starts_with("/ip4/127.0.0.1/tcp/"), "{from}");
        assert_eq!(from.contains("/tls/"), is_secured, "{from}");
        assert!(from.ends_with("/x-parity-ws/%2Fhere"), "{from}");
    }
}

#[tokio::test]
async fn the_client_of_a_proxy_is_whom_a_visit_is_from_and_has_a_quarter_of_all() {
    let local = ["127.0.0.1".parse().unwrap()];
    let max = NonZeroUsize::new(8).unwrap();
    for (proxies, says) in [
        (
            Proxies::http(local),
            GET.replace("Host", "X-Forwarded-For: CLIENT\r\nHost"),
        ),
        (
            Proxies::tcp(local),
            format!("PROXY TCP4 CLIENT 192.0.2.9 1 2\r\n{GET}"),
        ),
    ] {
        let said = |client| says.replace("CLIENT", client);
        let config = Config::default()
            .with_proxies(proxies)
            .with_max_visitors(max);
        let mut node = Node::new(config).await;
        let _first = node.sent(false, said("192.0.2.1")).await;
        let first = node.visitor().await;
        assert!(first.from().to_string().starts_with("/ip4/192.0.2.1/"));
        let _second = node.sent(false, said("192.0.2.1")).await;
        let second = node.visitor().await;
        let third = node.exchange(false, said("192.0.2.1")).await;
        assert!(third.starts_with("HTTP/1.1 503 "), "{third}");
        let _other = node.sent(false, said("192.0.2.2")).await;
        let other = node.visitor().await;
        assert!(other.from().to_string().starts_with("/ip4/192.0.2.2/"));
        drop(second);
        let _again = node.sent(false, said("192.0.2.1")).await;
        node.visitor().await;
    }
}

#[tokio::test]
async fn one_visitor_too_many_is_refused_until_another_goes_and_peers_have_places_of_their_own() {
    let config = Config::default().with_max_pending_handshakes(4);
    let mut node = Node::new(config).await;
    let mut present = Vec::new();
    for index in 0..64 {
        let io = node.sent(index % 16 == 0, GET).await;
        present.push((io, node.visitor().await));
        node.ended().await;
    }
    assert_eq!(node.counters.pending_handshakes(), 0);
    assert_eq!(node.counters.evicted(), 0);
    for is_secured in [false, true] {
        let answer = node.exchange(is_secured, GET).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        let to_head = node.exchange(is_secured, GET.replace("GET", "HEAD")).await;
        let (head, _) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(
            dateless(&to_head),
            dateless(&(head.to_owned() + "\r\n\r\n"))
        );
        assert_eq!(node.ended().await, "TooManyVisitors { max: 64 }");
        assert_eq!(node.ended().await, "TooManyVisitors { max: 64 }");
    }
    assert_arrives(&node).await;
    assert_eq!(node.counters.refused_visitors(), 4);
    let (mut io, visitor) = present.pop().unwrap();
    drop(visitor);
    // Closed already when the place is free.
    assert_eq!(within(io.read(&mut [0; 1])).await.unwrap_or(0), 0);
    let _io = node.sent(true, GET).await;
    node.visitor().await;
    assert_eq!(node.counters.visitors(), 65);
}

#[tokio::test]
async fn a_visitor_that_outstays_fails_in_whatever_it_does_unless_it_may_stay() {
    let config = Config::default().with_visit_timeout(Duration::from_millis(50));
    let mut node = Node::new(config).await;
    for is_secured in [false, true] {
        // Both are woken, in tasks of their own.
        let _io = node.sent(is_secured, GET).await;
        let (mut reading, mut writing) = node.visitor().await.split();
        let read = tokio::spawn(async move {
            let mut all = Vec::new();
            (reading.read_to_end(&mut all).await, all)
        });
        let written = tokio::spawn(async move {
            loop {
                if let Err(error) = writing.write_all(&[0; 10_000]).await {
                    return (error, writing.flush().await, writing.close().await);
                }
            }
        });
        let (read, written) = within(join(read, written)).await;
        let (read, all) = read.unwrap();
        assert_eq!(read.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(String::from_utf8(all).unwrap(), GET);
        let (written, flushed, closed) = written.unwrap();
        assert_eq!(written.kind(), ErrorKind::TimedOut);
        assert_eq!(flushed.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(closed.unwrap_err().kind(), ErrorKind::TimedOut);

        // A client that reads nothing does not hold up an answer for long.
        let _io = node.sent(is_secured, GET).await;
        let visitor = node.visitor().await;
        let answered = within(visitor.answer(200, "text/plain", vec![b'a'; 100_000_000])).await;
        let Err(AnswerError::Io(error)) = answered else {
            panic!("{answered:?}");
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}

#[tokio::test]
async fn a_visitor_may_stay_for_as_long_as_the_application_likes() {
    let config = Config::default().with_visit_timeout(Duration::ZERO);
    let mut node = Node::new(config).await;
    for is_secured in [false, true] {
        let mut io = node.sent(is_secured, GET).await;
        let mut visitor = node.visitor().await;
        let read = visitor.read(&mut [0; 1]).await;
        assert_eq!(read.unwrap_err().kind(), ErrorKind::TimedOut);
        visitor.keep_open();
        visitor.read_exact(&mut vec![0; GET.len()]).await.unwrap();
        let answered = tokio::spawn(visitor.answer(200, "text/plain", "a"));
        let mut answer = String::new();
        within(io.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.ends_with("\r\n\r\na"), "{answer}");
        drop(io);
        within(answered).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn one_task_closes_while_another_reads_and_both_end() {
    let config = Config::default().with_max_visitors(NonZeroUsize::MIN);
    let mut node = Node::new(config).await;
    for is_secured in [false, true] {
        let mut io = node.sent(is_secured, GET).await;
        let mut visitor = node.visitor().await;
        visitor.keep_open();
        let (mut reading, mut writing) = visitor.split();
        let (tell, is_reading) = oneshot::channel();
        let read = tokio::spawn(async move {
            reading.read_exact(&mut vec![0; GET.len()]).await.unwrap();
            // It waits in the same poll, before the other task runs.
            tell.send(()).unwrap();
            reading.read(&mut [0; 1]).await
        });
        let closed = tokio::spawn(async move {
            is_reading.await.unwrap();
            writing.close().await
        });
        assert_eq!(within(io.read(&mut [0; 1])).await.unwrap(), 0);
        io.write_all(b"more").await.unwrap();
        io.flush().await.unwrap();
        drop(io);
        let (read, closed) = within(join(read, closed)).await;
        assert_eq!(read.unwrap().unwrap(), 0);
        closed.unwrap().unwrap();
        // Its place is free.
        let _io = node.sent(is_secured, GET).await;
        node.visitor().await;
    }
}

#[tokio::test]
async fn what_cannot_be_an_answer_is_an_error_and_nothing_is_sent() {
    let mut node = Node::new(Config::default()).await;
    for (status, content_type, reason) in [
        (
            101,
            "a",
            "101 is not the status of an answer, which is between 200 and 599",
        ),
        (
            600,
            "a",
            "600 is not the status of an answer, which is between 200 and 599",
        ),
        (
            200,
            "a\r\nb: c",
            r#"the content type "a\r\nb: c" has a character that cannot be in a header"#,
        ),
        (
            200,
            "\u{e4}",
            "the content type \"\u{e4}\" has a character that cannot be in a header",
        ),
    ] {
        let mut io = node.sent(false, GET).await;
        let answered = node.visitor().await.answer(status, content_type, "b").await;
        assert_eq!(answered.unwrap_err().to_string(), reason);
        // The request was not read, so the system may say that instead of the end.
        assert_eq!(within(io.read(&mut [0; 1])).await.unwrap_or(0), 0);
    }
}

#[tokio::test]
async fn an_answer_arrives_although_a_body_is_on_its_way() {
    let mut node = Node::new(Config::default()).await;
    for is_secured in [false, true] {
        let head = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
        let mut io = node.sent(is_secured, head).await;
        let answered = tokio::spawn(node.visitor().await.answer(200, "a", "b"));
        // Without somebody who reads it, the system resets the connection.
        within(io.read_exact(&mut [0; 1])).await.unwrap();
        for _ in 0..10 {
            io.write_all(&[0; 10_000]).await.unwrap();
            io.flush().await.unwrap();
        }
        let mut answer = String::new();
        within(io.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.ends_with("\r\n\r\nb"), "{answer}");
        drop(io);
        within(answered).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_closure_that_panics_closes_its_connection_alone() {
    let mut node = Node::serving(|visitor| match visitor.path() {
        "/healthz" => answer(visitor),
        path => panic!("{path} is the wish of a stranger"),
    })
    .await;
    for is_secured in [false, true] {
        let request = GET.replace("healthz", "panic");
        let mut io = node.sent(is_secured, request).await;
        assert_eq!(within(io.read(&mut [0; 1])).await.unwrap_or(0), 0);
        assert_eq!(node.ended().await, "Visitor");
        let answer = node.exchange(is_secured, GET).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        node.ended().await;
    }
    assert_eq!(node.counters.pending_handshakes(), 0);
    assert_eq!(node.counters.timed_out(), 0);
}

/// As the documentation of `Visitor` shows it.
fn serve_hyper(visitor: Visitor) {
    async fn page(request: Request<Incoming>) -> Result<Response<String>, Infallible> {
        Ok(Response::new(format!(
            "{} is not here yet\n",
            request.uri()
        )))
    }

    let io = TokioIo::new(visitor.compat());
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).keep_alive(false);
    tokio::spawn(server.serve_connection(io, service_fn(page)));
}

#[tokio::test]
async fn hyper_and_axum_serve_visitors() {
    let hyper = Node::serving(serve_hyper).await;
    for is_secured in [false, true] {
        let twice = GET.repeat(2) + &upgrade("GET / HTTP/1.1", "");
        let answer = hyper.exchange(is_secured, twice).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!(
            answer.ends_with("\r\n\r\n/healthz is not here yet\n"),
            "{answer}"
        );
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        let answer = hyper
            .exchange(is_secured, "OPTIONS / HTTP/1.0\r\n\r\n")
            .await;
        assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    }

    let app = Router::new()
        .route("/echo", routing::post(|body: Bytes| async { body }))
        .route("/here", routing::get(|| async { "a page" }));
    let axum = Node::serving(move |visitor| {
        let service = TowerToHyperService::new(app.clone());
        let io = TokioIo::new(visitor.compat());
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).keep_alive(false);
        tokio::spawn(server.serve_connection(io, service));
    })
    .await;
    let body: String = (0..20_000).map(|number| format!("{number},")).collect();
    for is_secured in [false, true] {
        let length = body.len();
        let request =
            format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}");
        let answer = axum.exchange(is_secured, request).await;
        let (head, echoed) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(echoed == body, "of {length} bytes came {}", echoed.len());
        let answer = axum
            .exchange(is_secured, GET.replace("healthz", "here"))
            .await;
        assert!(answer.ends_with("\r\n\r\na page"), "{answer}");
        let answer = axum.exchange(is_secured, GET).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }
    assert_arrives(&axum).await;
}

#[cfg(feature = "libp2p-websocket")]
#[tokio::test]
async fn libp2p_websocket_has_no_visitors() {
    let mut node = Node::new(Config::default().with_engine(Engine::Libp2p)).await;
    for is_secured in [false, true] {
        let mut io = node.sent(is_secured, GET).await;
        assert_eq!(within(io.read(&mut [0; 1])).await.unwrap_or(0), 0);
    }
    assert!(node.visitors.try_recv().is_err());
}
