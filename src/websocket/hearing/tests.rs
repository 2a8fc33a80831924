use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, FutureExt as _, io::Cursor};
use tokio_test::{assert_pending, assert_ready, task};

use super::*;
use crate::{
    deadline,
    logged::logged,
    websocket::{Counters, handshake::Admission},
};

fn arrived(upgrade: Pending<Io>) -> Arrived<Pending<Io>> {
    Arrived {
        socket: ListenerId::next(),
        upgrade,
        local: "/ip4/127.0.0.1/tcp/1".parse().unwrap(),
        remote: "/ip4/127.0.0.1/tcp/2".parse().unwrap(),
    }
}

/// One that says this, and whose connection ends after that.
fn saying(bytes: &[u8]) -> Pending<Io> {
    let io: Io = Box::pin(Cursor::new(bytes.to_vec()));
    std::future::ready(Ok(io)).boxed()
}

fn silent() -> Pending<Io> {
    std::future::pending().boxed()
}

fn admission(max: usize, timeout: Duration) -> (Admission, Counters) {
    let counters = Counters::default();
    (Admission::new(max, timeout, counters.clone()), counters)
}

fn bounds(admission: &Admission) -> Bounds {
    let Arrived { local, .. } = arrived(silent());
    admission.admit(&local, None, deadline::now())
}

/// What is wanted on a shared port of somebody who is no proxy.
const ANYTHING: Wanted = Wanted {
    kind: None,
    proxies: None,
};

/// What it speaks, for whom it comes, and what is left to be read, of one who says this.
fn heard_of(wanted: Wanted, bytes: &[u8]) -> Option<(Option<Kind>, Option<String>, Vec<u8>)> {
    let (admission, _) = admission(1, Duration::MAX);
    let mut hearing = Hearing::default();
    hearing.push(arrived(saying(bytes)), wanted, bounds(&admission));
    let mut task = task::spawn(hearing);
    let Poll::Ready(heard) = task.enter(|cx, mut hearing| hearing.poll(cx)) else {
        return None;
    };
    let Incoming::Heard(mut io) = heard.arrived.upgrade else {
        panic!("it has been heard");
    };
    let mut read = Vec::new();
    io.read_to_end(&mut read).now_or_never().unwrap().unwrap();
    Some((heard.kind, heard.client.map(|at| at.to_string()), read))
}

fn heard(bytes: &[u8]) -> Option<(Option<Kind>, Vec<u8>)> {
    let (kind, client, read) = heard_of(ANYTHING, bytes)?;
    assert_eq!(client, None);
    Some((kind, read))
}

fn behind(kind: Option<Kind>, proxies: Proxies) -> Wanted {
    Wanted {
        kind,
        proxies: Some(Arc::new(proxies)),
    }
}

#[test]
fn a_tcp_proxy_tells_before_all_else_and_has_to() {
    let proxies = || Proxies::tcp(["10.0.0.0/8".parse().unwrap()]);
    let line = "PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n";
    let client = Some("192.0.2.1:56324".to_owned());
    for (rest, kind) in [
        (&b"\x13/multistream/1.0.0\n"[..], Some(Kind::Tcp)),
        (b"GET / HTTP/1.1\r\n\r\n", Some(Kind::Ws)),
        (b"\x16\x03\x01", Some(Kind::Wss)),
        (b"\0", None),
    ] {
        let bytes = [line.as_bytes(), rest].concat();
        let expected = Some((kind, client.clone(), rest.to_vec()));
        assert_eq!(heard_of(behind(None, proxies()), &bytes), expected);
        // Without its header it is nobody's, whatever it says.
        let refused = heard_of(behind(None, proxies()), rest);
        assert!(matches!(refused, Some((None, None, _))), "{refused:?}");
        let refused = heard_of(behind(Some(Kind::Ws), proxies()), rest);
        assert!(matches!(refused, Some((None, None, _))), "{refused:?}");
    }
    // A proxy that looks whether this node is up says nothing more, and nobody is told, whatever is listened for.
    for kind in [None, Some(Kind::Ws), Some(Kind::Wss)] {
        for bytes in [line, "PROXY UNKNOWN\r\n", ""] {
            assert_eq!(heard_of(behind(kind, proxies()), bytes.as_bytes()), None);
        }
    }
    let itself = heard_of(behind(Some(Kind::Ws), proxies()), b"PROXY UNKNOWN\r\nGET");
    assert_eq!(itself, Some((Some(Kind::Ws), None, b"GET".to_vec())));
    // From anybody else it is nothing that is known here, or a bad request.
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    assert_eq!(heard(signature), Some((None, signature.to_vec())));
    assert_eq!(heard(line.as_bytes()), Some((Some(Kind::Ws), line.into())));
}

#[test]
fn an_http_proxy_tells_in_the_request_of_which_nothing_is_lost() {
    let proxies = |name: &str| Proxies::http_header(["10.0.0.0/8".parse().unwrap()], name);
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Real-IP: 192.0.2.7\r\nx-forwarded-for: 203.0.113.9\r\n\
                   X-Forwarded-For: 192.0.2.1, 10.0.0.2\r\n\r\nrest";
    let ws = Some(Kind::Ws);
    for (name, client) in [
        ("X-Forwarded-For", Some("192.0.2.1:0")),
        ("X-Real-IP", Some("192.0.2.7:0")),
        ("CF-Connecting-IP", None),
    ] {
        for kind in [None, ws] {
            let heard = heard_of(behind(kind, proxies(name)), request.as_bytes());
            let client = client.map(str::to_owned);
            assert_eq!(heard, Some((ws, client, request.into())));
        }
    }
    let xff = || behind(None, proxies("X-Forwarded-For"));
    // Within TLS nothing is looked for, and what is no request is left to those who answer.
    let tls = b"\x16\x03\x01X-Forwarded-For: 192.0.2.1\r\n\r\n";
    assert_eq!(
        heard_of(xff(), tls),
        Some((Some(Kind::Wss), None, tls.to_vec()))
    );
    let bad = b"GET\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n";
    assert_eq!(heard_of(xff(), bad), Some((ws, None, bad.to_vec())));
    let long = [b"GET / HTTP/1.1\r\nA: ".to_vec(), vec![b'x'; MAX_HEAD]].concat();
    assert_eq!(heard_of(xff(), &long), Some((ws, None, long.clone())));
    // Half a request tells nothing, whatever it has said so far.
    let head = b"GET / HTTP/1.1\r\nX-Forwarded-For: 192.0.2.1\r\nCookie: ".to_vec();
    let half = [head, vec![b'x'; MAX_HEAD]].concat();
    assert_eq!(heard_of(xff(), &half), Some((ws, None, half.clone())));
    // One that ends within its head has nothing to be answered.
    assert_eq!(heard_of(xff(), &request.as_bytes()[..40]), None);
}

/// Sends so many bytes in portions of one size, and then nothing more.
struct Dripping {
    left: usize,
    portion: usize,
}

impl AsyncRead for Dripping {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let count = self.left.min(self.portion).min(buf.len());
        if count == 0 {
            return Poll::Pending;
        }
        buf[..count].fill(b'x');
        self.left -= count;
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Dripping {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[test]
fn of_a_request_without_end_no_more_is_read_than_a_head_may_have() {
    for (left, portion) in [
        (MAX_HEAD, MAX_READ),
        (2 * MAX_HEAD, 1000),
        (2 * MAX_HEAD, 1),
    ] {
        let io: Io = Box::pin(Dripping { left, portion });
        let upgrade = std::future::ready(Ok(io)).boxed();
        let proxies = Proxies::http(["10.0.0.0/8".parse().unwrap()]);
        let mut hearing = task::spawn(hear(upgrade, behind(Some(Kind::Ws), proxies)));
        let beginning = assert_ready!(hearing.poll()).ok().unwrap();
        let (read, _) = beginning.io.into_parts();
        assert!((MAX_HEAD..MAX_HEAD + portion).contains(&read.len()));
    }
}

#[test]
fn that_a_proxy_tells_no_client_is_said_once() {
    let log = logged(|| {
        let has_warned = AtomicBool::new(false);
        for _ in 0..3 {
            warn_of_no_client("X-Real-IP", &has_warned);
        }
    });
    assert_eq!(log.matches("X-Real-IP").count(), 1, "{log}");
}

#[test]
fn the_first_byte_tells_and_nothing_that_was_read_is_lost() {
    let long = [&b"GET "[..], &[b'x'; 3 * MAX_READ]].concat();
    for (bytes, kind) in [
        (&b"GET / HTTP/1.1\r\n"[..], Some(Kind::Ws)),
        (b"P", Some(Kind::Ws)),
        (&long, Some(Kind::Ws)),
        (b"\x16\x03\x01", Some(Kind::Wss)),
        (b"\x13/multistream/1.0.0\n", Some(Kind::Tcp)),
        (b"\x00\x01", None),
        (b"\xff", None),
        (b"get / HTTP/1.1", None),
    ] {
        assert_eq!(heard(bytes), Some((kind, bytes.to_vec())));
    }
    assert_eq!(heard(b""), None);
}

#[test]
fn who_is_silent_ends_with_its_place_or_its_deadline() {
    let (admission, counters) = admission(2, Duration::MAX);
    let mut hearing = task::spawn(Hearing::default());
    for pending in [1, 2, 2] {
        hearing.push(arrived(silent()), ANYTHING, bounds(&admission));
        assert_pending!(hearing.enter(|cx, mut hearing| hearing.poll(cx)).map(drop));
        assert_eq!(counters.pending_handshakes(), pending);
    }
    assert_eq!((counters.evicted(), hearing.0.len()), (1, 2));
    hearing.push(arrived(saying(b"GET")), ANYTHING, bounds(&admission));
    let heard = assert_ready!(hearing.enter(|cx, mut hearing| hearing.poll(cx)));
    assert_eq!(heard.kind, Some(Kind::Ws));
    assert_pending!(hearing.enter(|cx, mut hearing| hearing.poll(cx)).map(drop));
    assert_eq!((counters.evicted(), hearing.0.len()), (2, 1));
    // It keeps its place: its handshake goes on.
    assert_eq!(counters.pending_handshakes(), 2);
    heard.bounds.refuse();
    assert_eq!((counters.pending_handshakes(), counters.unknown()), (1, 1));
    assert_eq!(counters.timed_out(), 0);

    let (admission, counters) = self::admission(2, Duration::ZERO);
    hearing.push(arrived(silent()), ANYTHING, bounds(&admission));
    assert_pending!(hearing.enter(|cx, mut hearing| hearing.poll(cx)).map(drop));
    assert_eq!(
        (counters.timed_out(), counters.pending_handshakes()),
        (1, 0)
    );
}
