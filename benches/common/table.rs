//! What came out, as a table of benches/README.md.

use std::fmt;

/// Printed as Markdown, with a blank line before it, unless it has no rows.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these columns, between which there is ` | `.
    pub(crate) fn new(columns: &str) -> Self {
        Self {
            columns: columns.split(" | ").map(str::to_owned).collect(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n| {} |", self.columns.join(" | "))?;
        writeln!(f, "| --- |{}", " --: |".repeat(self.columns.len() - 1))?;
        self.rows
            .iter()
            .try_for_each(|cells| writeln!(f, "| {} |", cells.join(" | ")))
    }
}
