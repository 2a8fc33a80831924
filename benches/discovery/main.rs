//! How discovery scales: the cores of thousands of nodes in virtual time, without sockets, beside js-libp2p's rule.
//!
//! `cargo bench --features simulation --bench discovery` prints the tables of benches/README.md and writes its plot; the same seeds give the same
//! figures. `-- --up-to 1000` leaves out the larger networks, and the plot as it is. It ends with an error that names
//! the row when a target is missed. Without `--bench`, as in `cargo test --benches`, there are only a few nodes, for a
//! few minutes of theirs, and no targets.
//!
//! What is simulated is in [`network`], what is of this crate in [`node`], and what is not in [`js`].

#![allow(missing_docs, reason = "nobody links a bench")]

mod attack;
#[path = "../common/mod.rs"]
mod common;
mod delivery;
mod identity;
mod js;
mod measured;
mod members;
mod network;
mod node;
mod plan;
mod plot;
mod report;
mod throughput;

use std::{
    fs,
    path::Path,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use common::arguments::Arguments;
use js::EveryTenSeconds;
use libp2p_lazy_websocket::discovery::simulation;
use measured::Measured;
use network::Network;
use node::Ours;
use plan::{Forwarding, Plan, Shape};
use report::{Kind, Report, Row};

#[global_allocator]
static HEAP: dhat::Alloc = dhat::Alloc;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// After this time most nodes of hundreds know how it has been for an hour.
const AN_HOUR_OLD: Duration = Duration::from_secs(100 * 60);

/// On how many threads at most the networks are simulated, each on one.
const THREADS: usize = 2;

/// From how many nodes on a network takes so much memory that there is room for one.
const LARGE: usize = 10_000;

/// Which network is simulated, and by which rule its nodes announce themselves.
struct Job {
    kind: Kind,
    plan: Plan,
    run: fn(Plan) -> Measured,
}

fn main() -> ExitCode {
    let arguments = Arguments::new();
    let (is_bench, up_to) = (arguments.is_bench(), arguments.number("--up-to"));
    let began = Instant::now();

    let mut report = Report::default();
    let jobs = match is_bench {
        true => jobs(up_to.unwrap_or(LARGE)),
        false => vec![few_nodes()],
    };
    run(jobs, &mut report);
    report.throughput = throughput::measure(is_bench);
    report.print();
    println!("\n{:.0} s{}", began.elapsed().as_secs_f64(), peak_memory());
    if !is_bench {
        return ExitCode::SUCCESS;
    }
    if up_to.is_none() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/discovery/scaling.svg");
        fs::write(&path, plot::svg(&report)).expect("the plot can be written");
    }
    let missed = report.missed();
    for target in &missed {
        println!("missed: {target}");
    }
    match missed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// The longest first, so that no thread is left with one of them at the end.
fn jobs(up_to: usize) -> Vec<Job> {
    let mut jobs = vec![];
    let mut add = |kind, plan: Plan, run| {
        if plan.nodes <= up_to {
            jobs.push(Job { kind, plan, run });
        }
    };
    add(Kind::Steady, steady(10_000), Network::<Ours>::run);
    add(Kind::ColdStart, cold_start(10_000), Network::<Ours>::run);
    for forwarding in [Forwarding::Everything, Forwarding::Accepted] {
        let plan = Plan {
            tables: 5,
            warm_up: AN_HOUR_OLD,
            attack: Some(forwarding),
            ..steady(500)
        };
        add(Kind::Attack, plan, Network::<Ours>::run);
    }
    add(Kind::Steady, steady(1_000), Network::<Ours>::run);
    add(Kind::Steady, steady(100), Network::<Ours>::run);
    let js = |nodes| Plan {
        tables: 0,
        ..steady(nodes)
    };
    let window = Plan {
        boot: Duration::from_secs(10),
        warm_up: Duration::from_secs(15),
        measured: Duration::from_secs(30),
        ..js(10_000)
    };
    add(Kind::Js, window, Network::<EveryTenSeconds>::run);
    add(Kind::Js, js(1_000), Network::<EveryTenSeconds>::run);
    add(Kind::ColdStart, cold_start(1_000), Network::<Ours>::run);
    add(Kind::ColdStart, cold_start(100), Network::<Ours>::run);
    for shape in [Shape::Mesh, Shape::Star, Shape::Hubs] {
        let plan = Plan {
            shape,
            ..growth(500)
        };
        add(Kind::Growth, plan, Network::<Ours>::run);
    }
    add(Kind::Steady, steady(10), Network::<Ours>::run);
    for nodes in [10, 100] {
        add(Kind::Js, js(nodes), Network::<EveryTenSeconds>::run);
    }
    for nodes in [10, 50, 99] {
        add(Kind::Small, small(nodes, Shape::Mesh), Network::<Ours>::run);
    }
    add(Kind::Small, small(30, Shape::Star), Network::<Ours>::run);
    for (nodes, shape) in [(99, Shape::Mesh), (30, Shape::Star)] {
        add(
            Kind::Small,
            one_a_second(nodes, shape),
            Network::<Ours>::run,
        );
    }
    jobs
}

/// An hour is measured, or a third of one where it would take too long, once all have been up for long enough to know how
/// large the network is, and to have forgotten who has gone.
fn steady(nodes: usize) -> Plan {
    let (warm_up, measured) = match nodes {
        ..LARGE => (35 * MINUTE, HOUR),
        LARGE.. => (70 * MINUTE, HOUR / 3),
    };
    Plan {
        nodes,
        seed: nodes as u64,
        shape: Shape::Mesh,
        loss: 0.05,
        boot: 10 * MINUTE,
        first: None,
        session: Some(4 * HOUR),
        warm_up,
        measured,
        tables: 64,
        attack: None,
    }
}

/// All nodes start within a second.
fn cold_start(nodes: usize) -> Plan {
    Plan {
        boot: Duration::from_secs(1),
        warm_up: 10 * MINUTE,
        measured: 20 * MINUTE,
        ..steady(nodes)
    }
}

/// A tenth of the nodes has been there for hours when the others start within a minute.
fn growth(nodes: usize) -> Plan {
    Plan {
        boot: MINUTE,
        first: Some(nodes / 10),
        warm_up: AN_HOUR_OLD,
        tables: 5,
        ..steady(nodes)
    }
}

/// All nodes start within a second, and nothing is lost.
fn small(nodes: usize, shape: Shape) -> Plan {
    Plan {
        shape,
        loss: 0.0,
        session: None,
        warm_up: Duration::ZERO,
        measured: MINUTE,
        tables: nodes,
        ..cold_start(nodes)
    }
}

/// The same, but one starts after the other.
fn one_a_second(nodes: usize, shape: Shape) -> Plan {
    let boot = Duration::from_secs(nodes as u64);
    Plan {
        boot,
        measured: boot + MINUTE,
        ..small(nodes, shape)
    }
}

fn few_nodes() -> Job {
    let plan = Plan {
        boot: MINUTE,
        warm_up: 5 * MINUTE,
        measured: 5 * MINUTE,
        tables: 4,
        ..steady(10)
    };
    Job {
        kind: Kind::Steady,
        plan,
        run: Network::<Ours>::run,
    }
}

/// Runs all jobs, and reports them in order. Large networks run one after the other, for the sake of memory.
fn run(jobs: Vec<Job>, report: &mut Report) {
    let threads = thread::available_parallelism().map_or(1, |cores| cores.get().min(THREADS));
    let (large, others): (Vec<_>, Vec<_>) =
        jobs.into_iter().partition(|job| job.plan.nodes >= LARGE);
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(vec![]);
    let run = |job: &Job| {
        let began = Instant::now();
        let row = Row {
            kind: job.kind,
            plan: job.plan,
            measured: (job.run)(job.plan),
        };
        eprintln!("{row}: {:.0} s", began.elapsed().as_secs_f64());
        rows.lock().expect("nobody panics with it").push(row);
    };
    thread::scope(|scope| {
        for thread in 0..threads {
            let (large, others, next, run) = (&large, &others, &next, &run);
            scope.spawn(move || {
                if thread == 0 {
                    large.iter().for_each(run);
                }
                while let Some(job) = others.get(next.fetch_add(1, Ordering::Relaxed)) {
                    run(job);
                }
            });
        }
    });
    report.rows = rows.into_inner().expect("nobody panics with it");
    report.rows.sort_by_key(|row| (row.kind, row.plan.nodes));
}

/// The most memory that the process has had, where the system tells.
fn peak_memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| {
        let kib = line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?;
        kib.trim().parse::<u64>().ok()
    });
    peak.map_or_else(String::new, |kib| format!(", {} MB", kib / 1024))
}
