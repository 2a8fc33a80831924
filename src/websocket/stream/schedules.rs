//! Two streams at the ends of a pipe, each half in a task of its own, in all the orders that a test comes up with.

use std::{cell::RefCell, future::poll_fn};

use futures::{AsyncReadExt as _, AsyncWriteExt as _, io::IoSlice};
use proptest::prelude::*;

use super::*;
use crate::websocket::scripted::{self, Direction, Pipe, Script, Shared};

#[derive(Debug, Clone)]
enum Operation {
    Write(usize),
    WriteVectored(usize, usize),
    /// A write that is given up if it has to wait.
    TryWrite(usize),
    Flush,
    /// A flush that is given up if it has to wait.
    TryFlush,
    Close,
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 1..300_usize,
        2 => 1..5000_usize,
        1 => prop::sample::select(vec![125, 126, 65_535, 65_536, 70_000, 262_144, 300_000]),
    ]
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        6 => size().prop_map(Operation::Write),
        2 => (size(), size()).prop_map(|(one, two)| Operation::WriteVectored(one, two)),
        2 => size().prop_map(Operation::TryWrite),
        3 => Just(Operation::Flush),
        1 => Just(Operation::TryFlush),
        1 => Just(Operation::Close),
    ];
    prop::collection::vec(operation, 0..12)
}

#[derive(Debug, Clone)]
struct Way {
    script: Vec<u8>,
    capacity: usize,
    needs_flush: bool,
}

impl Way {
    fn direction(&self) -> Shared {
        Direction::shared(&self.script, self.capacity, self.needs_flush)
    }
}

fn way() -> impl Strategy<Value = Way> {
    let script = prop::collection::vec(any::<u8>(), 0..20);
    let capacity = prop_oneof![1..40_usize, 1..5000_usize, Just(200_000)];
    (script, capacity, any::<bool>()).prop_map(|(script, capacity, needs_flush)| Way {
        script,
        capacity,
        needs_flush,
    })
}

/// Not the same for a while, so that what is lost or twice is found.
fn payload(at: usize, count: usize) -> Vec<u8> {
    (at..at + count)
        .map(|at| (at % 251) as u8 ^ (at / 251) as u8)
        .collect()
}

/// Writes until an operation or the other side closes; `written` counts what was taken.
async fn write(
    mut half: futures::io::WriteHalf<Stream<Pipe>>,
    operations: &[Operation],
    written: &RefCell<usize>,
) {
    for operation in operations {
        let at = *written.borrow();
        let result = match *operation {
            Operation::Write(count) => half.write(&payload(at, count)).await,
            Operation::WriteVectored(one, two) => {
                let bytes = payload(at, one + two);
                let (one, two) = bytes.split_at(one);
                half.write_vectored(&[IoSlice::new(one), IoSlice::new(&[]), IoSlice::new(two)])
                    .await
            }
            Operation::TryWrite(count) => {
                let bytes = payload(at, count);
                poll_fn(|cx| match Pin::new(&mut half).poll_write(cx, &bytes) {
                    Poll::Pending => Poll::Ready(Ok(0)),
                    ready => ready,
                })
                .await
            }
            Operation::Flush => half.flush().await.map(|()| 0),
            Operation::TryFlush => {
                poll_fn(|cx| {
                    let _ = Pin::new(&mut half).poll_flush(cx);
                    Poll::Ready(Ok(0))
                })
                .await
            }
            Operation::Close => break,
        };
        match result {
            Ok(count) => *written.borrow_mut() += count,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
                break;
            }
        }
    }
    half.close().await.unwrap();
    let after = half.write(b"more").await.unwrap_err();
    assert_eq!(after.kind(), io::ErrorKind::BrokenPipe);
}

async fn read(
    mut half: futures::io::ReadHalf<Stream<Pipe>>,
    sizes: &[usize],
    read: &RefCell<Vec<u8>>,
) {
    for size in sizes.iter().cycle() {
        let mut buf = vec![0; *size];
        match half.read(&mut buf).await.unwrap() {
            0 => break,
            count => read.borrow_mut().extend(&buf[..count]),
        }
    }
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![1..50_usize, 1..5000_usize, DIRECT..3 * DIRECT];
    prop::collection::vec(size, 1..5)
}

proptest! {
    #[test]
    fn nothing_is_lost_and_nothing_hangs(
        ways in [way(), way()],
        operations in [operations(), operations()],
        sizes in [sizes(), sizes()],
        order in prop::collection::vec(any::<u8>(), 1..30),
    ) {
        let [there, back] = [ways[0].direction(), ways[1].direction()];
        let client = Pipe { incoming: back.clone(), outgoing: there.clone() };
        let server = Pipe { incoming: there.clone(), outgoing: back.clone() };
        let (client_read, client_write) = Stream::client(client, Vec::new()).split();
        let (server_read, server_write) = Stream::server(server, Vec::new()).split();
        let written = [RefCell::new(0), RefCell::new(0)];
        let received = [RefCell::new(Vec::new()), RefCell::new(Vec::new())];
        scripted::run(
            vec![
                Box::pin(write(client_write, &operations[0], &written[0])),
                Box::pin(write(server_write, &operations[1], &written[1])),
                Box::pin(read(client_read, &sizes[0], &received[1])),
                Box::pin(read(server_read, &sizes[1], &received[0])),
            ],
            &[&there, &back],
            &mut Script::new(&order),
        );
        for (written, received) in written.into_iter().zip(received) {
            let written = written.into_inner();
            prop_assert!(
                received.into_inner() == payload(0, written),
                "what was read is not what was written: {} bytes", written,
            );
        }
    }
}

/// A pong that has gone into what is below, and not through it, is flushed by later reads, as TLS needs it.
#[test]
fn the_flush_of_an_answer_is_finished_by_later_reads() {
    let ping = reader::tests::frame(Role::Client, true, frame::Opcode::Ping, b"?");
    let incoming = Direction::shared(&[0xff], 100, false);
    incoming.lock().bytes.extend(&ping);
    // The write is taken, the flush has to wait twice.
    let outgoing = Direction::shared(&[0xff, 0, 0, 0xff], 100, true);
    let pipe = Pipe {
        incoming,
        outgoing: outgoing.clone(),
    };
    let mut stream = Stream::client(pipe, Vec::new());
    let mut task = tokio_test::task::spawn(());
    for _ in 0..3 {
        let pending = task.enter(|cx, _| Pin::new(&mut stream).poll_read(cx, &mut [0; 10]));
        assert!(pending.is_pending());
        outgoing.lock().wake_all();
        assert!(task.is_woken() || !outgoing.lock().bytes.is_empty());
    }
    assert!(!outgoing.lock().bytes.is_empty(), "the pong is on its way");
}

/// A writer that waits for room has nothing to wait for once the other side has closed.
#[test]
fn a_close_wakes_a_writer_that_waits() {
    let incoming = Direction::shared(&[0xff], 100, false);
    let outgoing = Direction::shared(&[0xff], 0, false);
    let pipe = Pipe {
        incoming: incoming.clone(),
        outgoing,
    };
    let mut stream = Stream::client(pipe, Vec::new());
    let mut writer = tokio_test::task::spawn(());
    let mut reader = tokio_test::task::spawn(());
    let bytes = vec![0; 300_000];
    while writer
        .enter(|cx, _| Pin::new(&mut stream).poll_write(cx, &bytes))
        .is_ready()
    {}
    let close = reader::tests::frame(Role::Client, true, frame::Opcode::Close, &[]);
    incoming.lock().bytes.extend(&close);
    let end = reader.enter(|cx, _| Pin::new(&mut stream).poll_read(cx, &mut [0; 10]));
    assert!(matches!(end, Poll::Ready(Ok(0))));
    assert!(writer.is_woken());
    let result = writer.enter(|cx, _| Pin::new(&mut stream).poll_write(cx, &bytes));
    assert!(matches!(result, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe));
}
