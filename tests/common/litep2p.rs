//! The crate of its own in `tests/interop/litep2p`.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::process::{SCRATCH, cargo, succeed};

/// Builds it, and returns its program. Nothing, and a word about it, without the compiler of protobuf that litep2p needs.
pub(crate) fn build() -> Option<PathBuf> {
    let protoc = Command::new("protoc")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if protoc.is_err() {
        // Not by a macro, whose lines a test that passes hides.
        let _ = writeln!(
            io::stderr(),
            "SKIPPED: no litep2p: there is no protoc in PATH"
        );
        return None;
    }
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/litep2p/Cargo.toml");
    let target = Path::new(SCRATCH).with_file_name("litep2p");
    let mut command = cargo();
    command
        .args(["build", "--locked", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target);
    succeed("cargo build of litep2p", command.output()).unwrap_or_else(|why| panic!("{why}"));
    Some(target.join("debug/litep2p-peer"))
}
