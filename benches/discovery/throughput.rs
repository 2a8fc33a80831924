//! What one message costs, and one row of the table.

use std::{
    fmt,
    hint::black_box,
    time::{Duration, Instant},
};

use libp2p_identity::Keypair;

use crate::{
    common::{table, thousands},
    identity::Identity,
    node::{Ours, Rule, Table, encode},
    simulation::{Inbox, decode},
};

/// How often each is timed. The median counts.
const ROUNDS: usize = 9;

/// How many signatures are verified in a round: each takes as long as many messages.
const SIGNATURES: usize = 500;

/// Who delivers everything, and is not among the authors.
const NEIGHBOUR: usize = usize::MAX;

const INTERVAL: Duration = Duration::from_secs(1_000);

#[derive(Debug, Default)]
pub(crate) struct Throughput {
    pub(crate) bytes_per_row: f64,
    rows: usize,
    costs: Vec<Cost>,
}

#[derive(Debug)]
struct Cost {
    what: &'static str,
    time: Duration,
    /// `None` if it is not of this crate.
    allocations: Option<f64>,
}

/// Nodes that announce themselves, and their announcements.
struct Authors {
    identities: Vec<Identity>,
    payloads: Vec<Vec<u8>>,
}

impl Authors {
    fn new(seed: u64, count: usize) -> Self {
        let identities = (0..count).map(|number| Identity::new(seed, number));
        let mut authors = Self {
            identities: identities.collect(),
            payloads: vec![],
        };
        authors.announce(Duration::ZERO);
        authors
    }

    /// Each makes another announcement.
    fn announce(&mut self, sequence: Duration) {
        let payload = |identity| encode(identity, sequence, INTERVAL);
        self.payloads = self.identities.iter().map(payload).collect();
    }

    fn messages(&self) -> impl Iterator<Item = (&Identity, &[u8])> {
        let payloads = self.payloads.iter().map(Vec::as_slice);
        self.identities.iter().zip(payloads)
    }
}

/// What is measured, with state of its own.
struct Bench {
    now: Instant,
    table: Table,
    rule: Ours,
    neighbour: Identity,
    known: Authors,
    unknown: Authors,
}

impl Bench {
    fn new(rows: usize) -> Self {
        let now = Instant::now();
        Self {
            now,
            table: Table::new(Identity::new(2, 0).peer),
            rule: Ours::new(1, now),
            neighbour: Identity::new(2, NEIGHBOUR),
            known: Authors::new(0, rows),
            unknown: Authors::new(1, rows),
        }
    }

    /// `pause` passes before each message.
    fn hear(&mut self, authors: fn(&Self) -> &Authors, pause: Duration) {
        let mut table = std::mem::replace(&mut self.table, Table::new(self.neighbour.peer));
        let mut now = self.now;
        for (author, payload) in authors(self).messages() {
            now += pause;
            black_box(table.on_message(now, self.neighbour.peer, author.peer, payload));
        }
        (self.table, self.now) = (table, now);
    }

    /// By the next message of an author it is due.
    fn refresh(&mut self) {
        self.hear(|bench| &bench.known, Duration::from_millis(100));
    }

    fn refuse(&mut self) {
        self.hear(|bench| &bench.unknown, Duration::ZERO);
    }

    /// Just within the limit of the neighbour.
    fn not_keep(&mut self) {
        self.hear(|bench| &bench.unknown, Duration::from_millis(20));
    }

    fn decode(&mut self) {
        for (_, payload) in self.known.messages() {
            let _announcement = black_box(decode(payload));
        }
    }

    fn schedule(&mut self) {
        for known in 0..self.known.identities.len() {
            self.now += Duration::from_millis(100);
            self.rule.on_announcement(self.now, false);
            self.rule.on_known_peers(self.now, known);
            black_box(self.rule.next_timeout());
        }
    }

    /// What the known peers send next, so that it is not the same once more.
    fn advance(&mut self, round: usize) {
        self.known.announce(Duration::from_secs(1 + round as u64));
    }
}

/// What is measured, and what carries it out.
type Step = (&'static str, fn(&mut Bench));

const STEPS: [Step; 5] = [
    ("decode", Bench::decode),
    ("table full, author known", Bench::refresh),
    ("table full, author not known", Bench::not_keep),
    ("table full, neighbour above its limit", Bench::refuse),
    ("schedule", Bench::schedule),
];

pub(crate) fn measure(is_bench: bool) -> Throughput {
    let rows = match is_bench {
        true => Inbox::capacity(),
        false => 16,
    };
    let mut bench = Bench::new(rows);
    let (bytes_per_row, allocations) = {
        let _profiler = dhat::Profiler::builder()
            .testing()
            .trim_backtraces(Some(4))
            .build();
        let before = dhat::HeapStats::get().curr_bytes;
        bench.hear(|bench| &bench.known, Duration::from_millis(20));
        let bytes = dhat::HeapStats::get().curr_bytes - before;
        let allocations = STEPS.map(|(_, step)| {
            // Once before, after which the neighbour is above its limit where it is to be.
            bench.advance(0);
            step(&mut bench);
            bench.advance(1);
            let before = dhat::HeapStats::get().total_blocks;
            step(&mut bench);
            let after = dhat::HeapStats::get().total_blocks;
            (after - before) as f64 / rows as f64
        });
        (bytes as f64 / rows as f64, allocations)
    };
    let mut costs = vec![];
    for ((what, step), allocations) in STEPS.into_iter().zip(allocations) {
        let time = median(rows, |round| {
            bench.advance(2 + round);
            let began = Instant::now();
            step(&mut bench);
            began.elapsed()
        });
        costs.push(Cost {
            what,
            time,
            allocations: Some(allocations),
        });
    }
    let payload = bench.known.payloads[0].clone();
    let keypair = Keypair::ed25519_from_bytes([7; 32]).expect("any 32 bytes are a secret");
    let signature = keypair.sign(&payload).expect("Ed25519 signs anything");
    let key = keypair.public();
    costs.push(Cost {
        what: "beside it: the signature, which gossipsub verifies",
        time: median(SIGNATURES, |_| {
            let began = Instant::now();
            for _ in 0..SIGNATURES {
                assert!(black_box(key.verify(&payload, &signature)));
            }
            began.elapsed()
        }),
        allocations: None,
    });
    Throughput {
        bytes_per_row,
        rows,
        costs,
    }
}

/// The median of the rounds, for each of the messages in a round.
fn median(messages: usize, mut round: impl FnMut(usize) -> Duration) -> Duration {
    let mut times = (0..ROUNDS).map(&mut round).collect::<Vec<_>>();
    times.sort_unstable();
    times[ROUNDS / 2] / messages as u32
}

impl fmt::Display for Throughput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = table::Table::new("per message | time | allocations");
        for cost in &self.costs {
            let time = match cost.time.as_nanos() {
                nanos @ ..1_000 => format!("{nanos} ns"),
                nanos => format!("{:.1} µs", nanos as f64 / 1e3),
            };
            let allocations = cost.allocations;
            let allocations = allocations.map_or_else(String::new, |count| format!("{count:.1}"));
            table.row([cost.what.to_owned(), time, allocations]);
        }
        write!(
            f,
            "{table}\n{} rows of two addresses take {:.0} bytes each.",
            thousands(self.rows),
            self.bytes_per_row
        )
    }
}
