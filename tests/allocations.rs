//! A stream allocates nothing while it is read and written. A file of its own, since it counts for the whole process.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p_lazy_websocket::websocket::Stream;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// One direction. It has its room from the start.
type Pipe = Arc<Mutex<VecDeque<u8>>>;

struct Socket {
    incoming: Pipe,
    outgoing: Pipe,
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match io::Read::read(&mut *self.incoming.lock().unwrap(), buf) {
            Ok(0) => Poll::Pending,
            read => Poll::Ready(read),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = self.outgoing.lock().unwrap();
        let count = buf.len().min(pipe.capacity() - pipe.len());
        if count == 0 {
            return Poll::Pending;
        }
        pipe.extend(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Brings `bytes` from one to the other, written and read in pieces of this size. Nobody has to be woken: both are
/// polled in turn.
fn carry(from: &mut Stream<Socket>, to: &mut Stream<Socket>, bytes: &[u8], buf: &mut [u8]) {
    let cx = &mut Context::from_waker(Waker::noop());
    let (mut written, mut read) = (0, 0);
    while read < bytes.len() {
        if written < bytes.len() {
            let end = bytes.len().min(written + buf.len());
            if let Poll::Ready(count) = Pin::new(&mut *from).poll_write(cx, &bytes[written..end]) {
                written += count.unwrap();
            }
        }
        if let Poll::Ready(flushed) = Pin::new(&mut *from).poll_flush(cx) {
            flushed.unwrap();
        }
        if let Poll::Ready(count) = Pin::new(&mut *to).poll_read(cx, buf) {
            let count = count.unwrap();
            assert_eq!(buf[..count], bytes[read..read + count]);
            read += count;
        }
    }
}

#[test]
fn nothing_is_allocated_for_a_read_a_write_or_a_flush() {
    let pipe = || Arc::new(Mutex::new(VecDeque::with_capacity(100_000)));
    let (up, down) = (pipe(), pipe());
    let socket = |incoming: &Pipe, outgoing: &Pipe| Socket {
        incoming: Arc::clone(incoming),
        outgoing: Arc::clone(outgoing),
    };
    let mut client = Stream::client(socket(&down, &up), Vec::new());
    let mut server = Stream::server(socket(&up, &down), Vec::new());
    let bytes: Vec<u8> = (0..300_000).map(|i: u32| (i % 251) as u8).collect();
    let mut buf = vec![0; 1 << 16];

    // Pings, of which each side answers some.
    let ping_of_client = [0x89, 0x81, 1, 2, 3, 4, 5];
    let ping_of_server = [0x89, 1, 5];

    let _profiler = dhat::Profiler::builder().testing().build();
    let mut before = None;
    for _ in 0..20 {
        for size in [10_000, 1 << 16] {
            up.lock().unwrap().extend(ping_of_client);
            carry(&mut client, &mut server, &bytes, &mut buf[..size]);
            down.lock().unwrap().extend(ping_of_server);
            carry(&mut server, &mut client, &bytes, &mut buf[..size]);
        }
        // The pools have been filled by the first round.
        let blocks = dhat::HeapStats::get().total_blocks;
        assert_eq!(blocks, *before.get_or_insert(blocks));
    }
}
