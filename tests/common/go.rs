//! Programs in Go, built from the modules in `tests/interop`.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use crate::process::{SCRATCH, succeed};

/// Builds these packages of a module, and returns where their programs are. Nothing, and a word about it, if there is no Go.
pub(crate) fn build(module: &str, packages: &[&str]) -> Option<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
    // The slash makes it a directory for a single package too.
    let programs = format!("{SCRATCH}/go-{module}/");
    let mut command = Command::new("go");
    command
        .args(["build", "-buildvcs=false", "-o", &programs])
        .args(packages)
        .current_dir(directory.join(module));
    let output = command.output();
    if matches!(&output, Err(error) if error.kind() == io::ErrorKind::NotFound) {
        // Not by a macro, whose lines a test that passes hides.
        let _ = writeln!(
            io::stderr(),
            "SKIPPED: there is no go in PATH, to build {packages:?}"
        );
        return None;
    }
    succeed("go build", output).unwrap_or_else(|error| panic!("{error}"));
    Some(programs.into())
}
