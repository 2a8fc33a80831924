//! One connection that announces thousands of peers who do not exist, as fast as the link allows.

#![cfg(all(feature = "gossipsub", feature = "tokio"))]

mod common;
#[path = "common/flooder.rs"]
mod flooder;
#[path = "common/node.rs"]
mod node;

use std::{
    collections::BTreeSet,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use crate::common::Case;
use flooder::{Flooder, Speaker, batches, invent};
use libp2p::{Multiaddr, PeerId, identity::Keypair};
use libp2p_lazy_websocket::discovery::{self, DEFAULT_TOPIC, Rate};
use node::{Node, config, connect, knows, listen, node, node_with, swarm, until};

/// How many peers are invented.
const INVENTED: u32 = 5_000;

/// How many peers that are not known one neighbour may deliver.
const NEWCOMERS: NonZeroU32 = NonZeroU32::new(20).unwrap();

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

/// Announces [`INVENTED`] peers to `target`, and waits until it has judged all of them. Returns the flooder, so that it
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
        flooder
    });
    // The others are known already, and nothing of theirs is refused.
    let judged = |target: &Node| {
        let counters = target.behaviour().counters();
        counters.discovered + counters.ignored()
    };
    let expected = judged(target) + u64::from(INVENTED);
    let is_through = |target: &Node| judged(target) >= expected;
    until(target, others, |target, _| is_through(target).then_some(())).await;
    flooding.await.expect("it does not panic")
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
    assert_eq!(
        counters.ignored_newcomer_rate,
        u64::from(INVENTED - NEWCOMERS.get())
    );
    assert_eq!(counters.ignored(), counters.ignored_newcomer_rate);
    assert_eq!(counters.expired, 0);
    let known = known(&hub);
    assert!(known.is_superset(&expected));
    assert_eq!(known.len(), expected.len() + NEWCOMERS.get() as usize);
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
    let roomy = Rate::new(NonZeroU32::new(INVENTED).unwrap(), Duration::ZERO);
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

    assert_eq!(known(&hub).len(), NEWCOMERS.get() as usize + 2);
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
