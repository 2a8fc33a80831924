//! The browser of this machine.

use std::{
    env,
    io::{self, Write as _},
    path::PathBuf,
};

/// The first of the programs by whose names Chromium is known. Nothing, and a word about it, if there is none.
pub(crate) fn find() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names.into_iter().find_map(program).or_else(|| {
        skipped("there is no chromium, chromium-browser or google-chrome in PATH");
        None
    })
}

/// A browser that can be told whom to trust, by `certutil`.
#[allow(dead_code, reason = "each test file uses its part")]
pub(crate) fn find_with_certutil() -> Option<PathBuf> {
    if program("certutil").is_none() {
        skipped("there is no certutil in PATH, to tell Chromium whom to trust");
        return None;
    }
    find()
}

fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
}

/// Not by a macro, whose lines a test that passes hides.
fn skipped(why: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED: {why}");
}
