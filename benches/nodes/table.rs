//! What came out, as Markdown.

use std::fmt;

use super::hub::{Kind, Security};

/// What each connection took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// How many there were in a second.
    pub(crate) per_second: f64,
    /// Of the hub, in seconds.
    pub(crate) cpu: f64,
    /// Of the hub at rest, in bytes.
    pub(crate) resident: f64,
}

pub(crate) struct Row {
    pub(crate) kind: Kind,
    pub(crate) security: Security,
    /// Whether the peers have been connected before.
    pub(crate) is_returning: bool,
    /// Of each round.
    pub(crate) costs: Vec<Cost>,
}

impl Row {
    fn median(&self, figure: fn(&Cost) -> f64) -> f64 {
        median(self.costs.iter().map(figure))
    }

    /// A figure and its ratio to that of another row.
    fn beside(&self, other: &Self, figure: fn(&Cost) -> f64) -> f64 {
        let rounds = self.costs.iter().zip(&other.costs);
        median(rounds.map(|(cost, other)| figure(cost) / figure(other)))
    }

    /// How much more than in another row.
    fn above(&self, other: &Self, figure: fn(&Cost) -> f64) -> f64 {
        let rounds = self.costs.iter().zip(&other.costs);
        median(rounds.map(|(cost, other)| figure(cost) - figure(other)))
    }
}

/// The first row is that of raw TCP.
pub(crate) struct Table<'a> {
    pub(crate) count: usize,
    pub(crate) rows: &'a [Row],
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(tcp) = self.rows.first() else {
            return Ok(());
        };
        writeln!(
            f,
            "\n| hub of {} connections | a second | to TCP | CPU each | to TCP | over `/ws` | resident each | to TCP | over `/ws` |",
            self.count
        )?;
        writeln!(f, "| --- | --: | --: | --: | --: | --: | --: | --: | --: |")?;
        for row in self.rows {
            let address = match (row.kind, row.security) {
                (Kind::Tcp, _) => "",
                (_, Security::None) => ", `/ws`",
                (_, Security::Tls) => ", `/tls/ws`",
            };
            let returning = if row.is_returning { ", returning" } else { "" };
            write!(
                f,
                "| {}{address}{returning} | {:.0} | {:.2} ",
                row.kind,
                row.median(|cost| cost.per_second),
                row.beside(tcp, |cost| cost.per_second)
            )?;
            let plain = self
                .rows
                .iter()
                .find(|other| (other.kind, other.security) == (row.kind, Security::None));
            let plain = plain.filter(|_| row.security == Security::Tls);
            let cpu: fn(&Cost) -> f64 = |cost| cost.cpu * 1e3;
            let resident: fn(&Cost) -> f64 = |cost| cost.resident / 1e3;
            for (figure, digits, unit) in [(cpu, 2, "ms"), (resident, 1, "KB")] {
                let over = plain.map_or_else(String::new, |plain| {
                    format!("{:+.digits$} {unit}", row.above(plain, figure))
                });
                write!(
                    f,
                    "| {:.digits$} {unit} | {:.2} | {over} ",
                    row.median(figure),
                    row.beside(tcp, figure)
                )?;
            }
            writeln!(f, "|")?;
        }
        Ok(())
    }
}

/// The middle one, or the upper of both.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values = values.collect::<Vec<_>>();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
