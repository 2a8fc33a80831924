use std::{future::poll_fn, pin::pin, thread};

use futures::{
    executor::block_on,
    future::{Either, select},
};
use futures_timer::Delay;

use super::{Opcode::Pong, *};

/// Short, as tests wait for it. None of them takes it for long enough: what answers does so before it is looked for.
const INTERVAL: Duration = Duration::from_millis(5);

const LIMIT: Duration = Duration::from_secs(60);

fn watched(role: Role) -> (Stream<Wire>, Wire) {
    let (stream, wire) = stream(role);
    (stream.with_keep_alive(Some(INTERVAL)), wire)
}

/// Polls until it is ready, but not for ever.
fn wait<T>(poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    match block_on(select(pin!(poll_fn(poll)), Delay::new(LIMIT))) {
        Either::Left((value, _)) => value,
        Either::Right(_) => panic!("it never comes"),
    }
}

fn pings(wire: &Wire, role: Role) -> usize {
    let (_, controls) = wire.sent(role);
    let is_ping = |(opcode, payload): &(Opcode, Vec<u8>)| *opcode == Ping && payload.is_empty();
    assert!(controls.iter().all(is_ping), "{controls:?}");
    controls.len()
}

fn is_timed_out<T>(result: &io::Result<T>) -> bool {
    result
        .as_ref()
        .is_err_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

#[test]
fn who_does_not_answer_is_given_up_in_both_directions() {
    for role in ROLES {
        let (mut stream, wire) = watched(role);
        let mut buf = [0; 10];
        let read = wait(|cx| Pin::new(&mut stream).poll_read(cx, &mut buf));
        assert!(is_timed_out(&read), "{read:?}");
        assert_eq!(pings(&wire, role), 1);

        let mut task = task::spawn(());
        for _ in 0..2 {
            task.enter(|cx, _| {
                let mut stream = Pin::new(&mut stream);
                let read = stream.as_mut().poll_read(cx, &mut buf).map_ok(drop);
                let written = stream.as_mut().poll_write(cx, &buf).map_ok(drop);
                let flushed = stream.as_mut().poll_flush(cx);
                let closed = stream.as_mut().poll_close(cx);
                for poll in [read, written, flushed, closed] {
                    assert!(is_timed_out(&assert_ready!(poll)));
                }
            });
        }
        assert_eq!(pings(&wire, role), 1, "nothing more is sent");
    }
}

#[test]
fn whoever_is_heard_is_kept_whatever_comes() {
    for role in ROLES {
        let empty = frame(role, true, Binary, b"");
        for signs in [
            vec![frame(role, true, Pong, b"")],
            vec![empty.clone()],
            // Byte by byte, in the middle of a header.
            empty.iter().map(|byte| vec![*byte]).collect(),
        ] {
            let (mut stream, wire) = watched(role);
            let mut buf = [0; 10];
            for (round, sign) in signs.iter().cycle().take(6).enumerate() {
                wait(|cx| {
                    let read = Pin::new(&mut stream).poll_read(cx, &mut buf);
                    assert!(read.is_pending(), "{read:?}");
                    let asked = pings(&wire, role);
                    assert!(asked <= round + 1);
                    if asked > round {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    }
                });
                wire.bring(sign);
            }
        }
    }
}

#[test]
fn without_an_interval_nobody_is_asked() {
    let (stream, wire) = stream(Role::Client);
    let mut stream = stream.with_keep_alive(None);
    let mut task = task::spawn(());
    let mut buf = [0; 10];
    assert_pending!(task.enter(|cx, _| Pin::new(&mut stream).poll_read(cx, &mut buf)));
    assert!(stream.watch.is_none());
    assert!(wire.ends().outgoing.is_empty());
}

/// As yamux does that has an answer to write: it reads nothing more before that.
#[test]
fn a_write_that_is_held_up_finds_out_as_well() {
    for role in ROLES {
        for unread in [0, 100] {
            let (mut stream, wire) = watched(role);
            wire.ends().room = 0;
            if unread > 0 {
                wire.bring(&frame(role, true, Binary, &vec![1; unread + 1]));
                let mut buf = [0];
                let read = wait(|cx| Pin::new(&mut stream).poll_read(cx, &mut buf));
                assert_eq!(read.unwrap(), 1);
            }
            block_on(stream.write_all(b"answer")).unwrap();
            let flushed = wait(|cx| Pin::new(&mut stream).poll_flush(cx));
            assert!(is_timed_out(&flushed));
            let (read, error) = read_all(&mut stream, 10);
            assert_eq!(read.len(), unread, "what had come is not lost");
            assert_eq!(error.unwrap().kind(), io::ErrorKind::TimedOut);
        }
    }
}

#[test]
fn a_write_that_is_held_up_hears_what_is_not_read() {
    for role in ROLES {
        let (mut stream, wire) = watched(role);
        wire.ends().room = 0;
        block_on(stream.write_all(b"answer")).unwrap();
        let mut sent = Vec::new();
        for round in 0..10 {
            let piece = [round; 20];
            wire.bring(&frame(role, true, Binary, &piece));
            sent.extend(piece);
            wait(|cx| {
                assert!(Pin::new(&mut stream).poll_flush(cx).is_pending());
                match wire.ends().incoming.is_empty() {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            });
        }
        wire.end();
        wire.make_room(usize::MAX);
        let (read, error) = read_all(&mut stream, 7);
        assert!(read == sent && error.is_none(), "{error:?}");
    }
}

#[test]
fn what_cannot_be_looked_for_is_no_silence() {
    let role = Role::Server;
    let (mut stream, wire) = watched(role);
    wire.ends().room = 0;
    block_on(stream.write_all(b"answer")).unwrap();
    // More than is read ahead.
    wire.bring(&frame(role, true, Binary, &[1; 200_000]));
    let mut polls = 0;
    wait(|cx| {
        assert!(Pin::new(&mut stream).poll_flush(cx).is_pending());
        polls += 1;
        match polls {
            0..8 => Poll::Pending,
            _ => Poll::Ready(()),
        }
    });
    assert!(!wire.ends().incoming.is_empty());
    wire.end();
    wire.make_room(usize::MAX);
    assert_eq!(read_all(&mut stream, DIRECT).0.len(), 200_000);
}

#[test]
fn whoever_reads_slowly_is_kept() {
    for role in ROLES {
        let (mut stream, wire) = watched(role);
        wire.ends().room = 0;
        block_on(stream.write_all(b"much")).unwrap();
        // One byte for each time that the timer fires.
        let flushed = wait(|cx| {
            wire.ends().room += 1;
            Pin::new(&mut stream).poll_flush(cx)
        });
        assert!(flushed.is_ok(), "{flushed:?}");
        assert_eq!(
            (wire.sent(role).0, pings(&wire, role)),
            (b"much".to_vec(), 1)
        );
    }
}

#[test]
fn the_timer_wakes_a_reader_and_a_writer_that_are_two_tasks() {
    let (mut stream, wire) = watched(Role::Client);
    wire.ends().room = 0;
    block_on(stream.write_all(b"answer")).unwrap();
    let (mut reader, mut writer) = (task::spawn(()), task::spawn(()));
    let mut buf = [0; 10];
    assert_pending!(reader.enter(|cx, _| Pin::new(&mut stream).poll_read(cx, &mut buf)));
    assert_pending!(writer.enter(|cx, _| Pin::new(&mut stream).poll_flush(cx)));
    let until = deadline::now() + LIMIT;
    while !reader.is_woken() || !writer.is_woken() {
        assert!(deadline::now() < until, "one of them is not woken");
        thread::yield_now();
    }
    // One of them finds out, and the other is told.
    let flushed = wait(|cx| Pin::new(&mut stream).poll_flush(cx));
    assert!(is_timed_out(&flushed));
    assert!(reader.is_woken());
    let read = reader.enter(|cx, _| Pin::new(&mut stream).poll_read(cx, &mut buf));
    assert!(is_timed_out(&assert_ready!(read)));
}
