//! What a flood costs: one connection that announces a hundred thousand peers who do not exist, each of them twice, as
//! fast as the link allows.
//!
//! `cargo bench --bench flood` prints the table of benches/README.md: a whole node with gossipsub alone, beside one with
//! discovery over it, and one where gossipsub also waits for its verdicts. The flooder is a process of its own. The time
//! is what the node's thread, which is all of the node, has used of a processor; where the system does not tell that, it
//! is what has passed. The heap is measured in runs of its own, since that takes time.
//! Without `--bench`, as in `cargo test --benches`, there are only a few peers.

#[path = "flood/client.rs"]
mod client;
#[path = "flood/intake.rs"]
mod intake;
#[path = "flood/measure.rs"]
mod measure;
#[path = "flood/node.rs"]
mod node;
#[path = "flood/swarm.rs"]
mod swarm;

use std::{
    env,
    error::Error,
    time::{Duration, Instant},
};

use client::{
    Client, PASSES,
    flooder::{Invented, invent},
};
use libp2p_lazy_websocket::discovery::DEFAULT_TOPIC;
use measure::{heap, median, now, thread_time};
use node::{Flood, Kind, Node};

#[global_allocator]
static HEAP: dhat::Alloc = dhat::Alloc;

/// Of how many signatures the check is timed.
const SIGNATURES: usize = 10_000;

/// Longer than gossipsub keeps messages for those that ask for them, which is five heartbeats by default.
const AFTERWARDS: Duration = Duration::from_secs(6);

struct Size {
    peers: u32,
    rounds: usize,
    afterwards: Duration,
}

/// What a node has taken from the heap for a flood of one pass.
struct Heap {
    at_once: i64,
    /// When gossipsub has forgotten the messages, but not their ids.
    later: i64,
    /// How many peers the node knew then.
    known: usize,
    took: Duration,
}

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    if let Some(result) = runtime.block_on(client::run_if_told_to()) {
        return result;
    }
    let size = if env::args().any(|argument| argument == "--bench") {
        Size {
            peers: 100_000,
            rounds: 2,
            afterwards: AFTERWARDS,
        }
    } else {
        Size {
            peers: 1_000,
            rounds: 1,
            afterwards: Duration::ZERO,
        }
    };
    let clock = match thread_time() {
        Some(_) => "time of a processor",
        None => "time that has passed",
    };
    println!("{} peers, {PASSES} messages of each; {clock}", size.peers);
    let mut client = Client::start(size.peers)?;
    // So that nothing else runs while the time is taken.
    runtime.block_on(client.ready())?;

    let invented = invent(DEFAULT_TOPIC, 0..size.peers, 1).collect::<Vec<_>>();
    println!("the check of a signature: {}", micros(check(&invented)?));
    let intake = intake::measure(&invented);
    println!(
        "discovery, handed the messages: {} for each, in the last tenth {:.2} of that in the first",
        micros(intake.each),
        intake.last_to_first
    );
    let mut rounds = Vec::new();
    for _ in 0..size.rounds {
        rounds.push(runtime.block_on(timed(&mut client, &size))?);
    }

    let _profiler = dhat::Profiler::builder()
        .testing()
        .trim_backtraces(Some(4))
        .build();
    let (first, all) = intake::held(&invented);
    println!("it holds {first} bytes after a tenth of the messages, and {all} after all of them");
    drop(invented);
    let mut heaps = Vec::new();
    for kind in Kind::ALL {
        heaps.push(runtime.block_on(weighed(kind, &mut client, &size))?);
    }
    client.end()?;
    print(&rounds, &heaps, size.peers);
    Ok(())
}

/// What the check of a signature takes.
fn check(invented: &[Invented]) -> Result<Duration, Box<dyn Error>> {
    let checked = &invented[..SIGNATURES.min(invented.len())];
    let start = now();
    let is_valid = |invented: &&Invented| {
        let Invented {
            author,
            signed,
            signature,
            ..
        } = invented;
        author.verify(signed, signature)
    };
    let valid = checked.iter().filter(is_valid).count();
    let took = now() - start;
    if valid < checked.len() {
        return Err("a signature is not valid".into());
    }
    Ok(took / u32::try_from(valid)?)
}

/// A flood of each kind of node, one after the other.
async fn timed(client: &mut Client, size: &Size) -> Result<Vec<Flood>, Box<dyn Error>> {
    let mut floods = Vec::new();
    for kind in Kind::ALL {
        let mut node = Node::start(kind).await?;
        node.meet(client).await?;
        floods.push(node.flood(client, size.peers, PASSES).await?);
    }
    Ok(floods)
}

async fn weighed(kind: Kind, client: &mut Client, size: &Size) -> Result<Heap, Box<dyn Error>> {
    let mut node = Node::start(kind).await?;
    node.meet(client).await?;
    let (before, start) = (heap(), Instant::now());
    node.flood(client, size.peers, 1).await?;
    let (at_once, took) = (heap() - before, start.elapsed());
    node.rest(size.afterwards).await;
    Ok(Heap {
        at_once,
        later: heap() - before,
        known: node.known(),
        took,
    })
}

fn print(rounds: &[Vec<Flood>], heaps: &[Heap], peers: u32) {
    let row = |name: &str, cells: Vec<String>| println!("| {name} | {} |", cells.join(" | "));
    let names = Kind::ALL.map(|kind| kind.to_string());
    println!();
    row("", names.into());
    row("---", vec!["--:".to_owned(); Kind::ALL.len()]);

    let of_rounds = |of: fn(&Flood, &Flood) -> f64| {
        let cells = (0..Kind::ALL.len()).map(|kind| {
            let values = rounds.iter().map(|floods| of(&floods[kind], &floods[0]));
            median(values)
        });
        cells.collect::<Vec<_>>()
    };
    let each = of_rounds(|flood, _| flood.each().as_secs_f64()).into_iter();
    let each = each.map(|each| micros(Duration::from_secs_f64(each)));
    row("time for a message", each.collect());
    for (name, of) in [
        (
            "beside gossipsub alone",
            (|flood, alone| flood.each().as_secs_f64() / alone.each().as_secs_f64())
                as fn(&Flood, &Flood) -> f64,
        ),
        ("in the last tenth, beside the first", |flood, _| {
            flood.last_to_first()
        }),
    ] {
        let cells = of_rounds(of).into_iter().map(|ratio| format!("{ratio:.3}"));
        row(name, cells.collect());
    }

    let of_heaps = |of: &dyn Fn(&Heap) -> String| heaps.iter().map(of).collect::<Vec<_>>();
    let peers = i64::from(peers);
    row(
        "bytes for each of the first messages, at once",
        of_heaps(&|heap| (heap.at_once / peers).to_string()),
    );
    row(
        "bytes, later",
        of_heaps(&|heap| (heap.later / peers).to_string()),
    );
    row(
        "MB in all, later",
        of_heaps(&|heap| format!("{:.2}", heap.later as f64 / 1e6)),
    );
    row("peers known then", of_heaps(&|heap| heap.known.to_string()));
    row(
        "seconds while the heap was measured",
        of_heaps(&|heap| format!("{:.1}", heap.took.as_secs_f64())),
    );
}

fn micros(duration: Duration) -> String {
    format!("{:.2} µs", duration.as_secs_f64() * 1e6)
}
