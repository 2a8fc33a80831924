//! What came out, as Markdown.

use super::hub::{Kind, Security};
use crate::common::{rounds::Rounds, table::Table};

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

#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) kind: Kind,
    pub(crate) security: Security,
    /// Whether the peers have been connected before.
    pub(crate) is_returning: bool,
}

/// Of a hub of so many connections. The first row is that of raw TCP.
pub(crate) fn table(count: usize, rows: &[Row], costs: &Rounds<Cost>) -> Table {
    let columns =
        "a second | to TCP | CPU each | to TCP | over `/ws` | resident each | to TCP | over `/ws`";
    let mut table = Table::new(&format!("hub of {count} connections | {columns}"));
    let per_second = costs.map(|cost| cost.per_second);
    let in_units = [
        (costs.map(|cost| cost.cpu * 1e3), 2, "ms"),
        (costs.map(|cost| cost.resident / 1e3), 1, "KB"),
    ];
    for (at, row) in rows.iter().enumerate() {
        let address = match (row.kind, row.security) {
            (Kind::Tcp, _) => "",
            (_, Security::None) => ", `/ws`",
            (_, Security::Tls) => ", `/tls/ws`",
        };
        let returning = if row.is_returning { ", returning" } else { "" };
        let mut cells = vec![
            format!("{}{address}{returning}", row.kind),
            format!("{:.0}", per_second.of(at)),
            format!("{:.2}", per_second.ratio(at, 0)),
        ];
        let plain = rows
            .iter()
            .position(|other| (other.kind, other.security) == (row.kind, Security::None));
        let plain = plain.filter(|_| row.security == Security::Tls);
        for (figures, digits, unit) in &in_units {
            let digits = *digits;
            cells.push(format!("{:.digits$} {unit}", figures.of(at)));
            cells.push(format!("{:.2}", figures.ratio(at, 0)));
            cells.push(plain.map_or_else(String::new, |plain| {
                format!("{:+.digits$} {unit}", figures.above(at, plain))
            }));
        }
        table.row(cells);
    }
    table
}
