//! What a connection costs a whole node: a hub over raw libp2p-tcp, over libp2p-websocket and over this crate with each
//! of its engines, on `/ws` and on `/tls/ws`.
//!
//! `cargo bench --bench nodes` prints the table. Each hub is a process of its own, and so are its peers, each of which
//! has an identity of its own, Noise and Yamux; 64 of them dial at a time. The time is that of the clock; the CPU and
//! the memory are those of the hub's process, in the kernel and outside, until it is at rest again. A ratio is the median
//! of those of all rounds. `-- --connections 500` and `-- --rounds 5` set how much is measured. Without `--bench`, as in
//! `cargo test --benches`, there are only a few connections.
//!
//! `-- --scale` measures one hub with discovery and 10,000 connections from four processes instead: memory, wake-ups, a new
//! certificate, and the end. `--go PROGRAM` adds a hub on go-libp2p, built in `tests/interop/go`.
//!
//! Returning peers have been connected before, all of them, so that their TLS sessions can be resumed.

mod common;
#[path = "nodes/hub.rs"]
mod hub;
#[path = "nodes/peers.rs"]
mod peers;
#[path = "nodes/process.rs"]
mod process;
#[cfg(target_os = "linux")]
#[path = "nodes/scale.rs"]
mod scale;
#[path = "nodes/table.rs"]
mod table;

use std::error::Error;

use common::{
    arguments::{self, Arguments},
    rounds::Rounds,
};
use hub::{Hub, Kind, OTHER_DESCRIPTORS, Security};
use peers::Peers;
use table::{Cost, Row, table};

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(result) = hub::run_if_told_to().or_else(peers::run_if_told_to) {
        return result;
    }
    let arguments = Arguments::new();
    #[cfg(target_os = "linux")]
    if arguments.has("--scale") || !arguments.is_bench() {
        scale::run(&arguments)?;
    }
    if arguments.has("--scale") {
        return Ok(());
    }
    let (connections, rounds) = match arguments.is_bench() {
        true => (2_000, 3),
        false => (4, 1),
    };
    let wanted = arguments.number("--connections").unwrap_or(connections);
    let rounds = arguments.number("--rounds").unwrap_or(rounds);
    // Children inherit the limit.
    let count = arguments::room(wanted, 1, OTHER_DESCRIPTORS);

    let rows = rows();
    let costs = Rounds::run(rounds, rows.len(), |row| measure(rows[row], count))?;
    print!("{}", table(count, &rows, &costs));
    Ok(())
}

/// Raw TCP first: all others are told beside it.
fn rows() -> Vec<Row> {
    let row = |kind, security, is_returning| Row {
        kind,
        security,
        is_returning,
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

fn measure(row: Row, count: usize) -> Result<Cost, Box<dyn Error>> {
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
