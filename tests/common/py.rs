//! Python with the packages of `tests/interop/py`.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use crate::process::SCRATCH;

/// Installs the packages unless they are those of the list, and returns the Python that has them. Nothing, and a word about
/// it, where that cannot be done.
pub(crate) fn install() -> Option<PathBuf> {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/py/requirements.txt");
    let wanted = fs::read(&list).expect("it is in the repository");
    let folder = Path::new(SCRATCH).join("py");
    #[cfg(unix)]
    let _held = crate::process::hold("py.lock");
    let (python, installed) = (folder.join("bin/python"), folder.join("installed"));
    if fs::read(&installed).ok().as_ref() == Some(&wanted) {
        return Some(python);
    }
    let run =
        |program: &Path, arguments: &[&str]| match Command::new(program).args(arguments).output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Err(error.to_string()),
        };
    let (folder, list) = (folder.to_string_lossy(), list.to_string_lossy());
    let pip = ["-m", "pip", "install", "--quiet", "--no-deps", "-r", &*list];
    let done = run(Path::new("python3"), &["-m", "venv", "--clear", &*folder])
        .and_then(|()| run(&python, &pip));
    match done {
        Ok(()) => {
            fs::write(&installed, &wanted).expect("it has just been made");
            Some(python)
        }
        Err(why) => {
            // Not by a macro, whose lines a test that passes hides.
            let _ = writeln!(io::stderr(), "SKIPPED: no py-libp2p: {why}");
            None
        }
    }
}
