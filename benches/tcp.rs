//! What the TCP of this crate carries on async-std and smol, beside libp2p-tcp on tokio.
//!
//! `cargo bench --features async-std,smol --bench tcp` prints the table of benches/README.md: how long it takes to send so
//! much. Both ends are in one process. What is compared runs in turn, and the ratio is the median of those of all rounds; of
//! the throughput at least 0.9 is to be reached, which is 1.11 of the time. Without `--bench`, as in `cargo test --benches`,
//! each is done once, and is small.

mod common;

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::Pin,
    time::{Duration, Instant},
};

use common::{arguments::Arguments, rounds::Rounds, table::Table};
use futures::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, FutureExt as _,
    future::{self, RemoteHandle},
};
use libp2p::core::{
    Endpoint,
    transport::{DialOpts, ListenerId, PortUse, Transport, TransportEvent},
};
const TARGET: f64 = 1.0 / 0.9;

/// How often each is measured.
const ROUNDS: usize = 101;

/// How much is sent in a round, and in what pieces.
const BULK: (usize, usize) = (64 << 20, 64 << 10);

/// What yamux and noise make of small messages.
const SMALL: (usize, usize) = (2 << 20, 256);

/// How many messages go there and back.
const ROUND_TRIPS: usize = 5_000;

/// By how much less is done where nothing is measured.
const LESS: usize = 64;

#[derive(Debug, Clone, Copy)]
enum Runtime {
    Tokio,
    #[cfg(feature = "async-std")]
    AsyncStd,
    #[cfg(feature = "smol")]
    Smol,
}

#[derive(Debug, Clone, Copy)]
enum Load {
    /// Sent in one direction, in pieces of the second size.
    Stream(usize, usize),
    /// Each answered before the next.
    RoundTrips(usize),
}

fn main() {
    let (rounds, less) = match Arguments::new().is_bench() {
        true => (ROUNDS, 1),
        false => (1, LESS),
    };
    let mut table = Table::new(" | here | libp2p-tcp | ratio | to reach | rounds");
    let subjects = [
        #[cfg(feature = "async-std")]
        ("async-std", Runtime::AsyncStd),
        #[cfg(feature = "smol")]
        ("smol", Runtime::Smol),
    ];
    for (name, runtime) in subjects {
        for (what, load, target) in [
            (
                "64 MiB in pieces of 64 KiB",
                Load::Stream(BULK.0 / less, BULK.1),
                Some(TARGET),
            ),
            (
                "2 MiB in pieces of 256 bytes",
                Load::Stream(SMALL.0 / less, SMALL.1),
                None,
            ),
            (
                "5,000 round trips of 32 bytes",
                Load::RoundTrips(ROUND_TRIPS / less),
                None,
            ),
        ] {
            let compared = [runtime, Runtime::Tokio];
            let Ok(rounds) = Rounds::run(rounds, compared.len(), |subject| {
                Ok::<_, Infallible>(compared[subject].carry(load).as_secs_f64())
            });
            let ratio = rounds.ratio(0, 1);
            let time = |subject| format!("{:.1} ms", rounds.of(subject) * 1e3);
            let verdict = target.map_or_else(String::new, |target| {
                let verdict = match () {
                    () if rounds.len() < ROUNDS => "too few rounds",
                    () if ratio <= target => "reached",
                    () => "missed",
                };
                format!("{target:.2}, {verdict}")
            });
            table.row([
                format!("{name}: {what}"),
                time(0),
                time(1),
                format!("{ratio:.3}"),
                verdict,
                rounds.len().to_string(),
            ]);
        }
    }
    print!("{table}");
}

impl Runtime {
    fn carry(self, load: Load) -> Duration {
        match self {
            Self::Tokio => {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(1)
                    .enable_all()
                    .build()
                    .expect("the system has what a runtime needs");
                runtime.block_on(async {
                    let tcp = || libp2p_tcp::tokio::Transport::new(libp2p_tcp::Config::default());
                    carry(self, [tcp(), tcp()], load).await
                })
            }
            #[cfg(feature = "async-std")]
            Self::AsyncStd => async_std::task::block_on(async {
                use libp2p_lazy_websocket::websocket::{self, async_std::tcp};
                let tcp = || tcp(&websocket::Config::default());
                carry(self, [tcp(), tcp()], load).await
            }),
            #[cfg(feature = "smol")]
            Self::Smol => smol::block_on(async {
                use libp2p_lazy_websocket::websocket::{self, smol::tcp};
                let tcp = || tcp(&websocket::Config::default());
                carry(self, [tcp(), tcp()], load).await
            }),
        }
    }

    fn spawn<T: Send + 'static>(
        self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> RemoteHandle<T> {
        let (task, handle) = task.remote_handle();
        match self {
            Self::Tokio => drop(tokio::spawn(task)),
            #[cfg(feature = "async-std")]
            Self::AsyncStd => drop(async_std::task::spawn(task)),
            #[cfg(feature = "smol")]
            Self::Smol => smol::spawn(task).detach(),
        }
        handle
    }
}

/// One end in a task of its own, as a swarm has its connections, and the other beside it.
async fn carry<T>(runtime: Runtime, [mut listener, mut dialer]: [T; 2], load: Load) -> Duration
where
    T: Transport + Unpin,
    T::Output: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let address = "/ip4/127.0.0.1/tcp/0".parse().expect("a multiaddr");
    let listening = listener.listen_on(ListenerId::next(), address);
    assert!(listening.is_ok(), "loopback is there to be listened on");
    let mut next = async || poll_fn(|cx| Pin::new(&mut listener).poll(cx)).await;
    let TransportEvent::NewAddress { listen_addr, .. } = next().await else {
        panic!("a listener did not bind");
    };
    let opts = DialOpts {
        role: Endpoint::Dialer,
        port_use: PortUse::New,
    };
    let Ok(dial) = dialer.dial(listen_addr, opts) else {
        panic!("it can be dialled");
    };
    let (dialled, accepted) = future::join(dial, async {
        match next().await {
            TransportEvent::Incoming { upgrade, .. } => upgrade.await,
            _ => panic!("nobody connected"),
        }
    })
    .await;
    let (Ok(mut near), Ok(mut far)) = (dialled, accepted) else {
        panic!("loopback connects");
    };
    let start = Instant::now();
    match load {
        Load::Stream(size, piece) => {
            let sending = runtime.spawn(async move {
                let piece = vec![7; piece];
                for _ in 0..size / piece.len() {
                    near.write_all(&piece).await.expect("the other end reads");
                }
                near.close().await.expect("the other end reads");
            });
            let mut buffer = vec![0; 64 << 10];
            let mut received = 0;
            loop {
                match far.read(&mut buffer).await.expect("the other end writes") {
                    0 => break,
                    count => received += count,
                }
            }
            sending.await;
            assert_eq!(received, size);
        }
        Load::RoundTrips(count) => {
            let echo = runtime.spawn(async move {
                let mut message = [0; 32];
                for _ in 0..count {
                    far.read_exact(&mut message)
                        .await
                        .expect("the other end writes");
                    far.write_all(&message).await.expect("the other end reads");
                }
            });
            let mut message = [7; 32];
            for _ in 0..count {
                near.write_all(&message).await.expect("the other end reads");
                near.read_exact(&mut message)
                    .await
                    .expect("the other end writes");
            }
            echo.await;
        }
    }
    start.elapsed()
}
