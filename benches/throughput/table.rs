//! What came out, as the tables of benches/README.md.

use std::fmt;

use super::{
    link::Kind,
    place::{Cores, Cost},
};

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

/// One figure of each kind, in the order of [`Kind::ALL`].
pub(crate) type Round = [f64; Kind::ALL.len()];

pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) unit: Unit,
    pub(crate) target: Target,
    pub(crate) rounds: Vec<Round>,
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

    /// How `ours` stands beside `other`. A time is told as a speed: twice as fast is 2.
    fn ratio(self, ours: f64, other: f64) -> f64 {
        match self {
            Self::Microseconds => other / ours,
            _ => ours / other,
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
        median(self.rounds.iter().map(|round| round[kind as usize]))
    }

    /// The median of the ratios of all rounds.
    pub(crate) fn ratio(&self, to: Kind) -> f64 {
        let ratios = self.rounds.iter().map(|round| {
            self.unit
                .ratio(round[Kind::Ours as usize], round[to as usize])
        });
        median(ratios)
    }

    /// That and what is to be reached.
    fn judged(&self, ratio: f64, target: Option<f64>) -> String {
        let Some(target) = target else {
            return format!("{ratio:.2} | ");
        };
        let verdict = match () {
            () if self.rounds.len() < MIN_ROUNDS && self.unit != Unit::Bytes => ", too few rounds",
            () if self.unit.is_reached(ratio, target) => "",
            () => ", missed",
        };
        format!("{ratio:.2} | {target:.2}{verdict}")
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [tcp, libp2p, ours] = Kind::ALL.map(|kind| self.unit.show(self.of(kind)));
        let to_tcp = self.judged(self.ratio(Kind::Tcp), self.target.to_tcp);
        let to_libp2p = self.judged(self.ratio(Kind::Libp2p), self.target.to_libp2p);
        let at_most = self.target.at_most.map_or_else(String::new, |at_most| {
            let verdict = match self.unit.is_reached(self.of(Kind::Ours), at_most) {
                true => "",
                false => ", missed",
            };
            format!(" (at most {}{verdict})", self.unit.show(at_most))
        });
        writeln!(
            f,
            "| {} | {tcp} | {libp2p} | {ours}{at_most} | {to_tcp} | {to_libp2p} |",
            self.what
        )
    }
}

/// Rows of one place. Printed as Markdown.
pub(crate) struct Table<'a>(pub(crate) &'a str, pub(crate) &'a [Row]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(title, rows) = self;
        if rows.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "\n| {title} | TCP | libp2p-websocket | this crate | to TCP | to reach | to libp2p-websocket | to reach |"
        )?;
        writeln!(f, "| --- | --: | --: | --: | --: | --- | --: | --- |")?;
        rows.iter().try_for_each(|row| row.fmt(f))
    }
}

/// The middle one, or the upper of both.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values = values.collect::<Vec<_>>();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
