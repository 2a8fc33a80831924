//! Processes that are driven line by line, and the example `node` to be one of them.

#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    collections::BTreeSet,
    env, io,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    thread,
    time::Duration,
};

use libp2p::PeerId;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::watch,
    time::timeout,
};

pub(crate) const SCRATCH: &str = env!("CARGO_TARGET_TMPDIR");

/// How long to wait for a line; far more than it takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Locked by each scene, for writing by one that is alone.
static MACHINE: RwLock<()> = RwLock::new(());

/// The processes of one test. When it fails, prints what they printed.
pub(crate) struct Scene {
    log: Arc<Mutex<Vec<String>>>,
    turn: Turn,
}

/// What is played beside others, and what is not.
enum Turn {
    Beside(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

impl Default for Scene {
    fn default() -> Self {
        let guard = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
        Self::new(Turn::Beside(guard))
    }
}

impl Scene {
    /// One with so many nodes that others would not get their time of the processor, nor it its own.
    pub(crate) fn alone() -> Self {
        let guard = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
        Self::new(Turn::Alone(guard))
    }

    fn new(turn: Turn) -> Self {
        Self {
            log: Arc::default(),
            turn,
        }
    }

    pub(crate) fn print(&self) {
        let log = lock(&self.log);
        if !log.is_empty() {
            eprintln!("What the processes printed:\n{}", log.join("\n"));
        }
    }

    /// In [`SCRATCH`], unless the command says where.
    pub(crate) fn spawn(&self, name: &'static str, mut command: Command) -> Process {
        if command.as_std().get_current_dir().is_none() {
            command.current_dir(SCRATCH);
        }
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|err| panic!("cannot start {command:?}: {err}"));
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());

        let lines = Arc::new(Mutex::new(Vec::new()));
        let (changes, changed) = watch::channel(());
        let log = Arc::clone(&self.log);
        let stderr = stderr.expect("it is piped");
        tokio::spawn(read(stderr, move |line| {
            lock(&log).push(format!("{name} (stderr): {line}"))
        }));
        let log = Arc::clone(&self.log);
        let printed = Arc::clone(&lines);
        let stdout = stdout.expect("it is piped");
        tokio::spawn(read(stdout, move |line| {
            lock(&log).push(format!("{name}: {line}"));
            lock(&printed).push(line);
            changes.send_replace(());
        }));
        Process {
            name,
            child,
            stdin,
            lines,
            changed,
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if thread::panicking() {
            self.print();
        }
    }
}

pub(crate) struct Process {
    pub(crate) name: &'static str,
    pub(crate) child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    lines: Arc<Mutex<Vec<String>>>,
    /// Closed when there will be no more lines.
    changed: watch::Receiver<()>,
}

/// With all that it has started: nginx, for one, has workers that outlive it.
#[cfg(unix)]
impl Drop for Process {
    fn drop(&mut self) {
        use nix::{
            sys::signal::{Signal, killpg},
            unistd::Pid,
        };

        if let Some(id) = self.child.id().and_then(|id| id.try_into().ok()) {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

impl Process {
    pub(crate) async fn wait<T>(&self, what: &str, pick: impl FnMut(&str) -> Option<T>) -> T {
        self.wait_for(PATIENCE, what, pick).await
    }

    /// Goes through the lines, also those that are there already, until `pick` takes one.
    pub(crate) async fn wait_for<T>(
        &self,
        limit: Duration,
        what: &str,
        pick: impl FnMut(&str) -> Option<T>,
    ) -> T {
        self.try_wait(0, limit, what, pick)
            .await
            .unwrap_or_else(|why| panic!("{why}"))
    }

    /// The same without the first lines. Tells why there is none.
    pub(crate) async fn try_wait<T>(
        &self,
        skip: usize,
        limit: Duration,
        what: &str,
        mut pick: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, String> {
        let mut changed = self.changed.clone();
        let mut next = skip;
        let search = async {
            loop {
                changed.mark_unchanged();
                let fresh = lock(&self.lines)[next..].to_vec();
                next += fresh.len();
                if let Some(found) = fresh.iter().find_map(|line| pick(line)) {
                    return Some(found);
                }
                changed.changed().await.ok()?;
            }
        };
        match timeout(limit, search).await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(format!("{} ended, without: {what}", self.name)),
            Err(_) => Err(format!(
                "{} printed nothing within {limit:?} that means: {what}",
                self.name
            )),
        }
    }

    /// The addresses of the `listening` lines, as many as there are `--listen` in `args`.
    pub(crate) async fn listening(&self, args: &str) -> BTreeSet<String> {
        let count = args.matches("--listen ").count();
        let mut addresses = BTreeSet::new();
        if count > 0 {
            self.wait(&format!("{count} addresses to listen on"), |line| {
                addresses.extend(line.strip_prefix("listening ").map(ToOwned::to_owned));
                (addresses.len() == count).then_some(())
            })
            .await;
        }
        addresses
    }

    pub(crate) fn count(&self, mut which: impl FnMut(&str) -> bool) -> usize {
        lock(&self.lines).iter().filter(|line| which(line)).count()
    }

    pub(crate) fn printed(&self, start: &str) -> bool {
        lock(&self.lines).iter().any(|line| line.starts_with(start))
    }

    pub(crate) async fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("open until `finish`");
        stdin
            .write_all(format!("{line}\n").as_bytes())
            .await
            .unwrap_or_else(|err| panic!("cannot write to {}: {err}", self.name));
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        lock(&self.lines).clone()
    }

    pub(crate) async fn finish(mut self) {
        self.close_stdin().await;
    }

    /// Ends it, but keeps what it has printed.
    pub(crate) async fn close_stdin(&mut self) {
        drop(self.stdin.take());
        self.ends("stdin closing").await;
    }

    /// Waits until it has ended well because of `what`.
    pub(crate) async fn ends(&mut self, what: &str) {
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => {}
            Ok(ended) => panic!("{} ended badly on {what}: {ended:?}", self.name),
            Err(_) => panic!("{} did not end within {PATIENCE:?} of {what}", self.name),
        }
    }
}

/// What js publishes of a peer without addresses, in hex. The peer id has to contain the key, as one of Ed25519 does.
pub(crate) fn announcement(peer: &str) -> String {
    let id: PeerId = peer.parse().expect("a peer id that was printed");
    // Behind the code and the length of the multihash.
    let key = &id.to_bytes()[2..];
    let field = [0x0a, key.len() as u8];
    let bytes = field.iter().chain(key);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

async fn read(from: impl AsyncRead + Unpin, mut take: impl FnMut(String)) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        take(line);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Builds the Rust node as this test was built, next to it.
pub(crate) fn build() -> Result<PathBuf, String> {
    build_example("node")
}

/// The same of any example: `cargo test --test` leaves them out.
pub(crate) fn build_example(example: &str) -> Result<PathBuf, String> {
    let this = env::current_exe().map_err(|err| err.to_string())?;
    let profile_dir = this
        .parent()
        .and_then(Path::parent)
        .ok_or("the test is not in `deps`")?;
    let target_dir = profile_dir
        .parent()
        .ok_or("the test is not in a target directory")?;
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };

    let mut command = cargo();
    command
        .args(["build", "--example", example, "--profile", profile])
        .args(["--no-default-features", "--features", &features()])
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    succeed(
        &format!("cargo build --example {example}"),
        command.output(),
    )?;
    Ok(profile_dir
        .join("examples")
        .join(format!("{example}{}", env::consts::EXE_SUFFIX)))
}

/// Cargo, as one that no test has started.
pub(crate) fn cargo() -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO"));
    // What Cargo tells this test of its package. The build script of ring would see a change, and it and all above it be
    // built again, now and by the next Cargo that is not started by a test.
    for (name, _) in env::vars_os() {
        let set_by_cargo = |name: &str| {
            ["CARGO_PKG_", "CARGO_MANIFEST_"]
                .iter()
                .any(|start| name.starts_with(start))
        };
        if name.to_str().is_some_and(set_by_cargo) {
            command.env_remove(name);
        }
    }
    command
}

/// Those of this test, so that the library is not built once more.
fn features() -> String {
    [
        ("autotls", cfg!(feature = "autotls")),
        ("default", cfg!(feature = "default")),
        ("gossipsub", cfg!(feature = "gossipsub")),
        ("interop", cfg!(feature = "interop")),
        ("libp2p-websocket", cfg!(feature = "libp2p-websocket")),
        ("metrics", cfg!(feature = "metrics")),
        ("simulation", cfg!(feature = "simulation")),
        ("system-roots", cfg!(feature = "system-roots")),
        ("upgrade", cfg!(feature = "upgrade")),
    ]
    .into_iter()
    .filter_map(|(feature, is_on)| is_on.then_some(feature))
    .chain(RUNTIMES.iter().copied())
    .collect::<Vec<_>>()
    .join(",")
}

/// What a node can be told to run on.
pub(crate) const RUNTIMES: &[&str] = &[
    #[cfg(feature = "tokio")]
    "tokio",
    #[cfg(feature = "async-std")]
    "async-std",
    #[cfg(feature = "smol")]
    "smol",
];

/// Makes one test of each runtime and each engine out of an `async fn` of this name, which takes the arguments that tell
/// a node of them. The test itself is on tokio.
#[allow(unused_macros, reason = "each test file uses its part")]
macro_rules! on_each_runtime {
    ($name:ident) => {
        mod $name {
            #[cfg(feature = "tokio")]
            #[::tokio::test]
            async fn tokio() {
                super::$name("--runtime tokio").await;
            }

            #[cfg(feature = "tokio")]
            #[::tokio::test]
            async fn tokio_stream() {
                super::$name("--runtime tokio --engine stream").await;
            }

            #[cfg(feature = "async-std")]
            #[::tokio::test]
            async fn async_std() {
                super::$name("--runtime async-std").await;
            }

            #[cfg(feature = "smol")]
            #[::tokio::test]
            async fn smol() {
                super::$name("--runtime smol").await;
            }

            #[cfg(feature = "smol")]
            #[::tokio::test]
            async fn smol_stream() {
                super::$name("--runtime smol --engine stream").await;
            }
        }
    };
}
#[allow(unused_imports, reason = "each test file uses its part")]
pub(crate) use on_each_runtime;

/// Waits until no other process of a test holds this name, and holds it until it is dropped: two test programs at once would
/// install the same packages.
#[cfg(unix)]
pub(crate) fn hold(name: &str) -> nix::fcntl::Flock<std::fs::File> {
    use nix::fcntl::{Flock, FlockArg};

    let file = std::fs::File::create(Path::new(SCRATCH).join(name)).expect("Cargo made the folder");
    let held = Flock::lock(file, FlockArg::LockExclusive);
    held.unwrap_or_else(|(_, error)| panic!("cannot lock {name}: {error}"))
}

pub(crate) fn succeed(what: &str, output: io::Result<Output>) -> Result<(), String> {
    let output = output.map_err(|err| format!("`{what}` cannot be run: {err}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "`{what}` failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    ))
}
