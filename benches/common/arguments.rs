//! What a bench is told by its command line.

use std::env;

/// Of this process.
pub(crate) struct Arguments(Vec<String>);

impl Arguments {
    pub(crate) fn new() -> Self {
        Self(env::args().collect())
    }

    /// Whether it is run by `cargo bench`, and not only tried as by `cargo test --benches`.
    pub(crate) fn is_bench(&self) -> bool {
        self.has("--bench")
    }

    pub(crate) fn has(&self, option: &str) -> bool {
        self.0.iter().any(|argument| argument == option)
    }

    /// What follows the option.
    pub(crate) fn value(&self, option: &str) -> Option<&str> {
        let at = self.0.iter().position(|argument| argument == option)?;
        self.0.get(at + 1).map(String::as_str)
    }

    pub(crate) fn number(&self, option: &str) -> Option<usize> {
        let number = self.value(option)?.parse();
        Some(number.unwrap_or_else(|_| panic!("{option} takes a number")))
    }
}

/// As many connections as are `wanted` and may be open, where each takes so many descriptors, and `others` are needed besides.
pub(crate) fn room(wanted: usize, each: u64, others: u64) -> usize {
    // Where the limit is not to be learnt, what the strictest of systems grants.
    let descriptors = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(256);
    let room = descriptors.saturating_sub(others) / each;
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    let count = room.clamp(1, wanted);
    if count < wanted {
        println!("{count} connections, and not {wanted}: only {descriptors} files may be open");
    }
    count
}
