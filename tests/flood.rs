//! One connection that announces thousands of peers who do not exist, as fast as the link allows.

#![cfg(all(feature = "gossipsub", feature = "tokio"))]

mod common;
#[path = "common/flooder.rs"]
mod flooder;
#[path = "common/node.rs"]
mod node;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::common::Case;
use flooder::{Flooder, Invented, Speaker, batches, invent};
use libp2p::{Multiaddr, PeerId, gossipsub, identity::Keypair, swarm::SwarmEvent};
use libp2p_lazy_websocket::discovery::{self, DEFAULT_TOPIC, Rate};
use node::{Node, config, connect, knows, listen, node, node_with, swarm, until};

/// How many peers are invented.
const INVENTED: u32 = 5_000;

/// How many peers that are not known one neighbour may deliver.
const NEWCOMERS: u32 = 20;

/// Neither the burst refills, nor is anybody forgotten, while a test runs.
const HOUR: Duration = Duration::from_secs(3600);

fn limited() -> discovery::Config {
    config()
        .with_newcomer_rate(Rate::new(NEWCOMERS, HOUR))
        .with_time_to_live(HOUR)
}

fn id(swarm: &Node) -> PeerId {
    *swarm.local_peer_id()
}

/// Peers that are connected to `hub` alone, and what each announces.
async fn honest(
    count: usize,
    hub: &mut Node,
    address: &Multiaddr,
) -> Vec<(Node, PeerId, Multiaddr)> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut honest = node(Case::TOKIO, limited());
        let (_, own) = listen(&mut honest, &mut []).await;
        connect(&mut honest, address, &mut [hub]).await;
        let peer = id(&honest);
        knows(hub, peer, std::slice::from_ref(&own), &mut [&mut honest]).await;
        all.push((honest, peer, own));
    }
    all
}

/// Announces [`INVENTED`] peers to `target`, and waits until it has seen all of them. Returns the flooder, so that it
/// stays connected.
async fn flood(target: &mut Node, address: &Multiaddr, others: &mut [&mut Node]) -> Flooder {
    let keypair = Keypair::generate_ed25519();
    let speaker = swarm(Case::TOKIO, keypair, Speaker::default());
    let batches = batches(invent(DEFAULT_TOPIC, 0..INVENTED, 1));
    let address = address.clone();
    let flooding = tokio::spawn(async move {
        let mut flooder = Flooder::connect(speaker, address, DEFAULT_TOPIC)
            .await
            .expect("it gets through");
        flooder.send(&batches).await.expect("the node listens");
        flooder.subscribe("end").await.expect("the node listens");
        flooder
    });
    until(target, others, |_, event| subscribed(event, "end")).await;
    flooding.await.expect("it does not panic")
}

fn subscribed(event: &SwarmEvent<discovery::Event<gossipsub::Event>>, to: &str) -> Option<PeerId> {
    match event {
        SwarmEvent::Behaviour(discovery::Event::PubSub(gossipsub::Event::Subscribed {
            peer_id,
            topic,
            ..
        })) if topic.as_str() == to => Some(*peer_id),
        _ => None,
    }
}

/// Somebody who speaks gossipsub, connected and subscribed to `target`.
async fn speaker(target: &mut Node, address: &Multiaddr, keypair: Keypair) -> Flooder {
    let speaker = swarm(Case::TOKIO, keypair, Speaker::default());
    let address = address.clone();
    let connecting =
        tokio::spawn(async move { Flooder::connect(speaker, address, DEFAULT_TOPIC).await });
    until(target, &mut [], |_, event| subscribed(event, DEFAULT_TOPIC)).await;
    let connected = connecting.await.expect("it does not panic");
    connected.expect("it gets through")
}

/// Waits until `target` has told the speaker what it is subscribed to.
async fn greeted(target: &mut Node, speaker: &mut Flooder) {
    tokio::select! {
        greeted = speaker.greeted() => greeted.expect("it is greeted"),
        () = until(target, &mut [], |_, _| None) => {}
    }
}

/// Sends announcements of these peers to `target`, which has seen all of them then.
async fn deliver(
    target: &mut Node,
    speaker: &mut Flooder,
    peers: impl IntoIterator<Item = Invented>,
    seen: &str,
) {
    speaker.send(&batches(peers)).await.expect("it listens");
    speaker.subscribe(seen).await.expect("it listens");
    let id = speaker.id();
    until(target, &mut [], |_, event| {
        (subscribed(event, seen)? == id).then_some(())
    })
    .await;
}

fn known(swarm: &Node) -> BTreeSet<PeerId> {
    let known = swarm.behaviour().known_peers();
    known.map(|known| known.peer_id()).collect()
}

/// Drives `swarm` until it knows `peer` at this address too.
async fn knows_also(swarm: &mut Node, peer: PeerId, address: &Multiaddr, others: &mut [&mut Node]) {
    until(swarm, others, |swarm, _| {
        let known = swarm.behaviour().known_peer(&peer)?;
        known.addresses().contains(address).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_invented_peers_makes_nobody_forgotten() {
    let mut hub = node(Case::TOKIO, limited());
    let (_, address) = listen(&mut hub, &mut []).await;
    let mut peers = honest(3, &mut hub, &address).await;
    let expected = peers.iter().map(|(_, peer, _)| *peer);
    let expected = expected.collect::<BTreeSet<_>>();

    let mut nodes = peers.iter_mut().map(|(node, ..)| node).collect::<Vec<_>>();
    let _flooder = flood(&mut hub, &address, &mut nodes).await;

    let counters = hub.behaviour().counters();
    // It is not listened to once it has exceeded its allowance, as there are three others.
    assert!(counters.muted >= 1);
    assert!(counters.ignored_newcomer_rate >= 1);
    assert_eq!(counters.ignored(), counters.ignored_newcomer_rate);
    assert_eq!(counters.expired, 0);
    let known = known(&hub);
    assert!(known.is_superset(&expected));
    assert_eq!(known.len(), expected.len() + NEWCOMERS as usize);
    for (_, peer, own) in &peers {
        let known = hub.behaviour().known_peer(peer).unwrap();
        assert_eq!(known.addresses(), std::slice::from_ref(own));
    }
    // As many as have been heard within the limit stretch the interval, to some two seconds; all would make it minutes.
    let interval = hub.behaviour().interval();
    assert!(interval <= Duration::from_secs(4), "{interval:?}");

    // They stay known while they go on announcing themselves.
    let end = Instant::now();
    let mut nodes = peers.iter_mut().map(|(node, ..)| node).collect::<Vec<_>>();
    until(&mut hub, &mut nodes, |hub, _| {
        let mut known = expected.iter().map(|peer| hub.behaviour().known_peer(peer));
        known
            .all(|known| known.expect("it stays known").last_heard() > end)
            .then_some(())
    })
    .await;

    // The flooder is still there, and has nothing left to spend.
    let (mut first, peer, _) = peers.swap_remove(0);
    let (_, another) = listen(&mut first, &mut [&mut hub]).await;
    knows_also(&mut hub, peer, &another, &mut [&mut first]).await;
    let counters = hub.behaviour().counters();
    assert_eq!(counters.discovered, known.len() as u64);
    assert_eq!(counters.ignored(), counters.ignored_newcomer_rate);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_behind_hear_only_what_the_first_accepts() {
    let gossipsub = discovery::gossipsub::config()
        .validate_messages()
        .build()
        .unwrap();
    let mut hub = node_with(
        Case::TOKIO,
        Keypair::generate_ed25519(),
        gossipsub,
        limited(),
    );
    let (_, address) = listen(&mut hub, &mut []).await;
    // By its own limit it could know nearly as many as are invented.
    let roomy = Rate::new(INVENTED, Duration::ZERO);
    let mut behind = node(
        Case::TOKIO,
        config().with_newcomer_rate(roomy).with_time_to_live(HOUR),
    );
    let (_, own) = listen(&mut behind, &mut []).await;
    connect(&mut behind, &address, &mut [&mut hub]).await;
    let (hub_id, behind_id) = (id(&hub), id(&behind));
    knows(&mut hub, behind_id, &[own], &mut [&mut behind]).await;
    let (mut third, third_id, of_third) = honest(1, &mut hub, &address)
        .await
        .pop()
        .expect("there is one");
    let others = &mut [&mut hub, &mut third];
    knows(
        &mut behind,
        third_id,
        std::slice::from_ref(&of_third),
        others,
    )
    .await;

    let _flooder = flood(&mut hub, &address, &mut [&mut behind, &mut third]).await;

    assert_eq!(known(&hub).len(), NEWCOMERS as usize + 2);
    // What the hub passes on keeps its order, so that this comes after all that it has passed on before.
    let (_, another) = listen(&mut third, &mut [&mut hub, &mut behind]).await;
    let others = &mut [&mut hub, &mut third];
    knows_also(&mut behind, third_id, &another, others).await;

    let expected = known(&hub)
        .into_iter()
        .filter(|peer| *peer != behind_id)
        .chain([hub_id]);
    assert_eq!(known(&behind), expected.collect());
    let counters = behind.behaviour().counters();
    assert_eq!(counters.ignored(), 0);
}

/// A neighbour that has used up its allowance delivers each announcement of ten newcomers first. Those that do not know of
/// its flood deliver the same messages later.
#[tokio::test(flavor = "multi_thread")]
async fn a_greedy_neighbour_hides_no_newcomers_from_a_node_with_honest_ones() {
    const FIRST: u32 = 1_000_000;
    let mut node = node(Case::TOKIO, limited());
    let (_, address) = listen(&mut node, &mut []).await;
    let mut greedy = speaker(&mut node, &address, Keypair::generate_ed25519()).await;
    let mut honest = Vec::new();
    for _ in 0..3 {
        honest.push(speaker(&mut node, &address, Keypair::generate_ed25519()).await);
    }
    let newcomers = |number| invent(DEFAULT_TOPIC, FIRST..FIRST + 10, number);
    let ids = newcomers(1).map(|newcomer| newcomer.author.to_peer_id());
    let ids = ids.collect::<BTreeSet<_>>();
    let known = |node: &Node| known(node).intersection(&ids).count();
    for number in 1..=3 {
        let seen = format!("round {number}");
        let invented = invent(DEFAULT_TOPIC, 0..2 * NEWCOMERS, number);
        let all = invented.chain(newcomers(number));
        deliver(&mut node, &mut greedy, all, &seen).await;
        for honest in &mut honest {
            deliver(&mut node, honest, newcomers(number), &seen).await;
        }
        if number == 1 {
            assert_eq!(known(&node), 0, "the first one is lost");
            assert_eq!(node.behaviour().counters().muted, 1);
        }
    }
    assert_eq!(known(&node), ids.len());
    let invented = node.behaviour().known_peers().len() - ids.len();
    assert_eq!(invented, NEWCOMERS as usize);
}

/// Gossipsub does not greet a peer that is on its blacklist when it connects, and so would never hear of it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_muted_neighbour_that_comes_back_is_greeted() {
    let mut node = node(Case::TOKIO, limited());
    let (_, address) = listen(&mut node, &mut []).await;
    let mut honest = Vec::new();
    for _ in 0..2 {
        honest.push(speaker(&mut node, &address, Keypair::generate_ed25519()).await);
    }
    let keypair = Keypair::generate_ed25519();
    let mut greedy = speaker(&mut node, &address, keypair.clone()).await;
    greeted(&mut node, &mut greedy).await;
    let invented = invent(DEFAULT_TOPIC, 0..2 * NEWCOMERS, 1);
    deliver(&mut node, &mut greedy, invented, "round 1").await;
    assert_eq!(node.behaviour().counters().muted, 1);
    let id = greedy.id();
    drop(greedy);
    until(&mut node, &mut [], |_, event| match event {
        SwarmEvent::ConnectionClosed { peer_id, .. } if *peer_id == id => Some(()),
        _ => None,
    })
    .await;

    let mut greedy = speaker(&mut node, &address, keypair).await;
    greeted(&mut node, &mut greedy).await;
    // What it delivers counts, while it is within its allowance, which it has anew.
    let newcomer = invent(DEFAULT_TOPIC, 1_000_000..1_000_001, 1);
    deliver(&mut node, &mut greedy, newcomer, "round 2").await;
    let id = invent(DEFAULT_TOPIC, 1_000_000..1_000_001, 1).next();
    let id = id.expect("there is one").author.to_peer_id();
    assert!(node.behaviour().known_peer(&id).is_some());
}
