//! A hub with very many connections that do nothing: its memory, what wakes it, and how long a new certificate and its end take.
//! Beside one on go-libp2p, if the program of `tests/interop/go` is given. Needs Linux.

use std::{
    env,
    error::Error,
    fs, io,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::{
    hub::{self, Hub, Kind, OTHER_DESCRIPTORS, Security},
    peers::Peers,
    process::Process,
};
use crate::common::{
    arguments::{Arguments, room},
    table::Table,
};
use libp2p_lazy_websocket::websocket::Engine;

/// The connections are those of so many processes.
const PROCESSES: usize = 4;

/// How long the hub is watched: two pings of every connection.
const REST: Duration = Duration::from_secs(60);

/// The protocols that a client does not know are tried five times, for ten seconds each.
const SETTLED: Duration = Duration::from_secs(60);

pub(crate) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let (connections, settled, rest) = match arguments.is_bench() {
        true => (10_000, SETTLED, REST),
        false => (8, Duration::from_millis(100), Duration::from_millis(100)),
    };
    let wanted = arguments.number("--connections").unwrap_or(connections);
    // Children inherit the limit, and the hub has all connections.
    let count = room(wanted, 1, OTHER_DESCRIPTORS) / PROCESSES * PROCESSES;
    let mut table = Table::new(&format!(
        "hub of {count} connections over `/tls/ws` | resident | each | CPU at rest | wake-ups a second | certificate | all closed"
    ));
    let mut row = |name: String, measured: Measured| {
        let took =
            |time: Option<f64>| time.map_or_else(|| "—".to_owned(), |time| format!("{time:.2} s"));
        let Measured { empty, at_rest, .. } = measured;
        table.row([
            name,
            format!("{:.0} MB", at_rest.resident / 1e6),
            format!(
                "{:.1} KB",
                (at_rest.resident - empty.resident) / count as f64 / 1e3
            ),
            format!("{:.1} ms a second", measured.cpu * 1e3),
            format!("{:.0}", measured.wake_ups),
            took(measured.rotation),
            took(measured.closing),
        ]);
    };
    let ours = Kind::Lazy(Engine::Stream);
    let mut hub = Hub::start_discovering(ours, Security::Tls)?;
    let (pid, place) = (hub.process.id(), hub.place.clone());
    let mut measured = measure(pid, &place, count, settled, rest, || {
        let rotation = hub.process.ask(hub::ROTATE)?.parse()?;
        let closing = hub.process.ask(hub::CLOSE)?.parse()?;
        Ok((Some(rotation), closing))
    })?;
    hub.end()?;
    row(format!("{ours} with discovery"), measured);
    if let Some(program) = arguments.value("--go") {
        let mut hub = GoHub::start(program)?;
        let (pid, place) = (hub.process.id(), hub.place.clone());
        measured = measure(pid, &place, count, settled, rest, || hub.close())?;
        row("go-libp2p".to_owned(), measured);
    }
    print!("{table}");
    Ok(())
}

/// What a process has used up so far.
#[derive(Clone, Copy)]
struct Usage {
    cpu: f64,
    resident: f64,
    wake_ups: f64,
}

struct Measured {
    empty: Usage,
    at_rest: Usage,
    /// Seconds of CPU, and wake-ups, in a second at rest.
    cpu: f64,
    wake_ups: f64,
    /// In seconds.
    rotation: Option<f64>,
    closing: Option<f64>,
}

fn measure(
    pid: u32,
    place: &str,
    count: usize,
    settled: Duration,
    rest: Duration,
    end: impl FnOnce() -> Result<(Option<f64>, f64), Box<dyn Error>>,
) -> Result<Measured, Box<dyn Error>> {
    let empty = usage(pid)?;
    let peers = (0..PROCESSES).map(|_| Peers::start(place, count / PROCESSES));
    let mut peers = peers.collect::<io::Result<Vec<_>>>()?;
    for peers in &mut peers {
        peers.dial()?;
    }
    thread::sleep(settled);
    let (start, before) = (Instant::now(), usage(pid)?);
    thread::sleep(rest);
    let (at_rest, seconds) = (usage(pid)?, start.elapsed().as_secs_f64());
    let (rotation, closing) = end()?;
    peers.into_iter().try_for_each(Peers::end)?;
    Ok(Measured {
        empty,
        at_rest,
        cpu: (at_rest.cpu - before.cpu) / seconds,
        wake_ups: (at_rest.wake_ups - before.wake_ups) / seconds,
        rotation,
        closing: Some(closing),
    })
}

/// Of all threads.
fn usage(pid: u32) -> io::Result<Usage> {
    let (mut cpu, mut wake_ups) = (0.0, 0.0);
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        // Nanoseconds on a processor are the first word.
        let spent = fs::read_to_string(task.join("schedstat"))?;
        cpu += spent.split(' ').next().map_or(0.0, number) / 1e9;
        wake_ups += field(
            &fs::read_to_string(task.join("status"))?,
            "voluntary_ctxt_switches:",
        );
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(Usage {
        cpu,
        resident: field(&status, "VmRSS:") * 1024.0,
        wake_ups,
    })
}

fn field(status: &str, name: &str) -> f64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next())
        .map_or(f64::NAN, number)
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or(f64::NAN)
}

/// The go node of the tests against js and go.
struct GoHub {
    process: Process,
    place: String,
    directory: PathBuf,
}

impl GoHub {
    fn start(program: &str) -> Result<Self, Box<dyn Error>> {
        let directory = env::temp_dir().join(format!("nodes-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let certificate = hub::Certificate::new();
        let [chain, key] = ["chain.pem", "key.pem"].map(|name| directory.join(name));
        fs::write(&chain, certificate.chain_pem())?;
        fs::write(&key, certificate.key_pem())?;
        let mut command = Command::new(program);
        command.args(["--listen", "/ip4/127.0.0.1/tcp/0/tls/ws", "--cert"]);
        command.arg(chain).arg("--key").arg(key);
        let mut process = Process::start_command(command)?;
        let address = loop {
            let line = process.answer()?;
            if let Some(address) = line.strip_prefix("listening ") {
                break address.split("/p2p/").next().unwrap_or_default().to_owned();
            }
        };
        Ok(Self {
            process,
            place: format!("{address} {}", certificate.anchor()),
            directory,
        })
    }

    fn close(&mut self) -> Result<(Option<f64>, f64), Box<dyn Error>> {
        let start = Instant::now();
        let mut line = self.process.ask("shutdown")?;
        while line != "closed" {
            line = self.process.answer()?;
        }
        Ok((None, start.elapsed().as_secs_f64()))
    }
}

impl Drop for GoHub {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
