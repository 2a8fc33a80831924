//! What a registry shows of discovery, over a pubsub that says what the test tells it to.
#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/bus.rs"]
mod bus;

use std::{task::Context, time::Duration};

use bus::{Bus, Node};
use futures::task::noop_waker;
use libp2p::{
    Multiaddr, PeerId,
    core::transport::ListenerId,
    identity::Keypair,
    swarm::{FromSwarm, NetworkBehaviour as _, behaviour::NewListenAddr},
};
use libp2p_lazy_websocket::discovery::{self, Behaviour, DEFAULT_TOPIC};
use prometheus_client::{encoding::text, registry::Registry};

/// No waiting anywhere but for the interval, which is never reached.
fn config() -> discovery::Config {
    discovery::Config::default()
        .with_interval(Duration::from_secs(3600))
        .with_minimum_gap(Duration::ZERO)
        .with_coalescing(Duration::ZERO)
}

fn id(keypair: &Keypair) -> PeerId {
    keypair.public().to_peer_id()
}

fn listen(behaviour: &mut Behaviour<Node>, port: u16) {
    let addr: Multiaddr = format!("/ip4/127.0.0.1/tcp/{port}/ws").parse().unwrap();
    behaviour.on_swarm_event(FromSwarm::NewListenAddr(NewListenAddr {
        listener_id: ListenerId::next(),
        addr: &addr,
    }));
}

/// What the node with this key says of itself.
fn announcement(key: &Keypair) -> Vec<u8> {
    let bus = Bus::default();
    let other = Keypair::generate_ed25519();
    let mut behaviour = Behaviour::new(bus.node(key), config()).unwrap();
    let _other = Behaviour::new(bus.node(&other), config()).unwrap();
    bus.connect(id(key), id(&other));
    listen(&mut behaviour, 1);
    settle(&mut behaviour);
    bus.published().pop().unwrap().payload
}

fn settle(behaviour: &mut Behaviour<Node>) {
    let waker = noop_waker();
    let cx = &mut Context::from_waker(&waker);
    while behaviour.poll(cx).is_ready() {}
}

fn scrape(registry: &Registry) -> String {
    let mut text = String::new();
    text::encode(&mut text, registry).unwrap();
    text
}

/// The names and labels of all that is shown.
fn series(registry: &Registry) -> Vec<String> {
    let text = scrape(registry);
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let series = samples.map(|line| line.rsplit_once(' ').unwrap().0.to_owned());
    series.collect()
}

/// What is not zero, and is about discovery.
fn non_zero(registry: &Registry) -> Vec<String> {
    let text = scrape(registry);
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.filter(|line| !line.ends_with(" 0"));
    let names = samples.map(|line| line.strip_prefix("libp2p_discovery_").unwrap().to_owned());
    names.collect()
}

#[test]
fn a_scrape_shows_what_became_of_the_own_announcements() {
    let bus = Bus::default();
    let (key, peer) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let mut registry = Registry::default();
    let mut behaviour = Behaviour::new(bus.node(&key), config()).unwrap();
    behaviour.register_metrics(&mut registry);
    let from_the_start = series(&registry);
    assert_eq!(non_zero(&registry), [""; 0]);

    settle(&mut behaviour);
    assert_eq!(
        non_zero(&registry),
        [r#"skipped_total{reason="no_listeners"} 1"#]
    );
    listen(&mut behaviour, 1);
    settle(&mut behaviour);

    let _peer = Behaviour::new(bus.node(&peer), config()).unwrap();
    bus.refuse(true);
    bus.connect(id(&key), id(&peer));
    settle(&mut behaviour);
    bus.refuse(false);
    listen(&mut behaviour, 2);
    settle(&mut behaviour);
    assert_eq!(
        non_zero(&registry),
        [
            "announced_total 1",
            "delayed_total 1",
            r#"skipped_total{reason="no_listeners"} 1"#,
            r#"skipped_total{reason="no_subscribers"} 1"#,
            "publish_failures_total 1",
        ]
    );
    assert_eq!(series(&registry), from_the_start);
}

#[test]
fn a_scrape_shows_what_became_of_the_announcements_of_others() {
    let bus = Bus::default();
    let (key, peer) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let mut registry = Registry::default();
    // So that it only hears.
    let config = config().with_listen_only(true);
    let mut behaviour = Behaviour::new(bus.node(&key), config).unwrap();
    behaviour.register_metrics(&mut registry);
    let payload = announcement(&peer);
    for (author, payload) in [
        (Some(id(&peer)), &payload[..]),
        (Some(id(&peer)), &payload),
        (Some(PeerId::random()), &payload),
        (Some(id(&key)), &payload),
        (None, &payload),
        (Some(id(&peer)), b"\xff"),
        (Some(id(&peer)), &[0; 100_000]),
    ] {
        let message = bus::Event::Message {
            topic: DEFAULT_TOPIC.to_owned(),
            neighbour: id(&peer),
            author,
            payload: payload.to_vec(),
        };
        bus.deliver(id(&key), message);
    }
    settle(&mut behaviour);
    assert_eq!(
        non_zero(&registry),
        [
            "accepted_total 2",
            "repeated_total 1",
            r#"ignored_total{reason="unauthenticated"} 1"#,
            r#"ignored_total{reason="own"} 1"#,
            r#"ignored_total{reason="oversized"} 1"#,
            r#"ignored_total{reason="malformed"} 1"#,
            r#"ignored_total{reason="foreign_key"} 1"#,
            "discovered_total 1",
            "known_peers 1",
        ]
    );
}

#[test]
fn each_metric_says_what_it_is() {
    let bus = Bus::default();
    let mut registry = Registry::default();
    let node = bus.node(&Keypair::generate_ed25519());
    let mut behaviour = Behaviour::new(node, config()).unwrap();
    behaviour.register_metrics(&mut registry);
    let text = scrape(&registry);
    for line in [
        "# HELP libp2p_discovery_ignored Number of announcements ignored, by the reason.",
        "# TYPE libp2p_discovery_ignored counter",
        "# TYPE libp2p_discovery_known_peers gauge",
    ] {
        assert!(text.lines().any(|found| found == line), "{text}");
    }
    let count = |what| text.lines().filter(|line| line.starts_with(what)).count();
    assert_eq!(count("# HELP"), count("# TYPE"));
}

#[test]
fn several_behaviours_are_told_apart_by_a_label() {
    let bus = Bus::default();
    let mut registry = Registry::default();
    let mut behaviours: Vec<_> = ["one", "two"]
        .into_iter()
        .map(|name| {
            let labelled = registry.sub_registry_with_label(("node".into(), name.into()));
            let node = bus.node(&Keypair::generate_ed25519());
            let mut behaviour = Behaviour::new(node, config()).unwrap();
            behaviour.register_metrics(labelled);
            behaviour
        })
        .collect();
    settle(&mut behaviours[1]);
    assert_eq!(
        non_zero(&registry),
        [r#"skipped_total{node="two",reason="no_listeners"} 1"#]
    );
}
