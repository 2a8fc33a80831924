//! A connection allocates nothing while it is read and written. A file of its own, since it counts for the whole process.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::VecDeque,
    future::{Ready, ready},
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::{
    Multiaddr, Transport,
    core::{
        Endpoint,
        transport::{DialOpts, ListenerId, PortUse, TransportError, TransportEvent},
    },
};
use libp2p_lazy_websocket::websocket::{self, Config, Connection};

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

/// Dials one end of a connection, and accepts the other.
struct Pair {
    dialled: Option<Socket>,
    accepted: Option<Socket>,
    listener: Option<ListenerId>,
}

const HERE: &str = "/ip4/127.0.0.1/tcp/1";

impl Transport for Pair {
    type Output = Socket;
    type Error = io::Error;
    type ListenerUpgrade = Ready<io::Result<Socket>>;
    type Dial = Ready<io::Result<Socket>>;

    fn listen_on(&mut self, id: ListenerId, _: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.listener = Some(id);
        Ok(())
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        false
    }

    fn dial(&mut self, _: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        Ok(ready(
            self.dialled.take().ok_or_else(|| io::Error::other("once")),
        ))
    }

    fn poll(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        let here = || HERE.parse().unwrap();
        match (self.listener, self.accepted.take()) {
            (Some(listener_id), Some(accepted)) => Poll::Ready(TransportEvent::Incoming {
                listener_id,
                upgrade: ready(Ok(accepted)),
                local_addr: here(),
                send_back_addr: here(),
            }),
            _ => Poll::Pending,
        }
    }
}

/// Both ends of a WebSocket connection, the dialled one first.
fn connected(pair: Pair) -> (Connection, Connection) {
    let opts = DialOpts {
        role: Endpoint::Dialer,
        port_use: PortUse::New,
    };
    let address: Multiaddr = format!("{HERE}/ws").parse().unwrap();
    // No timer for keep-alive: whoever polls here never waits.
    let config = Config::default().with_keep_alive(None);
    let mut transport = websocket::Transport::new(pair, config);
    let listening = transport.listen_on(ListenerId::next(), address.clone());
    listening.unwrap();
    let cx = &mut Context::from_waker(Waker::noop());
    let mut dial = transport.dial(address, opts).unwrap();
    let Poll::Ready(TransportEvent::Incoming { mut upgrade, .. }) =
        Pin::new(&mut transport).poll(cx)
    else {
        panic!("somebody connects");
    };
    let (mut dialled, mut accepted) = (None, None);
    while dialled.is_none() || accepted.is_none() {
        if dialled.is_none()
            && let Poll::Ready(done) = dial.as_mut().poll(cx)
        {
            dialled = Some(done.unwrap());
        }
        if accepted.is_none()
            && let Poll::Ready(done) = upgrade.as_mut().poll(cx)
        {
            accepted = Some(done.unwrap());
        }
    }
    (dialled.unwrap(), accepted.unwrap())
}

/// Brings `bytes` from one to the other, written and read in pieces of this size. Nobody has to be woken: both are
/// polled in turn.
fn carry(from: &mut Connection, to: &mut Connection, bytes: &[u8], buf: &mut [u8]) {
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
    let (mut client, mut server) = connected(Pair {
        dialled: Some(socket(&down, &up)),
        accepted: Some(socket(&up, &down)),
        listener: None,
    });
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
