//! What a stranger costs who connects and goes no further: this crate, with each of its engines, beside stock
//! libp2p-websocket, all in a whole node.
//!
//! `cargo bench --bench strangers` prints the table of benches/README.md: the bytes on the heap of the node, for each of a
//! thousand strangers, who run in a process of their own. What the kernel holds for a socket is not among them.
//! Without `--bench`, as in `cargo test --benches`, there are only a few of them.

#[path = "strangers/clients.rs"]
mod clients;
#[path = "strangers/node.rs"]
mod node;

use std::{env, error::Error};

use clients::{Clients, Phase};
use libp2p_lazy_websocket::websocket::Engine;
use node::{Kind, Node};

#[global_allocator]
static HEAP: dhat::Alloc = dhat::Alloc;

/// How many descriptors a node needs besides those of its connections.
const OTHER_DESCRIPTORS: u64 = 64;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    if let Some(result) = clients::run_if_told_to().await {
        return result;
    }
    let wanted = if env::args().any(|argument| argument == "--bench") {
        1_000
    } else {
        4
    };
    // Where the limit is not to be learnt, what the strictest of systems grants.
    let descriptors = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(256);
    let available = usize::try_from(descriptors.saturating_sub(OTHER_DESCRIPTORS))?;
    let count = available.clamp(1, wanted);
    if count < wanted {
        println!("{count} strangers, and not {wanted}: only {descriptors} files may be open");
    }
    let _profiler = dhat::Profiler::builder()
        .testing()
        .trim_backtraces(Some(4))
        .build();

    println!(
        "\n| bytes for each of {count} strangers | lazy | stock | ratio | lazy, `Engine::Stream` | ratio |"
    );
    println!("| --- | --: | --: | --: | --: | --: |");
    for listen in ["/ip4/127.0.0.1/tcp/0/ws", "/ip4/127.0.0.1/tcp/0/tls/ws"] {
        for phase in Phase::ALL {
            let lazy = cost(Kind::Lazy(Engine::Libp2p), listen, phase, count).await?;
            let stream = cost(Kind::Lazy(Engine::Stream), listen, phase, count).await?;
            let stock = cost(Kind::Stock, listen, phase, count).await?;
            let security = if listen.contains("/tls") {
                "`/tls/ws`"
            } else {
                "`/ws`"
            };
            let ratio = |bytes| bytes as f64 / stock as f64;
            println!(
                "| {security}, {phase} | {lazy} | {stock} | {:.2} | {stream} | {:.2} |",
                ratio(lazy),
                ratio(stream)
            );
        }
    }
    Ok(())
}

/// How much more of the heap a node has in use for each of so many strangers.
async fn cost(
    kind: Kind,
    listen: &str,
    phase: Phase,
    count: usize,
) -> Result<usize, Box<dyn Error>> {
    let mut node = Node::listening(kind, listen, count).await?;
    // What is made when it is first needed is not to be counted.
    let mut first = Clients::start(phase, node.address(), node.anchor(), 1)?;
    node.serve(first.ready(), 1).await?;
    first.end()?;
    let before = node.settled_heap().await;
    let mut strangers = Clients::start(phase, node.address(), node.anchor(), count)?;
    node.serve(strangers.ready(), count).await?;
    let after = node.settled_heap().await;
    strangers.end()?;
    Ok(after.saturating_sub(before) / count)
}
