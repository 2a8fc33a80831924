//! Dials through an outgoing proxy, on real sockets.
#![cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/authority.rs"]
mod authority;
mod common;
#[path = "common/echo.rs"]
mod echo;
#[path = "common/outgoing.rs"]
mod outgoing;
#[cfg(all(feature = "interop", feature = "tokio"))]
#[path = "common/ports.rs"]
mod ports;
#[cfg(all(feature = "interop", feature = "tokio"))]
#[path = "outgoing/real.rs"]
mod real;

use std::{
    collections::HashMap,
    error::Error as _,
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use authority::{Authority, Leaf};
use common::{Case, Engine, on_each, socket_address, within};
use echo::{answers, assert_echoes, dial, echo};
use futures::{
    AsyncReadExt as _, FutureExt as _,
    future::{self, BoxFuture},
};
use libp2p::{
    Multiaddr, Transport as _,
    core::{
        Endpoint,
        transport::{DialOpts, PortUse},
    },
};
use libp2p_lazy_websocket::{
    lazy,
    websocket::{self, Config, OutgoingProxy, ProxyError, Resolve},
};
use outgoing::{Kind, PASSWORD, Proxy, Rules, USER};

const KINDS: [Kind; 2] = [Kind::Socks5, Kind::Http];

fn outgoing(kind: Kind, at: SocketAddr) -> OutgoingProxy {
    let at = at.to_string();
    match kind {
        Kind::Socks5 => OutgoingProxy::socks5(&at),
        Kind::Http => OutgoingProxy::http(&at),
    }
    .unwrap()
}

/// A proxy that knows these targets.
fn proxy<const COUNT: usize>(
    kind: Kind,
    targets: [(&'static str, &Multiaddr); COUNT],
) -> (Proxy, OutgoingProxy) {
    let targets = targets.map(|(target, at)| (target, socket_address(at)));
    let proxy = Proxy::new(Rules {
        kind,
        is_closed: false,
        targets: HashMap::from(targets),
    });
    let outgoing = outgoing(kind, proxy.address);
    (proxy, outgoing)
}

/// Looks up the records of a test, and no name of a host but that of a proxy.
struct Records(Vec<&'static str>);

impl Resolve for Records {
    fn ips(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        assert_eq!(name, "proxy.test", "the proxy looks up the others");
        let hosts = [2, 1].map(|host| IpAddr::from([127, 0, 0, host]));
        future::ready(Ok(hosts.to_vec())).boxed()
    }

    fn txt(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<String>>> {
        assert_eq!(name, "_dnsaddr.many.test");
        let records = self.0.iter().map(|address| format!("dnsaddr={address}"));
        future::ready(Ok(records.collect())).boxed()
    }
}

fn config(case: Case, proxy: OutgoingProxy) -> Config {
    case.config()
        .with_resolver(Records(Vec::new()))
        .with_outgoing_proxy(proxy)
}

async fn assert_dials(case: Case, config: &Config, address: &str) {
    let address = address.parse().unwrap();
    let connection = dial(case, config.clone(), &address).await;
    assert_echoes(connection.unwrap_or_else(|error| panic!("{address}: {error:?}"))).await;
}

async fn refused(case: Case, config: Config, address: &str) -> websocket::Error {
    match dial(case, config, &address.parse().unwrap()).await {
        Err(lazy::Error::Inner(error)) => error,
        other => panic!("an error, not {other:?}"),
    }
}

/// The text of the error, which names this proxy, and its reason.
fn reason(error: &websocket::Error, expected: &OutgoingProxy) -> String {
    let websocket::Error::Proxy { proxy, source, .. } = error else {
        panic!("an error of the proxy, not {error:?}");
    };
    assert_eq!(*proxy, expected.to_string());
    assert_eq!(
        error.to_string(),
        format!("cannot dial through the {expected}")
    );
    source.to_string()
}

on_each!(hosts_go_to_the_proxy_as_they_are);

async fn hosts_go_to_the_proxy_as_they_are(case: Case) {
    let authority = Authority::new();
    let leaf = Leaf {
        names: &["secret.test", "192.0.2.1"],
        ..Leaf::default()
    };
    let listening = case
        .config()
        .with_certificates(authority.sign(&leaf).in_use())
        .with_tcp(true);
    let plain = &echo(case, listening.clone(), &["/ip4/127.0.0.1/tcp/0/ws"]).await[0];
    let tls = &echo(case, listening.clone(), &["/ip4/127.0.0.1/tcp/0/tls/ws"]).await[0];
    for kind in KINDS {
        let (proxy, outgoing) = proxy(
            kind,
            [
                ("secret.test:1", plain),
                ("192.0.2.1:2", plain),
                ("[2001:db8::1]:3", plain),
                ("secret.test:4", tls),
                ("192.0.2.1:5", tls),
                ("front.test:6", tls),
            ],
        );
        let config = config(case, outgoing)
            .with_trust_anchor(authority.anchor())
            .with_tcp(true);
        for (address, asked) in [
            ("/dns/secret.test/tcp/1/ws", "secret.test:1"),
            ("/dns4/secret.test/tcp/1/ws", "secret.test:1"),
            ("/dns6/secret.test/tcp/1/ws", "secret.test:1"),
            ("/ip4/192.0.2.1/tcp/2/ws", "192.0.2.1:2"),
            ("/dns4/192.0.2.1/tcp/2/ws", "192.0.2.1:2"),
            ("/ip6/2001:db8::1/tcp/3/ws", "[2001:db8::1]:3"),
            ("/dns4/secret.test/tcp/4/tls/ws", "secret.test:4"),
            ("/ip4/192.0.2.1/tcp/5/tls/ws", "192.0.2.1:5"),
        ] {
            assert_dials(case, &config, address).await;
            assert_eq!(proxy.asked(), [asked]);
        }
        // libp2p-websocket does not separate the name of the certificate from that of the host.
        if case.engine == Engine::Stream {
            assert_dials(
                case,
                &config,
                "/dns/front.test/tcp/6/tls/sni/secret.test/ws",
            )
            .await;
            assert_eq!(proxy.asked(), ["front.test:6"]);
            let tcp = &echo(case, listening.clone(), &["/ip4/127.0.0.1/tcp/0"]).await[0];
            let (proxy, outgoing) = self::proxy(kind, [("raw.test:7", tcp)]);
            let config = self::config(case, outgoing).with_tcp(true);
            assert_dials(case, &config, "/dns/raw.test/tcp/7").await;
            assert_eq!(proxy.asked(), ["raw.test:7"]);
        }
    }
}

on_each!(a_proxy_with_a_name_is_tried_at_each_of_its_addresses);

async fn a_proxy_with_a_name_is_tried_at_each_of_its_addresses(case: Case) {
    let good = &echo(case, case.config(), &["/ip4/127.0.0.1/tcp/0/ws"]).await[0];
    let (proxy, _) = proxy(Kind::Http, [("good.test:1", good)]);
    let outgoing = format!("proxy.test:{}", proxy.address.port());
    let config = config(case, OutgoingProxy::http(&outgoing).unwrap());
    assert_dials(case, &config, "/dns/good.test/tcp/1/ws").await;
    assert_eq!(proxy.asked(), ["good.test:1"]);
}

on_each!(redirects_go_through_the_proxy_too);

async fn redirects_go_through_the_proxy_too(case: Case) {
    let good = &echo(case, case.config(), &["/ip4/127.0.0.1/tcp/0/ws"]).await[0];
    for kind in KINDS {
        let first = &answers(
            "HTTP/1.1 302 Found\r\nLocation: ws://second.test:1/\r\nContent-Length: 0\r\n\r\n",
        );
        let targets = [("first.test:2", first), ("second.test:1", good)];
        let (proxy, outgoing) = proxy(kind, targets);
        let config = config(case, outgoing).with_max_redirects(1);
        assert_dials(case, &config, "/dns/first.test/tcp/2/ws").await;
        assert_eq!(proxy.asked(), ["first.test:2", "second.test:1"]);
    }
}

on_each!(of_a_dnsaddr_only_the_records_are_looked_up_by_the_node);

async fn of_a_dnsaddr_only_the_records_are_looked_up_by_the_node(case: Case) {
    let good = &echo(case, case.config(), &["/ip4/127.0.0.1/tcp/0/ws"]).await[0];
    for kind in KINDS {
        let (proxy, outgoing) = proxy(kind, [("good.test:1", good)]);
        let records = vec!["/dns4/none.test/tcp/1/ws", "/dns4/good.test/tcp/1/ws"];
        let config = config(case, outgoing.clone()).with_resolver(Records(records));
        assert_dials(case, &config, "/dnsaddr/many.test").await;
        assert_eq!(proxy.asked(), ["none.test:1", "good.test:1"]);
        let config = config.with_resolver(Records(vec!["/dns4/none.test/tcp/1/ws"]));
        let error = refused(case, config, "/dnsaddr/many.test").await;
        let websocket::Error::Dial { attempts, .. } = error else {
            panic!("{error:?}");
        };
        let [attempt] = &attempts[..] else {
            panic!("{attempts:?}");
        };
        assert_eq!(attempt.address.to_string(), "/dns4/none.test/tcp/1/ws");
        let reason = reason(attempt.error.downcast_ref().unwrap(), &outgoing);
        assert!(reason.contains("could not connect to the target"));
    }
}

on_each!(what_comes_with_the_answer_of_the_proxy_belongs_to_the_stream);

async fn what_comes_with_the_answer_of_the_proxy_belongs_to_the_stream(case: Case) {
    if case.engine != Engine::Stream {
        return;
    }
    let at = socket_address(&answers("HTTP/1.1 200 OK\r\n\r\nit speaks first"));
    let config = config(case, outgoing(Kind::Http, at)).with_tcp(true);
    let address = "/dns/a.test/tcp/1".parse().unwrap();
    let mut connection = dial(case, config, &address).await.unwrap();
    let mut received = [0; 15];
    within(connection.read_exact(&mut received)).await.unwrap();
    assert_eq!(&received, b"it speaks first");
}

on_each!(credentials_are_sent_and_their_refusal_is_told);

async fn credentials_are_sent_and_their_refusal_is_told(case: Case) {
    let good = echo(case, case.config(), &["/ip4/127.0.0.1/tcp/0/ws"]).await;
    for kind in KINDS {
        let targets = [("good.test:1", socket_address(&good[0]))];
        let proxy = Proxy::new(Rules {
            kind,
            is_closed: true,
            targets: HashMap::from(targets),
        });
        let without = outgoing(kind, proxy.address);
        let with = |password| without.clone().with_credentials(USER, password).unwrap();
        let address = "/dns/good.test/tcp/1/ws";
        assert_dials(case, &config(case, with(PASSWORD)), address).await;
        assert_eq!(proxy.asked(), ["good.test:1"]);

        let error = refused(case, config(case, with("another")), address).await;
        let told = "the proxy refused the user name or the password";
        assert_eq!(reason(&error, &without), told);
        assert!(!format!("{error:?}").contains("another"));
        let error = refused(case, config(case, without.clone()), address).await;
        let told = "the proxy requires a user name and a password";
        assert_eq!(reason(&error, &without), told);
        assert!(proxy.asked().is_empty());
    }
}

on_each!(what_a_proxy_cannot_reach_is_told);

async fn what_a_proxy_cannot_reach_is_told(case: Case) {
    for (kind, answer) in KINDS
        .into_iter()
        .zip(["host unreachable", "502 Bad Gateway"])
    {
        let (_proxy, outgoing) = proxy(kind, []);
        let config = config(case, outgoing.clone());
        let error = refused(case, config, "/dns/none.test/tcp/1/ws").await;
        let told = format!("the proxy could not connect to the target: {answer}");
        assert_eq!(reason(&error, &outgoing), told);
    }
}

on_each!(a_proxy_that_is_not_there_or_none_is_told);

async fn a_proxy_that_is_not_there_or_none_is_told(case: Case) {
    let address = "/dns/a.test/tcp/1/ws";
    for kind in KINDS {
        let closed = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let at = closed.local_addr().unwrap();
        drop(closed);
        let outgoing = outgoing(kind, at);
        let error = refused(case, config(case, outgoing.clone()), address).await;
        assert_eq!(reason(&error, &outgoing), "cannot connect to the proxy");
        let io = common::cause::<io::Error>(&error).unwrap();
        assert_eq!(io.kind(), io::ErrorKind::ConnectionRefused);

        let ssh = socket_address(&answers("SSH-2.0-OpenSSH_9.2\r\n"));
        let outgoing = self::outgoing(kind, ssh);
        let error = refused(case, config(case, outgoing.clone()), address).await;
        let told = "the other side is not a proxy of this kind";
        assert_eq!(reason(&error, &outgoing), told);
    }
}

on_each!(the_deadline_of_the_dial_is_that_of_the_proxy_too);

async fn the_deadline_of_the_dial_is_that_of_the_proxy_too(case: Case) {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    for kind in KINDS {
        let outgoing = outgoing(kind, silent.local_addr().unwrap());
        let after = Duration::from_millis(50);
        let config = config(case, outgoing.clone()).with_dial_timeout(after);
        let error = refused(case, config, "/dns/a.test/tcp/1/ws").await;
        let told = "the proxy did not connect within 50.0ms";
        assert_eq!(reason(&error, &outgoing), told);
    }
}

on_each!(only_direct_networks_are_dialled_past_the_proxy);

async fn only_direct_networks_are_dialled_past_the_proxy(case: Case) {
    let good = &echo(case, case.config(), &["/ip4/127.0.0.1/tcp/0/ws"]).await[0];
    for kind in KINDS {
        let (proxy, outgoing) = proxy(kind, []);
        let direct = outgoing.clone().with_direct(["127.0.0.1".parse().unwrap()]);
        assert_dials(case, &config(case, direct), &good.to_string()).await;
        assert!(proxy.asked().is_empty());
        let error = refused(case, config(case, outgoing.clone()), &good.to_string()).await;
        assert!(reason(&error, &outgoing).contains("could not connect to the target"));
        assert_eq!(proxy.asked(), [socket_address(good).to_string()]);
    }
}

on_each!(no_proxy_dials_in_the_role_of_a_listener);

async fn no_proxy_dials_in_the_role_of_a_listener(case: Case) {
    for kind in KINDS {
        let (proxy, outgoing) = proxy(kind, []);
        let mut transport = case.transport(config(case, outgoing.clone()));
        let opts = DialOpts {
            role: Endpoint::Listener,
            port_use: PortUse::Reuse,
        };
        let address = "/ip4/192.0.2.1/tcp/1/ws".parse().unwrap();
        let mut dial = transport.dial(address, opts).unwrap();
        let dialled = within(poll_fn(|cx| Pin::new(&mut dial).poll(cx))).await;
        let error = match dialled {
            Err(lazy::Error::Inner(error)) => error,
            other => panic!("{other:?}"),
        };
        reason(&error, &outgoing);
        let source = error.source().unwrap().downcast_ref();
        assert!(matches!(source, Some(ProxyError::ListenerRole)));
        assert!(proxy.asked().is_empty());
    }
}

/// All that is below is watched: whatever is dialled, and whatever fails, it connects to the proxy and nothing else.
#[cfg(feature = "tokio")]
mod watched {
    use std::task::{Context, Poll};

    use libp2p::core::transport::{ListenerId, TransportError, TransportEvent};

    use super::*;

    type Dialled = Arc<Mutex<Vec<(String, DialOpts)>>>;

    struct Watched(libp2p_tcp::tokio::Transport, Dialled);

    impl libp2p::Transport for Watched {
        type Output = libp2p_tcp::tokio::TcpStream;
        type Error = io::Error;
        type ListenerUpgrade = future::Ready<io::Result<Self::Output>>;
        type Dial = BoxFuture<'static, io::Result<Self::Output>>;

        fn listen_on(
            &mut self,
            id: ListenerId,
            address: Multiaddr,
        ) -> Result<(), TransportError<io::Error>> {
            self.0.listen_on(id, address)
        }

        fn remove_listener(&mut self, id: ListenerId) -> bool {
            self.0.remove_listener(id)
        }

        fn dial(
            &mut self,
            address: Multiaddr,
            opts: DialOpts,
        ) -> Result<Self::Dial, TransportError<io::Error>> {
            self.1.lock().unwrap().push((address.to_string(), opts));
            self.0.dial(address, opts).map(|dial| dial.boxed())
        }

        fn poll(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
            Pin::new(&mut self.0).poll(cx)
        }
    }

    #[test]
    fn nothing_but_the_proxy_is_connected_to() {
        let engines = [
            Engine::Stream,
            #[cfg(feature = "libp2p-websocket")]
            Engine::Libp2p,
        ];
        for engine in engines {
            common::Runtime::Tokio.with(engine).run(connects);
        }
    }

    async fn connects(case: Case) {
        let good = &echo(case, case.config(), &["/ip4/127.0.0.1/tcp/0/ws"]).await[0];
        let first = &answers(
            "HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        );
        let (proxy, outgoing) = proxy(Kind::Socks5, [("a.test:1", good), ("127.0.0.1:2", first)]);
        let records = vec!["/ip4/127.0.0.1/tcp/3/ws", "/dns/localhost/tcp/4/ws"];
        let config = config(case, outgoing)
            .with_resolver(Records(records))
            .with_tcp(true)
            .with_max_redirects(1);
        let dialled = Dialled::default();
        let tcp = libp2p_tcp::tokio::Transport::new(libp2p_tcp::Config::default());
        let watched = Watched(tcp, Arc::clone(&dialled));
        let mut transport = websocket::Transport::new(watched, config);
        let opts = DialOpts {
            role: Endpoint::Dialer,
            port_use: PortUse::Reuse,
        };
        let mut connected = 0;
        for address in [
            "/dns/a.test/tcp/1/ws",
            "/ip4/127.0.0.1/tcp/2/ws",
            "/ip4/127.0.0.1/tcp/5/tls/ws",
            "/dns/localhost/tcp/6/ws",
            "/dnsaddr/many.test",
        ] {
            let dial = transport.dial(address.parse().unwrap(), opts).unwrap();
            connected += usize::from(within(dial).await.is_ok());
        }
        assert_eq!(connected, 1);
        let asked = proxy.asked();
        assert_eq!(
            asked,
            [
                "a.test:1",
                "127.0.0.1:2",
                "127.0.0.1:1",
                "127.0.0.1:5",
                "localhost:6",
                "localhost:4",
                "127.0.0.1:3",
            ]
        );
        let dialled = dialled.lock().unwrap();
        assert_eq!(dialled.len(), asked.len());
        for (address, opts) in dialled.iter() {
            let port = proxy.address.port();
            assert_eq!(*address, format!("/ip4/127.0.0.1/tcp/{port}"));
            assert_eq!(opts.port_use, PortUse::New);
        }
    }
}
