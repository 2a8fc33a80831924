//! Node.js and the packages of `tests/interop`.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::process::Command;

use crate::process::{SCRATCH, succeed};

const OLDEST_NODE_JS: u32 = 22;

pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop")
}

/// Installs the packages unless they are those of the lock file, and finds a Node.js that runs them.
pub(crate) fn install() -> Result<PathBuf, String> {
    const MISSING: &str = "install Node.js 20 or newer, with npm, to run the tests against js-libp2p: there is no npm";

    #[cfg(unix)]
    let _held = crate::process::hold("js.lock");
    let lock_file =
        fs::read(directory().join("package-lock.json")).map_err(|err| err.to_string())?;
    let packages = directory().join("node_modules");
    let installed = packages.join(".installed");
    if fs::read(&installed).ok().as_ref() != Some(&lock_file) {
        let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
        let mut command = std::process::Command::new(npm);
        command
            .args([
                "ci",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--loglevel=error",
            ])
            .current_dir(directory());
        match command.output() {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Err(MISSING.to_owned()),
            output => succeed("npm ci", output)?,
        };
        fs::write(&installed, &lock_file).map_err(|err| err.to_string())?;
    }

    let packaged = fs::read_dir(&packages)
        .map_err(|err| err.to_string())?
        .flatten()
        .map(|entry| {
            entry
                .path()
                .join("bin")
                .join(format!("node{}", env::consts::EXE_SUFFIX))
        });
    packaged
        .chain([PathBuf::from("node")])
        .find(|node| is_new_enough(node))
        .ok_or_else(|| {
            format!(
                "install Node.js {OLDEST_NODE_JS} or newer to run the tests against js-libp2p: \
             none comes with the packages for this platform"
            )
        })
}

/// js-libp2p in a Chromium of its own, of which nothing is left when it ends.
#[allow(dead_code, reason = "each test file uses its part")]
pub(crate) fn browser(node_js: &Path, chromium: &Path) -> Command {
    static HOMES: AtomicUsize = AtomicUsize::new(0);
    let number = HOMES.fetch_add(1, Ordering::Relaxed);
    let home = format!("chromium-{}-{number}", std::process::id());
    let mut command = Command::new(node_js);
    command
        .arg(directory().join("browser.mjs"))
        .arg("--chromium")
        .arg(chromium)
        .arg("--home")
        .arg(Path::new(SCRATCH).join(home));
    command
}

fn is_new_enough(node_js: &Path) -> bool {
    std::process::Command::new(node_js)
        .arg("--version")
        .output()
        .is_ok_and(|output| {
            String::from_utf8_lossy(&output.stdout)
                .strip_prefix('v')
                .and_then(|version| version.split('.').next()?.parse::<u32>().ok())
                .is_some_and(|major| major >= OLDEST_NODE_JS)
        })
}
