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

mod common;
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

use std::{fs, path::Path, time::Instant};

use common::arguments::{self, Arguments};
use link::Authority;
use place::{Cores, Place};
use rows::Plan;
use table::table;

#[global_allocator]
static HEAP: dhat::Alloc = dhat::Alloc;

/// How many descriptors a run needs besides those of its connections.
const OTHER_DESCRIPTORS: u64 = 128;

fn main() {
    let arguments = Arguments::new();
    let mut plan = match () {
        () if !arguments.is_bench() => Plan::TEST,
        () if arguments.has("--quick") => Plan::QUICK,
        () => Plan::WHOLE,
    };
    if let Some(rounds) = arguments.number("--rounds") {
        plan.rounds = rounds;
    }
    plan.only = arguments.value("--only").unwrap_or_default().to_owned();
    plan.idle = arguments::room(plan.idle, 2, OTHER_DESCRIPTORS);

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
        print!("{}", table(title, &rows));
        if cores == Cores::One {
            let idle = rows::idle(&plan, &place, &authority);
            let title = format!("of {} idle connections, each", plan.idle);
            print!("{}", table(&title, &idle));
            one = rows;
        }
    }
    println!("\n{:.0} s", began.elapsed().as_secs_f64());
    if plan.is_whole() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/throughput/throughput.svg");
        fs::write(&path, plot::svg(&one)).expect("the plot can be written");
    }
}
