//! The rows of the tables, and what is to be reached in each.

use std::convert::Infallible;

use super::{
    link::{self, Authority, Kind, Link},
    load::{Direction, Transfer, handshakes, ping_pong},
    memory,
    place::{Cores, Cost, Place},
    table::{Row, Target, Unit},
};
use crate::common::rounds::Rounds;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// How much is measured, and how often.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    /// Only the rows that have this in their name.
    pub(crate) only: String,
    /// How many connections are idle at once.
    pub(crate) idle: usize,
    bytes: usize,
    times: usize,
}

impl Plan {
    pub(crate) const WHOLE: Self = Self {
        rounds: 11,
        only: String::new(),
        idle: 5_000,
        bytes: 32 * MIB,
        times: 2_000,
    };

    pub(crate) const QUICK: Self = Self {
        rounds: 3,
        idle: 500,
        bytes: 16 * MIB,
        times: 1_000,
        only: String::new(),
    };

    pub(crate) const TEST: Self = Self {
        rounds: 1,
        idle: 4,
        bytes: MIB,
        times: 4,
        only: String::new(),
    };

    /// Whether all rows are measured, and as they are to be.
    pub(crate) fn is_whole(&self) -> bool {
        let Self { bytes, idle, .. } = *self;
        (bytes, idle) == (Self::WHOLE.bytes, Self::WHOLE.idle) && self.only.is_empty()
    }
}

/// What a row does.
#[derive(Debug, Clone, Copy)]
enum Load {
    Transfer { transfer: Transfer, under: Under },
    PingPong,
    Handshakes { at_once: usize },
}

/// What a transfer runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Under {
    Nothing,
    Tls,
    NoiseAndYamux,
}

struct Asked {
    what: String,
    load: Load,
    target: Target,
}

fn ratios(to_tcp: f64, to_libp2p: f64) -> Target {
    Target {
        to_tcp: Some(to_tcp),
        to_libp2p: Some(to_libp2p),
        at_most: None,
    }
}

fn asked(plan: &Plan) -> Vec<Asked> {
    let mut rows = Vec::new();
    let mut transfer = |what: &str, write, flushes_each, under, targets: [(f64, f64); 2]| {
        for (direction, (to_tcp, to_libp2p)) in Direction::BOTH.into_iter().zip(targets) {
            let arrow = match direction {
                Direction::ToServer => "client → server",
                Direction::ToClient => "server → client",
            };
            let transfer = Transfer {
                direction,
                write,
                flushes_each,
                total: plan.bytes,
            };
            rows.push(Asked {
                what: format!("{what}, {arrow}"),
                load: Load::Transfer { transfer, under },
                target: ratios(to_tcp, to_libp2p),
            });
        }
    };
    let (plain, tls, muxed) = (Under::Nothing, Under::Tls, Under::NoiseAndYamux);
    let (four, sixteen, sixty_four) = (4 * KIB, 16 * KIB, 64 * KIB);
    transfer(
        "64 KiB",
        sixty_four,
        false,
        plain,
        [(0.9, 5.0), (0.95, 2.0)],
    );
    transfer("16 KiB", sixteen, false, plain, [(0.8, 5.5), (1.0, 2.2)]);
    transfer("4 KiB", four, false, plain, [(1.2, 9.0), (1.4, 4.0)]);
    let flushed = [(0.8, 2.4), (0.85, 2.7)];
    transfer("4 KiB, each flushed", four, true, plain, flushed);
    let flushed = [(0.9, 4.0), (0.9, 1.5)];
    transfer("64 KiB, each flushed", sixty_four, true, plain, flushed);
    let under_tls = [(1.2, 3.0), (1.2, 1.6)];
    transfer("TLS, 64 KiB", sixty_four, false, tls, under_tls);
    let under_both = [(1.1, 1.8), (1.25, 1.35)];
    transfer(
        "Noise + Yamux, 64 KiB",
        sixty_four,
        false,
        muxed,
        under_both,
    );
    rows.push(Asked {
        what: "32 B to and fro".to_owned(),
        load: Load::PingPong,
        target: ratios(1.0, 1.2),
    });
    for (what, at_once, target) in [
        ("handshakes, one by one", 1, ratios(0.7, 1.0)),
        ("handshakes, 32 at once", 32, ratios(0.58, 0.95)),
    ] {
        rows.push(Asked {
            what: what.to_owned(),
            load: Load::Handshakes { at_once },
            target,
        });
    }
    rows.retain(|row| row.what.contains(&plan.only));
    rows
}

/// All rows that run at such a place.
pub(crate) fn measure(plan: &Plan, cores: Cores, place: &Place, authority: &Authority) -> Vec<Row> {
    let mut rows = Vec::new();
    for asked in asked(plan) {
        let costs = asked.load.rounds(plan, place, authority);
        let count = asked.load.count(plan);
        let row = |what, unit: Unit, target| Row {
            what,
            unit,
            target,
            rounds: costs.map(|cost| unit.figure(*cost, count, cores)),
        };
        let unit = match asked.load {
            Load::Transfer { .. } => Unit::GigabytesPerSecond,
            Load::PingPong | Load::Handshakes { .. } => Unit::Microseconds,
        };
        rows.push(row(asked.what.clone(), unit, asked.target));
        if let Load::Transfer { transfer, under } = asked.load
            && under == Under::NoiseAndYamux
            && cores == Cores::Two
        {
            let to_libp2p = match transfer.direction {
                Direction::ToServer => 0.55,
                Direction::ToClient => 0.75,
            };
            let what = format!("its CPU: {}", asked.what);
            let target = ratios(0.85, to_libp2p);
            rows.push(row(what, Unit::CpuSecondsPerGigabyte, target));
        }
    }
    rows
}

impl Load {
    /// What each kind took.
    fn rounds(self, plan: &Plan, place: &Place, authority: &Authority) -> Rounds<Cost> {
        of_each_kind(plan.rounds, |kind| {
            place.run(self.run(kind, plan, place, authority))
        })
    }

    fn count(self, plan: &Plan) -> usize {
        match self {
            Self::Transfer { transfer, .. } => transfer.total,
            Self::PingPong => plan.times,
            Self::Handshakes { at_once } => (plan.times / 8).max(at_once),
        }
    }

    async fn run(self, kind: Kind, plan: &Plan, place: &Place, authority: &Authority) -> Cost {
        let (transfer, under) = match self {
            Self::Transfer { transfer, under } => (transfer, under),
            Self::PingPong => {
                let mut link = Link::bytes(kind, false, place, authority).await;
                let (client, server) = link.pair().await;
                return ping_pong(client, server, 32, plan.times, place).await;
            }
            Self::Handshakes { at_once } => {
                let mut link = Link::bytes(kind, false, place, authority).await;
                return handshakes(&mut link, self.count(plan), at_once).await;
            }
        };
        let (client, server) = match under {
            Under::Nothing | Under::Tls => {
                let is_tls = under == Under::Tls;
                let mut link = Link::bytes(kind, is_tls, place, authority).await;
                link.pair().await
            }
            Under::NoiseAndYamux => {
                let mut link = Link::muxed(kind, place, authority).await;
                let (client, server) = link.pair().await;
                link::open(client, server, place).await
            }
        };
        transfer.measure(client, server, place).await
    }
}

fn of_each_kind<T>(rounds: usize, measure: impl Fn(Kind) -> T) -> Rounds<T> {
    let measure = |kind: usize| Ok::<_, Infallible>(measure(Kind::ALL[kind]));
    let Ok(rounds) = Rounds::run(rounds, Kind::ALL.len(), measure);
    rounds
}

/// What an idle connection holds, by what it has been used for.
pub(crate) fn idle(plan: &Plan, place: &Place, authority: &Authority) -> Vec<Row> {
    if !"memory".contains(&plan.only) {
        return Vec::new();
    }
    let idle = of_each_kind(1, |kind| {
        place.run(memory::measure(kind, plan.idle, place, authority))
    });
    let row = |what: &str, pick: fn(&memory::Idle) -> usize, to_libp2p| Row {
        what: what.to_owned(),
        unit: Unit::Bytes,
        target: Target {
            to_tcp: None,
            to_libp2p: Some(to_libp2p),
            at_most: Some(4.5 * KIB as f64),
        },
        rounds: idle.map(|idle| pick(idle) as f64),
    };
    vec![
        row("fresh", |idle| idle.fresh, 1.0 / 5.0),
        row("after an echo of 64 KiB", |idle| idle.used, 1.0 / 30.0),
    ]
}
