//! What lazy listening costs at the start of a node: lazy beside stock libp2p-websocket, over the same TCP and DNS.
//!
//! `cargo bench --bench startup` prints, after criterion's own reports, the tables of benches/README.md. Durations are those
//! of one machine. The ratio is the one to go by: what is compared runs in turn in one process, and the ratio is the
//! median of those of all rounds. A target that is missed is said to be, and fails nothing. With
//! `ENGINE=stream` in the environment, lazy is that with `websocket::Engine::Stream`.

#[path = "startup/late.rs"]
mod late;
#[path = "startup/nodes.rs"]
mod nodes;
#[path = "startup/table.rs"]
mod table;
#[path = "startup/waiting.rs"]
mod waiting;

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    slice,
    task::{Context, Waker},
    thread,
    time::{Duration, Instant},
};

use criterion::Criterion;
use libp2p::{
    Multiaddr,
    core::transport::{ListenerId, Transport, TransportEvent},
    gossipsub,
    identity::Keypair,
    swarm::SwarmEvent,
};
use libp2p_lazy_websocket::{discovery, lazy};

use nodes::{Kind, Node, first, lazy_transport, node, settle, stock_transport};
use table::Table;
use waiting::Waiting;

/// How many descriptors a run needs besides those of the listeners.
const OTHER_DESCRIPTORS: u64 = 64;

/// How long to wait before a run, for each of its listeners. The kernel frees what a closed socket held a little
/// later, and a run is not to pay for the one before it.
const PAUSE: Duration = Duration::from_micros(50);

/// How many times a transport is polled in one round, since one `poll` is shorter than the clock can tell.
const POLLS: u32 = 1_000;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .sample_size(50)
        .configure_from_args();
    let mut start = Table::new(["", "lazy", "stock"]);
    registration(&mut criterion, &mut start);
    late(&mut criterion, &mut start);
    announcement(&mut criterion, &mut start);
    mutual_discovery(&mut criterion, &mut start);
    let mut poll = Table::new(["", "many", "one"]);
    idle_poll(&mut criterion, &mut poll);
    let mut runtimes = Table::new(["", "here", "tokio"]);
    on_other_runtimes(&mut criterion, &mut runtimes);
    criterion.final_summary();
    print!("{start}{poll}{runtimes}");
}

/// From the first `listen_on` to the last `NewAddress`, of the transports alone: the swarm around them is the same.
fn registration(criterion: &mut Criterion, table: &mut Table) {
    let mut group = criterion.benchmark_group("registration");
    group.measurement_time(Duration::from_secs(10));
    // Where the limit is not to be learnt, what the strictest of systems grants.
    let descriptors = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(256);
    let available = descriptors.saturating_sub(OTHER_DESCRIPTORS);
    for wanted in [1, 10, 100, 1_000] {
        let count = u32::try_from(available).map_or(wanted, |count| count.clamp(1, wanted));
        let mut what = format!("{count} x listen_on to NewAddress");
        if count < wanted {
            what += &format!(" (not {wanted}: only {descriptors} files may be open)");
        }
        table.row(
            &mut group,
            what,
            Some(1.3),
            || run(async { register(lazy_transport(), count).await }),
            || run(async { register(stock_transport(), count).await }),
        );
    }
}

async fn register<T: Transport + Unpin>(mut transport: T, count: u32) -> Duration {
    let address = loopback();
    thread::sleep(PAUSE * count);
    let start = Instant::now();
    for _ in 0..count {
        let accepted = transport.listen_on(ListenerId::next(), address.clone());
        accepted.expect("loopback is there to be listened on");
    }
    for _ in 0..count {
        match poll_fn(|cx| Pin::new(&mut transport).poll(cx)).await {
            TransportEvent::NewAddress { .. } => {}
            _ => panic!("a listener did not bind"),
        }
    }
    start.elapsed()
}

/// From the moment at which what a listener needs is there to its `NewAddress`. Beside it is who does the same by hand,
/// with libp2p-websocket: tries again at the interval of the lazy listener's first delay, or listens once there is
/// a certificate.
fn late(criterion: &mut Criterion, table: &mut Table) {
    let mut group = criterion.benchmark_group("late");
    group.measurement_time(Duration::from_secs(10));
    table.row(
        &mut group,
        "port freed to NewAddress",
        None,
        || run(late::lazy_port()),
        || run(late::stock_port()),
    );
    let made = late::Made::new();
    table.row(
        &mut group,
        "certificate set to NewAddress",
        None,
        || run(late::lazy_certificate(&made)),
        || run(late::stock_certificate(&made)),
    );
}

/// From nothing to the first announcement, with a subscriber there to be dialled; and only the last part of that,
/// from `listen_on` on, with the subscriber connected.
///
/// Coalescing is off in both: what a node is told to wait would hide what it takes.
fn announcement(criterion: &mut Criterion, table: &mut Table) {
    let mut group = criterion.benchmark_group("announcement");
    table.row(
        &mut group,
        "swarm start to first announcement",
        None,
        || run(start_to_announcement(Kind::Lazy, Kind::Stock)),
        || run(start_to_announcement(Kind::Stock, Kind::Stock)),
    );
    table.row(
        &mut group,
        "listen_on to first announcement, subscriber connected",
        None,
        || run(listen_to_announcement(Kind::Lazy)),
        || run(listen_to_announcement(Kind::Stock)),
    );
}

async fn start_to_announcement(kind: Kind, other: Kind) -> Duration {
    let (subscriber, address) = listening_subscriber(other).await;
    let keypair = Keypair::generate_ed25519();
    let start = Instant::now();
    let mut node = node(kind, keypair);
    listen(&mut node);
    node.dial(address).expect("nothing speaks against it");
    first(&mut [node, subscriber], announced).await;
    start.elapsed()
}

async fn listen_to_announcement(kind: Kind) -> Duration {
    let (subscriber, address) = listening_subscriber(Kind::Stock).await;
    let mut node = node(kind, Keypair::generate_ed25519());
    node.dial(address).expect("nothing speaks against it");
    let mut nodes = [node, subscriber];
    first(&mut nodes, |index, event| match event {
        SwarmEvent::Behaviour(discovery::Event::PubSub(gossipsub::Event::Subscribed {
            ..
        })) if index == 0 => Some(()),
        _ => None,
    })
    .await;
    settle(&mut nodes).await;
    let start = Instant::now();
    listen(&mut nodes[0]);
    first(&mut nodes, announced).await;
    start.elapsed()
}

/// The other end of the connection, of the same kind beside both of one runtime.
async fn listening_subscriber(kind: Kind) -> (Node, Multiaddr) {
    let mut subscriber = node(kind, Keypair::generate_ed25519());
    listen(&mut subscriber);
    let address = first(slice::from_mut(&mut subscriber), new_address).await;
    (subscriber, address)
}

/// From nothing until two nodes, one of which dials the other, have discovered each other.
fn mutual_discovery(criterion: &mut Criterion, table: &mut Table) {
    let mut group = criterion.benchmark_group("discovery");
    table.row(
        &mut group,
        "start of two nodes to mutual discovery",
        None,
        || run(start_to_discovery(Kind::Lazy)),
        || run(start_to_discovery(Kind::Stock)),
    );
}

/// The same on the other runtimes that are compiled in, beside tokio: all lazy, each over its own TCP.
#[cfg_attr(
    not(any(feature = "async-std", feature = "smol")),
    allow(unused_variables, reason = "there is no other")
)]
fn on_other_runtimes(criterion: &mut Criterion, table: &mut Table) {
    #[cfg(any(feature = "async-std", feature = "smol"))]
    use libp2p_lazy_websocket::websocket::{self, Config};

    #[cfg(feature = "async-std")]
    on_another(criterion, table, "async-std", Kind::AsyncStd, || {
        websocket::async_std::transport(Config::default())
    });
    #[cfg(feature = "smol")]
    on_another(criterion, table, "smol", Kind::Smol, || {
        websocket::smol::transport(Config::default())
    });
}

#[cfg(any(feature = "async-std", feature = "smol"))]
fn on_another<T: Transport + Unpin>(
    criterion: &mut Criterion,
    table: &mut Table,
    name: &str,
    kind: Kind,
    transport: fn() -> T,
) {
    let mut group = criterion.benchmark_group("runtimes");
    for count in [1, 100] {
        table.row(
            &mut group,
            format!("{name}: {count} x listen_on to NewAddress"),
            None,
            || kind.run(async { register(transport(), count).await }),
            || run(async { register(lazy_transport(), count).await }),
        );
    }
    table.row(
        &mut group,
        format!("{name}: swarm start to first announcement"),
        None,
        || kind.run(start_to_announcement(kind, kind)),
        || run(start_to_announcement(Kind::Lazy, Kind::Lazy)),
    );
    table.row(
        &mut group,
        format!("{name}: start of two nodes to mutual discovery"),
        None,
        || kind.run(start_to_discovery(kind)),
        || run(start_to_discovery(Kind::Lazy)),
    );
}

async fn start_to_discovery(kind: Kind) -> Duration {
    let keypairs = [(); 2].map(|()| Keypair::generate_ed25519());
    let start = Instant::now();
    let mut nodes = keypairs.map(|keypair| node(kind, keypair));
    nodes.iter_mut().for_each(listen);
    let address = first(&mut nodes, new_address).await;
    nodes[1].dial(address).expect("nothing speaks against it");
    for _ in 0..nodes.len() {
        first(&mut nodes, |_, event| match event {
            SwarmEvent::Behaviour(discovery::Event::Discovered { .. }) => Some(()),
            _ => None,
        })
        .await;
    }
    start.elapsed()
}

/// `poll` of a lazy transport that has nothing to do, by how many of its listeners wait for a certificate.
fn idle_poll(criterion: &mut Criterion, table: &mut Table) {
    let mut group = criterion.benchmark_group("poll");
    let mut one = waiting(1);
    for count in [100, 10_000] {
        let mut many = waiting(count);
        table.row(
            &mut group,
            format!("{POLLS} x poll, {count} waiting listeners beside 1"),
            Some(1.2),
            || polls(&mut many),
            || polls(&mut one),
        );
    }
}

fn waiting(count: usize) -> lazy::Transport<Waiting> {
    let mut transport = lazy::Transport::new(Waiting::default(), lazy::Config::default());
    for _ in 0..count {
        let accepted = transport.listen_on(ListenerId::next(), loopback());
        accepted.expect("it may wait");
    }
    transport
}

fn polls(transport: &mut lazy::Transport<Waiting>) -> Duration {
    let mut cx = Context::from_waker(Waker::noop());
    let start = Instant::now();
    for _ in 0..POLLS {
        assert!(Pin::new(&mut *transport).poll(&mut cx).is_pending());
    }
    start.elapsed()
}

/// Runs one subject of one round on tokio, in a runtime that nothing has been left behind in.
fn run(subject: impl Future<Output = Duration>) -> Duration {
    Kind::Lazy.run(subject)
}

fn loopback() -> Multiaddr {
    "/ip4/127.0.0.1/tcp/0/ws".parse().expect("a multiaddr")
}

fn listen(node: &mut Node) {
    node.listen_on(loopback())
        .expect("loopback is there to be listened on");
}

/// The first node's address.
fn new_address(index: usize, event: nodes::Event) -> Option<Multiaddr> {
    match event {
        SwarmEvent::NewListenAddr { address, .. } if index == 0 => Some(address),
        _ => None,
    }
}

/// Whether the first node has announced its address.
fn announced(index: usize, event: nodes::Event) -> Option<()> {
    match event {
        SwarmEvent::Behaviour(discovery::Event::Announced { addresses, .. })
            if index == 0 && !addresses.is_empty() =>
        {
            Some(())
        }
        _ => None,
    }
}
