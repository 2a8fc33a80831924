//! Programs in Go, built from the modules in `tests/interop`.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use crate::process::{SCRATCH, succeed};

/// Builds these packages of a module, and returns where their programs are. Nothing, and a word about it, if there is no Go.
pub(crate) fn build(module: &str, packages: &[&str]) -> Option<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/interop")
        .join(module);
    // Not by a macro, whose lines a test that passes hides.
    let skipped = |why: &str| {
        let _ = writeln!(io::stderr(), "SKIPPED: cannot build {packages:?}: {why}");
        None
    };
    let download = Command::new("go")
        .args(["mod", "download"])
        .current_dir(&directory)
        .output();
    match download {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return skipped("there is no go in PATH");
        }
        Ok(download) if !download.status.success() => {
            let why = String::from_utf8_lossy(&download.stderr);
            return skipped(&format!("its modules cannot be downloaded: {why}"));
        }
        _ => {}
    }
    // The slash makes it a directory for a single package too.
    let programs = format!("{SCRATCH}/go-{module}/");
    let mut command = Command::new("go");
    command
        .args(["build", "-buildvcs=false", "-o", &programs])
        .args(packages)
        .current_dir(&directory);
    succeed("go build", command.output()).unwrap_or_else(|error| panic!("{error}"));
    Some(programs.into())
}
