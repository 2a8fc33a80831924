//! The programs, which are built or installed once, and how each is started.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tokio::process::Command;

use crate::{
    Kind,
    authority::{Authority, Leaf},
    chromium, go, js, litep2p,
    process::{SCRATCH, build_example},
    py,
};

/// One of those that AutoTLS gives.
pub(crate) const NAME: &str = "127-0-0-1.peers.libp2p.test";

/// A certificate for this host and for [`NAME`].
struct Files {
    authority: PathBuf,
    chain: PathBuf,
    key: PathBuf,
}

impl Files {
    fn new() -> Self {
        let authority = Authority::new();
        let signed = authority.sign(&Leaf {
            names: &["localhost", "127.0.0.1", NAME],
            ..Leaf::default()
        });
        let write = |what: &str, text: String| {
            let file = Path::new(SCRATCH).join(format!("peers-{what}.pem"));
            fs::write(&file, text).expect("Cargo made the directory");
            file
        };
        Self {
            authority: write("authority", authority.pem()),
            chain: write("chain", signed.chain_pem()),
            key: write("key", signed.key_pem()),
        }
    }
}

pub(crate) struct Programs {
    files: Files,
    rust: PathBuf,
    node_js: PathBuf,
    chromium: Option<PathBuf>,
    go: Option<PathBuf>,
    python: Option<PathBuf>,
    litep2p: Option<PathBuf>,
}

impl Programs {
    pub(crate) fn build() -> Self {
        let built = |built: Result<PathBuf, String>| built.unwrap_or_else(|why| panic!("{why}"));
        Self {
            files: Files::new(),
            rust: built(build_example("peer")),
            node_js: built(js::install()),
            chromium: chromium::find_with_certutil(),
            go: go::build("go", &["."]).map(|folder| folder.join("go")),
            python: py::install(),
            litep2p: litep2p::build(),
        }
    }

    pub(crate) fn has(&self, kind: Kind) -> bool {
        match kind {
            Kind::JsNode | Kind::Rust => true,
            Kind::JsChromium => self.chromium.is_some(),
            Kind::Go => self.go.is_some(),
            Kind::Py => self.python.is_some(),
            Kind::Litep2p => self.litep2p.is_some(),
        }
    }

    /// A node with this crate.
    pub(crate) fn ours(&self, listen: &[String]) -> Command {
        let mut command = Command::new(&self.rust);
        command.arg("--trust").arg(&self.files.authority);
        self.listening(command, true, listen)
    }

    pub(crate) fn theirs(&self, kind: Kind, listen: &[String]) -> Command {
        let interop = js::directory();
        let mut command = match kind {
            Kind::JsNode => Command::new(&self.node_js),
            Kind::JsChromium => {
                let chromium = self.chromium.as_ref().expect("it is there");
                js::browser(&self.node_js, chromium)
            }
            Kind::Go => Command::new(self.go.as_ref().expect("it is there")),
            Kind::Py => Command::new(self.python.as_ref().expect("it is there")),
            Kind::Rust => Command::new(&self.rust),
            Kind::Litep2p => Command::new(self.litep2p.as_ref().expect("it is there")),
        };
        match kind {
            Kind::JsNode => {
                command
                    .arg("--import")
                    .arg(interop.join("names.mjs"))
                    .arg(interop.join("node.mjs"))
                    .args(["--interval", "1000"])
                    .env("NODE_EXTRA_CA_CERTS", &self.files.authority);
            }
            Kind::JsChromium => {}
            // TCP, ws and wss on one port.
            Kind::Go => {
                command.arg("--share");
            }
            Kind::Py => {
                command.arg(interop.join("py/node.py"));
            }
            Kind::Rust => {
                command.arg("--stock");
            }
            // It trusts whom the system does.
            Kind::Litep2p => {
                command.env("SSL_CERT_FILE", &self.files.authority);
            }
        }
        // Node.js is told of it by its environment.
        if kind != Kind::JsNode {
            command.arg("--trust").arg(&self.files.authority);
        }
        self.listening(command, kind != Kind::JsChromium, listen)
    }

    fn listening(&self, mut command: Command, serves_tls: bool, listen: &[String]) -> Command {
        if serves_tls {
            command.arg("--cert").arg(&self.files.chain);
            command.arg("--key").arg(&self.files.key);
        }
        for address in listen {
            command.args(["--listen", address]);
        }
        command
    }
}
