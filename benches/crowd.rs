//! What the simulation says of a network, in a real one: up to 200 nodes with gossipsub, in one process.
//!
//! `cargo bench --bench crowd` starts that many at once with the default configuration, and prints how long they take
//! to know each other, what each receives then, and how long newcomers take to know 20 of them. It fails if they
//! receive more, or less, than [`FACTOR`] times what the schedule is made for, which the simulation agrees with, or if a
//! newcomer to a hundred or more takes longer than [`SOON`]. Without `--bench`, as in `cargo test --benches`, there are only
//! a few nodes, at a shorter interval, and nothing is judged.

mod common;
#[path = "../tests/common/crowd.rs"]
mod crowd;

use std::{process::ExitCode, time::Duration};

use common::{arguments::Arguments, table::Table};
use crowd::Crowd;
use libp2p_lazy_websocket::discovery;

/// How far what is measured may be from what is to be expected, either way.
const FACTOR: f64 = 1.25;

/// In how many rounds of all it is measured what they receive.
const ROUNDS: u64 = 3;

const NEWCOMERS: usize = 5;

/// How many peers are enough for a newcomer, and how soon it shall know them where there are a hundred and more.
const ENOUGH: usize = 20;
const SOON: Duration = Duration::from_secs(5);

/// How many announcements a second a node hears by default.
const TARGET_RATE: f64 = 10.0;

#[tokio::main]
async fn main() -> ExitCode {
    let defaults = discovery::Config::default();
    // The default, and one for a short run.
    let is_bench = Arguments::new().is_bench();
    let (counts, interval) = match is_bench {
        true => (&[20, 50, 100, 200][..], Duration::from_secs(10)),
        false => (&[20][..], Duration::from_secs(1)),
    };
    let config = defaults.with_interval(interval);
    let mut table = Table::new(&format!(
        "nodes | all know all after | received per node and second | expected | in the busiest second | \
         {NEWCOMERS} newcomers know {ENOUGH} after"
    ));
    let mut missed = Vec::new();
    for &count in counts {
        let mut crowd = Crowd::start(count, config.clone(), count as u64).await;
        let all = crowd.all_know_all().await.as_secs_f64();
        // What newcomers are answered is another matter.
        crowd.receives(1).await;
        let received = crowd.receives(ROUNDS).await;
        let expected = expected(count, interval);
        let mut newcomers = Vec::new();
        for _ in 0..NEWCOMERS {
            crowd.join(1).await;
            let enough = crowd.the_last_knows(ENOUGH).await;
            newcomers.push(format!("{:.1}", enough.as_secs_f64()));
            if count >= 100 && enough > SOON {
                missed.push(format!("{count} nodes: a newcomer takes {enough:.1?}"));
            }
        }
        table.row([
            count.to_string(),
            format!("{all:.1} s"),
            format!("{:.1}", received.rate),
            format!("{expected:.1}"),
            format!("{:.1}", received.busiest),
            format!("{} s", newcomers.join(", ")),
        ]);
        if !(expected / FACTOR..=expected * FACTOR).contains(&received.rate) {
            missed.push(format!("{count} nodes: {:.1} a second", received.rate));
        }
    }
    print!("{table}");
    if !is_bench || missed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!();
    for missed in missed {
        println!("missed: {missed}");
    }
    ExitCode::FAILURE
}

/// What each receives a second if all announce at the interval, and at a twentieth more for what is added at random.
fn expected(count: usize, interval: Duration) -> f64 {
    let stretched = count as f64 / TARGET_RATE;
    (count - 1) as f64 / (1.05 * interval.as_secs_f64().max(stretched))
}
