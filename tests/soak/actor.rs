//! One process: how each kind is started, and what its lines mean.

use std::{
    fs, io,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader},
    process::{ChildStdin, Command},
};

use crate::rules::Kind;

/// What comes from a process.
#[derive(Debug)]
pub(crate) enum Output {
    Line(String),
    Error(String),
    Exit(ExitStatus),
}

/// What a line on its standard output means to the test.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning<'a> {
    Started(&'a str),
    Connected(&'a str),
    Disconnected(&'a str, &'a str),
    /// A connection of this peer, from this address.
    Incoming(&'a str, &'a str),
    Heard(&'a str),
    Expired(&'a str),
    Other,
}

pub(crate) fn meaning(line: &str) -> Meaning<'_> {
    let mut words = line.splitn(3, ' ');
    let mut word = || words.next().unwrap_or_default();
    match (word(), word(), word()) {
        ("listening", address, _) => match address.rsplit_once("/p2p/") {
            Some((_, id)) => Meaning::Started(id),
            None => Meaning::Other,
        },
        ("started", id, _) => Meaning::Started(id),
        ("connected", id, _) => Meaning::Connected(id),
        ("disconnected", id, cause) => Meaning::Disconnected(id, cause),
        ("incoming", id, address) => Meaning::Incoming(id, address),
        ("discovered" | "updated" | "message", id, _) => Meaning::Heard(id),
        ("expired", id, _) => Meaning::Expired(id),
        _ => Meaning::Other,
    }
}

/// The programs, and what all processes are told.
pub(crate) struct Stage<'a> {
    pub(crate) rust: &'a Path,
    pub(crate) node_js: &'a Path,
    pub(crate) go: Option<&'a Path>,
    pub(crate) python: Option<&'a Path>,
    /// Of the tests with all peers.
    pub(crate) peer: &'a Path,
    pub(crate) directory: &'a Path,
    pub(crate) interval: Duration,
}

impl Stage<'_> {
    /// A peer that listens, and stays connected to the hub at this address if it is of a kind that dials by itself.
    pub(crate) fn peer(&self, kind: Kind, hub: &str, key: Option<&Path>) -> Command {
        let interval = self.interval.as_secs();
        let authority = self.directory.join("authority.pem");
        let mut command = match kind {
            Kind::Ours => Command::new(self.rust),
            Kind::Js => Command::new(self.node_js),
            Kind::Go => Command::new(self.go.expect("there are none without Go")),
            Kind::Py => Command::new(self.python.expect("there are none without Python")),
            Kind::Stock => Command::new(self.peer),
        };
        match kind {
            Kind::Ours => {
                command.args(["--until-stdin-closes", "--tcp", "--interval"]);
                command.arg(interval.to_string());
                command.args(["--hub", hub, "--trust"]).arg(authority);
                if let Some(key) = key {
                    command.arg("--key").arg(key);
                }
            }
            Kind::Js => {
                command.arg(crate::js::directory().join("node.mjs"));
                command.args(["--interval", &(interval * 1000).to_string(), "--dial", hub]);
                command.env("NODE_EXTRA_CA_CERTS", authority);
            }
            Kind::Go => {
                command.args([
                    "--announce",
                    &format!("{interval}s"),
                    "--dial",
                    hub,
                    "--trust",
                ]);
                command.arg(authority);
            }
            Kind::Py => {
                command.arg(crate::js::directory().join("py/node.py"));
                command.arg("--trust").arg(authority);
            }
            Kind::Stock => {
                command.args(["--stock", "--trust"]).arg(authority);
            }
        }
        let over = match kind {
            // It dials only over what it listens on.
            Kind::Py if !hub.contains("/ws") => "",
            _ => "/ws",
        };
        command.args(["--listen", &format!("/ip4/127.0.0.1/tcp/0{over}")]);
        command
    }
}

pub(crate) struct Actor {
    pub(crate) pid: u32,
    /// For the processor, by now.
    waited: Duration,
    stdin: Option<ChildStdin>,
}

impl Actor {
    pub(crate) fn start(
        mut command: Command,
        output: impl Fn(Output) + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().ok_or(io::ErrorKind::NotFound)?;
        let stdin = child.stdin.take();
        if let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) {
            let (lines, errors) = (output.clone(), output.clone());
            let stdout = read(stdout, move |line| lines(Output::Line(line)));
            let stderr = read(stderr, move |line| errors(Output::Error(line)));
            tokio::spawn(async move {
                // All that it has said comes before its end.
                let (ended, (), ()) = tokio::join!(child.wait(), stdout, stderr);
                if let Ok(status) = ended {
                    output(Output::Exit(status));
                }
            });
        }
        Ok(Self {
            pid,
            waited: Duration::ZERO,
            stdin,
        })
    }

    /// How long its first thread, which is the only one of Node.js that matters, has waited for the processor since this was
    /// last called.
    pub(crate) fn waited(&mut self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/schedstat", self.pid));
        let nanoseconds = stat
            .ok()
            .and_then(|stat| stat.split(' ').nth(1)?.parse().ok());
        let waited = nanoseconds.map_or(self.waited, Duration::from_nanos);
        waited.saturating_sub(std::mem::replace(&mut self.waited, waited))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // It may have ended by itself, which is told elsewhere.
        let _ = kill(Pid::from_raw(self.pid as i32), signal);
    }

    /// One that has ended by itself is told elsewhere.
    pub(crate) async fn say(&mut self, line: &str) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(format!("{line}\n").as_bytes()).await;
        }
    }

    /// Asks it to end.
    pub(crate) fn close(&mut self) {
        self.stdin = None;
    }
}

async fn read(from: impl AsyncRead + Unpin, mut take: impl FnMut(String)) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        take(line);
    }
}
