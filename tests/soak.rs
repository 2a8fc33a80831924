//! Nodes with this crate, rust-libp2p without it, js-libp2p, go-libp2p and py-libp2p around one hub, with random kills, cuts,
//! certificate rotations and listener removals: `SOAK_MINUTES=60` takes an hour, and `SOAK_SEED` repeats what is done to whom. See CONTRIBUTING.md.

#![cfg(all(feature = "interop", feature = "gossipsub", feature = "tokio"))]
#![cfg(target_os = "linux")]

#[path = "soak/actor.rs"]
mod actor;
#[path = "common/authority.rs"]
mod authority;
#[path = "common/go.rs"]
mod go;
#[path = "common/js.rs"]
mod js;
#[path = "soak/plan.rs"]
mod plan;
#[path = "common/ports.rs"]
mod ports;
#[path = "common/process.rs"]
mod process;
#[path = "soak/proxy.rs"]
mod proxy;
#[path = "common/py.rs"]
mod py;
#[path = "soak/resources.rs"]
mod resources;
#[path = "soak/rules.rs"]
mod rules;

use std::{
    collections::{BTreeMap, VecDeque},
    env,
    fmt::Write as _,
    fs, io,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use actor::{Actor, Meaning, Output, Stage, meaning};
use authority::Authority;
use libp2p_lazy_websocket::discovery::DEFAULT_TOPIC as TOPIC;
use nix::sys::signal::Signal;
use plan::{Fault, Plan};
use proxy::{Proxy, Resets};
use resources::Sample;
use rules::{Cause, Kind, Rules, Time, Who};
use tokio::{process::Command, sync::mpsc, time::timeout};

/// Of each kind.
const PEERS: usize = 5;

/// What follows the port in the addresses of the listeners of the hub, all on one port.
const LISTENERS: [&str; 3] = ["/ws", "/tls/ws", ""];

/// How often everything is looked at.
const TICK: Duration = Duration::from_millis(200);

/// How long until all are connected at the start, or again at the end.
const PATIENCE: Duration = Duration::from_secs(180);

/// Starts are apart by so much: each takes the processor for a second.
const STAGGER: Duration = Duration::from_millis(300);

/// How often all but ours are told to dial while they are not connected.
const REDIAL: Duration = Duration::from_secs(3);

/// How long a process may take to end, and a new certificate to be served.
const ENDING: Duration = Duration::from_secs(20);

/// Of each slot.
const KEPT_LINES: usize = 20_000;

/// A descriptor counts if it has been there for so long.
const KEPT: Duration = Duration::from_secs(20);

/// Of a run, so much is the start, whose memory does not count: one part in this many.
const WARM_UP: u32 = 6;

/// How much the memory of the hub may grow: in an hour, of what it is. In a run of minutes pages that are first touched late
/// count for more than what is lost, so it is only a bound for a leak that no hour would survive.
const GROWTH: f64 = 0.01;
const HOUR: Duration = Duration::from_secs(3600);
const SHORT_GROWTH: f64 = 0.5;

#[derive(Debug)]
enum News {
    Of(Who, u32, Output),
    Network(usize, u32, proxy::Seen),
    /// What a new handshake was shown, of this number.
    Served(u64, io::Result<u64>),
}

/// What is to be done at a time.
#[derive(Debug)]
enum Due {
    Start(usize),
    Continue(usize),
    Mend(usize, Resets),
    Add(usize),
    /// A process that was asked to end has done so by now.
    Ended(usize),
    /// A new handshake shows this serial number by then.
    Served(u64, Time),
}

struct Peer {
    kind: Kind,
    /// That it dials.
    listener: usize,
    proxy: Proxy,
    address: String,
    key: Option<PathBuf>,
    actor: Option<Actor>,
    /// How many processes there have been.
    generation: u32,
    has_started: bool,
    is_stopped: bool,
    /// By its own lines.
    connections: usize,
    dialled: Time,
    /// When one that does not do so by itself was last told to announce itself, and what.
    announced: Time,
    announcement: Option<String>,
    /// It has a fault that is not over.
    is_busy: bool,
    /// How long it is away once it has ended.
    away: Option<Duration>,
}

struct Soak<'a> {
    stage: Stage<'a>,
    authority: Authority,
    at: SocketAddr,
    hub: Actor,
    hub_id: String,
    peers: Vec<Peer>,
    rules: Rules,
    news: mpsc::UnboundedReceiver<News>,
    sender: mpsc::UnboundedSender<News>,
    start: Instant,
    /// By the clock: when faults begin and end.
    now: Time,
    /// What counts for the rules: time in which a process waits for the processor, or this test does, is none.
    awake: Time,
    due: Vec<(Time, Due)>,
    removed: Option<usize>,
    /// By then a listener that was removed is there again.
    removed_until: Time,
    serial: u64,
    samples: Vec<Sample>,
    faults: BTreeMap<&'static str, usize>,
    /// What the processes have printed last. In memory: a disk that is busy would hold up who reads them.
    logs: BTreeMap<Who, VecDeque<String>>,
    broken: Vec<String>,
    is_ending: bool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_knows_everybody_and_nothing_is_lost_without_a_cause() {
    let length = number("SOAK_MINUTES").map_or(3.0, |minutes| minutes as f64);
    let length = Duration::from_secs_f64(length * 60.0);
    let seed = number("SOAK_SEED").unwrap_or_else(rand::random);
    let rust = process::build().unwrap_or_else(|error| panic!("{error}"));
    let node_js = js::install().unwrap_or_else(|error| panic!("{error}"));
    let go = go::build("go", &["."]).map(|programs| programs.join("go"));
    let python = py::install();
    let peer = process::build_example("peer").unwrap_or_else(|error| panic!("{error}"));
    let directory = Path::new(process::SCRATCH).join(format!("soak-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("Cargo made the one above it");
    // The programs may be built anew meanwhile.
    let kept = |program: PathBuf| {
        let copy = directory.join(program.file_name().expect("it is a file"));
        fs::copy(program, &copy).expect("it was built");
        copy
    };
    let (rust, peer, go) = (kept(rust), kept(peer), go.map(kept));
    say(&format!(
        "soak for {length:?}, SOAK_SEED={seed}; if a rule is broken, the logs are in {}",
        directory.display()
    ));
    let stage = Stage {
        rust: &rust,
        node_js: &node_js,
        go: go.as_deref(),
        python: python.as_deref(),
        peer: &peer,
        directory: &directory,
        // Three of them have to fit into three minutes more than once.
        interval: Duration::from_secs(if length < Duration::from_secs(600) {
            5
        } else {
            10
        }),
    };
    let mut soak = Soak::start(stage).await;
    soak.run(length, seed).await;
    let report = soak.report();
    say(&report);
    match soak.broken.is_empty() {
        true => drop(fs::remove_dir_all(&directory)),
        false => soak.write_logs(),
    }
    assert!(
        soak.broken.is_empty(),
        "{}\n{}",
        soak.broken.join("\n"),
        report
    );
}

fn number(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {value}")),
    )
}

/// Not by a macro, whose lines a test that passes hides.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

impl<'a> Soak<'a> {
    async fn start(stage: Stage<'a>) -> Self {
        let port = ports::free_port(Ipv4Addr::LOCALHOST);
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let authority = Authority::new();
        put(&stage.directory.join("authority.pem"), &authority.pem());
        let (sender, news) = mpsc::unbounded_channel();
        rotate(&stage, &authority, 1);
        let mut command = Command::new(stage.rust);
        command.args([
            "--until-stdin-closes",
            "--tcp",
            "--proxy-protocol",
            "127.0.0.0/8",
        ]);
        command.args(["--interval", &stage.interval.as_secs().to_string()]);
        command
            .arg("--tls-cert")
            .arg(stage.directory.join("chain.pem"));
        command
            .arg("--tls-key")
            .arg(stage.directory.join("key.pem"));
        for kind in LISTENERS {
            command.args(["--listen", &listen(at, kind)]);
        }
        let hub = start(command, Who::Hub, 0, &sender);
        let mut soak = Self {
            stage,
            authority,
            at,
            hub,
            hub_id: String::new(),
            peers: Vec::new(),
            rules: Rules::new(Duration::ZERO, "", &[]),
            news,
            sender,
            start: Instant::now(),
            now: Time::ZERO,
            awake: Time::ZERO,
            due: Vec::new(),
            removed: None,
            removed_until: Time::ZERO,
            serial: 1,
            samples: Vec::new(),
            faults: BTreeMap::new(),
            logs: BTreeMap::new(),
            broken: Vec::new(),
            is_ending: false,
        };
        soak.hub_id = soak.id_of_hub().await;
        let kinds = [
            Some(Kind::Ours),
            Some(Kind::Js),
            soak.stage.go.map(|_| Kind::Go),
            soak.stage.python.map(|_| Kind::Py),
            Some(Kind::Stock),
        ];
        let slots = kinds
            .into_iter()
            .flatten()
            .flat_map(|kind| (0..PEERS).map(move |at| (kind, at)));
        let slots = slots
            .map(|(kind, at)| (kind, at % LISTENERS.len()))
            .collect::<Vec<_>>();
        soak.rules = Rules::new(soak.stage.interval, &soak.hub_id, &slots);
        for (slot, (kind, listener)) in slots.into_iter().enumerate() {
            soak.add(slot, kind, listener).await;
        }
        soak
    }

    async fn id_of_hub(&mut self) -> String {
        let mut listening = 0;
        let mut id = String::new();
        while listening < LISTENERS.len() {
            let news = timeout(PATIENCE, self.news.recv()).await;
            match news.ok().flatten() {
                Some(News::Of(_, _, Output::Line(line))) => {
                    if let Meaning::Started(of) = meaning(&line) {
                        listening += 1;
                        of.clone_into(&mut id);
                    }
                }
                Some(News::Of(_, _, Output::Error(_))) => {}
                other => panic!("the hub does not listen: {other:?}"),
            }
        }
        id
    }

    async fn add(&mut self, slot: usize, kind: Kind, listener: usize) {
        let sender = self.sender.clone();
        let seen = move |number, seen| {
            let _ = sender.send(News::Network(slot, number, seen));
        };
        let proxy = Proxy::start(self.at, seen).await.expect("a port");
        let over = match LISTENERS[listener] {
            // py dials no other form, see docs/interop.md.
            "/tls/ws" if kind == Kind::Py => "/wss",
            over => over,
        };
        let address = format!(
            "/ip4/127.0.0.1/tcp/{}{over}/p2p/{}",
            proxy.port, self.hub_id
        );
        // Some are another one each time.
        let keeps_key = kind == Kind::Ours && slot.is_multiple_of(2);
        self.peers.push(Peer {
            kind,
            listener,
            proxy,
            address,
            key: keeps_key.then(|| self.stage.directory.join(format!("{slot}.key"))),
            actor: None,
            generation: 0,
            has_started: false,
            is_stopped: false,
            connections: 0,
            dialled: Time::ZERO,
            announced: Time::ZERO,
            announcement: None,
            is_busy: false,
            away: None,
        });
        self.due.push((STAGGER * slot as u32, Due::Start(slot)));
    }

    async fn run(&mut self, length: Duration, seed: u64) {
        let settled = 3 * self.stage.interval;
        self.until_well("at the start", settled).await;
        let begin = self.now;
        let end = length.saturating_sub(settled + 2 * TICK);
        let gap = match length < Duration::from_secs(600) {
            true => Duration::from_secs(4),
            false => Duration::from_secs(8),
        };
        let mut plan = Plan::new(seed, begin, gap, end, LISTENERS.len());
        while self.now < end {
            self.step().await;
            let peers = self.peers.iter().enumerate();
            let well = peers.filter(|(slot, peer)| !peer.is_busy && self.rules.is_well(*slot));
            let well = well.map(|(slot, _)| slot).collect::<Vec<_>>();
            let fault = plan.next(self.now, &well, self.peers.len(), self.removed.is_some());
            if let Some(fault) = fault {
                self.inflict(fault).await;
            }
        }
        self.until_well("at the end", settled).await;
        self.judge_resources(begin, length);
        self.end().await;
    }

    /// Goes on until all have been well for so long.
    async fn until_well(&mut self, when: &str, lasting: Duration) {
        let give_up = (self.awake + PATIENCE, self.now + 3 * PATIENCE);
        let is_well =
            |since: Option<Time>, now| since.is_some_and(|since| now >= since + lasting + TICK);
        while !is_well(self.rules.all_well_since(), self.awake)
            && self.awake < give_up.0
            && self.now < give_up.1
        {
            self.step().await;
        }
        if self.rules.all_well_since().is_none() {
            let unwell = self.rules.unwell().join("\n  ");
            self.breaks(format!("not all are connected {when}:\n  {unwell}"));
        }
    }

    /// What happens until the next tick, and what is due then.
    async fn step(&mut self) {
        let tick = tokio::time::sleep(TICK);
        tokio::pin!(tick);
        loop {
            tokio::select! {
                // What has happened by now counts as of now.
                biased;
                news = self.news.recv() => if let Some(news) = news {
                    self.on_news(news);
                },
                () = &mut tick => break,
            }
        }
        let before = std::mem::replace(&mut self.now, self.start.elapsed());
        let running = self.peers.iter_mut().filter(|peer| !peer.is_stopped);
        let actors = running.filter_map(|peer| peer.actor.as_mut());
        let waited = actors.chain([&mut self.hub]).map(Actor::waited).max();
        let all = (self.now - before).saturating_sub(waited.unwrap_or_default());
        self.awake += all.min(2 * TICK);
        self.dial().await;
        self.announce().await;
        while let Some(at) = self.due.iter().position(|(at, _)| *at <= self.now) {
            let (_, due) = self.due.swap_remove(at);
            self.on_due(due).await;
        }
        self.rules.on_tick(self.awake);
        for broken in self.rules.broken() {
            self.breaks(broken);
        }
        let is_time = self
            .samples
            .last()
            .is_none_or(|last| self.now >= last.at + Duration::from_secs(2));
        if is_time && !self.is_ending {
            let sample = Sample::take(self.hub.pid, self.now, self.rules.held_by_hub());
            self.samples.extend(sample.ok());
        }
    }

    fn breaks(&mut self, what: String) {
        let what = format!("{:.1} s: {what}", self.now.as_secs_f64());
        say(&format!("BROKEN {what}"));
        self.broken.push(what);
        // So that they can be read while it goes on.
        self.write_logs();
    }

    /// All but ours only dial when they are told to.
    async fn dial(&mut self) {
        for peer in &mut self.peers {
            let is_there = peer.kind != Kind::Ours && peer.has_started && !peer.is_stopped;
            if is_there && peer.connections == 0 && self.now >= peer.dialled + REDIAL {
                peer.dialled = self.now;
                if let Some(actor) = &mut peer.actor {
                    actor.say(&format!("dial {}", peer.address)).await;
                }
            }
        }
    }

    /// These have no discovery of their own.
    async fn announce(&mut self) {
        for peer in &mut self.peers {
            let is_time = self.now >= peer.announced + self.stage.interval;
            let is_there = peer.connections > 0 && !peer.is_stopped && is_time;
            if let (true, Some(payload), Some(actor)) =
                (is_there, &peer.announcement, &mut peer.actor)
            {
                peer.announced = self.now;
                actor.say(&format!("publish {TOPIC} {payload}")).await;
            }
        }
    }

    fn keep(&mut self, who: Who, output: &Output) {
        let line = match output {
            // Each announcement has a line of its own.
            Output::Line(line) if line.starts_with("message ") => return,
            Output::Line(line) => line.clone(),
            Output::Error(line) => format!("stderr: {line}"),
            Output::Exit(status) => status.to_string(),
        };
        let log = self.logs.entry(who).or_default();
        log.push_back(format!("{:7.1} {line}", self.now.as_secs_f64()));
        if log.len() > KEPT_LINES {
            log.pop_front();
        }
    }

    /// Writes what the processes have printed last.
    fn write_logs(&self) {
        for (who, lines) in &self.logs {
            let name = match who {
                Who::Hub => "hub.log".to_owned(),
                Who::Slot(slot) => format!("{slot}-{:?}.log", self.peers[*slot].kind),
            };
            let text = lines
                .iter()
                .fold(String::new(), |text, line| text + line + "\n");
            let _ = fs::write(self.stage.directory.join(name), text);
        }
    }

    fn on_news(&mut self, news: News) {
        if let News::Of(who, _, output) = &news {
            self.keep(*who, output);
        }
        match news {
            News::Of(Who::Hub, _, Output::Line(line)) => self.on_line_of_hub(&line),
            News::Of(Who::Slot(slot), generation, output) => {
                if self.peers[slot].generation == generation {
                    self.on_output(slot, output);
                }
            }
            News::Network(slot, number, seen) => match seen {
                proxy::Seen::Opened => self.rules.on_opened(number, slot),
                proxy::Seen::Closed(side) => self.rules.on_closed(number, side, self.awake),
            },
            News::Of(Who::Hub, _, Output::Exit(status)) => {
                if !self.is_ending || !status.success() {
                    self.breaks(format!("the hub ended: {status}"));
                }
            }
            News::Of(Who::Hub, _, Output::Error(line)) => {
                if line.contains("panicked") {
                    self.breaks(format!("the hub: {line}"));
                }
            }
            News::Served(serial, shown) => {
                if let Some(at) = self
                    .due
                    .iter()
                    .position(|(_, due)| matches!(due, Due::Served(of, _) if *of == serial))
                {
                    match shown {
                        Ok(shown) if shown == serial => drop(self.due.swap_remove(at)),
                        Ok(_) => {}
                        Err(_) if self.now < self.removed_until => {}
                        Err(error) => {
                            self.breaks(format!("a handshake while {serial} comes: {error}"))
                        }
                    }
                }
            }
        }
    }

    fn on_line_of_hub(&mut self, line: &str) {
        match meaning(line) {
            Meaning::Incoming(id, address) => {
                let client = address.split('/').nth(2).and_then(|ip| ip.parse().ok());
                let number = client.and_then(proxy::number);
                match number {
                    Some(number) => self.rules.on_incoming(number, id, self.awake),
                    None => self.breaks(format!("not through the proxy: {line}")),
                }
            }
            Meaning::Disconnected(id, cause) => self.rules.on_disconnected(id, cause, self.awake),
            Meaning::Heard(id) => self.rules.on_heard(Who::Hub, id, self.awake),
            Meaning::Expired(id) => self.rules.on_expired(Who::Hub, id, self.awake),
            _ => {}
        }
    }

    fn on_output(&mut self, slot: usize, output: Output) {
        let (now, peer) = (self.now, &mut self.peers[slot]);
        let line = match output {
            Output::Line(line) => line,
            Output::Error(line) => {
                if line.contains("panicked") {
                    self.breaks(format!("slot {slot}: {line}"));
                }
                return;
            }
            Output::Exit(status) => {
                let away = peer.away.take();
                peer.actor = None;
                self.due
                    .retain(|(_, due)| !matches!(due, Due::Ended(of) if *of == slot));
                self.due
                    .push((now + away.unwrap_or_default(), Due::Start(slot)));
                if away.is_none() && !self.is_ending {
                    self.rules.on_down(slot, Cause::Kill, self.awake);
                    self.breaks(format!("slot {slot} ended by itself: {status}"));
                }
                return;
            }
        };
        if peer.actor.is_none() {
            return;
        }
        match meaning(&line) {
            Meaning::Started(id) if !peer.has_started => {
                peer.has_started = true;
                peer.is_busy = false;
                match peer.kind {
                    // The first dial is its own.
                    Kind::Ours | Kind::Js | Kind::Go => peer.dialled = now,
                    Kind::Py | Kind::Stock => peer.announcement = Some(process::announcement(id)),
                }
                self.rules.on_started(slot, id, self.awake);
            }
            Meaning::Connected(id) if id == self.hub_id => {
                peer.connections += 1;
                self.rules.on_connected(slot, self.awake);
            }
            Meaning::Disconnected(id, _) if id == self.hub_id => {
                peer.connections = peer.connections.saturating_sub(1);
            }
            Meaning::Heard(id) => self.rules.on_heard(Who::Slot(slot), id, self.awake),
            Meaning::Expired(id) => self.rules.on_expired(Who::Slot(slot), id, self.awake),
            _ => {}
        }
    }

    async fn on_due(&mut self, due: Due) {
        let now = self.now;
        match due {
            Due::Start(slot) => self.start_peer(slot),
            Due::Continue(slot) => {
                let peer = &mut self.peers[slot];
                (peer.is_stopped, peer.is_busy) = (false, false);
                if let Some(actor) = &peer.actor {
                    actor.signal(Signal::SIGCONT);
                }
                self.rules.on_continued(slot, self.awake);
            }
            Due::Mend(slot, resets) => {
                self.peers[slot].is_busy = false;
                self.rules.on_mended(slot, self.awake);
                self.peers[slot].proxy.mend(resets);
            }
            Due::Add(listener) => {
                self.removed = None;
                self.hub
                    .say(&format!("listen {}", listen(self.at, LISTENERS[listener])))
                    .await;
                self.rules.on_listener_back(listener, self.awake);
            }
            Due::Ended(slot) => {
                self.breaks(format!("slot {slot} does not end when it is asked to"));
            }
            Due::Served(serial, until) if now >= until => {
                self.breaks(format!("certificate {serial} is not served"));
            }
            Due::Served(serial, until) => {
                self.due
                    .push((now + Duration::from_secs(1), Due::Served(serial, until)));
                let (at, authority, sender) = (self.at, self.authority.der(), self.sender.clone());
                // The listener is not there, so nothing is served.
                if self.removed.is_some() {
                    return;
                }
                tokio::task::spawn_blocking(move || {
                    let shown = TcpStream::connect(at).and_then(|mut tcp| {
                        tcp.write_all(proxy::header(0, at).as_bytes())?;
                        authority::served(authority, &mut tcp)
                    });
                    let _ = sender.send(News::Served(serial, shown));
                });
            }
        }
    }

    fn start_peer(&mut self, slot: usize) {
        let peer = &mut self.peers[slot];
        peer.generation += 1;
        peer.has_started = false;
        peer.announcement = None;
        peer.connections = 0;
        peer.is_busy = true;
        let command = self
            .stage
            .peer(peer.kind, &peer.address, peer.key.as_deref());
        let who = Who::Slot(slot);
        peer.actor = Some(start(command, who, peer.generation, &self.sender));
    }

    async fn inflict(&mut self, fault: Fault) {
        *self.faults.entry(fault.name()).or_default() += 1;
        let now = self.now;
        say(&format!("{:7.1} s {fault:?}", now.as_secs_f64()));
        match fault {
            Fault::Kill(slot, lasts) => {
                self.rules.on_down(slot, Cause::Kill, self.awake);
                let peer = &mut self.peers[slot];
                peer.is_busy = true;
                if let Some(actor) = peer.actor.take() {
                    actor.signal(Signal::SIGKILL);
                }
                peer.away = Some(lasts);
            }
            Fault::Leave(slot, lasts) => {
                self.rules.on_down(slot, Cause::Leave, self.awake);
                let peer = &mut self.peers[slot];
                peer.is_busy = true;
                if let Some(mut actor) = peer.actor.take() {
                    actor.close();
                }
                peer.away = Some(lasts);
                self.due.push((now + ENDING, Due::Ended(slot)));
            }
            Fault::Stop(slot, lasts) => {
                self.rules.on_stopped(slot, self.awake);
                let peer = &mut self.peers[slot];
                (peer.is_stopped, peer.is_busy) = (true, true);
                if let Some(actor) = &peer.actor {
                    actor.signal(Signal::SIGSTOP);
                }
                self.due.push((now + lasts, Due::Continue(slot)));
            }
            Fault::Freeze(slot, lasts) => {
                self.rules.on_frozen(slot, self.awake);
                self.peers[slot].is_busy = true;
                self.peers[slot].proxy.freeze();
                self.due
                    .push((now + lasts, Due::Mend(slot, Resets::default())));
            }
            Fault::Cut {
                slot,
                lasts,
                resets,
            } => {
                self.rules.on_cut(slot, self.awake);
                self.peers[slot].is_busy = true;
                self.peers[slot].proxy.cut();
                // Without pings neither side would ever notice: raw TCP has none, js has only those of a monitor, which closes
                // connections on a busy machine as well, and the others' pings close nothing.
                let is_raw = LISTENERS[self.peers[slot].listener].is_empty();
                let notices = matches!(self.peers[slot].kind, Kind::Ours | Kind::Go);
                let resets = Resets {
                    peer: resets || is_raw || !notices,
                    hub: is_raw,
                };
                self.due.push((now + lasts, Due::Mend(slot, resets)));
            }
            Fault::Rotate => {
                self.serial += 1;
                rotate(&self.stage, &self.authority, self.serial);
                self.due.retain(|(_, due)| !matches!(due, Due::Served(..)));
                self.due
                    .push((now, Due::Served(self.serial, now + ENDING + 2 * ENDING)));
            }
            Fault::Remove(listener, lasts) => {
                self.removed = Some(listener);
                self.removed_until = now + lasts + REDIAL;
                self.rules.on_listener_gone(listener, self.awake);
                self.hub
                    .say(&format!("remove {}", listen(self.at, LISTENERS[listener])))
                    .await;
                self.due.push((now + lasts, Due::Add(listener)));
            }
        }
    }

    fn judge_resources(&mut self, begin: Time, length: Duration) {
        let (Some(growth), Some([before, after])) = (self.growth(length), self.at_rest(begin))
        else {
            return self.breaks("too few samples of the hub".into());
        };
        let limit = match length >= HOUR {
            true => GROWTH,
            false => SHORT_GROWTH,
        };
        let grown = match length >= HOUR {
            true => growth,
            false => after.2 / before.2 - 1.0,
        };
        if grown > limit {
            self.breaks(format!(
                "the memory of the hub grows by {:.2} %",
                100.0 * grown
            ));
        }
        if after.0 > before.0 {
            self.breaks(format!(
                "the hub had {} descriptors beside its connections, and has {}",
                before.0, after.0
            ));
        }
        if after.1 > before.1 {
            self.breaks(format!(
                "the hub had {} threads, and has {}",
                before.1, after.1
            ));
        }
    }

    /// Descriptors beside connections, threads and resident memory when all were at rest, at the start and at the end.
    fn at_rest(&self, begin: Time) -> Option<[(usize, usize, f64); 2]> {
        let of = |samples: &[Sample]| {
            let last = samples.last()?;
            Some((
                resources::floor(samples, Sample::others, KEPT),
                resources::floor(samples, |sample| sample.threads, KEPT),
                last.resident,
            ))
        };
        let first = self
            .samples
            .iter()
            .take_while(|sample| sample.at <= begin)
            .count();
        Some([of(&self.samples[..first])?, of(&self.samples)?])
    }

    /// An hour, after the first minutes.
    fn growth(&self, length: Duration) -> Option<f64> {
        let warm = self
            .samples
            .iter()
            .filter(|sample| sample.at >= length / WARM_UP);
        let warm = warm
            .map(|sample| (sample.at, sample.resident))
            .collect::<Vec<_>>();
        (warm.len() > 2).then(|| resources::growth(&warm))
    }

    async fn end(&mut self) {
        self.rules.on_ending();
        self.is_ending = true;
        let mut left = self.peers.len();
        for (slot, peer) in self.peers.iter_mut().enumerate() {
            if let Some(mut actor) = peer.actor.take() {
                actor.close();
            }
            self.rules.on_down(slot, Cause::End, self.awake);
        }
        self.hub.close();
        let give_up = Instant::now() + PATIENCE;
        let mut is_hub_there = true;
        while (left > 0 || is_hub_there) && Instant::now() < give_up {
            if let Ok(Some(news)) = timeout(TICK, self.news.recv()).await {
                match &news {
                    News::Of(Who::Hub, _, Output::Exit(_)) => is_hub_there = false,
                    News::Of(Who::Slot(_), _, Output::Exit(_)) => left -= 1,
                    _ => {}
                }
                self.on_news(news);
            }
        }
        if left > 0 || is_hub_there {
            self.breaks(format!("{left} peers do not end; the hub: {is_hub_there}"));
        }
    }

    fn report(&self) -> String {
        let mut text = String::from("faults:\n");
        let mut line = |line: String| {
            let _ = writeln!(text, "  {line}");
        };
        for (name, count) in &self.faults {
            line(format!("{count:4} × {name}"));
        }
        let figures = &self.rules.figures;
        line(format!(
            "{} pairs learnt of each other, {} looks at pairs that have to know each other, {} times one was forgotten",
            figures.pairs_learnt, figures.pairs_checked, figures.forgotten
        ));
        let name =
            |kind: &Option<Kind>| kind.map_or_else(|| "hub".to_owned(), |kind| format!("{kind:?}"));
        for ((kind, of), longest) in &figures.longest_to_know {
            line(format!(
                "longest until {} knew {}: {longest:.1?}",
                name(kind),
                name(of)
            ));
        }
        for (kind, longest) in &figures.longest_return {
            line(format!(
                "longest until {kind:?} was connected once nothing kept it from that: {longest:.1?}"
            ));
        }
        for ((cause, told), count) in &figures.losses {
            line(format!(
                "{count:4} lost by {cause:?}, as the hub told: {told}"
            ));
        }
        if let (Some(first), Some(last)) = (self.samples.first(), self.samples.last()) {
            for sample in [first, last] {
                line(format!(
                    "hub at {:.0?}: {} descriptors, of which {} connections, {} threads, {:.1} MB resident",
                    sample.at,
                    sample.descriptors,
                    sample.connections,
                    sample.threads,
                    sample.resident / 1e6
                ));
            }
        }
        if let Some(growth) = self.growth(self.now) {
            line(format!(
                "its memory after the first sixth grows by {:.2} % an hour",
                100.0 * growth
            ));
        }
        line(format!(
            "everybody had the processor for {:.0?} of {:.0?}",
            self.awake, self.now
        ));
        line(format!("{} rules broken", self.broken.len()));
        text
    }
}

fn listen(at: SocketAddr, kind: &str) -> String {
    format!("/ip4/{}/tcp/{}{kind}", at.ip(), at.port())
}

fn start(
    command: Command,
    who: Who,
    generation: u32,
    sender: &mpsc::UnboundedSender<News>,
) -> Actor {
    let sender = sender.clone();
    let output = move |output| {
        let _ = sender.send(News::Of(who, generation, output));
    };
    Actor::start(command, output).unwrap_or_else(|error| panic!("cannot start {who:?}: {error}"))
}

/// Replaces the files of the certificate of the hub, as certbot does.
fn rotate(stage: &Stage<'_>, authority: &Authority, serial: u64) {
    let signed = authority.sign_number(serial);
    put(&stage.directory.join("key.pem"), &signed.key_pem());
    put(&stage.directory.join("chain.pem"), &signed.chain_pem());
}

fn put(file: &Path, text: &str) {
    let fresh = file.with_extension("new");
    fs::write(&fresh, text).expect("the directory is there");
    fs::rename(&fresh, file).expect("on the same file system");
}
