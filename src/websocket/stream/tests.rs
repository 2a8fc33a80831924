//! The shell, poll by poll, over a wire that does what a test wants.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    task::Waker,
};

use futures::{AsyncReadExt as _, AsyncWriteExt as _, executor::block_on};
use tokio_test::{
    assert_pending, assert_ready, assert_ready_eq, assert_ready_err, assert_ready_ok, task,
};

use super::{
    frame::Opcode::{self, Binary, Close, Continuation, Ping},
    reader::tests::frame,
    *,
};

mod autobahn;
mod keep_alive;

/// The transport below a stream. It keeps one waker for each direction, as a socket of tokio does.
#[derive(Clone, Default)]
struct Wire(Arc<Mutex<Ends>>);

#[derive(Default)]
struct Ends {
    /// The bytes to read, each piece by one call.
    incoming: VecDeque<Vec<u8>>,
    has_ended: bool,
    /// Reading fails, and replaces the waker of a waiting writer.
    has_failed: bool,
    outgoing: Vec<u8>,
    /// The buffer of the last read.
    read_into: usize,
    /// How much more can be written.
    room: usize,
    writes: usize,
    flushes: usize,
    is_closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Wire {
    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().unwrap()
    }

    fn bring(&self, bytes: &[u8]) {
        let mut ends = self.ends();
        ends.incoming.push_back(bytes.to_vec());
        if let Some(waker) = ends.reader.take() {
            waker.wake();
        }
    }

    fn end(&self) {
        let mut ends = self.ends();
        ends.has_ended = true;
        if let Some(waker) = ends.reader.take() {
            waker.wake();
        }
    }

    fn make_room(&self, room: usize) {
        let mut ends = self.ends();
        ends.room = room;
        if let Some(waker) = ends.writer.take() {
            waker.wake();
        }
    }

    /// The written bytes, as the peer reads them: the payload, and the control frames.
    fn sent(&self, role: Role) -> (Vec<u8>, Vec<(Opcode, Vec<u8>)>) {
        let bytes = self.ends().outgoing.clone();
        let (mut payload, mut controls) = (Vec::new(), Vec::new());
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let header = frame::Header::parse(rest).unwrap().expect("a whole header");
            assert_eq!(header.mask.is_some(), role == Role::Client);
            assert!(header.is_final);
            let begin = frame::header_length(rest);
            let end = begin + usize::try_from(header.length).unwrap();
            let mut bytes = rest[begin..end].to_vec();
            if let Some(key) = header.mask {
                mask::Mask::new(key).apply(&mut bytes);
            }
            match header.opcode {
                Binary => payload.extend(bytes),
                control => controls.push((control, bytes)),
            }
            rest = &rest[end..];
        }
        (payload, controls)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut ends = self.ends();
        ends.read_into = buf.len();
        let Some(mut piece) = ends.incoming.pop_front() else {
            if ends.has_ended {
                return Poll::Ready(Ok(0));
            }
            if ends.has_failed {
                ends.writer = Some(cx.waker().clone());
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            ends.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let count = piece.len().min(buf.len());
        buf[..count].copy_from_slice(&piece[..count]);
        piece.drain(..count);
        if !piece.is_empty() {
            ends.incoming.push_front(piece);
        }
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut ends = self.ends();
        let count = buf.len().min(ends.room);
        if count == 0 {
            ends.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        ends.outgoing.extend(&buf[..count]);
        ends.room -= count;
        ends.writes += 1;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ends().flushes += 1;
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ends().is_closed = true;
        Poll::Ready(Ok(()))
    }
}

const ROLES: [Role; 2] = [Role::Client, Role::Server];

/// A stream over a wire with much room.
fn stream(role: Role) -> (Stream<Wire>, Wire) {
    let wire = Wire::default();
    wire.make_room(usize::MAX);
    (Stream::new(wire.clone(), role, Vec::new()), wire)
}

/// Reads until the end or an error, without ever waiting, into buffers of this size.
fn read_all(stream: &mut Stream<Wire>, size: usize) -> (Vec<u8>, Option<io::Error>) {
    let mut task = task::spawn(());
    let mut buf = vec![0; size];
    let mut read = Vec::new();
    loop {
        let poll = task.enter(|cx, _| Pin::new(&mut *stream).poll_read(cx, &mut buf));
        match assert_ready!(poll) {
            Ok(0) => return (read, None),
            Ok(count) => read.extend(&buf[..count]),
            Err(error) => return (read, Some(error)),
        }
    }
}

#[test]
fn what_comes_is_read_however_it_is_cut_and_whatever_it_is_read_into() {
    for role in ROLES {
        let f = |is_final, opcode, payload: &[u8]| frame(role, is_final, opcode, payload);
        let bytes = [
            f(false, Binary, b""),
            f(true, Ping, b"ping"),
            f(false, Continuation, b"abcde"),
            f(true, Continuation, b""),
            f(true, Binary, b""),
            f(true, Binary, b"fghijk"),
        ]
        .concat();
        for size in [1, 3, DIRECT] {
            for first in 0..=bytes.len() {
                for second in first..=bytes.len() {
                    let (mut stream, wire) = stream(role);
                    for piece in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                        if !piece.is_empty() {
                            wire.bring(piece);
                        }
                    }
                    wire.end();
                    let (read, error) = read_all(&mut stream, size);
                    assert_eq!(read, b"abcdefghijk", "{role:?} {size} {first} {second}");
                    assert!(error.is_none(), "{error:?}");
                    assert_eq!(wire.sent(role).1, [(Opcode::Pong, b"ping".to_vec())]);
                }
            }
        }
    }
}

#[test]
fn much_is_read_at_once_and_directly_if_there_is_room_for_it() {
    let (mut stream, wire) = stream(Role::Server);
    let mut task = task::spawn(());
    for (size, read_into) in [
        (1, 64 * 1024),
        (DIRECT - 1, 64 * 1024),
        (DIRECT, DIRECT),
        (1 << 20, 1 << 20),
    ] {
        let mut buf = vec![0; size];
        assert_pending!(task.enter(|cx, _| Pin::new(&mut stream).poll_read(cx, &mut buf)));
        assert_eq!(wire.ends().read_into, read_into);
    }
}

/// RFC 6455, section 5.3: whoever lets a client send what it wants must not know what it looks like on the way.
#[test]
fn each_frame_of_a_client_is_masked_with_a_key_of_its_own() {
    let (mut stream, wire) = stream(Role::Client);
    for _ in 0..3 {
        block_on(stream.write_all(b"same")).unwrap();
        block_on(stream.flush()).unwrap();
    }
    let bytes = wire.ends().outgoing.clone();
    let mut keys: Vec<_> = bytes.chunks(2 + 4 + 4).map(|frame| &frame[2..6]).collect();
    keys.dedup();
    // By chance two are the same once in a thousand million times.
    assert_eq!(keys.len(), 3, "{bytes:?}");
}

#[test]
fn what_came_with_the_handshake_is_read_first() {
    for role in ROLES {
        let bytes = [
            frame(role, true, Binary, b"abc"),
            frame(role, true, Binary, b"def"),
        ]
        .concat();
        for cut in 0..=bytes.len() {
            let wire = Wire::default();
            if cut < bytes.len() {
                wire.bring(&bytes[cut..]);
            }
            wire.end();
            let mut stream = Stream::new(wire, role, bytes[..cut].to_vec());
            assert_eq!(read_all(&mut stream, 2).0, b"abcdef");
        }
    }
}

#[test]
fn payload_is_read_before_its_frame_is_whole() {
    for role in ROLES {
        for size in [10, DIRECT] {
            let bytes = frame(role, true, Binary, &[5; 1000]);
            let (mut stream, wire) = stream(role);
            wire.bring(&bytes[..100]);
            let mut buf = vec![0; size];
            let mut read = task::spawn(stream.read(&mut buf));
            let count = assert_ready_ok!(read.poll());
            assert!(count >= 10);
        }
    }
}

#[test]
fn nothing_but_headers_and_control_frames_is_no_end() {
    for role in ROLES {
        for size in [10, DIRECT] {
            let (mut stream, wire) = stream(role);
            let mut buf = vec![0; size];
            let mut read = task::spawn(stream.read(&mut buf));
            assert_pending!(read.poll());
            for nothing in [
                frame(role, true, Binary, b""),
                frame(role, true, Ping, b"x"),
                frame(role, true, Binary, b"y")[..1].to_vec(),
            ] {
                wire.bring(&nothing);
                assert!(read.is_woken());
                assert_pending!(read.poll());
            }
        }
    }
}

#[test]
fn a_flush_is_one_write() {
    for role in ROLES {
        let (mut stream, wire) = stream(role);
        let mut task = task::spawn(());
        task.enter(|cx, _| {
            let mut stream = Pin::new(&mut stream);
            for piece in [&b"abc"[..], b"", b"defg"] {
                assert_ready_eq!(
                    stream.as_mut().poll_write(cx, piece).map(Result::unwrap),
                    piece.len()
                );
            }
            let bufs = [&b"h"[..], b"", b"ijk"].map(io::IoSlice::new);
            assert_ready_eq!(
                stream
                    .as_mut()
                    .poll_write_vectored(cx, &bufs)
                    .map(Result::unwrap),
                4
            );
            assert!(wire.ends().outgoing.is_empty());
            assert_ready_ok!(stream.as_mut().poll_flush(cx));
            assert_ready_ok!(stream.as_mut().poll_flush(cx));
        });
        assert_eq!(wire.sent(role), (b"abcdefghijk".to_vec(), vec![]));
        let ends = wire.ends();
        assert_eq!((ends.writes, ends.flushes), (1, 1));
    }
}

#[test]
fn a_vectored_write_takes_what_fits_in_order() {
    let all: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
    for role in ROLES {
        let (mut stream, wire) = stream(role);
        let mut task = task::spawn(());
        let few = [&b""[..], b"abc", b"", b"de", b"f"].map(io::IoSlice::new);
        task.enter(|cx, _| {
            let mut stream = Pin::new(&mut stream);
            assert_ready_eq!(
                stream
                    .as_mut()
                    .poll_write_vectored(cx, &few)
                    .map(Result::unwrap),
                6
            );
            assert_ready_ok!(stream.as_mut().poll_flush(cx));
            assert_eq!(wire.ends().writes, 1);
            assert_eq!(wire.sent(role).0, b"abcdef");

            // One part after the other, until it has to wait for the wire.
            wire.make_room(0);
            let mut taken = 0;
            loop {
                let (first, second) = all[taken..].split_at(50_000);
                let (second, third) = second.split_at(10);
                let parts = [first, b"", second, third].map(io::IoSlice::new);
                match stream.as_mut().poll_write_vectored(cx, &parts) {
                    Poll::Ready(count) => taken += count.unwrap(),
                    Poll::Pending => break,
                }
            }
            assert!(taken > 100_000 && taken < all.len());
            wire.make_room(usize::MAX);
            wire.ends().outgoing.clear();
            assert_ready_ok!(stream.poll_flush(cx));
            assert!(wire.sent(role).0 == all[..taken]);
        });
        assert!(task.is_woken(), "the writer that waited");
    }
}

#[test]
fn a_ping_that_comes_with_payload_is_answered_by_the_same_read() {
    for role in ROLES {
        for size in [10, DIRECT] {
            let (mut stream, wire) = stream(role);
            let frames = [
                frame(role, true, Ping, b"x"),
                frame(role, true, Binary, b"y"),
            ];
            wire.bring(&frames.concat());
            let mut buf = vec![0; size];
            assert_ready_eq!(
                task::spawn(stream.read(&mut buf))
                    .poll()
                    .map(Result::unwrap),
                1
            );
            assert_eq!(
                wire.sent(role),
                (vec![], vec![(Opcode::Pong, b"x".to_vec())])
            );
        }
    }
}

#[test]
fn a_transport_that_takes_nothing_is_an_error() {
    let full = futures::io::Cursor::new(Box::<[u8]>::default());
    let mut stream = Stream::client(full, Vec::new());
    let mut task = task::spawn(async {
        stream.write_all(b"abc").await.unwrap();
        stream.flush().await
    });
    let error = assert_ready_err!(task.poll());
    assert_eq!(error.kind(), io::ErrorKind::WriteZero);
}

#[test]
fn a_reader_that_answers_does_not_take_the_place_of_a_writer_that_waits() {
    for role in ROLES {
        let (stream, wire) = stream(role);
        wire.make_room(3);
        let (mut read, mut write) = stream.split();
        let mut written = task::spawn(async {
            write.write_all(b"abcdef").await?;
            write.flush().await
        });
        assert_pending!(written.poll());
        let mut buf = [0; 10];
        let mut reading = task::spawn(read.read(&mut buf));
        wire.bring(&frame(role, true, Ping, b"ping"));
        assert_pending!(reading.poll());

        wire.make_room(usize::MAX);
        assert!(written.is_woken());
        assert_ready_ok!(written.poll());
        let pong = (Opcode::Pong, b"ping".to_vec());
        assert_eq!(wire.sent(role), (b"abcdef".to_vec(), vec![pong]));
    }
}

#[test]
fn a_writer_that_waits_does_not_take_the_place_of_a_reader_that_answers() {
    for role in ROLES {
        let (stream, wire) = stream(role);
        wire.make_room(0);
        let (mut read, mut write) = stream.split();
        let mut buf = [0; 10];
        let mut reading = task::spawn(read.read(&mut buf));
        wire.bring(&frame(role, true, Ping, b"ping"));
        assert_pending!(reading.poll());
        {
            let mut written = task::spawn(async {
                write.write_all(b"abcdef").await?;
                write.flush().await
            });
            assert_pending!(written.poll());
            // And loses its interest.
        }
        wire.make_room(usize::MAX);
        assert!(reading.is_woken());
        assert_pending!(reading.poll());
        let pong = (Opcode::Pong, b"ping".to_vec());
        assert_eq!(wire.sent(role).1, [pong]);
    }
}

#[test]
fn a_read_that_fails_does_not_take_the_place_of_a_writer_that_waits() {
    for size in [10, 2 * DIRECT] {
        let (stream, wire) = stream(Role::Client);
        wire.make_room(0);
        let (mut read, mut write) = stream.split();
        let mut written = task::spawn(async {
            write.write_all(b"abcdef").await?;
            write.flush().await
        });
        assert_pending!(written.poll());
        wire.ends().has_failed = true;
        let mut buf = vec![0; size];
        assert_ready_err!(task::spawn(read.read(&mut buf)).poll());
        assert!(written.is_woken());
        assert_pending!(written.poll());
        wire.make_room(usize::MAX);
        assert!(written.is_woken());
        assert_ready_ok!(written.poll());
    }
}

#[test]
fn a_frame_of_which_a_part_has_gone_is_finished_by_a_read() {
    for role in ROLES {
        let (mut stream, wire) = stream(role);
        wire.make_room(4);
        let mut task = task::spawn(());
        let mut buf = [0; 10];
        task.enter(|cx, _| {
            let mut stream = Pin::new(&mut stream);
            assert_ready_ok!(stream.as_mut().poll_write(cx, b"abcdef"));
            assert_pending!(stream.as_mut().poll_flush(cx));
            wire.make_room(usize::MAX);
            assert_pending!(stream.as_mut().poll_read(cx, &mut buf));
        });
        assert_eq!(wire.sent(role).0, b"abcdef");
    }
}

#[test]
fn a_flood_of_pings_is_read_in_portions_and_answered_without_end() {
    for role in ROLES {
        for size in [10, DIRECT] {
            let (mut stream, wire) = stream(role);
            wire.make_room(5);
            let pings = 10_000;
            for _ in 0..pings {
                wire.bring(&frame(role, true, Ping, &[7; 125]));
            }
            let mut buf = vec![0; size];
            let mut read = task::spawn(stream.read(&mut buf));
            let mut polls = 0;
            while !wire.ends().incoming.is_empty() {
                assert_pending!(read.poll());
                assert!(read.is_woken() || wire.ends().incoming.is_empty());
                polls += 1;
            }
            assert!(polls >= pings / MAX_FRUITLESS_PER_POLL);
            drop(read);
            assert_eq!(wire.ends().outgoing.len(), 5);
            wire.make_room(usize::MAX);
            task::spawn(()).enter(|cx, _| assert_ready_ok!(Pin::new(&mut stream).poll_flush(cx)));
            // The one that was on its way, and the last.
            assert_eq!(wire.sent(role).1.len(), 2);
        }
    }
}

#[test]
fn the_other_side_s_close_is_the_end_and_is_answered_with_its_code() {
    for role in ROLES {
        for payload in [&b""[..], b"\x03\xe9going away"] {
            let (mut stream, wire) = stream(role);
            let mut task = task::spawn(());
            task.enter(|cx, _| assert_ready_ok!(Pin::new(&mut stream).poll_write(cx, b"mine")));
            wire.bring(
                &[
                    frame(role, true, Binary, b"abc"),
                    frame(role, true, Close, payload),
                ]
                .concat(),
            );
            assert_eq!(read_all(&mut stream, 2).0, b"abc");
            let answer = payload.get(..2).unwrap_or_default().to_vec();
            assert_eq!(wire.sent(role), (b"mine".to_vec(), vec![(Close, answer)]));
            task.enter(|cx, _| {
                let mut stream = Pin::new(&mut stream);
                let refused = assert_ready_err!(stream.as_mut().poll_write(cx, b"x"));
                assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
                assert_ready_ok!(stream.as_mut().poll_flush(cx));
                assert_ready_ok!(stream.as_mut().poll_close(cx));
            });
            assert!(wire.ends().is_closed);
            assert_eq!(wire.sent(role).1.len(), 1);
        }
    }
}

#[test]
fn a_close_sends_all_there_is_and_what_still_comes_can_be_read() {
    for role in ROLES {
        let (mut stream, wire) = stream(role);
        wire.make_room(4);
        let mut task = task::spawn(());
        task.enter(|cx, _| {
            let mut stream = Pin::new(&mut stream);
            assert_ready_ok!(stream.as_mut().poll_write(cx, b"abcdef"));
            assert_pending!(stream.as_mut().poll_close(cx));
            let refused = assert_ready_err!(stream.as_mut().poll_write(cx, b"x"));
            assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
        });
        wire.make_room(usize::MAX);
        assert!(task.is_woken());
        task.enter(|cx, _| {
            for _ in 0..2 {
                assert_ready_ok!(Pin::new(&mut stream).poll_close(cx));
            }
        });
        let close = (Close, 1000_u16.to_be_bytes().to_vec());
        assert_eq!(wire.sent(role), (b"abcdef".to_vec(), vec![close]));
        assert!(wire.ends().is_closed);
        wire.bring(&frame(role, true, Binary, b"late"));
        wire.bring(&frame(role, true, Close, b""));
        assert_eq!(read_all(&mut stream, 10).0, b"late");
    }
}

#[test]
fn a_peer_that_does_not_read_cannot_hold_up_a_close_for_ever() {
    let (mut stream, wire) = stream(Role::Server);
    wire.make_room(0);
    let mut task = task::spawn(());
    task.enter(|cx, _| assert_pending!(Pin::new(&mut stream).poll_close(cx)));
    stream.closing.as_mut().unwrap().at = deadline::now();
    task.enter(|cx, _| {
        let refused = assert_ready_err!(Pin::new(&mut stream).poll_close(cx));
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
        assert_ready_ok!(Pin::new(&mut stream).poll_close(cx));
    });
}

#[test]
fn the_end_of_what_is_below_is_one_only_between_messages() {
    for role in ROLES {
        let message = [
            frame(role, false, Binary, b"abc"),
            frame(role, true, Continuation, b"def"),
        ]
        .concat();
        for size in [10, DIRECT] {
            for cut in 0..=message.len() {
                let (mut stream, wire) = stream(role);
                if cut > 0 {
                    wire.bring(&message[..cut]);
                }
                wire.end();
                let (_, error) = read_all(&mut stream, size);
                match cut {
                    cut if cut == 0 || cut == message.len() => assert!(error.is_none()),
                    _ => assert_eq!(error.unwrap().kind(), io::ErrorKind::UnexpectedEof),
                }
            }
        }
    }
}

#[test]
fn a_broken_rule_is_told_to_both_sides() {
    for role in ROLES {
        let mut text = frame(role, true, Binary, b"abc");
        text[0] = 0x81;
        let bad = frame(role, true, Continuation, b"abc");
        for (bad, broken, code) in [
            (text, ProtocolError::Text, 1003_u16),
            (bad, ProtocolError::NothingToContinue, 1002),
        ] {
            let (mut stream, wire) = stream(role);
            wire.bring(&[frame(role, true, Binary, b"good"), bad].concat());
            let (read, error) = read_all(&mut stream, 10);
            assert_eq!(read, b"good");
            let error = error.unwrap();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            let found = error.get_ref().unwrap().downcast_ref();
            assert_eq!(found, Some(&broken));
            let close = (Close, code.to_be_bytes().to_vec());
            assert_eq!(wire.sent(role).1, [close]);

            let (_, again) = read_all(&mut stream, 10);
            assert_eq!(again.unwrap().kind(), io::ErrorKind::NotConnected);
            let mut write = task::spawn(stream.write(b"x"));
            let refused = assert_ready_err!(write.poll());
            assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
        }
    }
}

#[test]
fn an_idle_stream_owns_no_buffer() {
    for role in ROLES {
        let (mut stream, wire) = stream(role);
        wire.bring(&frame(role, true, Binary, &[1; 100]));
        let mut task = task::spawn(());
        let mut buf = [0; 60];
        task.enter(|cx, _| {
            let mut stream = Pin::new(&mut stream);
            assert_ready_ok!(stream.as_mut().poll_write(cx, b"abc"));
            assert_ready_ok!(stream.as_mut().poll_flush(cx));
            for count in [60, 40] {
                assert_ready_eq!(
                    stream.as_mut().poll_read(cx, &mut buf).map(Result::unwrap),
                    count
                );
            }
            assert_pending!(stream.as_mut().poll_read(cx, &mut buf));
        });
        assert!(stream.input.is_none());
        let writer = format!("{:?}", stream.writer);
        assert!(writer.contains("buffer: None"), "{writer}");
    }
}
