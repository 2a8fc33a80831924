//! Dials of names, with a resolver of the application, on real sockets.
#![cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
// Where all of 127.0.0.0/8 is this host, and what is beyond a backlog is silence.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/authority.rs"]
mod authority;
mod common;
#[path = "common/echo.rs"]
mod echo;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use authority::{Authority, Leaf};
use common::{Case, Engine, on_each};
use echo::{Error, assert_echoes, dial, echo, port};
use futures::{
    FutureExt as _,
    future::{self, BoxFuture},
};
use libp2p::Multiaddr;
use libp2p_lazy_websocket::{
    lazy,
    websocket::{self, Config, Resolve},
};
use socket2::{Domain, Socket, Type};

/// Names of a test, with the last part of their addresses in 127.0.0.0/24, and their TXT records.
#[derive(Default)]
struct Names {
    ips: HashMap<&'static str, Vec<u8>>,
    records: HashMap<&'static str, Vec<String>>,
}

impl Names {
    fn with(mut self, name: &'static str, hosts: &[u8]) -> Self {
        self.ips.insert(name, hosts.to_vec());
        self
    }

    fn with_records(mut self, name: &'static str, addresses: &[String]) -> Self {
        let records = addresses.iter().map(|address| format!("dnsaddr={address}"));
        self.records.insert(name, records.collect());
        self
    }
}

impl Resolve for Names {
    fn ips(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let found = self
            .ips
            .get(name)
            .ok_or_else(|| io::ErrorKind::NotFound.into());
        let found = found.map(|hosts| hosts.iter().copied().map(ip).collect());
        future::ready(found).boxed()
    }

    fn txt(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<String>>> {
        let found = self.records.get(name).cloned();
        future::ready(found.ok_or_else(|| io::ErrorKind::NotFound.into())).boxed()
    }
}

fn ip(host: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, host).into()
}

/// A socket that does not answer those who connect, and those that have taken its places.
struct BlackHole {
    _socket: Socket,
    _queue: Vec<TcpStream>,
}

impl BlackHole {
    fn new(host: u8, port: u16) -> Self {
        let at = SocketAddr::new(ip(host), port);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&at.into()).unwrap();
        socket.listen(0).unwrap();
        let mut queue = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&at, Duration::from_millis(300)) {
            queue.push(stream);
        }
        Self {
            _socket: socket,
            _queue: queue,
        }
    }
}

/// Without a deadline of its own: what is silent never fails.
fn patient(case: Case, names: Names) -> Config {
    case.config()
        .with_resolver(names)
        .with_dial_timeout(Duration::MAX)
}

on_each!(of_a_name_whose_first_address_is_silent_the_next_is_tried_meanwhile);

async fn of_a_name_whose_first_address_is_silent_the_next_is_tried_meanwhile(case: Case) {
    let good = echo(case, case.config(), &["/ip4/127.0.0.1/tcp/0/ws"]).await;
    let port = port(&good[0]);
    let _silent = BlackHole::new(2, port);
    let config = patient(case, Names::default().with("two.test", &[2, 1]));
    for name in ["dns", "dns4"] {
        let address = format!("/{name}/two.test/tcp/{port}/ws").parse().unwrap();
        assert_echoes(dial(case, config.clone(), &address).await.unwrap()).await;
    }
}

fn attempts(refused: Result<websocket::Connection, Error>) -> Vec<(String, websocket::Error)> {
    let Err(lazy::Error::Inner(websocket::Error::Dial { attempts, .. })) = refused else {
        panic!("{refused:?}");
    };
    let mut attempts: Vec<_> = attempts
        .into_iter()
        .map(|attempt| {
            let ip = attempt.address.iter().next().unwrap().to_string();
            (ip, *attempt.error.downcast().unwrap())
        })
        .collect();
    attempts.sort_by(|(one, _), (other, _)| one.cmp(other));
    attempts
}

fn assert_refused(error: &websocket::Error) {
    let io = common::cause::<io::Error>(error).unwrap();
    assert_eq!(io.kind(), io::ErrorKind::ConnectionRefused);
}

on_each!(of_a_name_that_leads_nowhere_each_address_is_told_with_its_reason);

async fn of_a_name_that_leads_nowhere_each_address_is_told_with_its_reason(case: Case) {
    let good = echo(case, case.config(), &["/ip4/127.0.0.1/tcp/0/ws"]).await;
    let port = port(&good[0]);
    let _silent = [2, 3].map(|host| BlackHole::new(host, port));
    let timeout = Duration::from_secs(2);
    let config = case
        .config()
        .with_resolver(Names::default().with("none.test", &[2, 4, 3]))
        .with_dial_timeout(timeout);
    let address = format!("/dns/none.test/tcp/{port}/ws").parse().unwrap();
    let attempts = attempts(dial(case, config, &address).await);
    let ips: Vec<_> = attempts.iter().map(|(ip, _)| ip.as_str()).collect();
    assert_eq!(ips, ["/ip4/127.0.0.2", "/ip4/127.0.0.3", "/ip4/127.0.0.4"]);
    for (_, error) in &attempts[..2] {
        assert!(
            matches!(error, websocket::Error::DialTimedOut { after, .. } if *after == timeout),
            "{error:?}"
        );
    }
    assert_refused(&attempts[2].1);
}

on_each!(a_name_that_is_not_known_is_told);

async fn a_name_that_is_not_known_is_told(case: Case) {
    let config = patient(case, Names::default());
    for (address, looked_up) in [
        ("/dns/none.test/tcp/1/ws", "none.test"),
        ("/dnsaddr/none.test", "_dnsaddr.none.test"),
    ] {
        let address = address.parse().unwrap();
        match dial(case, config.clone(), &address).await.unwrap_err() {
            lazy::Error::Inner(websocket::Error::Lookup { name, source, .. }) => {
                assert_eq!(
                    (&*name, source.kind()),
                    (looked_up, io::ErrorKind::NotFound)
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

const PEER: &str = "/p2p/12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";

on_each!(a_dnsaddr_leads_past_what_is_silent_to_a_listener);

async fn a_dnsaddr_leads_past_what_is_silent_to_a_listener(case: Case) {
    let good = echo(case, case.config(), &["/ip4/127.0.0.1/tcp/0/ws"]).await;
    let port = port(&good[0]);
    let _silent = BlackHole::new(2, port);
    let found = |host: &str, rest: &str| format!("{host}/tcp/{port}/ws{rest}");
    let names = || {
        Names::default()
            .with("good.test", &[1])
            .with_records(
                "_dnsaddr.a.test",
                &[
                    format!("/ip4/127.0.0.1/tcp/1{PEER}"),
                    found("/ip4/127.0.0.2", PEER),
                    format!("/dnsaddr/b.test{PEER}"),
                ],
            )
            .with_records("_dnsaddr.b.test", &[found("/dns/good.test", PEER)])
    };
    for address in ["/dnsaddr/a.test", &format!("/dnsaddr/a.test{PEER}")] {
        let address = address.parse().unwrap();
        let connection = dial(case, patient(case, names()), &address).await;
        assert_echoes(connection.unwrap()).await;
    }
}

on_each!(of_a_dnsaddr_that_leads_nowhere_each_address_is_told_with_its_reason);

async fn of_a_dnsaddr_that_leads_nowhere_each_address_is_told_with_its_reason(case: Case) {
    let found = ["/ip4/127.0.0.2/tcp/1/ws", "/ip4/127.0.0.3/tcp/1/ws"].map(str::to_owned);
    let names = Names::default().with_records("_dnsaddr.a.test", &found);
    let address = "/dnsaddr/a.test".parse().unwrap();
    let attempts = attempts(dial(case, patient(case, names), &address).await);
    assert_eq!(attempts.len(), 2);
    attempts.iter().for_each(|(_, error)| assert_refused(error));
}

/// Listeners on two hosts and one port, of which only the second has a certificate that is trusted. With the
/// configuration of those who trust that.
async fn one_of_two_is_trusted(case: Case) -> (u16, Config) {
    let leaf = Leaf {
        names: &["tls.test", "127.0.0.2", "127.0.0.3"],
        ..Leaf::default()
    };
    let [stranger, trusted] = [Authority::new(), Authority::new()];
    let config = case
        .config()
        .with_certificates(stranger.sign(&leaf).in_use());
    let first = echo(case, config, &["/ip4/127.0.0.2/tcp/0/tls/ws"]).await;
    let port = port(&first[0]);
    let config = case
        .config()
        .with_certificates(trusted.sign(&leaf).in_use());
    echo(
        case,
        config,
        &[&format!("/ip4/127.0.0.3/tcp/{port}/tls/ws")],
    )
    .await;
    let found = [2, 3].map(|host| format!("/ip4/127.0.0.{host}/tcp/{port}/tls/ws"));
    let names = Names::default()
        .with("tls.test", &[2, 3])
        .with_records("_dnsaddr.tls.test", &found);
    let config = patient(case, names).with_trust_anchor(trusted.anchor());
    (port, config)
}

on_each!(if_the_first_that_is_connected_fails_in_tls_the_next_is_tried);

async fn if_the_first_that_is_connected_fails_in_tls_the_next_is_tried(case: Case) {
    let (port, config) = one_of_two_is_trusted(case).await;
    let by_name = format!("/dns/tls.test/tcp/{port}/tls/ws");
    // libp2p-websocket has only one connection for a name.
    let addresses: &[&str] = match case.engine == Engine::Stream {
        true => &["/dnsaddr/tls.test", &by_name],
        false => &["/dnsaddr/tls.test"],
    };
    for address in addresses {
        let address: Multiaddr = address.parse().unwrap();
        let connection = dial(case, config.clone(), &address).await;
        assert_echoes(connection.unwrap_or_else(|error| panic!("{address}: {error:?}"))).await;
    }
}
