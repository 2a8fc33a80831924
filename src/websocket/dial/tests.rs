//! The shell, over a resolver and connections that follow the script of a test.

use std::{
    collections::HashMap,
    io,
    sync::{Mutex, MutexGuard},
};

use futures::executor::block_on;
use tokio_test::{assert_pending, task};

use super::*;

/// Where `192.0.2.x` is connected and `198.51.100.x` refused; the rest is silent.
#[derive(Clone, Default)]
struct Network(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The lookups and connections, in order.
    done: Vec<String>,
    records: HashMap<String, Vec<String>>,
}

impl Network {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn done(&self) -> Vec<String> {
        mem::take(&mut self.state().done)
    }

    fn with(self, name: &str, found: &[&str]) -> Self {
        let found = found.iter().map(|found| format!("dnsaddr={found}"));
        let name = format!("_dnsaddr.{name}");
        self.state().records.insert(name, found.collect());
        self
    }

    fn resolver(&self) -> Resolver {
        Resolver::new(Arc::new(self.clone()), true)
    }

    fn connect(&self) -> Connect<Multiaddr> {
        let network = self.clone();
        connect(move |address| {
            let text = address.to_string();
            network.state().done.push(text.clone());
            if text.contains("/192.31.196.") {
                return Err(TransportError::MultiaddrNotSupported(address));
            }
            if text.contains("/192.88.99.") {
                return Err(TransportError::Other(Error::TransportDropped));
            }
            Ok(match text {
                text if text.contains("/192.0.2.") => future::ok(address).boxed(),
                text if text.contains("/198.51.100.") => future::err(refused()).boxed(),
                _ => future::pending().boxed(),
            })
        })
    }

    /// `/wss` is not known here.
    fn dial(&self, address: &str) -> Dial<Multiaddr, ()> {
        let address: Multiaddr = address.parse().unwrap();
        let (resolver, connect) = (self.resolver(), self.connect());
        let names = Some(&resolver);
        let contest = match Contest::of_dnsaddr(&address, false, target, names, names, &connect) {
            Some(contest) => contest,
            None => Contest::of(target(&address).unwrap(), names, &connect),
        };
        Dial::begin(contest, Duration::from_secs(9))
    }
}

fn target(address: &Multiaddr) -> Result<Target<()>, TransportError<Error>> {
    let mut below = address.clone();
    match below.pop() {
        Some(Protocol::Ws(_)) => Ok(Target {
            address: address.clone(),
            below,
            data: (),
        }),
        _ => Err(TransportError::MultiaddrNotSupported(address.clone())),
    }
}

fn refused() -> Error {
    Error::below(io::Error::from(io::ErrorKind::ConnectionRefused))
}

impl Resolve for Network {
    fn ips(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        self.state().done.push(name.to_owned());
        let found: &[&str] = match name {
            "good.example" => &["198.51.100.1", "2001:db8::1", "192.0.2.1"],
            "bad.example" => &["198.51.100.1", "198.51.100.2"],
            "one.example" => &["198.51.100.1"],
            "blocked.example" => &["0.0.0.0", "::"],
            "half.example" => &["0.0.0.0", "198.51.100.1"],
            "silent.example" => return future::pending().boxed(),
            _ => return future::err(io::ErrorKind::NotFound.into()).boxed(),
        };
        future::ok(found.iter().map(|ip| ip.parse().unwrap()).collect()).boxed()
    }

    fn txt(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<String>>> {
        let mut state = self.state();
        state.done.push(name.to_owned());
        if name == "_dnsaddr.silent.example" {
            return future::pending().boxed();
        }
        let found = state.records.get(name).cloned();
        future::ready(found.ok_or_else(|| io::ErrorKind::NotFound.into())).boxed()
    }
}

fn end(mut dial: Dial<Multiaddr, ()>) -> Result<Multiaddr, Error> {
    block_on(dial.connected()).map(|(_, to)| to)
}

/// The text of an error with its sources.
fn text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut link: &dyn std::error::Error = error;
    while let Some(source) = link.source() {
        text = format!("{text}: {source}");
        link = source;
    }
    text
}

#[test]
fn a_dial_that_nobody_polls_does_nothing() {
    let network = Network::default();
    for address in [
        "/dnsaddr/a.example",
        "/dns/good.example/tcp/1/ws",
        "/ip4/192.0.2.1/tcp/1/ws",
    ] {
        let mut dial = network.dial(address);
        drop(dial.connected());
    }
    assert!(network.done().is_empty());
}

#[test]
fn the_addresses_of_a_name_are_connected_to_by_ip_and_those_that_fail_hold_up_nobody() {
    let network = Network::default();
    let mut dial = network.dial("/dns4/good.example/tcp/1/ws");
    let (to, connected) = block_on(dial.connected()).unwrap();
    assert_eq!(to.address.to_string(), "/ip4/192.0.2.1/tcp/1/ws");
    assert_eq!(connected.to_string(), "/ip4/192.0.2.1/tcp/1");
    assert_eq!(
        network.done(),
        [
            "good.example",
            "/ip4/198.51.100.1/tcp/1",
            "/ip4/192.0.2.1/tcp/1"
        ]
    );
}

#[test]
fn if_what_is_connected_comes_to_nothing_the_others_have_their_turn() {
    let network = Network::default().with(
        "a.example",
        &[
            "/ip4/192.0.2.1/tcp/1/ws",
            "/ip4/198.51.100.1/tcp/1/ws",
            "/ip4/192.0.2.2/tcp/1/ws",
        ],
    );
    let mut dial = network.dial("/dnsaddr/a.example");
    block_on(async {
        for _ in 0..2 {
            let (to, _) = dial.connected().await.unwrap();
            let failed = async { Err::<(), _>(Error::TooManyRedirects) };
            assert_eq!(dial.handshake(&to.address, failed).await, None);
        }
        let error = dial.connected().await.unwrap_err();
        assert_eq!(
            text(&error),
            "cannot connect to /ip4/192.0.2.1/tcp/1/ws, /ip4/192.0.2.2/tcp/1/ws (redirected more often than `Config::with_max_redirects` allows), \
             /ip4/198.51.100.1/tcp/1/ws (connection refused)"
        );
        let Error::Dial { attempts } = error else {
            panic!("{error:?}");
        };
        let kinds: Vec<_> = attempts
            .iter()
            .map(|attempt| attempt.error.downcast_ref())
            .collect();
        assert!(
            matches!(
                kinds[..],
                [
                    Some(Error::TooManyRedirects),
                    Some(Error::Transport(_)),
                    Some(Error::TooManyRedirects)
                ]
            ),
            "{kinds:?}"
        );
    });
}

#[test]
fn what_somebody_is_redirected_to_comes_first_and_the_others_after_it() {
    let network = Network::default();
    let mut dial = network.dial("/dns4/good.example/tcp/1/ws");
    block_on(async {
        dial.connected().await.unwrap();
        assert_eq!(dial.redirects(), 0);
        let to = target(&"/dns/bad.example/tcp/2/ws".parse().unwrap()).unwrap();
        let (resolver, connect) = (network.resolver(), network.connect());
        dial.redirect(Contest::of(to, Some(&resolver), &connect));
        let error = dial.connected().await.unwrap_err();
        assert_eq!(
            text(&error),
            "cannot connect to /ip4/198.51.100.1/tcp/1/ws, /ip4/198.51.100.1/tcp/2/ws, \
             /ip4/198.51.100.2/tcp/2/ws (connection refused)"
        );
    });
}

#[test]
fn one_attempt_is_its_own_error_but_for_those_that_a_dnsaddr_leads_to() {
    let network = Network::default().with("a.example", &["/ip4/198.51.100.1/tcp/1/ws"]);
    for address in ["/ip4/198.51.100.1/tcp/1/ws", "/dns/one.example/tcp/1/ws"] {
        let error = end(network.dial(address)).unwrap_err();
        assert!(matches!(error, Error::Transport(_)), "{error:?}");
    }
    let error = end(network.dial("/dnsaddr/a.example")).unwrap_err();
    assert_eq!(
        text(&error),
        "cannot connect to /ip4/198.51.100.1/tcp/1/ws (connection refused)"
    );
    for (address, looked_up) in [
        ("/dnsaddr/b.example", "_dnsaddr.b.example"),
        ("/dns6/one.example/tcp/1/ws", "one.example"),
        ("/dns/nowhere.example/tcp/1/ws", "nowhere.example"),
    ] {
        match end(network.dial(address)).unwrap_err() {
            Error::Lookup { name, source } => {
                assert_eq!(
                    (&*name, source.kind()),
                    (looked_up, io::ErrorKind::NotFound)
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_a_name_leads_to_in_vain_is_told() {
    let network = Network::default()
        .with("empty.example", &[])
        .with("else.example", &["/ip4/192.0.2.1/tcp/1"]);
    for (address, expected) in [
        (
            "/dnsaddr/empty.example",
            "cannot look up \"_dnsaddr.empty.example\": it has no TXT record",
        ),
        (
            "/dnsaddr/else.example",
            "cannot look up \"_dnsaddr.else.example\": none of its TXT records leads to a WebSocket address with the \
             same end as what is dialled",
        ),
        (
            "/dns6/one.example/tcp/1/ws",
            "cannot look up \"one.example\": it has no IPv6 address",
        ),
        (
            "/dns4/blocked.example/tcp/1/ws",
            "cannot dial /ip4/0.0.0.0/tcp/1/ws: its IP address is unspecified",
        ),
        (
            "/dns/blocked.example/tcp/1/ws",
            "cannot connect to /ip4/0.0.0.0/tcp/1/ws, /ip6/::/tcp/1/ws (its IP address is unspecified)",
        ),
        (
            "/dns/half.example/tcp/1/ws",
            "cannot connect to /ip4/0.0.0.0/tcp/1/ws (its IP address is unspecified), /ip4/198.51.100.1/tcp/1/ws \
             (connection refused)",
        ),
        (
            "/ip4/192.31.196.1/tcp/1/ws",
            "unsupported address /ip4/192.31.196.1/tcp/1/ws",
        ),
    ] {
        let error = end(network.dial(address)).unwrap_err();
        assert_eq!(text(&error), expected);
    }
    assert!(!network.done().iter().any(|done| done.contains("/0.0.0.0/")));
}

#[test]
fn a_transport_that_was_dropped_meanwhile_is_all_that_is_told() {
    let network = Network::default().with(
        "a.example",
        &["/ip4/198.51.100.1/tcp/1/ws", "/ip4/192.88.99.1/tcp/1/ws"],
    );
    let error = end(network.dial("/dnsaddr/a.example")).unwrap_err();
    assert!(matches!(error, Error::TransportDropped), "{error:?}");
}

#[test]
fn what_names_lead_to_takes_part_before_the_next_name_is_looked_up() {
    let network = Network::default()
        .with(
            "a.example",
            &[
                "/dnsaddr/b.example",
                "/dnsaddr/c.example",
                "/ip4/198.51.100.1/tcp/1/ws",
                "/dns/bad.example/tcp/2/ws",
            ],
        )
        .with(
            "c.example",
            &["/ip6/2001:db8::1/tcp/1/wss", "/ip4/192.0.2.1/tcp/1/ws"],
        );
    let mut dial = network.dial("/dnsaddr/a.example");
    let (to, _) = block_on(dial.connected()).unwrap();
    assert_eq!(to.address.to_string(), "/ip4/192.0.2.1/tcp/1/ws");
    assert_eq!(
        network.done(),
        [
            "_dnsaddr.a.example",
            "bad.example",
            "/ip4/198.51.100.1/tcp/1",
            "/ip4/198.51.100.1/tcp/2",
            "/ip4/198.51.100.2/tcp/2",
            "_dnsaddr.b.example",
            "_dnsaddr.c.example",
            "/ip4/192.0.2.1/tcp/1",
        ]
    );
}

#[test]
fn a_name_that_hangs_holds_up_no_other_and_all_that_have_not_ended_are_told() {
    let network = Network::default()
        .with(
            "a.example",
            &[
                "/dns/silent.example/tcp/1/ws",
                "/ip4/203.0.113.1/tcp/1/ws",
                "/dnsaddr/b.example",
            ],
        )
        .with("b.example", &["/ip4/198.51.100.1/tcp/1/ws"]);
    let mut dial = network.dial("/dnsaddr/a.example");
    dial.timeout = Duration::from_millis(500);
    dial.ends_at = deadline::now() + dial.timeout;
    assert_eq!(
        text(&end(dial).unwrap_err()),
        "cannot connect to /ip4/198.51.100.1/tcp/1/ws (connection refused), \
         /dns/silent.example/tcp/1/ws, /ip4/203.0.113.1/tcp/1/ws (no connection within 500.0ms)"
    );
}

#[test]
fn a_proxy_is_blamed_for_what_it_was_asked_and_not_for_a_lookup_of_this_node() {
    let proxy = Arc::new(OutgoingProxy::socks5("127.0.0.1:1080").unwrap());
    for (address, told) in [
        ("/dnsaddr/silent.example", "no connection within 9.0s"),
        (
            "/ip4/203.0.113.1/tcp/1/ws",
            "cannot dial through the SOCKS5 proxy 127.0.0.1:1080: the proxy did not connect within 9.0s",
        ),
    ] {
        let network = Network::default();
        let mut dial = network.dial(address).through(Some(Arc::clone(&proxy)));
        assert_pending!(task::spawn(dial.connected()).poll());
        dial.ends_at = deadline::now();
        assert_eq!(text(&end(dial).unwrap_err()), told);
    }
}

#[test]
fn what_is_connected_has_half_of_the_time_if_there_are_others() {
    const HOUR: Duration = Duration::from_secs(60 * 60);
    for (address, has_half) in [
        ("/dns/good.example/tcp/1/ws", true),
        ("/ip4/192.0.2.1/tcp/1/ws", false),
    ] {
        let mut dial = Network::default().dial(address);
        dial.ends_at = deadline::now() + HOUR;
        block_on(dial.connected()).unwrap();
        assert_eq!(dial.handshake_timeout() <= HOUR / 2, has_half, "{address}");
    }
}

#[test]
fn what_cannot_be_dialled_here_is_no_attempt_and_a_bounded_number_is() {
    let other: Vec<_> = (0..16)
        .map(|n| format!("/ip4/192.0.2.{n}/tcp/1/wss"))
        .collect();
    let many: Vec<_> = (0..16)
        .map(|n| format!("/ip4/198.51.100.{n}/tcp/1/ws"))
        .collect();
    let texts = |list: &[String], last: &'static str| -> Vec<String> {
        list[1..].iter().cloned().chain([last.to_owned()]).collect()
    };
    let lists = [
        texts(&other, "/dnsaddr/b.example"),
        texts(&many, "/dnsaddr/c.example"),
        many.clone(),
    ];
    let mut network = Network::default();
    for (name, list) in ["a.example", "b.example", "c.example"].iter().zip(&lists) {
        let list: Vec<_> = list.iter().map(String::as_str).collect();
        network = network.with(name, &list);
    }
    match end(network.dial("/dnsaddr/a.example")).unwrap_err() {
        Error::Dial { attempts } => assert_eq!(attempts.len(), MAX_ATTEMPTS),
        other => panic!("{other:?}"),
    }
    let connected = |done: &String| done.starts_with("/ip4/");
    assert_eq!(
        network.done().iter().filter(|done| connected(done)).count(),
        MAX_ATTEMPTS
    );

    let network = Network::default().with("a.example", &["/ip4/192.0.2.1/tcp/1/wss"]);
    match end(network.dial("/dnsaddr/a.example")).unwrap_err() {
        Error::Lookup { name, .. } => assert_eq!(name, "_dnsaddr.a.example"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_next_begins_by_itself_while_the_first_is_silent() {
    let network = Network::default();
    let mut dial = network.dial("/dns/good.example/tcp/1/ws");
    let connected = task::spawn(async move { dial.connected().await.map(|(to, _)| to.address) });
    let mut connected = connected;
    assert_pending!(connected.poll());
    assert_eq!(network.done(), ["good.example", "/ip6/2001:db8::1/tcp/1"]);
    let address = block_on(connected).unwrap();
    assert_eq!(address.to_string(), "/ip4/192.0.2.1/tcp/1/ws");
}
