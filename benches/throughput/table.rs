//! What came out, as the tables of benches/README.md.

use super::{
    link::Kind,
    place::{Cores, Cost},
};
use crate::common::{rounds::Rounds, table::Table};

/// With fewer rounds, a row is not judged.
const MIN_ROUNDS: usize = 7;

/// How far a median may be from its target and count as there: a tenth.
const NEAR: f64 = 0.1;

/// In what a row is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// The more the better.
    GigabytesPerSecond,
    /// Also told by the number in a second, so the more the better.
    Microseconds,
    /// The fewer the better.
    CpuSecondsPerGigabyte,
    /// The fewer the better.
    Bytes,
}

/// What is to be reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) to_tcp: Option<f64>,
    pub(crate) to_libp2p: Option<f64>,
    /// As bytes.
    pub(crate) at_most: Option<f64>,
}

pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) unit: Unit,
    pub(crate) target: Target,
    /// Of the kinds in the order of [`Kind::ALL`].
    pub(crate) rounds: Rounds<f64>,
}

impl Unit {
    /// What such a measurement of so many bytes, or so many repetitions, comes to.
    pub(crate) fn figure(self, cost: Cost, count: usize, cores: Cores) -> f64 {
        // Both ends in one thread keep it busy, and what else the machine does is not counted.
        let time = match cores {
            Cores::One => cost.cpu,
            Cores::Two => cost.wall,
        };
        match self {
            Self::GigabytesPerSecond => count as f64 / time.as_secs_f64() / 1e9,
            Self::Microseconds => time.as_secs_f64() * 1e6 / count as f64,
            Self::CpuSecondsPerGigabyte => cost.cpu.as_secs_f64() * 1e9 / count as f64,
            Self::Bytes => count as f64,
        }
    }

    fn show(self, figure: f64) -> String {
        match self {
            Self::GigabytesPerSecond => format!("{figure:.2} GB/s"),
            Self::Microseconds => format!("{figure:.1} µs"),
            Self::CpuSecondsPerGigabyte => format!("{figure:.2} s/GB"),
            Self::Bytes => format!("{figure:.0} B"),
        }
    }

    fn is_reached(self, ratio: f64, target: f64) -> bool {
        match self {
            Self::GigabytesPerSecond | Self::Microseconds => ratio >= target * (1.0 - NEAR),
            Self::CpuSecondsPerGigabyte | Self::Bytes => ratio <= target * (1.0 + NEAR),
        }
    }
}

impl Row {
    pub(crate) fn of(&self, kind: Kind) -> f64 {
        self.rounds.of(kind as usize)
    }

    /// How this crate stands beside another. A time is told as a speed: twice as fast is 2.
    pub(crate) fn ratio(&self, to: Kind) -> f64 {
        let (ours, other) = (Kind::Ours as usize, to as usize);
        match self.unit {
            Unit::Microseconds => self.rounds.ratio(other, ours),
            _ => self.rounds.ratio(ours, other),
        }
    }

    /// That, and what is to be reached.
    fn judged(&self, to: Kind, target: Option<f64>) -> [String; 2] {
        let ratio = self.ratio(to);
        let verdict = target.map_or_else(String::new, |target| {
            let verdict = match () {
                () if self.rounds.len() < MIN_ROUNDS && self.unit != Unit::Bytes => {
                    ", too few rounds"
                }
                () if self.unit.is_reached(ratio, target) => "",
                () => ", missed",
            };
            format!("{target:.2}{verdict}")
        });
        [format!("{ratio:.2}"), verdict]
    }

    fn cells(&self) -> impl Iterator<Item = String> {
        let [tcp, libp2p, ours] = Kind::ALL.map(|kind| self.unit.show(self.of(kind)));
        let at_most = self.target.at_most.map_or_else(String::new, |at_most| {
            let verdict = match self.unit.is_reached(self.of(Kind::Ours), at_most) {
                true => "",
                false => ", missed",
            };
            format!(" (at most {}{verdict})", self.unit.show(at_most))
        });
        let figures = [self.what.clone(), tcp, libp2p, ours + &at_most];
        let figures = figures
            .into_iter()
            .chain(self.judged(Kind::Tcp, self.target.to_tcp));
        figures.chain(self.judged(Kind::Libp2p, self.target.to_libp2p))
    }
}

/// The rows of one place.
pub(crate) fn table(title: &str, rows: &[Row]) -> Table {
    let columns =
        "TCP | libp2p-websocket | this crate | to TCP | to reach | to libp2p-websocket | to reach";
    let mut table = Table::new(&format!("{title} | {columns}"));
    rows.iter().for_each(|row| table.row(row.cells()));
    table
}
