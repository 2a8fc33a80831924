//! Rust nodes, most of them the example `node`, js-libp2p and go-libp2p nodes, over WebSocket and TCP on loopback. See
//! `interop/README.md`.

#![cfg(feature = "interop")]
#![cfg(all(feature = "gossipsub", feature = "tokio"))]

#[path = "common/authority.rs"]
mod authority;
#[path = "common/chromium.rs"]
mod chromium;
mod common;
#[path = "common/go.rs"]
mod go;
#[path = "common/js.rs"]
mod js;
#[path = "common/node.rs"]
mod node;
#[path = "interop/one_port.rs"]
mod one_port;
#[path = "common/ports.rs"]
mod ports;
#[path = "common/process.rs"]
mod process;
#[path = "interop/relay.rs"]
mod relay;
#[path = "interop/watched.rs"]
mod watched;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::{Duration, Instant},
};

use authority::{Authority, Signed};
use libp2p::identity::Keypair;
use libp2p_lazy_websocket::discovery;
use process::{PATIENCE, Process, RUNTIMES, SCRATCH, Scene, build, on_each_runtime};
use tokio::process::Command;
use watched::{Seen, Watched};

const TOPIC: &str = "_peer-discovery._p2p._pubsub";
const LISTEN: &str = "/ip4/127.0.0.1/tcp/0/ws";

on_each_runtime!(nodes_that_know_only_the_hub_find_each_other);

async fn nodes_that_know_only_the_hub_find_each_other(on: &str) {
    let scene = Scene::default();
    let hub = scene
        .rust(&format!(
            "{on} --listen {LISTEN} --listen {LISTEN} --interval 1"
        ))
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

on_each_runtime!(a_hub_that_dials_is_found_as_well);

async fn a_hub_that_dials_is_found_as_well(on: &str) {
    let scene = Scene::default();
    let one = scene.js("one", &format!("--listen {LISTEN}")).await;
    let two = scene
        .js("two", &format!("--listen {LISTEN} --key-type rsa"))
        .await;
    let (to_one, to_two) = (one.address(), two.address());
    let hub = scene
        .rust(&format!(
            "{on} --listen {LISTEN} --dial {to_one} --dial {to_two} --interval 1"
        ))
        .await;

    one.discovers(&two).await;
    two.discovers(&one).await;
    hub.discovers(&one).await;
    hub.discovers(&two).await;
    one.discovers(&hub).await;
    two.discovers(&hub).await;
}

/// Of each kind one node knows the Rust hub, one the js hub and one both. These two are all that joins the stars.
#[tokio::test]
async fn everybody_finds_everybody_in_a_mixed_network_with_two_hubs() {
    let scene = Scene::default();
    let rust_hub = scene.rust(&format!("--listen {LISTEN} --interval 1")).await;
    let js_hub = scene.js("js hub", &format!("--listen {LISTEN}")).await;
    let to_rust = format!("--dial {}", rust_hub.address());
    let to_js = format!("--dial {}", js_hub.address());
    let dials = [to_rust.clone(), to_js.clone(), format!("{to_rust} {to_js}")];

    let mut network = vec![rust_hub, js_hub];
    for (dial, name) in dials.iter().zip(["js of rust", "js of js", "js of both"]) {
        let args = format!("--listen {LISTEN} {dial}");
        network.push(scene.js(name, &args).await);
    }
    for (dial, name) in dials
        .iter()
        .zip(["rust of rust", "rust of js", "rust of both"])
    {
        let args = format!("--listen {LISTEN} --interval 1 {dial}");
        network.push(scene.rust_named(name, &args).await);
    }
    for node in &network {
        for other in network.iter().filter(|other| other.id != node.id) {
            node.discovers(other).await;
        }
    }
}

/// Whoever is the hub: nodes on all runtimes that are compiled in, and one on js-libp2p.
#[tokio::test]
async fn nodes_on_every_runtime_and_js_find_each_other() {
    for hub_runtime in RUNTIMES {
        let scene = Scene::default();
        let args = format!("--listen {LISTEN} --interval 1 --runtime {hub_runtime}");
        let hub = scene.rust_named("hub", &args).await;
        let dial = listen_and_dial(&hub);
        let mut network = vec![hub, scene.js("js", &dial).await];
        for runtime in RUNTIMES {
            for engine in ["libp2p", "stream"] {
                let args = format!("{dial} --interval 1 --runtime {runtime} --engine {engine}");
                network.push(scene.rust_named(runtime, &args).await);
            }
        }
        for node in &network {
            for other in network.iter().filter(|other| other.id != node.id) {
                node.discovers(other).await;
            }
        }
        for node in network {
            node.process.finish().await;
        }
    }
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

        // What an announcement says beside that may change as the hub gets to know the network.
        let mut payloads = Vec::new();
        js.process
            .wait("three messages of the hub", |line| {
                payloads.extend(message(line, &hub.id));
                (payloads.len() == 3).then_some(())
            })
            .await;
        // They are numbered, in a field that js has never heard of.
        assert_eq!(payloads.iter().collect::<BTreeSet<_>>().len(), 3);
        let mut codec = scene.script("codec", "fixtures.mjs", "--decode");
        for payload in &payloads {
            codec.say(payload).await;
        }
        let mut answers = Vec::new();
        codec
            .wait("answer to each", |line| {
                answers.push(line.to_owned());
                (answers.len() == payloads.len()).then_some(())
            })
            .await;
        let expected = format!("{} {}", hub.id, hub.address());
        assert_eq!(answers, vec![expected; payloads.len()]);
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
    let without = format!("discovered {} ", silent.id);
    assert!(hub.process.lines().contains(&without));
    other.discovers(&silent).await;
    silent.discovers(&other).await;
    silent.discovers(&hub).await;
}

on_each_runtime!(small_and_large_streams_come_back_whole);

async fn small_and_large_streams_come_back_whole(on: &str) {
    let scene = Scene::default();
    let hub = scene.rust(&format!("{on} --listen {LISTEN}")).await;
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

/// js pings every connection every 10 s, and aborts one whose ping is not answered within 5 s more. Whatever the services
/// of a js node are, and whoever has dialled, it stays, is heard and hears.
#[tokio::test]
async fn js_nodes_stay_connected_with_and_without_the_ping_service() {
    const WATCHED: Duration = Duration::from_secs(60);
    const LIMIT: Duration = Duration::from_secs(120);

    // Alone, because js wants an answer within seconds.
    let scene = Scene::alone();
    let documented = format!("--as-documented --listen {LISTEN}");
    let dialled = scene.js("dialled", &documented).await;
    let hub = scene
        .rust(&format!(
            "--listen {LISTEN} --interval 1 --dial {}",
            dialled.address()
        ))
        .await;
    let to_hub = format!("--dial {}", hub.address());
    let dials = scene.js("dials", &format!("{documented} {to_hub}")).await;
    let pings = format!("--monitor --listen {LISTEN} {to_hub}");
    let mut pings = scene.js("pings", &pings).await;
    for js in [&dialled, &dials, &pings] {
        hub.discovers(js).await;
        js.discovers(&hub).await;
    }
    pings
        .does(&format!("ping {}", hub.id), &format!("pong {}", hub.id))
        .await;

    let start = Instant::now();
    let over = |line: &str| {
        let heard = message(line, &hub.id).is_some();
        (heard && start.elapsed() >= WATCHED).then_some(())
    };
    let what = format!("a message of the hub after {WATCHED:?}");
    dialled.process.wait_for(LIMIT, &what, over).await;
    let network = [&hub, &dialled, &dials, &pings];
    network.iter().for_each(|node| node.has_lost_nobody());
    // The js nodes hear each other only through the hub.
    for js in &network[1..] {
        for author in network.iter().filter(|author| author.id != js.id) {
            let heard = js.process.count(|line| message(line, &author.id).is_some());
            js.hears(author, heard + 1).await;
        }
    }
    let at = hub.address();
    pings
        .does(&format!("ping {at}"), &format!("pong {at}"))
        .await;
    for node in [&hub, &dialled, &dials, &pings] {
        node.has_lost_nobody();
    }
}

on_each_runtime!(a_connection_lives_on_while_the_certificate_changes);

/// A name is listened on as well, and what is announced of it can be dialled.
async fn a_connection_lives_on_while_the_certificate_changes(on: &str) {
    let authority = Authority::new();
    let [ca, chain, key] = ["ca.pem", "chain.pem", "key.pem"]
        .map(|name| Path::new(SCRATCH).join(format!("tls{}.{name}", on.replace(' ', ""))));
    fs::write(&ca, authority.pem()).expect("Cargo made the directory");
    let write = |signed: Signed| {
        for (file, text) in [(&key, signed.key_pem()), (&chain, signed.chain_pem())] {
            let fresh = file.with_extension("fresh");
            fs::write(&fresh, text).expect("Cargo made the directory");
            fs::rename(&fresh, file).expect("it was just written");
        }
    };
    write(authority.sign_number(1001));

    let scene = Scene::default();
    let listen = "/dns4/localhost/tcp/0/tls/ws";
    let hub = scene
        .rust(&format!(
            "{on} --listen {listen} --interval 1 --tls-cert {} --tls-key {}",
            chain.display(),
            key.display()
        ))
        .await;
    assert!(
        hub.address().starts_with("/dns4/localhost/tcp/"),
        "{}",
        hub.address()
    );
    let port = hub.address().split('/').nth(4).expect("a port");

    let trusting = |name| scene.trusting_js(name, &ca, format!("--dial {}", hub.address()));
    let mut js = trusting("before").await;
    js.process.say(&format!("traffic {}", hub.id)).await;
    js.serves(port, 1001).await;

    write(authority.sign_number(1002));
    js.serves(port, 1002).await;
    let mut other = trusting("after").await;
    other
        .does(&format!("ping {}", hub.id), &format!("pong {}", hub.id))
        .await;

    js.process.say("quiet").await;
    let rounds = js
        .process
        .wait("the end of the traffic", |line| {
            assert!(!line.starts_with("error traffic"), "{line}");
            line.strip_prefix("traffic ok ").map(ToOwned::to_owned)
        })
        .await;
    assert_ne!(rounds, "0");
    assert!(!js.process.printed("disconnected "));
    assert!(!hub.process.printed("no longer "));
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

    let scene = Scene::alone();
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

/// All are connected to all, which is more than fit into a mesh, so that each asks for some messages after it has
/// been told of them by gossip.
#[tokio::test]
async fn in_a_mesh_with_15_js_nodes_their_scores_of_ours_stay_at_zero() {
    const CROWD: usize = 15;
    const ROUNDS: usize = 5;
    const INTERVAL: Duration = Duration::from_secs(6);
    /// How long js waits for what it has asked for: on a busy machine no time is enough.
    const FOLLOWUP: Duration = Duration::from_secs(3600);
    const LIMIT: Duration = Duration::from_secs(300);

    let scene = Scene::alone();
    let gossipsub = || patient().build().expect("it is valid");
    let config = || node::config().with_interval(INTERVAL);
    let [mut one, mut two] = [(); 2].map(|()| Watched::start(gossipsub(), config()));
    let (at_one, at_two) = (one.address().await, two.address().await);
    two.dial(&at_one).await;
    let args = format!(
        "--count {CROWD} --listen {LISTEN} --interval {} --followup {} --dial {at_one} --dial {at_two}",
        INTERVAL.as_millis(),
        FOLLOWUP.as_millis()
    );
    let mut crowd = scene.script("crowd", "node.mjs", &args);
    let (mut ids, mut listening) = (BTreeSet::new(), BTreeSet::new());
    crowd
        .wait_for(LIMIT, "all of the crowd", |line| {
            ids.extend(line.strip_prefix("started ").map(ToOwned::to_owned));
            listening.extend(line.strip_prefix("listening ").map(ToOwned::to_owned));
            (ids.len() == CROWD && listening.len() == CROWD).then_some(())
        })
        .await;
    for address in &listening {
        crowd.say(&format!("dial {address}")).await;
    }

    let ours = [one.id.clone(), two.id.clone()];
    let authors: BTreeSet<_> = ids.iter().chain(&ours).cloned().collect();
    for round in 1..=ROUNDS {
        let mut heard = BTreeMap::<_, usize>::new();
        crowd
            .wait_for(LIMIT, &format!("round {round} of everybody"), |line| {
                let author = word(line, 1);
                message(line, author)?;
                *heard
                    .entry((word(line, 4).to_owned(), author.to_owned()))
                    .or_default() += 1;
                let all = heard.len() == CROWD * (authors.len() - 1);
                (all && heard.values().all(|&times| times >= round)).then_some(())
            })
            .await;

        crowd.say("score").await;
        let (mut scores, mut answers) = (Vec::new(), 0);
        crowd
            .wait("score from each", |line| {
                if word(line, 0) == "score" && ours.iter().any(|id| id == word(line, 1)) {
                    scores.push(word(line, 2).parse::<f64>().expect("a score is a number"));
                }
                answers += usize::from(line.starts_with("scored "));
                (answers == CROWD * round).then_some(())
            })
            .await;
        assert_eq!(scores, vec![0.0; CROWD * ours.len() * round]);
    }
    // A score forgets within a few seconds.
    assert!(
        !ours
            .iter()
            .any(|id| crowd.printed(&format!("penalty {id} ")))
    );
    // What it has asked ours for comes, however late. It never would if the two disagreed on the ids of messages.
    let (start, mut asked) = (Instant::now(), None::<BTreeSet<String>>);
    for answered in (0..).map(|times: usize| times * CROWD) {
        crowd.say("promises").await;
        let (mut open, mut answers) = (BTreeSet::new(), 0);
        crowd
            .wait_for(LIMIT, "what each has asked for", |line| {
                let is_ours = ours.iter().any(|id| id == word(line, 1));
                if word(line, 0) == "promised" && is_ours && answers >= answered {
                    open.insert(line.to_owned());
                }
                answers += usize::from(line.starts_with("promises "));
                (answers == answered + CROWD).then_some(())
            })
            .await;
        if let Some(asked) = &asked {
            open.retain(|line| asked.contains(line));
        }
        if open.is_empty() {
            break;
        }
        assert!(start.elapsed() < LIMIT, "asked for in vain: {open:?}");
        asked = Some(open);
    }
    for watched in [&mut one, &mut two] {
        let known = watched
            .sees("everybody", |seen| {
                (seen.known.len() == authors.len() - 1).then(|| seen.known.clone())
            })
            .await;
        assert!(known.keys().all(|id| authors.contains(id)));
    }
}

#[tokio::test]
async fn a_js_node_that_floods_with_announcements_is_limited() {
    for validates in [false, true] {
        let mut gossipsub = patient();
        if validates {
            gossipsub.validate_messages();
        }
        let seen = flood(gossipsub.build().expect("it is valid"), "announcements").await;
        let ignored = seen.hub.counters.ignored_author_rate;
        assert!(ignored >= MOST, "{:?}", seen.hub.counters);
        assert_eq!(seen.hub.counters.ignored_malformed, 0);
        // Without validation gossipsub passes on what it gets before discovery sees it.
        let relayed = seen.relayed;
        assert_eq!(relayed > FLOOD - MOST, !validates, "{relayed} relayed");
        assert!(seen.hub.scores.values().all(|&score| score == 0.0));
    }
}

#[tokio::test]
async fn a_js_node_that_floods_with_garbage_is_limited_and_nobody_is_blamed() {
    for validates in [false, true] {
        let mut gossipsub = patient();
        if validates {
            gossipsub.validate_messages();
        }
        let seen = flood(gossipsub.build().expect("it is valid"), "garbage").await;
        let counters = seen.hub.counters;
        assert!(
            counters.ignored_malformed + counters.ignored_author_rate >= MOST,
            "{counters:?}"
        );
        assert!(counters.ignored_malformed >= 1, "{counters:?}");
        let relayed = seen.relayed;
        assert_eq!(relayed > FLOOD - MOST, !validates, "{relayed} relayed");
        assert!(seen.hub.scores.values().all(|&score| score == 0.0));
    }
}

/// A gossipsub that a busy machine does not keep from sending what it is asked for: by default it forgets a message after
/// five heartbeats, and drops what has waited for a second to be sent.
fn patient() -> libp2p::gossipsub::ConfigBuilder {
    let mut builder = discovery::gossipsub::config();
    builder
        .history_length(60)
        .forward_queue_duration(PATIENCE)
        .publish_queue_duration(PATIENCE);
    builder
}

const FLOOD: u64 = 600;

/// What is left of a flood without as much as its author may send until a test gives up.
const MOST: u64 = FLOOD - 100;

struct Flooded {
    hub: Seen,
    /// How many messages of the flood have gone on to another.
    relayed: u64,
}

/// Lets a js node flood a Rust one that others are connected to, which are still known and found by each other then.
async fn flood(gossipsub: libp2p::gossipsub::Config, what: &str) -> Flooded {
    /// A peer that a busy machine keeps silent is known for three times as long.
    const INTERVAL: Duration = Duration::from_secs(10);

    let scene = Scene::default();
    let mut hub = Watched::start(gossipsub, node::config().with_interval(INTERVAL));
    let dial = format!("--dial {}", hub.address().await);
    let honest = scene
        .js("honest", &format!("--listen {LISTEN} {dial}"))
        .await;
    let mut flooder = scene
        .js("flooder", &format!("--listen {LISTEN} {dial}"))
        .await;
    hub.discovers(&honest.id, &honest.addresses).await;
    hub.discovers(&flooder.id, &flooder.addresses).await;
    honest.discovers(&flooder).await;

    let before = honest
        .process
        .count(|line| message(line, &flooder.id).is_some());
    flooder
        .does(
            &format!("flood-{what} {FLOOD}"),
            &format!("flooded {FLOOD}"),
        )
        .await;
    hub.sees("the flood", |seen| {
        (seen.counters.ignored() >= MOST).then_some(())
    })
    .await;

    // What has been announced since then comes after all that has been passed on of the flood.
    let late = scene.js("late", &format!("--listen {LISTEN} {dial}")).await;
    hub.discovers(&late.id, &late.addresses).await;
    honest.discovers(&late).await;
    late.discovers(&honest).await;
    let hub = hub
        .sees("all", |seen| (seen.known.len() == 3).then(|| seen.clone()))
        .await;
    assert_eq!(hub.expired, 0);
    let heard = honest
        .process
        .count(|line| message(line, &flooder.id).is_some());
    Flooded {
        hub,
        relayed: (heard - before) as u64,
    }
}

fn listen_and_dial(hub: &Node) -> String {
    format!("--listen {LISTEN} --dial {}", hub.address())
}

impl Scene {
    /// A Rust node that the others meet at.
    async fn rust(&self, args: &str) -> Node {
        self.rust_named("hub", args).await
    }

    async fn rust_named(&self, name: &'static str, args: &str) -> Node {
        let mut command = Command::new(&tools().rust);
        command.args(args.split(' ')).arg("--until-stdin-closes");
        let process = self.spawn(name, command);
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
        Node::started(process, args).await
    }

    /// A js node that trusts an authority of ours as well.
    async fn trusting_js(&self, name: &'static str, authority: &Path, args: String) -> Node {
        let mut command = script("node.mjs", &args);
        command.env("NODE_EXTRA_CA_CERTS", authority);
        Node::started(self.spawn(name, command), &args).await
    }

    /// A js node in a browser, which announces itself every second as well.
    async fn page(&self, name: &'static str, chromium: &Path, args: &str) -> Node {
        let mut command = js::browser(&tools().node_js, chromium);
        command.args(args.split(' '));
        Node::started(self.spawn(name, command), "").await
    }

    /// A go node, where there is Go.
    async fn go(&self, args: &str) -> Option<Node> {
        let programs = tools().go.as_ref()?;
        let mut command = Command::new(programs.join("go"));
        command.args(args.split(' '));
        Some(Node::started(self.spawn("go", command), args).await)
    }

    fn script(&self, name: &'static str, file: &str, args: &str) -> Process {
        self.spawn(name, script(file, args))
    }
}

fn script(file: &str, args: &str) -> Command {
    let mut command = Command::new(&tools().node_js);
    command
        .arg(js::directory().join(file))
        .args(args.split(' '));
    command
}

struct Node {
    process: Process,
    id: String,
    addresses: BTreeSet<String>,
}

impl Node {
    /// A js or go node, once it has.
    async fn started(process: Process, args: &str) -> Self {
        let id = process
            .wait("peer id", |line| {
                line.strip_prefix("started ").map(ToOwned::to_owned)
            })
            .await;
        let addresses = process.listening(args).await;
        Self {
            process,
            id,
            addresses,
        }
    }

    /// Waits until the certificate with this serial number is served on a port, as this one sees it.
    async fn serves(&mut self, port: &str, serial: u64) {
        let wanted = format!("serial {port} {serial}");
        let mut asked = 0;
        loop {
            self.process.say(&format!("serial {port}")).await;
            asked += 1;
            let mut answers = 0;
            let answer = self.process.wait("serial number", |line| {
                assert!(!line.starts_with("error serial"), "{line}");
                answers += usize::from(line.starts_with("serial "));
                (answers == asked).then(|| line.to_owned())
            });
            if answer.await == wanted {
                return;
            }
        }
    }

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

    async fn connects(&self, other: &Self) {
        let line = format!("connected {}", other.id);
        self.process
            .wait(&line, |found| (found == line).then_some(()))
            .await;
    }

    fn has_lost_nobody(&self) {
        for line in self.process.lines() {
            let is_loss = ["disconnected", "expired"].contains(&word(&line, 0));
            assert!(!is_loss, "{}: {line}", self.process.name);
        }
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

/// The payload if `line` is a message of `author` on the default topic.
fn message(line: &str, author: &str) -> Option<String> {
    let rest = line.strip_prefix(&format!("message {author} {TOPIC} "))?;
    Some(word(rest, 0).to_owned())
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

struct Tools {
    node_js: PathBuf,
    rust: PathBuf,
    /// The folder of the program, where there is Go.
    go: Option<PathBuf>,
}

fn tools() -> &'static Tools {
    static TOOLS: OnceLock<Result<Tools, String>> = OnceLock::new();
    TOOLS
        .get_or_init(|| {
            Ok(Tools {
                node_js: js::install()?,
                rust: build()?,
                // Before anybody runs: a compiler takes the processor from those who answer within seconds or are cut off.
                go: go::build("go", &["."]),
            })
        })
        .as_ref()
        .unwrap_or_else(|err| panic!("{err}"))
}
