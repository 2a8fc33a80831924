//! What strangers cannot do to a listener, and what large writes can, on real sockets.
#![cfg(all(
    feature = "libp2p-websocket",
    any(feature = "async-std", feature = "smol", feature = "tokio")
))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/authority.rs"]
mod authority;
mod common;

use std::{
    collections::VecDeque,
    io,
    net::{Shutdown, SocketAddr},
    pin::{Pin, pin},
    time::Duration,
};

use async_io::Async;
use authority::{Authority, Leaf};
use common::{Case, on_each, socket_address, within};
use futures::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, future, future::poll_fn,
};
use futures_timer::Delay;
use libp2p::{
    Multiaddr, Transport as _,
    core::{
        Endpoint,
        muxing::StreamMuxerExt as _,
        transport::{DialOpts, ListenerId, PortUse, TransportEvent},
        upgrade::{InboundConnectionUpgrade as _, OutboundConnectionUpgrade as _},
    },
    identity::Keypair,
    noise, yamux,
};
use libp2p_lazy_websocket::{
    lazy,
    websocket::{self, Connection, Counters},
};
use tokio::sync::mpsc;

/// Of a stranger, on no runtime at all.
type TcpStream = Async<std::net::TcpStream>;

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<C: AsyncRead + AsyncWrite + Send + Unpin> Duplex for C {}

/// Who dials: this crate, or libp2p-websocket alone.
#[derive(Debug, Clone, Copy)]
enum Dialer {
    This,
    /// Over libp2p-tcp, which is for tokio only.
    #[cfg(feature = "tokio")]
    Stock,
}

impl Dialer {
    fn all(case: Case) -> Vec<Self> {
        match case.runtime {
            #[cfg(feature = "tokio")]
            common::Runtime::Tokio => vec![Self::This, Self::Stock],
            #[cfg(any(feature = "async-std", feature = "smol"))]
            _ => vec![Self::This],
        }
    }
}

type Upgraded = Result<Connection, lazy::Error<websocket::Error>>;

/// What a listener does, in the order in which it does it.
#[derive(Debug)]
enum Event {
    Accepted,
    Upgraded(Upgraded),
}

/// A listener that runs in a task of its own.
struct Listener {
    case: Case,
    address: Multiaddr,
    counters: Counters,
    events: mpsc::Receiver<Event>,
}

impl Listener {
    async fn start(case: Case, config: websocket::Config, address: &str) -> Self {
        let mut transport = case.transport(config);
        transport
            .listen_on(ListenerId::next(), address.parse().unwrap())
            .unwrap();
        let event = within(poll_fn(|cx| Pin::new(&mut transport).poll(cx))).await;
        let TransportEvent::NewAddress { listen_addr, .. } = event else {
            panic!("a new address, not {event:?}");
        };
        let counters = transport.counters();
        let (sender, events) = mpsc::channel(64);
        case.spawn(async move {
            loop {
                let event = poll_fn(|cx| Pin::new(&mut transport).poll(cx)).await;
                let TransportEvent::Incoming { upgrade, .. } = event else {
                    panic!("only connections, not {event:?}");
                };
                let sender = sender.clone();
                case.spawn(async move {
                    // A test that has seen enough hears no more.
                    let _ = sender.send(Event::Accepted).await;
                    let _ = sender.send(Event::Upgraded(upgrade.await)).await;
                })
                .forget();
            }
        })
        .forget();
        Self {
            case,
            address: listen_addr,
            counters,
            events,
        }
    }

    async fn plain(case: Case, config: websocket::Config) -> Self {
        Self::start(case, config, "/ip4/127.0.0.1/tcp/0/ws").await
    }

    /// One who has connected, and nothing more.
    async fn stranger(&mut self) -> TcpStream {
        let stranger = self.unnoticed_stranger().await;
        let event = within(self.events.recv()).await;
        assert!(matches!(event, Some(Event::Accepted)), "{event:?}");
        stranger
    }

    async fn unnoticed_stranger(&self) -> TcpStream {
        let address: SocketAddr = socket_address(&self.address);
        within(TcpStream::connect(address)).await.unwrap()
    }

    async fn upgraded(&mut self) -> Upgraded {
        loop {
            match within(self.events.recv()).await {
                Some(Event::Upgraded(result)) => return result,
                Some(Event::Accepted) => {}
                None => panic!("the listener has ended"),
            }
        }
    }

    async fn is_cut_off(&mut self, mut stranger: TcpStream, after: Duration) {
        match self.upgraded().await.unwrap_err() {
            lazy::Error::Inner(websocket::Error::HandshakeTimedOut { after: told, .. }) => {
                assert_eq!(told, after);
            }
            other => panic!("{other:?}"),
        }
        sees_the_end(&mut stranger).await;
    }

    /// Both ends of a connection, the dialled one first.
    async fn connection(&mut self, dialer: Dialer) -> (Box<dyn Duplex>, Connection) {
        let (case, address) = (self.case, self.address.clone());
        let opts = DialOpts {
            role: Endpoint::Dialer,
            port_use: PortUse::New,
        };
        let dial = async move {
            match dialer {
                Dialer::This => {
                    let mut transport = case.transport(case.config());
                    Box::new(transport.dial(address, opts).unwrap().await.unwrap()) as Box<_>
                }
                #[cfg(feature = "tokio")]
                Dialer::Stock => {
                    let tcp = libp2p_tcp::tokio::Transport::new(libp2p_tcp::Config::default());
                    let mut transport = libp2p_websocket::Config::new(tcp);
                    Box::new(transport.dial(address, opts).unwrap().await.unwrap()) as Box<_>
                }
            }
        };
        let (dialled, accepted) = within(future::join(dial, self.upgraded())).await;
        (dialled, accepted.unwrap())
    }

    /// A client that writes its frames itself, and what the listener has of it.
    async fn frames(&mut self) -> (TcpStream, Connection) {
        let mut client = self.stranger().await;
        client.write_all(REQUEST).await.unwrap();
        let accepted = self.upgraded().await.unwrap();
        let mut response = Vec::new();
        while !response.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            within(client.read_exact(&mut byte)).await.unwrap();
            response.extend(byte);
        }
        assert!(response.starts_with(b"HTTP/1.1 101 "));
        (client, accepted)
    }
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// What comes before the bytes of a frame, which a mask of zeros leaves as they are.
fn header(first_byte: u8, length: u64) -> Vec<u8> {
    let mut header = vec![first_byte, 0x80 | 127];
    header.extend(length.to_be_bytes());
    header.extend([0; 4]);
    header
}

/// A final binary frame; a binary frame with more to follow; the final one of several.
const BINARY: u8 = 0x82;
const FIRST: u8 = 0x02;
const LAST: u8 = 0x80;

/// The other side has closed the connection, in one way or the other.
async fn sees_the_end(stranger: &mut (impl AsyncRead + Unpin)) {
    // What the stranger has sent, and nobody read, makes a reset of it.
    match within(stranger.read(&mut [0; 64])).await {
        Ok(count) => assert_eq!(count, 0),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
    }
}

const SOON: Duration = Duration::from_millis(100);

on_each!(who_connects_and_is_silent_is_cut_off);

async fn who_connects_and_is_silent_is_cut_off(case: Case) {
    let config = case.config().with_handshake_timeout(SOON);
    let mut listener = Listener::plain(case, config).await;
    let counters = listener.counters.clone();
    let stranger = listener.stranger().await;
    listener.is_cut_off(stranger, SOON).await;
    assert_eq!((counters.timed_out(), counters.upgraded()), (1, 0));
    assert_eq!(counters.pending_handshakes(), 0);
}

on_each!(who_sends_a_request_that_does_not_end_is_cut_off);

async fn who_sends_a_request_that_does_not_end_is_cut_off(case: Case) {
    let config = case.config().with_handshake_timeout(SOON);
    let mut listener = Listener::plain(case, config).await;
    let (mut read, mut write) = listener.stranger().await.split();
    let trickle = case.spawn(async move {
        write.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
        // So slowly that the limit of a request's size is half a minute away.
        while write.write_all(b"a").await.is_ok() {
            Delay::new(Duration::from_millis(5)).await;
        }
    });
    let result = listener.upgraded().await;
    assert!(
        matches!(
            result,
            Err(lazy::Error::Inner(
                websocket::Error::HandshakeTimedOut { .. }
            ))
        ),
        "{result:?}"
    );
    within(trickle).await;
    sees_the_end(&mut read).await;
}

on_each!(who_stops_within_tls_is_cut_off);

async fn who_stops_within_tls_is_cut_off(case: Case) {
    let config = case
        .config()
        .with_certificates(Authority::new().sign(&Leaf::default()).in_use())
        .with_handshake_timeout(SOON);
    let mut listener = Listener::start(case, config, "/ip4/127.0.0.1/tcp/0/tls/ws").await;
    let counters = listener.counters.clone();
    // The header of a record with a hello of 512 bytes, and the beginning of that.
    for sent in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        let mut stranger = listener.stranger().await;
        stranger.write_all(sent).await.unwrap();
        listener.is_cut_off(stranger, SOON).await;
    }
    assert_eq!(
        (counters.timed_out(), counters.pending_handshakes()),
        (2, 0)
    );
}

on_each!(a_connection_too_many_ends_the_oldest_and_a_freed_place_is_given_again);

async fn a_connection_too_many_ends_the_oldest_and_a_freed_place_is_given_again(case: Case) {
    let config = case
        .config()
        .with_handshake_timeout(Duration::MAX)
        .with_max_pending_handshakes(2);
    let mut listener = Listener::plain(case, config).await;
    let counters = listener.counters.clone();
    // All from loopback, which may have more than a quarter.
    let mut strangers = VecDeque::new();
    for _ in 0..2 {
        strangers.push_back(listener.stranger().await);
    }
    assert_eq!((counters.pending_handshakes(), counters.evicted()), (2, 0));

    for evicted in 1..=3 {
        strangers.push_back(listener.unnoticed_stranger().await);
        match listener.upgraded().await.unwrap_err() {
            lazy::Error::Inner(websocket::Error::Evicted) => {}
            other => panic!("{other:?}"),
        }
        sees_the_end(&mut strangers.pop_front().unwrap()).await;
        assert_eq!(
            (counters.pending_handshakes(), counters.evicted()),
            (2, evicted)
        );
    }

    drop(strangers.pop_front());
    listener.upgraded().await.unwrap_err();
    assert_eq!(counters.pending_handshakes(), 1);
    // One that is through the handshake takes no place, so that more than two get in, one by one.
    let mut connections = Vec::new();
    for upgraded in 1..=3 {
        connections.push(listener.connection(Dialer::This).await);
        assert_eq!(
            (counters.upgraded(), counters.pending_handshakes()),
            (upgraded, 1)
        );
    }
    assert_eq!((counters.evicted(), counters.timed_out()), (3, 0));
}

on_each!(everybody_who_is_honest_gets_in_beside_strangers_who_come_and_keep_silent);

async fn everybody_who_is_honest_gets_in_beside_strangers_who_come_and_keep_silent(case: Case) {
    const SILENT: usize = 500;
    const HONEST: usize = 100;

    // Both ends of all of them are here.
    rlimit::increase_nofile_limit(4096).unwrap();
    let config = case.config();
    let listener = Listener::plain(case, config).await;
    let Listener {
        address,
        counters,
        events,
        ..
    } = listener;
    // What becomes of the strangers is not waited for.
    drop(events);
    let to = socket_address(&address);
    let mut silent = VecDeque::new();
    while silent.len() < SILENT {
        silent.push_back(within(TcpStream::connect(to)).await.unwrap());
    }
    let (sender, mut more) = mpsc::channel(1);
    let strangers = case.spawn(async move {
        // A hundred a second, until nobody wants to hear of them.
        while sender.send(()).await.is_ok() {
            silent.pop_front();
            silent.push_back(TcpStream::connect(to).await.unwrap());
            Delay::new(Duration::from_millis(10)).await;
        }
    });

    let mut transport = case.transport(case.config());
    let opts = DialOpts {
        role: Endpoint::Dialer,
        port_use: PortUse::New,
    };
    for honest in 1..=HONEST {
        within(more.recv()).await.unwrap();
        let dial = transport.dial(address.clone(), opts).unwrap();
        within(dial)
            .await
            .unwrap_or_else(|error| panic!("number {honest}: {error:?}"));
        assert!(counters.pending_handshakes() <= 256);
    }
    drop(more);
    within(strangers).await;
    assert!(counters.evicted() > 0);
}

/// Reads until that fails, and wants it to be for a message that is too large.
async fn is_too_large_for(accepted: &mut Connection, size: u64) {
    let error = within(accepted.read(&mut [0; 64])).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let error = error.get_ref().unwrap().downcast_ref().unwrap();
    assert!(
        matches!(error, websocket::Error::MessageTooLarge { size: told, .. } if *told == size),
        "{error:?}"
    );
}

on_each!(libp2p: a_frame_of_a_tebibyte_ends_its_connection_and_no_other);

async fn a_frame_of_a_tebibyte_ends_its_connection_and_no_other(case: Case) {
    const MOST: u64 = 16 << 20;
    let unlimited = || case.config().with_max_frame_size(usize::MAX);

    // If a tebibyte were set aside, the process would end here.
    for (config, size) in [
        (case.config(), 1 << 40),
        (unlimited(), 1 << 40),
        (unlimited(), u64::MAX >> 1),
        (unlimited(), MOST + 1),
    ] {
        let mut listener = Listener::plain(case, config).await;
        let (mut other, mut others) = listener.frames().await;
        let (mut client, mut accepted) = listener.frames().await;
        client.write_all(&header(BINARY, size)).await.unwrap();
        is_too_large_for(&mut accepted, size).await;
        sees_the_end(&mut client).await;
        let error = accepted.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        let error = accepted.write(b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        accepted.close().await.unwrap();

        other.write_all(&header(BINARY, 3)).await.unwrap();
        other.write_all(b"yes").await.unwrap();
        let mut read = [0; 3];
        within(others.read_exact(&mut read)).await.unwrap();
        assert_eq!(&read, b"yes");
    }
}

on_each!(libp2p: the_limit_is_that_of_a_message_in_one_frame_or_in_several);

async fn the_limit_is_that_of_a_message_in_one_frame_or_in_several(case: Case) {
    const MAX: u64 = 1000;
    let config = || {
        let max = usize::try_from(MAX).unwrap();
        case.config().with_max_frame_size(max)
    };
    let mut listener = Listener::plain(case, config()).await;
    let bytes = [7; MAX as usize];

    let (mut client, mut accepted) = listener.frames().await;
    client.write_all(&header(BINARY, MAX)).await.unwrap();
    client.write_all(&bytes).await.unwrap();
    let mut read = [0; MAX as usize];
    within(accepted.read_exact(&mut read)).await.unwrap();
    client.write_all(&header(BINARY, MAX + 1)).await.unwrap();
    is_too_large_for(&mut accepted, MAX + 1).await;

    let (mut client, mut accepted) = listener.frames().await;
    client.write_all(&header(FIRST, MAX)).await.unwrap();
    client.write_all(&bytes).await.unwrap();
    client.write_all(&header(LAST, 1)).await.unwrap();
    // soketto reads on for a while before it says so.
    client.get_ref().shutdown(Shutdown::Write).unwrap();
    is_too_large_for(&mut accepted, MAX + 1).await;
}

fn bytes(count: usize) -> Vec<u8> {
    (0..=250).cycle().take(count).collect()
}

/// Writes many bytes in one call, reads them at the other end, and compares.
async fn passes(
    mut write: impl AsyncWrite + Unpin,
    mut read: impl AsyncRead + Unpin,
    count: usize,
) {
    let sent = bytes(count);
    let mut received = vec![0; count];
    let (written, read) = within(future::join(
        async {
            write.write_all(&sent).await?;
            write.flush().await
        },
        read.read_exact(&mut received),
    ))
    .await;
    written.unwrap();
    read.unwrap();
    assert!(sent == received, "the bytes are the same");
}

on_each!(libp2p: a_large_write_to_a_bare_connection_passes_if_this_crate_made_it);

async fn a_large_write_to_a_bare_connection_passes_if_this_crate_made_it(case: Case) {
    let mut listener = Listener::plain(case, case.config()).await;
    let (dialled, accepted) = listener.connection(Dialer::This).await;
    passes(dialled, accepted, 1 << 20).await;

    // Another one does not cut it.
    for dialer in Dialer::all(case).into_iter().skip(1) {
        let (mut dialled, mut accepted) = listener.connection(dialer).await;
        let large = bytes(1 << 20);
        let written = async {
            // How far it comes is a matter of buffers.
            let _ = dialled.write_all(&large).await;
            let _ = dialled.flush().await;
        };
        within(future::join(
            written,
            is_too_large_for(&mut accepted, 1 << 20),
        ))
        .await;
    }
}

type Secured<C> = noise::Output<C>;

async fn secured(
    (dialled, accepted): (Box<dyn Duplex>, Connection),
) -> (Secured<Box<dyn Duplex>>, Secured<Connection>) {
    let config = || noise::Config::new(&Keypair::generate_ed25519()).unwrap();
    let (dialled, accepted) = within(future::join(
        config().upgrade_outbound(dialled, "/noise"),
        config().upgrade_inbound(accepted, "/noise"),
    ))
    .await;
    (dialled.unwrap().1, accepted.unwrap().1)
}

on_each!(large_writes_through_noise_pass);

async fn large_writes_through_noise_pass(case: Case) {
    let mut listener = Listener::plain(case, case.config()).await;
    for dialer in Dialer::all(case) {
        let (dialled, accepted) = secured(listener.connection(dialer).await).await;
        passes(dialled, accepted, 2 << 20).await;
    }
}

on_each!(large_writes_to_many_streams_pass);

async fn large_writes_to_many_streams_pass(case: Case) {
    const STREAMS: usize = 4;
    const SIZE: usize = 1 << 20;

    let mut listener = Listener::plain(case, case.config()).await;
    for dialer in Dialer::all(case) {
        let (dialled, accepted) = secured(listener.connection(dialer).await).await;
        let config = yamux::Config::default;
        let protocol = "/yamux/1.0.0";
        let mut dialled = config().upgrade_outbound(dialled, protocol).await.unwrap();
        let mut accepted = config().upgrade_inbound(accepted, protocol).await.unwrap();

        let mut streams = Vec::new();
        for _ in 0..STREAMS {
            let stream = poll_fn(|cx| dialled.poll_outbound_unpin(cx));
            streams.push(within(stream).await.unwrap());
        }
        let written = future::join_all(streams.into_iter().map(async |mut stream| {
            stream.write_all(&bytes(SIZE)).await?;
            stream.close().await
        }));
        // It is driven as long as the streams are read, whatever it has to say.
        let driven = poll_fn(|cx| dialled.poll_unpin(cx).map(drop));
        let (sender, mut inbound) = mpsc::channel(STREAMS);
        let accepting = case.spawn(async move {
            while let Ok(stream) = poll_fn(|cx| {
                let _ = accepted.poll_unpin(cx);
                accepted.poll_inbound_unpin(cx)
            })
            .await
            {
                sender.send(stream).await.unwrap();
            }
        });
        let read = async {
            for _ in 0..STREAMS {
                let mut stream = inbound.recv().await.unwrap();
                let mut received = Vec::new();
                stream.read_to_end(&mut received).await.unwrap();
                assert!(received == bytes(SIZE), "the bytes are the same");
            }
        };
        let done = future::join(written, read);
        match within(future::select(pin!(done), pin!(driven))).await {
            future::Either::Left(((written, ()), _)) => {
                written.into_iter().for_each(|result| result.unwrap());
            }
            future::Either::Right(_) => panic!("the connection ended"),
        }
        drop(accepting);
    }
}
