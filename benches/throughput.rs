//! How fast a connection is: raw libp2p-tcp, libp2p-websocket over it and this crate's stream over it, side by side.
//!
//! `cargo bench --bench throughput` prints the tables of benches/README.md and writes its plot. What is compared runs in turn in
//! one process, and a ratio is the median of those of all rounds. `-- --only 4` measures the rows that have that in
//! their name, `-- --rounds 15` as often, and `-- --quick` less and less often; only a whole run writes the plot. A target
//! that is missed is said to be, and fails nothing. Without `--bench`, as in `cargo test --benches`, everything is
//! done once and is small.
//!
//! With both ends on one processor, time is what it has spent: both keep it busy, and other processes do not count.
//! On two, time is that of the clock.

#[path = "throughput/link.rs"]
mod link;
#[path = "throughput/load.rs"]
mod load;
#[path = "throughput/memory.rs"]
mod memory;
#[path = "throughput/place.rs"]
mod place;
#[path = "throughput/plot.rs"]
mod plot;
#[path = "throughput/rows.rs"]
mod rows;
#[path = "throughput/table.rs"]
mod table;

use std::{env, fs, path::Path, time::Instant};

use link::Authority;
use place::{Cores, Place};
use rows::Plan;
use table::Table;

#[global_allocator]
static HEAP: dhat::Alloc = dhat::Alloc;

/// How many descriptors a run needs besides those of its connections.
const OTHER_DESCRIPTORS: u64 = 128;

fn main() {
    let arguments = env::args().collect::<Vec<_>>();
    let has = |option: &str| arguments.iter().any(|argument| argument == option);
    let value = |option: &str| {
        let at = arguments.iter().position(|argument| argument == option)?;
        arguments.get(at + 1)
    };
    let mut plan = match () {
        () if !has("--bench") => Plan::TEST,
        () if has("--quick") => Plan::QUICK,
        () => Plan::WHOLE,
    };
    if let Some(rounds) = value("--rounds") {
        plan.rounds = rounds.parse().expect("--rounds takes a number");
    }
    let only = value("--only");
    plan.only = only.cloned().unwrap_or_default();

    // Where the limit is not to be learnt, what the strictest of systems grants.
    let descriptors = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(256);
    let room = descriptors.saturating_sub(OTHER_DESCRIPTORS) / 2;
    let room = usize::try_from(room).unwrap_or(usize::MAX).max(1);
    if room < plan.idle {
        println!(
            "{room} idle connections, and not {}: only {descriptors} files may be open",
            plan.idle
        );
        plan.idle = room;
    }

    let began = Instant::now();
    let authority = Authority::new();
    let available = place::available();
    let mut one = Vec::new();
    for (cores, title) in [
        (Cores::One, "both ends on one processor"),
        (Cores::Two, "each on its own"),
    ] {
        let Some(place) = Place::new(cores, &available) else {
            println!("too few processors for: {title}");
            continue;
        };
        let rows = rows::measure(&plan, cores, &place, &authority);
        print!("{}", Table(title, &rows));
        if cores == Cores::One {
            let idle = rows::idle(&plan, &place, &authority);
            let title = format!("of {} idle connections, each", plan.idle);
            print!("{}", Table(&title, &idle));
            one = rows;
        }
    }
    println!("\n{:.0} s", began.elapsed().as_secs_f64());
    if plan.is_whole() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/throughput/throughput.svg");
        fs::write(&path, plot::svg(&one)).expect("the plot can be written");
    }
}
