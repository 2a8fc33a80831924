use std::time::Duration;

use futures::{AsyncReadExt as _, FutureExt as _, io::Cursor};
use tokio_test::{assert_pending, assert_ready, task};

use super::*;
use crate::{
    deadline,
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
    let Arrived { local, remote, .. } = arrived(silent());
    admission.admit(&local, &remote, deadline::now())
}

/// What is heard of one who says this.
fn heard(bytes: &[u8]) -> Option<(Option<Kind>, Vec<u8>)> {
    let (admission, _) = admission(1, Duration::MAX);
    let mut hearing = Hearing::default();
    hearing.push(arrived(saying(bytes)), bounds(&admission));
    let mut task = task::spawn(hearing);
    let Poll::Ready(heard) = task.enter(|cx, mut hearing| hearing.poll(cx)) else {
        return None;
    };
    let Incoming::Heard(mut io) = heard.arrived.upgrade else {
        panic!("it has been heard");
    };
    let mut read = Vec::new();
    io.read_to_end(&mut read).now_or_never().unwrap().unwrap();
    Some((heard.kind, read))
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
        hearing.push(arrived(silent()), bounds(&admission));
        assert_pending!(hearing.enter(|cx, mut hearing| hearing.poll(cx)).map(drop));
        assert_eq!(counters.pending_handshakes(), pending);
    }
    assert_eq!((counters.evicted(), hearing.0.len()), (1, 2));
    hearing.push(arrived(saying(b"GET")), bounds(&admission));
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
    hearing.push(arrived(silent()), bounds(&admission));
    assert_pending!(hearing.enter(|cx, mut hearing| hearing.poll(cx)).map(drop));
    assert_eq!(
        (counters.timed_out(), counters.pending_handshakes()),
        (1, 0)
    );
}
