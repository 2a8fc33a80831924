//! Listeners that share a port, on real sockets, without anything of libp2p above WebSocket.
#![cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/authority.rs"]
mod authority;
mod common;
#[path = "common/echo.rs"]
mod echo;

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    pin::Pin,
    task::Poll,
    time::Duration,
};

use authority::{Authority, Leaf};
use common::{Case, Engine, on_each, socket_address, within};
use echo::{assert_echoes, dial, port, send_back};
use futures::{
    AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _,
    channel::mpsc::{self, UnboundedReceiver, UnboundedSender},
    future::poll_fn,
};
use libp2p::{
    Multiaddr, Transport as _,
    core::transport::{ListenerId, TransportError, TransportEvent},
    multiaddr::Protocol,
};
use libp2p_lazy_websocket::websocket::{self, Certificates, Counters, Proxies};

/// Listens and sends everything back, in a task of its own.
struct Node {
    commands: UnboundedSender<Command>,
    reports: UnboundedReceiver<Report>,
    counters: Counters,
}

enum Command {
    Listen(ListenerId, Multiaddr),
    Remove(ListenerId),
}

#[derive(Debug, PartialEq)]
enum Report {
    New(ListenerId, Multiaddr),
    Expired(ListenerId, Multiaddr),
    Closed(ListenerId),
    Failed(ListenerId),
    /// With the local address and that of the other side, without its port.
    Incoming(ListenerId, Multiaddr, String),
}

impl Node {
    fn start(case: Case, config: websocket::Config) -> Self {
        let mut transport = case.transport(config);
        let counters = transport.counters();
        let (commands, mut orders) = mpsc::unbounded();
        let (tell, reports) = mpsc::unbounded();
        case.spawn(async move {
            poll_fn(|cx| {
                loop {
                    match orders.poll_next_unpin(cx) {
                        Poll::Ready(Some(Command::Listen(id, address))) => {
                            transport.listen_on(id, address).unwrap();
                        }
                        Poll::Ready(Some(Command::Remove(id))) => {
                            assert!(transport.remove_listener(id));
                        }
                        Poll::Ready(None) => return Poll::Ready(()),
                        Poll::Pending => break,
                    }
                }
                while let Poll::Ready(event) = Pin::new(&mut transport).poll(cx) {
                    let _ = tell.unbounded_send(match event {
                        TransportEvent::NewAddress {
                            listener_id,
                            listen_addr,
                        } => Report::New(listener_id, listen_addr),
                        TransportEvent::AddressExpired {
                            listener_id,
                            listen_addr,
                        } => Report::Expired(listener_id, listen_addr),
                        TransportEvent::ListenerClosed { listener_id, .. } => {
                            Report::Closed(listener_id)
                        }
                        TransportEvent::ListenerError { listener_id, .. } => {
                            Report::Failed(listener_id)
                        }
                        TransportEvent::Incoming {
                            listener_id,
                            upgrade,
                            local_addr,
                            send_back_addr,
                        } => {
                            case.spawn(async move {
                                if let Ok(connection) = upgrade.await {
                                    let _ = send_back(connection).await;
                                }
                            })
                            .forget();
                            let from = send_back_addr.to_string();
                            let from = match port(&send_back_addr) {
                                0 => from,
                                port => from.replace(&format!("/tcp/{port}"), "/tcp/…"),
                            };
                            Report::Incoming(listener_id, local_addr, from)
                        }
                    });
                }
                Poll::Pending
            })
            .await;
        })
        .forget();
        Self {
            commands,
            reports,
            counters,
        }
    }

    fn listen(&self, address: &str) -> ListenerId {
        let id = ListenerId::next();
        let listen = Command::Listen(id, address.parse().unwrap());
        self.commands.unbounded_send(listen).unwrap();
        id
    }

    async fn next(&mut self) -> Report {
        within(self.reports.next()).await.unwrap()
    }

    /// So many connections that say nothing, once they have their places.
    async fn silent<const N: usize>(&self, address: &Multiaddr) -> [TcpStream; N] {
        let streams = [(); N].map(|()| TcpStream::connect(socket_address(address)).unwrap());
        until(|| self.counters.pending_handshakes() == N).await;
        streams
    }

    /// The address with which it is bound.
    async fn listening(&mut self, address: &str) -> (ListenerId, Multiaddr) {
        let id = self.listen(address);
        match self.next().await {
            Report::New(of, address) if of == id => (id, address),
            other => panic!("a new address, not {other:?}"),
        }
    }

    async fn removed(&mut self, id: ListenerId) {
        self.commands.unbounded_send(Command::Remove(id)).unwrap();
        match self.next().await {
            Report::Expired(of, _) if of == id => {
                assert_eq!(self.next().await, Report::Closed(id));
            }
            other => assert_eq!(other, Report::Closed(id)),
        }
    }

    /// A dial to this address reaches this listener, which shows that it was there.
    async fn assert_reached(
        &mut self,
        case: Case,
        dialer: &websocket::Config,
        id: ListenerId,
        address: &Multiaddr,
    ) {
        let connection = dial(case, dialer.clone(), address).await;
        let mut connection = connection.unwrap_or_else(|e| panic!("{address}: {e:?}"));
        // As all of libp2p begins.
        within(connection.write_all(b"\x13/multistream/1.0.0\n"))
            .await
            .unwrap();
        within(connection.flush()).await.unwrap();
        within(connection.read_exact(&mut [0; 20])).await.unwrap();
        assert_echoes(connection).await;
        let mut suffix = address.iter().skip(2).collect::<Vec<_>>();
        suffix.retain(|protocol| !matches!(protocol, Protocol::Sni(_)));
        let suffix: Multiaddr = suffix.into_iter().collect();
        let from = format!("/ip4/127.0.0.1/tcp/…{suffix}");
        assert_eq!(
            self.next().await,
            Report::Incoming(id, address.clone(), from)
        );
    }
}

/// With a certificate, and who trusts it.
fn configs(
    case: Case,
    certificates: Certificates,
    authority: &Authority,
) -> [websocket::Config; 2] {
    [
        case.config().with_tcp(true).with_certificates(certificates),
        case.config()
            .with_tcp(true)
            .with_trust_anchor(authority.anchor()),
    ]
}

/// Another thread or task sees to it.
async fn until(mut is_so: impl FnMut() -> bool) {
    within(poll_fn(|cx| {
        if is_so() {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }))
    .await;
}

/// Reads until the other side closes.
async fn closes(stream: TcpStream) -> Vec<u8> {
    let (done, closed) = futures::channel::oneshot::channel();
    std::thread::spawn(move || {
        let mut answer = Vec::new();
        let mut stream = stream;
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
        let _ = done.send(answer);
    });
    within(closed).await.unwrap()
}

on_each!(each_kind_is_reached_on_the_port_that_they_share);

async fn each_kind_is_reached_on_the_port_that_they_share(case: Case) {
    let authority = Authority::new();
    let certificates = authority.sign(&Leaf::default()).in_use();
    let [config, dialer] = configs(case, certificates, &authority);
    let mut node = Node::start(case, config);
    let (ws, plain) = node.listening("/ip4/127.0.0.1/tcp/0/ws").await;
    let port = port(&plain);
    let (wss, tls) = node
        .listening(&format!("/ip4/127.0.0.1/tcp/{port}/tls/ws"))
        .await;
    let raw = match case.engine {
        Engine::Stream => Some(node.listening(&format!("/ip4/127.0.0.1/tcp/{port}")).await),
        _ => None,
    };
    for _ in 0..3 {
        if let Some((raw, tcp)) = &raw {
            node.assert_reached(case, &dialer, *raw, tcp).await;
        }
        node.assert_reached(case, &dialer, ws, &plain).await;
        node.assert_reached(case, &dialer, wss, &tls).await;
    }
    assert_eq!(node.counters.unknown(), 0);

    // Whoever says nothing that is known here is closed, and nobody is told.
    for bytes in [&b"\x00"[..], b"\xff\xff", b"ssh-2"] {
        let mut stream = TcpStream::connect(socket_address(&plain)).unwrap();
        stream.write_all(bytes).unwrap();
        assert_eq!(closes(stream).await, b"");
    }
    // Nor of whoever says nothing at all.
    let stream = TcpStream::connect(socket_address(&plain)).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(closes(stream).await, b"");
    assert_eq!(node.counters.unknown(), 3);
    until(|| node.counters.pending_handshakes() == 0).await;

    // Whatever the pieces are.
    let mut stream = TcpStream::connect(socket_address(&plain)).unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" {
        stream.write_all(&[*byte]).unwrap();
    }
    let answer = String::from_utf8(closes(stream).await).unwrap();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
        "{answer}"
    );
    assert!(matches!(node.next().await, Report::Incoming(id, ..) if id == ws));
    node.assert_reached(case, &dialer, wss, &tls).await;
}

on_each!(a_certificate_that_goes_takes_tls_from_the_port_until_the_next);

async fn a_certificate_that_goes_takes_tls_from_the_port_until_the_next(case: Case) {
    let authority = Authority::new();
    let certificate = authority.sign(&Leaf::default()).certificate();
    let certificates = Certificates::new();
    let [config, dialer] = configs(case, certificates.clone(), &authority);
    let mut node = Node::start(case, config);
    let (ws, plain) = node.listening("/ip4/127.0.0.1/tcp/0/ws").await;
    let tls: Multiaddr = format!("/ip4/127.0.0.1/tcp/{}/tls/ws", port(&plain))
        .parse()
        .unwrap();
    let wss = node.listen(&tls.to_string());
    for _ in 0..3 {
        certificates.set(certificate.clone()).unwrap();
        assert_eq!(node.next().await, Report::New(wss, tls.clone()));
        let connection = dial(case, dialer.clone(), &tls).await.unwrap();
        assert!(matches!(node.next().await, Report::Incoming(id, ..) if id == wss));
        certificates.clear();
        certificates.clear();
        assert_eq!(node.next().await, Report::Expired(wss, tls.clone()));
        assert_echoes(connection).await;
        node.assert_reached(case, &dialer, ws, &plain).await;
    }
}

on_each!(a_wildcard_is_dialled_by_the_label_of_the_ip);

async fn a_wildcard_is_dialled_by_the_label_of_the_ip(case: Case) {
    let [own, direct] = [Authority::new(), Authority::new()];
    let wildcard = |serial| {
        let names = &["*.k1.direct.test"];
        direct
            .sign(&Leaf {
                names,
                serial,
                ..Leaf::default()
            })
            .certificate()
    };
    let of_labels = Certificates::new();
    let own_name = own.sign(&Leaf::default()).in_use();
    let [config, dialer] = configs(case, own_name, &own);
    let config = config.with_certificates(of_labels.clone());
    let dialer = dialer.with_trust_anchor(direct.anchor());
    if case.engine != Engine::Stream {
        let address: Multiaddr = "/ip4/127.0.0.1/tcp/0/tls/sni/*.k1.direct.test/ws"
            .parse()
            .unwrap();
        let listening = case
            .transport(config)
            .listen_on(ListenerId::next(), address.clone());
        assert!(matches!(listening, Err(TransportError::MultiaddrNotSupported(a)) if a == address));
        return;
    }
    let mut node = Node::start(case, config);
    let (raw, tcp) = node.listening("/ip4/127.0.0.1/tcp/0").await;
    let labelled = node.listen(&format!("{tcp}/tls/sni/*.k1.direct.test/ws"));
    let shown: Multiaddr = format!("{tcp}/tls/sni/127-0-0-1.k1.direct.test/ws")
        .parse()
        .unwrap();
    node.assert_reached(case, &dialer, raw, &tcp).await;
    of_labels.set(wildcard(1)).unwrap();
    assert_eq!(node.next().await, Report::New(labelled, shown.clone()));
    node.assert_reached(case, &dialer, labelled, &shown).await;

    // Both are on the port, and each is found by its name: the certificate of the other would be refused.
    let (wss, tls) = node.listening(&format!("{tcp}/tls/ws")).await;
    for address in [&shown, &tls] {
        let connection = dial(case, dialer.clone(), address).await.unwrap();
        assert!(matches!(node.next().await, Report::Incoming(id, ..) if id == labelled));
        assert_echoes(connection).await;
    }
    of_labels.set(wildcard(2)).unwrap();
    node.assert_reached(case, &dialer, labelled, &shown).await;
    of_labels.clear();
    assert_eq!(node.next().await, Report::Expired(labelled, shown.clone()));
    node.assert_reached(case, &dialer, wss, &tls).await;
    let refused = dial(case, dialer.clone(), &shown).await;
    refused.map(drop).unwrap_err();
    assert!(matches!(node.next().await, Report::Incoming(id, ..) if id == wss));
    of_labels.set(wildcard(3)).unwrap();
    assert_eq!(node.next().await, Report::New(labelled, shown.clone()));
}

on_each!(a_certificate_that_comes_later_brings_tls_to_the_port);

async fn a_certificate_that_comes_later_brings_tls_to_the_port(case: Case) {
    let authority = Authority::new();
    let certificates = Certificates::new();
    let [config, dialer] = configs(case, certificates.clone(), &authority);
    let mut node = Node::start(case, config);
    let (ws, plain) = node.listening("/ip4/127.0.0.1/tcp/0/ws").await;
    let tls: Multiaddr = format!("/ip4/127.0.0.1/tcp/{}/tls/ws", port(&plain))
        .parse()
        .unwrap();
    let wss = node.listen(&tls.to_string());
    node.assert_reached(case, &dialer, ws, &plain).await;
    let refused = dial(case, dialer.clone(), &tls).await;
    refused.map(drop).unwrap_err();
    assert!(matches!(node.next().await, Report::Incoming(id, ..) if id == ws));

    certificates
        .set(authority.sign(&Leaf::default()).certificate())
        .unwrap();
    assert_eq!(node.next().await, Report::New(wss, tls.clone()));
    node.assert_reached(case, &dialer, wss, &tls).await;
    node.assert_reached(case, &dialer, ws, &plain).await;
}

on_each!(the_socket_stays_until_the_last_of_them_goes);

async fn the_socket_stays_until_the_last_of_them_goes(case: Case) {
    let authority = Authority::new();
    let certificates = authority.sign(&Leaf::default()).in_use();
    let [config, dialer] = configs(case, certificates, &authority);
    let mut node = Node::start(case, config);
    let (ws, plain) = node.listening("/ip4/127.0.0.1/tcp/0/ws").await;
    let at = format!("/ip4/127.0.0.1/tcp/{}", port(&plain));
    let (wss, tls) = node.listening(&format!("{at}/tls/ws")).await;

    node.removed(ws).await;
    node.assert_reached(case, &dialer, wss, &tls).await;
    dial(case, dialer.clone(), &plain)
        .await
        .map(drop)
        .unwrap_err();
    // It is alone now, and hears of whoever comes.
    assert!(matches!(node.next().await, Report::Incoming(id, ..) if id == wss));
    let (ws, plain) = node.listening(&format!("{at}/ws")).await;
    node.assert_reached(case, &dialer, ws, &plain).await;
    node.removed(wss).await;
    node.removed(ws).await;

    // The port is free: another process could have it.
    let port = socket_address(&plain);
    until(|| std::net::TcpListener::bind(port).is_ok()).await;
    let (wss, tls) = node.listening(&format!("{at}/tls/ws")).await;
    node.assert_reached(case, &dialer, wss, &tls).await;
}

on_each!(strangers_on_a_shared_port_keep_nobody_out);

async fn strangers_on_a_shared_port_keep_nobody_out(case: Case) {
    let authority = Authority::new();
    let certificates = authority.sign(&Leaf::default()).in_use();
    let [config, dialer] = configs(case, certificates, &authority);
    let config = config.with_max_pending_handshakes(64);
    let mut node = Node::start(case, config);
    let (ws, plain) = node.listening("/ip4/127.0.0.1/tcp/0/ws").await;
    let at = format!("/ip4/127.0.0.1/tcp/{}", port(&plain));
    let (wss, tls) = node.listening(&format!("{at}/tls/ws")).await;
    let strangers: Vec<_> = (0..500)
        .map(|number| {
            let mut stream = TcpStream::connect(socket_address(&plain)).unwrap();
            if number % 2 == 1 {
                // Some have begun, but with nothing that would be handed on.
                let _ = stream.write_all(b"\n");
            }
            stream
        })
        .collect();
    node.assert_reached(case, &dialer, ws, &plain).await;
    node.assert_reached(case, &dialer, wss, &tls).await;
    until(|| {
        // Those who have said something, those who gave way, and those who are left.
        let counters = &node.counters;
        let (unknown, evicted) = (counters.unknown(), counters.evicted());
        let pending = counters.pending_handshakes();
        assert!(pending <= 64, "{pending}");
        unknown > 0 && unknown + evicted + pending as u64 == 500
    })
    .await;
    drop(strangers);
}

/// Of several certificates, each listener on the port is reached by its own name.
#[cfg(feature = "tokio")]
#[tokio::test]
async fn each_name_on_a_port_has_its_certificate() {
    let case = Case::TOKIO;
    let [one, other] = [Authority::new(), Authority::new()];
    let leaf = |names| Leaf {
        names,
        ..Leaf::default()
    };
    let late = Certificates::new();
    let config = case
        .config()
        .with_certificates(one.sign(&leaf(&["localhost"])).in_use())
        .with_certificates(late.clone());
    let mut node = Node::start(case, config);
    let (_, first) = node.listening("/dns4/localhost/tcp/0/tls/ws").await;
    let port = port(&first);
    let sni = |name: &str| -> Multiaddr {
        let text = format!("/ip4/127.0.0.1/tcp/{port}/tls/sni/{name}/ws");
        text.parse().unwrap()
    };
    let id = node.listen(&format!("/dns4/b.example/tcp/{port}/tls/ws"));
    let trusts = |authority: &Authority| case.config().with_trust_anchor(authority.anchor());
    dial(case, trusts(&other), &sni("b.example"))
        .await
        .map(drop)
        .unwrap_err();
    late.set(other.sign(&leaf(&["b.example"])).certificate())
        .unwrap();
    let address = format!("/dns4/b.example/tcp/{port}/tls/ws")
        .parse()
        .unwrap();
    while node.next().await != Report::New(id, Multiaddr::clone(&address)) {}
    for (authority, name) in [(&one, "localhost"), (&other, "b.example")] {
        let connection = dial(case, trusts(authority), &sni(name)).await;
        assert_echoes(connection.unwrap_or_else(|e| panic!("{name}: {e:?}"))).await;
    }
    // Each with its own.
    for (authority, name) in [(&one, "b.example"), (&other, "localhost")] {
        dial(case, trusts(authority), &sni(name))
            .await
            .map(drop)
            .unwrap_err();
    }
}

on_each!(a_tcp_proxy_tells_for_whom_it_connects);

async fn a_tcp_proxy_tells_for_whom_it_connects(case: Case) {
    let config = case
        .config()
        .with_proxies(Proxies::tcp(["127.0.0.1".parse().unwrap()]));
    let mut node = Node::start(case, config);
    let (ws, plain) = node.listening("/ip4/127.0.0.1/tcp/0/ws").await;
    for (header, from) in [
        (
            &b"PROXY TCP4 192.0.2.1 127.0.0.1 4711 80\r\n"[..],
            "/ip4/192.0.2.1/tcp/…/ws",
        ),
        (
            b"PROXY TCP6 2001:db8::1 ::1 4711 80\r\n",
            "/ip6/2001:db8::1/tcp/…/ws",
        ),
        (b"PROXY UNKNOWN\r\n", "/ip4/127.0.0.1/tcp/…/ws"),
    ] {
        let mut stream = TcpStream::connect(socket_address(&plain)).unwrap();
        stream.write_all(header).unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        assert_eq!(
            node.next().await,
            Report::Incoming(ws, plain.clone(), from.to_owned())
        );
        let answer = String::from_utf8(closes(stream).await).unwrap();
        let is_answered = answer.starts_with("HTTP/1.1 426");
        assert_eq!(
            is_answered,
            matches!(case.engine, Engine::Stream),
            "{answer}"
        );
    }
    // Whoever comes without is refused, and nobody is told.
    assert_eq!(node.counters.unknown(), 0);
    dial(case, case.config(), &plain)
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(node.counters.unknown(), 1);
}

on_each!(an_http_proxy_tells_for_whom_it_connects);

async fn an_http_proxy_tells_for_whom_it_connects(case: Case) {
    let config = case
        .config()
        .with_proxies(Proxies::http(["127.0.0.1".parse().unwrap()]));
    let mut node = Node::start(case, config.clone());
    let (ws, plain) = node.listening("/ip4/127.0.0.1/tcp/0/ws").await;
    for (header, from) in [
        (
            "X-Forwarded-For: 203.0.113.7, 192.0.2.1\r\n",
            "/ip4/192.0.2.1/tcp/0/ws",
        ),
        (
            "X-Forwarded-For: [2001:db8::1]:4711\r\n",
            "/ip6/2001:db8::1/tcp/…/ws",
        ),
        ("Forwarded: for=192.0.2.1\r\n", "/ip4/127.0.0.1/tcp/…/ws"),
    ] {
        let mut stream = TcpStream::connect(socket_address(&plain)).unwrap();
        let request = format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{header}Upgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let Report::Incoming(id, local, reported) = node.next().await else {
            panic!("a connection");
        };
        assert_eq!((id, local), (ws, plain.clone()));
        assert_eq!(reported, from);
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 101");
    }
    // Those who are no proxy are not believed.
    let config = case
        .config()
        .with_proxies(Proxies::http(["10.0.0.0/8".parse().unwrap()]));
    let mut node = Node::start(case, config);
    let (ws, plain) = node.listening("/ip4/127.0.0.1/tcp/0/ws").await;
    let mut stream = TcpStream::connect(socket_address(&plain)).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n")
        .unwrap();
    let from = "/ip4/127.0.0.1/tcp/…/ws".to_owned();
    assert_eq!(node.next().await, Report::Incoming(ws, plain, from));
}

on_each!(who_is_heard_when_its_listener_goes_is_let_go);

async fn who_is_heard_when_its_listener_goes_is_let_go(case: Case) {
    let authority = Authority::new();
    let certificates = authority.sign(&Leaf::default()).in_use();
    let [config, dialer] = configs(case, certificates, &authority);
    let mut node = Node::start(case, config);
    let (ws, plain) = node.listening("/ip4/127.0.0.1/tcp/0/ws").await;
    let at = format!("/ip4/127.0.0.1/tcp/{}", port(&plain));
    let (wss, tls) = node.listening(&format!("{at}/tls/ws")).await;
    let [mut request, mut hello, mut silent] = node.silent(&plain).await;

    // What it says is for a listener that is gone.
    node.removed(ws).await;
    request.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    assert_eq!(closes(request).await, b"");
    assert_eq!(node.counters.unknown(), 1);
    // The other listener is reached by those who came before it was alone, and after.
    hello.write_all(b"\x16\x03\x01").unwrap();
    let from = "/ip4/127.0.0.1/tcp/…/tls/ws".to_owned();
    assert_eq!(node.next().await, Report::Incoming(wss, tls.clone(), from));
    node.assert_reached(case, &dialer, wss, &tls).await;

    // Nobody is left for whoever has still said nothing, and the port is free.
    node.removed(wss).await;
    let (ws, plain) = node.listening(&format!("{at}/ws")).await;
    // It may be closed already.
    let _ = silent.write_all(b"GET / HTTP/1.1\r\n");
    assert_eq!(closes(silent).await, b"");
    node.assert_reached(case, &dialer, ws, &plain).await;
    drop(hello);
    until(|| node.counters.pending_handshakes() == 0).await;
}

on_each!(who_is_heard_while_the_certificate_changes_gets_the_new_one);

async fn who_is_heard_while_the_certificate_changes_gets_the_new_one(case: Case) {
    let authority = Authority::new();
    let signed = [1, 2].map(|number| authority.sign_number(number));
    let certificates = signed[0].in_use();
    let [config, dialer] = configs(case, certificates.clone(), &authority);
    let mut node = Node::start(case, config);
    let (_, plain) = node.listening("/ip4/127.0.0.1/tcp/0/ws").await;
    let at = format!("/ip4/127.0.0.1/tcp/{}", port(&plain));
    let (wss, tls) = node.listening(&format!("{at}/tls/ws")).await;
    for (stream, signed) in node.silent::<2>(&plain).await.into_iter().zip(signed) {
        certificates.set(signed.certificate()).unwrap();
        assert_eq!(served(&authority, stream).await, signed.chain_der()[0]);
        let from = "/ip4/127.0.0.1/tcp/…/tls/ws".to_owned();
        assert_eq!(node.next().await, Report::Incoming(wss, tls.clone(), from));
    }
    node.assert_reached(case, &dialer, wss, &tls).await;
}

on_each!(who_is_heard_before_there_is_a_certificate_is_served_once_there_is);

async fn who_is_heard_before_there_is_a_certificate_is_served_once_there_is(case: Case) {
    let Engine::Stream = case.engine else {
        // Without raw TCP there is one listener until there is a certificate.
        return;
    };
    let authority = Authority::new();
    let certificates = Certificates::new();
    let [config, _] = configs(case, certificates.clone(), &authority);
    let mut node = Node::start(case, config);
    let (_, plain) = node.listening("/ip4/127.0.0.1/tcp/0/ws").await;
    let at = format!("/ip4/127.0.0.1/tcp/{}", port(&plain));
    node.listening(&at).await;
    let tls: Multiaddr = format!("{at}/tls/ws").parse().unwrap();
    let wss = node.listen(&tls.to_string());
    let [mut early, late] = node.silent(&plain).await;

    early.write_all(b"\x16\x03\x01").unwrap();
    assert_eq!(closes(early).await, b"");
    assert_eq!(node.counters.unknown(), 1);
    let signed = authority.sign(&Leaf::default());
    certificates.set(signed.certificate()).unwrap();
    assert_eq!(node.next().await, Report::New(wss, tls.clone()));
    assert_eq!(served(&authority, late).await, signed.chain_der()[0]);
    let from = "/ip4/127.0.0.1/tcp/…/tls/ws".to_owned();
    assert_eq!(node.next().await, Report::Incoming(wss, tls, from));
}

/// The certificate with which this connection is answered.
async fn served(authority: &Authority, mut stream: TcpStream) -> Vec<u8> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der().into()).unwrap();
    let provider = rustls::crypto::ring::default_provider();
    let config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let mut session = rustls::ClientConnection::new(config.into(), name).unwrap();
    let (done, served) = futures::channel::oneshot::channel();
    std::thread::spawn(move || {
        while session.is_handshaking() {
            session.complete_io(&mut stream).unwrap();
        }
        let _ = done.send(session.peer_certificates().unwrap()[0].to_vec());
    });
    within(served).await.unwrap()
}

on_each!(a_client_whose_places_are_taken_takes_that_of_its_own_oldest);

/// A client is known only when its proxy has told of it.
async fn a_client_whose_places_are_taken_takes_that_of_its_own_oldest(case: Case) {
    let config = case
        .config()
        .with_proxies(Proxies::tcp(["127.0.0.1".parse().unwrap()]))
        // Of which two for each client.
        .with_max_pending_handshakes(8);
    let mut node = Node::start(case, config);
    let (ws, plain) = node.listening("/ip4/127.0.0.1/tcp/0/ws").await;
    let [mut first, mut second, mut third, mut other] = node.silent(&plain).await;
    for (stream, client) in [
        (&mut first, "192.0.2.1"),
        (&mut other, "192.0.2.2"),
        (&mut second, "192.0.2.1"),
        (&mut third, "192.0.2.1"),
    ] {
        assert_eq!(node.counters.evicted(), 0);
        let begin = format!("PROXY TCP4 {client} 127.0.0.1 4711 80\r\nGET / HTTP/1.1\r\n");
        stream.write_all(begin.as_bytes()).unwrap();
        let from = format!("/ip4/{client}/tcp/…/ws");
        assert_eq!(node.next().await, Report::Incoming(ws, plain.clone(), from));
    }
    assert_eq!(closes(first).await, b"");
    assert_eq!(node.counters.evicted(), 1);
    for mut stream in [second, third, other] {
        stream
            .write_all(
                b"Host: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            )
            .unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 101");
    }
    until(|| node.counters.upgraded() == 3).await;
    assert_eq!(node.counters.pending_handshakes(), 0);
}

/// Over one `upgraded` transport.
#[cfg(all(feature = "tokio", feature = "upgrade"))]
#[tokio::test]
async fn one_upgrade_serves_all_of_them() {
    use libp2p::{
        Swarm, SwarmBuilder,
        identity::Keypair,
        swarm::{SwarmEvent, dummy},
    };

    let swarm = |config: websocket::Config| -> Swarm<dummy::Behaviour> {
        SwarmBuilder::with_existing_identity(Keypair::generate_ed25519())
            .with_tokio()
            .with_other_transport(|key| websocket::tokio::transport(config.clone()).upgraded(key))
            .unwrap()
            .with_behaviour(|_| dummy::Behaviour)
            .unwrap()
            .with_swarm_config(|config| {
                config.with_idle_connection_timeout(Duration::from_secs(60))
            })
            .build()
    };
    let authority = Authority::new();
    let certificates = authority.sign(&Leaf::default()).in_use();
    let [config, dialer] = configs(Case::TOKIO, certificates, &authority);
    let mut node = swarm(config);
    node.listen_on("/ip4/127.0.0.1/tcp/0/ws".parse().unwrap())
        .unwrap();
    let plain = common::new_address(&mut node).await;
    let at = format!("/ip4/127.0.0.1/tcp/{}", port(&plain));
    for address in [at.clone(), format!("{at}/tls/ws")] {
        node.listen_on(address.parse().unwrap()).unwrap();
        assert_eq!(common::new_address(&mut node).await.to_string(), address);
    }
    for end in ["", "/ws", "/tls/ws", "/tls/sni/localhost/ws"] {
        let mut peer = swarm(dialer.clone());
        let address: Multiaddr = format!("{at}{end}").parse().unwrap();
        peer.dial(address.clone()).unwrap();
        let (mut here, mut there) = (false, false);
        while !(here && there) {
            let event = within(futures::future::select(
                node.select_next_some(),
                peer.select_next_some(),
            ))
            .await;
            match event.factor_first().0 {
                SwarmEvent::ConnectionEstablished { endpoint, .. } => {
                    let (local, remote) = match &endpoint {
                        libp2p::core::ConnectedPoint::Listener {
                            local_addr,
                            send_back_addr,
                        } => {
                            here = true;
                            (local_addr, send_back_addr)
                        }
                        libp2p::core::ConnectedPoint::Dialer { address, .. } => {
                            there = true;
                            (address, address)
                        }
                    };
                    let kind = |address: &Multiaddr| {
                        address
                            .protocol_stack()
                            .map(str::to_owned)
                            .skip(2)
                            .collect::<Vec<_>>()
                    };
                    let is_tls = end.starts_with("/tls");
                    assert!(
                        kind(local).len() == kind(&address).len() || is_tls,
                        "{local}"
                    );
                    assert_eq!(
                        kind(remote).contains(&"ws".to_owned()),
                        end.ends_with("/ws"),
                        "{remote}"
                    );
                }
                SwarmEvent::IncomingConnection { .. }
                | SwarmEvent::Dialing { .. }
                | SwarmEvent::ConnectionClosed { .. } => {}
                other => panic!("{end}: {other:?}"),
            }
        }
    }
}
