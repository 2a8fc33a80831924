//! The example `node` and js-libp2p nodes, over WebSocket on loopback. See `interop/README.md`.

#![cfg(feature = "interop")]

use std::{
    collections::BTreeSet,
    env, fs, io,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::Duration,
};

use libp2p::identity::Keypair;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::watch,
    time::timeout,
};

const TOPIC: &str = "_peer-discovery._p2p._pubsub";
const LISTEN: &str = "/ip4/127.0.0.1/tcp/0/ws";
const SCRATCH: &str = env!("CARGO_TARGET_TMPDIR");
const OLDEST_NODE_JS: u32 = 22;

/// How long to wait for a line; far more than it takes.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn nodes_that_know_only_the_hub_find_each_other() {
    let scene = Scene::default();
    let hub = scene
        .rust(&format!("--listen {LISTEN} --listen {LISTEN} --interval 1"))
        .await;
    let one = scene.js("one", &listen_and_dial(&hub)).await;
    let two = scene
        .js("two", &(listen_and_dial(&hub) + " --key-type secp256k1"))
        .await;

    one.discovers(&two).await;
    two.discovers(&one).await;
    hub.discovers(&one).await;
    hub.discovers(&two).await;
    one.discovers(&hub).await;
    two.discovers(&hub).await;

    for process in [one.process, two.process, hub.process] {
        process.finish().await;
    }
}

#[tokio::test]
async fn a_hub_that_dials_is_found_as_well() {
    let scene = Scene::default();
    let one = scene.js("one", &format!("--listen {LISTEN}")).await;
    let two = scene
        .js("two", &format!("--listen {LISTEN} --key-type rsa"))
        .await;
    let (to_one, to_two) = (one.address(), two.address());
    let hub = scene
        .rust(&format!(
            "--listen {LISTEN} --dial {to_one} --dial {to_two} --interval 1"
        ))
        .await;

    one.discovers(&two).await;
    two.discovers(&one).await;
    hub.discovers(&one).await;
    hub.discovers(&two).await;
    one.discovers(&hub).await;
    two.discovers(&hub).await;
}

#[tokio::test]
async fn js_decodes_announcements_whatever_the_key() {
    let keys = [
        ("ed25519.key", Keypair::generate_ed25519()),
        ("secp256k1.key", Keypair::generate_secp256k1()),
    ];
    for (file, key) in keys {
        let bytes = key.to_protobuf_encoding().expect("the type has a form");
        fs::write(Path::new(SCRATCH).join(file), bytes).expect("Cargo made the directory");

        let scene = Scene::default();
        let hub = scene
            .rust(&format!("--listen {LISTEN} --interval 1 --key {file}"))
            .await;
        assert_eq!(hub.id, key.public().to_peer_id().to_string());
        let js = scene.js("js", &format!("--dial {}", hub.address())).await;
        js.discovers(&hub).await;

        let payload = js
            .process
            .wait("message of the hub", |line| message(line, &hub.id))
            .await;
        let mut codec = scene.script("codec", "fixtures.mjs", "--decode");
        codec.say(&payload).await;
        let decoded = codec.wait("answer", |line| Some(line.to_owned())).await;
        assert_eq!(decoded, format!("{} {}", hub.id, hub.address()));
    }
}

#[tokio::test]
async fn a_node_that_only_dials_is_found_without_addresses() {
    let scene = Scene::default();
    let hub = scene.rust(&format!("--listen {LISTEN} --interval 1")).await;
    let silent = scene
        .js(
            "silent",
            &format!("--dial {} --key-type rsa", hub.address()),
        )
        .await;
    let other = scene.js("other", &listen_and_dial(&hub)).await;
    assert!(silent.addresses.is_empty());

    hub.discovers(&silent).await;
    other.discovers(&silent).await;
    silent.discovers(&other).await;
    silent.discovers(&hub).await;
}

#[tokio::test]
async fn small_and_large_streams_come_back_whole() {
    let scene = Scene::default();
    let hub = scene.rust(&format!("--listen {LISTEN}")).await;
    let mut js = scene.js("js", &format!("--dial {}", hub.address())).await;

    for bytes in [0, 1, 1000, 300 * 1024, 32 * 1024 * 1024] {
        js.does(
            &format!("echo {} {bytes}", hub.id),
            &format!("echo ok {bytes}"),
        )
        .await;
    }
    js.does(&format!("ping {}", hub.id), &format!("pong {}", hub.id))
        .await;
    assert!(!js.process.printed("disconnected "));
}

#[tokio::test]
async fn a_topic_is_a_room_of_its_own() {
    let scene = Scene::default();
    let hub = scene
        .rust(&format!(
            "--listen {LISTEN} --interval 1 --topic red --topic blue"
        ))
        .await;
    let red = scene
        .js("red", &(listen_and_dial(&hub) + " --topic red"))
        .await;
    let blue = scene
        .js("blue", &(listen_and_dial(&hub) + " --topic blue"))
        .await;
    let both = scene
        .js(
            "both",
            &(listen_and_dial(&hub) + " --topic red --topic blue"),
        )
        .await;

    for js in [&red, &blue, &both] {
        hub.discovers(js).await;
        js.discovers(&hub).await;
    }
    for js in [&red, &blue] {
        js.discovers(&both).await;
        both.discovers(js).await;
    }
    assert!(!red.process.printed(&format!("discovered {} ", blue.id)));
    assert!(!blue.process.printed(&format!("discovered {} ", red.id)));
}

#[tokio::test]
async fn a_hub_that_only_listens_discovers_and_keeps_silent() {
    let scene = Scene::default();
    let hub = scene
        .rust(&format!("--listen {LISTEN} --interval 1 --listen-only"))
        .await;
    let one = scene.js("one", &listen_and_dial(&hub)).await;
    let two = scene.js("two", &listen_and_dial(&hub)).await;

    hub.discovers(&one).await;
    hub.discovers(&two).await;
    // A hub that announced would have done so by now: it has relayed several rounds of the others.
    one.hears(&two, 5).await;
    two.hears(&one, 5).await;

    for js in [&one, &two] {
        assert!(!js.process.printed(&format!("message {} ", hub.id)));
        assert!(!js.process.printed(&format!("discovered {} ", hub.id)));
    }
    assert!(!hub.process.printed("announced "));
}

/// Those for whom the hub's mesh has no room are served by gossip. There js counts what it asks for in vain,
/// which is everything if the two disagree on the ids of messages.
#[tokio::test]
async fn a_crowd_of_js_nodes_thinks_well_of_the_hub() {
    const CROWD: usize = 80;
    const ROUNDS: usize = 40;
    const SILENT: u32 = 3_600_000;
    const LIMIT: Duration = Duration::from_secs(300);

    let scene = Scene::default();
    let hub = scene.rust(&format!("--listen {LISTEN} --interval 1")).await;
    let mut crowd = scene.script(
        "crowd",
        "node.mjs",
        &format!(
            "--count {CROWD} --interval {SILENT} --dial {}",
            hub.address()
        ),
    );

    let mut heard = 0;
    crowd
        .wait_for(LIMIT, "enough messages of the hub", |line| {
            heard += usize::from(message(line, &hub.id).is_some());
            (heard >= CROWD * ROUNDS).then_some(())
        })
        .await;

    crowd.say("score").await;
    let mut scores = Vec::new();
    let mut answers = 0;
    crowd
        .wait("score from each", |line| {
            if line.starts_with(&format!("score {} ", hub.id)) {
                scores.push(word(line, 2).parse::<f64>().expect("a score is a number"));
            }
            answers += usize::from(line.starts_with("scored "));
            (answers == CROWD).then_some(())
        })
        .await;
    assert_eq!(scores.len(), CROWD);
    assert!(
        scores.iter().all(|score| *score >= 0.0),
        "the hub's scores are {scores:?}"
    );
}

fn listen_and_dial(hub: &Node) -> String {
    format!("--listen {LISTEN} --dial {}", hub.address())
}

/// The processes of one test. When it fails, prints what they printed.
#[derive(Default)]
struct Scene {
    log: Arc<Mutex<Vec<String>>>,
}

impl Scene {
    /// The Rust node.
    async fn rust(&self, args: &str) -> Node {
        let mut command = Command::new(&tools().rust);
        command.args(args.split(' ')).arg("--until-stdin-closes");
        let process = self.spawn("hub", command);
        let addresses = process.listening(args).await;
        let id = addresses
            .first()
            .and_then(|address| address.rsplit_once("/p2p/"))
            .map(|(_, id)| id.to_owned())
            .expect("the Rust node listens, and `listening` tells its peer id");
        Node {
            process,
            id,
            addresses,
        }
    }

    /// A js node that announces itself every second.
    async fn js(&self, name: &'static str, args: &str) -> Node {
        let process = self.script(name, "node.mjs", &format!("--interval 1000 {args}"));
        let id = process
            .wait("peer id", |line| {
                line.strip_prefix("started ").map(ToOwned::to_owned)
            })
            .await;
        let addresses = process.listening(args).await;
        Node {
            process,
            id,
            addresses,
        }
    }

    fn script(&self, name: &'static str, file: &str, args: &str) -> Process {
        let mut command = Command::new(&tools().node_js);
        command.arg(directory().join(file)).args(args.split(' '));
        self.spawn(name, command)
    }

    fn spawn(&self, name: &'static str, mut command: Command) -> Process {
        let mut child = command
            .current_dir(SCRATCH)
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
        let log = lock(&self.log);
        if thread::panicking() && !log.is_empty() {
            eprintln!("What the processes printed:\n{}", log.join("\n"));
        }
    }
}

struct Node {
    process: Process,
    id: String,
    addresses: BTreeSet<String>,
}

impl Node {
    fn address(&self) -> &str {
        self.addresses.first().expect("this one listens")
    }

    /// Waits until this one knows exactly the addresses that the other listens on.
    async fn discovers(&self, other: &Self) {
        self.process
            .wait(
                &format!(
                    "discovery of {} at {:?}",
                    other.process.name, other.addresses
                ),
                |line| {
                    (["discovered", "updated"].contains(&word(line, 0))
                        && word(line, 1) == other.id
                        && addresses(word(line, 2)) == other.addresses)
                        .then_some(())
                },
            )
            .await;
    }

    async fn hears(&self, author: &Self, times: usize) {
        let mut heard = 0;
        self.process
            .wait(
                &format!("{times} messages of {}", author.process.name),
                |line| {
                    heard += usize::from(message(line, &author.id).is_some());
                    (heard == times).then_some(())
                },
            )
            .await;
    }

    /// Gives a command and waits for the line it ends with.
    async fn does(&mut self, command: &str, answer: &str) {
        self.process.say(command).await;
        let error = format!("error {command}: ");
        let line = self
            .process
            .wait(&format!("answer to {command}"), |line| {
                (line == answer || line.starts_with(&error)).then(|| line.to_owned())
            })
            .await;
        assert_eq!(line, answer);
    }
}

struct Process {
    name: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Arc<Mutex<Vec<String>>>,
    /// Closed when there will be no more lines.
    changed: watch::Receiver<()>,
}

impl Process {
    async fn wait<T>(&self, what: &str, pick: impl FnMut(&str) -> Option<T>) -> T {
        self.wait_for(PATIENCE, what, pick).await
    }

    /// Goes through the lines, also those that are there already, until `pick` takes one.
    async fn wait_for<T>(
        &self,
        limit: Duration,
        what: &str,
        mut pick: impl FnMut(&str) -> Option<T>,
    ) -> T {
        let mut changed = self.changed.clone();
        let mut next = 0;
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
            Ok(Some(found)) => found,
            Ok(None) => panic!("{} ended, without: {what}", self.name),
            Err(_) => panic!(
                "{} printed nothing within {limit:?} that means: {what}",
                self.name
            ),
        }
    }

    /// The addresses of the `listening` lines, as many as there are `--listen` in `args`.
    async fn listening(&self, args: &str) -> BTreeSet<String> {
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

    fn printed(&self, start: &str) -> bool {
        lock(&self.lines).iter().any(|line| line.starts_with(start))
    }

    async fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("open until `finish`");
        stdin
            .write_all(format!("{line}\n").as_bytes())
            .await
            .unwrap_or_else(|err| panic!("cannot write to {}: {err}", self.name));
    }

    async fn finish(mut self) {
        drop(self.stdin.take());
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => {}
            Ok(ended) => panic!("{} ended badly when stdin closed: {ended:?}", self.name),
            Err(_) => panic!(
                "{} did not end within {PATIENCE:?} of stdin closing",
                self.name
            ),
        }
    }
}

async fn read(from: impl AsyncRead + Unpin, mut take: impl FnMut(String)) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        take(line);
    }
}

/// The payload if `line` is a message of `author` on the default topic.
fn message(line: &str, author: &str) -> Option<String> {
    line.strip_prefix(&format!("message {author} {TOPIC} "))
        .map(ToOwned::to_owned)
}

fn addresses(list: &str) -> BTreeSet<String> {
    list.split(',')
        .filter(|address| !address.is_empty())
        .map(ToOwned::to_owned)
        .collect()
}

fn word(line: &str, index: usize) -> &str {
    line.split(' ').nth(index).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Tools {
    node_js: PathBuf,
    rust: PathBuf,
}

fn tools() -> &'static Tools {
    static TOOLS: OnceLock<Result<Tools, String>> = OnceLock::new();
    TOOLS
        .get_or_init(|| {
            Ok(Tools {
                node_js: install()?,
                rust: build()?,
            })
        })
        .as_ref()
        .unwrap_or_else(|err| panic!("{err}"))
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop")
}

/// Installs the packages unless they are those of the lock file, and finds a Node.js that runs them.
fn install() -> Result<PathBuf, String> {
    const MISSING: &str = "install Node.js 20 or newer, with npm, to run the tests against js-libp2p: there is no npm";

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

/// Builds the Rust node as this test was built, next to it: `cargo test --test` leaves examples out.
fn build() -> Result<PathBuf, String> {
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

    let mut command = std::process::Command::new(env!("CARGO"));
    command
        .args([
            "build",
            "--example",
            "node",
            "--features",
            "interop",
            "--profile",
            profile,
        ])
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    succeed("cargo build --example node", command.output())?;
    Ok(profile_dir
        .join("examples")
        .join(format!("node{}", env::consts::EXE_SUFFIX)))
}

fn succeed(what: &str, output: io::Result<Output>) -> Result<(), String> {
    let output = output.map_err(|err| format!("`{what}` cannot be run: {err}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "`{what}` failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    ))
}
