//! The tables, and which targets are missed.

use std::{fmt, time::Duration};

use crate::{
    common::{table::Table, thousands},
    measured::{Attacked, Measured, Shares},
    plan::{Forwarding, Plan, Shape},
    throughput::Throughput,
};

/// What a row is about, in the order of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Nodes come and go.
    Steady,
    /// The same by js-libp2p's rule.
    Js,
    /// All start at once.
    ColdStart,
    /// A few have been there for long when all others start.
    Growth,
    /// So few that all answer each other.
    Small,
    Attack,
}

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) kind: Kind,
    pub(crate) plan: Plan,
    pub(crate) measured: Measured,
}

#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    pub(crate) throughput: Throughput,
}

impl Report {
    pub(crate) fn of(&self, kind: Kind) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.kind == kind)
    }

    pub(crate) fn print(&self) {
        let table = |columns, kind, cells: &dyn Fn(&Row) -> Vec<String>| {
            let mut table = Table::new(columns);
            self.of(kind).for_each(|row| table.row(cells(row)));
            table
        };
        let mut steady = table(
            "nodes | received per second | interval | 20 peers known after | at the latest | peers missing | at the worst moment | rows of peers that have gone | forgotten after | at the latest",
            Kind::Steady,
            &Row::steady,
        );
        self.of(Kind::Js).for_each(|row| steady.row(row.steady()));
        let cold_start = table(
            "all at once | received in the peak second | per second after ten minutes | interval after half an hour | peers missing then",
            Kind::ColdStart,
            &Row::cold_start,
        );
        let growth = table(
            "ten times as many within a minute | received per second after ten minutes | fifty minutes later | interval then | peers missing then",
            Kind::Growth,
            &Row::growth,
        );
        let small = table(
            "up to a hundred, nothing lost | everybody knows everybody after",
            Kind::Small,
            &|row| vec![row.to_string(), or_never(row.measured.complete)],
        );
        let attack = table(
            "under attack for an hour | invented accepted per second | honest peers still known | longest interval, times the one before, of nodes up for 10 minutes by then | longest time between two announcements of any node | connected peers evicted | rows | bytes of the table",
            Kind::Attack,
            &|row| row.attack(&self.throughput),
        );
        print!("{steady}{cold_start}{growth}{small}{attack}");
        println!("{}", self.throughput);
    }

    /// The targets that are missed, each with its row.
    pub(crate) fn missed(&self) -> Vec<String> {
        let mut targets = Targets::default();
        for row in &self.rows {
            let measured = &row.measured;
            match row.kind {
                Kind::Steady => {
                    targets.at_most(row, "received per second", measured.received, 15.0);
                    let missing = measured.missing.mean().unwrap_or_default();
                    targets.at_most(row, "share of the peers that is missing", missing, 0.001);
                    let forgotten = measured.forgotten.iter().copied().fold(0.0, f64::max);
                    targets.at_most(row, "intervals until forgotten", forgotten, 3.5);
                    if row.plan.nodes >= 100 {
                        let seconds = measured.twenty.longest().unwrap_or_default().as_secs_f64();
                        targets.at_most(row, "seconds until 20 peers are known", seconds, 5.0);
                        let without = measured.without_twenty as f64;
                        targets.at_most(row, "newcomers without 20 peers", without, 0.0);
                    }
                }
                Kind::Small => {
                    let seconds = measured
                        .complete
                        .map_or(f64::INFINITY, |at| at.as_secs_f64());
                    targets.at_most(row, "seconds until all know all", seconds, 10.0);
                }
                Kind::Attack => {
                    let Some(attacked) = &measured.attack else {
                        continue;
                    };
                    targets.at_least(row, "honest peers still known", attacked.stayed, 0.95);
                    targets.at_most(
                        row,
                        "interval, times before",
                        attacked.longest_interval,
                        2.5,
                    );
                    let longest = attacked.longest_silence.as_secs_f64();
                    targets.at_most(row, "longest silence", longest, 1320.0);
                    let evicted = attacked.evicted as f64;
                    targets.at_most(row, "connected peers evicted", evicted, 0.0);
                }
                Kind::Js => {
                    let ours = self.of(Kind::Steady);
                    let ours = ours.filter(|ours| ours.plan.nodes == row.plan.nodes);
                    for ours in ours.filter(|ours| ours.plan.nodes == 10_000) {
                        let times = measured.received / ours.measured.received;
                        targets.at_least(row, "times our traffic", times, 50.0);
                    }
                }
                Kind::Growth => {
                    let [soon, _] = row.received_after_growth();
                    targets.at_most(row, "received per second after ten minutes", soon, 15.0);
                }
                Kind::ColdStart => {}
            }
        }
        targets.missed
    }
}

#[derive(Debug, Default)]
struct Targets {
    missed: Vec<String>,
}

impl Targets {
    fn at_most(&mut self, row: impl fmt::Display, what: &str, value: f64, limit: f64) {
        if value > limit {
            let missed = format!("{row}: {what}: {value:.3}, to reach at most {limit}");
            self.missed.push(missed);
        }
    }

    fn at_least(&mut self, row: impl fmt::Display, what: &str, value: f64, limit: f64) {
        if value < limit {
            let missed = format!("{row}: {what}: {value:.3}, to reach at least {limit}");
            self.missed.push(missed);
        }
    }
}

impl Row {
    fn steady(&self) -> Vec<String> {
        let measured = &self.measured;
        let is_window = self.plan.measured < Duration::from_secs(60);
        let cells = match is_window {
            true => vec![String::new(); 7],
            false => {
                let forgotten = &measured.forgotten;
                let after = || forgotten.iter().copied();
                let mean = after().sum::<f64>() / forgotten.len() as f64;
                let latest = after().fold(f64::NAN, f64::max);
                let forgotten = |intervals: f64| match (intervals.is_nan(), self.kind) {
                    (_, Kind::Js) => "never".into(),
                    (true, _) => "nobody went".into(),
                    (false, _) => format!("{intervals:.1} intervals"),
                };
                vec![
                    or_never(measured.twenty.median()),
                    match measured.without_twenty {
                        _ if self.plan.nodes <= 20 => String::new(),
                        0 => or_never(measured.twenty.longest()),
                        _ => "never".into(),
                    },
                    percent(&measured.missing),
                    format!("{:.2} %", 100.0 * measured.missing.worst()),
                    percent(&measured.dead),
                    forgotten(mean),
                    forgotten(latest),
                ]
            }
        };
        let interval = or_never(measured.intervals.median());
        let received = format!("{:.1}", measured.received);
        [vec![self.to_string(), received, interval], cells].concat()
    }

    fn cold_start(&self) -> Vec<String> {
        let measured = &self.measured;
        let interval = or_never(measured.intervals.median());
        let missing = 100.0 * measured.missing.last();
        vec![
            self.to_string(),
            format!("{:.0}", measured.peak),
            format!("{:.1}", measured.received),
            interval,
            format!("{missing:.2} %"),
        ]
    }

    fn growth(&self) -> Vec<String> {
        let measured = &self.measured;
        let interval = or_never(measured.intervals.median());
        let missing = 100.0 * measured.missing.last();
        let [soon, later] = self.received_after_growth();
        vec![
            self.to_string(),
            format!("{soon:.1}"),
            format!("{later:.1}"),
            interval,
            format!("{missing:.2} %"),
        ]
    }

    /// What a node receives per second about ten minutes later, and at the end of the hour.
    fn received_after_growth(&self) -> [f64; 2] {
        let warm = self.plan.warm_up.as_secs() as usize;
        [5, 50].map(|minute| {
            let seconds = &self.measured.per_second[warm + 60 * minute..][..10 * 60];
            seconds.iter().sum::<f64>() / seconds.len() as f64
        })
    }

    fn attack(&self, throughput: &Throughput) -> Vec<String> {
        let Some(Attacked {
            stayed,
            longest_interval,
            longest_silence,
            evicted,
            rows,
            accepted,
        }) = &self.measured.attack
        else {
            return vec![self.to_string()];
        };
        let stayed = 100.0 * stayed;
        let silence = or_never(Some(*longest_silence));
        let bytes = throughput.bytes_per_row * *rows as f64 / 1e6;
        vec![
            self.to_string(),
            format!("{accepted:.0}"),
            format!("{stayed:.1} %"),
            format!("{longest_interval:.2}"),
            silence,
            evicted.to_string(),
            rows.to_string(),
            format!("{bytes:.1} MB"),
        ]
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = thousands(self.plan.nodes);
        let comes = match self.plan.boot > Duration::from_secs(1) {
            true => "one a second",
            false => "all at once",
        };
        match (self.kind, self.plan.shape, self.plan.attack) {
            (Kind::Steady | Kind::ColdStart, ..) => write!(f, "{nodes}"),
            (Kind::Js, ..) => write!(f, "{nodes}, js-libp2p's rule"),
            (Kind::Growth, Shape::Star, _) => write!(f, "{nodes} in a star"),
            (Kind::Growth, Shape::Hubs, _) => write!(f, "{nodes}, the old ones as hubs"),
            (Kind::Growth, Shape::Mesh, _) => write!(f, "{nodes} in a mesh"),
            (Kind::Small, Shape::Star, _) => write!(f, "{nodes} in a star, {comes}"),
            (Kind::Small, ..) => write!(f, "{nodes} in a mesh, {comes}"),
            (Kind::Attack, _, Some(Forwarding::Accepted)) => {
                write!(f, "{nodes}, which forward what they accept")
            }
            (Kind::Attack, ..) => write!(f, "{nodes}, which forward everything"),
        }
    }
}

fn or_never(duration: Option<Duration>) -> String {
    duration.map_or_else(
        || "".into(),
        |duration| format!("{:.1} s", duration.as_secs_f64()),
    )
}

fn percent(shares: &Shares) -> String {
    shares
        .mean()
        .map_or_else(String::new, |mean| format!("{:.2} %", 100.0 * mean))
}
