//! The examples as their users run them. `node` and what it does are in `node.rs`.

#![cfg(all(feature = "gossipsub", feature = "tokio", feature = "upgrade"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/authority.rs"]
mod authority;
#[path = "common/process.rs"]
mod process;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use authority::{Authority, Leaf};
use process::{Process, SCRATCH, Scene, build_example};
use tokio::process::Command;

fn command(example: &str, arguments: &[&str]) -> Command {
    let program = build_example(example).unwrap_or_else(|error| panic!("{error}"));
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn start(scene: &Scene, example: &'static str, arguments: &[&str]) -> Process {
    scene.spawn(example, command(example, arguments))
}

/// What stands behind `start` in a line that begins with it.
async fn after(process: &Process, start: &str) -> String {
    let rest = |line: &str| line.strip_prefix(start).map(ToOwned::to_owned);
    process.wait(start, rest).await
}

fn scratch(name: &str) -> PathBuf {
    let file = Path::new(SCRATCH).join(name);
    let _ = fs::remove_file(&file);
    file
}

/// With one that listens behind the hub, which `manual` is.
async fn a_client_finds_the_hub_and_who_is_behind_it(scene: &Scene, address: &str) {
    let client = start(scene, "client", &[address]);
    after(&client, &format!("connected to {address}")).await;
    let manual = start(scene, "manual", &[address]);
    let behind = after(&manual, "listening on ").await;
    for listens in [address, &behind] {
        let is_at = |line: &str| {
            line.contains(&format!(" is at [{listens}/p2p/"))
                .then_some(())
        };
        client.wait(listens, is_at).await;
    }
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn a_client_that_only_dials_finds_all_through_the_hub_which_counts_them() {
    const LISTEN: &str = "/ip4/127.0.0.1/tcp/0/ws";

    let scene = Scene::default();
    let mut command = command("hub", &[LISTEN]);
    command.env("METRICS", "127.0.0.1:0");
    let hub = scene.spawn("hub", command);
    let metrics = after(&hub, "metrics at http://").await;
    let metrics = metrics.strip_suffix("/metrics").unwrap();
    let address = after(&hub, &format!("{LISTEN}: listening at ")).await;
    a_client_finds_the_hub_and_who_is_behind_it(&scene, &address).await;
    let answer = get(metrics, "/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    for line in [
        "libp2p_lazy_ready_listeners 1",
        // Those that only dial count too.
        "libp2p_discovery_known_peers 2",
        "# EOF",
    ] {
        assert!(answer.lines().any(|other| other == line), "{answer}");
    }
    let answer = get(metrics, "/").await;
    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
}

#[cfg(feature = "metrics")]
async fn get(at: &str, path: &str) -> String {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    let mut stream = TcpStream::connect(at).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_client_that_only_dials_finds_all_through_the_relay() {
    let scene = Scene::default();
    let key = scratch("relay.key");
    let arguments = [key.to_str().unwrap(), "/ip4/127.0.0.1/tcp/0/ws"];
    let relay = start(&scene, "relay", &arguments);
    let listening = after(&relay, "listening on ").await;
    let (address, _) = listening.split_once("/p2p/").unwrap();
    a_client_finds_the_hub_and_who_is_behind_it(&scene, address).await;
}

#[tokio::test]
async fn a_certificate_may_come_late_and_be_replaced() {
    const LISTEN: &str = "/ip4/127.0.0.1/tcp/0/tls/ws";

    let scene = Scene::default();
    let [chain, key] = ["late-chain.pem", "late-key.pem"].map(scratch);
    let files = [chain.to_str().unwrap(), key.to_str().unwrap()];
    let example = start(&scene, "certificate", &files);
    after(&example, &format!("{LISTEN}: waiting for certificate")).await;

    let authority = Authority::new();
    for hours in [50, 60] {
        let begin = SystemTime::now() - Duration::from_secs(3_600);
        let signed = authority.sign(&Leaf {
            // And a half, so that it is these hours for as long as a slow machine may take.
            valid: begin..SystemTime::now() + Duration::from_secs(hours * 3_600 + 1_800),
            ..Leaf::default()
        });
        fs::write(&key, signed.key_pem()).unwrap();
        fs::write(&chain, signed.chain_pem()).unwrap();
        let in_use = format!("certificate: in use for another {hours} h");
        after(&example, &in_use).await;
    }
    let listening = |line: &str| line.starts_with(&format!("{LISTEN}: listening at "));
    assert_eq!(example.count(listening), 1, "the listener stays");
}

#[tokio::test]
async fn what_one_says_in_the_chat_is_read_by_the_other_on_its_topic() {
    let scene = Scene::default();
    let first = start(&scene, "chat", &[]);
    let address = after(&first, "listening on ").await;
    let mut second = start(&scene, "chat", &[&address]);
    second
        .wait("who is there", |line| {
            line.ends_with(" is there").then_some(())
        })
        .await;
    for (line, read) in [("hello", "talk: hello"), ("!fire", "alerts: !fire")] {
        second.say(line).await;
        after(&first, read).await;
    }
    second.close_stdin().await;
}
