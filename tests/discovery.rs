//! Discovery in real swarms: gossipsub over WebSocket on loopback.

#![cfg(all(
    feature = "gossipsub",
    any(feature = "async-std", feature = "smol", feature = "tokio")
))]

mod common;
#[path = "common/node.rs"]
mod node;
#[path = "common/steps.rs"]
mod steps;

use std::{net::TcpListener, pin::pin, time::Duration};

use common::{Case, on_each, within};
use libp2p::{
    Multiaddr, PeerId,
    core::multiaddr::Protocol,
    gossipsub::{self, IdentTopic, MessageAuthenticity, ValidationMode},
    identity::Keypair,
    swarm::SwarmEvent,
};
use libp2p_lazy_websocket::discovery::{
    self, AnnounceOutcome, ConfigError, DEFAULT_TOPIC, Event, Gossipsub, SkipReason,
};
use node::{Behaviour, config, connect, knows, listen, loopback, node, node_with, until};
use steps::Step;

fn id(swarm: &node::Node) -> PeerId {
    *swarm.local_peer_id()
}

on_each!(the_first_address_is_announced_and_nothing_before);

/// js-libp2p issue 2902, in a node whose peer is there before it listens.
async fn the_first_address_is_announced_and_nothing_before(case: Case) {
    // Far within the time after which a node without an address counts as one that only dials.
    let interval = Duration::from_millis(200);
    let mut a = node(case, config().with_interval(interval));
    let mut b = node(case, config());
    let (_, address) = listen(&mut b, &mut []).await;
    // A listener that cannot bind.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let waiting = format!("/ip4/127.0.0.1/tcp/{port}/ws").parse().unwrap();
    let waiting = a.listen_on(waiting).unwrap();
    until(&mut a, &mut [], |_, event| match event {
        SwarmEvent::Behaviour(Event::Skipped {
            reason: SkipReason::NoListeners,
            ..
        }) => Some(()),
        SwarmEvent::ListenerError { .. } => None,
        other => panic!("{other:?} before there is an address"),
    })
    .await;
    connect(&mut a, &address, &mut [&mut b]).await;
    // Its subscriber is there, and there is still nothing to announce.
    let mut subscribed = false;
    until(&mut a, &mut [&mut b], |_, event| match event {
        SwarmEvent::Behaviour(Event::PubSub(gossipsub::Event::Subscribed { .. })) => {
            subscribed = true;
            None
        }
        SwarmEvent::Behaviour(Event::Skipped {
            reason: SkipReason::NoListeners,
            ..
        }) => subscribed.then_some(()),
        SwarmEvent::Behaviour(Event::Announced { addresses, .. }) => {
            panic!("announced {addresses:?}")
        }
        _ => None,
    })
    .await;
    assert!(b.behaviour().known_peer(&id(&a)).is_none());

    assert!(a.remove_listener(waiting));
    a.listen_on(loopback()).unwrap();
    assert_eq!(a.listeners().count(), 0);
    let mut listening = None;
    let announced = until(&mut a, &mut [&mut b], |_, event| match event {
        SwarmEvent::NewListenAddr { address, .. } => {
            listening = Some(address.clone());
            None
        }
        SwarmEvent::Behaviour(Event::Announced {
            addresses, topics, ..
        }) => {
            assert_eq!(topics, &[DEFAULT_TOPIC]);
            Some(addresses.clone())
        }
        SwarmEvent::Behaviour(Event::Skipped { .. }) => None,
        _ => None,
    })
    .await;
    let expected = [listening.unwrap().with_p2p(id(&a)).unwrap()];
    assert_eq!(announced, expected);
    let a_id = id(&a);
    knows(&mut b, a_id, &expected, &mut [&mut a]).await;
}

on_each!(ten_orders_of_real_nodes_lead_to_the_same_announcement);

/// Ten of the orders that `orders.rs` plays all of, here with real sockets, connections and gossipsub.
async fn ten_orders_of_real_nodes_lead_to_the_same_announcement(case: Case) {
    let orders = steps::orders();
    for order in orders.iter().step_by(orders.len() / 10) {
        let (mut a, mut b) = (node(case, config()), node(case, config()));
        let (a_id, b_id) = (id(&a), id(&b));
        // It knows nothing of the topic until it subscribes.
        let topic = IdentTopic::new(DEFAULT_TOPIC);
        assert!(gossipsub(&mut b).unsubscribe(&topic));
        let (_, address) = listen(&mut b, &mut []).await;

        let (mut first, mut listeners, mut taken) = (None, 0, Vec::new());
        for step in order {
            match step {
                Step::FirstPoll => {}
                Step::Listen => {
                    first = Some(a.listen_on(loopback()).unwrap());
                    listeners += 1;
                }
                Step::ListenAgain => {
                    a.listen_on(loopback()).unwrap();
                    listeners += 1;
                }
                Step::FirstGoes => {
                    assert!(a.remove_listener(first.unwrap()));
                    listeners -= 1;
                }
                Step::Connect => a.dial(address.clone()).unwrap(),
                Step::Subscribe => assert!(gossipsub(&mut b).subscribe(&topic).unwrap()),
            }
            taken.push(*step);
            if !taken.contains(&Step::FirstPoll) {
                continue;
            }
            let settled = |a: &node::Node| {
                let connected = taken.contains(&Step::Connect);
                a.listeners().count() == listeners
                    && a.is_connected(&b_id) == connected
                    && (subscribers(a) > 0) == (connected && taken.contains(&Step::Subscribe))
            };
            if !settled(&a) {
                until(&mut a, &mut [&mut b], |a, _| settled(a).then_some(())).await;
            }
        }
        let expected = a
            .listeners()
            .map(|address| address.clone().with_p2p(a_id).unwrap());
        let expected = expected.collect::<Vec<_>>();
        assert_eq!(expected.len(), 1, "{order:?}");
        knows(&mut b, a_id, &expected, &mut [&mut a]).await;
    }
}

on_each!(peers_of_a_hub_find_each_other_and_can_be_dialled_by_their_id);

async fn peers_of_a_hub_find_each_other_and_can_be_dialled_by_their_id(case: Case) {
    let (mut hub, mut a, mut b) = (
        node(case, config()),
        node(case, config()),
        node(case, config()),
    );
    let (_, address) = listen(&mut hub, &mut []).await;
    let (_, of_b) = listen(&mut b, &mut []).await;
    let b_id = id(&b);
    connect(&mut a, &address, &mut [&mut hub]).await;
    connect(&mut b, &address, &mut [&mut hub]).await;
    // Its addresses have gone to the swarm by the time it is reported as discovered.
    until(&mut a, &mut [&mut hub, &mut b], |_, event| match event {
        SwarmEvent::Behaviour(Event::Discovered {
            peer_id, addresses, ..
        }) if *peer_id == b_id => {
            assert_eq!(addresses, std::slice::from_ref(&of_b));
            Some(())
        }
        _ => None,
    })
    .await;
    assert!(!a.is_connected(&b_id));
    a.dial(b_id).unwrap();
    until(&mut a, &mut [&mut hub, &mut b], |_, event| match event {
        SwarmEvent::ConnectionEstablished { peer_id, .. } if *peer_id == b_id => Some(()),
        SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error}"),
        _ => None,
    })
    .await;
}

on_each!(a_node_that_only_dials_and_everybody_else_know_each_other_long_before_the_interval);

async fn a_node_that_only_dials_and_everybody_else_know_each_other_long_before_the_interval(
    case: Case,
) {
    let hour = || config().with_interval(Duration::from_secs(3600));
    let (mut hub, mut a, mut b) = (node(case, hour()), node(case, hour()), node(case, hour()));
    let (_, address) = listen(&mut hub, &mut []).await;
    let (_, of_a) = listen(&mut a, &mut []).await;
    let (_, of_b) = listen(&mut b, &mut []).await;
    connect(&mut a, &address, &mut [&mut hub]).await;
    connect(&mut b, &address, &mut [&mut hub]).await;
    let (hub_id, a_id, b_id) = (id(&hub), id(&a), id(&b));
    let [of_hub, of_a, of_b] = [address.clone(), of_a, of_b].map(|address| [address]);
    knows(&mut a, b_id, &of_b, &mut [&mut hub, &mut b]).await;
    knows(&mut b, a_id, &of_a, &mut [&mut hub, &mut a]).await;

    let mut dialler = node(case, hour());
    let dialler_id = id(&dialler);
    dialler.dial(address).unwrap();
    for (peer, addresses) in [(hub_id, of_hub), (a_id, of_a), (b_id, of_b)] {
        let mut others = [&mut hub, &mut a, &mut b];
        knows(&mut dialler, peer, &addresses, &mut others).await;
    }
    for swarm in [&mut hub, &mut a, &mut b] {
        knows(swarm, dialler_id, &[], &mut []).await;
    }
    let counters = dialler.behaviour().counters();
    assert_eq!(counters.announced, 1);
}

on_each!(who_leaves_is_forgotten);

async fn who_leaves_is_forgotten(case: Case) {
    let short = config()
        .with_interval(Duration::from_millis(200))
        .with_time_to_live(Duration::from_millis(700));
    let (mut a, mut b) = (node(case, short.clone()), node(case, short));
    let (_, address) = listen(&mut a, &mut []).await;
    let a_id = id(&a);
    connect(&mut b, &address, &mut [&mut a]).await;
    knows(&mut b, a_id, &[address], &mut [&mut a]).await;
    drop(a);
    until(&mut b, &mut [], |_, event| match event {
        SwarmEvent::Behaviour(Event::Expired { peer_id, .. }) => {
            assert_eq!(*peer_id, a_id);
            Some(())
        }
        _ => None,
    })
    .await;
    assert!(b.behaviour().known_peer(&a_id).is_none());
}

on_each!(a_peer_that_is_back_before_its_old_connection_ends_is_heard_and_hears);

/// As one that has changed its network: for the hub the old connection is open for another minute, and gossipsub greets only the
/// first connection to a peer.
async fn a_peer_that_is_back_before_its_old_connection_ends_is_heard_and_hears(case: Case) {
    let keypair = Keypair::generate_ed25519();
    let peer = || {
        let gossipsub = discovery::gossipsub::config().build().unwrap();
        node_with(case, keypair.clone(), gossipsub, config())
    };
    let mut hub = node(case, config());
    let (_, at_hub) = listen(&mut hub, &mut []).await;
    let hub_id = id(&hub);
    let mut before = peer();
    connect(&mut before, &at_hub, &mut [&mut hub]).await;
    knows(
        &mut before,
        hub_id,
        std::slice::from_ref(&at_hub),
        &mut [&mut hub],
    )
    .await;

    let mut after = peer();
    connect(&mut after, &at_hub, &mut [&mut hub, &mut before]).await;
    let after_id = id(&after);
    while hub.network_info().connection_counters().num_established() < 2 {
        until(&mut hub, &mut [&mut before, &mut after], |_, _| Some(())).await;
    }
    drop(before);
    knows(&mut after, hub_id, &[at_hub], &mut [&mut hub]).await;
    let (_, address) = listen(&mut after, &mut [&mut hub]).await;
    knows(&mut hub, after_id, &[address], &mut [&mut after]).await;
}

on_each!(announce_publishes_once_and_then_waits_for_the_gap);

async fn announce_publishes_once_and_then_waits_for_the_gap(case: Case) {
    let hour = Duration::from_secs(3600);
    let mut a = node(
        case,
        config()
            .with_interval(hour)
            .with_minimum_gap(hour)
            .with_coalescing(hour),
    );
    let mut b = node(case, config());
    assert_eq!(
        a.behaviour_mut().announce(),
        AnnounceOutcome::Skipped(SkipReason::NoListeners)
    );
    let (_, address) = listen(&mut a, &mut []).await;
    let a_id = id(&a);
    assert_eq!(
        a.behaviour_mut().announce(),
        AnnounceOutcome::Skipped(SkipReason::NoSubscribers)
    );
    connect(&mut b, &address, &mut [&mut a]).await;
    until(&mut a, &mut [&mut b], |_, event| {
        matches!(
            event,
            SwarmEvent::Behaviour(Event::PubSub(gossipsub::Event::Subscribed { .. }))
        )
        .then_some(())
    })
    .await;
    assert_eq!(a.behaviour_mut().announce(), AnnounceOutcome::Published);
    assert!(matches!(
        a.behaviour_mut().announce(),
        AnnounceOutcome::Delayed { .. }
    ));
    knows(&mut b, a_id, &[address], &mut [&mut a]).await;
}

on_each!(the_application_shares_the_gossipsub);

async fn the_application_shares_the_gossipsub(case: Case) {
    let (mut a, mut b) = (node(case, config()), node(case, config()));
    let topic = IdentTopic::new("application");
    for swarm in [&mut a, &mut b] {
        assert!(gossipsub(swarm).subscribe(&topic).unwrap());
    }
    let (_, address) = listen(&mut a, &mut []).await;
    connect(&mut b, &address, &mut [&mut a]).await;
    until(&mut a, &mut [&mut b], |_, event| match event {
        SwarmEvent::Behaviour(Event::PubSub(gossipsub::Event::Subscribed {
            topic: heard, ..
        })) => (*heard == topic.hash()).then_some(()),
        _ => None,
    })
    .await;
    gossipsub(&mut a)
        .publish(topic.clone(), b"of the application")
        .unwrap();
    until(&mut b, &mut [&mut a], |_, event| match event {
        SwarmEvent::Behaviour(Event::PubSub(gossipsub::Event::Message { message, .. })) => {
            assert_eq!(
                message.topic,
                topic.hash(),
                "announcements are not the application's"
            );
            assert_eq!(message.data, b"of the application");
            Some(())
        }
        _ => None,
    })
    .await;
}

on_each!(bad_announcements_end_nothing_and_are_not_believed);

async fn bad_announcements_end_nothing_and_are_not_believed(case: Case) {
    let mut victim = node(case, config());
    let (_, address) = listen(&mut victim, &mut []).await;

    // A gossipsub without discovery, whose owner writes what it likes.
    let keypair = Keypair::generate_ed25519();
    let plain = gossipsub::Behaviour::<gossipsub::IdentityTransform>::new(
        MessageAuthenticity::Signed(keypair.clone()),
        discovery::gossipsub::config().build().unwrap(),
    );
    let mut attacker = node::swarm(case, keypair.clone(), plain.unwrap());
    attacker.dial(address.clone()).unwrap();
    until(&mut attacker, &mut [&mut victim], |_, event| {
        matches!(
            event,
            SwarmEvent::Behaviour(gossipsub::Event::Subscribed { .. })
        )
        .then_some(())
    })
    .await;

    let attacker_id = keypair.public().to_peer_id();
    let foreign = Keypair::generate_ed25519().public();
    let thousand = (0..1000u16).map(|port| format!("/ip4/10.0.0.1/tcp/{port}/ws").parse().unwrap());
    let elsewhere = Multiaddr::empty()
        .with(Protocol::Memory(1))
        .with_p2p(PeerId::random())
        .unwrap();
    let good = Multiaddr::empty()
        .with(Protocol::Memory(2))
        .with_p2p(attacker_id)
        .unwrap();
    let messages = [
        b"".to_vec(),
        b"garbage".to_vec(),
        vec![0x12; 60_000],
        encode(&foreign.encode_protobuf(), [good.clone()]),
        encode(&keypair.public().encode_protobuf(), thousand),
        encode(&keypair.public().encode_protobuf(), []),
        encode(
            &keypair.public().encode_protobuf(),
            [elsewhere, good.clone()],
        ),
    ];
    for message in messages {
        attacker
            .behaviour_mut()
            .publish(IdentTopic::new(DEFAULT_TOPIC), message)
            .unwrap();
    }
    let mut heard = Vec::new();
    let mut attacked = attacker;
    let drive = async {
        use futures::StreamExt as _;
        loop {
            attacked.select_next_some().await;
        }
    };
    let watch = until(&mut victim, &mut [], |_, event| match event {
        SwarmEvent::Behaviour(Event::Discovered {
            peer_id, addresses, ..
        }) => {
            heard.push((*peer_id, addresses.clone()));
            None
        }
        SwarmEvent::Behaviour(Event::Updated {
            peer_id, addresses, ..
        }) => {
            heard.push((*peer_id, addresses.clone()));
            Some(())
        }
        SwarmEvent::ConnectionClosed { cause, .. } => panic!("the connection has ended: {cause:?}"),
        _ => None,
    });
    futures::future::select(pin!(watch), pin!(drive)).await;
    assert_eq!(heard, [(attacker_id, vec![]), (attacker_id, vec![good])]);
    assert_eq!(victim.behaviour().known_peers().count(), 1);
}

on_each!(the_heartbeat_of_gossipsub_goes_on_without_anybody_else_waking_the_task);

/// Gossipsub re-arms its heartbeat without polling it; whoever wraps it must not go to sleep on that.
async fn the_heartbeat_of_gossipsub_goes_on_without_anybody_else_waking_the_task(_: Case) {
    use discovery::PubSub as _;

    let beat = Duration::from_millis(10);
    let config = discovery::gossipsub::config()
        .heartbeat_initial_delay(beat)
        .heartbeat_interval(beat)
        .build()
        .unwrap();
    let mut gossipsub = Gossipsub::new(&Keypair::generate_ed25519(), config).unwrap();
    let mut polls = 0;
    let beats = std::future::poll_fn(|cx| {
        polls += 1;
        assert!(gossipsub.poll_behaviour(cx).is_pending());
        match polls {
            5.. => std::task::Poll::Ready(()),
            _ => std::task::Poll::Pending,
        }
    });
    within(beats).await;
}

#[test]
fn a_gossipsub_that_does_not_insist_on_signatures_is_refused() {
    let keypair = Keypair::generate_ed25519();
    let modes = [
        ValidationMode::Permissive,
        ValidationMode::Anonymous,
        ValidationMode::None,
    ];
    for mode in modes {
        let config = discovery::gossipsub::config()
            .validation_mode(mode)
            .build()
            .unwrap();
        let refused = Behaviour::gossipsub(&keypair, config, node::config()).unwrap_err();
        assert!(matches!(refused, ConfigError::NotAuthenticated));
    }
}

#[test]
fn a_hub_has_room_for_its_leaves() {
    for leaves in [1, 12, 30, 1000] {
        let config = discovery::gossipsub::hub_config(leaves).build().unwrap();
        assert!(config.mesh_n_low() >= leaves && config.mesh_n_high() >= 12);
    }
}

on_each!(with_validation_a_hub_passes_on_what_is_good_and_nothing_else);

async fn with_validation_a_hub_passes_on_what_is_good_and_nothing_else(case: Case) {
    let validating = || {
        discovery::gossipsub::config()
            .validate_messages()
            .build()
            .unwrap()
    };
    let mut hub = node_with(case, Keypair::generate_ed25519(), validating(), config());
    let (mut a, mut b) = (node(case, config()), node(case, config()));
    let (_, address) = listen(&mut hub, &mut []).await;
    connect(&mut b, &address, &mut [&mut hub]).await;
    connect(&mut a, &address, &mut [&mut hub]).await;
    // All know of each other's subscriptions before there is anything to pass on.
    if subscribers(&hub) < 2 {
        until(&mut hub, &mut [&mut a, &mut b], |hub, _| {
            (subscribers(hub) == 2).then_some(())
        })
        .await;
    }
    if subscribers(&a) < 1 {
        until(&mut a, &mut [&mut hub, &mut b], |a, _| {
            (subscribers(a) == 1).then_some(())
        })
        .await;
    }
    let garbage = gossipsub(&mut a).publish(IdentTopic::new(DEFAULT_TOPIC), b"garbage");
    garbage.unwrap();
    let (_, of_a) = listen(&mut a, &mut [&mut hub, &mut b]).await;
    let a_id = id(&a);
    knows(&mut b, a_id, &[of_a], &mut [&mut hub, &mut a]).await;
    assert_eq!(hub.behaviour().counters().ignored_malformed, 1);
    assert_eq!(
        b.behaviour().counters().ignored_malformed,
        0,
        "the hub has not passed it on"
    );
}

on_each!(nobody_is_dialled_by_default);

async fn nobody_is_dialled_by_default(case: Case) {
    let (mut hub, mut a, mut b) = (
        node(case, config()),
        node(case, config()),
        node(case, config()),
    );
    let (_, address) = listen(&mut hub, &mut []).await;
    listen(&mut b, &mut []).await;
    let b_id = id(&b);
    connect(&mut a, &address, &mut [&mut hub]).await;
    connect(&mut b, &address, &mut [&mut hub]).await;
    // It has heard of it for long enough to have dialled it.
    let mut heard = Vec::new();
    until(&mut a, &mut [&mut hub, &mut b], |a, event| {
        if let SwarmEvent::Dialing { .. } = event {
            panic!("{event:?}");
        }
        heard.extend(
            a.behaviour()
                .known_peer(&b_id)
                .map(|known| known.last_heard()),
        );
        heard.dedup();
        (heard.len() == 4).then_some(())
    })
    .await;
    assert!(!a.is_connected(&b_id));
}

on_each!(with_connections_a_known_peer_is_dialled_and_forgotten_sooner_if_it_is_gone);

async fn with_connections_a_known_peer_is_dialled_and_forgotten_sooner_if_it_is_gone(case: Case) {
    // So that nobody is forgotten for another reason.
    let config = || config().with_interval(Duration::from_secs(3600));
    let (mut hub, mut b, mut c) = (
        node(case, config()),
        node(case, config()),
        node(case, config()),
    );
    let mut a = node(case, config().with_connections(3));
    let (_, address) = listen(&mut hub, &mut []).await;
    connect(&mut a, &address, &mut [&mut hub]).await;
    connect(&mut b, &address, &mut [&mut hub]).await;
    listen(&mut b, &mut [&mut hub]).await;
    let b_id = id(&b);
    until(&mut a, &mut [&mut hub, &mut b], |_, event| {
        matches!(event, SwarmEvent::ConnectionEstablished { peer_id, .. } if *peer_id == b_id)
            .then_some(())
    })
    .await;

    connect(&mut c, &address, &mut [&mut hub]).await;
    listen(&mut c, &mut [&mut hub]).await;
    let c_id = id(&c);
    until(&mut a, &mut [&mut hub, &mut b, &mut c], |_, event| {
        matches!(event, SwarmEvent::Behaviour(Event::Discovered { peer_id, .. }) if *peer_id == c_id)
            .then_some(())
    })
    .await;
    drop(c);
    until(&mut a, &mut [&mut hub, &mut b], |_, event| {
        matches!(event, SwarmEvent::OutgoingConnectionError { peer_id, .. } if *peer_id == Some(c_id))
            .then_some(())
    })
    .await;
    let life = |peer| {
        let known = a.behaviour().known_peer(peer).unwrap();
        known.expires_at() - known.last_heard()
    };
    assert_eq!(life(&c_id), life(&b_id) / 2);
}

/// How many neighbours have said that they are subscribed to something.
fn subscribers(swarm: &node::Node) -> usize {
    let neighbours = swarm.behaviour().pubsub().behaviour().all_peers();
    neighbours.filter(|(_, topics)| !topics.is_empty()).count()
}

fn gossipsub(swarm: &mut node::Node) -> &mut gossipsub::Behaviour {
    swarm.behaviour_mut().gossipsub_mut()
}

/// The announcement as protobuf, whatever is in it.
fn encode(public_key: &[u8], addresses: impl IntoIterator<Item = Multiaddr>) -> Vec<u8> {
    fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
        let mut length = Vec::new();
        let mut rest = bytes.len();
        while rest > 0x7f {
            length.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        length.push(rest as u8);
        [&[tag << 3 | 2], &length[..], bytes].concat()
    }

    let addresses = addresses
        .into_iter()
        .flat_map(|address| field(2, &address.to_vec()));
    field(1, public_key).into_iter().chain(addresses).collect()
}
