//! The example `relay`, and js peers that can be reached through it alone.

use std::{net::Ipv4Addr, path::PathBuf};

use crate::{
    Node, addresses, chromium,
    ports::free_port,
    process::{PATIENCE, Process, SCRATCH, Scene, build_example},
    word,
};
use tokio::process::Command;

/// A topic that the relay has not subscribed to.
const ROOM: &str = "room";

struct Relay {
    program: PathBuf,
    key: PathBuf,
    listen: String,
}

impl Relay {
    fn new() -> Self {
        let port = free_port(Ipv4Addr::LOCALHOST);
        Self {
            program: build_example("relay").unwrap_or_else(|why| panic!("{why}")),
            key: PathBuf::from(SCRATCH).join(format!("relay-{port}.key")),
            listen: format!("/ip4/127.0.0.1/tcp/{port}/ws"),
        }
    }

    async fn start(&self, scene: &Scene) -> (Process, String) {
        let mut command = Command::new(&self.program);
        command.arg(&self.key).arg(&self.listen);
        let process = scene.spawn("relay", command);
        let address = process
            .wait("its address", |line| {
                line.strip_prefix("listening on ").map(ToOwned::to_owned)
            })
            .await;
        (process, address)
    }
}

/// How many lines there are.
fn mark(node: &Node) -> usize {
    node.process.count(|_| true)
}

async fn behind<T>(node: &Node, mark: usize, what: &str, pick: impl FnMut(&str) -> Option<T>) -> T {
    let found = node.process.try_wait(mark, PATIENCE, what, pick).await;
    found.unwrap_or_else(|why| panic!("{why}"))
}

/// Its address through the relay, once it has one.
async fn reserved(node: &Node, mark: usize) {
    behind(node, mark, "an address through the relay", |line| {
        let list = line
            .strip_prefix("addresses ")
            .or_else(|| line.strip_prefix("listening "))?;
        list.contains("/p2p-circuit/").then_some(())
    })
    .await;
}

/// They find each other by discovery, one dials the other through the relay, and each hears the other on a topic of their own.
async fn meet(one: &mut Node, two: &mut Node, marks: [usize; 2]) {
    let mut through = None;
    for (node, other, mark) in [(&*two, &*one, marks[1]), (&*one, &*two, marks[0])] {
        let found = behind(node, mark, "an address through the relay", |line| {
            let is_other = word(line, 0) == "discovered" && word(line, 1) == other.id;
            let mut found = addresses(word(line, 2)).into_iter();
            found.find(|address| is_other && address.contains("/p2p-circuit/"))
        });
        through = Some(found.await);
    }
    one.process
        .say(&format!("dial {}", through.expect("both")))
        .await;
    let connected = format!("connected {}", two.id);
    behind(one, marks[0], &connected, |line| {
        (line == connected).then_some(())
    })
    .await;
    // Another number each time, as is its answer.
    let length = 10_000 + mark(one);
    let echo = format!("echo {} {length}", two.id);
    one.does(&echo, &format!("echo ok {length}")).await;
    message(one, two).await;
    message(two, one).await;
}

async fn message(from: &mut Node, to: &Node) {
    let mark = mark(to);
    let payload = format!("{:02x}", mark % 256);
    from.process.say(&format!("publish {ROOM} {payload}")).await;
    let message = format!("message {} {ROOM} {payload} ", from.id);
    behind(to, mark, &message, |line| {
        line.starts_with(&message).then_some(())
    })
    .await;
}

/// Two that have reserved at the relay, have met through it, have lost it and each other, and are connected to the relay again.
/// And how many lines they had printed before that.
async fn over_a_restart(
    scene: &Scene,
    start: impl AsyncFn(&'static str, &str) -> Node,
) -> ([Node; 2], [usize; 2], Process) {
    let relay = Relay::new();
    let (mut process, at) = relay.start(scene).await;
    let [mut one, mut two] = [start("one", &at).await, start("two", &at).await];
    for peer in [&mut one, &mut two] {
        let subscribed = format!("subscribed {ROOM}");
        peer.does(&format!("subscribe {ROOM}"), &subscribed).await;
        reserved(peer, 0).await;
    }
    meet(&mut one, &mut two, [0, 0]).await;

    let marks = [mark(&one), mark(&two)];
    process.child.kill().await.expect("it runs");
    let id = at.rsplit('/').next().expect("a peer id");
    for (peer, other, mark) in [(&one, &two, marks[0]), (&two, &one, marks[1])] {
        for lost in [id, &other.id] {
            let lost = format!("disconnected {lost}");
            behind(peer, mark, &lost, |line| (line == lost).then_some(())).await;
        }
    }
    let marks = [mark(&one), mark(&two)];
    let (process, same) = relay.start(scene).await;
    assert_eq!(same, at);
    let connected = format!("connected {id}");
    for (peer, mark) in [(&mut one, marks[0]), (&mut two, marks[1])] {
        peer.process.say(&format!("dial {at}")).await;
        behind(peer, mark, &connected, |line| {
            (line == connected).then_some(())
        })
        .await;
    }
    ([one, two], marks, process)
}

/// js searches for relays among its peers, and reserves at this one whenever it is connected.
#[tokio::test]
async fn js_peers_meet_through_the_relay_and_again_after_its_restart() {
    let scene = Scene::default();
    meet_again(&scene, async |name, at| {
        scene.js(name, &format!("--search --dial {at}")).await
    })
    .await;
}

/// Two that can listen nowhere else.
#[tokio::test]
async fn pages_in_chromium_meet_through_the_relay_and_again_after_its_restart() {
    let Some(chromium) = chromium::find_with_certutil() else {
        return;
    };
    let scene = Scene::default();
    meet_again(&scene, async |name, at| {
        let args = format!("--listen /p2p-circuit --dial {at}");
        scene.page(name, &chromium, &args).await
    })
    .await;
}

async fn meet_again(scene: &Scene, start: impl AsyncFn(&'static str, &str) -> Node) {
    let ([mut one, mut two], marks, relay) = over_a_restart(scene, start).await;
    let mut accepted = 0;
    relay
        .wait("both reservations", |line| {
            accepted += usize::from(line.starts_with("ReservationReqAccepted"));
            (accepted == 2).then_some(())
        })
        .await;
    // One that searches for a relay dials whom it discovers, so they may be connected by now.
    meet(&mut one, &mut two, marks).await;
    for node in [one, two] {
        node.process.finish().await;
    }
}

/// With the address of the relay to listen on, js never reserves a second time (js-libp2p issue 3601).
#[tokio::test]
async fn js_peers_that_listen_at_a_fixed_relay_meet_until_it_restarts() {
    let scene = Scene::default();
    let ([one, two], marks, _relay) = over_a_restart(&scene, async |name, at| {
        let args = format!("--listen {at}/p2p-circuit");
        scene.js(name, &args).await
    })
    .await;
    // They hear each other again, but have no address.
    let (mut heard, found) = (0, format!("discovered {} ", two.id));
    behind(&one, marks[0], "announcements without an address", |line| {
        let addresses = line.strip_prefix(&found)?;
        assert_eq!(
            addresses, "",
            "js reserves again: say so in docs/interop.md"
        );
        heard += 1;
        (heard == 5).then_some(())
    })
    .await;
}
