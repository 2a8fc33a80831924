//! AutoTLS with p2p-forge, pebble and go-libp2p. Needs Go.
#![cfg(all(
    feature = "autotls",
    feature = "gossipsub",
    feature = "interop",
    feature = "upgrade"
))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/authority.rs"]
mod authority;
#[path = "common/forge.rs"]
mod forge;
#[path = "common/go.rs"]
mod go;
#[path = "common/ports.rs"]
mod ports;
#[path = "common/process.rs"]
mod process;

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use forge::Forge;
use ports::free_port;
use process::{Process, SCRATCH, Scene, build};
use tokio::process::Command;

const DAYS: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// The example `node`, on a port and with a store of its own.
struct Node {
    port: u16,
    arguments: Vec<String>,
    store: PathBuf,
}

impl Node {
    fn new(forge: &Forge, name: &str) -> Self {
        let port = free_port(Ipv4Addr::LOCALHOST);
        let folder = Path::new(SCRATCH).join(format!("autotls-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let store = folder.join(name);
        let tcp = format!("/ip4/127.0.0.1/tcp/{port}");
        let arguments = [
            "--tcp",
            "--until-stdin-closes",
            "--interval=1",
            "--autotls-private",
            "--autotls-time-scale=0.02",
            &format!("--listen={tcp}"),
            &format!("--listen={tcp}/ws"),
            &format!("--key={}", folder.join("key").display()),
            &format!("--autotls={}", store.display()),
            &format!("--autotls-acme={}", forge.directory_url),
            &format!("--autotls-broker={}", forge.broker_url),
            &format!("--autotls-domain={}", forge.domain),
            &format!("--autotls-trust={}", forge.trust.display()),
            &format!("--autotls-dns={}", forge.dns),
        ];
        Self {
            port,
            arguments: arguments.map(ToOwned::to_owned).into(),
            store,
        }
    }

    fn start(&self, scene: &Scene, name: &'static str) -> Process {
        let mut command = Command::new(node());
        command.args(&self.arguments);
        scene.spawn(name, command)
    }

    /// The address with the name of the node, once it is printed.
    async fn named(&self, process: &Process) -> String {
        let start = format!(
            "listening /ip4/127.0.0.1/tcp/{}/tls/sni/127-0-0-1.",
            self.port
        );
        process
            .wait("the address with its name", |line| {
                let address = line.strip_prefix("listening ")?;
                line.starts_with(&start).then(|| address.to_owned())
            })
            .await
    }
}

fn node() -> &'static Path {
    static NODE: OnceLock<PathBuf> = OnceLock::new();
    NODE.get_or_init(|| build().unwrap())
}

/// Another node, which trusts this root and dials that address.
async fn dialler(scene: &Scene, name: &'static str, root: &Path, address: &str) -> Process {
    let mut command = match name {
        "go" => {
            static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
            let programs = PROGRAMS.get_or_init(|| go::build("go", &["."]).unwrap());
            Command::new(programs.join("go"))
        }
        _ => {
            let mut command = Command::new(node());
            command.args(["--until-stdin-closes", "--interval=1"]);
            command
        }
    };
    command.args(["--trust".as_ref(), root.as_os_str()]);
    command.args(["--dial", address]);
    scene.spawn(name, command)
}

async fn state(process: &Process, state: &str) {
    let wanted = format!("autotls {state}");
    process
        .wait(&wanted, |line| line.starts_with(&wanted).then_some(()))
        .await;
}

fn peer(address: &str) -> &str {
    address.rsplit('/').next().unwrap()
}

#[tokio::test]
async fn a_node_gets_its_certificate_is_dialled_by_it_and_keeps_it_over_a_restart() {
    let scene = Scene::default();
    let Some(mut forge) = Forge::start(&scene, DAYS).await else {
        return;
    };
    let node = Node::new(&forge, "store");
    let hub = node.start(&scene, "hub");
    let plain = format!("/ip4/127.0.0.1/tcp/{}/ws", node.port);
    let listening = format!("listening {plain}/");
    hub.wait(&listening, |line| {
        line.starts_with(&listening).then_some(())
    })
    .await;
    // So that there is somebody to whom addresses are announced.
    let witness = dialler(&scene, "witness", &forge.trust, &plain).await;
    let address = node.named(&hub).await;
    let is_announced = |line: &str| line.starts_with("announced ") && line.contains("/tls/sni/");
    hub.wait("its announcement", |line| is_announced(line).then_some(()))
        .await;
    state(&hub, "ready").await;
    let lines = hub.lines();
    let at = |what: &dyn Fn(&str) -> bool| lines.iter().position(|line| what(line)).unwrap();
    let listens = at(&|line| line == format!("listening {address}"));
    assert!(at(&|line| line == "autotls ordering") < listens);
    assert!(listens < at(&is_announced));
    witness.finish().await;

    let root = node.store.with_extension("root");
    fs::write(&root, forge.issuing_root().await).unwrap();
    for name in ["rust", "go"] {
        let other = dialler(&scene, name, &root, &address).await;
        let connected = format!("connected {}", peer(&address));
        other
            .wait(&connected, |line| (line == connected).then_some(()))
            .await;
        let incoming = |line: &str| line.starts_with("incoming ") && line.ends_with("/tls/ws");
        hub.wait("a connection over TLS", |line| incoming(line).then_some(()))
            .await;
        if name == "go" {
            let mut go = other;
            go.say(&format!("echo {} 100000", peer(&address))).await;
            go.wait("the echo", |line| (line == "echo ok 100000").then_some(()))
                .await;
            go.finish().await;
        } else {
            other.finish().await;
        }
    }
    hub.finish().await;

    // Nobody is asked, and nobody is there.
    forge.stop_broker().await;
    forge.stop_pebble().await;
    let hub = node.start(&scene, "restarted");
    assert_eq!(node.named(&hub).await, address);
    assert!(!hub.printed("autotls ordering") && !hub.printed("error "));
    hub.finish().await;
}
