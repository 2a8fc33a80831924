//! A hub with very many connections that do nothing: its memory, what wakes it, and how long a new certificate and its end take.
//! Beside one on go-libp2p, if the program of `tests/interop/go` is given. Needs Linux.

use std::{
    env,
    error::Error,
    fs, io,
    net::TcpStream,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::{
    hub::{
        self, Hub, Kind, OTHER_DESCRIPTORS, Security,
        authority::{Authority, Leaf, Signed, served},
        hex,
    },
    peers::{Peers, of_hex},
    process::Process,
};
use crate::common::{
    arguments::{Arguments, room},
    table::Table,
};
use libp2p::{Multiaddr, multiaddr::Protocol};
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
            format!("{:.0} ms", measured.rotation * 1e3),
            format!("{:.2} s", measured.closing),
        ]);
    };
    let ours = Kind::Lazy(Engine::Stream);
    let mut hub = Hub::start_discovering(ours, Security::Tls)?;
    let (pid, place) = (hub.process.id(), hub.place.clone());
    let mut measured = measure(pid, &place, count, settled, rest, || {
        let rotation = rotation(&place, || hub.process.ask(hub::ROTATE).map(drop))?;
        let closing = hub.process.ask(hub::CLOSE)?.parse()?;
        Ok((rotation, closing))
    })?;
    hub.end()?;
    row(format!("{ours} with discovery"), measured);
    if let Some(program) = arguments.value("--go") {
        let mut hub = GoHub::start(program)?;
        let (pid, place) = (hub.process.id(), hub.place.clone());
        measured = measure(pid, &place, count, settled, rest, || {
            Ok((rotation(&place, || hub.rotate())?, hub.close()?))
        })?;
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
    rotation: f64,
    closing: f64,
}

fn measure(
    pid: u32,
    place: &str,
    count: usize,
    settled: Duration,
    rest: Duration,
    end: impl FnOnce() -> Result<(f64, f64), Box<dyn Error>>,
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
        closing,
    })
}

/// How long it takes from the order until a handshake shows the new certificate, in seconds.
fn rotation(place: &str, rotate: impl FnOnce() -> io::Result<()>) -> Result<f64, Box<dyn Error>> {
    let (address, anchor) = place.split_once(' ').ok_or("no certificate")?;
    let (anchor, address) = (of_hex(anchor)?, address.parse::<Multiaddr>()?);
    let port = address.iter().find_map(|protocol| match protocol {
        Protocol::Tcp(port) => Some(port),
        _ => None,
    });
    let port = port.ok_or("no port")?;
    let start = Instant::now();
    rotate()?;
    while served(
        anchor.clone(),
        &mut TcpStream::connect(("127.0.0.1", port))?,
    )? != hub::RENEWED
    {}
    Ok(start.elapsed().as_secs_f64())
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
    authority: Authority,
    files: Files,
}

/// With a certificate chain and its key, until this is dropped.
struct Files(PathBuf);

impl Files {
    fn new() -> io::Result<Self> {
        let directory = env::temp_dir().join(format!("nodes-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        Ok(Self(directory))
    }

    fn names(&self) -> [PathBuf; 2] {
        ["chain.pem", "key.pem"].map(|name| self.0.join(name))
    }

    fn write(&self, certificate: &Signed) -> io::Result<()> {
        let [chain, key] = self.names();
        fs::write(chain, certificate.chain_pem())?;
        fs::write(key, certificate.key_pem())
    }
}

impl GoHub {
    fn start(program: &str) -> Result<Self, Box<dyn Error>> {
        let (authority, files) = (Authority::new(), Files::new()?);
        files.write(&authority.sign(&Leaf::default()))?;
        let [chain, key] = files.names();
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
            place: format!("{address} {}", hex(&authority.der())),
            authority,
            files,
        })
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.files
            .write(&self.authority.sign_number(hub::RENEWED))?;
        self.does("reload", "reloaded")
    }

    /// In seconds.
    fn close(&mut self) -> io::Result<f64> {
        let start = Instant::now();
        self.does("shutdown", "closed")?;
        Ok(start.elapsed().as_secs_f64())
    }

    fn does(&mut self, order: &str, answer: &str) -> io::Result<()> {
        let mut line = self.process.ask(order)?;
        while line != answer {
            line = self.process.answer()?;
        }
        Ok(())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
