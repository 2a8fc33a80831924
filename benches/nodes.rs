//! What a connection costs a whole node: a hub over raw libp2p-tcp, over libp2p-websocket and over this crate with each
//! of its engines, on `/ws` and on `/tls/ws`.
//!
//! `cargo bench --bench nodes` prints the table. Each hub is a process of its own, and so are its peers, each of which
//! has an identity of its own, Noise and Yamux; 64 of them dial at a time. The time is that of the clock; the CPU and
//! the memory are those of the hub's process, in the kernel and outside, until it is at rest again. A ratio is the median
//! of those of all rounds. `-- --connections 500` and `-- --rounds 5` set how much is measured. Without `--bench`, as in
//! `cargo test --benches`, there are only a few connections.
//!
//! Returning peers have been connected before, all of them, so that their TLS sessions can be resumed.

#[path = "nodes/hub.rs"]
mod hub;
#[path = "nodes/peers.rs"]
mod peers;
#[path = "nodes/process.rs"]
mod process;
#[path = "nodes/table.rs"]
mod table;

use std::{env, error::Error};

use hub::{Hub, Kind, Security};
use peers::Peers;
use table::{Cost, Row, Table};

/// How many descriptors a process needs besides those of its connections.
const OTHER_DESCRIPTORS: u64 = 64;

fn main() -> Result<(), Box<dyn Error>> {
    // Children inherit it. Where the limit is not to be learnt, what the strictest of systems grants.
    let descriptors = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(256);
    if let Some(result) = hub::run_if_told_to().or_else(peers::run_if_told_to) {
        return result;
    }
    let arguments = env::args().collect::<Vec<_>>();
    let number = |option: &str| {
        let at = arguments.iter().position(|argument| argument == option)?;
        Some(arguments.get(at + 1)?.parse())
    };
    let is_bench = arguments.iter().any(|argument| argument == "--bench");
    let (connections, rounds) = if is_bench { (2_000, 3) } else { (4, 1) };
    let wanted = number("--connections").unwrap_or(Ok(connections))?;
    let rounds = number("--rounds").unwrap_or(Ok(rounds))?;
    let available = usize::try_from(descriptors.saturating_sub(OTHER_DESCRIPTORS))?;
    let count = available.clamp(1, wanted);
    if count < wanted {
        println!("{count} connections, and not {wanted}: only {descriptors} files may be open");
    }

    let mut rows = rows();
    for round in 0..rounds {
        // Each has its turn early and late.
        let first = round % rows.len();
        let mut costs = vec![None; rows.len()];
        for turn in 0..rows.len() {
            let row = (first + turn) % rows.len();
            costs[row] = Some(measure(&rows[row], count)?);
        }
        for (row, cost) in rows.iter_mut().zip(costs.into_iter().flatten()) {
            row.costs.push(cost);
        }
    }
    print!("{}", Table { count, rows: &rows });
    Ok(())
}

/// Raw TCP first: all others are told beside it.
fn rows() -> Vec<Row> {
    let row = |kind, security, is_returning| Row {
        kind,
        security,
        is_returning,
        costs: Vec::new(),
    };
    let of_websockets = |security, is_returning| {
        let kinds = Kind::WEBSOCKETS.into_iter();
        kinds.map(move |kind| row(kind, security, is_returning))
    };
    let mut rows = vec![row(Kind::Tcp, Security::None, false)];
    rows.extend(of_websockets(Security::None, false));
    rows.extend(of_websockets(Security::Tls, false));
    rows.extend(of_websockets(Security::Tls, true));
    rows
}

fn measure(row: &Row, count: usize) -> Result<Cost, Box<dyn Error>> {
    let mut hub = Hub::start(row.kind, row.security)?;
    // What is made when it is first needed is not to be counted.
    let mut first = Peers::start(&hub.place, 1)?;
    first.dial()?;
    let empty = hub.at_rest(1)?;
    let mut peers = Peers::start(&hub.place, count)?;
    let mut before = empty;
    if row.is_returning {
        peers.dial()?;
        hub.at_rest(count + 1)?;
        peers.leave()?;
        before = hub.at_rest(1)?;
    }
    let seconds = peers.dial()?;
    let after = hub.at_rest(count + 1)?;
    peers.end()?;
    first.end()?;
    hub.end()?;
    Ok(Cost {
        per_second: count as f64 / seconds,
        cpu: (after.cpu - before.cpu) / count as f64,
        resident: (after.resident - empty.resident) / count as f64,
    })
}
