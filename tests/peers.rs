//! A table of what works with whom: a program for each implementation of libp2p, which are all told the same. It is in
//! docs/interop.md; see `interop/README.md`.
#![cfg(all(
    feature = "gossipsub",
    feature = "interop",
    feature = "tokio",
    feature = "upgrade"
))]

#[path = "common/authority.rs"]
mod authority;
#[path = "common/chromium.rs"]
mod chromium;
#[path = "common/go.rs"]
mod go;
#[path = "common/js.rs"]
mod js;
#[path = "interop/limits.rs"]
mod limits;
#[path = "common/litep2p.rs"]
mod litep2p;
#[path = "common/ports.rs"]
mod ports;
#[path = "common/process.rs"]
mod process;
#[path = "interop/programs.rs"]
mod programs;
#[path = "common/py.rs"]
mod py;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fmt, fs,
    net::Ipv4Addr,
    path::Path,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use libp2p_lazy_websocket::discovery::DEFAULT_TOPIC as TOPIC;
use limits::LIMITS;
use ports::free_port;
use process::{Process, Scene, announcement};
use programs::{NAME, Programs};

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(45);

/// A topic beside that of discovery.
const ROOM: &str = "room";

const LARGE: usize = 16 * 1024 * 1024;
const MANY: usize = 200;

/// The implementations, as columns of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    JsNode,
    JsChromium,
    Go,
    Py,
    Rust,
    Litep2p,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::JsNode,
        Self::JsChromium,
        Self::Go,
        Self::Py,
        Self::Rust,
        Self::Litep2p,
    ];

    /// At the head of a column.
    fn name(self) -> &'static str {
        match self {
            Self::JsNode => "js-libp2p, Node.js",
            Self::JsChromium => "js-libp2p, Chromium",
            Self::Go => "go-libp2p",
            Self::Py => "py-libp2p",
            Self::Rust => "rust-libp2p",
            Self::Litep2p => "litep2p",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Over {
    Tcp,
    Ws,
    Wss,
    /// As addresses of wss were written in the past.
    OldWss,
    /// An address that says which name to ask for, as one of AutoTLS does.
    Named,
}

impl Over {
    const ALL: [Self; 5] = [Self::Tcp, Self::Ws, Self::Wss, Self::OldWss, Self::Named];

    /// What follows the port in an address to listen on.
    fn listened(self) -> &'static str {
        match self {
            Self::Tcp => "",
            Self::Ws => "/ws",
            Self::Wss | Self::OldWss | Self::Named => "/tls/ws",
        }
    }

    /// The one to dial among the addresses of a node.
    fn dialled(self, addresses: &BTreeSet<String>) -> Option<String> {
        let of_kind = |address: &&String| {
            let (address, _) = address.split_once("/p2p/").unwrap_or((address, ""));
            let after_port = address.splitn(6, '/').nth(5).unwrap_or_default();
            // js and go have an older name for the same.
            after_port.replace("wss", "tls/ws") == self.listened().trim_start_matches('/')
        };
        let found = addresses.iter().find(of_kind)?;
        Some(match self {
            Self::OldWss => found.replace("/tls/ws", "/wss"),
            Self::Named => found.replace("/tls/ws", &format!("/tls/sni/{NAME}/ws")),
            _ => found.clone(),
        })
    }
}

/// Who dials whom, over what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Session {
    over: Over,
    we_dial: bool,
}

impl Session {
    /// The first of them says whether this session is possible at all.
    fn cases(self) -> &'static [Case] {
        match self.over {
            // The others do not depend on the address.
            Over::Named => &[Case::Connect, Case::PingByUs],
            _ => &Case::ALL,
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        [false, true].into_iter().flat_map(|we_dial| {
            Over::ALL
                .into_iter()
                // All kinds of addresses of ours, and what others listen on.
                .filter(move |&over| !(we_dial && [Over::OldWss, Over::Named].contains(&over)))
                .map(move |over| Self { over, we_dial })
        })
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let over = match self.over {
            Over::Tcp => "TCP",
            Over::Ws => "ws",
            Over::Wss => "wss",
            Over::OldWss => "wss, written `/wss`",
            Over::Named => "wss, by `/tls/sni/<name>/ws` as of AutoTLS",
        };
        let who = match self.we_dial {
            true => "is dialled",
            false => "dials",
        };
        write!(f, "{who} over {over}")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Case {
    Connect,
    Identify,
    PingByUs,
    PingByThem,
    DiscoveryOfUs,
    DiscoveryOfThem,
    RoomOfUs,
    RoomOfThem,
    EchoByUs,
    EchoByThem,
    StreamsByUs,
    StreamsByThem,
    CloseByUs,
    CloseByThem,
    /// Of those that have dialled, in some sessions, and of those that were dialled in others.
    Kill,
}

impl Case {
    const ALL: [Self; 15] = [
        Self::Connect,
        Self::Identify,
        Self::PingByUs,
        Self::PingByThem,
        Self::DiscoveryOfUs,
        Self::DiscoveryOfThem,
        Self::RoomOfUs,
        Self::RoomOfThem,
        Self::EchoByUs,
        Self::EchoByThem,
        Self::StreamsByUs,
        Self::StreamsByThem,
        Self::CloseByUs,
        Self::CloseByThem,
        Self::Kill,
    ];

    /// A row of the table. Those of connecting are named by the session.
    fn name(self) -> &'static str {
        match self {
            Self::Connect => "",
            Self::Identify => "identify, both ways",
            Self::PingByUs => "answers pings",
            Self::PingByThem => "pings",
            Self::DiscoveryOfUs => "hears what a Rust node announces",
            Self::DiscoveryOfThem => "is discovered by its announcement",
            Self::RoomOfUs => "receives messages on another topic",
            Self::RoomOfThem => "publishes on another topic",
            Self::EchoByUs => "sends back 16 MiB",
            Self::EchoByThem => "gets 16 MiB back",
            Self::StreamsByUs => "accepts 200 streams at once",
            Self::StreamsByThem => "opens 200 streams at once",
            Self::CloseByUs => "learns of a close",
            Self::CloseByThem => "closes",
            Self::Kill => "a kill is noticed, either way",
        }
    }
}

type Outcome = Result<(), String>;

struct Peer {
    process: Process,
    id: String,
    addresses: BTreeSet<String>,
}

impl Peer {
    async fn started(process: Process, listens: usize) -> Result<Self, String> {
        let is_error = |line: &str| line.starts_with("error ");
        let id = process
            .try_wait(0, LIMIT, "its peer id", |line| {
                let id = line.strip_prefix("started ");
                let failed = is_error(line).then(|| Err(line.to_owned()));
                id.map(|id| Ok(id.to_owned())).or(failed)
            })
            .await??;
        let mut addresses = BTreeSet::new();
        if listens > 0 {
            process
                .try_wait(0, LIMIT, "its addresses", |line| {
                    addresses.extend(line.strip_prefix("listening ").map(ToOwned::to_owned));
                    match addresses.len() == listens {
                        true => Some(Ok(())),
                        false => is_error(line).then(|| Err(line.to_owned())),
                    }
                })
                .await??;
        }
        Ok(Self {
            process,
            id,
            addresses,
        })
    }

    /// How many lines there are.
    fn mark(&self) -> usize {
        self.process.count(|_| true)
    }

    /// Waits for a line behind that mark, which begins like this.
    async fn prints(&self, mark: usize, start: &str) -> Outcome {
        self.process
            .try_wait(mark, LIMIT, start, |line| {
                line.starts_with(start).then_some(())
            })
            .await
    }

    /// Gives a command and waits for the line it ends with.
    async fn does(&mut self, command: &str, answer: &str) -> Outcome {
        let mark = self.mark();
        self.process.say(command).await;
        let error = format!("error {command}: ");
        let found = self.process.try_wait(mark, LIMIT, answer, |line| {
            let failed = line.starts_with(&error).then(|| Err(line.to_owned()));
            line.starts_with(answer).then_some(Ok(())).or(failed)
        });
        found.await?
    }
}

/// Two that are or were connected.
struct Pair {
    scene: Scene,
    session: Session,
    us: Peer,
    them: Peer,
}

impl Pair {
    async fn start(programs: &Programs, kind: Kind, session: Session) -> Result<Self, String> {
        let scene = Scene::default();
        // All on one port, those of others as they like.
        let port = free_port(Ipv4Addr::LOCALHOST);
        let ours = ["", "/ws", "/tls/ws"].map(|kind| format!("/ip4/127.0.0.1/tcp/{port}{kind}"));
        let us = scene.spawn("us", programs.ours(&ours));
        let us = Peer::started(us, ours.len()).await?;
        let listen = format!("/ip4/127.0.0.1/tcp/0{}", session.over.listened());
        let listen: &[_] = match session.we_dial {
            true => &[listen],
            false => &[],
        };
        let them = scene.spawn("them", programs.theirs(kind, listen));
        let them = Peer::started(them, listen.len()).await?;
        Ok(Self {
            scene,
            session,
            us,
            them,
        })
    }

    async fn run(&mut self, case: Case) -> Outcome {
        match case {
            Case::Connect => self.connect().await,
            Case::Identify => {
                let Self { us, them, .. } = self;
                let (of_us, of_them) = (identified(us, them), identified(them, us));
                of_us.await?;
                of_them.await
            }
            Case::PingByUs => ping(&mut self.us, &self.them).await,
            Case::PingByThem => ping(&mut self.them, &self.us).await,
            Case::DiscoveryOfUs => {
                gossips(&self.us, &self.them).await?;
                // It says so each second.
                let heard = format!("message {} {TOPIC} ", self.us.id);
                self.them.prints(0, &heard).await
            }
            Case::DiscoveryOfThem => {
                gossips(&self.us, &self.them).await?;
                let payload = announcement(&self.them.id);
                let command = format!("publish {TOPIC} {payload}");
                let answer = format!("published {TOPIC}");
                self.them.does(&command, &answer).await?;
                let discovered = format!("discovered {} ", self.them.id);
                self.us.prints(0, &discovered).await
            }
            Case::RoomOfUs => {
                gossips(&self.us, &self.them).await?;
                message(&mut self.us, &mut self.them, "aa01").await
            }
            Case::RoomOfThem => {
                gossips(&self.us, &self.them).await?;
                message(&mut self.them, &mut self.us, "bb02").await
            }
            Case::EchoByUs => echo(&mut self.us, &self.them).await,
            Case::EchoByThem => echo(&mut self.them, &self.us).await,
            Case::StreamsByUs => streams(&mut self.us, &self.them).await,
            Case::StreamsByThem => streams(&mut self.them, &self.us).await,
            Case::CloseByUs => {
                close(&mut self.us, &mut self.them).await?;
                self.connect().await
            }
            Case::CloseByThem => {
                close(&mut self.them, &mut self.us).await?;
                self.connect().await
            }
            Case::Kill => {
                let (killed, left) = match self.session.we_dial {
                    true => (&mut self.us, &self.them),
                    false => (&mut self.them, &self.us),
                };
                let mark = left.mark();
                let _ = killed.process.child.start_kill();
                left.prints(mark, &format!("disconnected {}", killed.id))
                    .await
            }
        }
    }

    async fn connect(&mut self) -> Outcome {
        let (dials, listens) = match self.session.we_dial {
            true => (&mut self.us, &self.them),
            false => (&mut self.them, &self.us),
        };
        let address = self.session.over.dialled(&listens.addresses);
        let address =
            address.ok_or_else(|| format!("no such address in {:?}", listens.addresses))?;
        let mark = listens.mark();
        let connected = format!("connected {}", listens.id);
        dials.does(&format!("dial {address}"), &connected).await?;
        let (dialler, connected) = (&dials.id, format!("connected {}", dials.id));
        listens.prints(mark, &connected).await?;
        if self.session.we_dial {
            return Ok(());
        }
        let incoming = format!("incoming {dialler} /ip4/127.0.0.1/tcp/");
        let kind = self.session.over.listened();
        listens
            .process
            .try_wait(mark, LIMIT, "what it has come over", |line| {
                let rest = line.strip_prefix(&incoming)?;
                let found = rest.trim_start_matches(|c: char| c.is_ascii_digit());
                (found == kind).then_some(())
            })
            .await
    }
}

async fn identified(by: &Peer, other: &Peer) -> Outcome {
    let identified = format!("identified {} ", other.id);
    by.process
        .try_wait(0, LIMIT, &identified, |line| {
            (line.starts_with(&identified) && line.contains("/echo/1.0.0")).then_some(())
        })
        .await
}

/// Not to wait for what never comes.
async fn gossips(us: &Peer, them: &Peer) -> Outcome {
    let identified = format!("identified {} ", them.id);
    us.process
        .try_wait(0, LIMIT, &identified, |line| {
            line.starts_with(&identified).then(|| {
                let gossips = line.contains("/meshsub/");
                gossips
                    .then_some(())
                    .ok_or_else(|| "it has no gossipsub".to_owned())
            })
        })
        .await?
}

async fn ping(by: &mut Peer, other: &Peer) -> Outcome {
    let id = &other.id;
    by.does(&format!("ping {id}"), &format!("pong {id}")).await
}

async fn echo(by: &mut Peer, other: &Peer) -> Outcome {
    let command = format!("echo {} {LARGE}", other.id);
    by.does(&command, &format!("echo ok {LARGE}")).await
}

async fn streams(by: &mut Peer, other: &Peer) -> Outcome {
    let command = format!("streams {} {MANY}", other.id);
    by.does(&command, &format!("streams ok {MANY}")).await
}

async fn message(from: &mut Peer, to: &mut Peer, payload: &str) -> Outcome {
    for peer in [&mut *from, &mut *to] {
        if !peer.process.printed(&format!("subscribed {ROOM}")) {
            let answer = format!("subscribed {ROOM}");
            peer.does(&format!("subscribe {ROOM}"), &answer).await?;
        }
    }
    let mark = to.mark();
    let command = format!("publish {ROOM} {payload}");
    from.does(&command, &format!("published {ROOM}")).await?;
    to.prints(mark, &format!("message {} {ROOM} {payload}", from.id))
        .await
}

async fn close(by: &mut Peer, other: &mut Peer) -> Outcome {
    let mark = other.mark();
    let command = format!("close {}", other.id);
    by.does(&command, &format!("disconnected {}", other.id))
        .await?;
    other.prints(mark, &format!("disconnected {}", by.id)).await
}

/// What came of each case in each session.
type Outcomes = BTreeMap<(Case, Session), Outcome>;

async fn meet(programs: &Programs, kind: Kind) -> Outcomes {
    let mut outcomes = Outcomes::new();
    for session in Session::all() {
        let as_before = Session {
            over: Over::Wss,
            ..session
        };
        let cases = match session.over {
            Over::OldWss if outcomes[&(Case::Connect, as_before)].is_ok() => &[Case::Connect],
            _ => session.cases(),
        };
        let mut pair = None;
        for &case in cases {
            if pair.is_none() {
                pair = match Pair::start(programs, kind, session).await {
                    Ok(pair) => Some(pair),
                    Err(why) => {
                        outcomes.insert((case, session), Err(why));
                        break;
                    }
                };
            }
            let Some(running) = &mut pair else { break };
            // What comes after something that has failed begins anew.
            if case != Case::Connect
                && !running.us.process.printed("connected ")
                && let Err(why) = running.connect().await
            {
                outcomes.insert((case, session), Err(why));
                pair = None;
                continue;
            }
            let start = Instant::now();
            let outcome = running.run(case).await;
            println!(
                "{kind:?} {session}: {case:?} {:?} {outcome:?}",
                start.elapsed()
            );
            let has_failed = outcome.is_err();
            if has_failed && limit(kind, case, session).is_none() {
                running.scene.print();
            }
            outcomes.insert((case, session), outcome);
            if has_failed {
                if case == Case::Connect {
                    break;
                }
                pair = None;
            }
        }
    }
    outcomes
}

/// The note about a case in a session, if it is known to fail.
fn limit(kind: Kind, case: Case, session: Session) -> Option<usize> {
    LIMITS.iter().position(|limit| {
        limit.kind == kind && limit.cases.contains(&case) && (limit.sessions)(session)
    })
}

/// What is not as it is known to be.
fn surprises(kind: Kind, outcomes: &Outcomes) -> Vec<String> {
    let surprise = |((case, session), outcome): (&(Case, Session), &Outcome)| {
        let known = limit(kind, *case, *session).map(|index| LIMITS[index].says);
        let what = match (outcome, known) {
            (Ok(()), None) => return None,
            (Err(why), Some(known)) if why.contains(known) => return None,
            (Ok(()), Some(known)) => format!("works, and is known not to: {known}"),
            (Err(why), _) => why.clone(),
        };
        Some(format!("{kind:?} {session}: {case:?}: {what}"))
    };
    outcomes.iter().filter_map(surprise).collect()
}

/// As it is in the documentation, with the notes below.
fn table(kinds: &[Kind], outcomes: &BTreeMap<Kind, Outcomes>) -> String {
    let mut notes = Vec::new();
    let mut text = String::from("|");
    for kind in kinds {
        text += &format!(" | {}", kind.name());
    }
    text += &format!(" |\n| --- |{}\n", " :-: |".repeat(kinds.len()));
    let connects = Session::all().map(|session| (Case::Connect, Some(session)));
    let others = Case::ALL.into_iter().filter(|&case| case != Case::Connect);
    for (case, only) in connects.chain(others.map(|case| (case, None))) {
        match only {
            Some(session) => text += &format!("| {session}"),
            None => text += &format!("| {}", case.name()),
        }
        for kind in kinds {
            let of_cell = |&(found, session): &(Case, Session)| {
                found == case && only.is_none_or(|only| only == session)
            };
            let cell = outcomes[kind].iter().filter(|(key, _)| of_cell(key));
            let mut failed = BTreeSet::new();
            for ((case, session), outcome) in cell {
                if outcome.is_err() {
                    let known = limit(*kind, *case, *session);
                    failed.insert(known.map_or("?", |index| LIMITS[index].why));
                }
            }
            let numbers = failed.into_iter().map(|why| {
                let known = notes.iter().position(|&note| note == why);
                let index = known.unwrap_or_else(|| {
                    notes.push(why);
                    notes.len() - 1
                });
                (index + 1).to_string()
            });
            let numbers: Vec<_> = numbers.collect();
            text += &match numbers.is_empty() {
                true => " | ●".to_owned(),
                false => format!(" | ○ {}", numbers.join(", ")),
            };
        }
        text += " |\n";
    }
    for (index, note) in notes.iter().enumerate() {
        text += &format!("\n{}. {note}", index + 1);
    }
    text
}

/// Runs a part alone with `PEERS`, such as `PEERS=Go,Py`; writes the table with `WRITE_TABLE`.
#[tokio::test]
async fn the_table_of_peers_is_what_the_documentation_says() {
    const BEGIN: &str = "<!-- By `tests/peers.rs`. -->\n\n";
    const END: &str = "\n\n<!-- Until here. -->";

    let programs = Programs::build();
    let only = env::var("PEERS").ok();
    let wanted = |kind: &Kind| {
        let only = only.as_ref();
        let name = format!("{kind:?}");
        only.is_none_or(|only| only.split(',').any(|wanted| wanted == name)) && programs.has(*kind)
    };
    let kinds: Vec<_> = Kind::ALL.into_iter().filter(wanted).collect();
    // Two at once, each of which has two processes.
    let outcomes: BTreeMap<_, _> = stream::iter(&kinds)
        .map(async |&kind| (kind, meet(&programs, kind).await))
        .buffer_unordered(2)
        .collect()
        .await;
    let table = table(&kinds, &outcomes);
    println!("{table}");
    let surprises: Vec<_> = outcomes
        .iter()
        .flat_map(|(kind, outcomes)| surprises(*kind, outcomes))
        .collect();
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/interop.md");
    let text = fs::read_to_string(&file).expect("it is in the repository");
    let (before, rest) = text.split_once(BEGIN).expect("where the table begins");
    let (written, after) = rest.split_once(END).expect("where it ends");
    if kinds != Kind::ALL {
        // Not all are there to compare.
        return;
    }
    if env::var_os("WRITE_TABLE").is_some() {
        let text = format!("{before}{BEGIN}{table}{END}{after}");
        fs::write(&file, text).expect("it can be written");
    } else {
        assert_eq!(table, written, "write it anew with WRITE_TABLE=1");
    }
}
