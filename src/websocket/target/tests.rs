use std::{
    future::{Ready, ready},
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p_core::{
    Endpoint, Transport as _,
    transport::{DialOpts, ListenerId, PortUse, TransportEvent},
};
use proptest::{prelude::*, sample::subsequence};
use tokio_test::task;

use super::*;

const PEER: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";

fn address(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

fn parse(text: &str) -> Request {
    Request::parse(&address(text), false).unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

#[test]
fn an_address_says_whom_to_ask_for_what() {
    for (text, below, tls, host, path) in [
        (
            "/ip4/192.0.2.1/tcp/81/ws",
            "/ip4/192.0.2.1/tcp/81",
            None,
            "192.0.2.1:81",
            "/",
        ),
        (
            "/ip4/192.0.2.1/tcp/80/ws",
            "/ip4/192.0.2.1/tcp/80",
            None,
            "192.0.2.1",
            "/",
        ),
        (
            "/ip4/192.0.2.1/tcp/443/ws",
            "/ip4/192.0.2.1/tcp/443",
            None,
            "192.0.2.1:443",
            "/",
        ),
        (
            "/ip6/2001:db8::1/tcp/1/ws",
            "/ip6/2001:db8::1/tcp/1",
            None,
            "[2001:db8::1]:1",
            "/",
        ),
        (
            "/dns/a.example/tcp/1/x-parity-ws/%2Fb%20c",
            "/dns/a.example/tcp/1",
            None,
            "a.example:1",
            "/b%20c",
        ),
        (
            "/dns4/a.example/tcp/443/wss",
            "/dns4/a.example/tcp/443",
            Some("a.example"),
            "a.example",
            "/",
        ),
        (
            "/dns6/a.example/tcp/80/tls/ws",
            "/dns6/a.example/tcp/80",
            Some("a.example"),
            "a.example:80",
            "/",
        ),
        (
            "/ip4/192.0.2.1/tcp/443/tls/sni/a.example/ws",
            "/ip4/192.0.2.1/tcp/443",
            Some("a.example"),
            "a.example",
            "/",
        ),
        (
            "/dns4/b.example/tcp/1/tls/sni/a.example/x-parity-ws/%2Fc",
            "/dns4/b.example/tcp/1",
            Some("a.example"),
            "a.example:1",
            "/c",
        ),
        (
            "/ip6/::1/tcp/1/tls/ws",
            "/ip6/::1/tcp/1",
            Some("::1"),
            "[::1]:1",
            "/",
        ),
    ] {
        for peer in ["", &format!("/p2p/{PEER}")] {
            let dial = parse(&format!("{text}{peer}"));
            assert_eq!(dial.below, address(&format!("{below}{peer}")));
            assert_eq!(dial.tls.as_ref().map(ServerName::to_str).as_deref(), tls);
            assert_eq!((&*dial.host, dial.path.as_str()), (host, path));
        }
    }
}

#[test]
fn what_is_no_websocket_comes_back_unchanged() {
    for text in [
        "/ip4/192.0.2.1/tcp/1",
        "/ip4/192.0.2.1/tcp/1/tls",
        "/ip4/192.0.2.1/udp/1/ws",
        "/ip4/192.0.2.1/ws",
        "/tcp/1/ws",
        "/dnsaddr/a.example/tcp/1/ws",
        "/dnsaddr/a.example",
        "/memory/1",
        "/ip4/192.0.2.1/tcp/1/sni/a.example/ws",
        "/ip4/192.0.2.1/tcp/1/wss/ws",
        "/ip4/192.0.2.1/tcp/1/ws/ws",
        "/ip4/192.0.2.1/tcp/1/ws/wss",
        "/ip4/192.0.2.1/tcp/1/tls/wss",
        "/ip4/192.0.2.1/tcp/1/tls/sni/a.example/wss",
        "/ip4/192.0.2.1/tcp/1/tls/tls/ws",
        "/dns4/a.example/tcp/1/tls/ws/tls/ws",
        &format!("/ip4/192.0.2.1/tcp/1/ws/p2p/{PEER}/p2p-circuit"),
    ] {
        let address = address(text);
        match Request::parse(&address, false) {
            Err(TransportError::MultiaddrNotSupported(refused)) => assert_eq!(refused, address),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn tcp_alone_is_dialled_if_that_is_wanted() {
    for (text, below) in [
        ("/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.1/tcp/1"),
        ("/dns/a.example/tcp/1", "/dns/a.example/tcp/1"),
        (
            &format!("/ip6/2001:db8::1/tcp/1/p2p/{PEER}"),
            &format!("/ip6/2001:db8::1/tcp/1/p2p/{PEER}"),
        ),
    ] {
        let to = Request::parse(&address(text), true).unwrap();
        assert_eq!((to.kind, to.below), (Kind::Tcp, address(below)));
        Request::parse(&address(text), false).unwrap_err();
        let websocket = Request::parse(&address("/ip4/192.0.2.1/tcp/1/ws"), true);
        assert_eq!(websocket.unwrap().kind, Kind::Ws);
    }
    for text in [
        "/ip4/192.0.2.1/udp/1",
        "/ip4/192.0.2.1/tcp/1/http",
        "/ip4/192.0.2.1/tcp/1/tcp/2",
        "/ip6zone/eth0/ip6/fe80::1/tcp/1",
        "/dnsaddr/a.example/tcp/1",
        &format!("/ip4/192.0.2.1/tcp/1/p2p/{PEER}/p2p-circuit"),
        &format!("/ip4/192.0.2.1/tcp/1/ws/p2p/{PEER}/p2p-circuit"),
    ] {
        match Request::parse(&address(text), true) {
            Err(TransportError::MultiaddrNotSupported(refused)) => {
                assert_eq!(refused, address(text));
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    let refused = Request::parse(&address("/ip4/192.0.2.1/tcp/0"), true);
    assert!(matches!(
        refused,
        Err(TransportError::Other(Error::Undialable { .. }))
    ));
}

#[test]
fn a_name_that_could_begin_another_header_is_none() {
    for name in ["a\r\nCookie: b", "a b", "", "a/b", "\u{e4}"] {
        for tls in [false, true] {
            let mut address = Multiaddr::empty()
                .with(Protocol::Dns(name.into()))
                .with(Protocol::Tcp(1));
            if tls {
                address = "/ip4/192.0.2.1/tcp/1/tls".parse().unwrap();
                address.push(Protocol::Sni(name.into()));
            }
            address.push(Protocol::Ws("/".into()));
            match (Request::parse(&address, false), tls) {
                (Err(TransportError::Other(Error::Tls(cause))), true) => {
                    assert_eq!(cause.to_string(), format!("{name:?} is not a DNS name"));
                }
                (Err(TransportError::Other(Error::Lookup { name: told, source })), false) => {
                    assert_eq!((&*told, source.kind()), (name, io::ErrorKind::InvalidInput));
                    assert_eq!(source.to_string(), "it is not a DNS name");
                }
                (other, _) => panic!("{name:?}: {other:?}"),
            }
        }
    }
}

#[test]
fn what_nothing_can_listen_on_is_told_with_its_reason() {
    for (host, why) in [
        ("/ip4/192.0.2.1/tcp/0", "its port is 0"),
        ("/dns/a.example/tcp/0", "its port is 0"),
        ("/ip4/0.0.0.0/tcp/1", "its IP address is unspecified"),
        ("/ip6/::/tcp/1", "its IP address is unspecified"),
    ] {
        for end in ["/ws", "/tls/sni/a.example/ws"] {
            let text = format!("{host}{end}/p2p/{PEER}");
            match Request::parse(&address(&text), false) {
                Err(TransportError::Other(error)) => {
                    assert_eq!(error.to_string(), format!("cannot dial {text}: {why}"));
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_redirect_leads_to_a_url() {
    let plain = parse("/dns4/a.example/tcp/1/ws");
    let tls = parse("/dns4/a.example/tcp/1/wss");
    for (location, to) in [
        (
            "ws://b.example:2/c",
            "/dns/b.example/tcp/2/x-parity-ws/%2Fc",
        ),
        ("http://b.example", "/dns/b.example/tcp/80/ws"),
        (
            "HTTP://user:password@192.0.2.1:80/#d",
            "/ip4/192.0.2.1/tcp/80/ws",
        ),
        (
            "ws://[2001:db8::1]:2/c?d=e",
            "/ip6/2001:db8::1/tcp/2/x-parity-ws/%2Fc%3Fd=e",
        ),
    ] {
        assert_eq!(plain.redirected(location).unwrap(), parse(to));
        let error = tls.redirected(location).unwrap_err();
        assert!(matches!(error, Error::RedirectWithoutTls), "{error:?}");
    }
    for (location, to) in [
        (
            "wss://b.example/c",
            "/dns/b.example/tcp/443/tls/x-parity-ws/%2Fc",
        ),
        ("https://192.0.2.1:2", "/ip4/192.0.2.1/tcp/2/tls/ws"),
    ] {
        for from in [&plain, &tls] {
            assert_eq!(from.redirected(location).unwrap(), parse(to));
        }
    }
    for location in [
        "",
        "/b",
        "//b.example/",
        "b",
        "ftp://b.example/",
        "wss://",
        "wss://a b/",
    ] {
        for from in [&plain, &tls] {
            let error = from.redirected(location).unwrap_err();
            assert!(
                matches!(error, Error::InvalidRedirect),
                "{location}: {error:?}"
            );
        }
    }
}

/// The address dialled below, and the bytes sent there. Nothing is answered.
#[derive(Debug, Clone, Default)]
struct Tcp(Arc<Mutex<(Vec<Multiaddr>, Vec<u8>)>>);

impl libp2p_core::Transport for Tcp {
    type Output = Self;
    type Error = io::Error;
    type ListenerUpgrade = Ready<io::Result<Self>>;
    type Dial = Ready<io::Result<Self>>;

    fn listen_on(
        &mut self,
        _: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        Err(TransportError::MultiaddrNotSupported(address))
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        false
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        _: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        self.0.lock().unwrap().0.push(address);
        Ok(ready(Ok(self.clone())))
    }

    fn poll(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Poll::Pending
    }
}

impl AsyncRead for Tcp {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap().1.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The address that libp2p-websocket dials, and the bytes it sends; `None` if it does not support the address.
fn stock(address: &Multiaddr) -> Option<(Vec<Multiaddr>, Vec<u8>)> {
    let tcp = Tcp::default();
    let opts = DialOpts {
        role: Endpoint::Dialer,
        port_use: PortUse::New,
    };
    let dial = libp2p_websocket::Config::new(tcp.clone())
        .dial(address.clone(), opts)
        .ok()?;
    assert!(task::spawn(dial).poll().is_pending());
    let mut said = tcp.0.lock().unwrap();
    Some(std::mem::take(&mut said))
}

proptest! {
    #[test]
    fn what_libp2p_websocket_dials_is_dialled_alike(
        protocols in subsequence(
            vec![
                "/ip4/192.0.2.1", "/ip6/2001:db8::1", "/dns/a.example", "/dns4/a.example", "/dns6/a",
                "/dnsaddr/a.example", "/tcp/1", "/tcp/81", "/udp/1", "/tls", "/sni/b.example", "/sni/192.0.2.2",
                "/ws", "/wss", "/x-parity-ws/%2Fc%3Fd", "/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp",
                "/p2p-circuit", "/p2p/QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC",
            ],
            2..8,
        ),
    ) {
        let address = address(&protocols.concat());
        let Some((dialled, said)) = stock(&address) else {
            prop_assert!(Request::parse(&address, false).is_err(), "{}", address);
            return Ok(());
        };
        let dial = Request::parse(&address, false);
        // It would have the transport below dial what is not of TCP.
        let is_of_tcp = |protocol| !matches!(
            protocol,
            Protocol::Ws(_) | Protocol::Wss(_) | Protocol::Tls | Protocol::Sni(_)
        );
        if !dialled.iter().all(|below| below.iter().all(is_of_tcp)) {
            prop_assert!(dial.is_err(), "{}", address);
            return Ok(());
        }
        prop_assert!(dial.is_ok(), "{}: {:?}", address, dial);
        let dial = dial.unwrap();
        prop_assert_eq!(dialled, [dial.below]);
        if dial.tls.is_none() {
            let expected = format!("GET {} HTTP/1.1\r\nHost: {}\r\n", dial.path.as_str(), dial.host);
            prop_assert!(String::from_utf8_lossy(&said).starts_with(&expected));
        }
    }
}
