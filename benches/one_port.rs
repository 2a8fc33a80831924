//! What it costs a connection over `/ws` that its port is shared, so that its first byte has to tell what it speaks.
//!
//! `cargo bench --bench one_port` prints the table of benches/README.md: the processor's time of the thread that listens, for a
//! connection that is opened, upgraded and closed. The ports have their turns, and what sharing adds is the median of the rounds.
//! `--only OWN` or `--only SHARED` opens the connections of one of both, for a look by `strace -c -f`.

mod common;

use std::{
    convert::Infallible,
    io::{Read as _, Write as _},
    net::TcpStream,
    pin::Pin,
    process,
    sync::mpsc,
    task::Poll,
    thread,
};

use common::{arguments::Arguments, rounds::Rounds, table::Table};
use futures::future::poll_fn;
use libp2p::{
    Multiaddr, Transport as _,
    core::transport::{ListenerId, TransportEvent},
    multiaddr::Protocol,
};
use libp2p_lazy_websocket::websocket;
use tokio::sync::mpsc as orders;

/// How much more of the processor's time a shared port may take, in microseconds.
const TARGET: f64 = 3.0;

const ROUNDS: usize = 41;

/// How many are opened and closed in a round.
const CONNECTIONS: usize = 1_000;

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn main() {
    let arguments = Arguments::new();
    let (rounds, connections) = match arguments.is_bench() {
        true => (ROUNDS, CONNECTIONS),
        false => (1, 10),
    };
    let ports = [Port::listen(&["/ws"]), Port::listen(&["/ws", ""])];
    if let Some(only) = arguments.value("--only") {
        let port = &ports[usize::from(only == "SHARED")];
        (0..connections).for_each(|_| port.connect());
        return;
    }
    let Ok(rounds) = Rounds::run(rounds, ports.len(), |port| {
        let port = &ports[port];
        let before = port.spent();
        (0..connections).for_each(|_| port.connect());
        Ok::<_, Infallible>((port.spent() - before) / connections as f64)
    });
    let above = rounds.above(1, 0);
    let verdict = match () {
        () if rounds.len() < ROUNDS => "too few rounds",
        () if above <= TARGET => "reached",
        () => "missed",
    };
    let mut table =
        Table::new("a connection over `/ws` | own port | shared port | more | to reach | rounds");
    table.row([
        "processor's time".to_owned(),
        format!("{:.1} µs", rounds.of(0)),
        format!("{:.1} µs", rounds.of(1)),
        format!("{above:.2} µs"),
        format!("{TARGET:.1} µs, {verdict}"),
        rounds.len().to_string(),
    ]);
    print!("{table}");
}

/// A port that a thread of its own listens on.
struct Port {
    number: u16,
    asks: orders::UnboundedSender<mpsc::Sender<f64>>,
}

impl Port {
    /// With a listener for each of these, which follow the port in an address.
    fn listen(kinds: &'static [&'static str]) -> Self {
        let (asks, asked) = orders::unbounded_channel();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = runtime.expect("the system has what a runtime needs");
            runtime.block_on(accept(kinds, tell, asked));
        });
        let number = told.recv().expect("it listens");
        Self { number, asks }
    }

    /// Opens a connection, and waits until the other side has closed it.
    fn connect(&self) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.number)).expect("it listens");
        stream.write_all(REQUEST).expect("it is open");
        let mut answer = Vec::with_capacity(1024);
        // The end is a reset, or in order.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.starts_with(b"HTTP/1.1 101"));
    }

    /// The processor's time that the thread has had, in microseconds.
    fn spent(&self) -> f64 {
        let (tell, told) = mpsc::channel();
        self.asks.send(tell).expect("the thread runs");
        told.recv().expect("the thread runs")
    }
}

async fn accept(
    kinds: &[&str],
    tell: mpsc::Sender<u16>,
    mut asked: orders::UnboundedReceiver<mpsc::Sender<f64>>,
) {
    let config = websocket::Config::default().with_tcp(true);
    let mut transport = websocket::tokio::transport(config);
    let mut port = 0;
    for kind in kinds {
        let address = format!("/ip4/127.0.0.1/tcp/{port}{kind}").parse();
        let address: Multiaddr = address.expect("an address");
        let listening = transport.listen_on(ListenerId::next(), address);
        listening.expect("it is supported");
        match poll_fn(|cx| Pin::new(&mut transport).poll(cx)).await {
            TransportEvent::NewAddress { listen_addr, .. } => {
                let number = listen_addr.iter().find_map(|protocol| match protocol {
                    Protocol::Tcp(port) => Some(port),
                    _ => None,
                });
                port = number.expect("it has a port");
            }
            other => panic!("a new address, not {other:?}"),
        }
    }
    tell.send(port).expect("the main thread waits for it");
    loop {
        let event = poll_fn(|cx| {
            while let Poll::Ready(tell) = asked.poll_recv(cx) {
                let Some(tell) = tell else { process::exit(0) };
                tell.send(spent()).expect("the main thread waits for it");
            }
            Pin::new(&mut transport).poll(cx)
        });
        if let TransportEvent::Incoming { upgrade, .. } = event.await {
            drop(upgrade.await.expect("the request is good"));
        }
    }
}

/// The processor's time that this thread has had, in microseconds.
#[cfg(target_os = "linux")]
fn spent() -> f64 {
    use nix::sys::{
        resource::{UsageWho, getrusage},
        time::TimeValLike as _,
    };
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("a thread may ask for its own");
    (usage.user_time() + usage.system_time()).num_microseconds() as f64
}

/// What stands for it where it cannot be learnt.
#[cfg(not(target_os = "linux"))]
fn spent() -> f64 {
    static START: std::sync::LazyLock<std::time::Instant> =
        std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed().as_secs_f64() * 1e6
}
