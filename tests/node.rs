//! The example `node` as its users run it.

#![cfg(all(
    feature = "gossipsub",
    any(feature = "async-std", feature = "smol", feature = "tokio")
))]

#[path = "common/authority.rs"]
mod authority;
#[path = "common/process.rs"]
mod process;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use authority::Authority;
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use process::{PATIENCE, Process, RUNTIMES, SCRATCH, Scene, build, on_each_runtime};
use tokio::{process::Command, time::timeout};
#[cfg(all(unix, feature = "tokio"))]
use {
    futures::StreamExt as _,
    libp2p::{
        SwarmBuilder, Transport as _,
        core::upgrade::Version,
        noise,
        swarm::{SwarmEvent, dummy},
        yamux,
    },
    libp2p_lazy_websocket::websocket,
    std::time::Duration,
};

const LISTEN: &str = "--listen /ip4/127.0.0.1/tcp/0/ws";

fn program() -> &'static Path {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    PROGRAM
        .get_or_init(build)
        .as_ref()
        .unwrap_or_else(|err| panic!("{err}"))
}

fn node(scene: &Scene, on: &str, name: &'static str, args: &str) -> Process {
    let mut command = Command::new(program());
    command.args(on.split(' '));
    command.args(args.split(' ')).arg("--until-stdin-closes");
    scene.spawn(name, command)
}

/// The address of the only listener.
async fn address(node: &Process) -> String {
    let listening = |line: &str| line.strip_prefix("listening ").map(ToOwned::to_owned);
    node.wait("an address to listen on", listening).await
}

fn peer(address: &str) -> &str {
    address
        .rsplit_once("/p2p/")
        .map(|(_, peer)| peer)
        .expect("`listening` tells the peer id")
}

async fn prints(node: &Process, line: &str) {
    node.wait(line, |printed| (printed == line).then_some(()))
        .await;
}

async fn begins(node: &Process, start: &str) {
    node.wait(start, |printed| printed.starts_with(start).then_some(()))
        .await;
}

async fn run(args: &[&str]) -> (i32, String) {
    let output = Command::new(program()).args(args).output();
    let output = timeout(PATIENCE, output)
        .await
        .expect("it ends by itself")
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let status = output.status.code().expect("no signal has ended it");
    (status, String::from_utf8_lossy(&text).into_owned())
}

on_each_runtime!(without_arguments_everybody_finds_everybody);

async fn without_arguments_everybody_finds_everybody(on: &str) {
    let (status, text) =
        run(&[&on.split(' ').collect::<Vec<_>>()[..], &["--peers", "2"]].concat()).await;
    assert_eq!(status, 0, "{text}");
    for row in ["hub ", "peer 1 ", "peer 2 "] {
        let row = text
            .lines()
            .rfind(|line| line.starts_with(row))
            .unwrap_or_default();
        assert!(!row.is_empty() && !row.contains('-'), "{text}");
    }
}

on_each_runtime!(two_nodes_discover_each_other_and_end_with_their_input);

async fn two_nodes_discover_each_other_and_end_with_their_input(on: &str) {
    let scene = Scene::default();
    let hub = node(
        &scene,
        on,
        "hub",
        &format!("{LISTEN} --topic room --interval 1"),
    );
    let at = address(&hub).await;
    let peer_args = format!("{LISTEN} --dial {at} --topic room --topic other --interval 1");
    let other = node(&scene, on, "other", &peer_args);
    let from = address(&other).await;
    prints(&hub, &format!("discovered {} {from}", peer(&from))).await;
    prints(&other, &format!("discovered {} {at}", peer(&at))).await;
    prints(&hub, &format!("announced room {at}")).await;
    prints(&other, &format!("announced room {from}")).await;
    assert!(hub.printed("skipped no listener has an address"));
    other.finish().await;
    hub.finish().await;
}

/// The cause for which a node has printed that it is not connected to this peer any more.
async fn cause(node: &Process, peer: &str) -> String {
    let start = format!("disconnected {peer} ");
    let cause = |line: &str| line.strip_prefix(&start).map(ToOwned::to_owned);
    node.wait("a connection that is closed", cause).await
}

/// All but `no longer`, which takes an interface that goes away.
#[tokio::test]
async fn every_line_has_the_form_that_help_tells() {
    let scene = Scene::default();
    let on = format!("--runtime {}", RUNTIMES[0]);
    let hub = node(
        &scene,
        &on,
        "hub",
        &format!("{LISTEN} --interval 1 --topic room"),
    );
    let at = address(&hub).await;
    let at_hub: Multiaddr = at.parse().unwrap();
    assert!(
        matches!(at_hub.iter().last(), Some(Protocol::P2p(_))),
        "{at}"
    );

    let [chain, key] =
        ["chain", "key"].map(|name| Path::new(SCRATCH).join(format!("lines.{name}")));
    for file in [&chain, &key] {
        let _ = fs::remove_file(file);
    }
    let args = format!(
        "{LISTEN} --listen /ip4/127.0.0.1/tcp/0/tls/ws --tls-cert {} --tls-key {} --dial {at} \
         --dial /ip4/127.0.0.1/tcp/1/ws --interval 1 --topic room",
        chain.display(),
        key.display()
    );
    let mut other = node(&scene, &on, "other", &args);
    let from = address(&other).await;
    let [hub_id, id] = [peer(&at), peer(&from)];
    prints(&hub, &format!("connected {id}")).await;
    prints(&other, &format!("connected {hub_id}")).await;
    prints(&hub, &format!("discovered {id} {from}")).await;
    prints(&other, &format!("announced room {from}")).await;
    prints(&hub, "skipped no listener has an address").await;

    let signed = Authority::new().sign_number(1);
    fs::write(&key, signed.key_pem()).unwrap();
    fs::write(&chain, signed.chain_pem()).unwrap();
    let listening = |line: &str| {
        let address = line.strip_prefix("listening ")?;
        address.contains("/tls/ws").then(|| address.to_owned())
    };
    let tls = other.wait("the TLS address", listening).await;
    let both = |line: &str| {
        let addresses = line.strip_prefix(&format!("updated {id} "))?;
        let addresses = addresses.split(',').collect::<BTreeSet<_>>();
        (addresses == BTreeSet::from([&*from, &*tls])).then_some(())
    };
    hub.wait("both addresses", both).await;

    let args = format!("--dial {at} --interval 1 --topic room");
    let dials = node(&scene, &on, "dials", &args);
    prints(&dials, "announced room ").await;
    let nowhere = |line: &str| {
        let id = line.strip_prefix("discovered ")?.strip_suffix(' ')?;
        id.parse::<PeerId>().ok()
    };
    hub.wait("a peer without addresses", nowhere).await;
    dials.finish().await;

    other.close_stdin().await;
    assert_eq!(cause(&other, hub_id).await, "closed by this node");
    assert_ne!(cause(&hub, id).await, "");
    prints(&hub, &format!("expired {id}")).await;

    let (_, help) = run(&["--help"]).await;
    let known = help
        .lines()
        .skip_while(|line| !line.starts_with("Lines on standard output"))
        .filter_map(|line| line.strip_prefix("  ")?.split('<').next())
        .collect::<BTreeSet<_>>();
    assert!(known.contains("discovered "), "{help}");
    for line in [hub.lines(), other.lines()].concat() {
        assert!(known.iter().any(|start| line.starts_with(start)), "{line}");
    }
    hub.finish().await;
}

on_each_runtime!(a_signal_ends_a_node_and_its_connections);

#[cfg(unix)]
async fn a_signal_ends_a_node_and_its_connections(on: &str) {
    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };

    let scene = Scene::default();
    let hub = node(&scene, on, "hub", LISTEN);
    let at = address(&hub).await;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut other = node(&scene, on, "other", &format!("{LISTEN} --dial {at}"));
        let from = address(&other).await;
        for (node, peer) in [(&hub, peer(&from)), (&other, peer(&at))] {
            prints(node, &format!("connected {peer}")).await;
        }
        let pid = other.child.id().expect("it has not ended");
        kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
        other.ends(signal.as_str()).await;
        assert_eq!(cause(&other, peer(&at)).await, "closed by this node");
        cause(&hub, peer(&from)).await;
    }
    hub.finish().await;
}

#[cfg(not(unix))]
async fn a_signal_ends_a_node_and_its_connections(_: &str) {
    eprintln!("SKIPPED: no signals on this system");
}

on_each_runtime!(a_hub_that_comes_late_is_connected_and_told);

async fn a_hub_that_comes_late_is_connected_and_told(on: &str) {
    let scene = Scene::default();
    let port = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap().port()
    };
    let at = format!("/ip4/127.0.0.1/tcp/{port}/ws");
    let leaf = node(&scene, on, "leaf", &format!("--hub {at}"));
    begins(
        &leaf,
        &format!("hub {at} unreachable, attempt 1, retrying in "),
    )
    .await;
    let hub = node(&scene, on, "hub", &format!("--listen {at}"));
    let id = peer(&address(&hub).await).to_owned();
    prints(&leaf, &format!("hub {at} connected {id}")).await;
    hub.finish().await;
    begins(&leaf, &format!("hub {at} lost, retrying in ")).await;
    leaf.finish().await;
}

/// Without its hub, and without an address to dial but those in the file.
#[tokio::test]
async fn a_node_finds_the_peers_of_its_file_after_a_restart() {
    let scene = Scene::default();
    let on = format!("--runtime {}", RUNTIMES[0]);
    let file = Path::new(SCRATCH).join("known-peers");
    for leftover in ["", ".corrupt", ".tmp"] {
        let _ = fs::remove_file(format!("{}{leftover}", file.display()));
    }
    let hub = node(&scene, &on, "hub", LISTEN);
    let at = address(&hub).await;
    let other = node(
        &scene,
        &on,
        "other",
        &format!("{LISTEN} --hub {at} --interval 1"),
    );
    let other_id = peer(&address(&other).await).to_owned();
    let args = format!(
        "{LISTEN} --interval 1 --connections 2 --known {}",
        file.display()
    );
    let first = node(&scene, &on, "first", &format!("{args} --hub {at}"));
    begins(&first, &format!("discovered {other_id} ")).await;
    first.finish().await;
    let saved = fs::read_to_string(&file).unwrap();
    assert!(saved.contains(&other_id), "{saved}");
    hub.finish().await;

    fs::write(&file, format!("{saved}12D3 and half a line")).unwrap();
    let second = node(&scene, &on, "second", &args);
    begins(&second, &format!("error {}: line ", file.display())).await;
    prints(&second, &format!("connected {other_id}")).await;
    second.finish().await;
    assert!(fs::read_to_string(&file).unwrap().contains(&other_id));
    let aside = fs::read_to_string(format!("{}.corrupt", file.display())).unwrap();
    assert!(aside.ends_with("half a line"));
    other.finish().await;
}

#[tokio::test]
async fn a_node_behind_a_proxy_is_known_by_the_address_of_the_proxy() {
    const EXTERNAL: &str = "/dns4/node.example.com/tcp/443/tls/ws";

    let scene = Scene::default();
    let args = format!("{LISTEN} --external {EXTERNAL} --interval 1");
    let on = format!("--runtime {}", RUNTIMES[0]);
    let hub = node(&scene, &on, "hub", &args);
    let address = address(&hub).await;
    let client = node(&scene, &on, "client", &format!("--hub {address}"));
    let peer = peer(&address);
    begins(&client, &format!("discovered {peer} {EXTERNAL}/p2p/{peer}")).await;
}

#[tokio::test]
async fn a_key_is_made_once_and_kept() {
    let scene = Scene::default();
    let file = Path::new(SCRATCH).join("made-once.key");
    let _ = fs::remove_file(&file);
    let args = format!("{LISTEN} --key {}", file.display());
    let mut peers = Vec::new();
    for name in ["first", "second"] {
        let node = node(&scene, &format!("--runtime {}", RUNTIMES[0]), name, &args);
        peers.push(peer(&address(&node).await).to_owned());
        node.finish().await;
    }
    assert_eq!(peers[0], peers[1]);
}

on_each_runtime!(one_bad_address_does_not_keep_it_from_the_others);

async fn one_bad_address_does_not_keep_it_from_the_others(on: &str) {
    let scene = Scene::default();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().port();
    let bad = format!(
        "--listen /ip4/127.0.0.1/tcp/{taken}/ws --listen /ip4/127.0.0.1/udp/1/quic-v1 \
         --listen /ip4/192.0.2.1/tcp/0/ws --dial /ip4/127.0.0.1/tcp/1/ws {LISTEN}"
    );
    let node = node(
        &scene,
        on,
        "node",
        &bad.split_whitespace().collect::<Vec<_>>().join(" "),
    );
    address(&node).await;
    for what in ["quic-v1", "/tcp/1/ws"] {
        let error = |line: &str| (line.starts_with("error ") && line.contains(what)).then_some(());
        node.wait(&format!("an error about {what}"), error).await;
    }
    let taken = format!("/ip4/127.0.0.1/tcp/{taken}/ws");
    for (address, reason) in [
        (&*taken, "address in use"),
        ("/ip4/192.0.2.1/tcp/0/ws", "address not available"),
    ] {
        for state in ["registered", "binding", "retrying in 0.1 s: "] {
            let reason = if state.ends_with(' ') { reason } else { "" };
            prints(&node, &format!("listener {address} {state}{reason}")).await;
        }
    }
    node.finish().await;
}

on_each_runtime!(a_node_waits_for_its_certificate_and_takes_the_next_one);

async fn a_node_waits_for_its_certificate_and_takes_the_next_one(on: &str) {
    let scene = Scene::default();
    let authority = Authority::new();
    let [chain, key] = ["chain.pem", "key.pem"]
        .map(|name| Path::new(SCRATCH).join(format!("waits{}.{name}", on.replace(' ', ""))));
    for file in [&chain, &key] {
        let _ = fs::remove_file(file);
    }
    let files = format!("--tls-cert {} --tls-key {}", chain.display(), key.display());
    let tls = "/ip4/127.0.0.1/tcp/0/tls/ws";
    let node = node(
        &scene,
        on,
        "node",
        &format!("{files} --listen {tls} {LISTEN}"),
    );
    prints(&node, &format!("listener {tls} waiting for certificate")).await;
    assert!(
        !address(&node).await.contains("/tls/"),
        "the other is not held up"
    );

    let signed = authority.sign_number(1);
    fs::write(&key, signed.key_pem()).unwrap();
    fs::write(&chain, signed.chain_pem()).unwrap();
    prints(&node, &format!("listener {tls} listening")).await;
    let listening = |line: &str| {
        let address = line.strip_prefix("listening ")?;
        address.contains("/tls/ws").then_some(())
    };
    node.wait("the TLS address", listening).await;
    node.finish().await;
}

on_each_runtime!(a_node_dials_one_whose_certificate_it_is_told_to_trust);

async fn a_node_dials_one_whose_certificate_it_is_told_to_trust(on: &str) {
    let scene = Scene::default();
    let authority = Authority::new();
    let signed = authority.sign_number(1);
    let [chain, key, anchor] = ["chain", "key", "anchor"]
        .map(|name| Path::new(SCRATCH).join(format!("trust{}.{name}.pem", on.replace(' ', ""))));
    fs::write(&chain, signed.chain_pem()).unwrap();
    fs::write(&key, signed.key_pem()).unwrap();
    fs::write(&anchor, authority.pem()).unwrap();

    let files = format!("--tls-cert {} --tls-key {}", chain.display(), key.display());
    let tls = "--listen /ip4/127.0.0.1/tcp/0/tls/ws --interval 1";
    let hub = node(&scene, on, "hub", &format!("{files} {tls}"));
    let at = address(&hub).await;
    let dial = format!("--dial {at} --interval 1 --listen-only");
    let stranger = node(&scene, on, "stranger", &dial);
    let refused = |line: &str| line.contains("with_trust_anchor").then_some(());
    stranger
        .wait("that it does not trust the hub", refused)
        .await;

    let trust = format!("{dial} --trust {}", anchor.display());
    let other = node(&scene, on, "other", &trust);
    prints(&other, &format!("discovered {} {at}", peer(&at))).await;
    for node in [other, stranger, hub] {
        node.finish().await;
    }
}

/// One by a signal, so that its kernel goes on and only the process is silent.
#[cfg(all(unix, feature = "tokio"))]
#[tokio::test]
async fn a_peer_that_is_stopped_is_found_out_and_one_that_is_not_is_kept() {
    let scene = Scene::default();
    let on = "--runtime tokio --engine stream";
    let (alive, stopped) = (
        node(&scene, on, "alive", LISTEN),
        node(&scene, on, "stopped", LISTEN),
    );
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_other_transport(|key| {
            let config = websocket::Config::default()
                .with_engine(websocket::Engine::Stream)
                .with_keep_alive(Some(Duration::from_secs(1)));
            let transport = websocket::tokio::transport(config)
                .upgrade(Version::V1Lazy)
                .authenticate(noise::Config::new(key)?)
                .multiplex(yamux::Config::default());
            Ok(transport)
        })
        .unwrap()
        .with_behaviour(|_| dummy::Behaviour)
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::MAX))
        .build();
    for node in [&alive, &stopped] {
        swarm
            .dial(address(node).await.parse::<Multiaddr>().unwrap())
            .unwrap();
    }
    let mut connected = 0;
    let found_out = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::ConnectionEstablished { .. } => {
                    connected += 1;
                    if connected == 2 {
                        let pid = stopped.child.id().unwrap().to_string();
                        let status = Command::new("kill").args(["-STOP", &pid]).status().await;
                        assert!(status.unwrap().success());
                    }
                }
                SwarmEvent::ConnectionClosed { peer_id, cause, .. } => return (peer_id, cause),
                _ => {}
            }
        }
    };
    let (found_out, cause) = timeout(PATIENCE, found_out).await.unwrap();
    assert_eq!(found_out.to_string(), peer(&address(&stopped).await));
    let cause = format!("{cause:?}");
    assert!(cause.contains("TimedOut"), "{cause}");
    // It was asked no less, and has answered.
    let kept = peer(&address(&alive).await).parse().unwrap();
    assert!(swarm.is_connected(&kept));
    alive.finish().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_in_words() {
    let scratch = Path::new(SCRATCH).join("no.key");
    fs::write(&scratch, b"this is no key").unwrap();
    let listen = LISTEN.split(' ').collect::<Vec<_>>();
    for (args, word) in [
        (vec!["--peers", "51"], "51"),
        (vec!["--listen", "somewhere"], "somewhere"),
        (vec!["--runtime", "glommio"], "glommio"),
        (vec!["--listen-only"], "--listen"),
        ([&listen[..], &["--tls-cert", "a"]].concat(), "--tls-key"),
        ([&listen[..], &["--peers", "3"]].concat(), "--peers"),
        ([&listen[..], &["--interval", "0"]].concat(), "interval"),
        ([&listen[..], &["--interval", "-1"]].concat(), "-1"),
        (
            [&listen[..], &["--key", scratch.to_str().unwrap()]].concat(),
            "no.key",
        ),
        (
            [&listen[..], &["--trust", scratch.to_str().unwrap()]].concat(),
            "no line with -----BEGIN",
        ),
    ] {
        let (status, text) = run(&args).await;
        assert_ne!(status, 0, "{args:?}: {text}");
        assert!(
            text.contains(word) && !text.contains("panicked"),
            "{args:?}: {text}"
        );
    }
}
