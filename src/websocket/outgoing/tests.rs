use std::collections::VecDeque;

use futures::executor::block_on;
use proptest::prelude::*;

use super::*;
use crate::websocket::{Config, Error};

/// The other end: its pieces arrive one by one, and then the connection ends.
#[derive(Default)]
struct Peer {
    pieces: VecDeque<Vec<u8>>,
    is_late: bool,
    written: Vec<u8>,
    sent: Vec<u8>,
}

impl Peer {
    fn new<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
        Self {
            pieces: pieces.map(<[u8]>::to_vec).collect(),
            ..Self::default()
        }
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        assert!(self.written.is_empty(), "what is awaited was requested");
        self.is_late = !self.is_late;
        if self.is_late {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Some(mut piece) = self.pieces.pop_front() else {
            return Poll::Ready(Ok(0));
        };
        let rest = piece.split_off(piece.len().min(buf.len()));
        buf[..piece.len()].copy_from_slice(&piece);
        if !rest.is_empty() {
            self.pieces.push_front(rest);
        }
        Poll::Ready(Ok(piece.len()))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        // Not all at once.
        let count = buf.len().min(7);
        self.written.extend_from_slice(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = std::mem::take(&mut self.written);
        self.sent.extend(written);
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn socks5() -> OutgoingProxy {
    OutgoingProxy::socks5("127.0.0.1:1080").unwrap()
}

fn http() -> OutgoingProxy {
    OutgoingProxy::http("proxy.test:3128").unwrap()
}

fn known(proxy: OutgoingProxy) -> OutgoingProxy {
    proxy.with_credentials("aladdin", "opensesame").unwrap()
}

/// The bytes that came through the tunnel, those that were sent, and the peer.
fn tunnel(
    proxy: &OutgoingProxy,
    to: &str,
    mut peer: Peer,
) -> (Result<Vec<u8>, ProxyError>, Vec<u8>) {
    let received = block_on(proxy.tunnel(&mut peer, &to.parse().unwrap()));
    let received = received.map(|mut received| {
        received.extend(peer.pieces.into_iter().flatten());
        received
    });
    (received, peer.sent)
}

/// The proxy sends this, cut in two at every position and byte by byte: each has the same result.
fn tunnels(
    proxy: &OutgoingProxy,
    to: &str,
    answer: &[u8],
) -> (Result<Vec<u8>, ProxyError>, Vec<u8>) {
    let (whole, sent) = tunnel(proxy, to, Peer::new([answer]));
    let cuts = (0..answer.len()).map(|at| {
        let (first, second) = answer.split_at(at);
        Peer::new([first, second])
    });
    for peer in cuts.chain([Peer::new(answer.chunks(1))]) {
        let (cut, sent_then) = tunnel(proxy, to, peer);
        assert_eq!(format!("{cut:?}"), format!("{whole:?}"));
        assert_eq!(sent_then, sent);
    }
    (whole, sent)
}

/// The error with its sources.
fn text(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", text(source)),
        None => error.to_string(),
    }
}

#[test]
fn socks5_is_spoken_as_in_the_rfc_wherever_its_bytes_are_cut() {
    let bound: [&[u8]; 3] = [
        &[5, 0, 0, 1, 127, 0, 0, 1, 4, 56],
        &[
            5, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 4, 56,
        ],
        b"\x05\0\0\x03\x04host\x04\x38",
    ];
    let v6 = b"\x05\x01\0\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x01\xbb";
    for (to, request) in [
        (
            "/ip4/192.0.2.1/tcp/443",
            &b"\x05\x01\0\x01\xc0\0\x02\x01\x01\xbb"[..],
        ),
        ("/ip6/2001:db8::1/tcp/443", v6),
        // An IP address is one in whatever protocol.
        ("/dns6/2001:db8::1/tcp/443", v6),
        ("/dns4/a.test/tcp/443", b"\x05\x01\0\x03\x06a.test\x01\xbb"),
    ] {
        for bound in bound {
            let answer = [b"\x05\0", bound, b"through it"].concat();
            let (received, sent) = tunnels(&socks5(), to, &answer);
            assert_eq!(received.unwrap(), b"through it");
            assert_eq!(sent, [b"\x05\x01\0", request].concat());

            let answer = [b"\x05\x02\x01\0", bound].concat();
            let (received, sent) = tunnels(&known(socks5()), to, &answer);
            assert_eq!(received.unwrap(), b"");
            let login = b"\x01\x07aladdin\x0aopensesame";
            assert_eq!(sent, [b"\x05\x02\0\x02", &login[..], request].concat());
        }
    }
}

#[test]
fn a_refusal_of_socks5_is_told_as_a_person_reads_it() {
    let unreachable = "the proxy could not connect to the target: ";
    let refused = "the proxy refused to connect to the target: ";
    for (code, expected) in [
        (
            1,
            [unreachable, "general failure, possibly an unknown name"],
        ),
        (2, [refused, "not allowed by its rules"]),
        (3, [unreachable, "network unreachable"]),
        (4, [unreachable, "host unreachable"]),
        (5, [unreachable, "connection refused"]),
        (6, [unreachable, "no answer in time (TTL expired)"]),
        (7, [refused, "it does not support CONNECT"]),
        (8, [refused, "it does not support this type of address"]),
    ] {
        let answer = [5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0];
        let (refused, _) = tunnels(&socks5(), "/dns/a.test/tcp/1", &answer);
        assert_eq!(text(&refused.unwrap_err()), expected.concat());
    }
    for (proxy, answer, given) in [
        (socks5(), &b"\x05\xff"[..], false),
        (socks5(), b"\x05\x02", false),
        (known(socks5()), b"\x05\xff", true),
        (known(socks5()), b"\x05\x02\x01\x01", true),
    ] {
        let (refused, _) = tunnels(&proxy, "/dns/a.test/tcp/1", answer);
        let error = refused.unwrap_err();
        assert!(
            matches!(error, ProxyError::Credentials { given: found } if found == given),
            "{error:?}"
        );
    }
    for answer in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"\x05\x07",
        b"\x05\0\x05\x77\0\x01",
    ] {
        let (refused, _) = tunnels(&socks5(), "/dns/a.test/tcp/1", answer);
        assert!(matches!(refused, Err(ProxyError::NotAProxy(_))));
    }
}

#[test]
fn http_is_spoken_as_in_the_rfc_wherever_its_bytes_are_cut() {
    for (to, authority) in [
        ("/ip4/192.0.2.1/tcp/443", "192.0.2.1:443"),
        ("/ip6/2001:db8::1/tcp/443", "[2001:db8::1]:443"),
        ("/dns4/192.0.2.1/tcp/443", "192.0.2.1:443"),
        ("/dns/2001:db8::1/tcp/443", "[2001:db8::1]:443"),
        (
            "/dns6/a.test/tcp/443/p2p/QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC",
            "a.test:443",
        ),
    ] {
        let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
        for answer in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.0 200 Connection established\r\nProxy-agent: a/1\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204\r\n\r\n",
        ] {
            let answer = format!("{answer}through it");
            let (received, sent) = tunnels(&http(), to, answer.as_bytes());
            assert_eq!(received.unwrap(), b"through it");
            assert_eq!(String::from_utf8(sent).unwrap(), format!("{request}\r\n"));
        }
        let (received, sent) = tunnels(&known(http()), to, b"HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(received.unwrap(), b"");
        let login = "Proxy-Authorization: Basic YWxhZGRpbjpvcGVuc2VzYW1l\r\n";
        assert_eq!(
            String::from_utf8(sent).unwrap(),
            format!("{request}{login}\r\n")
        );
    }
}

#[test]
fn a_refusal_of_http_is_told_as_a_person_reads_it() {
    for (answer, expected) in [
        (
            "502 Bad Gateway\r\nContent-Length: 9999\r\n\r\n<html>",
            "the proxy could not connect to the target: 502 Bad Gateway",
        ),
        (
            "504\r\n\r\n",
            "the proxy could not connect to the target: 504",
        ),
        (
            "403 Forbidden\x1b[31m\r\n\r\n",
            "the other side is not a proxy of this kind: ",
        ),
        (
            "403 Forbidden\r\n\r\n",
            "the proxy refused to connect to the target: 403 Forbidden",
        ),
        (
            "501 Not Implemented\r\n\r\n",
            "the proxy refused to connect to the target: 501 Not Implemented",
        ),
        (
            "101 Switching Protocols\r\n\r\n",
            "the proxy refused to connect to the target: 101 Switching Protocols",
        ),
        (
            "302 Found\r\nLocation: http://login.test/\r\n\r\n",
            "the proxy refused to connect to the target: 302 Found",
        ),
        (
            "407 Proxy Authentication Required\r\n\r\n",
            "the proxy requires a user name and a password",
        ),
        (
            "200 OK\r\nA",
            "the other side is not a proxy of this kind: the other side closed the connection before the end of its headers",
        ),
    ] {
        let (refused, _) = tunnels(
            &http(),
            "/dns/a.test/tcp/1",
            format!("HTTP/1.1 {answer}").as_bytes(),
        );
        let error = text(&refused.unwrap_err());
        assert!(error.starts_with(expected), "{error}");
    }
    for answer in ["401 Unauthorized\r\n\r\n", "407 No\r\n\r\n"] {
        let answer = format!("HTTP/1.1 {answer}");
        let (refused, _) = tunnels(&known(http()), "/dns/a.test/tcp/1", answer.as_bytes());
        assert!(matches!(
            refused,
            Err(ProxyError::Credentials { given: true })
        ));
    }
    for answer in [
        &b"\x05\xff"[..],
        b"SSH-2.0-OpenSSH\r\n",
        b"\x15\x03\x01\0\x02\x02\x46",
    ] {
        let (refused, _) = tunnels(&http(), "/dns/a.test/tcp/1", answer);
        assert!(matches!(refused, Err(ProxyError::NotAProxy(_))));
    }
}

#[test]
fn a_response_has_at_most_16_kib() {
    let filler = "A: b\r\n".repeat(99);
    let long = "c".repeat(16 * 1024 - 17 - filler.len() - 3 - 4);
    for (extra, fits) in [("", true), ("c", false)] {
        let answer = format!("HTTP/1.1 200 OK\r\n{filler}C: {long}{extra}\r\n\r\n");
        assert_eq!(answer.len() <= 16 * 1024, fits);
        let (received, _) = tunnel(&http(), "/dns/a.test/tcp/1", Peer::new([answer.as_bytes()]));
        assert_eq!(received.is_ok(), fits, "{received:?}");
    }
    // Without an end, in interim responses too.
    let endless = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
    let (received, _) = tunnel(
        &http(),
        "/dns/a.test/tcp/1",
        Peer::new([endless.as_bytes()]),
    );
    assert!(matches!(received, Err(ProxyError::NotAProxy(_))));
}

#[test]
fn a_proxy_that_leaves_within_the_handshake_is_an_error_at_every_position() {
    let answer = b"\x05\x02\x01\0\x05\0\0\x01\x7f\0\0\x01\x04\x38";
    for end in 0..answer.len() {
        let peer = Peer::new([&answer[..end]]);
        let (received, _) = tunnel(&known(socks5()), "/dns/a.test/tcp/1", peer);
        assert!(matches!(received, Err(ProxyError::Io(_))), "{end}");
    }
    let answer = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
    for end in 0..answer.len() {
        let peer = Peer::new([&answer[..end]]);
        let (received, _) = tunnel(&http(), "/dns/a.test/tcp/1", peer);
        match end {
            0 => assert!(matches!(received, Err(ProxyError::Io(_)))),
            _ => assert!(matches!(received, Err(ProxyError::NotAProxy(_))), "{end}"),
        }
    }
}

#[test]
fn a_name_that_could_add_to_a_request_is_not_sent() {
    let long = "a".repeat(600);
    for name in ["a\r\nProxy-Authorization: b", "a b", &long, ""] {
        let to = Multiaddr::empty()
            .with(Protocol::Dns(name.into()))
            .with(Protocol::Tcp(1));
        for proxy in [socks5(), http()] {
            let mut peer = Peer::default();
            let refused = block_on(proxy.tunnel(&mut peer, &to));
            assert_eq!(
                refused.unwrap_err().to_string(),
                "the name of the target is not a DNS name, and was not sent to the proxy"
            );
            assert_eq!((peer.written, peer.sent), Default::default());
        }
    }
}

proptest! {
    #[test]
    fn whatever_a_proxy_sends_ends_in_a_tunnel_or_an_error(
        start in prop::sample::select(vec![
            &b""[..], b"\x05\0", b"\x05\x02\x01\0", b"\x05\0\x05\0\0", b"\x05\0\x05\0\0\x03",
            b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n",
        ]),
        rest: Vec<u8>,
        size in 1..40_usize,
    ) {
        let answer = [start, &rest].concat();
        for proxy in [known(socks5()), known(http())] {
            let peer = Peer::new(answer.chunks(size));
            match tunnel(&proxy, "/dns/a.test/tcp/1", peer).0 {
                Ok(received) => prop_assert!(answer.ends_with(&received)),
                Err(error) => {
                    let error = Error::proxy(&proxy, error);
                    let shown = format!("{} {error:?}", text(&error));
                    let is_printable = |char: char| !char.is_control();
                    prop_assert!(shown.chars().all(is_printable), "{shown:?}");
                    prop_assert!(shown.len() < 2000);
                }
            }
        }
    }
}

#[test]
fn an_address_is_a_host_and_a_port() {
    for (address, shown, parsed) in [
        (
            "127.0.0.1:1080",
            "127.0.0.1:1080",
            "/ip4/127.0.0.1/tcp/1080",
        ),
        ("[::1]:1", "[::1]:1", "/ip6/::1/tcp/1"),
        ("proxy.test:80", "proxy.test:80", "/dns/proxy.test/tcp/80"),
    ] {
        let proxy = OutgoingProxy::socks5(address).unwrap();
        assert_eq!(proxy.to_string(), format!("SOCKS5 proxy {shown}"));
        assert_eq!(proxy.address().to_string(), parsed);
        let proxy = OutgoingProxy::http(address).unwrap();
        assert_eq!(proxy.to_string(), format!("HTTP proxy {shown}"));
    }
    for address in [
        "",
        ":1",
        "a",
        "a:",
        "a:0",
        "a:65536",
        "0.0.0.0:1",
        "[::]:1",
        "::1:1080",
        "[::1]",
        "[a]:1",
        "a b:1",
        "http://a:1",
        "user:secret@a:1",
    ] {
        let error = OutgoingProxy::http(address).unwrap_err();
        assert_eq!(error, InvalidProxy::Address, "{address}");
    }
}

#[test]
fn credentials_are_those_that_both_protocols_can_send() {
    let long = "a".repeat(256);
    for text in ["", &long, "a\r\nb", "a\0"] {
        let user = socks5().with_credentials(text, "b").unwrap_err();
        assert_eq!(user, InvalidProxy::User);
        let password = socks5().with_credentials("b", text).unwrap_err();
        assert_eq!(password, InvalidProxy::Password);
    }
    let colon = http().with_credentials("a:b", "c").unwrap_err();
    assert_eq!(colon, InvalidProxy::User);
    http().with_credentials(&long[1..], "a:\u{fc}@").unwrap();
}

#[test]
fn credentials_are_nowhere_to_be_read() {
    for proxy in [known(socks5()), known(http())] {
        let config = Config::default().with_outgoing_proxy(proxy.clone());
        let answers = [&b"\x05\x02\x01\x01"[..], b"HTTP/1.1 407 No\r\n\r\n", b""];
        let mut shown = format!("{proxy} {proxy:?} {config:?}");
        for answer in answers {
            let (failed, _) = tunnel(&proxy, "/dns/a.test/tcp/1", Peer::new([answer]));
            let error = Error::proxy(&proxy, failed.unwrap_err());
            shown += &format!("{} {error:?}", text(&error));
        }
        for secret in ["aladdin", "opensesame", "YWxhZGRpbjpvcGVuc2VzYW1l"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

#[test]
fn only_addresses_of_the_direct_networks_go_past_it() {
    let networks = ["10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().unwrap());
    let proxy = socks5().with_direct(networks);
    for (address, expected) in [
        ("/ip4/10.1.2.3/tcp/1/ws", false),
        ("/ip6/::ffff:10.1.2.3/tcp/1/ws", false),
        ("/ip6/2001:db8::1/tcp/1", false),
        ("/ip4/11.1.2.3/tcp/1/ws", true),
        ("/ip6/::1/tcp/1/ws", true),
        ("/ip4/127.0.0.1/tcp/1", true),
        ("/dns/10.1.2.3/tcp/1", true),
        ("/dns/localhost/tcp/1", true),
        ("/dnsaddr/a.test", true),
    ] {
        assert_eq!(
            proxy.is_for(&address.parse().unwrap()),
            expected,
            "{address}"
        );
        assert!(socks5().is_for(&address.parse().unwrap()));
    }
}
